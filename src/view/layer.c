/*-------------------------------------------------------------------------
 *
 * layer.c
 *    The part of a definition that is maintained, and the part that is applied when reading.
 *
 * The result of a query that groups, or selects rows, can be maintained; what the definition does
 * with that result (ORDER BY, LIMIT, window functions, DISTINCT, sub-selects over groups, a query
 * around it in which it is a sub-select) cannot, but can be applied whenever the view is read:
 *
 *    SELECT * FROM (SELECT k, count(*) AS n, rank() OVER (ORDER BY count(*) DESC) AS place
 *                   FROM s GROUP BY k) q WHERE place <= 3
 *
 * has the core
 *
 *    SELECT k, count(*) AS n FROM s GROUP BY k
 *
 * and the reader, which becomes the query of the public view,
 *
 *    SELECT * FROM (SELECT k, n, rank() OVER (ORDER BY n DESC) AS place FROM core) q WHERE place <= 3
 *
 * A reader does not aggregate rows that are not grouped: such a view would look like one that is
 * maintained, and read all rows that ever arrived.
 *
 * Takes no locks; works in the caller's memory context. The result depends on the definition alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "view/chain.h"
#include "view/flatten.h"
#include "view/layer.h"
#include "view/refuse.h"
#include "view/row_number.h"
#include "view/session.h"

/* Levels of sub-selects above a core. */
#define MAX_DEPTH 32

/* ---- which part of a query can be maintained ---- */

static bool
is_grouped(const Query *query)
{
	return query->hasAggs || query->groupClause || query->groupingSets || query->havingQual;
}

/* True if the set operations are UNION ALL throughout. */
static bool
is_union_all(Node *node)
{
	SetOperationStmt *operation;

	if (node == NULL || IsA(node, RangeTblRef))
		return true;
	operation = castNode(SetOperationStmt, node);
	return operation->op == SETOP_UNION && operation->all && is_union_all(operation->larg) &&
		is_union_all(operation->rarg);
}

static bool is_row_wise(Query *query);

/* True if all sub-selects that read the stream can be pulled up. */
static bool
reads_rows(Query *query)
{
	ListCell   *lc;

	if (!is_union_all(query->setOperations))
		return false;
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_SUBQUERY && eddy_flatten_reads_stream(rte->subquery) &&
			!is_row_wise(rte->subquery))
			return false;
	}
	return true;
}

/* True if a sub-select can be pulled up. */
static bool
is_row_wise(Query *query)
{
	return !is_grouped(query) && !query->hasWindowFuncs && query->distinctClause == NIL &&
		query->sortClause == NIL && query->limitCount == NULL && query->limitOffset == NULL &&
		reads_rows(query);
}

/* True if a set-returning function runs over the groups. */
static bool
expands_groups(Query *query)
{
	ListCell   *lc;

	if (!query->hasTargetSRFs || !is_grouped(query))
		return false;
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (expression_returns_set((Node *) tle->expr) &&
			!eddy_set_returning_is_key(query, tle))
			return true;
	}
	return false;
}

static bool
is_used(TargetEntry *tle, List *clauses)
{
	ListCell   *lc;

	foreach(lc, clauses)
		if (lfirst_node(SortGroupClause, lc)->tleSortGroupRef == tle->ressortgroupref)
			return true;
	return false;
}

/*
 * True if set-returning functions run over the rows that DISTINCT ON keeps: the server evaluates
 * them after it has sorted, unless it sorts by one of them.
 */
static bool
expands_first_rows(Query *query)
{
	ListCell   *lc;

	if (!query->hasTargetSRFs || !query->hasDistinctOn || query->sortClause == NIL)
		return false;
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (expression_returns_set((Node *) tle->expr) &&
			(is_used(tle, query->sortClause) || is_used(tle, query->distinctClause)))
			return false;
	}
	return true;
}

/* ---- splitting a query at its grouping ---- */

typedef struct SplitContext
{
	Query	   *inner;
	bool		grouped;
	bool		expands;		/* set-returning functions run over what the inner query returns */
	List	   *keys;			/* of the grouping */
	List	   *tlist;			/* of the inner query */
	int			depth;			/* of the current sub-select below it */
} SplitContext;

static char *
choose_name(List *tlist, const char *name)
{
	const char *unique = name;
	ListCell   *lc;
	int			suffix = 1;

	for (lc = list_head(tlist); lc != NULL;)
	{
		if (strcmp(lfirst_node(TargetEntry, lc)->resname, unique) == 0)
		{
			/* shortened, so that the server does not do it */
			unique = psprintf("%.*s_%d", pg_mbcliplen(name, strlen(name), NAMEDATALEN - 8), name,
							  suffix++);
			lc = list_head(tlist);
		}
		else
			lc = lnext(tlist, lc);
	}
	return pstrdup(unique);
}

/* The column of the inner query with that expression, added if there is none. */
static Expr *
push(SplitContext *context, Expr *expr, const char *name, Index ref)
{
	TargetEntry *found = NULL;
	ListCell   *lc;

	foreach(lc, context->tlist)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (equal(tle->expr, expr) && (ref == 0 || tle->ressortgroupref == ref))
			found = tle;
	}
	if (found == NULL)
	{
		found = makeTargetEntry((Expr *) copyObject(expr), list_length(context->tlist) + 1,
								choose_name(context->tlist, name), false);
		found->ressortgroupref = ref;
		context->tlist = lappend(context->tlist, found);
	}
	return (Expr *) makeVar(1, found->resno, exprType((Node *) expr), exprTypmod((Node *) expr),
							exprCollation((Node *) expr), 0);
}

/*
 * A copy of a node of a sub-select that is context->depth levels below the inner query, in terms of
 * that query. NULL if it refers to queries in between.
 */
static Node *
lift(SplitContext *context, Node *node)
{
	for (int level = 0; level < context->depth; level++)
		if (contain_vars_of_level(node, level) || contain_aggs_of_level(node, level))
			return NULL;
	node = copyObject(node);
	if (context->depth > 0)
		IncrementVarSublevelsUp(node, -context->depth, context->depth);
	return node;
}

/* True if a node may be what the inner query computes: a key, an aggregate or a column. */
static bool
is_inner(SplitContext *context, Node *node)
{
	ListCell   *lc;

	if (IsA(node, Var))
		return ((Var *) node)->varlevelsup == (Index) context->depth;
	/* not even if it is grouped by: in other grouping sets, that key is NULL */
	if (IsA(node, Const))
		return false;
	if (IsA(node, Aggref))
		return ((Aggref *) node)->agglevelsup == (Index) context->depth;
	if (IsA(node, GroupingFunc))
		return ((GroupingFunc *) node)->agglevelsup == (Index) context->depth;
	foreach(lc, context->keys)
		if (nodeTag(lfirst(lc)) == nodeTag(node))
			return true;
	return false;
}

/* Replaces what the inner query computes by its columns, also in sub-selects. */
static Node *
split_mutator(Node *node, SplitContext *context)
{
	Node	   *lifted = NULL;

	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
	{
		Query	   *query;

		context->depth++;
		query = query_tree_mutator((Query *) node, split_mutator, context, 0);
		context->depth--;
		return (Node *) query;
	}
	if (is_inner(context, node))
		lifted = lift(context, node);
	if (lifted && (list_member(context->keys, lifted) || IsA(lifted, Var) ||
				   IsA(lifted, Aggref) || IsA(lifted, GroupingFunc)))
	{
		Var		   *var = (Var *) push(context, (Expr *) lifted, "_value", 0);

		var->varlevelsup = context->depth;
		return (Node *) var;
	}
	return expression_tree_mutator(node, split_mutator, context);
}

/* True if an expression over groups has a sub-select, which then is evaluated when reading. */
static bool
has_group_sublink(Node *node, SplitContext *context)
{
	if (node == NULL || IsA(node, Aggref) || list_member(context->keys, node))
		return false;
	if (IsA(node, SubLink))
		return true;
	return expression_tree_walker(node, has_group_sublink, context);
}

static void
begin_split(SplitContext *context, Query *query)
{
	ListCell   *lc;

	memset(context, 0, sizeof(*context));
	context->inner = query;
	context->grouped = is_grouped(query);
	/* they run after the grouping, and after window functions */
	context->expands = context->grouped || query->hasWindowFuncs || expands_first_rows(query);
	foreach(lc, query->groupClause)
		context->keys = lappend(context->keys,
								get_sortgroupclause_expr(lfirst(lc), query->targetList));
}

/* True for a column that is computed when reading. */
static bool
is_outer(SplitContext *context, TargetEntry *tle)
{
	if (contain_windowfuncs((Node *) tle->expr))
		return true;
	if (context->grouped && has_group_sublink((Node *) tle->expr, context))
		return true;
	return context->expands && expression_returns_set((Node *) tle->expr) &&
		!eddy_set_returning_is_key(context->inner, tle);
}

/* True for a hidden column that only the grouping needs. */
static bool
is_hidden_key(Query *query, TargetEntry *tle)
{
	ListCell   *lc;

	if (!tle->resjunk || is_used(tle, query->sortClause) || is_used(tle, query->distinctClause))
		return false;
	foreach(lc, query->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		if (is_used(tle, window->partitionClause) || is_used(tle, window->orderClause))
			return false;
	}
	return true;
}

/* True if a part of the query itself has to be applied when reading. */
static bool
needs_split(Query *query)
{
	if (query->hasWindowFuncs || query->limitCount || query->limitOffset || expands_groups(query) ||
		expands_first_rows(query))
		return true;
	if (query->sortClause && !query->hasDistinctOn)
		return true;
	if (is_grouped(query) && query->hasSubLinks)
	{
		SplitContext context;

		begin_split(&context, query);
		if (has_group_sublink((Node *) query->targetList, &context) ||
			has_group_sublink(query->havingQual, &context))
			return true;
	}
	return query->distinctClause && is_grouped(query) &&
		(query->hasDistinctOn || !eddy_grouping_shows_all_keys(query));
}

static void
make_inner(Query *inner, SplitContext *context, bool keeps_distinct, List *hidden_keys)
{
	ListCell   *lc;

	inner->targetList = list_copy(context->tlist);
	foreach(lc, hidden_keys)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		tle->resno = list_length(inner->targetList) + 1;
		inner->targetList = lappend(inner->targetList, tle);
	}
	inner->windowClause = NIL;
	inner->hasWindowFuncs = false;
	inner->limitCount = NULL;
	inner->limitOffset = NULL;
	if (!keeps_distinct)
	{
		inner->distinctClause = NIL;
		inner->hasDistinctOn = false;
	}
	/* DISTINCT ON keeps the first rows of an order */
	inner->sortClause = inner->hasDistinctOn ? copyObject(inner->sortClause) : NIL;
	inner->hasTargetSRFs = expression_returns_set((Node *) inner->targetList);
}

/*
 * Splits a query into one that groups or selects rows, and one over it with everything else, which
 * is returned. The entry of the inner query is the only one in the range table of the outer one.
 */
static Query *
split_query(Query *query)
{
	SplitContext context;
	/* DISTINCT of rows is a grouping of its own, before ORDER BY and LIMIT but after all else */
	bool		keeps_distinct = query->distinctClause && !is_grouped(query) &&
		!query->hasWindowFuncs;
	Query	   *outer = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	List	   *hidden_keys = NIL;
	List	   *names = NIL;
	Node	   *having = NULL;
	ListCell   *lc;

	if (keeps_distinct && query->hasDistinctOn && (query->limitCount || query->limitOffset))
		eddy_refuse("LIMIT is not supported together with DISTINCT ON in a continuous view", NULL,
					"Use LIMIT when reading the view.");
	begin_split(&context, query);
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		TargetEntry *column;

		if (is_hidden_key(query, tle))
		{
			hidden_keys = lappend(hidden_keys, tle);
			continue;
		}
		column = flatCopyTargetEntry(tle);
		column->resno = list_length(outer->targetList) + 1;
		if (is_outer(&context, tle))
			column->expr = (Expr *) split_mutator((Node *) tle->expr, &context);
		else
			column->expr = push(&context, tle->expr, tle->resname ? tle->resname : "_value",
								tle->ressortgroupref);
		outer->targetList = lappend(outer->targetList, column);
	}

	outer->commandType = CMD_SELECT;
	outer->querySource = query->querySource;
	outer->canSetTag = query->canSetTag;
	outer->windowClause = query->windowClause;
	outer->hasWindowFuncs = query->hasWindowFuncs;
	outer->sortClause = query->sortClause;
	outer->limitCount = query->limitCount;
	outer->limitOffset = query->limitOffset;
	outer->limitOption = query->limitOption;
	outer->hasSubLinks = query->hasSubLinks;
	outer->hasTargetSRFs = expression_returns_set((Node *) outer->targetList);
	if (!keeps_distinct)
	{
		outer->distinctClause = query->distinctClause;
		outer->hasDistinctOn = query->hasDistinctOn;
	}
	if (has_group_sublink(query->havingQual, &context))
	{
		having = split_mutator(query->havingQual, &context);
		query->havingQual = NULL;
	}
	make_inner(query, &context, keeps_distinct, hidden_keys);

	foreach(lc, context.tlist)
		names = lappend(names, makeString(lfirst_node(TargetEntry, lc)->resname));
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = query;
	rte->eref = rte->alias = makeAlias("maintained", names);
	rte->inFromCl = true;
	ref->rtindex = 1;
	outer->rtable = list_make1(rte);
	outer->jointree = makeFromExpr(list_make1(ref), having);
	return outer;
}

/*
 * A query that keeps the first row of each key by row_number() becomes one with DISTINCT ON
 * (row_number.c), if its sub-select can be pulled up otherwise. True if it was changed.
 */
static bool
replace_row_number(Query *query)
{
	EddyRowNumber found;

	if (is_grouped(query) || !eddy_row_number_find(query, &found))
		return false;
	if (is_grouped(found.rte->subquery) || !reads_rows(found.rte->subquery))
		return false;
	eddy_row_number_replace(query, &found);
	return true;
}

/* ---- finding the core ---- */

static void
refuse_several(Query *query)
{
	if (query->setOperations)
	{
		if (!is_union_all(query->setOperations))
			eddy_union_refuse(query->setOperations);
		eddy_refuse("a branch of UNION ALL cannot aggregate in a continuous view", NULL,
					"Create one continuous view for each branch and combine them when reading.");
	}
	eddy_refuse("a continuous view cannot join an aggregation with other rows of a stream",
				"A continuous view maintains one result.",
				"Create a continuous view for each aggregation, and join them in an ordinary view.");
}

/* True if a sub-select refers to columns of the queries around it. */
static bool
is_correlated(Query *query)
{
	for (int level = 1; level <= MAX_DEPTH; level++)
		if (contain_vars_of_level((Node *) query, level))
			return true;
	return false;
}

/*
 * Collects the sub-selects that are cores. aggregates: the queries around it do, or sort; depth:
 * the number of these.
 */
static void
collect_cores(Query *query, bool aggregates, int depth, List **places)
{
	ListCell   *lc;

	if (depth > MAX_DEPTH)
		eddy_refuse("sub-selects of a continuous view are nested too deeply", NULL,
					"Create a continuous view for an inner sub-select, and read it in place of the sub-select.");
	eddy_compat_flatten_group(query);
	eddy_flatten_inline_ctes(query, true);
	aggregates |= is_grouped(query) || query->distinctClause;
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);
		Query	   *sub = rte->subquery;
		bool		is_rows;

		if (eddy_chain_is_source(rte))
			refuse_several(query);
		if (rte->rtekind != RTE_SUBQUERY || !eddy_flatten_reads_stream(sub))
			continue;
		eddy_flatten_inline_ctes(sub, true);
		(void) replace_row_number(sub);
		if (is_row_wise(sub))
			refuse_several(query);
		if (!reads_rows(sub))
		{
			collect_cores(sub, aggregates, depth + 1, places);
			continue;
		}
		is_rows = !is_grouped(sub) && sub->distinctClause == NIL;
		if (is_rows && (aggregates || !sub->hasWindowFuncs))
			eddy_refuse_not_row_wise(sub);
		if (is_correlated(sub))
			eddy_refuse("a lateral sub-select of a continuous view cannot aggregate the rows of the stream",
						"It would be computed for each row of another relation.",
						"Join the other relation after the aggregation, or within it.");
		*places = lappend(*places, rte);
	}
}

/* Splits the sub-selects that are cores, all of which must be the same. */
static void
split_places(EddyLayers *layers, Query *reader)
{
	ListCell   *lc;

	foreach(lc, layers->places)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (needs_split(rte->subquery))
		{
			rte->subquery = split_query(rte->subquery);
			rte = linitial_node(RangeTblEntry, rte->subquery->rtable);
			lfirst(lc) = rte;
		}
		if (layers->core == NULL)
			layers->core = copyObject(rte->subquery);
		else if (!equal(layers->core, rte->subquery))
			refuse_several(reader);
	}
}

/* Names of columns that occur twice in a sub-select get a suffix. */
static void
make_names_unique(Query *core)
{
	List	   *seen = NIL;
	ListCell   *lc;

	foreach(lc, core->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (tle->resjunk)
			continue;
		tle->resname = choose_name(seen, tle->resname ? tle->resname : "_value");
		seen = lappend(seen, tle);
	}
}

/*
 * A stream that the reader itself would read is not the one that is maintained, nor are sessions.
 */
static bool
check_reader(Node *node, EddyLayers *layers)
{
	if (node == NULL)
		return false;
	if (eddy_session_is_call(node))
		eddy_session_refuse_call();
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (eddy_chain_is_source(rte))
			eddy_refuse_inner_stream();
		return false;
	}
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		ListCell   *lc;

		/* not into the cores, which are checked as such */
		foreach(lc, layers->places)
			if (((RangeTblEntry *) lfirst(lc))->subquery == query)
				return false;
		return query_tree_walker(query, check_reader, layers, QTW_EXAMINE_RTES_BEFORE);
	}
	return expression_tree_walker(node, check_reader, layers);
}

/* Up to 15, rules have entries for their own view, which nothing reads. */
static void
remove_rule_entries(Query *query)
{
	int			count = 0;
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind != RTE_RELATION || rte->relkind != RELKIND_VIEW || rte->inFromCl)
			break;
		count++;
	}
	if (count == 0)
		return;
	query->rtable = list_copy_tail(query->rtable, count);
	OffsetVarNodes((Node *) query, -count, 0);
}

/*
 * eddy_layer_split determines which part of a definition is maintained. What cannot be split is
 * refused (ERRCODE_FEATURE_NOT_SUPPORTED). The definition is changed, and must not be used again.
 */
void
eddy_layer_split(EddyLayers *layers, Query *definition)
{
	Query	   *query = definition;

	memset(layers, 0, sizeof(EddyLayers));
	remove_rule_entries(query);
	eddy_compat_flatten_group(query);
	eddy_flatten_inline_ctes(query, false);
	query = eddy_union_to_distinct(query);
	if (replace_row_number(query) || reads_rows(query))
	{
		if (query->setOperations)
			query = eddy_union_wrap(query);
		if (!needs_split(query))
		{
			layers->core = query;
			return;
		}
		layers->reader = split_query(query);
		layers->places = list_make1(linitial(layers->reader->rtable));
		layers->core = copyObject(query);
	}
	else
	{
		layers->reader = query;
		collect_cores(query, false, 1, &layers->places);
		split_places(layers, query);
	}
	if (layers->core == NULL)
		eddy_refuse_without_stream(query);
	make_names_unique(layers->core);
	(void) check_reader((Node *) layers->reader, layers);
}

/* ---- the public view ---- */

/*
 * True if the reader does no more than select columns of the core, order them, or limit their
 * number.
 */
static bool
is_merged(const EddyLayers *layers)
{
	const Query *reader = layers->reader;

	return linitial(layers->places) == linitial(reader->rtable) &&
		list_length(reader->rtable) == 1 && reader->jointree->quals == NULL &&
		!is_grouped(reader) && reader->setOperations == NULL;
}

/*
 * eddy_layer_is_updatable returns true if the server could delete through the public view, were it
 * one over the state table alone: each row of the view is one of the core. Otherwise a row can show
 * values that are not those of its group, such as the NULLs of an outer join.
 */
bool
eddy_layer_is_updatable(const EddyLayers *layers)
{
	const Query *reader = layers->reader;

	if (reader == NULL)
		return true;
	return is_merged(layers) && reader->distinctClause == NIL && reader->cteList == NIL &&
		reader->limitCount == NULL && reader->limitOffset == NULL && !reader->hasWindowFuncs &&
		!reader->hasTargetSRFs;
}

/*
 * eddy_layer_make_view returns the query of the public view: the reader with rows, a query with the
 * columns of the core over the state table, in the place of the core.
 */
Query *
eddy_layer_make_view(EddyLayers *layers, Query *rows)
{
	Query	   *view = layers->reader;
	RangeTblEntry *rte = linitial_node(RangeTblEntry, view->rtable);
	ListCell   *lc;

	foreach(lc, layers->places)
		lfirst_node(RangeTblEntry, lc)->subquery = copyObject(rows);
	/* without a query around the core, a simple one over the table, whose rows can be deleted */
	if (is_merged(layers) && rows->setOperations == NULL)
	{
		RangeTblEntry *target = copyObject(rte);

		view = (Query *) eddy_compat_replace_vars((Node *) view, 1, target, rows->targetList);
		view->rtable = NIL;
		eddy_compat_append_range_table(view, rows);
		view->jointree = rows->jointree;
	}
	return view;
}

/* The column of the core that an expression of the reader shows, 0 if it is computed. */
static AttrNumber
find_column(const EddyLayers *layers, Query *query, Node *node)
{
	Var		   *var = (Var *) node;
	RangeTblEntry *rte;
	TargetEntry *tle;

	if (node == NULL || !IsA(node, Var) || var->varlevelsup != 0 || query->setOperations ||
		is_grouped(query))
		return 0;
	rte = rt_fetch(var->varno, query->rtable);
	if (list_member_ptr(layers->places, rte))
		return var->varattno;
	if (rte->rtekind == RTE_JOIN && var->varattno > 0 && rte->joinaliasvars)
		return find_column(layers, query, list_nth(rte->joinaliasvars, var->varattno - 1));
	if (rte->rtekind != RTE_SUBQUERY || var->varattno <= 0)
		return 0;
	tle = list_nth(rte->subquery->targetList, var->varattno - 1);
	return find_column(layers, rte->subquery, (Node *) tle->expr);
}

/*
 * eddy_layer_find_columns returns for each column of the view the column of the core that it shows,
 * 0 if it is computed when reading. To be called before eddy_layer_make_view.
 */
AttrNumber *
eddy_layer_find_columns(const EddyLayers *layers, int *ncolumns)
{
	AttrNumber *columns = palloc0(sizeof(AttrNumber) * list_length(layers->reader->targetList));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, layers->reader->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk)
			columns[n++] = Max(find_column(layers, layers->reader, (Node *) tle->expr), 0);
	}
	*ncolumns = n;
	return columns;
}

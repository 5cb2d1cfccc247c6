/*-------------------------------------------------------------------------
 *
 * union.c
 *    UNION and UNION ALL of branches that read streams.
 *
 * Each row of a stream goes through all branches that read it, so
 *
 *    FROM (SELECT a FROM s WHERE p UNION ALL SELECT b FROM s, t WHERE q UNION ALL SELECT c FROM z) u
 *
 * becomes for the rows of s
 *
 *    FROM s, LATERAL (SELECT s.a WHERE p UNION ALL SELECT s.b FROM t WHERE q) u
 *
 * in which the stream is read once, and for the rows of z
 *
 *    FROM z, LATERAL (SELECT z.c) u
 *
 * In the branches, an entry that gives one row without columns takes the place of the stream, also
 * on the left side of joins. The query around them refers to the columns of u, whichever stream the
 * rows are of: keys, aggregates and therefore the state tables are the same for all streams.
 *
 * UNION is SELECT DISTINCT over UNION ALL.
 *
 * A column of u is the event time if it is that in all branches, of all streams.
 *
 * Takes no locks; works in the caller's memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/tlist.h"
#include "parser/parse_clause.h"
#include "parser/parse_coerce.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "view/chain.h"
#include "view/event_window.h"
#include "view/flatten.h"
#include "view/refuse.h"

/*
 * eddy_union_wrap makes a query with set operations the sub-select of another query, which has its
 * ORDER BY and LIMIT.
 */
Query *
eddy_union_wrap(Query *query)
{
	Query	   *outer = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Var		   *var;
		TargetEntry *column;

		if (tle->resjunk)
			continue;
		var = makeVar(1, tle->resno, exprType((Node *) tle->expr), exprTypmod((Node *) tle->expr),
					  exprCollation((Node *) tle->expr), 0);
		column = makeTargetEntry((Expr *) var, tle->resno, pstrdup(tle->resname), false);
		column->ressortgroupref = tle->ressortgroupref;
		outer->targetList = lappend(outer->targetList, column);
		names = lappend(names, makeString(pstrdup(tle->resname)));
	}
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = query;
	rte->eref = makeAlias("union", names);
	rte->inFromCl = true;
	ref->rtindex = 1;

	outer->commandType = CMD_SELECT;
	outer->querySource = query->querySource;
	outer->canSetTag = query->canSetTag;
	outer->rtable = list_make1(rte);
	outer->jointree = makeFromExpr(list_make1(ref), NULL);
	outer->sortClause = query->sortClause;
	outer->limitOffset = query->limitOffset;
	outer->limitCount = query->limitCount;
	outer->limitOption = query->limitOption;
	outer->hasSubLinks = query->hasSubLinks;
	outer->stmt_location = query->stmt_location;
	outer->stmt_len = query->stmt_len;
	query->sortClause = NIL;
	query->limitOffset = NULL;
	query->limitCount = NULL;
	return outer;
}

/* ---- UNION ---- */

/* True if the rows of a branch are those of a stream, one by one. */
static bool
is_branch_of_rows(Query *branch)
{
	return eddy_flatten_reads_stream(branch) && !branch->hasAggs && !branch->groupClause &&
		!branch->groupingSets && !branch->havingQual && !branch->hasWindowFuncs &&
		!branch->distinctClause && !branch->sortClause && !branch->limitCount &&
		!branch->limitOffset;
}

/* True if the set operations are UNION or UNION ALL throughout, of rows of streams. */
static bool
is_union_of_rows(Query *query, Node *node)
{
	SetOperationStmt *operation;

	if (IsA(node, RangeTblRef))
		return is_branch_of_rows(rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable)->subquery);
	operation = castNode(SetOperationStmt, node);
	return operation->op == SETOP_UNION && is_union_of_rows(query, operation->larg) &&
		is_union_of_rows(query, operation->rarg);
}

static void
keep_duplicates(Node *node)
{
	if (IsA(node, SetOperationStmt))
	{
		SetOperationStmt *operation = (SetOperationStmt *) node;

		operation->all = true;
		operation->groupClauses = NIL;
		keep_duplicates(operation->larg);
		keep_duplicates(operation->rarg);
	}
}

/*
 * Adds the columns of a query to its DISTINCT: those that are sorted first, as the server expects
 * it.
 */
static void
add_distinct(Query *query, List *clauses)
{
	ListCell   *lc;
	ListCell   *clause;

	query->distinctClause = copyObject(query->sortClause);
	forboth(lc, query->targetList, clause, clauses)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		SortGroupClause *added;

		if (tle->ressortgroupref != 0 &&
			get_sortgroupref_clause_noerr(tle->ressortgroupref, query->distinctClause))
			continue;
		added = copyObject(lfirst_node(SortGroupClause, clause));
		added->tleSortGroupRef = assignSortGroupRef(tle, query->targetList);
		query->distinctClause = lappend(query->distinctClause, added);
	}
}

static Query *
distinct_of_all(Query *query)
{
	SetOperationStmt *top = castNode(SetOperationStmt, query->setOperations);
	List	   *clauses = top->groupClauses;

	keep_duplicates((Node *) top);
	query = eddy_union_wrap(query);
	add_distinct(query, clauses);
	return query;
}

/*
 * eddy_union_to_distinct replaces each UNION of rows of streams, in a query and its sub-selects in
 * FROM, by SELECT DISTINCT over a UNION ALL, in place. Returns the query, or the one around it.
 */
Query *
eddy_union_to_distinct(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_SUBQUERY && rte->subquery)
			rte->subquery = eddy_union_to_distinct(rte->subquery);
	}
	foreach(lc, query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);

		if (!cte->cterecursive && IsA(cte->ctequery, Query))
			cte->ctequery = (Node *) eddy_union_to_distinct((Query *) cte->ctequery);
	}
	if (query->setOperations && query->cteList == NIL &&
		!castNode(SetOperationStmt, query->setOperations)->all &&
		is_union_of_rows(query, query->setOperations))
		return distinct_of_all(query);
	return query;
}

static bool
is_union(Node *node)
{
	SetOperationStmt *operation;

	if (IsA(node, RangeTblRef))
		return true;
	operation = castNode(SetOperationStmt, node);
	return operation->op == SETOP_UNION && is_union(operation->larg) && is_union(operation->rarg);
}

/* eddy_union_refuse raises the error of set operations that are not maintained. */
void
eddy_union_refuse(Node *operations)
{
	if (is_union(operations))
		eddy_refuse("UNION can only be used over rows of streams in a continuous view",
					"A branch aggregates or does not read a stream, or the UNION is a branch of UNION ALL.",
					"Create one continuous view for each branch and combine them when reading.");
	eddy_refuse("INTERSECT and EXCEPT of rows of a stream are not supported in a continuous view",
				"Whether a row counts would depend on other rows of the stream.",
				"Use a condition with EXISTS or NOT EXISTS over a table, or create one continuous view for each branch and combine them when reading.");
	pg_unreachable();
}

/* ---- UNION ALL ---- */

/* Collects the range table indexes of the branches. */
static void
collect_branches(Node *node, List **branches)
{
	if (IsA(node, RangeTblRef))
		*branches = lappend_int(*branches, ((RangeTblRef *) node)->rtindex);
	else
	{
		SetOperationStmt *operation = castNode(SetOperationStmt, node);

		if (operation->op != SETOP_UNION || !operation->all)
			eddy_union_refuse(node);
		collect_branches(operation->larg, branches);
		collect_branches(operation->rarg, branches);
	}
}

/* The entry of the stream in the range table of a branch. */
static Index
find_stream(Query *branch)
{
	Index		rti = 0;
	Index		stream = 0;
	ListCell   *lc;

	foreach(lc, branch->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		rti++;
		if (!eddy_chain_is_source(rte))
			continue;
		if (stream != 0)
			eddy_refuse_second_stream();
		stream = rti;
	}
	return stream;
}

typedef struct OuterContext
{
	Index		from;			/* in the branch */
	Index		to;				/* in the query that is some levels above it */
	int			levels;
	int			depth;
} OuterContext;

/* Makes references to the stream of a branch refer to that of the outer query, in place. */
static bool
refer_outer(Node *node, OuterContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if (var->varno == (int) context->from && var->varlevelsup == (Index) context->depth)
		{
			var->varno = context->to;
			var->varlevelsup += context->levels;
			var->varnosyn = 0;
			var->varattnosyn = 0;
		}
		return false;
	}
	if (IsA(node, Query))
	{
		context->depth++;
		(void) query_tree_walker((Query *) node, refer_outer, context, 0);
		context->depth--;
		return false;
	}
	return expression_tree_walker(node, refer_outer, context);
}

/* ---- the branches of one stream ---- */

static Query *
flatten_branch(Query *branch, Oid stream)
{
	if (branch->hasAggs || branch->groupClause || branch->groupingSets)
		eddy_refuse("a branch of UNION ALL cannot aggregate in a continuous view", NULL,
					"Create one continuous view for each branch and combine them when reading.");
	eddy_refuse_not_row_wise(branch);
	branch = eddy_flatten_query(branch, stream);
	eddy_set_returning_to_from(branch);
	return branch;
}

/* The branches that read a stream: List of int. */
static List *
select_branches(Query *sub, List *branches, Oid stream)
{
	List	   *selected = NIL;
	ListCell   *lc;

	foreach(lc, branches)
	{
		Query	   *branch = rt_fetch(lfirst_int(lc), sub->rtable)->subquery;

		if (!eddy_flatten_reads_stream(branch))
			eddy_refuse("a branch of UNION ALL does not read the stream",
						"Its rows would be counted again with each batch.",
						"Leave out the branch, and combine its rows with the continuous view when reading.");
		if (list_member_oid(eddy_flatten_list_sources(branch), stream))
			selected = lappend_int(selected, lfirst_int(lc));
	}
	/* it is joined with a union that reads the stream, or with the stream */
	if (selected == NIL)
		eddy_refuse_second_stream();
	return selected;
}

/* True if a column of a branch is the event time of each stream that the branch reads. */
static bool
passes_event_time(Query *branch, int column)
{
	ListCell   *lc;

	foreach(lc, eddy_flatten_list_sources(branch))
	{
		Query	   *flat = flatten_branch(copyObject(branch), lfirst_oid(lc));
		TargetEntry *tle = list_nth_node(TargetEntry, flat->targetList, column);

		if (!eddy_event_window_is_event_time(flat, find_stream(flat), (Node *) tle->expr))
			return false;
	}
	return true;
}

/*
 * A column of a flat branch that is the event time here, but not in the branches of other streams,
 * must not be taken for it: it is wrapped in an expression with the same value.
 */
static void
hide_event_times(Query *sub, Query *branch, Index stream_rti, List *others)
{
	ListCell   *lc;
	ListCell   *lb;

	foreach(lc, branch->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		CoalesceExpr *same;
		bool		passes = true;

		if (!eddy_event_window_is_event_time(branch, stream_rti, (Node *) tle->expr))
			continue;
		foreach(lb, others)
			passes = passes &&
				passes_event_time(rt_fetch(lfirst_int(lb), sub->rtable)->subquery,
								  foreach_current_index(lc));
		if (passes)
			continue;
		same = makeNode(CoalesceExpr);
		same->coalescetype = exprType((Node *) tle->expr);
		same->coalescecollid = exprCollation((Node *) tle->expr);
		same->args = list_make1(tle->expr);
		same->location = -1;
		tle->expr = (Expr *) same;
	}
}

/*
 * Gives the columns of the only branch that is left the types of the columns of the union, as the
 * server does it.
 */
static void
coerce_columns(Query *branch, const SetOperationStmt *operation)
{
	ListCell   *lc;

	foreach(lc, branch->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		int			column = foreach_current_index(lc);
		Node	   *expr = (Node *) tle->expr;
		Oid			type = list_nth_oid(operation->colTypes, column);
		Oid			collation = list_nth_oid(operation->colCollations, column);

		if (exprType(expr) != type)
			expr = coerce_to_common_type(NULL, expr, type, "UNION");
		if (exprCollation(expr) != collation)
			expr = applyRelabelType(expr, type, exprTypmod(expr), collation, COERCE_IMPLICIT_CAST,
									-1, false);
		tle->expr = (Expr *) expr;
	}
}

/* Removes all branches but some from a tree of set operations; NULL: nothing is left. */
static Node *
prune(Node *node, List *selected)
{
	SetOperationStmt *operation;

	if (IsA(node, RangeTblRef))
		return list_member_int(selected, ((RangeTblRef *) node)->rtindex) ? node : NULL;
	operation = castNode(SetOperationStmt, node);
	operation->larg = prune(operation->larg, selected);
	operation->rarg = prune(operation->rarg, selected);
	if (operation->larg == NULL)
		return operation->rarg;
	return operation->rarg ? node : operation->larg;
}

/* Numbers the branches of a tree in the order of a list that contains them. */
static void
renumber(Node *node, List *branches)
{
	if (IsA(node, RangeTblRef))
	{
		RangeTblRef *ref = (RangeTblRef *) node;

		for (int i = 0; i < list_length(branches); i++)
			if (list_nth_int(branches, i) == ref->rtindex)
			{
				ref->rtindex = i + 1;
				return;
			}
		Assert(false);
	}
	else
	{
		SetOperationStmt *operation = castNode(SetOperationStmt, node);

		renumber(operation->larg, branches);
		renumber(operation->rarg, branches);
	}
}

/*
 * Leaves some of the branches, at least two, in a query with set operations. The planner requires
 * that nothing else is in its range table.
 */
static void
keep_branches(Query *sub, List *selected)
{
	const SetOperationStmt *all = castNode(SetOperationStmt, sub->setOperations);
	SetOperationStmt *top = castNode(SetOperationStmt, prune(sub->setOperations, selected));
	List	   *rtable = NIL;
	ListCell   *lc;

	top->colTypes = all->colTypes;
	top->colTypmods = all->colTypmods;
	top->colCollations = all->colCollations;
	renumber((Node *) top, selected);
	sub->setOperations = (Node *) top;
	foreach(lc, selected)
		rtable = lappend(rtable, rt_fetch(lfirst_int(lc), sub->rtable));
	sub->rtable = rtable;
	/* by convention these refer to the first branch */
	foreach(lc, sub->targetList)
		castNode(Var, lfirst_node(TargetEntry, lc)->expr)->varno = 1;
}

/*
 * eddy_union_flatten takes the stream out of the branches of a sub-select with set operations, and
 * adds it to the FROM clause of the query. Branches that do not read it are left out.
 */
void
eddy_union_flatten(Query *query, Index rti, Oid stream)
{
	RangeTblEntry *rte = rt_fetch(rti, query->rtable);
	Query	   *sub = rte->subquery;
	List	   *branches = NIL;
	List	   *selected;
	List	   *others;
	RangeTblRef *stream_ref = makeNode(RangeTblRef);
	RangeTblRef *union_ref = makeNode(RangeTblRef);
	Index		stream_rti = 0;
	ListCell   *lc;

	eddy_refuse_not_row_wise(sub);
	collect_branches(sub->setOperations, &branches);
	selected = select_branches(sub, branches, stream);
	others = list_difference_int(branches, selected);
	foreach(lc, selected)
	{
		RangeTblEntry *branch = rt_fetch(lfirst_int(lc), sub->rtable);
		OuterContext context = {.levels = list_length(selected) > 1 ? 2 : 1};
		RangeTblEntry *own;

		branch->subquery = flatten_branch(branch->subquery, stream);
		context.from = find_stream(branch->subquery);
		eddy_refuse_nullable_stream(branch->subquery);
		hide_event_times(sub, branch->subquery, context.from, others);
		own = rt_fetch(context.from, branch->subquery->rtable);
		stream_rti = eddy_compat_add_relation(query, stream_rti, branch->subquery, own);
		context.to = stream_rti;
		eddy_compat_make_result(own);
		if (context.levels == 1)
		{
			/* references to the queries around the union */
			IncrementVarSublevelsUp((Node *) branch->subquery, -1, 1);
			coerce_columns(branch->subquery, castNode(SetOperationStmt, sub->setOperations));
		}
		(void) query_tree_walker(branch->subquery, refer_outer, &context, 0);
	}
	if (list_length(selected) == 1)
		rte->subquery = rt_fetch(linitial_int(selected), sub->rtable)->subquery;
	else if (others != NIL)
		keep_branches(sub, selected);
	rte->lateral = true;
	stream_ref->rtindex = stream_rti;
	union_ref->rtindex = rti;
	eddy_flatten_replace_ref(query, rti, makeFromExpr(list_make2(stream_ref, union_ref), NULL));
}

/* ---- planning ---- */

/*
 * The entry in the FROM clause of a branch that takes the place of the stream, 0 if there is none.
 */
static Index
find_placeholder(const Query *branch, const Node *node)
{
	Index		found = 0;
	ListCell   *lc;

	if (node == NULL)
		return 0;
	if (IsA(node, RangeTblRef))
	{
		found = ((const RangeTblRef *) node)->rtindex;
		return rt_fetch(found, branch->rtable)->rtekind == RTE_RESULT ? found : 0;
	}
	if (IsA(node, JoinExpr))
	{
		found = find_placeholder(branch, ((const JoinExpr *) node)->larg);
		return found ? found : find_placeholder(branch, ((const JoinExpr *) node)->rarg);
	}
	foreach(lc, castNode(FromExpr, unconstify(Node *, node))->fromlist)
		if ((found = find_placeholder(branch, lfirst(lc))) != 0)
			break;
	return found;
}

/* Removes the stream from the FROM clause, where it stands before a union. */
static void
remove_stream(Node *node, Index stream_rti)
{
	ListCell   *lc;

	if (node == NULL || IsA(node, RangeTblRef))
		return;
	if (IsA(node, JoinExpr))
	{
		remove_stream(((JoinExpr *) node)->larg, stream_rti);
		remove_stream(((JoinExpr *) node)->rarg, stream_rti);
		return;
	}
	foreach(lc, castNode(FromExpr, node)->fromlist)
	{
		RangeTblRef *ref = lfirst(lc);

		if (!IsA(ref, RangeTblRef))
			remove_stream((Node *) ref, stream_rti);
		else if (ref->rtindex == (int) stream_rti)
			((FromExpr *) node)->fromlist = foreach_delete_current(((FromExpr *) node)->fromlist,
																   lc);
	}
}

/*
 * eddy_union_pull_up makes a delta query in which a union has one branch a join of the stream
 * itself with the relations of the branch. The planner would do so, unless there are outer joins.
 * Returns the query.
 */
Query *
eddy_union_pull_up(Query *query, Index stream_rti)
{
	/* with the entries that are added on the way, of unions within a branch */
	for (int rti = 1; rti <= list_length(query->rtable); rti++)
	{
		RangeTblEntry *rte = rt_fetch(rti, query->rtable);
		RangeTblRef *stream_ref;
		Index		placeholder;
		Index		offset;

		if (rte->rtekind != RTE_SUBQUERY || !rte->lateral || rte->subquery->setOperations)
			continue;
		placeholder = find_placeholder(rte->subquery, (Node *) rte->subquery->jointree);
		if (placeholder == 0)
			continue;
		stream_ref = makeNode(RangeTblRef);
		stream_ref->rtindex = stream_rti;
		remove_stream((Node *) query->jointree, stream_rti);
		offset = list_length(query->rtable);
		query = eddy_flatten_pull_up(query, rti, placeholder, stream_rti);
		eddy_flatten_replace_ref(query, offset + placeholder, makeFromExpr(list_make1(stream_ref), NULL));
	}
	return query;
}

/* ---- columns ---- */

static AttrNumber find_column(const Query *query, Index stream_rti, Index level, const Node *expr);

/*
 * The same for a column of a sub-select that is some levels below the stream; node: its set
 * operations, or one of them.
 */
static AttrNumber
find_in_branches(const Query *sub, const Node *node, Index stream_rti, Index level, int column)
{
	const SetOperationStmt *operation = (const SetOperationStmt *) node;
	AttrNumber	left;

	if (node == NULL)
		return find_column(sub, stream_rti, level,
						   (Node *) list_nth_node(TargetEntry, sub->targetList, column)->expr);
	if (IsA(node, RangeTblRef))
		return find_in_branches(rt_fetch(((const RangeTblRef *) node)->rtindex,
										 sub->rtable)->subquery,
								NULL, stream_rti, level + 1, column);
	left = find_in_branches(sub, operation->larg, stream_rti, level, column);
	return left != 0 &&
		find_in_branches(sub, operation->rarg, stream_rti, level, column) == left ? left : 0;
}

static AttrNumber
find_column(const Query *query, Index stream_rti, Index level, const Node *expr)
{
	const Var  *var;
	const RangeTblEntry *rte;

	while (expr && IsA(expr, RelabelType))
		expr = (const Node *) ((const RelabelType *) expr)->arg;
	if (expr == NULL || !IsA(expr, Var))
		return 0;
	var = (const Var *) expr;
	if (var->varno == (int) stream_rti && var->varlevelsup == level)
		return var->varattno;
	if (var->varlevelsup != 0 || var->varattno <= 0)
		return 0;
	rte = rt_fetch(var->varno, query->rtable);
	if (rte->rtekind != RTE_SUBQUERY || rte->subquery == NULL)
		return 0;
	return find_in_branches(rte->subquery, rte->subquery->setOperations, stream_rti, level + 1,
							var->varattno - 1);
}

/*
 * eddy_union_find_column returns the column of the stream that an expression over a flat query is,
 * in all branches of a union; 0: none. A column can be of a domain.
 */
AttrNumber
eddy_union_find_column(const Query *query, Index stream_rti, const Node *expr)
{
	return find_column(query, stream_rti, 0, expr);
}

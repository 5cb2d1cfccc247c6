/*-------------------------------------------------------------------------
 *
 * flatten.c
 *    Makes one flat query of a definition with sub-selects, CTEs and UNION ALL.
 *
 * All that follows, from the list of keys to the plan of the delta, sees one SELECT that has the
 * stream in its own FROM clause. Sub-selects and CTEs that read the stream are therefore pulled up,
 * as the planner does it: references to their columns are replaced by the expressions of their
 * select lists, their FROM and WHERE clauses become parts of the outer FROM clause. That is
 * possible if they are evaluated row by row. All others are refused with the reason.
 *
 * A definition whose UNION ALL reads several streams has a flat query for each of them, without the
 * branches of the others (union.c).
 *
 * Sub-selects and CTEs that do not read the stream remain: they are evaluated as of the batch, and
 * can contain anything.
 *
 * The stream is never on the nullable side of an outer join (refuse.c), so no expression that is
 * pulled up has to become NULL.
 *
 * Takes no locks; works in the caller's memory context. Makes no decision on anything but the query
 * and which relations are streams, so each backend gets the same result.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/bitmapset.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "view/chain.h"
#include "view/flatten.h"
#include "view/refuse.h"

/* ---- which queries read a stream ---- */

/*
 * eddy_flatten_reads_stream returns true if a query reads a stream in its FROM clause, or in that
 * of a sub-select there or of one of its CTEs, at any depth. CTEs of outer queries that do so must
 * have been replaced by sub-selects.
 */
bool
eddy_flatten_reads_stream(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (eddy_chain_is_source(rte))
			return true;
		if (rte->rtekind == RTE_SUBQUERY && rte->subquery &&
			eddy_flatten_reads_stream(rte->subquery))
			return true;
	}
	foreach(lc, query->cteList)
		if (eddy_flatten_reads_stream(castNode(Query, lfirst_node(CommonTableExpr, lc)->ctequery)))
			return true;
	return false;
}

static void
collect_sources(Query *query, List **sources)
{
	ListCell   *lc;

	/* of the others it does not matter which are read */
	eddy_flatten_inline_ctes(query, false);
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (eddy_chain_is_source(rte))
			*sources = list_append_unique_oid(*sources, rte->relid);
		if (rte->rtekind == RTE_SUBQUERY && rte->subquery)
			collect_sources(rte->subquery, sources);
	}
}

/*
 * eddy_flatten_list_sources returns the streams of a query: List of Oid, in the order of its
 * branches.
 */
List *
eddy_flatten_list_sources(Query *query)
{
	List	   *sources = NIL;

	collect_sources(copyObject(query), &sources);
	return sources;
}

/* ---- CTEs ---- */

typedef struct InlineContext
{
	const char *name;
	Query	   *cte;
	int			depth;			/* of the current query below the one that has the CTE */
} InlineContext;

/* Replaces references to a CTE by copies of its query. */
static bool
inline_walker(Node *node, InlineContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		context->depth++;
		/* entries after their contents: the copies need no visit */
		(void) query_tree_walker((Query *) node, inline_walker, context,
								 QTW_EXAMINE_RTES_AFTER);
		context->depth--;
		return false;
	}
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_CTE && rte->ctelevelsup == (Index) context->depth &&
			strcmp(rte->ctename, context->name) == 0)
		{
			Query	   *query = copyObject(context->cte);

			if (context->depth > 0)
				IncrementVarSublevelsUp((Node *) query, context->depth, 1);
			rte->rtekind = RTE_SUBQUERY;
			rte->subquery = query;
			rte->security_barrier = false;
			rte->ctename = NULL;
			rte->ctelevelsup = 0;
			rte->self_reference = false;
			rte->coltypes = NIL;
			rte->coltypmods = NIL;
			rte->colcollations = NIL;
		}
		return false;
	}
	return expression_tree_walker(node, inline_walker, context);
}

/*
 * eddy_flatten_inline_ctes replaces the CTEs that read the stream by sub-selects; with all, also
 * the others, which could not remain where the query is pulled up to.
 */
void
eddy_flatten_inline_ctes(Query *query, bool all)
{
	List	   *kept = NIL;
	ListCell   *lc;

	/* a CTE can only refer to those before it, unless it is recursive */
	foreach(lc, query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);
		Query	   *cte_query = castNode(Query, cte->ctequery);
		bool		reads_stream = eddy_flatten_reads_stream(cte_query);

		if (cte->cterecursive && reads_stream)
			eddy_refuse("a recursive query in a continuous view cannot read the stream",
						"Its rows would depend on each other.",
						"Use WITH RECURSIVE on ordinary tables only, and join the stream with its result.");
		if (cte->cterecursive && all)
			eddy_refuse("WITH RECURSIVE is not supported in a sub-select that reads the stream",
						NULL, "Create an ordinary view of the recursive query, and join with it.");
		if (reads_stream || all)
		{
			InlineContext context = {cte->ctename, cte_query, -1};

			(void) inline_walker((Node *) query, &context);
		}
		else
			kept = lappend(kept, cte);
	}
	query->cteList = kept;
	if (kept == NIL)
		query->hasRecursive = false;
}

/* ---- the FROM clause ---- */

static Node *
replace_ref(Node *node, Index rti, FromExpr *replacement)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, RangeTblRef))
		return ((RangeTblRef *) node)->rtindex == (int) rti ? (Node *) replacement : node;
	if (IsA(node, FromExpr))
	{
		ListCell   *lc;

		foreach(lc, ((FromExpr *) node)->fromlist)
			lfirst(lc) = replace_ref(lfirst(lc), rti, replacement);
	}
	else if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		join->larg = replace_ref(join->larg, rti, replacement);
		join->rarg = replace_ref(join->rarg, rti, replacement);
	}
	return node;
}

/* eddy_flatten_replace_ref puts something else in the place of a relation in the FROM clause. */
void
eddy_flatten_replace_ref(Query *query, Index rti, FromExpr *replacement)
{
	(void) replace_ref((Node *) query->jointree, rti, replacement);
}

/* ---- joins ---- */

/*
 * Replaces the columns of joins by those of their inputs, so that no reference to a join is left:
 * the server expects that the inputs of a join precede it in the range table.
 */
static void
expand_join_aliases(Query *query)
{
	bool		has_joins = false;
	ListCell   *lc;

	foreach(lc, query->rtable)
		has_joins |= lfirst_node(RangeTblEntry, lc)->rtekind == RTE_JOIN;
	if (!has_joins)
		return;
	query->targetList = (List *) eddy_compat_flatten_join_aliases(query,
																  (Node *) query->targetList);
	query->havingQual = eddy_compat_flatten_join_aliases(query, query->havingQual);
	query->jointree = (FromExpr *) eddy_compat_flatten_join_aliases(query,
																	(Node *) query->jointree);
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		rte->subquery = (Query *) eddy_compat_flatten_join_aliases(query,
																   (Node *) rte->subquery);
		rte->functions = (List *) eddy_compat_flatten_join_aliases(query,
																   (Node *) rte->functions);
		rte->tablefunc = (TableFunc *) eddy_compat_flatten_join_aliases(query,
																		(Node *) rte->tablefunc);
		rte->values_lists = (List *) eddy_compat_flatten_join_aliases(query,
																	  (Node *) rte->values_lists);
	}
	foreach(lc, query->rtable)
		if (lfirst_node(RangeTblEntry, lc)->rtekind == RTE_JOIN)
			lfirst_node(RangeTblEntry, lc)->joinaliasvars = NIL;
}

/* ---- sub-selects that are evaluated row by row ---- */

/* The relations of a lateral sub-select can refer to those before it. */
static void
mark_lateral(Query *sub)
{
	ListCell   *lc;

	foreach(lc, sub->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		switch (rte->rtekind)
		{
			case RTE_RELATION:
				if (rte->tablesample)
					rte->lateral = true;
				break;
			case RTE_SUBQUERY:
			case RTE_FUNCTION:
			case RTE_VALUES:
			case RTE_TABLEFUNC:
				rte->lateral = true;
				break;
			default:
				break;			/* have no expressions of their own */
		}
	}
}

static bool
contains_ref(Node *node, Index rti)
{
	ListCell   *lc;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblRef))
		return ((RangeTblRef *) node)->rtindex == (int) rti;
	if (IsA(node, JoinExpr))
		return contains_ref(((JoinExpr *) node)->larg, rti) ||
			contains_ref(((JoinExpr *) node)->rarg, rti);
	foreach(lc, castNode(FromExpr, node)->fromlist)
		if (contains_ref(lfirst(lc), rti))
			return true;
	return false;
}

/*
 * Removes what a sub-select can refer to from a FROM clause, or a part of it, which is returned:
 * the relations before the sub-select that are joined with it by inner joins.
 */
static Node *
take_before(Node *node, Index rti, List **before)
{
	if (IsA(node, FromExpr))
	{
		FromExpr   *from = (FromExpr *) node;
		ListCell   *lc;

		foreach(lc, from->fromlist)
		{
			if (contains_ref(lfirst(lc), rti))
			{
				lfirst(lc) = take_before(lfirst(lc), rti, before);
				break;
			}
			*before = lappend(*before, lfirst(lc));
			from->fromlist = foreach_delete_current(from->fromlist, lc);
		}
	}
	else if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		if (contains_ref(join->larg, rti))
			join->larg = take_before(join->larg, rti, before);
		else if (join->jointype == JOIN_INNER)
		{
			*before = lappend(*before, join->larg);
			return (Node *) makeFromExpr(list_make1(take_before(join->rarg, rti, before)),
										 join->quals);
		}
		else
			join->rarg = take_before(join->rarg, rti, before);
	}
	return node;
}

/*
 * The conditions of a lateral sub-select can refer to relations before it. In the outer FROM clause
 * they would be outside of its joins, and the planner would take the condition of an outer join for
 * one of WHERE. So these relations are joined first with the stream, or what stands for it: neither
 * is on the nullable side of an outer join, so the result is the same.
 */
static void
join_before(Query *query, Index rti, Query *sub, Index stream_rti)
{
	List	   *before = NIL;
	RangeTblRef *ref = makeNode(RangeTblRef);

	(void) take_before((Node *) query->jointree, rti, &before);
	if (before == NIL)
		return;
	ref->rtindex = stream_rti;
	eddy_flatten_replace_ref(sub, stream_rti, makeFromExpr(lappend(before, ref), NULL));
}

/* True if a sub-select, which was pulled up, refers to other relations than one. */
static bool
refers_outside(Query *sub, Index first_rti, Index except)
{
	Bitmapset  *varnos = bms_join(pull_varnos(NULL, (Node *) sub->jointree),
								  pull_varnos(NULL, (Node *) sub->targetList));
	int			first;

	varnos = bms_del_member(varnos, except);
	first = bms_next_member(varnos, -1);
	return first >= 0 && first < (int) first_rti;
}

/*
 * eddy_flatten_pull_up pulls a flat sub-select up into the query, which is returned. stream_rti:
 * where the sub-select has the stream, or what stands for it; outer_stream_rti: where the query has
 * the stream, 0 if it has none.
 */
Query *
eddy_flatten_pull_up(Query *query, Index rti, Index stream_rti, Index outer_stream_rti)
{
	Index		offset = list_length(query->rtable);
	RangeTblEntry *rte = rt_fetch(rti, query->rtable);
	RangeTblEntry *target = copyObject(rte);
	Query	   *sub = rte->subquery;

	OffsetVarNodes((Node *) sub, offset, 0);
	IncrementVarSublevelsUp((Node *) sub, -1, 1);
	if (rte->lateral)
		mark_lateral(sub);
	target->subquery = sub;

	/* the entry remains, so that the others keep their numbers */
	rte->rtekind = RTE_RESULT;
	rte->subquery = NULL;
	rte->lateral = false;
	query = (Query *) eddy_compat_replace_vars((Node *) query, rti, target, sub->targetList);
	if (refers_outside(sub, offset + 1, outer_stream_rti))
		join_before(query, rti, sub, offset + stream_rti);
	eddy_flatten_replace_ref(query, rti, sub->jointree);
	eddy_compat_append_range_table(query, sub);
	query->hasSubLinks |= sub->hasSubLinks;
	return query;
}

/* The entry of the stream in a flat query. A second one is refused later. */
static Index
find_source(const Query *query)
{
	ListCell   *lc;

	foreach(lc, query->rtable)
		if (eddy_chain_is_source(lfirst_node(RangeTblEntry, lc)))
			return foreach_current_index(lc) + 1;
	return 0;
}

static Query *
flatten(Query *query, Oid stream, bool top)
{
	eddy_compat_flatten_group(query);
	eddy_flatten_inline_ctes(query, !top);
	if (query->setOperations)
		query = eddy_union_wrap(query);
	expand_join_aliases(query);
	/* the entries that are added on the way come from flat queries */
	for (Index rti = 1, n = list_length(query->rtable); rti <= n; rti++)
	{
		RangeTblEntry *rte = rt_fetch(rti, query->rtable);

		if (rte->rtekind != RTE_SUBQUERY || rte->subquery == NULL ||
			!eddy_flatten_reads_stream(rte->subquery))
			continue;
		if (rte->subquery->setOperations)
			eddy_flatten_inline_ctes(rte->subquery, true);
		if (rte->subquery->setOperations)
		{
			eddy_union_flatten(query, rti, stream);
			continue;
		}
		eddy_refuse_not_row_wise(rte->subquery);
		rte->subquery = flatten(rte->subquery, stream, false);
		eddy_set_returning_to_from(rte->subquery);
		query = eddy_flatten_pull_up(query, rti, find_source(rte->subquery), 0);
	}
	return query;
}

/*
 * eddy_flatten_query makes one flat query of a definition: that for the rows of one of its streams.
 * What is not evaluated row by row is refused (ERRCODE_FEATURE_NOT_SUPPORTED). The query is
 * changed, and must not be used again.
 */
Query *
eddy_flatten_query(Query *query, Oid stream)
{
	return flatten(query, stream, true);
}

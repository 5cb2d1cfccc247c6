/*-------------------------------------------------------------------------
 *
 * union.c
 *    UNION ALL of branches that read the same stream.
 *
 * Each row of the stream goes through all branches, so
 *
 *    FROM (SELECT a FROM s WHERE p UNION ALL SELECT b FROM s, t WHERE q) u
 *
 * becomes
 *
 *    FROM s, LATERAL (SELECT s.a WHERE p UNION ALL SELECT s.b FROM t WHERE q) u
 *
 * in which the stream is read once. In the branches, an entry that gives one row without columns
 * takes the place of the stream, also on the left side of joins.
 *
 * Takes no locks; works in the caller's memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "view/chain.h"
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

/* Collects the range table indexes of the branches. */
static void
collect_branches(Node *node, List **branches)
{
	if (IsA(node, RangeTblRef))
		*branches = lappend_int(*branches, ((RangeTblRef *) node)->rtindex);
	else
	{
		SetOperationStmt *operation = castNode(SetOperationStmt, node);

		if (operation->op != SETOP_UNION)
			eddy_refuse("INTERSECT and EXCEPT are not supported in a continuous view",
						"Whether a row counts would depend on other rows of the stream.",
						"Create one continuous view for each branch, and combine them when reading.");
		if (!operation->all)
			eddy_refuse("UNION without ALL is not supported in a continuous view", NULL,
						"Use UNION ALL in a sub-select in FROM, and SELECT DISTINCT over it.");
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
	Index		to;				/* in the query that is two levels above it */
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
			var->varlevelsup += 2;
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

/*
 * eddy_union_flatten takes the stream out of the branches of a sub-select with set operations, and
 * adds it to the FROM clause of the query.
 */
void
eddy_union_flatten(Query *query, Index rti)
{
	RangeTblEntry *rte = rt_fetch(rti, query->rtable);
	Query	   *sub = rte->subquery;
	List	   *branches = NIL;
	RangeTblRef *stream_ref = makeNode(RangeTblRef);
	RangeTblRef *union_ref = makeNode(RangeTblRef);
	Oid			stream = InvalidOid;
	Index		stream_rti = 0;
	ListCell   *lc;

	eddy_refuse_not_row_wise(sub);
	collect_branches(sub->setOperations, &branches);
	foreach(lc, branches)
	{
		RangeTblEntry *branch = rt_fetch(lfirst_int(lc), sub->rtable);
		RangeTblEntry *own;
		OuterContext context = {0};

		if (!eddy_flatten_reads_stream(branch->subquery))
			eddy_refuse("a branch of UNION ALL does not read the stream",
						"Its rows would be counted again with each batch.",
						"Leave out the branch, and combine its rows with the continuous view when reading.");
		if (branch->subquery->hasAggs || branch->subquery->groupClause ||
			branch->subquery->groupingSets)
			eddy_refuse("a branch of UNION ALL cannot aggregate in a continuous view", NULL,
						"Create one continuous view for each branch and combine them when reading.");
		eddy_refuse_not_row_wise(branch->subquery);
		branch->subquery = eddy_flatten_query(branch->subquery);
		eddy_set_returning_to_from(branch->subquery);
		context.from = find_stream(branch->subquery);
		eddy_refuse_nullable_stream(branch->subquery);
		own = rt_fetch(context.from, branch->subquery->rtable);
		if (OidIsValid(stream) && own->relid != stream)
			eddy_refuse("UNION ALL of several streams is not supported in a continuous view",
						"A continuous view is maintained by the batches of one stream, and its windows close by the watermark of that stream.",
						"Attach all topics to one stream, which can have several sources, or create a continuous view for each stream and an ordinary view that combines them.");
		stream = own->relid;
		stream_rti = eddy_compat_add_relation(query, stream_rti, branch->subquery, own);
		context.to = stream_rti;
		eddy_compat_make_result(own);
		(void) query_tree_walker(branch->subquery, refer_outer, &context, 0);
	}
	rte->lateral = true;
	stream_ref->rtindex = stream_rti;
	union_ref->rtindex = rti;
	eddy_flatten_replace_ref(query, rti, makeFromExpr(list_make2(stream_ref, union_ref), NULL));
}

/*-------------------------------------------------------------------------
 *
 * delta_plan.c
 *    Plans the delta query of a view, and keeps the plan while it is valid.
 *
 * The delta query is a Query made from the definition (analyze.c), never text: names, operators and
 * types were resolved when the view was created, so neither search_path nor renames matter.
 * Rewriting expands views that are joined and adds the policies of row-level security for the owner
 * of the view.
 *
 * A plan is valid until a relation, function, type, operator, policy or role that it depends on
 * changes. The callbacks in plan.c mark it, and it is made again at its next use.
 *
 * Locking: what the query reads is locked as for a SELECT, until the end of the transaction.
 * Memory: one context per plan, under that of the view's plan.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "optimizer/planner.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

#include "view/flatten.h"
#include "view/plan.h"
#include "view/refuse.h"
#include "view/scan.h"

/* Attempts to make a plan that no concurrent change invalidates meanwhile. */
#define PLAN_ATTEMPTS 3

/* Functions that were inlined can also read a stream. */
static void
refuse_inlined_streams(PlannedStmt *statement)
{
	ListCell   *lc;

	foreach(lc, statement->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION && !eddy_scan_is_marked(rte))
			eddy_refuse_hidden_relation(rte->relid, rte->inh);
	}
}

/*
 * eddy_delta_plan_query rewrites and plans a query over a batch, which it changes. The caller acts
 * as the owner of the view.
 */
PlannedStmt *
eddy_delta_plan_query(EddyViewPlan *plan, Query *query)
{
	List	   *rewritten;
	PlannedStmt *statement;

	query = eddy_union_pull_up(query, plan->stream_rti);
	query->querySource = QSRC_ORIGINAL;
	query->canSetTag = true;
	AcquireRewriteLocks(query, true, false);
	rewritten = QueryRewrite(query);
	if (list_length(rewritten) != 1)
		elog(ERROR, "rewriting the delta query gave %d queries", list_length(rewritten));
	query = linitial_node(Query, rewritten);
	(void) eddy_refuse_hidden_streams(query);
	statement = pg_plan_query(query, plan->delta_name, 0, NULL);
	refuse_inlined_streams(statement);
	return statement;
}

/*
 * Locks the relations that the plan reads, as the server does with its cached plans. The batch has
 * mostly locked its stream.
 */
static void
lock_relations(PlannedStmt *statement)
{
	ListCell   *lc;

	foreach(lc, statement->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (OidIsValid(rte->relid) &&
			(rte->rtekind == RTE_RELATION || rte->rtekind == RTE_SUBQUERY) &&
			!CheckRelationOidLockedByMe(rte->relid, RowExclusiveLock, false))
			LockRelationOid(rte->relid, rte->rellockmode);
	}
}

static void
discard_plan(EddyViewPlan *plan)
{
	if (plan->delta_mcxt)
		MemoryContextDelete(plan->delta_mcxt);
	plan->delta_mcxt = NULL;
	plan->delta = NULL;
	plan->delta_valid = false;
	plan->direct = NULL;		/* was part of it */
	plan->indirect = plan->is_pure = plan->pure = false;
}

/* Replaces the plan; after an error there is none. */
static void
replace_plan(EddyViewPlan *plan)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy delta plan",
											   ALLOCSET_SMALL_SIZES);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy planning",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	PlannedStmt *statement;
	uint64		before = eddy_plan_invalidations();

	discard_plan(plan);
	statement = eddy_delta_plan_query(plan, copyObject(plan->delta_query));
	MemoryContextSwitchTo(mcxt);
	plan->delta = copyObject(statement);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	MemoryContextSetParent(mcxt, plan->mcxt);
	plan->delta_mcxt = mcxt;
	/* transient: an index that this plan could not use yet may be usable for the next */
	plan->delta_valid = before == eddy_plan_invalidations() && !plan->delta->transientPlan;
}

/*
 * eddy_delta_is_planned returns true if there is a valid plan of the delta query, and locks the
 * relations that it reads.
 */
bool
eddy_delta_is_planned(EddyViewPlan *plan)
{
	if (plan->delta)
		lock_relations(plan->delta);
	return plan->delta && plan->delta_valid;
}

/*
 * eddy_delta_plan returns the plan of the delta query, made again if an object that it depends on
 * has changed, with the relations that it reads locked. The caller acts as the owner of the view.
 * Raises the errors of planning.
 */
PlannedStmt *
eddy_delta_plan(EddyViewPlan *plan)
{
	bool		planned = eddy_delta_is_planned(plan);

	for (int attempt = 0; !planned && (plan->delta == NULL || !plan->delta_valid); attempt++)
	{
		replace_plan(plan);
		if (attempt >= PLAN_ATTEMPTS)
			break;				/* concurrent changes continue, and may be unrelated */
	}
	return plan->delta;
}

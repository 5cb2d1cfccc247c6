/*-------------------------------------------------------------------------
 *
 * empty_sets.c
 *    The rows of grouping sets without columns, which a view has from its creation on.
 *
 * GROUP BY ROLLUP (a), GROUPING SETS ((a), ()) and CUBE give a row for the set () even if there are
 * no rows to aggregate, as a query without GROUP BY does. grouping.c makes the number of the set a
 * key and notes which sets are empty. When a view is created or rebuilt, the delta query runs once
 * for each of them, without GROUP BY and over no rows: it gives the partial results of nothing,
 * which are merged like the groups of a batch.
 *
 * No locks. Memory: that of the work. Nothing survives a crash of the creation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"

#include "owner.h"
#include "view/analyze.h"
#include "view/flatten.h"
#include "view/kind_retracting.h"
#include "view/maintain.h"

/*
 * eddy_empty_sets_note finds the key that is the number of the grouping set, and the numbers of the
 * sets without columns.
 */
void
eddy_empty_sets_note(EddyViewPlan *plan, Query *query)
{
	for (int i = 0; i < plan->nkeys; i++)
	{
		SortGroupClause *clause = list_nth(query->groupClause, plan->keys[i].position);
		TargetEntry *tle = get_sortgroupclause_tle(clause, query->targetList);
		RangeTblEntry *rte;
		ListCell   *lc;

		if (!tle->resjunk || tle->resname == NULL ||
			strcmp(tle->resname, EDDY_GROUPING_SET_NAME) != 0)
			continue;
		plan->set_key = i;
		rte = rt_fetch(castNode(Var, tle->expr)->varno, query->rtable);
		foreach(lc, rte->values_lists)
		{
			List	   *set = lfirst(lc);

			if (DatumGetBool(lsecond_node(Const, set)->constvalue))
				plan->empty_sets =
					lappend_int(plan->empty_sets,
								DatumGetInt32(linitial_node(Const, set)->constvalue));
		}
	}
}

/* The delta query for one set: its keys are constants. */
static Query *
make_query(const EddyViewPlan *plan, int set)
{
	Query	   *query = copyObject(plan->delta_query);

	query->groupClause = NIL;
	for (int i = 0; i < plan->nkeys; i++)
	{
		TargetEntry *tle = list_nth_node(TargetEntry, query->targetList, i);

		tle->ressortgroupref = 0;
		if (i == plan->set_key)
			tle->expr = (Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
										   Int32GetDatum(set), false, true);
		else
			tle->expr = (Expr *) makeNullConst(plan->keys[i].type, plan->keys[i].typmod,
											   plan->keys[i].collation);
	}
	/* nothing is taken back */
	if (plan->retracts)
		llast_node(TargetEntry, query->targetList)->expr = eddy_retracting_make_added();
	/* gives one row, also without aggregates */
	if (!query->hasAggs)
		query->havingQual = makeBoolConst(true, false);
	return query;
}

static void
run_queries(void *arg)
{
	EddyWork   *work = arg;
	EddyScanRange nothing = {work->batch, 0, 0, NULL, -1};
	EddyOwnerSwitch save;
	ListCell   *lc;

	eddy_owner_begin(&save, work->plan->owner);
	foreach(lc, work->plan->empty_sets)
	{
		Tuplestorestate *store = eddy_delta_make_store(work);
		bool		starting = true;

		eddy_delta_execute(work,
						   eddy_delta_plan_query(work->source,
												 make_query(work->source, lfirst_int(lc))),
						   &nothing, store, &starting);
		work->deltas = lappend(work->deltas, store);
	}
	eddy_owner_end(&save);
}

/* eddy_empty_sets_collect adds the rows of empty grouping sets to the delta. Raises errors. */
void
eddy_empty_sets_collect(EddyWork *work)
{
	if (work->plan->empty_sets)
		(void) eddy_delta_run(work, run_queries, work, false);
}

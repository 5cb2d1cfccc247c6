/*-------------------------------------------------------------------------
 *
 * kind_deferred.h
 *    Views with maintenance => 'deferred': the table of deltas, and who reads it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_KIND_DEFERRED_H
#define EDDY_KIND_DEFERRED_H

#include "lib/stringinfo.h"
#include "view/plan.h"

/* The state tables, by their position in plan->state_tables. */
#define DEFERRED_STATE 0
#define DEFERRED_DELTAS 1

/*
 * Columns of the table of deltas, whose row is one of the delta query:
 *
 *    key of the main table | id | partial results of the aggregates
 */
static inline const EddyStateTable *
eddy_deferred_deltas(const EddyViewPlan *plan)
{
	return (const EddyStateTable *) list_nth(plan->state_tables, DEFERRED_DELTAS);
}

/* The number of columns of the key, which is not empty for a view without GROUP BY either. */
static inline int
eddy_deferred_nkeys(const EddyViewPlan *plan)
{
	return eddy_deferred_deltas(plan)->nkeys - 1;
}

/* Makes a row of the delta query, virtual and of plan->delta_desc, from a row of the table. */
extern void eddy_deferred_to_delta(const EddyViewPlan *plan, const Datum *values,
								   const bool *nulls, TupleTableSlot *delta);

/* Raises an error if a view of its kind cannot have maintenance => 'deferred'. */
extern void eddy_deferred_check(const EddyViewPlan *plan);

/* True if readers need the deltas: a view shows groups that may still change. */
extern bool eddy_deferred_is_shown(const EddyViewPlan *plan);

/* ---- fold.c ---- */

extern TimestampTz eddy_deferred_first_end(const EddyViewPlan *plan);
extern TimestampTz eddy_deferred_settle(EddyViewPlan *plan, TimestampTz until, int64 *budget);

#endif							/* EDDY_KIND_DEFERRED_H */

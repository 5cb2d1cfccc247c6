/*-------------------------------------------------------------------------
 *
 * chain_combine.h
 *    eddy.combine(column): aggregates over what a parent has kept of its aggregates.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CHAIN_COMBINE_H
#define EDDY_CHAIN_COMBINE_H

#include "view/combine.h"
#include "view/plan.h"

/*
 * In a flat query, eddy.combine is replaced by the aggregate of the parent, with this number, less
 * the index of the aggregate in the plan of the parent, as aggno: the arguments are those of the
 * parent's query.
 */
#define EDDY_COMBINED_AGGNO (-100)

static inline bool
eddy_combine_is_combined(const Aggref *aggref)
{
	return aggref->aggno <= EDDY_COMBINED_AGGNO;
}

/* Replaces calls of eddy.combine in a query; sets plan->combines. */
extern void eddy_combine_replace(EddyViewPlan *plan, Query *query);

/* At the end of the analysis, also after an error. */
extern void eddy_combine_unpin(EddyViewPlan *plan);

/* The aggregate of the parent that one of the plan combines. */
extern const EddyAggregate *eddy_combine_source(const EddyViewPlan *plan, const Aggref *aggref);

/* The call that stands for an aggregate that combines states in the delta query: their list. */
extern Aggref *eddy_combine_make_states(const EddyViewPlan *plan, const Aggref *aggref);

/* The same for kept values. */
extern Aggref *eddy_combine_make_values(const EddyViewPlan *plan, const Aggref *aggref);

/* Combines the states of a list with the stored state of a group, NULL: a new group. */
extern void eddy_combine_states(EddyCombiner *combiner, EddyAggregate *agg,
								const EddyState *states, const EddyState *stored,
								EddyState *new_stored, EddyState *final);

/* True if views that read a view may combine what it keeps: then closing keeps it for a while. */
extern bool eddy_combine_is_wanted(Oid view);

#endif							/* EDDY_CHAIN_COMBINE_H */

/*-------------------------------------------------------------------------
 *
 * trial.h
 *    Rows of state tables that were merged on trial, kept in memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_TRIAL_H
#define EDDY_TRIAL_H

#include "executor/tuptable.h"
#include "view/plan.h"

typedef struct EddyTrial EddyTrial;

extern EddyTrial *eddy_trial_begin(const EddyViewPlan *plan, MemoryContext parent);
extern void eddy_trial_end_step(EddyTrial *trial, bool keep);
extern void eddy_trial_end(EddyTrial *trial);

/* State tables by their position in plan->state_tables. */
extern MinimalTuple eddy_trial_find(EddyTrial *trial, int table, const Datum *keys,
									const bool *nulls);
extern void eddy_trial_add(EddyTrial *trial, int table, TupleTableSlot *version);

#endif							/* EDDY_TRIAL_H */

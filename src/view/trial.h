/*-------------------------------------------------------------------------
 *
 * trial.h
 *    Groups that were merged on trial, kept in memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_TRIAL_H
#define EDDY_TRIAL_H

#include "executor/tuptable.h"
#include "view/plan.h"

typedef struct EddyTrial EddyTrial;

/* Begins a trial for a view; its memory is a child of parent. */
extern EddyTrial *eddy_trial_begin(EddyViewPlan *plan, MemoryContext parent);

/* The version of a group that earlier steps have made, or NULL. Lives until it is replaced. */
extern MinimalTuple eddy_trial_find(EddyTrial *trial, Datum *keys, bool *key_nulls);

/* Adds a version that the running step has made. It is found once the step has been kept. */
extern void eddy_trial_add(EddyTrial *trial, TupleTableSlot *version);

/* Ends a step, failed ones included: keeps what it has added, or forgets it. */
extern void eddy_trial_end_step(EddyTrial *trial, bool keep);

extern void eddy_trial_end(EddyTrial *trial);

#endif							/* EDDY_TRIAL_H */

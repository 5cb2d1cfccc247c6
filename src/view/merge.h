/*-------------------------------------------------------------------------
 *
 * merge.h
 *    Merges deltas into a state table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_MERGE_H
#define EDDY_MERGE_H

#include "utils/resowner.h"
#include "view/plan.h"
#include "view/trial.h"

/*
 * Merges deltas (List of Tuplestorestate, not freed) of a batch that can be repeated. A
 * new group that somebody else inserts at the same time is an error (23505), after which the
 * caller's transaction has to be done again.
 */
extern void eddy_merge(EddyViewPlan *plan, List *deltas);

/*
 * The same in two passes. eddy_merge_compute raises every error that a row can be to blame for
 * and writes nothing; eddy_merge_write writes. Under REPEATABLE READ and stricter levels the latter
 * fails with 40001 when a group was changed by somebody else. The result's memory is in mcxt, its
 * temporary files belong to owner, so it can outlive the subtransaction that computes it.
 */
typedef struct EddyMergeResult EddyMergeResult;

extern EddyMergeResult *eddy_merge_make_result(MemoryContext mcxt, ResourceOwner owner);
extern void eddy_merge_compute(EddyViewPlan *plan, List *deltas, EddyMergeResult *result);
extern void eddy_merge_write(EddyViewPlan *plan, EddyMergeResult *result);
extern void eddy_merge_free_result(EddyMergeResult *result);

/*
 * Merges into a trial instead of the table, to find out which rows make a merge fail. Sees what earlier
 * steps of the trial have merged, on top of what is stored.
 */
extern void eddy_merge_try(EddyViewPlan *plan, List *deltas, EddyTrial *trial);

#endif							/* EDDY_MERGE_H */

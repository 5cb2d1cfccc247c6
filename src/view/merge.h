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
 * Merging on trial, in memory, to find out which rows make a merge fail. Each eddy_merge_try
 * sees what the ones before it have merged, if these were kept by eddy_merge_end_try, which has to
 * follow each of them, failed ones included.
 */
typedef struct EddyMergeTrial EddyMergeTrial;

extern EddyMergeTrial *eddy_merge_begin_trial(EddyViewPlan *plan, MemoryContext parent);
extern void eddy_merge_try(EddyViewPlan *plan, List *deltas, EddyMergeTrial *trial);
extern void eddy_merge_end_try(EddyMergeTrial *trial, bool keep);
extern void eddy_merge_end_trial(EddyMergeTrial *trial);

#endif							/* EDDY_MERGE_H */

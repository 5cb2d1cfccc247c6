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

/*
 * State tables by their position in plan->state_tables. A row that earlier steps have changed has
 * a tuple, or none if they have removed it. Keys are given in the order of ranges (upsert.h).
 */
extern bool eddy_trial_lookup(EddyTrial *trial, int table, const Datum *keys, const bool *nulls,
							  MinimalTuple *tuple);
extern void eddy_trial_add(EddyTrial *trial, int table, TupleTableSlot *version);
extern void eddy_trial_remove(EddyTrial *trial, int table, const Datum *keys, const bool *nulls);

/* The rows of a range of keys that earlier steps have made, in order: as eddy_upsert_seek_from. */
extern void eddy_trial_seek(EddyTrial *trial, int table, int nkeys, bool from, const Datum *keys,
							const bool *nulls);
extern MinimalTuple eddy_trial_next(EddyTrial *trial, int table);

/* Compares the keys of two rows of a table. */
extern int	eddy_trial_compare(EddyTrial *trial, int table, TupleTableSlot *left,
							   TupleTableSlot *right);

#endif							/* EDDY_TRIAL_H */

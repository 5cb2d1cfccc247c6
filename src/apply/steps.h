/*-------------------------------------------------------------------------
 *
 * steps.h
 *    The steps of applying a batch; for src/apply alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_APPLY_STEPS_H
#define EDDY_APPLY_STEPS_H

#include "apply/apply.h"
#include "executor/tuptable.h"

/* Finds the latest event time of each partition, and treats NULLs by the policy of the stream. */
extern void eddy_event_time_take(EddyApply *apply);

/* When all rows are made: removes rejections after the end of a batch that has stopped. */
extern void eddy_reject_settle(EddyApply *apply);

/* Counts the rejections and writes them to eddy.dead_letters, in order of the rows. */
extern void eddy_dead_letter_write(EddyApply *apply);

/* Writes and counts late rows: List of EddyApply. */
extern void eddy_late_write(List *applies);

/* Locks streams (List of Oid) as batches do, without waiting. False: one is not available. */
extern bool eddy_close_lock_streams(List *streams);

/* Keeps windows of streams (List of Oid, in any order) open until the transaction ends. */
extern void eddy_close_join_all(List *streams);

/* The operation judge of EddyBatch: keeps windows open until the transaction ends. */
extern void eddy_close_judge(EddyBatch *batch);

/* A row of a batch, without columns that are not shown, as a Datum of a composite type. */
extern Datum eddy_dead_letter_row(const EddyBatch *batch, TupleTableSlot *row);

/* After the input has stored its position: windows are closed when the transaction commits. */
extern void eddy_close_note(const EddyApply *apply);

/*
 * Calls a function for each view, in a transaction of its own, and in the caller's memory context.
 * The view itself lives until the transaction ends.
 */
typedef void (*EddyViewFunction) (const EddyView *view, void *arg);
extern void eddy_apply_each_view(EddyViewFunction function, void *arg);

/* Goes back to the first row of a tuplestore. */
static inline void
eddy_apply_rewind(const EddyBatch *batch)
{
	/* views read through the same pointer */
	tuplestore_select_read_pointer(batch->store, 0);
	tuplestore_rescan(batch->store);
}

/*
 * Reads a row of a tuplestore that is not before the last one that was read; *last: its number, -1
 * after eddy_apply_rewind.
 */
static inline void
eddy_apply_read_row(const EddyBatch *batch, TupleTableSlot *slot, int64 *last, int64 row)
{
	for (; *last < row; (*last)++)
		if (!eddy_batch_next_stored(batch, slot))
			elog(ERROR, "row " INT64_FORMAT " is not in the batch", row);
}

#endif							/* EDDY_APPLY_STEPS_H */

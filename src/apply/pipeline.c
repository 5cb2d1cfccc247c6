/*-------------------------------------------------------------------------
 *
 * pipeline.c
 *    The driver of a batch: rows, staging, views, dead letters, end.
 *
 * Every batch takes these steps, in one transaction, which is the source worker's or that of the
 * user's statement. What differs between the two are the operations of the input (apply.h). A
 * statement that has written to several streams has one batch for each; they go through each step
 * together, because maintenance locks views in one order over all of them (cascade.c). What
 * observers of views do with the changes comes after the last view.
 *
 * Locking: the caller has locked the streams; after them, in this order, segment, state tables and
 * their rows, dead letters, and what the inputs store. Memory: batch.mcxt. An error, or a
 * crash, leaves nothing of the batch, as the transaction is rolled back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "apply/steps.h"
#include "stream/stream.h"
#include "view/view.h"

void
eddy_apply_begin(EddyApply *apply, Oid stream, TupleDesc tupdesc, MemoryContext mcxt)
{
	memset(apply, 0, sizeof(EddyApply));
	apply->batch.stream = stream;
	apply->batch.tupdesc = tupdesc;
	apply->batch.natts = tupdesc->natts;
	apply->batch.mcxt = mcxt;
	apply->batch.judge = eddy_close_judge;
	apply->batch.union_watermark = eddy_watermark_of_union;
	apply->batch.watermark = apply->watermark = DT_NOBEGIN;
}

/* Decoding, conversion, constraints, event time. */
static bool
take_rows(EddyApply *apply)
{
	if (apply->input->make_rows && !apply->input->make_rows(apply))
		return false;
	eddy_event_time_take(apply);
	eddy_reject_settle(apply);
	return true;
}

/* Rows of users' statements are already in the table itself. */
static void
stage_rows(EddyApply *apply)
{
	if (apply->batch.store == NULL && !apply->staged)
		eddy_stream_write(apply->stream, &apply->batch);
}

static bool
finish(EddyApply *apply)
{
	eddy_dead_letter_write(apply);
	return apply->input->finish(apply);
}

bool
eddy_apply_run(List *applies, List *changes, bool repeatable)
{
	ListCell   *lc;

	foreach(lc, applies)
	{
		if (!take_rows(lfirst(lc)))
			return false;
	}
	foreach(lc, applies)
		stage_rows(lfirst(lc));
	eddy_apply_maintain(applies, changes, repeatable);
	foreach(lc, applies)
	{
		if (!finish(lfirst(lc)))
			return false;
		eddy_close_note(lfirst(lc));
	}
	return true;
}

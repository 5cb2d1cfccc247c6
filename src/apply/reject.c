/*-------------------------------------------------------------------------
 *
 * reject.c
 *    Rows of a batch that are in no view and are not staged.
 *
 * A row is rejected for the whole stream if its message cannot be decoded or converted, if it
 * violates a constraint, or if it lacks an event time. Under policy stop the batch ends before the
 * row instead. Rows that single views reject are found by src/view and are in
 * batch.view_rejections.
 *
 * No locks. Memory: batch.mcxt.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "apply/steps.h"

void
eddy_reject_omit(EddyApply *apply, int64 row)
{
	EddyBatch  *batch = &apply->batch;

	if (batch->rejected == NULL)
		batch->rejected = MemoryContextAllocExtended(batch->mcxt, batch->nrows,
													 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	batch->rejected[row] = true;
	batch->nrejected++;
}

void
eddy_reject_row(EddyApply *apply, int64 row, int sqlerrcode, const char *message, bool stops)
{
	MemoryContext old_context = MemoryContextSwitchTo(apply->batch.mcxt);

	Assert(row < apply->batch.nrows);
	if (stops)
	{
		apply->stopped = true;
		apply->stop_sqlerrcode = sqlerrcode;
		apply->stop_message = pstrdup(message);
		apply->batch.nrows = row;
	}
	else
	{
		EddyRejection *rejection = palloc0(sizeof(EddyRejection));

		rejection->row = row;
		rejection->sqlerrcode = sqlerrcode;
		rejection->message = pstrdup(message);
		apply->rejections = lappend(apply->rejections, rejection);
		eddy_reject_omit(apply, row);
	}
	MemoryContextSwitchTo(old_context);
}

void
eddy_reject_settle(EddyApply *apply)
{
	EddyBatch  *batch = &apply->batch;
	ListCell   *lc;

	if (!apply->stopped || batch->rejected == NULL)
		return;
	/* the input delivers these again */
	foreach(lc, apply->rejections)
	{
		if (((EddyRejection *) lfirst(lc))->row >= batch->nrows)
			apply->rejections = foreach_delete_current(apply->rejections, lc);
	}
	batch->nrejected = 0;
	for (int64 row = 0; row < batch->nrows; row++)
		batch->nrejected += batch->rejected[row];
}

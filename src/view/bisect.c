/*-------------------------------------------------------------------------
 *
 * bisect.c
 *    Finds the rows of a batch that a view fails on, and rejects them for that view.
 *
 * The delta query streams, so the row that it read last has probably caused an error; if
 * that row fails alone, it has. Otherwise the shortest prefix of the rows that fails is searched by
 * bisection, which also finds the row at which an aggregate overflows. Each attempt is a step
 * that only reads (delta.c), so no row is locked and nothing is written during the search.
 *
 * No locks of its own. Memory: rejections are made in the context of the batch, the rest in the
 * caller's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "clock.h"
#include "view/maintain.h"

/* A batch is searched in chunks of this size, so that many failing rows remain cheap. */
#define CHUNK_ROWS 256

static void
reject_row(EddyWork *work, int64 row, ErrorData *error)
{
	EddyRejection *rejection;
	MemoryContext old;

	if (!work->plan->dead_letters)
		eddy_delta_refuse_batch(work, error);
	work->skip[row] = true;
	/* it failed when it was added as well, and has its dead letter since then */
	if (work->batch->marks && eddy_changes_is_removed(work->batch->marks[row]))
	{
		FreeErrorData(error);
		return;
	}
	old = MemoryContextSwitchTo(work->batch->mcxt);
	rejection = palloc0(sizeof(EddyRejection));
	rejection->row = row;
	rejection->view = work->plan->view;
	rejection->sqlerrcode = error->sqlerrcode;
	/* that of the time limit, if the error is a cancel */
	rejection->message = error->sqlerrcode == ERRCODE_QUERY_CANCELED ? eddy_clock_describe() :
		pstrdup(error->message ? error->message : "");
	work->batch->view_rejections = lappend(work->batch->view_rejections, rejection);
	MemoryContextSwitchTo(old);
	FreeErrorData(error);
}

/*
 * A step over [range->from, range->to) has failed with *error. Finds the failing row and returns
 * its index, with the error that it raised in *error; -1 if the step fails without any row.
 */
static int64
find_failing_row(EddyWork *work, EddyScanRange *range, EddyStep step, ErrorData **error)
{
	EddyScanRange probe = *range;
	ErrorData  *found = NULL;
	int64		last = range->position; /* the row that was read last */
	int64		good = range->from; /* the prefix of rows before this one passes */
	int64		bad = range->to;	/* the prefix before this one fails */

	if (last >= 0 && range->to - range->from == 1)
		return last;
	if (last >= 0)
	{
		probe.from = last;
		probe.to = last + 1;
		if (!eddy_delta_try_step(work, &probe, step, false, &found))
		{
			*error = found;
			return last;
		}
		bad = Min(bad, last + 1);
	}
	probe.from = range->from;
	probe.to = range->from;
	if (!eddy_delta_try_step(work, &probe, step, false, &found))
		return -1;
	while (bad - good > 1)
	{
		int64		middle = good + (bad - good) / 2;

		probe.to = middle;
		if (eddy_delta_try_step(work, &probe, step, false, &found))
			good = middle;
		else
		{
			bad = middle;
			*error = found;
		}
	}
	return bad > range->from ? bad - 1 : -1;
}

/*
 * True if a row can be left out. A view whose source takes rows back must recognize it when it
 * comes again, by failing in the same way: alone, and not because it took too long.
 */
static bool
can_reject(EddyWork *work, EddyScanRange *range, EddyStep step, int64 row, ErrorData *error)
{
	EddyScanRange probe = *range;
	ErrorData  *unused;

	if (!work->plan->retracts)
		return true;
	probe.from = row;
	probe.to = row + 1;
	return error->sqlerrcode != ERRCODE_QUERY_CANCELED &&
		!eddy_delta_try_step(work, &probe, step, false, &unused);
}

/* eddy_bisect_range runs a step over a part of the batch, without the rows that it fails on. */
void
eddy_bisect_range(EddyWork *work, EddyScanRange *range, EddyStep step)
{
	ErrorData  *error;

	while (!eddy_delta_try_step(work, range, step, true, &error))
	{
		int64		row = find_failing_row(work, range, step, &error);

		if (row < 0)
			eddy_delta_refuse_batch(work, error);
		CHECK_FOR_INTERRUPTS();
		if (!can_reject(work, range, step, row, error))
		{
			eddy_delta_suspend(work, error);
			return;
		}
		reject_row(work, row, error);
	}
}

/* eddy_bisect_batch does so chunk by chunk over the whole batch. */
void
eddy_bisect_batch(EddyWork *work, EddyStep step)
{
	EddyBatch  *batch = work->batch;

	if (work->skip == NULL)
		work->skip = MemoryContextAllocExtended(work->mcxt, Max(batch->nrows, 1),
												MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int64 from = 0; from < batch->nrows && !work->suspended; from += CHUNK_ROWS)
	{
		EddyScanRange range = {batch, from, Min(from + CHUNK_ROWS, batch->nrows), work->skip, -1};

		eddy_bisect_range(work, &range, step);
	}
}

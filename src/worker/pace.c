/*-------------------------------------------------------------------------
 *
 * pace.c
 *    How many messages a batch takes when more are waiting.
 *
 * Larger batches cost less per message: the rows of a group are merged once for each batch, and
 * the commit is paid once. But the results of a larger batch become visible later. So under a
 * backlog batches grow until processing one takes pg_eddy.batch_target_time. Without a backlog
 * a batch is what has arrived, however little that is, and nothing is learned from it.
 *
 * The size follows from the time that the last full batch has taken, in steps: an estimate
 * from a small batch is too high, because of its constant costs, and one from a batch that waited
 * for a lock or for the disk also is.
 *
 * Batches after a failure are smaller than this: see row_limit in batch.c, and attempt.c.
 *
 * No locks, no memory. A new process begins with small batches, of which the first is visible soon.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "settings.h"
#include "worker/source_worker.h"

#define FIRST_ROWS 2000			/* of the first batch */
#define STEP 4					/* from one batch to the next the size changes by this at most */

/* eddy_pace_limit returns the largest number of messages of the next batch. */
int
eddy_pace_limit(const EddySourceWorker *worker)
{
	if (eddy_settings_batch_target_time == 0)
		return eddy_settings_batch_rows;
	return Min(worker->pace > 0 ? worker->pace : FIRST_ROWS, eddy_settings_batch_rows);
}

/*
 * eddy_pace_note learns from a batch that was ended by its size and has begun to be processed at
 * start, if nothing unusual has happened to it.
 */
void
eddy_pace_note(EddySourceWorker *worker, TimestampTz start)
{
	int64		rows = worker->nmessages;
	int64		pace = eddy_pace_limit(worker);
	int64		taken = Max(GetCurrentTimestamp() - start, 1);	/* us */
	int64		target = eddy_settings_batch_target_time * INT64CONST(1000);
	int64		estimate;

	if (target == 0 || rows == 0)
		return;
	estimate = Min(target, taken * STEP) * rows / taken;
	worker->pace = Min(Max(estimate, Max(pace / STEP, 1)), EDDY_MAX_BATCH_ROWS);
}

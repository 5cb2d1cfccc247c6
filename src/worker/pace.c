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
 * The size follows from the time that the last full batch has taken, in steps, because an estimate
 * from a small batch is too high: it includes its constant costs. The time is that of the CPU: on a
 * busy machine smaller batches would make matters worse. A batch that mostly waits, for locks or
 * for the disk, counts with a part of the elapsed time.
 *
 * Batches after a failure are smaller than this: see row_limit in batch.c, and attempt.c.
 *
 * No locks, no memory. A new process begins with small batches, of which the first is visible soon.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "utils/timestamp.h"

#include "settings.h"
#include "worker/source_worker.h"

#define FIRST_ROWS 2000			/* of the first batch */
#define STEP 4					/* from one batch to the next the size changes by this at most */
#define WAITING 4				/* elapsed time counts as a fourth */

/* Microseconds that this thread has used the CPU; 0 if that is not known. */
static int64
cpu_time(void)
{
	struct timespec used;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) != 0)
		return 0;
	return (int64) used.tv_sec * USECS_PER_SEC + used.tv_nsec / 1000;
}

/* eddy_pace_limit returns the largest number of messages of the next batch. */
int
eddy_pace_limit(const EddySourceWorker *worker)
{
	if (eddy_settings_batch_target_time == 0)
		return eddy_settings_batch_rows;
	return Min(worker->pace > 0 ? worker->pace : FIRST_ROWS, eddy_settings_batch_rows);
}

/* eddy_pace_start is called before a batch is processed. */
void
eddy_pace_start(EddySourceWorker *worker)
{
	worker->pace_start = GetCurrentTimestamp();
	worker->pace_cpu_start = cpu_time();
}

/* eddy_pace_note learns from a batch that its size has ended, if nothing unusual happened to it. */
void
eddy_pace_note(EddySourceWorker *worker)
{
	int64		rows = worker->nmessages;
	int64		pace = eddy_pace_limit(worker);
	int64		target = eddy_settings_batch_target_time * INT64CONST(1000);
	int64		taken = Max(cpu_time() - worker->pace_cpu_start,
							(GetCurrentTimestamp() - worker->pace_start) / WAITING);
	int64		estimate;

	if (target == 0 || rows == 0)
		return;
	taken = Max(taken, 1);
	estimate = Min(target, taken * STEP) * rows / taken;
	worker->pace = Min(Max(estimate, Max(pace / STEP, 1)), EDDY_MAX_BATCH_ROWS);
}

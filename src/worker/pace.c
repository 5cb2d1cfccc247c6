/*-------------------------------------------------------------------------
 *
 * pace.c
 *    How many messages a batch takes when more are waiting: see pace_rule.c.
 *
 * The time that a batch takes is that of the CPU: on a busy machine smaller batches would make
 * matters worse. A batch that mostly waits, for locks or for the disk, counts with a part of the
 * elapsed time.
 *
 * Batches after a failure are smaller than this: see row_limit in batch.c, and attempt.c.
 *
 * No locks, no memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "utils/timestamp.h"

#include "settings.h"
#include "worker/source_worker.h"

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
	return (int) Min(eddy_pace_rows(&worker->pace), eddy_settings_batch_rows);
}

/* eddy_pace_start is called before a batch is processed. */
void
eddy_pace_start(EddySourceWorker *worker)
{
	worker->pace_start = GetCurrentTimestamp();
	worker->pace_cpu_start = cpu_time();
}

/* eddy_pace_note is called after a batch, if nothing unusual happened to it. */
void
eddy_pace_note(EddySourceWorker *worker)
{
	int64		taken = Max(cpu_time() - worker->pace_cpu_start,
							(GetCurrentTimestamp() - worker->pace_start) / WAITING);

	eddy_pace_learn(&worker->pace, worker->end, worker->nmessages, taken,
					eddy_pace_target(eddy_settings_batch_target_time * INT64CONST(1000),
									 worker->nviews,
									 eddy_settings_batch_time_limit * INT64CONST(1000)));
}

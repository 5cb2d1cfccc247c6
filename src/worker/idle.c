/*-------------------------------------------------------------------------
 *
 * idle.c
 *    Which partitions of a source are idle.
 *
 * A partition without messages would hold the watermark of its stream for ever, so it is idle,
 * and does not count for the minimum, if all of this is true:
 *
 * - It was read to its end: to the last stable offset, because messages of an open
 *   transaction cannot be read yet, for however long that is open.
 * - There were no messages for idle_timeout. The clock that measures this only runs while the
 *   worker polls: it stands still while the broker is not reachable or the session restarts, and
 *   counts a batch as a second at most, however long it waits for locks.
 * - The broker, asked at the end of that time, has confirmed that there is nothing after the position
 *   of the worker. So a full queue of librdkafka, or one broker of several that does not
 *   respond, cannot be taken for silence.
 *
 * The marks are stored, in _partition.idle_since, by a batch, usually without messages, which also
 * moves the watermark. A batch that brings messages of a partition removes its mark.
 *
 * Any sign of trouble with a broker makes all marks void: the slot of the worker shows that it does
 * not poll, until the broker confirms all positions again. Partitions that have got messages
 * meanwhile lose their marks before the others become valid. The same applies to a worker
 * that starts (settle_partition in start.c).
 *
 * Locking: none. The state is in local memory; in the end only stored marks of a worker that polls
 * are used (src/apply/watermark.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "utils/timestamp.h"

#include "interval.h"
#include "monotonic.h"
#include "settings.h"
#include "worker/slots.h"
#include "worker/source_worker.h"

#define MAX_STEP USECS_PER_SEC	/* that counts between two polls, unless the worker slept */
#define RECHECK USECS_PER_SEC	/* until a partition that is not confirmed is checked again */

static int64
timeout_of(const EddySourceWorker *worker)
{
	return worker->definition ? eddy_interval_usec(&worker->definition->stream->idle_timeout) : 0;
}

/* eddy_idle_begin is called when the partitions are assigned, with marks that were confirmed. */
void
eddy_idle_begin(EddySourceWorker *worker)
{
	EddyIdleClock *clock = &worker->idle;

	for (int i = 0; i < worker->partitions.count; i++)
	{
		EddyPartitionState *state = &worker->partitions.states[i];

		state->idle = !TIMESTAMP_IS_NOBEGIN(state->stored.idle_since);
		state->quiet_since = clock->polled;
	}
	clock->last = eddy_monotonic_real();
	clock->last_offset = eddy_settings_test_clock_offset;
	clock->errors = eddy_kafka_error_count(worker->client);
	clock->confirmed = true;
	clock->changed = false;
	eddy_slots_set_polls(true);
}

/* eddy_idle_doubt makes all marks void until the broker has confirmed them again. */
void
eddy_idle_doubt(EddySourceWorker *worker)
{
	worker->idle.confirmed = false;
	worker->idle.doubts++;
	eddy_slots_set_polls(false);
}

/*
 * eddy_idle_observe moves the clock. slept: since the last call the worker has only waited for
 * messages. Returns false if the positions have not been confirmed since trouble with a broker.
 */
bool
eddy_idle_observe(EddySourceWorker *worker, bool slept)
{
	EddyIdleClock *clock = &worker->idle;
	int64		now = eddy_monotonic_real();
	unsigned	errors = eddy_kafka_error_count(worker->client);
	int64		step = now - clock->last;

	if (!slept)
		step = Min(step, MAX_STEP);
	step += (eddy_settings_test_clock_offset - clock->last_offset) * USECS_PER_SEC;
	clock->last = now;
	clock->last_offset = eddy_settings_test_clock_offset;
	if (errors != clock->errors)
		eddy_idle_doubt(worker);
	clock->errors = errors;
	if (clock->confirmed && step > 0)
		clock->polled += step;
	return clock->confirmed;
}

/* eddy_idle_wait returns the milliseconds until a partition may become idle. */
long
eddy_idle_wait(const EddySourceWorker *worker)
{
	int64		timeout = timeout_of(worker);
	int64		wait = (int64) LONG_MAX;

	if (timeout <= 0 || !worker->idle.confirmed)
		return LONG_MAX;
	for (int i = 0; i < worker->partitions.count; i++)
	{
		const EddyPartitionState *state = &worker->partitions.states[i];

		if (!state->idle)
			wait = Min(wait, (state->quiet_since + timeout - worker->idle.polled + 999) / 1000);
	}
	return (long) Max(wait, 0);
}

/* eddy_idle_ask is called before the ends of partitions are requested from the broker. */
void
eddy_idle_ask(EddySourceWorker *worker)
{
	worker->idle.asked = worker->idle.polled;
	worker->idle.asked_doubts = worker->idle.doubts;
}

/*
 * eddy_idle_confirm compares the ends that the broker has returned (in the order of states) with
 * the positions. If it sets worker->idle.changed, a batch must store the marks. Nothing is
 * confirmed if there was trouble since the request: the broker may have responded before.
 */
void
eddy_idle_confirm(EddySourceWorker *worker, const int64 *ends)
{
	EddyIdleClock *clock = &worker->idle;
	int64		timeout = timeout_of(worker);

	if (clock->doubts != clock->asked_doubts)
		return;
	for (int i = 0; i < worker->partitions.count; i++)
	{
		EddyPartitionState *state = &worker->partitions.states[i];
		bool		at_end = ends[i] <= eddy_progress_position(worker, state);

		if (state->idle && (!at_end || timeout <= 0))
		{
			state->idle = false;
			state->quiet_since = clock->polled;
			clock->changed = true;
		}
		else if (!state->idle && timeout > 0 && clock->asked - state->quiet_since >= timeout)
		{
			if (at_end && eddy_kafka_caught_up(worker->client, state->partition))
			{
				state->idle = true;
				clock->changed = true;
			}
			else
				state->quiet_since = clock->polled - timeout + RECHECK;
		}
	}
	clock->confirmed = true;
	/* otherwise after the marks of partitions that have messages were removed */
	if (!clock->changed)
		eddy_slots_set_polls(true);
}

/* eddy_idle_mark sets the marks that the current batch stores. */
void
eddy_idle_mark(EddySourceWorker *worker)
{
	for (int i = 0; i < worker->partitions.count; i++)
	{
		EddyPartitionState *state = &worker->partitions.states[i];

		if (!state->idle || state->next.rows != state->stored.rows)
			state->next.idle_since = DT_NOBEGIN;
		else if (TIMESTAMP_IS_NOBEGIN(state->next.idle_since))
			state->next.idle_since = GetCurrentTimestamp();
	}
}

/* eddy_idle_committed is called when the batch was committed, before it counts as stored. */
void
eddy_idle_committed(EddySourceWorker *worker)
{
	EddyIdleClock *clock = &worker->idle;

	for (int i = 0; i < worker->partitions.count; i++)
	{
		EddyPartitionState *state = &worker->partitions.states[i];

		if (state->next.rows == state->stored.rows)
			continue;
		state->idle = false;
		state->quiet_since = clock->polled;
	}
	clock->changed = false;
	if (clock->confirmed)
		eddy_slots_set_polls(true);
}

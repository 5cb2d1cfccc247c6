/*-------------------------------------------------------------------------
 *
 * clock.c
 *    The time limit of a batch (pg_eddy.batch_time_limit).
 *
 * A timeout of the server's framework ticks while a batch is applied. Ticks are
 * counted, rather than comparing the time with a deadline, so that only time counts in
 * which the batch was running: a tick during a wait for another transaction's
 * lock is not counted, and a process that was suspended gets a single tick for all
 * that it missed. When the limit is reached, the batch is canceled as
 * by pg_cancel_backend. A function that catches the cancel is canceled again
 * after another limit, and the process is ended after the third.
 *
 * The handler runs in a signal handler: it only sets flags. Locking: none.
 * Memory: none. No state survives a crash.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "settings.h"
#include "worker/source_worker.h"

#define TICKS 16				/* in which the limit is counted */
#define FINAL_LIMITS 3			/* limits after which the process is ended */

static bool registered = false;
static TimeoutId timeout;
static bool running = false;

/* written by the handler */
static volatile sig_atomic_t ticks = 0;
static volatile sig_atomic_t expired = false;

static void
tick(void)
{
	if (MyProc->waitStatus == PROC_WAIT_STATUS_WAITING)
		return;
	ticks++;
	if (ticks % TICKS != 0)
		return;
	expired = true;
	QueryCancelPending = true;
	if (ticks >= TICKS * FINAL_LIMITS)
		ProcDiePending = true;
	InterruptPending = true;
}

/* eddy_clock_start starts the limit from the beginning. */
void
eddy_clock_start(void)
{
	int			interval = Max(eddy_settings_batch_time_limit / TICKS, 1);

	if (!registered)
	{
		timeout = RegisterTimeout(USER_TIMEOUT, tick);
		registered = true;
	}
	eddy_clock_stop();
	ticks = 0;
	expired = false;
	running = true;
	enable_timeout_every(timeout, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), interval),
						 interval);
}

/* eddy_clock_stop ends counting, and revokes a cancel that has not been processed. */
void
eddy_clock_stop(void)
{
	if (!running)
		return;
	disable_timeout(timeout, false);
	running = false;
	if (expired)
		QueryCancelPending = false;
}

/*
 * eddy_clock_expired returns whether the limit was reached since the last start, and stops
 * the clock if so: it has raised the error that is being handled.
 */
bool
eddy_clock_expired(void)
{
	if (expired)
		eddy_clock_stop();
	return expired;
}

/* eddy_clock_describe returns the reason for a rejection, palloc'ed. */
char *
eddy_clock_describe(void)
{
	return psprintf("processing exceeded \"pg_eddy.batch_time_limit\" (%d ms)",
					eddy_settings_batch_time_limit);
}

/*-------------------------------------------------------------------------
 *
 * clock.c
 *    The time limit of a batch, and of other steps of workers (pg_eddy.batch_time_limit).
 *
 * The processes of the extension limit the time of their work, and so does a transaction that
 * closes windows when it commits: what takes too long is not its own. Users wait for their own
 * statements.
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

#include "clock.h"
#include "settings.h"

#define TICKS 16				/* in which the limit is counted */
#define FINAL_LIMITS 3			/* limits after which the process is ended */

static bool enabled = false;
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

/*
 * eddy_clock_enable begins or ends limiting the time of what this process does; returns the state
 * before.
 */
bool
eddy_clock_enable(bool enable)
{
	bool		before = enabled;

	enabled = enable;
	return before;
}

bool
eddy_clock_enabled(void)
{
	return enabled;
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

/*
 * eddy_clock_reset ends counting, and forgets that the limit was reached: what has taken too long
 * was left out.
 */
void
eddy_clock_reset(void)
{
	eddy_clock_stop();
	expired = false;
}

/* eddy_clock_caused returns whether the time limit has caused an error. */
bool
eddy_clock_caused(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED && eddy_clock_expired();
}

/*
 * eddy_clock_explain returns the message of an error, or that the time limit has caused it,
 * palloc'ed.
 */
char *
eddy_clock_explain(const ErrorData *error)
{
	if (eddy_clock_caused(error))
		return eddy_clock_describe();
	return pstrdup(error->message ? error->message : "");
}

/* eddy_clock_describe returns the reason for a rejection, palloc'ed. */
char *
eddy_clock_describe(void)
{
	return psprintf("processing exceeded \"pg_eddy.batch_time_limit\" (%d ms)",
					eddy_settings_batch_time_limit);
}

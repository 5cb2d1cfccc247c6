/*-------------------------------------------------------------------------
 *
 * close_pace.c
 *    The rule by which closing windows is spread over time.
 *
 * Batches wait for the transaction that closes windows, and need the CPUs that it uses. A window of
 * ten seconds can have more groups than can be closed in a moment, so closing is cut into short
 * transactions.
 *
 * - Closing takes a short time, or a fourth of what the transaction has taken before: for its rows, or
 *   waiting for those that add rows. So while batches are small none of them waits for long, however
 *   many groups a window has, and under a backlog closing keeps up with large batches.
 * - If windows of some streams have been left for two seconds, closing them takes as long as the transaction has.
 * - Between two transactions the database worker rests for as long as the first one has worked, less what it
 *   has waited for batches: these had the CPUs then. It does so for half a second, and not while it is behind, so
 *   that a large window is closed in time.
 *
 * Whether closing is behind is remembered for each set of streams whose windows close together:
 * streams that keep up say nothing about others. This is a hint. If there are too many sets, the
 * one that was noted first is forgotten, as if it kept up.
 *
 * Computes only: no clock, no locks, no memory. All times are in microseconds.
 * test/unit/close_pace_test.c runs it without a server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "datatype/timestamp.h"

#include "apply/close_pace.h"

#define SHORT_TIME INT64CONST(2000) /* that closing may always take in one transaction */
#define SHARE 4					/* and the part of what the transaction has taken */
#define BEHIND_TIME INT64CONST(2000000)	/* after it closing is behind */
#define REST_TIME INT64CONST(500000)	/* in which closing rests, from its beginning */
#define LONGEST_REST INT64CONST(5000)

static const EddyCloseBehind *
find(const EddyClosePace *pace, uint64 set)
{
	for (int i = 0; i < EDDY_CLOSE_PACE_SETS; i++)
		if (pace->behind[i].set == set)
			return &pace->behind[i];
	return NULL;
}

static bool
is_behind(const EddyClosePace *pace, uint64 set, TimestampTz now)
{
	const EddyCloseBehind *entry = find(pace, set);

	return entry && now - entry->since >= BEHIND_TIME;
}

/*
 * eddy_close_pace_note is called after closing. set: of streams, not 0; complete: nothing is left
 * to be closed.
 */
void
eddy_close_pace_note(EddyClosePace *pace, uint64 set, bool complete, TimestampTz now)
{
	EddyCloseBehind *entry = unconstify(EddyCloseBehind *, find(pace, set));

	if (complete)
	{
		if (entry)
			entry->set = 0;
		return;
	}
	if (entry == NULL)
	{
		entry = &pace->behind[0];
		for (int i = 1; i < EDDY_CLOSE_PACE_SETS && entry->set != 0; i++)
			if (pace->behind[i].set == 0 || pace->behind[i].noted < entry->noted)
				entry = &pace->behind[i];
		entry->set = set;
		entry->since = now;
	}
	entry->noted = now;
}

/*
 * eddy_close_pace_time returns how long a worker may close windows in a transaction that has taken
 * a time before that.
 */
int64
eddy_close_pace_time(const EddyClosePace *pace, uint64 set, int64 taken, TimestampTz now)
{
	return Max(is_behind(pace, set, now) ? taken : taken / SHARE, SHORT_TIME);
}

/*
 * eddy_close_pace_rest returns how long the database worker rests after a transaction that has
 * worked and waited for others, when it has been closing windows for a time (elapsed).
 */
int64
eddy_close_pace_rest(const EddyClosePace *pace, uint64 set, int64 worked, int64 waited,
					 int64 elapsed, TimestampTz now)
{
	if (elapsed >= REST_TIME || is_behind(pace, set, now))
		return 0;
	return Max(Min(worked - waited, LONGEST_REST), 0);
}

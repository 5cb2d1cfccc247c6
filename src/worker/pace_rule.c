/*-------------------------------------------------------------------------
 *
 * pace_rule.c
 *    The rule by which batches grow and shrink.
 *
 * Larger batches cost less per message: the rows of a group are merged once for each batch, and
 * the commit is paid once. But the results of a larger batch become visible later.
 *
 * - Without a backlog a batch is what has arrived, however little that is, and nothing is learned
 *   from it, because constant costs dominate.
 * - A backlog that has just begun, perhaps because the disk was busy for a moment, is taken in
 *   batches of a sixteenth of the target time, so that its first messages do not wait for its last
 *   ones. Each batch that is full again may take twice as long as the one before.
 * - Under a lasting backlog batches grow until processing one takes the target time. The number of
 *   messages follows from the time that the last full batch has taken, in steps.
 * - The first batches of a process take the target time at once: it has probably much to catch up
 *   with.
 *
 * The target time is that of a stream with few views. With more of them the same time would be
 * spent on fewer messages, of which fewer belong to the same group, so it grows with their number.
 *
 * Computes only: no clock, no locks, no memory. test/unit/pace_test.c runs it without a server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "settings.h"
#include "worker/pace.h"

#define FIRST_ROWS 2000			/* of the first batch */
#define STEP 4					/* from one batch to the next the size changes by this at most */
#define VIEWS 4					/* so many more views double the target time */
#define MAX_FACTOR 5			/* it is not longer than this times the setting */

/*
 * eddy_pace_target returns the time that a full batch should take, which a number of views share.
 * It stays well below the time limit of a batch (limit). All in microseconds.
 */
int64
eddy_pace_target(int64 target, int nviews, int64 limit)
{
	int64		factored = target * (VIEWS + Max(nviews - 1, 0)) / VIEWS;

	return Max(Min(Min(factored, target * MAX_FACTOR), limit / 4), target);
}

/* eddy_pace_rows returns the largest number of messages of the next batch. */
int64
eddy_pace_rows(const EddyPace *pace)
{
	return pace->rows > 0 ? Max(pace->rows >> pace->halvings, 1) : FIRST_ROWS;
}

/*
 * eddy_pace_learn is called after each batch to which nothing unusual has happened, with its number
 * of messages and the time that it has taken. target is 0 if batches are limited by other settings
 * only.
 */
void
eddy_pace_learn(EddyPace *pace, EddyPaceEnd end, int64 rows, int64 taken, int64 target)
{
	int64		goal = Max(target >> pace->halvings, 1);
	int64		estimate;

	if (target == 0 || rows == 0)
		return;
	if (end == EDDY_PACE_DRAINED)
	{
		/* before it is known how long batches take they are short anyway */
		if (pace->rows > 0)
			pace->halvings = EDDY_PACE_HALVINGS;
		return;
	}
	if (end == EDDY_PACE_SLOW)
		return;
	taken = Max(taken, 1);
	estimate = Min(goal, taken * STEP) * rows / taken;
	estimate = Max(estimate, eddy_pace_rows(pace) / STEP);
	pace->rows = (int) Min(Max(estimate << pace->halvings, 1), EDDY_MAX_BATCH_ROWS);
	pace->halvings = Max(pace->halvings - 1, 0);
}

/*-------------------------------------------------------------------------
 *
 * pace_test.c
 *    Unit tests of the rule by which batches grow and shrink, without a server. Prints TAP.
 *
 * Batches of a simulated worker cost a constant and a time for each message.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

/* the server replaces it by a function of its own, which is not linked */
#undef printf

#include "settings.h"
#include "tap.h"
#include "worker/pace.h"

#define TARGET 200000			/* microseconds, the default */

/* Microseconds that a batch takes. */
static int64
cost(int64 rows)
{
	return 1500 + rows * 3;
}

/* Processes a full batch; returns its size. */
static int64
run_full(EddyPace *pace)
{
	int64		rows = eddy_pace_rows(pace);

	eddy_pace_learn(pace, EDDY_PACE_FULL, rows, cost(rows), TARGET);
	return rows;
}

static void
run_small(EddyPace *pace)
{
	eddy_pace_learn(pace, EDDY_PACE_DRAINED, 100, cost(100), TARGET);
}

/* True if a time is within a tenth of another. */
static bool
is_near(int64 time, int64 expected)
{
	return time > expected * 9 / 10 && time < expected * 11 / 10;
}

static void
check_backlog(void)
{
	EddyPace	pace = {0};
	int64		last = 0;

	ok(eddy_pace_rows(&pace) == 2000, "the first batch has 2,000 messages");
	ok(run_full(&pace) == 2000 && run_full(&pace) == 8000 && run_full(&pace) == 32000,
	   "batches grow by up to four times");
	for (int i = 0; i < 5; i++)
		last = run_full(&pace);
	ok(is_near(cost(last), TARGET), "until they take the target time");

	/* the same messages are ten times as expensive */
	eddy_pace_learn(&pace, EDDY_PACE_FULL, last, cost(last) * 10, TARGET);
	ok(eddy_pace_rows(&pace) == last / 4, "they shrink by up to four times");
	eddy_pace_learn(&pace, EDDY_PACE_SLOW, 10, cost(10), TARGET);
	ok(eddy_pace_rows(&pace) == last / 4, "nothing is learned from one that waited for messages");
}

static void
check_light_load(void)
{
	EddyPace	pace = {0};
	int64		full;
	int64		sizes[8];

	for (int i = 0; i < 8; i++)
		(void) run_full(&pace);
	full = eddy_pace_rows(&pace);

	run_small(&pace);
	ok(eddy_pace_rows(&pace) == full / 16,
	   "after the end of a backlog a batch has a sixteenth of the size");
	run_small(&pace);
	ok(eddy_pace_rows(&pace) == full / 16, "nothing is learned from small batches");

	for (int i = 0; i < 8; i++)
		sizes[i] = run_full(&pace);
	ok(is_near(cost(sizes[1]), TARGET / 8) && is_near(cost(sizes[2]), TARGET / 4) &&
	   is_near(cost(sizes[3]), TARGET / 2) && is_near(cost(sizes[4]), TARGET),
	   "the batches of a new backlog take twice as long each");
	ok(sizes[7] > full * 9 / 10 && sizes[7] < full * 11 / 10,
	   "and then have the size that they had before");
}

static void
check_limits(void)
{
	EddyPace	pace = {0};

	run_small(&pace);
	ok(eddy_pace_rows(&pace) == 2000, "a process that starts with a few messages expects more");

	for (int i = 0; i < 20; i++)
		eddy_pace_learn(&pace, EDDY_PACE_FULL, eddy_pace_rows(&pace), 1, TARGET);
	ok(eddy_pace_rows(&pace) == EDDY_MAX_BATCH_ROWS, "batches that take no time have a limit");
	for (int i = 0; i < 20; i++)
		eddy_pace_learn(&pace, EDDY_PACE_FULL, eddy_pace_rows(&pace), INT64CONST(3600000000), TARGET);
	ok(eddy_pace_rows(&pace) == 1, "those that take for ever have one message");
	run_small(&pace);
	ok(eddy_pace_rows(&pace) == 1, "and never none");
	eddy_pace_learn(&pace, EDDY_PACE_FULL, 1, 1, 0);
	ok(eddy_pace_rows(&pace) == 1, "without a target time nothing is learned");
}

static void
check_views(void)
{
	int64		limit = INT64CONST(60000000);

	ok(eddy_pace_target(TARGET, 0, limit) == TARGET && eddy_pace_target(TARGET, 1, limit) == TARGET,
	   "the target time is that of one view");
	ok(eddy_pace_target(TARGET, 5, limit) == 2 * TARGET, "five views have twice the time");
	ok(eddy_pace_target(TARGET, 1000, limit) == 5 * TARGET, "very many have five times");
	ok(eddy_pace_target(TARGET, 1000, 2 * TARGET) == TARGET &&
	   eddy_pace_target(TARGET, 1000, 12 * TARGET) == 3 * TARGET,
	   "but no more than a fourth of the time limit of a batch");
	ok(eddy_pace_target(0, 5, limit) == 0, "no target time has no multiple");
}

int
main(void)
{
	check_backlog();
	check_light_load();
	check_limits();
	check_views();
	return end_tests();
}

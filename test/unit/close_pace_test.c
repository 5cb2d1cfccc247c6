/*-------------------------------------------------------------------------
 *
 * close_pace_test.c
 *    Unit tests of the rule by which closing windows is spread, without a server. Prints TAP.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

/* the server replaces it by a function of its own, which is not linked */
#undef printf

#include "datatype/timestamp.h"

#include "apply/close_pace.h"
#include "tap.h"

#define MS INT64CONST(1000)
#define BEGIN (1000000 * MS)	/* of the tests */

static void
check_time(void)
{
	EddyClosePace pace = {0};

	ok(eddy_close_pace_time(&pace, 1, 0, BEGIN) == 2 * MS, "closing may take 2 ms");
	ok(eddy_close_pace_time(&pace, 1, 200 * MS, BEGIN) == 50 * MS, "or a fourth of what its transaction has taken");

	eddy_close_pace_note(&pace, 1, false, BEGIN);
	eddy_close_pace_note(&pace, 1, false, BEGIN + 1500 * MS);
	ok(eddy_close_pace_time(&pace, 1, 200 * MS, BEGIN + 1999 * MS) == 50 * MS &&
	   eddy_close_pace_time(&pace, 1, 200 * MS, BEGIN + 2000 * MS) == 200 * MS,
	   "after two seconds in which windows were always left, as much as its transaction");
	eddy_close_pace_note(&pace, 1, true, BEGIN + 2100 * MS);
	ok(eddy_close_pace_time(&pace, 1, 200 * MS, BEGIN + 2200 * MS) == 50 * MS,
	   "until nothing is left");
}

static void
check_streams(void)
{
	EddyClosePace pace = {0};

	for (int i = 0; i <= 20; i++)
	{
		eddy_close_pace_note(&pace, 1, false, BEGIN + i * 100 * MS);
		eddy_close_pace_note(&pace, 2, true, BEGIN + i * 100 * MS + 50 * MS);
	}
	ok(eddy_close_pace_time(&pace, 1, 200 * MS, BEGIN + 2100 * MS) == 200 * MS,
	   "a stream that keeps up does not end the haste of one that is behind");
	ok(eddy_close_pace_time(&pace, 2, 200 * MS, BEGIN + 2100 * MS) == 50 * MS &&
	   eddy_close_pace_rest(&pace, 2, 2 * MS, 0, 0, BEGIN + 2100 * MS) == 2 * MS,
	   "nor is it hastened by that one");

	for (uint64 set = 2; set <= EDDY_CLOSE_PACE_SETS + 1; set++)
		eddy_close_pace_note(&pace, set, false, BEGIN + 2200 * MS + set);
	ok(eddy_close_pace_time(&pace, 1, 200 * MS, BEGIN + 4000 * MS) == 50 * MS &&
	   eddy_close_pace_time(&pace, 2, 200 * MS, BEGIN + 4300 * MS) == 200 * MS,
	   "of too many, the one that was noted first is forgotten");
}

/*
 * How many microseconds closing takes that works so long in all, in transactions that wait so long
 * for others.
 */
static int64
run(int64 work, int64 waited)
{
	EddyClosePace pace = {0};
	int64		elapsed = 0;

	while (work > 0)
	{
		int64		step = Min(eddy_close_pace_time(&pace, 1, waited, BEGIN + elapsed), work);

		elapsed += waited + step;
		work -= step;
		eddy_close_pace_note(&pace, 1, work == 0, BEGIN + elapsed);
		if (work > 0)
			elapsed += eddy_close_pace_rest(&pace, 1, step, waited, elapsed, BEGIN + elapsed);
	}
	return elapsed;
}

static void
check_rest(void)
{
	EddyClosePace pace = {0};

	ok(run(2 * MS, 0) == 2 * MS, "one transaction is not followed by a rest");
	ok(run(150 * MS, 0) == 298 * MS, "closing uses half of the time");
	ok(run(400 * MS, 0) < 700 * MS, "but a large window is closed within a second");
	ok(run(150 * MS, 1 * MS) == 299 * MS && run(20 * MS, 4 * MS) == 60 * MS,
	   "waiting for batches is rest");
	ok(eddy_close_pace_rest(&pace, 1, 900 * MS, 0, 900 * MS, BEGIN) == 0 &&
	   eddy_close_pace_rest(&pace, 1, 100 * MS, 0, 100 * MS, BEGIN) == 5 * MS,
	   "no rest is long");

	eddy_close_pace_note(&pace, 1, false, BEGIN);
	ok(eddy_close_pace_rest(&pace, 1, 2 * MS, 0, 10 * MS, BEGIN + 2000 * MS) == 0,
	   "there is no rest while closing is behind");
}

int
main(void)
{
	check_time();
	check_streams();
	check_rest();
	return end_tests();
}

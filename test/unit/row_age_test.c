/*-------------------------------------------------------------------------
 *
 * row_age_test.c
 *    Unit tests of the rule by which retention recognizes old rows of users, without a server. Prints
 *    TAP.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

/* the server replaces it by a function of its own, which is not linked */
#undef printf

#include "stream/row_age.h"
#include "tap.h"

#define BILLION UINT64CONST(1000000000)
#define EPOCH (UINT64CONST(1) << 32)

/* Whether a row of one transaction is older than another one, of which it only has the low bits. */
static bool
precedes(uint64 writer, uint64 horizon, uint64 next)
{
	return eddy_stream_row_precedes((TransactionId) writer, FullTransactionIdFromU64(horizon),
									FullTransactionIdFromU64(next));
}

int
main(void)
{
	ok(precedes(999, 1000, 2000), "a row before the horizon is old");
	ok(!precedes(1000, 1000, 2000) && !precedes(1999, 1000, 2000), "rows from the horizon on are not");
	ok(precedes(FrozenTransactionId, 1000, 2000) && precedes(BootstrapTransactionId, 1000, 2000),
	   "rows without the ID of a transaction are");

	ok(precedes(EPOCH - 5, EPOCH - 1, EPOCH + 100) && precedes(EPOCH - 5, EPOCH + 50, EPOCH + 100) &&
	   precedes(EPOCH + 49, EPOCH + 50, EPOCH + 100), "old rows, in both epochs");
	ok(!precedes(EPOCH - 5, EPOCH - 6, EPOCH + 100) && !precedes(EPOCH + 3, EPOCH - 6, EPOCH + 100) &&
	   !precedes(EPOCH + 99, EPOCH + 50, EPOCH + 100), "new rows, in both epochs");

	/* a horizon more than 2^30, 2^31 and 2^32 transactions ago, as of a long retention */
	for (uint64 age = 1; age <= 6; age++)
	{
		uint64		next = 20 * BILLION;
		uint64		horizon = next - age * BILLION;

		ok(!precedes(next - 1, horizon, next) && !precedes(next - BILLION + 1, horizon, next) &&
		   !precedes(horizon, horizon, next), "rows since a horizon of long ago are not old");
		if (age <= 4)
			ok(precedes(horizon - 1, horizon, next) && precedes(horizon - 100000000, horizon, next),
			   "rows before it are");
	}
	ok(!precedes(15 * BILLION, 15 * BILLION + 1, 20 * BILLION),
	   "a frozen row whose ID is ambiguous stays");
	return end_tests();
}

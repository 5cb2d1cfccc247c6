/*-------------------------------------------------------------------------
 *
 * overrun.c
 *    Errors that a server built by test/sanitize/run must detect.
 *
 * Verifies that the sanitizers are active: otherwise a run without reports
 * would prove nothing. Loaded by a check of the script, not by tests.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(overrun_chunk);
PG_FUNCTION_INFO_V1(use_freed_chunk);
PG_FUNCTION_INFO_V1(shift_too_far);

/* Writes one byte past a chunk of a memory context. */
Datum
overrun_chunk(PG_FUNCTION_ARGS)
{
	volatile char *chunk = palloc(20);

	chunk[20] = (char) PG_GETARG_INT32(0);
	PG_RETURN_INT32(chunk[0]);
}

/* Reads a chunk that was freed. */
Datum
use_freed_chunk(PG_FUNCTION_ARGS)
{
	volatile char *chunk = palloc0(20);

	chunk[0] = (char) PG_GETARG_INT32(0);
	pfree(unvolatize(char *, chunk));
	PG_RETURN_INT32(chunk[0]);
}

/* Shifts by more than the width of the type. */
Datum
shift_too_far(PG_FUNCTION_ARGS)
{
	int32		shift = PG_GETARG_INT32(0) + 32;

	PG_RETURN_INT32(1 << shift);
}

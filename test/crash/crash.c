/*-------------------------------------------------------------------------
 *
 * crash.c
 *    Functions that terminate the calling process, for 045_crashes.pl.
 *
 * A superuser creates them from the library that the test compiles. They simulate a bug in
 * C code that a message triggers. The extension itself contains no such functions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdlib.h>

#include "fmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(crash_if);
PG_FUNCTION_INFO_V1(fatal_if);

/* crash_if(value bigint, poison bigint) aborts if value = poison, else returns value. */
Datum
crash_if(PG_FUNCTION_ARGS)
{
	if (PG_GETARG_INT64(0) == PG_GETARG_INT64(1))
		abort();
	PG_RETURN_INT64(PG_GETARG_INT64(0));
}

/* fatal_if(value bigint, poison bigint) exits with code 1 if value = poison, else returns value. */
Datum
fatal_if(PG_FUNCTION_ARGS)
{
	if (PG_GETARG_INT64(0) == PG_GETARG_INT64(1))
		ereport(FATAL, (errmsg("the poison was found")));
	PG_RETURN_INT64(PG_GETARG_INT64(0));
}

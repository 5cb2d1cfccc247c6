/*-------------------------------------------------------------------------
 *
 * crash.c
 *    Functions that end the process they are called in, for 045_crashes.pl.
 *
 * A superuser creates them from the library that the test compiles. They stand for a bug in
 * C code that a message reaches: nothing of the kind is in the extension itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdlib.h>

#include "fmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(crash_if);
PG_FUNCTION_INFO_V1(fatal_if);

/* crash_if(value bigint, poison bigint) returns value, or aborts if it is the poison. */
Datum
crash_if(PG_FUNCTION_ARGS)
{
	if (PG_GETARG_INT64(0) == PG_GETARG_INT64(1))
		abort();
	PG_RETURN_INT64(PG_GETARG_INT64(0));
}

/* fatal_if(value bigint, poison bigint) returns value, or ends the process with exit code 1. */
Datum
fatal_if(PG_FUNCTION_ARGS)
{
	if (PG_GETARG_INT64(0) == PG_GETARG_INT64(1))
		ereport(FATAL, (errmsg("the poison was found")));
	PG_RETURN_INT64(PG_GETARG_INT64(0));
}

/*-------------------------------------------------------------------------
 *
 * fdw.c
 *    The validator of the foreign-data wrapper eddy_kafka.
 *
 * The wrapper has no handler: its servers and user mappings hold the addresses
 * and credentials of brokers, with the privileges, the dependencies and the dumps
 * that PostgreSQL has for them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "fmgr.h"

#include "kafka_library.h"

PG_FUNCTION_INFO_V1(eddy_kafka_fdw_validator);

/*
 * eddy_kafka_fdw_validator is called by CREATE and ALTER with all options that the object would
 * have.
 */
Datum
eddy_kafka_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));

	eddy_kafka_library_load()->check_options(PG_GETARG_OID(1), options);
	PG_RETURN_VOID();
}

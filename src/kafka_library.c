/*-------------------------------------------------------------------------
 *
 * kafka_library.c
 *    Loads pg_eddy_kafka when it is first needed, as the server does with libpqwalreceiver.
 *
 * The server keeps the pg_eddy that it was started with, but loads a pg_eddy_kafka that
 * was installed later. Both use the same structs, so each contains a checksum of the headers that
 * it was built from (EDDY_BUILD, see the Makefile), and both must be equal.
 *
 * Memory: a static pointer. A library is never unloaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "kafka_library.h"

static const EddyKafkaLibrary *library = NULL;

/* eddy_kafka_library_load returns the functions of the library, which the first call loads. */
const EddyKafkaLibrary *
eddy_kafka_library_load(void)
{
	if (library == NULL)
		load_file(EDDY_KAFKA_LIBRARY, false);
	if (library == NULL)
		elog(ERROR, "library \"%s\" did not register its functions", EDDY_KAFKA_LIBRARY);
	return library;
}

/*
 * eddy_kafka_library_register is called by the library when it is loaded. Raises an error if it was
 * built from other headers.
 */
void
eddy_kafka_library_register(const EddyKafkaLibrary *functions, const char *build)
{
	if (strcmp(build, EDDY_BUILD) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("library \"%s\" does not match the loaded library \"pg_eddy\"",
						EDDY_KAFKA_LIBRARY),
				 errdetail("It is of build %s, pg_eddy is of build %s.", build, EDDY_BUILD),
				 errhint("Restart the server after installing another version of pg_eddy.")));
	library = functions;
}

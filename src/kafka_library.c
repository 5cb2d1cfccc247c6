/*-------------------------------------------------------------------------
 *
 * kafka_library.c
 *    Loads pg_eddy_kafka when it is first needed, as the server does with libpqwalreceiver.
 *
 * The server keeps the pg_eddy that it was started with, but would load a pg_eddy_kafka that
 * was installed since. Both share structs, so each carries a mark of the headers that it was built
 * from (EDDY_BUILD, see the Makefile), and another mark is refused.
 *
 * Memory: a static pointer. A library is never unloaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "kafka_library.h"

static const EddyKafkaLibrary *library = NULL;

const EddyKafkaLibrary *
eddy_kafka_library_load(void)
{
	if (library == NULL)
		load_file(EDDY_KAFKA_LIBRARY, false);
	if (library == NULL)
		elog(ERROR, "library \"%s\" did not register its functions", EDDY_KAFKA_LIBRARY);
	return library;
}

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

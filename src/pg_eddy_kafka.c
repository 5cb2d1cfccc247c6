/*-------------------------------------------------------------------------
 *
 * pg_eddy_kafka.c
 *    Entry point of the library that consumes from Kafka: registers its functions.
 *
 * The library needs the symbols of pg_eddy, which loads it. The other entry point is
 * eddy_source_worker_main, the main function of a background worker.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "kafka/properties.h"
#include "kafka_library.h"
#include "worker/mapping.h"
#include "worker/replay.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static const EddyKafkaLibrary functions = {
	.check_options = eddy_kafka_check_options,
	.check_source = eddy_mapping_check,
	.replay = eddy_replay_letters
};

void
_PG_init(void)
{
	eddy_kafka_library_register(&functions, EDDY_BUILD);
}

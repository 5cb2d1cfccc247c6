/*-------------------------------------------------------------------------
 *
 * kafka_library.h
 *    pg_eddy_kafka, the library of what reads from Kafka.
 *
 * pg_eddy is preloaded: the postmaster and every backend map it. librdkafka, simdjson and
 * the code that uses them are in a library of their own, which only source workers load, and
 * sessions that create servers or attach sources. It calls functions of pg_eddy; pg_eddy
 * calls it through this table and as the entry point of a background worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_KAFKA_LIBRARY_H
#define EDDY_KAFKA_LIBRARY_H

#include "access/tupdesc.h"
#include "nodes/pg_list.h"

#define EDDY_KAFKA_LIBRARY "pg_eddy_kafka"

struct EddySource;

typedef struct EddyKafkaLibrary
{
	/* checks the options of a foreign server or user mapping; catalog is its system catalog */
	void		(*check_options) (Oid catalog, List *options);

	/* checks the format, the mapping and the options of a source of a table */
	void		(*check_source) (TupleDesc tupdesc, const struct EddySource *source);
} EddyKafkaLibrary;

/* The functions of the library, which is loaded by the first call in a process. */
extern const EddyKafkaLibrary *eddy_kafka_library_load(void);

/* Called by the library when it is loaded; raises an error if it was built from other headers. */
extern void eddy_kafka_library_register(const EddyKafkaLibrary *functions, const char *build);

#endif							/* EDDY_KAFKA_LIBRARY_H */

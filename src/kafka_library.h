/*-------------------------------------------------------------------------
 *
 * kafka_library.h
 *    pg_eddy_kafka, the library that consumes from Kafka.
 *
 * pg_eddy is preloaded: the postmaster and every backend map it. librdkafka, simdjson and
 * the code that uses them are in a library of their own, which is loaded by source workers, and by
 * sessions that create servers or attach sources. It calls functions of pg_eddy; pg_eddy
 * calls it through this table and as the main function of a background worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_KAFKA_LIBRARY_H
#define EDDY_KAFKA_LIBRARY_H

#include "access/tupdesc.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

#define EDDY_KAFKA_LIBRARY "pg_eddy_kafka"

struct EddySource;

typedef struct EddyKafkaLibrary
{
	/* checks the options of a foreign server or user mapping; catalog is its system catalog */
	void		(*check_options) (Oid catalog, List *options);

	/* checks the format, the mapping and the options of a source of a table */
	void		(*check_source) (TupleDesc tupdesc, const struct EddySource *source);

	/*
	 * Applies the messages and rows of dead letters (List of EddyDeadLetter) of a stream, which the
	 * caller has locked, again; returns how many of them were rejected again.
	 */
	int64		(*replay) (Relation stream, List *letters);
} EddyKafkaLibrary;

extern const EddyKafkaLibrary *eddy_kafka_library_load(void);
extern void eddy_kafka_library_register(const EddyKafkaLibrary *functions, const char *build);

#endif							/* EDDY_KAFKA_LIBRARY_H */

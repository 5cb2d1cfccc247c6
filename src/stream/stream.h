/*-------------------------------------------------------------------------
 *
 * stream.h
 *    The staging relation: registration, preparing and writing rows, rotation.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_STREAM_H
#define EDDY_STREAM_H

#include "batch.h"
#include "catalog/eddy_catalog.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

/* ---- registration (register.c) ---- */

/* Registers a table; checks kind, persistence, ownership, columns. The row of _stream as given. */
extern void eddy_stream_create(const EddyStream *stream);

/* Drops the table as DROP TABLE ... RESTRICT does. */
extern void eddy_stream_drop(Oid relid);

/*
 * After a command that dropped some of these streams (Oids) or some of their segments: removes
 * catalog rows of streams, segments and sources whose relation does not exist.
 */
extern void eddy_stream_cleanup_dropped(const List *streams);

/*
 * After a command that altered a stream: gives its segments its owner, adopts segments restored by
 * pg_dump. Does nothing if the relation is not a stream.
 */
extern void eddy_stream_sync(Oid relid);

/* After a restore: makes the dependencies by which DROP TABLE drops all segments of a stream. */
extern void eddy_stream_bind_segments(void);

/* True while pg_eddy itself creates, drops or gives away a segment. */
extern bool eddy_stream_altering_segment(void);

/* Raises an error unless relid is a registered stream owned by the current user. */
extern EddyStream *eddy_stream_check_owner(Oid relid);

/* ---- shape (shape.c) ---- */

/* Why a table cannot be a stream. */
typedef struct EddyShapeProblem
{
	int			sqlerrcode;
	const char *detail;
	const char *hint;			/* NULL if none */
} EddyShapeProblem;

/*
 * eddy_stream_check_shape returns false if the table cannot be a stream, or cannot stay one,
 * and describes why. Segments in schema eddy are permitted as children.
 */
extern bool eddy_stream_check_shape(Relation rel, EddyShapeProblem *problem);

/* True if some subscription writes to the table. */
extern bool eddy_stream_is_subscribed(Oid relid);

/* Describes how a segment differs from what its stream makes it; NULL if it does not, or is gone. */
extern const char *eddy_stream_check_segment(Oid relid, Relation stream);

/* ---- preparing rows from Kafka (prepare.c) ---- */

typedef struct EddyRowPreparer EddyRowPreparer;

/*
 * eddy_stream_begin_prepare compiles defaults, generated columns and constraints
 * of the stream. To be made again when the relcache entry of the stream, a type of its columns or,
 * if eddy_stream_calls_functions, any function was invalidated; lives in mcxt. decoded[a - 1]: the attribute comes from the message or its metadata.
 */
extern EddyRowPreparer *eddy_stream_begin_prepare(MemoryContext mcxt, Relation stream,
												  const bool *decoded);
extern void eddy_stream_end_prepare(EddyRowPreparer *preparer);

/* True if a default, generated column or constraint calls a function that can be replaced. */
extern bool eddy_stream_calls_functions(const EddyRowPreparer *preparer);

/* True if rows need the next step at all: defaults, generated columns, CHECK or NOT NULL exist. */
extern bool eddy_stream_needs_prepare(const EddyRowPreparer *preparer);

/*
 * eddy_stream_prepare_row fills defaults of missing columns, computes generated columns and
 * checks NOT NULL and CHECK of one row. May ereport(ERROR): the caller runs
 * it over the batch inside one subtransaction and knows the row by its counter.
 * Violations of NOT NULL and CHECK are returned as values (false, *sqlerrcode, message).
 *
 * Attributes that are not decoded, and dropped ones, come in as NULL; missing is
 * read for decoded ones only. New values by reference are made in the current
 * memory context. Expressions run as the owner of the stream: call
 * eddy_owner_begin (owner.h) once around many rows, else each row switches by itself.
 */
extern bool eddy_stream_prepare_row(EddyRowPreparer *preparer, Datum *values, bool *nulls,
									const bool *missing, int *sqlerrcode, char *message,
									size_t message_size);

/* ---- writing rows from Kafka (write.c) ---- */

/*
 * eddy_stream_write appends the batch's rows (less the rejected ones) to the current
 * segment, rotating first if its time is over; does nothing for retention 0.
 * Takes RowExclusiveLock on the segment. Unlogged, one CommandId.
 */
extern void eddy_stream_write(const EddyStream *stream, EddyBatch *batch);

/* ---- retention (rotate.c): run by the database's worker, each in a transaction of its own ---- */

/*
 * eddy_stream_housekeep empties segments whose rows are older than retention, adds
 * one when none is free, and deletes users' own rows that are older. Never
 * waits for a lock. Must be called outside a transaction; starts and commits its own.
 * Returns the milliseconds until it should be called again.
 */
extern long eddy_stream_housekeep(void);

#endif							/* EDDY_STREAM_H */

/*-------------------------------------------------------------------------
 *
 * stream.h
 *    The staging relation: registration, capture, preparing and writing rows, rotation.
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

/* Drops the table as DROP TABLE ... RESTRICT does; the event trigger cleans up the catalog. */
extern void eddy_stream_drop(Oid relid);

/* Removes catalog rows of streams, segments and sources whose relation is gone. After DROP. */
extern void eddy_stream_cleanup_dropped(void);

/* After any DDL: gives segments the owner of their stream, adopts segments restored by pg_dump. */
extern void eddy_stream_sync(void);

/* Raises an error unless relid is a registered stream owned by the current user. */
extern EddyStream *eddy_stream_check_owner(Oid relid);

/* ---- preparing rows from Kafka (prepare.c) ---- */

typedef struct EddyRowPreparer EddyRowPreparer;

/*
 * eddy_stream_begin_prepare compiles defaults, generated columns and constraints
 * of the stream. To be made anew when the relcache entry of the stream was invalidated; lives in
 * mcxt. decoded[a - 1]: the attribute comes from the message or its metadata.
 */
extern EddyRowPreparer *eddy_stream_begin_prepare(MemoryContext mcxt, Relation stream,
												  const bool *decoded);
extern void eddy_stream_end_prepare(EddyRowPreparer *preparer);

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
 * eddy_owner_begin (view/owner.h) once around many rows, else each row switches by itself.
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

/* ---- capture (capture.c): C trigger functions live there ---- */

/* ---- retention (rotate.c): run by the database's worker, each in a transaction of its own ---- */

/*
 * eddy_stream_housekeep empties segments whose rows are older than retention, adds
 * one when none is free, and deletes users' own rows that are older. Never
 * waits for a lock. Must be called outside a transaction; starts and commits its own.
 * Returns the milliseconds until it should be called again.
 */
extern long eddy_stream_housekeep(void);

#endif							/* EDDY_STREAM_H */

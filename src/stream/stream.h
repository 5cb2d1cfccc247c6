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

/* Names of our triggers on a stream. */
#define EDDY_STREAM_CAPTURE_TRIGGER "pg_eddy_capture"
#define EDDY_STREAM_REFUSE_TRIGGER "pg_eddy_refuse"
#define EDDY_STREAM_APPLY_TRIGGER "pg_eddy_refuse_apply"

extern void eddy_stream_create(const EddyStream *stream);
extern EddyStream *eddy_stream_lock_to_alter(Oid relid);
extern void eddy_stream_alter(const EddyStream *stream);
extern void eddy_stream_drop(Oid relid);

/* Raises an error unless relid is a registered stream owned by the current user. */
extern EddyStream *eddy_stream_check_owner(Oid relid);

/* ---- following DDL (sync.c, segment.c) ---- */

/* After a command that dropped some of these streams (Oids), or segments of them. */
extern void eddy_stream_cleanup_dropped(const List *streams);

/* After a command that altered a relation, which need not be a stream. */
extern void eddy_stream_sync(Oid relid);

/* After a restore: records the dependencies by which DROP TABLE drops all segments of a stream. */
extern void eddy_stream_bind_segments(void);

/* True while pg_eddy itself creates or drops a segment, or changes its owner. */
extern bool eddy_stream_altering_segment(void);

/* ---- shape (shape.c) ---- */

/* Why a table cannot be a stream. */
typedef struct EddyShapeProblem
{
	int			sqlerrcode;
	const char *detail;
	const char *hint;			/* NULL if none */
} EddyShapeProblem;

extern bool eddy_stream_check_shape(Relation rel, EddyShapeProblem *problem);

/* True if some subscription writes to the table. */
extern bool eddy_stream_is_subscribed(Oid relid);

/* Describes why a segment does not fit its stream; NULL if it does, or does not exist. */
extern const char *eddy_stream_check_segment(Oid relid, Relation stream);

/* ---- columns that rows from Kafka do not get (omit.c) ---- */

/*
 * The attributes that nothing needs; with a view: neither this view nor the table. NULL: there are
 * none.
 */
extern Bitmapset *eddy_stream_omitted_columns(const EddyStream *stream, Relation rel,
											  const EddyView *only);

/* True if rows that arrive before a view exists lack columns that it needs. */
extern bool eddy_stream_lacks_columns(const EddyStream *stream, Relation rel, const EddyView *view);

/* A column that the view needs and some stored row lacks; NULL if there is none. */
extern const char *eddy_stream_missing_column(const EddyStream *stream, Relation rel,
											  const EddyView *view);

/* True if a view of the stream stores late rows, with all of their columns. */
extern bool eddy_stream_shows_late_rows(const EddyStream *stream);

/* Changes argument staged_columns of a stream, a List of names; omits is false for NULL. */
extern void eddy_stream_stage_columns(Oid relid, bool omits, List *names);

/* ---- preparing rows from Kafka (prepare.c) ---- */

typedef struct EddyRowPreparer EddyRowPreparer;

/* Compiles the expressions of a stream; decoded[a - 1]: the attribute comes from the message. */
extern EddyRowPreparer *eddy_stream_begin_prepare(MemoryContext mcxt, Relation stream,
												  const bool *decoded);
extern void eddy_stream_end_prepare(EddyRowPreparer *preparer);

/* True if a default, generated column or constraint calls a function that can be replaced. */
extern bool eddy_stream_calls_functions(const EddyRowPreparer *preparer);

/* True if defaults, generated columns, CHECK or NOT NULL exist: then rows need the next step. */
extern bool eddy_stream_needs_prepare(const EddyRowPreparer *preparer);

/* Completes and checks one row. False with an error as value, or ereport(ERROR). */
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

/* ---- storing rows of users' COPY (append.c) ---- */

typedef struct EddyAppender EddyAppender;

extern EddyAppender *eddy_stream_begin_append(Relation rel);

/*
 * Takes a complete row, of which copy receives one. True: eddy_stream_flush_append must be called
 * before the next row. It stores the rows, and returns the number of rows so far.
 */
extern bool eddy_stream_append(EddyAppender *appender, Datum *values, bool *nulls,
							   Tuplestorestate *copy);
extern uint64 eddy_stream_flush_append(EddyAppender *appender);
extern void eddy_stream_end_append(EddyAppender *appender);

/* ---- retention (rotate.c) ---- */

/*
 * Called by the database's worker outside a transaction; returns milliseconds until the next call.
 */
extern long eddy_stream_housekeep(void);

/* Until the transaction ends, no segment of a stream is emptied or dropped. Writers continue. */
extern void eddy_stream_hold_rows(Oid stream);

#endif							/* EDDY_STREAM_H */

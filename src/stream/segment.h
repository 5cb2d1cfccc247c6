/*-------------------------------------------------------------------------
 *
 * segment.h
 *    Staging segments and small helpers; for src/stream alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_STREAM_SEGMENT_H
#define EDDY_STREAM_SEGMENT_H

#include "catalog/eddy_catalog.h"
#include "utils/rel.h"

/* Segments a stream starts with, and the most it may have while readers hold some. */
#define EDDY_STREAM_SEGMENTS 3
#define EDDY_STREAM_SEGMENTS_MAX 16

/* Names of our triggers on a stream. */
#define EDDY_STREAM_CAPTURE_TRIGGER "pg_eddy_capture"
#define EDDY_STREAM_REFUSE_TRIGGER "pg_eddy_refuse"
#define EDDY_STREAM_APPLY_TRIGGER "pg_eddy_refuse_apply"

/* Runs one DDL command. The text must be made of quoted names alone. */
extern void eddy_stream_execute(const char *command);

/*
 * Creates one more empty segment of a stream and registers it. The caller
 * holds ShareUpdateExclusiveLock or more on the stream.
 */
extern void eddy_stream_add_segment(Oid stream);

/* Gives a segment to another owner; drops an empty one. With the rights of the extension's owner. */
extern void eddy_stream_give_segment(Oid segment, Oid owner);
extern void eddy_stream_delete_segment(Oid segment);

/* Makes the dependency that lets DROP TABLE take the segment along, unless it is there. */
extern void eddy_stream_bind_segment(Oid segment, Oid stream);

/* Makes the capture trigger depend on the event time column (see register.c). */
extern void eddy_stream_bind_event_time(Oid relid, const char *event_time);

/*
 * What makes a segment unfit to be written to, NULL if nothing: its columns must be those of the
 * stream by name, type, typmod and collation, and it must have nothing else of its own (shape.c).
 */
extern const char *eddy_stream_segment_problem(Relation segment, Oid stream,
											   TupleDesc stream_desc);

/* How long rows are written into one segment before the next is taken, in microseconds. */
extern int64 eddy_stream_segment_span(const EddyStream *stream);

#endif							/* EDDY_STREAM_SEGMENT_H */

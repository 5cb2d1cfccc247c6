/*-------------------------------------------------------------------------
 *
 * segment.h
 *    Staging segments, and helpers of src/stream.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_STREAM_SEGMENT_H
#define EDDY_STREAM_SEGMENT_H

#include "batch.h"
#include "catalog/eddy_catalog.h"
#include "utils/rel.h"

/* Segments that a stream starts with, and the most that it may have while readers lock some. */
#define EDDY_STREAM_SEGMENTS 3
#define EDDY_STREAM_SEGMENTS_MAX 16

extern void eddy_stream_execute(const char *command);

extern void eddy_stream_add_segment(Oid stream);
extern void eddy_stream_give_segment(Oid segment, Oid owner);
extern void eddy_stream_delete_segment(Oid segment);

/* Records the dependency by which DROP TABLE drops the segment, unless it exists. */
extern void eddy_stream_bind_segment(Oid segment, Oid stream);

/* Makes the capture trigger depend on the event time column. */
extern void eddy_stream_bind_event_time(Oid relid, const char *event_time);

/* Describes why a segment cannot be written to; NULL if it can. */
extern const char *eddy_stream_segment_problem(Relation segment, Oid stream,
											   TupleDesc stream_desc);

/* Records which columns the rows of a batch lack (omit.c). */
extern void eddy_stream_note_omitted(const EddyBatch *batch, Oid relid);

/* Raises an error unless all names are columns of the table. */
extern void eddy_stream_check_staged_columns(Relation rel, const List *names);

/* How long rows are written into one segment before the next is taken, in microseconds. */
extern int64 eddy_stream_segment_span(const EddyStream *stream);

#endif							/* EDDY_STREAM_SEGMENT_H */

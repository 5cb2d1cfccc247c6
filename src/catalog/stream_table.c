/*-------------------------------------------------------------------------
 *
 * stream_table.c
 *    Rows of eddy._stream and eddy._segment.
 *
 * Locking, memory and crash behaviour: see table.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/table.h"

/* Columns of eddy._stream, from 1, as in the install script. */
enum
{
	STREAM_STREAM = 1,
	STREAM_EVENT_TIME,
	STREAM_DELAY,
	STREAM_RETENTION,
	STREAM_IDLE_TIMEOUT,
	STREAM_MAX_FUTURE_SKEW,
	STREAM_NULL_EVENT_TIME,
	STREAM_AUTO_ADVANCE,
	STREAM_STAGED_COLUMNS,
	STREAM_NCOLUMNS = STREAM_STAGED_COLUMNS
};

/* Columns of eddy._segment. */
enum
{
	SEGMENT_SEGMENT = 1,
	SEGMENT_STREAM,
	SEGMENT_OPENED_AT,
	SEGMENT_CLOSED_AT,
	SEGMENT_OMITTED,
	SEGMENT_NCOLUMNS = SEGMENT_OMITTED
};

static void *
read_stream(const Datum *values, const bool *nulls)
{
	EddyStream *stream = palloc0(sizeof(EddyStream));

	stream->relid = DatumGetObjectId(values[STREAM_STREAM - 1]);
	if (!nulls[STREAM_EVENT_TIME - 1])
		stream->event_time = pstrdup(NameStr(*DatumGetName(values[STREAM_EVENT_TIME - 1])));
	stream->delay = *DatumGetIntervalP(values[STREAM_DELAY - 1]);
	stream->retention = *DatumGetIntervalP(values[STREAM_RETENTION - 1]);
	stream->idle_timeout = *DatumGetIntervalP(values[STREAM_IDLE_TIMEOUT - 1]);
	stream->max_future_skew = *DatumGetIntervalP(values[STREAM_MAX_FUTURE_SKEW - 1]);
	stream->null_event_time = TextDatumGetCString(values[STREAM_NULL_EVENT_TIME - 1]);
	stream->auto_advance = DatumGetBool(values[STREAM_AUTO_ADVANCE - 1]);
	stream->omits = !nulls[STREAM_STAGED_COLUMNS - 1];
	if (stream->omits)
		stream->staged_columns = eddy_catalog_read_names(values[STREAM_STAGED_COLUMNS - 1]);
	return stream;
}

const EddyTableDesc eddy_catalog_stream_table = {EDDY_CATALOG_STREAM, STREAM_NCOLUMNS, read_stream};

static void
write_stream(const EddyStream *stream, Datum *values, bool *nulls)
{
	memset(nulls, 0, sizeof(bool) * STREAM_NCOLUMNS);
	values[STREAM_STREAM - 1] = ObjectIdGetDatum(stream->relid);
	values[STREAM_EVENT_TIME - 1] = eddy_catalog_name(stream->event_time,
													  &nulls[STREAM_EVENT_TIME - 1]);
	values[STREAM_DELAY - 1] = IntervalPGetDatum(&stream->delay);
	values[STREAM_RETENTION - 1] = IntervalPGetDatum(&stream->retention);
	values[STREAM_IDLE_TIMEOUT - 1] = IntervalPGetDatum(&stream->idle_timeout);
	values[STREAM_MAX_FUTURE_SKEW - 1] = IntervalPGetDatum(&stream->max_future_skew);
	values[STREAM_NULL_EVENT_TIME - 1] = CStringGetTextDatum(stream->null_event_time);
	values[STREAM_AUTO_ADVANCE - 1] = BoolGetDatum(stream->auto_advance);
	nulls[STREAM_STAGED_COLUMNS - 1] = !stream->omits;
	if (stream->omits)
		values[STREAM_STAGED_COLUMNS - 1] = eddy_catalog_make_names(stream->staged_columns);
}

EddyStream *
eddy_catalog_get_stream(Oid relid)
{
	ScanKeyData key;

	eddy_catalog_key_oid(&key, STREAM_STREAM, relid);
	return eddy_catalog_read(&eddy_catalog_stream_table, 1, &key);
}

List *
eddy_catalog_list_streams(void)
{
	return eddy_catalog_scan(&eddy_catalog_stream_table, 0, NULL, true);
}

void
eddy_catalog_insert_stream(const EddyStream *stream)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_stream_table);
	Datum		values[STREAM_NCOLUMNS];
	bool		nulls[STREAM_NCOLUMNS];

	write_stream(stream, values, nulls);
	eddy_catalog_insert(rel, values, nulls);
	eddy_catalog_invalidate(stream->relid);
	eddy_catalog_close(rel);
}

void
eddy_catalog_update_stream(const EddyStream *stream)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_stream_table);
	Datum		values[STREAM_NCOLUMNS];
	bool		nulls[STREAM_NCOLUMNS];
	ScanKeyData key;
	HeapTuple	old;

	eddy_catalog_key_oid(&key, STREAM_STREAM, stream->relid);
	old = eddy_catalog_find(rel, 1, &key);
	if (old)
	{
		write_stream(stream, values, nulls);
		eddy_catalog_replace(rel, old, values, nulls);
		eddy_catalog_invalidate(stream->relid);
	}
	eddy_catalog_close(rel);
}

void
eddy_catalog_delete_stream(Oid relid)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_stream_table);
	ScanKeyData key;

	eddy_catalog_key_oid(&key, STREAM_STREAM, relid);
	eddy_catalog_delete(rel, 1, &key);
	eddy_catalog_invalidate(relid);
	eddy_catalog_close(rel);
}

static void *
read_segment(const Datum *values, const bool *nulls)
{
	EddySegment *segment = palloc0(sizeof(EddySegment));

	segment->relid = DatumGetObjectId(values[SEGMENT_SEGMENT - 1]);
	segment->stream = DatumGetObjectId(values[SEGMENT_STREAM - 1]);
	segment->state = nulls[SEGMENT_OPENED_AT - 1] ? EDDY_SEGMENT_EMPTY :
		nulls[SEGMENT_CLOSED_AT - 1] ? EDDY_SEGMENT_CURRENT : EDDY_SEGMENT_CLOSED;
	segment->opened_at = DatumGetTimestampTz(values[SEGMENT_OPENED_AT - 1]);
	segment->closed_at = DatumGetTimestampTz(values[SEGMENT_CLOSED_AT - 1]);
	if (!nulls[SEGMENT_OMITTED - 1])
		segment->omitted = eddy_catalog_read_names(values[SEGMENT_OMITTED - 1]);
	return segment;
}

const EddyTableDesc eddy_catalog_segment_table = {EDDY_CATALOG_SEGMENT, SEGMENT_NCOLUMNS, read_segment};

static void
write_segment(const EddySegment *segment, Datum *values, bool *nulls)
{
	memset(nulls, 0, sizeof(bool) * SEGMENT_NCOLUMNS);
	values[SEGMENT_SEGMENT - 1] = ObjectIdGetDatum(segment->relid);
	values[SEGMENT_STREAM - 1] = ObjectIdGetDatum(segment->stream);
	values[SEGMENT_OPENED_AT - 1] = TimestampTzGetDatum(segment->opened_at);
	nulls[SEGMENT_OPENED_AT - 1] = (segment->state == EDDY_SEGMENT_EMPTY);
	values[SEGMENT_CLOSED_AT - 1] = TimestampTzGetDatum(segment->closed_at);
	nulls[SEGMENT_CLOSED_AT - 1] = (segment->state != EDDY_SEGMENT_CLOSED);
	nulls[SEGMENT_OMITTED - 1] = segment->omitted == NIL;
	if (segment->omitted)
		values[SEGMENT_OMITTED - 1] = eddy_catalog_make_names(segment->omitted);
}

static int
compare_segments(const ListCell *a, const ListCell *b)
{
	Oid			left = ((EddySegment *) lfirst(a))->relid;
	Oid			right = ((EddySegment *) lfirst(b))->relid;

	return left < right ? -1 : left > right;
}

static List *
list_segments(int nkeys, ScanKeyData *keys)
{
	List	   *rows = eddy_catalog_scan(&eddy_catalog_segment_table, nkeys, keys, false);

	list_sort(rows, compare_segments);
	return rows;
}

List *
eddy_catalog_list_segments(Oid stream)
{
	ScanKeyData key;

	eddy_catalog_key_oid(&key, SEGMENT_STREAM, stream);
	return list_segments(1, &key);
}

List *
eddy_catalog_list_all_segments(void)
{
	return list_segments(0, NULL);
}

void
eddy_catalog_insert_segment(const EddySegment *segment)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_segment_table);
	Datum		values[SEGMENT_NCOLUMNS];
	bool		nulls[SEGMENT_NCOLUMNS];

	write_segment(segment, values, nulls);
	eddy_catalog_insert(rel, values, nulls);
	eddy_catalog_invalidate(segment->stream);
	eddy_catalog_close(rel);
}

/* The names that the current row of a segment has. */
static List *
stored_omitted(Relation rel, HeapTuple tuple)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, SEGMENT_OMITTED, RelationGetDescr(rel), &isnull);

	return isnull ? NIL : eddy_catalog_read_names(value);
}

/*
 * eddy_catalog_update_segment waits for a concurrent transaction that has changed the row: another
 * process has rotated the segments then. Other writers may have added omitted columns since it was
 * read.
 */
bool
eddy_catalog_update_segment(const EddySegment *segment)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_segment_table);
	Datum		values[SEGMENT_NCOLUMNS];
	bool		nulls[SEGMENT_NCOLUMNS];
	ScanKeyData key;
	HeapTuple	old;
	bool		done = false;

	eddy_catalog_key_oid(&key, SEGMENT_SEGMENT, segment->relid);
	old = eddy_catalog_find(rel, 1, &key);
	if (old && eddy_catalog_lock(rel, old))
	{
		EddySegment row = *segment;
		ListCell   *lc;

		row.omitted = segment->state == EDDY_SEGMENT_EMPTY ? NIL : stored_omitted(rel, old);
		if (segment->state != EDDY_SEGMENT_EMPTY)
			foreach(lc, segment->omitted)
				row.omitted = eddy_catalog_add_name(row.omitted, lfirst(lc));
		write_segment(&row, values, nulls);
		eddy_catalog_replace(rel, old, values, nulls);
		done = true;
	}
	eddy_catalog_close(rel);
	return done;
}

void
eddy_catalog_delete_segment(Oid relid)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_segment_table);
	ScanKeyData key;

	eddy_catalog_key_oid(&key, SEGMENT_SEGMENT, relid);
	if (eddy_catalog_delete(rel, 1, &key) > 0)
		eddy_catalog_invalidate(InvalidOid);
	eddy_catalog_close(rel);
}

/* ---- lists of names ---- */

bool
eddy_catalog_has_name(const List *names, const char *name)
{
	ListCell   *lc;

	foreach(lc, names)
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	return false;
}

List *
eddy_catalog_add_name(List *names, const char *name)
{
	return eddy_catalog_has_name(names, name) ? names : lappend(names, pstrdup(name));
}

/* Replaces a name; false if the list does not have it. */
static bool
rename_in(List *names, const char *old_name, const char *new_name)
{
	ListCell   *lc;

	foreach(lc, names)
		if (strcmp(lfirst(lc), old_name) == 0)
		{
			lfirst(lc) = pstrdup(new_name);
			return true;
		}
	return false;
}

/* Renames a column in the lists of all segments or, without names, empties the lists. */
static void
change_omitted(Oid stream, const char *old_name, const char *new_name)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_segment_table);
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_segments(stream))
	{
		EddySegment *segment = lfirst(lc);
		Datum		values[SEGMENT_NCOLUMNS];
		bool		nulls[SEGMENT_NCOLUMNS];
		ScanKeyData key;
		HeapTuple	old;

		/* the caller's lock on the stream keeps writers out, but not the rotation */
		eddy_catalog_key_oid(&key, SEGMENT_SEGMENT, segment->relid);
		do
			old = eddy_catalog_find(rel, 1, &key);
		while (old && !eddy_catalog_lock(rel, old));
		if (old == NULL)
			continue;
		heap_deform_tuple(old, RelationGetDescr(rel), values, nulls);
		segment = read_segment(values, nulls);
		if (old_name ? !rename_in(segment->omitted, old_name, new_name) : segment->omitted == NIL)
			continue;
		if (old_name == NULL)
			segment->omitted = NIL;
		write_segment(segment, values, nulls);
		eddy_catalog_replace(rel, old, values, nulls);
	}
	eddy_catalog_close(rel);
}

void
eddy_catalog_rename_omitted(Oid stream, const char *old_name, const char *new_name)
{
	change_omitted(stream, old_name, new_name);
}

void
eddy_catalog_forget_omitted(Oid stream)
{
	change_omitted(stream, NULL, NULL);
}

bool
eddy_catalog_rename_staged(EddyStream *stream, const char *old_name, const char *new_name)
{
	return rename_in(stream->staged_columns, old_name, new_name);
}

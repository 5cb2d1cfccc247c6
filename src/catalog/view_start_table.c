/*-------------------------------------------------------------------------
 *
 * view_start_table.c
 *    Rows of eddy._view_start and eddy._view_offset: views that are filled from Kafka.
 *
 * Both have rows from the creation of such a view until it has caught up: one row of _view_start,
 * and one of _view_offset for each partition that its worker reads. The offsets advance in the
 * transactions that change the view, by compare-and-set.
 *
 * Locking, memory and crash behaviour: see table.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/timestamp.h"

#include "catalog/table.h"

/* Columns of eddy._view_start, from 1, as in the install script. */
enum
{
	START_VIEW = 1,
	START_STARTED_AT,
	START_REPLACES,
	START_NCOLUMNS = START_REPLACES
};

/* Columns of eddy._view_offset. */
enum
{
	OFFSET_VIEW = 1,
	OFFSET_SOURCE,
	OFFSET_PARTITION,
	OFFSET_FIRST,
	OFFSET_NEXT,
	OFFSET_ROWS,
	OFFSET_NCOLUMNS = OFFSET_ROWS
};

static void *
read_start(const Datum *values, const bool *nulls pg_attribute_unused())
{
	EddyViewStart *start = palloc(sizeof(EddyViewStart));

	start->view = DatumGetObjectId(values[START_VIEW - 1]);
	start->started_at = DatumGetTimestampTz(values[START_STARTED_AT - 1]);
	start->replaces = DatumGetObjectId(values[START_REPLACES - 1]);
	return start;
}

static void *
read_offset(const Datum *values, const bool *nulls pg_attribute_unused())
{
	EddyViewOffset *offset = palloc(sizeof(EddyViewOffset));

	offset->view = DatumGetObjectId(values[OFFSET_VIEW - 1]);
	offset->source = DatumGetInt32(values[OFFSET_SOURCE - 1]);
	offset->partition = DatumGetInt32(values[OFFSET_PARTITION - 1]);
	offset->first_offset = DatumGetInt64(values[OFFSET_FIRST - 1]);
	offset->next_offset = DatumGetInt64(values[OFFSET_NEXT - 1]);
	offset->rows = DatumGetInt64(values[OFFSET_ROWS - 1]);
	return offset;
}

const EddyTableDesc eddy_catalog_view_start_table = {
	EDDY_CATALOG_VIEW_START, START_NCOLUMNS, read_start
};

const EddyTableDesc eddy_catalog_view_offset_table = {
	EDDY_CATALOG_VIEW_OFFSET, OFFSET_NCOLUMNS, read_offset
};

/* ---- views ---- */

EddyViewStart *
eddy_catalog_get_view_start(Oid view)
{
	ScanKeyData key;

	eddy_catalog_key_oid(&key, START_VIEW, view);
	return eddy_catalog_read(&eddy_catalog_view_start_table, 1, &key);
}

List *
eddy_catalog_list_view_starts(void)
{
	return eddy_catalog_scan(&eddy_catalog_view_start_table, 0, NULL, false);
}

void
eddy_catalog_set_view_start(const EddyViewStart *start)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_view_start_table);
	Datum		values[START_NCOLUMNS];
	bool		nulls[START_NCOLUMNS] = {false};
	ScanKeyData key;

	values[START_VIEW - 1] = ObjectIdGetDatum(start->view);
	values[START_STARTED_AT - 1] = TimestampTzGetDatum(start->started_at);
	values[START_REPLACES - 1] = ObjectIdGetDatum(start->replaces);
	eddy_catalog_key_oid(&key, START_VIEW, start->view);
	eddy_catalog_put(rel, &key, values, nulls);
	eddy_catalog_close(rel);
}

void
eddy_catalog_delete_view_start(Oid view)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_view_start_table);
	ScanKeyData key;

	eddy_catalog_key_oid(&key, START_VIEW, view);
	eddy_catalog_delete(rel, 1, &key);
	eddy_catalog_close(rel);
	rel = eddy_catalog_open(&eddy_catalog_view_offset_table);
	eddy_catalog_key_oid(&key, OFFSET_VIEW, view);
	eddy_catalog_delete(rel, 1, &key);
	eddy_catalog_close(rel);
	eddy_catalog_delete_view_attempts(view);
}

/* ---- offsets ---- */

List *
eddy_catalog_list_view_offsets(Oid view, int32 source)
{
	ScanKeyData keys[2];

	eddy_catalog_key_oid(&keys[0], OFFSET_VIEW, view);
	eddy_catalog_key_int4(&keys[1], OFFSET_SOURCE, source);
	return eddy_catalog_scan(&eddy_catalog_view_offset_table, 2, keys, true);
}

static void
write_offset(const EddyViewOffset *offset, Datum *values, bool *nulls)
{
	memset(nulls, 0, sizeof(bool) * OFFSET_NCOLUMNS);
	values[OFFSET_VIEW - 1] = ObjectIdGetDatum(offset->view);
	values[OFFSET_SOURCE - 1] = Int32GetDatum(offset->source);
	values[OFFSET_PARTITION - 1] = Int32GetDatum(offset->partition);
	values[OFFSET_FIRST - 1] = Int64GetDatum(offset->first_offset);
	values[OFFSET_NEXT - 1] = Int64GetDatum(offset->next_offset);
	values[OFFSET_ROWS - 1] = Int64GetDatum(offset->rows);
}

void
eddy_catalog_insert_view_offset(const EddyViewOffset *offset)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_view_offset_table);
	Datum		values[OFFSET_NCOLUMNS];
	bool		nulls[OFFSET_NCOLUMNS];

	write_offset(offset, values, nulls);
	eddy_catalog_insert(rel, values, nulls);
	eddy_catalog_close(rel);
}

bool
eddy_catalog_advance_view_offset(const EddyViewOffset *offset, int64 expected_offset)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_view_offset_table);
	Datum		values[OFFSET_NCOLUMNS];
	bool		nulls[OFFSET_NCOLUMNS];
	ScanKeyData keys[3];
	HeapTuple	tuple;
	bool		expected = false;

	eddy_catalog_key_oid(&keys[0], OFFSET_VIEW, offset->view);
	eddy_catalog_key_int4(&keys[1], OFFSET_SOURCE, offset->source);
	eddy_catalog_key_int4(&keys[2], OFFSET_PARTITION, offset->partition);
	tuple = eddy_catalog_find(rel, 3, keys);
	if (tuple)
	{
		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		expected = DatumGetInt64(values[OFFSET_NEXT - 1]) == expected_offset;
	}
	if (expected)
	{
		write_offset(offset, values, nulls);
		eddy_catalog_replace(rel, tuple, values, nulls);
	}
	eddy_catalog_close(rel);
	return expected;
}

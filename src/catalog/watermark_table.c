/*-------------------------------------------------------------------------
 *
 * watermark_table.c
 *    Rows of eddy._watermark: what is stored of the watermarks of streams.
 *
 * The watermark of a stream follows from its partitions (apply/watermark.c). A row holds what does
 * not: a watermark that it was raised to regardless of them, and up to where its windows may be
 * closed. Both only increase. A stream has no row until one of them is needed, so that the writers
 * of other streams never update it.
 *
 * Locking: a row lock until the end of the transaction, which is waited for. Memory and crash
 * behaviour: see table.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/timestamp.h"

#include "catalog/table.h"

/* Columns of eddy._watermark, from 1, as in the install script. */
enum
{
	WATERMARK_STREAM = 1,
	WATERMARK_RAISED,
	WATERMARK_CLOSABLE,
	WATERMARK_NCOLUMNS = WATERMARK_CLOSABLE
};

static TimestampTz
read_time(const Datum *values, const bool *nulls, AttrNumber column)
{
	return nulls[column - 1] ? DT_NOBEGIN : DatumGetTimestampTz(values[column - 1]);
}

static void
write_time(Datum *values, bool *nulls, AttrNumber column, TimestampTz time)
{
	values[column - 1] = TimestampTzGetDatum(time);
	nulls[column - 1] = TIMESTAMP_IS_NOBEGIN(time);
}

static void *
read_watermark(const Datum *values, const bool *nulls)
{
	EddyWatermark *watermark = palloc(sizeof(EddyWatermark));

	watermark->stream = DatumGetObjectId(values[WATERMARK_STREAM - 1]);
	watermark->raised = read_time(values, nulls, WATERMARK_RAISED);
	watermark->closable = read_time(values, nulls, WATERMARK_CLOSABLE);
	return watermark;
}

const EddyTableDesc eddy_catalog_watermark_table = {
	EDDY_CATALOG_WATERMARK, WATERMARK_NCOLUMNS, read_watermark
};

EddyWatermark
eddy_catalog_get_watermark(Oid stream)
{
	EddyWatermark none = {stream, DT_NOBEGIN, DT_NOBEGIN};
	EddyWatermark *stored;
	ScanKeyData key;

	eddy_catalog_key_oid(&key, WATERMARK_STREAM, stream);
	stored = eddy_catalog_read(&eddy_catalog_watermark_table, 1, &key);
	return stored ? *stored : none;
}

void
eddy_catalog_raise_watermark(const EddyWatermark *watermark)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_watermark_table);
	Datum		values[WATERMARK_NCOLUMNS];
	bool		nulls[WATERMARK_NCOLUMNS] = {false};
	EddyWatermark raised = *watermark;
	ScanKeyData key;
	HeapTuple	old;

	eddy_catalog_key_oid(&key, WATERMARK_STREAM, watermark->stream);
	while ((old = eddy_catalog_find(rel, 1, &key)) != NULL && !eddy_catalog_lock(rel, old))
		heap_freetuple(old);	/* replaced by a concurrent transaction: read the row again */
	if (old)
	{
		heap_deform_tuple(old, RelationGetDescr(rel), values, nulls);
		raised.raised = Max(raised.raised, read_time(values, nulls, WATERMARK_RAISED));
		raised.closable = Max(raised.closable, read_time(values, nulls, WATERMARK_CLOSABLE));
	}
	values[WATERMARK_STREAM - 1] = ObjectIdGetDatum(watermark->stream);
	write_time(values, nulls, WATERMARK_RAISED, raised.raised);
	write_time(values, nulls, WATERMARK_CLOSABLE, raised.closable);
	if (old)
		eddy_catalog_replace(rel, old, values, nulls);
	else
		eddy_catalog_insert(rel, values, nulls);
	eddy_catalog_close(rel);
}

void
eddy_catalog_delete_watermark(Oid stream)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_watermark_table);
	ScanKeyData key;

	eddy_catalog_key_oid(&key, WATERMARK_STREAM, stream);
	eddy_catalog_delete(rel, 1, &key);
	eddy_catalog_close(rel);
}

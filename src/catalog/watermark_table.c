/*-------------------------------------------------------------------------
 *
 * watermark_table.c
 *    Rows of eddy._watermark: what is stored of the watermarks of streams.
 *
 * Most of it is in the rows of partitions (apply/watermark.c). A row of this table holds what the
 * watermark was raised to regardless of them, which only increases, and for which number of users'
 * rows partition -1 is idle. It is inserted when the stream is created, so that no two transactions
 * insert it.
 *
 * Locking: a row lock until the end of the transaction, which is waited for unless the name of the
 * function says otherwise. Memory and crash behaviour: see table.c.
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
	WATERMARK_IDLE_USER_ROWS,
	WATERMARK_NCOLUMNS = WATERMARK_IDLE_USER_ROWS
};

static void *
read_watermark(const Datum *values, const bool *nulls)
{
	EddyWatermark *watermark = palloc(sizeof(EddyWatermark));

	watermark->stream = DatumGetObjectId(values[WATERMARK_STREAM - 1]);
	watermark->raised = eddy_catalog_get_time(values, nulls, WATERMARK_RAISED);
	watermark->idle_user_rows = nulls[WATERMARK_IDLE_USER_ROWS - 1] ? -1 :
		DatumGetInt64(values[WATERMARK_IDLE_USER_ROWS - 1]);
	return watermark;
}

const EddyTableDesc eddy_catalog_watermark_table = {
	EDDY_CATALOG_WATERMARK, WATERMARK_NCOLUMNS, read_watermark
};

EddyWatermark
eddy_catalog_get_watermark(Oid stream)
{
	EddyWatermark none = {stream, DT_NOBEGIN, -1};
	EddyWatermark *stored;
	ScanKeyData key;

	eddy_catalog_key_oid(&key, WATERMARK_STREAM, stream);
	stored = eddy_catalog_read(&eddy_catalog_watermark_table, 1, &key);
	return stored ? *stored : none;
}

/* Combines *watermark with the values of a stored row, old, or stores a new row if that is NULL. */
static void
store(Relation rel, HeapTuple old, const EddyWatermark *watermark)
{
	Datum		values[WATERMARK_NCOLUMNS] = {0};
	bool		nulls[WATERMARK_NCOLUMNS] = {false};
	EddyWatermark raised = *watermark;

	nulls[WATERMARK_IDLE_USER_ROWS - 1] = true;
	if (old)
	{
		heap_deform_tuple(old, RelationGetDescr(rel), values, nulls);
		raised.raised = Max(raised.raised,
							eddy_catalog_get_time(values, nulls, WATERMARK_RAISED));
	}
	values[WATERMARK_STREAM - 1] = ObjectIdGetDatum(watermark->stream);
	eddy_catalog_set_time(values, nulls, WATERMARK_RAISED, raised.raised);
	if (raised.idle_user_rows >= 0)
	{
		values[WATERMARK_IDLE_USER_ROWS - 1] = Int64GetDatum(raised.idle_user_rows);
		nulls[WATERMARK_IDLE_USER_ROWS - 1] = false;
	}
	if (old)
		eddy_catalog_replace(rel, old, values, nulls);
	else
		eddy_catalog_insert(rel, values, nulls);
}

void
eddy_catalog_raise_watermark(const EddyWatermark *watermark)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_watermark_table);
	ScanKeyData key;
	HeapTuple	old;

	eddy_catalog_key_oid(&key, WATERMARK_STREAM, watermark->stream);
	while ((old = eddy_catalog_find(rel, 1, &key)) != NULL && !eddy_catalog_lock(rel, old))
		heap_freetuple(old);	/* replaced by a concurrent transaction: read the row again */
	store(rel, old, watermark);
	eddy_catalog_close(rel);
}

bool
eddy_catalog_try_raise_watermark(const EddyWatermark *watermark)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_watermark_table);
	ScanKeyData key;
	HeapTuple	old;
	bool		done;

	eddy_catalog_key_oid(&key, WATERMARK_STREAM, watermark->stream);
	old = eddy_catalog_find(rel, 1, &key);
	done = old != NULL && eddy_catalog_try_lock(rel, old);
	if (done)
		store(rel, old, watermark);
	eddy_catalog_close(rel);
	return done;
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

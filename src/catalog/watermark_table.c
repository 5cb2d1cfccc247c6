/*-------------------------------------------------------------------------
 *
 * watermark_table.c
 *    Rows of eddy._watermark: what the watermarks of streams were raised to.
 *
 * The watermark of a stream follows from its partitions (apply/watermark.c). A row holds a watermark
 * that it was raised to regardless of them. It only increases. A stream has no row until its watermark
 * is raised, so that the writers of other streams never update one.
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
	WATERMARK_NCOLUMNS = WATERMARK_RAISED
};

/* The stored watermark, palloc'ed. */
static void *
read_watermark(const Datum *values, const bool *nulls pg_attribute_unused())
{
	TimestampTz *raised = palloc(sizeof(TimestampTz));

	*raised = DatumGetTimestampTz(values[WATERMARK_RAISED - 1]);
	return raised;
}

const EddyTableDesc eddy_catalog_watermark_table = {
	EDDY_CATALOG_WATERMARK, WATERMARK_NCOLUMNS, read_watermark
};

TimestampTz
eddy_catalog_get_watermark(Oid stream)
{
	TimestampTz *raised;
	ScanKeyData key;

	eddy_catalog_key_oid(&key, WATERMARK_STREAM, stream);
	raised = eddy_catalog_read(&eddy_catalog_watermark_table, 1, &key);
	return raised ? *raised : DT_NOBEGIN;
}

void
eddy_catalog_raise_watermark(Oid stream, TimestampTz raised)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_watermark_table);
	Datum		values[WATERMARK_NCOLUMNS];
	bool		nulls[WATERMARK_NCOLUMNS] = {false};
	ScanKeyData key;
	HeapTuple	old;

	eddy_catalog_key_oid(&key, WATERMARK_STREAM, stream);
	while ((old = eddy_catalog_find(rel, 1, &key)) != NULL && !eddy_catalog_lock(rel, old))
		heap_freetuple(old);	/* replaced by a concurrent transaction: read the row again */
	if (old)
	{
		heap_deform_tuple(old, RelationGetDescr(rel), values, nulls);
		raised = Max(raised, DatumGetTimestampTz(values[WATERMARK_RAISED - 1]));
	}
	values[WATERMARK_STREAM - 1] = ObjectIdGetDatum(stream);
	values[WATERMARK_RAISED - 1] = TimestampTzGetDatum(raised);
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

/*-------------------------------------------------------------------------
 *
 * partition_table.c
 *    Rows of eddy._partition: the offsets, the only record of what was consumed.
 *
 * A row is advanced in the transaction that applies its messages, by
 * compare-and-set: a worker that expects another next_offset than the stored one
 * has started from outdated offsets and must abort. That fences
 * zombies, doubly started workers and workers that have not seen a seek.
 *
 * Locking: the row lock of the update, until the end of the transaction; rows
 * in order of partition. Memory and crash behaviour: see table.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/timestamp.h"

#include "catalog/table.h"

/* Columns of eddy._partition, from 1, as in the install script. */
enum
{
	PARTITION_SOURCE = 1,
	PARTITION_PARTITION,
	PARTITION_NEXT_OFFSET,
	PARTITION_EPOCH,
	PARTITION_HIGH_OFFSET,
	PARTITION_MAX_EVENT_TIME,
	PARTITION_ROWS,
	PARTITION_REJECTED,
	PARTITION_SKIPPED,
	PARTITION_UPDATED_AT,
	PARTITION_IDLE_SINCE,
	PARTITION_ADVANCED_AT,
	PARTITION_STREAM_WATERMARK,
	PARTITION_AHEAD,
	PARTITION_NCOLUMNS = PARTITION_AHEAD
};

static void *
read_partition(const Datum *values, const bool *nulls)
{
	EddyPartition *partition = palloc0(sizeof(EddyPartition));

	partition->source = DatumGetInt32(values[PARTITION_SOURCE - 1]);
	partition->partition = DatumGetInt32(values[PARTITION_PARTITION - 1]);
	partition->next_offset = DatumGetInt64(values[PARTITION_NEXT_OFFSET - 1]);
	partition->epoch = DatumGetInt64(values[PARTITION_EPOCH - 1]);
	partition->high_offset = nulls[PARTITION_HIGH_OFFSET - 1] ? -1 :
		DatumGetInt64(values[PARTITION_HIGH_OFFSET - 1]);
	partition->max_event_time = eddy_catalog_get_time(values, nulls, PARTITION_MAX_EVENT_TIME);
	partition->rows = DatumGetInt64(values[PARTITION_ROWS - 1]);
	partition->rejected = DatumGetInt64(values[PARTITION_REJECTED - 1]);
	partition->skipped = DatumGetInt64(values[PARTITION_SKIPPED - 1]);
	partition->updated_at = eddy_catalog_get_time(values, nulls, PARTITION_UPDATED_AT);
	partition->idle_since = eddy_catalog_get_time(values, nulls, PARTITION_IDLE_SINCE);
	partition->advanced_at = eddy_catalog_get_time(values, nulls, PARTITION_ADVANCED_AT);
	partition->stream_watermark = eddy_catalog_get_time(values, nulls,
														PARTITION_STREAM_WATERMARK);
	partition->ahead = DatumGetInt64(values[PARTITION_AHEAD - 1]);
	return partition;
}

const EddyTableDesc eddy_catalog_partition_table = {
	EDDY_CATALOG_PARTITION, PARTITION_NCOLUMNS, read_partition
};

static void
write_partition(const EddyPartition *partition, Datum *values, bool *nulls)
{
	memset(nulls, 0, sizeof(bool) * PARTITION_NCOLUMNS);
	values[PARTITION_SOURCE - 1] = Int32GetDatum(partition->source);
	values[PARTITION_PARTITION - 1] = Int32GetDatum(partition->partition);
	values[PARTITION_NEXT_OFFSET - 1] = Int64GetDatum(partition->next_offset);
	values[PARTITION_EPOCH - 1] = Int64GetDatum(partition->epoch);
	values[PARTITION_HIGH_OFFSET - 1] = Int64GetDatum(partition->high_offset);
	nulls[PARTITION_HIGH_OFFSET - 1] = (partition->high_offset < 0);
	eddy_catalog_set_time(values, nulls, PARTITION_MAX_EVENT_TIME, partition->max_event_time);
	values[PARTITION_ROWS - 1] = Int64GetDatum(partition->rows);
	values[PARTITION_REJECTED - 1] = Int64GetDatum(partition->rejected);
	values[PARTITION_SKIPPED - 1] = Int64GetDatum(partition->skipped);
	eddy_catalog_set_time(values, nulls, PARTITION_UPDATED_AT, partition->updated_at);
	eddy_catalog_set_time(values, nulls, PARTITION_IDLE_SINCE, partition->idle_since);
	eddy_catalog_set_time(values, nulls, PARTITION_ADVANCED_AT, partition->advanced_at);
	eddy_catalog_set_time(values, nulls, PARTITION_STREAM_WATERMARK, partition->stream_watermark);
	values[PARTITION_AHEAD - 1] = Int64GetDatum(partition->ahead);
}

static void
partition_keys(ScanKeyData *keys, int32 source, int32 partition)
{
	eddy_catalog_key_int4(&keys[0], PARTITION_SOURCE, source);
	eddy_catalog_key_int4(&keys[1], PARTITION_PARTITION, partition);
}

List *
eddy_catalog_list_partitions(int32 source)
{
	ScanKeyData key;

	eddy_catalog_key_int4(&key, PARTITION_SOURCE, source);
	return eddy_catalog_scan(&eddy_catalog_partition_table, 1, &key, true);
}

List *
eddy_catalog_list_partitions_as_of(int32 source, Snapshot as_of)
{
	ScanKeyData key;

	eddy_catalog_key_int4(&key, PARTITION_SOURCE, source);
	return eddy_catalog_scan_as_of(&eddy_catalog_partition_table, 1, &key, true, as_of);
}

void
eddy_catalog_insert_partition(const EddyPartition *partition)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_partition_table);
	Datum		values[PARTITION_NCOLUMNS];
	bool		nulls[PARTITION_NCOLUMNS];

	write_partition(partition, values, nulls);
	eddy_catalog_insert(rel, values, nulls);
	eddy_catalog_close(rel);
}

/*
 * eddy_catalog_advance_partition writes *partition if, and only if, the stored row has
 * next_offset = expected_offset and the same epoch: the compare-and-set of the batch transaction.
 * Waits for a concurrent writer of the row. If it returns false, the transaction must abort and
 * the offsets must be read again.
 */
bool
eddy_catalog_advance_partition(const EddyPartition *partition, int64 expected_offset)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_partition_table);
	Datum		values[PARTITION_NCOLUMNS];
	bool		nulls[PARTITION_NCOLUMNS];
	ScanKeyData keys[2];
	HeapTuple	old;
	bool		hit = false;

	partition_keys(keys, partition->source, partition->partition);
	old = eddy_catalog_find(rel, 2, keys);
	if (old && eddy_catalog_lock(rel, old))
	{
		heap_deform_tuple(old, RelationGetDescr(rel), values, nulls);
		hit = DatumGetInt64(values[PARTITION_NEXT_OFFSET - 1]) == expected_offset &&
			DatumGetInt64(values[PARTITION_EPOCH - 1]) == partition->epoch;
	}
	if (hit)
	{
		write_partition(partition, values, nulls);
		eddy_catalog_replace(rel, old, values, nulls);
	}
	if (old)
		heap_freetuple(old);
	eddy_catalog_close(rel);
	return hit;
}

/*
 * Whatever the row contains: a batch that has read it fails at its compare-and-set, by the epoch.
 */
void
eddy_catalog_seek_partition(int32 source, int32 partition, int64 next_offset)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_partition_table);
	Datum		values[PARTITION_NCOLUMNS];
	bool		nulls[PARTITION_NCOLUMNS];
	ScanKeyData keys[2];
	HeapTuple	old;

	partition_keys(keys, source, partition);
	for (;;)
	{
		old = eddy_catalog_find(rel, 2, keys);
		if (old == NULL || eddy_catalog_lock(rel, old))
			break;				/* else a batch was committed concurrently: read the row again */
	}
	if (old)
	{
		heap_deform_tuple(old, RelationGetDescr(rel), values, nulls);
		values[PARTITION_NEXT_OFFSET - 1] = Int64GetDatum(next_offset);
		values[PARTITION_EPOCH - 1] =
			Int64GetDatum(DatumGetInt64(values[PARTITION_EPOCH - 1]) + 1);
		eddy_catalog_set_time(values, nulls, PARTITION_IDLE_SINCE, DT_NOBEGIN);
		eddy_catalog_replace(rel, old, values, nulls);
	}
	else
	{
		EddyPartition fresh = {
			.source = source,
			.partition = partition,
			.next_offset = next_offset,
			.epoch = 1,
			.high_offset = -1,
			.max_event_time = DT_NOBEGIN,
			.updated_at = DT_NOBEGIN,
			.idle_since = DT_NOBEGIN,
			.advanced_at = DT_NOBEGIN,
			.stream_watermark = DT_NOBEGIN
		};

		write_partition(&fresh, values, nulls);
		eddy_catalog_insert(rel, values, nulls);
	}
	eddy_catalog_close(rel);
}

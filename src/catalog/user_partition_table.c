/*-------------------------------------------------------------------------
 *
 * user_partition_table.c
 *    Rows of eddy._user_partition: how much users' statements have added to each stream.
 *
 * A single row per stream would make concurrent writers wait for each other until they commit. A
 * stream therefore has several, called stripes, whose sum counts. A transaction adds to a stripe
 * that no other transaction is updating, by an update that does not wait; if there is none, it
 * inserts another one. So there are never more stripes than there were concurrent writers. Each
 * process remembers which stripe it used last, which then costs one index probe.
 *
 * Under REPEATABLE READ and SERIALIZABLE a stripe that was changed since the snapshot was taken
 * is passed over, so that the transaction never reads the counts of others as its own, and an
 * update cannot fail with 40001. Stripes are read without an MVCC snapshot, which takes no
 * predicate locks: concurrent SERIALIZABLE writers do not conflict here. Such a scan can miss a
 * row that is being updated, or return an old version of it; another stripe is used then.
 *
 * Locking: the row lock of the update, until the end of the transaction; never waits. Memory and
 * crash behaviour: see table.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog/table.h"
#include "compat.h"

/* Columns of eddy._user_partition, from 1, as in the install script. */
enum
{
	USER_PARTITION_STREAM = 1,
	USER_PARTITION_STRIPE,
	USER_PARTITION_MAX_EVENT_TIME,
	USER_PARTITION_ROWS,
	USER_PARTITION_REJECTED,
	USER_PARTITION_SKIPPED,
	USER_PARTITION_UPDATED_AT,
	USER_PARTITION_ADVANCED_AT,
	USER_PARTITION_STREAM_WATERMARK,
	USER_PARTITION_AHEAD,
	USER_PARTITION_NCOLUMNS = USER_PARTITION_AHEAD
};

static void *
read_stripe(const Datum *values, const bool *nulls)
{
	EddyUserPartition *stripe = palloc(sizeof(EddyUserPartition));

	stripe->stream = DatumGetObjectId(values[USER_PARTITION_STREAM - 1]);
	stripe->rows = DatumGetInt64(values[USER_PARTITION_ROWS - 1]);
	stripe->rejected = DatumGetInt64(values[USER_PARTITION_REJECTED - 1]);
	stripe->skipped = DatumGetInt64(values[USER_PARTITION_SKIPPED - 1]);
	stripe->max_event_time = eddy_catalog_get_time(values, nulls, USER_PARTITION_MAX_EVENT_TIME);
	stripe->updated_at = eddy_catalog_get_time(values, nulls, USER_PARTITION_UPDATED_AT);
	stripe->advanced_at = eddy_catalog_get_time(values, nulls, USER_PARTITION_ADVANCED_AT);
	stripe->stream_watermark = eddy_catalog_get_time(values, nulls,
													 USER_PARTITION_STREAM_WATERMARK);
	stripe->ahead = DatumGetInt64(values[USER_PARTITION_AHEAD - 1]);
	return stripe;
}

const EddyTableDesc eddy_catalog_user_partition_table = {
	EDDY_CATALOG_USER_PARTITION, USER_PARTITION_NCOLUMNS, read_stripe
};

/* With so many stripes, one changed since the snapshot is used rather than inserting another. */
#define ENOUGH_STRIPES 64

/* The stripes that this process used last; streams with the same remainder replace each other. */
#define REMEMBERED 16

static struct
{
	Oid			stream;
	int64		stripe;
}			remembered[REMEMBERED];

/* True if the version was written by this transaction or is visible to its snapshot. */
static bool
belongs_to_snapshot(HeapTuple tuple)
{
	TransactionId xmin = HeapTupleHeaderGetXmin(tuple->t_data);

	return !IsolationUsesXactSnapshot() || TransactionIdIsCurrentTransactionId(xmin) ||
		!XidInMVCCSnapshot(xmin, GetTransactionSnapshot());
}

/* An update that moved the row to another page needs new index entries. */
static void
insert_index_entries(Relation rel, HeapTuple tuple)
{
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *rri = makeNode(ResultRelInfo);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);

	InitResultRelInfo(rri, rel, 0, NULL, 0);
	ExecOpenIndices(rri, false);
	ExecStoreHeapTuple(tuple, slot, false);
	slot->tts_tid = tuple->t_self;
	list_free(eddy_compat_insert_index_tuples(rri, slot, estate, true, false, NULL));
	ExecDropSingleTupleTableSlot(slot);
	ExecCloseIndices(rri);
	FreeExecutorState(estate);
}

/* Raises a time of a row; false if it is not earlier. */
static bool
raise_time(Datum *values, bool *nulls, AttrNumber attnum, TimestampTz time)
{
	if (time <= eddy_catalog_get_time(values, nulls, attnum))
		return false;
	eddy_catalog_set_time(values, nulls, attnum, time);
	return true;
}

/* Adds to a stripe; false if another transaction is updating it, or has updated it meanwhile. */
static bool
add_to_stripe(Relation rel, HeapTuple old, const EddyUserPartition *added)
{
	Datum		values[USER_PARTITION_NCOLUMNS];
	bool		nulls[USER_PARTITION_NCOLUMNS];
	HeapTuple	tuple;
	bool		updated;

	heap_deform_tuple(old, RelationGetDescr(rel), values, nulls);
	(void) raise_time(values, nulls, USER_PARTITION_STREAM_WATERMARK, added->stream_watermark);
	if (raise_time(values, nulls, USER_PARTITION_MAX_EVENT_TIME, added->max_event_time))
		(void) raise_time(values, nulls, USER_PARTITION_ADVANCED_AT, added->updated_at);
	values[USER_PARTITION_ROWS - 1] =
		Int64GetDatum(DatumGetInt64(values[USER_PARTITION_ROWS - 1]) + added->rows);
	values[USER_PARTITION_REJECTED - 1] =
		Int64GetDatum(DatumGetInt64(values[USER_PARTITION_REJECTED - 1]) + added->rejected);
	values[USER_PARTITION_SKIPPED - 1] =
		Int64GetDatum(DatumGetInt64(values[USER_PARTITION_SKIPPED - 1]) + added->skipped);
	values[USER_PARTITION_AHEAD - 1] =
		Int64GetDatum(DatumGetInt64(values[USER_PARTITION_AHEAD - 1]) + added->ahead);
	values[USER_PARTITION_UPDATED_AT - 1] = TimestampTzGetDatum(added->updated_at);

	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	updated = eddy_compat_try_heap_update(rel, &old->t_self, tuple);
	if (updated && !HeapTupleIsHeapOnly(tuple))
		insert_index_entries(rel, tuple);
	heap_freetuple(tuple);
	return updated;
}

static void
insert_stripe(Relation rel, int64 stripe, const EddyUserPartition *added)
{
	Datum		values[USER_PARTITION_NCOLUMNS];
	bool		nulls[USER_PARTITION_NCOLUMNS] = {false};

	values[USER_PARTITION_STREAM - 1] = ObjectIdGetDatum(added->stream);
	values[USER_PARTITION_STRIPE - 1] = Int64GetDatum(stripe);
	eddy_catalog_set_time(values, nulls, USER_PARTITION_MAX_EVENT_TIME, added->max_event_time);
	values[USER_PARTITION_ROWS - 1] = Int64GetDatum(added->rows);
	values[USER_PARTITION_REJECTED - 1] = Int64GetDatum(added->rejected);
	values[USER_PARTITION_SKIPPED - 1] = Int64GetDatum(added->skipped);
	values[USER_PARTITION_UPDATED_AT - 1] = TimestampTzGetDatum(added->updated_at);
	eddy_catalog_set_time(values, nulls, USER_PARTITION_ADVANCED_AT,
						  TIMESTAMP_IS_NOBEGIN(added->max_event_time) ? DT_NOBEGIN :
						  added->updated_at);
	eddy_catalog_set_time(values, nulls, USER_PARTITION_STREAM_WATERMARK,
						  added->stream_watermark);
	values[USER_PARTITION_AHEAD - 1] = Int64GetDatum(added->ahead);
	eddy_catalog_insert(rel, values, nulls);
}

static int64
number_of_stripe(Relation rel, HeapTuple tuple)
{
	bool		isnull;

	return DatumGetInt64(heap_getattr(tuple, USER_PARTITION_STRIPE, RelationGetDescr(rel),
									  &isnull));
}

/*
 * Adds to the first of the stripes that the keys match and that can be updated now; false if there
 * is none. With any_version, those changed since the snapshot was taken are used as well. *count
 * is the number of stripes.
 */
static bool
add_to_any(Relation rel, int nkeys, ScanKeyData *keys, const EddyUserPartition *added,
		   bool any_version, int64 *stripe, int *count)
{
	SysScanDesc scan = systable_beginscan(rel, eddy_catalog_primary_key(rel), true, SnapshotSelf,
										  nkeys, keys);
	HeapTuple	tuple;
	bool		done = false;

	*count = 0;
	while (!done && (tuple = systable_getnext(scan)) != NULL)
	{
		(*count)++;
		/* the scan keeps the page pinned while the row is updated */
		done = (any_version || belongs_to_snapshot(tuple)) && add_to_stripe(rel, tuple, added);
		if (done)
			*stripe = number_of_stripe(rel, tuple);
	}
	systable_endscan(scan);
	return done;
}

void
eddy_catalog_add_user_rows(const EddyUserPartition *added)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_user_partition_table);
	int			place = added->stream % REMEMBERED;
	int64		stripe = remembered[place].stripe;
	ScanKeyData keys[2];
	int			count;

	eddy_catalog_key_oid(&keys[0], USER_PARTITION_STREAM, added->stream);
	eddy_catalog_key_int8(&keys[1], USER_PARTITION_STRIPE, stripe);
	if ((remembered[place].stream != added->stream ||
		 !add_to_any(rel, 2, keys, added, false, &stripe, &count)) &&
		!add_to_any(rel, 1, keys, added, false, &stripe, &count) &&
		(count < ENOUGH_STRIPES || !IsolationUsesXactSnapshot() ||
		 !add_to_any(rel, 1, keys, added, true, &stripe, &count)))
	{
		/* a new number for each, so that no other transaction inserts the same key */
		stripe = nextval_internal(get_relname_relid("_user_partition_seq",
													eddy_catalog_schema()), false);
		insert_stripe(rel, stripe, added);
	}
	remembered[place].stream = added->stream;
	remembered[place].stripe = stripe;
	eddy_catalog_close(rel);
}

EddyUserPartition
eddy_catalog_get_user_partition(Oid stream)
{
	EddyUserPartition sum = {
		.stream = stream,
		.max_event_time = DT_NOBEGIN,
		.updated_at = DT_NOBEGIN,
		.advanced_at = DT_NOBEGIN,
		.stream_watermark = DT_NOBEGIN
	};
	ScanKeyData key;
	List	   *stripes;
	ListCell   *lc;

	eddy_catalog_key_oid(&key, USER_PARTITION_STREAM, stream);
	stripes = eddy_catalog_scan(&eddy_catalog_user_partition_table, 1, &key, true);
	foreach(lc, stripes)
	{
		const EddyUserPartition *stripe = lfirst(lc);

		sum.rows += stripe->rows;
		sum.rejected += stripe->rejected;
		sum.skipped += stripe->skipped;
		sum.ahead += stripe->ahead;
		sum.max_event_time = Max(sum.max_event_time, stripe->max_event_time);
		sum.updated_at = Max(sum.updated_at, stripe->updated_at);
		sum.advanced_at = Max(sum.advanced_at, stripe->advanced_at);
		sum.stream_watermark = Max(sum.stream_watermark, stripe->stream_watermark);
	}
	list_free_deep(stripes);
	return sum;
}

void
eddy_catalog_delete_user_partition(Oid stream)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_user_partition_table);
	ScanKeyData key;

	eddy_catalog_key_oid(&key, USER_PARTITION_STREAM, stream);
	eddy_catalog_delete(rel, 1, &key);
	eddy_catalog_close(rel);
}

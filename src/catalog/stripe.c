/*-------------------------------------------------------------------------
 *
 * stripe.c
 *    Counts that concurrent transactions add to without waiting for each other.
 *
 * A single row per stream or view would make concurrent writers wait for each other until they
 * commit. There are therefore several rows, called stripes, whose sum counts. A transaction adds to
 * a stripe that no other transaction is updating, by an update that does not wait; if there is
 * none, it inserts another one. So there are never more stripes than there were concurrent writers.
 * Each process remembers which stripe it used last, and where its row is, which usually saves the
 * search in the index. That place is only a hint: the row there is checked, and if it is not the
 * latest version of that stripe, the index is used. So it is when the page becomes full, because
 * searching removes old versions from it.
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
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog/stripe.h"
#include "compat.h"

enum
{
	STRIPE_OWNER = 1,
	STRIPE_NUMBER
};

/* With so many stripes, one changed since the snapshot is used rather than inserting another. */
#define ENOUGH_STRIPES 64

void
eddy_stripe_count(Datum *values, bool *nulls, AttrNumber attnum, int64 more)
{
	int64		count = nulls[attnum - 1] ? 0 : DatumGetInt64(values[attnum - 1]);

	values[attnum - 1] = Int64GetDatum(count + more);
	nulls[attnum - 1] = false;
}

bool
eddy_stripe_raise(Datum *values, bool *nulls, AttrNumber attnum, TimestampTz time)
{
	if (time <= eddy_catalog_get_time(values, nulls, attnum))
		return false;
	eddy_catalog_set_time(values, nulls, attnum, time);
	return true;
}

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

/*
 * Adds to a stripe; false if another transaction is updating it, or has updated it meanwhile.
 * *place is set to that of the new version.
 */
static bool
add_to_stripe(const EddyStripeTable *table, Relation rel, HeapTuple old, const void *added,
			  ItemPointer place)
{
	Datum		values[EDDY_CATALOG_MAX_COLUMNS];
	bool		nulls[EDDY_CATALOG_MAX_COLUMNS];
	HeapTuple	tuple;
	bool		updated;

	heap_deform_tuple(old, RelationGetDescr(rel), values, nulls);
	table->add(values, nulls, added);
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	updated = eddy_compat_try_heap_update(rel, &old->t_self, tuple);
	if (updated && !HeapTupleIsHeapOnly(tuple))
		insert_index_entries(rel, tuple);
	*place = tuple->t_self;
	heap_freetuple(tuple);
	return updated;
}

static void
insert_stripe(const EddyStripeTable *table, Relation rel, Oid owner, int64 stripe,
			  const void *added)
{
	Datum		values[EDDY_CATALOG_MAX_COLUMNS];
	bool		nulls[EDDY_CATALOG_MAX_COLUMNS];

	memset(nulls, true, sizeof(nulls));
	values[STRIPE_OWNER - 1] = ObjectIdGetDatum(owner);
	values[STRIPE_NUMBER - 1] = Int64GetDatum(stripe);
	nulls[STRIPE_OWNER - 1] = nulls[STRIPE_NUMBER - 1] = false;
	table->add(values, nulls, added);
	eddy_catalog_insert(rel, values, nulls);
}

static int64
number_of_stripe(Relation rel, HeapTuple tuple)
{
	bool		isnull;

	return DatumGetInt64(heap_getattr(tuple, STRIPE_NUMBER, RelationGetDescr(rel), &isnull));
}

/*
 * Adds to the first of the stripes that the keys match and that can be updated now, which *used is
 * set to; false if there is none. With any_version, those changed since the snapshot was taken are
 * used as well. *count is the number of stripes.
 */
static bool
add_to_any(const EddyStripeTable *table, Relation rel, int nkeys, ScanKeyData *keys,
		   const void *added, bool any_version, EddyRememberedStripe *used, int *count)
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
		done = (any_version || belongs_to_snapshot(tuple)) &&
			add_to_stripe(table, rel, tuple, added, &used->place);
		if (done)
			used->stripe = number_of_stripe(rel, tuple);
	}
	systable_endscan(scan);
	return done;
}

/* True if a row is that of a stripe. */
static bool
is_stripe(Relation rel, HeapTuple tuple, Oid owner, int64 stripe)
{
	bool		isnull;

	return DatumGetObjectId(heap_getattr(tuple, STRIPE_OWNER, RelationGetDescr(rel), &isnull)) ==
		owner && number_of_stripe(rel, tuple) == stripe;
}

/*
 * Adds to the stripe that this process used last, at the place where it has written it. False if it
 * is not there any more, if it cannot be updated now, or if its page has little space.
 */
static bool
add_at_place(const EddyStripeTable *table, Relation rel, Oid owner, const void *added,
			 EddyRememberedStripe *used)
{
	HeapTupleData tuple = {.t_self = used->place, .t_tableOid = RelationGetRelid(rel)};
	Buffer		buffer = InvalidBuffer;
	bool		done;

	if (!ItemPointerIsValid(&used->place) ||
		ItemPointerGetBlockNumber(&used->place) >= RelationGetNumberOfBlocks(rel) ||
		!heap_fetch(rel, SnapshotSelf, &tuple, &buffer, false))
		return false;
	done = PageGetHeapFreeSpace(BufferGetPage(buffer)) > BLCKSZ / 8 &&
		is_stripe(rel, &tuple, owner, used->stripe) && belongs_to_snapshot(&tuple) &&
		add_to_stripe(table, rel, &tuple, added, &used->place);
	ReleaseBuffer(buffer);
	return done;
}

void
eddy_stripe_add(EddyStripeTable *table, Oid owner, const void *added)
{
	Relation	rel = eddy_catalog_open(table->desc);
	EddyRememberedStripe *remembered = &table->remembered[owner % EDDY_STRIPES_REMEMBERED];
	EddyRememberedStripe used = *remembered;
	ScanKeyData keys[2];
	int			count;

	if (used.owner != owner || !add_at_place(table, rel, owner, added, &used))
	{
		eddy_catalog_key_oid(&keys[0], STRIPE_OWNER, owner);
		eddy_catalog_key_int8(&keys[1], STRIPE_NUMBER, used.stripe);
		if ((used.owner != owner ||
			 !add_to_any(table, rel, 2, keys, added, false, &used, &count)) &&
			!add_to_any(table, rel, 1, keys, added, false, &used, &count) &&
			(count < ENOUGH_STRIPES || !IsolationUsesXactSnapshot() ||
			 !add_to_any(table, rel, 1, keys, added, true, &used, &count)))
		{
			/* a new number for each, so that no other transaction inserts the same key */
			used.stripe = nextval_internal(get_relname_relid(table->sequence,
															 eddy_catalog_schema()), false);
			ItemPointerSetInvalid(&used.place);
			insert_stripe(table, rel, owner, used.stripe, added);
		}
	}
	used.owner = owner;
	*remembered = used;
	eddy_catalog_close(rel);
}

List *
eddy_stripe_list(const EddyStripeTable *table, Oid owner)
{
	ScanKeyData key;

	eddy_catalog_key_oid(&key, STRIPE_OWNER, owner);
	return eddy_catalog_scan(table->desc, 1, &key, true);
}

void
eddy_stripe_delete(const EddyStripeTable *table, Oid owner)
{
	Relation	rel = eddy_catalog_open(table->desc);
	ScanKeyData key;

	eddy_catalog_key_oid(&key, STRIPE_OWNER, owner);
	eddy_catalog_delete(rel, 1, &key);
	eddy_catalog_close(rel);
}

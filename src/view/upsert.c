/*-------------------------------------------------------------------------
 *
 * upsert.c
 *    Reading and writing the rows of a state table by key.
 *
 * Rows are found through the unique index over the key and written directly through the table
 * access method, below triggers. What the columns mean is not known here: what a row becomes is
 * computed by the kind of the view.
 *
 * Updates and deletes are optimistic: the version that was read is replaced if it is still the
 * latest. Where several rows must change together, they are locked first. A row that does not
 * exist yet is inserted speculatively, as ON CONFLICT does, because a concurrent transaction may
 * be inserting it. If such a transaction was first, the caller continues, under READ COMMITTED,
 * with a new snapshot, in which it reads the row again; under the stricter levels the statement
 * fails with 40001. Where the whole transaction can be repeated, new rows are inserted many at a
 * time, and a collision is an error (23505).
 *
 * All reads are made with the active snapshot, which the caller pushes before it opens the table
 * and pops after closing it.
 *
 * Locking: RowExclusiveLock on table and index, row locks in the order of the calls, all until the
 * end of the transaction; callers write in order of key, so that they never deadlock among
 * themselves. Memory: the context in which the table was opened. A crash leaves nothing: all of it
 * is part of one WAL-logged transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/itup.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/lmgr.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "view/changes.h"
#include "view/group_cache.h"
#include "view/key_gap.h"
#include "view/old_row.h"
#include "view/upsert.h"

/* Instead of a number of keys: the scan is one of a range, and is not reused. */
#define SCAN_RANGE (-1)

/* New rows that are inserted together at most. */
#define MAX_ADDED 64

struct EddyUpsert
{
	const EddyStateTable *table;
	const char *view_name;		/* for messages */
	MemoryContext mcxt;			/* in which the table was opened: scans live as long */
	Relation	rel;
	Relation	index;			/* by which rows are read, in the order of ranges */
	Relation	key_index;		/* the unique index over the key; often the same */
	Relation	time_index;		/* by which rows are read in order of a time; NULL: none */
	IndexScanDesc scan;			/* NULL: none with the active snapshot */
	int			scan_nkeys;
	ScanKeyData *scan_keys;		/* of the layout */
	FmgrInfo   *at_least;		/* >= of each key column; fn_oid 0: not looked up yet */
	const Datum *after_keys;	/* rows after this key are read, in several ranges; NULL: one range */
	const bool *after_nulls;
	TimestampTz after_until;
	int			after_column;	/* the next range differs from the key in this column; -1: none */
	bool		after_null;		/* it has NULL there, instead of greater values */
	TupleTableSlot *stored;		/* the row that was read last */
	TupleTableSlot *replaced;	/* a version that is replaced or deleted, for observers; often NULL */
	EState	   *estate;			/* for index entries; NULL until they are needed */
	ResultRelInfo *rri;
	TupleTableSlot *added[MAX_ADDED];	/* rows that are not inserted yet */
	uint64		added_hashes[MAX_ADDED];	/* of the keys, for the cache */
	ItemPointer added_places[MAX_ADDED];	/* where their places are stored; NULL: nowhere */
	int			nadded;

	/* places of rows that were seen before */
	EddyGroupCache *cache;		/* NULL: none */
	BlockNumber nblocks;		/* of the table when it was opened: later it does not shrink */
	uint64		found_hash;		/* of the key that was looked for last */
	ItemPointerData found_place;	/* of the row with it, invalid if there is none */
	EddyKeyGap *gap;			/* keys that no row has; NULL: not noted */
};

/* ---- opening ---- */

/*
 * eddy_upsert_check_layout raises an error unless a relation has exactly the columns of a state
 * table: values would be read as what they are not.
 */
void
eddy_upsert_check_layout(Relation rel, const EddyStateTable *table)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool		same = desc->natts == table->ncolumns;

	for (int i = 0; same && i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const EddyStateColumn *column = &table->columns[i];

		same = !att->attisdropped && att->atttypid == column->type &&
			att->atttypmod == column->typmod && att->attcollation == column->collation;
	}
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("state table \"%s\" does not have the columns of its continuous view",
						RelationGetRelationName(rel)),
				 errhint("Drop the continuous view and create it again.")));
}

/* The index over some columns, InvalidOid if there is none. */
static Oid
find_index(Relation rel, const EddyStateKey *columns, int ncolumns, bool unique)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		match = (index->rd_index->indisunique || !unique) &&
			index->rd_index->indisvalid && index->rd_rel->relam == BTREE_AM_OID &&
			RelationGetIndexPredicate(index) == NIL &&
			IndexRelationGetNumberOfAttributes(index) == ncolumns;

		for (int i = 0; match && i < ncolumns; i++)
			match = index->rd_index->indkey.values[i] == columns[i].column;
		index_close(index, AccessShareLock);
		if (match)
			return lfirst_oid(lc);
	}
	return InvalidOid;
}

/* Adds an index over a time to the layout. */
static void
find_time_index(Relation rel, EddyTimeIndex *time)
{
	ListCell   *lc;

	if (time->column == 0)
		return;
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		match = index->rd_index->indisvalid && index->rd_rel->relam == BTREE_AM_OID &&
			IndexRelationGetNumberOfAttributes(index) == 1 &&
			index->rd_index->indkey.values[0] == time->column &&
			(RelationGetIndexPredicate(index) != NIL) == (time->where != 0);

		index_close(index, AccessShareLock);
		if (match)
			time->index = lfirst_oid(lc);
	}
	if (!OidIsValid(time->index))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("state table \"%s\" is missing the index over column \"%s\"",
						RelationGetRelationName(rel),
						NameStr(TupleDescAttr(RelationGetDescr(rel), time->column - 1)->attname)),
				 errhint("Drop the continuous view and create it again.")));
}

static ScanKeyData *
make_scan_keys(Relation index, int nkeys)
{
	ScanKeyData *keys = palloc0(sizeof(ScanKeyData) * nkeys);

	for (int i = 0; i < nkeys; i++)
	{
		Oid			type = index->rd_opcintype[i];
		Oid			equal = get_opfamily_member(index->rd_opfamily[i], type, type,
												BTEqualStrategyNumber);

		ScanKeyEntryInitialize(&keys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   index->rd_indcollation[i], get_opcode(equal), (Datum) 0);
	}
	return keys;
}

/* Keeps what searching by key needs with the layout, in the current memory context. */
static void
keep_scan_keys(EddyStateTable *table)
{
	Relation	index = index_open(table->order ? table->order_index : table->index,
								   AccessShareLock);

	table->scan_keys = make_scan_keys(index, table->nkeys);
	index_close(index, AccessShareLock);
}

/*
 * eddy_upsert_find_indexes adds the indexes of a state table to its layout. Superusers may add
 * indexes of their own, so they are recognized by their columns.
 */
void
eddy_upsert_find_indexes(Relation rel, EddyStateTable *table)
{
	table->index = find_index(rel, table->keys, table->nkeys, true);
	if (!OidIsValid(table->index))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("state table \"%s\" is missing the unique index over its key",
						RelationGetRelationName(rel)),
				 errhint("Create the index again, with NULLS NOT DISTINCT, or drop and create the continuous view.")));
	find_time_index(rel, &table->shown);
	find_time_index(rel, &table->touched);
	if (table->order == NULL)
	{
		keep_scan_keys(table);
		return;
	}
	table->order_index = find_index(rel, table->order, table->nkeys, false);
	if (!OidIsValid(table->order_index))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("state table \"%s\" is missing the index by which ranges of its rows are read",
						RelationGetRelationName(rel)),
				 errhint("Drop the continuous view and create it again.")));
	keep_scan_keys(table);
}

EddyUpsert *
eddy_upsert_open(const EddyStateTable *table, const char *view_name)
{
	EddyUpsert *upsert = palloc0(sizeof(EddyUpsert));

	upsert->table = table;
	upsert->view_name = view_name;
	upsert->mcxt = CurrentMemoryContext;
	upsert->rel = table_open(table->relid, RowExclusiveLock);
	eddy_upsert_check_layout(upsert->rel, table);
	upsert->key_index = index_open(table->index, RowExclusiveLock);
	upsert->index = table->order ? index_open(table->order_index, RowExclusiveLock) :
		upsert->key_index;
	upsert->scan_keys = table->scan_keys;
	upsert->at_least = palloc0(sizeof(FmgrInfo) * table->nkeys);
	upsert->stored = table_slot_create(upsert->rel, NULL);
	upsert->cache = eddy_group_cache_open(table);
	if (upsert->cache)
	{
		upsert->nblocks = RelationGetNumberOfBlocks(upsert->rel);
		upsert->gap = eddy_key_gap_make(upsert->index);
	}
	return upsert;
}

/* Prepares for the insertion of index entries, which reads and HOT updates do without. */
static void
open_indexes(EddyUpsert *upsert)
{
	MemoryContext old;

	if (upsert->estate)
		return;
	old = MemoryContextSwitchTo(upsert->mcxt);
	upsert->estate = CreateExecutorState();
	upsert->rri = makeNode(ResultRelInfo);
	InitResultRelInfo(upsert->rri, upsert->rel, 0, NULL, 0);
	ExecOpenIndices(upsert->rri, true);
	MemoryContextSwitchTo(old);
}

static void
end_scan(EddyUpsert *upsert)
{
	ExecClearTuple(upsert->stored);
	if (upsert->scan)
		index_endscan(upsert->scan);
	upsert->scan = NULL;
	if (upsert->gap)
		eddy_key_gap_forget(upsert->gap);
	upsert->after_keys = NULL;
	if (upsert->time_index)
		index_close(upsert->time_index, NoLock);
	upsert->time_index = NULL;
}

void
eddy_upsert_close(EddyUpsert *upsert)
{
	Assert(upsert->nadded == 0);
	end_scan(upsert);
	for (int i = 0; i < MAX_ADDED && upsert->added[i]; i++)
		ExecDropSingleTupleTableSlot(upsert->added[i]);
	ExecDropSingleTupleTableSlot(upsert->stored);
	if (upsert->replaced)
		ExecDropSingleTupleTableSlot(upsert->replaced);
	if (upsert->estate)
	{
		ExecCloseIndices(upsert->rri);
		FreeExecutorState(upsert->estate);
	}
	if (upsert->index != upsert->key_index)
		index_close(upsert->index, NoLock);
	index_close(upsert->key_index, NoLock);
	table_close(upsert->rel, NoLock);
	pfree(upsert->at_least);
	pfree(upsert);
}

TupleDesc
eddy_upsert_desc(const EddyUpsert *upsert)
{
	return RelationGetDescr(upsert->rel);
}

/* ---- reading ---- */

/* Sets the scan keys of a range; scan_keys has space for one more. */
static int
set_scan_keys(EddyUpsert *upsert, ScanKeyData *scan_keys, int nkeys, bool from,
			  const Datum *keys, const bool *nulls)
{
	Relation	index = upsert->index;

	memcpy(scan_keys, upsert->scan_keys, sizeof(ScanKeyData) * nkeys);
	for (int i = 0; i < nkeys; i++)
	{
		scan_keys[i].sk_argument = keys[i];
		scan_keys[i].sk_flags = nulls[i] ? SK_ISNULL | SK_SEARCHNULL : 0;
	}
	if (!from)
		return nkeys;
	Assert(!nulls[nkeys]);
	if (!OidIsValid(upsert->at_least[nkeys].fn_oid))
	{
		Oid			type = index->rd_opcintype[nkeys];
		Oid			opr = get_opfamily_member(index->rd_opfamily[nkeys], type, type,
											  BTGreaterEqualStrategyNumber);

		fmgr_info_cxt(get_opcode(opr), &upsert->at_least[nkeys],
					  GetMemoryChunkContext(upsert));
	}
	ScanKeyEntryInitializeWithInfo(&scan_keys[nkeys], 0, nkeys + 1, BTGreaterEqualStrategyNumber,
								   InvalidOid, index->rd_indcollation[nkeys],
								   &upsert->at_least[nkeys], keys[nkeys]);
	return nkeys + 1;
}

/*
 * eddy_upsert_seek_from begins to read the rows whose first nkeys key columns have the given
 * values and, with from, whose next one is not less than keys[nkeys], which must not be null.
 */
void
eddy_upsert_seek_from(EddyUpsert *upsert, int nkeys, bool from, const Datum *keys,
					   const bool *nulls)
{
	ScanKeyData scan_keys[INDEX_MAX_KEYS];
	int			n = set_scan_keys(upsert, scan_keys, nkeys, from, keys, nulls);
	MemoryContext old = MemoryContextSwitchTo(upsert->mcxt);

	Assert(n <= upsert->table->nkeys);
	/* the snapshot may have been renewed for another table */
	if (upsert->scan && (upsert->scan_nkeys != n ||
						 upsert->scan->xs_snapshot != GetActiveSnapshot()))
		end_scan(upsert);
	if (upsert->scan == NULL)
	{
		upsert->scan = eddy_compat_index_beginscan(upsert->rel, upsert->index,
												   GetActiveSnapshot(), n);
		upsert->scan_nkeys = n;
	}
	index_rescan(upsert->scan, scan_keys, n, NULL, 0);
	MemoryContextSwitchTo(old);
}

/*
 * eddy_upsert_seek begins to read the rows whose key columns begin with the given values: the
 * one row that has a key, all rows with a prefix of the key, or, with nkeys = 0, all rows.
 */
void
eddy_upsert_seek(EddyUpsert *upsert, int nkeys, const Datum *keys, const bool *nulls)
{
	eddy_upsert_seek_from(upsert, nkeys, false, keys, nulls);
}

static void
raise_serialization_failure(const EddyUpsert *upsert)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access to continuous view \"%s\" due to concurrent update",
					upsert->view_name),
			 errhint("The transaction might succeed if retried.")));
}

/*
 * eddy_upsert_check_unseen raises an error if a range contains a row that is committed, but that
 * the active snapshot does not see. Under REPEATABLE READ and SERIALIZABLE, a range that was read
 * with the snapshot of the transaction would lack rows, although the caller has locked the range.
 */
void
eddy_upsert_check_unseen(EddyUpsert *upsert, int nkeys, bool from, const Datum *keys,
						 const bool *nulls)
{
	ScanKeyData scan_keys[INDEX_MAX_KEYS];
	int			n = set_scan_keys(upsert, scan_keys, nkeys, from, keys, nulls);
	Snapshot	latest = RegisterSnapshot(GetLatestSnapshot());
	IndexScanDesc scan = eddy_compat_index_beginscan(upsert->rel, upsert->index, latest, n);
	TupleTableSlot *slot = table_slot_create(upsert->rel, NULL);

	index_rescan(scan, scan_keys, n, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (!table_tuple_satisfies_snapshot(upsert->rel, slot, GetActiveSnapshot()))
			raise_serialization_failure(upsert);
	}
	ExecDropSingleTupleTableSlot(slot);
	index_endscan(scan);
	UnregisterSnapshot(latest);
}

/* A condition on a column of the key, from 0. */
static void
set_key(ScanKeyData *key, Relation index, int column, StrategyNumber strategy, Datum value)
{
	Oid			type = index->rd_opcintype[column];
	Oid			operator = get_opfamily_member(index->rd_opfamily[column], type, type, strategy);

	ScanKeyEntryInitialize(key, 0, column + 1, strategy, InvalidOid,
						   index->rd_indcollation[column], get_opcode(operator), value);
}

static void
set_null_key(ScanKeyData *key, int column)
{
	ScanKeyEntryInitialize(key, SK_ISNULL | SK_SEARCHNULL, column + 1, InvalidStrategy, InvalidOid,
						   InvalidOid, InvalidOid, (Datum) 0);
}

/* Begins to read rows by conditions on the columns of an index. */
static void
begin_key_scan(EddyUpsert *upsert, Relation index, ScanKeyData *keys, int nkeys)
{
	upsert->scan = eddy_compat_index_beginscan(upsert->rel, index, GetActiveSnapshot(), nkeys);
	upsert->scan_nkeys = SCAN_RANGE;
	index_rescan(upsert->scan, keys, nkeys, NULL, 0);
}

/*
 * eddy_upsert_index returns the index by which ranges are read.
 */
Relation
eddy_upsert_index(const EddyUpsert *upsert)
{
	return upsert->index;
}

/* eddy_upsert_seek_by begins to read the rows that meet conditions on the columns of that index. */
void
eddy_upsert_seek_by(EddyUpsert *upsert, struct ScanKeyData *keys, int nkeys)
{
	MemoryContext old = MemoryContextSwitchTo(upsert->mcxt);

	end_scan(upsert);
	begin_key_scan(upsert, upsert->index, keys, nkeys);
	MemoryContextSwitchTo(old);
}

/*
 * eddy_upsert_seek_range begins to read the rows whose first key column is in a range, in order of
 * their keys.
 */
void
eddy_upsert_seek_range(EddyUpsert *upsert, TimestampTz after, TimestampTz until)
{
	ScanKeyData range[2];

	end_scan(upsert);
	set_key(&range[0], upsert->key_index, 0, BTGreaterStrategyNumber, TimestampTzGetDatum(after));
	set_key(&range[1], upsert->key_index, 0, BTLessEqualStrategyNumber,
			TimestampTzGetDatum(until));
	begin_key_scan(upsert, upsert->key_index, range, 2);
}

/* Begins to read the rows in a range of times. */
void
eddy_upsert_seek_time(EddyUpsert *upsert, const EddyTimeIndex *index, TimestampTz after,
					  TimestampTz until)
{
	ScanKeyData range[2];

	end_scan(upsert);
	upsert->time_index = index_open(index->index, AccessShareLock);
	set_key(&range[0], upsert->time_index, 0, BTGreaterStrategyNumber, TimestampTzGetDatum(after));
	set_key(&range[1], upsert->time_index, 0, BTLessEqualStrategyNumber,
			TimestampTzGetDatum(until));
	begin_key_scan(upsert, upsert->time_index, range, 2);
}

/* Begins the next range of rows after a key. False if there is none. */
static bool
begin_range_after(EddyUpsert *upsert)
{
	Relation	index = upsert->key_index;
	ScanKeyData keys[INDEX_MAX_KEYS + 1];
	int			column = upsert->after_column;
	int			n = column;

	if (column < 0)
		return false;
	for (int i = 0; i < column; i++)
		if (upsert->after_nulls[i])
			set_null_key(&keys[i], i);
		else
			set_key(&keys[i], index, i, BTEqualStrategyNumber, upsert->after_keys[i]);
	if (upsert->after_null)
		set_null_key(&keys[n++], column);
	else
		set_key(&keys[n++], index, column, BTGreaterStrategyNumber, upsert->after_keys[column]);
	if (column == 0)
		set_key(&keys[n++], index, 0, BTLessEqualStrategyNumber,
				TimestampTzGetDatum(upsert->after_until));
	if (upsert->scan)
		index_endscan(upsert->scan);
	begin_key_scan(upsert, index, keys, n);

	/* NULLs come last, and nothing follows them; the first column is not NULL in these rows */
	if (column > 0 && !upsert->after_null)
		upsert->after_null = true;
	else
	{
		upsert->after_null = false;
		do
			upsert->after_column--;
		while (upsert->after_column >= 0 && upsert->after_nulls[upsert->after_column]);
	}
	return true;
}

/*
 * eddy_upsert_seek_after begins to read the rows that follow a key: first those that differ in
 * the last column only, then those that differ in the column before, and so on.
 */
void
eddy_upsert_seek_after(EddyUpsert *upsert, const Datum *keys, const bool *nulls,
					   TimestampTz until)
{
	end_scan(upsert);
	upsert->after_keys = keys;
	upsert->after_nulls = nulls;
	upsert->after_until = until;
	upsert->after_null = false;
	upsert->after_column = upsert->table->nkeys - 1;
	while (nulls[upsert->after_column])
		upsert->after_column--;
	(void) begin_range_after(upsert);
}

/*
 * eddy_upsert_next returns the next row, with all its columns deformed, or NULL. The slot is
 * valid until the next row is read.
 */
TupleTableSlot *
eddy_upsert_next(EddyUpsert *upsert)
{
	MemoryContext old = MemoryContextSwitchTo(upsert->mcxt);
	bool		found;

	while (!(found = index_getnext_slot(upsert->scan, ForwardScanDirection, upsert->stored)) &&
		   upsert->after_keys && begin_range_after(upsert))
		;
	MemoryContextSwitchTo(old);
	if (!found)
		return NULL;
	slot_getallattrs(upsert->stored);
	return upsert->stored;
}

/* True if the row that was read last has a key. */
static bool
has_key(EddyUpsert *upsert, const Datum *keys, const bool *nulls)
{
	const EddyStateTable *table = upsert->table;

	for (int i = 0; i < table->nkeys; i++)
	{
		int			column = eddy_upsert_order(table)[i].column - 1;
		ScanKeyData *equal = &upsert->scan_keys[i];

		if (upsert->stored->tts_isnull[column] != nulls[i])
			return false;
		if (!nulls[i] &&
			!DatumGetBool(FunctionCall2Coll(&equal->sk_func, equal->sk_collation,
											upsert->stored->tts_values[column], keys[i])))
			return false;
	}
	return true;
}

/* Reads the row at a place, which the table has; false if it is not visible, or does not have the key. */
static bool
read_place(EddyUpsert *upsert, ItemPointer place, const Datum *keys, const bool *nulls)
{
	if (!table_tuple_fetch_row_version(upsert->rel, place, GetActiveSnapshot(), upsert->stored))
		return false;
	slot_getallattrs(upsert->stored);
	return has_key(upsert, keys, nulls);
}

/*
 * Reads the row at the place that the cache knows for a key. False if it does not know one, or if
 * that is not the place of the row any more.
 */
static bool
find_cached(EddyUpsert *upsert, const Datum *keys, const bool *nulls)
{
	ItemPointerData place;

	if (!eddy_group_cache_find(upsert->cache, upsert->found_hash, &place))
		return false;
	/* the table can have become smaller since the place was noted */
	if (ItemPointerGetBlockNumber(&place) >= upsert->nblocks ||
		!read_place(upsert, &place, keys, nulls))
		return false;
	eddy_group_cache_hit(upsert->cache);
	return true;
}

/* Finds a row in the index. If there is none, notes up to which key there is none. */
static TupleTableSlot *
find_in_index(EddyUpsert *upsert, const Datum *keys, const bool *nulls)
{
	int			last = upsert->table->nkeys - 1;
	TupleTableSlot *next;

	if (upsert->gap == NULL || nulls[last])
	{
		eddy_upsert_seek(upsert, upsert->table->nkeys, keys, nulls);
		return eddy_upsert_next(upsert);
	}
	eddy_upsert_seek_from(upsert, last, true, keys, nulls);
	next = eddy_upsert_next(upsert);
	if (next && has_key(upsert, keys, nulls))
		return next;
	eddy_key_gap_set(upsert->gap, keys, nulls, next == NULL ? NULL :
					 &next->tts_values[eddy_upsert_order(upsert->table)[last].column - 1]);
	return NULL;
}

/* eddy_upsert_find returns the row with a key, deformed and valid as above, or NULL. */
TupleTableSlot *
eddy_upsert_find(EddyUpsert *upsert, const Datum *keys, const bool *nulls)
{
	TupleTableSlot *stored;

	if (upsert->cache)
	{
		upsert->found_hash = eddy_group_cache_hash(upsert->cache, keys, nulls);
		ItemPointerSetInvalid(&upsert->found_place);
		/* what another snapshot sees can differ */
		if (upsert->gap && upsert->scan && upsert->scan->xs_snapshot == GetActiveSnapshot() &&
			eddy_key_gap_covers(upsert->gap, keys, nulls))
		{
			eddy_group_cache_skip(upsert->cache);
			return NULL;
		}
		if (find_cached(upsert, keys, nulls))
		{
			upsert->found_place = upsert->stored->tts_tid;
			return upsert->stored;
		}
	}
	stored = find_in_index(upsert, keys, nulls);
	if (upsert->cache && stored)
		upsert->found_place = stored->tts_tid;
	return stored;
}

/*
 * eddy_upsert_find_at returns the row with a key if it is at a place, which may be outdated or invalid;
 * otherwise NULL. Also if its page has little space: searching the row by the index then removes old
 * versions from it, so that they are removed many at a time.
 */
TupleTableSlot *
eddy_upsert_find_at(EddyUpsert *upsert, ItemPointer place, const Datum *keys, const bool *nulls)
{
	Buffer		buffer;

	if (!ItemPointerIsValid(place) ||
		ItemPointerGetBlockNumber(place) >= RelationGetNumberOfBlocks(upsert->rel) ||
		!read_place(upsert, place, keys, nulls) || !TTS_IS_BUFFERTUPLE(upsert->stored))
		return NULL;
	buffer = ((BufferHeapTupleTableSlot *) upsert->stored)->buffer;
	if (PageGetHeapFreeSpace(BufferGetPage(buffer)) < BLCKSZ / 8)
		return NULL;
	return upsert->stored;
}

/* Notes where the version that replaces a row is, if it is the row that was looked for last. */
static void
note_update(EddyUpsert *upsert, ItemPointer old, ItemPointer place)
{
	if (upsert->cache && ItemPointerIsValid(&upsert->found_place) &&
		ItemPointerEquals(&upsert->found_place, old))
		eddy_group_cache_put(upsert->cache, upsert->found_hash, place);
}

/* ---- what a row can have ---- */

/*
 * eddy_upsert_check_key raises an error for a key that the index cannot hold. Callers check
 * before anything is written, because a row causes it. The limit is that of nbtree.h, less
 * what a place in the table takes.
 */
void
eddy_upsert_check_key(EddyUpsert *upsert, const Datum *keys, const bool *nulls)
{
	const Size	limit = MAXALIGN_DOWN((BLCKSZ - MAXALIGN(SizeOfPageHeaderData +
														 3 * sizeof(ItemIdData)) -
									   MAXALIGN(sizeof(BTPageOpaqueData))) / 3) -
		MAXALIGN(sizeof(ItemPointerData));
	const EddyStateTable *table = upsert->table;
	const EddyStateKey *columns = eddy_upsert_order(table);
	Size		size = 0;
	IndexTuple	entry;

	for (int i = 0; i < table->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(upsert->rel),
											  columns[i].column - 1);

		if (!nulls[i])
			size += datumGetSize(keys[i], att->attbyval, att->attlen);
	}
	if (size < limit / 2)
		return;
	/* compression can make it smaller */
	entry = index_form_tuple(RelationGetDescr(upsert->index), unconstify(Datum *, keys),
							 unconstify(bool *, nulls));
	size = IndexTupleSize(entry);
	pfree(entry);
	if (size > limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 table->parts ?
				 errmsg("value for an aggregate of continuous view \"%s\" is too long",
						upsert->view_name) :
				 errmsg("group key of continuous view \"%s\" is too long", upsert->view_name),
				 errdetail("It takes %zu bytes in an index, where at most %zu are possible.",
						   size, limit)));
}

/*
 * eddy_upsert_check_row raises an error for a NULL in a column that a superuser has set NOT NULL,
 * for REPLICA IDENTITY USING INDEX. The table access method checks nothing, and a NULL there
 * would make plans wrong.
 */
void
eddy_upsert_check_row(EddyUpsert *upsert, const TupleTableSlot *row)
{
	TupleDesc	desc = RelationGetDescr(upsert->rel);

	if (desc->constr == NULL || !desc->constr->has_not_null)
		return;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attnotnull && row->tts_isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("null value in column \"%s\" of continuous view \"%s\" violates not-null constraint",
							NameStr(att->attname), upsert->view_name),
					 errdetail("The column of its state table was set NOT NULL.")));
	}
}

/* ---- writing ---- */

/* Records a change, if the table is observed. place: of the version that was replaced or deleted. */
static void
record(EddyUpsert *upsert, ItemPointer place, TupleTableSlot *row)
{
	if (upsert->table->changes == NULL)
		return;
	if (place)
	{
		if (upsert->replaced == NULL)
			upsert->replaced = table_slot_create(upsert->rel, NULL);
		/* nobody can have removed it: the transaction that has replaced it is still running */
		if (!table_tuple_fetch_row_version(upsert->rel, place, SnapshotAny, upsert->replaced))
			elog(ERROR, "replaced row of state table \"%s\" is missing",
				 RelationGetRelationName(upsert->rel));
	}
	eddy_changes_record(upsert->table->changes, place ? upsert->replaced : NULL, row);
	if (place)
		ExecClearTuple(upsert->replaced);
}

/* True if a version was replaced or deleted, false if it was not the latest one. */
static bool
check_result(EddyUpsert *upsert, TM_Result result)
{
	switch (result)
	{
		case TM_Ok:
			return true;
		case TM_Updated:
		case TM_Deleted:
			return false;
		default:
			elog(ERROR, "unexpected result %d of writing to state table \"%s\"", result,
				 RelationGetRelationName(upsert->rel));
	}
}

/* eddy_upsert_update replaces the version at a place. */
bool
eddy_upsert_update(EddyUpsert *upsert, ItemPointer place, TupleTableSlot *row)
{
	bool		update_indexes;

	if (!check_result(upsert, eddy_old_row_update(upsert->rel, place, row, &update_indexes)))
		return false;
	record(upsert, place, row);
	note_update(upsert, place, &row->tts_tid);
	if (update_indexes)
	{
		open_indexes(upsert);
		list_free(eddy_compat_insert_index_tuples(upsert->rri, row, upsert->estate, true, false,
												  NULL));
		ResetPerTupleExprContext(upsert->estate);
	}
	return true;
}

/* eddy_upsert_delete deletes the version at a place. */
bool
eddy_upsert_delete(EddyUpsert *upsert, ItemPointer place)
{
	TM_FailureData tmfd;
	TM_Result	result = table_tuple_delete(upsert->rel, place, GetCurrentCommandId(true),
											GetActiveSnapshot(), InvalidSnapshot, true, &tmfd,
											false);

	if (!check_result(upsert, result))
		return false;
	record(upsert, place, NULL);
	return true;
}

static TM_Result
lock_version(EddyUpsert *upsert, ItemPointer place, LockWaitPolicy policy)
{
	TM_FailureData tmfd;
	TupleTableSlot *slot = table_slot_create(upsert->rel, NULL);
	TM_Result	result = table_tuple_lock(upsert->rel, place, GetActiveSnapshot(), slot,
										  GetCurrentCommandId(true), LockTupleExclusive,
										  policy, 0, &tmfd);

	ExecDropSingleTupleTableSlot(slot);
	return result;
}

/*
 * eddy_upsert_lock locks the version at a place until the end of the transaction; false if it is
 * not the latest one.
 */
bool
eddy_upsert_lock(EddyUpsert *upsert, ItemPointer place)
{
	return check_result(upsert, lock_version(upsert, place, LockWaitBlock));
}

/* eddy_upsert_try_lock does the same; false also if another transaction has locked the row. */
bool
eddy_upsert_try_lock(EddyUpsert *upsert, ItemPointer place)
{
	TM_Result	result = lock_version(upsert, place, LockWaitSkip);

	return result != TM_WouldBlock && check_result(upsert, result);
}

TupleTableSlot *
eddy_upsert_lock_latest(EddyUpsert *upsert, ItemPointer place)
{
	TM_FailureData tmfd;
	TM_Result	result;

	end_scan(upsert);
	/* as an update that does not change the key */
	result = table_tuple_lock(upsert->rel, place, GetActiveSnapshot(), upsert->stored,
							  GetCurrentCommandId(true), LockTupleNoKeyExclusive, LockWaitBlock,
							  TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &tmfd);
	if (!check_result(upsert, result))
		return NULL;
	slot_getallattrs(upsert->stored);
	return upsert->stored;
}

/*
 * eddy_upsert_insert inserts a row whose key was not found just before, so no other transaction is
 * expected to have inserted it; only if one has, its end is waited for.
 */
bool
eddy_upsert_insert(EddyUpsert *upsert, TupleTableSlot *row)
{
	ItemPointerData conflict_place;
	uint32		token;
	bool		conflict = false;

	open_indexes(upsert);
	ItemPointerSetInvalid(&row->tts_tid);
	token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
	table_tuple_insert_speculative(upsert->rel, row, GetCurrentCommandId(true), 0, NULL, token);
	list_free(eddy_compat_insert_index_tuples(upsert->rri, row, upsert->estate, false, true,
											  &conflict));
	table_tuple_complete_speculative(upsert->rel, row, token, !conflict);
	SpeculativeInsertionLockRelease(GetCurrentTransactionId());
	if (conflict)
	{
		ItemPointerSetInvalid(&row->tts_tid);
		(void) eddy_compat_check_index_constraints(upsert->rri, row, upsert->estate,
												   &conflict_place);
	}
	ResetPerTupleExprContext(upsert->estate);
	if (!conflict)
		record(upsert, NULL, row);
	return !conflict;
}

/*
 * eddy_upsert_renew replaces the active snapshot by one that sees the row that a concurrent
 * transaction has written, or raises 40001.
 */
void
eddy_upsert_renew(EddyUpsert *upsert)
{
	if (IsolationUsesXactSnapshot())
		raise_serialization_failure(upsert);
	end_scan(upsert);
	PopActiveSnapshot();
	PushActiveSnapshot(GetLatestSnapshot());
}

/* eddy_upsert_add adds a copy of a row to those that eddy_upsert_flush inserts. */
void
eddy_upsert_add(EddyUpsert *upsert, TupleTableSlot *row)
{
	eddy_upsert_add_at(upsert, row, NULL);
}

/* The same; place: where its place is stored then. */
void
eddy_upsert_add_at(EddyUpsert *upsert, TupleTableSlot *row, ItemPointer place)
{
	TupleTableSlot **slot = &upsert->added[upsert->nadded];

	if (*slot == NULL)
		*slot = table_slot_create(upsert->rel, NULL);
	ExecCopySlot(*slot, row);
	record(upsert, NULL, row);
	/* a wrong one, if another key was looked for meanwhile, is noticed when it is used */
	upsert->added_hashes[upsert->nadded] = upsert->found_hash;
	upsert->added_places[upsert->nadded] = place;
	if (++upsert->nadded == MAX_ADDED)
		eddy_upsert_flush(upsert);
}

void
eddy_upsert_flush(EddyUpsert *upsert)
{
	if (upsert->nadded == 0)
		return;
	open_indexes(upsert);
	table_multi_insert(upsert->rel, upsert->added, upsert->nadded, GetCurrentCommandId(true), 0,
					   NULL);
	for (int i = 0; i < upsert->nadded; i++)
	{
		list_free(eddy_compat_insert_index_tuples(upsert->rri, upsert->added[i], upsert->estate,
												  false, false, NULL));
		ResetPerTupleExprContext(upsert->estate);
		if (upsert->cache)
			eddy_group_cache_put(upsert->cache, upsert->added_hashes[i],
								 &upsert->added[i]->tts_tid);
		if (upsert->added_places[i])
			*upsert->added_places[i] = upsert->added[i]->tts_tid;
		ExecClearTuple(upsert->added[i]);
	}
	upsert->nadded = 0;
}

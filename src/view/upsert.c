/*-------------------------------------------------------------------------
 *
 * upsert.c
 *    Opening a state table, and reading its rows by key.
 *
 * Rows are found through the unique index over the key. What the columns mean is not known here:
 * what a row becomes is computed by the kind of the view, and written by upsert_write.c.
 *
 * All reads are made with the active snapshot, which the caller pushes before it opens the table
 * and pops after closing it.
 *
 * Locking: RowExclusiveLock on table and index, until the end of the transaction. Memory: the
 * context in which the table was opened. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "view/group_cache.h"
#include "view/key_gap.h"
#include "view/upsert_state.h"

/* Instead of a number of keys: the scan is one of a range, and is not reused. */
#define SCAN_RANGE (-1)

/* A page with less free space is cleaned before a row of it is updated. */
#define FULL_PAGE (BLCKSZ / 8)

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

/*
 * eddy_upsert_open_key_indexes opens the indexes by which rows are found, if that was not done yet.
 */
void
eddy_upsert_open_key_indexes(EddyUpsert *upsert)
{
	const EddyStateTable *table = upsert->table;

	if (upsert->key_index)
		return;
	upsert->key_index = index_open(table->index, RowExclusiveLock);
	upsert->index = table->order ? index_open(table->order_index, RowExclusiveLock) :
		upsert->key_index;
}

/*
 * eddy_upsert_open_lazily opens a table for a caller that mostly finds its row at a place. Indexes
 * are opened when they are needed, with the resource owner of that time, which must not be another
 * one when the table is closed.
 */
EddyUpsert *
eddy_upsert_open_lazily(const EddyStateTable *table, const char *view_name)
{
	EddyUpsert *upsert = palloc0(sizeof(EddyUpsert));

	upsert->table = table;
	upsert->view_name = view_name;
	upsert->mcxt = CurrentMemoryContext;
	upsert->rel = table_open(table->relid, RowExclusiveLock);
	eddy_upsert_check_layout(upsert->rel, table);
	upsert->scan_keys = table->scan_keys;
	upsert->at_least = palloc0(sizeof(FmgrInfo) * table->nkeys);
	upsert->stored = table_slot_create(upsert->rel, NULL);
	upsert->pruned = InvalidBlockNumber;
	return upsert;
}

EddyUpsert *
eddy_upsert_open(const EddyStateTable *table, const char *view_name)
{
	EddyUpsert *upsert = eddy_upsert_open_lazily(table, view_name);

	eddy_upsert_open_key_indexes(upsert);
	upsert->cache = eddy_group_cache_open(table);
	if (upsert->cache)
	{
		upsert->nblocks = RelationGetNumberOfBlocks(upsert->rel);
		upsert->gap = eddy_key_gap_make(upsert->index);
	}
	return upsert;
}

/* eddy_upsert_end_scan ends reading, so that the next scan uses the active snapshot. */
void
eddy_upsert_end_scan(EddyUpsert *upsert)
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
	eddy_upsert_end_scan(upsert);
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
	if (upsert->key_index)
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
	Relation	index;

	eddy_upsert_open_key_indexes(upsert);
	index = upsert->index;
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
		eddy_upsert_end_scan(upsert);
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

/* eddy_upsert_raise_conflict raises the error of isolation levels that cannot read a row again. */
void
eddy_upsert_raise_conflict(const EddyUpsert *upsert)
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
			eddy_upsert_raise_conflict(upsert);
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

	eddy_upsert_end_scan(upsert);
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

	eddy_upsert_end_scan(upsert);
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

	eddy_upsert_end_scan(upsert);
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
	eddy_upsert_end_scan(upsert);
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

static bool
read_version(EddyUpsert *upsert, ItemPointer place, const Datum *keys, const bool *nulls)
{
	if (!table_tuple_fetch_row_version(upsert->rel, place, GetActiveSnapshot(), upsert->stored))
		return false;
	slot_getallattrs(upsert->stored);
	return has_key(upsert, keys, nulls);
}

/* True if the page of the row that was read last has no space for many new versions. */
static bool
page_is_full(const EddyUpsert *upsert)
{
	Page		page;

	if (!TTS_IS_BUFFERTUPLE(upsert->stored))
		return false;
	/* without a lock, as the server does: what it reads can be outdated, which does no harm */
	page = BufferGetPage(((BufferHeapTupleTableSlot *) upsert->stored)->buffer);
	return PageGetHeapFreeSpace(page) < FULL_PAGE;
}

/*
 * Removes old versions from a page, as index scans do, so that the next updates of its rows need no
 * new entries in the indexes. Nothing can be removed from a page that is pinned twice, so no row of
 * it may be read at that time.
 */
static void
prune_page(EddyUpsert *upsert, BlockNumber block)
{
	Buffer		buffer = ReadBuffer(upsert->rel, block);

	heap_page_prune_opt(upsert->rel, buffer);
	ReleaseBuffer(buffer);
	upsert->pruned = block;
}

/*
 * Reads the row at a place, which the table has; false if it is not visible, or does not have the
 * key. From a page that is full, old versions are removed first, many at a time.
 */
static bool
read_place(EddyUpsert *upsert, ItemPointer place, const Datum *keys, const bool *nulls)
{
	BlockNumber block = ItemPointerGetBlockNumber(place);

	if (!read_version(upsert, place, keys, nulls))
		return false;
	if (block == upsert->pruned || !page_is_full(upsert))
		return true;
	ExecClearTuple(upsert->stored);
	prune_page(upsert, block);
	/* the row has kept its place, unless it was updated or deleted in the meantime */
	return read_version(upsert, place, keys, nulls);
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

/* Finds a row in the index. If there is none, may note up to which key there is none. */
static TupleTableSlot *
find_in_index(EddyUpsert *upsert, const Datum *keys, const bool *nulls)
{
	int			last = upsert->table->nkeys - 1;
	TupleTableSlot *next;

	if (upsert->gap == NULL || nulls[last] || !eddy_key_gap_is_due(upsert->gap))
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
 * eddy_upsert_find_at returns the row with a key if it is at a place, which may be outdated or
 * invalid; otherwise NULL.
 */
TupleTableSlot *
eddy_upsert_find_at(EddyUpsert *upsert, ItemPointer place, const Datum *keys, const bool *nulls)
{
	if (ItemPointerIsValid(place) &&
		ItemPointerGetBlockNumber(place) < RelationGetNumberOfBlocks(upsert->rel) &&
		read_place(upsert, place, keys, nulls))
		return upsert->stored;
	/* nothing can be removed from a page that is pinned twice */
	ExecClearTuple(upsert->stored);
	return NULL;
}

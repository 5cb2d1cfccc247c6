/*-------------------------------------------------------------------------
 *
 * upsert_write.c
 *    Writing the rows of a state table.
 *
 * Rows are written directly through the table access method, below triggers.
 *
 * Updates and deletes are optimistic: the version that was read is replaced if it is still the
 * latest. Where several rows must change together, they are locked first. A row that does not
 * exist yet is inserted speculatively, as ON CONFLICT does, because a concurrent transaction may
 * be inserting it. If such a transaction was first, the caller continues, under READ COMMITTED,
 * with a new snapshot, in which it reads the row again; under the stricter levels the statement
 * fails with 40001. Where the whole transaction can be repeated, new rows are inserted many at a
 * time, and a collision is an error (23505).
 *
 * Locking: the table is open (upsert.c); row locks in the order of the calls, until the end of the
 * transaction; callers write in order of key, so that they never deadlock among
 * themselves. Memory: the context in which the table was opened. A crash leaves nothing: all of it
 * is part of one WAL-logged transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/itup.h"
#include "access/nbtree.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "storage/bufpage.h"
#include "storage/lmgr.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "view/changes.h"
#include "view/group_cache.h"
#include "view/old_row.h"
#include "view/upsert_state.h"

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
 * The size of the index entry of a key, or that of the largest index tuple if the key does not fit
 * into one: its error does not say what the key is of.
 */
static Size
entry_size(EddyUpsert *upsert, const Datum *keys, const bool *nulls)
{
	MemoryContext context = CurrentMemoryContext;
	volatile Size size = INDEX_SIZE_MASK;

	PG_TRY();
	{
		IndexTuple	entry = index_form_tuple(RelationGetDescr(upsert->index),
											 unconstify(Datum *, keys), unconstify(bool *, nulls));

		size = IndexTupleSize(entry);
		pfree(entry);
	}
	PG_CATCH();
	{
		/* it is raised when nothing is open any more */
		if (geterrcode() != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return size;
}

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

	for (int i = 0; i < table->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(upsert->rel),
											  columns[i].column - 1);

		if (nulls[i])
			continue;
		/* a value that another table stores out of line is taken in */
		size += att->attlen == -1 && VARATT_IS_EXTERNAL(DatumGetPointer(keys[i])) ?
			toast_raw_datum_size(keys[i]) : datumGetSize(keys[i], att->attbyval, att->attlen);
	}
	if (size < limit / 2)
		return;
	/* compression can make it smaller */
	eddy_upsert_open_key_indexes(upsert);
	size = entry_size(upsert, keys, nulls);
	if (size > limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 table->parts ?
				 errmsg("value for an aggregate of continuous view \"%s\" is too long",
						upsert->view_name) :
				 errmsg("group key of continuous view \"%s\" is too long", upsert->view_name),
				 errdetail("It takes %s%zu bytes in an index, where at most %zu are possible.",
						   size == INDEX_SIZE_MASK ? "more than " : "", size, limit)));
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

/*
 * Records a change, if the table is observed. place: of the version that was replaced or deleted.
 */
static void
record(EddyUpsert *upsert, ItemPointer place, TupleTableSlot *row)
{
	if (upsert->table->changes == NULL)
		return;
	if (place)
	{
		if (upsert->replaced == NULL)
			upsert->replaced = table_slot_create(upsert->rel, NULL);
		/* it cannot have been removed: the transaction that has replaced it is still running */
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

	eddy_upsert_end_scan(upsert);
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
		eddy_upsert_raise_conflict(upsert);
	eddy_upsert_end_scan(upsert);
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

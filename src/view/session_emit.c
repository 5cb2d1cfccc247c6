/*-------------------------------------------------------------------------
 *
 * session_emit.c
 *    emit => 'every ...' of sessions: rows that are shown in the place of others.
 *
 * A row that extends a session or merges sessions makes rows with other keys of them, so what is
 * shown cannot be stored in the row itself, as for other groups (emit_every.c). While a change
 * waits, the rows of the sessions that are shown remain, as superseded ones: readers and consumers
 * see them, and nothing else uses them. The row of the session that they have become is not shown
 * yet, and has the list of their bounds. When it is shown, they are deleted, in the same
 * transaction.
 *
 * hidden columns: _superseded, and _replaces, an array of starts and ends in microseconds
 *
 * Superseded rows belong to the session that replaces them: they are written by transactions that
 * have locked its row, and by users, who can delete them through the view. A user deletes the
 * session that is seen, together with all that has become of it: a trigger on the state table
 * deletes the session that would be shown, and what else it would have replaced.
 *
 * Locking: see above; rows are deleted after the row of their session was locked. Users' deletions
 * find the session without that lock, and search again after a concurrent change. Memory: the
 * current context. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "compat.h"
#include "owner.h"
#include "view/collect.h"
#include "view/kind_combining.h"
#include "view/layout.h"
#include "view/maintain.h"
#include "view/session_emit.h"
#include "view/view.h"

/* Keys of a table of sessions: end, start, and the key of the session. */
#define END 0
#define START 1
#define FIRST_KEY 2

void
eddy_session_emit_lay_out(EddyStateTable *table)
{
	table->superseded = eddy_layout_add_hidden(table, "_superseded", BOOLOID, -1, InvalidOid, true);
	table->replaces = eddy_layout_add_hidden(table, "_replaces", INT8ARRAYOID, -1, InvalidOid,
											 false);
}

/* ---- one row ---- */

static void
set_bool(TupleTableSlot *version, AttrNumber column, bool value)
{
	version->tts_values[column - 1] = BoolGetDatum(value);
	version->tts_isnull[column - 1] = false;
}

void
eddy_session_supersede(EddyViewPlan *plan, TupleTableSlot *version)
{
	const EddyStateTable *table = eddy_plan_main_table(plan);

	eddy_combining_forget(plan, version);
	set_bool(version, table->superseded, true);
	set_bool(version, table->shown.where, false);
	version->tts_isnull[table->replaces - 1] = true;
}

List *
eddy_session_get_replaced(const EddyStateTable *table, const TupleTableSlot *row)
{
	List	   *replaced = NIL;
	ArrayType  *array;
	int64	   *times;

	if (table->replaces == 0 || row->tts_isnull[table->replaces - 1])
		return NIL;
	array = DatumGetArrayTypeP(row->tts_values[table->replaces - 1]);
	times = (int64 *) ARR_DATA_PTR(array);
	for (int i = 0; i + 1 < ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)); i += 2)
	{
		EddySessionBounds *bounds = palloc(sizeof(EddySessionBounds));

		bounds->start = times[i];
		bounds->end = times[i + 1];
		replaced = lappend(replaced, bounds);
	}
	return replaced;
}

void
eddy_session_set_replaced(const EddyStateTable *table, TupleTableSlot *version, List *replaced)
{
	int			column = table->replaces - 1;
	Datum	   *times;
	int			n = 0;
	ListCell   *lc;

	version->tts_isnull[column] = (replaced == NIL);
	if (replaced == NIL)
		return;
	times = palloc(sizeof(Datum) * 2 * list_length(replaced));
	foreach(lc, replaced)
	{
		const EddySessionBounds *bounds = lfirst(lc);

		times[n++] = Int64GetDatum(bounds->start);
		times[n++] = Int64GetDatum(bounds->end);
	}
	version->tts_values[column] = PointerGetDatum(construct_array(times, n, INT8OID, sizeof(int64),
																  FLOAT8PASSBYVAL,
																  TYPALIGN_DOUBLE));
}

/* ---- deleting superseded rows ---- */

/*
 * Reads the key of a session, with which ranges of its rows begin. Returns the number of its
 * columns.
 */
static int
get_key(const EddyStateTable *table, const TupleTableSlot *row, Datum *keys, bool *nulls)
{
	int			n = table->nkeys - FIRST_KEY;

	for (int i = 0; i < n; i++)
	{
		int			column = table->keys[FIRST_KEY + i].column - 1;

		keys[i] = row->tts_values[column];
		nulls[i] = row->tts_isnull[column];
	}
	return n;
}

/* The superseded row with these bounds and the key of a session, or NULL. */
static TupleTableSlot *
find_superseded(EddyUpsert *upsert, const EddyStateTable *table, const TupleTableSlot *session,
				const EddySessionBounds *bounds)
{
	Datum		keys[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	int			n = get_key(table, session, keys, nulls);
	TupleTableSlot *row;

	keys[n] = TimestampGetDatum(bounds->end);
	keys[n + 1] = TimestampGetDatum(bounds->start);
	nulls[n] = nulls[n + 1] = false;
	row = eddy_upsert_find(upsert, keys, nulls);
	/* a user can have deleted it */
	return row && eddy_session_is_superseded(table, row) ? row : NULL;
}

bool
eddy_session_delete_replaced(const EddyViewPlan *plan, const TupleTableSlot *session,
							 List *replaced, bool wait)
{
	const EddyStateTable *table = eddy_plan_main_table(plan);
	EddyUpsert *upsert;
	bool		free = true;
	ListCell   *lc;

	if (replaced == NIL)
		return true;
	upsert = eddy_upsert_open(table, plan->name);
	foreach(lc, replaced)
	{
		TupleTableSlot *row = wait ? NULL : find_superseded(upsert, table, session, lfirst(lc));
		ItemPointerData place;

		if (row == NULL)
			continue;
		place = row->tts_tid;
		free &= eddy_upsert_try_lock(upsert, &place);
	}
	foreach(lc, replaced)
	{
		TupleTableSlot *row = free ? find_superseded(upsert, table, session, lfirst(lc)) : NULL;
		ItemPointerData place;

		CHECK_FOR_INTERRUPTS();
		if (row == NULL)
			continue;
		place = row->tts_tid;
		(void) eddy_upsert_delete(upsert, &place);
	}
	eddy_upsert_close(upsert);
	return free;
}

/* ---- deletion by users ---- */

static bool
replaces(const EddyStateTable *table, const TupleTableSlot *row, const EddySessionBounds *bounds)
{
	ListCell   *lc;

	foreach(lc, eddy_session_get_replaced(table, row))
	{
		const EddySessionBounds *other = lfirst(lc);

		if (other->start == bounds->start && other->end == bounds->end)
			return true;
	}
	return false;
}

/* The row of the session that would be shown in the place of a superseded one, or NULL. */
static TupleTableSlot *
find_session(EddyUpsert *upsert, const EddyStateTable *table, const TupleTableSlot *superseded,
			 const EddySessionBounds *bounds)
{
	Datum		keys[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	int			n = get_key(table, superseded, keys, nulls);
	TupleTableSlot *row;

	/* it does not end before the one that it replaces */
	keys[n] = TimestampGetDatum(bounds->end);
	nulls[n] = false;
	eddy_upsert_seek_from(upsert, n, true, keys, nulls);
	while ((row = eddy_upsert_next(upsert)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (replaces(table, row, bounds))
			return row;
	}
	return NULL;
}

/*
 * After the row of a session that is not shown was deleted: deletes the other rows in the place of
 * which it would be, and its kept values.
 */
static void
delete_rest(const EddyViewPlan *plan, EddyUpsert *upsert, HeapTuple session,
			Tuplestorestate *others)
{
	const EddyStateTable *table = eddy_plan_main_table(plan);
	TupleTableSlot *row = MakeSingleTupleTableSlot(eddy_upsert_desc(upsert), &TTSOpsHeapTuple);
	ListCell   *lc;

	ExecForceStoreHeapTuple(session, row, false);
	slot_getallattrs(row);
	foreach(lc, eddy_session_get_replaced(table, row))
	{
		TupleTableSlot *other = find_superseded(upsert, table, row, lfirst(lc));
		ItemPointerData other_place;

		if (other == NULL)
			continue;
		other_place = other->tts_tid;
		tuplestore_puttupleslot(others, other);
		(void) eddy_upsert_delete(upsert, &other_place);
	}
	if (plan->id_column)
		eddy_collect_forget(eddy_collect_tables(plan),
							list_make1(DatumGetPointer(row->tts_values[plan->id_column - 1])));
	ExecDropSingleTupleTableSlot(row);
}

/*
 * Deletes what a superseded row that was deleted would have become; again while it is being
 * changed.
 */
static void
delete_successor(EddyViewPlan *plan, const TupleTableSlot *superseded, Tuplestorestate *others)
{
	const EddyStateTable *table = eddy_plan_main_table(plan);
	EddySessionBounds bounds = {
		.start = DatumGetTimestamp(superseded->tts_values[table->keys[START].column - 1]),
		.end = DatumGetTimestamp(superseded->tts_values[table->keys[END].column - 1])
	};
	bool		done = false;

	PushActiveSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() :
					   GetLatestSnapshot());
	while (!done)
	{
		EddyUpsert *upsert = eddy_upsert_open(table, plan->name);
		TupleTableSlot *row = find_session(upsert, table, superseded, &bounds);

		done = true;
		if (row)
		{
			ItemPointerData place = row->tts_tid;
			HeapTuple	session = ExecCopySlotHeapTuple(row);

			done = eddy_upsert_delete(upsert, &place);
			if (done)
				delete_rest(plan, upsert, session, others);
		}
		eddy_upsert_close(upsert);
		if (!done)
		{
			CHECK_FOR_INTERRUPTS();
			PopActiveSnapshot();
			PushActiveSnapshot(GetLatestSnapshot());
		}
	}
	PopActiveSnapshot();
	CommandCounterIncrement();
}

Tuplestorestate *
eddy_view_delete_sessions(const EddyView *view, TupleDesc desc, Tuplestorestate *deleted)
{
	EddyViewPlan *plan = eddy_plan_get(view->relid);
	Tuplestorestate *others;
	TupleTableSlot *row;
	EddyOwnerSwitch save;

	if (plan == NULL || eddy_plan_main_table(plan)->superseded == 0)
		return NULL;
	/* the rows that the statement has deleted are not found again */
	CommandCounterIncrement();
	others = tuplestore_begin_heap(false, false, work_mem);
	row = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	eddy_plan_pin(plan);
	PG_TRY();
	{
		/* comparing keys calls functions of their types */
		eddy_owner_begin(&save, plan->owner);
		tuplestore_rescan(deleted);
		while (tuplestore_gettupleslot(deleted, true, false, row))
		{
			slot_getallattrs(row);
			if (eddy_session_is_superseded(eddy_plan_main_table(plan), row))
				delete_successor(plan, row, others);
		}
		eddy_owner_end(&save);
	}
	PG_FINALLY();
	{
		eddy_plan_unpin(plan);
	}
	PG_END_TRY();
	ExecDropSingleTupleTableSlot(row);
	if (tuplestore_tuple_count(others) > 0)
		return others;
	tuplestore_end(others);
	return NULL;
}

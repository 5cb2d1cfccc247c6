/*-------------------------------------------------------------------------
 *
 * net_change.c
 *    What consumers of changes receive when the state of a view is replaced: the net difference.
 *
 * The new main state table is filled before consumers know it: while it has neither a security label
 * nor a publication, logical decoding sends none of its changes. Rows that are the same in both tables
 * therefore cause no records. The others are written so that the WAL contains their change:
 *
 *   only in the old view    the row is deleted from the old table
 *   only in the new view    the row is removed from the new table, and inserted again
 *   in both, and different  the row in the new table gets the columns of the old row, and is then updated
 *
 * The second steps come after the new table has become that of the view (eddy_net_change_end).
 * Rows are the same if they have the same key, which consumers know by the names of its columns. If
 * these differ, all old rows are deleted and all new ones inserted.
 *
 * All rows are compared while writers continue (eddy_net_change_compare), as of a snapshot, which finds those that
 * differ. Once writers are locked out, only these, and the rows of either table that were changed since that snapshot
 * (src/rows_since.c), are compared again and prepared.
 *
 * Without a consumer nothing is compared, and nothing written.
 *
 * Locking: while rows are compared first, RowExclusiveLock on both tables, as for maintaining them; afterwards the
 * caller has locked both against all others. Memory: the caller's; the places of rows that differ, 6 bytes each, and
 * tuplestores for rows that are written in the second step. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "storage/lwlock.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "owner.h"
#include "rows_since.h"
#include "view/net_change.h"

/* Places of rows. */
typedef struct Places
{
	ItemPointer items;
	int64		count;
	int64		room;
} Places;

/* How a row of the new table differs from the old view. */
typedef enum Difference
{
	SAME,
	INSERTED,
	UPDATED						/* or deleted, if the new view does not show it */
} Difference;

struct EddyNetChange
{
	const EddyView *old_view;
	EddyViewPlan *old;			/* NULL: rows of the old table cannot be found by key */
	const EddyView *new_view;
	EddyViewPlan *new;
	AttrNumber *old_keys;		/* columns of an old row by which a new one is found; NULL: none */
	AttrNumber *new_keys;		/* columns of a new row by which an old one is found; NULL: none */
	Tuplestorestate *updated;	/* rows to be written: they exist with the columns of the old row */
	Tuplestorestate *inserted;	/* they do not exist */

	/* what was compared before writers were locked out */
	Snapshot	since;			/* registered; NULL: nothing was */
	Places		new_rows;		/* of the new table: they differ, or may differ since then */
	Places		old_rows;		/* of the old table: they are not in the new one, or may not be */

	/* while the tables are compared */
	EddyUpsert *from;
	EddyUpsert *to;
	TupleTableSlot *before;		/* a row of the new table with the columns of the old one */
};

/*
 * True if a consumer of this database exists. One that is created later begins after this transaction, which has a
 * transaction ID already.
 */
static bool
has_consumers(void)
{
	bool		found = false;

	if (!XLogLogicalInfoActive())
		return false;
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots && !found; i++)
	{
		const ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];

		found = slot->in_use && SlotIsLogical(slot) && slot->data.database == MyDatabaseId;
	}
	LWLockRelease(ReplicationSlotControlLock);
	return found;
}

/* ---- the keys of both tables ---- */

/* The column of a table with that name, type and collation, 0 if there is none. */
static AttrNumber
find_column(TupleDesc desc, Form_pg_attribute like)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), NameStr(like->attname)) == 0 &&
			att->atttypid == like->atttypid && att->attcollation == like->attcollation)
			return i + 1;
	}
	return InvalidAttrNumber;
}

/* The columns of another table that have the key of this one, in its order; NULL if one is not in that key. */
static AttrNumber *
map_keys(const EddyStateTable *table, TupleDesc desc, const EddyStateTable *other,
		 TupleDesc other_desc)
{
	AttrNumber *columns = palloc(sizeof(AttrNumber) * table->nkeys);

	for (int i = 0; i < table->nkeys; i++)
	{
		bool		is_key = false;

		columns[i] = find_column(other_desc,
								 TupleDescAttr(desc, eddy_upsert_order(table)[i].column - 1));
		for (int j = 0; j < other->nkeys; j++)
			is_key |= other->keys[j].column == columns[i];
		if (!is_key)
			return NULL;
	}
	return columns;
}

/* True if a column of the view is stored in both tables, with the same type. */
static bool
shares_column(const EddyNetChange *net, int i, TupleDesc old_desc, TupleDesc new_desc)
{
	AttrNumber	old = net->old_view->columns[i];
	AttrNumber	new = net->new_view->columns[i];

	return old > 0 && new > 0 && TupleDescAttr(old_desc, old - 1)->atttypid ==
		TupleDescAttr(new_desc, new - 1)->atttypid;
}

static void
match_keys(EddyNetChange *net)
{
	const EddyStateTable *old = eddy_plan_main_table(net->old);
	const EddyStateTable *new = eddy_plan_main_table(net->new);
	TupleDesc	old_desc = eddy_upsert_desc(net->from);
	TupleDesc	new_desc = eddy_upsert_desc(net->to);

	if (old->nkeys != new->nkeys || net->old_view->nkeys != net->new_view->nkeys)
		return;
	net->new_keys = map_keys(old, old_desc, new, new_desc);
	net->old_keys = map_keys(new, new_desc, old, old_desc);
	if (net->new_keys == NULL || net->old_keys == NULL)
		net->new_keys = net->old_keys = NULL;
}

/* The row of a table whose key is in these columns of a row of the other one, or NULL. */
static TupleTableSlot *
find_row(EddyUpsert *upsert, const EddyStateTable *table, const AttrNumber *columns,
		 TupleTableSlot *row)
{
	Datum		keys[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	for (int i = 0; i < table->nkeys; i++)
	{
		keys[i] = row->tts_values[columns[i] - 1];
		nulls[i] = row->tts_isnull[columns[i] - 1];
	}
	return eddy_upsert_find(upsert, keys, nulls);
}

/* ---- comparing rows ---- */

static bool
is_set(TupleTableSlot *row, AttrNumber mark, bool otherwise)
{
	if (mark == InvalidAttrNumber)
		return otherwise;
	return !row->tts_isnull[mark - 1] && DatumGetBool(row->tts_values[mark - 1]);
}

static void
set_mark(TupleTableSlot *row, AttrNumber mark, bool value)
{
	if (mark == InvalidAttrNumber)
		return;
	row->tts_values[mark - 1] = BoolGetDatum(value);
	row->tts_isnull[mark - 1] = false;
}

/*
 * Fills net->before: the new row with the columns of the old one. Returns true if that is a
 * difference.
 */
static bool
make_before(EddyNetChange *net, TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	TupleDesc	old_desc = eddy_upsert_desc(net->from);
	TupleDesc	new_desc = eddy_upsert_desc(net->to);
	TupleTableSlot *before = ExecClearTuple(net->before);
	AttrNumber	final = net->new_view->final_column;
	bool		differs = false;

	memcpy(before->tts_values, new_row->tts_values, sizeof(Datum) * new_desc->natts);
	memcpy(before->tts_isnull, new_row->tts_isnull, sizeof(bool) * new_desc->natts);
	for (int i = 0; i < net->new_view->ncolumns; i++)
	{
		int			to = net->new_view->columns[i] - 1;
		Form_pg_attribute att;

		if (to < 0)
			continue;
		att = TupleDescAttr(new_desc, to);
		if (i < net->old_view->ncolumns && shares_column(net, i, old_desc, new_desc))
		{
			int			from = net->old_view->columns[i] - 1;

			before->tts_values[to] = old_row->tts_values[from];
			before->tts_isnull[to] = old_row->tts_isnull[from];
		}
		else if (!att->attnotnull)
		{
			before->tts_values[to] = (Datum) 0;
			before->tts_isnull[to] = true;
		}
		if (before->tts_isnull[to] != new_row->tts_isnull[to] ||
			(!before->tts_isnull[to] &&
			 !datum_image_eq(before->tts_values[to], new_row->tts_values[to], att->attbyval,
							 att->attlen)))
			differs = true;
	}
	if (final)
	{
		bool		was_final = is_set(old_row, net->old_view->final_column, false);

		differs |= was_final != is_set(new_row, final, false);
		set_mark(before, final, was_final);
	}
	/* after the mark of final rows, which can be the same column */
	set_mark(before, net->new_view->visible_column, true);
	ExecStoreVirtualTuple(before);
	return differs;
}

/* The old row with the key of a new one, and the other way round; NULL: there is none. */
static TupleTableSlot *
find_old(EddyNetChange *net, TupleTableSlot *new_row)
{
	return net->new_keys ?
		find_row(net->from, eddy_plan_main_table(net->old), net->new_keys, new_row) : NULL;
}

static TupleTableSlot *
find_new(EddyNetChange *net, TupleTableSlot *old_row)
{
	return net->old_keys ?
		find_row(net->to, eddy_plan_main_table(net->new), net->old_keys, old_row) : NULL;
}

/* How a row of the new table differs; fills net->before if it exists in the old view. */
static Difference
compare_new_row(EddyNetChange *net, TupleTableSlot *new_row)
{
	bool		visible = is_set(new_row, net->new_view->visible_column, true);
	TupleTableSlot *old_row = find_old(net, new_row);

	if (old_row == NULL || !is_set(old_row, net->old_view->visible_column, true))
		return visible ? INSERTED : SAME;
	return make_before(net, old_row, new_row) || !visible ? UPDATED : SAME;
}

/* True for a row of the old table that was in the view and is not in the new table. */
static bool
is_gone(EddyNetChange *net, TupleTableSlot *old_row)
{
	return is_set(old_row, net->old_view->visible_column, true) && find_new(net, old_row) == NULL;
}

/* Prepares the change of a row of the new table. */
static void
prepare_new_row(EddyNetChange *net, TupleTableSlot *new_row)
{
	ItemPointerData place = new_row->tts_tid;
	bool		ok = true;

	switch (compare_new_row(net, new_row))
	{
		case SAME:
			break;
		case INSERTED:
			tuplestore_puttupleslot(net->inserted, new_row);
			ok = eddy_upsert_delete(net->to, &place);
			break;
		case UPDATED:
			tuplestore_puttupleslot(net->updated, new_row);
			ok = eddy_upsert_update(net->to, &place, net->before);
			break;
	}
	if (!ok)
		elog(ERROR, "state table was written although it is locked");
}

/* Deletes a row of the old table if the new one does not have it. */
static void
prepare_old_row(EddyNetChange *net, Relation old_rel, TupleTableSlot *old_row)
{
	TM_FailureData tmfd;

	if (is_gone(net, old_row) &&
		table_tuple_delete(old_rel, &old_row->tts_tid, GetCurrentCommandId(true),
						   GetActiveSnapshot(), InvalidSnapshot, true, &tmfd, false) != TM_Ok)
		elog(ERROR, "state table was written although it is locked");
}

static void
open_tables(EddyNetChange *net)
{
	net->to = eddy_upsert_open(eddy_plan_main_table(net->new), net->new->name);
	if (net->old)
		net->from = eddy_upsert_open(eddy_plan_main_table(net->old), net->new->name);
	net->before = MakeSingleTupleTableSlot(eddy_upsert_desc(net->to), &TTSOpsVirtual);
	net->new_keys = net->old_keys = NULL;
	if (net->old)
		match_keys(net);
}

static void
close_tables(EddyNetChange *net)
{
	ExecDropSingleTupleTableSlot(net->before);
	if (net->from)
		eddy_upsert_close(net->from);
	eddy_upsert_close(net->to);
	net->from = net->to = NULL;
}

/* ---- all rows ---- */

/* What is done with a row; old_rel: NULL, or its table if it is one of the old table. */
typedef void (*RowAction) (EddyNetChange *net, Relation old_rel, TupleTableSlot *row);

static void
walk_old_rows(EddyNetChange *net, RowAction action)
{
	Relation	rel = table_open(net->old_view->state_table, RowExclusiveLock);
	TupleTableSlot *row = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, row))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(row);
		action(net, rel, row);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(row);
	table_close(rel, NoLock);
}

static void
walk_new_rows(EddyNetChange *net, RowAction action)
{
	/* its own, as rows are looked for in the other one meanwhile */
	EddyUpsert *rows = eddy_upsert_open(eddy_plan_main_table(net->new), net->new->name);
	TupleTableSlot *row;

	eddy_upsert_seek(rows, 0, NULL, NULL);
	while ((row = eddy_upsert_next(rows)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		action(net, NULL, row);
	}
	eddy_upsert_close(rows);
}

static void
prepare(EddyNetChange *net, Relation old_rel, TupleTableSlot *row)
{
	if (old_rel)
		prepare_old_row(net, old_rel, row);
	else
		prepare_new_row(net, row);
}

/* ---- before writers are locked out ---- */

static void
add_place(Places *places, const ItemPointerData *place)
{
	if (places->items == NULL)
	{
		places->room = 1024;
		places->items = palloc(sizeof(ItemPointerData) * places->room);
	}
	else if (places->count == places->room)
	{
		places->room *= 2;
		places->items = repalloc_huge(places->items, sizeof(ItemPointerData) * places->room);
	}
	places->items[places->count++] = *place;
}

static void
remember(EddyNetChange *net, Relation old_rel, TupleTableSlot *row)
{
	if (old_rel ? is_gone(net, row) : compare_new_row(net, row) != SAME)
		add_place(old_rel ? &net->old_rows : &net->new_rows, &row->tts_tid);
}

static EddyNetChange *
make_net_change(const EddyView *old_view, EddyViewPlan *old, const EddyView *new_view,
				EddyViewPlan *new)
{
	EddyNetChange *net = palloc0(sizeof(EddyNetChange));

	net->old_view = old_view;
	net->old = old;
	net->new_view = new_view;
	net->new = new;
	return net;
}

EddyNetChange *
eddy_net_change_compare(const EddyView *old_view, EddyViewPlan *old, const EddyView *new_view,
						EddyViewPlan *new)
{
	EddyNetChange *net;
	EddyOwnerSwitch save;

	if (!has_consumers())
		return NULL;
	net = make_net_change(old_view, old, new_view, new);
	CommandCounterIncrement();
	eddy_owner_begin(&save, new->owner);
	net->since = RegisterSnapshot(GetLatestSnapshot());
	PushActiveSnapshot(net->since);
	open_tables(net);
	/* otherwise all rows differ */
	if (net->new_keys)
	{
		walk_old_rows(net, remember);
		walk_new_rows(net, remember);
	}
	close_tables(net);
	PopActiveSnapshot();
	eddy_owner_end(&save);
	return net;
}

/* ---- afterwards ---- */

/* A row of the new table that was changed since the first comparison; also the old row of its key counts. */
static void
add_changed_new_row(TupleTableSlot *row, bool present, void *arg)
{
	EddyNetChange *net = arg;
	TupleTableSlot *old_row;

	if (present)
		add_place(&net->new_rows, &row->tts_tid);
	else if ((old_row = find_old(net, row)) != NULL)
		add_place(&net->old_rows, &old_row->tts_tid);
}

/* The same for a row of the old table. */
static void
add_changed_old_row(TupleTableSlot *row, bool present, void *arg)
{
	EddyNetChange *net = arg;
	TupleTableSlot *new_row = find_new(net, row);

	if (present)
		add_place(&net->old_rows, &row->tts_tid);
	if (new_row)
		add_place(&net->new_rows, &new_row->tts_tid);
}

static int
compare_places(const void *a, const void *b)
{
	return ItemPointerCompare(unconstify(void *, a), unconstify(void *, b));
}

/* Prepares the rows at these places, in their order, which are in one of the tables. */
static void
prepare_places(EddyNetChange *net, Places *places, Oid relid, bool is_old)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	TupleTableSlot *row = table_slot_create(rel, NULL);

	if (places->count > 0)
		qsort(places->items, places->count, sizeof(ItemPointerData), compare_places);
	for (int64 i = 0; i < places->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i > 0 && ItemPointerEquals(&places->items[i], &places->items[i - 1]))
			continue;
		/* otherwise its present version is at another place */
		if (!table_tuple_fetch_row_version(rel, &places->items[i], GetActiveSnapshot(), row))
			continue;
		slot_getallattrs(row);
		prepare(net, is_old ? rel : NULL, row);
	}
	ExecDropSingleTupleTableSlot(row);
	table_close(rel, NoLock);
}

/* Prepares the rows that have differed, and those that were changed since then. */
static void
prepare_changed_rows(EddyNetChange *net)
{
	Oid			old_relid = net->old_view->state_table;
	Oid			new_relid = net->new_view->state_table;
	int64		compared = net->old_rows.count + net->new_rows.count;
	Relation	rel;

	rel = table_open(new_relid, RowExclusiveLock);
	(void) eddy_rows_changed_since(rel, net->since, GetActiveSnapshot(), add_changed_new_row, net);
	table_close(rel, NoLock);
	rel = table_open(old_relid, RowExclusiveLock);
	(void) eddy_rows_changed_since(rel, net->since, GetActiveSnapshot(), add_changed_old_row, net);
	table_close(rel, NoLock);
	ereport(DEBUG1,
			(errmsg_internal("rows of continuous view \"%s\" that differ: " INT64_FORMAT ", changed meanwhile: " INT64_FORMAT,
							 net->new->name, compared,
							 net->old_rows.count + net->new_rows.count - compared)));
	prepare_places(net, &net->old_rows, old_relid, true);
	prepare_places(net, &net->new_rows, new_relid, false);
}

EddyNetChange *
eddy_net_change_begin(EddyNetChange *net, const EddyView *old_view, EddyViewPlan *old,
					  const EddyView *new_view, EddyViewPlan *new)
{
	EddyOwnerSwitch save;

	if (net == NULL)
		net = make_net_change(old_view, old, new_view, new);
	net->updated = tuplestore_begin_heap(false, false, work_mem);
	net->inserted = tuplestore_begin_heap(false, false, work_mem);
	/* nobody sees the difference */
	if (has_consumers())
	{
		CommandCounterIncrement();
		eddy_owner_begin(&save, new->owner);
		PushActiveSnapshot(GetLatestSnapshot());
		open_tables(net);
		if (net->since && net->new_keys)
			prepare_changed_rows(net);
		else
		{
			walk_old_rows(net, prepare);
			walk_new_rows(net, prepare);
		}
		close_tables(net);
		PopActiveSnapshot();
		eddy_owner_end(&save);
		CommandCounterIncrement();
	}
	if (net->since)
		UnregisterSnapshot(net->since);
	return net;
}

/* ---- the second step ---- */

void
eddy_net_change_end(EddyNetChange *net)
{
	const EddyStateTable *table = eddy_plan_main_table(net->new);
	AttrNumber *keys = palloc(sizeof(AttrNumber) * table->nkeys);
	EddyOwnerSwitch save;
	EddyUpsert *upsert;
	TupleTableSlot *row;

	for (int i = 0; i < table->nkeys; i++)
		keys[i] = eddy_upsert_order(table)[i].column;
	CommandCounterIncrement();
	eddy_owner_begin(&save, net->new->owner);
	PushActiveSnapshot(GetLatestSnapshot());
	upsert = eddy_upsert_open(table, net->new->name);
	row = MakeSingleTupleTableSlot(eddy_upsert_desc(upsert), &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(net->updated, true, false, row))
	{
		TupleTableSlot *before;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(row);
		before = find_row(upsert, table, keys, row);
		if (before == NULL || !eddy_upsert_update(upsert, &before->tts_tid, row))
			elog(ERROR, "state table \"%s\" was written although it is locked", table->suffix);
	}
	while (tuplestore_gettupleslot(net->inserted, true, false, row))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(row);
		eddy_upsert_add(upsert, row);
	}
	eddy_upsert_flush(upsert);
	ExecDropSingleTupleTableSlot(row);
	eddy_upsert_close(upsert);
	PopActiveSnapshot();
	eddy_owner_end(&save);
	tuplestore_end(net->updated);
	tuplestore_end(net->inserted);
	CommandCounterIncrement();
}

/*-------------------------------------------------------------------------
 *
 * net_change.c
 *    What consumers of changes receive when the state of a view is replaced: the net difference.
 *
 * The rows of the new state are copied into a table of their own, which becomes the main state
 * table: the sent table. It is written before consumers know it: while it has neither a security
 * label nor a publication, logical decoding sends none of its changes. Rows that are the same in
 * both states therefore cause no records. The others are prepared so that the WAL contains their
 * change:
 *
 *   only in the old view    the row is deleted from the old table
 *   only in the new view    the row is not in the sent table, and is inserted into it
 *   in both, and different  the row in the sent table has the columns of the old row, and is updated
 *
 * The inserts and updates come after the sent table has become that of the view
 * (eddy_net_change_end); each of them is one write. Rows are the same if they have the same key,
 * which consumers know by the names of its columns. If these differ, all old rows are deleted and
 * all new ones inserted.
 *
 * All rows are compared and copied while writers continue (eddy_net_change_compare), as of a
 * snapshot. Once writers are locked out, only the rows of either table that were changed since that
 * snapshot (src/rows_since.c) are compared again. The writes that send the difference must come
 * after the lock: a transaction that commits before this one is sent before it, and with it the
 * value that such a write would have to replace.
 *
 * Without a consumer nothing is compared, and nothing written.
 *
 * Locking: while rows are compared first, RowExclusiveLock on both tables, as for maintaining them;
 * afterwards the caller has locked both against all others. Memory: the caller's; the places of
 * rows that differ, 6 or 12 bytes each. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
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

/* Rows of the sent table that are updated, and those of the new table that they become. */
typedef struct Update
{
	ItemPointerData sent;
	ItemPointerData row;
} Update;

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
	EddyViewPlan *sent;			/* the same with the sent table instead of the main table */
	AttrNumber *old_keys;		/* columns of an old row by which a new one is found; NULL: none */
	AttrNumber *new_keys;		/* columns of a new row by which an old one is found; NULL: none */
	AttrNumber *own_keys;		/* columns of a new row by which a row of the sent table is found */
	Snapshot	since;			/* registered: of the first comparison */

	/*
	 * what has to be written, in the order of places; rows that have other versions now are left
	 * out
	 */
	Places		deleted;		/* of the old table */
	Places		inserted;		/* of the new table */
	Update	   *updates;
	int64		nupdates;
	int64		updates_room;

	/* rows that were changed since the first comparison, or whose row in the other table was */
	Places		old_changed;
	Places		new_changed;
	Places		stale;			/* of the sent table: they were copied from other versions */

	/* while tables are open */
	EddyUpsert *from;			/* NULL: the old plan could not be made */
	EddyUpsert *to;
	EddyUpsert *copy;			/* of the sent table */
	TupleTableSlot *before;		/* a row of the new table with the columns of the old one */
};

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

/*
 * The columns of another table that have the key of this one, in its order; NULL if one is not in
 * that key.
 */
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

/* The columns of the key of a table, in the order of ranges. */
static AttrNumber *
list_keys(const EddyStateTable *table)
{
	AttrNumber *columns = palloc(sizeof(AttrNumber) * table->nkeys);

	for (int i = 0; i < table->nkeys; i++)
		columns[i] = eddy_upsert_order(table)[i].column;
	return columns;
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

static void
open_tables(EddyNetChange *net)
{
	net->to = eddy_upsert_open(eddy_plan_main_table(net->new), net->new->name);
	net->copy = eddy_upsert_open(eddy_plan_main_table(net->sent), net->new->name);
	if (net->old)
		net->from = eddy_upsert_open(eddy_plan_main_table(net->old), net->new->name);
	net->before = MakeSingleTupleTableSlot(eddy_upsert_desc(net->to), &TTSOpsVirtual);
	net->own_keys = list_keys(eddy_plan_main_table(net->sent));
	net->new_keys = net->old_keys = NULL;
	if (net->old)
		match_keys(net);
}

static void
close_tables(EddyNetChange *net)
{
	eddy_upsert_flush(net->copy);
	ExecDropSingleTupleTableSlot(net->before);
	if (net->from)
		eddy_upsert_close(net->from);
	eddy_upsert_close(net->to);
	eddy_upsert_close(net->copy);
	net->from = net->to = net->copy = NULL;
}

/* ---- places ---- */

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

static int
compare_places(const void *a, const void *b)
{
	return ItemPointerCompare(unconstify(void *, a), unconstify(void *, b));
}

/* Sorts places, each of which remains once. */
static void
sort_places(Places *places)
{
	int64		kept = 0;

	if (places->count == 0)
		return;
	qsort(places->items, places->count, sizeof(ItemPointerData), compare_places);
	for (int64 i = 0; i < places->count; i++)
		if (i == 0 || !ItemPointerEquals(&places->items[i], &places->items[kept - 1]))
			places->items[kept++] = places->items[i];
	places->count = kept;
}

/* True if sorted places contain one. */
static bool
has_place(const Places *places, const ItemPointerData *place)
{
	return places->count > 0 &&
		bsearch(place, places->items, places->count, sizeof(ItemPointerData), compare_places) != NULL;
}

/*
 * The place of a row of the sent table that is added next, for an update that makes it the row at
 * another place.
 */
static ItemPointer
add_update(EddyNetChange *net, const ItemPointerData *row)
{
	Update	   *update;

	if (net->nupdates == net->updates_room)
	{
		/* the rows that are still to be inserted store their places in the array */
		eddy_upsert_flush(net->copy);
		net->updates_room = Max(net->updates_room * 2, 1024);
		net->updates = net->updates ?
			repalloc_huge(net->updates, sizeof(Update) * net->updates_room) :
			palloc(sizeof(Update) * net->updates_room);
	}
	update = &net->updates[net->nupdates++];
	update->row = *row;
	return &update->sent;
}

/* ---- comparing, and copying what has not to be sent ---- */

/* Notes an old row that the new view does not have. */
static void
take_old_row(EddyNetChange *net, TupleTableSlot *old_row)
{
	if (is_gone(net, old_row))
		add_place(&net->deleted, &old_row->tts_tid);
}

/* Adds to the sent table what consumers have of a new row, and notes the change. */
static void
take_new_row(EddyNetChange *net, TupleTableSlot *new_row)
{
	switch (compare_new_row(net, new_row))
	{
		case SAME:
			eddy_upsert_add(net->copy, new_row);
			break;
		case INSERTED:
			add_place(&net->inserted, &new_row->tts_tid);
			break;
		case UPDATED:
			eddy_upsert_add_at(net->copy, net->before, add_update(net, &new_row->tts_tid));
			break;
	}
}

typedef void (*TakeRow) (EddyNetChange *net, TupleTableSlot *row);

/* All rows of a table, in the order of their places. */
static void
walk_rows(EddyNetChange *net, Oid relid, TakeRow take)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	TupleTableSlot *row = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan_strat(rel, GetActiveSnapshot(), 0, NULL, true, false);

	while (table_scan_getnextslot(scan, ForwardScanDirection, row))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(row);
		take(net, row);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(row);
	table_close(rel, NoLock);
}

EddyNetChange *
eddy_net_change_compare(const EddyView *old_view, EddyViewPlan *old, const EddyView *new_view,
						EddyViewPlan *new, EddyViewPlan *sent)
{
	EddyNetChange *net = palloc0(sizeof(EddyNetChange));
	EddyOwnerSwitch save;

	net->old_view = old_view;
	net->old = old;
	net->new_view = new_view;
	net->new = new;
	net->sent = sent;
	CommandCounterIncrement();
	eddy_owner_begin(&save, new->owner);
	net->since = RegisterSnapshot(GetLatestSnapshot());
	PushActiveSnapshot(net->since);
	open_tables(net);
	walk_rows(net, old_view->state_table, take_old_row);
	walk_rows(net, new_view->state_table, take_new_row);
	close_tables(net);
	PopActiveSnapshot();
	eddy_owner_end(&save);
	return net;
}

/* ---- what was changed since ---- */

static void
note_stale(EddyNetChange *net, TupleTableSlot *new_row)
{
	TupleTableSlot *sent_row = find_row(net->copy, eddy_plan_main_table(net->sent), net->own_keys,
										new_row);

	if (sent_row)
		add_place(&net->stale, &sent_row->tts_tid);
}

/*
 * A version of a row of the new table was written or removed: the row and the old row of its key
 * are taken again.
 */
static void
note_new_change(TupleTableSlot *row, bool present, void *arg)
{
	EddyNetChange *net = arg;
	TupleTableSlot *old_row = find_old(net, row);

	note_stale(net, row);
	if (present)
		add_place(&net->new_changed, &row->tts_tid);
	if (old_row)
		add_place(&net->old_changed, &old_row->tts_tid);
}

/* The same for a row of the old table. */
static void
note_old_change(TupleTableSlot *row, bool present, void *arg)
{
	EddyNetChange *net = arg;
	TupleTableSlot *new_row = find_new(net, row);

	if (present)
		add_place(&net->old_changed, &row->tts_tid);
	if (new_row)
	{
		note_stale(net, new_row);
		add_place(&net->new_changed, &new_row->tts_tid);
	}
}

static void
list_changes(EddyNetChange *net, Oid relid, EddyRowFunction note)
{
	Relation	rel = table_open(relid, RowExclusiveLock);

	(void) eddy_rows_changed_since(rel, net->since, GetActiveSnapshot(), note, net);
	table_close(rel, NoLock);
}

/* Takes the rows at these places again. */
static void
take_places(EddyNetChange *net, const Places *places, Oid relid, TakeRow take)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	TupleTableSlot *row = table_slot_create(rel, NULL);

	for (int64 i = 0; i < places->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!table_tuple_fetch_row_version(rel, &places->items[i], GetActiveSnapshot(), row))
			elog(ERROR, "changed row of state table \"%s\" is missing", RelationGetRelationName(rel));
		slot_getallattrs(row);
		take(net, row);
	}
	ExecDropSingleTupleTableSlot(row);
	table_close(rel, NoLock);
}

static void
remove_stale(EddyNetChange *net)
{
	sort_places(&net->stale);
	for (int64 i = 0; i < net->stale.count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!eddy_upsert_delete(net->copy, &net->stale.items[i]))
			elog(ERROR, "new state table of continuous view \"%s\" was written by others", net->new->name);
	}
}

/* Leaves out what was noted about rows that are taken again. */
static void
forget_updates(EddyNetChange *net)
{
	int64		kept = 0;

	if (net->new_changed.count == 0)
		return;
	for (int64 i = 0; i < net->nupdates; i++)
		if (!has_place(&net->new_changed, &net->updates[i].row))
			net->updates[kept++] = net->updates[i];
	net->nupdates = kept;
}

static void
forget_places(Places *places, const Places *changed)
{
	int64		kept = 0;

	if (changed->count == 0)
		return;
	for (int64 i = 0; i < places->count; i++)
		if (!has_place(changed, &places->items[i]))
			places->items[kept++] = places->items[i];
	places->count = kept;
}

/*
 * Deletes the rows that the new view does not have; those that have other versions now were noted
 * again.
 */
static void
delete_old_rows(EddyNetChange *net)
{
	Relation	rel = table_open(net->old_view->state_table, RowExclusiveLock);

	for (int64 i = 0; i < net->deleted.count; i++)
	{
		TM_FailureData tmfd;
		TM_Result	result;

		CHECK_FOR_INTERRUPTS();
		result = table_tuple_delete(rel, &net->deleted.items[i], GetCurrentCommandId(true),
									GetActiveSnapshot(), InvalidSnapshot, true, &tmfd, false);
		if (result != TM_Ok && result != TM_Updated && result != TM_Deleted)
			elog(ERROR, "unexpected result %d of deleting from state table \"%s\"", result,
				 RelationGetRelationName(rel));
	}
	table_close(rel, NoLock);
}

void
eddy_net_change_begin(EddyNetChange *net)
{
	int64		compared = net->deleted.count + net->inserted.count + net->nupdates;
	EddyOwnerSwitch save;

	CommandCounterIncrement();
	eddy_owner_begin(&save, net->new->owner);
	PushActiveSnapshot(GetLatestSnapshot());
	open_tables(net);
	list_changes(net, net->new_view->state_table, note_new_change);
	list_changes(net, net->old_view->state_table, note_old_change);
	sort_places(&net->new_changed);
	sort_places(&net->old_changed);
	remove_stale(net);
	forget_updates(net);
	forget_places(&net->inserted, &net->new_changed);
	forget_places(&net->deleted, &net->old_changed);
	take_places(net, &net->old_changed, net->old_view->state_table, take_old_row);
	take_places(net, &net->new_changed, net->new_view->state_table, take_new_row);
	ereport(DEBUG1,
			(errmsg_internal("rows of continuous view \"%s\" that differ: " INT64_FORMAT ", changed meanwhile: " INT64_FORMAT,
							 net->new->name, compared,
							 net->old_changed.count + net->new_changed.count)));
	close_tables(net);
	delete_old_rows(net);
	PopActiveSnapshot();
	eddy_owner_end(&save);
	CommandCounterIncrement();
	UnregisterSnapshot(net->since);
}

/* ---- the second step ---- */

/* Reads the row at a place; false if it has another version now, or none. */
static bool
read_row(Relation rel, ItemPointer place, TupleTableSlot *row)
{
	CHECK_FOR_INTERRUPTS();
	if (!table_tuple_fetch_row_version(rel, place, GetActiveSnapshot(), row))
		return false;
	slot_getallattrs(row);
	return true;
}

void
eddy_net_change_end(EddyNetChange *net)
{
	Relation	rel;
	EddyOwnerSwitch save;
	EddyUpsert *sent;
	TupleTableSlot *row;

	CommandCounterIncrement();
	eddy_owner_begin(&save, net->new->owner);
	PushActiveSnapshot(GetLatestSnapshot());
	rel = table_open(net->new_view->state_table, AccessShareLock);
	row = table_slot_create(rel, NULL);
	sent = eddy_upsert_open(eddy_plan_main_table(net->sent), net->new->name);
	for (int64 i = 0; i < net->nupdates; i++)
		if (read_row(rel, &net->updates[i].row, row) &&
			!eddy_upsert_update(sent, &net->updates[i].sent, row))
			elog(ERROR, "new state table of continuous view \"%s\" was written by others", net->new->name);
	for (int64 i = 0; i < net->inserted.count; i++)
		if (read_row(rel, &net->inserted.items[i], row))
			eddy_upsert_add(sent, row);
	eddy_upsert_flush(sent);
	eddy_upsert_close(sent);
	ExecDropSingleTupleTableSlot(row);
	table_close(rel, NoLock);
	PopActiveSnapshot();
	eddy_owner_end(&save);
	CommandCounterIncrement();
}

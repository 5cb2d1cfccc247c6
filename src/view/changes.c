/*-------------------------------------------------------------------------
 *
 * changes.c
 *    Records the changes that maintenance makes to the rows of a view, and passes them to observers.
 *
 * Changes are recorded where rows of the main state table are written (upsert_write.c), if the
 * layout of the table has a record (EddyStateTable.changes), which is the case while a view that is
 * observed is maintained (maintain.c), closed (closing.c) or rebuilt (suspend.c); and by a trigger
 * on the table when a user deletes rows (api/view_functions.c). So no kind of view has to know of
 * it.
 *
 * A write that is rolled back with its subtransaction is repeated from the beginning, with an empty
 * record (eddy_changes_clear).
 *
 * No locks. Memory: rows are in a tuplestore, which uses temporary files beyond work_mem; two bytes
 * for each of them remain in memory, in the context of the record. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "catalog/eddy_catalog.h"
#include "view/change_log.h"
#include "view/changes.h"

/* How rows of the main state table become rows of the view. */
typedef struct EddyChangesMap
{
	MemoryContext mcxt;			/* of the record */
	AttrNumber	visible_column; /* 0: all rows are in the view */
	AttrNumber	final_column;	/* 0: none is final */
	TupleTableSlot *row;		/* a row of the view */
} EddyChangesMap;

struct EddyChangesReader
{
	EddyChanges *changes;
	int64		next;			/* the next recorded row */
	TupleTableSlot *old_row;
	TupleTableSlot *new_row;
};

static List *observers = NIL;	/* of EddyChangeObserver, in TopMemoryContext */

/* ---- observers ---- */

void
eddy_changes_register(const EddyChangeObserver *observer)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	observers = lappend(observers, unconstify(EddyChangeObserver *, observer));
	MemoryContextSwitchTo(old);
}

static bool
is_observed(Oid view)
{
	ListCell   *lc;

	foreach(lc, observers)
		if (((const EddyChangeObserver *) lfirst(lc))->wants(view))
			return true;
	return false;
}

bool
eddy_changes_wanted(Oid view)
{
	return is_observed(view) || eddy_catalog_member(view).keeps_changes;
}

void
eddy_changes_deliver(EddyChanges *changes)
{
	ListCell   *lc;

	if (changes->nrows == 0)
		return;
	if (changes->log)
		eddy_change_log_write(changes->log);
	foreach(lc, observers)
	{
		const EddyChangeObserver *observer = lfirst(lc);

		if (observer->wants(changes->view))
			observer->receive(changes);
	}
}

/* ---- recording ---- */

/*
 * The columns of the view as it is now. Takes no lock: one on a state table keeps it from being
 * dropped.
 */
static TupleDesc
describe_view(Oid view)
{
	Relation	rel = RelationIdGetRelation(view);
	TupleDesc	desc;

	if (rel == NULL)
		elog(ERROR, "continuous view %u does not exist", view);
	desc = CreateTupleDescCopy(RelationGetDescr(rel));
	RelationClose(rel);
	return desc;
}

EddyChanges *
eddy_changes_make(Oid view, EddyChangeCause cause, const AttrNumber *columns, int ncolumns,
				  AttrNumber visible_column, AttrNumber final_column)
{
	EddyChanges *changes = palloc0(sizeof(EddyChanges));
	EddyChangesMap *map = palloc0(sizeof(EddyChangesMap));

	changes->view = view;
	changes->cause = cause;
	changes->observed = is_observed(view);
	/* consumers keep what retention removes from the view */
	if (cause != EDDY_CAUSE_EXPIRE)
		changes->log = eddy_change_log_make(view);
	changes->desc = describe_view(view);
	changes->nshown = changes->desc->natts;
	if (changes->desc->natts != ncolumns)
		elog(ERROR, "continuous view %u has %d columns instead of %d", view,
			 changes->desc->natts, ncolumns);
	changes->rows = tuplestore_begin_heap(false, false, work_mem);
	changes->map = map;
	map->mcxt = CurrentMemoryContext;
	changes->columns = palloc(sizeof(AttrNumber) * Max(ncolumns, 1));
	memcpy(changes->columns, columns, sizeof(AttrNumber) * ncolumns);
	map->visible_column = visible_column;
	map->final_column = final_column;
	map->row = MakeSingleTupleTableSlot(changes->desc, &TTSOpsVirtual);
	return changes;
}

/* Replaces the columns of an empty record. */
static void
set_columns(EddyChanges *changes, TupleDesc desc, const AttrNumber *columns)
{
	ExecDropSingleTupleTableSlot(changes->map->row);
	pfree(changes->columns);
	changes->desc = desc;
	changes->columns = palloc(sizeof(AttrNumber) * desc->natts);
	memcpy(changes->columns, columns, sizeof(AttrNumber) * desc->natts);
	changes->map->row = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
}

void
eddy_changes_add_hidden(EddyChanges *changes, Oid state_table)
{
	Relation	rel = RelationIdGetRelation(state_table);
	TupleDesc	table;
	TupleDesc	desc;
	AttrNumber *columns;
	int			n = changes->nshown;

	if (rel == NULL)
		elog(ERROR, "state table %u does not exist", state_table);
	table = RelationGetDescr(rel);
	desc = CreateTemplateTupleDesc(n + table->natts);
	columns = palloc(sizeof(AttrNumber) * (n + table->natts));
	memcpy(columns, changes->columns, sizeof(AttrNumber) * n);
	for (int i = 1; i <= n; i++)
		TupleDescCopyEntry(desc, i, changes->desc, i);
	for (int i = 1; i <= table->natts; i++)
	{
		TupleDescCopyEntry(desc, n + i, table, i);
		columns[n + i - 1] = i;
	}
	RelationClose(rel);
	set_columns(changes, desc, columns);
}

static bool
has_mark(TupleTableSlot *row, AttrNumber column, bool without)
{
	bool		isnull;
	Datum		value;

	if (column == InvalidAttrNumber)
		return without;
	value = slot_getattr(row, column, &isnull);
	return !isnull && DatumGetBool(value);
}

/* Adds a row of the view. */
static void
put_row(EddyChanges *changes, EddyChangeMark mark, bool final, TupleTableSlot *row)
{
	EddyChangesMap *map = changes->map;

	if (!changes->observed)
	{
		changes->nrows++;
		return;
	}
	if (changes->nrows == changes->capacity)
	{
		changes->capacity = Max(changes->capacity * 2, 64);
		changes->marks = changes->marks == NULL ?
			MemoryContextAllocHuge(map->mcxt, changes->capacity) :
			repalloc_huge(changes->marks, changes->capacity);
		changes->finals = changes->finals == NULL ?
			MemoryContextAllocHuge(map->mcxt, changes->capacity * sizeof(bool)) :
			repalloc_huge(changes->finals, changes->capacity * sizeof(bool));
	}
	tuplestore_puttupleslot(changes->rows, row);
	changes->marks[changes->nrows] = mark;
	changes->finals[changes->nrows] = final;
	changes->nrows++;
}

/* Adds a row of the state table. */
static void
add_row(EddyChanges *changes, EddyChangeMark mark, TupleTableSlot *row)
{
	EddyChangesMap *map = changes->map;

	slot_getallattrs(row);
	ExecClearTuple(map->row);
	for (int i = 0; i < changes->desc->natts; i++)
	{
		AttrNumber	column = changes->columns[i];

		map->row->tts_isnull[i] = column <= 0 || row->tts_isnull[column - 1];
		map->row->tts_values[i] = map->row->tts_isnull[i] ? (Datum) 0 :
			row->tts_values[column - 1];
	}
	put_row(changes, mark, has_mark(row, map->final_column, false),
			ExecStoreVirtualTuple(map->row));
}

/* True if two versions of a row, deformed, have the same values in the columns of the view. */
static bool
look_alike(const EddyChanges *changes, TupleTableSlot *a, TupleTableSlot *b)
{
	for (int i = 0; i < changes->nshown; i++)
	{
		Form_pg_attribute att = TupleDescAttr(changes->desc, i);
		int			column = changes->columns[i] - 1;

		if (column < 0)
			continue;
		if (a->tts_isnull[column] != b->tts_isnull[column])
			return false;
		if (!a->tts_isnull[column] &&
			!datum_image_eq(a->tts_values[column], b->tts_values[column], att->attbyval,
							att->attlen))
			return false;
	}
	return true;
}

void
eddy_changes_record(EddyChanges *changes, TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	EddyChangesMap *map = changes->map;

	if (changes->log)
		eddy_change_log_add(changes->log, old_row, new_row);
	if (old_row && !has_mark(old_row, map->visible_column, true))
		old_row = NULL;
	if (new_row && !has_mark(new_row, map->visible_column, true))
		new_row = NULL;
	if (old_row == NULL && new_row == NULL)
		return;
	if (old_row == NULL)
		add_row(changes, EDDY_CHANGE_INSERT, new_row);
	else if (new_row == NULL)
		add_row(changes, EDDY_CHANGE_DELETE, old_row);
	else
	{
		slot_getallattrs(old_row);
		slot_getallattrs(new_row);
		if (!look_alike(changes, old_row, new_row))
		{
			add_row(changes, EDDY_CHANGE_OLD, old_row);
			add_row(changes, EDDY_CHANGE_NEW, new_row);
		}
		else if (has_mark(new_row, map->final_column, false) &&
				 !has_mark(old_row, map->final_column, false))
			add_row(changes, EDDY_CHANGE_FINAL, new_row);
	}
}

static void
append(EddyChanges *changes, EddyChanges *more)
{
	TupleTableSlot *row;

	if (!more->observed)
	{
		changes->nrows += more->nrows;
		return;
	}
	row = MakeSingleTupleTableSlot(more->desc, &TTSOpsMinimalTuple);
	tuplestore_select_read_pointer(more->rows, 0);
	tuplestore_rescan(more->rows);
	for (int64 i = 0; i < more->nrows; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!tuplestore_gettupleslot(more->rows, true, false, row))
			elog(ERROR, "recorded change of continuous view %u is missing", more->view);
		put_row(changes, more->marks[i], more->finals[i], row);
	}
	ExecDropSingleTupleTableSlot(row);
}

EddyChanges *
eddy_changes_unite(EddyChanges *first, EddyChanges *second)
{
	EddyChanges *changes = eddy_changes_make(first->view, first->cause, first->columns,
											 first->nshown, first->map->visible_column,
											 first->map->final_column);
	int			natts = first->desc->natts;

	if (second->desc->natts != natts)
		elog(ERROR, "changes of continuous view %u were recorded with different columns",
			 first->view);
	if (natts > first->nshown)
		set_columns(changes, CreateTupleDescCopy(first->desc), first->columns);

	append(changes, first);
	append(changes, second);
	/*
	 * their rows are locked by this transaction: what is kept of them can be written in this order
	 */
	if (first->log)
		eddy_change_log_write(first->log);
	if (second->log)
		eddy_change_log_write(second->log);
	return changes;
}

void
eddy_changes_clear(EddyChanges *changes)
{
	tuplestore_clear(changes->rows);
	changes->nrows = 0;
	if (changes->log)
		eddy_change_log_clear(changes->log);
}

void
eddy_changes_free(EddyChanges *changes)
{
	tuplestore_end(changes->rows);
	if (changes->log)
		eddy_change_log_free(changes->log);
	ExecDropSingleTupleTableSlot(changes->map->row);
	if (changes->marks)
	{
		pfree(changes->marks);
		pfree(changes->finals);
	}
	pfree(changes->columns);
	pfree(changes->map);
	pfree(changes);
}

/* ---- reading ---- */

EddyChangesReader *
eddy_changes_begin_read(EddyChanges *changes)
{
	EddyChangesReader *reader = palloc0(sizeof(EddyChangesReader));

	reader->changes = changes;
	reader->old_row = MakeSingleTupleTableSlot(changes->desc, &TTSOpsMinimalTuple);
	reader->new_row = MakeSingleTupleTableSlot(changes->desc, &TTSOpsMinimalTuple);
	tuplestore_select_read_pointer(changes->rows, 0);
	tuplestore_rescan(changes->rows);
	return reader;
}

static TupleTableSlot *
read_row(EddyChangesReader *reader, TupleTableSlot *slot)
{
	/* a copy: the tuplestore may free the row when the next one of an update is read */
	if (!tuplestore_gettupleslot(reader->changes->rows, true, true, slot))
		elog(ERROR, "recorded change of continuous view %u is missing", reader->changes->view);
	slot_getallattrs(slot);
	reader->next++;
	return slot;
}

bool
eddy_changes_next(EddyChangesReader *reader, EddyRowChange *change)
{
	const EddyChanges *changes = reader->changes;

	CHECK_FOR_INTERRUPTS();
	if (reader->next == changes->nrows)
		return false;
	change->op = changes->marks[reader->next];
	change->old_row = change->new_row = NULL;
	if (change->op == EDDY_CHANGE_OLD || change->op == EDDY_CHANGE_DELETE)
		change->old_row = read_row(reader, reader->old_row);
	if (change->op == EDDY_CHANGE_OLD)
		change->op = EDDY_CHANGE_NEW;
	if (change->op != EDDY_CHANGE_DELETE)
		change->new_row = read_row(reader, reader->new_row);
	change->final = changes->finals[reader->next - 1];
	return true;
}

void
eddy_changes_end_read(EddyChangesReader *reader)
{
	ExecDropSingleTupleTableSlot(reader->old_row);
	ExecDropSingleTupleTableSlot(reader->new_row);
	pfree(reader);
}

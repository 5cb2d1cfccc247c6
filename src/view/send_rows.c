/*-------------------------------------------------------------------------
 *
 * send_rows.c
 *    Sends all rows of views to a consumer, through its replication slot: eddy.send_snapshot.
 *
 * The rows are inserted into eddy._initial_row, and deleted again in the same transaction: the slot
 * receives them from the WAL. The output plugin of that slot sends them as rows of the views, which
 * it can as they are written by pg_eddy alone (cdc/initial_rows.c). Messages in the WAL would not
 * do, as every role can write them.
 *
 * The transaction locks the main state tables against writers. So all changes that the rows contain
 * have committed before it, and all others commit after it: the place of the rows in the stream of
 * changes is exact.
 *
 * Locking: ShareLock on the main state tables, in the order of the views, until the end of the
 * transaction. Memory: one row. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "closest_match.h"
#include "owner.h"
#include "view/plan.h"
#include "view/row_bytes.h"
#include "view/view.h"

/* ---- checks ---- */

static void
check_role(void)
{
	if (!superuser() && !has_rolreplication(GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to send rows to a replication slot"),
				 errdetail("The REPLICATION attribute is required, as for using the slot.")));
	if (!XLogLogicalInfoActive())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rows can only be sent to a replication slot if \"wal_level\" is \"logical\"")));
}

/* Raises an error unless there is a slot of this database whose plugin sends such rows. */
static void
check_slot(const char *slot)
{
	EddyClosestMatch closest;
	bool		found = false;

	eddy_closest_init(&closest, slot);
	SPI_connect();
	if (SPI_execute("SELECT slot_name::text FROM pg_catalog.pg_replication_slots"
					" WHERE plugin = 'pg_eddy_cdc' AND database = current_database()", true,
					0) != SPI_OK_SELECT)
		elog(ERROR, "could not read replication slots");
	for (uint64 i = 0; i < SPI_processed && !found; i++)
	{
		char	   *name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);

		found = strcmp(name, slot) == 0;
		eddy_closest_update(&closest, name);
	}
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("replication slot \"%s\" does not exist", slot),
				 errdetail("Rows can be sent to slots of this database with output plugin \"pg_eddy_cdc\"."),
				 closest.match ? errhint("Perhaps you meant the slot \"%s\".", closest.match) : 0));
	SPI_finish();
}

/* ---- writing ---- */

/* One call. */
typedef struct Sending
{
	Relation	rel;			/* eddy._initial_row */
	NameData	slot;
	MemoryContext mcxt;			/* of the current row */
} Sending;

/* Columns of eddy._initial_row, from 1, as in the install script. */
enum
{
	ROW_SLOT = 1,
	ROW_STATE_TABLE,
	ROW_LAYOUT,
	ROW_CONTENT,
	ROW_NCOLUMNS = ROW_CONTENT
};

/* Inserts one row. content NULL: those of a view begin. */
static void
insert_row(Sending *sending, Oid table, int64 layout, const bytea *content)
{
	Datum		values[ROW_NCOLUMNS];
	bool		nulls[ROW_NCOLUMNS] = {false};

	values[ROW_SLOT - 1] = NameGetDatum(&sending->slot);
	values[ROW_STATE_TABLE - 1] = ObjectIdGetDatum(table);
	values[ROW_LAYOUT - 1] = Int64GetDatum(layout);
	values[ROW_CONTENT - 1] = PointerGetDatum(content);
	nulls[ROW_CONTENT - 1] = (content == NULL);
	simple_heap_insert(sending->rel,
					   heap_form_tuple(RelationGetDescr(sending->rel), values, nulls));
}

static int64
send_view(Sending *sending, const EddyView *view)
{
	/* with the lock held, it sees all that will have committed before this transaction */
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	Relation	rel = table_open(view->state_table, NoLock);
	EddyRowColumns *columns = eddy_row_columns(view, RelationGetDescr(rel));
	TupleTableSlot *row = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	int64		count = 0;

	insert_row(sending, view->state_table, columns->layout, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, row))
	{
		MemoryContext old = MemoryContextSwitchTo(sending->mcxt);

		CHECK_FOR_INTERRUPTS();
		if (eddy_row_is_visible(view, row))
		{
			if (eddy_row_is_large(columns, row))
				ereport(ERROR,
						(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						 errmsg("a row of continuous view \"%s\" is too large to be sent",
								get_rel_name(view->relid))));
			insert_row(sending, view->state_table, columns->layout,
					   eddy_row_bytes(columns, row, true));
			count++;
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(sending->mcxt);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(row);
	table_close(rel, NoLock);
	UnregisterSnapshot(snapshot);
	return count;
}

static int
compare_views(const ListCell *a, const ListCell *b)
{
	Oid			left = ((const EddyView *) lfirst(a))->relid;
	Oid			right = ((const EddyView *) lfirst(b))->relid;

	return left < right ? -1 : left > right;
}

/* The views, each once, in the order of their locks, with their main state tables locked. */
static List *
lock_views(const Oid *relids, int count)
{
	List	   *views = NIL;
	List	   *locked = NIL;
	ListCell   *lc;

	for (int i = 0; i < count; i++)
	{
		EddyView   *view = eddy_view_get(relids[i]);

		eddy_view_check_reader(view);
		views = lappend(views, view);
	}
	list_sort(views, compare_views);
	foreach(lc, views)
	{
		EddyView   *view = lfirst(lc);

		if (locked && ((EddyView *) llast(locked))->relid == view->relid)
			continue;
		LockRelationOid(view->state_table, ShareLock);
		/* it may have been dropped or replaced meanwhile */
		view = eddy_catalog_get_view(view->relid);
		if (view == NULL || view->state_table != ((EddyView *) lfirst(lc))->state_table)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("continuous view was dropped or replaced concurrently")));
		locked = lappend(locked, view);
	}
	return locked;
}

/*
 * eddy_view_send_rows sends the rows of views to a slot, for a role that may use slots and read the
 * views. Returns their number.
 */
int64
eddy_view_send_rows(const char *slot, const Oid *relids, int count)
{
	Sending		sending;
	EddyOwnerSwitch save;
	int64		nrows = 0;
	List	   *views;
	ListCell   *lc;

	check_role();
	check_slot(slot);
	views = lock_views(relids, count);

	namestrcpy(&sending.slot, slot);
	sending.rel = table_open(get_relname_relid("_initial_row", eddy_catalog_schema()),
							 RowExclusiveLock);
	sending.mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy initial row",
										 ALLOCSET_DEFAULT_SIZES);
	foreach(lc, views)
		nrows += send_view(&sending, lfirst(lc));
	MemoryContextDelete(sending.mcxt);
	table_close(sending.rel, NoLock);
	CommandCounterIncrement();

	/* those of this transaction: others do not leave any */
	eddy_owner_become(&save, eddy_catalog_extension_owner());
	SPI_connect();
	if (SPI_execute("DELETE FROM eddy._initial_row", false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete initial rows");
	SPI_finish();
	eddy_owner_end(&save);
	return nrows;
}

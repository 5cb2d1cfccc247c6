/*-------------------------------------------------------------------------
 *
 * collect_delete.c
 *    Removing the kept values of groups that are deleted.
 *
 * Groups are deleted by users, through the public view. A trigger on the state table deletes the
 * values after such a DELETE. It works on the tables alone and needs no plan of the view, so that
 * groups of a suspended view can be deleted. Values are also deleted when windows are closed or
 * expire (closing.c).
 *
 * If the trigger is disabled, values remain as unused rows, but are not counted again: the identity
 * of a group that is created later is another one.
 *
 * Locking: RowExclusiveLock on the tables of values; the values are protected by the lock on the
 * group's row, which the caller has deleted. Memory: the caller's. A crash leaves nothing: all of
 * it is part of the caller's transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "compat.h"
#include "view/collect.h"

PG_FUNCTION_INFO_V1(eddy_delete_values);

/* A unique index of a table of values whose first column is the identity. */
static Relation
open_index(Relation rel)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), RowExclusiveLock);

		if (index->rd_index->indisunique && index->rd_index->indisvalid &&
			index->rd_index->indkey.values[0] == 1)
			return index;
		index_close(index, RowExclusiveLock);
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("state table \"%s\" is missing the unique index over its key",
					RelationGetRelationName(rel))));
	return NULL;				/* keep compiler quiet */
}

static void
delete_row(Relation rel, TupleTableSlot *row)
{
	TM_FailureData tmfd;
	TM_Result	result = table_tuple_delete(rel, &row->tts_tid, GetCurrentCommandId(true),
											GetActiveSnapshot(), InvalidSnapshot, true, &tmfd,
											false);

	if (result != TM_Ok)
		elog(ERROR, "state table \"%s\" was written although its group is locked",
			 RelationGetRelationName(rel));
}

/* Deletes the values of groups, given by their identities, from one table. */
static void
delete_values(Oid table, List *identities)
{
	Relation	rel = table_open(table, RowExclusiveLock);
	Relation	index = open_index(rel);
	TupleTableSlot *row = table_slot_create(rel, NULL);
	IndexScanDesc scan = eddy_compat_index_beginscan(rel, index, GetActiveSnapshot(), 1);
	ListCell   *lc;

	foreach(lc, identities)
	{
		ScanKeyData key;

		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, PointerGetDatum(lfirst(lc)));
		index_rescan(scan, &key, 1, NULL, 0);
		while (index_getnext_slot(scan, ForwardScanDirection, row))
		{
			CHECK_FOR_INTERRUPTS();
			delete_row(rel, row);
		}
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(row);
	index_close(index, NoLock);
	table_close(rel, NoLock);
}

/*
 * eddy_collect_forget deletes the values of groups whose own rows the current transaction has
 * deleted or locked, from tables of values: List of Oid. identities is a List of pointers to UUIDs.
 */
void
eddy_collect_forget(List *tables, List *identities)
{
	ListCell   *lc;

	if (identities == NIL)
		return;
	PushActiveSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() :
					   GetLatestSnapshot());
	foreach(lc, tables)
		delete_values(lfirst_oid(lc), identities);
	PopActiveSnapshot();
}

/*
 * eddy._delete_values(id column): AFTER DELETE trigger, for each statement, of the main state
 * table of a view that keeps values.
 */
Datum
eddy_delete_values(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	EddyView   *view;
	TupleTableSlot *row;
	AttrNumber	column;
	List	   *identities = NIL;

	if (!CALLED_AS_TRIGGER(fcinfo) || trigger->tg_oldtable == NULL ||
		trigger->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager",
						"eddy._delete_values")));
	view = eddy_catalog_find_view(RelationGetRelid(trigger->tg_relation));
	column = get_attnum(RelationGetRelid(trigger->tg_relation), trigger->tg_trigger->tgargs[0]);
	if (view == NULL || column == InvalidAttrNumber)
		PG_RETURN_POINTER(NULL);
	row = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation), &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(trigger->tg_oldtable, true, false, row))
	{
		bool		isnull;
		Datum		id = slot_getattr(row, column, &isnull);

		if (!isnull)
			identities = lappend(identities,
								 DatumGetPointer(datumCopy(id, false, UUID_LEN)));
	}
	ExecDropSingleTupleTableSlot(row);
	eddy_collect_forget(list_copy_tail(view->state_tables, 1), identities);
	PG_RETURN_POINTER(NULL);	/* not an SQL null: it is a trigger */
}

/*-------------------------------------------------------------------------
 *
 * fill.c
 *    The first content of a continuous view: from the rows that its stream has staged.
 *
 * The staged rows, users' own and those of the segments, become one batch, with which the view is
 * maintained as with any other: a row on which the view fails becomes a dead letter, and the rights
 * and policies are those of the view's owner. Rows that the stream has rejected are still in its
 * table and are omitted again. All rows were counted when they were added.
 *
 * Locking: the caller has locked writers out; AccessShareLock on the segments. Memory: the
 * caller's; the rows spill to a temporary file beyond work_mem.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "catalog/pg_inherits.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "apply/steps.h"
#include "view/view.h"

/* No input delivers these rows; the batch is over with its dead letters. */
static const EddyInput staged_rows = {0};

/* Adds the rows of the stream's table or of one of its segments, in the stream's shape. */
static void
read_rows(EddyBatch *batch, Relation rel)
{
	TupleConversionMap *map = convert_tuples_by_name(RelationGetDescr(rel), batch->tupdesc);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TupleTableSlot *converted = NULL;
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);

	if (map)
		converted = MakeSingleTupleTableSlot(batch->tupdesc, &TTSOpsVirtual);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		tuplestore_puttupleslot(batch->store, map ?
								execute_attr_map_slot(map->attrMap, slot, converted) : slot);
		batch->nrows++;
	}
	table_endscan(scan);
	if (converted)
		ExecDropSingleTupleTableSlot(converted);
	ExecDropSingleTupleTableSlot(slot);
}

void
eddy_apply_fill(Oid view, bool staged, List *changes)
{
	EddyView   *row = eddy_catalog_get_view(view);
	EddyStream *stream = row ? eddy_catalog_get_stream(row->stream) : NULL;
	EddyApply	apply;
	EddyBatch  *batch = &apply.batch;
	EddyEventTime event_time;
	EddyRowCounts counts = {0};
	Relation	rel;
	ListCell   *lc;

	if (stream == NULL)
		elog(ERROR, "continuous view %u does not exist", view);
	rel = table_open(row->stream, AccessShareLock);
	event_time = eddy_event_time_resolve(stream, RelationGetDescr(rel));
	eddy_apply_begin(&apply, row->stream, RelationGetDescr(rel), CurrentMemoryContext);
	apply.input = &staged_rows;
	apply.stream = stream;
	apply.event_time = &event_time;
	apply.counts = &counts;
	batch->store = tuplestore_begin_heap(false, false, work_mem);
	/* the first content of a view: nothing of it was final yet */
	batch->judge = NULL;

	/* rows that were committed while the lock was waited for are staged as well */
	PushActiveSnapshot(GetLatestSnapshot());
	if (staged)
	{
		foreach(lc, find_all_inheritors(row->stream, AccessShareLock, NULL))
		{
			Relation	part = table_open(lfirst_oid(lc), NoLock);

			read_rows(batch, part);
			table_close(part, NoLock);
		}
		eddy_event_time_take(&apply);
		/* these have their dead letters already */
		apply.rejections = NIL;
	}
	changes = list_concat(changes, eddy_view_fill(view, batch));
	eddy_dead_letter_write(&apply);
	eddy_apply_changes(changes, false);
	eddy_close_request(row->stream);
	PopActiveSnapshot();
	tuplestore_end(batch->store);
	table_close(rel, NoLock);
}

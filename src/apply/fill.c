/*-------------------------------------------------------------------------
 *
 * fill.c
 *    The first content of a continuous view: from the rows that its stream has staged.
 *
 * The staged rows, users' own and those of the segments, become one batch, which the view is
 * maintained with like with any other. So what holds for batches holds here: a row that the view
 * fails on is a dead letter, and the rights and policies are those of the view's owner.
 * Rows that the stream had refused are still in its table; they are left out again.
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

#include "apply/apply.h"
#include "apply/reject.h"
#include "view/view.h"

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
eddy_apply_fill(Oid view, bool staged)
{
	EddyView   *row = eddy_catalog_get_view(view);
	EddyStream *stream = row ? eddy_catalog_get_stream(row->stream) : NULL;
	EddyBatch	batch = {0};
	Relation	rel;
	ListCell   *lc;

	if (stream == NULL)
		elog(ERROR, "continuous view %u is gone", view);
	rel = table_open(row->stream, AccessShareLock);
	batch.stream = row->stream;
	batch.tupdesc = RelationGetDescr(rel);
	batch.natts = batch.tupdesc->natts;
	batch.mcxt = CurrentMemoryContext;
	batch.store = tuplestore_begin_heap(false, false, work_mem);

	/* rows that were committed while the lock was waited for are staged, too */
	PushActiveSnapshot(GetLatestSnapshot());
	if (staged)
	{
		foreach(lc, find_all_inheritors(row->stream, AccessShareLock, NULL))
		{
			Relation	part = table_open(lfirst_oid(lc), NoLock);

			read_rows(&batch, part);
			table_close(part, NoLock);
		}
		(void) eddy_reject_null_event_times(&batch, rel, stream);
	}
	eddy_view_fill(view, &batch);
	if (batch.view_rejections)
		eddy_reject_write(&batch, rel, batch.view_rejections);
	PopActiveSnapshot();
	tuplestore_end(batch.store);
	table_close(rel, NoLock);
}

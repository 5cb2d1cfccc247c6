/*-------------------------------------------------------------------------
 *
 * rows_since.c
 *    What transactions have changed in a table since a snapshot was taken.
 *
 * The whole table is read, but of nearly all rows only the header: a row whose transaction has
 * ended before the first snapshot, and that has not been deleted, is the same in both.
 *
 * Locking: the caller has locked the table; each page is locked shortly. Memory: a slot. Needs
 * tables with the access method "heap", which streams, segments and state tables have.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "rows_since.h"

typedef bool (*RowTest) (Relation rel, TupleTableSlot *row, Snapshot since, Snapshot now,
						 bool *present);

static HeapTupleHeader
get_header(TupleTableSlot *row)
{
	Assert(TTS_IS_BUFFERTUPLE(row));
	return ((BufferHeapTupleTableSlot *) row)->base.tuple->t_data;
}

/* True if the row was inserted by a transaction that only the second snapshot sees. */
static bool
was_inserted(Relation rel pg_attribute_unused(), TupleTableSlot *row, Snapshot since, Snapshot now,
			 bool *present)
{
	HeapTupleHeader header = get_header(row);
	TransactionId xmin = HeapTupleHeaderGetRawXmin(header);

	*present = true;
	/* frozen, or a new version of a row */
	if (HeapTupleHeaderXminFrozen(header) || !TransactionIdIsNormal(xmin) ||
		(header->t_infomask & HEAP_UPDATED) != 0 || TransactionIdPrecedes(xmin, since->xmin))
		return false;
	return !TransactionIdIsCurrentTransactionId(xmin) && XidInMVCCSnapshot(xmin, since) &&
		!XidInMVCCSnapshot(xmin, now) && TransactionIdDidCommit(xmin);
}

/* True if one of the snapshots sees the row, and the other does not. */
static bool
was_changed(Relation rel, TupleTableSlot *row, Snapshot since, Snapshot now, bool *present)
{
	HeapTupleHeader header = get_header(row);

	if ((header->t_infomask & HEAP_XMAX_INVALID) != 0 &&
		(HeapTupleHeaderXminFrozen(header) ||
		 ((header->t_infomask & HEAP_XMIN_COMMITTED) != 0 &&
		  TransactionIdPrecedes(HeapTupleHeaderGetRawXmin(header), since->xmin))))
		return false;
	*present = table_tuple_satisfies_snapshot(rel, row, now);
	return *present != table_tuple_satisfies_snapshot(rel, row, since);
}

static int64
scan(Relation rel, Snapshot since, Snapshot now, RowTest test, EddyRowFunction function, void *arg)
{
	TupleTableSlot *row = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, SnapshotAny, 0, NULL);
	int64		count = 0;
	bool		present;

	while (table_scan_getnextslot(scan, ForwardScanDirection, row))
	{
		CHECK_FOR_INTERRUPTS();
		if (!test(rel, row, since, now, &present))
			continue;
		slot_getallattrs(row);
		function(row, present, arg);
		count++;
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(row);
	return count;
}

int64
eddy_rows_inserted_since(Relation rel, Snapshot since, Snapshot now, EddyRowFunction function,
						 void *arg)
{
	return scan(rel, since, now, was_inserted, function, arg);
}

int64
eddy_rows_changed_since(Relation rel, Snapshot since, Snapshot now, EddyRowFunction function,
						void *arg)
{
	return scan(rel, since, now, was_changed, function, arg);
}

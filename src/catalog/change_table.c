/*-------------------------------------------------------------------------
 *
 * change_table.c
 *    Rows of eddy._change: changes of views that are kept for eddy.changes.
 *
 * Rows are inserted many at a time. They are read and removed with SQL, see view/change_read.c and
 * view/change_keep.c.
 *
 * Locking, memory and crash behaviour: see table.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "catalog/table.h"
#include "compat.h"

/* Rows that are inserted together at most. */
#define MAX_INSERTED 64

/* Columns of eddy._change, from 1, as in the install script. */
enum
{
	CHANGE_LOG = 1,
	CHANGE_POSITION,
	CHANGE_NUMBER,
	CHANGE_XID,
	CHANGE_AT,
	CHANGE_LAYOUT,
	CHANGE_OP,
	CHANGE_CONTENT,
	CHANGE_NCOLUMNS = CHANGE_CONTENT
};

const EddyTableDesc eddy_catalog_change_table = {EDDY_CATALOG_CHANGE, CHANGE_NCOLUMNS, NULL};

void
eddy_catalog_insert_changes(int64 log, int64 layout, const EddyChangeEntry *entries, int count)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_change_table);
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *rri = makeNode(ResultRelInfo);
	int64		position = nextval_internal(get_relname_relid("_change_position",
															  eddy_catalog_schema()), false);
	/* of the transaction, as snapshots show it to readers, not of a subtransaction */
	FullTransactionId xid = GetTopFullTransactionId();
	TimestampTz now = GetCurrentTimestamp();
	TupleTableSlot *slots[MAX_INSERTED];
	int			nslots = Min(count, MAX_INSERTED);

	InitResultRelInfo(rri, rel, 0, NULL, 0);
	ExecOpenIndices(rri, false);
	for (int i = 0; i < nslots; i++)
		slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);
	for (int start = 0; start < count; start += MAX_INSERTED)
	{
		int			n = Min(count - start, MAX_INSERTED);

		for (int i = 0; i < n; i++)
		{
			TupleTableSlot *slot = ExecClearTuple(slots[i]);
			const EddyChangeEntry *entry = &entries[start + i];

			memset(slot->tts_isnull, false, sizeof(bool) * CHANGE_NCOLUMNS);
			slot->tts_values[CHANGE_LOG - 1] = Int64GetDatum(log);
			slot->tts_values[CHANGE_POSITION - 1] = Int64GetDatum(position);
			slot->tts_values[CHANGE_NUMBER - 1] = Int32GetDatum(start + i);
			slot->tts_values[CHANGE_XID - 1] = FullTransactionIdGetDatum(xid);
			slot->tts_values[CHANGE_AT - 1] = TimestampTzGetDatum(now);
			slot->tts_values[CHANGE_LAYOUT - 1] = Int64GetDatum(layout);
			slot->tts_values[CHANGE_OP - 1] = CharGetDatum(entry->op);
			slot->tts_values[CHANGE_CONTENT - 1] = PointerGetDatum(entry->content);
			ExecStoreVirtualTuple(slot);
		}
		table_multi_insert(rel, slots, n, GetCurrentCommandId(true), 0, NULL);
		for (int i = 0; i < n; i++)
		{
			list_free(eddy_compat_insert_index_tuples(rri, slots[i], estate, false, false, NULL));
			ResetPerTupleExprContext(estate);
		}
	}
	for (int i = 0; i < nslots; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	ExecCloseIndices(rri);
	FreeExecutorState(estate);
	table_close(rel, NoLock);
}

/*-------------------------------------------------------------------------
 *
 * old_row.c
 *    Whether the WAL needs the old rows of updates.
 *
 * State tables have REPLICA IDENTITY FULL: consumers of changes need the old row, for "before", for
 * rows that HAVING starts or ceases to show, and to leave out updates that they cannot see. With
 * wal_level = logical that is half of the WAL of an update. Without a logical slot in the database
 * it is never read, so it is left out.
 *
 * That is exact. A slot never returns changes of a transaction whose ID was assigned before the
 * slot existed: decoding begins at a record of the running transactions that is written after the
 * slot was entered into shared memory, and waits for those that it lists. So the slots are searched
 * after the ID of the current transaction was assigned; what is found then holds until the
 * transaction ends. A slot that is created meanwhile does not return its changes. This includes
 * prepared transactions, which are running until they are committed.
 *
 * Servers that allow logical decoding on standbys (16 and later) do not know the slots there: old
 * rows are written as long as there is a slot of any kind, which standbys have. The setting
 * pg_eddy.log_old_rows is for standbys without one. The old rows of deletes are always written,
 * because they have the keys.
 *
 * The replica identity is a property of the table; changing that would need a lock against all
 * writers. What heap_update reads is its copy in the relation cache of this process, which is
 * changed during the call.
 *
 * Locking: ReplicationSlotControlLock, shared, once per transaction. No memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "settings.h"
#include "view/old_row.h"

/* What was found for a transaction. */
static FullTransactionId decided_for;	/* 0: none */
static bool needed = true;

/* True if a slot may return changes of this database. */
static bool
has_slot(void)
{
	bool		found = false;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots && !found; i++)
	{
		const ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];

		found = slot->in_use &&
			(slot->data.database == MyDatabaseId ||
			 (EDDY_COMPAT_STANDBYS_DECODE && slot->data.database == InvalidOid));
	}
	LWLockRelease(ReplicationSlotControlLock);
	return found;
}

/*
 * eddy_old_row_needed returns true if changes of the current transaction may be returned by a slot.
 */
bool
eddy_old_row_needed(void)
{
	FullTransactionId xid;

	if (!XLogLogicalInfoActive())
		return false;
	if (eddy_settings_log_old_rows != EDDY_LOG_OLD_ROWS_AUTO)
		return true;
	xid = GetTopFullTransactionId();
	if (!FullTransactionIdEquals(xid, decided_for))
	{
		needed = has_slot();
		decided_for = xid;
	}
	return needed;
}

static TM_Result
update(Relation rel, ItemPointer place, TupleTableSlot *row, bool *update_indexes)
{
	TM_FailureData tmfd;
	LockTupleMode lockmode;

	return eddy_compat_tuple_update(rel, place, row, GetCurrentCommandId(true),
									GetActiveSnapshot(), &tmfd, &lockmode, update_indexes);
}

TM_Result
eddy_old_row_update(Relation rel, ItemPointer place, TupleTableSlot *row, bool *update_indexes)
{
	TM_Result	result;

	if (rel->rd_rel->relreplident != REPLICA_IDENTITY_FULL || !XLogLogicalInfoActive() ||
		eddy_old_row_needed())
		return update(rel, place, row, update_indexes);
	rel->rd_rel->relreplident = REPLICA_IDENTITY_NOTHING;
	PG_TRY();
	{
		result = update(rel, place, row, update_indexes);
	}
	PG_FINALLY();
	{
		rel->rd_rel->relreplident = REPLICA_IDENTITY_FULL;
	}
	PG_END_TRY();
	return result;
}

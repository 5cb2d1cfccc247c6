/*-------------------------------------------------------------------------
 *
 * evict.c
 *    Keeping a database free of workers while it is dropped, renamed or copied.
 *
 * An entry in the array of evictions keeps workers of the database from being started. Then those
 * that run are terminated, and those still starting are cancelled by raising the generation of
 * their slots: so DROP DATABASE can be sure that no worker is still starting.
 *
 * Locking: see shared_state.c; the wait for workers to exit is on the condition variable that
 * every exit broadcasts. An entry is removed by the process that made it, at its exit at the
 * latest; after a crash there are none.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"

#include "compat.h"
#include "worker/shared_state.h"

#define EVICT_RECHECK 1000L		/* ms */

/* Removes entries of this process; true if there were any. The caller holds the lock. */
static bool
remove_evictions(bool all, Oid database)
{
	bool		found = false;

	for (int i = 0; i < eddy_shared->nevictions; i++)
	{
		EddyEviction *eviction = &eddy_shared_evictions[i];

		if (!eviction->used || eviction->pid != MyProcPid ||
			(!all && eviction->database != database))
			continue;
		eviction->used = false;
		found = true;
		if (!all)
			break;
	}
	return found;
}

/* The database of a removed entry can have workers again. The caller holds the lock. */
static void
request_workers(void)
{
	eddy_shared->check_all = true;
	eddy_shared_wake_launcher();
}

static void
evict_exit(int code pg_attribute_unused(), Datum arg pg_attribute_unused())
{
	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	if (remove_evictions(true, InvalidOid))
		request_workers();
	LWLockRelease(eddy_shared->lock);
}

static void
add_eviction(Oid database)
{
	bool		added = false;

	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < eddy_shared->nevictions && !added; i++)
	{
		EddyEviction *eviction = &eddy_shared_evictions[i];

		if (eviction->used)
			continue;
		eviction->used = true;
		eviction->database = database;
		eviction->pid = MyProcPid;
		added = true;
	}
	LWLockRelease(eddy_shared->lock);
	if (!added)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many concurrent worker evictions")));
}

/*
 * Terminates the workers of a database that run and cancels those still starting. Returns how
 * many have not exited yet.
 */
static int
end_workers(Oid database)
{
	int			left = 0;

	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < eddy_shared->nslots; i++)
	{
		EddySlot   *slot = &eddy_shared_slots[i];

		if (slot->state == EDDY_SLOT_FREE || slot->id.database != database)
			continue;
		if (slot->state == EDDY_SLOT_RUNNING)
		{
			kill(slot->pid, SIGTERM);
			left++;
		}
		else
			eddy_shared_free_slot(slot);
	}
	LWLockRelease(eddy_shared->lock);
	return left;
}

void
eddy_worker_evict(Oid database)
{
	static uint32 wait_event = 0;
	static bool registered = false;

	if (eddy_shared == NULL)
		return;
	if (!registered)
	{
		before_shmem_exit(evict_exit, (Datum) 0);
		registered = true;
	}
	add_eviction(database);

	PG_TRY();
	{
		ConditionVariablePrepareToSleep(&eddy_shared->exited);
		while (end_workers(database) > 0)
			(void) ConditionVariableTimedSleep(&eddy_shared->exited, EVICT_RECHECK,
											   eddy_compat_wait_event(&wait_event,
																	  "EddyEvict"));
		ConditionVariableCancelSleep();
	}
	PG_CATCH();
	{
		/* canceled: the caller has not reached the block in which it would readmit */
		ConditionVariableCancelSleep();
		eddy_worker_readmit(database);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
eddy_worker_readmit(Oid database)
{
	if (eddy_shared == NULL)
		return;
	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	if (remove_evictions(false, database))
		request_workers();
	LWLockRelease(eddy_shared->lock);
}

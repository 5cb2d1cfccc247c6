/*-------------------------------------------------------------------------
 *
 * wakeup.c
 *    Wake-ups: what was committed reaches the launcher and the workers of the database.
 *
 * A transaction that changes what workers do wakes them when it commits, once. A transaction
 * that is prepared wakes none; the session that executes COMMIT PREPARED does (hooks.c).
 *
 * Locking: see shared_state.c. Memory: nothing is kept. After a crash every worker starts
 * anyway and reads the catalogs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"

#include "worker/shared_state.h"
#include "worker/wakeup.h"

static bool wake_at_commit = false;
static bool wake_database_at_commit = false;

/*
 * Wakes all workers of a database, and the launcher: a database worker that runs may be about
 * to exit, having found no extension.
 */
static void
request_attention(Oid database)
{
	bool		known = false;

	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < eddy_shared->nslots; i++)
	{
		const EddySlot *slot = &eddy_shared_slots[i];

		if (slot->state == EDDY_SLOT_RUNNING && slot->id.database == database)
			eddy_shared_wake(slot->pid);
	}
	for (int i = 0; i < eddy_shared->nrequests; i++)
		known = known || eddy_shared->requests[i] == database;
	if (!known && eddy_shared->nrequests < EDDY_MAX_REQUESTS)
		eddy_shared->requests[eddy_shared->nrequests++] = database;
	else if (!known)
		eddy_shared->check_all = true;
	eddy_shared_wake_launcher();
	LWLockRelease(eddy_shared->lock);
}

List *
eddy_wakeup_take_requests(bool *all)
{
	Oid			taken[EDDY_MAX_REQUESTS];
	int			ntaken;
	List	   *result = NIL;

	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	*all = eddy_shared->check_all;
	ntaken = eddy_shared->nrequests;
	memcpy(taken, eddy_shared->requests, sizeof(Oid) * ntaken);
	eddy_shared->nrequests = 0;
	eddy_shared->check_all = false;
	LWLockRelease(eddy_shared->lock);

	for (int i = 0; i < ntaken; i++)
		result = lappend_oid(result, taken[i]);
	return result;
}

/* Wakes the worker of a database alone. */
static void
wake_database(Oid database)
{
	LWLockAcquire(eddy_shared->lock, LW_SHARED);
	eddy_shared_wake_database(database);
	LWLockRelease(eddy_shared->lock);
}

/* At COMMIT the changes are already visible to other sessions. */
static void
at_xact_end(XactEvent event, void *arg pg_attribute_unused())
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (wake_at_commit && eddy_shared)
				request_attention(MyDatabaseId);
			else if (wake_database_at_commit && eddy_shared)
				wake_database(MyDatabaseId);
			wake_at_commit = wake_database_at_commit = false;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			wake_at_commit = wake_database_at_commit = false;
			break;
		default:
			break;
	}
}

void
eddy_worker_wakeup_at_commit(void)
{
	wake_at_commit = true;
}

void
eddy_worker_wake_database_at_commit(void)
{
	wake_database_at_commit = true;
}

void
eddy_wakeup_init(void)
{
	RegisterXactCallback(at_xact_end, NULL);
}

static void
launcher_exit(int code pg_attribute_unused(), Datum arg pg_attribute_unused())
{
	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	eddy_shared->has_launcher = false;
	LWLockRelease(eddy_shared->lock);
}

void
eddy_wakeup_set_launcher(void)
{
	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	eddy_shared->has_launcher = true;
	eddy_shared->launcher = MyProcPid;
	LWLockRelease(eddy_shared->lock);
	on_shmem_exit(launcher_exit, (Datum) 0);
}

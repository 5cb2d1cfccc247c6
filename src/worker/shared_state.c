/*-------------------------------------------------------------------------
 *
 * shared_state.c
 *    What pg_eddy has in shared memory: slots of workers, requests, evictions.
 *
 * One array of slots, sized by max_worker_processes, and one of evictions, sized by
 * MaxBackends. The last slots are for database workers, the others for all other kinds, so
 * that no number of sources keeps a database from having its own worker. The memory holds neither
 * pointers to local memory nor descriptors: processes are known by pid, which an exiting
 * process removes itself, so a pid read under the lock is a live process of ours.
 *
 * Locking: one LWLock (tranche "Eddy") guards everything but the atomics of flush.c; it is held for
 * loops over the arrays only, never while waiting.
 *
 * After a crash of the server the memory is reinitialized and all slots are free.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"

#include "compat.h"
#include "worker/shared_state.h"

#define DATABASE_SLOTS 256		/* databases whose worker runs, or has a reason not to */

EddySharedState *eddy_shared = NULL;
EddySlot   *eddy_shared_slots = NULL;
EddyEviction *eddy_shared_evictions = NULL;

static shmem_request_hook_type prev_shmem_request = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;

int
eddy_shared_database_slots(void)
{
	return Max(max_worker_processes, DATABASE_SLOTS);
}

/* Twice the workers that can run, for sources: the others wait, with a reason to show. */
static int
slot_count(void)
{
	return 2 * max_worker_processes + eddy_shared_database_slots();
}

static Size
shared_size(void)
{
	Size		size = MAXALIGN(sizeof(EddySharedState));

	size = add_size(size, MAXALIGN(mul_size(slot_count(), sizeof(EddySlot))));
	return add_size(size, mul_size(MaxBackends, sizeof(EddyEviction)));
}

static void
shmem_request(void)
{
	if (prev_shmem_request)
		prev_shmem_request();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("Eddy", 1);
}

static void
shmem_startup(void)
{
	bool		found;

	if (prev_shmem_startup)
		prev_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	eddy_shared = ShmemInitStruct("pg_eddy", shared_size(), &found);
	eddy_shared_slots = (EddySlot *) ((char *) eddy_shared + MAXALIGN(sizeof(EddySharedState)));
	eddy_shared_evictions = (EddyEviction *) ((char *) eddy_shared_slots +
											  MAXALIGN(slot_count() * sizeof(EddySlot)));
	if (!found)
	{
		memset(eddy_shared, 0, shared_size());
		eddy_shared->lock = &(GetNamedLWLockTranche("Eddy"))->lock;
		ConditionVariableInit(&eddy_shared->exited);
		pg_atomic_init_u64(&eddy_shared->flush_to, 0);
		pg_atomic_init_u32(&eddy_shared->flushing, 0);
		eddy_shared->nslots = slot_count();
		eddy_shared->nevictions = MaxBackends;
	}
	LWLockRelease(AddinShmemInitLock);
}

void
eddy_shared_init(void)
{
	prev_shmem_request = shmem_request_hook;
	shmem_request_hook = shmem_request;
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

/* eddy_shared_wake sets the latch of a process that was found in the shared state. */
void
eddy_shared_wake(int pid)
{
	PGPROC	   *proc = BackendPidGetProc(pid);

	/* the caller holds the lock, so the process has not passed its exit callback */
	if (proc)
		SetLatch(&proc->procLatch);
}

void
eddy_shared_wake_launcher(void)
{
	if (eddy_shared->has_launcher)
		eddy_shared_wake(eddy_shared->launcher);
}

/* Wakes the worker of the database alone. */
void
eddy_shared_wake_database(Oid database)
{
	for (int i = 0; i < eddy_shared->nslots; i++)
	{
		const EddySlot *slot = &eddy_shared_slots[i];

		if (slot->state == EDDY_SLOT_RUNNING && slot->id.database == database &&
			slot->id.kind == EDDY_WORKER_DATABASE)
			eddy_shared_wake(slot->pid);
	}
}

void
eddy_shared_free_slot(EddySlot *slot)
{
	uint32		generation = slot->generation + 1;

	memset(slot, 0, sizeof(EddySlot));
	slot->generation = generation;
}

bool
eddy_shared_is_evicted(Oid database)
{
	for (int i = 0; i < eddy_shared->nevictions; i++)
		if (eddy_shared_evictions[i].used && eddy_shared_evictions[i].database == database)
			return true;
	return false;
}

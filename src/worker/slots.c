/*-------------------------------------------------------------------------
 *
 * slots.c
 *    Which background workers run, in shared memory.
 *
 * One array of slots, sized by max_worker_processes, and one of evictions, sized by
 * MaxBackends. The first slots are for sources, the others for databases' own workers, so
 * that no number of sources keeps a database from having one. Neither holds pointers or descriptors: processes are known by
 * pid, which the exiting process itself takes out, so a pid read under the
 * lock is a live process of ours.
 *
 * Locking: one LWLock (tranche "Eddy") guards everything; it is held for loops over
 * the arrays only, never while waiting. Whoever waits for workers to go
 * sleeps on the condition variable, which every exit broadcasts.
 *
 * Between registering a worker and its first instruction there is no process
 * to see. The slot is then STARTING with a generation number, which the child
 * brings along: eviction and a starter's own exit raise the number, and a child that
 * finds another one leaves before it connects to any database.
 *
 * After a crash of the server the memory is made anew and all slots are free.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "settings.h"
#include "worker/slots.h"

#define RESTART_DELAY_MIN 1000L /* ms */
#define DATABASE_SLOTS 256		/* databases whose worker runs, or has a reason not to */
#define MAX_REQUESTS 32			/* more of them: all databases are looked at */
#define EVICT_RECHECK 1000L		/* ms */

typedef struct Slot
{
	/* guarded by the lock */
	EddySlotState state;
	uint32		generation;		/* raised whenever the slot changes hands */
	Oid			database;
	int32		source;
	int			pid;			/* of the worker, 0 unless RUNNING */
	int			starter;		/* pid of who started it */
	int			failures;		/* in a row */
	TimestampTz next_start;
	char		problem[128];
} Slot;

typedef struct Eviction
{
	Oid			database;		/* InvalidOid: free entry */
	int			pid;			/* who asked for it */
} Eviction;

typedef struct SharedState
{
	LWLock	   *lock;			/* immutable */
	ConditionVariable exited;	/* broadcast whenever a worker has gone */

	/* guarded by the lock */
	int			launcher;		/* pid, 0 if not running */
	bool		look_at_all;
	int			nrequests;
	Oid			requests[MAX_REQUESTS];
	int			nslots;			/* immutable */
	int			nevictions;		/* immutable */
} SharedState;

/* A worker that this process has registered and not seen running yet. */
typedef struct StartingWorker
{
	int			slot;
	uint32		generation;
	BackgroundWorkerHandle *handle;
} StartingWorker;

static SharedState *shared = NULL;
static Slot *slots = NULL;
static Eviction *evictions = NULL;

static shmem_request_hook_type prev_shmem_request = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;

static Slot *my_slot = NULL;	/* of a worker */
static bool finished = false;
static List *starting = NIL;	/* of StartingWorker */
static bool starter_callback_set = false;
static bool evict_callback_set = false;
static bool wake_at_commit = false;

/* ---- setting up ---- */

/* Twice the workers that can run: the others wait, with a reason to show. */
static int
source_slot_count(void)
{
	return 2 * max_worker_processes;
}

static int
slot_count(void)
{
	return source_slot_count() + Max(max_worker_processes, DATABASE_SLOTS);
}

static Size
shared_size(void)
{
	Size		size = MAXALIGN(sizeof(SharedState));

	size = add_size(size, MAXALIGN(mul_size(slot_count(), sizeof(Slot))));
	return add_size(size, mul_size(MaxBackends, sizeof(Eviction)));
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
	shared = ShmemInitStruct("pg_eddy", shared_size(), &found);
	slots = (Slot *) ((char *) shared + MAXALIGN(sizeof(SharedState)));
	evictions = (Eviction *) ((char *) slots + MAXALIGN(slot_count() * sizeof(Slot)));
	if (!found)
	{
		memset(shared, 0, shared_size());
		shared->lock = &(GetNamedLWLockTranche("Eddy"))->lock;
		ConditionVariableInit(&shared->exited);
		shared->nslots = slot_count();
		shared->nevictions = MaxBackends;
	}
	LWLockRelease(AddinShmemInitLock);
}

/* ---- latches and wake-ups ---- */

/* Caller holds the lock, so the process has not passed its exit callback. */
static void
wake_process(int pid)
{
	PGPROC	   *proc = pid ? BackendPidGetProc(pid) : NULL;

	if (proc)
		SetLatch(&proc->procLatch);
}

bool
eddy_slots_wake(Oid database)
{
	bool		found = false;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->nslots; i++)
	{
		if (slots[i].state != EDDY_SLOT_RUNNING || slots[i].database != database)
			continue;
		wake_process(slots[i].pid);
		found = found || slots[i].source == 0;
	}
	LWLockRelease(shared->lock);
	return found;
}

/*
 * Wakes everybody who looks after a database. The launcher is told even if the database
 * has a worker: it may be about to leave, having found no extension.
 */
static void
request_attention(Oid database)
{
	bool		known = false;

	(void) eddy_slots_wake(database);
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nrequests; i++)
		known = known || shared->requests[i] == database;
	if (!known && shared->nrequests < MAX_REQUESTS)
		shared->requests[shared->nrequests++] = database;
	else if (!known)
		shared->look_at_all = true;
	wake_process(shared->launcher);
	LWLockRelease(shared->lock);
}

List *
eddy_slots_take_requests(bool *all)
{
	Oid			taken[MAX_REQUESTS];
	int			ntaken;
	List	   *result = NIL;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	*all = shared->look_at_all;
	ntaken = shared->nrequests;
	memcpy(taken, shared->requests, sizeof(Oid) * ntaken);
	shared->nrequests = 0;
	shared->look_at_all = false;
	LWLockRelease(shared->lock);

	for (int i = 0; i < ntaken; i++)
		result = lappend_oid(result, taken[i]);
	return result;
}

/*
 * What was committed is visible to others by now. A transaction that prepares wakes no
 * worker: whoever executes COMMIT PREPARED does, see hooks.c.
 */
static void
at_xact_end(XactEvent event, void *arg pg_attribute_unused())
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (wake_at_commit && shared)
				request_attention(MyDatabaseId);
			wake_at_commit = false;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			wake_at_commit = false;
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

/* ---- starters ---- */

static void
launcher_exit(int code pg_attribute_unused(), Datum arg pg_attribute_unused())
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher = 0;
	LWLockRelease(shared->lock);
}

void
eddy_slots_set_launcher(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher = MyProcPid;
	LWLockRelease(shared->lock);
	on_shmem_exit(launcher_exit, (Datum) 0);
}

List *
eddy_slots_list(Oid database)
{
	EddySlotView *views = palloc(sizeof(EddySlotView) * shared->nslots);
	List	   *result = NIL;
	int			count = 0;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->nslots; i++)
	{
		const Slot *slot = &slots[i];

		if (slot->state == EDDY_SLOT_FREE)
			continue;
		if (OidIsValid(database) ? slot->database != database || slot->source == 0 :
			slot->source != 0)
			continue;
		views[count].database = slot->database;
		views[count].source = slot->source;
		views[count].state = slot->state;
		views[count].next_start = slot->next_start;
		count++;
	}
	LWLockRelease(shared->lock);
	for (int i = 0; i < count; i++)
		result = lappend(result, &views[i]);
	return result;
}

static int
find_slot(Oid database, int32 source)
{
	for (int i = 0; i < shared->nslots; i++)
		if (slots[i].state != EDDY_SLOT_FREE && slots[i].database == database &&
			slots[i].source == source)
			return i;
	return -1;
}

static bool
is_evicted(Oid database)
{
	for (int i = 0; i < shared->nevictions; i++)
		if (evictions[i].database == database)
			return true;
	return false;
}

static void
free_slot(Slot *slot)
{
	uint32		generation = slot->generation + 1;

	memset(slot, 0, sizeof(Slot));
	slot->generation = generation;
}

/* Back-off: 1 s, 2 s, 4 s ... up to the setting, 25 % more or less, so that a herd spreads. */
static long
next_delay(Slot *slot)
{
	long		limit = eddy_settings_restart_delay_max * 1000L;
	long		delay = RESTART_DELAY_MIN << Min(slot->failures, 16);

	slot->failures++;
	delay = Min(delay, limit);
	return (long) (delay * (0.75 + 0.5 * pg_prng_double(&pg_global_prng_state)));
}

static void
slot_failed(Slot *slot, const char *problem)
{
	slot->state = EDDY_SLOT_FAILED;
	slot->generation++;
	slot->pid = 0;
	slot->next_start = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), next_delay(slot));
	strlcpy(slot->problem, problem, sizeof(slot->problem));
}

/* A starter that goes gives up what it has registered: those children will leave at once. */
static void
starter_exit(int code pg_attribute_unused(), Datum arg pg_attribute_unused())
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nslots; i++)
		if (slots[i].state == EDDY_SLOT_STARTING && slots[i].starter == MyProcPid)
			free_slot(&slots[i]);
	LWLockRelease(shared->lock);
}

/* Number of sources of a database that may be consumed at the same time. */
static int
database_limit(void)
{
	if (eddy_settings_max_workers_per_database >= 0)
		return eddy_settings_max_workers_per_database;
	return Max(max_worker_processes / 2, 1);
}

/*
 * Why no source of the database may be started now, or NULL. The words do not change while
 * the settings do not: they are written to a table when they do.
 */
static const char *
refuse_source(Oid database, char *reason, size_t size)
{
	int			total = 1;		/* the launcher */
	int			active = 0;
	int			failed = 0;
	int			limit = database_limit();

	for (int i = 0; i < shared->nslots; i++)
	{
		bool		runs = slots[i].state == EDDY_SLOT_STARTING ||
			slots[i].state == EDDY_SLOT_RUNNING;

		if (runs)
			total++;
		if (slots[i].database != database || slots[i].source == 0)
			continue;
		if (runs)
			active++;
		else if (slots[i].state == EDDY_SLOT_FAILED)
			failed++;
	}
	if (active >= limit)
		snprintf(reason, size,
				 "the database has %d source workers, all that pg_eddy.max_workers_per_database allows",
				 limit);
	else if (failed >= limit)
		snprintf(reason, size,
				 "%d other sources of the database have failed and wait to be started again", limit);
	else if (total >= max_worker_processes - eddy_settings_reserved_worker_processes)
		snprintf(reason, size,
				 "no background worker is left: max_worker_processes = %d, pg_eddy.reserved_worker_processes = %d",
				 max_worker_processes, eddy_settings_reserved_worker_processes);
	else
		return NULL;
	return reason;
}

/*
 * Takes a slot for (database, source) and makes it STARTING. Returns its index, -1 if there
 * is nothing to do, -2 if there is none, with the reason.
 */
static int
claim_slot(Oid database, int32 source, char *reason, size_t size)
{
	int			i = find_slot(database, source);
	int			first = source == 0 ? source_slot_count() : 0;
	int			last = source == 0 ? shared->nslots : source_slot_count();

	if (is_evicted(database))
		return -1;
	if (i >= 0 && slots[i].state != EDDY_SLOT_FAILED && slots[i].state != EDDY_SLOT_DONE)
		return -1;
	if (i >= 0 && slots[i].next_start > GetCurrentTimestamp())
		return -1;
	/* one that has failed shows its own reason, and keeps its slot */
	if (source != 0 && refuse_source(database, reason, size) != NULL)
		return i >= 0 && slots[i].state == EDDY_SLOT_FAILED ? -1 : -2;
	for (int j = first; i < 0 && j < last; j++)
		if (slots[j].state == EDDY_SLOT_FREE)
			i = j;
	if (i < 0)
		return -2;
	slots[i].state = EDDY_SLOT_STARTING;
	slots[i].generation++;
	slots[i].database = database;
	slots[i].source = source;
	slots[i].pid = 0;
	slots[i].starter = MyProcPid;
	return i;
}

static BackgroundWorkerHandle *
register_worker(int i, uint32 generation, Oid database, int32 source)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "pg_eddy", BGW_MAXLEN);
	if (source == 0)
	{
		strlcpy(worker.bgw_function_name, "eddy_database_worker_main", BGW_MAXLEN);
		snprintf(worker.bgw_name, BGW_MAXLEN, "eddy database worker for database %u", database);
		strlcpy(worker.bgw_type, "eddy database worker", BGW_MAXLEN);
	}
	else
	{
		strlcpy(worker.bgw_function_name, "eddy_source_worker_main", BGW_MAXLEN);
		snprintf(worker.bgw_name, BGW_MAXLEN, "eddy source worker %d", source);
		strlcpy(worker.bgw_type, "eddy source worker", BGW_MAXLEN);
	}
	worker.bgw_main_arg = Int32GetDatum(i);
	memcpy(worker.bgw_extra, &generation, sizeof(generation));
	worker.bgw_notify_pid = MyProcPid;
	return RegisterDynamicBackgroundWorker(&worker, &handle) ? handle : NULL;
}

const char *
eddy_slots_start(Oid database, int32 source)
{
	static char reason[sizeof(slots->problem)];
	MemoryContext old_context;
	BackgroundWorkerHandle *handle;
	StartingWorker *worker;
	uint32		generation = 0;
	int			i;

	if (!starter_callback_set)
	{
		before_shmem_exit(starter_exit, (Datum) 0);
		starter_callback_set = true;
	}
	snprintf(reason, sizeof(reason),
			 "all %d background worker slots are in use (max_worker_processes)",
			 max_worker_processes);
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	i = claim_slot(database, source, reason, sizeof(reason));
	if (i >= 0)
		generation = slots[i].generation;
	LWLockRelease(shared->lock);
	if (i < 0)
		return i == -2 ? reason : NULL;

	old_context = MemoryContextSwitchTo(TopMemoryContext);
	handle = register_worker(i, generation, database, source);
	if (handle)
	{
		worker = palloc(sizeof(StartingWorker));
		worker->slot = i;
		worker->generation = generation;
		worker->handle = handle;
		starting = lappend(starting, worker);
	}
	MemoryContextSwitchTo(old_context);
	if (handle)
		return NULL;

	/* a source's starter shows the reason; those that wait need no slot */
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (slots[i].generation == generation && source != 0)
		free_slot(&slots[i]);
	else if (slots[i].generation == generation)
		slot_failed(&slots[i], reason);
	LWLockRelease(shared->lock);
	return reason;
}

void
eddy_slots_check_starting(void)
{
	ListCell   *lc;

	foreach(lc, starting)
	{
		StartingWorker *worker = lfirst(lc);
		Slot	   *slot = &slots[worker->slot];
		pid_t		pid;
		bool		stopped;
		bool		waiting;

		stopped = GetBackgroundWorkerPid(worker->handle, &pid) == BGWH_STOPPED;
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		waiting = slot->generation == worker->generation && slot->state == EDDY_SLOT_STARTING;
		if (waiting && stopped)
		{
			slot_failed(slot, "the background worker could not be started");
			waiting = false;
		}
		LWLockRelease(shared->lock);
		if (!waiting)
		{
			pfree(worker->handle);
			pfree(worker);
			starting = foreach_delete_current(starting, lc);
		}
	}
}

void
eddy_slots_release(Oid database, int32 source)
{
	int			i;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	i = find_slot(database, source);
	if (i >= 0 && (slots[i].state == EDDY_SLOT_FAILED || slots[i].state == EDDY_SLOT_DONE))
		free_slot(&slots[i]);
	LWLockRelease(shared->lock);
}

/* ---- workers ---- */

static void
worker_exit(int code, Datum arg pg_attribute_unused())
{
	int			starter = 0;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (finished || code == 0)
	{
		my_slot->state = EDDY_SLOT_DONE;
		my_slot->generation++;
		my_slot->pid = 0;
		my_slot->failures = 0;
		my_slot->problem[0] = '\0';
		/* should it be wanted all the same, then not in a tight loop */
		my_slot->next_start = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														  RESTART_DELAY_MIN);
	}
	else
		slot_failed(my_slot, "the background worker ended with an error, see the server log");
	starter = my_slot->starter;
	/* nobody looks after what an evicted database had: it starts afresh afterwards */
	if (is_evicted(my_slot->database))
		free_slot(my_slot);
	wake_process(starter);
	wake_process(shared->launcher);
	LWLockRelease(shared->lock);
	ConditionVariableBroadcast(&shared->exited);
}

void
eddy_slots_attach(Datum arg, Oid *database, int32 *source)
{
	Slot	   *slot = &slots[DatumGetInt32(arg)];
	uint32		generation;
	bool		mine;

	memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof(generation));
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	mine = slot->generation == generation && slot->state == EDDY_SLOT_STARTING;
	if (mine)
	{
		slot->state = EDDY_SLOT_RUNNING;
		slot->pid = MyProcPid;
		slot->problem[0] = '\0';
		*database = slot->database;
		*source = slot->source;
		my_slot = slot;
	}
	LWLockRelease(shared->lock);
	if (!mine)
		proc_exit(0);

	/*
	 * Registered before the process joins the array of backends, so run after
	 * it has left: whoever sees the slot without a pid sees no backend either.
	 */
	on_shmem_exit(worker_exit, (Datum) 0);
}

void
eddy_slots_finish(void)
{
	finished = true;
}

void
eddy_slots_succeed(void)
{
	/* read without the lock: only this process raises it while it runs */
	if (my_slot->failures == 0 && my_slot->problem[0] == '\0')
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	my_slot->failures = 0;
	my_slot->problem[0] = '\0';
	LWLockRelease(shared->lock);
}

long
eddy_slots_fail(void)
{
	long		delay;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	delay = next_delay(my_slot);
	LWLockRelease(shared->lock);
	return delay;
}

EddyWorkerInfo *
eddy_worker_list(int *count)
{
	EddyWorkerInfo *result;

	*count = 0;
	if (shared == NULL)
		return NULL;
	result = palloc0(sizeof(EddyWorkerInfo) * shared->nslots);
	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->nslots; i++)
	{
		const Slot *slot = &slots[i];
		EddyWorkerInfo *info = &result[*count];

		if (slot->state == EDDY_SLOT_FREE || slot->state == EDDY_SLOT_DONE)
			continue;
		info->database = slot->database;
		info->source = slot->source;
		info->pid = slot->pid;
		strlcpy(info->problem, slot->problem, sizeof(info->problem));
		(*count)++;
	}
	LWLockRelease(shared->lock);
	return result;
}

/* ---- eviction ---- */

static void
evict_exit(int code pg_attribute_unused(), Datum arg pg_attribute_unused())
{
	eddy_worker_readmit(InvalidOid);
}

/*
 * Ends the workers of a database that run and calls off those that are starting. Returns how
 * many are not gone yet. The database's own worker goes first in effect: once its entry stands,
 * nobody can start another.
 */
static int
end_workers(Oid database)
{
	int			left = 0;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nslots; i++)
	{
		Slot	   *slot = &slots[i];

		if (slot->state == EDDY_SLOT_FREE || slot->database != database)
			continue;
		if (slot->state == EDDY_SLOT_RUNNING)
		{
			kill(slot->pid, SIGTERM);
			left++;
		}
		else
			free_slot(slot);
	}
	LWLockRelease(shared->lock);
	return left;
}

void
eddy_worker_evict(Oid database)
{
	static uint32 wait_event = 0;
	bool		noted = false;

	if (shared == NULL)
		return;
	if (!evict_callback_set)
	{
		before_shmem_exit(evict_exit, (Datum) 0);
		evict_callback_set = true;
	}
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nevictions && !noted; i++)
	{
		if (OidIsValid(evictions[i].database))
			continue;
		evictions[i].database = database;
		evictions[i].pid = MyProcPid;
		noted = true;
	}
	LWLockRelease(shared->lock);
	if (!noted)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases are kept free of workers at the same time")));

	PG_TRY();
	{
		ConditionVariablePrepareToSleep(&shared->exited);
		while (end_workers(database) > 0)
			(void) ConditionVariableTimedSleep(&shared->exited, EVICT_RECHECK,
											   eddy_compat_wait_event(&wait_event,
																	  "EddyEvict"));
		ConditionVariableCancelSleep();
	}
	PG_CATCH();
	{
		/* cancelled: the caller is not yet where it would readmit */
		ConditionVariableCancelSleep();
		eddy_worker_readmit(database);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* InvalidOid: every database that this process keeps. */
void
eddy_worker_readmit(Oid database)
{
	bool		found = false;

	if (shared == NULL)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nevictions && !(found && OidIsValid(database)); i++)
	{
		if (!OidIsValid(evictions[i].database) || evictions[i].pid != MyProcPid ||
			(OidIsValid(database) && evictions[i].database != database))
			continue;
		evictions[i].database = InvalidOid;
		evictions[i].pid = 0;
		found = true;
	}
	if (found)
	{
		shared->look_at_all = true;
		wake_process(shared->launcher);
	}
	LWLockRelease(shared->lock);
}

/* ---- library load ---- */

void
eddy_worker_init(void)
{
	BackgroundWorker worker = {0};

	prev_shmem_request = shmem_request_hook;
	shmem_request_hook = shmem_request;
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
	RegisterXactCallback(at_xact_end, NULL);

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	/* on a standby not before promotion */
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 5;
	strlcpy(worker.bgw_library_name, "pg_eddy", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "eddy_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "eddy launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "eddy launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

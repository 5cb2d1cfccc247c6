/*-------------------------------------------------------------------------
 *
 * slots.c
 *    The life of a worker's slot: claimed, started, running, failed.
 *
 * Between registering a worker and its first instruction no process exists. The slot is
 * then STARTING with a generation number, which the child gets along with its identity:
 * eviction and a starter's own exit raise the number, and a child that finds another one
 * exits before it connects to any database.
 *
 * Locking: see shared_state.c. Memory: handles of workers that are starting, in TopMemoryContext
 * of their starter. After a crash all slots are free and back-offs begin again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog/eddy_catalog.h"
#include "clock.h"
#include "compat.h"
#include "kafka_library.h"
#include "monotonic.h"
#include "settings.h"
#include "view/view.h"
#include "worker/shared_state.h"
#include "worker/slots.h"

#define RESTART_DELAY_MIN 1000L /* ms */
#define BUSY_LIMIT (2 * USECS_PER_SEC)	/* a worker whose batch takes longer does not poll */

/* Kinds of workers, in the order of the enum. */
static const struct
{
	const char *name;			/* in eddy._workers() */
	const char *type;			/* backend_type in pg_stat_activity */
	const char *library;
	const char *main;
}			worker_kinds[] =
{
	{"database", "eddy database worker", "pg_eddy", "eddy_database_worker_main"},
	{"source", "eddy source worker", EDDY_KAFKA_LIBRARY, "eddy_source_worker_main"},
	{"catch-up", "eddy catch-up worker", EDDY_KAFKA_LIBRARY, "eddy_catch_up_worker_main"},
};

/* What a started process gets in bgw_extra; its slot is the argument. */
typedef struct Handover
{
	EddyWorkerId id;
	uint32		generation;		/* of the slot */
} Handover;

StaticAssertDecl(sizeof(Handover) <= BGW_EXTRALEN, "a worker's identity must fit into bgw_extra");

/* A worker that this process has registered and not seen running yet. */
typedef struct StartingWorker
{
	int			slot;
	uint32		generation;
	BackgroundWorkerHandle *handle;
} StartingWorker;

/* Whether a slot was claimed. */
typedef enum ClaimResult
{
	CLAIMED,
	CLAIM_NOT_NEEDED,			/* the worker runs, or may not be started now */
	CLAIM_REFUSED				/* with a reason */
} ClaimResult;

static EddySlot *my_slot = NULL;	/* of a worker */
static bool finished = false;
static List *starting = NIL;	/* of StartingWorker */

/* ---- slots ---- */

static bool
same_worker(EddyWorkerId a, EddyWorkerId b)
{
	return a.database == b.database && a.kind == b.kind && a.id == b.id && a.shard == b.shard;
}

/* The slot of a worker, or NULL. The caller holds the lock. */
static EddySlot *
find_slot(EddyWorkerId id)
{
	for (int i = 0; i < eddy_shared->nslots; i++)
	{
		EddySlot   *slot = &eddy_shared_slots[i];

		if (slot->state != EDDY_SLOT_FREE && same_worker(slot->id, id))
			return slot;
	}
	return NULL;
}

/* A free slot for a kind of worker, or NULL. The caller holds the lock. */
static EddySlot *
find_free_slot(EddyWorkerKind kind)
{
	int			boundary = eddy_shared->nslots - eddy_shared_database_slots();
	int			first = kind == EDDY_WORKER_DATABASE ? boundary : 0;
	int			last = kind == EDDY_WORKER_DATABASE ? eddy_shared->nslots : boundary;

	for (int i = first; i < last; i++)
		if (eddy_shared_slots[i].state == EDDY_SLOT_FREE)
			return &eddy_shared_slots[i];
	return NULL;
}

static List *
list_slots(EddyWorkerKind kind, bool in_all, Oid database)
{
	EddySlotView *views = palloc(sizeof(EddySlotView) * eddy_shared->nslots);
	List	   *result = NIL;
	int			count = 0;

	LWLockAcquire(eddy_shared->lock, LW_SHARED);
	for (int i = 0; i < eddy_shared->nslots; i++)
	{
		const EddySlot *slot = &eddy_shared_slots[i];

		if (slot->state == EDDY_SLOT_FREE || slot->id.kind != kind ||
			(!in_all && slot->id.database != database))
			continue;
		views[count].id = slot->id;
		views[count].state = slot->state;
		views[count].next_start = slot->next_start;
		count++;
	}
	LWLockRelease(eddy_shared->lock);
	for (int i = 0; i < count; i++)
		result = lappend(result, &views[i]);
	return result;
}

List *
eddy_slots_list(EddyWorkerKind kind)
{
	return list_slots(kind, true, InvalidOid);
}

List *
eddy_slots_list_in(Oid database, EddyWorkerKind kind)
{
	return list_slots(kind, false, database);
}

EddyWorkerInfo *
eddy_worker_list(int *count)
{
	EddyWorkerInfo *result;

	*count = 0;
	if (eddy_shared == NULL)
		return NULL;
	result = palloc0(sizeof(EddyWorkerInfo) * eddy_shared->nslots);
	LWLockAcquire(eddy_shared->lock, LW_SHARED);
	for (int i = 0; i < eddy_shared->nslots; i++)
	{
		const EddySlot *slot = &eddy_shared_slots[i];
		EddyWorkerInfo *info = &result[*count];

		if (slot->state == EDDY_SLOT_FREE || slot->state == EDDY_SLOT_DONE)
			continue;
		info->id = slot->id;
		info->kind = worker_kinds[slot->id.kind].name;
		info->running = (slot->state == EDDY_SLOT_RUNNING);
		info->pid = slot->pid;
		strlcpy(info->problem, slot->problem, sizeof(info->problem));
		info->group_lookups = slot->group_lookups;
		info->group_hits = slot->group_hits;
		(*count)++;
	}
	LWLockRelease(eddy_shared->lock);
	return result;
}

/* Back-off: 1 s, 2 s, 4 s ... up to the setting, 25 % more or less to avoid a thundering herd. */
static long
next_delay(EddySlot *slot)
{
	long		limit = eddy_settings_restart_delay_max * 1000L;
	long		delay = RESTART_DELAY_MIN << Min(slot->failures, 16);

	slot->failures++;
	delay = Min(delay, limit);
	return (long) (delay * (0.75 + 0.5 * pg_prng_double(&pg_global_prng_state)));
}

static void
slot_failed(EddySlot *slot, const char *problem)
{
	slot->state = EDDY_SLOT_FAILED;
	slot->generation++;
	slot->next_start = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), next_delay(slot));
	strlcpy(slot->problem, problem, sizeof(slot->problem));
}

/* ---- starters ---- */

/* An exiting starter releases the slots it has registered workers for: those exit at once. */
static void
starter_exit(int code pg_attribute_unused(), Datum arg pg_attribute_unused())
{
	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < eddy_shared->nslots; i++)
	{
		EddySlot   *slot = &eddy_shared_slots[i];

		if (slot->state == EDDY_SLOT_STARTING && slot->starter == MyProcPid)
			eddy_shared_free_slot(slot);
	}
	LWLockRelease(eddy_shared->lock);
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
 * Returns whether no source of the database may be started now, with the reason. Its text is the
 * same as long as the settings are: it is written to a table when it changes.
 */
static bool
refuse_source(Oid database, char *reason, size_t size)
{
	int			total = 1;		/* the launcher */
	int			active = 0;
	int			failed = 0;
	int			limit = database_limit();

	for (int i = 0; i < eddy_shared->nslots; i++)
	{
		const EddySlot *slot = &eddy_shared_slots[i];
		bool		runs = slot->state == EDDY_SLOT_STARTING || slot->state == EDDY_SLOT_RUNNING;

		if (slot->state == EDDY_SLOT_FREE)
			continue;
		if (runs)
			total++;
		if (slot->id.kind == EDDY_WORKER_DATABASE || slot->id.database != database)
			continue;
		if (runs)
			active++;
		else if (slot->state == EDDY_SLOT_FAILED)
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
		return false;
	return true;
}

/* Takes a slot for a worker and makes it STARTING. The caller holds the lock. */
static ClaimResult
claim_slot(EddyWorkerId id, EddySlot **claimed, char *reason, size_t size)
{
	EddySlot   *slot = find_slot(id);

	if (eddy_shared_is_evicted(id.database))
		return CLAIM_NOT_NEEDED;
	if (slot && slot->state != EDDY_SLOT_FAILED && slot->state != EDDY_SLOT_DONE)
		return CLAIM_NOT_NEEDED;
	if (slot && slot->next_start > GetCurrentTimestamp())
		return CLAIM_NOT_NEEDED;
	/* one that has failed shows its own reason, and keeps its slot */
	if (id.kind != EDDY_WORKER_DATABASE && refuse_source(id.database, reason, size))
		return slot && slot->state == EDDY_SLOT_FAILED ? CLAIM_NOT_NEEDED : CLAIM_REFUSED;
	if (slot == NULL)
		slot = find_free_slot(id.kind);
	if (slot == NULL)
		return CLAIM_REFUSED;
	slot->state = EDDY_SLOT_STARTING;
	slot->generation++;
	slot->id = id;
	slot->starter = MyProcPid;
	*claimed = slot;
	return CLAIMED;
}

/* The name of a worker, for process titles and the server log: printable ASCII, cut to fit. */
static void
name_worker(char *name, EddyWorkerKind kind, const char *subject)
{
	snprintf(name, BGW_MAXLEN, "%s: %s", worker_kinds[kind].type, subject);
	for (char *c = name; *c != '\0'; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

static BackgroundWorkerHandle *
register_worker(int slot, uint32 generation, EddyWorkerId id, const char *subject)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	Handover	handover = {.id = id, .generation = generation};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, worker_kinds[id.kind].library, BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, worker_kinds[id.kind].main, BGW_MAXLEN);
	strlcpy(worker.bgw_type, worker_kinds[id.kind].type, BGW_MAXLEN);
	name_worker(worker.bgw_name, id.kind, subject);
	worker.bgw_main_arg = Int32GetDatum(slot);
	memcpy(worker.bgw_extra, &handover, sizeof(handover));
	worker.bgw_notify_pid = MyProcPid;
	return RegisterDynamicBackgroundWorker(&worker, &handle) ? handle : NULL;
}

const char *
eddy_slots_start(EddyWorkerId id, const char *subject)
{
	static bool registered = false;
	static char reason[sizeof(eddy_shared_slots->problem)];
	MemoryContext old_context;
	BackgroundWorkerHandle *handle;
	EddySlot   *slot = NULL;
	uint32		generation = 0;
	ClaimResult result;

	if (!registered)
	{
		before_shmem_exit(starter_exit, (Datum) 0);
		registered = true;
	}
	snprintf(reason, sizeof(reason),
			 "all %d background worker slots are in use (max_worker_processes)",
			 max_worker_processes);
	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	result = claim_slot(id, &slot, reason, sizeof(reason));
	if (result == CLAIMED)
		generation = slot->generation;
	LWLockRelease(eddy_shared->lock);
	if (result != CLAIMED)
		return result == CLAIM_REFUSED ? reason : NULL;

	old_context = MemoryContextSwitchTo(TopMemoryContext);
	handle = register_worker(slot - eddy_shared_slots, generation, id, subject);
	if (handle)
	{
		StartingWorker *worker = palloc(sizeof(StartingWorker));

		worker->slot = slot - eddy_shared_slots;
		worker->generation = generation;
		worker->handle = handle;
		starting = lappend(starting, worker);
	}
	MemoryContextSwitchTo(old_context);
	if (handle)
		return NULL;

	/* a database worker shows the reason in its slot; other kinds need no slot while they wait */
	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	if (slot->generation == generation && id.kind == EDDY_WORKER_DATABASE)
		slot_failed(slot, reason);
	else if (slot->generation == generation)
		eddy_shared_free_slot(slot);
	LWLockRelease(eddy_shared->lock);
	return reason;
}

void
eddy_slots_check_starting(void)
{
	ListCell   *lc;

	foreach(lc, starting)
	{
		StartingWorker *worker = lfirst(lc);
		EddySlot   *slot = &eddy_shared_slots[worker->slot];
		pid_t		pid;
		bool		stopped;
		bool		waiting;

		stopped = GetBackgroundWorkerPid(worker->handle, &pid) == BGWH_STOPPED;
		LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
		waiting = slot->generation == worker->generation && slot->state == EDDY_SLOT_STARTING;
		if (waiting && stopped)
		{
			slot_failed(slot, "the background worker could not be started, see the server log");
			waiting = false;
		}
		LWLockRelease(eddy_shared->lock);
		if (!waiting)
		{
			pfree(worker->handle);
			pfree(worker);
			starting = foreach_delete_current(starting, lc);
		}
	}
}

void
eddy_slots_release(EddyWorkerId id)
{
	EddySlot   *slot;

	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	slot = find_slot(id);
	if (slot && (slot->state == EDDY_SLOT_FAILED || slot->state == EDDY_SLOT_DONE))
		eddy_shared_free_slot(slot);
	LWLockRelease(eddy_shared->lock);
}

/* ---- workers ---- */

static void
worker_exit(int code, Datum arg pg_attribute_unused())
{
	int			starter;

	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	starter = my_slot->starter;
	my_slot->suspect = eddy_clock_expired() ? eddy_view_canceled() : InvalidOid;
	if (finished || code == 0)
	{
		my_slot->state = EDDY_SLOT_DONE;
		my_slot->generation++;
		my_slot->failures = 0;
		my_slot->problem[0] = '\0';
		/* if it is wanted all the same, not in a tight loop */
		my_slot->next_start = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														  RESTART_DELAY_MIN);
	}
	else
		slot_failed(my_slot, "the background worker ended with an error, see the server log");
	/* slots of an evicted database have no starter that would release them */
	if (eddy_shared_is_evicted(my_slot->id.database))
		eddy_shared_free_slot(my_slot);
	eddy_shared_wake(starter);
	eddy_shared_wake_launcher();
	LWLockRelease(eddy_shared->lock);
	ConditionVariableBroadcast(&eddy_shared->exited);
}

EddyWorkerId
eddy_slots_attach(Datum arg)
{
	EddySlot   *slot = &eddy_shared_slots[DatumGetInt32(arg)];
	Handover	handover;
	bool		mine;

	memcpy(&handover, MyBgworkerEntry->bgw_extra, sizeof(handover));
	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	mine = slot->generation == handover.generation && slot->state == EDDY_SLOT_STARTING;
	if (mine)
	{
		Assert(same_worker(slot->id, handover.id));
		slot->state = EDDY_SLOT_RUNNING;
		slot->pid = MyProcPid;
		slot->problem[0] = '\0';
		slot->polls = false;
		slot->busy_since = 0;
		slot->group_lookups = slot->group_hits = 0;
		my_slot = slot;
	}
	LWLockRelease(eddy_shared->lock);
	if (!mine)
		proc_exit(0);

	/*
	 * Registered before the process joins the array of backends, so run after
	 * it has left: if the slot is not RUNNING, there is no backend either.
	 */
	on_shmem_exit(worker_exit, (Datum) 0);
	return handover.id;
}

Oid
eddy_slots_take_suspect(void)
{
	Oid			suspect;

	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	suspect = my_slot->suspect;
	my_slot->suspect = InvalidOid;
	LWLockRelease(eddy_shared->lock);
	return suspect;
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
	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	my_slot->failures = 0;
	my_slot->problem[0] = '\0';
	LWLockRelease(eddy_shared->lock);
}

long
eddy_slots_fail(void)
{
	long		delay;

	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	delay = next_delay(my_slot);
	LWLockRelease(eddy_shared->lock);
	return delay;
}

void
eddy_slots_set_polls(bool polls)
{
	/* read without the lock: only this process changes it while it runs */
	if (my_slot->polls == polls)
		return;
	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	my_slot->polls = polls;
	/*
	 * marks of idle partitions are valid again, though no transaction has changed anything: see
	 * tick.c
	 */
	if (polls)
		eddy_shared_wake_database(my_slot->id.database);
	LWLockRelease(eddy_shared->lock);
}

void
eddy_slots_set_busy(bool busy)
{
	int64		since = busy ? eddy_monotonic_real() : 0;

	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	my_slot->busy_since = since;
	LWLockRelease(eddy_shared->lock);
}

bool
eddy_worker_polls(int32 source, int workers)
{
	int64		now = eddy_monotonic_real();
	int			polling = 0;
	bool		all = true;

	if (eddy_shared == NULL)
		return false;
	LWLockAcquire(eddy_shared->lock, LW_SHARED);
	for (int i = 0; i < eddy_shared->nslots && all; i++)
	{
		const EddySlot *slot = &eddy_shared_slots[i];

		if (slot->state == EDDY_SLOT_FREE || slot->id.kind != EDDY_WORKER_SOURCE ||
			slot->id.database != MyDatabaseId || slot->id.id != source)
			continue;
		polling++;
		all = slot->state == EDDY_SLOT_RUNNING && slot->polls &&
			(slot->busy_since == 0 || now - slot->busy_since < BUSY_LIMIT);
	}
	LWLockRelease(eddy_shared->lock);
	return polling == workers && all;
}

void
eddy_slots_set_groups(int64 lookups, int64 hits)
{
	LWLockAcquire(eddy_shared->lock, LW_EXCLUSIVE);
	my_slot->group_lookups = lookups;
	my_slot->group_hits = hits;
	LWLockRelease(eddy_shared->lock);
}

/*-------------------------------------------------------------------------
 *
 * database.c
 *    The database worker: starts the source workers of its database, keeps staging bounded, does
 *    what is due by the clock (src/apply/tick.c, src/apply/view_tick.c).
 *
 * It exits when the database does not have the extension. Otherwise it compares
 * the sources that should run with those that do, whenever a transaction has committed a change
 * or a worker has exited. Sources do not run while they are paused, stopped by
 * an error, or were attached in another database: a copy made with CREATE DATABASE
 * ... TEMPLATE and a restored dump wait for eddy.resume, because the original may
 * still be consuming. Two readers would each be correct, but they are not expected.
 *
 * Batches wait for what this process closes or changes. If pg_eddy.synchronous_commit is off, it
 * does not wait for the disk while it holds locks, but has its commits flushed as those of batches
 * (flush.c). A crash takes back what is done again.
 *
 * Locking: see shared_state.c, and short reads; housekeeping never waits. After a crash
 * the launcher starts it again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "apply/apply.h"
#include "catalog/eddy_catalog.h"
#include "clock.h"
#include "compat.h"
#include "monotonic.h"
#include "stream/stream.h"
#include "settings.h"
#include "subtransaction.h"
#include "view/view.h"
#include "worker/flush.h"
#include "worker/process.h"
#include "worker/slots.h"

#define CHECK_INTERVAL 60000L	/* ms between checks without a wake-up */
#define RETRY_INTERVAL 5000L	/* ms between attempts while sources wait for a worker */
#define RESTORE_INTERVAL 1000L	/* ms between checks whether a restore has ended */
#define DEFERRED_INTERVAL 60000L	/* ms, while no view is maintained later */
#define EXIT_INTERVAL 1000L		/* ms between checks whether the other workers have exited */

/* A worker of a source that should run. */
typedef struct WantedWorker
{
	int32		source;
	int32		shard;
	char	   *topic;
	char	   *problem;		/* why it has no worker, NULL if there is no problem */
} WantedWorker;

/* A view that a worker should fill from Kafka. */
typedef struct WantedStart
{
	Oid			view;
	char	   *name;
} WantedStart;

/* True if a source of one of these streams may be consumed. Needs a transaction. */
static bool
have_source(const List *streams)
{
	ListCell   *lc;

	foreach(lc, streams)
	{
		ListCell   *ls;

		foreach(ls, eddy_catalog_list_sources(lfirst_oid(lc)))
			if (eddy_process_may_run(lfirst(ls)))
				return true;
	}
	return false;
}

/* The views that should be filled: List of WantedStart, in mcxt. Needs a transaction. */
static List *
read_starts(MemoryContext mcxt)
{
	List	   *starts = NIL;
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_view_starts())
	{
		const EddyViewStart *start = lfirst(lc);
		EddyView   *view = eddy_catalog_get_view(start->view);
		const char *name = get_rel_name(start->view);
		MemoryContext old_context;
		WantedStart *entry;

		if (view == NULL || name == NULL || !have_source(view->streams))
			continue;
		old_context = MemoryContextSwitchTo(mcxt);
		entry = palloc(sizeof(WantedStart));
		entry->view = start->view;
		entry->name = pstrdup(name);
		starts = lappend(starts, entry);
		MemoryContextSwitchTo(old_context);
	}
	return starts;
}

/*
 * The workers that should run: List of WantedWorker in the caller's context, and *starts, likewise.
 * Sets *installed.
 */
static List *
read_wanted(bool *installed, List **starts)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *wanted = NIL;
	ListCell   *lc;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	*installed = eddy_catalog_installed();
	*starts = NIL;
	if (*installed)
	{
		*starts = read_starts(caller);
		foreach(lc, eddy_catalog_list_all_sources())
		{
			EddySource *source = lfirst(lc);
			MemoryContext old_context;
			int			workers;

			if (!eddy_process_may_run(source))
				continue;
			workers = eddy_catalog_source_workers(source);
			/* the first worker determines the offsets of all partitions before the others start */
			if (workers > 1 && eddy_catalog_list_partitions(source->source) == NIL)
				workers = 1;
			old_context = MemoryContextSwitchTo(caller);
			for (int shard = 0; shard < workers; shard++)
			{
				WantedWorker *entry = palloc0(sizeof(WantedWorker));

				entry->source = source->source;
				entry->shard = shard;
				entry->topic = pstrdup(source->topic);
				wanted = lappend(wanted, entry);
			}
			MemoryContextSwitchTo(old_context);
		}
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return wanted;
}

/*
 * Writes to the status of sources why they have no worker. There may be very many, and
 * nearly always their status already shows it: that is checked in one transaction, and
 * each status that differs is written in one of its own, because that takes a lock.
 */
static void
report_waiting(List *waiting)
{
	MemoryContext caller = CurrentMemoryContext;
	bool	   *shown = palloc0(sizeof(bool) * list_length(waiting));
	ListCell   *lc;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(lc, waiting)
	{
		const WantedWorker *entry = lfirst(lc);
		EddySourceStatus *status = eddy_catalog_get_source_status(entry->source,
																  entry->shard);

		shown[foreach_current_index(lc)] = status != NULL &&
			strcmp(status->state, "waiting") == 0 &&
			status->error != NULL && strcmp(status->error, entry->problem) == 0;
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);

	foreach(lc, waiting)
	{
		const WantedWorker *entry = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		if (!shown[foreach_current_index(lc)])
			eddy_process_set_status(entry->source, entry->shard, "waiting", entry->problem,
									unpack_sql_state(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED));
	}
}

static bool
is_wanted(List *wanted, const EddyWorkerId *id)
{
	ListCell   *lc;

	foreach(lc, wanted)
	{
		const WantedWorker *entry = lfirst(lc);

		if (entry->source == id->id && entry->shard == id->shard)
			return true;
	}
	return false;
}

/*
 * The ms until a worker of a kind that has failed, or had nothing to do, may be started again; at
 * most wait.
 */
static long
until_restart(EddyWorkerKind kind, long wait)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	foreach(lc, eddy_slots_list_in(MyDatabaseId, kind))
	{
		EddySlotView *slot = lfirst(lc);

		if (slot->state == EDDY_SLOT_FAILED || slot->state == EDDY_SLOT_DONE)
			wait = Min(wait, TimestampDifferenceMilliseconds(now, slot->next_start) + 1);
	}
	return wait;
}

/*
 * Starts workers for the wanted sources. The workers of other sources exit by themselves: the
 * commit that has woken this worker has woken them. Returns the ms until a failed one may be
 * started again.
 */
static long
start_workers(List *wanted)
{
	long		wait = CHECK_INTERVAL;
	List	   *waiting = NIL;
	ListCell   *lc;

	foreach(lc, eddy_slots_list_in(MyDatabaseId, EDDY_WORKER_SOURCE))
	{
		EddySlotView *slot = lfirst(lc);

		if (!is_wanted(wanted, &slot->id))
			eddy_slots_release(slot->id);
	}
	foreach(lc, wanted)
	{
		WantedWorker *entry = lfirst(lc);
		const char *problem = eddy_slots_start(eddy_worker_of_source(MyDatabaseId,
																	 entry->source,
																	 entry->shard),
											   entry->topic);

		if (problem)
		{
			entry->problem = pstrdup(problem);
			waiting = lappend(waiting, entry);
		}
	}
	if (waiting != NIL)
	{
		/* they have no slots: their state is in the table alone */
		report_waiting(waiting);
		wait = Min(wait, RETRY_INTERVAL);
	}
	return until_restart(EDDY_WORKER_SOURCE, wait);
}

/*
 * Starts workers for views that are filled from Kafka. They end by themselves. Returns the ms until
 * one that has failed, or had nothing to do, may be started again.
 */
static long
start_filling(List *starts)
{
	long		wait = CHECK_INTERVAL;
	ListCell   *lc;

	foreach(lc, eddy_slots_list_in(MyDatabaseId, EDDY_WORKER_CATCH_UP))
	{
		EddySlotView *slot = lfirst(lc);
		bool		wanted = false;
		ListCell   *lw;

		foreach(lw, starts)
			wanted |= ((const WantedStart *) lfirst(lw))->view == (Oid) slot->id.id;
		if (!wanted)
			eddy_slots_release(slot->id);
	}
	foreach(lc, starts)
	{
		const WantedStart *entry = lfirst(lc);
		const char *problem = eddy_slots_start(eddy_worker_of_start(MyDatabaseId, entry->view),
											   entry->name);

		if (problem)
		{
			eddy_process_set_start_error(entry->view, problem,
										 unpack_sql_state(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED));
			wait = Min(wait, RETRY_INTERVAL);
		}
	}
	return until_restart(EDDY_WORKER_CATCH_UP, wait);
}

/* Releases all slots of a kind; true when no worker of that kind is left. */
static bool
release_kind(EddyWorkerKind kind)
{
	ListCell   *lc;

	foreach(lc, eddy_slots_list_in(MyDatabaseId, kind))
		eddy_slots_release(((EddySlotView *) lfirst(lc))->id);
	return eddy_slots_list_in(MyDatabaseId, kind) == NIL;
}

/* The extension was dropped: releases all slots; true when no other worker is left. */
static bool
release_all(void)
{
	bool		no_sources = release_kind(EDDY_WORKER_SOURCE);

	return release_kind(EDDY_WORKER_CATCH_UP) && no_sources;
}

/*
 * Removes the token files (attempt.c) of sources and databases that no longer exist, and of views
 * that are not filled any more. Needs a transaction.
 */
static void
remove_token_files(void)
{
	DIR		   *dir = AllocateDir(PG_STAT_TMP_DIR);
	struct dirent *entry;

	while (dir && (entry = ReadDirExtended(dir, PG_STAT_TMP_DIR, LOG)) != NULL)
	{
		char		path[MAXPGPATH];
		Oid			database;
		int32		source;
		int32		shard;
		Oid			view;
		int			end = 0;

		if (sscanf(entry->d_name, EDDY_TOKEN_FILE "%n", &database, &source, &shard, &view,
				   &end) != 4 ||
			entry->d_name[end] != '\0')
			continue;
		if (database == MyDatabaseId ?
			eddy_catalog_get_source(source) != NULL &&
			(!OidIsValid(view) || eddy_catalog_get_view_start(view) != NULL) :
			SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database)))
			continue;
		snprintf(path, sizeof(path), "%s/%s", PG_STAT_TMP_DIR, entry->d_name);
		(void) unlink(path);
	}
	if (dir)
		FreeDir(dir);
}

/*
 * A function that catches the cancel after the time limit ends the process. Nothing else would stop
 * the next one from ending in the same way, and with it the streams of all owners: the view is
 * suspended.
 */
static void
suspend_suspect(void)
{
	Oid			view = eddy_slots_take_suspect();

	if (!OidIsValid(view))
		return;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (eddy_catalog_installed())
		eddy_view_suspend(view, eddy_clock_describe(), ERRCODE_QUERY_CANCELED);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

static void
run_upgrade(void *arg pg_attribute_unused())
{
	(void) eddy_view_upgrade_states();
}

/* After an upgrade to another major version of the server, before sources add to the views. */
static void
upgrade_states(void)
{
	ErrorData  *error;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	error = eddy_subtransaction_run(run_upgrade, NULL);
	if (error)
		ereport(WARNING,
				(errmsg("could not upgrade the states of continuous views: %s", error->message),
				 errhint("As superuser, execute: SELECT eddy.upgrade_states().")));
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* Follows pg_eddy.synchronous_commit. */
static void
set_commits(void)
{
	(void) set_config_option("synchronous_commit", eddy_settings_synchronous_commit ? NULL : "off",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
}

/*
 * When each part of the work is due again, on the monotonic clock: nothing must wait until a clock
 * that was set back has caught up.
 */
typedef struct Schedule
{
	int64		workers;		/* comparing the workers that should run with those that do */
	int64		housekeeping;
	int64		deferred;		/* merging what users' statements have left to this process */
	int64		tick;
	int64		view_tick;
} Schedule;

static int64
in_msec(long msec)
{
	return eddy_monotonic_real() + msec * INT64CONST(1000);
}

static bool
is_due(int64 time)
{
	return eddy_monotonic_real() >= time;
}

/* Starts the workers that should run. False if the database does not have the extension. */
static bool
check_workers(Schedule *next)
{
	static bool upgraded = false;
	MemoryContext caller = CurrentMemoryContext;
	bool		installed;
	List	   *starts;
	List	   *wanted = read_wanted(&installed, &starts);
	long		pause;
	long		filling_pause;

	if (!installed)
		return false;
	if (!upgraded)
	{
		upgrade_states();
		MemoryContextSwitchTo(caller);
		upgraded = true;
	}
	eddy_slots_succeed();
	eddy_slots_check_starting();
	pause = start_workers(wanted);
	filling_pause = start_filling(starts);
	next->workers = in_msec(Min(pause, filling_pause));
	/* what has woken this process may have made anything due */
	next->tick = next->view_tick = next->deferred = 0;
	return true;
}

/* Does what is due by the clock; woken: something else than time may have made work due. */
static void
do_due_work(Schedule *next, bool woken)
{
	MemoryContext caller = CurrentMemoryContext;

	if (is_due(next->housekeeping))
	{
		pgstat_report_activity(STATE_RUNNING, "keeping staging within its retention");
		next->housekeeping = in_msec(eddy_stream_housekeep());
		MemoryContextSwitchTo(caller);
		pgstat_report_activity(STATE_IDLE, NULL);
	}
	if (is_due(Min(Min(next->deferred, next->tick), next->view_tick)) && eddy_worker_restores())
	{
		next->deferred = next->tick = next->view_tick = in_msec(RESTORE_INTERVAL);
		pgstat_report_activity(STATE_IDLE, "waiting for the end of a restore");
	}
	/* before the tick, which closes windows: less is left to be merged then */
	if (is_due(next->deferred))
	{
		long		pause = eddy_deferred_tick();

		MemoryContextSwitchTo(caller);
		next->deferred = in_msec(pause < 0 ? DEFERRED_INTERVAL : pause);
	}
	if (is_due(next->tick))
	{
		long		pause = eddy_apply_tick(woken);
		long		prune_pause = eddy_view_prune_changes();

		MemoryContextSwitchTo(caller);
		next->tick = in_msec(Min(pause, prune_pause));
	}
	if (is_due(next->view_tick))
	{
		long		pause = eddy_view_tick();

		MemoryContextSwitchTo(caller);
		/* a new view wakes this worker */
		next->view_tick = in_msec(pause < 0 ? CHECK_INTERVAL : pause);
	}
	if (!eddy_settings_synchronous_commit)
		eddy_flush_request();
}

/* Waits until something is due; true if the latch was set. */
static bool
wait_until_due(const Schedule *next)
{
	static uint32 wait_event = 0;
	int64		until = Min(Min(next->workers, next->housekeeping),
							Min(Min(next->tick, next->view_tick), next->deferred));

	pgstat_report_stat(true);
	return (WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					  (long) (Max(until - eddy_monotonic_real(), 0) / 1000) + 1,
					  eddy_compat_wait_event(&wait_event, "EddyDatabaseMain")) &
			WL_LATCH_SET) != 0;
}

/* Waits for a worker to exit after the extension was dropped. */
static void
wait_for_exit(void)
{
	static uint32 wait_event = 0;

	/* source workers were woken by the same commit; each sets our latch when it exits */
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, EXIT_INTERVAL,
					 eddy_compat_wait_event(&wait_event, "EddyDatabaseMain"));
}

void
eddy_database_worker_main(Datum arg)
{
	MemoryContext loop_context;
	Schedule	next = {0};
	bool		installed = false;
	bool		woken = true;
	EddyWorkerId id = eddy_slots_attach(arg);

	eddy_process_connect(id.database);
	eddy_view_settle_here();
	loop_context = AllocSetContextCreate(TopMemoryContext, "pg_eddy database worker loop",
										 ALLOCSET_SMALL_SIZES);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	eddy_process_set_name(psprintf("%s: %s", MyBgworkerEntry->bgw_type,
								   get_database_name(MyDatabaseId)));
	remove_token_files();
	CommitTransactionCommand();
	suspend_suspect();

	for (;;)
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		eddy_process_reload_config();
		if (woken)
			set_commits();
		MemoryContextSwitchTo(loop_context);
		MemoryContextReset(loop_context);

		/* without a wake-up only work by the clock may be due */
		if (woken || !installed || is_due(next.workers))
			installed = check_workers(&next);
		if (installed)
		{
			do_due_work(&next, woken);
			woken = wait_until_due(&next);
		}
		else if (release_all())
			break;
		else
			wait_for_exit();
	}
	eddy_slots_finish();
	proc_exit(0);
}

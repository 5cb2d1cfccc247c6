/*-------------------------------------------------------------------------
 *
 * database.c
 *    A database's own worker: starts its sources' workers, keeps staging bounded.
 *
 * It leaves when the database does not have the extension (any more). Otherwise it compares
 * the sources that should run with those that do, whenever somebody has committed a change
 * or a worker has gone. Sources do not run while they are paused, stopped by
 * an error, or were attached in another database: a copy made with CREATE DATABASE
 * ... TEMPLATE and a restored dump wait for eddy.resume, because the original may
 * be consuming still. That costs correctness nothing, but nobody expects two readers.
 *
 * Locking: none beyond slots.c and short reads; housekeeping never waits. After a crash
 * the launcher starts it anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
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
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "stream/stream.h"
#include "worker/process.h"
#include "worker/slots.h"

#define LOOK_INTERVAL 60000L	/* ms between looks that nobody asked for */
#define RETRY_INTERVAL 5000L	/* ms between attempts while sources wait for a worker */

/* Numbers of the sources that should run; sets *installed. In the caller's context. */
static List *
read_wanted(bool *installed)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *wanted = NIL;
	ListCell   *lc;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	*installed = eddy_catalog_installed();
	if (*installed)
	{
		foreach(lc, eddy_catalog_list_sources(InvalidOid))
		{
			EddySource *source = lfirst(lc);
			MemoryContext old_context;

			if (!eddy_process_may_run(source))
				continue;
			old_context = MemoryContextSwitchTo(caller);
			wanted = lappend_int(wanted, source->source);
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
 * nearly always they show it already: that is found out in one transaction, and
 * each that does not is written in one of its own, because it takes a lock.
 */
static void
report_waiting(List *waiting, List *problems)
{
	MemoryContext caller = CurrentMemoryContext;
	bool	   *shown = palloc0(sizeof(bool) * list_length(waiting));
	ListCell   *lc;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(lc, waiting)
	{
		int			i = foreach_current_index(lc);
		EddySourceStatus *status = eddy_catalog_get_source_status(lfirst_int(lc));

		shown[i] = status != NULL && strcmp(status->state, "waiting") == 0 &&
			status->error != NULL && strcmp(status->error, list_nth(problems, i)) == 0;
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);

	foreach(lc, waiting)
	{
		int			i = foreach_current_index(lc);

		CHECK_FOR_INTERRUPTS();
		if (!shown[i])
			eddy_process_set_status(lfirst_int(lc), "waiting", list_nth(problems, i), "53400");
	}
}

/*
 * Starts workers for the wanted sources. The workers of others leave by themselves: what
 * has woken us has woken them. Returns the ms until a failed one may be started again.
 */
static long
start_workers(List *wanted)
{
	long		wait = LOOK_INTERVAL;
	TimestampTz now = GetCurrentTimestamp();
	List	   *waiting = NIL;
	List	   *problems = NIL;
	ListCell   *lc;

	foreach(lc, eddy_slots_list(MyDatabaseId))
	{
		EddySlotView *view = lfirst(lc);

		if (!list_member_int(wanted, view->source))
			eddy_slots_release(MyDatabaseId, view->source);
	}
	foreach(lc, wanted)
	{
		const char *problem = eddy_slots_start(MyDatabaseId, lfirst_int(lc));

		if (problem)
		{
			waiting = lappend_int(waiting, lfirst_int(lc));
			problems = lappend(problems, pstrdup(problem));
		}
	}
	if (waiting != NIL)
	{
		/* they have no slots: their state is in the table alone */
		report_waiting(waiting, problems);
		wait = Min(wait, RETRY_INTERVAL);
	}
	foreach(lc, eddy_slots_list(MyDatabaseId))
	{
		EddySlotView *view = lfirst(lc);

		if (view->state == EDDY_SLOT_FAILED || view->state == EDDY_SLOT_DONE)
			wait = Min(wait, TimestampDifferenceMilliseconds(now, view->next_start) + 1);
	}
	return wait;
}

/* The extension is gone: gives up all slots; true when no worker of a source is left. */
static bool
release_all(void)
{
	ListCell   *lc;

	foreach(lc, eddy_slots_list(MyDatabaseId))
		eddy_slots_release(MyDatabaseId, ((EddySlotView *) lfirst(lc))->source);
	return eddy_slots_list(MyDatabaseId) == NIL;
}

/*
 * Removes the token files (attempt.c) of sources and databases that do not exist any more.
 * Needs a transaction.
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
		int			end = 0;

		if (sscanf(entry->d_name, EDDY_TOKEN_FILE "%n", &database, &source, &end) != 2 ||
			entry->d_name[end] != '\0')
			continue;
		if (database == MyDatabaseId ? eddy_catalog_get_source(source) != NULL :
			SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database)))
			continue;
		snprintf(path, sizeof(path), "%s/%s", PG_STAT_TMP_DIR, entry->d_name);
		(void) unlink(path);
	}
	if (dir)
		FreeDir(dir);
}

void
eddy_database_worker_main(Datum arg)
{
	static uint32 wait_event = 0;
	MemoryContext loop_context;
	TimestampTz next_housekeeping = 0;
	Oid			database;
	int32		source;

	eddy_slots_attach(arg, &database, &source);
	eddy_process_connect(database, "eddy database worker");
	loop_context = AllocSetContextCreate(TopMemoryContext, "pg_eddy database worker loop",
										 ALLOCSET_SMALL_SIZES);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	remove_token_files();
	CommitTransactionCommand();

	for (;;)
	{
		List	   *wanted;
		bool		installed;
		long		wait;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		eddy_process_reload_config();
		MemoryContextSwitchTo(loop_context);
		MemoryContextReset(loop_context);

		wanted = read_wanted(&installed);
		if (!installed && release_all())
		{
			eddy_slots_finish();
			proc_exit(0);
		}
		if (!installed)
		{
			/* sources' workers have been woken by what has woken us; each wakes us when it goes */
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000L,
							 eddy_compat_wait_event(&wait_event, "EddyDatabaseMain"));
			continue;
		}
		eddy_slots_succeed();
		eddy_slots_check_starting();
		wait = start_workers(wanted);

		if (GetCurrentTimestamp() >= next_housekeeping)
		{
			long		pause;

			pgstat_report_activity(STATE_RUNNING, "keeping staging within its retention");
			pause = eddy_stream_housekeep();
			MemoryContextSwitchTo(loop_context);
			next_housekeeping = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause);
			pgstat_report_activity(STATE_IDLE, NULL);
		}
		wait = Min(wait, Max(TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
															 next_housekeeping), 0) + 1);
		pgstat_report_stat(true);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, wait,
						 eddy_compat_wait_event(&wait_event, "EddyDatabaseMain"));
	}
}

/*-------------------------------------------------------------------------
 *
 * launcher.c
 *    The launcher: one process that starts the worker of every database with the extension, and flushes
 *    what workers have committed (flush.c).
 *
 * It reads shared catalogs only and cannot determine which databases have the
 * extension. So it starts a worker in each database that allows connections and is
 * not a template; one that finds no work to do exits, and the database is
 * skipped until a transaction commits there that may have changed that
 * (CREATE EXTENSION wakes the launcher). New databases are found when CREATE DATABASE wakes the
 * launcher, and by a scan every ten seconds.
 *
 * A wake-up does not tell its reason. If there was something to flush, that is taken for the
 * reason; should there have been another one too, it is served a fifth of a second later.
 *
 * Locking: see shared_state.c; pg_database is read in a short transaction. Memory: the list of
 * databases, which is rebuilt after a restart. The launcher starts after recovery only, so not
 * on a standby before promotion.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "worker/flush.h"
#include "worker/shared_state.h"
#include "worker/slots.h"
#include "worker/wakeup.h"

#define SCAN_INTERVAL 10000L	/* ms between scans of pg_database */
#define FLUSH_INTERVAL 200L		/* ms between two looks for other work, while there is WAL to flush */

/* What is known about a database. */
typedef struct KnownDatabase
{
	Oid			database;
	char		name[NAMEDATALEN];
	bool		exists;			/* found by the current scan of pg_database */
	bool		dormant;		/* its worker has exited, having found no work to do */
	bool		requested;		/* to be checked again, even if the worker is just exiting */
} KnownDatabase;

static List *known = NIL;		/* of KnownDatabase, in TopMemoryContext */

static KnownDatabase *
find_known(Oid database)
{
	ListCell   *lc;

	foreach(lc, known)
	{
		KnownDatabase *entry = lfirst(lc);

		if (entry->database == database)
			return entry;
	}
	return NULL;
}

static void
note_database(Oid database, const char *name)
{
	KnownDatabase *entry = find_known(database);

	if (entry == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);

		entry = palloc0(sizeof(KnownDatabase));
		entry->database = database;
		known = lappend(known, entry);
		MemoryContextSwitchTo(old_context);
	}
	entry->exists = true;
	strlcpy(entry->name, name, sizeof(entry->name));
}

/* Brings the list of known databases in line with pg_database. */
static void
scan_databases(void)
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;
	ListCell   *lc;

	foreach(lc, known)
		((KnownDatabase *) lfirst(lc))->exists = false;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (form->datallowconn && !form->datistemplate)
			note_database(form->oid, NameStr(form->datname));
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();

	foreach(lc, known)
	{
		KnownDatabase *entry = lfirst(lc);

		if (entry->exists)
			continue;
		eddy_slots_release(eddy_worker_of_database(entry->database));
		known = foreach_delete_current(known, lc);
		pfree(entry);
	}
}

/* Databases in which something was committed may have got the extension. */
static void
take_requests(void)
{
	bool		all;
	List	   *requests = eddy_wakeup_take_requests(&all);
	ListCell   *lc;

	foreach(lc, known)
	{
		KnownDatabase *entry = lfirst(lc);

		if (all || list_member_oid(requests, entry->database))
			entry->requested = true;
	}
	list_free(requests);
}

/* Processes the slots of workers that have exited. */
static void
collect_exits(void)
{
	List	   *views = eddy_slots_list(EDDY_WORKER_DATABASE);
	ListCell   *lc;

	foreach(lc, views)
	{
		EddySlotView *view = lfirst(lc);
		KnownDatabase *entry = find_known(view->id.database);

		if (view->state == EDDY_SLOT_DONE)
		{
			if (entry)
				entry->dormant = true;
			eddy_slots_release(view->id);
		}
		else if (view->state == EDDY_SLOT_FAILED && entry == NULL)
			eddy_slots_release(view->id);	/* its database was dropped */
	}
}

/*
 * Starts the workers that should run; returns the ms until a failed one may be started
 * again. Failures show in eddy._workers() and are logged once per series.
 */
static long
start_workers(void)
{
	static bool logged = false;
	TimestampTz now = GetCurrentTimestamp();
	long		wait = SCAN_INTERVAL;
	const char *problem = NULL;
	const char *name = NULL;
	ListCell   *lc;

	foreach(lc, known)
	{
		KnownDatabase *entry = lfirst(lc);
		char		subject[32];
		const char *reason;

		if (entry->dormant && !entry->requested)
			continue;
		if (entry->dormant)
			entry->requested = entry->dormant = false;
		/* the name may be about to change: ALTER DATABASE RENAME has not committed yet */
		snprintf(subject, sizeof(subject), "database %u", entry->database);
		reason = eddy_slots_start(eddy_worker_of_database(entry->database), subject);
		if (reason)
		{
			problem = reason;
			name = entry->name;
		}
	}
	foreach(lc, eddy_slots_list(EDDY_WORKER_DATABASE))
	{
		EddySlotView *view = lfirst(lc);

		if (view->state == EDDY_SLOT_FAILED)
			wait = Min(wait, TimestampDifferenceMilliseconds(now, view->next_start) + 1);
	}

	if (problem && !logged)
		ereport(LOG,
				(errmsg("could not start pg_eddy background worker for database \"%s\"", name),
				 errdetail("Reason: %s.", problem),
				 errhint("The function eddy._workers() shows which workers do not run and why.")));
	logged = (problem != NULL);
	return wait;
}

void
eddy_launcher_main(Datum arg pg_attribute_unused())
{
	static uint32 wait_event = 0;
	MemoryContext loop_context;
	TimestampTz last_look = 0;
	TimestampTz next_look = 0;
	bool		woken = true;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("eddy launcher");
	eddy_flush_begin();
	eddy_wakeup_set_launcher();
	loop_context = AllocSetContextCreate(TopMemoryContext, "pg_eddy launcher loop",
										 ALLOCSET_SMALL_SIZES);

	for (;;)
	{
		TimestampTz now;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (eddy_flush_serve())
			next_look = Min(next_look, TimestampTzPlusMilliseconds(last_look, FLUSH_INTERVAL));
		else if (woken)
			next_look = last_look;
		now = GetCurrentTimestamp();
		if (now >= next_look)
		{
			long		wait;

			MemoryContextSwitchTo(loop_context);
			MemoryContextReset(loop_context);

			/* any wake-up may mean a new database: the scan costs some 20 microseconds */
			scan_databases();
			MemoryContextSwitchTo(loop_context);
			take_requests();
			eddy_slots_check_starting();
			collect_exits();
			wait = start_workers();
			pgstat_report_stat(true);
			last_look = GetCurrentTimestamp();
			next_look = TimestampTzPlusMilliseconds(last_look, wait);
			now = last_look;
		}

		woken = (WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						   TimestampDifferenceMilliseconds(now, next_look) + 1,
						   eddy_compat_wait_event(&wait_event, "EddyLauncherMain")) &
				 WL_LATCH_SET) != 0;
	}
}

void
eddy_worker_init(void)
{
	BackgroundWorker worker = {0};

	eddy_shared_init();
	eddy_wakeup_init();

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

/*-------------------------------------------------------------------------
 *
 * launcher.c
 *    The launcher: one process that gives every database with the extension its worker.
 *
 * It sees shared catalogs only and cannot tell which databases have the
 * extension. So it starts a worker in each database that allows connections and is
 * no template; one that finds nothing to do leaves, and the database is
 * left alone until something is committed there that may have changed that
 * (CREATE EXTENSION wakes us). New databases are found when CREATE DATABASE wakes us and by
 * a look every ten seconds.
 *
 * Locking: none beyond slots.c; pg_database is read in a short transaction. What it knows
 * about databases is its own memory and is found out again after a restart. It
 * starts after recovery only, so not on a standby before promotion.
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
#include "worker/slots.h"

#define LOOK_INTERVAL 10000L	/* ms between looks at pg_database */

/* What is known about a database. */
typedef struct KnownDatabase
{
	Oid			database;
	bool		exists;			/* seen by the present look */
	bool		dormant;		/* its worker left, having found nothing to do */
	bool		asked;			/* look again, also if the worker is just leaving */
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
see_database(Oid database)
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
}

/* Brings what we know in line with pg_database. */
static void
look_at_databases(void)
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
			see_database(form->oid);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();

	foreach(lc, known)
	{
		KnownDatabase *entry = lfirst(lc);

		if (entry->exists)
			continue;
		eddy_slots_release(entry->database, 0);
		known = foreach_delete_current(known, lc);
		pfree(entry);
	}
}

/* Databases in which something was committed may have got the extension. */
static void
take_requests(void)
{
	bool		all;
	List	   *requests = eddy_slots_take_requests(&all);
	ListCell   *lc;

	foreach(lc, known)
	{
		KnownDatabase *entry = lfirst(lc);

		if (all || list_member_oid(requests, entry->database))
			entry->asked = true;
	}
	list_free(requests);
}

/* Takes note of workers that have left. */
static void
collect_exits(void)
{
	List	   *views = eddy_slots_list(InvalidOid);
	ListCell   *lc;

	foreach(lc, views)
	{
		EddySlotView *view = lfirst(lc);
		KnownDatabase *entry = find_known(view->database);

		if (view->state == EDDY_SLOT_DONE)
		{
			if (entry)
				entry->dormant = true;
			eddy_slots_release(view->database, 0);
		}
		else if (view->state == EDDY_SLOT_FAILED && entry == NULL)
			eddy_slots_release(view->database, 0);	/* its database was dropped under it */
	}
}

/*
 * Starts what has to be started; returns how long until the next one may
 * have to be. Failures show in eddy._workers and are logged once per series.
 */
static long
start_workers(void)
{
	static bool complained = false;
	TimestampTz now = GetCurrentTimestamp();
	long		wait = LOOK_INTERVAL;
	const char *problem = NULL;
	ListCell   *lc;

	foreach(lc, known)
	{
		KnownDatabase *entry = lfirst(lc);
		const char *reason;

		if (entry->dormant && !entry->asked)
			continue;
		if (entry->dormant)
			entry->asked = entry->dormant = false;
		reason = eddy_slots_start(entry->database, 0);
		if (reason)
			problem = reason;
	}
	foreach(lc, eddy_slots_list(InvalidOid))
	{
		EddySlotView *view = lfirst(lc);

		if (view->state == EDDY_SLOT_FAILED)
			wait = Min(wait, TimestampDifferenceMilliseconds(now, view->next_start) + 1);
	}

	if (problem && !complained)
		ereport(LOG,
				(errmsg("could not start a worker of pg_eddy"),
				 errdetail("Reason: %s.", problem),
				 errhint("The function eddy._workers() shows what is not running and why.")));
	complained = (problem != NULL);
	return wait;
}

void
eddy_launcher_main(Datum arg pg_attribute_unused())
{
	static uint32 wait_event = 0;
	MemoryContext loop_context;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("eddy launcher");
	eddy_slots_set_launcher();
	loop_context = AllocSetContextCreate(TopMemoryContext, "pg_eddy launcher loop",
										 ALLOCSET_SMALL_SIZES);

	for (;;)
	{
		long		wait;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextSwitchTo(loop_context);
		MemoryContextReset(loop_context);

		/* any wake-up may mean a new database: the look costs some 20 microseconds */
		look_at_databases();
		MemoryContextSwitchTo(loop_context);
		take_requests();
		eddy_slots_check_starting();
		collect_exits();
		wait = start_workers();
		pgstat_report_stat(true);

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, wait,
						 eddy_compat_wait_event(&wait_event, "EddyLauncherMain"));
	}
}

/*-------------------------------------------------------------------------
 *
 * process.c
 *    What the worker processes of a database share.
 *
 * Locking: a source is guarded by an object lock on its number, see process.h; it is always
 * taken after the stream's lock and before any row. Memory: nothing is kept.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef __GLIBC__
#include <malloc.h>				/* mallopt, mallinfo2, malloc_trim */
#endif

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"

#include "clock.h"
#include "owner.h"
#include "worker/process.h"

/* Free memory that is kept for the next batch. */
#define KEPT_MEMORY (64 * 1024 * 1024)

#if defined(__GLIBC__) && defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 33)
#define EDDY_HAVE_MALLINFO2
#endif
#endif

void
eddy_process_connect(Oid database)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	eddy_owner_pin_process();
	(void) eddy_clock_enable(true);
	eddy_process_set_name(MyBgworkerEntry->bgw_name);
	pgstat_report_activity(STATE_IDLE, NULL);
}

void
eddy_process_set_name(const char *name)
{
	SetConfigOption("application_name", name, PGC_USERSET, PGC_S_SESSION);
	pgstat_report_appname(name);
}

void
eddy_process_reload_config(void)
{
	if (!ConfigReloadPending)
		return;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
}

bool
eddy_process_may_run(const EddySource *source)
{
	return source->enabled && source->database == MyDatabaseId &&
		!eddy_catalog_source_stopped(source->source);
}

void
eddy_process_lock_source(int32 source, int lockmode)
{
	/* no object of that class uses this lock: relations are locked as such */
	LockDatabaseObject(eddy_catalog_relid(EDDY_CATALOG_SOURCE), (Oid) source, 0, lockmode);
}

bool
eddy_process_try_lock_source(int32 source, int lockmode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, eddy_catalog_relid(EDDY_CATALOG_SOURCE), (Oid) source, 0);
	if (LockAcquire(&tag, lockmode, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages();
	return true;
}

void
eddy_process_unlock_source(int32 source, int lockmode)
{
	UnlockDatabaseObject(eddy_catalog_relid(EDDY_CATALOG_SOURCE), (Oid) source, 0, lockmode);
}

void
eddy_process_set_status(int32 source, int32 shard, const char *state, const char *error,
						const char *sqlstate)
{
	MemoryContext caller = CurrentMemoryContext;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (eddy_catalog_installed())
	{
		EddySource *row;

		eddy_process_lock_source(source, RowExclusiveLock);
		row = eddy_catalog_get_source(source);
		/* it may have been detached, or altered to have fewer workers */
		if (row != NULL && shard < eddy_catalog_source_workers(row))
			eddy_catalog_set_source_status(source, shard, state, error, sqlstate);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
}

void
eddy_process_set_start_error(Oid view, const char *error, const char *sqlstate)
{
	MemoryContext caller = CurrentMemoryContext;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (eddy_catalog_installed())
		eddy_catalog_set_start_error(view, error, sqlstate);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
}

/*
 * Fetched messages and the values of a batch come and go in pieces of megabytes. By
 * default the C library gives such pieces back to the kernel at once, and each batch
 * pays for zeroed pages again. Threads share two arenas: each arena keeps
 * free memory of its own, and librdkafka has a thread for each broker. To be called
 * before it starts any. Other C libraries than glibc keep their defaults.
 */
void
eddy_process_keep_memory(void)
{
#ifdef M_MMAP_THRESHOLD
	(void) mallopt(M_MMAP_THRESHOLD, 32 * 1024 * 1024);
	(void) mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
	(void) mallopt(M_ARENA_MAX, 2);
#endif
}

/*
 * The trim threshold counts only what is free at the end of the heap. The memory that a large
 * message leaves free may lie below a piece that is in use.
 */
void
eddy_process_return_memory(void)
{
#ifdef EDDY_HAVE_MALLINFO2
	if (mallinfo2().fordblks > KEPT_MEMORY)
		(void) malloc_trim(0);
#endif
}

/*-------------------------------------------------------------------------
 *
 * worker.h
 *    Background workers: launcher, one worker per database, one per source.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_WORKER_H
#define EDDY_WORKER_H

#include "catalog/eddy_catalog.h"

/* Requests shared memory, installs its hooks and registers the launcher. From _PG_init only. */
extern void eddy_worker_init(void);

/* Wakes launcher and this database's worker when the current transaction commits, once. */
extern void eddy_worker_wakeup_at_commit(void);

/*
 * eddy_worker_evict stops all workers of a database and keeps them away until
 * eddy_worker_readmit, so that DROP DATABASE, RENAME or a copy as TEMPLATE finds nobody
 * connected. Waits for them to be gone. Released by itself at the end of the process.
 */
extern void eddy_worker_evict(Oid database);
extern void eddy_worker_readmit(Oid database);

/*
 * eddy_process_lock_source makes changes of a source and its batches wait for each other, until
 * the end of the transaction: a batch holds RowExclusiveLock, a change of the source's row,
 * status or offsets ExclusiveLock.
 */
extern void eddy_process_lock_source(int32 source, int lockmode);

/* One background worker, as shared memory knows it. */
typedef struct EddyWorkerInfo
{
	Oid			database;
	int32		source;			/* 0: the database's own worker */
	int			pid;			/* 0: not running */
	char		problem[128];	/* why it is not running, empty if nothing is wrong */
} EddyWorkerInfo;

/* All known workers, palloc'ed; *count is set. */
extern EddyWorkerInfo *eddy_worker_list(int *count);

extern PGDLLEXPORT void eddy_launcher_main(Datum arg);
extern PGDLLEXPORT void eddy_database_worker_main(Datum arg);
extern PGDLLEXPORT void eddy_source_worker_main(Datum arg);

#endif							/* EDDY_WORKER_H */

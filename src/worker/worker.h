/*-------------------------------------------------------------------------
 *
 * worker.h
 *    Background workers: launcher, one worker for each database, one for each source.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_WORKER_H
#define EDDY_WORKER_H

#include "postgres_ext.h"

/* Kinds of workers. A new one needs an entry in worker_kinds (slots.c), and a starter. */
typedef enum EddyWorkerKind
{
	EDDY_WORKER_DATABASE,		/* the database's own; started by the launcher */
	EDDY_WORKER_SOURCE,			/* started by the database's own, as are all further kinds */
	EDDY_WORKER_CATCH_UP		/* fills a view from Kafka */
} EddyWorkerKind;

/* What identifies a worker. */
typedef struct EddyWorkerId
{
	Oid			database;
	EddyWorkerKind kind;
	int32		id;				/* of a source: its number; EDDY_WORKER_CATCH_UP: Oid of the view */
	int32		shard;			/* of a source: 0 .. n-1, if n workers consume it */
} EddyWorkerId;

/* Requests shared memory, installs its hooks and registers the launcher. From _PG_init only. */
extern void eddy_worker_init(void);

/* Wakes launcher and this database's workers when the current transaction commits, once. */
extern void eddy_worker_wakeup_at_commit(void);

/* Wakes the worker of the database alone. */
extern void eddy_worker_wake_database_at_commit(void);

/*
 * eddy_worker_evict terminates all workers of a database, waits until they have exited, and keeps
 * new ones from being started until eddy_worker_readmit or the end of this process: DROP DATABASE,
 * RENAME and a copy as TEMPLATE need a database without connections.
 */
extern void eddy_worker_evict(Oid database);
extern void eddy_worker_readmit(Oid database);

/*
 * eddy_process_lock_source makes changes of a source and its batches wait for each other, until
 * the end of the transaction: a batch holds RowExclusiveLock, a change of the source's row,
 * status or offsets ExclusiveLock.
 */
extern void eddy_process_lock_source(int32 source, int lockmode);

/* Restores of dumps, see restore.c. */
extern void eddy_worker_note_restore(void);
extern bool eddy_worker_restores(void);

/* One background worker, as shared memory knows it. */
typedef struct EddyWorkerInfo
{
	EddyWorkerId id;
	const char *kind;			/* its name: "database", "source", "catch-up" */
	bool		running;
	int			pid;			/* if running */
	char		problem[128];	/* why it is not running, empty if there is no problem */
	int64		group_lookups;	/* of a source worker: groups that were looked up */
	int64		group_hits;		/* of these, found without the index */
} EddyWorkerInfo;

/*
 * Whether all workers of a source of this database, of which there should be so many, run, have the
 * broker's confirmation of what its partitions contain, and are not delayed by a batch. Otherwise a
 * partition without messages is not idle.
 */
extern bool eddy_worker_polls(int32 source, int workers);

/* All known workers, palloc'ed; *count is set. */
extern EddyWorkerInfo *eddy_worker_list(int *count);

extern PGDLLEXPORT void eddy_launcher_main(Datum arg);
extern PGDLLEXPORT void eddy_database_worker_main(Datum arg);
extern PGDLLEXPORT void eddy_source_worker_main(Datum arg);
extern PGDLLEXPORT void eddy_catch_up_worker_main(Datum arg);

#endif							/* EDDY_WORKER_H */

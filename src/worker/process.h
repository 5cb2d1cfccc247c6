/*-------------------------------------------------------------------------
 *
 * process.h
 *    What the worker processes of a database share. Private to src/worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_PROCESS_H
#define EDDY_PROCESS_H

#include "catalog/eddy_catalog.h"
#include "worker/worker.h"

/*
 * Name of a worker's file in PG_STAT_TMP_DIR, of database, source, shard and view: see attempt.c.
 */
#define EDDY_TOKEN_FILE "pg_eddy.%u.%d.%d.%u"

/* Signals, connection and pinned settings of a worker process; application_name is its bgw_name. */
extern void eddy_process_connect(Oid database);

/* Sets application_name. */
extern void eddy_process_set_name(const char *name);

/* Reads the configuration files again if that was requested. */
extern void eddy_process_reload_config(void);

/* Whether the source is to be consumed now, in this database. Needs a transaction. */
extern bool eddy_process_may_run(const EddySource *source);

/* As eddy_process_lock_source (worker.h), but false if the lock is not available now. */
extern bool eddy_process_try_lock_source(int32 source, int lockmode);

/* Releases the lock before the transaction ends, when nothing was done under it. */
extern void eddy_process_unlock_source(int32 source, int lockmode);

/*
 * eddy_process_set_status writes the status of a source's worker in a transaction of its own,
 * unless the source was detached. Must be called outside a transaction.
 */
extern void eddy_process_set_status(int32 source, int32 shard, const char *state,
									const char *error, const char *sqlstate);

/* The same for the error of a view that is filled from Kafka; NULL: none. */
extern void eddy_process_set_start_error(Oid view, const char *error, const char *sqlstate);

/*
 * eddy_process_keep_memory sets how much freed memory the process keeps for the
 * next batch; eddy_process_return_memory gives back what is beyond that.
 */
extern void eddy_process_keep_memory(void);
extern void eddy_process_return_memory(void);

#endif							/* EDDY_PROCESS_H */

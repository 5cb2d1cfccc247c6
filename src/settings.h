/*-------------------------------------------------------------------------
 *
 * settings.h
 *    Every setting (GUC) of pg_eddy, alphabetical. Prefix "pg_eddy.".
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_SETTINGS_H
#define EDDY_SETTINGS_H

/* When the WAL has the old rows of updates of state tables. */
typedef enum EddyLogOldRows
{
	EDDY_LOG_OLD_ROWS_AUTO,		/* if a slot may return them */
	EDDY_LOG_OLD_ROWS_ON
} EddyLogOldRows;

extern bool eddy_settings_allow_insecure_connections;	/* TLS options that disable protections */
extern char *eddy_settings_allowed_brokers; /* empty: any */
extern int	eddy_settings_batch_bytes;	/* kB of payload that end a batch */
extern int	eddy_settings_batch_rows;	/* rows that end a batch */
extern int	eddy_settings_batch_target_time;	/* ms that a full batch should take; 0: no target */
extern int	eddy_settings_batch_time;	/* ms from the first row that end a batch */
extern int	eddy_settings_batch_time_limit; /* ms to process a batch */
extern int	eddy_settings_catch_up_rate;	/* rows per second of a view that is filled; 0: any */
extern int	eddy_settings_fold_interval;	/* ms between merges of deferred changes */
extern int	eddy_settings_group_cache_memory;	/* kB for each state table of a worker; 0: none */
extern int	eddy_settings_group_values_limit;	/* values that an aggregate keeps of one group */
extern int	eddy_settings_log_old_rows; /* EddyLogOldRows */
extern int	eddy_settings_max_workers_per_database;	/* source workers; -1: half of all */
extern int	eddy_settings_queue_memory; /* kB of fetched messages waiting, per source */
extern int	eddy_settings_reserved_worker_processes;	/* that source workers do not use */
extern int	eddy_settings_restart_delay_max;	/* s, maximum back-off of workers */
extern bool eddy_settings_synchronous_commit;	/* batches wait for the flush of their WAL */
extern int	eddy_settings_test_clock_offset;	/* s, added to the monotonic clock */

/* The largest value of batch_rows. */
#define EDDY_MAX_BATCH_ROWS 1000000

/* Defines all settings; call from _PG_init only. */
extern void eddy_settings_define(void);

#endif							/* EDDY_SETTINGS_H */

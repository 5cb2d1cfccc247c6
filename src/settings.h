/*-------------------------------------------------------------------------
 *
 * settings.h
 *    Every setting (GUC) of pg_eddy, alphabetical. Prefix "pg_eddy.".
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_SETTINGS_H
#define EDDY_SETTINGS_H

extern bool eddy_settings_allow_insecure_connections;	/* TLS without its protection */
extern char *eddy_settings_allowed_brokers; /* empty: any */
extern int	eddy_settings_batch_bytes;	/* kB of payload that cut a batch */
extern int	eddy_settings_batch_rows;	/* rows that cut a batch */
extern int	eddy_settings_batch_time;	/* ms from the first row that cut a batch */
extern int	eddy_settings_batch_time_limit; /* ms that a batch may take to be applied */
extern int	eddy_settings_max_workers_per_database;	/* sources; -1: half of all workers */
extern int	eddy_settings_queue_memory; /* kB of fetched messages waiting, per source */
extern int	eddy_settings_reserved_worker_processes;	/* that sources leave to others */
extern int	eddy_settings_restart_delay_max;	/* s, upper end of the back-off of workers */

/* Defines all settings; call from _PG_init only. */
extern void eddy_settings_define(void);

#endif							/* EDDY_SETTINGS_H */

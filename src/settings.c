/*-------------------------------------------------------------------------
 *
 * settings.c
 *    Every setting (GUC) of pg_eddy, alphabetical, with units in the flags.
 *
 * All are PGC_SIGHUP: they steer background workers, which read them anew
 * after a reload, before their next batch.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "broker_list.h"
#include "settings.h"

#define MAX_WORKERS 262143		/* as for max_worker_processes */

bool		eddy_settings_allow_insecure_connections = false;
char	   *eddy_settings_allowed_brokers = NULL;
int			eddy_settings_batch_bytes = 16 * 1024;
int			eddy_settings_batch_rows = 10000;
int			eddy_settings_batch_time = 50;
int			eddy_settings_batch_time_limit = 60000;
int			eddy_settings_max_workers_per_database = -1;
int			eddy_settings_queue_memory = 64 * 1024;
int			eddy_settings_reserved_worker_processes = 2;
int			eddy_settings_restart_delay_max = 60;

/*
 * eddy_settings_define registers the settings with the server and reserves the
 * prefix, so that a misspelt name in the configuration is reported.
 */
void
eddy_settings_define(void)
{
	DefineCustomBoolVariable("pg_eddy.allow_insecure_connections",
							 "Allows options of servers that give up the protection of TLS.",
							 "Without it certificates and host names are verified, and ciphers encrypt.",
							 &eddy_settings_allow_insecure_connections,
							 false,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("pg_eddy.allowed_brokers",
							   "Hosts that sources may connect to, as host:port or CIDR blocks.",
							   "An empty list allows any host that a foreign server names.",
							   &eddy_settings_allowed_brokers,
							   "",
							   PGC_SIGHUP, GUC_LIST_INPUT | GUC_SUPERUSER_ONLY,
							   eddy_broker_list_check_setting, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.batch_bytes",
							"Size of message payloads at which a Kafka batch is committed.",
							NULL,
							&eddy_settings_batch_bytes,
							16 * 1024, 64, 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.batch_rows",
							"Number of messages at which a Kafka batch is committed.",
							NULL,
							&eddy_settings_batch_rows,
							10000, 1, 1000000,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.batch_time",
							"Longest time that a Kafka batch collects messages.",
							"A batch is committed at once when no more messages are waiting.",
							&eddy_settings_batch_time,
							50, 0, 60000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.batch_time_limit",
							"Longest time that a Kafka batch may take to be applied.",
							"A batch that takes longer is cancelled and tried again in smaller parts, "
							"until the message that takes so long is found.",
							&eddy_settings_batch_time_limit,
							60000, 100, 24 * 3600 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.max_workers_per_database",
							"Number of sources of one database that are consumed at the same time.",
							"-1 stands for half of max_worker_processes.",
							&eddy_settings_max_workers_per_database,
							-1, -1, MAX_WORKERS,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.queue_memory",
							"Memory for fetched messages that wait, for each source.",
							"Fetching stops when it is full.",
							&eddy_settings_queue_memory,
							64 * 1024, 1024, 2097151,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.reserved_worker_processes",
							"Number of background worker processes that sources leave to others.",
							"Of max_worker_processes, for parallel queries, replication and databases that have no source yet.",
							&eddy_settings_reserved_worker_processes,
							2, 0, MAX_WORKERS,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.restart_delay_max",
							"Longest wait before a failed worker is started again.",
							"The wait begins at one second and doubles with each failure in a row.",
							&eddy_settings_restart_delay_max,
							60, 1, 3600,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);

	MarkGUCPrefixReserved("pg_eddy");
}

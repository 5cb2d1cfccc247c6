/*-------------------------------------------------------------------------
 *
 * settings.c
 *    Every setting (GUC) of pg_eddy, alphabetical, with units in the flags.
 *
 * Nearly all are PGC_SIGHUP: they control background workers, which read them
 * again after a reload, before their next batch. Superusers can set the limit of
 * values, and log_old_rows, in a session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "broker_list.h"
#include "settings.h"

static const struct config_enum_entry log_old_rows_values[] = {
	{"auto", EDDY_LOG_OLD_ROWS_AUTO, false},
	{"on", EDDY_LOG_OLD_ROWS_ON, false},
	{"true", EDDY_LOG_OLD_ROWS_ON, true},
	{"yes", EDDY_LOG_OLD_ROWS_ON, true},
	{"1", EDDY_LOG_OLD_ROWS_ON, true},
	{NULL, 0, false}
};

#define MAX_WORKERS 262143		/* as for max_worker_processes */

bool		eddy_settings_allow_insecure_connections = false;
char	   *eddy_settings_allowed_brokers = NULL;
int			eddy_settings_batch_bytes = 16 * 1024;
int			eddy_settings_batch_rows = 100000;
int			eddy_settings_batch_target_time = 200;
int			eddy_settings_batch_time = 50;
int			eddy_settings_batch_time_limit = 60000;
int			eddy_settings_catch_up_rate = 0;
int			eddy_settings_fold_interval = 1000;
int			eddy_settings_group_cache_memory = 4 * 1024;
int			eddy_settings_group_values_limit = 1000000;
int			eddy_settings_log_old_rows = EDDY_LOG_OLD_ROWS_AUTO;
int			eddy_settings_max_workers_per_database = -1;
int			eddy_settings_queue_memory = 64 * 1024;
int			eddy_settings_reserved_worker_processes = 2;
int			eddy_settings_restart_delay_max = 60;
bool		eddy_settings_synchronous_commit = false;
int			eddy_settings_test_clock_offset = 0;

/*
 * eddy_settings_define registers the settings with the server and reserves the
 * prefix, so that a misspelt name in the configuration is reported.
 */
void
eddy_settings_define(void)
{
	DefineCustomBoolVariable("pg_eddy.allow_insecure_connections",
							 "Allows options of foreign servers that disable protections of TLS.",
							 "If off, certificates and host names must be verified, and ciphers must encrypt.",
							 &eddy_settings_allow_insecure_connections,
							 false,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("pg_eddy.allowed_brokers",
							   "Hosts that sources may connect to, as host:port or CIDR blocks.",
							   "An empty list allows all hosts.",
							   &eddy_settings_allowed_brokers,
							   "",
							   PGC_SIGHUP, GUC_LIST_INPUT | GUC_SUPERUSER_ONLY,
							   eddy_broker_list_check_setting, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.batch_bytes",
							"Size of message payloads after which a Kafka batch is committed.",
							NULL,
							&eddy_settings_batch_bytes,
							16 * 1024, 64, 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.batch_rows",
							"Number of messages after which a Kafka batch is committed.",
							NULL,
							&eddy_settings_batch_rows,
							100000, 1, EDDY_MAX_BATCH_ROWS,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.batch_target_time",
							"Time that processing a Kafka batch should take when more messages are waiting.",
							"Batches grow until they take so much CPU time. 0 means that they are as large as other settings allow.",
							&eddy_settings_batch_target_time,
							200, 0, 60000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.batch_time",
							"Maximum time to collect messages for a Kafka batch.",
							"A batch is committed earlier if no more messages are waiting.",
							&eddy_settings_batch_time,
							50, 0, 60000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.batch_time_limit",
							"Maximum time to process a Kafka batch, or to close a window.",
							"A batch that exceeds it is cancelled and retried in smaller parts, "
							"until the message that causes it is found.",
							&eddy_settings_batch_time_limit,
							60000, 100, 24 * 3600 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.catch_up_rate",
							"Maximum number of messages per second that a new continuous view is filled with from Kafka.",
							"0 means no limit.",
							&eddy_settings_catch_up_rate,
							0, 0, INT_MAX,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.fold_interval",
							"Time between two merges of the changes of views with maintenance => 'deferred'.",
							NULL,
							&eddy_settings_fold_interval,
							1000, 10, 60000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.group_cache_memory",
							"Maximum memory for the places of groups that a source worker remembers, for each view.",
							"A group whose place is known is found without the index. 0 disables this.",
							&eddy_settings_group_cache_memory,
							4 * 1024, 0, 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.group_values_limit",
							"Maximum number of values that an aggregate of a continuous view keeps for one group.",
							"A row that would exceed it is rejected for that view.",
							&eddy_settings_group_values_limit,
							1000000, 1, INT_MAX,
							PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomEnumVariable("pg_eddy.log_old_rows",
							 "When the old rows of updates of continuous views are written to the WAL.",
							 "With auto, if the database has a logical replication slot.",
							 &eddy_settings_log_old_rows,
							 EDDY_LOG_OLD_ROWS_AUTO, log_old_rows_values,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.max_workers_per_database",
							"Maximum number of source workers in one database.",
							"-1 means half of max_worker_processes.",
							&eddy_settings_max_workers_per_database,
							-1, -1, MAX_WORKERS,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.queue_memory",
							"Maximum memory for fetched messages that wait to be processed, for each source.",
							"Fetching stops when it is reached.",
							&eddy_settings_queue_memory,
							64 * 1024, 1024, 2097151,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.reserved_worker_processes",
							"Number of background worker slots that source workers do not use.",
							"They are left for parallel queries, replication and databases without sources.",
							&eddy_settings_reserved_worker_processes,
							2, 0, MAX_WORKERS,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.restart_delay_max",
							"Maximum delay before a failed worker is restarted.",
							"The delay starts at one second and doubles with each consecutive failure.",
							&eddy_settings_restart_delay_max,
							60, 1, 3600,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("pg_eddy.synchronous_commit",
							 "Lets Kafka batches become visible only when their WAL has been flushed.",
							 "If on, the setting synchronous_commit of the server applies to them. "
							 "If off, the flush is started at the commit, and nothing waits for it.",
							 &eddy_settings_synchronous_commit,
							 false,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("pg_eddy.test_clock_offset",
							"Time by which the clocks of idle_timeout, auto_advance, emit => 'every ...' and idle_ttl are ahead.",
							"For tests, which raise it instead of waiting.",
							&eddy_settings_test_clock_offset,
							0, 0, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_S | GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL | GUC_SUPERUSER_ONLY,
							NULL, NULL, NULL);

	MarkGUCPrefixReserved("pg_eddy");
}

/*-------------------------------------------------------------------------
 *
 * connection.c
 *    Opens, watches and closes a connection of librdkafka.
 *
 * A connection belongs to the process that opened it. librdkafka
 * runs threads: a connection must never be opened before a fork. librdkafka blocks all signals
 * in its threads; they are also blocked around rd_kafka_new, so that no handler of
 * PostgreSQL can run on one of these threads.
 *
 * A byte in a pipe signals that a queue is not empty: that of the events (log lines, and errors of
 * brokers), and those that the user of the connection watches. The worker waits for that together
 * with its latch, without polling.
 *
 * Properties come from three places, of which the later takes precedence: the defaults of the role,
 * the options of the user, and the values that pg_eddy's guarantees depend on.
 *
 * Memory: names are in TopMemoryContext and outlive transactions. What librdkafka allocates is its
 * own; the owner of the connection must close it on every path. After a crash nothing is left.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "commands/defrem.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "kafka/internal.h"
#include "kafka/properties.h"
#include "settings.h"

#define TIMER_SLACK 2000000L		/* ns, see start */

/* What pg_eddy's guarantees depend on in every role. */
static const EddyKafkaProperty fixed_properties[] = {
	{"allow.auto.create.topics", "false"},
	{"log.queue", "true"},
	{"log.connection.close", "false"},
	{NULL}
};

/* eddy_kafka_set_property sets one property and fills error if it is refused. */
bool
eddy_kafka_set_property(rd_kafka_conf_t *conf, const char *name, const char *value,
						EddyKafkaError *error)
{
	char		errstr[256];

	if (rd_kafka_conf_set(conf, name, value, errstr, sizeof(errstr)) == RD_KAFKA_CONF_OK)
		return true;

	/* the value of a secret must not get into the message */
	eddy_kafka_set_error(error, NULL, RD_KAFKA_RESP_ERR__INVALID_ARG,
						 "the Kafka client refused an option",
						 eddy_kafka_option_is_secret(name) ? name : errstr);
	return false;
}

/* eddy_kafka_set_number sets a property that has an integer value. */
bool
eddy_kafka_set_number(rd_kafka_conf_t *conf, const char *name, int value, EddyKafkaError *error)
{
	char		buf[16];

	snprintf(buf, sizeof(buf), "%d", value);
	return eddy_kafka_set_property(conf, name, buf, error);
}

/* apply_defaults sets what options can change, or librdkafka versions do not all have. */
static bool
apply_defaults(rd_kafka_conf_t *conf, const EddyKafkaSettings *settings, EddyKafkaError *error)
{
	char		errstr[256];

	/*
	 * Since 2.5 the client reports statistics to brokers that request them, and sends a last
	 * report when it is closed. Version 2.8.0 can crash in that code, and it is not needed.
	 */
	(void) rd_kafka_conf_set(conf, "enable.metrics.push", "false", errstr, sizeof(errstr));

	/* a broker that is available again is detected within seconds, and attempts are cheap */
	return eddy_kafka_set_property(conf, "reconnect.backoff.max.ms", "3000", error) &&
		eddy_kafka_set_property(conf, "client.id", settings->client_id, error);
}

/* refuse_weakness fills error for a value that only the administrator can allow. */
static bool
refuse_weakness(const char *name, const char *weakness, EddyKafkaError *error)
{
	if (weakness == NULL || eddy_settings_allow_insecure_connections)
		return true;
	eddy_kafka_set_error(error, NULL, RD_KAFKA_RESP_ERR__INVALID_ARG,
						 "option of the Kafka server needs the setting \"pg_eddy.allow_insecure_connections\"",
						 name);
	error->sqlerrcode = ERRCODE_INSUFFICIENT_PRIVILEGE;
	return false;
}

/*
 * apply_options sets the user's options, which were checked when they were given. What
 * the administrator allows may have changed since.
 */
static bool
apply_options(rd_kafka_conf_t *conf, List *options, EddyKafkaError *error)
{
	ListCell   *lc;
	bool		has_brokers = false;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);
		const char *name = option->defname;

		/* the catalogs can contain options that an older version accepted */
		if (!eddy_kafka_option_is_known(name))
		{
			eddy_kafka_set_error(error, NULL, RD_KAFKA_RESP_ERR__INVALID_ARG,
								 "option of the Kafka server is not allowed", name);
			return false;
		}
		if (strcmp(name, "bootstrap.servers") == 0)
			has_brokers = true;
		if (!eddy_kafka_set_property(conf, name, defGetString(option), error) ||
			!refuse_weakness(name, eddy_kafka_option_weakness(name, defGetString(option)), error))
			return false;
	}

	if (!has_brokers)
	{
		eddy_kafka_set_error(error, NULL, RD_KAFKA_RESP_ERR__INVALID_ARG,
							 "option of the Kafka server is missing", "bootstrap.servers");
		return false;
	}
	return true;
}

/*
 * apply_fixed sets what may not be changed, and disables a dangerous default:
 * the mechanism GSSAPI, which is used without sasl.mechanism, runs a command
 * through a shell. It is not in every build of the library.
 */
static bool
apply_fixed(rd_kafka_conf_t *conf, const EddyKafkaRole *role, EddyKafkaError *error)
{
	char		value[64];
	char		protocol[sizeof(value)];
	size_t		size = sizeof(value);

	for (int i = 0; i < 2; i++)
		for (const EddyKafkaProperty *property = i == 0 ? fixed_properties : role->fixed;
			 property->name != NULL; property++)
			if (!eddy_kafka_set_property(conf, property->name, property->value, error))
				return false;

	if (rd_kafka_conf_get(conf, "security.protocol", value, &size) == RD_KAFKA_CONF_OK &&
		pg_strncasecmp(value, "sasl", 4) == 0)
	{
		strcpy(protocol, value);
		size = sizeof(value);
		if (rd_kafka_conf_get(conf, "sasl.mechanisms", value, &size) != RD_KAFKA_CONF_OK ||
			!eddy_kafka_mechanism_is_allowed(value))
		{
			eddy_kafka_set_error(error, NULL, RD_KAFKA_RESP_ERR__INVALID_ARG,
								 "option of the Kafka server is missing", "sasl.mechanism");
			return false;
		}
		return refuse_weakness("security.protocol", eddy_kafka_protocol_weakness(protocol, value),
							   error);
	}
	return true;
}

/* open_pipe creates the pipe with which librdkafka wakes the worker. */
static bool
open_pipe(int fds[2])
{
	if (pipe(fds) < 0)
		return false;
	for (int i = 0; i < 2; i++)
	{
		if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0 || !pg_set_noblock(fds[i]))
		{
			int			save = errno;

			close(fds[0]);
			close(fds[1]);
			errno = save;
			return false;
		}
	}
	ReserveExternalFD();
	ReserveExternalFD();
	return true;
}

static void
close_pipe(int fds[2])
{
	for (int i = 0; i < 2; i++)
	{
		close(fds[i]);
		ReleaseExternalFD();
	}
}

/*
 * start is rd_kafka_new with all signals blocked. NULL leaves conf to the caller.
 *
 * librdkafka rounds the time until its next timer down to milliseconds, and spends the rest calling
 * clock_gettime: nearly a millisecond each second (seen in 2.0.2). Its threads inherit the slack of
 * the timers of the one that starts them. If the kernel may wake them somewhat later, the time has
 * come. This concerns timeouts only, not the arrival of messages.
 */
static rd_kafka_t *
start(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *errstr, size_t size)
{
	sigset_t	all;
	sigset_t	before;
	rd_kafka_t *rk;
#ifdef PR_SET_TIMERSLACK
	int			slack = prctl(PR_GET_TIMERSLACK, 0L, 0L, 0L, 0L);

	if (slack > 0)
		(void) prctl(PR_SET_TIMERSLACK, TIMER_SLACK, 0L, 0L, 0L);
#endif

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rk = rd_kafka_new(type, conf, errstr, size);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
#ifdef PR_SET_TIMERSLACK
	if (slack > 0)
		(void) prctl(PR_SET_TIMERSLACK, (unsigned long) slack, 0L, 0L, 0L);
#endif
	return rk;
}

/*
 * eddy_kafka_connect opens a connection in the current process. options is a List of DefElem (of
 * server and user mapping) that eddy_kafka_check_options has checked. Fails with EDDY_KAFKA_CONFIG,
 * and then frees what it has allocated.
 */
bool
eddy_kafka_connect(EddyKafkaConnection *connection, const EddyKafkaRole *role, List *options,
				   const EddyKafkaSettings *settings, EddyKafkaError *error)
{
	EddyBrokerList *allowed;
	rd_kafka_conf_t *conf;
	char		brokers[1024];
	size_t		size = sizeof(brokers);
	const char *refused;
	char		errstr[256];

	eddy_kafka_clear_error(error);

	allowed = eddy_broker_list_parse(settings->allowed_brokers);
	conf = rd_kafka_conf_new();

	if (!apply_defaults(conf, settings, error) ||
		!role->set_defaults(conf, settings, error) ||
		!apply_options(conf, options, error) ||
		!role->complete(conf, options, error) ||
		!apply_fixed(conf, role, error))
		goto failed;

	/* a longer list than fits is checked where each name is resolved */
	if (rd_kafka_conf_get(conf, "bootstrap.servers", brokers, &size) == RD_KAFKA_CONF_OK &&
		(refused = eddy_broker_list_refused(allowed, brokers)) != NULL)
	{
		eddy_kafka_set_error(error, NULL, RD_KAFKA_RESP_ERR__INVALID_ARG,
							 "broker is not listed in \"pg_eddy.allowed_brokers\"", refused);
		error->sqlerrcode = ERRCODE_INSUFFICIENT_PRIVILEGE;
		goto failed;
	}
	eddy_kafka_guard_resolving(conf, allowed);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_ERROR);

	if (!open_pipe(connection->pipe))
	{
		eddy_kafka_set_error(error, NULL, RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE,
							 "could not create a pipe", strerror(errno));
		goto failed;
	}
	connection->rk = start(role->type, conf, errstr, sizeof(errstr));
	if (connection->rk == NULL)
	{
		eddy_kafka_set_error(error, NULL, rd_kafka_last_error(),
							 "the Kafka client refused its options", errstr);
		close_pipe(connection->pipe);
		goto failed;
	}

	/* the connection owns conf from here on */
	connection->allowed = allowed;
	connection->name = MemoryContextStrdup(TopMemoryContext, settings->log_name);
	connection->events = rd_kafka_queue_get_main(connection->rk);
	rd_kafka_set_log_queue(connection->rk, connection->events);
	eddy_kafka_watch(connection, connection->events);
	return true;

failed:
	rd_kafka_conf_destroy(conf);
	eddy_broker_list_free(allowed);
	return false;
}

/* eddy_kafka_watch lets the pipe signal when a queue is no longer empty. */
void
eddy_kafka_watch(EddyKafkaConnection *connection, rd_kafka_queue_t *queue)
{
	rd_kafka_queue_io_event_enable(queue, connection->pipe[1], "1", 1);
}

/*
 * eddy_kafka_disconnect closes the connection, within about a second, and sends nothing to the
 * broker, which may be unreachable. Other queues must have been destroyed, and messages released:
 * they point into what is destroyed.
 */
void
eddy_kafka_disconnect(EddyKafkaConnection *connection)
{
	rd_kafka_queue_io_event_enable(connection->events, -1, NULL, 0);
	rd_kafka_queue_destroy(connection->events);
	rd_kafka_destroy_flags(connection->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);

	/* no thread of librdkafka is left that could write or resolve a name */
	close_pipe(connection->pipe);
	eddy_broker_list_free(connection->allowed);
	pfree(connection->name);
}

/*
 * report_log writes a log line of librdkafka. The first error goes to the server
 * log; those that follow, up to the next successful response, are for debugging.
 */
static void
report_log(EddyKafkaConnection *connection, rd_kafka_event_t *event)
{
	const char *facility;
	const char *line;
	int			level;
	int			elevel = DEBUG1;

	if (rd_kafka_event_log(event, &facility, &line, &level) != 0)
		return;

	/* levels are those of syslog: 3 is "error" */
	if (level <= 3 && !connection->failing)
	{
		connection->failing = true;
		elevel = LOG;
	}
	ereport(elevel, (errmsg_internal("Kafka client of %s: %s: %s", connection->name, facility, line)));
}

/*
 * report_error remembers a broker error, and returns true if it concerns the whole
 * source: consumption continues when one of several brokers is unreachable, or an
 * idle connection was closed.
 */
static bool
report_error(EddyKafkaConnection *connection, rd_kafka_event_t *event, EddyKafkaError *error)
{
	rd_kafka_resp_err_t err = rd_kafka_event_error(event);
	const char *reason = rd_kafka_event_error_string(event);

	switch (err)
	{
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
			connection->error_count++;
			eddy_kafka_set_error(error, connection, err, "could not reach the brokers", NULL);
			return true;

		case RD_KAFKA_RESP_ERR__AUTHENTICATION:
		case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
		case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
		case RD_KAFKA_RESP_ERR__SSL:
			eddy_kafka_remember_error(connection, err, reason);
			eddy_kafka_set_error(error, connection, err, "could not log in to the brokers", reason);
			return true;

		case RD_KAFKA_RESP_ERR__FATAL:
			eddy_kafka_set_error(error, connection, err, "the Kafka client failed", reason);
			return true;

		case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
			return false;

		default:
			eddy_kafka_remember_error(connection, err, reason);
			/* other requests of that connection fail as well, but are repeated */
			if (!eddy_kafka_is_too_large(err, reason))
				return false;
			eddy_kafka_set_error(error, connection, err, "could not fetch from the topic", reason);
			return true;
	}
}

/*
 * eddy_kafka_serve_events processes the queue of events; false if one is an error of the source.
 * It continues after such an error, because the queue signals again only after it was
 * empty; of several errors, the last is reported.
 */
bool
eddy_kafka_serve_events(EddyKafkaConnection *connection, EddyKafkaError *error)
{
	rd_kafka_event_t *event;
	bool		ok = true;

	/*
	 * writing a log line checks for interrupts: the process must not exit before events are freed
	 */
	HOLD_INTERRUPTS();
	while ((event = rd_kafka_queue_poll(connection->events, 0)) != NULL)
	{
		switch (rd_kafka_event_type(event))
		{
			case RD_KAFKA_EVENT_LOG:
				report_log(connection, event);
				break;
			case RD_KAFKA_EVENT_ERROR:
				if (report_error(connection, event, error))
					ok = false;
				break;
			default:
				break;
		}
		rd_kafka_event_destroy(event);
	}
	RESUME_INTERRUPTS();
	return ok;
}

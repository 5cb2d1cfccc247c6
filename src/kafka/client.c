/*-------------------------------------------------------------------------
 *
 * client.c
 *    Opens, watches and closes a librdkafka consumer.
 *
 * A client belongs to the process that opened it and to one source. librdkafka
 * runs threads: a client must never be opened before a fork. librdkafka blocks all signals
 * in its threads; they are also blocked around rd_kafka_new, so that no handler of
 * PostgreSQL can run on one of these threads.
 *
 * There are two queues: messages of all partitions, and events (log lines, and
 * errors of brokers). A byte in a pipe signals that one of them is not empty; the
 * worker waits for that together with its latch, without polling.
 *
 * Memory: the client is in TopMemoryContext and outlives transactions. What
 * librdkafka allocates is its own; the owner of the client must close it on
 * every path. After a crash nothing is lost: offsets are stored in our tables only.
 *
 * Properties come from three places, of which the later takes precedence: the settings of the
 * worker, the options of the user, and the values that pg_eddy's guarantees depend on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "commands/defrem.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "kafka/internal.h"
#include "kafka/properties.h"
#include "settings.h"

/*
 * The largest response to a fetch request, unless an option sets it: it is
 * held as a whole, once for each broker, while its messages are queued. It must
 * fit into the largest response that is accepted, and hold the largest message.
 */
#define FETCH_MAX_BYTES (8 * 1024 * 1024)
#define RESPONSE_OVERHEAD 512

/* What pg_eddy's guarantees depend on: set last, so that no option can change it. */
static const struct
{
	const char *name;
	const char *value;
}			fixed_properties[] =
{
	{"enable.auto.commit", "false"},	/* offsets are stored in our tables only */
	{"enable.auto.offset.store", "false"},
	{"auto.offset.reset", "error"}, /* a lost offset is never skipped silently */
	{"isolation.level", "read_committed"},
	{"enable.partition.eof", "true"},
	{"allow.auto.create.topics", "false"},
	{"max.poll.interval.ms", "86400000"},	/* partitions are assigned: no group excludes us */
	{"log.queue", "true"},
	{"log.connection.close", "false"},
};

/* set_property sets one property and fills error if it is refused. */
static bool
set_property(rd_kafka_conf_t *conf, const char *name, const char *value, EddyKafkaError *error)
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

/* set_number sets a property that has an integer value. */
static bool
set_number(rd_kafka_conf_t *conf, const char *name, int value, EddyKafkaError *error)
{
	char		buf[16];

	snprintf(buf, sizeof(buf), "%d", value);
	return set_property(conf, name, buf, error);
}

/* get_number reads a property that has an integer value; 0 if it cannot be read. */
static int
get_number(rd_kafka_conf_t *conf, const char *name)
{
	char		buf[32];
	size_t		size = sizeof(buf);

	return rd_kafka_conf_get(conf, name, buf, &size) == RD_KAFKA_CONF_OK ? atoi(buf) : 0;
}

/* apply_settings applies the worker's own settings. */
static bool
apply_settings(rd_kafka_conf_t *conf, const EddyKafkaSettings *settings, EddyKafkaError *error)
{
	char		errstr[256];

	/* since 2.2; for older versions see wake_fetchers in fetch.c */
	(void) rd_kafka_conf_set(conf, "fetch.queue.backoff.ms", "10", errstr, sizeof(errstr));

	/*
	 * Since 2.5 the client reports statistics to brokers that request them, and sends a last
	 * report when it is closed. Version 2.8.0 can crash in that code, and it is not needed.
	 */
	(void) rd_kafka_conf_set(conf, "enable.metrics.push", "false", errstr, sizeof(errstr));

	/* a broker that is available again is detected within seconds, and attempts are cheap */
	if (!set_property(conf, "reconnect.backoff.max.ms", "3000", error))
		return false;

	/* the group is never joined, but assigning partitions needs one */
	return set_property(conf, "client.id", settings->client_id, error) &&
		set_property(conf, "group.id", settings->client_id, error) &&
		set_number(conf, "queued.min.messages", settings->queued_min_messages, error) &&
		set_number(conf, "queued.max.messages.kbytes", settings->queued_max_kbytes, error) &&
		set_number(conf, "fetch.wait.max.ms", settings->fetch_wait_max_ms, error) &&
		set_property(conf, "check.crcs", settings->check_crcs ? "true" : "false", error);
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
	bool		has_fetch_max = false;

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
		if (strcmp(name, "fetch.max.bytes") == 0)
			has_fetch_max = true;
		if (!set_property(conf, name, defGetString(option), error) ||
			!refuse_weakness(name, eddy_kafka_option_weakness(name, defGetString(option)), error))
			return false;
	}

	if (!has_brokers)
	{
		eddy_kafka_set_error(error, NULL, RD_KAFKA_RESP_ERR__INVALID_ARG,
							 "option of the Kafka server is missing", "bootstrap.servers");
		return false;
	}

	/* between the lower and the upper limit that follow from other options */
	return has_fetch_max ||
		set_number(conf, "fetch.max.bytes",
				   Max(Min(FETCH_MAX_BYTES,
						   get_number(conf, "receive.message.max.bytes") - RESPONSE_OVERHEAD),
					   get_number(conf, "message.max.bytes")), error);
}

/*
 * apply_fixed sets what may not be changed, and disables a dangerous default:
 * the mechanism GSSAPI, which is used without sasl.mechanism, runs a command
 * through a shell. It is not in every build of the library.
 */
static bool
apply_fixed(rd_kafka_conf_t *conf, EddyKafkaError *error)
{
	char		value[64];
	char		protocol[sizeof(value)];
	size_t		size = sizeof(value);

	for (size_t i = 0; i < lengthof(fixed_properties); i++)
		if (!set_property(conf, fixed_properties[i].name, fixed_properties[i].value, error))
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

/* start_consumer is rd_kafka_new with all signals blocked. NULL leaves conf to the caller. */
static rd_kafka_t *
start_consumer(rd_kafka_conf_t *conf, char *errstr, size_t size)
{
	sigset_t	all;
	sigset_t	before;
	rd_kafka_t *rk;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, errstr, size);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rk;
}

/*
 * eddy_kafka_open creates a consumer in the current process. options is a List of DefElem (of
 * server and user mapping) that eddy_kafka_check_option has checked. Fails with EDDY_KAFKA_CONFIG,
 * and then frees what it has allocated.
 */
EddyKafkaClient *
eddy_kafka_open(List *options, const EddyKafkaSettings *settings, EddyKafkaError *error)
{
	EddyKafkaClient *client;
	EddyBrokerList *allowed;
	rd_kafka_conf_t *conf;
	char		brokers[1024];
	size_t		size = sizeof(brokers);
	const char *refused;
	char		errstr[256];

	eddy_kafka_clear_error(error);

	client = MemoryContextAllocZero(TopMemoryContext, sizeof(EddyKafkaClient));
	allowed = eddy_broker_list_parse(settings->allowed_brokers);
	conf = rd_kafka_conf_new();

	if (!apply_settings(conf, settings, error) ||
		!apply_options(conf, options, error) ||
		!apply_fixed(conf, error))
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

	if (!open_pipe(client->pipe))
	{
		eddy_kafka_set_error(error, NULL, RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE,
							 "could not create a pipe", strerror(errno));
		goto failed;
	}
	client->rk = start_consumer(conf, errstr, sizeof(errstr));
	if (client->rk == NULL)
	{
		eddy_kafka_set_error(error, NULL, rd_kafka_last_error(),
							 "the Kafka client refused its options", errstr);
		close(client->pipe[0]);
		close(client->pipe[1]);
		ReleaseExternalFD();
		ReleaseExternalFD();
		goto failed;
	}

	/* the client owns conf from here on */
	client->allowed = allowed;
	client->name = MemoryContextStrdup(TopMemoryContext, settings->log_name);
	client->queue_bytes = (int64) settings->queued_max_kbytes * 1024;
	client->queue_messages = settings->queued_min_messages;
	client->messages = rd_kafka_queue_get_consumer(client->rk);
	client->events = rd_kafka_queue_get_main(client->rk);
	rd_kafka_set_log_queue(client->rk, client->events);
	rd_kafka_queue_io_event_enable(client->messages, client->pipe[1], "1", 1);
	rd_kafka_queue_io_event_enable(client->events, client->pipe[1], "1", 1);
	return client;

failed:
	rd_kafka_conf_destroy(conf);
	eddy_broker_list_free(allowed);
	pfree(client);
	return NULL;
}

/*
 * eddy_kafka_close destroys the client, within about a second. Nothing is sent to the broker: there
 * is no group to leave and no offset to commit, and the broker may be unreachable. The
 * messages must have been released: they point into what is destroyed.
 */
void
eddy_kafka_close(EddyKafkaClient *client)
{
	if (client == NULL)
		return;

	while (client->batch_next < client->batch_count)
		rd_kafka_message_destroy(client->batch[client->batch_next++]);

	rd_kafka_queue_io_event_enable(client->messages, -1, NULL, 0);
	rd_kafka_queue_io_event_enable(client->events, -1, NULL, 0);
	rd_kafka_queue_destroy(client->messages);
	rd_kafka_queue_destroy(client->events);
	rd_kafka_destroy_flags(client->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);

	/* no thread of librdkafka is left that could write or resolve a name */
	close(client->pipe[0]);
	close(client->pipe[1]);
	ReleaseExternalFD();
	ReleaseExternalFD();
	eddy_broker_list_free(client->allowed);

	if (client->leaders != NULL)
		rd_kafka_topic_partition_list_destroy(client->leaders);
	pfree(client->name);
	if (client->topic != NULL)
		pfree(client->topic);
	if (client->partitions != NULL)
		pfree(client->partitions);
	if (client->batch != NULL)
		pfree(client->batch);
	pfree(client);
}

unsigned
eddy_kafka_error_count(const EddyKafkaClient *client)
{
	return client->error_count;
}

/* eddy_kafka_fd returns a descriptor that becomes readable when there are messages or events. */
int
eddy_kafka_fd(EddyKafkaClient *client)
{
	return client->pipe[0];
}

/* eddy_kafka_drain_fd empties the pipe. To be called after it was readable, before polling. */
void
eddy_kafka_drain_fd(EddyKafkaClient *client)
{
	char		buf[64];

	while (read(client->pipe[0], buf, sizeof(buf)) == (ssize_t) sizeof(buf))
		;
}

/*
 * report_log writes a log line of librdkafka. The first error goes to the server
 * log; those that follow, up to the next successful response, are for debugging.
 */
static void
report_log(EddyKafkaClient *client, rd_kafka_event_t *event)
{
	const char *facility;
	const char *line;
	int			level;
	int			elevel = DEBUG1;

	if (rd_kafka_event_log(event, &facility, &line, &level) != 0)
		return;

	/* levels are those of syslog: 3 is "error" */
	if (level <= 3 && !client->failing)
	{
		client->failing = true;
		elevel = LOG;
	}
	ereport(elevel, (errmsg_internal("Kafka client of %s: %s: %s", client->name, facility, line)));
}

/*
 * report_error remembers a broker error, and returns true if it concerns the whole
 * source: consumption continues when one of several brokers is unreachable, or an
 * idle connection was closed.
 */
static bool
report_error(EddyKafkaClient *client, rd_kafka_event_t *event, EddyKafkaError *error)
{
	rd_kafka_resp_err_t err = rd_kafka_event_error(event);
	const char *reason = rd_kafka_event_error_string(event);

	switch (err)
	{
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
			client->error_count++;
			eddy_kafka_set_error(error, client, err, "could not reach the brokers", NULL);
			return true;

		case RD_KAFKA_RESP_ERR__AUTHENTICATION:
		case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
		case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
		case RD_KAFKA_RESP_ERR__SSL:
			eddy_kafka_remember_error(client, err, reason);
			eddy_kafka_set_error(error, client, err, "could not log in to the brokers", reason);
			return true;

		case RD_KAFKA_RESP_ERR__FATAL:
			eddy_kafka_set_error(error, client, err, "the Kafka client failed", reason);
			return true;

		case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
			return false;

		default:
			eddy_kafka_remember_error(client, err, reason);
			if (!client->too_large || err != RD_KAFKA_RESP_ERR__BAD_MSG)
				return false;
			eddy_kafka_set_error(error, client, err, "could not fetch from the topic", reason);
			return true;
	}
}

/*
 * eddy_kafka_serve_events processes the queue of events; false if one is an error of the source.
 * It continues after such an error, because the queue signals again only after it was
 * empty; of several errors, the last is reported.
 */
bool
eddy_kafka_serve_events(EddyKafkaClient *client, EddyKafkaError *error)
{
	rd_kafka_event_t *event;
	bool		ok = true;

	/* writing a log line checks for interrupts: the process must not exit before events are freed */
	HOLD_INTERRUPTS();
	while ((event = rd_kafka_queue_poll(client->events, 0)) != NULL)
	{
		switch (rd_kafka_event_type(event))
		{
			case RD_KAFKA_EVENT_LOG:
				report_log(client, event);
				break;
			case RD_KAFKA_EVENT_ERROR:
				if (report_error(client, event, error))
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

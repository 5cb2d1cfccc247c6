/*-------------------------------------------------------------------------
 *
 * client.c
 *    Opens and closes the consumer of a source.
 *
 * A client is a connection (connection.c) with a queue for the messages of all partitions. It
 * belongs to the process that opened it and to one source.
 *
 * Memory: the client is in TopMemoryContext and outlives transactions; its owner must close it on
 * every path. After a crash nothing is lost: offsets are stored in our tables only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "utils/memutils.h"

#include "kafka/internal.h"

/*
 * The largest response to a fetch request, unless an option sets it: it is
 * held as a whole, once for each broker, while its messages are queued. It must
 * fit into the largest response that is accepted, and hold the largest message.
 */
#define FETCH_MAX_BYTES (8 * 1024 * 1024)
#define RESPONSE_OVERHEAD 512

/* What pg_eddy's guarantees depend on. */
static const EddyKafkaProperty fixed_properties[] = {
	{"enable.auto.commit", "false"},	/* offsets are stored in our tables only */
	{"enable.auto.offset.store", "false"},
	{"auto.offset.reset", "error"}, /* a lost offset is never skipped silently */
	{"isolation.level", "read_committed"},
	{"enable.partition.eof", "true"},
	{"max.poll.interval.ms", "86400000"},	/* partitions are assigned: no group excludes us */
	{NULL}
};

/* get_number reads a property that has an integer value; 0 if it cannot be read. */
static int
get_number(rd_kafka_conf_t *conf, const char *name)
{
	char		buf[32];
	size_t		size = sizeof(buf);

	return rd_kafka_conf_get(conf, name, buf, &size) == RD_KAFKA_CONF_OK ? atoi(buf) : 0;
}

/* set_defaults applies the worker's own settings. */
static bool
set_defaults(rd_kafka_conf_t *conf, const EddyKafkaSettings *settings, EddyKafkaError *error)
{
	char		errstr[256];

	/* since 2.2; for older versions see wake_fetchers in fetch.c */
	(void) rd_kafka_conf_set(conf, "fetch.queue.backoff.ms", "10", errstr, sizeof(errstr));

	/* the group is never joined, but assigning partitions needs one */
	return eddy_kafka_set_property(conf, "group.id", settings->client_id, error) &&
		eddy_kafka_set_number(conf, "queued.min.messages", settings->queued_min_messages, error) &&
		eddy_kafka_set_number(conf, "queued.max.messages.kbytes", settings->queued_max_kbytes,
							  error) &&
		eddy_kafka_set_number(conf, "fetch.wait.max.ms", settings->fetch_wait_max_ms, error) &&
		eddy_kafka_set_property(conf, "check.crcs", settings->check_crcs ? "true" : "false",
								error);
}

/* complete sets the size of responses between the limits that follow from other options. */
static bool
complete(rd_kafka_conf_t *conf, List *options, EddyKafkaError *error)
{
	ListCell   *lc;

	foreach(lc, options)
		if (strcmp(lfirst_node(DefElem, lc)->defname, "fetch.max.bytes") == 0)
			return true;
	return eddy_kafka_set_number(conf, "fetch.max.bytes",
								 Max(Min(FETCH_MAX_BYTES,
										 get_number(conf, "receive.message.max.bytes") -
										 RESPONSE_OVERHEAD),
									 get_number(conf, "message.max.bytes")), error);
}

static const EddyKafkaRole consumer = {
	.type = RD_KAFKA_CONSUMER,
	.fixed = fixed_properties,
	.set_defaults = set_defaults,
	.complete = complete
};

/* eddy_kafka_open opens a consumer in the current process; see eddy_kafka_connect. */
EddyKafkaClient *
eddy_kafka_open(List *options, const EddyKafkaSettings *settings, EddyKafkaError *error)
{
	EddyKafkaClient *client = MemoryContextAllocZero(TopMemoryContext, sizeof(EddyKafkaClient));

	if (!eddy_kafka_connect(&client->connection, &consumer, options, settings, error))
	{
		pfree(client);
		return NULL;
	}
	client->queue_bytes = (int64) settings->queued_max_kbytes * 1024;
	client->queue_messages = settings->queued_min_messages;
	client->messages = rd_kafka_queue_get_consumer(client->connection.rk);
	eddy_kafka_watch(&client->connection, client->messages);
	return client;
}

/*
 * eddy_kafka_close destroys the client. There is no group to leave and no offset to commit. The
 * messages must have been released.
 */
void
eddy_kafka_close(EddyKafkaClient *client)
{
	if (client == NULL)
		return;

	eddy_kafka_stop_asking(client);
	while (client->batch_next < client->batch_count)
		rd_kafka_message_destroy(client->batch[client->batch_next++]);

	rd_kafka_queue_io_event_enable(client->messages, -1, NULL, 0);
	rd_kafka_queue_destroy(client->messages);
	eddy_kafka_disconnect(&client->connection);

	if (client->leaders != NULL)
		rd_kafka_topic_partition_list_destroy(client->leaders);
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
	return client->connection.error_count;
}

/* eddy_kafka_fd returns a descriptor that becomes readable when there are messages or events. */
int
eddy_kafka_fd(EddyKafkaClient *client)
{
	return client->connection.pipe[0];
}

/* eddy_kafka_drain_fd empties the pipe. To be called after it was readable, before polling. */
void
eddy_kafka_drain_fd(EddyKafkaClient *client)
{
	char		buf[64];

	while (read(client->connection.pipe[0], buf, sizeof(buf)) == (ssize_t) sizeof(buf))
		;
}

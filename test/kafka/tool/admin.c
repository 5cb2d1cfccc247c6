/*-------------------------------------------------------------------------
 *
 * admin.c
 *    Commands for topics, and waiting for a broker.
 *
 *-------------------------------------------------------------------------
 */
#include <time.h>

#include "tool.h"

/* A pending admin request, with the queue of its response. */
typedef struct Request
{
	rd_kafka_t *client;
	rd_kafka_AdminOptions_t *admin_options;
	rd_kafka_queue_t *queue;
} Request;

/* log_nothing suppresses messages about expected connection failures. */
static void
log_nothing(const rd_kafka_t *client, int level, const char *facility, const char *message)
{
	(void) client;
	(void) level;
	(void) facility;
	(void) message;
}

/*
 * run_wait uses a new client for each attempt: the back-off of a client whose
 * connection was refused is too long for tests.
 */
void
run_wait(void)
{
	double		deadline = now_seconds() + options.wait;

	for (;;)
	{
		rd_kafka_conf_t *conf = rd_kafka_conf_new();
		const struct rd_kafka_metadata *metadata;
		rd_kafka_t *client;
		rd_kafka_resp_err_t error;
		bool		ready = false;

		rd_kafka_conf_set_log_cb(conf, log_nothing);
		set_property(conf, "reconnect.backoff.max.ms", "200");
		client = new_client(RD_KAFKA_PRODUCER, conf);
		error = rd_kafka_metadata(client, 1, NULL, &metadata, 1000);
		if (!error)
		{
			ready = metadata->broker_cnt > 0;
			rd_kafka_metadata_destroy(metadata);
		}
		rd_kafka_destroy(client);
		if (ready)
			return;
		if (now_seconds() > deadline || stop_requested)
			die("%s has not responded within %g s: %s", options.brokers, options.wait,
				rd_kafka_err2str(error));
		nanosleep(&(struct timespec) {.tv_nsec = 50 * 1000000}, NULL);
	}
}

void
run_topics(void)
{
	rd_kafka_t *client = new_client(RD_KAFKA_PRODUCER, rd_kafka_conf_new());
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t error;

	error = rd_kafka_metadata(client, 1, NULL, &metadata, TOOL_TIMEOUT_MS);
	if (error)
		die("metadata: %s", rd_kafka_err2str(error));
	for (int i = 0; i < metadata->topic_cnt; i++)
		printf("%s\t%d\n", metadata->topics[i].topic, metadata->topics[i].partition_cnt);
	rd_kafka_metadata_destroy(metadata);
	rd_kafka_destroy(client);
}

void
run_watermarks(void)
{
	rd_kafka_t *client = new_client(RD_KAFKA_PRODUCER, rd_kafka_conf_new());
	int			partitions = count_partitions(client, options.topic);

	for (int partition = 0; partition < partitions; partition++)
	{
		int64_t		low;
		int64_t		high;
		rd_kafka_resp_err_t error;

		if (options.partition >= 0 && options.partition != partition)
			continue;
		error = rd_kafka_query_watermark_offsets(client, options.topic, partition, &low, &high,
												 TOOL_TIMEOUT_MS);
		if (error)
			die("watermarks of partition %d: %s", partition, rd_kafka_err2str(error));
		printf("%d\t%lld\t%lld\n", partition, (long long) low, (long long) high);
	}
	rd_kafka_destroy(client);
}

static Request
start_request(rd_kafka_admin_op_t operation)
{
	Request		request;
	char		error[512];

	request.client = new_client(RD_KAFKA_PRODUCER, rd_kafka_conf_new());
	request.queue = rd_kafka_queue_new(request.client);
	request.admin_options = rd_kafka_AdminOptions_new(request.client, operation);
	if (rd_kafka_AdminOptions_set_request_timeout(request.admin_options, TOOL_TIMEOUT_MS, error,
												  sizeof(error)))
		die("%s", error);
	/* the broker responds after the topic was created, not when it has received the request */
	if (operation != RD_KAFKA_ADMIN_OP_DELETERECORDS &&
		rd_kafka_AdminOptions_set_operation_timeout(request.admin_options, TOOL_TIMEOUT_MS, error,
													sizeof(error)))
		die("%s", error);
	return request;
}

static rd_kafka_event_t *
await_answer(Request *request)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(request->queue, TOOL_TIMEOUT_MS + 5000);

	if (event == NULL)
		die("the broker has not responded");
	if (rd_kafka_event_error(event))
		die("%s", rd_kafka_event_error_string(event));
	return event;
}

static void
end_request(Request *request, rd_kafka_event_t *event)
{
	rd_kafka_event_destroy(event);
	rd_kafka_AdminOptions_destroy(request->admin_options);
	rd_kafka_queue_destroy(request->queue);
	rd_kafka_destroy(request->client);
}

static void
check_topics(const rd_kafka_topic_result_t **topics, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (rd_kafka_topic_result_error(topics[i]))
			die("topic \"%s\": %s", rd_kafka_topic_result_name(topics[i]),
				rd_kafka_topic_result_error_string(topics[i]));
}

/* The client caches metadata for minutes, also metadata from before the partitions were created. */
static void
refresh_metadata(rd_kafka_t *client)
{
	const struct rd_kafka_metadata *metadata;

	if (rd_kafka_metadata(client, 1, NULL, &metadata, 1000) == RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_metadata_destroy(metadata);
}

/*
 * await_leaders returns when each partition has a leader that responds. The
 * response to "create topic" may arrive earlier.
 */
static void
await_leaders(rd_kafka_t *client, int partitions)
{
	double		deadline = now_seconds() + TOOL_TIMEOUT_MS / 1000.0;

	for (int partition = 0; partition < partitions;)
	{
		int64_t		low;
		int64_t		high;
		rd_kafka_resp_err_t error;

		error = rd_kafka_query_watermark_offsets(client, options.topic, partition, &low, &high,
												 1000);
		if (!error)
			partition++;
		else if (now_seconds() > deadline)
			die("partition %d of topic \"%s\": %s", partition, options.topic,
				rd_kafka_err2str(error));
		else
		{
			nanosleep(&(struct timespec) {.tv_nsec = 20 * 1000000}, NULL);
			refresh_metadata(client);
		}
	}
}

void
run_create_topic(void)
{
	Request		request = start_request(RD_KAFKA_ADMIN_OP_CREATETOPICS);
	char		error[512];
	rd_kafka_NewTopic_t *topic;
	rd_kafka_event_t *event;
	const rd_kafka_topic_result_t **results;
	size_t		count;

	/* -1: the default number of replicas of the cluster */
	topic = rd_kafka_NewTopic_new(options.topic, options.partitions, -1, error, sizeof(error));
	if (topic == NULL)
		die("%s", error);
	for (int i = 0; i < options.nconfigs; i++)
	{
		char		name[128];
		const char *value = split_property(options.configs[i], name, sizeof(name));

		if (rd_kafka_NewTopic_set_config(topic, name, value))
			die("property \"%s\" was rejected", name);
	}
	rd_kafka_CreateTopics(request.client, &topic, 1, request.admin_options, request.queue);
	event = await_answer(&request);
	/* not in one expression: the order of evaluation of arguments is unspecified */
	results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event),
												  &count);
	check_topics(results, count);
	await_leaders(request.client, options.partitions);
	rd_kafka_NewTopic_destroy(topic);
	end_request(&request, event);
}

void
run_add_partitions(void)
{
	Request		request = start_request(RD_KAFKA_ADMIN_OP_CREATEPARTITIONS);
	char		error[512];
	rd_kafka_NewPartitions_t *partitions;
	rd_kafka_event_t *event;
	const rd_kafka_topic_result_t **results;
	size_t		count;

	partitions = rd_kafka_NewPartitions_new(options.topic, options.partitions, error,
											sizeof(error));
	if (partitions == NULL)
		die("%s", error);
	rd_kafka_CreatePartitions(request.client, &partitions, 1, request.admin_options,
							  request.queue);
	event = await_answer(&request);
	results = rd_kafka_CreatePartitions_result_topics(
									rd_kafka_event_CreatePartitions_result(event), &count);
	check_topics(results, count);
	await_leaders(request.client, options.partitions);
	rd_kafka_NewPartitions_destroy(partitions);
	end_request(&request, event);
}

void
run_delete_topic(void)
{
	Request		request = start_request(RD_KAFKA_ADMIN_OP_DELETETOPICS);
	rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(options.topic);
	rd_kafka_event_t *event;
	const rd_kafka_topic_result_t **results;
	size_t		count;

	rd_kafka_DeleteTopics(request.client, &topic, 1, request.admin_options, request.queue);
	event = await_answer(&request);
	results = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event),
												  &count);
	check_topics(results, count);
	rd_kafka_DeleteTopic_destroy(topic);
	end_request(&request, event);
}

void
run_delete_records(void)
{
	Request		request = start_request(RD_KAFKA_ADMIN_OP_DELETERECORDS);
	rd_kafka_topic_partition_list_t *before = rd_kafka_topic_partition_list_new(1);
	const rd_kafka_topic_partition_list_t *results;
	rd_kafka_DeleteRecords_t *wish;
	rd_kafka_event_t *event;

	if (options.partition < 0 || options.offset < 0)
		die("delete-records needs -P partition and -o offset");
	rd_kafka_topic_partition_list_add(before, options.topic, options.partition)->offset =
		options.offset;
	wish = rd_kafka_DeleteRecords_new(before);
	rd_kafka_DeleteRecords(request.client, &wish, 1, request.admin_options, request.queue);
	event = await_answer(&request);
	results = rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event));
	for (int i = 0; i < results->cnt; i++)
		if (results->elems[i].err)
			die("partition %d: %s", results->elems[i].partition,
				rd_kafka_err2str(results->elems[i].err));
	rd_kafka_DeleteRecords_destroy(wish);
	rd_kafka_topic_partition_list_destroy(before);
	end_request(&request, event);
}

/*-------------------------------------------------------------------------
 *
 * query.c
 *    Requests to the broker that wait for the response: partitions, offsets.
 *
 * Each takes no longer than the caller's timeout; the caller checks for interrupts
 * between calls. Requests use queues of their own inside librdkafka, so messages that
 * arrive meanwhile stay in theirs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "kafka/internal.h"

/*
 * fail fills error for a request without a response. The events are processed first: they
 * tell why the brokers could not be reached.
 */
static bool
fail(EddyKafkaClient *client, rd_kafka_resp_err_t err, const char *what, EddyKafkaError *error)
{
	EddyKafkaError ignored;

	(void) eddy_kafka_serve_events(&client->connection, &ignored);

	/* librdkafka may report a missing response as one that cannot be parsed */
	if (err == RD_KAFKA_RESP_ERR__BAD_MSG)
		err = RD_KAFKA_RESP_ERR__TRANSPORT;
	eddy_kafka_set_error(error, &client->connection, err, what, NULL);
	return false;
}

/* succeed notes that a broker has responded. */
static bool
succeed(EddyKafkaClient *client)
{
	eddy_kafka_note_success(&client->connection);
	return true;
}

/*
 * note_leaders remembers one partition of each broker that leads any, with the end
 * of the partition as the position to request.
 */
static void
note_leaders(EddyKafkaClient *client, const struct rd_kafka_metadata_topic *topic)
{
	if (client->leaders != NULL)
		rd_kafka_topic_partition_list_destroy(client->leaders);
	client->leaders = rd_kafka_topic_partition_list_new(4);
	for (int p = 0; p < topic->partition_cnt; p++)
	{
		int32		leader = topic->partitions[p].leader;
		bool		known = leader < 0;

		/* one element per broker, with its id in opaque */
		for (int i = 0; i < client->leaders->cnt && !known; i++)
			known = (int32) (intptr_t) client->leaders->elems[i].opaque == leader;
		if (!known)
		{
			rd_kafka_topic_partition_t *elem;

			elem = rd_kafka_topic_partition_list_add(client->leaders, topic->topic,
													 topic->partitions[p].id);
			elem->offset = RD_KAFKA_OFFSET_END;
			elem->opaque = (void *) (intptr_t) leader;
		}
	}
}

/*
 * eddy_kafka_take_metadata evaluates the response to a request for the partitions of a topic, and
 * frees it; see eddy_kafka_partition_count.
 */
bool
eddy_kafka_take_metadata(EddyKafkaClient *client, rd_kafka_resp_err_t err,
						 const struct rd_kafka_metadata *metadata, int *npartitions,
						 char **cluster_id, EddyKafkaError *error)
{
	eddy_kafka_clear_error(error);
	*npartitions = 0;
	if (cluster_id != NULL)
		*cluster_id = NULL;
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		return fail(client, err, "could not reach the brokers", error);

	if (metadata->topic_cnt == 1 && metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		*npartitions = metadata->topics[0].partition_cnt;
		note_leaders(client, &metadata->topics[0]);
	}
	err = metadata->topic_cnt == 1 ? metadata->topics[0].err :
		RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR && *npartitions == 0)
		err = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
	rd_kafka_metadata_destroy(metadata);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		return fail(client, err, "could not read the partitions of the topic", error);

	if (cluster_id != NULL)
	{
		/* part of the metadata: this does not wait */
		char	   *id = rd_kafka_clusterid(client->connection.rk, 0);

		if (id != NULL)
		{
			*cluster_id = pstrdup(id);
			rd_kafka_mem_free(client->connection.rk, id);
		}
	}
	return succeed(client);
}

/*
 * eddy_kafka_partition_count requests the number of partitions of a topic; EDDY_KAFKA_TOPIC_MISSING
 * if there is no such topic. *cluster_id (palloc'ed, NULL if not known) is the cluster that
 * responded.
 */
bool
eddy_kafka_partition_count(EddyKafkaClient *client, const char *topic, int timeout_ms,
						   int *npartitions, char **cluster_id, EddyKafkaError *error)
{
	rd_kafka_topic_t *rkt;
	const struct rd_kafka_metadata *metadata = NULL;
	rd_kafka_resp_err_t err;

	/* a name that is not valid for a topic is refused here, without an error code */
	rkt = rd_kafka_topic_new(client->connection.rk, topic, NULL);
	if (rkt == NULL)
	{
		eddy_kafka_clear_error(error);
		*npartitions = 0;
		return fail(client, RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
					"could not read the partitions of the topic", error);
	}
	err = rd_kafka_metadata(client->connection.rk, 0, rkt, &metadata, timeout_ms);
	rd_kafka_topic_destroy(rkt);
	return eddy_kafka_take_metadata(client, err, metadata, npartitions, cluster_id, error);
}

/*
 * eddy_kafka_take_offsets evaluates the response to a request for a position in each of the
 * partitions in list, and fills offsets in their order; see eddy_kafka_list_offsets.
 */
bool
eddy_kafka_take_offsets(EddyKafkaClient *client, rd_kafka_resp_err_t err,
						const rd_kafka_topic_partition_list_t *list, int64 position,
						int64 *offsets, EddyKafkaError *error)
{
	int			failed = -1;

	eddy_kafka_clear_error(error);
	for (int i = 0; i < list->cnt && err == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
	{
		/* even if librdkafka has sorted the list, that is the order of partitions */
		const rd_kafka_topic_partition_t *elem = &list->elems[i];

		Assert(i == 0 || elem->partition > list->elems[i - 1].partition);
		err = elem->err;
		offsets[i] = elem->offset;
		/* the ends exist: without a response the partition has no leader */
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR && position < 0 && elem->offset < 0)
			err = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
		if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
			failed = elem->partition;
	}
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		fail(client, err, position < 0 ? "could not read the offsets of the partition" :
			 "could not look up offsets by time", error);
		error->partition = failed;
		return false;
	}
	return succeed(client);
}

/* eddy_kafka_make_list makes the list of a request for a position in partitions, count of them. */
rd_kafka_topic_partition_list_t *
eddy_kafka_make_list(const char *topic, const int32 *partitions, int count, int64 position)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);

	for (int i = 0; i < count; i++)
		rd_kafka_topic_partition_list_add(list, topic, partitions[i])->offset = position;
	return list;
}

/*
 * eddy_kafka_list_offsets requests a position in each of the partitions, count of them in
 * ascending order, from their leaders: EDDY_KAFKA_OLDEST, EDDY_KAFKA_END, or (a time in ms since
 * 1970) the first offset whose message time is at or after it; -1 if there is none. It fills
 * offsets[i] for partitions[i].
 *
 * librdkafka's function for times passes the number to the broker as it is, for which -1 and -2
 * mean the ends.
 */
bool
eddy_kafka_list_offsets(EddyKafkaClient *client, const char *topic, const int32 *partitions,
						int count, int64 position, int timeout_ms, int64 *offsets,
						EddyKafkaError *error)
{
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t err;
	bool		ok;

	eddy_kafka_clear_error(error);
	if (count <= 0)
		return true;
	list = eddy_kafka_make_list(topic, partitions, count, position);
	err = rd_kafka_offsets_for_times(client->connection.rk, list, timeout_ms);
	ok = eddy_kafka_take_offsets(client, err, list, position, offsets, error);
	rd_kafka_topic_partition_list_destroy(list);
	return ok;
}

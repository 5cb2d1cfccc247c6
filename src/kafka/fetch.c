/*-------------------------------------------------------------------------
 *
 * fetch.c
 *    From librdkafka's queue to messages, positions and errors as values.
 *
 * One queue holds the messages of all partitions together with their errors
 * and ends, in order for each partition. poll takes a part of it and returns
 * messages up to the first error; what follows the error is kept here for
 * the next call. So an error is always reported before the position
 * moves past it, and a caller that commits positions cannot skip it.
 *
 * The array of taken messages is reused: nothing is allocated for a message.
 * Payloads stay where librdkafka received them until the caller releases them.
 *
 * After a new assignment librdkafka discards messages of the old one when they
 * are taken from the queue (the operations carry a version).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <unistd.h>

#include "common/base64.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "kafka/internal.h"

#define WAKE_TIMEOUT 20			/* ms; how long wake_fetchers waits for responses */
#define TAKE_BYTES (4 * 1024 * 1024)	/* of messages that are returned at once, and one more */
#define FIRST_TAKE 16			/* messages, as long as their size is not known */

/* drop_batch releases the messages that poll has not returned. */
static void
drop_batch(EddyKafkaClient *client)
{
	while (client->batch_next < client->batch_count)
		rd_kafka_message_destroy(client->batch[client->batch_next++]);
	client->batch_next = client->batch_count = 0;
}

/*
 * eddy_kafka_assign starts to fetch the given partitions of the topic, any subset, from their
 * offsets. It replaces the previous assignment and discards what was fetched for it.
 */
bool
eddy_kafka_assign(EddyKafkaClient *client, const char *topic, const EddyKafkaStart *starts,
				  int count, EddyKafkaError *error)
{
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t err;
	EddyKafkaPartition *partitions;
	int			npartitions = 0;
	char	   *name;

	eddy_kafka_clear_error(error);

	list = rd_kafka_topic_partition_list_new(count);
	for (int i = 0; i < count; i++)
	{
		rd_kafka_topic_partition_list_add(list, topic, starts[i].partition)->offset =
			starts[i].offset;
		npartitions = Max(npartitions, starts[i].partition + 1);
	}
	err = rd_kafka_assign(client->connection.rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		eddy_kafka_set_error(error, &client->connection, err, "could not assign the partitions", NULL);
		return false;
	}

	/* messages that were already taken from the queue belong to the old assignment */
	drop_batch(client);

	name = MemoryContextStrdup(TopMemoryContext, topic);
	partitions = MemoryContextAllocZero(TopMemoryContext,
										sizeof(EddyKafkaPartition) * Max(npartitions, 1));
	for (int i = 0; i < count; i++)
	{
		EddyKafkaPartition *part = &partitions[starts[i].partition];

		part->assigned = true;
		part->start = starts[i].offset;
		part->next = -1;
	}
	if (client->topic != NULL)
		pfree(client->topic);
	if (client->partitions != NULL)
		pfree(client->partitions);
	client->topic = name;
	client->npartitions = npartitions;
	client->partitions = partitions;
	client->queue_peak = 0;
	return true;
}

/*
 * eddy_kafka_unassign ends fetching, and what inquiry.c does. Requests that follow then wait for
 * one fetch at most.
 */
void
eddy_kafka_unassign(EddyKafkaClient *client)
{
	if (client->topic != NULL)
		(void) rd_kafka_assign(client->connection.rk, NULL);
	drop_batch(client);
	eddy_kafka_stop_asking(client);
}

/*
 * take_batch fills the batch from the queue.
 *
 * rd_kafka_consume_batch_queue waits its whole timeout to fill the array it is
 * given. So it is called for one message with the caller's timeout, and then for
 * the rest without.
 *
 * No more messages are taken than will be returned soon: those that have left the queue do
 * not count as queued, and librdkafka fetches more in their place.
 */
static void
take_batch(EddyKafkaClient *client, int first_wait_ms, int max)
{
	ssize_t		taken = 0;

	if (client->message_bytes == 0)
		max = Min(max, FIRST_TAKE);
	else
		max = Max(Min(max, TAKE_BYTES / client->message_bytes), 1);

	if (max > client->batch_size)
	{
		Size		size = mul_size(sizeof(rd_kafka_message_t *), max);

		if (client->batch != NULL)
			pfree(client->batch);
		client->batch = NULL;
		client->batch_size = 0;
		client->batch = MemoryContextAllocHuge(TopMemoryContext, size);
		client->batch_size = max;
	}

	client->batch_next = client->batch_count = 0;

	if (first_wait_ms > 0)
	{
		taken = rd_kafka_consume_batch_queue(client->messages, first_wait_ms, client->batch, 1);
		if (taken <= 0)
			return;
	}
	if (taken < max)
	{
		ssize_t		more;

		more = rd_kafka_consume_batch_queue(client->messages, 0, client->batch + taken,
											max - taken);
		taken += Max(more, 0);
	}
	client->batch_count = (int) taken;
	client->batch_full = taken >= max;
}

/*
 * wake_fetchers makes librdkafka before 2.2 check its queue again.
 *
 * When the queue is full, the thread of a broker stops fetching, and up to 2.1 it
 * checks the queue again only when another event wakes it, or after a second. In that second
 * the worker would become idle, unless the queue held all that it processes in the
 * meantime: hundreds of megabytes. A request to the broker wakes the thread, so
 * once the queue is half empty an offset is requested from each broker. The response
 * is ignored; the only available call waits for it.
 */
static void
wake_fetchers(EddyKafkaClient *client)
{
	rd_kafka_topic_partition_list_t *list;
	int			waiting;

	if (rd_kafka_version() >= 0x02020000 || client->leaders == NULL)
		return;

	waiting = (int) Min(rd_kafka_queue_length(client->messages), INT_MAX);
	if (waiting >= client->queue_peak / 2)
	{
		client->queue_peak = Max(client->queue_peak, waiting);
		return;
	}

	/* it was not nearly full: fetching has not stopped */
	if (client->queue_peak < client->queue_messages / 4 &&
		client->queue_peak * client->message_bytes < client->queue_bytes / 4)
		return;

	client->queue_peak = waiting;
	list = rd_kafka_topic_partition_list_copy(client->leaders);
	(void) rd_kafka_offsets_for_times(client->connection.rk, list, WAKE_TIMEOUT);
	rd_kafka_topic_partition_list_destroy(list);
}

/*
 * note_error processes an entry of the queue that is not a message. Returns true if
 * it is an error to be reported to the caller.
 */
static bool
note_error(EddyKafkaClient *client, const rd_kafka_message_t *rkm, EddyKafkaError *error)
{
	EddyKafkaPartition *part = NULL;
	const char *reason = rd_kafka_message_errstr(rkm);

	/* an error of a partition carries the topic; one of the client does not */
	if (rkm->rkt != NULL)
		part = eddy_kafka_partition(client, rkm->partition);

	switch (rkm->err)
	{
		case RD_KAFKA_RESP_ERR__PARTITION_EOF:
			if (part != NULL)
			{
				part->caught_up = true;
				part->next = Max(part->next, rkm->offset);
				eddy_kafka_note_success(&client->connection);
			}
			return false;

			/* errors of the group coordinator, which only lag tools need */
		case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
		case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED:
			return false;

		case RD_KAFKA_RESP_ERR__FATAL:
			{
				char		buf[256];
				rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(client->connection.rk, buf, sizeof(buf));

				eddy_kafka_set_error(error, &client->connection, RD_KAFKA_RESP_ERR__FATAL,
									 "the Kafka client failed",
									 fatal != RD_KAFKA_RESP_ERR_NO_ERROR ? buf : reason);
				return true;
			}

		default:
			break;
	}

	/* a lost offset below the start predates the current assignment */
	if (rkm->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET && part != NULL &&
		rkm->offset >= 0 && rkm->offset < part->start)
		return false;

	/*
	 * When a response is too large, all requests of that connection fail with this error. The
	 * broker's error, which has the cause, was queued before: report it, and not the consequences.
	 */
	if (rkm->err == RD_KAFKA_RESP_ERR__BAD_MSG && rkm->offset < 0)
	{
		if (!client->connection.too_large && !eddy_kafka_serve_events(&client->connection, error))
			return true;
		if (client->connection.too_large)
			return false;
	}

	eddy_kafka_set_error(error, &client->connection, rkm->err, "could not fetch from the topic", reason);
	if (part != NULL)
	{
		error->partition = rkm->partition;
		error->offset = rkm->offset >= 0 ? rkm->offset : -1;
	}
	return true;
}

/*
 * eddy_kafka_poll appends up to max messages to messages[] and counts them in *nmessages; there
 * must be room for *nmessages + max. It waits for the first one at most first_wait_ms, and for the
 * others not at all. Of large messages it returns fewer than max, even if more are available.
 *
 * Returns false and fills error when an error was met. The messages already taken are valid, and
 * what follows the error is kept for the next call. Ends of partitions are not reported; they mark
 * the partition as caught up. When more may be available than was taken, eddy_kafka_fd() stays
 * readable.
 */
bool
eddy_kafka_poll(EddyKafkaClient *client, int first_wait_ms, int max,
				EddyKafkaMessage *messages, int *nmessages, EddyKafkaError *error)
{
	EddyKafkaMessage *message = messages + *nmessages;
	EddyKafkaMessage *first = message;
	EddyKafkaMessage *end = message + max;
	int64		bytes = 0;
	bool		ok;

	eddy_kafka_clear_error(error);
	if (max <= 0)
		return true;

	if (client->batch_next >= client->batch_count)
	{
		take_batch(client, first_wait_ms, max);
		wake_fetchers(client);
	}

	ok = true;
	while (client->batch_next < client->batch_count && message < end && bytes < TAKE_BYTES)
	{
		rd_kafka_message_t *rkm = client->batch[client->batch_next++];
		rd_kafka_timestamp_type_t tstype;
		EddyKafkaPartition *part;

		if (unlikely(rkm->err != RD_KAFKA_RESP_ERR_NO_ERROR))
		{
			ok = !note_error(client, rkm, error);
			rd_kafka_message_destroy(rkm);
			if (!ok)
				break;
			continue;
		}
		part = eddy_kafka_partition(client, rkm->partition);
		if (unlikely(part == NULL))
		{
			rd_kafka_message_destroy(rkm);
			continue;
		}

		message->partition = rkm->partition;
		message->offset = rkm->offset;
		message->payload = rkm->payload;
		message->payload_len = rkm->len;
		message->key = rkm->key;
		message->key_len = rkm->key_len;
		message->timestamp_ms = rd_kafka_message_timestamp(rkm, &tstype);
		message->handle = rkm;
		message++;

		bytes += rkm->len + rkm->key_len;
		part->next = rkm->offset + 1;
		part->caught_up = false;
	}

	if (message > first)
	{
		int64		average = bytes / (message - first) + 1;

		client->message_bytes = client->message_bytes == 0 ? average :
			(client->message_bytes + average + 1) / 2;
		eddy_kafka_note_success(&client->connection);
	}
	*nmessages = message - messages;

	/*
	 * librdkafka writes to the pipe only when an empty queue fills: more messages may be
	 * available, and after an error the events have not been processed.
	 */
	if (client->batch_next < client->batch_count || client->batch_full || !ok)
	{
		ssize_t		written pg_attribute_unused();

		written = write(client->connection.pipe[1], "1", 1);
	}

	if (ok)
		ok = eddy_kafka_serve_events(&client->connection, error);
	return ok;
}

/* eddy_kafka_release gives messages back; a fetch response is freed with its last message. */
void
eddy_kafka_release(EddyKafkaMessage *messages, int nmessages)
{
	for (int i = 0; i < nmessages; i++)
	{
		rd_kafka_message_destroy((rd_kafka_message_t *) messages[i].handle);
		messages[i].handle = NULL;
	}
}

/*
 * eddy_kafka_position returns the position after all that poll has returned of a partition:
 * after the last message, or the end of the partition, which is after its control records and
 * aborted messages. -1 if nothing was read since the assignment.
 *
 * rd_kafka_position() is never used. Newer versions of librdkafka (seen in 2.8.0,
 * not in 2.0.2) count the end of a partition as if it were a message: their
 * position is one too high until the next message, which would be lost.
 */
int64
eddy_kafka_position(EddyKafkaClient *client, const char *topic, int32 partition)
{
	const EddyKafkaPartition *part = eddy_kafka_partition(client, partition);

	if (part == NULL || strcmp(client->topic, topic) != 0)
		return -1;
	return part->next;
}

/* eddy_kafka_caught_up: true if no message has followed the end (last stable offset). */
bool
eddy_kafka_caught_up(EddyKafkaClient *client, int32 partition)
{
	const EddyKafkaPartition *part = eddy_kafka_partition(client, partition);

	return part != NULL && part->caught_up;
}

/*
 * eddy_kafka_describe_stall fills error for a partition that delivers no messages at position
 * although it has messages up to end, with what is known about the cause.
 */
void
eddy_kafka_describe_stall(EddyKafkaClient *client, int32 partition, int64 position, int64 end,
						  EddyKafkaError *error)
{
	error->kind = EDDY_KAFKA_RETRIABLE;
	error->partition = partition;
	error->offset = -1;
	if (client->connection.too_large)
	{
		error->sqlerrcode = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		snprintf(error->message, sizeof(error->message),
				 "the messages at offset " INT64_FORMAT " do not fit into \"receive.message.max.bytes\", which must be raised",
				 position);
		return;
	}
	error->sqlerrcode = ERRCODE_CONNECTION_FAILURE;
	snprintf(error->message, sizeof(error->message),
			 "nothing is received from offset " INT64_FORMAT " on, although the broker has messages up to " INT64_FORMAT "%s%s",
			 position, end - 1,
			 client->connection.error_code != RD_KAFKA_RESP_ERR_NO_ERROR ? ": " : "",
			 client->connection.error_code != RD_KAFKA_RESP_ERR_NO_ERROR ? client->connection.error_text : "");
}

/* eddy_kafka_cached_high returns the high watermark in the last fetch response, or -1. */
int64
eddy_kafka_cached_high(EddyKafkaClient *client, const char *topic, int32 partition)
{
	int64_t		low;
	int64_t		high;

	if (rd_kafka_get_watermark_offsets(client->connection.rk, topic, partition, &low, &high) !=
		RD_KAFKA_RESP_ERR_NO_ERROR)
		return -1;
	return high >= 0 ? high : -1;
}

/*
 * append_value adds a JSON string or, if the bytes are not text that this database
 * can store, {"base64": "..."}. In a database with another encoding than UTF-8, only
 * ASCII is added as text.
 */
static void
append_value(StringInfo buf, const char *value, size_t len)
{
	bool		text = len < MaxAllocSize / 8 && pg_verify_mbstr(PG_UTF8, value, len, true);

	if (text && GetDatabaseEncoding() != PG_UTF8)
		for (size_t i = 0; i < len && text; i++)
			text = !IS_HIGHBIT_SET(value[i]);

	if (text)
	{
		char	   *copy = pnstrdup(value, len);

		escape_json(buf, copy);
		pfree(copy);
	}
	else
	{
		int			room;
		int			written;

		if (len > MaxAllocSize / 8)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("header of a message is too large")));
		appendStringInfoString(buf, "{\"base64\":\"");
		room = pg_b64_enc_len(len);
		enlargeStringInfo(buf, room + 1);
		written = pg_b64_encode((const void *) value, (int) len, buf->data + buf->len, room);
		Assert(written >= 0);
		buf->len += Max(written, 0);
		buf->data[buf->len] = '\0';
		appendStringInfoString(buf, "\"}");
	}
}

/*
 * eddy_kafka_headers_json returns the headers of a message as JSON text, [["name","value"],...], in
 * order and with duplicates; NULL if there are none. palloc'ed in the current context.
 */
char *
eddy_kafka_headers_json(const EddyKafkaMessage *message)
{
	rd_kafka_headers_t *headers;
	StringInfoData buf;
	const char *name;
	const void *value;
	size_t		len;

	if (message->handle == NULL)
		return message->headers ? pstrdup(message->headers) : NULL;
	if (rd_kafka_message_headers((const rd_kafka_message_t *) message->handle, &headers) !=
		RD_KAFKA_RESP_ERR_NO_ERROR)
		return NULL;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '[');
	for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &len) ==
		 RD_KAFKA_RESP_ERR_NO_ERROR; i++)
	{
		if (i > 0)
			appendStringInfoChar(&buf, ',');
		appendStringInfoChar(&buf, '[');
		append_value(&buf, name, strlen(name));
		appendStringInfoChar(&buf, ',');
		if (value == NULL)
			appendStringInfoString(&buf, "null");
		else
			append_value(&buf, value, len);
		appendStringInfoChar(&buf, ']');
	}
	appendStringInfoChar(&buf, ']');
	return buf.data;
}

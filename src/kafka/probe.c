/*-------------------------------------------------------------------------
 *
 * probe.c
 *    Whether messages can be read from an offset on.
 *
 * Producers send messages in batches, which have one checksum and are compressed as a whole. If the
 * client cannot read one, it reports an error with the offset of its first message, whichever of
 * them was requested, and fetches the same batch again. Where the batch ends is not reported: that
 * is found by reading from later offsets.
 *
 * The assignment of the client is replaced, and ended: it has to be made again. What is known of the
 * partitions, and the messages that were taken from the queue, are those of the assignment before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "kafka/internal.h"

/*
 * What an entry of the queue says about reading a partition from an offset on: true if that is known
 * now, and *follows.
 */
static bool
judge(const rd_kafka_message_t *rkm, int32 partition, int64 batch, bool *follows)
{
	EddyKafkaError error;

	/* an error of the client has no topic */
	if (rkm->rkt == NULL || rkm->partition != partition)
		return false;
	if (rkm->err == RD_KAFKA_RESP_ERR_NO_ERROR || rkm->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
	{
		*follows = true;
		return true;
	}
	eddy_kafka_set_error(&error, NULL, rkm->err, "", NULL);
	if (error.kind != EDDY_KAFKA_BAD_MESSAGE || rkm->offset < 0)
		return false;
	/* another batch that cannot be read has its own first offset: there can be good messages before it */
	*follows = rkm->offset > batch;
	return true;
}

/*
 * eddy_kafka_probe determines whether an offset follows a batch that cannot be read, of which an offset
 * is specified, or is within it. Returns false if this is not known in time.
 */
bool
eddy_kafka_probe(EddyKafkaClient *client, const char *topic, int32 partition, int64 batch,
				 int64 offset, int timeout_ms, bool *follows)
{
	rd_kafka_t *rk = client->connection.rk;
	rd_kafka_topic_partition_list_t *list =
		eddy_kafka_make_list(topic, &partition, 1, offset);
	rd_kafka_resp_err_t err = rd_kafka_assign(rk, list);
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	bool		known = false;

	rd_kafka_topic_partition_list_destroy(list);
	while (err == RD_KAFKA_RESP_ERR_NO_ERROR && !known)
	{
		long		rest = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
		rd_kafka_message_t *rkm;

		if (rest <= 0 ||
			rd_kafka_consume_batch_queue(client->messages, (int) rest, &rkm, 1) != 1)
			break;
		known = judge(rkm, partition, batch, follows);
		rd_kafka_message_destroy(rkm);
	}
	(void) rd_kafka_assign(rk, NULL);
	return known;
}

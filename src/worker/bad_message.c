/*-------------------------------------------------------------------------
 *
 * bad_message.c
 *    Messages that the Kafka client cannot read: how many there are.
 *
 * A batch of messages whose checksum is wrong, or that cannot be decompressed, is reported by the
 * offset of its first message, and so is each later message of it. To continue with the message
 * that follows the batch, its end has to be known. Otherwise the same error would be met again.
 *
 * The end is searched for, between the offset that was reported and the end of the partition, by
 * reading from offsets in between: with increasing distances first, and then by halving. That takes
 * up to a second for each of them, as librdkafka waits after an error, and some 20 of them for a
 * batch of 1,000 messages.
 *
 * No locks: outside of transactions. The session has to be started again afterwards.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "worker/source_worker.h"

#define PROBE_ATTEMPTS 3		/* for an offset, without a response */

/* As eddy_kafka_probe, but repeats it. */
static bool
probe(EddySourceWorker *worker, int32 partition, int64 batch, int64 offset, bool *follows)
{
	for (int i = 0; i < PROBE_ATTEMPTS; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (eddy_kafka_probe(worker->client, worker->definition->source->topic, partition, batch,
							 offset, EDDY_REQUEST_TIMEOUT, follows))
			return true;
	}
	return false;
}

/*
 * Finds the first offset that follows the batch which contains "low". It may belong to another batch that
 * cannot be read, which is an error of its own. False if the broker does not respond.
 */
static bool
find_end(EddySourceWorker *worker, int32 partition, int64 low, int64 *found)
{
	int64		batch = low;
	EddyKafkaError error;
	int64		high;
	int64		step = 1;

	if (!eddy_kafka_list_offsets(worker->client, worker->definition->source->topic, &partition, 1,
								 EDDY_KAFKA_END, EDDY_REQUEST_TIMEOUT, &high, &error))
		return false;
	/* no message of the partition is there */
	if (low >= high)
		return false;
	while (high - low > 1)
	{
		int64		middle = low + Min(step, (high - low) / 2);
		bool		follows;

		if (!probe(worker, partition, batch, middle, &follows))
			return false;
		if (follows)
		{
			high = middle;
			step = high - low;
		}
		else
		{
			low = middle;
			step = Min(step, PG_INT64_MAX / 2) * 2;
		}
	}
	*found = high;
	return true;
}

/*
 * eddy_bad_message_measure completes the error of a message that cannot be read, of a partition
 * whose messages were received up to position: *next is the first offset after its batch.
 * False if that cannot be determined now.
 */
bool
eddy_bad_message_measure(EddySourceWorker *worker, EddyKafkaError *bad, int64 position,
						 int64 *next)
{
	size_t		len;

	/* those before it were received */
	bad->offset = Max(bad->offset, position);
	if (!find_end(worker, bad->partition, bad->offset, next))
		return false;
	len = strlen(bad->message);
	if (*next - bad->offset > 1)
		snprintf(bad->message + len, sizeof(bad->message) - len,
				 "; offsets " INT64_FORMAT " to " INT64_FORMAT " cannot be read", bad->offset,
				 *next - 1);
	return true;
}

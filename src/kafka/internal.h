/*-------------------------------------------------------------------------
 *
 * internal.h
 *    What the files of src/kafka/ share. Private to src/kafka.
 *
 * connection.c connects, client.c opens and closes consumers, fetch.c assigns and polls, query.c
 * sends requests to the broker, inquiry.c those that a thread waits for, probe.c reads from an
 * offset to find out whether that is possible, errors.c translates librdkafka's codes, resolve.c
 * keeps it from hosts that are not allowed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_KAFKA_INTERNAL_H
#define EDDY_KAFKA_INTERNAL_H

#include "kafka/client.h"
#include "kafka/connection.h"

/* What is known of a partition since it was assigned. */
typedef struct EddyKafkaPartition
{
	bool		assigned;		/* else the rest is not set */
	int64		start;			/* where reading began */
	int64		next;			/* after the last message or end that poll returned, or -1 */
	bool		caught_up;		/* no message has followed its end */
} EddyKafkaPartition;

typedef struct EddyKafkaInquiry EddyKafkaInquiry;

struct EddyKafkaClient
{
	EddyKafkaConnection connection;

	/* set by eddy_kafka_open, constant from then on */
	rd_kafka_queue_t *messages; /* of all partitions, with their errors and ends */
	int64		queue_bytes;	/* at which librdkafka stops fetching */
	int			queue_messages; /* the same by their number */

	/* set by eddy_kafka_assign */
	char	   *topic;
	int			npartitions;	/* the highest assigned number + 1 */
	EddyKafkaPartition *partitions; /* by number */

	/* taken from librdkafka and not yet returned by poll: [batch_next, batch_count) */
	rd_kafka_message_t **batch;
	int			batch_size;
	int			batch_next;
	int			batch_count;
	bool		batch_full;		/* as many as requested: there may be more */

	/* for wake_fetchers in fetch.c */
	rd_kafka_topic_partition_list_t *leaders;	/* one partition of each broker, set by query.c */
	int			queue_peak;		/* messages that waited, at most, since the last wake-up */
	int64		message_bytes;	/* moving average of their size; 0 before the first */

	EddyKafkaInquiry *inquiry;	/* of inquiry.c; NULL: none */
};

/* The partition of that number, NULL if it is not assigned. */
static inline EddyKafkaPartition *
eddy_kafka_partition(EddyKafkaClient *client, int32 partition)
{
	return partition >= 0 && partition < client->npartitions &&
		client->partitions[partition].assigned ? &client->partitions[partition] : NULL;
}

/* query.c */
extern bool eddy_kafka_take_metadata(EddyKafkaClient *client, rd_kafka_resp_err_t err,
									 const struct rd_kafka_metadata *metadata, int *npartitions,
									 char **cluster_id, EddyKafkaError *error);
extern bool eddy_kafka_take_offsets(EddyKafkaClient *client, rd_kafka_resp_err_t err,
									const rd_kafka_topic_partition_list_t *list, int64 position,
									int64 *offsets, EddyKafkaError *error);
extern rd_kafka_topic_partition_list_t *eddy_kafka_make_list(const char *topic,
															 const int32 *partitions, int count,
															 int64 position);

/* resolve.c */
extern void eddy_kafka_guard_resolving(rd_kafka_conf_t *conf, EddyBrokerList *list);

#endif							/* EDDY_KAFKA_INTERNAL_H */

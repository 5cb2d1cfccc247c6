/*-------------------------------------------------------------------------
 *
 * internal.h
 *    What the files of src/kafka/ share. Private to src/kafka.
 *
 * client.c opens and closes, fetch.c assigns and polls, query.c sends requests to
 * the broker, errors.c translates librdkafka's codes, resolve.c keeps it from hosts
 * that are not allowed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_KAFKA_INTERNAL_H
#define EDDY_KAFKA_INTERNAL_H

#include <librdkafka/rdkafka.h>

#include "broker_list.h"
#include "kafka/client.h"

/* What is known of a partition since it was assigned. */
typedef struct EddyKafkaPartition
{
	bool		assigned;		/* else the rest is not set */
	int64		start;			/* where reading began */
	int64		next;			/* after the last message or end that poll returned, or -1 */
	bool		caught_up;		/* no message has followed its end */
} EddyKafkaPartition;

struct EddyKafkaClient
{
	/* set by eddy_kafka_open, constant from then on */
	rd_kafka_t *rk;
	char	   *name;			/* of stream and topic, for log lines */
	rd_kafka_queue_t *messages; /* of all partitions, with their errors and ends */
	rd_kafka_queue_t *events;	/* log lines and errors of brokers */
	int			pipe[2];		/* librdkafka writes a byte to [1] when a queue fills */
	EddyBrokerList *allowed;	/* read by librdkafka's threads; NULL: any */
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

	/* broker errors */
	bool		failing;		/* between the first error and the next successful response */
	rd_kafka_resp_err_t error_code; /* the last one since that response, if any */
	unsigned	error_count;	/* errors of brokers so far */
	char		error_text[256];	/* librdkafka's text for it */
	bool		too_large;		/* a response did not fit into receive.message.max.bytes */
};

/* The partition of that number, NULL if it is not assigned. */
static inline EddyKafkaPartition *
eddy_kafka_partition(EddyKafkaClient *client, int32 partition)
{
	return partition >= 0 && partition < client->npartitions &&
		client->partitions[partition].assigned ? &client->partitions[partition] : NULL;
}

/* errors.c */
extern void eddy_kafka_set_error(EddyKafkaError *error, EddyKafkaClient *client,
								 rd_kafka_resp_err_t err, const char *what,
								 const char *reason);
extern void eddy_kafka_clear_error(EddyKafkaError *error);
extern void eddy_kafka_remember_error(EddyKafkaClient *client, rd_kafka_resp_err_t err,
									  const char *reason);
extern void eddy_kafka_note_success(EddyKafkaClient *client);

/* client.c */
extern bool eddy_kafka_serve_events(EddyKafkaClient *client, EddyKafkaError *error);

/* resolve.c */
extern void eddy_kafka_guard_resolving(rd_kafka_conf_t *conf, EddyBrokerList *list);

#endif							/* EDDY_KAFKA_INTERNAL_H */

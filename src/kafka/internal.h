/*-------------------------------------------------------------------------
 *
 * internal.h
 *    What the files of src/kafka/ share and nobody else sees.
 *
 * client.c opens and closes, fetch.c assigns and polls, query.c asks the
 * broker, errors.c puts librdkafka's codes into words, resolve.c keeps it from hosts
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
	int64		next;			/* behind the last message or end that poll handed out, or -1 */
	bool		caught_up;		/* nothing came since its end was met */
} EddyKafkaPartition;

struct EddyKafkaClient
{
	/* set by eddy_kafka_open, constant from then on */
	rd_kafka_t *rk;
	rd_kafka_queue_t *messages; /* of all partitions, with their errors and ends */
	rd_kafka_queue_t *events;	/* log lines and errors of brokers */
	int			pipe[2];		/* librdkafka writes a byte to [1] when a queue fills */
	EddyBrokerList *allowed;	/* read by librdkafka's threads; NULL: any */
	int64		queue_bytes;	/* at which librdkafka stops to fetch */
	int			queue_messages; /* the same by their number */

	/* set by eddy_kafka_assign */
	char	   *topic;
	int			npartitions;	/* the highest assigned number + 1 */
	EddyKafkaPartition *partitions; /* by number */

	/* what librdkafka gave and poll has not yet handed out: [batch_next, batch_count) */
	rd_kafka_message_t **batch;
	int			batch_size;
	int			batch_next;
	int			batch_count;
	bool		batch_full;		/* as many as were asked for: there may be more */

	/* for wake_fetchers in fetch.c */
	rd_kafka_topic_partition_list_t *leaders;	/* one partition of each broker, set by query.c */
	int			queue_peak;		/* messages that waited, at most, since the last wake-up */
	int64		message_bytes;	/* average size, of late; 0 before the first */

	/* troubles with brokers */
	bool		failing;		/* between the first trouble and the next sign of life */
	rd_kafka_resp_err_t trouble_code;	/* of the latest, no error if there is none */
	char		trouble[256];	/* and in librdkafka's words */
	bool		too_large;		/* an answer did not fit into receive.message.max.bytes */
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
extern void eddy_kafka_note_trouble(EddyKafkaClient *client, rd_kafka_resp_err_t err,
									const char *reason);
extern void eddy_kafka_note_life(EddyKafkaClient *client);

/* client.c: handles what waits in the queue of events; false if that is an error of the source */
extern bool eddy_kafka_serve_events(EddyKafkaClient *client, EddyKafkaError *error);

/* resolve.c */
extern void eddy_kafka_guard_resolving(rd_kafka_conf_t *conf, EddyBrokerList *list);

#endif							/* EDDY_KAFKA_INTERNAL_H */

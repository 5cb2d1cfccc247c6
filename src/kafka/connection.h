/*-------------------------------------------------------------------------
 *
 * connection.h
 *    A connection of librdkafka to the brokers of a Kafka server, whatever it is used for.
 *
 * The only header that includes rdkafka.h, for files that send or receive messages in a way of
 * their own. What only consumes a topic uses client.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_KAFKA_CONNECTION_H
#define EDDY_KAFKA_CONNECTION_H

#include <librdkafka/rdkafka.h>

#include "broker_list.h"
#include "kafka/client.h"

typedef struct EddyKafkaProperty
{
	const char *name;
	const char *value;
} EddyKafkaProperty;

/* What a connection is used for. */
typedef struct EddyKafkaRole
{
	rd_kafka_type_t type;

	/* properties that no option can change, up to a NULL name */
	const EddyKafkaProperty *fixed;

	/* Sets defaults, before the options; and what depends on the options, after them. */
	bool		(*set_defaults) (rd_kafka_conf_t *conf, const EddyKafkaSettings *settings,
								 EddyKafkaError *error);
	bool		(*complete) (rd_kafka_conf_t *conf, List *options, EddyKafkaError *error);
} EddyKafkaRole;

typedef struct EddyKafkaConnection
{
	/* set by eddy_kafka_connect, constant from then on */
	rd_kafka_t *rk;
	char	   *name;			/* of stream and topic, for log lines */
	rd_kafka_queue_t *events;	/* log lines and errors of brokers */
	int			pipe[2];		/* librdkafka writes a byte to [1] when a queue fills */
	EddyBrokerList *allowed;	/* read by librdkafka's threads; NULL: any */

	/* broker errors */
	bool		failing;		/* between the first error and the next successful response */
	rd_kafka_resp_err_t error_code; /* the last one since that response, if any */
	unsigned	error_count;	/* errors of brokers so far */
	char		error_text[256];	/* librdkafka's text for it */
	bool		too_large;		/* a response did not fit into receive.message.max.bytes */
} EddyKafkaConnection;

/* ---- connection.c ---- */

extern bool eddy_kafka_connect(EddyKafkaConnection *connection, const EddyKafkaRole *role,
							   List *options, const EddyKafkaSettings *settings,
							   EddyKafkaError *error);
extern void eddy_kafka_disconnect(EddyKafkaConnection *connection);
extern void eddy_kafka_watch(EddyKafkaConnection *connection, rd_kafka_queue_t *queue);
extern bool eddy_kafka_serve_events(EddyKafkaConnection *connection, EddyKafkaError *error);

extern bool eddy_kafka_set_property(rd_kafka_conf_t *conf, const char *name, const char *value,
									EddyKafkaError *error);
extern bool eddy_kafka_set_number(rd_kafka_conf_t *conf, const char *name, int value,
								  EddyKafkaError *error);

/* ---- errors.c ---- */

extern void eddy_kafka_set_error(EddyKafkaError *error, const EddyKafkaConnection *connection,
								 rd_kafka_resp_err_t err, const char *what, const char *reason);
extern void eddy_kafka_clear_error(EddyKafkaError *error);
extern bool eddy_kafka_is_too_large(rd_kafka_resp_err_t err, const char *reason);
extern void eddy_kafka_remember_error(EddyKafkaConnection *connection, rd_kafka_resp_err_t err,
									  const char *reason);
extern void eddy_kafka_note_success(EddyKafkaConnection *connection);

#endif							/* EDDY_KAFKA_CONNECTION_H */

/*-------------------------------------------------------------------------
 *
 * client.h
 *    One librdkafka consumer for one source: open, assign, poll, close.
 *
 * Only the files of src/kafka/ include rdkafka.h. All functions run
 * on the main thread of the worker process, but for a thread of inquiry.c that only calls
 * librdkafka. librdkafka reports through its queues, so that no palloc, elog or latch is ever
 * reached from a thread of its own. The only callback (resolve.c, plain C on constant memory)
 * decides on such a thread whether an address may be connected to.
 *
 * Errors are values: functions fill an EddyKafkaError and return false. They
 * ereport only on out of memory. Times are milliseconds, offsets are int64.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_KAFKA_CLIENT_H
#define EDDY_KAFKA_CLIENT_H

#include "nodes/pg_list.h"

typedef struct EddyKafkaClient EddyKafkaClient;

/* An error as a value. Its text never contains message content or secrets. */
typedef enum EddyKafkaErrorKind
{
	EDDY_KAFKA_OK = 0,
	EDDY_KAFKA_RETRIABLE,		/* broker unreachable, leader moves: librdkafka retries by itself */
	EDDY_KAFKA_OFFSET_LOST,		/* the requested offset is no longer in the partition */
	EDDY_KAFKA_TOPIC_MISSING,	/* topic or partition does not exist, or may not be read */
	EDDY_KAFKA_BAD_MESSAGE,		/* messages could not be read (CRC, decompression) */
	EDDY_KAFKA_CONFIG,			/* the configuration is refused */
	EDDY_KAFKA_FATAL			/* the client must be destroyed and recreated */
} EddyKafkaErrorKind;

typedef struct EddyKafkaError
{
	EddyKafkaErrorKind kind;
	int			sqlerrcode;		/* MAKE_SQLSTATE value: 08xxx, 28xxx, 22023, ... */
	int			partition;		/* -1 if of the whole source */
	int64		offset;			/* of the first bad message, else -1 */
	char		message[512];	/* Postgres style: one line, lower case */
} EddyKafkaError;

/* One received message. All pointers live until eddy_kafka_release() of its batch. */
typedef struct EddyKafkaMessage
{
	int32		partition;
	int64		offset;
	const char *payload;		/* NULL for a tombstone */
	size_t		payload_len;
	const char *key;			/* NULL if it has none */
	size_t		key_len;
	int64		timestamp_ms;	/* -1 if it has none */
	void	   *handle;			/* rd_kafka_message_t, for headers and release; or NULL, and */
	const char *headers;		/* the headers as JSON text, NULL: none */
} EddyKafkaMessage;

/* Settings that do not come from the user's options. */
typedef struct EddyKafkaSettings
{
	const char *client_id;		/* "pg_eddy/<database>/<source>" */
	const char *log_name;		/* of stream and topic, for log lines */
	int			queued_min_messages;	/* per partition */
	int			queued_max_kbytes;	/* of the whole source */
	int			fetch_wait_max_ms;
	bool		check_crcs;
	const char *allowed_brokers;	/* setting pg_eddy.allowed_brokers; NULL or empty: any */
} EddyKafkaSettings;

/* ---- client.c ---- */

/* Options are a List of DefElem. The client must be closed on every path. */
extern EddyKafkaClient *eddy_kafka_open(List *options, const EddyKafkaSettings *settings,
										EddyKafkaError *error);
extern void eddy_kafka_close(EddyKafkaClient *client);

/* Becomes readable when there are messages or events. */
extern int	eddy_kafka_fd(EddyKafkaClient *client);
/* How many errors of brokers there were: after each it is unknown which messages exist. */
extern unsigned eddy_kafka_error_count(const EddyKafkaClient *client);

extern void eddy_kafka_drain_fd(EddyKafkaClient *client);

/* ---- query.c: requests that wait for the response ---- */

extern bool eddy_kafka_partition_count(EddyKafkaClient *client, const char *topic, int timeout_ms,
									   int *npartitions, char **cluster_id, EddyKafkaError *error);

/* Positions other than a time: of the oldest message, and after the newest. */
#define EDDY_KAFKA_OLDEST (-2)
#define EDDY_KAFKA_END (-1)

/* Offsets of more partitions are better requested in parts, to keep a single wait short. */
#define EDDY_KAFKA_REQUEST_PARTITIONS 500
extern bool eddy_kafka_list_offsets(EddyKafkaClient *client, const char *topic,
									const int32 *partitions, int count, int64 position,
									int timeout_ms, int64 *offsets, EddyKafkaError *error);

/* ---- probe.c: the same, for which the assignment has to be made again ---- */

extern bool eddy_kafka_probe(EddyKafkaClient *client, const char *topic, int32 partition,
							 int64 batch, int64 offset, int timeout_ms, bool *follows);

/* ---- inquiry.c: requests that do not wait ---- */

extern bool eddy_kafka_ask(EddyKafkaClient *client, const char *topic, const int32 *partitions,
						   int count, int timeout_ms, EddyKafkaError *error);
extern bool eddy_kafka_asked(const EddyKafkaClient *client);
extern bool eddy_kafka_answered(EddyKafkaClient *client);
extern bool eddy_kafka_answer(EddyKafkaClient *client, int *npartitions, char **cluster_id,
							  int64 *ends, EddyKafkaError *error);
extern void eddy_kafka_stop_asking(EddyKafkaClient *client);

/* ---- fetch.c ---- */

/* A partition, and the absolute offset to read it from. */
typedef struct EddyKafkaStart
{
	int32		partition;
	int64		offset;
} EddyKafkaStart;

/* Messages of other partitions are never returned. */
extern bool eddy_kafka_assign(EddyKafkaClient *client, const char *topic,
							  const EddyKafkaStart *starts, int count, EddyKafkaError *error);
extern void eddy_kafka_unassign(EddyKafkaClient *client);
extern bool eddy_kafka_poll(EddyKafkaClient *client, int first_wait_ms, int max,
							EddyKafkaMessage *messages, int *nmessages, EddyKafkaError *error);
extern void eddy_kafka_release(EddyKafkaMessage *messages, int nmessages);
extern char *eddy_kafka_headers_json(const EddyKafkaMessage *message);

/* Of an assigned partition, without a request to the broker; -1 if not known. */
extern int64 eddy_kafka_position(EddyKafkaClient *client, const char *topic, int32 partition);
extern int64 eddy_kafka_cached_high(EddyKafkaClient *client, const char *topic, int32 partition);
extern bool eddy_kafka_caught_up(EddyKafkaClient *client, int32 partition);
extern void eddy_kafka_describe_stall(EddyKafkaClient *client, int32 partition, int64 position,
									  int64 end, EddyKafkaError *error);

#endif							/* EDDY_KAFKA_CLIENT_H */

/*-------------------------------------------------------------------------
 *
 * client.h
 *    One librdkafka consumer for one source: open, assign, poll, close.
 *
 * The only users of rdkafka.h are the files of src/kafka/. All functions run
 * on the main thread of the worker process. What librdkafka has to say comes
 * through its queues, so that no palloc, elog or latch is ever reached from a
 * thread of its own. The one callback (resolve.c, plain C on constant memory)
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

/* What went wrong, as a value. message and hint never hold message content or secrets. */
typedef enum EddyKafkaErrorKind
{
	EDDY_KAFKA_OK = 0,
	EDDY_KAFKA_RETRIABLE,		/* broker away, leader moves: librdkafka retries by itself */
	EDDY_KAFKA_OFFSET_LOST,		/* the asked offset is not in the partition any more */
	EDDY_KAFKA_TOPIC_MISSING,	/* topic or partition is not there, or may not be read */
	EDDY_KAFKA_BAD_MESSAGE,		/* one message could not be fetched (CRC, decompression) */
	EDDY_KAFKA_CONFIG,			/* the configuration is refused */
	EDDY_KAFKA_FATAL			/* the client must be destroyed and made anew */
} EddyKafkaErrorKind;

typedef struct EddyKafkaError
{
	EddyKafkaErrorKind kind;
	int			sqlerrcode;		/* MAKE_SQLSTATE value: 08xxx, 28xxx, 22023, ... */
	int			partition;		/* -1 if of the whole source */
	int64		offset;			/* of the bad message, else -1 */
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
	void	   *handle;			/* rd_kafka_message_t, for headers and release */
} EddyKafkaMessage;

/* Settings that do not come from the user's options. */
typedef struct EddyKafkaSettings
{
	const char *client_id;		/* "pg_eddy/<database>/<source>" */
	int			queued_min_messages;	/* per partition */
	int			queued_max_kbytes;	/* of the whole source */
	int			fetch_wait_max_ms;
	bool		check_crcs;
	const char *allowed_brokers;	/* setting pg_eddy.allowed_brokers; NULL or empty: any */
} EddyKafkaSettings;

/*
 * eddy_kafka_open makes a consumer in the current process.
 *
 * options: List of DefElem (server options and user mapping options, already
 * checked by eddy_kafka_check_option). Fails with EDDY_KAFKA_CONFIG. The
 * client is malloc'ed by librdkafka: the caller owns it and must close it on
 * every path.
 */
extern EddyKafkaClient *eddy_kafka_open(List *options, const EddyKafkaSettings *settings,
										EddyKafkaError *error);

/*
 * Destroys the consumer without waiting for the broker; returns within about a
 * second. Release the messages first: they point into what is destroyed.
 */
extern void eddy_kafka_close(EddyKafkaClient *client);

/* fd that becomes readable when messages or events are there, for a WaitEventSet. */
extern int	eddy_kafka_fd(EddyKafkaClient *client);

/* Drains the wake-up pipe behind eddy_kafka_fd. Call after it was readable, before polling. */
extern void eddy_kafka_drain_fd(EddyKafkaClient *client);

/*
 * Reads the number of partitions of a topic from the broker, waiting at most
 * timeout_ms. A topic that is missing is EDDY_KAFKA_TOPIC_MISSING. cluster_id
 * (palloc'ed, may be NULL when not known) names the cluster that answered.
 */
extern bool eddy_kafka_partition_count(EddyKafkaClient *client, const char *topic, int timeout_ms,
									   int *npartitions, char **cluster_id, EddyKafkaError *error);

/*
 * Asks for a position in each of the partitions (count of them, in ascending order), with one
 * request for each broker: the oldest offset, the one after the newest message, or (a time in ms
 * since 1970) the first whose message time is at or after it; -1 if there is none. offsets[i] is
 * filled for partitions[i]. Ask for many partitions in pieces of EDDY_KAFKA_QUESTIONS, which also
 * keeps a single wait short.
 */
#define EDDY_KAFKA_OLDEST (-2)
#define EDDY_KAFKA_END (-1)
#define EDDY_KAFKA_QUESTIONS 500
extern bool eddy_kafka_list_offsets(EddyKafkaClient *client, const char *topic,
									const int32 *partitions, int count, int64 position,
									int timeout_ms, int64 *offsets, EddyKafkaError *error);

/* High watermark as last seen in a fetch response, or -1; no round trip. */
extern int64 eddy_kafka_cached_high(EddyKafkaClient *client, const char *topic, int32 partition);

/* A partition, and the absolute offset to read it from. */
typedef struct EddyKafkaStart
{
	int32		partition;
	int64		offset;
} EddyKafkaStart;

/*
 * Assigns count partitions of the topic, any subset of it. Replaces the previous assignment and
 * discards what was fetched for it. Messages of other partitions are never returned.
 */
extern bool eddy_kafka_assign(EddyKafkaClient *client, const char *topic,
							  const EddyKafkaStart *starts, int count, EddyKafkaError *error);

/*
 * Takes up to max more messages that are waiting. The first is waited for at
 * most first_wait_ms, then what is there is taken without waiting. Messages
 * are appended to messages[] behind the *nmessages that are there already, and
 * counted in *nmessages; there must be room for *nmessages + max. Of large
 * messages fewer than max are taken at once, even if more are waiting.
 *
 * Returns false and fills error when an error event was met; the messages
 * already taken are still valid. Call again to go on: what came behind the
 * error is kept for that call. Partition EOF events are swallowed (they mark
 * the partition as caught up). When more may be waiting than was taken,
 * eddy_kafka_fd() stays readable.
 */
extern bool eddy_kafka_poll(EddyKafkaClient *client, int first_wait_ms, int max,
							EddyKafkaMessage *messages, int *nmessages, EddyKafkaError *error);

/*
 * Position behind everything that eddy_kafka_poll returned of a partition,
 * control records and aborted messages included; -1 if nothing was read since
 * the assignment.
 */
extern int64 eddy_kafka_position(EddyKafkaClient *client, const char *topic, int32 partition);

/* True when the last poll met the end of the partition (its last stable offset). */
extern bool eddy_kafka_caught_up(EddyKafkaClient *client, int32 partition);

/*
 * eddy_kafka_describe_stall fills error for a partition that sends nothing at position
 * although it has messages up to end, with what is known of the reason.
 */
extern void eddy_kafka_describe_stall(EddyKafkaClient *client, int32 partition, int64 position,
									  int64 end, EddyKafkaError *error);

/* Gives the messages back to librdkafka. */
extern void eddy_kafka_release(EddyKafkaMessage *messages, int nmessages);

/*
 * Headers of a message as JSON text: [["name","value"],...], order and
 * duplicates kept; a value that is not valid UTF-8 as {"base64":"..."}.
 * NULL if it has none. palloc'ed in the current context.
 */
extern char *eddy_kafka_headers_json(const EddyKafkaMessage *message);

#endif							/* EDDY_KAFKA_CLIENT_H */

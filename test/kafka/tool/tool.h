/*-------------------------------------------------------------------------
 *
 * tool.h
 *    Declarations shared by the files of eddy-kafka-tool.
 *
 * One process runs one command, so options and clients are global variables,
 * and each failure ends the process with a message and status 1.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_TOOL_H
#define EDDY_TOOL_H

#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define TOOL_MAX_CONFIGS 32
#define TOOL_TIMEOUT_MS 30000

typedef struct ToolOptions
{
	const char *brokers;		/* -b */
	const char *topic;			/* -t */
	int			partitions;		/* -p: number of partitions */
	int			partition;		/* -P: one partition, -1 for all */
	int64_t		offset;			/* -o: first offset, -1 for the beginning */
	int64_t		end;			/* -e: offset after the last one, -1 for the end */
	int64_t		count;			/* -n: number of messages, -1 for unlimited */
	double		rate;			/* -r: messages per second, 0 for the maximum */
	double		wait;			/* -w: seconds to wait */
	uint64_t	seed;			/* -s */
	int			users;			/* -u: distinct users of generated orders, keys of events */
	int			disorder;		/* -d: milliseconds by which some generated events are earlier */
	double		density;		/* -v: generated events in a second of event time */
	int			message_size;	/* -m: size of generated events */
	const char *ledger;			/* -l: file for acknowledged messages */
	const char *fields;			/* -f: order of the fields in an input line */
	const char *transaction;	/* -x: transactional id */
	const char *codec;			/* -z: compression */
	bool		acknowledged;	/* -a: print partition and offset of each message */
	bool		keys;			/* -k: also dump keys */
	bool		hex;			/* -X: dump bytes as hex */
	bool		uncommitted;	/* -U: also dump aborted messages */
	const char *configs[TOOL_MAX_CONFIGS];	/* -c name=value */
	int			nconfigs;
	bool		topic_configs;	/* configs are properties of a topic, not of the client */
} ToolOptions;

/* immutable after main() has read the command line */
extern ToolOptions options;

/* set by SIGINT and SIGTERM: a producer flushes, completes its ledger and exits */
extern volatile sig_atomic_t stop_requested;

extern void die(const char *format,...) __attribute__((format(printf, 1, 2), noreturn));
extern void set_property(rd_kafka_conf_t *conf, const char *name, const char *value);
extern const char *split_property(const char *property, char *name, size_t size);
extern rd_kafka_t *new_client(rd_kafka_type_t type, rd_kafka_conf_t *conf);
extern double now_seconds(void);
extern int	count_partitions(rd_kafka_t *client, const char *topic);
extern rd_kafka_t *new_consumer(rd_kafka_conf_t *conf, int *partitions);

extern rd_kafka_t *new_producer(rd_kafka_conf_t *conf);
extern void flush_producer(rd_kafka_t *producer);

/* admin.c */
extern void run_wait(void);
extern void run_topics(void);
extern void run_watermarks(void);
extern void run_create_topic(void);
extern void run_add_partitions(void);
extern void run_delete_topic(void);
extern void run_delete_records(void);

/* produce.c */
extern void run_produce(void);

/* orders.c, bids.c and events.c */
extern void run_orders(void);
extern void run_bids(void);
extern void run_keyed(void);
extern void run_ads(void);

/* arrivals.c */
extern void run_arrivals(void);

/* dump.c */
extern void run_count(void);
extern void run_dump(void);

/* Small deterministic generator (splitmix64): the same numbers on every machine. */
typedef struct Random
{
	uint64_t	state;
} Random;

static inline uint64_t
random_next(Random *random)
{
	uint64_t	z = (random->state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

/* A number in [0, limit). */
static inline uint64_t
random_below(Random *random, uint64_t limit)
{
	return (uint64_t) (((unsigned __int128) random_next(random) * limit) >> 64);
}

/* A number in [0, 1). */
static inline double
random_unit(Random *random)
{
	return (double) (random_next(random) >> 11) / 9007199254740992.0;
}

#endif							/* EDDY_TOOL_H */

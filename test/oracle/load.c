/*-------------------------------------------------------------------------
 *
 * load.c
 *    eddy-load: the message generator of the pipeline test.
 *
 * Writes N messages into a topic, in transactions of varying size, and aborts
 * some transactions between them. The content of a message depends only on the
 * seed and its number, so a run can be repeated. The key of a message identifies
 * its kind, and each valid message contains (producer, seq), with seq counting
 * from 1 without gaps.
 *
 *    key "k<i>"              a valid message
 *    key "poison:<kind>"     must become exactly one dead letter
 *    key "tombstone"         no value; must be skipped
 *    key "aborted"           only in aborted transactions: must not be read
 *
 * The messages of aborted transactions are well-formed and have negative ids,
 * so that counting one of them changes each view.
 *
 * A transaction that fails because the broker is not available is aborted and
 * repeated with the same content. A call whose outcome the client reports as
 * unknown is repeated until it is known; a fatal error ends the program with
 * status 1.
 *
 * Payloads contain no line breaks, so that a reader can print one message per
 * line.
 *
 *-------------------------------------------------------------------------
 */
#include <getopt.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_PAYLOAD 2048
#define PRODUCERS 7
#define HOT_KEYS 20
#define KEYS 500

/* Kinds of poison. The order is that of poison_names. */
enum
{
	POISON_TRUNCATED,
	POISON_EMPTY,
	POISON_ARRAY,
	POISON_NULL,
	POISON_TRAILING,
	POISON_TWO_DOCUMENTS,
	POISON_TYPE,
	POISON_OVERFLOW,
	POISON_CHECK,
	POISON_NOT_NULL,
	POISON_UTF8,
	POISON_NUL,
	POISON_SURROGATE,
	POISON_TIMESTAMP,
	POISON_EVENT_TIME,
	POISON_FRACTION,
	POISON_SKIPPED_VALUE,
	POISON_KINDS
};

static const char *const poison_names[POISON_KINDS] = {
	"truncated", "empty", "array", "null", "trailing", "two documents", "type", "overflow",
	"check", "not null", "utf8", "nul", "surrogate", "timestamp", "event time", "fraction",
	"skipped value"
};

/* Options, set once from the command line. */
static struct
{
	const char *brokers;
	const char *topic;
	int			partitions;
	int64_t		messages;
	uint64_t	seed;
	double		rate;			/* messages per second, 0 for the maximum */
	int			aborted;		/* aborted transactions per 100 committed ones */
	int			poison;			/* poison messages per 10,000 */
	int			tombstones;		/* tombstones per 10,000 */
} load = {NULL, NULL, 8, 1000000, 1, 0, 15, 50, 20};

/* Progress; copied before a transaction, so that the transaction can be repeated. */
typedef struct Ledger
{
	int64_t		next;			/* number of the next message */
	int64_t		seq[PRODUCERS];
	int64_t		good;
	int64_t		poison[POISON_KINDS];
	int64_t		tombstones;
} Ledger;

/* Prints a reason and ends the program. */
static void
die(const char *format, ...)
{
	va_list		args;

	va_start(args, format);
	fputs("eddy-load: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

/* Returns a well-mixed number for (seed, n, salt): splitmix64. */
static uint64_t
mix(uint64_t n, uint64_t salt)
{
	uint64_t	z = load.seed * UINT64_C(0x9E3779B97F4A7C15) + n * UINT64_C(0xBF58476D1CE4E5B9) +
		salt * UINT64_C(0x94D049BB133111EB);

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

/*
 * Writes the event time of message n: 10 minutes for the whole run, out of order by up to
 * 5 seconds, in common variants of ISO 8601.
 */
static int
print_event_time(char *buf, int size, int64_t n)
{
	int64_t		base = INT64_C(1767225600000);	/* 2026-01-01 00:00:00 UTC, ms */
	int64_t		ms = base + n * 600000 / (load.messages > 0 ? load.messages : 1) +
		(int64_t) (mix(n, 1) % 5000);
	int			form = mix(n, 2) % 4;
	time_t		seconds = ms / 1000 + (form == 1 ? 7200 : 0);
	struct tm	tm;

	gmtime_r(&seconds, &tm);
	return snprintf(buf, size, form == 2 ? "%04d-%02d-%02d %02d:%02d:%02d.%03d%s" :
					"%04d-%02d-%02dT%02d:%02d:%02d.%03d%s",
					tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
					tm.tm_sec, (int) (ms % 1000),
					form == 0 ? "Z" : form == 1 ? "+02:00" : form == 2 ? "+00" : "000Z");
}

/* Writes the "note" field with various JSON strings; some messages have no such field. */
static int
print_note(char *buf, int size, int64_t n)
{
	static const char *const notes[] = {
		"", ",\"note\":null", ",\"note\":\"\"", ",\"note\":\"plain\"",
		",\"note\":\"quote \\\" backslash \\\\ slash \\/ line \\n tab \\t\"",
		",\"note\":\"caf\\u00e9 \\ud83d\\ude00\"", ",\"note\":\"na\xc3\xafve \xe2\x82\xac\"",
		",\"meta\":{\"a\":[1,2.50,{\"b\":null}],\"t\":true},\"note\":\"nested\""
	};

	return snprintf(buf, size, "%s", notes[mix(n, 3) % (sizeof(notes) / sizeof(notes[0]))]);
}

/* Writes a valid message with the given id, producer and seq. Returns its length. */
static int
print_event(char *buf, int size, int64_t n, int64_t id, int producer, int64_t seq, int key)
{
	uint64_t	r = mix(n, 4);
	int			cents = r % 100000;
	int			len;

	len = snprintf(buf, size, "{\"id\":%" PRId64 ",\"producer\":%d,\"seq\":%" PRId64
				   ",\"key\":\"k%d\",\"category\":%d,", id, producer, seq, key,
				   (int) (mix(n, 5) % 10));

	/* numbers in common formats: integers, short and padded fractions, strings */
	switch (mix(n, 6) % 5)
	{
		case 0:
			len += snprintf(buf + len, size - len, "\"amount\":%d,", cents / 100);
			break;
		case 1:
			len += snprintf(buf + len, size - len, "\"amount\":-%d.%02d,", cents / 100,
							cents % 100);
			break;
		case 2:
			len += snprintf(buf + len, size - len, "\"amount\":\"%d.%02d\",", cents / 100,
							cents % 100);
			break;
		case 3:
			len += snprintf(buf + len, size - len, "\"amount\":12345678901234567890.%02d,",
							cents % 100);
			break;
		default:
			len += snprintf(buf + len, size - len, "\"amount\":%d.%02d,", cents / 100, cents % 100);
	}

	/* one in 2,000 has quantity 0, by which one of the views divides */
	len += snprintf(buf + len, size - len, "\"qty\":%d,\"price\":%" PRId64,
					(int) (mix(n, 7) % 2000 == 0 ? 0 : 1 + mix(n, 8) % 20),
					(int64_t) (mix(n, 9) % 100000000));

	/* quarters: their floating point sums are exact in any order */
	if (mix(n, 10) % 4 != 0)
		len += snprintf(buf + len, size - len, ",\"ratio\":%d.%s", (int) (mix(n, 11) % 1000),
						mix(n, 12) % 2 ? "25" : "75");
	if (mix(n, 13) % 8 == 0)
		len += snprintf(buf + len, size - len, ",\"origin\":\"%c\"", (char) ('a' + mix(n, 14) % 4));
	len += print_note(buf + len, size - len, n);
	len += snprintf(buf + len, size - len, ",\"event_time\":\"");
	len += print_event_time(buf + len, size - len, n);
	len += snprintf(buf + len, size - len, "\"}");
	return len;
}

/* Writes a message that must be rejected, for the given reason. Returns its length. */
static int
print_poison(char *buf, int size, int64_t n, int kind)
{
	static const char head[] = "{\"id\":-1,\"producer\":0,\"key\":\"poison\",\"category\":0,"
		"\"amount\":1,\"price\":1,\"event_time\":";
	static const char *const tails[POISON_KINDS] = {
		[POISON_TYPE] = "\"2026-01-01T00:00:00Z\",\"seq\":1,\"qty\":\"many\"}",
		[POISON_OVERFLOW] = "\"2026-01-01T00:00:00Z\",\"seq\":1,\"qty\":3000000000}",
		[POISON_CHECK] = "\"2026-01-01T00:00:00Z\",\"seq\":1,\"qty\":-1}",
		[POISON_NOT_NULL] = "\"2026-01-01T00:00:00Z\",\"seq\":1}",
		[POISON_UTF8] = "\"2026-01-01T00:00:00Z\",\"seq\":1,\"qty\":1,\"note\":\"\xc3\x28\"}",
		[POISON_NUL] = "\"2026-01-01T00:00:00Z\",\"seq\":1,\"qty\":1,\"note\":\"a\\u0000b\"}",
		[POISON_SURROGATE] = "\"2026-01-01T00:00:00Z\",\"seq\":1,\"qty\":1,\"note\":\"\\ud83d\"}",
		[POISON_TIMESTAMP] = "\"2026-13-45T00:00:00Z\",\"seq\":1,\"qty\":1}",
		[POISON_EVENT_TIME] = "null,\"seq\":1,\"qty\":1}",
		[POISON_FRACTION] = "\"2026-01-01T00:00:00Z\",\"seq\":1.5,\"qty\":1}",
		[POISON_SKIPPED_VALUE] = "\"2026-01-01T00:00:00Z\",\"seq\":1,\"qty\":1,\"junk\":tru}",
	};
	char		event[MAX_PAYLOAD];
	int			len;

	if (tails[kind] != NULL)
		return snprintf(buf, size, "%s%s", head, tails[kind]);
	len = print_event(event, sizeof(event), n, -1, 0, 1, 0);
	switch (kind)
	{
		case POISON_TRUNCATED:
			return snprintf(buf, size, "%.*s", (int) (1 + mix(n, 20) % (len - 1)), event);
		case POISON_EMPTY:
			return 0;
		case POISON_ARRAY:
			return snprintf(buf, size, "[%s]", event);
		case POISON_NULL:
			return snprintf(buf, size, "null");
		case POISON_TRAILING:
			return snprintf(buf, size, "%s x", event);
		case POISON_TWO_DOCUMENTS:
			return snprintf(buf, size, "%s%s", event, event);
	}
	die("unrecognized kind of poison message: %d", kind);
	return 0;
}

/* Enqueues one message in the client, waiting while its queue is full. */
static void
produce(rd_kafka_t *producer, int partition, const char *key, const char *payload, size_t len)
{
	for (;;)
	{
		rd_kafka_resp_err_t err;

		err = rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(load.topic),
								RD_KAFKA_V_PARTITION(partition),
								RD_KAFKA_V_KEY(key, strlen(key)),
								RD_KAFKA_V_VALUE((void *) payload, len),
								RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
			return;
		if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL)
		{
			rd_kafka_poll(producer, 10);
			continue;
		}
		/* the transaction has already failed; its end reports that */
		if (err == RD_KAFKA_RESP_ERR__STATE || err == RD_KAFKA_RESP_ERR__PURGE_QUEUE)
			return;
		die("could not produce: %s", rd_kafka_err2str(err));
	}
}

/* Writes the messages of one transaction and advances the progress. */
static void
write_messages(rd_kafka_t *producer, Ledger *ledger, int count)
{
	char		payload[MAX_PAYLOAD];
	char		key[64];

	for (int i = 0; i < count; i++)
	{
		int64_t		n = ledger->next++;
		int			partition = mix(n, 30) % load.partitions;
		int			dice = mix(n, 31) % 10000;
		int			len;

		if (dice < load.poison)
		{
			int			kind = mix(n, 32) % POISON_KINDS;

			len = print_poison(payload, sizeof(payload), n, kind);
			snprintf(key, sizeof(key), "poison:%s", poison_names[kind]);
			ledger->poison[kind]++;
			produce(producer, partition, key, payload, len);
		}
		else if (dice < load.poison + load.tombstones)
		{
			ledger->tombstones++;
			produce(producer, partition, "tombstone", NULL, 0);
		}
		else
		{
			int			from = mix(n, 33) % PRODUCERS;
			int			k = mix(n, 34) % 2 ? mix(n, 35) % HOT_KEYS : mix(n, 35) % KEYS;

			len = print_event(payload, sizeof(payload), n, n, from, ++ledger->seq[from], k);
			snprintf(key, sizeof(key), "k%d", k);
			ledger->good++;
			produce(producer, partition, key, payload, len);
		}
	}
}

/* Writes messages that will be aborted. */
static void
write_decoys(rd_kafka_t *producer, int64_t transaction, int count)
{
	char		payload[MAX_PAYLOAD];

	for (int i = 0; i < count; i++)
	{
		int64_t		n = transaction * 10000 + i;
		int			len = print_event(payload, sizeof(payload), n % load.messages, -2 - n,
									  n % PRODUCERS, 1, n % HOT_KEYS);

		produce(producer, mix(n, 40) % load.partitions, "aborted", payload, len);
	}
}

/*
 * Calls a transactional function until its outcome is known. Returns false if
 * the transaction must be aborted and repeated.
 */
static bool
settle(rd_kafka_t *producer, rd_kafka_error_t *(*call) (rd_kafka_t *, int), const char *what)
{
	for (;;)
	{
		rd_kafka_error_t *error = call(producer, 30000);
		bool		retriable;
		bool		abortable;

		if (error == NULL)
			return true;
		retriable = rd_kafka_error_is_retriable(error);
		abortable = rd_kafka_error_txn_requires_abort(error);
		fprintf(stderr, "eddy-load: %s: %s%s\n", what, rd_kafka_error_string(error),
				retriable ? ", trying again" : abortable ? ", writing it again" : "");
		rd_kafka_error_destroy(error);
		if (abortable)
			return false;
		if (!retriable)
			die("giving up");
	}
}

static void
begin(rd_kafka_t *producer)
{
	rd_kafka_error_t *error = rd_kafka_begin_transaction(producer);

	if (error != NULL)
		die("could not begin a transaction: %s", rd_kafka_error_string(error));
}

/* Waits until the given number of messages is due. */
static void
pace(struct timespec *start, int64_t written)
{
	struct timespec due = *start;
	double		seconds = written / load.rate;

	due.tv_sec += (time_t) seconds;
	due.tv_nsec += (long) ((seconds - (time_t) seconds) * 1e9);
	if (due.tv_nsec >= 1000000000)
	{
		due.tv_sec++;
		due.tv_nsec -= 1000000000;
	}
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		error[256];

	if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
		die("%s", error);
}

static rd_kafka_t *
open_producer(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *producer;
	char		id[128];
	char		error[256];

	snprintf(id, sizeof(id), "eddy-load-%s", load.topic);
	set(conf, "bootstrap.servers", load.brokers);
	set(conf, "transactional.id", id);
	set(conf, "linger.ms", "5");
	set(conf, "queue.buffering.max.messages", "1000000");
	set(conf, "message.timeout.ms", "50000");
	set(conf, "reconnect.backoff.max.ms", "500");
	producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	if (producer == NULL)
		die("%s", error);
	return producer;
}

/*
 * Aborts the transaction. A broker that was killed may have done so without being able to answer;
 * the same request again is then a fatal error of the producer. Another producer with the same ID
 * first aborts whatever the one before has left.
 */
static void
abort_transaction(rd_kafka_t **producer)
{
	rd_kafka_error_t *error;

	while ((error = rd_kafka_abort_transaction(*producer, -1)) != NULL)
	{
		bool		retriable = rd_kafka_error_is_retriable(error);

		fprintf(stderr, "eddy-load: abort_transaction: %s\n", rd_kafka_error_string(error));
		rd_kafka_error_destroy(error);
		if (retriable)
			continue;
		rd_kafka_destroy(*producer);
		*producer = open_producer();
		settle(*producer, rd_kafka_init_transactions, "init_transactions");
		return;
	}
}

static void
parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{"brokers", required_argument, NULL, 'b'},
		{"topic", required_argument, NULL, 't'},
		{"partitions", required_argument, NULL, 'p'},
		{"messages", required_argument, NULL, 'n'},
		{"seed", required_argument, NULL, 's'},
		{"rate", required_argument, NULL, 'r'},
		{"aborted", required_argument, NULL, 'a'},
		{"poison", required_argument, NULL, 'x'},
		{"tombstones", required_argument, NULL, 'z'},
		{NULL, 0, NULL, 0}
	};
	int			c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		switch (c)
		{
			case 'b': load.brokers = optarg; break;
			case 't': load.topic = optarg; break;
			case 'p': load.partitions = atoi(optarg); break;
			case 'n': load.messages = atoll(optarg); break;
			case 's': load.seed = strtoull(optarg, NULL, 10); break;
			case 'r': load.rate = atof(optarg); break;
			case 'a': load.aborted = atoi(optarg); break;
			case 'x': load.poison = atoi(optarg); break;
			case 'z': load.tombstones = atoi(optarg); break;
			default: exit(2);
		}
	}
	if (load.brokers == NULL || load.topic == NULL || load.partitions < 1 || load.messages < 1)
		die("usage: eddy-load --brokers HOST:PORT --topic NAME [--partitions P] [--messages N]"
			" [--seed S] [--rate PER_SECOND] [--aborted PERCENT] [--poison PER_10000]"
			" [--tombstones PER_10000]");
}

int
main(int argc, char **argv)
{
	Ledger		ledger = {0};
	rd_kafka_t *producer;
	struct timespec start;
	int64_t		transactions = 0;
	int64_t		aborted = 0;

	parse_options(argc, argv);
	producer = open_producer();
	settle(producer, rd_kafka_init_transactions, "init_transactions");
	clock_gettime(CLOCK_MONOTONIC, &start);
	while (ledger.next < load.messages)
	{
		int			count = 200 + mix(transactions, 50) % 3800;

		if ((int) (mix(transactions, 51) % 100) < load.aborted)
		{
			int			decoys = 1 + mix(transactions, 52) % 500;

			begin(producer);
			write_decoys(producer, transactions, decoys);
			rd_kafka_flush(producer, 10000);	/* the log must contain them */
			abort_transaction(&producer);
			aborted += decoys;
		}
		if (count > load.messages - ledger.next)
			count = load.messages - ledger.next;
		for (;;)
		{
			Ledger		attempt = ledger;

			begin(producer);
			write_messages(producer, &attempt, count);
			if (settle(producer, rd_kafka_commit_transaction, "commit_transaction"))
			{
				ledger = attempt;
				break;
			}
			abort_transaction(&producer);
		}
		transactions++;
		if (load.rate > 0)
			pace(&start, ledger.next);
	}

	/* the ledger, one "name<tab>count" a line */
	printf("good\t%" PRId64 "\ntombstone\t%" PRId64 "\naborted\t%" PRId64 "\n", ledger.good,
		   ledger.tombstones, aborted);
	for (int kind = 0; kind < POISON_KINDS; kind++)
		printf("poison:%s\t%" PRId64 "\n", poison_names[kind], ledger.poison[kind]);
	rd_kafka_destroy(producer);
	return 0;
}

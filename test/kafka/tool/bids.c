/*-------------------------------------------------------------------------
 *
 * bids.c
 *    The bids of the Nexmark benchmark, as flat JSON of about 250 bytes.
 *
 * Follows the generator of nexmark-flink: of every 50 events 1 is a person, 3
 * are auctions and 46 are bids. Only the bids are produced, with the numbers
 * and times that they have among all events, at 10,000 events per second of
 * event time. Bid k is sent to partition k modulo the number of partitions, so
 * each partition is in order of time. The same seed generates the same bids.
 *
 * It produces more than 500,000 messages per second, so that it does not limit
 * a benchmark: it does not use printf, and sends messages in batches.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tool.h"

#define EVENTS_PER_SECOND 10000
#define BIDS_PER_EPOCH 46
#define FIRST_BID_OF_EPOCH 4
#define AUCTIONS_PER_EPOCH 3
#define EVENTS_PER_EPOCH 50

#define FIRST_ID 1000
#define AUCTIONS_IN_FLIGHT 100
#define ACTIVE_PEOPLE 1000
#define ID_LEAD 10
#define HOT_CHANNELS 4
#define COLD_CHANNELS 10000
#define BASE_TIME_MS INT64_C(1767225600000) /* 2026-01-01 00:00:00 UTC */

#define BATCH 1000
#define MAX_BID 512

/* A channel and its url, already as JSON text. */
typedef struct Channel
{
	char		text[160];
	int			size;
} Channel;

typedef struct Generator
{
	Random		random;
	Channel		hot[HOT_CHANNELS];
	Channel    *cold;
	time_t		second;			/* that time_text represents */
	char		time_text[32];
} Generator;

static char *
append_text(char *out, const char *text, size_t size)
{
	memcpy(out, text, size);
	return out + size;
}

#define APPEND_LITERAL(out, literal) append_text(out, literal, sizeof(literal) - 1)

static char *
append_integer(char *out, uint64_t value)
{
	char		digits[24];
	int			position = sizeof(digits);

	do
	{
		digits[--position] = '0' + value % 10;
		value /= 10;
	} while (value > 0);
	return append_text(out, digits + position, sizeof(digits) - position);
}

/* append_letters makes twelve letters from each random number. */
static char *
append_letters(char *out, Random *random, int size)
{
	while (size > 0)
	{
		uint64_t	bits = random_next(random);

		for (int i = 0; i < 12 && size > 0; i++, size--)
		{
			*out++ = 'a' + (char) (((bits & 31) * 26) >> 5);
			bits >>= 5;
		}
	}
	return out;
}

static void
make_channel(Generator *generator, Channel *channel, const char *name, int number)
{
	char	   *out = channel->text;

	out = APPEND_LITERAL(out, "\"channel\":\"");
	out = append_text(out, name, strlen(name));
	out = APPEND_LITERAL(out, "\",\"url\":\"https://www.nexmark.com/");
	for (int i = 0; i < 3; i++)
	{
		out = append_letters(out, &generator->random,
							 3 + (int) random_below(&generator->random, 3));
		*out++ = '/';
	}
	out = APPEND_LITERAL(out, "item.htm?query=1");
	if (number >= 0 && random_below(&generator->random, 10) > 0)
	{
		out = APPEND_LITERAL(out, "&channel_id=");
		out = append_integer(out, (uint64_t) number);
	}
	out = APPEND_LITERAL(out, "\"");
	channel->size = out - channel->text;
}

static void
make_channels(Generator *generator)
{
	static const char *const names[HOT_CHANNELS] = {"Google", "Facebook", "Baidu", "Apple"};
	char		name[32];

	generator->cold = malloc(COLD_CHANNELS * sizeof(Channel));
	if (generator->cold == NULL)
		die("out of memory");
	for (int i = 0; i < HOT_CHANNELS; i++)
		make_channel(generator, &generator->hot[i], names[i], -1);
	for (int i = 0; i < COLD_CHANNELS; i++)
	{
		snprintf(name, sizeof(name), "channel-%d", i);
		make_channel(generator, &generator->cold[i], name, i);
	}
}

static char *
append_time(char *out, Generator *generator, int64_t milliseconds)
{
	time_t		second = milliseconds / 1000;
	int			rest = (int) (milliseconds % 1000);

	if (second != generator->second)
	{
		struct tm	parts;

		gmtime_r(&second, &parts);
		strftime(generator->time_text, sizeof(generator->time_text), "%Y-%m-%dT%H:%M:%S.",
				 &parts);
		generator->second = second;
	}
	out = append_text(out, generator->time_text, 20);
	*out++ = '0' + rest / 100;
	*out++ = '0' + rest / 10 % 10;
	*out++ = '0' + rest % 10;
	*out++ = 'Z';
	return out;
}

/* make_bid writes bid number k (from 0) and returns its size. */
static size_t
make_bid(Generator *generator, int64_t k, char *start)
{
	Random	   *random = &generator->random;
	int64_t		epoch = k / BIDS_PER_EPOCH;
	int64_t		event = epoch * EVENTS_PER_EPOCH + FIRST_BID_OF_EPOCH + k % BIDS_PER_EPOCH;
	int64_t		last_auction = AUCTIONS_PER_EPOCH * epoch + AUCTIONS_PER_EPOCH - 1;
	int64_t		people = epoch + 1;
	int64_t		active = people < ACTIVE_PEOPLE ? people : ACTIVE_PEOPLE;
	int64_t		auction;
	int64_t		bidder;
	uint64_t	price;
	const Channel *channel;
	char	   *out = start;

	if (random_below(random, 2) > 0)
		auction = last_auction / 100 * 100;
	else
	{
		int64_t		first = last_auction > AUCTIONS_IN_FLIGHT ?
			last_auction - AUCTIONS_IN_FLIGHT : 0;

		auction = first + (int64_t) random_below(random, last_auction - first + 1 + ID_LEAD);
	}
	if (random_below(random, 4) > 0)
		bidder = epoch / 100 * 100 + 1;
	else
		bidder = people - active + (int64_t) random_below(random, active + ID_LEAD);
	price = (uint64_t) llround(pow(10.0, random_unit(random) * 6.0) * 100.0);
	channel = random_below(random, 2) > 0 ? &generator->hot[random_below(random, HOT_CHANNELS)] :
		&generator->cold[random_below(random, COLD_CHANNELS)];

	out = APPEND_LITERAL(out, "{\"auction\":");
	out = append_integer(out, auction + FIRST_ID);
	out = APPEND_LITERAL(out, ",\"bidder\":");
	out = append_integer(out, bidder + 2 * FIRST_ID);	/* twice, like the original */
	out = APPEND_LITERAL(out, ",\"price\":");
	out = append_integer(out, price);
	out = APPEND_LITERAL(out, ",");
	out = append_text(out, channel->text, channel->size);
	out = APPEND_LITERAL(out, ",\"date_time\":\"");
	out = append_time(out, generator, BASE_TIME_MS + event * 1000 / EVENTS_PER_SECOND);
	out = APPEND_LITERAL(out, "\",\"extra\":\"");
	/* pads the 32 bytes of the original's integers to 100, give or take 20 % of the rest */
	out = append_letters(out, random, 55 + (int) random_below(random, 27));
	out = APPEND_LITERAL(out, "\"}");
	return out - start;
}

static void
bid_delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
	(void) producer;
	(void) opaque;
	if (message->err)
		die("bid was not delivered: %s", rd_kafka_err2str(message->err));
}

/* send_batch enqueues count messages, and retries those for which the queue was full. */
static void
send_batch(rd_kafka_t *producer, rd_kafka_topic_t *topic, rd_kafka_message_t *messages, int count)
{
	while (count > 0)
	{
		int			left = 0;

		rd_kafka_produce_batch(topic, 0, RD_KAFKA_MSG_F_COPY | RD_KAFKA_MSG_F_PARTITION,
							   messages, count);
		for (int i = 0; i < count; i++)
		{
			if (messages[i].err == RD_KAFKA_RESP_ERR__QUEUE_FULL)
				messages[left++] = messages[i];
			else if (messages[i].err)
				die("%s", rd_kafka_err2str(messages[i].err));
		}
		count = left;
		rd_kafka_poll(producer, left > 0 ? 20 : 0);
	}
}

void
run_bids(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	Generator	generator = {.random = {options.seed}, .second = -1};
	rd_kafka_message_t *messages = calloc(BATCH, sizeof(rd_kafka_message_t));
	char	   *payloads = malloc((size_t) BATCH * MAX_BID);
	rd_kafka_t *producer;
	rd_kafka_topic_t *topic;
	int			partitions;
	double		start;

	if (messages == NULL || payloads == NULL)
		die("out of memory");
	if (options.count < 0)
		die("bids needs -n, the number of bids");
	make_channels(&generator);

	rd_kafka_conf_set_dr_msg_cb(conf, bid_delivered);
	set_property(conf, "delivery.report.only.error", "true");
	set_property(conf, "linger.ms", "20");
	set_property(conf, "batch.num.messages", "10000");
	producer = new_producer(conf);
	partitions = count_partitions(producer, options.topic);
	topic = rd_kafka_topic_new(producer, options.topic, NULL);

	start = now_seconds();
	for (int64_t sent = 0; sent < options.count && !stop_requested;)
	{
		int			count = 0;

		for (; count < BATCH && sent < options.count; count++, sent++)
		{
			char	   *payload = payloads + (size_t) count * MAX_BID;

			memset(&messages[count], 0, sizeof(messages[count]));
			messages[count].payload = payload;
			messages[count].len = make_bid(&generator, sent, payload);
			messages[count].partition = (int32_t) (sent % partitions);
		}
		send_batch(producer, topic, messages, count);
	}
	flush_producer(producer);
	fprintf(stderr, "%.0f bids per second\n", options.count / (now_seconds() - start));

	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(producer);
	free(generator.cold);
	free(messages);
	free(payloads);
}

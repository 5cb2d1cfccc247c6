/*-------------------------------------------------------------------------
 *
 * generate.c
 *    Sends the events of a generator: as fast as possible, or at a rate.
 *
 * Event k is sent to partition k modulo the number of partitions, so each
 * partition is in order of time. Messages are sent in batches, without printf:
 * more than 500,000 per second.
 *
 * With a rate (-r) the generator is an open loop. Event k should be sent at
 * start + k / rate; this time is its event time, and is in its payload. If the
 * broker is slow, events are sent late, but their intended times do not change,
 * so that the delay counts as latency (no coordinated omission). What has become
 * due is sent every 5 ms, the default linger time of producers: the time that it has
 * waited is part of the latency, too. See wire.c for how it is sent.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "generate.h"
#include "wire.h"

#define BATCH 1000
#define INTERVAL_US 5000		/* between two times at which paced events are sent */
#define MAX_REQUEST 2000		/* paced events: of 512 bytes at most, 1 MB is what brokers accept for a partition */

char *
append_time(char *out, TimeText *cache, int64_t milliseconds)
{
	time_t		second = milliseconds / 1000;
	int			rest = (int) (milliseconds % 1000);

	if (second != cache->second)
	{
		struct tm	parts;

		gmtime_r(&second, &parts);
		strftime(cache->text, sizeof(cache->text), "%Y-%m-%dT%H:%M:%S.", &parts);
		cache->second = second;
	}
	out = append_text(out, cache->text, 20);
	*out++ = '0' + rest / 100;
	*out++ = '0' + rest / 10 % 10;
	*out++ = '0' + rest % 10;
	*out++ = 'Z';
	return out;
}

/* With -d MS, the time of every hundredth event is earlier by MS milliseconds. */
int64_t
disorder(int64_t number, int64_t milliseconds)
{
	return number % 100 == 99 ? milliseconds - options.disorder : milliseconds;
}

static void
event_delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
	(void) producer;
	(void) opaque;
	if (message->err)
		die("event was not delivered: %s", rd_kafka_err2str(message->err));
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

static int64_t
clock_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Sends events as fast as possible. */
static void
send_unpaced(rd_kafka_t *producer, int partitions, MakeEvent make, void *generator, size_t max_payload)
{
	rd_kafka_message_t *messages = calloc(BATCH, sizeof(rd_kafka_message_t));
	char	   *payloads = malloc((size_t) BATCH * max_payload);
	rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, options.topic, NULL);

	if (messages == NULL || payloads == NULL)
		die("out of memory");
	for (int64_t sent = 0; sent < options.count && !stop_requested;)
	{
		int			count = 0;

		for (; count < BATCH && sent < options.count; count++, sent++)
		{
			char	   *payload = payloads + (size_t) count * max_payload;
			Event		event = {.number = sent};

			memset(&messages[count], 0, sizeof(messages[count]));
			messages[count].payload = payload;
			messages[count].len = make(generator, &event, payload);
			messages[count].partition = (int32_t) (sent % partitions);
		}
		send_batch(producer, topic, messages, count);
	}
	flush_producer(producer);
	rd_kafka_topic_destroy(topic);
	free(messages);
	free(payloads);
}

/* Waits to the end of the interval in which the next event becomes due; passed_us is the time since the start. */
static void
wait_for_next(int64_t next, int64_t passed_us)
{
	int64_t		next_us = (int64_t) ((next + 1) * 1e6 / options.rate);
	int64_t		rest_us = next_us - passed_us + INTERVAL_US - next_us % INTERVAL_US;

	rest_us = rest_us > 100000 ? 100000 : rest_us < 100 ? 100 : rest_us;
	nanosleep(&(struct timespec) {0, rest_us * 1000}, NULL);
}

/* Sends the events that are due, whatever has become of those before. Durations are those of the monotonic clock. */
static void
send_paced(int partitions, MakeEvent make, void *generator, size_t max_payload)
{
	WireProducer *producer = new_wire_producer(options.brokers, partitions);
	char	   *payload = malloc(max_payload);
	int64_t		start_us = clock_us(CLOCK_MONOTONIC);
	int64_t		wall_us = clock_us(CLOCK_REALTIME);

	if (payload == NULL)
		die("out of memory");
	if (options.codec != NULL)
		die("paced events cannot be compressed");
	for (int64_t sent = 0; sent < options.count && !stop_requested;)
	{
		int64_t		passed_us = clock_us(CLOCK_MONOTONIC) - start_us;
		int64_t		due = (int64_t) ((passed_us - passed_us % INTERVAL_US) / 1e6 * options.rate);

		if (due <= sent)
		{
			wait_for_next(sent, passed_us);
			continue;
		}
		due = due > options.count ? options.count : due;
		for (int count = 0; count < MAX_REQUEST && sent < due; count++, sent++)
		{
			Event		event = {.number = sent, .sent_us = wall_us + (int64_t) (sent * 1e6 / options.rate)};

			event.time_ms = event.sent_us / 1000;
			add_wire_event(producer, (int) (sent % partitions), payload, make(generator, &event, payload));
		}
		send_wire_events(producer, options.topic, clock_us(CLOCK_REALTIME) / 1000);
	}
	close_wire_producer(producer);
	free(payload);
}

void
run_generator(MakeEvent make, void *generator, size_t max_payload)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *producer;
	int			partitions;
	int64_t		start_us;

	if (options.count < 0)
		die("option -n, the number of events, is missing");
	rd_kafka_conf_set_dr_msg_cb(conf, event_delivered);
	set_property(conf, "delivery.report.only.error", "true");
	set_property(conf, "linger.ms", "20");
	set_property(conf, "batch.num.messages", "10000");
	producer = new_producer(conf);
	partitions = count_partitions(producer, options.topic);

	start_us = clock_us(CLOCK_MONOTONIC);
	if (options.rate > 0)
	{
		rd_kafka_destroy(producer);
		send_paced(partitions, make, generator, max_payload);
	}
	else
	{
		send_unpaced(producer, partitions, make, generator, max_payload);
		rd_kafka_destroy(producer);
	}
	fprintf(stderr, "%.0f events per second\n",
			options.count / ((clock_us(CLOCK_MONOTONIC) - start_us) / 1e6));
}

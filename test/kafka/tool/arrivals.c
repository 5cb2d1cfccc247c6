/*-------------------------------------------------------------------------
 *
 * arrivals.c
 *    When paced events arrive at a client of the broker that does nothing else with them.
 *
 * This is what no consumer can be faster than: the delay of the generator, of the
 * broker and of the machine. It reads from the end of a topic until it is stopped.
 * For each partition of which messages have arrived at once it prints a line: time of
 * arrival in microseconds, partition, and the intended time of the last of them.
 *
 * With -P it reads one partition only, so that it takes as little CPU time as
 * possible from what is measured beside it.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tool.h"

#define BATCH 2000
#define WAIT_MS 100

/* The number after the last colon of an event: "sent", its intended time in microseconds. */
static int64_t
intended_time(const rd_kafka_message_t *message)
{
	const char *start = message->payload;
	const char *digit = start + message->len;
	int64_t		value = 0;

	while (digit > start && digit[-1] != ':')
		digit--;
	if (digit == start)
		die("an event has no intended time: produce it with -r");
	for (; digit < start + message->len && *digit >= '0' && *digit <= '9'; digit++)
		value = value * 10 + (*digit - '0');
	return value;
}

void
run_arrivals(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_message_t *messages[BATCH];
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_queue_t *queue;
	rd_kafka_t *consumer;
	int64_t    *last;
	int			partitions;

	set_property(conf, "isolation.level", "read_committed");
	consumer = new_consumer(conf, &partitions);
	queue = rd_kafka_queue_get_consumer(consumer);
	last = calloc(partitions, sizeof(int64_t));
	if (last == NULL)
		die("out of memory");
	list = rd_kafka_topic_partition_list_new(partitions);
	for (int partition = 0; partition < partitions; partition++)
		if (options.partition < 0 || options.partition == partition)
			rd_kafka_topic_partition_list_add(list, options.topic, partition)->offset =
				RD_KAFKA_OFFSET_END;
	if (rd_kafka_assign(consumer, list))
		die("could not assign partitions");

	while (!stop_requested)
	{
		/* the first call returns as soon as there is a message, the second does not wait */
		ssize_t		count = rd_kafka_consume_batch_queue(queue, WAIT_MS, messages, 1);
		struct timespec now;

		if (count == 1)
			count += rd_kafka_consume_batch_queue(queue, 0, messages + 1, BATCH - 1);
		clock_gettime(CLOCK_REALTIME, &now);
		for (ssize_t i = 0; i < count; i++)
		{
			if (messages[i]->err == 0 && messages[i]->payload != NULL)
				last[messages[i]->partition] = intended_time(messages[i]);
			rd_kafka_message_destroy(messages[i]);
		}
		for (int partition = 0; partition < partitions; partition++)
		{
			if (last[partition] == 0)
				continue;
			printf("%lld\t%d\t%lld\n", (long long) now.tv_sec * 1000000 + now.tv_nsec / 1000,
				   partition, (long long) last[partition]);
			last[partition] = 0;
		}
	}

	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_queue_destroy(queue);
	free(last);
	rd_kafka_consumer_close(consumer);
	rd_kafka_destroy(consumer);
}

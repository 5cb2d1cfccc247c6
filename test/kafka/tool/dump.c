/*-------------------------------------------------------------------------
 *
 * dump.c
 *    Prints the committed messages of a topic: the independent reader of the tests.
 *
 * Reads from the beginning (or -o) to the end as of its start (or -e), with
 * assign() and read_committed. It is a separate process and shares no code with
 * the extension's consumer. The output is in the format of COPY: partition,
 * offset, key with -k, payload; \N for a NULL; with -X bytes in hex format.
 * "count" only counts: what librdkafka itself can do.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define BATCH 1000

static void
print_bytes(const void *data, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *in = data;

	if (data == NULL)
	{
		fputs("\\N", stdout);
		return;
	}
	if (options.hex)
		fputs("\\\\x", stdout);
	for (size_t i = 0; i < size; i++)
	{
		if (options.hex)
		{
			putc_unlocked(digits[in[i] >> 4], stdout);
			putc_unlocked(digits[in[i] & 15], stdout);
			continue;
		}
		switch (in[i])
		{
			case '\t':
				fputs("\\t", stdout);
				break;
			case '\n':
				fputs("\\n", stdout);
				break;
			case '\r':
				fputs("\\r", stdout);
				break;
			case '\\':
				fputs("\\\\", stdout);
				break;
			default:
				putc_unlocked(in[i], stdout);
		}
	}
}

static bool counting = false;
static int64_t counted = 0;

static void
print_message(const rd_kafka_message_t *message)
{
	counted++;
	if (counting)
		return;
	printf("%d\t%lld\t", (int) message->partition, (long long) message->offset);
	if (options.keys)
	{
		print_bytes(message->key, message->key_len);
		putc_unlocked('\t', stdout);
	}
	print_bytes(message->payload, message->len);
	putc_unlocked('\n', stdout);
}

/* done_with returns whether a message is the last requested one of its partition. */
static bool
done_with(const rd_kafka_message_t *message)
{
	return options.end >= 0 && message->offset + 1 >= options.end;
}

static rd_kafka_topic_partition_list_t *
assign_partitions(rd_kafka_t *consumer, int partitions, int *assigned)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);

	*assigned = 0;
	for (int partition = 0; partition < partitions; partition++)
	{
		if (options.partition >= 0 && options.partition != partition)
			continue;
		if (options.end >= 0 && options.offset >= options.end)
			continue;
		rd_kafka_topic_partition_list_add(list, options.topic, partition)->offset =
			options.offset >= 0 ? options.offset : RD_KAFKA_OFFSET_BEGINNING;
		(*assigned)++;
	}
	if (rd_kafka_assign(consumer, list))
		die("could not assign partitions");
	return list;
}

void
run_dump(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_message_t *messages[BATCH];
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_queue_t *queue;
	rd_kafka_t *consumer;
	bool	   *done;
	int			partitions;
	int			open;

	set_property(conf, "auto.offset.reset", "error");
	set_property(conf, "enable.partition.eof", "true");
	set_property(conf, "isolation.level",
				 options.uncommitted ? "read_uncommitted" : "read_committed");
	set_property(conf, "fetch.wait.max.ms", "50");
	set_property(conf, "queued.min.messages", "1000000");
	consumer = new_consumer(conf, &partitions);
	queue = rd_kafka_queue_get_consumer(consumer);
	done = calloc(partitions, sizeof(bool));
	if (done == NULL)
		die("out of memory");
	list = assign_partitions(consumer, partitions, &open);

	while (open > 0 && !stop_requested)
	{
		ssize_t		count = rd_kafka_consume_batch_queue(queue, 5, messages, BATCH);

		for (ssize_t i = 0; i < count; i++)
		{
			rd_kafka_message_t *message = messages[i];
			bool		last = false;

			if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
				last = true;
			else if (message->err == RD_KAFKA_RESP_ERR__TRANSPORT ||
					 message->err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
				last = false;	/* the client reconnects automatically */
			else if (message->err)
				die("partition %d: %s", (int) message->partition, rd_kafka_message_errstr(message));
			else if (!done[message->partition] &&
					 (options.end < 0 || message->offset < options.end))
			{
				print_message(message);
				last = done_with(message);
			}
			else
				last = true;
			if (last && !done[message->partition])
			{
				done[message->partition] = true;
				open--;
			}
			rd_kafka_message_destroy(message);
		}
	}

	free(done);
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_queue_destroy(queue);
	rd_kafka_consumer_close(consumer);
	rd_kafka_destroy(consumer);
	if (stop_requested)
		die("stopped before the end");
}

void
run_count(void)
{
	counting = true;
	run_dump();
	printf("%lld\n", (long long) counted);
}

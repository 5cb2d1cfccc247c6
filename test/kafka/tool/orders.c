/*-------------------------------------------------------------------------
 *
 * orders.c
 *    Produces orders continuously, with a ledger of the acknowledged ones.
 *
 * The demonstration compares the view with the ledger: one line per order
 * (partition, offset, order_id, user_id, amount, event_time), written when the
 * delivery report arrives. On SIGTERM, in-flight orders are delivered and
 * written before the program exits.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tool.h"

/* event times are behind the clock by at most this much, as with real devices and networks */
#define MAX_JITTER_MS 1500

/* Ledger entry of an order; the opaque of its message. */
typedef struct Order
{
	long long	id;
	int			user;
	long long	cents;
	char		event_time[32];
} Order;

static FILE *ledger = NULL;

static void
order_delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
	Order	   *order = message->_private;

	(void) producer;
	(void) opaque;
	if (message->err)
		die("order was not delivered: %s", rd_kafka_err2str(message->err));
	if (ledger != NULL)
		fprintf(ledger, "%d\t%lld\t%lld\tuser-%02d\t%lld.%02lld\t%s\n", (int) message->partition,
				(long long) message->offset, order->id, order->user, order->cents / 100,
				order->cents % 100, order->event_time);
	free(order);
}

static void
format_time(char *text, size_t size, int64_t milliseconds)
{
	time_t		seconds = milliseconds / 1000;
	struct tm	parts;
	size_t		length;

	gmtime_r(&seconds, &parts);
	length = strftime(text, size, "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(text + length, size - length, ".%03dZ", (int) (milliseconds % 1000));
}

/* make_order generates an order; a few users order much more than the others. */
static Order *
make_order(Random *random, long long id)
{
	Order	   *order = malloc(sizeof(Order));
	struct timespec now;
	int64_t		milliseconds;
	double		skew = random_unit(random);

	if (order == NULL)
		die("out of memory");
	clock_gettime(CLOCK_REALTIME, &now);
	milliseconds = (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
	milliseconds -= random_below(random, MAX_JITTER_MS);
	order->id = id;
	order->user = 1 + (int) (skew * skew * options.users);
	order->cents = 100 + (long long) random_below(random, 50000);
	format_time(order->event_time, sizeof(order->event_time), milliseconds);
	return order;
}

static void
send_order(rd_kafka_t *producer, Order *order, int partitions)
{
	char		key[32];
	char		payload[256];
	int			key_size;
	int			size;
	rd_kafka_resp_err_t error;

	key_size = snprintf(key, sizeof(key), "user-%02d", order->user);
	size = snprintf(payload, sizeof(payload),
					"{\"order_id\": %lld, \"user_id\": \"%s\", \"amount\": %lld.%02lld, "
					"\"event_time\": \"%s\"}",
					order->id, key, order->cents / 100, order->cents % 100, order->event_time);
	do
	{
		error = rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(options.topic),
								  RD_KAFKA_V_PARTITION(order->user % partitions),
								  RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
								  RD_KAFKA_V_KEY(key, key_size),
								  RD_KAFKA_V_VALUE(payload, size),
								  RD_KAFKA_V_OPAQUE(order), RD_KAFKA_V_END);
		if (error == RD_KAFKA_RESP_ERR__QUEUE_FULL)
			rd_kafka_poll(producer, 100);
	} while (error == RD_KAFKA_RESP_ERR__QUEUE_FULL);
	if (error)
		die("%s", rd_kafka_err2str(error));
}

void
run_orders(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	Random		random = {options.seed};
	rd_kafka_t *producer;
	double		start;
	long long	sent = 0;
	int			partitions;

	if (options.ledger != NULL && (ledger = fopen(options.ledger, "w")) == NULL)
		die("could not open \"%s\": %s", options.ledger, strerror(errno));
	rd_kafka_conf_set_dr_msg_cb(conf, order_delivered);
	set_property(conf, "linger.ms", "5");
	producer = new_producer(conf);
	partitions = count_partitions(producer, options.topic);

	start = now_seconds();
	while (!stop_requested && (options.count < 0 || sent < options.count))
	{
		long long	due = options.count;

		/* all orders that are due; the rate does not depend on the broker */
		if (options.rate > 0)
			due = (long long) ((now_seconds() - start) * options.rate) + 1;
		if (options.count >= 0 && due > options.count)
			due = options.count;
		if (due < 0)
			due = sent + 1000;
		for (; sent < due; sent++)
		{
			send_order(producer, make_order(&random, sent + 1), partitions);
			rd_kafka_poll(producer, 0);
		}
		if (options.rate > 0)
			rd_kafka_poll(producer, 5);
	}
	flush_producer(producer);
	rd_kafka_destroy(producer);
	if (ledger != NULL && fclose(ledger) != 0)
		die("could not write \"%s\": %s", options.ledger, strerror(errno));
	printf("%lld\n", sent);
}

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
 * With a rate (-r) the event time of a bid is the time at which it should be
 * sent, and the field "sent" contains it in microseconds.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdlib.h>

#include "generate.h"

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
	TimeText	time;
} Generator;

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

static size_t
make_bid(void *state, const Event *paced, char *start)
{
	Generator  *generator = state;
	Random	   *random = &generator->random;
	int64_t		k = paced->number;
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
	out = append_time(out, &generator->time,
					  disorder(k, paced->sent_us ? paced->time_ms :
							   BASE_TIME_MS + event * 1000 / EVENTS_PER_SECOND));
	out = APPEND_LITERAL(out, "\",\"extra\":\"");
	/* pads the 32 bytes of the original's integers to 100, give or take 20 % of the rest */
	out = append_letters(out, random, 55 + (int) random_below(random, 27));
	if (paced->sent_us)
	{
		out = APPEND_LITERAL(out, "\",\"sent\":");
		out = append_integer(out, (uint64_t) paced->sent_us);
		out = APPEND_LITERAL(out, "}");
	}
	else
		out = APPEND_LITERAL(out, "\"}");
	return out - start;
}

void
run_bids(void)
{
	Generator	generator = {.random = {options.seed}, .time = {.second = -1}};

	make_channels(&generator);
	run_generator(make_bid, &generator, MAX_BID);
	free(generator.cold);
}

/*-------------------------------------------------------------------------
 *
 * events.c
 *    Events with a number of keys and a size, and those of the Yahoo streaming benchmark.
 *
 * keyed: {"key": n, "value": n, "at": time, "pad": text}, with uniformly
 * distributed keys below -u, padded to -m bytes.
 *
 * ads: the events of the Yahoo streaming benchmark, all fields as strings: one
 * of 1,000 ads, one of five types of ad, one of three types of event, and the
 * time in milliseconds. Ad n has the id 00000000-0000-4000-8000- followed by n
 * in 12 digits; ten ads are a campaign.
 *
 * Both are at -v events per second of event time, unless they are paced.
 * The same seed generates the same events.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "generate.h"

#define ADS 1000
#define USERS 100
#define PAGES 100
#define MAX_AD_EVENT 512
#define MAX_KEYED 65536

typedef struct Generator
{
	Random		random;
	TimeText	time;
} Generator;

static int64_t
event_time(const Event *event)
{
	int64_t		time_ms = event->sent_us ? event->time_ms :
		BASE_TIME_MS + (int64_t) (event->number * 1000 / options.density);

	return disorder(event->number, time_ms);
}

static size_t
make_keyed(void *state, const Event *event, char *start)
{
	Generator  *generator = state;
	char	   *out = start;
	int			pad;

	out = APPEND_LITERAL(out, "{\"key\":");
	out = append_integer(out, random_below(&generator->random, (uint64_t) options.users));
	out = APPEND_LITERAL(out, ",\"value\":");
	out = append_integer(out, random_below(&generator->random, 1000000));
	out = APPEND_LITERAL(out, ",\"at\":\"");
	out = append_time(out, &generator->time, event_time(event));
	out = APPEND_LITERAL(out, "\",\"pad\":\"");
	pad = options.message_size - (int) (out - start) - 2;
	if (pad > 0)
		out = append_letters(out, &generator->random, pad);
	out = APPEND_LITERAL(out, "\"}");
	return out - start;
}

void
run_keyed(void)
{
	Generator	generator = {.random = {options.seed}, .time = {.second = -1}};

	if (options.message_size > MAX_KEYED - 256)
		die("option -m cannot be greater than %d", MAX_KEYED - 256);
	run_generator(make_keyed, &generator, options.message_size + 256);
}

/* A UUID of which only the last digits vary. */
static char *
append_uuid(char *out, const char *name, uint64_t number)
{
	char		digits[12];

	for (int i = 11; i >= 0; i--, number /= 10)
		digits[i] = '0' + number % 10;
	out = append_text(out, name, strlen(name));
	out = APPEND_LITERAL(out, "00000000-0000-4000-8000-");
	return append_text(out, digits, sizeof(digits));
}

static size_t
make_ad_event(void *state, const Event *event, char *start)
{
	static const char *const ad_types[] = {"banner", "modal", "sponsored-search", "mail", "mobile"};
	static const char *const event_types[] = {"view", "click", "purchase"};
	Generator  *generator = state;
	Random	   *random = &generator->random;
	const char *type;
	char	   *out = start;

	out = append_uuid(out, "{\"user_id\":\"", random_below(random, USERS));
	out = append_uuid(out, "\",\"page_id\":\"", random_below(random, PAGES));
	out = append_uuid(out, "\",\"ad_id\":\"", random_below(random, ADS));
	out = APPEND_LITERAL(out, "\",\"ad_type\":\"");
	type = ad_types[random_below(random, 5)];
	out = append_text(out, type, strlen(type));
	out = APPEND_LITERAL(out, "\",\"event_type\":\"");
	type = event_types[random_below(random, 3)];
	out = append_text(out, type, strlen(type));
	out = APPEND_LITERAL(out, "\",\"event_time\":\"");
	out = append_integer(out, (uint64_t) event_time(event));
	out = APPEND_LITERAL(out, "\",\"ip_address\":\"1.2.3.4\"}");
	return out - start;
}

void
run_ads(void)
{
	Generator	generator = {.random = {options.seed}, .time = {.second = -1}};

	run_generator(make_ad_event, &generator, MAX_AD_EVENT);
}

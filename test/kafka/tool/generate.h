/*-------------------------------------------------------------------------
 *
 * generate.h
 *    What the generators of the benchmark share: JSON text without printf, times, sending.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_TOOL_GENERATE_H
#define EDDY_TOOL_GENERATE_H

#include <string.h>
#include <time.h>

#include "tool.h"

#define BASE_TIME_MS INT64_C(1767225600000) /* 2026-01-01 00:00:00 UTC */

/* The event that is being made. */
typedef struct Event
{
	int64_t		number;			/* from 0 */
	int64_t		time_ms;		/* its event time, if it is paced: otherwise the generator determines it */
	int64_t		sent_us;		/* paced: the time at which it should be sent, else 0 */
} Event;

/* The last second that was converted to text. */
typedef struct TimeText
{
	time_t		second;
	char		text[32];
} TimeText;

/* Writes the payload of an event to start, at most max_payload bytes, and returns its size. */
typedef size_t (*MakeEvent) (void *generator, const Event *event, char *start);

extern void run_generator(MakeEvent make, void *generator, size_t max_payload);
extern char *append_time(char *out, TimeText *cache, int64_t milliseconds);
extern int64_t disorder(int64_t number, int64_t milliseconds);

static inline char *
append_text(char *out, const char *text, size_t size)
{
	memcpy(out, text, size);
	return out + size;
}

#define APPEND_LITERAL(out, literal) append_text(out, literal, sizeof(literal) - 1)

static inline char *
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
static inline char *
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

#endif							/* EDDY_TOOL_GENERATE_H */

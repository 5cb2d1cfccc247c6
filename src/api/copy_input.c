/*-------------------------------------------------------------------------
 *
 * copy_input.c
 *    Faster input functions for COPY into a stream.
 *
 * The server's input functions of times take half of the instructions of a COPY that has one such
 * column: they accept everything that a date can look like. Here, the form in which PostgreSQL
 * writes times is read directly: YYYY-MM-DD, hh:mm:ss with up to six further digits, and for
 * timestamps with time zone a numeric displacement. Its meaning depends on no setting. All other
 * texts, and those that may be errors, are passed to the server's function, so that results and
 * errors are always the server's.
 *
 * No locks, no memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "api/copy_input.h"

#define DAY_LENGTH 10			/* of YYYY-MM-DD */

/* The day that was read last: that of the next row is mostly the same. */
static char last_day[DAY_LENGTH] = {'2', '0', '0', '0', '-', '0', '1', '-', '0', '1'};
static int	last_day_number = 0;

/*
 * Reads two digits, whose place must not be beyond the end of the text; -1 if these are not digits.
 */
static inline int
read_two(const char *p)
{
	unsigned int high = (unsigned char) p[0] - '0';
	unsigned int low;

	if (high > 9)
		return -1;
	low = (unsigned char) p[1] - '0';
	return low > 9 ? -1 : (int) (high * 10 + low);
}

/* Reads a day, in days from 2000-01-01; returns what follows it, or NULL. */
static inline const char *
read_day(const char *p, int *day)
{
	int			century,
				year,
				month,
				mday;

	/* strncmp ends with the text */
	if (strncmp(p, last_day, DAY_LENGTH) == 0)
	{
		*day = last_day_number;
		return p + DAY_LENGTH;
	}
	if ((century = read_two(p)) < 0 || (year = read_two(p + 2)) < 0 || p[4] != '-' ||
		(month = read_two(p + 5)) < 0 || p[7] != '-' || (mday = read_two(p + 8)) < 0)
		return NULL;
	year += century * 100;
	if (year == 0 || month < 1 || month > MONTHS_PER_YEAR || mday < 1 ||
		mday > day_tab[isleap(year)][month - 1])
		return NULL;
	*day = date2j(year, month, mday) - POSTGRES_EPOCH_JDATE;
	memcpy(last_day, p, DAY_LENGTH);
	last_day_number = *day;
	return p + DAY_LENGTH;
}

/* Reads hh:mm:ss[.ffffff]; returns what follows it, or NULL. */
static inline const char *
read_clock(const char *p, int64 *microseconds)
{
	int			hour,
				minute,
				second;
	int64		fraction = 0;

	if ((hour = read_two(p)) < 0 || p[2] != ':' || (minute = read_two(p + 3)) < 0 ||
		p[5] != ':' || (second = read_two(p + 6)) < 0 ||
		hour >= HOURS_PER_DAY || minute >= MINS_PER_HOUR || second >= SECS_PER_MINUTE)
		return NULL;
	p += 8;
	if (*p == '.')
	{
		int			digits = 0;

		for (p++; *p >= '0' && *p <= '9' && digits < 6; p++, digits++)
			fraction = fraction * 10 + (*p - '0');
		if (digits == 0 || (*p >= '0' && *p <= '9'))
			return NULL;
		for (; digits < 6; digits++)
			fraction *= 10;
	}
	*microseconds = ((hour * MINS_PER_HOUR + minute) * (int64) SECS_PER_MINUTE + second) *
		USECS_PER_SEC + fraction;
	return p;
}

/* Reads a displacement, (+|-)hh[:mm], in seconds east of UTC; returns what follows it, or NULL. */
static inline const char *
read_zone(const char *p, int *seconds)
{
	bool		west = *p == '-';
	int			hour,
				minute = 0;

	if ((*p != '+' && !west) || (hour = read_two(p + 1)) < 0 || hour > MAX_TZDISP_HOUR)
		return NULL;
	p += 3;
	if (*p == ':')
	{
		if ((minute = read_two(p + 1)) < 0 || minute >= MINS_PER_HOUR)
			return NULL;
		p += 3;
	}
	*seconds = (hour * MINS_PER_HOUR + minute) * SECS_PER_MINUTE;
	if (west)
		*seconds = -*seconds;
	return p;
}

/* Reads day and clock, and if the type has it, the zone. */
static inline bool
read_timestamp(const char *p, bool has_zone, Timestamp *result)
{
	int			day;
	int64		clock;
	int			zone = 0;

	p = read_day(p, &day);
	if (p == NULL || *p != ' ' || (p = read_clock(p + 1, &clock)) == NULL)
		return false;
	if (has_zone && (p = read_zone(p, &zone)) == NULL)
		return false;
	*result = day * USECS_PER_DAY + clock - zone * USECS_PER_SEC;
	return *p == '\0';
}

/* Arguments of input functions: the text, the type's element type, its modifier. */
static Datum
input_timestamptz(PG_FUNCTION_ARGS)
{
	Timestamp	result;

	if (PG_GETARG_INT32(2) < 0 && read_timestamp(PG_GETARG_CSTRING(0), true, &result))
		PG_RETURN_TIMESTAMPTZ(result);
	return timestamptz_in(fcinfo);
}

static Datum
input_timestamp(PG_FUNCTION_ARGS)
{
	Timestamp	result;

	if (PG_GETARG_INT32(2) < 0 && read_timestamp(PG_GETARG_CSTRING(0), false, &result))
		PG_RETURN_TIMESTAMP(result);
	return timestamp_in(fcinfo);
}

static Datum
input_date(PG_FUNCTION_ARGS)
{
	int			day;
	const char *end = read_day(PG_GETARG_CSTRING(0), &day);

	if (end != NULL && *end == '\0')
		PG_RETURN_DATEADT(day);
	return date_in(fcinfo);
}

void
eddy_copy_input_replace(FmgrInfo *function)
{
	switch (function->fn_oid)
	{
		case F_TIMESTAMPTZ_IN:
			function->fn_addr = input_timestamptz;
			break;
		case F_TIMESTAMP_IN:
			function->fn_addr = input_timestamp;
			break;
		case F_DATE_IN:
			function->fn_addr = input_date;
			break;
		default:
			break;
	}
}

/*-------------------------------------------------------------------------
 *
 * value_time.c
 *    Dates and timestamps from ISO 8601 texts and from epoch numbers.
 *
 * The form is YYYY-MM-DD[(T| )hh:mm[:ss[.f...]][Z|(+|-)hh[mm|:mm[:ss]]]],
 * years of four to six digits; infinity and -infinity are valid as well. Names of months and zones,
 * BC and "now" are not supported: what they mean depends on settings or on the clock, and a message
 * that is decoded twice must give the same row twice.
 *
 * As in PostgreSQL, date and timestamp without time zone ignore a zone. A timestamp with time zone
 * whose text has none is in UTC, regardless of the session's time zone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/int.h"
#include "datatype/timestamp.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "decode/value.h"

/* Microseconds from 1970-01-01, the origin of epoch numbers, to 2000-01-01, that of timestamps. */
#define EPOCH_SHIFT \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* Digits of a second that are read; those after the sixth only decide the rounding. */
#define MAX_FRACTION_DIGITS 15

#define DAY_LENGTH 10			/* of YYYY-MM-DD */

/* two_digits reads exactly two digits; returns -1 if these are not digits. */
static inline int
two_digits(const char *p, const char *end)
{
	unsigned int high,
				low;

	if (end - p < 2)
		return -1;
	high = (unsigned char) p[0] - '0';
	low = (unsigned char) p[1] - '0';
	return (high <= 9 && low <= 9) ? (int) (high * 10 + low) : -1;
}

/* round_to_digits rounds half away from zero to the column's digits of a second. */
static Timestamp
round_to_digits(const EddyValueColumn *column, Timestamp time)
{
	int64		unit;

	if (column->limit < 0 || column->limit >= MAX_TIMESTAMP_PRECISION)
		return time;
	unit = eddy_value_powers_of_ten[MAX_TIMESTAMP_PRECISION - column->limit];
	if (time >= 0)
		return (time + unit / 2) / unit * unit;
	return -((-time + unit / 2) / unit * unit);
}

/* store_time makes the Datum of a timestamp column, or of a date's first microsecond. */
static EddyValueResult
store_time(const EddyValueColumn *column, Timestamp time, Datum *value)
{
	if (!IS_VALID_TIMESTAMP(time))
		return EDDY_VALUE_RANGE;
	if (column->kind == EDDY_VALUE_DATE)
	{
		int64		days = time / USECS_PER_DAY;

		if (time % USECS_PER_DAY < 0)
			days--;
		*value = DateADTGetDatum((DateADT) days);
		return EDDY_VALUE_OK;
	}
	time = round_to_digits(column, time);
	if (!IS_VALID_TIMESTAMP(time))
		return EDDY_VALUE_RANGE;
	*value = TimestampGetDatum(time);
	return EDDY_VALUE_OK;
}

/* parse_zone reads Z or a numeric displacement: *seconds east of UTC. */
static EddyValueResult
parse_zone(const char *p, const char *end, int *seconds)
{
	int			parts[3] = {0, 0, 0};
	bool		negative;
	bool		colon = false;

	*seconds = 0;
	if (p == end || (end - p == 1 && (*p == 'Z' || *p == 'z')))
		return EDDY_VALUE_OK;
	if (*p != '+' && *p != '-')
		return EDDY_VALUE_INVALID;
	negative = (*p++ == '-');

	for (int i = 0; i < 3 && p < end; i++)
	{
		/* as in PostgreSQL, +hhmmss is not valid, and colons are between all parts or none */
		if (i == 1)
			colon = *p == ':';
		if (i == 2 && (!colon || *p != ':'))
			return EDDY_VALUE_INVALID;
		if (i > 0 && colon)
			p++;
		parts[i] = two_digits(p, end);
		if (parts[i] < 0)
			return EDDY_VALUE_INVALID;
		p += 2;
		if (i == 0 && p == end)
			break;
	}
	if (p != end)
		return EDDY_VALUE_INVALID;
	if (parts[0] > MAX_TZDISP_HOUR || parts[1] >= MINS_PER_HOUR || parts[2] >= SECS_PER_MINUTE)
		return EDDY_VALUE_RANGE;
	*seconds = (parts[0] * MINS_PER_HOUR + parts[1]) * SECS_PER_MINUTE + parts[2];
	if (negative)
		*seconds = -*seconds;
	return EDDY_VALUE_OK;
}

/* parse_clock reads hh:mm[:ss[.f...]] and advances *pp past it. */
static EddyValueResult
parse_clock(const char **pp, const char *end, int64 *microseconds)
{
	const char *p = *pp;
	int			hour,
				minute,
				second = 0;
	int64		fraction = 0;

	hour = two_digits(p, end);
	if (hour < 0 || end - p < 5 || p[2] != ':')
		return EDDY_VALUE_INVALID;
	minute = two_digits(p + 3, end);
	if (minute < 0)
		return EDDY_VALUE_INVALID;
	p += 5;

	if (p < end && *p == ':')
	{
		second = two_digits(p + 1, end);
		if (second < 0)
			return EDDY_VALUE_INVALID;
		p += 3;
		if (p < end && (*p == '.' || *p == ','))
		{
			int			digits = 0;

			p++;
			while (p < end && *p >= '0' && *p <= '9')
			{
				if (digits < MAX_FRACTION_DIGITS)
				{
					fraction = fraction * 10 + (*p - '0');
					digits++;
				}
				p++;
			}
			if (digits == 0)
				return EDDY_VALUE_INVALID;
			if (digits <= 6)
				fraction *= eddy_value_powers_of_ten[6 - digits];
			else
			{
				double		unit = (double) eddy_value_powers_of_ten[digits];

				fraction = (int64) rint((double) fraction / unit * 1000000.0);
			}
		}
	}

	/* as in PostgreSQL, 24:00 is the next day and a leap second the next minute */
	if (minute >= MINS_PER_HOUR || second > SECS_PER_MINUTE || hour > HOURS_PER_DAY ||
		(second == SECS_PER_MINUTE && fraction > 0) ||
		(hour == HOURS_PER_DAY && (minute > 0 || second > 0 || fraction > 0)))
		return EDDY_VALUE_RANGE;

	*microseconds = ((hour * MINS_PER_HOUR + minute) * (int64) SECS_PER_MINUTE + second) *
		USECS_PER_SEC + fraction;
	*pp = p;
	return EDDY_VALUE_OK;
}

/*
 * The day that was read last, in the form YYYY-MM-DD: that of the next message is mostly the same.
 */
static char last_day[DAY_LENGTH] = {'2', '0', '0', '0', '-', '0', '1', '-', '0', '1'};
static int	last_day_number = 0;

/* parse_day reads YYYY-MM-DD and advances *pp past it; *day counts from 2000-01-01. */
static EddyValueResult
parse_day(const char **pp, const char *end, int *day)
{
	const char *p = *pp;
	int			year = 0;
	int			month,
				mday;

	if (end - p >= DAY_LENGTH && memcmp(p, last_day, DAY_LENGTH) == 0)
	{
		*day = last_day_number;
		*pp = p + DAY_LENGTH;
		return EDDY_VALUE_OK;
	}

	while (p < end && *p >= '0' && *p <= '9' && p - *pp < 7)
		year = year * 10 + (*p++ - '0');
	if (p - *pp < 4 || end - p < 6 || p[0] != '-' || p[3] != '-')
		return EDDY_VALUE_INVALID;
	month = two_digits(p + 1, end);
	mday = two_digits(p + 4, end);
	if (month < 0 || mday < 0)
		return EDDY_VALUE_INVALID;

	if (year == 0 || month < 1 || month > MONTHS_PER_YEAR || mday < 1 ||
		mday > day_tab[isleap(year)][month - 1] || !IS_VALID_JULIAN(year, month, mday))
		return EDDY_VALUE_RANGE;
	*day = date2j(year, month, mday) - POSTGRES_EPOCH_JDATE;
	if (p + 6 - *pp == DAY_LENGTH)
	{
		memcpy(last_day, *pp, DAY_LENGTH);
		last_day_number = *day;
	}
	*pp = p + 6;
	return EDDY_VALUE_OK;
}

/*
 * eddy_value_parse_time makes a date or timestamp from its text.
 */
EddyValueResult
eddy_value_parse_time(const EddyValueColumn *column, const char *s, uint32 len, Datum *value)
{
	const char *p = s;
	const char *end = s + len;
	int			day;
	int64		clock = 0;
	int64		time;
	int			zone = 0;
	EddyValueResult result;

	while (p < end && eddy_decode_is_space(*p))
		p++;
	while (p < end && eddy_decode_is_space(end[-1]))
		end--;

	if (end - p >= 8 && (*p == 'i' || *p == 'I' || p[1] == 'i' || p[1] == 'I'))
	{
		bool		negative = (*p == '-');
		const char *word = negative ? p + 1 : p;

		if (end - word != 8 || pg_strncasecmp(word, "infinity", 8) != 0)
			return EDDY_VALUE_INVALID;
		if (column->kind == EDDY_VALUE_DATE)
			*value = DateADTGetDatum(negative ? DATEVAL_NOBEGIN : DATEVAL_NOEND);
		else
			*value = TimestampGetDatum(negative ? DT_NOBEGIN : DT_NOEND);
		return EDDY_VALUE_OK;
	}

	result = parse_day(&p, end, &day);
	if (result != EDDY_VALUE_OK)
		return result;
	if (p < end)
	{
		if (*p != 'T' && *p != 't' && *p != ' ')
			return EDDY_VALUE_INVALID;
		p++;
		result = parse_clock(&p, end, &clock);
		if (result != EDDY_VALUE_OK)
			return result;
		if (p < end && *p == ' ')
			p++;
		result = parse_zone(p, end, &zone);
		if (result != EDDY_VALUE_OK)
			return result;
	}

	if (column->kind == EDDY_VALUE_DATE)
	{
		if (!IS_VALID_DATE(day))
			return EDDY_VALUE_RANGE;
		*value = DateADTGetDatum(day);
		return EDDY_VALUE_OK;
	}
	if (pg_mul_s64_overflow(day, USECS_PER_DAY, &time) ||
		pg_add_s64_overflow(time, clock, &time))
		return EDDY_VALUE_RANGE;
	if (column->kind == EDDY_VALUE_TIMESTAMPTZ &&
		pg_sub_s64_overflow(time, zone * USECS_PER_SEC, &time))
		return EDDY_VALUE_RANGE;
	return store_time(column, time, value);
}

/*
 * eddy_value_time_from_number makes a date or timestamp from an epoch number.
 *
 * The number is scaled in decimal, so that 1700000000.123 is exact; digits
 * below a microsecond are rounded half away from zero. Seconds with all their
 * nanoseconds have 19 digits; numbers with more are refused.
 */
EddyValueResult
eddy_value_time_from_number(const EddyValueColumn *column, EddyTimeFormat time_format,
							const EddyNumber *number, Datum *value)
{
	uint64		mantissa = number->mantissa;
	int64		time;
	int			shift;

	switch (time_format)
	{
		case EDDY_TIME_SECONDS:
			shift = 6;
			break;
		case EDDY_TIME_MILLISECONDS:
			shift = 3;
			break;
		case EDDY_TIME_MICROSECONDS:
			shift = 0;
			break;
		default:
			return EDDY_VALUE_NO_UNIT;
	}
	if (number->digits > 19)
		return number->digits - number->fraction + number->exponent > 18 - shift ?
			EDDY_VALUE_RANGE : EDDY_VALUE_INVALID;

	shift += number->exponent - number->fraction;
	if (number->digits == 19 && shift < -1)
	{
		/* the divisor would exceed 10^18; the digit that decides the rounding stays */
		mantissa /= 10;
		shift++;
	}
	if (mantissa == 0 || shift < -18)
		time = 0;
	else if (shift < 0)
	{
		uint64		unit = (uint64) eddy_value_powers_of_ten[-shift];

		time = (int64) (mantissa / unit + (mantissa % unit >= unit / 2));
	}
	else if (shift > 18 || mantissa > (uint64) PG_INT64_MAX ||
			 pg_mul_s64_overflow((int64) mantissa, eddy_value_powers_of_ten[shift], &time))
		return EDDY_VALUE_RANGE;

	if (number->negative)
		time = -time;
	if (pg_sub_s64_overflow(time, EPOCH_SHIFT, &time))
		return EDDY_VALUE_RANGE;
	return store_time(column, time, value);
}

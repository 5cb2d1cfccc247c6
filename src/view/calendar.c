/*-------------------------------------------------------------------------
 *
 * calendar.c
 *    Windows of days and months, in a time zone.
 *
 * Such windows start at local times: at midnight of each n-th day, or of the first day of each n-th
 * month, plus an offset. Their length in hours varies: a day on which the clock is changed has 23
 * or
 * 25. A window ends where the next one starts.
 *
 * A local time that the clock skips is the time at which it is changed. Of a local time that occurs
 * twice, PostgreSQL takes the one in standard time. So there are days whose midnight is after times
 * that have a later date, for which the local time is only the first guess: a window contains a
 * time if it starts at that time or before, and the next one starts after it.
 *
 * No locks, no memory. Times outside of the range of timestamps are errors.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "view/calendar.h"

#define MONTHS_BEFORE_1970 (INT64CONST(1970) * MONTHS_PER_YEAR)

/* Months from the year 4714 BC to 294276 AD are numbered with less. */
#define MAX_MONTHS INT64CONST(10000000)

static void
raise_out_of_range(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("timestamp out of range")));
}

/* eddy_calendar_zone returns the time zone with a name. */
pg_tz *
eddy_calendar_zone(const char *name)
{
	static pg_tz *last = NULL;
	pg_tz	   *zone;

	if (last && strcmp(pg_get_timezone_name(last), name) == 0)
		return last;
	zone = pg_tzset(name);
	if (zone == NULL || !pg_tz_acceptable(zone))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", name),
				 errhint("View pg_timezone_names lists the time zones.")));
	last = zone;
	return zone;
}

/* ---- local time ---- */

static int64
add(int64 a, int64 b)
{
	int64		result;

	if (pg_add_s64_overflow(a, b, &result))
		raise_out_of_range();
	return result;
}

static int64
multiply(int64 a, int64 b)
{
	int64		result;

	if (pg_mul_s64_overflow(a, b, &result))
		raise_out_of_range();
	return result;
}

/* Rounds toward minus infinity. */
static int64
divide(int64 a, int64 b)
{
	return a >= 0 ? a / b : -((-(a + 1)) / b) - 1;
}

/* The local time in the zone, which can be a little outside of the range of timestamps. */
static Timestamp
to_local(const EddyCalendar *calendar, Timestamp time)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;

	if (calendar->zone == NULL)
		return time;
	if (timestamp2tm(time, &offset, &tm, &fsec, NULL, calendar->zone) != 0)
		raise_out_of_range();
	/* offset is in seconds west of Greenwich */
	return add(time, -(int64) offset * USECS_PER_SEC);
}

static Timestamp
from_local(const EddyCalendar *calendar, Timestamp local)
{
	struct pg_tm tm;
	fsec_t		fsec;
	Timestamp	result = local;

	if (!IS_VALID_TIMESTAMP(local))
		raise_out_of_range();
	if (calendar->zone)
	{
		if (timestamp2tm(local, NULL, &tm, &fsec, NULL, NULL) != 0)
			raise_out_of_range();
		result = add(local, (int64) DetermineTimeZoneOffset(&tm, calendar->zone) * USECS_PER_SEC);
		if (!IS_VALID_TIMESTAMP(result))
			raise_out_of_range();
	}
	return result;
}

/* Days since 1970-01-01, and the first day of a month that is numbered from 1970. */
static int64
day_of(Timestamp local)
{
	return divide(local, USECS_PER_DAY) + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE);
}

static Timestamp
start_of_day(int64 day)
{
	return multiply(add(day, UNIX_EPOCH_JDATE - POSTGRES_EPOCH_JDATE), USECS_PER_DAY);
}

static int64
month_of(Timestamp local)
{
	int64		day = day_of(local) + UNIX_EPOCH_JDATE;
	int			year;
	int			month;
	int			unused;

	if (day < 0 || day > PG_INT32_MAX)
		raise_out_of_range();
	j2date((int) day, &year, &month, &unused);
	return (int64) year * MONTHS_PER_YEAR + (month - 1) - MONTHS_BEFORE_1970;
}

static int64
first_day_of_month(int64 number, int *length)
{
	int64		month = number + MONTHS_BEFORE_1970;
	int			year;
	int			of_year;

	if (number < -MAX_MONTHS || number > MAX_MONTHS)
		raise_out_of_range();
	year = (int) divide(month, MONTHS_PER_YEAR);
	of_year = (int) (month - (int64) year * MONTHS_PER_YEAR);
	if (!IS_VALID_JULIAN(year, of_year + 1, 1))
		raise_out_of_range();
	if (length)
		*length = day_tab[isleap(year)][of_year];
	return date2j(year, of_year + 1, 1) - UNIX_EPOCH_JDATE;
}

/* ---- windows ---- */

static Timestamp
local_start(const EddyCalendar *calendar, int64 number)
{
	int64		first = multiply(number, Max(calendar->length.months, calendar->length.days));

	if (calendar->length.months > 0)
		first = first_day_of_month(add(first, calendar->offset_months), NULL);
	return add(start_of_day(first), calendar->offset_usec);
}

/* eddy_calendar_start returns the start of a window. */
Timestamp
eddy_calendar_start(const EddyCalendar *calendar, int64 number)
{
	return from_local(calendar, local_start(calendar, number));
}

/* A local time plus a number of months: the same day, or the last one of a shorter month. */
static Timestamp
add_months(Timestamp local, int64 months)
{
	int64		day = day_of(local);
	int64		number = month_of(local);
	int64		day_of_month = day - first_day_of_month(number, NULL);
	int			length;
	int64		first = first_day_of_month(add(number, months), &length);

	return add(start_of_day(first + Min(day_of_month, length - 1)), local - start_of_day(day));
}

/* eddy_calendar_after returns the time that is n lengths after the start of a window. */
Timestamp
eddy_calendar_after(const EddyCalendar *calendar, int64 number, const EddyLength *length, int64 n)
{
	Timestamp	local;

	if (length->usec != 0)
	{
		Timestamp	result = add(eddy_calendar_start(calendar, number),
								 multiply(length->usec, n));

		if (!IS_VALID_TIMESTAMP(result))
			raise_out_of_range();
		return result;
	}
	local = local_start(calendar, number);
	if (!IS_VALID_TIMESTAMP(local))
		raise_out_of_range();
	if (length->months != 0)
		local = add_months(local, multiply(length->months, n));
	else
		local = add(local, multiply(multiply(length->days, n), USECS_PER_DAY));
	return from_local(calendar, local);
}

/* eddy_calendar_find returns the number of the window that contains a time. */
int64
eddy_calendar_find(const EddyCalendar *calendar, Timestamp time)
{
	Timestamp	local;
	int64		number;

	if (!IS_VALID_TIMESTAMP(time))
		raise_out_of_range();
	local = add(to_local(calendar, time), -calendar->offset_usec);
	if (calendar->length.months > 0)
		number = divide(month_of(local) - calendar->offset_months, calendar->length.months);
	else
		number = divide(day_of(local), calendar->length.days);
	while (eddy_calendar_start(calendar, number) > time)
		number--;
	while (eddy_calendar_start(calendar, number + 1) <= time)
		number++;
	return number;
}

/*-------------------------------------------------------------------------
 *
 * window.c
 *    The window functions: which windows contain a point in time.
 *
 * A window contains start <= time < end. Windows have a fixed length in microseconds and are
 * aligned to 1970-01-01 00:00 UTC plus an offset, rounding toward minus infinity, or they are those
 * of a calendar (calendar.c): months, and days in a time zone. Nothing depends on TimeZone, and
 * timestamp and timestamptz share all code. eddy.tumble is SQL over eddy_window_start and
 * eddy_window_end, which the planner inlines; the others return sets.
 *
 * Invalid times and lengths are errors of the row, as in a SELECT over stored rows: infinite times,
 * windows that begin or end outside of the range of the type, lengths that are null, negative or of
 * mixed units, unknown time zones, and too many windows for one row.
 *
 * No locks, no catalog access. Memory: the caller's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "view/calendar.h"
#include "view/window.h"

/* Windows that can contain one row. Each of them costs as much as a row. */
#define MAX_WINDOWS 10000

/* 1970-01-01 on the scale of timestamps */
#define UNIX_EPOCH_USEC \
	((int64) (UNIX_EPOCH_JDATE - POSTGRES_EPOCH_JDATE) * SECS_PER_DAY * USECS_PER_SEC)

PG_FUNCTION_INFO_V1(eddy_window_start);
PG_FUNCTION_INFO_V1(eddy_window_end);
PG_FUNCTION_INFO_V1(eddy_hop);
PG_FUNCTION_INFO_V1(eddy_cumulate);
PG_FUNCTION_INFO_V1(eddy_session_end);

static void
raise_out_of_range(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("timestamp out of range")));
}

/* ---- lengths ---- */

/* Where windows start: each usec, aligned to 1970-01-01 plus offset, or by the calendar. */
typedef struct Grid
{
	int64		usec;			/* 0: by the calendar */
	int64		offset;
	EddyCalendar calendar;
} Grid;

static void
raise_length_out_of_range(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("length of a window is out of range")));
}

static void
raise_not_positive(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("length of a window must be greater than zero")));
}

/* Days and time of an interval in microseconds, a day being 24 hours. */
static int64
days_usec(const Interval *interval)
{
	int64		days;
	int64		result;

	if (!eddy_compat_interval_is_finite(interval) ||
		pg_mul_s64_overflow(interval->day, USECS_PER_DAY, &days) ||
		pg_add_s64_overflow(days, interval->time, &result) ||
		result == PG_INT64_MIN)
		raise_length_out_of_range();
	return result;
}

/* An interval without months in microseconds. */
static int64
interval_usec(const Interval *interval, const char *what)
{
	if (interval->month != 0 && eddy_compat_interval_is_finite(interval))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s cannot contain months or years", what),
				 errdetail("Months differ in length.")));
	return days_usec(interval);
}

/*
 * A length that is greater than zero. Months are those of the calendar, and so are days in a time
 * zone; others are 24 hours.
 */
static EddyLength
parse_length(const Interval *interval, bool in_zone)
{
	EddyLength	length = {0};

	if (!eddy_compat_interval_is_finite(interval))
		raise_length_out_of_range();
	if ((interval->month != 0 && (interval->day != 0 || interval->time != 0)) ||
		(in_zone && interval->day != 0 && interval->time != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("length of a window cannot combine %s",
						interval->month != 0 ? "months with days or hours" :
						"days with hours in a time zone"),
				 errdetail("Months and days differ in length.")));
	if (interval->month != 0)
		length.months = interval->month;
	else if (in_zone && interval->day != 0)
		length.days = interval->day;
	else
		length.usec = days_usec(interval);
	if (length.months < 0 || length.days < 0 || length.usec < 0 ||
		(length.months == 0 && length.days == 0 && length.usec == 0))
		raise_not_positive();
	return length;
}

int64
eddy_window_length(const Interval *interval)
{
	int64		result = interval_usec(interval, "length of a window");

	if (result <= 0)
		raise_not_positive();
	return result;
}

void
eddy_window_raise_null(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("length of a window must not be null")));
}

/* An argument that is an interval; it must not be null, even if the time is. */
static const Interval *
interval_argument(FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
		eddy_window_raise_null();
	return PG_GETARG_INTERVAL_P(argno);
}

/* The last argument of functions of timestamptz: NULL, or a time zone. */
static pg_tz *
zone_argument(FunctionCallInfo fcinfo, int argno)
{
	if (PG_NARGS() <= argno || PG_ARGISNULL(argno))
		return NULL;
	return eddy_calendar_zone(text_to_cstring(PG_GETARG_TEXT_PP(argno)));
}

/* Windows that follow each other. */
static void
parse_grid(Grid *grid, EddyLength length, const Interval *offset, pg_tz *zone)
{
	if (length.usec > 0 && zone)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("windows in a time zone must start after whole days, weeks, months or years"),
				 errhint("Shift shorter windows with the argument \"offset\".")));
	grid->usec = length.usec;
	if (length.usec > 0)
	{
		grid->offset = interval_usec(offset, "offset of a window");
		return;
	}
	grid->calendar.length = length;
	grid->calendar.zone = zone;
	if (length.months > 0)
	{
		grid->calendar.offset_months = offset->month;
		grid->calendar.offset_usec = days_usec(offset);
	}
	else
		grid->calendar.offset_usec = interval_usec(offset, "offset of a window in days");
}

static void
raise_too_many_windows(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("too many windows for one row"),
			 errdetail("The size of a window can be at most %d times its slide or step.",
					   MAX_WINDOWS)));
}

/* Lengths of the windows that eddy.hop starts at, or eddy.cumulate ends after, each step. */
static void
check_hop(int64 slide, int64 size)
{
	if ((size - 1) / slide >= MAX_WINDOWS)
		raise_too_many_windows();
}

/* A slide that is aligned as the calendar is, if the size has months. */
static EddyLength
align_slide(EddyLength slide, EddyLength size)
{
	if (slide.usec > 0 && size.months > 0)
	{
		if (slide.usec % USECS_PER_DAY != 0 || slide.usec / USECS_PER_DAY > PG_INT32_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("slide of windows of months must be in whole days or months")));
		slide.days = slide.usec / USECS_PER_DAY;
		slide.usec = 0;
	}
	return slide;
}

/* Lengths of different units have no multiple: the last step of a cycle is shorter. */
static void
check_cumulate(EddyLength step, EddyLength size)
{
	if ((step.months > 0 && (size.months == 0 || size.months % step.months != 0)) ||
		(step.days > 0 && size.days > 0 && size.days % step.days != 0) ||
		(size.usec > 0 && (step.usec == 0 || size.usec % step.usec != 0)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("size of a cumulating window must be a multiple of its step")));
	if (size.usec > 0)
		check_hop(step.usec, size.usec);
}

/* ---- windows ---- */

/* Microseconds since the start of the window of the given size that contains a time. */
static int64
time_in_window(Timestamp time, int64 size, int64 offset)
{
	int64		origin = UNIX_EPOCH_USEC % size;	/* modulo size, so that nothing overflows */
	int64		position = time % size;

	if (offset != 0)
	{
		offset %= size;
		/* both are in (-size, size): add them without overflow of int64 */
		if (origin < 0)
			origin += size;
		if (offset < 0)
			offset += size;
		origin = origin >= size - offset ? origin - (size - offset) : origin + offset;
	}
	if (origin < 0)
		origin += size;
	if (position < 0)
		position += size;
	return position >= origin ? position - origin : position + (size - origin);
}

/*
 * eddy_window_position returns the microseconds since the last time that is aligned as the windows
 * of a length and an offset are.
 */
int64
eddy_window_position(Timestamp time, int64 size, int64 offset)
{
	return time_in_window(time, size, offset);
}

/* A time plus a length, if that is a time. */
static inline Timestamp
shift(Timestamp time, int64 length)
{
	Timestamp	result;

	if (pg_add_s64_overflow(time, length, &result) || !IS_VALID_TIMESTAMP(result))
		raise_out_of_range();
	return result;
}

static inline Timestamp
window_start(Timestamp time, int64 size, int64 offset)
{
	if (!IS_VALID_TIMESTAMP(time))
		raise_out_of_range();
	return shift(time, -time_in_window(time, size, offset));
}

/* A tumbling window. */
static void
tumble(Timestamp time, const Grid *grid, Timestamp *start, Timestamp *end)
{
	/* a window needs both of its bounds */
	if (grid->usec > 0)
	{
		*start = window_start(time, grid->usec, grid->offset);
		*end = shift(*start, grid->usec);
	}
	else
	{
		int64		number = eddy_calendar_find(&grid->calendar, time);

		*start = eddy_calendar_start(&grid->calendar, number);
		*end = eddy_calendar_start(&grid->calendar, number + 1);
	}
}

static void
parse_tumble(FunctionCallInfo fcinfo, Grid *grid)
{
	pg_tz	   *zone = zone_argument(fcinfo, 3);

	memset(grid, 0, sizeof(Grid));
	parse_grid(grid, parse_length(interval_argument(fcinfo, 1), zone != NULL),
			   interval_argument(fcinfo, 2), zone);
}

/*
 * eddy._window_start(ts, size, offset, time_zone): start of the tumbling window that contains ts.
 */
Datum
eddy_window_start(PG_FUNCTION_ARGS)
{
	Grid		grid;
	Timestamp	start;
	Timestamp	end;

	parse_tumble(fcinfo, &grid);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	tumble(PG_GETARG_TIMESTAMP(0), &grid, &start, &end);
	PG_RETURN_TIMESTAMP(start);
}

/* eddy._window_end(ts, size, offset, time_zone): its end. */
Datum
eddy_window_end(PG_FUNCTION_ARGS)
{
	Grid		grid;
	Timestamp	start;
	Timestamp	end;

	parse_tumble(fcinfo, &grid);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	tumble(PG_GETARG_TIMESTAMP(0), &grid, &start, &end);
	PG_RETURN_TIMESTAMP(end);
}

/* ---- tumbling windows without calls of the functions ---- */

struct EddyTumbling
{
	Grid		grid;
};

/*
 * eddy_window_is_bound: true for a call that returns a bound of the tumbling window that contains
 * the first argument, if the other arguments are constant.
 */
bool
eddy_window_is_bound(const FuncExpr *call, bool *is_end)
{
	FmgrInfo	function;

	if (get_func_namespace(call->funcid) != eddy_catalog_schema())
		return false;
	fmgr_info(call->funcid, &function);
	if (function.fn_addr != eddy_window_start && function.fn_addr != eddy_window_end)
		return false;
	*is_end = function.fn_addr == eddy_window_end;
	for (int i = 1; i < list_length(call->args); i++)
	{
		const Node *arg = list_nth(call->args, i);

		/* of the time zone, NULL is the default */
		if (!IsA(arg, Const) || (i < 3 && ((const Const *) arg)->constisnull))
			return false;
	}
	return list_length(call->args) >= 3;
}

/* eddy_window_make_tumbling makes the windows of such a call, in the current memory context. */
EddyTumbling *
eddy_window_make_tumbling(const FuncExpr *call)
{
	EddyTumbling *windows = palloc0(sizeof(EddyTumbling));
	const Const *size = lsecond_node(Const, call->args);
	const Const *offset = lthird_node(Const, call->args);
	pg_tz	   *zone = NULL;

	if (list_length(call->args) > 3 && !list_nth_node(Const, call->args, 3)->constisnull)
		zone = eddy_calendar_zone(TextDatumGetCString(list_nth_node(Const, call->args, 3)->constvalue));
	parse_grid(&windows->grid, parse_length(DatumGetIntervalP(size->constvalue), zone != NULL),
			   DatumGetIntervalP(offset->constvalue), zone);
	return windows;
}

/* eddy_window_find returns the bounds of the window that contains a time. */
void
eddy_window_find(const EddyTumbling *windows, Timestamp time, Timestamp *start, Timestamp *end)
{
	tumble(time, &windows->grid, start, end);
}

static void
put_window(ReturnSetInfo *result, Timestamp start, Timestamp end)
{
	Datum		values[2] = {TimestampGetDatum(start), TimestampGetDatum(end)};
	bool		nulls[2] = {false, false};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* The windows of eddy.hop that start each slide by the calendar, from the last one back. */
static void
hop_by_calendar(ReturnSetInfo *result, Timestamp time, const Grid *slide, const EddyLength *size)
{
	const EddyCalendar *calendar = &slide->calendar;
	int64		last = eddy_calendar_find(calendar, time);
	int64		first = last;

	/* windows end in the order in which they start */
	while (eddy_calendar_after(calendar, first, size, 1) > time)
	{
		first--;
		if (last - first > MAX_WINDOWS)
			raise_too_many_windows();
	}
	for (int64 number = first + 1; number <= last; number++)
		put_window(result, eddy_calendar_start(calendar, number),
				   eddy_calendar_after(calendar, number, size, 1));
}

/*
 * eddy.hop(ts, slide, size, offset, time_zone): windows of length size, one starting every slide.
 */
Datum
eddy_hop(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	pg_tz	   *zone = zone_argument(fcinfo, 4);
	EddyLength	slide = parse_length(interval_argument(fcinfo, 1), zone != NULL);
	EddyLength	size = parse_length(interval_argument(fcinfo, 2), zone != NULL);
	Grid		grid = {0};
	Timestamp	last;
	int64		room;

	slide = align_slide(slide, size);
	parse_grid(&grid, slide, interval_argument(fcinfo, 3), zone);
	if (grid.usec > 0)
		check_hop(grid.usec, size.usec);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	if (grid.usec == 0)
	{
		hop_by_calendar(result, PG_GETARG_TIMESTAMP(0), &grid, &size);
		return (Datum) 0;
	}
	last = window_start(PG_GETARG_TIMESTAMP(0), grid.usec, grid.offset);
	room = size.usec - (PG_GETARG_TIMESTAMP(0) - last);
	if (room > 0)				/* otherwise ts is in a gap between windows */
		for (int64 back = (room - 1) / grid.usec; back >= 0; back--)
		{
			Timestamp	start = shift(last, -back * grid.usec);

			put_window(result, start, shift(start, size.usec));
		}
	return (Datum) 0;
}

/*
 * The number of a step in a cycle that ends after so many microseconds; steps before it do not. Of
 * months and days, whose lengths differ, it is not the first one: there are few others, however far
 * the cycle has begun in the past.
 */
static int64
first_step(const EddyLength *step, int64 elapsed)
{
	const double longest_month = 31;
	double		longest;

	if (step->usec > 0)
		return elapsed / step->usec + 1;
	longest = (step->months * longest_month + step->days) * USECS_PER_DAY;
	/* a change of the offset of a time zone can be a day, at either end */
	return (int64) Max((elapsed - 2.0 * USECS_PER_DAY) / longest, 1);
}

/* The windows of eddy.cumulate in a cycle of the calendar. */
static void
cumulate_by_calendar(ReturnSetInfo *result, Timestamp time, const Grid *size,
					 const EddyLength *step)
{
	const EddyCalendar *calendar = &size->calendar;
	int64		number = eddy_calendar_find(calendar, time);
	Timestamp	start = eddy_calendar_start(calendar, number);
	Timestamp	end = eddy_calendar_start(calendar, number + 1);
	Timestamp	step_end;
	int64		nwindows = 0;

	for (int64 n = first_step(step, time - start);; n++)
	{
		CHECK_FOR_INTERRUPTS();
		step_end = Min(eddy_calendar_after(calendar, number, step, n), end);
		if (step_end <= time)
			continue;
		if (++nwindows > MAX_WINDOWS)
			raise_too_many_windows();
		put_window(result, start, step_end);
		if (step_end == end)
			break;
	}
}

/* eddy.cumulate(ts, step, size, offset, time_zone): windows that grow by step up to size. */
Datum
eddy_cumulate(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	pg_tz	   *zone = zone_argument(fcinfo, 4);
	EddyLength	step = parse_length(interval_argument(fcinfo, 1), zone != NULL);
	EddyLength	size = parse_length(interval_argument(fcinfo, 2), zone != NULL);
	Grid		grid = {0};
	Timestamp	start;

	check_cumulate(step, size);
	parse_grid(&grid, size, interval_argument(fcinfo, 3), zone);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	if (grid.usec == 0)
	{
		cumulate_by_calendar(result, PG_GETARG_TIMESTAMP(0), &grid, &step);
		return (Datum) 0;
	}
	start = window_start(PG_GETARG_TIMESTAMP(0), grid.usec, grid.offset);
	for (int64 n = (PG_GETARG_TIMESTAMP(0) - start) / step.usec + 1; n <= grid.usec / step.usec; n++)
		put_window(result, start, shift(start, n * step.usec));
	return (Datum) 0;
}

/* eddy._session_end(ts, gap): end of the session of an event that is alone. */
Datum
eddy_session_end(PG_FUNCTION_ARGS)
{
	int64		gap = eddy_window_length(interval_argument(fcinfo, 1));

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (!IS_VALID_TIMESTAMP(PG_GETARG_TIMESTAMP(0)))
		raise_out_of_range();
	PG_RETURN_TIMESTAMP(shift(PG_GETARG_TIMESTAMP(0), gap));
}

/* ---- lengths in a definition ---- */

/* The value of a constant argument, NULL if it is not constant. */
static const Interval *
constant_interval(List *args, int argno)
{
	Const	   *value = list_nth(args, argno);

	if (!IsA(value, Const))
		return NULL;
	if (value->constisnull)
		eddy_window_raise_null();
	return DatumGetIntervalP(value->constvalue);
}

/* True if hop windows leave gaps in some months at least. */
static bool
leaves_gaps(EddyLength slide, EddyLength size)
{
	const double longest_month = 31;
	const double shortest_month = 28;

	if (size.months > 0)
		return slide.months > size.months || slide.days > size.months * shortest_month;
	return (slide.months * longest_month + slide.days) * USECS_PER_DAY + slide.usec >
		size.days * (double) USECS_PER_DAY + size.usec;
}

/*
 * eddy_window_check raises the error that a call of a window function would raise for every row,
 * from those of its arguments that are constant. Ignores other functions. Returns whether some
 * times are in no window.
 */
bool
eddy_window_check(FuncExpr *call)
{
	const char *name;
	const Interval *interval;
	EddyLength	lengths[2] = {{0}, {0}};
	bool		constant = true;
	int			nlengths;
	pg_tz	   *zone = NULL;
	Grid		grid;

	if (get_func_namespace(call->funcid) != eddy_catalog_schema())
		return false;
	name = get_func_name(call->funcid);
	if (strcmp(name, "tumble") == 0)
		nlengths = 1;
	else if (strcmp(name, "hop") == 0 || strcmp(name, "cumulate") == 0)
		nlengths = 2;
	else
		return false;

	/* fold constants, add defaults and put named arguments into order */
	call = (FuncExpr *) eval_const_expressions(NULL, (Node *) copyObject(call));
	if (!IsA(call, FuncExpr) || list_length(call->args) < nlengths + 2)
		return false;
	if (list_length(call->args) > nlengths + 2)
	{
		Const	   *value = list_nth(call->args, nlengths + 2);

		if (!IsA(value, Const))
			return false;		/* which lengths are valid depends on it */
		if (!value->constisnull)
			zone = eddy_calendar_zone(TextDatumGetCString(value->constvalue));
	}
	for (int i = 0; i < nlengths; i++)
		if ((interval = constant_interval(call->args, i + 1)) != NULL)
			lengths[i] = parse_length(interval, zone != NULL);
		else
			constant = false;
	interval = constant_interval(call->args, nlengths + 1);
	if (!constant || interval == NULL)
		return false;
	if (strcmp(name, "hop") == 0)
		lengths[0] = align_slide(lengths[0], lengths[1]);
	else if (strcmp(name, "cumulate") == 0)
		check_cumulate(lengths[0], lengths[1]);
	memset(&grid, 0, sizeof(Grid));
	parse_grid(&grid, lengths[strcmp(name, "cumulate") == 0 ? 1 : 0], interval, zone);
	if (strcmp(name, "hop") == 0 && grid.usec > 0)
		check_hop(grid.usec, lengths[1].usec);
	return strcmp(name, "hop") == 0 && leaves_gaps(lengths[0], lengths[1]);
}

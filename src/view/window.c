/*-------------------------------------------------------------------------
 *
 * window.c
 *    The window functions: which windows contain a point in time.
 *
 * A window contains start <= time < end. Windows have a fixed length in microseconds and are
 * aligned to 1970-01-01 00:00 UTC plus an offset, rounding toward minus infinity; so nothing
 * depends on TimeZone, and timestamp and timestamptz share all code. eddy.tumble is SQL over
 * eddy_window_start and eddy_window_end, which the planner inlines; the others return sets.
 *
 * Invalid times and lengths are errors of the row, as in a SELECT over stored rows: infinite times,
 * windows that begin or end outside of the range of the type, lengths that are null, negative or in
 * months, and too many windows for one row.
 *
 * No locks, no catalog access. Memory: the caller's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "fmgr.h"
#include "funcapi.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "catalog/eddy_catalog.h"
#include "compat.h"
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

/* An interval in microseconds, a day being 24 hours. */
static int64
interval_usec(const Interval *interval)
{
	int64		days;
	int64		result;

	if (interval->month != 0 && eddy_compat_interval_is_finite(interval))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("length of a window cannot contain months or years"),
				 errdetail("Months differ in length; windows have a fixed one."),
				 errhint("Group by date_trunc('month', ...) instead.")));
	if (!eddy_compat_interval_is_finite(interval) ||
		pg_mul_s64_overflow(interval->day, USECS_PER_DAY, &days) ||
		pg_add_s64_overflow(days, interval->time, &result) ||
		result == PG_INT64_MIN)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("length of a window is out of range")));
	return result;
}

static int64
positive_usec(const Interval *interval)
{
	int64		result = interval_usec(interval);

	if (result <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("length of a window must be greater than zero")));
	return result;
}

int64
eddy_window_length(const Interval *interval)
{
	return positive_usec(interval);
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

/* Lengths of the windows that eddy.hop starts at, or eddy.cumulate ends after, each step. */
static void
check_hop(int64 slide, int64 size)
{
	if ((size - 1) / slide >= MAX_WINDOWS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many windows for one row"),
				 errdetail("The size of a window can be at most %d times its slide or step.",
						   MAX_WINDOWS)));
}

static void
check_cumulate(int64 step, int64 size)
{
	if (size % step != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("size of a cumulating window must be a multiple of its step")));
	check_hop(step, size);
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

/* eddy._window_start(ts, size, offset): start of the tumbling window that contains ts. */
Datum
eddy_window_start(PG_FUNCTION_ARGS)
{
	int64		size = positive_usec(interval_argument(fcinfo, 1));
	int64		offset = interval_usec(interval_argument(fcinfo, 2));
	Timestamp	start;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	start = window_start(PG_GETARG_TIMESTAMP(0), size, offset);
	(void) shift(start, size);	/* a window needs both of its bounds */
	PG_RETURN_TIMESTAMP(start);
}

/* eddy._window_end(ts, size, offset): its end. */
Datum
eddy_window_end(PG_FUNCTION_ARGS)
{
	int64		size = positive_usec(interval_argument(fcinfo, 1));
	int64		offset = interval_usec(interval_argument(fcinfo, 2));

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMP(shift(window_start(PG_GETARG_TIMESTAMP(0), size, offset), size));
}

static void
put_window(ReturnSetInfo *result, Timestamp start, Timestamp end)
{
	Datum		values[2] = {TimestampGetDatum(start), TimestampGetDatum(end)};
	bool		nulls[2] = {false, false};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* eddy.hop(ts, slide, size, offset): windows of length size, one starting every slide. */
Datum
eddy_hop(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		slide = positive_usec(interval_argument(fcinfo, 1));
	int64		size = positive_usec(interval_argument(fcinfo, 2));
	int64		offset = interval_usec(interval_argument(fcinfo, 3));
	Timestamp	last;
	int64		room;

	check_hop(slide, size);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	last = window_start(PG_GETARG_TIMESTAMP(0), slide, offset);
	room = size - (PG_GETARG_TIMESTAMP(0) - last);
	if (room > 0)				/* otherwise ts is in a gap between windows */
		for (int64 back = (room - 1) / slide; back >= 0; back--)
		{
			Timestamp	start = shift(last, -back * slide);

			put_window(result, start, shift(start, size));
		}
	return (Datum) 0;
}

/* eddy.cumulate(ts, step, size, offset): windows that grow by step up to size. */
Datum
eddy_cumulate(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		step = positive_usec(interval_argument(fcinfo, 1));
	int64		size = positive_usec(interval_argument(fcinfo, 2));
	int64		offset = interval_usec(interval_argument(fcinfo, 3));
	Timestamp	start;

	check_cumulate(step, size);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	start = window_start(PG_GETARG_TIMESTAMP(0), size, offset);
	for (int64 n = (PG_GETARG_TIMESTAMP(0) - start) / step + 1; n <= size / step; n++)
		put_window(result, start, shift(start, n * step));
	return (Datum) 0;
}

/* eddy._session_end(ts, gap): end of the session of an event that is alone. */
Datum
eddy_session_end(PG_FUNCTION_ARGS)
{
	int64		gap = positive_usec(interval_argument(fcinfo, 1));

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

/*
 * eddy_window_check raises the error that a call of a window function would raise for every row,
 * from those of its lengths that are constant. Ignores other functions.
 */
void
eddy_window_check(FuncExpr *call)
{
	const char *name;
	const Interval *interval;
	int64		lengths[2] = {0, 0};
	int			nlengths;

	if (get_func_namespace(call->funcid) != eddy_catalog_schema())
		return;
	name = get_func_name(call->funcid);
	if (strcmp(name, "tumble") == 0)
		nlengths = 1;
	else if (strcmp(name, "hop") == 0 || strcmp(name, "cumulate") == 0)
		nlengths = 2;
	else
		return;

	/* fold constants, add defaults and put named arguments into order */
	call = (FuncExpr *) eval_const_expressions(NULL, (Node *) copyObject(call));
	if (!IsA(call, FuncExpr) || list_length(call->args) != nlengths + 2)
		return;
	for (int i = 0; i < nlengths; i++)
		if ((interval = constant_interval(call->args, i + 1)) != NULL)
			lengths[i] = positive_usec(interval);
	if ((interval = constant_interval(call->args, nlengths + 1)) != NULL)
		(void) interval_usec(interval);
	if (lengths[0] == 0 || lengths[1] == 0)
		return;					/* not constant, or only one length */
	if (strcmp(name, "hop") == 0)
		check_hop(lengths[0], lengths[1]);
	else
		check_cumulate(lengths[0], lengths[1]);
}

/*-------------------------------------------------------------------------
 *
 * aggregate_exact_sum.c
 *    eddy._exact_sum(numeric): a sum from which values can be taken back exactly.
 *
 * A view whose source takes rows back (kind_retracting.c) computes sum and avg of integers and
 * numerics from it. What sum(numeric) of the server gives is not only the sum: infinite values and
 * NaN hide it while they are there, and the number of decimal places is the largest one of all
 * values. So the state has the sum of the finite values, the numbers of the others, and how many
 * values have which number of decimal places, which are few.
 *
 * The state is NULL until the first value, and a bytea with a header and a numeric afterwards.
 *
 * No locks. Memory: the caller's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_FUNCTION_INFO_V1(eddy_exact_sum_add);
PG_FUNCTION_INFO_V1(eddy_exact_sum_combine);
PG_FUNCTION_INFO_V1(eddy_exact_sum_subtract);
PG_FUNCTION_INFO_V1(eddy_exact_sum_numeric);
PG_FUNCTION_INFO_V1(eddy_exact_sum_bigint);
PG_FUNCTION_INFO_V1(eddy_exact_sum_avg);

/* Numerics have from 0 to 16383 decimal places. */
#define MAX_SCALES 16384

/* The base of their digits. */
#define NUMERIC_BASE 10000

typedef struct ScaleCount
{
	int64		scale;			/* decimal places */
	int64		count;			/* finite values that have them */
} ScaleCount;

/* The stored state; the scales, and then the sum, follow the header. */
typedef struct StateHeader
{
	int32		vl_len_;
	int32		nscales;
	int64		count;			/* of all values */
	int64		nan;
	int64		plus_infinity;
	int64		minus_infinity;
	ScaleCount	scales[FLEXIBLE_ARRAY_MEMBER];
} StateHeader;

typedef struct State
{
	StateHeader *header;		/* with space for one more scale; NULL: no value yet */
	Datum		sum;			/* of the finite values */
} State;

static Size
header_size(int nscales)
{
	return MAXALIGN(offsetof(StateHeader, scales) + sizeof(ScaleCount) * nscales);
}

static Datum
zero(void)
{
	return NumericGetDatum(int64_to_numeric(0));
}

/*
 * Whether a value that is stored in size bytes is a finite numeric. A numeric has its sign, decimal
 * places and weight in a header of two bytes, or of four if the first bit is not set, and then
 * digits to the base 10000. The server trusts that the header is complete, and computes the number
 * of digits from it.
 */
static bool
is_finite_numeric(const char *sum, Size size)
{
	uint16		header;
	Size		header_size = VARHDRSZ + sizeof(header);

	if (size < header_size || !VARATT_IS_4B_U(sum) || VARSIZE(sum) != size)
		return false;
	memcpy(&header, sum + VARHDRSZ, sizeof(header));
	/* both highest bits: NaN or infinite */
	if ((header & 0xC000) == 0xC000)
		return false;
	if ((header & 0x8000) == 0)
		header_size += sizeof(int16);
	if (size < header_size || (size - header_size) % sizeof(int16) != 0)
		return false;
	for (const char *digit = sum + header_size; digit < sum + size; digit += sizeof(int16))
	{
		int16		value;

		memcpy(&value, digit, sizeof(value));
		if (value < 0 || value >= NUMERIC_BASE)
			return false;
	}
	return true;
}

/* Returns the size of the header of a state. Users can call the functions with any bytea. */
static Size
check_state(const StateHeader *stored)
{
	if (VARSIZE(stored) >= offsetof(StateHeader, scales) && stored->nscales >= 0 &&
		stored->nscales <= MAX_SCALES)
	{
		Size		size = header_size(stored->nscales);

		if (VARSIZE(stored) > size &&
			is_finite_numeric((const char *) stored + size, VARSIZE(stored) - size))
			return size;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("invalid state of a sum")));
	return 0;					/* keep compiler quiet */
}

/* A state that can be changed. */
static State
read_state(FunctionCallInfo fcinfo, int argno)
{
	State		state = {NULL, (Datum) 0};
	StateHeader *stored;
	Size		size;

	if (PG_ARGISNULL(argno))
	{
		state.header = palloc0(header_size(1));
		state.sum = zero();
		return state;
	}
	stored = (StateHeader *) PG_GETARG_BYTEA_P(argno);
	size = check_state(stored);
	state.header = palloc0(header_size(stored->nscales + 1));
	memcpy(state.header, stored, size);
	state.sum = PointerGetDatum((char *) stored + size);
	return state;
}

static Datum
write_state(const State *state)
{
	Size		size = header_size(state->header->nscales);
	Numeric		sum = DatumGetNumeric(state->sum);
	char	   *result = palloc0(size + VARSIZE(sum));

	memcpy(result, state->header, size);
	memcpy(result + size, sum, VARSIZE(sum));
	SET_VARSIZE(result, size + VARSIZE(sum));
	return PointerGetDatum(result);
}

/* Changes how many values have a number of decimal places. */
static void
count_scale(State *state, int64 scale, int64 count)
{
	StateHeader *header = state->header;
	int			i = 0;

	while (i < header->nscales && header->scales[i].scale != scale)
		i++;
	if (i == header->nscales)
	{
		header = repalloc(header, header_size(header->nscales + 2));
		header->scales[i].scale = scale;
		header->scales[i].count = 0;
		header->nscales++;
		state->header = header;
	}
	header->scales[i].count += count;
	if (header->scales[i].count == 0)
		header->scales[i] = header->scales[--header->nscales];
}

/* The transition function. */
Datum
eddy_exact_sum_add(PG_FUNCTION_ARGS)
{
	State		state;
	Numeric		value;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	state = read_state(fcinfo, 0);
	value = PG_GETARG_NUMERIC(1);
	state.header->count++;
	if (numeric_is_nan(value))
		state.header->nan++;
	else if (numeric_is_inf(value))
	{
		if (DatumGetBool(DirectFunctionCall2(numeric_gt, NumericGetDatum(value), zero())))
			state.header->plus_infinity++;
		else
			state.header->minus_infinity++;
	}
	else
	{
		state.sum = DirectFunctionCall2(numeric_add, state.sum, NumericGetDatum(value));
		count_scale(&state, DatumGetInt32(DirectFunctionCall1(numeric_scale,
															  NumericGetDatum(value))), 1);
	}
	PG_RETURN_DATUM(write_state(&state));
}

/* left + sign * right */
static Datum
merge(FunctionCallInfo fcinfo, int sign)
{
	State		left = read_state(fcinfo, 0);
	State		right = read_state(fcinfo, 1);

	left.header->count += sign * right.header->count;
	left.header->nan += sign * right.header->nan;
	left.header->plus_infinity += sign * right.header->plus_infinity;
	left.header->minus_infinity += sign * right.header->minus_infinity;
	for (int i = 0; i < right.header->nscales; i++)
		count_scale(&left, right.header->scales[i].scale, sign * right.header->scales[i].count);
	left.sum = DirectFunctionCall2(sign > 0 ? numeric_add : numeric_sub, left.sum, right.sum);
	return write_state(&left);
}

Datum
eddy_exact_sum_combine(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(merge(fcinfo, 1));
}

/* What remains when the values of the second state are taken back from the first. */
Datum
eddy_exact_sum_subtract(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(merge(fcinfo, -1));
}

/* The sum, as sum(numeric) of the server gives it. */
static Datum
sum_value(const State *state)
{
	const StateHeader *header = state->header;
	int64		scale = 0;
	const char *special = NULL;

	if (header->nan > 0 || (header->plus_infinity > 0 && header->minus_infinity > 0))
		special = "NaN";
	else if (header->plus_infinity > 0)
		special = "Infinity";
	else if (header->minus_infinity > 0)
		special = "-Infinity";
	if (special)
		return DirectFunctionCall3(numeric_in, CStringGetDatum(special), ObjectIdGetDatum(InvalidOid),
								   Int32GetDatum(-1));
	for (int i = 0; i < header->nscales; i++)
		scale = Max(scale, header->scales[i].scale);
	return DirectFunctionCall2(numeric_round, state->sum, Int32GetDatum((int32) scale));
}

Datum
eddy_exact_sum_numeric(PG_FUNCTION_ARGS)
{
	State		state = read_state(fcinfo, 0);

	if (state.header->count == 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(sum_value(&state));
}

Datum
eddy_exact_sum_bigint(PG_FUNCTION_ARGS)
{
	State		state = read_state(fcinfo, 0);

	if (state.header->count == 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(DirectFunctionCall1(numeric_int8, state.sum));
}

Datum
eddy_exact_sum_avg(PG_FUNCTION_ARGS)
{
	State		state = read_state(fcinfo, 0);

	if (state.header->count == 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(DirectFunctionCall2(numeric_div, sum_value(&state),
										NumericGetDatum(int64_to_numeric(state.header->count))));
}

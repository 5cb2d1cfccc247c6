/*-------------------------------------------------------------------------
 *
 * aggregate_percentile.c
 *    eddy.approx_percentile(value, fraction): a sketch with a relative error.
 *
 * The sketch is that of C. Masson, J. Rim, H. Lee, "DDSketch" (2019): values are counted in buckets
 * whose bounds grow geometrically, so that the result differs by at most 1 % from the value at that
 * rank, percentile_disc(fraction) WITHIN GROUP (ORDER BY value), no matter how values are
 * distributed and in which order they arrive. Buckets are never merged. Zero, infinities and NaN,
 * which sorts last, are counted as they are, and so are values below 1e-300, as zero.
 *
 * The state has a count for each bucket between the smallest and largest value: about 115 for each
 * power of ten. States are added exactly: combining does not increase the error.
 *
 * No locks. Memory: the aggregate's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"

#include "view/pack.h"

PG_FUNCTION_INFO_V1(eddy_percentile_add);
PG_FUNCTION_INFO_V1(eddy_percentile_add_array);
PG_FUNCTION_INFO_V1(eddy_percentile_combine);
PG_FUNCTION_INFO_V1(eddy_percentile_serialize);
PG_FUNCTION_INFO_V1(eddy_percentile_deserialize);
PG_FUNCTION_INFO_V1(eddy_percentile_final);
PG_FUNCTION_INFO_V1(eddy_percentile_final_array);

#define RELATIVE_ERROR 0.01
#define GAMMA ((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))
#define SMALLEST 1e-300
#define MAX_BUCKET 100000		/* beyond those of all numbers */
#define STATE_VERSION 1

/* Counts of the buckets from first to first + n - 1. */
typedef struct Buckets
{
	int32		first;
	int32		n;
	int32		capacity;
	int64	   *counts;
} Buckets;

typedef struct PercentileState
{
	MemoryContext mcxt;
	Buckets		positive;
	Buckets		negative;		/* of absolute values */
	int64		zero;
	int64		minus_infinity;
	int64		infinity;
	int64		nan;
	int			nfractions;		/* -1: no row with fractions yet */
	double	   *fractions;		/* NaN: NULL */
} PercentileState;

/* ---- buckets ---- */

/* The bucket with the values v, gamma^(i-1) < v <= gamma^i. */
static int32
bucket_of(double value)
{
	return (int32) ceil(log(value) / log(GAMMA));
}

static double
value_of(int32 bucket)
{
	double		value = exp(bucket * log(GAMMA) - log((GAMMA + 1) / 2));

	return isinf(value) ? DBL_MAX : value;
}

/* Makes room for the buckets from first to last. */
static void
extend(PercentileState *state, Buckets *buckets, int32 first, int32 last)
{
	int64	   *counts;
	int32		n;

	if (buckets->n > 0)
	{
		if (first >= buckets->first && last < buckets->first + buckets->n)
			return;
		first = Min(first, buckets->first);
		last = Max(last, buckets->first + buckets->n - 1);
	}
	n = last - first + 1;
	if (n > buckets->capacity || (buckets->n > 0 && first < buckets->first))
	{
		int32		capacity = Max(buckets->capacity, n + n / 4 + 8);

		counts = MemoryContextAllocZero(state->mcxt, sizeof(int64) * capacity);
		if (buckets->n > 0)
			memcpy(counts + (buckets->first - first), buckets->counts,
				   sizeof(int64) * buckets->n);
		if (buckets->counts)
			pfree(buckets->counts);
		buckets->counts = counts;
		buckets->capacity = capacity;
	}
	buckets->first = first;
	buckets->n = n;
}

static void
add_value(PercentileState *state, double value)
{
	if (isnan(value))
		state->nan++;
	else if (isinf(value))
		*(value > 0 ? &state->infinity : &state->minus_infinity) += 1;
	else if (fabs(value) < SMALLEST)
		state->zero++;
	else
	{
		Buckets    *buckets = value > 0 ? &state->positive : &state->negative;
		int32		bucket = bucket_of(fabs(value));

		extend(state, buckets, bucket, bucket);
		buckets->counts[bucket - buckets->first]++;
	}
}

static void
add_buckets(PercentileState *state, Buckets *to, const Buckets *from)
{
	if (from->n == 0)
		return;
	extend(state, to, from->first, from->first + from->n - 1);
	for (int32 i = 0; i < from->n; i++)
		to->counts[from->first + i - to->first] += from->counts[i];
}

static int64
count_buckets(const Buckets *buckets)
{
	int64		count = 0;

	for (int32 i = 0; i < buckets->n; i++)
		count += buckets->counts[i];
	return count;
}

/* ---- fractions ---- */

static void
check_fraction(double fraction)
{
	if (isnan(fraction) || fraction < 0 || fraction > 1)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("percentile value %g is not between 0 and 1", fraction)));
}

/* Sets the fractions of the first row. The array holds float8 values; NULL elements are NaN. */
static void
set_fractions(PercentileState *state, const double *fractions, const bool *nulls, int n)
{
	state->nfractions = n;
	state->fractions = MemoryContextAlloc(state->mcxt, sizeof(double) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			check_fraction(fractions[i]);
		state->fractions[i] = nulls[i] ? get_float8_nan() : fractions[i];
	}
}

static void
check_fractions(const PercentileState *state, const double *fractions, const bool *nulls, int n)
{
	bool		same = state->nfractions == n;

	for (int i = 0; same && i < n; i++)
		same = nulls[i] ? isnan(state->fractions[i]) : state->fractions[i] == fractions[i];
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("fraction of eddy.approx_percentile must be the same for all rows")));
}

/* ---- aggregate functions ---- */

static PercentileState *
make_state(MemoryContext mcxt)
{
	PercentileState *state = MemoryContextAllocZero(mcxt, sizeof(PercentileState));

	state->mcxt = mcxt;
	state->nfractions = -1;
	return state;
}

static Datum
add(FunctionCallInfo fcinfo, const double *fractions, const bool *nulls, int n)
{
	MemoryContext mcxt = eddy_pack_context(fcinfo);
	PercentileState *state = PG_ARGISNULL(0) ? make_state(mcxt) :
		(PercentileState *) PG_GETARG_POINTER(0);

	if (state->nfractions < 0)
		set_fractions(state, fractions, nulls, n);
	else
		check_fractions(state, fractions, nulls, n);
	if (!PG_ARGISNULL(1))
		add_value(state, PG_GETARG_FLOAT8(1));
	PG_RETURN_POINTER(state);
}

Datum
eddy_percentile_add(PG_FUNCTION_ARGS)
{
	bool		isnull = PG_ARGISNULL(2);
	double		fraction = isnull ? 0 : PG_GETARG_FLOAT8(2);

	return add(fcinfo, &fraction, &isnull, 1);
}

Datum
eddy_percentile_add_array(PG_FUNCTION_ARGS)
{
	ArrayType  *array;
	Datum	   *values = NULL;
	bool	   *nulls = NULL;
	double	   *fractions;
	int			n = 0;

	if (!PG_ARGISNULL(2))
	{
		array = PG_GETARG_ARRAYTYPE_P(2);
		deconstruct_array(array, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
						  &values, &nulls, &n);
	}
	fractions = palloc(sizeof(double) * Max(n, 1));
	for (int i = 0; i < n; i++)
		fractions[i] = nulls[i] ? 0 : DatumGetFloat8(values[i]);
	return add(fcinfo, fractions, nulls, n);
}

Datum
eddy_percentile_combine(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = eddy_pack_context(fcinfo);
	PercentileState *left = PG_ARGISNULL(0) ? NULL : (PercentileState *) PG_GETARG_POINTER(0);
	PercentileState *right = PG_ARGISNULL(1) ? NULL : (PercentileState *) PG_GETARG_POINTER(1);

	if (right == NULL)
	{
		if (left == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(left);
	}
	if (left == NULL)
		left = make_state(mcxt);
	if (right->nfractions >= 0)
	{
		bool	   *nulls = palloc(sizeof(bool) * Max(right->nfractions, 1));

		for (int i = 0; i < right->nfractions; i++)
			nulls[i] = isnan(right->fractions[i]);
		if (left->nfractions < 0)
			set_fractions(left, right->fractions, nulls, right->nfractions);
		else
			check_fractions(left, right->fractions, nulls, right->nfractions);
		pfree(nulls);
	}
	add_buckets(left, &left->positive, &right->positive);
	add_buckets(left, &left->negative, &right->negative);
	left->zero += right->zero;
	left->minus_infinity += right->minus_infinity;
	left->infinity += right->infinity;
	left->nan += right->nan;
	PG_RETURN_POINTER(left);
}

/* The value at a rank, from 1 on. */
static double
find_rank(const PercentileState *state, int64 rank)
{
	if ((rank -= state->minus_infinity) <= 0)
		return -get_float8_infinity();
	for (int32 i = state->negative.n - 1; i >= 0; i--)
		if ((rank -= state->negative.counts[i]) <= 0)
			return -value_of(state->negative.first + i);
	if ((rank -= state->zero) <= 0)
		return 0;
	for (int32 i = 0; i < state->positive.n; i++)
		if ((rank -= state->positive.counts[i]) <= 0)
			return value_of(state->positive.first + i);
	if ((rank -= state->infinity) <= 0)
		return get_float8_infinity();
	return get_float8_nan();
}

static int64
count_values(const PercentileState *state)
{
	return count_buckets(&state->positive) + count_buckets(&state->negative) + state->zero +
		state->minus_infinity + state->infinity + state->nan;
}

static double
compute_percentile(const PercentileState *state, double fraction, int64 count)
{
	int64		rank = (int64) ceil(fraction * count);

	return find_rank(state, Max(rank, 1));
}

Datum
eddy_percentile_final(PG_FUNCTION_ARGS)
{
	PercentileState *state = PG_ARGISNULL(0) ? NULL : (PercentileState *) PG_GETARG_POINTER(0);
	int64		count;

	(void) eddy_pack_context(fcinfo);
	count = state ? count_values(state) : 0;
	if (count == 0 || isnan(state->fractions[0]))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(compute_percentile(state, state->fractions[0], count));
}

Datum
eddy_percentile_final_array(PG_FUNCTION_ARGS)
{
	PercentileState *state = PG_ARGISNULL(0) ? NULL : (PercentileState *) PG_GETARG_POINTER(0);
	int64		count;
	Datum	   *values;
	bool	   *nulls;
	int			n;
	int			lower = 1;

	(void) eddy_pack_context(fcinfo);
	count = state ? count_values(state) : 0;
	if (count == 0)
		PG_RETURN_NULL();
	n = state->nfractions;
	if (n == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(FLOAT8OID));
	values = palloc(sizeof(Datum) * n);
	nulls = palloc(sizeof(bool) * n);
	for (int i = 0; i < n; i++)
	{
		nulls[i] = isnan(state->fractions[i]);
		values[i] = nulls[i] ? (Datum) 0 :
			Float8GetDatum(compute_percentile(state, state->fractions[i], count));
	}
	PG_RETURN_ARRAYTYPE_P(construct_md_array(values, nulls, 1, &n, &lower, FLOAT8OID,
											 sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* ---- serialization: buckets without values take no space ---- */

static void
send_buckets(StringInfo buffer, const Buckets *buckets)
{
	int32		used = 0;

	for (int32 i = 0; i < buckets->n; i++)
		used += buckets->counts[i] > 0;
	pq_sendint32(buffer, used);
	for (int32 i = 0; i < buckets->n; i++)
	{
		int64		count = buckets->counts[i];

		if (count == 0)
			continue;
		/* small counts take one byte */
		pq_sendint32(buffer, buckets->first + i);
		while (count >= 0x80)
		{
			pq_sendbyte(buffer, (count & 0x7f) | 0x80);
			count >>= 7;
		}
		pq_sendbyte(buffer, count);
	}
}

static void
receive_buckets(StringInfo buffer, PercentileState *state, Buckets *buckets)
{
	int32		used = pq_getmsgint(buffer, 4);

	for (int32 i = 0; i < used; i++)
	{
		int32		bucket = (int32) pq_getmsgint(buffer, 4);
		int64		count = 0;
		int			byte;
		int			shift = 0;

		do
		{
			byte = pq_getmsgbyte(buffer);
			count |= (int64) (byte & 0x7f) << shift;
			shift += 7;
		} while ((byte & 0x80) && shift < 63);
		if (bucket < -MAX_BUCKET || bucket > MAX_BUCKET)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("invalid state of eddy.approx_percentile")));
		extend(state, buckets, bucket, bucket);
		buckets->counts[bucket - buckets->first] += count;
	}
}

Datum
eddy_percentile_serialize(PG_FUNCTION_ARGS)
{
	PercentileState *state = (PercentileState *) PG_GETARG_POINTER(0);
	StringInfoData buffer;

	(void) eddy_pack_context(fcinfo);
	pq_begintypsend(&buffer);
	pq_sendbyte(&buffer, STATE_VERSION);
	pq_sendint32(&buffer, state->nfractions);
	for (int i = 0; i < state->nfractions; i++)
		pq_sendfloat8(&buffer, state->fractions[i]);
	pq_sendint64(&buffer, state->zero);
	pq_sendint64(&buffer, state->minus_infinity);
	pq_sendint64(&buffer, state->infinity);
	pq_sendint64(&buffer, state->nan);
	send_buckets(&buffer, &state->positive);
	send_buckets(&buffer, &state->negative);
	PG_RETURN_BYTEA_P(eddy_pack_finish(&buffer));
}

Datum
eddy_percentile_deserialize(PG_FUNCTION_ARGS)
{
	PercentileState *state = make_state(CurrentMemoryContext);
	StringInfoData buffer;

	(void) eddy_pack_context(fcinfo);
	eddy_pack_open(&buffer, PG_GETARG_BYTEA_PP(0));
	if (pq_getmsgbyte(&buffer) != STATE_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid state of eddy.approx_percentile")));
	state->nfractions = (int32) pq_getmsgint(&buffer, 4);
	if (state->nfractions > 0)
		state->fractions = MemoryContextAlloc(state->mcxt,
											  sizeof(double) * state->nfractions);
	for (int i = 0; i < state->nfractions; i++)
		state->fractions[i] = pq_getmsgfloat8(&buffer);
	state->zero = pq_getmsgint64(&buffer);
	state->minus_infinity = pq_getmsgint64(&buffer);
	state->infinity = pq_getmsgint64(&buffer);
	state->nan = pq_getmsgint64(&buffer);
	receive_buckets(&buffer, state, &state->positive);
	receive_buckets(&buffer, state, &state->negative);
	pq_getmsgend(&buffer);
	PG_RETURN_POINTER(state);
}

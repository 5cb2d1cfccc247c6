/*-------------------------------------------------------------------------
 *
 * aggregate_distinct.c
 *    eddy.approx_count_distinct(value [, precision]): HyperLogLog.
 *
 * A value is hashed to 64 bits by the default hash operator class of its type. With precision p
 * there are m = 2^p registers; the standard error of the estimate is 1.04 / sqrt(m), 0.81 % for the
 * default of 14. The estimator is that of O. Ertl, "New cardinality estimation algorithms for
 * HyperLogLog sketches" (2017), which needs no corrections for small or large numbers.
 *
 * While there are few values, the state is sparse: a list of entries with an index of 25 bits,
 * which count nearly exactly, and the rank of the remaining bits. It becomes dense, with 6 bits per
 * register, when that is smaller. The result depends on the values alone, no matter in which order
 * they are added and states are combined.
 *
 * No locks. Memory: the aggregate's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "libpq/pqformat.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/typcache.h"

#include "view/pack.h"

PG_FUNCTION_INFO_V1(eddy_distinct_add);
PG_FUNCTION_INFO_V1(eddy_distinct_combine);
PG_FUNCTION_INFO_V1(eddy_distinct_serialize);
PG_FUNCTION_INFO_V1(eddy_distinct_deserialize);
PG_FUNCTION_INFO_V1(eddy_distinct_final);

#define DEFAULT_PRECISION 14
#define MIN_PRECISION 4
#define MAX_PRECISION 18

/* Of a sparse entry: 25 bits of index, then 6 of rank. */
#define SPARSE_PRECISION 25
#define RANK_BITS 6
#define RANK_MASK ((1 << RANK_BITS) - 1)

/* Entries that are added before they are sorted in. */
#define SPARSE_BUFFER 64

#define STATE_VERSION 1

typedef struct DistinctState
{
	MemoryContext mcxt;
	int			precision;
	uint8	   *registers;		/* of a dense state, otherwise NULL: one byte each */
	uint32	   *entries;		/* of a sparse state: sorted, each index once, then the buffer */
	int			nsorted;
	int			nentries;
	int			capacity;
} DistinctState;

/* ---- sparse ---- */

/* Bytes of a serialized dense state. */
static int
dense_size(int precision)
{
	return (1 << precision) * RANK_BITS / 8;
}

/* The number of entries from which the dense form is smaller. */
static int
max_entries(int precision)
{
	return Max(dense_size(precision) / (int) sizeof(uint32), 1);
}

static int
compare_entries(const void *a, const void *b)
{
	uint32		left = *(const uint32 *) a;
	uint32		right = *(const uint32 *) b;

	return left < right ? -1 : left > right;
}

/* Sorts the buffer in; of each index, the entry with the largest rank remains. */
static void
sort_entries(DistinctState *state)
{
	int			n = 0;

	if (state->nsorted == state->nentries)
		return;
	qsort(state->entries, state->nentries, sizeof(uint32), compare_entries);
	for (int i = 1; i < state->nentries; i++)
	{
		if (state->entries[i] >> RANK_BITS != state->entries[n] >> RANK_BITS)
			n++;
		state->entries[n] = state->entries[i];
	}
	state->nentries = state->nsorted = n + 1;
}

static void
set_register(DistinctState *state, uint32 index, uint8 rank)
{
	if (state->registers[index] < rank)
		state->registers[index] = rank;
}

/* Adds a sparse entry to the registers: the last bits of its index belong to the rank. */
static void
add_entry_to_registers(DistinctState *state, uint32 entry)
{
	int			extra = SPARSE_PRECISION - state->precision;
	uint32		index = entry >> RANK_BITS;
	uint32		low = index & ((1U << extra) - 1);
	uint8		rank;

	if (low != 0)
		rank = extra - pg_leftmost_one_pos32(low);
	else
		rank = extra + (entry & RANK_MASK);
	set_register(state, index >> extra, rank);
}

static void
make_dense(DistinctState *state)
{
	state->registers = MemoryContextAllocZero(state->mcxt, (Size) 1 << state->precision);
	for (int i = 0; i < state->nentries; i++)
		add_entry_to_registers(state, state->entries[i]);
	pfree(state->entries);
	state->entries = NULL;
	state->nentries = state->nsorted = 0;
}

/* Gives a state the form that depends on its values alone. */
static void
normalize(DistinctState *state)
{
	if (state->registers)
		return;
	sort_entries(state);
	if (state->nentries > max_entries(state->precision))
		make_dense(state);
}

static void
add_entry(DistinctState *state, uint32 entry)
{
	if (state->nentries == state->capacity)
	{
		normalize(state);
		if (state->registers)
		{
			add_entry_to_registers(state, entry);
			return;
		}
		if (state->capacity - state->nentries < SPARSE_BUFFER)
		{
			state->capacity = state->nentries * 2 + SPARSE_BUFFER;
			state->entries = repalloc(state->entries, sizeof(uint32) * state->capacity);
		}
	}
	state->entries[state->nentries++] = entry;
}

/* ---- values ---- */

static DistinctState *
make_state(MemoryContext mcxt, int precision)
{
	DistinctState *state = MemoryContextAllocZero(mcxt, sizeof(DistinctState));

	state->mcxt = mcxt;
	state->precision = precision;
	state->capacity = 8;
	state->entries = MemoryContextAlloc(mcxt, sizeof(uint32) * state->capacity);
	return state;
}

/* The rank of some low bits of a hash: one more than the number of zeros at their high end. */
static uint8
rank_of(uint64 bits, int nbits)
{
	bits &= (UINT64CONST(1) << nbits) - 1;
	return bits == 0 ? nbits + 1 : nbits - pg_leftmost_one_pos64(bits);
}

static void
add_hash(DistinctState *state, uint64 hash)
{
	if (state->registers)
		set_register(state, hash >> (64 - state->precision),
					 rank_of(hash, 64 - state->precision));
	else
		add_entry(state, (uint32) (hash >> (64 - SPARSE_PRECISION)) << RANK_BITS |
				  rank_of(hash, 64 - SPARSE_PRECISION));
}

/*
 * Mixes the bits of a hash (the finalizer of SplitMix64): hash functions of some types leave the
 * high bits of small numbers alike.
 */
static uint64
mix(uint64 hash)
{
	hash = (hash ^ (hash >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
	hash = (hash ^ (hash >> 27)) * UINT64CONST(0x94d049bb133111eb);
	return hash ^ (hash >> 31);
}

static uint64
hash_value(FunctionCallInfo fcinfo)
{
	TypeCacheEntry *type = fcinfo->flinfo->fn_extra;
	Oid			collation = PG_GET_COLLATION();

	if (type == NULL)
	{
		Oid			oid = get_fn_expr_argtype(fcinfo->flinfo, 1);

		type = lookup_type_cache(oid, TYPECACHE_HASH_EXTENDED_PROC_FINFO);
		if (!OidIsValid(type->hash_extended_proc_finfo.fn_oid))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("could not identify an extended hash function for type %s",
							format_type_be(oid))));
		fcinfo->flinfo->fn_extra = type;
	}
	return mix(DatumGetUInt64(FunctionCall2Coll(&type->hash_extended_proc_finfo, collation,
												PG_GETARG_DATUM(1), UInt64GetDatum(0))));
}

static int
get_precision(FunctionCallInfo fcinfo)
{
	int			precision;

	if (PG_NARGS() < 3)
		return DEFAULT_PRECISION;
	precision = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	if (precision < MIN_PRECISION || precision > MAX_PRECISION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("precision of eddy.approx_count_distinct must be between %d and %d",
						MIN_PRECISION, MAX_PRECISION)));
	return precision;
}

static void
check_same(int left, int right)
{
	if (left != right)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("precision of eddy.approx_count_distinct must be the same for all rows")));
}

Datum
eddy_distinct_add(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = eddy_pack_context(fcinfo);
	DistinctState *state = PG_ARGISNULL(0) ? NULL : (DistinctState *) PG_GETARG_POINTER(0);
	int			precision = get_precision(fcinfo);

	if (state)
		check_same(state->precision, precision);
	if (PG_ARGISNULL(1))
	{
		if (state == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(state);
	}
	if (state == NULL)
		state = make_state(mcxt, precision);
	add_hash(state, hash_value(fcinfo));
	PG_RETURN_POINTER(state);
}

Datum
eddy_distinct_combine(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = eddy_pack_context(fcinfo);
	DistinctState *left = PG_ARGISNULL(0) ? NULL : (DistinctState *) PG_GETARG_POINTER(0);
	DistinctState *right = PG_ARGISNULL(1) ? NULL : (DistinctState *) PG_GETARG_POINTER(1);

	if (right == NULL)
	{
		if (left == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(left);
	}
	if (left == NULL)
		left = make_state(mcxt, right->precision);
	check_same(left->precision, right->precision);
	if (right->registers)
	{
		if (left->registers == NULL)
			make_dense(left);
		for (uint32 i = 0; i < 1U << left->precision; i++)
			set_register(left, i, right->registers[i]);
	}
	else
		for (int i = 0; i < right->nentries; i++)
		{
			if (left->registers)
				add_entry_to_registers(left, right->entries[i]);
			else
				add_entry(left, right->entries[i]);
		}
	PG_RETURN_POINTER(left);
}

/* ---- estimate ---- */

static double
sigma(double x)
{
	double		y = 1;
	double		z = x;
	double		before;

	if (x == 1)
		return get_float8_infinity();
	do
	{
		x *= x;
		before = z;
		z += x * y;
		y += y;
	} while (z != before);
	return z;
}

static double
tau(double x)
{
	double		y = 1;
	double		z = 1 - x;
	double		before;

	if (x == 0 || x == 1)
		return 0;
	do
	{
		x = sqrt(x);
		before = z;
		y *= 0.5;
		z -= (1 - x) * (1 - x) * y;
	} while (z != before);
	return z / 3;
}

/* counts: of registers, by their rank, from 0 to max_rank. */
static double
estimate(const double *counts, double registers, int max_rank)
{
	double		z = registers * tau(1 - counts[max_rank] / registers);

	for (int rank = max_rank - 1; rank >= 1; rank--)
		z = 0.5 * (z + counts[rank]);
	z += registers * sigma(counts[0] / registers);
	return registers * registers / (2 * log(2) * z);
}

Datum
eddy_distinct_final(PG_FUNCTION_ARGS)
{
	DistinctState *state = PG_ARGISNULL(0) ? NULL : (DistinctState *) PG_GETARG_POINTER(0);
	double		counts[64 + 2] = {0};
	int			precision;
	double		registers;

	(void) eddy_pack_context(fcinfo);
	if (state == NULL)
		PG_RETURN_INT64(0);
	normalize(state);
	if (state->registers)
	{
		precision = state->precision;
		registers = (double) ((uint32) 1 << precision);
		for (uint32 i = 0; i < 1U << precision; i++)
			counts[state->registers[i]]++;
	}
	else
	{
		precision = SPARSE_PRECISION;
		registers = (double) ((uint32) 1 << precision);
		counts[0] = registers - state->nentries;
		for (int i = 0; i < state->nentries; i++)
			counts[state->entries[i] & RANK_MASK]++;
	}
	PG_RETURN_INT64((int64) rint(estimate(counts, registers, 64 - precision + 1)));
}

/* ---- serialization ---- */

Datum
eddy_distinct_serialize(PG_FUNCTION_ARGS)
{
	DistinctState *state = (DistinctState *) PG_GETARG_POINTER(0);
	StringInfoData buffer;

	(void) eddy_pack_context(fcinfo);
	normalize(state);
	pq_begintypsend(&buffer);
	pq_sendbyte(&buffer, STATE_VERSION);
	pq_sendbyte(&buffer, state->precision);
	pq_sendbyte(&buffer, state->registers != NULL);
	if (state->registers)
	{
		/* four registers in three bytes */
		enlargeStringInfo(&buffer, dense_size(state->precision));
		for (uint32 i = 0; i < 1U << state->precision; i += 4)
		{
			uint32		bits = 0;

			for (int j = 0; j < 4; j++)
				bits = bits << RANK_BITS | state->registers[i + j];
			buffer.data[buffer.len++] = bits >> 16;
			buffer.data[buffer.len++] = bits >> 8;
			buffer.data[buffer.len++] = bits;
		}
	}
	else
		for (int i = 0; i < state->nentries; i++)
			pq_sendint32(&buffer, state->entries[i]);
	PG_RETURN_BYTEA_P(eddy_pack_finish(&buffer));
}

Datum
eddy_distinct_deserialize(PG_FUNCTION_ARGS)
{
	StringInfoData buffer;
	DistinctState *state;
	int			version;
	int			precision;

	(void) eddy_pack_context(fcinfo);
	eddy_pack_open(&buffer, PG_GETARG_BYTEA_PP(0));
	version = pq_getmsgbyte(&buffer);
	precision = pq_getmsgbyte(&buffer);
	if (version != STATE_VERSION || precision < MIN_PRECISION || precision > MAX_PRECISION)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid state of eddy.approx_count_distinct")));
	state = make_state(CurrentMemoryContext, precision);
	if (pq_getmsgbyte(&buffer))
	{
		const uint8 *bytes = (const uint8 *) pq_getmsgbytes(&buffer, dense_size(precision));

		make_dense(state);
		for (uint32 i = 0; i < 1U << precision; i += 4)
		{
			uint32		bits = bytes[0] << 16 | bytes[1] << 8 | bytes[2];

			bytes += 3;
			for (int j = 3; j >= 0; j--)
			{
				state->registers[i + j] = bits & RANK_MASK;
				bits >>= RANK_BITS;
			}
		}
	}
	else
	{
		int			n = (buffer.len - buffer.cursor) / sizeof(uint32);

		state->capacity = n + 8;
		state->entries = repalloc(state->entries, sizeof(uint32) * state->capacity);
		for (int i = 0; i < n; i++)
			state->entries[i] = pq_getmsgint(&buffer, 4);
		state->nentries = state->nsorted = n;
	}
	pq_getmsgend(&buffer);
	PG_RETURN_POINTER(state);
}

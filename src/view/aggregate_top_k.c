/*-------------------------------------------------------------------------
 *
 * aggregate_top_k.c
 *    eddy.top_k(value, k): the most frequent values, by Space-Saving.
 *
 * The algorithm is that of A. Metwally, D. Agrawal, A. El Abbadi, "Efficient computation of
 * frequent and top-k elements in data streams" (2005), with m = max(10 k, 100) counters. A value
 * without a counter takes over the one with the smallest count, which becomes its possible error.
 * With n values in all: a count is never less than the true one and exceeds it by at most its
 * error, and an error is at most n / m; each value that occurs more than n / m times has a counter.
 * With at most m different values, counts are exact.
 *
 * States are combined as P. K. Agarwal et al., "Mergeable summaries" (2012) describe: counts are
 * added; a value that only one of them has could have had the smallest count of the other one, if
 * that is full. The same bounds hold.
 *
 * Counters are in an array; a hash table finds them by value, and a heap of their indexes has the
 * smallest count at its top.
 *
 * No locks. Memory: the aggregate's context, of at most m counters and values. Combining makes a
 * new state, and frees the one that it replaces; a state that was deserialized belongs to the
 * caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "view/pack.h"

PG_FUNCTION_INFO_V1(eddy_top_k_add);
PG_FUNCTION_INFO_V1(eddy_top_k_combine);
PG_FUNCTION_INFO_V1(eddy_top_k_serialize);
PG_FUNCTION_INFO_V1(eddy_top_k_deserialize);
PG_FUNCTION_INFO_V1(eddy_top_k_final);

#define MAX_K 1000
#define STATE_VERSION 1
#define NONE (-1)

typedef struct Counter
{
	EddyValue	value;
	int64		count;
	int64		error;
	int			next;			/* of the same hash bucket */
	int			heap_place;
} Counter;

typedef struct TopKState
{
	MemoryContext mcxt;
	int			k;
	Oid			type;			/* of all values; InvalidOid: no value yet, or unresolved */
	Oid			collation;
	int			capacity;		/* m */
	int			ncounters;
	int			allocated;		/* elements of counters */
	Counter    *counters;
	int			nbuckets;
	int		   *buckets;		/* NULL: not indexed yet */
	int		   *heap;
} TopKState;

/* ---- values ---- */

static TypeCacheEntry *
type_of(const TopKState *state)
{
	TypeCacheEntry *type = lookup_type_cache(state->type,
											 TYPECACHE_HASH_PROC_FINFO | TYPECACHE_EQ_OPR_FINFO);

	if (!OidIsValid(type->hash_proc_finfo.fn_oid) || !OidIsValid(type->eq_opr_finfo.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify a hash function for type %s",
						format_type_be(state->type))));
	return type;
}

static uint32
bucket_of(const TopKState *state, Datum value)
{
	return DatumGetUInt32(FunctionCall1Coll(&type_of(state)->hash_proc_finfo, state->collation,
											value)) % state->nbuckets;
}

static int
find_counter(const TopKState *state, Datum value)
{
	TypeCacheEntry *type = type_of(state);

	for (int i = state->buckets[bucket_of(state, value)]; i != NONE; i = state->counters[i].next)
		if (DatumGetBool(FunctionCall2Coll(&type->eq_opr_finfo, state->collation,
										   state->counters[i].value.value, value)))
			return i;
	return NONE;
}

static void
link_counter(TopKState *state, int i)
{
	uint32		bucket = bucket_of(state, state->counters[i].value.value);

	state->counters[i].next = state->buckets[bucket];
	state->buckets[bucket] = i;
}

static void
unlink_counter(TopKState *state, int i)
{
	int		   *link = &state->buckets[bucket_of(state, state->counters[i].value.value)];

	while (*link != i)
		link = &state->counters[*link].next;
	*link = state->counters[i].next;
}

/* ---- the heap ---- */

static void
place(TopKState *state, int place, int i)
{
	state->heap[place] = i;
	state->counters[i].heap_place = place;
}

static void
sift_down(TopKState *state, int at)
{
	int			i = state->heap[at];

	for (;;)
	{
		int			child = 2 * at + 1;

		if (child + 1 < state->ncounters &&
			state->counters[state->heap[child + 1]].count <
			state->counters[state->heap[child]].count)
			child++;
		if (child >= state->ncounters ||
			state->counters[state->heap[child]].count >= state->counters[i].count)
			break;
		place(state, at, state->heap[child]);
		at = child;
	}
	place(state, at, i);
}

static void
sift_up(TopKState *state, int at)
{
	int			i = state->heap[at];

	while (at > 0)
	{
		int			parent = (at - 1) / 2;

		if (state->counters[state->heap[parent]].count <= state->counters[i].count)
			break;
		place(state, at, state->heap[parent]);
		at = parent;
	}
	place(state, at, i);
}

/* ---- counters ---- */

static TopKState *
make_state(MemoryContext mcxt, int k)
{
	TopKState  *state = MemoryContextAllocZero(mcxt, sizeof(TopKState));

	state->mcxt = mcxt;
	state->k = k;
	state->capacity = Max(10 * k, 100);
	return state;
}

/* Makes the arrays, and indexes the counters that a serialized state had. */
static void
index_counters(TopKState *state)
{
	if (state->buckets)
		return;
	state->nbuckets = state->capacity * 2 + 1;
	state->buckets = MemoryContextAlloc(state->mcxt, sizeof(int) * state->nbuckets);
	state->heap = MemoryContextAlloc(state->mcxt, sizeof(int) * state->capacity);
	for (int i = 0; i < state->nbuckets; i++)
		state->buckets[i] = NONE;
	for (int i = 0; i < state->ncounters; i++)
	{
		link_counter(state, i);
		place(state, i, i);
	}
	for (int i = state->ncounters / 2 - 1; i >= 0; i--)
		sift_down(state, i);
}

static int64
smallest_count(const TopKState *state)
{
	return state->ncounters < state->capacity ? 0 : state->counters[state->heap[0]].count;
}

static void
set_value(TopKState *state, Counter *counter, Datum value)
{
	EddyValue	from = {.type = state->type, .value = value};
	MemoryContext old = MemoryContextSwitchTo(state->mcxt);

	eddy_pack_copy(&counter->value, &from);
	MemoryContextSwitchTo(old);
}

static void
free_value(TopKState *state, Counter *counter)
{
	if (!type_of(state)->typbyval)
		pfree(DatumGetPointer(counter->value.value));
}

static void
free_state(TopKState *state)
{
	for (int i = 0; i < state->ncounters; i++)
		free_value(state, &state->counters[i]);
	if (state->counters)
		pfree(state->counters);
	if (state->buckets)
	{
		pfree(state->buckets);
		pfree(state->heap);
	}
	pfree(state);
}

/* A new counter, of which there are less than m. */
static Counter *
make_counter(TopKState *state)
{
	if (state->ncounters == state->allocated)
	{
		state->allocated = Min(Max(state->allocated * 2, 16), state->capacity);
		state->counters = state->counters == NULL ?
			MemoryContextAlloc(state->mcxt, sizeof(Counter) * state->allocated) :
			repalloc(state->counters, sizeof(Counter) * state->allocated);
	}
	return memset(&state->counters[state->ncounters++], 0, sizeof(Counter));
}

/* Counts occurrences of a value. */
static void
count_value(TopKState *state, Datum value, int64 count, int64 error)
{
	int			i;
	Counter    *counter;

	index_counters(state);
	i = find_counter(state, value);
	if (i != NONE)
	{
		state->counters[i].count += count;
		state->counters[i].error += error;
		sift_down(state, state->counters[i].heap_place);
		return;
	}
	if (state->ncounters < state->capacity)
	{
		i = state->ncounters;
		counter = make_counter(state);
		set_value(state, counter, value);
		counter->count = count;
		counter->error = error;
		link_counter(state, i);
		place(state, i, i);
		sift_up(state, i);
		return;
	}
	i = state->heap[0];
	counter = &state->counters[i];
	unlink_counter(state, i);
	free_value(state, counter);
	set_value(state, counter, value);
	counter->error = counter->count + error;
	counter->count += count;
	link_counter(state, i);
	sift_down(state, 0);
}

static int
get_k(FunctionCallInfo fcinfo)
{
	int			k = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);

	if (k < 1 || k > MAX_K)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of values of eddy.top_k must be between 1 and %d", MAX_K)));
	return k;
}

static void
check_same(int left, int right)
{
	if (left != right)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of values of eddy.top_k must be the same for all rows")));
}

Datum
eddy_top_k_add(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = eddy_pack_context(fcinfo);
	TopKState  *state = PG_ARGISNULL(0) ? NULL : (TopKState *) PG_GETARG_POINTER(0);
	int			k = get_k(fcinfo);

	if (state == NULL)
		state = make_state(mcxt, k);
	check_same(state->k, k);
	if (!PG_ARGISNULL(1))
	{
		if (!OidIsValid(state->type))
			state->type = get_fn_expr_argtype(fcinfo->flinfo, 1);
		state->collation = PG_GET_COLLATION();
		count_value(state, PG_GETARG_DATUM(1), 1, 0);
	}
	PG_RETURN_POINTER(state);
}

/* ---- combining ---- */

/* Makes the values of a state those of the aggregate's argument. */
static void
resolve_values(TopKState *state, Oid type)
{
	MemoryContext old;

	if (state->type == type)
		return;
	old = MemoryContextSwitchTo(state->mcxt);
	for (int i = 0; i < state->ncounters; i++)
		eddy_pack_resolve(&state->counters[i].value, type);
	state->type = type;
	MemoryContextSwitchTo(old);
}

typedef struct Summed
{
	Datum		value;
	int64		count;
	int64		error;
} Summed;

static int
compare_summed(const void *a, const void *b)
{
	int64		left = ((const Summed *) a)->count;
	int64		right = ((const Summed *) b)->count;

	return left > right ? -1 : left < right;
}

/* Adds the counters of right to those of left; the largest sums become the counters of result. */
static void
add_states(TopKState *left, TopKState *right, TopKState *result)
{
	Summed	   *sums = palloc(sizeof(Summed) * (left->ncounters + right->ncounters + 1));
	int64		left_smallest;
	int64		right_smallest;
	int			n = 0;

	index_counters(left);
	index_counters(right);
	left_smallest = smallest_count(left);
	right_smallest = smallest_count(right);
	for (int i = 0; i < left->ncounters; i++)
	{
		Counter    *counter = &left->counters[i];
		int			j = find_counter(right, counter->value.value);

		sums[n].value = counter->value.value;
		sums[n].count = counter->count + (j == NONE ? right_smallest : right->counters[j].count);
		sums[n].error = counter->error + (j == NONE ? right_smallest : right->counters[j].error);
		n++;
	}
	for (int i = 0; i < right->ncounters; i++)
	{
		Counter    *counter = &right->counters[i];

		if (find_counter(left, counter->value.value) != NONE)
			continue;
		sums[n].value = counter->value.value;
		sums[n].count = counter->count + left_smallest;
		sums[n].error = counter->error + left_smallest;
		n++;
	}
	qsort(sums, n, sizeof(Summed), compare_summed);
	for (int i = 0; i < Min(n, result->capacity); i++)
		count_value(result, sums[i].value, sums[i].count, sums[i].error);
	pfree(sums);
}

Datum
eddy_top_k_combine(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = eddy_pack_context(fcinfo);
	TopKState  *left = PG_ARGISNULL(0) ? NULL : (TopKState *) PG_GETARG_POINTER(0);
	TopKState  *right = PG_ARGISNULL(1) ? NULL : (TopKState *) PG_GETARG_POINTER(1);
	Oid			type = eddy_pack_argument_type(fcinfo, 0, true);
	TopKState  *result;

	if (right == NULL)
	{
		if (left == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(left);
	}
	if (left == NULL)
		left = make_state(mcxt, right->k);
	check_same(left->k, right->k);
	resolve_values(left, type);
	resolve_values(right, type);
	result = make_state(mcxt, left->k);
	result->type = left->type;
	result->collation = left->collation = right->collation = PG_GET_COLLATION();
	add_states(left, right, result);
	/* the right one is the caller's */
	free_state(left);
	PG_RETURN_POINTER(result);
}

/* ---- result ---- */

typedef struct Ranked
{
	const Counter *counter;
	char	   *text;			/* of the value; made when another value is as frequent */
} Ranked;

static const char *
ranked_text(Ranked *ranked, FmgrInfo *output)
{
	if (ranked->text == NULL)
		ranked->text = OutputFunctionCall(output, ranked->counter->value.value);
	return ranked->text;
}

/*
 * The order of equally frequent values is that of their texts, byte by byte: the order of arrival
 * would depend on how rows are divided into batches, and on the plan of a query.
 */
static int
compare_ranked(const void *a, const void *b, void *arg)
{
	Ranked	   *left = (Ranked *) a;
	Ranked	   *right = (Ranked *) b;

	if (left->counter->count != right->counter->count)
		return left->counter->count > right->counter->count ? -1 : 1;
	if (left->counter->error != right->counter->error)
		return left->counter->error < right->counter->error ? -1 : 1;
	return strcmp(ranked_text(left, arg), ranked_text(right, arg));
}

static JsonbValue
make_json_value(const TopKState *state, const char *text)
{
	JsonbValue	result;

	switch (getBaseType(state->type))
	{
		case BOOLOID:
			result.type = jbvBool;
			result.val.boolean = (text[0] == 't');
			return result;
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			/* JSON has no NaN and no infinity */
			if (strpbrk(text, "NIni") == NULL)
			{
				result.type = jbvNumeric;
				result.val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in,
																		 CStringGetDatum(text),
																		 ObjectIdGetDatum(InvalidOid),
																		 Int32GetDatum(-1)));
				return result;
			}
	}
	result.type = jbvString;
	result.val.string.val = unconstify(char *, text);
	result.val.string.len = strlen(text);
	return result;
}

static void
push_key(JsonbParseState **parse, const char *key)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, key);
	value.val.string.len = strlen(key);
	pushJsonbValue(parse, WJB_KEY, &value);
}

static void
push_number(JsonbParseState **parse, const char *key, int64 number)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = int64_to_numeric(number);
	push_key(parse, key);
	pushJsonbValue(parse, WJB_VALUE, &value);
}

/* [{"value": ..., "count": ..., "error": ...}, ...], the most frequent first. */
Datum
eddy_top_k_final(PG_FUNCTION_ARGS)
{
	TopKState  *state = PG_ARGISNULL(0) ? NULL : (TopKState *) PG_GETARG_POINTER(0);
	JsonbParseState *parse = NULL;
	JsonbValue *result;
	Ranked	   *sorted;
	FmgrInfo	output;
	Oid			output_function;
	bool		isvarlena;

	(void) eddy_pack_context(fcinfo);
	if (state == NULL || state->ncounters == 0)
		PG_RETURN_NULL();
	if (!OidIsValid(state->type))
		elog(ERROR, "type of the values in the state of an aggregate was not resolved");
	getTypeOutputInfo(state->type, &output_function, &isvarlena);
	fmgr_info(output_function, &output);
	sorted = palloc0(sizeof(Ranked) * state->ncounters);
	for (int i = 0; i < state->ncounters; i++)
		sorted[i].counter = &state->counters[i];
	qsort_arg(sorted, state->ncounters, sizeof(Ranked), compare_ranked, &output);
	pushJsonbValue(&parse, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < Min(state->k, state->ncounters); i++)
	{
		JsonbValue	value = make_json_value(state, ranked_text(&sorted[i], &output));

		pushJsonbValue(&parse, WJB_BEGIN_OBJECT, NULL);
		push_key(&parse, "value");
		pushJsonbValue(&parse, WJB_VALUE, &value);
		push_number(&parse, "count", sorted[i].counter->count);
		push_number(&parse, "error", sorted[i].counter->error);
		pushJsonbValue(&parse, WJB_END_OBJECT, NULL);
	}
	result = pushJsonbValue(&parse, WJB_END_ARRAY, NULL);
	PG_RETURN_POINTER(JsonbValueToJsonb(result));
}

/* ---- serialization ---- */

Datum
eddy_top_k_serialize(PG_FUNCTION_ARGS)
{
	TopKState  *state = (TopKState *) PG_GETARG_POINTER(0);
	StringInfoData buffer;

	(void) eddy_pack_context(fcinfo);
	pq_begintypsend(&buffer);
	pq_sendbyte(&buffer, STATE_VERSION);
	pq_sendint32(&buffer, state->k);
	pq_sendint32(&buffer, state->ncounters);
	for (int i = 0; i < state->ncounters; i++)
	{
		pq_sendint64(&buffer, state->counters[i].count);
		pq_sendint64(&buffer, state->counters[i].error);
		eddy_pack_value(&buffer, &state->counters[i].value);
	}
	PG_RETURN_BYTEA_P(eddy_pack_finish(&buffer));
}

Datum
eddy_top_k_deserialize(PG_FUNCTION_ARGS)
{
	Oid			type = eddy_pack_argument_type(fcinfo, 0, false);
	StringInfoData buffer;
	TopKState  *state;
	int			version;
	int			k;

	(void) eddy_pack_context(fcinfo);
	eddy_pack_open(&buffer, PG_GETARG_BYTEA_PP(0));
	version = pq_getmsgbyte(&buffer);
	k = pq_getmsgint(&buffer, 4);
	if (version != STATE_VERSION || k < 1 || k > MAX_K)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid state of eddy.top_k")));
	state = make_state(CurrentMemoryContext, k);
	state->ncounters = pq_getmsgint(&buffer, 4);
	if (state->ncounters < 0 || state->ncounters > state->capacity)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid state of eddy.top_k")));
	state->allocated = Max(state->ncounters, 1);
	state->counters = palloc0(sizeof(Counter) * state->allocated);
	for (int i = 0; i < state->ncounters; i++)
	{
		Counter    *counter = &state->counters[i];

		counter->count = pq_getmsgint64(&buffer);
		counter->error = pq_getmsgint64(&buffer);
		eddy_unpack_value(&buffer, &counter->value);
	}
	pq_getmsgend(&buffer);
	if (OidIsValid(type))
		resolve_values(state, type);
	PG_RETURN_POINTER(state);
}

/*-------------------------------------------------------------------------
 *
 * aggregate_first.c
 *    eddy.first(value, order), eddy.last, and the same as eddy.min_by, eddy.max_by.
 *
 * The value of the row with the smallest or largest order. Rows whose order is NULL are ignored; a
 * value can be NULL. Of rows with the same order, the first to arrive counts for the smallest, the
 * last to arrive for the largest. Combining keeps that rule if the left state is that of the
 * earlier rows.
 *
 * The state has the value and the order of one row. It is serialized as pack.c describes, and
 * resolved before anything looks at its values: when it is deserialized, or in an Agg node when it
 * is combined.
 *
 * No locks. Memory: the aggregate's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "view/pack.h"

PG_FUNCTION_INFO_V1(eddy_first_add);
PG_FUNCTION_INFO_V1(eddy_last_add);
PG_FUNCTION_INFO_V1(eddy_first_combine);
PG_FUNCTION_INFO_V1(eddy_last_combine);
PG_FUNCTION_INFO_V1(eddy_first_serialize);
PG_FUNCTION_INFO_V1(eddy_first_deserialize);
PG_FUNCTION_INFO_V1(eddy_first_final);

typedef struct FirstState
{
	EddyValue	value;
	EddyValue	order;			/* not NULL */
} FirstState;

/* Types of the arguments of a transition function. */
typedef struct FirstTypes
{
	Oid			value;
	Oid			order;
} FirstTypes;

static FmgrInfo *
comparison_of(Oid type)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_CMP_PROC_FINFO);

	if (!OidIsValid(entry->cmp_proc_finfo.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify a comparison function for type %s",
						format_type_be(type))));
	return &entry->cmp_proc_finfo;
}

static int
compare(Oid type, Oid collation, Datum left, Datum right)
{
	return DatumGetInt32(FunctionCall2Coll(comparison_of(type), collation, left, right));
}

static void
free_value(EddyValue *value)
{
	int16		len;
	bool		byval;

	if (value->isnull || !OidIsValid(value->type))
		return;
	get_typlenbyval(value->type, &len, &byval);
	if (!byval)
		pfree(DatumGetPointer(value->value));
}

static void
set_state(FirstState *state, const EddyValue *value, const EddyValue *order, MemoryContext mcxt)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);

	eddy_pack_copy(&state->value, value);
	eddy_pack_copy(&state->order, order);
	MemoryContextSwitchTo(old);
}

/* Takes a later row. */
static FirstState *
add_row(FirstState *state, const EddyValue *value, const EddyValue *order, bool last,
		Oid collation, MemoryContext mcxt)
{
	if (state)
	{
		int			diff = compare(order->type, collation, order->value, state->order.value);

		if (last ? diff < 0 : diff >= 0)
			return state;
		free_value(&state->value);
		free_value(&state->order);
	}
	else
		state = MemoryContextAllocZero(mcxt, sizeof(FirstState));
	set_state(state, value, order, mcxt);
	return state;
}

static Datum
add(FunctionCallInfo fcinfo, bool last)
{
	MemoryContext mcxt = eddy_pack_context(fcinfo);
	FirstState *state = PG_ARGISNULL(0) ? NULL : (FirstState *) PG_GETARG_POINTER(0);
	FirstTypes *types = fcinfo->flinfo->fn_extra;
	EddyValue	value = {0};
	EddyValue	order = {0};

	if (types == NULL)
	{
		types = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, sizeof(FirstTypes));
		types->value = get_fn_expr_argtype(fcinfo->flinfo, 1);
		types->order = get_fn_expr_argtype(fcinfo->flinfo, 2);
		(void) comparison_of(types->order);
		fcinfo->flinfo->fn_extra = types;
	}
	if (!PG_ARGISNULL(2))
	{
		value.type = types->value;
		value.isnull = PG_ARGISNULL(1);
		value.value = value.isnull ? (Datum) 0 : PG_GETARG_DATUM(1);
		order.type = types->order;
		order.value = PG_GETARG_DATUM(2);
		state = add_row(state, &value, &order, last, PG_GET_COLLATION(), mcxt);
	}
	if (state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(state);
}

Datum
eddy_first_add(PG_FUNCTION_ARGS)
{
	return add(fcinfo, false);
}

Datum
eddy_last_add(PG_FUNCTION_ARGS)
{
	return add(fcinfo, true);
}

/* Makes the values of a state those of the aggregate's arguments. */
static void
resolve(FirstState *state, Oid value, Oid order)
{
	eddy_pack_resolve(&state->value, value);
	eddy_pack_resolve(&state->order, order);
}

static Datum
combine(FunctionCallInfo fcinfo, bool last)
{
	MemoryContext mcxt = eddy_pack_context(fcinfo);
	FirstState *left = PG_ARGISNULL(0) ? NULL : (FirstState *) PG_GETARG_POINTER(0);
	FirstState *right = PG_ARGISNULL(1) ? NULL : (FirstState *) PG_GETARG_POINTER(1);

	if (right)
	{
		Oid			value = eddy_pack_argument_type(fcinfo, 0, true);
		Oid			order = eddy_pack_argument_type(fcinfo, 1, true);
		MemoryContext old = MemoryContextSwitchTo(mcxt);

		if (left)
			resolve(left, value, order);
		MemoryContextSwitchTo(old);
		resolve(right, value, order);
		left = add_row(left, &right->value, &right->order, last, PG_GET_COLLATION(), mcxt);
	}
	if (left == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(left);
}

Datum
eddy_first_combine(PG_FUNCTION_ARGS)
{
	return combine(fcinfo, false);
}

Datum
eddy_last_combine(PG_FUNCTION_ARGS)
{
	return combine(fcinfo, true);
}

Datum
eddy_first_serialize(PG_FUNCTION_ARGS)
{
	FirstState *state = (FirstState *) PG_GETARG_POINTER(0);
	StringInfoData buffer;

	(void) eddy_pack_context(fcinfo);
	pq_begintypsend(&buffer);
	eddy_pack_value(&buffer, &state->value);
	eddy_pack_value(&buffer, &state->order);
	PG_RETURN_BYTEA_P(eddy_pack_finish(&buffer));
}

Datum
eddy_first_deserialize(PG_FUNCTION_ARGS)
{
	FirstState *state = palloc0(sizeof(FirstState));
	Oid			value = eddy_pack_argument_type(fcinfo, 0, false);
	StringInfoData buffer;

	(void) eddy_pack_context(fcinfo);
	eddy_pack_open(&buffer, PG_GETARG_BYTEA_PP(0));
	eddy_unpack_value(&buffer, &state->value);
	eddy_unpack_value(&buffer, &state->order);
	pq_getmsgend(&buffer);
	if (OidIsValid(value))
		resolve(state, value, eddy_pack_argument_type(fcinfo, 1, false));
	PG_RETURN_POINTER(state);
}

Datum
eddy_first_final(PG_FUNCTION_ARGS)
{
	FirstState *state = PG_ARGISNULL(0) ? NULL : (FirstState *) PG_GETARG_POINTER(0);

	(void) eddy_pack_context(fcinfo);
	if (state == NULL || state->value.isnull)
		PG_RETURN_NULL();
	if (state->value.type != get_fn_expr_rettype(fcinfo->flinfo))
		elog(ERROR, "state of an aggregate has a value of type %u instead of %u", state->value.type,
			 get_fn_expr_rettype(fcinfo->flinfo));
	PG_RETURN_DATUM(state->value.value);
}

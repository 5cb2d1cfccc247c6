/*-------------------------------------------------------------------------
 *
 * collect_values.c
 *    eddy._collect(place, values...): the values of a batch, as rows, in one bytea.
 *
 * The delta query of a view calls it instead of an aggregate whose values are kept. Its state is a
 * count and minimal tuples, each at a multiple of the largest alignment. Combining appends, so the
 * rows of each part stay in their order.
 *
 * No locks. Memory: the aggregate's context. States of more than 1 GB are an error (54000), as of
 * any value.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "view/collect_values.h"

PG_FUNCTION_INFO_V1(eddy_collect_add);
PG_FUNCTION_INFO_V1(eddy_collect_combine);
PG_FUNCTION_INFO_V1(eddy_collect_serialize);
PG_FUNCTION_INFO_V1(eddy_collect_deserialize);
PG_FUNCTION_INFO_V1(eddy_collect_count);
PG_FUNCTION_INFO_V1(eddy_collect_bytea);
PG_FUNCTION_INFO_V1(eddy_collect_append);

/* Of a transition function's calls. */
typedef struct AddContext
{
	TupleDesc	desc;
	Datum	   *values;
	bool	   *nulls;
} AddContext;

static StringInfo
make_state(MemoryContext mcxt)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	StringInfo	state = makeStringInfo();
	EddyValuesHeader header = {0};

	appendBinaryStringInfo(state, (char *) &header, EDDY_VALUES_OFFSET);
	MemoryContextSwitchTo(old);
	return state;
}

static MemoryContext
check_context(FunctionCallInfo fcinfo)
{
	MemoryContext mcxt;

	if (!AggCheckCallContext(fcinfo, &mcxt))
		elog(ERROR, "function was called outside of an aggregate");
	return mcxt;
}

static AddContext *
make_context(FunctionCallInfo fcinfo)
{
	int			natts = PG_NARGS() - 1;
	MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	AddContext *context = palloc(sizeof(AddContext));

	context->desc = CreateTemplateTupleDesc(natts);
	context->values = palloc(sizeof(Datum) * natts);
	context->nulls = palloc(sizeof(bool) * natts);
	for (int i = 0; i < natts; i++)
		TupleDescInitEntry(context->desc, i + 1, NULL,
						   get_fn_expr_argtype(fcinfo->flinfo, i + 1), -1, 0);
	MemoryContextSwitchTo(old);
	return context;
}

static void
append_tuple(StringInfo state, MinimalTuple tuple)
{
	static const char padding[MAXIMUM_ALIGNOF] = {0};

	appendBinaryStringInfo(state, (char *) tuple, tuple->t_len);
	appendBinaryStringInfo(state, padding, MAXALIGN(tuple->t_len) - tuple->t_len);
	((EddyValuesHeader *) state->data)->count++;
}

/* The transition function. Values that are stored elsewhere or compressed are fetched here. */
Datum
eddy_collect_add(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = check_context(fcinfo);
	StringInfo	state = PG_ARGISNULL(0) ? make_state(mcxt) : (StringInfo) PG_GETARG_POINTER(0);
	AddContext *context = fcinfo->flinfo->fn_extra;
	MinimalTuple tuple;

	if (context == NULL)
		fcinfo->flinfo->fn_extra = context = make_context(fcinfo);
	for (int i = 0; i < context->desc->natts; i++)
	{
		context->nulls[i] = PG_ARGISNULL(i + 1);
		context->values[i] = context->nulls[i] ? (Datum) 0 : PG_GETARG_DATUM(i + 1);
		if (!context->nulls[i] && TupleDescAttr(context->desc, i)->attlen == -1)
			context->values[i] = PointerGetDatum(PG_DETOAST_DATUM_PACKED(context->values[i]));
	}
	tuple = eddy_compat_form_minimal_tuple(context->desc, context->values, context->nulls);
	append_tuple(state, tuple);
	pfree(tuple);
	PG_RETURN_POINTER(state);
}

Datum
eddy_collect_combine(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = check_context(fcinfo);
	StringInfo	left = PG_ARGISNULL(0) ? NULL : (StringInfo) PG_GETARG_POINTER(0);
	StringInfo	right = PG_ARGISNULL(1) ? NULL : (StringInfo) PG_GETARG_POINTER(1);

	if (right == NULL)
	{
		if (left == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(left);
	}
	if (left == NULL)
		left = make_state(mcxt);
	appendBinaryStringInfo(left, right->data + EDDY_VALUES_OFFSET,
						   right->len - EDDY_VALUES_OFFSET);
	((EddyValuesHeader *) left->data)->count += ((EddyValuesHeader *) right->data)->count;
	PG_RETURN_POINTER(left);
}

/* The length word of the bytea takes the place of the one in the state. */
Datum
eddy_collect_serialize(PG_FUNCTION_ARGS)
{
	StringInfo	state = (StringInfo) PG_GETARG_POINTER(0);
	bytea	   *result = palloc(state->len);

	(void) check_context(fcinfo);
	memcpy(result, state->data, state->len);
	SET_VARSIZE(result, state->len);
	PG_RETURN_BYTEA_P(result);
}

Datum
eddy_collect_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *serialized = PG_GETARG_BYTEA_P(0);
	StringInfo	state = makeStringInfo();

	(void) check_context(fcinfo);
	appendBinaryStringInfo(state, (char *) serialized, VARSIZE(serialized));
	PG_RETURN_POINTER(state);
}

/* The final function: the number of values. Only needed because an aggregate must have a result. */
Datum
eddy_collect_count(PG_FUNCTION_ARGS)
{
	(void) check_context(fcinfo);
	PG_RETURN_INT64(PG_ARGISNULL(0) ? 0 :
					((EddyValuesHeader *) ((StringInfo) PG_GETARG_POINTER(0))->data)->count);
}

/*
 * The final function of eddy._values: all values as one bytea, in the form of a serialized state.
 */
Datum
eddy_collect_bytea(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	return eddy_collect_serialize(fcinfo);
}

/* The transition function of eddy._concat_values: appends what eddy._values has returned. */
Datum
eddy_collect_append(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = check_context(fcinfo);
	StringInfo	state = PG_ARGISNULL(0) ? make_state(mcxt) : (StringInfo) PG_GETARG_POINTER(0);

	if (!PG_ARGISNULL(1))
	{
		bytea	   *values = PG_GETARG_BYTEA_P(1);

		/* users can call it with any bytea; the content is not looked at here */
		if (VARSIZE(values) < EDDY_VALUES_OFFSET)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
					 errmsg("invalid list of values")));
		appendBinaryStringInfo(state, (char *) values + EDDY_VALUES_OFFSET,
							   VARSIZE(values) - EDDY_VALUES_OFFSET);
		((EddyValuesHeader *) state->data)->count += ((EddyValuesHeader *) values)->count;
	}
	PG_RETURN_POINTER(state);
}

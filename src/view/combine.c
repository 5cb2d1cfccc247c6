/*-------------------------------------------------------------------------
 *
 * combine.c
 *    Combining and finalizing transition states outside of an Agg node.
 *
 * Combine, serialize and final functions may require to be called by an aggregate
 * (AggCheckCallContext) and may change their first argument in place. So they get an AggState as
 * context, which has what functions can ask for, and copies of stored states. The rules for NULLs
 * are those of nodeAgg.c for AGGSPLIT_FINAL_DESERIAL.
 *
 * No locks. Memory: states live in the aggregate context of that node, which the caller resets
 * after each group. A group can have many rows, so what is needed for one of them only is in the
 * node's context for one row, as in nodeAgg.c, and a value that another one replaces is freed.
 * Errors of user-defined functions are raised.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "utils/datum.h"
#include "utils/expandeddatum.h"
#include "utils/memutils.h"

#include "view/combine.h"

/*
 * A node that was never planned: AggGetAggref returns NULL, as for a function that is called as a
 * window function. Starting a query instead would cost more than all the calls of a small batch.
 */
EddyCombiner *
eddy_combine_begin(void)
{
	EddyCombiner *combiner = palloc0(sizeof(EddyCombiner));
	EState	   *estate = CreateExecutorState();
	AggState   *aggstate = makeNode(AggState);

	aggstate->ss.ps.state = estate;
	aggstate->ss.ps.ps_ExprContext = aggstate->tmpcontext = CreateExprContext(estate);
	aggstate->curaggcontext = CreateExprContext(estate);
	combiner->estate = estate;
	combiner->aggstate = aggstate;
	combiner->mcxt = aggstate->curaggcontext->ecxt_per_tuple_memory;
	combiner->row_mcxt = aggstate->tmpcontext->ecxt_per_tuple_memory;
	return combiner;
}

/* Also calls what functions have registered with AggRegisterCallback. */
void
eddy_combine_end(EddyCombiner *combiner)
{
	FreeExecutorState(combiner->estate);
	pfree(combiner->aggstate);
	pfree(combiner);
}

/* Calls a function with up to two arguments; a strict one only if none is NULL. */
static Datum
call(EddyCombiner *combiner, FmgrInfo *flinfo, Oid collation, int nargs, Datum arg1, bool null1,
	 Datum arg2, bool null2, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, FUNC_MAX_ARGS);
	Datum		result;

	if (flinfo->fn_strict && (null1 || (nargs > 1 && null2)))
	{
		*isnull = true;
		return (Datum) 0;
	}
	InitFunctionCallInfoData(*fcinfo, flinfo, nargs, collation, (Node *) combiner->aggstate, NULL);
	fcinfo->args[0].value = arg1;
	fcinfo->args[0].isnull = null1;
	for (int i = 1; i < nargs; i++)
	{
		fcinfo->args[i].value = (i == 1) ? arg2 : (Datum) 0;
		fcinfo->args[i].isnull = (i == 1) ? null2 : true;
	}
	result = FunctionCallInvoke(fcinfo);
	*isnull = fcinfo->isnull;
	return result;
}

/*
 * Keeps functions and expressions from changing a value in place that is read again: an expanded
 * object, such as an array that a function has built, is passed as read-only.
 */
static void
make_read_only(EddyState *state, int16 typlen)
{
	state->value = MakeExpandedObjectReadOnly(state->value, state->isnull, typlen);
}

/* A state in the form that functions expect, which they may change in place. */
static EddyState
to_transition(EddyCombiner *combiner, EddyAggregate *agg, const EddyState *state)
{
	EddyState	result = *state;

	Assert(!agg->internal || !agg->partial_is_final);

	if (state->isnull)
		return result;
	if (agg->internal)
	{
		/* in an Agg node it is never compressed, and not every extension expects it here */
		Datum		serialized = PointerGetDatum(PG_DETOAST_DATUM(state->value));

		result.value = call(combiner, &agg->deserialize, InvalidOid, 2, serialized, false,
							PointerGetDatum(NULL), false, &result.isnull);
		if (DatumGetPointer(result.value) == NULL)
			result.isnull = true;
	}
	else
		result.value = datumCopy(state->value, agg->transbyval, agg->translen);
	return result;
}

/* Combines two transition states (or finals, by addition); the first may be changed in place. */
static EddyState
combine_transitions(EddyCombiner *combiner, EddyAggregate *agg, FmgrInfo *combine,
					EddyState left, EddyState right)
{
	EddyState	result;

	if (combine->fn_strict)
	{
		if (right.isnull)
			return left;
		if (left.isnull)
			return right;
	}
	result.value = call(combiner, combine, agg->aggref->inputcollid, 2, left.value,
						left.isnull, right.value, right.isnull, &result.isnull);
	/* functions of the server may return a null pointer for "no state yet" */
	if (agg->internal && combine == &agg->combine && DatumGetPointer(result.value) == NULL)
		result.isnull = true;
	return result;
}

static EddyState
finalize(EddyCombiner *combiner, EddyAggregate *agg, EddyState state)
{
	EddyState	result = state;

	if (agg->has_final)
	{
		make_read_only(&state, agg->translen);
		result.value = call(combiner, &agg->final, agg->aggref->inputcollid, agg->nfinal_args,
							state.value, state.isnull, (Datum) 0, true, &result.isnull);
	}
	make_read_only(&result, agg->resultlen);
	return result;
}

static EddyState
serialize(EddyCombiner *combiner, EddyAggregate *agg, EddyState state)
{
	EddyState	result = state;

	if (agg->internal && !state.isnull)
		result.value = call(combiner, &agg->serialize, InvalidOid, 1, state.value, false,
							(Datum) 0, true, &result.isnull);
	return result;
}

/* Frees a value that datumCopy has made, or a function in the combiner's context. */
static void
free_value(const EddyState *state, bool byval)
{
	if (byval || state->isnull)
		return;
	if (DatumIsReadWriteExpandedObject(state->value, false, -1))
		DeleteExpandedObject(state->value);
	else
		pfree(DatumGetPointer(state->value));
}

/*
 * eddy_combine_partial combines two results of the delta query: partial += more. Both are of
 * partial_type. partial is in the combiner's context, and freed when it is replaced. States in the
 * form that functions expect belong to this call: its context for one row is their aggregate
 * context.
 */
void
eddy_combine_partial(EddyCombiner *combiner, EddyAggregate *agg, EddyState *partial,
					 const EddyState *more)
{
	AggState   *aggstate = combiner->aggstate;
	ExprContext *group = aggstate->curaggcontext;
	MemoryContext old = MemoryContextSwitchTo(combiner->row_mcxt);
	bool		is_sum = agg->internal && agg->partial_is_final;
	bool		byval = is_sum ? agg->resultbyval : !agg->internal && agg->transbyval;
	int16		length = is_sum ? agg->resultlen : agg->internal ? -1 : agg->translen;
	EddyState	result;

	aggstate->curaggcontext = aggstate->tmpcontext;
	PG_TRY();
	{
		if (is_sum)
			result = combine_transitions(combiner, agg, &agg->add, *partial, *more);
		else
			result = serialize(combiner, agg,
							   combine_transitions(combiner, agg, &agg->combine,
												   to_transition(combiner, agg, partial),
												   to_transition(combiner, agg, more)));
	}
	PG_FINALLY();
	{
		aggstate->curaggcontext = group;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(combiner->mcxt);
	if (!result.isnull)
		result.value = datumCopy(result.value, byval, length);
	free_value(partial, byval);
	*partial = result;
	/* with what functions have registered for its end */
	ReScanExprContext(aggstate->tmpcontext);
	MemoryContextSwitchTo(old);
}

/*
 * eddy_combine_stored combines a stored state (ignored for a new group) with a partial state into
 * the state to be stored and the final value (NULL: it is not needed).
 */
void
eddy_combine_stored(EddyCombiner *combiner, EddyAggregate *agg, const EddyState *stored,
					bool is_new, const EddyState *partial, EddyState *new_stored,
					EddyState *final)
{
	MemoryContext old = MemoryContextSwitchTo(combiner->mcxt);
	bool		is_sum = agg->internal && agg->partial_is_final;
	EddyState	delta = is_sum ? *partial : to_transition(combiner, agg, partial);

	if (agg->state_is_final)
	{
		if (agg->internal && !is_sum)
			delta = finalize(combiner, agg, delta);
		if (!is_new)
		{
			EddyState	left = *stored;

			if (!left.isnull && !agg->internal)
				left.value = datumCopy(left.value, agg->resultbyval, agg->resultlen);
			delta = combine_transitions(combiner, agg, agg->internal ? &agg->add : &agg->combine,
										left, delta);
		}
		make_read_only(&delta, agg->resultlen);
		*new_stored = delta;
		if (final)
			*final = delta;
	}
	else if (is_new)
	{
		*new_stored = *partial;
		if (final)
			*final = finalize(combiner, agg, delta);
	}
	else
	{
		delta = combine_transitions(combiner, agg, &agg->combine,
									to_transition(combiner, agg, stored), delta);
		/* before finalizing: a final function may change the state */
		*new_stored = serialize(combiner, agg, delta);
		if (!agg->internal && !new_stored->isnull)
			new_stored->value = datumCopy(new_stored->value, agg->transbyval, agg->translen);
		if (final)
			*final = finalize(combiner, agg, delta);
	}
	MemoryContextSwitchTo(old);
}

/* ---- accumulators ---- */

/*
 * Combines a state with another one, which is not copied: functions do not change it, but may
 * return it as it is, and would change what they have returned later.
 */
static void
combine_borrowed(EddyCombiner *combiner, EddyAggregate *agg, FmgrInfo *combine, EddyState *left,
				 const EddyState *right, bool byval, int16 length)
{
	MemoryContext old = MemoryContextSwitchTo(combiner->row_mcxt);
	EddyState	result = combine_transitions(combiner, agg, combine, *left, *right);

	MemoryContextSwitchTo(old);
	if (!byval && !result.isnull &&
		(left->isnull || DatumGetPointer(result.value) != DatumGetPointer(left->value)))
	{
		result.value = datumCopy(result.value, false, length);
		free_value(left, false);
	}
	*left = result;
	MemoryContextReset(combiner->row_mcxt);
}

/* A state that is deserialized belongs to one row: functions copy what they keep of it. */
static void
add_transition(EddyCombiner *combiner, EddyAggregate *agg, EddyAccumulator *accumulator,
			   const EddyState *state)
{
	if (!accumulator->has_transition)
		accumulator->transition = to_transition(combiner, agg, state);
	else if (agg->internal)
	{
		MemoryContext old = MemoryContextSwitchTo(combiner->row_mcxt);

		accumulator->transition = combine_transitions(combiner, agg, &agg->combine,
													  accumulator->transition,
													  to_transition(combiner, agg, state));
		MemoryContextSwitchTo(old);
		MemoryContextReset(combiner->row_mcxt);
	}
	else
		combine_borrowed(combiner, agg, &agg->combine, &accumulator->transition, state,
						 agg->transbyval, agg->translen);
	accumulator->has_transition = true;
}

/* eddy_combine_add_partial adds a result of the delta query to an accumulator, at first zeroed. */
void
eddy_combine_add_partial(EddyCombiner *combiner, EddyAggregate *agg,
						 EddyAccumulator *accumulator, const EddyState *partial)
{
	MemoryContext old = MemoryContextSwitchTo(combiner->mcxt);

	add_transition(combiner, agg, accumulator, partial);
	MemoryContextSwitchTo(old);
}

/* eddy_combine_add_stored adds a stored state. */
void
eddy_combine_add_stored(EddyCombiner *combiner, EddyAggregate *agg,
						EddyAccumulator *accumulator, const EddyState *stored)
{
	MemoryContext old = MemoryContextSwitchTo(combiner->mcxt);

	if (agg->internal && agg->state_is_final)
	{
		if (accumulator->has_sum)
			combine_borrowed(combiner, agg, &agg->add, &accumulator->sum, stored, agg->resultbyval,
							 agg->resultlen);
		else
		{
			accumulator->sum = *stored;
			if (!stored->isnull)
				accumulator->sum.value = datumCopy(stored->value, agg->resultbyval, agg->resultlen);
		}
		accumulator->has_sum = true;
	}
	else
		add_transition(combiner, agg, accumulator, stored);
	MemoryContextSwitchTo(old);
}

/*
 * eddy_combine_add_in_place adds a stored state to a sum, which the function may change in place,
 * for aggregates whose stored states are not serialized. The result can be the sum, the state, or a
 * value in the combiner's context.
 */
EddyState
eddy_combine_add_in_place(EddyCombiner *combiner, EddyAggregate *agg, const EddyState *sum,
						  const EddyState *stored)
{
	MemoryContext old = MemoryContextSwitchTo(combiner->mcxt);
	EddyState	result;

	Assert(!agg->internal || agg->state_is_final);
	result = combine_transitions(combiner, agg, agg->internal ? &agg->add : &agg->combine, *sum,
								 *stored);
	MemoryContextSwitchTo(old);
	return result;
}

/*
 * eddy_combine_finish returns the state to be stored and the final value of an accumulator to which
 * something was added; NULL for what is not needed.
 */
void
eddy_combine_finish(EddyCombiner *combiner, EddyAggregate *agg, EddyAccumulator *accumulator,
					EddyState *new_stored, EddyState *final)
{
	MemoryContext old = MemoryContextSwitchTo(combiner->mcxt);
	EddyState	state = accumulator->transition;

	if (agg->state_is_final)
	{
		if (agg->internal)
		{
			state = accumulator->has_transition ? finalize(combiner, agg, state) :
				accumulator->sum;
			if (accumulator->has_transition && accumulator->has_sum)
				state = combine_transitions(combiner, agg, &agg->add, accumulator->sum, state);
		}
		make_read_only(&state, agg->resultlen);
		if (new_stored)
			*new_stored = state;
		if (final)
			*final = state;
	}
	else
	{
		/* before finalizing: a final function may change the state */
		if (new_stored)
		{
			*new_stored = serialize(combiner, agg, state);
			if (!agg->internal && !new_stored->isnull)
				new_stored->value = datumCopy(new_stored->value, agg->transbyval, agg->translen);
		}
		if (final)
			*final = finalize(combiner, agg, state);
	}
	MemoryContextSwitchTo(old);
}

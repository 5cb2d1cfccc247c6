/*-------------------------------------------------------------------------
 *
 * pane_work.c
 *    Adding up the states of panes, and computing the row of a window from them.
 *
 * Sums are states in the form in which they are stored.
 *
 * No locks. Memory: sums are in contexts that the caller specifies; the combiner's context is reset
 * by each call, that of expressions before each row. Errors of aggregates and expressions are
 * raised; a sum to which states were being added is undefined then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "view/kind_combining.h"
#include "view/pane_work.h"

void
eddy_pane_begin(EddyPaneWork *work, EddyViewPlan *plan, TupleDesc panes, TupleDesc results)
{
	work->plan = plan;
	work->desc = panes;
	work->combiner = eddy_combine_begin();
	work->econtext = CreateStandaloneExprContext();
	work->finals = MakeSingleTupleTableSlot(plan->final_desc, &TTSOpsVirtual);
	work->result = MakeSingleTupleTableSlot(results, &TTSOpsVirtual);
}

void
eddy_pane_end(EddyPaneWork *work)
{
	ExecDropSingleTupleTableSlot(work->finals);
	ExecDropSingleTupleTableSlot(work->result);
	FreeExprContext(work->econtext, true);
	eddy_combine_end(work->combiner);
}

/* ---- sums ---- */

void
eddy_pane_copy_value(TupleDesc desc, AttrNumber column, Datum value, bool isnull, Datum *to,
					 bool *to_null)
{
	Form_pg_attribute att = TupleDescAttr(desc, column - 1);

	*to_null = isnull;
	if (isnull || att->attbyval)
		*to = isnull ? (Datum) 0 : value;
	else if (att->attlen == -1 && !VARATT_IS_EXTERNAL_EXPANDED(DatumGetPointer(value)))
		*to = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	else
		*to = datumCopy(value, false, att->attlen);
}

EddyState *
eddy_pane_copy(const EddyPaneWork *work, TupleTableSlot *row)
{
	EddyViewPlan *plan = work->plan;
	EddyState  *states = palloc(sizeof(EddyState) * Max(plan->naggs, 1));

	for (int i = 0; i < plan->naggs; i++)
	{
		AttrNumber	column = plan->aggs[i].state_column;

		eddy_pane_copy_value(work->desc, column, row->tts_values[column - 1],
							 row->tts_isnull[column - 1], &states[i].value, &states[i].isnull);
	}
	return states;
}

/* True for an aggregate of which one of the states means that its result is lost. */
static bool
is_lost(const EddyPaneWork *work, int i, const EddyState *states)
{
	const EddyAggregate *agg = &work->plan->aggs[i];

	return states && eddy_combining_is_lost(agg, states[i].isnull, states[agg->counter].value);
}

static void
free_value(const EddyPaneWork *work, int i, EddyState *state)
{
	if (!state->isnull &&
		!TupleDescAttr(work->desc, work->plan->aggs[i].state_column - 1)->attbyval)
		pfree(DatumGetPointer(state->value));
}

static void
set_null(const EddyPaneWork *work, int i, EddyState *state)
{
	free_value(work, i, state);
	state->value = (Datum) 0;
	state->isnull = true;
}

/*
 * True if the states of an aggregate are added by one call of a function that may change the first.
 */
static bool
adds_in_place(const EddyAggregate *agg)
{
	return !agg->internal || agg->state_is_final;
}

/* Adds a state of an aggregate to a sum, which is in a context. */
static void
add_in_place(EddyPaneWork *work, MemoryContext mcxt, int i, EddyState *sum, const EddyState *state)
{
	const Form_pg_attribute att = TupleDescAttr(work->desc, work->plan->aggs[i].state_column - 1);
	EddyState	result = eddy_combine_add_in_place(work->combiner, &work->plan->aggs[i], sum, state);
	MemoryContext old;

	if (att->attbyval || (!result.isnull && !sum->isnull &&
						  DatumGetPointer(result.value) == DatumGetPointer(sum->value)))
	{
		*sum = result;
		return;
	}
	old = MemoryContextSwitchTo(mcxt);
	if (!sum->isnull)
		pfree(DatumGetPointer(sum->value));
	eddy_pane_copy_value(work->desc, work->plan->aggs[i].state_column, result.value, result.isnull,
						 &sum->value, &sum->isnull);
	MemoryContextSwitchTo(old);
}

/* The same, of an aggregate whose states are converted. */
static void
add_converted(EddyPaneWork *work, MemoryContext mcxt, int i, EddyState *sum, const EddyState *state)
{
	EddyAggregate *agg = &work->plan->aggs[i];
	EddyAccumulator accumulator = {0};
	EddyState	result;
	MemoryContext old;

	eddy_combine_add_stored(work->combiner, agg, &accumulator, sum);
	eddy_combine_add_stored(work->combiner, agg, &accumulator, state);
	eddy_combine_finish(work->combiner, agg, &accumulator, &result, NULL);
	old = MemoryContextSwitchTo(mcxt);
	if (!sum->isnull)
		pfree(DatumGetPointer(sum->value));
	eddy_pane_copy_value(work->desc, agg->state_column, result.value, result.isnull, &sum->value,
						 &sum->isnull);
	MemoryContextSwitchTo(old);
}

static EddyState *
copy_states(const EddyPaneWork *work, MemoryContext mcxt, const EddyState *states)
{
	EddyViewPlan *plan = work->plan;
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	EddyState  *copy = palloc(sizeof(EddyState) * Max(plan->naggs, 1));

	for (int i = 0; i < plan->naggs; i++)
		eddy_pane_copy_value(work->desc, plan->aggs[i].state_column, states[i].value,
							 states[i].isnull, &copy[i].value, &copy[i].isnull);
	MemoryContextSwitchTo(old);
	return copy;
}

void
eddy_pane_add(EddyPaneWork *work, MemoryContext mcxt, EddyState **sum, const EddyState *states)
{
	EddyViewPlan *plan = work->plan;

	if (states == NULL)
		return;
	if (*sum == NULL)
	{
		*sum = copy_states(work, mcxt, states);
		return;
	}
	/* counters come after the aggregates whose input they count */
	for (int i = 0; i < plan->naggs; i++)
	{
		EddyState  *total = &(*sum)[i];

		if (is_lost(work, i, *sum) || is_lost(work, i, states))
			set_null(work, i, total);
		else if (adds_in_place(&plan->aggs[i]))
			add_in_place(work, mcxt, i, total, &states[i]);
		else
			add_converted(work, mcxt, i, total, &states[i]);
	}
	MemoryContextReset(work->combiner->mcxt);
}

void
eddy_pane_free(const EddyPaneWork *work, EddyState **sum)
{
	if (*sum == NULL)
		return;
	for (int i = 0; i < work->plan->naggs; i++)
		free_value(work, i, &(*sum)[i]);
	pfree(*sum);
	*sum = NULL;
}

/* ---- rows of windows ---- */

static void
compute_final(EddyPaneWork *work, int i, int nparts, const EddyState *const *parts)
{
	EddyAggregate *agg = &work->plan->aggs[i];
	EddyAccumulator accumulator = {0};
	EddyState	final;
	bool		lost = false;

	for (int part = 0; part < nparts; part++)
		lost |= is_lost(work, i, parts[part]);
	if (lost)
	{
		EddyState	null = {(Datum) 0, true};

		eddy_combine_add_stored(work->combiner, agg, &accumulator, &null);
	}
	else
		for (int part = 0; part < nparts; part++)
			if (parts[part])
				eddy_combine_add_stored(work->combiner, agg, &accumulator, &parts[part][i]);
	eddy_combine_finish(work->combiner, agg, &accumulator, NULL, &final);
	eddy_pane_set(work->finals, work->plan->nkeys + i, final.value, final.isnull);
}

bool
eddy_pane_compute(EddyPaneWork *work, TimestampTz start, TimestampTz end, const Datum *keys,
				  const bool *nulls, int nparts, const EddyState *const *parts)
{
	EddyViewPlan *plan = work->plan;
	int			nbounds = plan->panes->nbounds;
	TupleTableSlot *finals = ExecClearTuple(work->finals);
	TupleTableSlot *result = ExecClearTuple(work->result);

	MemoryContextReset(work->combiner->mcxt);
	ResetExprContext(work->econtext);
	memset(result->tts_isnull, true, sizeof(bool) * result->tts_tupleDescriptor->natts);
	eddy_pane_set(finals, 0, TimestampTzGetDatum(end), false);
	if (nbounds > 1)
		eddy_pane_set(finals, 1, TimestampTzGetDatum(start), false);
	for (int i = nbounds; i < plan->nkeys; i++)
		eddy_pane_set(finals, i, keys[i - nbounds], nulls[i - nbounds]);
	for (int i = 0; i < plan->nkeys; i++)
		eddy_pane_set(result, plan->keys[i].column - 1, finals->tts_values[i],
					  finals->tts_isnull[i]);
	for (int i = 0; i < plan->naggs; i++)
		compute_final(work, i, nparts, parts);
	ExecStoreVirtualTuple(finals);
	eddy_combining_compute_outputs(plan, work->econtext, finals, result);
	eddy_combining_mark(plan, result, true);
	ExecStoreVirtualTuple(result);
	return plan->having == NULL || DatumGetBool(result->tts_values[plan->having_column - 1]);
}

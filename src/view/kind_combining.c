/*-------------------------------------------------------------------------
 *
 * kind_combining.c
 *    Views that combine transition states: one row for each group, in one state table.
 *
 * The delta query gives one row of transition states for each group of the batch. These are
 * combined with what is stored of the group, and finalized. The state table and the delta query are
 * described in combining_layout.c.
 *
 * Locking: see upsert_write.c. Memory: one context that is reset for each group. A crash leaves
 * nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "monotonic.h"
#include "view/chain_combine.h"
#include "view/collect.h"
#include "view/combine.h"
#include "view/emit_every.h"
#include "view/kind.h"
#include "view/kind_combining.h"
#include "view/ttl.h"

/* The one state table. */
#define STATE 0

/* One merge, or the reading of one group. */
typedef struct Combining
{
	EddyViewPlan *plan;
	EddyMerge  *merge;			/* NULL: a group is read */
	TimestampTz final_until;	/* new groups whose window ends until here are final */
	const EddyStateTable *table;
	EddyCombiner *combiner;
	EddyCollector *collector;	/* NULL: no aggregate needs its values */
	ExprContext *econtext;
	TupleTableSlot *group;		/* the current group as one row of the delta */
	TupleTableSlot *finals;		/* keys and final values, for expressions */
	TupleTableSlot *result;		/* the version to be written */
	TimestampTz now;			/* of the merge */

	/* the current group; by-reference values live in combiner->mcxt */
	Datum	   *keys;			/* of the state table */
	bool	   *key_nulls;
	EddyState  *partials;
} Combining;

/* ---- layout and delta ---- */

/* Every query that aggregates. */
static bool
accepts(const Query *query)
{
	return query->hasAggs || query->groupClause != NIL;
}

/*
 * A view whose rows are combined here can also take sums instead of the internal states in which
 * they were computed: sums are cheaper to return, and to combine.
 */
static void
make_delta(EddyViewPlan *plan, Query *delta)
{
	for (int i = 0; i < plan->naggs; i++)
		plan->aggs[i].partial_is_final = plan->aggs[i].state_is_final;
	eddy_combining_make_delta(plan, delta);
}

/* ---- reading the delta ---- */

/* eddy_combining_same_group: true if a row of the delta has these keys. */
bool
eddy_combining_same_group(const EddyViewPlan *plan, const Datum *keys, const bool *key_nulls,
						  TupleTableSlot *row)
{
	for (int i = 0; i < plan->nkeys; i++)
	{
		EddyKey    *key = &plan->keys[i];

		if (key_nulls[i] != row->tts_isnull[i])
			return false;
		if (!key_nulls[i] &&
			!DatumGetBool(FunctionCall2Coll(&key->eq, key->collation, keys[i],
											row->tts_values[i])))
			return false;
	}
	return true;
}

/* Makes a row of the delta the current group. */
static void
start_group(Combining *c, TupleTableSlot *row)
{
	EddyViewPlan *plan = c->plan;
	MemoryContext old;

	MemoryContextReset(c->combiner->mcxt);
	old = MemoryContextSwitchTo(c->combiner->mcxt);
	for (int i = 0; i < plan->nkeys + plan->naggs; i++)
	{
		bool		isnull = row->tts_isnull[i];
		Form_pg_attribute att = TupleDescAttr(plan->delta_desc, i);
		Datum		value = isnull ? (Datum) 0 :
			datumCopy(row->tts_values[i], att->attbyval, att->attlen);

		if (i < plan->nkeys)
		{
			c->keys[i] = value;
			c->key_nulls[i] = isnull;
		}
		else
		{
			c->partials[i - plan->nkeys].value = value;
			c->partials[i - plan->nkeys].isnull = isnull;
		}
	}
	MemoryContextSwitchTo(old);
}

/* Combines another row of the delta with the current group. */
static void
add_to_group(Combining *c, TupleTableSlot *row)
{
	EddyViewPlan *plan = c->plan;

	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];
		EddyState	more = {
			row->tts_values[plan->nkeys + i],
			row->tts_isnull[plan->nkeys + i]
		};

		if (agg->collection)
		{
			if (eddy_combining_has_values(plan, i))
				eddy_combine_partial(c->combiner, agg->collection->input, &c->partials[i], &more);
		}
		else if (agg->states)
			eddy_combine_partial(c->combiner, agg->states, &c->partials[i], &more);
		/* counters come after the aggregates whose input they count */
		else if (eddy_combining_is_lost(agg, c->partials[i].isnull,
										c->partials[agg->counter].value) ||
				 eddy_combining_is_lost(agg, more.isnull,
										row->tts_values[plan->nkeys + agg->counter]))
			c->partials[i].isnull = true;
		else
			eddy_combine_partial(c->combiner, agg, &c->partials[i], &more);
	}
}

/* ---- computing the new version ---- */

/*
 * eddy_combining_compute_keys sets the keys of a group in its new version and in finals. stored:
 * its version in the table, or NULL.
 */
void
eddy_combining_compute_keys(const EddyViewPlan *plan, const Datum *keys, const bool *key_nulls,
							TupleTableSlot *stored, TupleTableSlot *finals,
							TupleTableSlot *result)
{
	const EddyStateTable *table = eddy_plan_main_table(plan);

	for (int i = 0; i < table->nkeys; i++)
	{
		int			column = table->keys[i].column - 1;

		/* equal keys can look different (1.0, 1.00): the first stays, as its index entry does */
		result->tts_values[column] = stored ? stored->tts_values[column] : keys[i];
		result->tts_isnull[column] = key_nulls[i];
		if (i < plan->nkeys)
		{
			finals->tts_values[i] = result->tts_values[column];
			finals->tts_isnull[i] = key_nulls[i];
		}
	}
}

static void
compute_states(Combining *c, TupleTableSlot *stored)
{
	EddyViewPlan *plan = c->plan;
	TupleTableSlot *result = c->result;
	TupleTableSlot *finals = c->finals;

	if (c->collector)
	{
		eddy_collect_start_group(c->collector);
		eddy_collect_prepare(c->collector, c->partials, NULL, stored, c->keys, c->key_nulls,
							 result);
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];
		int			column = agg->state_column - 1;
		EddyState	partial = c->partials[i];
		EddyState	old = {(Datum) 0, true};
		EddyState	new_stored;
		EddyState	final;
		bool		lost;

		if (stored)
		{
			old.value = stored->tts_values[column];
			old.isnull = stored->tts_isnull[column];
		}
		if (agg->collection)
			eddy_collect_compute(c->collector, i, &old, &new_stored, &final);
		else if (agg->states)
			eddy_combine_states(c->combiner, agg, &partial, stored ? &old : NULL, &new_stored,
								&final);
		else
		{
			lost = eddy_combining_is_lost(agg, partial.isnull, c->partials[agg->counter].value);
			if (stored)
				lost |= eddy_combining_is_lost(agg, old.isnull,
											   stored->tts_values[plan->aggs[agg->counter].state_column - 1]);
			if (lost)
				partial.isnull = old.isnull = true;
			/* as for a new group: NULL is final, it does not combine */
			eddy_combine_stored(c->combiner, agg, &old, stored == NULL || lost, &partial,
								&new_stored, &final);
		}
		result->tts_values[column] = new_stored.value;
		result->tts_isnull[column] = new_stored.isnull;
		finals->tts_values[plan->nkeys + i] = final.value;
		finals->tts_isnull[plan->nkeys + i] = final.isnull;
	}
}

static void
set_mark(TupleTableSlot *row, AttrNumber column, bool value)
{
	row->tts_values[column - 1] = BoolGetDatum(value);
	row->tts_isnull[column - 1] = false;
}

/*
 * eddy_combining_compute_outputs computes the columns of the view, and the result of HAVING, from
 * the keys and final values of a group. Values of expressions live in the context of econtext.
 */
void
eddy_combining_compute_outputs(EddyViewPlan *plan, ExprContext *econtext, TupleTableSlot *finals,
							   TupleTableSlot *result)
{
	econtext->ecxt_scantuple = finals;
	for (int i = 0; i < plan->noutputs; i++)
	{
		EddyOutput *output = &plan->outputs[i];
		int			column = eddy_emit_latest(output) - 1;

		if (output->kind == EDDY_OUTPUT_EXPRESSION)
			result->tts_values[column] = ExecEvalExprSwitchContext(output->state, econtext,
																   &result->tts_isnull[column]);
		else
		{
			int			from = output->kind == EDDY_OUTPUT_KEY ? output->index :
				plan->nkeys + output->index;

			result->tts_values[column] = finals->tts_values[from];
			result->tts_isnull[column] = finals->tts_isnull[from];
		}
	}
	if (plan->having)
	{
		bool		isnull;
		Datum		value = ExecEvalExprSwitchContext(plan->having_state, econtext, &isnull);

		set_mark(result, plan->having_column, !isnull && DatumGetBool(value));
	}
}

/*
 * eddy_combining_get_marks returns the marks of a row, of a view that has windows, that say whether
 * it is final, and in the view. At most EDDY_MAX_MARKS; returns their number.
 */
int
eddy_combining_get_marks(const EddyViewPlan *plan, const TupleTableSlot *row, bool final,
						 EddyMark *marks)
{
	marks[0].column = plan->final_column;
	marks[0].value = final;
	if (!plan->on_close || plan->visible_column == plan->final_column ||
		plan->visible_column == plan->having_column)
		return 1;
	marks[1].column = plan->visible_column;
	marks[1].value = final && DatumGetBool(row->tts_values[plan->having_column - 1]);
	return 2;
}

/* eddy_combining_mark sets these marks. */
void
eddy_combining_mark(const EddyViewPlan *plan, TupleTableSlot *row, bool final)
{
	EddyMark	marks[EDDY_MAX_MARKS];
	int			nmarks = eddy_combining_get_marks(plan, row, final, marks);

	for (int i = 0; i < nmarks; i++)
		set_mark(row, marks[i].column, marks[i].value);
}

/*
 * eddy_combining_compute_marks sets the marks of the new version of a group. A late row that is
 * accepted leaves its group final.
 */
void
eddy_combining_compute_marks(const EddyViewPlan *plan, TimestampTz final_until, const Datum *keys,
							 const bool *key_nulls, TupleTableSlot *stored, TupleTableSlot *result)
{
	bool		final;

	if (!plan->windowed)
		return;
	if (stored)
		final = DatumGetBool(stored->tts_values[plan->final_column - 1]);
	else
		final = !key_nulls[0] && DatumGetTimestampTz(keys[0]) <= final_until;
	eddy_combining_mark(plan, result, final);
}

/* Fills c->result from the current group and the stored version (NULL: a new group). */
static void
compute_result(Combining *c, TupleTableSlot *stored)
{
	ExecClearTuple(c->result);
	ExecClearTuple(c->finals);
	ResetExprContext(c->econtext);
	memset(c->result->tts_isnull, true, sizeof(bool) * c->table->ncolumns);
	eddy_combining_compute_keys(c->plan, c->keys, c->key_nulls, stored, c->finals, c->result);
	compute_states(c, stored);
	ExecStoreVirtualTuple(c->finals);
	eddy_combining_compute_outputs(c->plan, c->econtext, c->finals, c->result);
	eddy_combining_compute_marks(c->plan, c->final_until, c->keys, c->key_nulls, stored,
								 c->result);
	eddy_emit_pace(c->plan, c->now, stored, c->result);
	eddy_ttl_touch(c->plan, c->now, stored, c->result);
	ExecStoreVirtualTuple(c->result);
}

/* ---- merging ---- */

static void
keep_group(Combining *c)
{
	EddyViewPlan *plan = c->plan;
	TupleTableSlot *group = ExecClearTuple(c->group);

	for (int i = 0; i < plan->nkeys; i++)
	{
		group->tts_values[i] = c->keys[i];
		group->tts_isnull[i] = c->key_nulls[i];
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		group->tts_values[plan->nkeys + i] = c->partials[i].value;
		group->tts_isnull[plan->nkeys + i] = c->partials[i].isnull;
	}
	eddy_merge_keep(c->merge, ExecStoreVirtualTuple(group));
}

/* The current group is complete: merges it with what is stored, again after each collision. */
static void
merge_group(Combining *c)
{
	TupleTableSlot *stored;

	if (eddy_merge_keeps(c->merge))
		keep_group(c);
	if (eddy_merge_write_computed(c->merge, STATE))
		return;
	do
	{
		stored = eddy_merge_find(c->merge, STATE, c->keys, c->key_nulls);
		compute_result(c, stored);
	} while (!eddy_merge_store(c->merge, STATE, c->result));
}

/* The same for a group that has kept values, which change together with its own row. */
static void
merge_group_with_values(Combining *c)
{
	TupleTableSlot *stored;

	if (eddy_merge_keeps(c->merge))
		keep_group(c);
	if (eddy_merge_make_computed_changes(c->merge))
		return;
	do
	{
		stored = eddy_merge_find(c->merge, STATE, c->keys, c->key_nulls);
		compute_result(c, stored);
		if (stored == NULL)
			eddy_merge_insert(c->merge, STATE, c->result);
		else if (!eddy_merge_identical(stored, c->result))
			eddy_merge_replace(c->merge, STATE, &stored->tts_tid, c->result);
		eddy_collect_store(c->collector);
	} while (!eddy_merge_make_changes(c->merge));
}

static void
finish_group(Combining *c)
{
	if (c->collector)
		merge_group_with_values(c);
	else
		merge_group(c);
}

/* The time of a merge, for views that need it. */
static TimestampTz
merge_time(const EddyViewPlan *plan)
{
	return plan->emit_interval > 0 || plan->idle_ttl > 0 ? eddy_wall_clock() : 0;
}

static void
begin(Combining *c, TupleDesc state_desc)
{
	EddyViewPlan *plan = c->plan;

	c->table = linitial(plan->state_tables);
	c->now = merge_time(plan);
	c->combiner = eddy_combine_begin();
	c->econtext = CreateStandaloneExprContext();
	c->group = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsVirtual);
	c->finals = MakeSingleTupleTableSlot(plan->final_desc, &TTSOpsVirtual);
	c->result = MakeSingleTupleTableSlot(state_desc, &TTSOpsVirtual);
	/* the constant key of a view without GROUP BY is 0 */
	c->keys = palloc0(sizeof(Datum) * c->table->nkeys);
	c->key_nulls = palloc0(sizeof(bool) * c->table->nkeys);
	c->partials = palloc(sizeof(EddyState) * Max(plan->naggs, 1));
	if (plan->collections && c->merge)
		c->collector = eddy_collect_begin(plan, c->merge, c->combiner);
}

static void
end(Combining *c)
{
	ExecDropSingleTupleTableSlot(c->group);
	ExecDropSingleTupleTableSlot(c->finals);
	ExecDropSingleTupleTableSlot(c->result);
	FreeExprContext(c->econtext, true);
	if (c->collector)
		eddy_collect_end(c->collector);
	eddy_combine_end(c->combiner);
}

void
eddy_combining_merge(EddyViewPlan *plan, EddyMerge *merge)
{
	Combining	c = {
		.plan = plan,
		.merge = merge,
		.final_until = eddy_merge_judgment(merge)->final_until
	};
	bool		in_group = false;
	TupleTableSlot *row;

	begin(&c, eddy_merge_desc(merge, STATE));
	while ((row = eddy_merge_next(merge)) != NULL)
	{
		if (in_group && eddy_combining_same_group(plan, c.keys, c.key_nulls, row))
			add_to_group(&c, row);
		else
		{
			if (in_group)
				finish_group(&c);
			start_group(&c, row);
			in_group = true;
		}
	}
	if (in_group)
		finish_group(&c);
	end(&c);
}

/* ---- one group at a time ---- */

/*
 * Groups whose places a process remembers for each view: sets of a few, by the hash of the key, the
 * one used last first. A group that is not remembered is looked up in the index, and the server
 * then also prunes its page.
 */
#define PLACE_SETS 256
#define PLACE_WAYS 4

typedef struct GroupPlace
{
	uint32		hash;			/* other keys can have the same one */
	ItemPointerData place;
} GroupPlace;

struct EddyGroup
{
	Combining	c;
	GroupPlace	places[PLACE_SETS][PLACE_WAYS];
};

/*
 * eddy_combining_group_start makes a row of the delta the current group of a view. What is needed
 * to compute its version is kept with the plan. state_desc: of the main state table.
 */
EddyGroup *
eddy_combining_group_start(EddyViewPlan *plan, TupleDesc state_desc, TimestampTz final_until,
						   TupleTableSlot *row)
{
	Combining  *c;

	if (plan->group == NULL)
	{
		MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy group",
												   ALLOCSET_SMALL_SIZES);
		MemoryContext old = MemoryContextSwitchTo(mcxt);
		EddyGroup  *group = palloc0(sizeof(EddyGroup));

		group->c.plan = plan;
		begin(&group->c, CreateTupleDescCopy(state_desc));
		MemoryContextSwitchTo(old);
		MemoryContextSetParent(mcxt, plan->mcxt);
		plan->group = group;
	}
	c = &plan->group->c;
	c->now = merge_time(plan);
	c->final_until = final_until;
	slot_getallattrs(row);
	start_group(c, row);
	return plan->group;
}

/*
 * The entry of a hash in a set, which becomes the first one. A new one replaces the one that was
 * not used for longest.
 */
static ItemPointer
find_place(GroupPlace *set, uint32 hash)
{
	GroupPlace	found = {.hash = hash};
	int			way;

	if (set[0].hash == hash)
		return &set[0].place;
	ItemPointerSetInvalid(&found.place);
	for (way = 1; way < PLACE_WAYS - 1 && set[way].hash != hash; way++)
		;
	if (set[way].hash == hash)
		found = set[way];
	memmove(&set[1], &set[0], sizeof(GroupPlace) * way);
	set[0] = found;
	return &set[0].place;
}

/*
 * eddy_combining_group_place returns where the place of the row of the group is remembered. What is
 * there can be invalid, outdated or of another group.
 */
ItemPointer
eddy_combining_group_place(EddyGroup *group)
{
	const Combining *c = &group->c;
	uint32		hash = 0;

	for (int i = 0; i < c->table->nkeys; i++)
	{
		Form_pg_attribute att;

		if (c->key_nulls[i] || c->plan->nkeys == 0)
			continue;
		att = TupleDescAttr(c->plan->delta_desc, i);
		/* equal values can have different hashes: their place is then not found */
		hash = hash_combine(hash, datum_image_hash(c->keys[i], att->attbyval, att->attlen));
	}
	return find_place(group->places[hash % PLACE_SETS], hash);
}

/* eddy_combining_group_keys returns the values of its key in the state table. */
const Datum *
eddy_combining_group_keys(const EddyGroup *group, const bool **nulls)
{
	*nulls = group->c.key_nulls;
	return group->c.keys;
}

/*
 * eddy_combining_group_compute computes the new version of its row, from the stored one or NULL.
 * The result is valid as long as the stored row, and until the next call.
 */
TupleTableSlot *
eddy_combining_group_compute(EddyGroup *group, TupleTableSlot *stored)
{
	compute_result(&group->c, stored);
	return group->c.result;
}

/*
 * eddy_combining_read computes the row of one group, in the current memory context, without writing
 * it: from the stored row, NULL if there is none, and at least one row of the delta, all of the
 * same group. final_until: new groups whose window ends until then are final.
 */
MinimalTuple
eddy_combining_read(EddyViewPlan *plan, TupleDesc state_desc, TimestampTz final_until,
					TupleTableSlot *stored, int nrows,
					TupleTableSlot *(*get_row) (int number, void *arg), void *arg)
{
	Combining	c = {.plan = plan, .final_until = final_until};
	MinimalTuple result;

	begin(&c, state_desc);
	start_group(&c, get_row(0, arg));
	for (int i = 1; i < nrows; i++)
	{
		CHECK_FOR_INTERRUPTS();
		add_to_group(&c, get_row(i, arg));
	}
	compute_result(&c, stored);
	result = ExecCopySlotMinimalTuple(c.result);
	end(&c);
	return result;
}

/* ---- closing ---- */

/* True if a column of the state table is one of the view. */
static bool
is_shown(const EddyViewPlan *plan, AttrNumber column)
{
	for (int i = 0; i < plan->noutputs; i++)
		if (plan->outputs[i].column == column)
			return true;
	return false;
}

/* eddy_combining_forgets: true if eddy_combining_forget changes rows of the view. */
bool
eddy_combining_forgets(const EddyViewPlan *plan)
{
	for (int i = 0; i < plan->naggs; i++)
		if (!is_shown(plan, plan->aggs[i].state_column))
			return true;
	for (int i = 0; i < plan->noutputs; i++)
		if (plan->outputs[i].latest_column)
			return true;
	return plan->collections != NIL;
}

/*
 * eddy_combining_forget: the states of a group that accepts no rows any more are not needed, unless
 * the view shows them.
 */
void
eddy_combining_forget(EddyViewPlan *plan, TupleTableSlot *row)
{
	ListCell   *lc;

	for (int i = 0; i < plan->naggs; i++)
	{
		AttrNumber	column = plan->aggs[i].state_column;

		if (!is_shown(plan, column))
		{
			row->tts_values[column - 1] = (Datum) 0;
			row->tts_isnull[column - 1] = true;
		}
	}
	foreach(lc, plan->collections)
	{
		const EddyCollection *collection = lfirst(lc);

		/* its values are deleted as well */
		row->tts_values[collection->nvalues_column - 1] = Int64GetDatum(0);
		if (collection->count_column > 0)
			row->tts_values[collection->count_column - 1] = Int64GetDatum(0);
	}
	/* what a final row shows does not change any more */
	for (int i = 0; i < plan->noutputs; i++)
	{
		AttrNumber	column = plan->outputs[i].latest_column;

		if (column)
			row->tts_isnull[column - 1] = true;
	}
}

const EddyViewKind eddy_kind_combining = {
	.name = "combining",
	.accepts = accepts,
	.layout = eddy_combining_layout,
	.make_delta = make_delta,
	.lock = NULL,
	.merge = eddy_combining_merge,
	.forget = eddy_combining_forget,
};

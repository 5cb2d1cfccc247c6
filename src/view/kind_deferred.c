/*-------------------------------------------------------------------------
 *
 * kind_deferred.c
 *    Views with maintenance => 'deferred': users' statements append their deltas.
 *
 * Such a view is one of the kind "combining", with a second state table, the table of deltas. A
 * user's statement inserts the result of its delta query there, one row for each group that it has
 * touched, and neither reads nor writes a row that another transaction could lock. The database
 * worker merges these rows into the main table shortly afterwards and deletes them in the same
 * transaction (fold.c), so that each snapshot contains a row either there or in its group. Readers
 * combine both (deferred_read.c).
 *
 * What can fail on a row of the stream fails in the delta query, in the user's statement. What can
 * fail on a group (expressions over aggregates, HAVING, an overflow) fails later, when there is no
 * statement that could fail: the delta then becomes a dead letter, so on_error => 'stop' is
 * refused.
 *
 * Rows are judged by the watermark when they are inserted; a window closes after all deltas of it
 * were merged.
 *
 * Batches of Kafka are merged into the main table at once: a source has few workers, whose batches
 * are large.
 *
 * Locking: appending locks no rows. Memory: the caller's. The table of deltas is logged, so a crash
 * leaves what is committed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "view/kind.h"
#include "view/kind_combining.h"
#include "view/kind_deferred.h"
#include "view/refuse.h"
#include "view/row_id.h"

/* ---- choice ---- */

/* Chosen by eddy_kind_choose_for among the views that the kind "combining" accepts. */
static bool
accepts(const Query *query pg_attribute_unused())
{
	return false;
}

static bool
suits(const EddyViewPlan *policy, const Query *query, Index stream_rti pg_attribute_unused())
{
	return policy->deferred && eddy_kind_choose(query) == &eddy_kind_combining;
}

void
eddy_deferred_check(const EddyViewPlan *plan)
{
	const EddyViewKind *kind = plan->kind;
	const char *detail;
	const char *hint = "Use maintenance => 'immediate'.";

	if (kind == &eddy_kind_deferred && !plan->chained && plan->emit_interval == 0 &&
		plan->idle_ttl == 0)
		return;
	if (plan->emit_interval > 0)
		detail = "Combined with emit => 'every ...', changes would wait twice.";
	else if (plan->idle_ttl > 0)
		detail = "Combined with idle_ttl, a group could be removed while it has deltas.";
	else if (plan->chained)
		detail = "It reads another continuous view, in whose batches it is maintained.";
	else if (kind == &eddy_kind_append)
	{
		detail = "Its rows are appended, so that no transaction waits for another one.";
		hint = "Use maintenance => 'immediate', which does not make writers of this view wait.";
	}
	else if (kind == &eddy_kind_session)
		detail = "Which sessions a row joins depends on the stored sessions of its key.";
	else if (kind == &eddy_kind_collected)
	{
		detail = "An aggregate of it needs the values of its input, which are kept one by one.";
		hint = "Use maintenance => 'immediate', or aggregates that combine.";
	}
	else
		detail = "Which row of a key is kept depends on the one that is stored.";
	eddy_refuse("maintenance => 'deferred' is not supported for this continuous view", detail, hint);
}

bool
eddy_deferred_is_shown(const EddyViewPlan *plan)
{
	return plan->deferred && (!plan->on_close || plan->lateness > 0);
}

/* ---- layout ---- */

static void
set_column(EddyStateColumn *column, char *name, Oid type, int32 typmod, Oid collation)
{
	column->name = name;
	column->type = type;
	column->typmod = typmod;
	column->collation = collation;
}

static EddyStateTable *
lay_out_deltas(const EddyViewPlan *plan)
{
	const EddyStateTable *state = eddy_plan_main_table(plan);
	EddyStateTable *table = palloc0(sizeof(EddyStateTable));
	EddyStateColumn *column;

	if (state->nkeys + 1 > INDEX_MAX_KEYS)
		eddy_refuse("maintenance => 'deferred' is not supported for this continuous view",
					psprintf("It groups by more than %d expressions.", INDEX_MAX_KEYS - 1),
					"Use maintenance => 'immediate'.");
	table->suffix = "deltas";
	table->append_only = true;
	table->passing = true;
	table->ncolumns = state->nkeys + 1 + plan->naggs;
	table->columns = column = palloc0(sizeof(EddyStateColumn) * table->ncolumns);
	table->nkeys = state->nkeys + 1;
	table->keys = palloc0(sizeof(EddyStateKey) * table->nkeys);
	for (int i = 0; i < state->nkeys; i++)
	{
		const EddyStateColumn *key = &state->columns[state->keys[i].column - 1];

		set_column(column++, psprintf("key%d", i + 1), key->type, key->typmod, key->collation);
		table->keys[i] = state->keys[i];
		table->keys[i].column = i + 1;
	}
	set_column(column, "id", UUIDOID, -1, InvalidOid);
	column++->not_null = true;
	table->keys[state->nkeys].column = state->nkeys + 1;
	table->keys[state->nkeys].lt_opr = lookup_type_cache(UUIDOID, TYPECACHE_LT_OPR)->lt_opr;
	for (int i = 0; i < plan->naggs; i++)
		set_column(column++, psprintf("state%d", i + 1), plan->aggs[i].partial_type, -1,
				   get_typcollation(plan->aggs[i].partial_type));
	return table;
}

static void
layout(EddyViewPlan *plan, Query *query)
{
	eddy_combining_layout(plan, query);
	if (!plan->dead_letters)
		eddy_refuse("maintenance => 'deferred' requires on_error => 'dead_letter'",
					"A group is computed after the transaction that has inserted its rows.",
					"Use maintenance => 'immediate' to have statements fail on errors of the view.");
	plan->state_tables = lappend(plan->state_tables, lay_out_deltas(plan));
}

/* ---- appending ---- */

/* Fills a row of the table of deltas, without its ID, from one of the delta query. */
static void
from_delta(const EddyViewPlan *plan, TupleTableSlot *delta, TupleTableSlot *row)
{
	int			nkeys = eddy_deferred_nkeys(plan);

	if (plan->nkeys == 0)
	{
		/* the constant key of a view without GROUP BY */
		row->tts_values[0] = Int16GetDatum(0);
		row->tts_isnull[0] = false;
	}
	memcpy(row->tts_values, delta->tts_values, sizeof(Datum) * plan->nkeys);
	memcpy(row->tts_isnull, delta->tts_isnull, sizeof(bool) * plan->nkeys);
	memcpy(row->tts_values + nkeys + 1, delta->tts_values + plan->nkeys,
		   sizeof(Datum) * plan->naggs);
	memcpy(row->tts_isnull + nkeys + 1, delta->tts_isnull + plan->nkeys,
		   sizeof(bool) * plan->naggs);
}

void
eddy_deferred_to_delta(const EddyViewPlan *plan, const Datum *values, const bool *nulls,
					   TupleTableSlot *delta)
{
	int			nkeys = eddy_deferred_nkeys(plan);

	ExecClearTuple(delta);
	memcpy(delta->tts_values, values, sizeof(Datum) * plan->nkeys);
	memcpy(delta->tts_isnull, nulls, sizeof(bool) * plan->nkeys);
	memcpy(delta->tts_values + plan->nkeys, values + nkeys + 1, sizeof(Datum) * plan->naggs);
	memcpy(delta->tts_isnull + plan->nkeys, nulls + nkeys + 1, sizeof(bool) * plan->naggs);
	ExecStoreVirtualTuple(delta);
}

static void
append(EddyViewPlan *plan, EddyMerge *merge)
{
	int			id = eddy_deferred_nkeys(plan);
	TupleTableSlot *result;
	TupleTableSlot *row;
	EddyRowIds	ids;

	if (eddy_merge_append_computed(merge, DEFERRED_DELTAS))
		return;
	result = MakeSingleTupleTableSlot(eddy_merge_desc(merge, DEFERRED_DELTAS), &TTSOpsVirtual);
	eddy_row_ids_begin(&ids);
	while ((row = eddy_merge_next(merge)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		ExecClearTuple(result);
		from_delta(plan, row, result);
		result->tts_values[id] = eddy_row_ids_next(&ids);
		result->tts_isnull[id] = false;
		eddy_merge_append(merge, DEFERRED_DELTAS, ExecStoreVirtualTuple(result));
	}
	ExecDropSingleTupleTableSlot(result);
}

static void
merge(EddyViewPlan *plan, EddyMerge *merge)
{
	if (eddy_merge_judgment(merge)->defers)
		append(plan, merge);
	else
		eddy_combining_merge(plan, merge);
}

const EddyViewKind eddy_kind_deferred = {
	.name = "deferred",
	.accepts = accepts,
	.suits = suits,
	.layout = layout,
	.make_delta = eddy_combining_make_delta,
	.merge = merge,
	.forget = eddy_combining_forget,
	.settle = eddy_deferred_settle,
};

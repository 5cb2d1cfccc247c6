/*-------------------------------------------------------------------------
 *
 * kind_panes.c
 *    Views over overlapping windows: one state for each key and pane.
 *
 * The delta query groups by pane instead of by window, so a row of the stream costs what it costs
 * with tumbling windows, however many windows contain it. Windows are combined from panes when they
 * close (pane_close.c). There are three state tables:
 *
 * - The main table has the final rows, in the columns of the view and its hidden keys and marks.
 * - The table of panes has one row for each key and pane.
 * - The table of sums has one row for each key and block of panes whose windows have closed.
 *
 * The last two have the same columns:
 *
 *    first end | end of the pane or block | keys of the group | states
 *
 * The first end is that of the first window that counts the rows. A late row counts in the
 * windows of its pane that are still open, but not in those that are final: its state is stored
 * beside that of the pane, with the first open window as its first end. Closing that window adds
 * it to the pane. So closing a window reads its new rows as one range of the index, whose first
 * column is the first end, and a window that is final is never computed again.
 *
 * A view that shows early rows computes them from panes when it is read (pane_read.c).
 *
 * Locking: see upsert_write.c. Rows are written in order of (end of the pane, key), which is a
 * total order of the rows of the table. Memory: one context that is reset for each pane. A crash
 * leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "view/analyze.h"
#include "view/chain.h"
#include "view/combine.h"
#include "view/kind.h"
#include "view/kind_combining.h"
#include "view/kind_panes.h"
#include "view/late_pairs.h"
#include "view/refuse.h"
#include "view/state_table.h"

/* Windows that contain a row, at most, for each of which a view that shows early rows has a row. */
#define MAX_EARLY_WINDOWS 10

/* One merge. */
typedef struct PaneMerge
{
	EddyViewPlan *plan;
	EddyMerge  *merge;
	const EddyStateTable *table;
	EddyCombiner *combiner;
	TupleTableSlot *group;		/* the current pane as one row of the delta */
	TupleTableSlot *result;		/* the version to be written */
	Datum	   *keys;			/* of the table of panes */
	bool	   *key_nulls;
	EddyState  *partials;
} PaneMerge;

/* ---- choice ---- */

/* Chosen by eddy_kind_choose_for among the views that the kind "combining" accepts. */
static bool
accepts(const Query *query pg_attribute_unused())
{
	return false;
}

/*
 * A view that corrects final rows needs the states of its windows, and one that shows changes
 * once in an interval has to store what it shows. A view that shows early rows has a row for each
 * of its windows, so that consumers of changes receive them, unless these are many.
 */
static bool
suits(const EddyViewPlan *policy, const Query *query, Index stream_rti)
{
	EddyPanes  *panes;

	if (policy->lateness > 0 || policy->combines || policy->emit_interval > 0)
		return false;
	panes = eddy_panes_analyze(query, stream_rti);
	return panes && eddy_panes_pay(panes) &&
		(policy->on_close || panes->size > MAX_EARLY_WINDOWS * panes->slide);
}

/* ---- layout ---- */

static void
set_column(EddyStateTable *table, AttrNumber column, const char *name, Oid type, int32 typmod,
		   Oid collation)
{
	EddyStateColumn *to = &table->columns[column - 1];

	to->name = pstrdup(name);
	to->type = type;
	to->typmod = typmod;
	to->collation = collation;
}

static void
set_key(EddyStateTable *table, int n, AttrNumber column, const EddyKey *like)
{
	table->keys[n].column = column;
	table->keys[n].lt_opr = like->lt_opr;
	table->keys[n].collation = like->collation;
}

/* The table of panes, or of sums. */
static EddyStateTable *
lay_out_states(EddyViewPlan *plan, const char *suffix)
{
	EddyStateTable *table = palloc0(sizeof(EddyStateTable));
	const EddyKey *end = &plan->keys[0];
	int			nkeys = eddy_kind_panes_nkeys(plan);

	table->suffix = suffix;
	table->unsent = true;
	table->ncolumns = PANE_KEY - 1 + nkeys + plan->naggs;
	table->columns = palloc0(sizeof(EddyStateColumn) * table->ncolumns);
	set_column(table, PANE_FIRST_END, "first_end", end->type, -1, InvalidOid);
	set_column(table, PANE_END, "pane_end", end->type, -1, InvalidOid);
	table->columns[PANE_FIRST_END - 1].not_null = true;
	table->columns[PANE_END - 1].not_null = true;
	for (int i = 0; i < nkeys; i++)
	{
		const EddyKey *key = eddy_kind_panes_key(plan, i);

		set_column(table, PANE_KEY + i, psprintf("key%d", i + 1), key->type, key->typmod,
				   key->collation);
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];

		agg->state_column = PANE_KEY + nkeys + i;
		set_column(table, agg->state_column, psprintf("state%d", i + 1), agg->state_type,
				   agg->state_typmod, agg->state_is_final ? agg->aggref->aggcollid :
				   get_typcollation(agg->state_type));
	}

	table->nkeys = nkeys + 2;
	table->keys = palloc0(sizeof(EddyStateKey) * table->nkeys);
	set_key(table, 0, PANE_FIRST_END, end);
	for (int i = 0; i < nkeys; i++)
		set_key(table, 1 + i, PANE_KEY + i, eddy_kind_panes_key(plan, i));
	set_key(table, nkeys + 1, PANE_END, end);
	return table;
}

/*
 * The key of the group, then the first nbounds columns, which are times: the windows of a key are
 * read.
 */
static EddyStateKey *
make_order(const EddyStateTable *table, int nbounds)
{
	EddyStateKey *order = palloc(sizeof(EddyStateKey) * table->nkeys);
	int			nkeys = table->nkeys - nbounds;

	memcpy(order, table->keys + nbounds, sizeof(EddyStateKey) * nkeys);
	memcpy(order + nkeys, table->keys, sizeof(EddyStateKey) * nbounds);
	return order;
}

static void
layout(EddyViewPlan *plan, Query *query)
{
	EddyStateTable *results;
	EddyStateTable *panes;
	EddyStateTable *sums;

	eddy_analyze_groups(plan, query);
	plan->panes = eddy_panes_analyze(query, plan->stream_rti);
	if (plan->panes == NULL || !plan->windowed)
		eddy_refuse("the windows of the continuous view cannot be combined from panes", NULL, NULL);
	eddy_combining_lay_out_results(plan);
	results = linitial(plan->state_tables);
	panes = lay_out_states(plan, "panes");
	sums = lay_out_states(plan, "sums");
	results->settled = sums->settled = true;
	if (!plan->on_close)
	{
		panes->order = make_order(panes, 1);
		if (eddy_kind_panes_nkeys(plan) > 0)
			results->order = make_order(results, plan->panes->nbounds);
	}
	plan->state_tables = lappend(plan->state_tables, panes);
	plan->state_tables = lappend(plan->state_tables, sums);
}

/* ---- the delta query ---- */

/* Groups by pane: its bounds take the place of those of the window. */
static void
make_delta(EddyViewPlan *plan, Query *delta)
{
	RangeTblEntry *rte = rt_fetch(plan->panes->rti, delta->rtable);

	eddy_combining_make_delta(plan, delta);
	linitial_node(RangeTblFunction, rte->functions)->funcexpr = copyObject(plan->panes->tumble);
}

/* ---- reading the delta ---- */

/* True if a row of the delta, in which the end of the pane is the first column, is of this pane. */
static bool
same_pane(const PaneMerge *m, TupleTableSlot *row)
{
	EddyViewPlan *plan = m->plan;

	for (int i = 0; i < plan->nkeys; i++)
	{
		TupleTableSlot *group = m->group;

		if (group->tts_isnull[i] != row->tts_isnull[i])
			return false;
		if (!group->tts_isnull[i] &&
			!DatumGetBool(FunctionCall2Coll(&plan->keys[i].eq, plan->keys[i].collation,
											group->tts_values[i], row->tts_values[i])))
			return false;
	}
	return true;
}

/*
 * Makes a row of the delta the current pane. Rows that are late for the first windows of the pane
 * count from the first one that is open.
 */
static void
start_pane(PaneMerge *m, TupleTableSlot *row)
{
	EddyViewPlan *plan = m->plan;
	const EddyJudgment *judgment = eddy_merge_judgment(m->merge);
	TupleTableSlot *group = ExecClearTuple(m->group);
	TimestampTz end;
	TimestampTz first_end;
	MemoryContext old;

	MemoryContextReset(m->combiner->mcxt);
	old = MemoryContextSwitchTo(m->combiner->mcxt);
	for (int i = 0; i < plan->nkeys + plan->naggs; i++)
	{
		Form_pg_attribute att = TupleDescAttr(plan->delta_desc, i);

		group->tts_isnull[i] = row->tts_isnull[i];
		group->tts_values[i] = row->tts_isnull[i] ? (Datum) 0 :
			datumCopy(row->tts_values[i], att->attbyval, att->attlen);
	}
	MemoryContextSwitchTo(old);
	ExecStoreVirtualTuple(group);

	end = DatumGetTimestampTz(group->tts_values[0]);
	first_end = eddy_panes_first_end(plan->panes, end);
	if (first_end <= judgment->late_until)
		first_end = eddy_panes_next_end(plan->panes, judgment->late_until);
	for (int i = 0; i < m->table->nkeys; i++)
	{
		AttrNumber	column = eddy_upsert_order(m->table)[i].column;
		int			from = plan->panes->nbounds + column - PANE_KEY;

		m->key_nulls[i] = column >= PANE_KEY && group->tts_isnull[from];
		m->keys[i] = column == PANE_FIRST_END ? TimestampTzGetDatum(first_end) :
			column == PANE_END ? TimestampTzGetDatum(end) : group->tts_values[from];
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		m->partials[i].value = group->tts_values[plan->nkeys + i];
		m->partials[i].isnull = group->tts_isnull[plan->nkeys + i];
	}
}

/* Combines another row of the delta with the current pane. */
static void
add_to_pane(PaneMerge *m, TupleTableSlot *row)
{
	EddyViewPlan *plan = m->plan;

	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];
		EddyState	more = {
			row->tts_values[plan->nkeys + i],
			row->tts_isnull[plan->nkeys + i]
		};

		/* counters come after the aggregates whose input they count */
		if (eddy_combining_is_lost(agg, m->partials[i].isnull, m->partials[agg->counter].value) ||
			eddy_combining_is_lost(agg, more.isnull, row->tts_values[plan->nkeys + agg->counter]))
			m->partials[i].isnull = true;
		else
			eddy_combine_partial(m->combiner, agg, &m->partials[i], &more);
	}
}

/* ---- merging ---- */

/* Fills m->result from the current pane and the stored version (NULL: a new row). */
static void
compute_result(PaneMerge *m, TupleTableSlot *stored)
{
	EddyViewPlan *plan = m->plan;
	TupleTableSlot *result = ExecClearTuple(m->result);

	for (int i = 0; i < m->table->nkeys; i++)
	{
		int			column = eddy_upsert_order(m->table)[i].column - 1;

		/* equal keys can look different (1.0, 1.00): the first stays, as its index entry does */
		result->tts_values[column] = stored ? stored->tts_values[column] : m->keys[i];
		result->tts_isnull[column] = m->key_nulls[i];
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];
		int			column = agg->state_column - 1;
		EddyState	partial = m->partials[i];
		EddyState	old = {(Datum) 0, true};
		EddyState	new;
		bool		lost = eddy_combining_is_lost(agg, partial.isnull,
												  m->partials[agg->counter].value);

		if (stored)
		{
			old.value = stored->tts_values[column];
			old.isnull = stored->tts_isnull[column];
			lost |= eddy_combining_is_lost(agg, old.isnull,
										   stored->tts_values[plan->aggs[agg->counter].state_column - 1]);
		}
		if (lost)
			partial.isnull = old.isnull = true;
		eddy_combine_stored(m->combiner, agg, &old, stored == NULL || lost, &partial, &new, NULL);
		result->tts_values[column] = new.value;
		result->tts_isnull[column] = new.isnull;
	}
	ExecStoreVirtualTuple(result);
}

static void
keep_pane(PaneMerge *m)
{
	EddyViewPlan *plan = m->plan;

	for (int i = 0; i < plan->naggs; i++)
	{
		m->group->tts_values[plan->nkeys + i] = m->partials[i].value;
		m->group->tts_isnull[plan->nkeys + i] = m->partials[i].isnull;
	}
	eddy_merge_keep(m->merge, m->group);
}

/* The current pane is complete: merges it with what is stored, again after each collision. */
static void
merge_pane(PaneMerge *m)
{
	TupleTableSlot *stored;

	if (eddy_merge_keeps(m->merge))
		keep_pane(m);
	if (eddy_merge_write_computed(m->merge, PANE_PANES))
		return;
	do
	{
		stored = eddy_merge_find(m->merge, PANE_PANES, m->keys, m->key_nulls);
		compute_result(m, stored);
	} while (!eddy_merge_store(m->merge, PANE_PANES, m->result));
}

static void
merge(EddyViewPlan *plan, EddyMerge *merge)
{
	PaneMerge	m = {.plan = plan, .merge = merge};
	bool		in_pane = false;
	TupleTableSlot *row;

	m.table = list_nth(plan->state_tables, PANE_PANES);
	m.combiner = eddy_combine_begin();
	m.group = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsVirtual);
	m.result = MakeSingleTupleTableSlot(eddy_merge_desc(merge, PANE_PANES), &TTSOpsVirtual);
	m.keys = palloc0(sizeof(Datum) * m.table->nkeys);
	m.key_nulls = palloc0(sizeof(bool) * m.table->nkeys);
	m.partials = palloc(sizeof(EddyState) * Max(plan->naggs, 1));
	while ((row = eddy_merge_next(merge)) != NULL)
	{
		if (in_pane && same_pane(&m, row))
			add_to_pane(&m, row);
		else
		{
			if (in_pane)
				merge_pane(&m);
			start_pane(&m, row);
			in_pane = true;
		}
	}
	if (in_pane)
		merge_pane(&m);
	ExecDropSingleTupleTableSlot(m.group);
	ExecDropSingleTupleTableSlot(m.result);
	eddy_combine_end(m.combiner);
}

/* True if all windows of a pane have closed. */
static bool
is_late(const EddyViewPlan *plan, EddyJudgment *judgment, TupleTableSlot *group)
{
	bool		isnull;
	Datum		end = slot_getattr(group, 1, &isnull);

	return eddy_panes_leave_out(plan->panes, judgment, isnull, DatumGetTimestampTz(end));
}

/* The query for rows of open windows, which are combined from panes (pane_scan.c). */
static void
append_reader(const EddyViewPlan *plan, StringInfo sql)
{
	const EddyStateTable *results = eddy_plan_main_table(plan);
	const EddyStateTable *panes = list_nth(plan->state_tables, PANE_PANES);
	const char *table = quote_qualified_identifier(EDDY_SCHEMA, get_rel_name(panes->relid));

	if (plan->on_close)
		return;
	appendStringInfoString(sql, " UNION ALL SELECT ");
	for (int i = 0; i < plan->noutputs; i++)
		appendStringInfo(sql, "%sw.%s", i > 0 ? ", " : "",
						 eddy_state_table_column_name(results, plan->outputs[i].column));
	appendStringInfo(sql, " FROM %s._open_windows(%s::pg_catalog.regclass) AS w (", EDDY_SCHEMA,
					 quote_literal_cstr(table));
	for (int i = 0; i < plan->noutputs; i++)
	{
		if (i > 0)
			appendStringInfoString(sql, ", ");
		eddy_state_table_append_column(sql, &results->columns[plan->outputs[i].column - 1]);
	}
	appendStringInfoChar(sql, ')');
}

/*
 * Rows that are late for a window are before its end: only these are paired with the windows, which
 * are many.
 */
static void
adapt_late_query(EddyViewPlan *plan, Query *query, TimestampTz until)
{
	RangeTblEntry *rte = rt_fetch(plan->panes->rti, query->rtable);
	FuncExpr   *windows = castNode(FuncExpr, eddy_chain_map(plan, copyObject(plan->panes->windows)));

	linitial_node(RangeTblFunction, rte->functions)->funcexpr = (Node *) windows;
	eddy_late_add_condition(query, linitial(windows->args), until);
}

const EddyViewKind eddy_kind_panes = {
	.name = "panes",
	.accepts = accepts,
	.suits = suits,
	.layout = layout,
	.make_delta = make_delta,
	.merge = merge,
	.is_late = is_late,
	.adapt_late_query = adapt_late_query,
	.append_reader = append_reader,
	.next_due = eddy_pane_next_due,
	.close = eddy_pane_close,
};

/*-------------------------------------------------------------------------
 *
 * kind_distinct_on.c
 *    Views with DISTINCT ON: the first row of each key, by the order of the query.
 *
 * Columns of the state table, in order:
 *
 *    columns of the view | keys that it does not show | columns of ORDER BY that it does not show
 *
 * The delta query is the definition itself, with all these columns: it gives the first row of each
 * key among those of the batch. It replaces the stored one if it precedes it by ORDER BY. So ORDER
 * BY key, time keeps the first row of each key, ORDER BY key, time DESC the last one. Of rows that
 * are equal by ORDER BY, the one that was stored stays, and without columns after the keys, the one
 * that came first.
 *
 * Locking: see upsert_write.c. Memory: one context that is reset for each key. A crash leaves
 * nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/sortsupport.h"

#include "monotonic.h"
#include "view/analyze.h"
#include "view/emit_every.h"
#include "view/kind.h"
#include "view/layout.h"
#include "view/ttl.h"

/* The one state table. */
#define STATE 0

/* One merge. */
typedef struct Choosing
{
	EddyViewPlan *plan;
	EddyMerge  *merge;
	SortSupport order;			/* of the columns of ORDER BY after the keys */
	MemoryContext mcxt;			/* holds the values of the current row */
	TupleTableSlot *first;		/* the first row of the current key, as a row of the delta */
	TupleTableSlot *result;		/* the version to be written */
	TimestampTz now;			/* of the merge */
} Choosing;

static bool
accepts(const Query *query)
{
	return query->hasDistinctOn && !query->hasAggs && query->groupClause == NIL &&
		query->havingQual == NULL;
}

/* ---- layout ---- */

static bool
is_key(const Query *query, Index ref)
{
	ListCell   *lc;

	foreach(lc, query->distinctClause)
		if (lfirst_node(SortGroupClause, lc)->tleSortGroupRef == ref)
			return true;
	return false;
}

/* The columns that decide which row is the first, after the keys. */
static void
analyze_order(EddyViewPlan *plan, Query *query)
{
	ListCell   *lc;

	plan->order = palloc0(sizeof(EddyOrder) * Max(list_length(query->sortClause), 1));
	foreach(lc, query->sortClause)
	{
		SortGroupClause *sort = lfirst_node(SortGroupClause, lc);
		Node	   *expr = get_sortgroupclause_expr(sort, query->targetList);
		EddyOrder  *order = &plan->order[plan->norder];

		if (is_key(query, sort->tleSortGroupRef))
			continue;
		plan->norder++;
		order->expr = (Expr *) expr;
		order->type = exprType(expr);
		order->typmod = exprTypmod(expr);
		order->collation = exprCollation(expr);
		order->sort_opr = sort->sortop;
		order->nulls_first = sort->nulls_first;
	}
}

/* The column of the view that shows an expression, 0 if there is none. */
static AttrNumber
find_output(const EddyViewPlan *plan, const Expr *expr)
{
	for (int i = 0; i < plan->noutputs; i++)
		if (equal(plan->outputs[i].expr, expr))
			return plan->outputs[i].column;
	return 0;
}

static void
layout(EddyViewPlan *plan, Query *query)
{
	EddyStateTable *table = palloc0(sizeof(EddyStateTable));

	eddy_analyze_keys(plan, query, query->distinctClause);
	plan->windowed = false;		/* rows of a window do not become final here */
	analyze_order(plan, query);
	eddy_analyze_rows(plan, query);
	table->suffix = "state";
	table->columns = palloc0(sizeof(EddyStateColumn) *
							 (plan->noutputs + plan->nkeys + plan->norder + 1 +
							  eddy_emit_max_columns(plan)));
	for (int i = 0; i < plan->noutputs; i++)
	{
		EddyOutput *output = &plan->outputs[i];

		output->index = plan->nkeys + plan->norder + i;
		output->column = eddy_layout_add(table, output->name, output->type, output->typmod,
									output->collation, false);
	}
	table->nkeys = plan->nkeys;
	table->keys = palloc0(sizeof(EddyStateKey) * plan->nkeys);
	for (int i = 0; i < plan->nkeys; i++)
	{
		EddyKey    *key = &plan->keys[i];

		key->column = find_output(plan, key->expr);
		for (int j = 0; j < i; j++)
			if (plan->keys[j].column == key->column)
				key->column = 0;	/* an index has each column once */
		if (key->column == 0)
			key->column = eddy_layout_add_hidden(table, psprintf("_key%d", i + 1), key->type, key->typmod,
									 key->collation, false);
		table->keys[i].column = key->column;
		table->keys[i].lt_opr = key->lt_opr;
		table->keys[i].collation = key->collation;
	}
	for (int i = 0; i < plan->norder; i++)
	{
		EddyOrder  *order = &plan->order[i];

		/* a column that is shown can be behind */
		order->column = plan->emit_interval > 0 ? 0 : find_output(plan, order->expr);
		if (order->column == 0)
			order->column = eddy_layout_add_hidden(table, psprintf("_order%d", i + 1), order->type,
									   order->typmod, order->collation, false);
	}
	eddy_emit_lay_out(plan, table);
	eddy_ttl_lay_out(plan, table);
	plan->state_tables = list_make1(table);
	plan->final_desc = CreateTemplateTupleDesc(0);
}

/* ---- the delta query ---- */

/* Adds a column to the select list of the delta query. */
static TargetEntry *
add_delta_column(EddyViewPlan *plan, Query *delta, const TargetEntry *like)
{
	TargetEntry *tle = flatCopyTargetEntry(unconstify(TargetEntry *, like));
	Node	   *expr = (Node *) tle->expr;

	tle->resno = list_length(delta->targetList) + 1;
	tle->resname = psprintf("c%d", tle->resno);
	tle->resjunk = false;
	tle->ressortgroupref = 0;
	delta->targetList = lappend(delta->targetList, tle);
	TupleDescInitEntry(plan->delta_desc, tle->resno, NULL, exprType(expr), exprTypmod(expr), 0);
	TupleDescInitEntryCollation(plan->delta_desc, tle->resno, exprCollation(expr));
	return tle;
}

static void
make_delta(EddyViewPlan *plan, Query *delta)
{
	List	   *tlist = delta->targetList;
	ListCell   *lc;

	plan->delta_desc = CreateTemplateTupleDesc(plan->nkeys + plan->norder + plan->noutputs);
	delta->targetList = NIL;
	for (int i = 0; i < plan->nkeys; i++)
	{
		SortGroupClause *clause = list_nth(delta->distinctClause, plan->keys[i].position);
		TargetEntry *like = get_sortgroupclause_tle(clause, tlist);

		add_delta_column(plan, delta, like)->ressortgroupref = like->ressortgroupref;
	}
	foreach(lc, delta->sortClause)
	{
		TargetEntry *like = get_sortgroupclause_tle(lfirst(lc), tlist);

		if (!is_key(delta, like->ressortgroupref))
			add_delta_column(plan, delta, like)->ressortgroupref = like->ressortgroupref;
	}
	foreach(lc, tlist)
		if (!lfirst_node(TargetEntry, lc)->resjunk)
			(void) add_delta_column(plan, delta, lfirst(lc));
}

/* ---- choosing ---- */

static bool
same_key(const Choosing *c, TupleTableSlot *row)
{
	EddyViewPlan *plan = c->plan;

	for (int i = 0; i < plan->nkeys; i++)
	{
		if (c->first->tts_isnull[i] != row->tts_isnull[i])
			return false;
		if (!row->tts_isnull[i] &&
			!DatumGetBool(FunctionCall2Coll(&plan->keys[i].eq, plan->keys[i].collation,
											c->first->tts_values[i], row->tts_values[i])))
			return false;
	}
	return true;
}

/* Makes a row of the delta the first row of the current key. */
static void
start(Choosing *c, TupleTableSlot *row)
{
	MemoryContext old;

	ExecClearTuple(c->first);
	MemoryContextReset(c->mcxt);
	old = MemoryContextSwitchTo(c->mcxt);
	for (int i = 0; i < row->tts_tupleDescriptor->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(row->tts_tupleDescriptor, i);

		c->first->tts_isnull[i] = row->tts_isnull[i];
		c->first->tts_values[i] = row->tts_isnull[i] ? (Datum) 0 :
			datumCopy(row->tts_values[i], att->attbyval, att->attlen);
	}
	ExecStoreVirtualTuple(c->first);
	MemoryContextSwitchTo(old);
}

/* True if a row of the delta precedes the first one. */
static bool
precedes_first(const Choosing *c, TupleTableSlot *row)
{
	for (int i = 0; i < c->plan->norder; i++)
	{
		int			column = c->plan->nkeys + i;
		int			order = ApplySortComparator(row->tts_values[column], row->tts_isnull[column],
												c->first->tts_values[column],
												c->first->tts_isnull[column], &c->order[i]);

		if (order != 0)
			return order < 0;
	}
	return false;
}

/* True if the first row of the current key precedes the one that is stored. */
static bool
precedes_stored(const Choosing *c, TupleTableSlot *stored)
{
	for (int i = 0; i < c->plan->norder; i++)
	{
		int			column = c->plan->nkeys + i;
		int			stored_column = c->plan->order[i].column - 1;
		int			order = ApplySortComparator(c->first->tts_values[column],
												c->first->tts_isnull[column],
												stored->tts_values[stored_column],
												stored->tts_isnull[stored_column], &c->order[i]);

		if (order != 0)
			return order < 0;
	}
	return false;
}

/* Copies a column of the first row to the result. */
static void
set_column(Choosing *c, AttrNumber column, int from)
{
	c->result->tts_values[column - 1] = c->first->tts_values[from];
	c->result->tts_isnull[column - 1] = c->first->tts_isnull[from];
}

/* Fills the result with what is to be stored of the current key. */
static void
compute_result(Choosing *c, TupleTableSlot *stored)
{
	EddyViewPlan *plan = c->plan;
	int			natts = c->result->tts_tupleDescriptor->natts;

	ExecClearTuple(c->result);
	if (stored && !precedes_stored(c, stored))
	{
		memcpy(c->result->tts_values, stored->tts_values, sizeof(Datum) * natts);
		memcpy(c->result->tts_isnull, stored->tts_isnull, sizeof(bool) * natts);
	}
	else
	{
		for (int i = 0; i < plan->noutputs; i++)
			set_column(c, eddy_emit_latest(&plan->outputs[i]), plan->outputs[i].index);
		for (int i = 0; i < plan->nkeys; i++)
			set_column(c, plan->keys[i].column, i);
		for (int i = 0; i < plan->norder; i++)
			set_column(c, plan->order[i].column, plan->nkeys + i);
	}
	eddy_emit_pace(plan, c->now, stored, c->result);
	eddy_ttl_touch(plan, c->now, stored, c->result);
	ExecStoreVirtualTuple(c->result);
}

/* The current key is complete: merges it with what is stored, again after each collision. */
static void
merge_key(Choosing *c)
{
	TupleTableSlot *stored;

	if (eddy_merge_keeps(c->merge))
		eddy_merge_keep(c->merge, c->first);
	if (eddy_merge_write_computed(c->merge, STATE))
		return;
	do
	{
		stored = eddy_merge_find(c->merge, STATE, c->first->tts_values, c->first->tts_isnull);
		compute_result(c, stored);
	} while (!eddy_merge_store(c->merge, STATE, c->result));
}

static void
begin(Choosing *c)
{
	EddyViewPlan *plan = c->plan;

	c->mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy first row",
									ALLOCSET_SMALL_SIZES);
	c->first = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsVirtual);
	c->result = MakeSingleTupleTableSlot(eddy_merge_desc(c->merge, STATE), &TTSOpsVirtual);
	c->now = plan->emit_interval > 0 || plan->idle_ttl > 0 ? eddy_wall_clock() : 0;
	c->order = palloc0(sizeof(SortSupportData) * Max(plan->norder, 1));
	for (int i = 0; i < plan->norder; i++)
	{
		c->order[i].ssup_cxt = CurrentMemoryContext;
		c->order[i].ssup_collation = plan->order[i].collation;
		c->order[i].ssup_nulls_first = plan->order[i].nulls_first;
		PrepareSortSupportFromOrderingOp(plan->order[i].sort_opr, &c->order[i]);
	}
}

static void
end(Choosing *c)
{
	ExecDropSingleTupleTableSlot(c->first);
	ExecDropSingleTupleTableSlot(c->result);
	MemoryContextDelete(c->mcxt);
}

static void
merge(EddyViewPlan *plan, EddyMerge *merge)
{
	Choosing	c = {.plan = plan, .merge = merge};
	bool		in_key = false;
	TupleTableSlot *row;

	begin(&c);
	while ((row = eddy_merge_next(merge)) != NULL)
	{
		if (in_key && same_key(&c, row))
		{
			if (precedes_first(&c, row))
				start(&c, row);
			continue;
		}
		if (in_key)
			merge_key(&c);
		start(&c, row);
		in_key = true;
	}
	if (in_key)
		merge_key(&c);
	end(&c);
}

const EddyViewKind eddy_kind_distinct_on = {
	.name = "distinct_on",
	.accepts = accepts,
	.layout = layout,
	.make_delta = make_delta,
	.merge = merge,
};

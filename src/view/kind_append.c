/*-------------------------------------------------------------------------
 *
 * kind_append.c
 *    Views without aggregates: each row of the stream appends the rows of its result.
 *
 * Columns of the state table, in order:
 *
 *    columns of the view | _row [ | _touched_at ]
 *
 * _row is the key, a UUID that the row gets here. Nothing else identifies it: joins can make
 * several rows of one message, messages can be counted again on purpose (eddy.seek), and rows of
 * users have no origin at all. That each message gives its rows exactly once is ensured by the
 * transaction, which also stores the offset. An ID consists of the time, random bits, both per
 * batch, and a counter: IDs are never used twice, also after a crash and in a copy of the database,
 * so that rows are inserted without searching the index; and neighbours in time are neighbours in
 * the index. A sequence would do the same, but would change lastval() of the session that inserts.
 *
 * The delta query is the definition itself, and all that can fail happens in it.
 *
 * Locking: see upsert_write.c; no row is ever waited for. Memory: the caller's. A crash leaves
 * nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/typcache.h"

#include "monotonic.h"
#include "view/analyze.h"
#include "view/kind.h"
#include "view/row_id.h"
#include "view/ttl.h"

/* The one state table. */
#define STATE 0

/* Every query that neither aggregates nor groups. */
static bool
accepts(const Query *query)
{
	return !query->hasAggs && query->groupClause == NIL && query->havingQual == NULL &&
		query->distinctClause == NIL;
}

/* ---- layout ---- */

/* _row, or a name that gives way to those of the view. */
static char *
choose_row_name(const EddyViewPlan *plan)
{
	char	   *name = "_row";

	for (int suffix = 1, i = 0; i < plan->noutputs; i++)
		if (strcmp(plan->outputs[i].name, name) == 0)
		{
			name = psprintf("_row_%d", suffix++);
			i = -1;
		}
	return name;
}

static void
layout(EddyViewPlan *plan, Query *query)
{
	EddyStateTable *table = palloc0(sizeof(EddyStateTable));
	EddyStateColumn *row;

	eddy_analyze_rows(plan, query);
	table->suffix = "state";
	table->append_only = true;
	table->ncolumns = plan->noutputs + 1;
	table->columns = palloc0(sizeof(EddyStateColumn) * (table->ncolumns + 1));
	for (int i = 0; i < plan->noutputs; i++)
	{
		plan->outputs[i].column = i + 1;
		table->columns[i].name = plan->outputs[i].name;
		table->columns[i].type = plan->outputs[i].type;
		table->columns[i].typmod = plan->outputs[i].typmod;
		table->columns[i].collation = plan->outputs[i].collation;
	}
	row = &table->columns[plan->noutputs];
	row->name = choose_row_name(plan);
	row->type = UUIDOID;
	row->typmod = -1;
	row->not_null = true;
	plan->row_column = table->ncolumns;
	eddy_ttl_lay_out(plan, table);

	table->nkeys = 1;
	table->keys = palloc0(sizeof(EddyStateKey));
	table->keys[0].column = plan->row_column;
	table->keys[0].lt_opr = lookup_type_cache(UUIDOID, TYPECACHE_LT_OPR)->lt_opr;
	plan->state_tables = list_make1(table);
	plan->final_desc = CreateTemplateTupleDesc(0);
}

/* ---- the delta query ---- */

static void
make_delta(EddyViewPlan *plan, Query *delta)
{
	List	   *tlist = NIL;
	ListCell   *lc;

	plan->delta_desc = CreateTemplateTupleDesc(plan->noutputs);
	foreach(lc, delta->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		EddyOutput *output = &plan->outputs[list_length(tlist)];

		if (tle->resjunk)
			continue;
		tlist = lappend(tlist, tle);
		tle->resno = list_length(tlist);
		TupleDescInitEntry(plan->delta_desc, tle->resno, NULL, output->type, output->typmod, 0);
		TupleDescInitEntryCollation(plan->delta_desc, tle->resno, output->collation);
	}
	delta->targetList = tlist;
}

/* ---- appending ---- */

static void
merge(EddyViewPlan *plan, EddyMerge *merge)
{
	TupleTableSlot *result;
	TupleTableSlot *row;
	TimestampTz now = eddy_wall_clock();
	EddyRowIds	ids;

	if (eddy_merge_append_computed(merge, STATE))
		return;
	result = MakeSingleTupleTableSlot(eddy_merge_desc(merge, STATE), &TTSOpsVirtual);
	eddy_row_ids_begin(&ids);
	while ((row = eddy_merge_next(merge)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		ExecClearTuple(result);
		memcpy(result->tts_values, row->tts_values, sizeof(Datum) * plan->noutputs);
		memcpy(result->tts_isnull, row->tts_isnull, sizeof(bool) * plan->noutputs);
		result->tts_values[plan->row_column - 1] = eddy_row_ids_next(&ids);
		result->tts_isnull[plan->row_column - 1] = false;
		eddy_ttl_touch(plan, now, NULL, result);
		eddy_merge_append(merge, STATE, ExecStoreVirtualTuple(result));
	}
	ExecDropSingleTupleTableSlot(result);
}

const EddyViewKind eddy_kind_append = {
	.name = "append",
	.accepts = accepts,
	.layout = layout,
	.make_delta = make_delta,
	.merge = merge,
};

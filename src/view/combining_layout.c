/*-------------------------------------------------------------------------
 *
 * combining_layout.c
 *    The state table and the delta query of views that combine transition states.
 *
 * Columns of the state table, in order:
 *
 *    columns of the view | keys that it does not show | states | result of HAVING | final | visible
 *
 * and those of emit_every.c and ttl.c
 *
 * A column of the view that is a bare group key or a bare aggregate also serves as the key or
 * the state, so most views have no hidden columns at all. A view without GROUP BY has one row,
 * whose key is a constant.
 *
 * The delta query is the definition with its group keys and bare aggregates as select list.
 *
 * Takes no locks. Memory: the plan's context, which is the current one. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "view/analyze.h"
#include "view/collect.h"
#include "view/emit_every.h"
#include "view/kind_combining.h"
#include "view/layout.h"
#include "view/ttl.h"

/* ---- layout ---- */

/* The columns of the view; those that are keys or final states serve as such. */
static void
lay_out_view_columns(EddyViewPlan *plan, EddyStateTable *table)
{
	for (int i = 0; i < plan->noutputs; i++)
	{
		EddyOutput *output = &plan->outputs[i];

		output->column = eddy_layout_add(table, output->name, output->type, output->typmod,
									output->collation, false);
		if (output->kind == EDDY_OUTPUT_KEY && plan->keys[output->index].column == 0)
			plan->keys[output->index].column = output->column;
		if (output->kind == EDDY_OUTPUT_AGGREGATE && plan->emit_interval == 0 &&
			plan->aggs[output->index].state_is_final &&
			plan->aggs[output->index].state_column == 0)
			plan->aggs[output->index].state_column = output->column;
	}
}

static void
lay_out_key(EddyViewPlan *plan, EddyStateTable *table)
{
	table->nkeys = Max(plan->nkeys, 1);
	table->keys = palloc0(sizeof(EddyStateKey) * table->nkeys);
	for (int i = 0; i < plan->nkeys; i++)
	{
		EddyKey    *key = &plan->keys[i];

		if (key->column == 0)
			key->column = eddy_layout_add_hidden(table, psprintf("_key%d", i + 1), key->type,
											key->typmod, key->collation, false);
		table->keys[i].column = key->column;
		table->keys[i].lt_opr = key->lt_opr;
		table->keys[i].collation = key->collation;
	}
	if (plan->nkeys == 0)
	{
		table->keys[0].column = eddy_layout_add_hidden(table, "_key", INT2OID, -1, InvalidOid, true);
		table->keys[0].lt_opr = lookup_type_cache(INT2OID, TYPECACHE_LT_OPR)->lt_opr;
	}
}

static void
lay_out_states(EddyViewPlan *plan, EddyStateTable *table)
{
	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];

		if (agg->state_column != 0)
			continue;
		agg->state_column = eddy_layout_add_hidden(table, psprintf("_state%d", i + 1),
											  agg->state_type, agg->state_typmod,
											  agg->state_is_final ?
											  agg->aggref->aggcollid :
											  get_typcollation(agg->state_type), false);
		table->columns[agg->state_column - 1].uncompressed = agg->internal &&
			!agg->state_is_final;
	}
}

static AttrNumber
add_mark(EddyStateTable *table, const char *name)
{
	return eddy_layout_add_hidden(table, name, BOOLOID, -1, InvalidOid, true);
}

/* What decides whether a row is in the view: HAVING, and with on_close that it is final. */
static void
lay_out_marks(EddyViewPlan *plan, EddyStateTable *table)
{
	bool		waits = plan->windowed && plan->on_close;
	bool		paced = plan->emit_interval > 0;
	/*
	 * a group without rows waits to be removed, and a session to be shown, as one that HAVING
	 * excludes
	 */
	bool		has_having = plan->having || (paced && (plan->retracts || plan->session));

	if (has_having)
		plan->having_column = add_mark(table, waits || paced ? "_having" : "_visible");
	if (plan->windowed)
		plan->final_column = add_mark(table, "_final");
	if (has_having && (waits || paced))
		plan->visible_column = add_mark(table, "_visible");
	else
		plan->visible_column = waits ? plan->final_column : plan->having_column;
}

/* Keys and final values: what expressions over groups read. */
static TupleDesc
make_final_desc(EddyViewPlan *plan)
{
	TupleDesc	desc = CreateTemplateTupleDesc(plan->nkeys + plan->naggs);

	for (int i = 0; i < plan->nkeys; i++)
	{
		TupleDescInitEntry(desc, i + 1, NULL, plan->keys[i].type, plan->keys[i].typmod, 0);
		TupleDescInitEntryCollation(desc, i + 1, plan->keys[i].collation);
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		Aggref	   *aggref = plan->aggs[i].aggref;

		TupleDescInitEntry(desc, plan->nkeys + i + 1, NULL, aggref->aggtype, -1, 0);
		TupleDescInitEntryCollation(desc, plan->nkeys + i + 1, aggref->aggcollid);
	}
	return desc;
}

/* What is known of the kept values of a group. */
static void
lay_out_collections(EddyViewPlan *plan, EddyStateTable *table)
{
	ListCell   *lc;

	if (plan->collections == NIL)
		return;
	plan->id_column = eddy_layout_add_hidden(table, "_id", UUIDOID, -1, InvalidOid, true);
	foreach(lc, plan->collections)
	{
		EddyCollection *collection = lfirst(lc);

		if (collection->kind == EDDY_COLLECT_COUNTS)
			collection->count_column = eddy_layout_add_hidden(table, "_inputs", INT8OID, -1, InvalidOid,
														 true);
		collection->nvalues_column = eddy_layout_add_hidden(table, "_values", INT8OID, -1, InvalidOid,
													   true);
	}
}

/*
 * eddy_combining_lay_out lays out the one state table of a view whose keys, aggregates and outputs
 * are known.
 */
void
eddy_combining_lay_out(EddyViewPlan *plan)
{
	EddyStateTable *table = palloc0(sizeof(EddyStateTable));

	table->suffix = "state";
	table->columns = palloc0(sizeof(EddyStateColumn) *
							 (plan->noutputs + plan->nkeys + plan->naggs + 6 +
							  2 * list_length(plan->collections) + eddy_emit_max_columns(plan)));
	lay_out_view_columns(plan, table);
	lay_out_key(plan, table);
	lay_out_states(plan, table);
	lay_out_marks(plan, table);
	lay_out_collections(plan, table);
	eddy_emit_lay_out(plan, table);
	eddy_ttl_lay_out(plan, table);
	plan->state_tables = list_make1(table);
	eddy_collect_lay_out_tables(plan);
	plan->final_desc = make_final_desc(plan);
}

/*
 * eddy_combining_lay_out_results lays out a main table without states, for kinds that keep them in
 * other tables.
 */
void
eddy_combining_lay_out_results(EddyViewPlan *plan)
{
	EddyStateTable *table = palloc0(sizeof(EddyStateTable));

	table->suffix = "state";
	table->columns = palloc0(sizeof(EddyStateColumn) * (plan->noutputs + plan->nkeys + 4));
	lay_out_view_columns(plan, table);
	lay_out_key(plan, table);
	lay_out_marks(plan, table);
	plan->state_tables = list_make1(table);
	plan->final_desc = make_final_desc(plan);
}

void
eddy_combining_layout(EddyViewPlan *plan, Query *query)
{
	eddy_analyze_groups(plan, query);
	eddy_combining_lay_out(plan);
}

/* ---- the delta query ---- */

/*
 * eddy_combining_has_values: true if the column of an aggregate in the delta has the values of its
 * collection.
 */
bool
eddy_combining_has_values(const EddyViewPlan *plan, int agg)
{
	return plan->aggs[agg].collection && linitial_int(plan->aggs[agg].collection->aggs) == agg;
}

/*
 * eddy_combining_partial_aggref returns a copy of an aggregate that combines, without DISTINCT and
 * ORDER BY: they have no effect on it, and combining would not respect them.
 */
Aggref *
eddy_combining_partial_aggref(const Aggref *original)
{
	Aggref	   *aggref = copyObject(unconstify(Aggref *, original));

	aggref->aggdistinct = NIL;
	aggref->aggorder = NIL;
	for (int i = list_length(aggref->args) - 1; i >= 0; i--)
		if (list_nth_node(TargetEntry, aggref->args, i)->resjunk)
			aggref->args = list_delete_nth_cell(aggref->args, i);
	return aggref;
}

/* eddy_combining_delta_expr returns what the delta query computes for an aggregate. */
Expr *
eddy_combining_delta_expr(const EddyViewPlan *plan, int i)
{
	if (eddy_combining_has_values(plan, i))
		return (Expr *) copyObject(plan->aggs[i].collection->input->aggref);
	if (plan->aggs[i].collection)
		return (Expr *) makeNullConst(BYTEAOID, -1, InvalidOid);
	if (plan->aggs[i].states)
		return (Expr *) copyObject(plan->aggs[i].states->aggref);
	return (Expr *) eddy_combining_partial_aggref(plan->aggs[i].aggref);
}

/*
 * True if the delta query can return final values of its aggregates: they are the transition
 * states, or accepted instead. A query returns one or the other for all.
 */
static bool
returns_finals(const EddyViewPlan *plan)
{
	for (int i = 0; i < plan->naggs; i++)
	{
		const EddyAggregate *agg = &plan->aggs[i];

		if (agg->collection || agg->states ||
			(!agg->partial_is_final && (agg->internal || agg->has_final)))
			return false;
	}
	return true;
}

/* eddy_combining_make_delta selects the keys and bare aggregates of a query that groups. */
void
eddy_combining_make_delta(EddyViewPlan *plan, Query *delta)
{
	List	   *tlist = NIL;

	plan->final_delta = returns_finals(plan);
	for (int i = 0; i < plan->naggs; i++)
		plan->aggs[i].partial_is_final &= plan->final_delta;

	plan->delta_desc = CreateTemplateTupleDesc(plan->nkeys + plan->naggs);
	for (int i = 0; i < plan->nkeys; i++)
	{
		EddyKey    *key = &plan->keys[i];
		SortGroupClause *clause = list_nth(delta->groupClause, key->position);
		TargetEntry *tle = flatCopyTargetEntry(get_sortgroupclause_tle(clause,
																	   delta->targetList));

		tle->resno = list_length(tlist) + 1;
		tle->resname = psprintf("k%d", tle->resno);
		tle->resjunk = false;
		tlist = lappend(tlist, tle);
		TupleDescInitEntry(plan->delta_desc, tle->resno, NULL, key->type, key->typmod, 0);
		TupleDescInitEntryCollation(plan->delta_desc, tle->resno, key->collation);
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];
		AttrNumber	resno = list_length(tlist) + 1;

		tlist = lappend(tlist, makeTargetEntry(eddy_combining_delta_expr(plan, i), resno,
											   psprintf("a%d", i + 1), false));
		TupleDescInitEntry(plan->delta_desc, resno, NULL,
						   agg->collection || agg->states ? BYTEAOID :
						   agg->partial_is_final ? agg->aggref->aggtype : agg->partial_type, -1,
						   0);
	}
	delta->targetList = tlist;
	delta->havingQual = NULL;
	delta->hasSubLinks |= plan->combines;
	delta->hasAggs = (plan->naggs > 0);
}

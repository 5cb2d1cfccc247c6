/*-------------------------------------------------------------------------
 *
 * keep.c
 *    Keeps the results of a continuous view when its query is replaced.
 *
 * The state of the old query serves the new one if both read the same rows and group them by the
 * same expressions. Then each row of the main state table becomes one of the new table:
 *
 *   keys          are those of the old row
 *   aggregates    that the old query has as well have the state of the old row; others begin as if
 *                 the group had no rows yet
 *   columns       that the old query computes by the same expression are copied; others, and HAVING, are
 *                 computed from keys and aggregates
 *   kept values   remain in their tables, which become those of the new query
 *
 * Transition states of windows that accept no rows any more may have been removed. A column that
 * needs one of these, whose result the old view does not show, is NULL for such windows, and HAVING
 * leaves them as they were.
 *
 * If only the part of the query that is applied when reading differs, all tables remain as they
 * are; then the kind of the view does not matter.
 *
 * Batches continue to maintain the old state meanwhile, so groups that they have changed are
 * converted again, the last ones when the caller has locked writers out.
 *
 * Locking: RowExclusiveLock on the state tables. Memory: one context, which is reset for each
 * group. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "owner.h"
#include "rows_since.h"
#include "view/analyze.h"
#include "view/collect.h"
#include "view/combine.h"
#include "view/function.h"
#include "view/keep.h"
#include "view/kind.h"
#include "view/kind_combining.h"

/* ---- the rows that a query reads ---- */

/* Removes names and privileges, which do not matter for what a query reads. */
static bool
strip_names(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		/* names of columns include those that were added to a table since */
		rte->alias = rte->eref = rte->join_using_alias = NULL;
		rte->joinaliasvars = rte->joinleftcols = rte->joinrightcols = NIL;
		eddy_compat_strip_privileges(rte);
		return false;
	}
	/* of a sub-select, whose columns can be those that were renamed */
	if (IsA(node, TargetEntry))
		((TargetEntry *) node)->resname = NULL;
	if (IsA(node, Query))
	{
		eddy_compat_strip_query_privileges((Query *) node);
		return query_tree_walker((Query *) node, strip_names, context,
								 QTW_EXAMINE_RTES_BEFORE);
	}
	return expression_tree_walker(node, strip_names, context);
}

/* FROM and WHERE of a definition, for the rows of a stream, as a query that can be compared. */
static Query *
get_row_source(Query *definition, Oid stream)
{
	Query	   *flat = eddy_function_guard_times(eddy_analyze_flatten(definition, stream));
	Query	   *source = makeNode(Query);

	source->commandType = CMD_SELECT;
	source->rtable = flat->rtable;
	source->jointree = flat->jointree;
	source->cteList = flat->cteList;
	(void) strip_names((Node *) source, NULL);
	return source;
}

/* ---- comparing the definitions ---- */

static bool
same_row_sources(Query *old_definition, Query *new_definition, List *streams)
{
	ListCell   *lc;

	foreach(lc, streams)
		if (!equal(get_row_source(old_definition, lfirst_oid(lc)),
				   get_row_source(new_definition, lfirst_oid(lc))))
			return false;
	return true;
}

static bool
same_type(const EddyOutput *a, const EddyOutput *b)
{
	return a->type == b->type && a->typmod == b->typmod && a->collation == b->collation;
}

/* The same keys, in any order; not before the first one is one that closes. */
static bool
match_keys(EddyKeep *keep)
{
	EddyViewPlan *old = keep->old;
	EddyViewPlan *new = keep->new;

	keep->keys = palloc(sizeof(int) * Max(new->nkeys, 1));
	if (old->nkeys != new->nkeys || old->windowed != new->windowed)
		return false;
	for (int i = 0; i < new->nkeys; i++)
	{
		int			j = 0;

		while (j < old->nkeys && !equal(new->keys[i].expr, old->keys[j].expr))
			j++;
		if (j == old->nkeys)
			return false;
		keep->keys[i] = j;
	}
	return true;
}

/* True if the values that an aggregate needs are kept for others. */
static bool
has_old_collection(const EddyKeep *keep, const EddyCollection *collection,
				   const EddyCollection **found)
{
	ListCell   *lc;

	foreach(lc, keep->old->collections)
	{
		const EddyCollection *old = lfirst(lc);

		if (old->kind == collection->kind && equal(old->exprs, collection->exprs) &&
			equal(old->filter, collection->filter))
		{
			*found = old;
			return true;
		}
	}
	return false;
}

/* False, with the reason, if an aggregate that is new cannot begin now. */
static bool
match_aggregates(EddyKeep *keep, const char **reason)
{
	EddyViewPlan *old = keep->old;
	EddyViewPlan *new = keep->new;

	keep->aggs = palloc(sizeof(int) * Max(new->naggs, 1));
	for (int i = 0; i < new->naggs; i++)
	{
		const EddyAggregate *agg = &new->aggs[i];
		const EddyCollection *found;
		int			j = 0;

		while (j < old->naggs && !equal(agg->aggref, old->aggs[j].aggref))
			j++;
		keep->aggs[i] = j < old->naggs ? j : -1;
		if (j < old->naggs)
			continue;
		keep->adds = true;
		if (agg->collection &&
			(agg->aggref->aggkind == AGGKIND_HYPOTHETICAL ||
			 has_old_collection(keep, agg->collection, &found)))
		{
			*reason = psprintf("Aggregate \"%s\" is new, and would have to be computed from the values of all rows.",
							   get_func_name(agg->aggref->aggfnoid));
			return false;
		}
	}
	return true;
}

typedef struct TermsContext
{
	EddyKeep   *keep;
	bool		failed;
} TermsContext;

/* An expression over keys and aggregates of the new query, as one over those of the old query. */
static Node *
to_old_terms(Node *node, TermsContext *context)
{
	EddyKeep   *keep = context->keep;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var		   *var = copyObject((Var *) node);
		int			i = var->varattno - 1;

		if (i < keep->new->nkeys)
			var->varattno = keep->keys[i] + 1;
		else if (keep->aggs[i - keep->new->nkeys] >= 0)
			var->varattno = keep->old->nkeys + keep->aggs[i - keep->new->nkeys] + 1;
		else
			context->failed = true;
		return (Node *) var;
	}
	return expression_tree_mutator(node, to_old_terms, context);
}

/* True if two expressions, the first one of the new query, are the same. */
static bool
same_expression(EddyKeep *keep, Expr *new, Expr *old)
{
	TermsContext context = {keep, false};
	Node	   *translated = to_old_terms((Node *) new, &context);

	return !context.failed && equal(translated, old);
}

static void
match_outputs(EddyKeep *keep, bool grouped)
{
	EddyViewPlan *old = keep->old;
	EddyViewPlan *new = keep->new;

	keep->outputs = palloc(sizeof(int) * Max(new->noutputs, 1));
	for (int i = 0; i < new->noutputs; i++)
	{
		keep->outputs[i] = -1;
		for (int j = 0; j < old->noutputs && keep->outputs[i] < 0; j++)
			if (same_type(&new->outputs[i], &old->outputs[j]) &&
				(grouped ? same_expression(keep, new->outputs[i].expr, old->outputs[j].expr) :
				 equal(new->outputs[i].expr, old->outputs[j].expr)))
				keep->outputs[i] = j;
	}
	keep->having = grouped && new->having && old->having &&
		same_expression(keep, new->having, old->having);
}

/* ---- tables that serve as they are ---- */

static bool
same_table(const EddyStateTable *a, const EddyStateTable *b)
{
	if (a->ncolumns != b->ncolumns || a->nkeys != b->nkeys)
		return false;
	for (int i = 0; i < a->ncolumns; i++)
		if (strcmp(a->columns[i].name, b->columns[i].name) != 0 ||
			a->columns[i].type != b->columns[i].type ||
			a->columns[i].typmod != b->columns[i].typmod ||
			a->columns[i].collation != b->columns[i].collation)
			return false;
	for (int i = 0; i < a->nkeys; i++)
		if (a->keys[i].column != b->keys[i].column)
			return false;
	return true;
}

static bool
same_orders(const EddyViewPlan *a, const EddyViewPlan *b)
{
	if (a->norder != b->norder)
		return false;
	for (int i = 0; i < a->norder; i++)
		if (!equal(a->order[i].expr, b->order[i].expr) ||
			a->order[i].sort_opr != b->order[i].sort_opr ||
			a->order[i].nulls_first != b->order[i].nulls_first)
			return false;
	return true;
}

/* True if what is maintained is the same in both definitions, whose rows are. */
static bool
same_state(const EddyViewPlan *old, const EddyViewPlan *new)
{
	ListCell   *lc;
	ListCell   *lo;

	if (old->kind != new->kind || old->nkeys != new->nkeys || old->naggs != new->naggs ||
		old->noutputs != new->noutputs || !equal(old->having, new->having) ||
		!same_orders(old, new) ||
		list_length(old->state_tables) != list_length(new->state_tables))
		return false;
	for (int i = 0; i < new->nkeys; i++)
		if (!equal(old->keys[i].expr, new->keys[i].expr))
			return false;
	for (int i = 0; i < new->naggs; i++)
		if (!equal(old->aggs[i].aggref, new->aggs[i].aggref))
			return false;
	for (int i = 0; i < new->noutputs; i++)
		if (!equal(old->outputs[i].expr, new->outputs[i].expr))
			return false;
	forboth(lc, new->state_tables, lo, old->state_tables)
		if (!same_table(lfirst(lc), lfirst(lo)))
			return false;
	return true;
}

/* Tables of kept values serve the new query. */
static void
take_value_tables(EddyKeep *keep)
{
	ListCell   *lc;

	foreach(lc, keep->new->collections)
	{
		EddyCollection *collection = lfirst(lc);
		const EddyCollection *old;

		if (has_old_collection(keep, collection, &old))
			((EddyStateTable *) list_nth(keep->new->state_tables, collection->table))->relid =
				((EddyStateTable *) list_nth(keep->old->state_tables, old->table))->relid;
	}
}

static void
take_all_tables(EddyKeep *keep)
{
	ListCell   *lc;
	ListCell   *lo;

	forboth(lc, keep->new->state_tables, lo, keep->old->state_tables)
		((EddyStateTable *) lfirst(lc))->relid = ((EddyStateTable *) lfirst(lo))->relid;
}

/* Kinds whose main table has, for each group, keys, states and columns. */
static bool
has_group_rows(const EddyViewKind *kind)
{
	return kind == &eddy_kind_combining || kind == &eddy_kind_collected ||
		kind == &eddy_kind_session;
}

static bool
can_convert(const EddyViewPlan *old, const EddyViewPlan *new)
{
	if (old->kind == &eddy_kind_session || new->kind == &eddy_kind_session)
		return old->kind == new->kind;
	return has_group_rows(old->kind) && has_group_rows(new->kind);
}

EddyKeep *
eddy_keep_compare(EddyViewPlan *old, Query *old_definition, EddyViewPlan *new,
				  Query *new_definition, const char **reason)
{
	EddyKeep   *keep = palloc0(sizeof(EddyKeep));

	keep->old = old;
	keep->new = new;
	if (!equal(old->streams, new->streams))
	{
		*reason = list_length(old->streams) > 1 || list_length(new->streams) > 1 ?
			"The new query reads other streams." : "The new query reads another stream.";
		return NULL;
	}
	if (!same_row_sources(old_definition, new_definition, new->streams))
	{
		*reason = "The new query reads other rows: its FROM clause or its WHERE condition differs.";
		return NULL;
	}
	if (same_state(old, new))
	{
		keep->same = true;
		take_all_tables(keep);
		return keep;
	}
	if (old->emit_interval > 0 || old->idle_ttl > 0)
	{
		*reason = "With emit => 'every ...' and idle_ttl, the rows that are kept serve only the same columns and conditions.";
		return NULL;
	}
	if (old->kind == &eddy_kind_append && new->kind == &eddy_kind_append)
	{
		match_outputs(keep, false);
		return keep;
	}
	if (!can_convert(old, new))
	{
		if (old->kind == new->kind)
			*reason = old->panes ?
				"Overlapping windows are stored in parts, which serve only the same columns and conditions." :
				"The rows that are kept serve only the same columns and the same order.";
		else
			*reason = "The new query is maintained in another way.";
		return NULL;
	}
	if (!match_keys(keep))
	{
		*reason = "The new query groups by other expressions.";
		return NULL;
	}
	if (!match_aggregates(keep, reason))
		return NULL;
	match_outputs(keep, true);
	take_value_tables(keep);
	return keep;
}

/* ---- converting rows ---- */

typedef struct Conversion
{
	EddyKeep   *keep;
	EddyCombiner *combiner;
	ExprContext *econtext;
	TupleTableSlot *finals;		/* keys and final values, for expressions */
	TupleTableSlot *result;
	EddyState  *initial;		/* for each aggregate, the state of no rows */
	bool	   *unknown;		/* for each aggregate of the current row: its state was removed */
	bool		any_unknown;
	TimestampTz forgotten_until;
	EddyUpsert *from;
	EddyUpsert *to;
} Conversion;

/* What the delta query gives for an aggregate over no rows. */
static EddyState
get_initial_state(const EddyAggregate *agg)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(agg->aggref->aggfnoid));
	EddyState	state = {(Datum) 0, true};
	Datum		initial;
	Oid			input;
	Oid			param;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", agg->aggref->aggfnoid);
	initial = SysCacheGetAttr(AGGFNOID, tuple, Anum_pg_aggregate_agginitval, &state.isnull);
	if (!state.isnull)
	{
		getTypeInputInfo(agg->transtype, &input, &param);
		state.value = OidInputFunctionCall(input, TextDatumGetCString(initial), param, -1);
	}
	ReleaseSysCache(tuple);
	return state;
}

static void
set_value(TupleTableSlot *to, AttrNumber column, Datum value, bool isnull)
{
	to->tts_values[column - 1] = value;
	to->tts_isnull[column - 1] = isnull;
}

static void
copy_value(TupleTableSlot *to, AttrNumber column, TupleTableSlot *from, AttrNumber from_column)
{
	set_value(to, column, from->tts_values[from_column - 1], from->tts_isnull[from_column - 1]);
}

static void
convert_keys(Conversion *c, TupleTableSlot *row)
{
	EddyViewPlan *new = c->keep->new;

	for (int i = 0; i < new->nkeys; i++)
	{
		AttrNumber	from = c->keep->old->keys[c->keep->keys[i]].column;

		copy_value(c->result, new->keys[i].column, row, from);
		copy_value(c->finals, i + 1, row, from);
	}
	if (new->nkeys == 0)
		set_value(c->result, eddy_plan_main_table(new)->keys[0].column, Int16GetDatum(0), false);
}

/* True if the states of a row that the old view does not show may have been removed. */
static bool
is_forgotten(Conversion *c, TupleTableSlot *row)
{
	EddyViewPlan *old = c->keep->old;
	AttrNumber	end;

	if (!old->windowed || !DatumGetBool(row->tts_values[old->final_column - 1]))
		return false;
	end = old->keys[0].column;
	return !row->tts_isnull[end - 1] &&
		DatumGetTimestampTz(row->tts_values[end - 1]) <= c->forgotten_until;
}

/* The column of the old view that shows an aggregate, 0 if there is none. */
static AttrNumber
find_shown(const EddyViewPlan *plan, int agg)
{
	for (int i = 0; i < plan->noutputs; i++)
		if (plan->outputs[i].kind == EDDY_OUTPUT_AGGREGATE && plan->outputs[i].index == agg)
			return plan->outputs[i].column;
	return InvalidAttrNumber;
}

/*
 * A state that was removed because its group accepts no rows any more. The final value is known if
 * the old view shows it.
 */
static void
convert_forgotten(Conversion *c, int i, TupleTableSlot *row)
{
	EddyViewPlan *new = c->keep->new;
	int			j = c->keep->aggs[i];
	AttrNumber	shown = find_shown(c->keep->old, j);

	copy_value(c->result, new->aggs[i].state_column, row, c->keep->old->aggs[j].state_column);
	if (shown)
		copy_value(c->finals, new->nkeys + i + 1, row, shown);
	else
		set_value(c->finals, new->nkeys + i + 1, (Datum) 0, true);
	c->unknown[i] = shown == InvalidAttrNumber;
	c->any_unknown |= c->unknown[i];
}

/*
 * The state of an aggregate in a row of the old table; one that is new there has the initial state.
 */
static EddyState
read_state(Conversion *c, int i, TupleTableSlot *row)
{
	EddyState	state = c->initial[i];
	int			j = c->keep->aggs[i];

	if (j >= 0)
	{
		AttrNumber	column = c->keep->old->aggs[j].state_column;

		state.value = row->tts_values[column - 1];
		state.isnull = row->tts_isnull[column - 1];
	}
	return state;
}

static void
convert_state(Conversion *c, int i, TupleTableSlot *row, bool forgotten)
{
	EddyViewPlan *new = c->keep->new;
	EddyAggregate *agg = &new->aggs[i];
	int			j = c->keep->aggs[i];
	EddyState	old = read_state(c, i, row);
	EddyState	none = {(Datum) 0, true};
	EddyState	stored = old;
	EddyState	final = old;

	c->unknown[i] = false;
	if (forgotten && j >= 0)
	{
		convert_forgotten(c, i, row);
		return;
	}
	if (j < 0 && agg->from_all)
		stored = final = none;
	else if (j < 0)
		eddy_combine_stored(c->combiner, agg, &none, true, &c->initial[i], &stored, &final);
	else if (!agg->from_all)
	{
		bool		lost = eddy_combining_is_lost(agg, old.isnull,
												  read_state(c, agg->counter, row).value);

		/* as when a batch has no rows for it; a state that is lost does not combine */
		eddy_combine_stored(c->combiner, agg, &old, lost, lost ? &none : &c->initial[i], &stored,
							&final);
	}
	set_value(c->result, agg->state_column, stored.value, stored.isnull);
	set_value(c->finals, new->nkeys + i + 1, final.value, final.isnull);
}

/* Identity and numbers of kept values. */
static void
convert_collections(Conversion *c, TupleTableSlot *row)
{
	EddyViewPlan *old = c->keep->old;
	EddyViewPlan *new = c->keep->new;
	ListCell   *lc;

	if (new->id_column == InvalidAttrNumber)
		return;
	if (old->id_column)
		copy_value(c->result, new->id_column, row, old->id_column);
	else
		set_value(c->result, new->id_column,
				  DirectFunctionCall1(gen_random_uuid, Int32GetDatum(0)), false);
	foreach(lc, new->collections)
	{
		const EddyCollection *collection = lfirst(lc);
		const EddyCollection *from = NULL;

		(void) has_old_collection(c->keep, collection, &from);
		if (from)
			copy_value(c->result, collection->nvalues_column, row, from->nvalues_column);
		else
			set_value(c->result, collection->nvalues_column, Int64GetDatum(0), false);
		if (collection->kind != EDDY_COLLECT_COUNTS)
			continue;
		if (from)
			copy_value(c->result, collection->count_column, row, from->count_column);
		else
			set_value(c->result, collection->count_column, Int64GetDatum(0), false);
	}
}

/* True if an expression over the group needs a state that was removed. */
static bool
needs_unknown(Conversion *c, Expr *expr)
{
	Bitmapset  *columns = NULL;
	bool		result = false;

	if (!c->any_unknown)
		return false;
	pull_varattnos((Node *) expr, 1, &columns);
	for (int i = 0; i < c->keep->new->naggs; i++)
		result |= c->unknown[i] &&
			bms_is_member(c->keep->new->nkeys + i + 1 - FirstLowInvalidHeapAttributeNumber,
						  columns);
	bms_free(columns);
	return result;
}

static void
convert_outputs(Conversion *c, TupleTableSlot *row)
{
	EddyViewPlan *old = c->keep->old;
	EddyViewPlan *new = c->keep->new;

	c->econtext->ecxt_scantuple = c->finals;
	for (int i = 0; i < new->noutputs; i++)
	{
		EddyOutput *output = &new->outputs[i];
		int			column = output->column - 1;

		if (c->keep->outputs[i] >= 0)
			copy_value(c->result, output->column, row, old->outputs[c->keep->outputs[i]].column);
		else if (output->kind != EDDY_OUTPUT_EXPRESSION)
			copy_value(c->result, output->column, c->finals,
					   (output->kind == EDDY_OUTPUT_KEY ? 0 : new->nkeys) + output->index + 1);
		else if (needs_unknown(c, output->expr))
			set_value(c->result, output->column, (Datum) 0, true);
		else
			c->result->tts_values[column] =
				ExecEvalExprSwitchContext(output->state, c->econtext,
										  &c->result->tts_isnull[column]);
	}
	if (new->having)
	{
		bool		visible = true;
		bool		isnull;

		if (!c->keep->having && !needs_unknown(c, new->having))
		{
			Datum		value = ExecEvalExprSwitchContext(new->having_state, c->econtext, &isnull);

			visible = !isnull && DatumGetBool(value);
		}
		else if (old->having_column)
			visible = DatumGetBool(row->tts_values[old->having_column - 1]);
		set_value(c->result, new->having_column, BoolGetDatum(visible), false);
	}
	if (new->windowed)
		eddy_combining_mark(new, c->result,
							DatumGetBool(row->tts_values[old->final_column - 1]));
}

static void
convert_group(Conversion *c, TupleTableSlot *row)
{
	bool		forgotten = is_forgotten(c, row);

	MemoryContextReset(c->combiner->mcxt);
	ResetExprContext(c->econtext);
	ExecClearTuple(c->finals);
	c->any_unknown = false;
	convert_keys(c, row);
	for (int i = 0; i < c->keep->new->naggs; i++)
		convert_state(c, i, row, forgotten);
	ExecStoreVirtualTuple(c->finals);
	convert_collections(c, row);
	convert_outputs(c, row);
}

/* A row of a view that appends: columns that the old view did not have are NULL. */
static void
convert_row(Conversion *c, TupleTableSlot *row)
{
	EddyKeep   *keep = c->keep;

	for (int i = 0; i < keep->new->noutputs; i++)
		if (keep->outputs[i] >= 0)
			copy_value(c->result, keep->new->outputs[i].column, row,
					   keep->old->outputs[keep->outputs[i]].column);
	copy_value(c->result, keep->new->row_column, row, keep->old->row_column);
}

/* Makes c->result the new row of an old one. */
static void
convert(Conversion *c, TupleTableSlot *row)
{
	ExecClearTuple(c->result);
	memset(c->result->tts_isnull, true, sizeof(bool) * eddy_upsert_desc(c->to)->natts);
	if (c->keep->new->row_column != InvalidAttrNumber)
		convert_row(c, row);
	else
		convert_group(c, row);
	ExecStoreVirtualTuple(c->result);
}

static void
convert_rows(Conversion *c)
{
	TupleTableSlot *row;

	eddy_upsert_seek(c->from, 0, NULL, NULL);
	while ((row = eddy_upsert_next(c->from)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		convert(c, row);
		eddy_upsert_add(c->to, c->result);
	}
	eddy_upsert_flush(c->to);
}

/* The row of a state table with the key that another row of its shape has, or NULL. */
static TupleTableSlot *
find_same(EddyUpsert *upsert, const EddyStateTable *table, TupleTableSlot *row)
{
	Datum		keys[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	for (int i = 0; i < table->nkeys; i++)
	{
		AttrNumber	column = eddy_upsert_order(table)[i].column;

		keys[i] = row->tts_values[column - 1];
		nulls[i] = row->tts_isnull[column - 1];
	}
	return eddy_upsert_find(upsert, keys, nulls);
}

/* A version of an old row that has appeared or vanished. */
static void
convert_changed(TupleTableSlot *row, bool present, void *arg)
{
	Conversion *c = arg;
	TupleTableSlot *stored;
	bool		ok;

	/* the new version of the same row has appeared as well */
	if (!present && find_same(c->from, eddy_plan_main_table(c->keep->old), row) != NULL)
		return;
	convert(c, row);
	stored = find_same(c->to, eddy_plan_main_table(c->keep->new), c->result);
	if (present && stored)
		ok = eddy_upsert_update(c->to, &stored->tts_tid, c->result);
	else if (present)
		ok = eddy_upsert_insert(c->to, c->result);
	else
		ok = stored == NULL || eddy_upsert_delete(c->to, &stored->tts_tid);
	if (!ok)
		elog(ERROR, "state table was written by another transaction");
}

static void
begin_conversion(Conversion *c, EddyKeep *keep, EddyOwnerSwitch *save)
{
	EddyViewPlan *new = keep->new;
	EddyViewProgress *progress = eddy_catalog_get_view_progress(new->view);

	memset(c, 0, sizeof(Conversion));
	c->keep = keep;
	c->forgotten_until = progress ? progress->forgotten_until : DT_NOBEGIN;
	eddy_owner_begin(save, new->owner);
	c->combiner = eddy_combine_begin();
	c->econtext = CreateStandaloneExprContext();
	c->finals = MakeSingleTupleTableSlot(new->final_desc, &TTSOpsVirtual);
	c->initial = palloc(sizeof(EddyState) * Max(new->naggs, 1));
	c->unknown = palloc0(sizeof(bool) * Max(new->naggs, 1));
	for (int i = 0; i < new->naggs; i++)
		c->initial[i] = get_initial_state(&new->aggs[i]);
	c->from = eddy_upsert_open(eddy_plan_main_table(keep->old), new->name);
	c->to = eddy_upsert_open(eddy_plan_main_table(new), new->name);
	c->result = MakeSingleTupleTableSlot(eddy_upsert_desc(c->to), &TTSOpsVirtual);
}

static void
end_conversion(Conversion *c, EddyOwnerSwitch *save)
{
	ExecDropSingleTupleTableSlot(c->result);
	eddy_upsert_close(c->to);
	eddy_upsert_close(c->from);
	ExecDropSingleTupleTableSlot(c->finals);
	FreeExprContext(c->econtext, true);
	eddy_combine_end(c->combiner);
	eddy_owner_end(save);
	CommandCounterIncrement();
}

void
eddy_keep_convert(EddyKeep *keep)
{
	Conversion	c;
	EddyOwnerSwitch save;

	begin_conversion(&c, keep, &save);
	convert_rows(&c);
	end_conversion(&c, &save);
}

int64
eddy_keep_convert_changed(EddyKeep *keep, Snapshot since)
{
	Conversion	c;
	EddyOwnerSwitch save;
	Relation	rel = table_open(eddy_plan_main_table(keep->old)->relid, AccessShareLock);
	int64		changed;

	begin_conversion(&c, keep, &save);
	changed = eddy_rows_changed_since(rel, since, GetActiveSnapshot(), convert_changed, &c);
	end_conversion(&c, &save);
	table_close(rel, NoLock);
	return changed;
}

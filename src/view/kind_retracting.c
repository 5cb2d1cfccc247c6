/*-------------------------------------------------------------------------
 *
 * kind_retracting.c
 *    Views whose source takes rows back: they group the rows of a view that change.
 *
 * When a row of the source changes, its old version is taken back and its new one is added. The
 * state table is that of the kind "combining", with the number of rows of each group: a group
 * without rows is removed. Aggregates are maintained in two ways:
 *
 * - count, and sum and avg of integers and numerics: what is taken back is subtracted. sum and avg
 *   become expressions over eddy._exact_sum, for which this is exact.
 * - all others: the values of the group are kept with their numbers (collect.h), and the aggregate
 *   is computed from them when they change. Its result must not depend on the order of its input.
 *
 * The delta query also groups by whether rows are added or taken back, which a scan of a batch
 * returns as tableoid; so there are several rows of the delta for each group.
 *
 * Rows on which an expression over the row fails become dead letters when they are added, and fail
 * in the same way when they are taken back. An error that depends on the other rows of the group
 * suspends the view: which rows it has counted would not be known.
 *
 * Locking: see upsert_write.c. Memory: one context that is reset for each group. A crash leaves
 * nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_clause.h"
#include "parser/parse_coerce.h"
#include "parser/parse_func.h"
#include "parser/parse_oper.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "monotonic.h"
#include "view/analyze.h"
#include "view/collect.h"
#include "view/combine.h"
#include "view/emit_every.h"
#include "view/kind.h"
#include "view/kind_combining.h"
#include "view/kind_retracting.h"
#include "view/scan.h"
#include "view/session.h"

/* The main state table. */
#define STATE 0

/* Rows of a batch that are added, or taken back, in one group. */
typedef struct Partials
{
	bool		exist;
	EddyState  *states;			/* of each aggregate */
} Partials;

/* One merge. */
typedef struct Retracting
{
	EddyViewPlan *plan;
	EddyMerge  *merge;
	const EddyStateTable *table;
	EddyCombiner *combiner;
	EddyCollector *collector;	/* NULL: no aggregate needs its values */
	ExprContext *econtext;
	TupleTableSlot *group;		/* a part of the current group as a row of the delta */
	TupleTableSlot *finals;		/* keys and final values, for expressions */
	TupleTableSlot *result;		/* the version to be written */
	TimestampTz now;			/* of the merge */

	/* the current group; by-reference values live in combiner->mcxt */
	Datum	   *keys;			/* of the state table */
	bool	   *key_nulls;
	Partials	added;
	Partials	removed;
} Retracting;

/* ---- which views ---- */

/* Chosen by eddy_kind_choose_for, by the source. */
static bool
accepts(const Query *query pg_attribute_unused())
{
	return false;
}

static bool
suits(const EddyViewPlan *policy, const Query *query, Index stream_rti pg_attribute_unused())
{
	return policy->retracts && (query->hasAggs || query->groupClause != NIL);
}

/* ---- sum and avg ---- */

static bool
is_sum(Oid funcid)
{
	switch (funcid)
	{
		case F_SUM_INT2:
		case F_SUM_INT4:
		case F_SUM_INT8:
		case F_SUM_NUMERIC:
		case F_AVG_INT2:
		case F_AVG_INT4:
		case F_AVG_INT8:
		case F_AVG_NUMERIC:
			return true;
		default:
			return false;
	}
}

/* The function that returns the result of an aggregate from the state of eddy._exact_sum. */
static const char *
result_function(Oid funcid)
{
	switch (funcid)
	{
		case F_SUM_INT2:
		case F_SUM_INT4:
			return "_exact_sum_bigint";
		case F_SUM_INT8:
		case F_SUM_NUMERIC:
			return "_exact_sum_numeric";
		default:
			return "_exact_sum_avg";
	}
}

static Oid
find_function(const char *name, Oid argtype)
{
	return LookupFuncName(list_make2(makeString(EDDY_SCHEMA), makeString(pstrdup(name))), 1,
						  &argtype, false);
}

static Node *
make_exact(const Aggref *original)
{
	Aggref	   *aggref = copyObject(unconstify(Aggref *, original));
	Node	   *arg = (Node *) linitial_node(TargetEntry, aggref->args)->expr;
	Node	   *value = coerce_to_target_type(NULL, arg, exprType(arg), NUMERICOID, -1,
											  COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);

	aggref->aggfnoid = find_function("_exact_sum", NUMERICOID);
	aggref->aggtype = BYTEAOID;
	aggref->aggtranstype = InvalidOid;
	aggref->aggargtypes = list_make1_oid(NUMERICOID);
	aggref->args = list_make1(makeTargetEntry((Expr *) value, 1, NULL, false));
	aggref->aggorder = NIL;
	return (Node *) makeFuncExpr(find_function(result_function(original->aggfnoid), BYTEAOID),
								 original->aggtype, list_make1(aggref), InvalidOid, InvalidOid,
								 COERCE_EXPLICIT_CALL);
}

static Node *
make_sums_exact(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Aggref) && is_sum(((Aggref *) node)->aggfnoid) &&
		((Aggref *) node)->aggdistinct == NIL)
		return make_exact((Aggref *) node);
	return expression_tree_mutator(node, make_sums_exact, context);
}

bool
eddy_retracting_subtracts(const Aggref *aggref)
{
	if (aggref->aggdistinct)
		return false;
	return aggref->aggfnoid == F_COUNT_ || aggref->aggfnoid == F_COUNT_ANY ||
		aggref->aggfnoid == find_function("_exact_sum", NUMERICOID);
}

/* ---- layout ---- */

static void
layout(EddyViewPlan *plan, Query *query)
{
	query->targetList = (List *) make_sums_exact((Node *) query->targetList, NULL);
	query->havingQual = make_sums_exact(query->havingQual, NULL);
	eddy_combining_layout(plan, query);
}

/* ---- the delta query ---- */

static Var *
make_sign(const EddyViewPlan *plan)
{
	return makeVar(plan->stream_rti, TableOidAttributeNumber, OIDOID, -1, InvalidOid, 0);
}

static void
make_delta(EddyViewPlan *plan, Query *delta)
{
	TargetEntry *sign;
	SortGroupClause *clause = makeNode(SortGroupClause);
	TupleDesc	desc;
	int			natts;

	eddy_combining_make_delta(plan, delta);
	natts = plan->delta_desc->natts;
	sign = makeTargetEntry((Expr *) make_sign(plan), natts + 1, "sign", false);
	delta->targetList = lappend(delta->targetList, sign);
	get_sort_group_operators(OIDOID, true, true, false, &clause->sortop, &clause->eqop, NULL,
							 &clause->hashable);
	clause->tleSortGroupRef = assignSortGroupRef(sign, delta->targetList);
	delta->groupClause = lappend(delta->groupClause, clause);

	desc = CreateTemplateTupleDesc(natts + 1);
	for (int i = 1; i <= natts; i++)
		TupleDescCopyEntry(desc, i, plan->delta_desc, i);
	TupleDescInitEntry(desc, natts + 1, NULL, OIDOID, -1, 0);
	plan->delta_desc = desc;
}

Expr *
eddy_retracting_make_added(void)
{
	return (Expr *) makeConst(OIDOID, -1, InvalidOid, sizeof(Oid),
							  ObjectIdGetDatum(EDDY_SCAN_ADDED), false, true);
}

Node *
eddy_retracting_is_last(const EddyViewPlan *plan)
{
	Const	   *replaced = makeConst(OIDOID, -1, InvalidOid, sizeof(Oid),
									 ObjectIdGetDatum(EDDY_SCAN_REPLACED), false, true);
	Oid			less = lookup_type_cache(OIDOID, TYPECACHE_LT_OPR)->lt_opr;

	return (Node *) make_opclause(less, BOOLOID, false, (Expr *) make_sign(plan),
								  (Expr *) replaced, InvalidOid, InvalidOid);
}

/* ---- reading the delta ---- */

/* A column of a row of the delta, in the memory of the group. */
static Datum
copy_column(const Retracting *r, TupleTableSlot *row, int column)
{
	Form_pg_attribute att = TupleDescAttr(r->plan->delta_desc, column);

	return row->tts_isnull[column] ? (Datum) 0 :
		datumCopy(row->tts_values[column], att->attbyval, att->attlen);
}

/* Makes the group of a row of the delta the current one. */
static void
start_group(Retracting *r, TupleTableSlot *row)
{
	MemoryContext old;

	MemoryContextReset(r->combiner->mcxt);
	old = MemoryContextSwitchTo(r->combiner->mcxt);
	for (int i = 0; i < r->plan->nkeys; i++)
	{
		r->keys[i] = copy_column(r, row, i);
		r->key_nulls[i] = row->tts_isnull[i];
	}
	r->added.exist = r->removed.exist = false;
	MemoryContextSwitchTo(old);
}

/* Adds a row of the delta to the current group. After errors, there are several for one group. */
static void
add_to_group(Retracting *r, TupleTableSlot *row)
{
	EddyViewPlan *plan = r->plan;
	int			sign = plan->nkeys + plan->naggs;
	Partials   *partials = DatumGetObjectId(row->tts_values[sign]) == EDDY_SCAN_ADDED ?
		&r->added : &r->removed;
	MemoryContext old = MemoryContextSwitchTo(r->combiner->mcxt);

	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];
		EddyState	more = {row->tts_values[plan->nkeys + i], row->tts_isnull[plan->nkeys + i]};

		if (!partials->exist)
		{
			partials->states[i].value = copy_column(r, row, plan->nkeys + i);
			partials->states[i].isnull = more.isnull;
		}
		else if (agg->collection == NULL)
			eddy_combine_partial(r->combiner, agg, &partials->states[i], &more);
		else if (eddy_combining_has_values(plan, i))
			eddy_combine_partial(r->combiner, agg->collection->input, &partials->states[i], &more);
	}
	partials->exist = true;
	MemoryContextSwitchTo(old);
}

/* ---- computing the new version ---- */

/* stored + added - removed, for states whose final value is the state itself. */
static EddyState
compute_state(Retracting *r, int i, TupleTableSlot *stored)
{
	EddyAggregate *agg = &r->plan->aggs[i];
	bool		is_count = agg->aggref->aggtype == INT8OID;
	EddyState	state = {(Datum) 0, true};

	if (stored)
	{
		state.value = stored->tts_values[agg->state_column - 1];
		state.isnull = stored->tts_isnull[agg->state_column - 1];
	}
	if (r->added.exist && !r->added.states[i].isnull)
	{
		if (state.isnull)
			state = r->added.states[i];
		else
			state.value = FunctionCall2(&agg->combine, state.value, r->added.states[i].value);
	}
	if (state.isnull && is_count)
	{
		state.value = Int64GetDatum(0);
		state.isnull = false;
	}
	/* what is missing there is noticed by the number of rows */
	if (r->removed.exist && !r->removed.states[i].isnull && !state.isnull)
		state.value = is_count ?
			DirectFunctionCall2(int8mi, state.value, r->removed.states[i].value) :
			DirectFunctionCall2(eddy_exact_sum_subtract, state.value,
								r->removed.states[i].value);
	return state;
}

static void
refuse_unknown_row(const Retracting *r)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("a row that continuous view \"%s\" has not counted was taken back",
					r->plan->name)));
}

/* Returns the number of rows of the group. */
static int64
compute_states(Retracting *r, TupleTableSlot *stored)
{
	EddyViewPlan *plan = r->plan;
	TupleTableSlot *result = r->result;
	TupleTableSlot *finals = r->finals;
	MemoryContext old = MemoryContextSwitchTo(r->combiner->mcxt);
	int64		nrows;

	nrows = DatumGetInt64(compute_state(r, plan->rows_agg, stored).value);
	if (nrows < 0)
		refuse_unknown_row(r);
	if (r->collector)
	{
		eddy_collect_start_group(r->collector);
		eddy_collect_prepare(r->collector, r->added.exist ? r->added.states : NULL,
							 r->removed.exist ? r->removed.states : NULL, stored, r->keys,
							 r->key_nulls, result);
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];
		int			column = agg->state_column - 1;
		EddyState	old_state = {(Datum) 0, true};
		EddyState	state;
		EddyState	final;

		if (agg->collection)
		{
			if (stored)
			{
				old_state.value = stored->tts_values[column];
				old_state.isnull = stored->tts_isnull[column];
			}
			eddy_collect_compute(r->collector, i, &old_state, &state, &final);
		}
		else
			state = final = compute_state(r, i, stored);
		result->tts_values[column] = state.value;
		result->tts_isnull[column] = state.isnull;
		finals->tts_values[plan->nkeys + i] = final.value;
		finals->tts_isnull[plan->nkeys + i] = final.isnull;
	}
	MemoryContextSwitchTo(old);
	return nrows;
}

/* True for the one group of a view without GROUP BY, and that of a grouping set without columns. */
static bool
exists_without_rows(const EddyViewPlan *plan, const Datum *set)
{
	return plan->nkeys == 0 ||
		(plan->empty_sets && list_member_int(plan->empty_sets, DatumGetInt32(*set)));
}

bool
eddy_retracting_is_empty(const EddyViewPlan *plan, TupleTableSlot *row)
{
	AttrNumber	column = plan->aggs[plan->rows_agg].state_column;

	/* a final row has no states, and is not removed */
	return !row->tts_isnull[column - 1] &&
		DatumGetInt64(row->tts_values[column - 1]) == 0 &&
		!exists_without_rows(plan, plan->empty_sets ?
							 &row->tts_values[plan->keys[plan->set_key].column - 1] : NULL);
}

/*
 * With emit => 'every ...', a group without rows is not removed at once, unless it was never in the
 * view (emit_every.c).
 */
static bool
waits_for_removal(const Retracting *r, TupleTableSlot *stored)
{
	const EddyStateTable *table = r->table;

	return r->plan->emit_interval > 0 && stored &&
		!TIMESTAMP_IS_NOBEGIN(DatumGetTimestampTz(stored->tts_values[table->shown.column - 1]));
}

/* Sets the result of HAVING. */
static void
set_having(const Retracting *r, bool having)
{
	int			column = r->plan->having_column - 1;

	r->result->tts_values[column] = BoolGetDatum(having);
	r->result->tts_isnull[column] = false;
}

/*
 * Fills r->result from the current group and the stored version. False if the group is to be
 * removed.
 */
static bool
compute_result(Retracting *r, TupleTableSlot *stored)
{
	EddyViewPlan *plan = r->plan;
	bool		has_rows;

	ExecClearTuple(r->result);
	ExecClearTuple(r->finals);
	ResetExprContext(r->econtext);
	memset(r->result->tts_isnull, true, sizeof(bool) * r->table->ncolumns);
	eddy_combining_compute_keys(r->plan, r->keys, r->key_nulls, stored, r->finals, r->result);
	has_rows = compute_states(r, stored) > 0 ||
		exists_without_rows(plan, plan->empty_sets ? &r->keys[plan->set_key] : NULL);
	if (!has_rows && !waits_for_removal(r, stored))
		return false;
	ExecStoreVirtualTuple(r->finals);
	if (has_rows)
		eddy_combining_compute_outputs(plan, r->econtext, r->finals, r->result);
	if (plan->having_column && (!has_rows || plan->having == NULL))
		set_having(r, has_rows);
	eddy_combining_compute_marks(plan, eddy_merge_judgment(r->merge)->final_until, r->keys,
								 r->key_nulls, stored, r->result);
	eddy_emit_pace(plan, r->now, stored, r->result);
	ExecStoreVirtualTuple(r->result);
	return true;
}

/* ---- merging ---- */

/* Keeps a part of the current group for the second pass. */
static void
keep_part(Retracting *r, const Partials *partials, Oid sign)
{
	EddyViewPlan *plan = r->plan;
	TupleTableSlot *group = r->group;

	if (!partials->exist)
		return;
	ExecClearTuple(group);
	for (int i = 0; i < plan->nkeys; i++)
	{
		group->tts_values[i] = r->keys[i];
		group->tts_isnull[i] = r->key_nulls[i];
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		group->tts_values[plan->nkeys + i] = partials->states[i].value;
		group->tts_isnull[plan->nkeys + i] = partials->states[i].isnull;
	}
	group->tts_values[plan->nkeys + plan->naggs] = ObjectIdGetDatum(sign);
	group->tts_isnull[plan->nkeys + plan->naggs] = false;
	eddy_merge_keep(r->merge, ExecStoreVirtualTuple(group));
}

/* The key of the current group, in the order in which ranges of the table are read. */
static void
remove_group(Retracting *r, TupleTableSlot *stored)
{
	eddy_merge_remove(r->merge, STATE, &stored->tts_tid, r->keys, r->key_nulls);
}

/* The current group is complete: merges it with what is stored, again after each collision. */
static void
finish_group(Retracting *r)
{
	TupleTableSlot *stored;

	if (eddy_merge_keeps(r->merge))
	{
		keep_part(r, &r->added, EDDY_SCAN_ADDED);
		keep_part(r, &r->removed, EDDY_SCAN_REMOVED);
	}
	if (eddy_merge_make_computed_changes(r->merge))
		return;
	do
	{
		bool		has_rows;

		stored = eddy_merge_find(r->merge, STATE, r->keys, r->key_nulls);
		if (stored == NULL && !r->added.exist && r->removed.exist)
			refuse_unknown_row(r);
		has_rows = compute_result(r, stored);
		if (has_rows && stored == NULL)
			eddy_merge_insert(r->merge, STATE, r->result);
		else if (!has_rows && stored)
			remove_group(r, stored);
		/* a group whose values change is replaced even if its own row remains the same */
		else if (has_rows && (r->collector || !eddy_merge_identical(stored, r->result)))
			eddy_merge_replace(r->merge, STATE, &stored->tts_tid, r->result);
		if (r->collector && (has_rows || stored))
			eddy_collect_store(r->collector);
	} while (!eddy_merge_make_changes(r->merge));
}

static void
begin(Retracting *r)
{
	EddyViewPlan *plan = r->plan;

	r->table = linitial(plan->state_tables);
	r->combiner = eddy_combine_begin();
	r->econtext = CreateStandaloneExprContext();
	r->now = plan->emit_interval > 0 ? eddy_wall_clock() : 0;
	r->group = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsVirtual);
	r->finals = MakeSingleTupleTableSlot(plan->final_desc, &TTSOpsVirtual);
	r->result = MakeSingleTupleTableSlot(eddy_merge_desc(r->merge, STATE), &TTSOpsVirtual);
	/* the constant key of a view without GROUP BY is 0 */
	r->keys = palloc0(sizeof(Datum) * r->table->nkeys);
	r->key_nulls = palloc0(sizeof(bool) * r->table->nkeys);
	r->added.states = palloc(sizeof(EddyState) * plan->naggs);
	r->removed.states = palloc(sizeof(EddyState) * plan->naggs);
	if (plan->collections)
		r->collector = eddy_collect_begin(plan, r->merge, r->combiner);
}

static void
end(Retracting *r)
{
	ExecDropSingleTupleTableSlot(r->group);
	ExecDropSingleTupleTableSlot(r->finals);
	ExecDropSingleTupleTableSlot(r->result);
	FreeExprContext(r->econtext, true);
	if (r->collector)
		eddy_collect_end(r->collector);
	eddy_combine_end(r->combiner);
}

static void
merge(EddyViewPlan *plan, EddyMerge *merge)
{
	Retracting	r = {.plan = plan, .merge = merge};
	bool		in_group = false;
	TupleTableSlot *row;

	begin(&r);
	while ((row = eddy_merge_next(merge)) != NULL)
	{
		if (!in_group || !eddy_combining_same_group(plan, r.keys, r.key_nulls, row))
		{
			if (in_group)
				finish_group(&r);
			start_group(&r, row);
			in_group = true;
		}
		add_to_group(&r, row);
	}
	/* a view without GROUP BY has one row, also without input */
	if (in_group || plan->nkeys == 0)
		finish_group(&r);
	end(&r);
}

const EddyViewKind eddy_kind_retracting = {
	.name = "retracting",
	.accepts = accepts,
	.suits = suits,
	.layout = layout,
	.make_delta = make_delta,
	.lock = NULL,
	.merge = merge,
	.forget = eddy_combining_forget,
};

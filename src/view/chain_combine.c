/*-------------------------------------------------------------------------
 *
 * chain_combine.c
 *    eddy.combine(column): aggregates over what a parent has kept of its aggregates.
 *
 * An average of averages is not the average of all rows. eddy.combine(p.average) in a view over p
 * is: it combines the transition states that p has kept of its groups, or, of aggregates that are
 * computed from kept values, their values. The result is what the aggregate of p would give over
 * all rows of these groups.
 *
 * The query of the child is analyzed as if it had the aggregate of the parent. Only its input
 * differs: the delta query returns a list of states (eddy._collect), or lists of kept values, which
 * a sub-select reads from the parent's table of values (eddy._values, eddy._concat_values). The
 * columns of the state table of the parent that are not columns of the view are columns of the
 * batch for this purpose (changes.h), and their references in the query are numbered after those of
 * the view (eddy_chain_map).
 *
 * The parent must be one whose rows appear when its windows close, because a state cannot be taken
 * back. Closing leaves states and values in place until windows are closed the next time, so that
 * they are still there when the children are maintained, in the same transaction.
 *
 * Locking: AccessShareLock on the tables of values of the parent, as for a SELECT. Memory: the
 * caller's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_clause.h"
#include "parser/parse_func.h"
#include "parser/parse_oper.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "compat.h"
#include "view/analyze.h"
#include "view/chain.h"
#include "view/chain_combine.h"
#include "view/collect.h"
#include "view/collect_values.h"
#include "view/followers.h"
#include "view/kind.h"
#include "view/kind_panes.h"
#include "view/refuse.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(eddy_combine_refuse);

/* eddy.combine is a mark for the queries of continuous views, and not executed. */
Datum
eddy_combine_refuse(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("eddy.combine can be used only in the query of a continuous view over another one"),
			 errdetail("It combines what the other view keeps of its groups, which a query cannot read.")));
	PG_RETURN_NULL();			/* keep compiler quiet */
}

/* ---- replacing the calls ---- */

static Oid
combine_function(void)
{
	Oid			type = ANYELEMENTOID;

	return LookupFuncName(list_make2(makeString(EDDY_SCHEMA), makeString("combine")), 1, &type,
						  true);
}

typedef struct ReplaceContext
{
	EddyViewPlan *plan;
	Oid			combine;
} ReplaceContext;

static void
refuse(const char *detail, const char *hint)
{
	eddy_refuse("eddy.combine is not possible here", detail, hint);
}

/*
 * The plan of the parent, whose state tables are locked. It is pinned until the analysis has ended.
 */
static EddyViewPlan *
parent_plan(const EddyViewPlan *plan)
{
	return plan->pinned_parent;
}

static EddyViewPlan *
pin_parent(EddyViewPlan *plan)
{
	if (plan->pinned_parent == NULL)
	{
		EddyViewPlan *parent = eddy_plan_get(plan->stream);

		if (parent == NULL)
			elog(ERROR, "continuous view %u does not exist", plan->stream);
		eddy_plan_pin(parent);
		plan->pinned_parent = parent;
	}
	return plan->pinned_parent;
}

void
eddy_combine_unpin(EddyViewPlan *plan)
{
	if (plan->pinned_parent)
		eddy_plan_unpin(plan->pinned_parent);
	plan->pinned_parent = NULL;
}

/* The index of the parent's aggregate that a column shows. */
static int
find_aggregate(const EddyViewPlan *plan, const EddyViewPlan *parent, const Node *arg)
{
	const Var  *var;
	AttrNumber	column;

	while (arg && IsA(arg, RelabelType))
		arg = (const Node *) ((const RelabelType *) arg)->arg;
	var = (const Var *) arg;
	if (var == NULL || !IsA(var, Var) || var->varno != (int) plan->stream_rti ||
		var->varlevelsup != 0 || var->varattno <= 0)
		refuse("Its argument must be a column of the other view.", NULL);
	column = plan->parent->columns[var->varattno - 1];
	for (int i = 0; i < parent->noutputs; i++)
		if (parent->outputs[i].column == column &&
			parent->outputs[i].kind == EDDY_OUTPUT_AGGREGATE)
			return parent->outputs[i].index;
	refuse(psprintf("Column \"%s\" of the other view is not the result of an aggregate alone.",
					get_attname(plan->stream, var->varattno, false)),
		   "Combine columns that are, and compute expressions over the results.");
	return 0;					/* keep compiler quiet */
}

static Node *
replace_call(ReplaceContext *context, Aggref *call)
{
	EddyViewPlan *plan = context->plan;
	EddyViewPlan *parent;
	Aggref	   *result;
	int			index;

	if (list_length(plan->sources) > 1)
		refuse("The query reads several relations, which do not keep the same states.",
			   "Combine each of the other views in a continuous view of its own, or aggregate their columns.");
	if (plan->parent == NULL)
		refuse("The query does not read a continuous view.", NULL);
	if (plan->retracts)
		refuse("The groups of the other view change, and what they have contributed could not be taken back.",
			   eddy_chain_hint(plan, "Create the other view with emit => 'on_close', or aggregate its columns."));
	if (call->aggdistinct || call->aggorder || call->aggfilter)
		refuse("It combines whole groups, without DISTINCT, ORDER BY and FILTER.",
			   "Select the groups by a condition in WHERE.");
	parent = pin_parent(plan);
	if (parent->kind == &eddy_kind_panes)
		refuse("The windows of the other view overlap: rows would be counted several times.",
			   "Use eddy.tumble in the other view.");
	if (parent->kind == &eddy_kind_append)
		refuse("The other view has no aggregates.", NULL);
	index = find_aggregate(plan, parent,
						   (Node *) linitial_node(TargetEntry, call->args)->expr);
	if (parent->aggs[index].counter)
		refuse("The other view keeps more than one state for this aggregate.",
			   "Declare its transition function without STRICT, or with an initial condition.");
	plan->combines = true;
	plan->nparent_columns = ((EddyStateTable *) linitial(parent->state_tables))->ncolumns;
	result = copyObject(parent->aggs[index].aggref);
	if (contain_var_clause((Node *) result->aggdirectargs))
		refuse("A direct argument of the aggregate is not a constant.", NULL);
	result->aggfilter = NULL;
	result->aggno = EDDY_COMBINED_AGGNO - index;
	return (Node *) result;
}

static Node *
replace_calls(Node *node, ReplaceContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Aggref) && ((Aggref *) node)->aggfnoid == context->combine)
		return replace_call(context, (Aggref *) node);
	return expression_tree_mutator(node, replace_calls, context);
}

void
eddy_combine_replace(EddyViewPlan *plan, Query *query)
{
	ReplaceContext context = {plan, combine_function()};

	if (!OidIsValid(context.combine) || !query->hasAggs)
		return;
	query->targetList = (List *) replace_calls((Node *) query->targetList, &context);
	query->havingQual = replace_calls(query->havingQual, &context);
}

const EddyAggregate *
eddy_combine_source(const EddyViewPlan *plan, const Aggref *aggref)
{
	return &parent_plan(plan)->aggs[EDDY_COMBINED_AGGNO - aggref->aggno];
}

/* ---- what stands for them in the delta query ---- */

/* A column of the parent's state table, at a number of levels above. */
static Var *
make_state_var(const EddyViewPlan *plan, AttrNumber column, Index levelsup)
{
	const EddyStateTable *table = linitial(parent_plan(plan)->state_tables);
	const EddyStateColumn *state = &table->columns[column - 1];

	return makeVar(plan->stream_rti, plan->parent->ncolumns + column, state->type, state->typmod,
				   state->collation, levelsup);
}

static Expr *
make_place(Index rti, Index levelsup)
{
	return (Expr *) makeVar(rti, SelfItemPointerAttributeNumber, TIDOID, -1, InvalidOid, levelsup);
}

Aggref *
eddy_combine_make_states(const EddyViewPlan *plan, const Aggref *aggref)
{
	const EddyAggregate *source = eddy_combine_source(plan, aggref);

	return eddy_collect_make_call("_collect", ANYOID, INT8OID,
								  list_make2(make_place(plan->stream_rti, 0),
											 make_state_var(plan, source->state_column, 0)));
}

/* A table of values in the FROM clause of a sub-select, which is the query. */
static RangeTblEntry *
make_values_rte(Query *query, const EddyStateTable *table)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_RELATION;
	rte->inFromCl = true;
	rte->rellockmode = AccessShareLock;
	rte->eref = makeAlias("kept", NIL);
	for (int i = 0; i < table->ncolumns; i++)
		rte->eref->colnames = lappend(rte->eref->colnames,
									  makeString(pstrdup(table->columns[i].name)));
	eddy_compat_read_table(query, rte, table->relid);
	return rte;
}

/* generate_series(1, kept._count), so that a value appears as often as it was counted. */
static RangeTblEntry *
make_repeat_rte(AttrNumber count_column)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblFunction *function = makeNode(RangeTblFunction);
	Const	   *one = makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(1), false,
								FLOAT8PASSBYVAL);
	Var		   *count = makeVar(1, count_column, INT8OID, -1, InvalidOid, 0);
	FuncExpr   *series = makeFuncExpr(F_GENERATE_SERIES_INT8_INT8, INT8OID,
									  list_make2(one, count), InvalidOid, InvalidOid,
									  COERCE_EXPLICIT_CALL);

	series->funcretset = true;
	function->funcexpr = (Node *) series;
	function->funccolcount = 1;
	rte->rtekind = RTE_FUNCTION;
	rte->functions = list_make1(function);
	rte->lateral = true;
	rte->inFromCl = true;
	rte->eref = makeAlias("repeat", list_make1(makeString("repeat")));
	return rte;
}

/* Values of a list are in the order in which they were kept. */
static void
order_by_number(Aggref *aggref, AttrNumber column)
{
	SortGroupClause *clause = makeNode(SortGroupClause);
	TargetEntry *number = makeTargetEntry((Expr *) makeVar(1, column, INT8OID, -1, InvalidOid, 0),
										  list_length(aggref->args) + 1, NULL, true);

	number->ressortgroupref = 1;
	get_sort_group_operators(INT8OID, true, true, false, &clause->sortop, &clause->eqop, NULL,
							 &clause->hashable);
	clause->tleSortGroupRef = 1;
	aggref->args = lappend(aggref->args, number);
	aggref->aggorder = list_make1(clause);
}

/* SELECT eddy._values(ctid of the group, values) FROM kept WHERE _id = the group's */
static Query *
make_values_query(const EddyViewPlan *plan, const EddyViewPlan *parent,
				  const EddyCollection *collection)
{
	const EddyStateTable *table = list_nth(parent->state_tables, collection->table);
	bool		is_list = collection->kind == EDDY_COLLECT_LIST;
	int			first = is_list ? 3 : 2;
	Query	   *query = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	List	   *args = list_make1(make_place(plan->stream_rti, 1));
	List	   *from;
	Aggref	   *aggref;
	Node	   *condition;

	for (int i = 0; i < collection->nvalues; i++)
	{
		const EddyStateColumn *column = &table->columns[first + i - 1];

		args = lappend(args, makeVar(1, first + i, column->type, column->typmod,
									 column->collation, 0));
	}
	aggref = eddy_collect_make_call("_values", ANYOID, BYTEAOID, args);
	if (is_list)
		order_by_number(aggref, 2);
	ref->rtindex = 1;
	from = list_make1(ref);
	query->rtable = list_make1(make_values_rte(query, table));
	if (collection->kind == EDDY_COLLECT_COUNTS)
	{
		ref = makeNode(RangeTblRef);
		ref->rtindex = 2;
		from = lappend(from, ref);
		query->rtable = lappend(query->rtable, make_repeat_rte(table->ncolumns));
	}
	condition = (Node *) make_opclause(lookup_type_cache(UUIDOID, TYPECACHE_EQ_OPR)->eq_opr,
									   BOOLOID, false,
									   (Expr *) makeVar(1, 1, UUIDOID, -1, InvalidOid, 0),
									   (Expr *) make_state_var(plan, parent->id_column, 1),
									   InvalidOid, InvalidOid);
	query->commandType = CMD_SELECT;
	query->querySource = QSRC_ORIGINAL;
	query->canSetTag = true;
	query->hasAggs = true;
	query->jointree = makeFromExpr(from, condition);
	query->targetList = list_make1(makeTargetEntry((Expr *) aggref, 1, "kept", false));
	return query;
}

Aggref *
eddy_combine_make_values(const EddyViewPlan *plan, const Aggref *aggref)
{
	const EddyAggregate *source = eddy_combine_source(plan, aggref);
	SubLink    *sublink = makeNode(SubLink);
	Aggref	   *values;

	sublink->subLinkType = EXPR_SUBLINK;
	sublink->subselect = (Node *) make_values_query(plan, parent_plan(plan), source->collection);
	sublink->location = -1;
	values = eddy_collect_make_call("_concat_values", BYTEAOID, INT8OID, list_make1(sublink));
	return values;
}

/* ---- combining ---- */

void
eddy_combine_states(EddyCombiner *combiner, EddyAggregate *agg, const EddyState *states,
					const EddyState *stored, EddyState *new_stored, EddyState *final)
{
	MemoryContext old = MemoryContextSwitchTo(combiner->mcxt);
	EddyAccumulator accumulator = {0};
	TupleDesc	desc = CreateTemplateTupleDesc(2);
	TupleTableSlot *row;
	bytea	   *bytes;
	char	   *next;
	uint32		count;

	if (stored)
		eddy_combine_add_stored(combiner, agg, &accumulator, stored);
	if (!states->isnull)
	{
		TupleDescInitEntry(desc, 1, "place", TIDOID, -1, 0);
		TupleDescInitEntry(desc, 2, "state", agg->state_type, -1, 0);
		row = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
		bytes = DatumGetByteaPCopy(states->value);
		count = ((EddyValuesHeader *) bytes)->count;
		next = (char *) bytes + EDDY_VALUES_OFFSET;
		for (uint32 i = 0; i < count; i++)
		{
			MinimalTuple tuple = (MinimalTuple) next;
			EddyState	state;

			if (next + sizeof(uint32) > (char *) bytes + VARSIZE(bytes) ||
				next + tuple->t_len > (char *) bytes + VARSIZE(bytes))
				elog(ERROR, "states of a batch are truncated");
			ExecStoreMinimalTuple(tuple, row, false);
			state.value = slot_getattr(row, 2, &state.isnull);
			eddy_combine_add_stored(combiner, agg, &accumulator, &state);
			next += MAXALIGN(tuple->t_len);
		}
		ExecDropSingleTupleTableSlot(row);
	}
	if (!accumulator.has_transition && !accumulator.has_sum)
	{
		EddyState	none = {(Datum) 0, true};

		/* the one row of a view without GROUP BY, before the first group has closed */
		if (agg->aggref->aggfnoid == F_COUNT_ || agg->aggref->aggfnoid == F_COUNT_ANY)
		{
			none.value = Int64GetDatum(0);
			none.isnull = false;
		}
		eddy_combine_add_stored(combiner, agg, &accumulator, &none);
	}
	eddy_combine_finish(combiner, agg, &accumulator, new_stored, final);
	MemoryContextSwitchTo(old);
}

bool
eddy_combine_is_wanted(Oid view)
{
	ListCell   *lc;

	foreach(lc, eddy_followers_list(view))
		if (!eddy_plan_ready(lfirst_oid(lc)) || eddy_plan_get(lfirst_oid(lc))->combines)
			return true;
	return false;
}

bool
eddy_view_combines(Oid view)
{
	EddyViewPlan *plan = eddy_plan_get(view);

	return plan && plan->combines;
}

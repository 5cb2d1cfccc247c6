/*-------------------------------------------------------------------------
 *
 * pane_scan.c
 *    Reading open windows in a query, with the conditions of the query.
 *
 * The public view of a view whose early rows are combined from panes calls eddy._open_windows for
 * all keys. Planner hooks replace that call, wherever it is in FROM, by a custom scan. The scan
 * passes conditions that compare a column with a value that does not depend on rows to pane_read.c,
 * which reads the panes of these keys and times only. Other conditions on keys are evaluated once
 * for each key, before its windows are computed; and all conditions for each row.
 *
 * Which columns are keys is looked up when the query is executed: the plan of the query can be
 * older than that of the view.
 *
 * Locking: see pane_read.c. Memory: the executor's. An error leaves nothing: the plan of the view
 * is pinned for the memory context of the query.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#endif

#include "compat.h"
#include "view/pane_call.h"
#include "view/pane_read.h"
#include "view/scan.h"
#include "view/view.h"

/*
 * The private list of a scan: the table of panes, whether the call is permitted (pane_call.c), the
 * numbers of conditions that may be evaluated before the others, and for each condition that may
 * select panes
 */
enum
{
	CONDITION_COLUMN,
	CONDITION_OPERATOR,
	CONDITION_COLLATION,
	CONDITION_ANY,
	CONDITION_NITEMS
};

typedef struct PaneScanState
{
	CustomScanState css;
	Oid			table;
	EddyViewPlan *plan;			/* NULL: the view was dropped */
	EddyPaneRead *read;
	bool		started;
	int			nconditions;
	EddyPaneCondition *conditions;
	ExprState **values;			/* of the conditions */
	MemoryContext values_mcxt;	/* of what these return, which is used as long as panes are read */
	ExprState  *on_keys;		/* conditions on keys alone; NULL: none */
	TupleTableSlot *key_slot;
} PaneScanState;

static set_rel_pathlist_hook_type prev_set_rel_pathlist = NULL;

/* ---- conditions ---- */

/* The column of the scan that an expression is, 0 if it is something else. */
static AttrNumber
get_column(const Node *expr, Index rti)
{
	while (expr && IsA(expr, RelabelType))
		expr = (const Node *) ((const RelabelType *) expr)->arg;
	if (expr && IsA(expr, Var) && ((const Var *) expr)->varno == (int) rti &&
		((const Var *) expr)->varlevelsup == 0)
		return ((const Var *) expr)->varattno;
	return 0;
}

/* True for an expression that has one value during a scan. */
static bool
is_value(Node *expr)
{
	return !contain_var_clause(expr) && !contain_volatile_functions(expr) &&
		!contain_subplans(expr);
}

static void
add_condition(AttrNumber column, Oid opr, Oid collation, bool any, Node *value, List **conditions,
			  List **values)
{
	*conditions = lappend(*conditions, list_make4_int(column - 1, (int) opr, (int) collation, any));
	*values = lappend(*values, value);
}

/* Adds what a clause says about a column, if it is of a form that can select panes. */
static void
take_clause(Node *clause, Index rti, List **conditions, List **values)
{
	if (IsA(clause, OpExpr) && list_length(((OpExpr *) clause)->args) == 2)
	{
		OpExpr	   *expr = (OpExpr *) clause;
		AttrNumber	left = get_column(linitial(expr->args), rti);
		AttrNumber	right = get_column(lsecond(expr->args), rti);
		Oid			commutator = right > 0 ? get_commutator(expr->opno) : InvalidOid;

		if (left > 0 && is_value(lsecond(expr->args)))
			add_condition(left, expr->opno, expr->inputcollid, false, lsecond(expr->args),
						  conditions, values);
		else if (OidIsValid(commutator) && is_value(linitial(expr->args)))
			add_condition(right, commutator, expr->inputcollid, false, linitial(expr->args),
						  conditions, values);
	}
	else if (IsA(clause, ScalarArrayOpExpr))
	{
		ScalarArrayOpExpr *expr = (ScalarArrayOpExpr *) clause;
		AttrNumber	left = get_column(linitial(expr->args), rti);

		if (left > 0 && expr->useOr && is_value(lsecond(expr->args)))
			add_condition(left, expr->opno, expr->inputcollid, true, lsecond(expr->args),
						  conditions, values);
	}
	else if (IsA(clause, NullTest))
	{
		NullTest   *test = (NullTest *) clause;
		AttrNumber	left = get_column((Node *) test->arg, rti);

		if (left > 0 && test->nulltesttype == IS_NULL && !test->argisrow)
			add_condition(left, InvalidOid, InvalidOid, false,
						  (Node *) makeNullConst(INT4OID, -1, InvalidOid), conditions, values);
	}
}

/* ---- planning ---- */

static const CustomScanMethods scan_methods;

static Plan *
plan_scan(PlannerInfo *root, RelOptInfo *rel, struct CustomPath *best_path, List *tlist,
		  List *clauses, List *custom_plans pg_attribute_unused())
{
	const RangeTblEntry *rte = planner_rt_fetch(rel->relid, root);
	const RangeTblFunction *function = linitial_node(RangeTblFunction, rte->functions);
	const FuncExpr *call = (const FuncExpr *) function->funcexpr;
	CustomScan *scan = makeNode(CustomScan);
	List	   *conditions = NIL;
	List	   *values = NIL;
	List	   *early = NIL;
	ListCell   *type;
	ListCell   *typmod;
	ListCell   *collation;
	ListCell   *lc;

	foreach(lc, clauses)
	{
		RestrictInfo *restriction = lfirst_node(RestrictInfo, lc);
		Node	   *clause = (Node *) restriction->clause;

		if (restriction->pseudoconstant)
			continue;
		/* one that could show values to its user must not see what others remove */
		if (restriction_is_securely_promotable(restriction, rel))
		{
			early = lappend_int(early, list_length(scan->scan.plan.qual));
			take_clause(clause, rel->relid, &conditions, &values);
		}
		scan->scan.plan.qual = lappend(scan->scan.plan.qual, clause);
	}
	scan->scan.plan.targetlist = tlist;
	scan->flags = best_path->flags;
	scan->methods = &scan_methods;
	/* the function has no relation to be opened: its columns are described instead */
	forthree(type, function->funccoltypes, typmod, function->funccoltypmods, collation,
			 function->funccolcollations)
	{
		int			n = list_length(scan->custom_scan_tlist) + 1;
		Var		   *column = makeVar(rel->relid, n, lfirst_oid(type), lfirst_int(typmod),
									 lfirst_oid(collation), 0);

		scan->custom_scan_tlist = lappend(scan->custom_scan_tlist,
										  makeTargetEntry((Expr *) column, n, NULL, false));
	}
	scan->custom_exprs = values;
	scan->custom_private = lcons(list_make1_oid(eddy_pane_call_table(call)),
								 lcons(list_make1_int(eddy_pane_call_is_permitted(call)),
									   lcons(early, conditions)));
	return &scan->scan.plan;
}

static const CustomPathMethods path_methods = {
	.CustomName = "EddyOpenWindows",
	.PlanCustomPath = plan_scan,
};

/* Replaces the scan of the function. */
static void
set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	if (prev_set_rel_pathlist)
		prev_set_rel_pathlist(root, rel, rti, rte);
	if (eddy_pane_find_call(rte) != NULL && !IS_DUMMY_REL(rel))
		eddy_scan_replace_paths(root, rel, &path_methods, rel->tuples * cpu_operator_cost);
}

/* ---- execution ---- */

/* Evaluates conditions on keys, as the user of the query. */
static bool
accept_key(void *arg, const Datum *values, const bool *nulls)
{
	PaneScanState *state = arg;
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	TupleTableSlot *slot = ExecClearTuple(state->key_slot);
	int			natts = slot->tts_tupleDescriptor->natts;

	memcpy(slot->tts_values, values, sizeof(Datum) * natts);
	memcpy(slot->tts_isnull, nulls, sizeof(bool) * natts);
	ResetExprContext(econtext);
	econtext->ecxt_scantuple = ExecStoreVirtualTuple(slot);
	return ExecQual(state->on_keys, econtext);
}

/* The conditions of a scan that depend on keys alone, and may be evaluated before the others. */
static List *
select_conditions_on_keys(const PaneScanState *state, const CustomScan *scan)
{
	const EddyViewPlan *plan = state->plan;
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, lthird(scan->custom_private))
	{
		Node	   *clause = list_nth(scan->scan.plan.qual, lfirst_int(lc));
		Bitmapset  *columns = NULL;
		bool		on_keys;
		int			column = -1;

		pull_varattnos(clause, INDEX_VAR, &columns);
		on_keys = !bms_is_empty(columns) && !contain_volatile_functions(clause) &&
			!contain_subplans(clause);
		while (on_keys && (column = bms_next_member(columns, column)) >= 0)
		{
			int			output = column + FirstLowInvalidHeapAttributeNumber - 1;

			on_keys = output >= 0 && output < plan->noutputs &&
				eddy_pane_read_is_key(state->read, output);
		}
		if (on_keys)
			result = lappend(result, clause);
	}
	return result;
}

static void
begin_scan(CustomScanState *node, EState *estate, int eflags pg_attribute_unused())
{
	PaneScanState *state = (PaneScanState *) node;
	CustomScan *scan = castNode(CustomScan, node->ss.ps.plan);
	TupleDesc	desc = node->ss.ss_ScanTupleSlot->tts_tupleDescriptor;
	EddyView   *view;
	List	   *on_keys;
	ListCell   *lc;

	state->table = linitial_oid(linitial(scan->custom_private));
	view = eddy_pane_read_view(state->table, linitial_int(lsecond(scan->custom_private)));
	state->plan = eddy_plan_get(view->relid);
	if (state->plan == NULL)
		return;
	eddy_plan_pin_for(state->plan, estate->es_query_cxt);
	eddy_plan_check_result(state->plan, desc, "eddy._open_windows");
	state->read = eddy_pane_read_begin(state->plan);
	state->values_mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy values of conditions",
											   ALLOCSET_SMALL_SIZES);
	state->conditions = palloc0(sizeof(EddyPaneCondition) * list_length(scan->custom_exprs));
	state->values = palloc0(sizeof(ExprState *) * list_length(scan->custom_exprs));
	foreach(lc, scan->custom_exprs)
	{
		List	   *items = list_nth(scan->custom_private, foreach_current_index(lc) + 3);
		EddyPaneCondition *condition = &state->conditions[state->nconditions];

		condition->column = list_nth_int(items, CONDITION_COLUMN);
		condition->opr = (Oid) list_nth_int(items, CONDITION_OPERATOR);
		condition->collation = (Oid) list_nth_int(items, CONDITION_COLLATION);
		condition->any = list_nth_int(items, CONDITION_ANY);
		if (!eddy_pane_read_searches(state->read, condition))
			continue;
		state->values[state->nconditions++] = ExecInitExpr(lfirst(lc), &node->ss.ps);
	}
	on_keys = select_conditions_on_keys(state, scan);
	if (on_keys != NIL)
	{
		state->on_keys = ExecInitQual(on_keys, &node->ss.ps);
		state->key_slot = ExecInitExtraTupleSlot(estate, desc, &TTSOpsVirtual);
	}
}

static void
start(PaneScanState *state)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	MemoryContext old = MemoryContextSwitchTo(state->values_mcxt);

	MemoryContextReset(state->values_mcxt);
	for (int i = 0; i < state->nconditions; i++)
	{
		EddyPaneCondition *condition = &state->conditions[i];

		condition->value = ExecEvalExpr(state->values[i], econtext, &condition->isnull);
	}
	MemoryContextSwitchTo(old);
	eddy_pane_read_start(state->read, state->conditions, state->nconditions,
						 state->on_keys ? accept_key : NULL, state);
	state->started = true;
}

static TupleTableSlot *
next_row(ScanState *node)
{
	PaneScanState *state = (PaneScanState *) node;
	TupleTableSlot *slot = ExecClearTuple(node->ss_ScanTupleSlot);
	Datum	   *values;
	bool	   *nulls;

	if (state->plan == NULL)
		return slot;
	if (!state->started)
		start(state);
	if (!eddy_pane_read_next(state->read, &values, &nulls))
		return slot;
	memcpy(slot->tts_values, values, sizeof(Datum) * state->plan->noutputs);
	memcpy(slot->tts_isnull, nulls, sizeof(bool) * state->plan->noutputs);
	return ExecStoreVirtualTuple(slot);
}

/*
 * Called instead of next_row while a row of another relation is checked again, because a concurrent
 * transaction has changed it: the windows are read again as well.
 */
static bool
recheck_row(ScanState *node, TupleTableSlot *slot)
{
	slot = next_row(node);
	return !TupIsNull(slot);
}

static TupleTableSlot *
exec_scan(CustomScanState *node)
{
	return ExecScan(&node->ss, next_row, recheck_row);
}

static void
end_scan(CustomScanState *node)
{
	PaneScanState *state = (PaneScanState *) node;

	if (state->read)
		eddy_pane_read_end(state->read);
	state->read = NULL;
}

static void
rescan(CustomScanState *node)
{
	ExecScanReScan(&node->ss);
	((PaneScanState *) node)->started = false;
}

/* Shows by which columns panes are found. */
static void
explain(CustomScanState *node, List *ancestors pg_attribute_unused(), ExplainState *es)
{
	PaneScanState *state = (PaneScanState *) node;
	List	   *columns = NIL;

	ExplainPropertyText("Panes", get_rel_name(state->table), es);
	for (int i = 0; i < state->nconditions; i++)
	{
		char	   *name = state->plan->outputs[state->conditions[i].column].name;

		if (!list_member_ptr(columns, name))
			columns = lappend(columns, name);
	}
	if (columns != NIL)
		ExplainPropertyList("Searched By", columns, es);
}

static const CustomExecMethods exec_methods = {
	.CustomName = "EddyOpenWindows",
	.BeginCustomScan = begin_scan,
	.ExecCustomScan = exec_scan,
	.EndCustomScan = end_scan,
	.ReScanCustomScan = rescan,
	.ExplainCustomScan = explain,
};

static Node *
create_scan_state(CustomScan *plan pg_attribute_unused())
{
	PaneScanState *state = (PaneScanState *) newNode(sizeof(PaneScanState), T_CustomScanState);

	state->css.methods = &exec_methods;
	return (Node *) state;
}

static const CustomScanMethods scan_methods = {
	.CustomName = "EddyOpenWindows",
	.CreateCustomScanState = create_scan_state,
};

void
eddy_pane_scan_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
	prev_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = set_rel_pathlist;
}

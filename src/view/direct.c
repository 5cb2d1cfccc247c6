/*-------------------------------------------------------------------------
 *
 * direct.c
 *    The delta of a few rows, without the executor.
 *
 * Starting the executor for the plan of a delta query takes several times as long as computing the
 * delta of one row. If the plan is an aggregation of what the scan of the batch returns, as for
 * most views, and all functions of its aggregates are built in, its conditions, expressions and
 * transition functions are prepared once, and kept with the plan. Each row of the batch then gives
 * a row of the delta; the merge combines those of the same group.
 *
 * Privileges are checked as the executor does when it starts: those on the relations each time,
 * those on functions when they are prepared. Changes of either, as of all that the plan depends on,
 * invalidate it.
 *
 * Locking: none, the caller has locked what the plan reads. Memory: with the plan; values live
 * until the next row. An error leaves nothing that the next row does not reset.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_agg.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "compat.h"
#include "view/combine.h"
#include "view/direct.h"
#include "view/pure.h"

/* Rows of a batch at most: for more, the executor combines those of the same group at less cost. */
#define MAX_ROWS 8

typedef struct DirectAggregate
{
	FmgrInfo	transition;
	FunctionCallInfo call;		/* of it; the state is the first argument */
	int			nargs;			/* without the state */
	ExprState **args;
	ExprState  *filter;
	Datum		initial;
	bool		initial_null;
	int16		length;			/* of states */
	bool		by_value;
	bool		converts;		/* the result is not the state, but what this makes of it: */
	Oid			collation;		/* of that */
	FmgrInfo	convert;		/* the serialized state, or the final value */
} DirectAggregate;

struct EddyDirect
{
	PlannedStmt *statement;		/* for the check of privileges only */
	bool		plain;			/* there is one group, also without rows */
	EddyCombiner *combiner;		/* states live in its context */
	ExprContext *econtext;
	TupleTableSlot *stored;		/* a row of a tuplestore */
	TupleTableSlot *row;		/* a row of an array */
	ExprState  *condition;
	ProjectionInfo *projection; /* what the scan returns */
	int			ncolumns;
	int		   *columns;		/* of the delta: >= 0: of what the scan returns, < 0: -1 - aggregate */
	DirectAggregate *aggs;
	TupleTableSlot *result;		/* a row of the delta */
};

/* ---- preparing ---- */

/* The scan of the batch, if the plan is an aggregation of it and nothing else; otherwise NULL. */
static Plan *
find_scan(const PlannedStmt *statement)
{
	const Agg  *agg = (const Agg *) statement->planTree;
	Plan	   *scan;

	if (statement->subplans != NIL || statement->paramExecTypes != NIL || !IsA(agg, Agg) ||
		(agg->aggsplit != AGGSPLIT_INITIAL_SERIAL && agg->aggsplit != AGGSPLIT_SIMPLE) ||
		agg->groupingSets != NIL ||
		agg->chain != NIL || agg->plan.qual != NIL)
		return NULL;
	scan = agg->plan.lefttree;
	if (IsA(scan, Sort))
		scan = scan->lefttree;
	return eddy_scan_is_batch(scan) ? scan : NULL;
}

/* True for a call of an aggregate whose functions are all built in. */
static bool
suits_aggregate(const Aggref *aggref)
{
	HeapTuple	tuple;
	Form_pg_aggregate form;
	bool		suits;

	if (aggref->aggfnoid >= FirstUnpinnedObjectId || aggref->aggkind != AGGKIND_NORMAL ||
		aggref->aggorder != NIL || aggref->aggdistinct != NIL || aggref->aggdirectargs != NIL ||
		aggref->aggvariadic)
		return false;
	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggref->aggfnoid));
	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	suits = form->aggtransfn < FirstUnpinnedObjectId && form->aggserialfn < FirstUnpinnedObjectId &&
		form->aggfinalfn < FirstUnpinnedObjectId && !form->aggfinalextra;
	if (aggref->aggsplit != AGGSPLIT_SIMPLE)
		suits &= aggref->aggtranstype != INTERNALOID || OidIsValid(form->aggserialfn);
	ReleaseSysCache(tuple);
	return suits;
}

/* True if each column of the delta is one that the scan returns, or a suitable aggregate. */
static bool
suits_columns(const Plan *agg, const Plan *scan)
{
	ListCell   *lc;

	if (expression_returns_set((Node *) scan->targetlist))
		return false;
	foreach(lc, agg->targetlist)
	{
		Node	   *expr = (Node *) lfirst_node(TargetEntry, lc)->expr;

		if (IsA(expr, Var) ? ((Var *) expr)->varno != OUTER_VAR || ((Var *) expr)->varattno <= 0 :
			!IsA(expr, Aggref) || !suits_aggregate((Aggref *) expr))
			return false;
	}
	return true;
}

static void
check_execute(Oid function, ObjectType type)
{
	AclResult	result = eddy_compat_proc_aclcheck(function, GetUserId(), ACL_EXECUTE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, type, get_func_name(function));
}

static Datum
initial_value(HeapTuple tuple, Oid type, bool *isnull)
{
	Datum		value = SysCacheGetAttr(AGGFNOID, tuple, Anum_pg_aggregate_agginitval, isnull);
	Oid			input;
	Oid			param;

	if (*isnull)
		return (Datum) 0;
	getTypeInputInfo(type, &input, &param);
	return OidInputFunctionCall(input, TextDatumGetCString(value), param, -1);
}

static void
prepare_aggregate(DirectAggregate *agg, const EddyDirect *direct, Aggref *aggref)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggref->aggfnoid));
	Form_pg_aggregate form;
	Oid			types[FUNC_MAX_ARGS];
	int			ntypes = get_aggregate_argtypes(aggref, types);
	Oid			convert = InvalidOid;
	Expr	   *expr;
	ListCell   *lc;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", aggref->aggfnoid);
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	check_execute(aggref->aggfnoid, OBJECT_AGGREGATE);

	fmgr_info(form->aggtransfn, &agg->transition);
	build_aggregate_transfn_expr(types, ntypes, 0, false, aggref->aggtranstype,
								 aggref->inputcollid, form->aggtransfn, InvalidOid, &expr, NULL);
	fmgr_info_set_expr((Node *) expr, &agg->transition);
	agg->nargs = list_length(aggref->args);
	agg->call = palloc(SizeForFunctionCallInfo(agg->nargs + 1));
	InitFunctionCallInfoData(*agg->call, &agg->transition, agg->nargs + 1, aggref->inputcollid,
							 (Node *) direct->combiner->aggstate, NULL);
	agg->args = palloc(sizeof(ExprState *) * Max(agg->nargs, 1));
	foreach(lc, aggref->args)
		agg->args[foreach_current_index(lc)] =
			ExecInitExpr(lfirst_node(TargetEntry, lc)->expr, NULL);
	agg->filter = ExecInitExpr(aggref->aggfilter, NULL);
	get_typlenbyval(aggref->aggtranstype, &agg->length, &agg->by_value);
	agg->initial = initial_value(tuple, aggref->aggtranstype, &agg->initial_null);
	if (aggref->aggsplit == AGGSPLIT_SIMPLE)
		convert = form->aggfinalfn;
	else if (aggref->aggtranstype == INTERNALOID)
		convert = form->aggserialfn;
	agg->converts = OidIsValid(convert);
	if (agg->converts)
	{
		if (convert == form->aggserialfn)
			build_aggregate_serialfn_expr(convert, &expr);
		else
			build_aggregate_finalfn_expr(types, 1, aggref->aggtranstype, aggref->aggtype,
										 aggref->inputcollid, convert, &expr);
		fmgr_info(convert, &agg->convert);
		fmgr_info_set_expr((Node *) expr, &agg->convert);
		agg->collation = convert == form->aggserialfn ? InvalidOid : aggref->inputcollid;
	}
	ReleaseSysCache(tuple);
}

static EddyDirect *
prepare(EddyViewPlan *plan, PlannedStmt *statement, const EddyBatch *batch, Plan *scan)
{
	List	   *targets = statement->planTree->targetlist;
	EddyDirect *direct = palloc0(sizeof(EddyDirect));
	TupleDesc	desc = CreateTupleDescCopy(batch->tupdesc);
	TupleTableSlot *scanned;
	int			naggs = 0;
	ListCell   *lc;

	direct->statement = makeNode(PlannedStmt);
	eddy_compat_copy_privileges(direct->statement, statement, plan->owner);
	direct->plain = ((Agg *) statement->planTree)->aggstrategy == AGG_PLAIN;
	direct->combiner = eddy_combine_begin();
	direct->econtext = CreateExprContext(direct->combiner->estate);
	direct->stored = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	direct->row = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	direct->result = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsVirtual);
	direct->condition = ExecInitQual(scan->qual, NULL);
	scanned = MakeSingleTupleTableSlot(ExecTypeFromTL(scan->targetlist), &TTSOpsVirtual);
	/* no descriptor of the input: it comes in two kinds of slots */
	direct->projection = ExecBuildProjectionInfo(scan->targetlist, direct->econtext, scanned, NULL,
												 NULL);
	direct->ncolumns = list_length(targets);
	direct->columns = palloc(sizeof(int) * direct->ncolumns);
	direct->aggs = palloc0(sizeof(DirectAggregate) * direct->ncolumns);
	foreach(lc, targets)
	{
		Node	   *expr = (Node *) lfirst_node(TargetEntry, lc)->expr;

		if (IsA(expr, Var))
			direct->columns[foreach_current_index(lc)] = ((Var *) expr)->varattno - 1;
		else
		{
			direct->columns[foreach_current_index(lc)] = -1 - naggs;
			prepare_aggregate(&direct->aggs[naggs++], direct, (Aggref *) expr);
		}
	}
	return direct;
}

/*
 * The plan of the delta query with separate nodes for scan and aggregation, in the current memory
 * context, which their expressions are taken from.
 */
static PlannedStmt *
plan_separately(EddyViewPlan *plan)
{
	MemoryContext scratch;
	MemoryContext old;
	PlannedStmt *statement;

	if (IsA(plan->delta->planTree, Agg))
		return plan->delta;
	scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy planning",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(scratch);
	eddy_scan_separate(true);
	PG_TRY();
	{
		statement = eddy_delta_plan_query(plan, copyObject(plan->delta_query));
	}
	PG_FINALLY();
	{
		eddy_scan_separate(false);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	statement = copyObject(statement);
	MemoryContextDelete(scratch);
	return statement;
}

static void
make(EddyViewPlan *plan, const EddyBatch *batch)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy direct delta",
											   ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	PlannedStmt *statement = plan_separately(plan);
	Plan	   *scan = find_scan(statement);
	EddyDirect *direct = NULL;

	plan->indirect = scan == NULL || !suits_columns(statement->planTree, scan) ||
		list_length(statement->planTree->targetlist) != plan->delta_desc->natts;
	if (!plan->indirect)
		direct = prepare(plan, statement, batch, scan);
	MemoryContextSwitchTo(old);
	if (direct == NULL)
	{
		MemoryContextDelete(mcxt);
		return;
	}
	MemoryContextSetParent(mcxt, plan->delta_mcxt);
	plan->direct = direct;
	plan->is_pure = eddy_pure_check(plan, statement->planTree, scan);
}

/*
 * eddy_direct_get returns what computes the delta of a range of a batch without the executor; NULL
 * if the plan of the delta query or the batch do not suit. The plan is valid, and the caller acts
 * as the owner of the view.
 */
EddyDirect *
eddy_direct_get(EddyViewPlan *plan, const EddyScanRange *range)
{
	const EddyBatch *batch = range->batch;

	if (range->to - range->from > MAX_ROWS || batch->columns || batch->marks)
		return NULL;
	if (plan->direct == NULL && !plan->indirect)
		make(plan, batch);
	if (plan->direct && !eddy_batch_fits(batch, plan->direct->row->tts_tupleDescriptor))
		return NULL;
	return plan->direct;
}

/* ---- executing ---- */

/* The next row of the range, or NULL if it is left out. False after the last one. */
static bool
next_row(EddyDirect *direct, const EddyScanRange *range, int64 number, TupleTableSlot **row)
{
	EddyBatch  *batch = range->batch;
	bool		wanted = !(batch->rejected && batch->rejected[number]) &&
		!(range->skip && range->skip[number]);

	if (batch->store)
	{
		if (!eddy_batch_next_stored(batch, direct->stored))
			return false;
		*row = direct->stored;
	}
	else
	{
		*row = ExecClearTuple(direct->row);
		memcpy((*row)->tts_values, batch->values + number * batch->natts,
			   sizeof(Datum) * batch->natts);
		memcpy((*row)->tts_isnull, batch->nulls + number * batch->natts,
			   sizeof(bool) * batch->natts);
		ExecStoreVirtualTuple(*row);
	}
	if (wanted)
	{
		(*row)->tts_tid = eddy_scan_place(number);
		(*row)->tts_tableOid = EDDY_SCAN_ADDED;
	}
	else
		*row = NULL;
	return true;
}

static Datum
convert_state(EddyDirect *direct, DirectAggregate *agg, Datum state, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 1);

	if (agg->convert.fn_strict && *isnull)
		return (Datum) 0;
	InitFunctionCallInfoData(*fcinfo, &agg->convert, 1, agg->collation,
							 (Node *) direct->combiner->aggstate, NULL);
	fcinfo->args[0].value = state;
	fcinfo->args[0].isnull = *isnull;
	state = FunctionCallInvoke(fcinfo);
	*isnull = fcinfo->isnull;
	return state;
}

/* The result for one row, or with advances = false for none; by the rules of nodeAgg.c. */
static Datum
compute_aggregate(EddyDirect *direct, DirectAggregate *agg, bool advances, bool *isnull)
{
	ExprContext *econtext = direct->econtext;
	FunctionCallInfo call = agg->call;
	Datum		state;

	/* a transition function may change it in place */
	*isnull = agg->initial_null;
	state = *isnull ? (Datum) 0 : datumCopy(agg->initial, agg->by_value, agg->length);
	if (advances && agg->filter)
	{
		bool		null;
		Datum		wanted = ExecEvalExprSwitchContext(agg->filter, econtext, &null);

		advances = !null && DatumGetBool(wanted);
	}
	for (int i = 0; advances && i < agg->nargs; i++)
	{
		call->args[i + 1].value = ExecEvalExprSwitchContext(agg->args[i], econtext,
															&call->args[i + 1].isnull);
		if (call->args[i + 1].isnull && agg->transition.fn_strict)
			advances = false;
	}
	if (advances && agg->transition.fn_strict && *isnull)
	{
		state = call->args[1].value;
		*isnull = false;
	}
	else if (advances)
	{
		call->args[0].value = state;
		call->args[0].isnull = *isnull;
		call->isnull = false;
		state = FunctionCallInvoke(call);
		*isnull = call->isnull;
	}
	return agg->converts ? convert_state(direct, agg, state, isnull) : state;
}

/* Makes a row of the delta. scanned: what the scan returns; NULL: the group without rows. */
static TupleTableSlot *
make_result(EddyDirect *direct, TupleTableSlot *scanned)
{
	TupleTableSlot *result = ExecClearTuple(direct->result);
	MemoryContext old = MemoryContextSwitchTo(direct->combiner->mcxt);

	direct->econtext->ecxt_outertuple = scanned;
	for (int i = 0; i < direct->ncolumns; i++)
	{
		int			column = direct->columns[i];

		if (column >= 0)
		{
			result->tts_values[i] = scanned->tts_values[column];
			result->tts_isnull[i] = scanned->tts_isnull[column];
		}
		else
			result->tts_values[i] = compute_aggregate(direct, &direct->aggs[-1 - column],
												  scanned != NULL, &result->tts_isnull[i]);
	}
	MemoryContextSwitchTo(old);
	return ExecStoreVirtualTuple(result);
}

/* The row of the delta for a row of the batch; NULL if its conditions leave it out. */
static TupleTableSlot *
compute_row(EddyDirect *direct, TupleTableSlot *row)
{
	ExprContext *econtext = direct->econtext;

	ResetExprContext(econtext);
	ReScanExprContext(direct->combiner->aggstate->curaggcontext);
	econtext->ecxt_scantuple = row;
	if (direct->condition && !ExecQual(direct->condition, econtext))
		return NULL;
	return make_result(direct, ExecProject(direct->projection));
}

static void
begin(EddyDirect *direct, EddyScanRange *range)
{
	eddy_compat_check_privileges(direct->statement);
	range->position = -1;
	if (range->batch->store)
		eddy_scan_go_to_first(range);
}

/* eddy_direct_clear releases the rows of the batch and of the delta that were read last. */
void
eddy_direct_clear(EddyDirect *direct)
{
	ExecClearTuple(direct->stored);
	ExecClearTuple(direct->row);
	ExecClearTuple(direct->result);
}

/*
 * eddy_direct_compute returns the row of the delta for a range of one row, or NULL. It is valid
 * until eddy_direct_clear is called.
 */
TupleTableSlot *
eddy_direct_compute(EddyDirect *direct, EddyScanRange *range)
{
	TupleTableSlot *row;
	TupleTableSlot *result = NULL;

	begin(direct, range);
	if (next_row(direct, range, range->from, &row) && row)
		result = compute_row(direct, row);
	return result == NULL && direct->plain ? make_result(direct, NULL) : result;
}

/*
 * eddy_direct_execute computes the delta of a range of a batch, into store. *starting is set to
 * false when the first row is going to be read.
 */
void
eddy_direct_execute(EddyDirect *direct, EddyScanRange *range, Tuplestorestate *store,
					volatile bool *starting)
{
	int64		nadded = 0;

	begin(direct, range);
	*starting = false;
	for (int64 number = range->from; number < range->to; number++)
	{
		TupleTableSlot *row;
		TupleTableSlot *result;

		CHECK_FOR_INTERRUPTS();
		if (!next_row(direct, range, number, &row))
			break;
		if (row == NULL)
			continue;
		range->position = number;
		result = compute_row(direct, row);
		if (result == NULL)
			continue;
		tuplestore_puttupleslot(store, result);
		nadded++;
	}
	if (direct->plain && nadded == 0)
		tuplestore_puttupleslot(store, make_result(direct, NULL));
	eddy_direct_clear(direct);
}

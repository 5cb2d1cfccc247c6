/*-------------------------------------------------------------------------
 *
 * analyze.c
 *    Takes the SELECT of a continuous view apart, or says why it cannot be maintained.
 *
 * What is accepted: one stream, joined at most with ordinary relations that
 * add columns to its rows; WHERE, GROUP BY and HAVING; aggregates that have a
 * combine function, and expressions over them. Everything else gets an error
 * that names the reason and a way out. Nothing is approximated.
 *
 * The result depends on the definition alone, so that each backend comes to the
 * same layout of the state table.
 *
 * Takes no locks; works in the caller's memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_agg.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "compat.h"
#include "view/plan.h"

static void
refuse(const char *message, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s", message),
			 detail ? errdetail("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0));
}

/* ---- the FROM clause ---- */

typedef struct FromContext
{
	Query	   *query;
	Index		stream_rti;
} FromContext;

/* Notes the stream's range table index and checks which side of joins it is on. */
static void
check_from_item(Node *node, bool nullable, FromContext *context)
{
	if (node == NULL)
		return;
	if (IsA(node, FromExpr))
	{
		ListCell   *lc;

		foreach(lc, ((FromExpr *) node)->fromlist)
			check_from_item(lfirst(lc), nullable, context);
	}
	else if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		check_from_item(join->larg,
						nullable || join->jointype == JOIN_RIGHT || join->jointype == JOIN_FULL,
						context);
		check_from_item(join->rarg,
						nullable || join->jointype == JOIN_LEFT || join->jointype == JOIN_FULL,
						context);
	}
	else if (IsA(node, RangeTblRef))
	{
		Index		rti = ((RangeTblRef *) node)->rtindex;
		RangeTblEntry *rte = rt_fetch(rti, context->query->rtable);

		if (rte->rtekind == RTE_SUBQUERY || rte->rtekind == RTE_CTE)
			refuse("sub-selects in FROM are not supported in a continuous view", NULL,
				   "Write the query as one SELECT over the stream.");
		if (rte->tablesample)
			refuse("TABLESAMPLE is not supported in a continuous view", NULL, NULL);
		if (rte->rtekind == RTE_RELATION && eddy_catalog_get_stream(rte->relid) != NULL)
		{
			if (context->stream_rti != 0)
				refuse("a continuous view cannot join two streams",
					   "Rows of one stream would have to be kept for ever for rows of the other still to come.",
					   "Aggregate each stream in a continuous view of its own and join the views when reading.");
			if (nullable)
				refuse("the stream is on the nullable side of an outer join",
					   "Rows without a match would have to be taken back when one arrives.",
					   "Put the stream on the other side, or use an inner join.");
			context->stream_rti = rti;
		}
	}
}

static Index
find_stream(Query *query)
{
	FromContext context = {query, 0};

	check_from_item((Node *) query->jointree, false, &context);
	if (context.stream_rti == 0)
	{
		RangeTblEntry *rte = NULL;
		ListCell   *lc;

		foreach(lc, query->rtable)
		{
			rte = lfirst(lc);
			if (rte->rtekind == RTE_RELATION && rte->inFromCl && rte->relkind == RELKIND_RELATION)
				break;
			rte = NULL;
		}
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the query of a continuous view must read a stream"),
				 rte ? errhint("Make table \"%s\" a stream with eddy.create_stream.",
							   get_rel_name(rte->relid)) :
				 errhint("Make a stream of an unlogged table with eddy.create_stream.")));
	}
	return context.stream_rti;
}

/* ---- clauses that cannot be kept up to date ---- */

static bool
refuse_function(Oid funcid, void *context pg_attribute_unused())
{
	if (funcid == F_NOW || funcid == F_TRANSACTION_TIMESTAMP || funcid == F_STATEMENT_TIMESTAMP)
		refuse("the query of a continuous view cannot depend on the current time",
			   "Rows are counted once, when they arrive, and not again when time has passed.",
			   "Compare with the current time when reading the view.");
	if (func_volatile(funcid) == PROVOLATILE_VOLATILE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("volatile function \"%s\" cannot be used in a continuous view",
						get_func_name(funcid)),
				 errdetail("Its result could not be computed again.")));
	return false;
}

/*
 * A window whose length can never be right would cost every row: the constant lengths of
 * eddy's window functions are looked at here. The offset, which may be
 * anything, is the last argument.
 */
static void
check_window(FuncExpr *call)
{
	int			nlengths = list_length(call->args) - 1;

	if (get_func_namespace(call->funcid) != eddy_catalog_schema())
		return;
	for (int i = 1; i <= nlengths; i++)
	{
		Node	   *node = eval_const_expressions(NULL, copyObject(list_nth(call->args, i)));
		Interval   *length;
		static const Interval zero = {0};

		if (!IsA(node, Const) || ((Const *) node)->constisnull ||
			((Const *) node)->consttype != INTERVALOID)
			continue;
		length = DatumGetIntervalP(((Const *) node)->constvalue);
		if (length->month != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("length of a window cannot contain months or years"),
					 errdetail("Months differ in length; windows of eddy.%s have a fixed one.",
							   get_func_name(call->funcid)),
					 errhint("Group by date_trunc('month', ...) instead.")));
		if (i < nlengths &&
			!DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(length),
											  IntervalPGetDatum(&zero))))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("length of a window must be greater than zero")));
	}
}

/* Looks for expressions whose value depends on when they are evaluated, and for other streams. */
static bool
check_node(Node *node, void *context)
{
	if (node == NULL)
		return false;
	check_functions_in_node(node, refuse_function, context);
	if (IsA(node, FuncExpr))
		check_window((FuncExpr *) node);
	if (IsA(node, Var) && ((Var *) node)->varattno < 0)
		refuse("system columns cannot be used in a continuous view",
			   "A row is counted before it has a place in the table.", NULL);
	if (IsA(node, SQLValueFunction))
	{
		SQLValueFunctionOp op = ((SQLValueFunction *) node)->op;

		if (op <= SVFOP_LOCALTIMESTAMP_N)
			refuse_function(F_NOW, context);
	}
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		ListCell   *lc;

		/* a sub-select: evaluated as of the batch, so it must not look at a stream */
		foreach(lc, query->rtable)
		{
			RangeTblEntry *rte = lfirst(lc);

			if (rte->rtekind == RTE_RELATION && eddy_catalog_get_stream(rte->relid) != NULL)
				refuse("a sub-select in a continuous view cannot read a stream",
					   "It would see the rows staged at that moment only.", NULL);
		}
		return query_tree_walker(query, check_node, context, 0);
	}
	return expression_tree_walker(node, check_node, context);
}

static void
check_clauses(Query *query)
{
	if (query->commandType != CMD_SELECT || query->utilityStmt)
		refuse("the query of a continuous view must be a SELECT", NULL, NULL);
	if (query->setOperations)
		refuse("UNION, INTERSECT and EXCEPT are not supported in a continuous view", NULL,
			   "Create one continuous view for each branch.");
	if (query->cteList)
		refuse("WITH is not supported in a continuous view", NULL,
			   "Write the query as one SELECT over the stream.");
	if (query->hasWindowFuncs)
		refuse("window functions are not supported in a continuous view",
			   "Their results depend on rows still to come.",
			   "Use them in a view on top of the continuous view.");
	if (query->distinctClause || query->hasDistinctOn)
		refuse("DISTINCT is not supported in a continuous view", NULL,
			   "Use GROUP BY on the same expressions.");
	if (query->groupingSets)
		refuse("GROUPING SETS, ROLLUP and CUBE are not supported in a continuous view", NULL,
			   "Create one continuous view for each grouping.");
	if (query->sortClause)
		refuse("ORDER BY is not supported in a continuous view", NULL,
			   "Use ORDER BY when reading the view.");
	if (query->limitCount || query->limitOffset)
		refuse("LIMIT is not supported in a continuous view", NULL,
			   "Use LIMIT when reading the view.");
	if (query->rowMarks)
		refuse("FOR UPDATE is not supported in a continuous view", NULL, NULL);
	if (query->hasTargetSRFs)
		refuse("set-returning functions are not supported in the select list of a continuous view",
			   NULL, "Put them into FROM.");
	if (!query->hasAggs && query->groupClause == NIL)
		refuse("the query of a continuous view must aggregate",
			   "It has neither GROUP BY nor an aggregate.",
			   "Read the rows of the stream with an ordinary view.");
	(void) query_tree_walker(query, check_node, NULL, 0);
}

Oid
eddy_analyze_stream(Query *query)
{
	Index		rti;

	check_clauses(query);
	rti = find_stream(query);
	return rt_fetch(rti, query->rtable)->relid;
}

/* ---- aggregates ---- */

typedef struct CollectContext
{
	List	   *aggrefs;
} CollectContext;

static bool
collect_aggrefs(Node *node, CollectContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
	{
		context->aggrefs = list_append_unique(context->aggrefs, node);
		return false;
	}
	return expression_tree_walker(node, collect_aggrefs, context);
}

static void
refuse_aggregate(Oid aggfnoid, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("aggregate \"%s\" cannot be maintained incrementally",
					get_func_name(aggfnoid)),
			 errdetail("%s", detail),
			 hint ? errhint("%s", hint) : 0));
}

/*
 * Sums whose state is internal, but whose final values add up to the final
 * value of both: their state column is the sum itself, readable and small.
 */
static bool
final_values_add_up(Oid aggfnoid)
{
	return aggfnoid == F_SUM_INT8 || aggfnoid == F_SUM_NUMERIC;
}

static void
analyze_aggregate(EddyAggregate *agg, Aggref *aggref)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggref->aggfnoid));
	Form_pg_aggregate form;
	Oid			input_types[FUNC_MAX_ARGS];
	int			ninputs;
	Expr	   *expr;
	Expr	   *unused;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", aggref->aggfnoid);
	form = (Form_pg_aggregate) GETSTRUCT(tuple);

	if (aggref->aggkind != AGGKIND_NORMAL)
		refuse_aggregate(aggref->aggfnoid, "It needs all its input values at once.",
						 "Keep the counted values with a GROUP BY on them and compute it in a view on top.");
	if (aggref->aggdistinct)
		refuse_aggregate(aggref->aggfnoid, "DISTINCT needs all values seen before.",
						 "Keep the counted values with a GROUP BY on them and count them in a view on top.");
	if (aggref->aggorder)
		refuse_aggregate(aggref->aggfnoid, "ORDER BY within an aggregate needs all its input values at once.",
						 "Keep the counted values with a GROUP BY on them and order them in a view on top.");
	if (!OidIsValid(form->aggcombinefn))
		refuse_aggregate(aggref->aggfnoid, "It has no combine function.",
						 "Keep the counted values with a GROUP BY on them and compute it in a view on top.");

	memset(agg, 0, sizeof(EddyAggregate));
	agg->aggref = aggref;
	ninputs = get_aggregate_argtypes(aggref, input_types);
	agg->transtype = resolve_aggregate_transtype(aggref->aggfnoid, form->aggtranstype,
												 input_types, ninputs);
	agg->internal = (agg->transtype == INTERNALOID);
	if (agg->internal && (!OidIsValid(form->aggserialfn) || !OidIsValid(form->aggdeserialfn)))
		refuse_aggregate(aggref->aggfnoid, "Its transition state cannot be stored.", NULL);
	agg->partial_type = agg->internal ? BYTEAOID : agg->transtype;
	get_typlenbyval(agg->transtype, &agg->translen, &agg->transbyval);
	get_typlenbyval(aggref->aggtype, &agg->resultlen, &agg->resultbyval);

	agg->has_final = OidIsValid(form->aggfinalfn);
	agg->nfinal_args = form->aggfinalextra ? ninputs + 1 : 1;
	agg->state_is_final = !agg->has_final || final_values_add_up(aggref->aggfnoid);
	if (agg->state_is_final)
	{
		agg->state_type = aggref->aggtype;
		agg->state_typmod = exprTypmod((Node *) aggref);
	}
	else
	{
		agg->state_type = agg->partial_type;
		agg->state_typmod = -1;
	}

	/* a combine function is a transition function whose one input is a state */
	fmgr_info(form->aggcombinefn, &agg->combine);
	build_aggregate_transfn_expr(&agg->transtype, 1, 0, false, agg->transtype,
								 aggref->inputcollid, form->aggcombinefn, InvalidOid, &expr,
								 &unused);
	fmgr_info_set_expr((Node *) expr, &agg->combine);
	if (agg->internal && agg->state_is_final)
		fmgr_info(F_NUMERIC_ADD, &agg->add);
	if (agg->internal)
	{
		fmgr_info(form->aggserialfn, &agg->serialize);
		build_aggregate_serialfn_expr(form->aggserialfn, &expr);
		fmgr_info_set_expr((Node *) expr, &agg->serialize);
		fmgr_info(form->aggdeserialfn, &agg->deserialize);
		build_aggregate_deserialfn_expr(form->aggdeserialfn, &expr);
		fmgr_info_set_expr((Node *) expr, &agg->deserialize);
	}
	if (agg->has_final)
	{
		fmgr_info(form->aggfinalfn, &agg->final);
		build_aggregate_finalfn_expr(input_types, agg->nfinal_args, agg->transtype,
									 aggref->aggtype, aggref->inputcollid, form->aggfinalfn,
									 &expr);
		fmgr_info_set_expr((Node *) expr, &agg->final);
	}
	ReleaseSysCache(tuple);
}

/* ---- expressions over keys and aggregates ---- */

static Node *
replace_mutator(Node *node, EddyViewPlan *plan)
{
	if (node == NULL)
		return NULL;
	for (int i = 0; i < plan->nkeys; i++)
	{
		EddyKey    *key = &plan->keys[i];

		if (equal(node, key->expr))
			return (Node *) makeVar(1, i + 1, key->type, key->typmod, key->collation, 0);
	}
	if (IsA(node, Aggref))
	{
		for (int i = 0; i < plan->naggs; i++)
		{
			Aggref	   *aggref = plan->aggs[i].aggref;

			if (equal(node, aggref))
				return (Node *) makeVar(1, plan->nkeys + i + 1, aggref->aggtype, -1,
										aggref->aggcollid, 0);
		}
		elog(ERROR, "aggregate of a continuous view was not collected");
	}
	if (IsA(node, GroupingFunc))
		refuse("GROUPING is not supported in a continuous view", NULL, NULL);
	if (IsA(node, SubLink))
		refuse("sub-selects over groups are not supported in a continuous view", NULL,
			   "Use them in a view on top of the continuous view.");
	if (IsA(node, Var))
		refuse("columns that only depend on a grouped key are not supported in a continuous view",
			   NULL, "Add the column to GROUP BY.");
	return expression_tree_mutator(node, replace_mutator, plan);
}

static void
analyze_keys(EddyViewPlan *plan, Query *query)
{
	ListCell   *lc;
	int			i = 0;

	plan->nkeys = list_length(query->groupClause);
	plan->keys = palloc0(sizeof(EddyKey) * Max(plan->nkeys, 1));
	foreach(lc, query->groupClause)
	{
		Node	   *expr = get_sortgroupclause_expr(lfirst(lc), query->targetList);
		EddyKey    *key = &plan->keys[i++];
		TypeCacheEntry *type;

		key->expr = (Expr *) expr;
		key->type = exprType(expr);
		key->typmod = exprTypmod(expr);
		key->collation = exprCollation(expr);
		type = lookup_type_cache(key->type, TYPECACHE_LT_OPR | TYPECACHE_EQ_OPR_FINFO);
		if (!OidIsValid(type->lt_opr) || !OidIsValid(type->eq_opr_finfo.fn_oid))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a continuous view cannot group by type %s", format_type_be(key->type)),
					 errdetail("The type has no default btree operator class.")));
		key->lt_opr = type->lt_opr;
		fmgr_info(type->eq_opr_finfo.fn_oid, &key->eq);
	}
}

static void
analyze_aggregates(EddyViewPlan *plan, Query *query)
{
	CollectContext context = {NIL};
	ListCell   *lc;
	int			i = 0;

	collect_aggrefs((Node *) query->targetList, &context);
	collect_aggrefs(query->havingQual, &context);
	plan->naggs = list_length(context.aggrefs);
	plan->aggs = palloc0(sizeof(EddyAggregate) * Max(plan->naggs, 1));
	foreach(lc, context.aggrefs)
		analyze_aggregate(&plan->aggs[i++], lfirst_node(Aggref, lc));
}

static void
analyze_outputs(EddyViewPlan *plan, Query *query)
{
	ListCell   *lc;

	plan->outputs = palloc0(sizeof(EddyOutput) * list_length(query->targetList));
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst(lc);
		EddyOutput *output;

		if (tle->resjunk)
			continue;
		output = &plan->outputs[plan->noutputs++];
		output->name = pstrdup(tle->resname);
		output->type = exprType((Node *) tle->expr);
		output->typmod = exprTypmod((Node *) tle->expr);
		output->collation = exprCollation((Node *) tle->expr);
		output->expr = (Expr *) replace_mutator((Node *) tle->expr, plan);
		if (IsA(output->expr, Var))
		{
			int			attno = ((Var *) output->expr)->varattno - 1;

			output->kind = attno < plan->nkeys ? EDDY_OUTPUT_KEY : EDDY_OUTPUT_AGGREGATE;
			output->index = attno < plan->nkeys ? attno : attno - plan->nkeys;
		}
		else
		{
			output->kind = EDDY_OUTPUT_EXPRESSION;
			plan->fallible = true;
		}
	}
	if (query->havingQual)
	{
		plan->having = (Expr *) replace_mutator(query->havingQual, plan);
		plan->fallible = true;
	}
}

/* ---- layout of the state table ---- */

static bool
column_exists(EddyViewPlan *plan, const char *name)
{
	for (int i = 0; i < plan->ncolumns; i++)
		if (strcmp(plan->columns[i].name, name) == 0)
			return true;
	return false;
}

static AttrNumber
add_column(EddyViewPlan *plan, const char *name, Oid type, int32 typmod, Oid collation)
{
	EddyStateColumn *column;
	char	   *unique = pstrdup(name);

	/* hidden names make way for columns of the view */
	for (int i = 1; plan->ncolumns >= plan->noutputs && column_exists(plan, unique); i++)
		unique = psprintf("%s_%d", name, i);
	column = &plan->columns[plan->ncolumns++];
	column->name = unique;
	column->type = type;
	column->typmod = typmod;
	column->collation = collation;
	return plan->ncolumns;
}

static void
lay_out_columns(EddyViewPlan *plan)
{
	plan->columns = palloc0(sizeof(EddyStateColumn) *
							(plan->noutputs + plan->nkeys + plan->naggs + 2));
	for (int i = 0; i < plan->noutputs; i++)
	{
		EddyOutput *output = &plan->outputs[i];
		AttrNumber	column = add_column(plan, output->name, output->type, output->typmod,
										output->collation);

		if (output->kind == EDDY_OUTPUT_KEY && plan->keys[output->index].column == 0)
			plan->keys[output->index].column = column;
		if (output->kind == EDDY_OUTPUT_AGGREGATE && plan->aggs[output->index].state_is_final &&
			plan->aggs[output->index].state_column == 0)
			plan->aggs[output->index].state_column = column;
	}
	for (int i = 0; i < plan->nkeys; i++)
	{
		EddyKey    *key = &plan->keys[i];

		if (key->column == 0)
			key->column = add_column(plan, psprintf("_key%d", i + 1), key->type, key->typmod,
									 key->collation);
	}
	if (plan->nkeys == 0)
		plan->constant_key = add_column(plan, "_key", INT2OID, -1, InvalidOid);
	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];

		if (agg->state_column == 0)
			agg->state_column = add_column(plan, psprintf("_state%d", i + 1), agg->state_type,
										   agg->state_typmod,
										   agg->state_is_final ? agg->aggref->aggcollid :
										   get_typcollation(agg->state_type));
	}
	if (plan->having)
		plan->visible_column = add_column(plan, "_visible", BOOLOID, -1, InvalidOid);
}

static void
make_descriptors(EddyViewPlan *plan)
{
	int			natts = plan->nkeys + plan->naggs;

	plan->delta_desc = CreateTemplateTupleDesc(natts);
	plan->final_desc = CreateTemplateTupleDesc(natts);
	for (int i = 0; i < plan->nkeys; i++)
	{
		EddyKey    *key = &plan->keys[i];

		TupleDescInitEntry(plan->delta_desc, i + 1, NULL, key->type, key->typmod, 0);
		TupleDescInitEntryCollation(plan->delta_desc, i + 1, key->collation);
		TupleDescInitEntry(plan->final_desc, i + 1, NULL, key->type, key->typmod, 0);
		TupleDescInitEntryCollation(plan->final_desc, i + 1, key->collation);
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];

		TupleDescInitEntry(plan->delta_desc, plan->nkeys + i + 1, NULL, agg->partial_type, -1, 0);
		TupleDescInitEntry(plan->final_desc, plan->nkeys + i + 1, NULL, agg->aggref->aggtype,
						   -1, 0);
		TupleDescInitEntryCollation(plan->final_desc, plan->nkeys + i + 1,
									agg->aggref->aggcollid);
	}
}

/*
 * The delta query: the keys and the bare aggregates, with FROM, WHERE and
 * GROUP BY as they are. As SQL text, so that the plan cache can analyze it
 * anew whenever something it depends on has changed.
 */
static void
make_delta_sql(EddyViewPlan *plan, Query *query, Index stream_rti)
{
	Query	   *delta = copyObject(query);
	List	   *tlist = NIL;
	ListCell   *lc;
	RangeTblEntry *rte;

	foreach(lc, delta->groupClause)
	{
		SortGroupClause *clause = lfirst(lc);
		TargetEntry *tle = get_sortgroupclause_tle(clause, delta->targetList);
		TargetEntry *copy = flatCopyTargetEntry(tle);

		copy->resno = list_length(tlist) + 1;
		copy->resname = psprintf("k%d", copy->resno);
		copy->resjunk = false;
		tlist = lappend(tlist, copy);
	}
	for (int i = 0; i < plan->naggs; i++)
		tlist = lappend(tlist, makeTargetEntry((Expr *) copyObject(plan->aggs[i].aggref),
											   list_length(tlist) + 1, psprintf("a%d", i + 1),
											   false));
	delta->targetList = tlist;
	delta->havingQual = NULL;
	delta->hasAggs = (plan->naggs > 0);

	rte = rt_fetch(stream_rti, delta->rtable);
	plan->staged_sql = pg_get_querydef(delta, false);
	rte->inh = false;
	plan->delta_sql = pg_get_querydef(delta, false);
}

void
eddy_analyze_query(EddyViewPlan *plan, Query *query)
{
	Index		stream_rti;

	check_clauses(query);
	stream_rti = find_stream(query);
	eddy_compat_flatten_group(query);
	plan->stream = rt_fetch(stream_rti, query->rtable)->relid;
	analyze_keys(plan, query);
	analyze_aggregates(plan, query);
	analyze_outputs(plan, query);
	lay_out_columns(plan);
	make_descriptors(plan);
	make_delta_sql(plan, query, stream_rti);
}

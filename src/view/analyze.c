/*-------------------------------------------------------------------------
 *
 * analyze.c
 *    Takes the SELECT of a continuous view apart: keys, aggregates, columns.
 *
 * Which queries are accepted is decided in refuse.c.
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
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_agg.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "view/function.h"
#include "view/plan.h"
#include "view/refuse.h"
#include "view/scan.h"

Oid
eddy_analyze_stream(Query *query)
{
	return rt_fetch(eddy_refuse_query(query), query->rtable)->relid;
}

/* ---- aggregates ---- */

static bool
collect_aggrefs(Node *node, List **aggrefs)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
	{
		*aggrefs = list_append_unique(*aggrefs, node);
		return false;
	}
	return expression_tree_walker(node, collect_aggrefs, aggrefs);
}

List *
eddy_analyze_aggrefs(Query *query)
{
	List	   *aggrefs = NIL;

	collect_aggrefs((Node *) query->targetList, &aggrefs);
	collect_aggrefs(query->havingQual, &aggrefs);
	return aggrefs;
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
		eddy_refuse("GROUPING is not supported in a continuous view", NULL, NULL);
	if (IsA(node, SubLink))
		eddy_refuse("sub-selects over groups are not supported in a continuous view", NULL,
			   "Use them in a view on top of the continuous view.");
	if (IsA(node, Var))
		eddy_refuse("columns that only depend on a grouped key are not supported in a continuous view",
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

/* count(*) of the rows for which a strict transition function is called. */
static Aggref *
make_counter(const Aggref *aggref)
{
	Aggref	   *counter = makeNode(Aggref);
	List	   *conditions = NIL;
	ListCell   *lc;

	if (aggref->aggfilter)
		conditions = list_make1(copyObject(aggref->aggfilter));
	foreach(lc, aggref->args)
	{
		NullTest   *test = makeNode(NullTest);

		test->arg = copyObject(lfirst_node(TargetEntry, lc)->expr);
		test->nulltesttype = IS_NOT_NULL;
		test->location = -1;
		conditions = lappend(conditions, test);
	}
	counter->aggfnoid = F_COUNT_;
	counter->aggtype = INT8OID;
	counter->aggfilter = conditions ? make_ands_explicit(conditions) : NULL;
	counter->aggstar = true;
	counter->aggkind = AGGKIND_NORMAL;
	counter->aggsplit = AGGSPLIT_SIMPLE;
	counter->aggno = -1;
	counter->aggtransno = -1;
	counter->location = -1;
	return counter;
}

/*
 * Notes what a NULL state means, and adds a counter where only the number of inputs can
 * tell. The transition functions of the server never return NULL for a state they were given.
 */
static void
analyze_null_state(EddyViewPlan *plan, EddyAggregate *agg)
{
	HeapTuple	tuple;
	bool		has_no_initial;

	if (get_func_namespace(agg->aggref->aggfnoid) == PG_CATALOG_NAMESPACE)
		return;
	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(agg->aggref->aggfnoid));
	(void) SysCacheGetAttr(AGGFNOID, tuple, Anum_pg_aggregate_agginitval, &has_no_initial);
	if (func_strict(((Form_pg_aggregate) GETSTRUCT(tuple))->aggtransfn))
	{
		if (has_no_initial)
		{
			agg->counter = plan->naggs++;
			analyze_aggregate(&plan->aggs[agg->counter], make_counter(agg->aggref));
		}
		else
			agg->null_is_lost = true;
	}
	ReleaseSysCache(tuple);
}

static void
analyze_aggregates(EddyViewPlan *plan, Query *query)
{
	List	   *aggrefs = eddy_analyze_aggrefs(query);
	ListCell   *lc;
	int			n = 0;

	plan->naggs = list_length(aggrefs);
	/* with room for one counter each */
	plan->aggs = palloc0(sizeof(EddyAggregate) * Max(2 * plan->naggs, 1));
	foreach(lc, aggrefs)
	{
		analyze_aggregate(&plan->aggs[n], lfirst_node(Aggref, lc));
		eddy_function_check_aggregate(&plan->aggs[n]);
		analyze_null_state(plan, &plan->aggs[n++]);
	}
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
 * GROUP BY as they are, over the rows of a batch.
 */
static void
make_delta_query(EddyViewPlan *plan, Query *query, Index stream_rti)
{
	Query	   *delta = copyObject(query);
	List	   *tlist = NIL;
	ListCell   *lc;

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
	eddy_scan_mark(rt_fetch(stream_rti, delta->rtable));

	/* rules of views have entries for the view itself, up to 15: nobody reads them or needs locks */
	foreach(lc, delta->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION && rte->relid == plan->definition)
		{
			rte->rtekind = RTE_RESULT;
			rte->relid = InvalidOid;
		}
	}
	plan->delta_query = delta;
}

void
eddy_analyze_query(EddyViewPlan *plan, Query *query)
{
	Index		stream_rti;

	stream_rti = eddy_refuse_query(query);
	eddy_compat_flatten_group(query);
	query = eddy_function_guard_times(query);
	plan->stream = rt_fetch(stream_rti, query->rtable)->relid;
	analyze_keys(plan, query);
	analyze_aggregates(plan, query);
	analyze_outputs(plan, query);
	lay_out_columns(plan);
	make_descriptors(plan);
	make_delta_query(plan, query, stream_rti);
}

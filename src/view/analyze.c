/*-------------------------------------------------------------------------
 *
 * analyze.c
 *    Takes the SELECT of a continuous view apart: keys, aggregates, outputs, delta query.
 *
 * Which queries are accepted is decided in refuse.c, and what the state tables look like by the
 * kind of the view. The result depends on the definition alone, so that each backend gets the same
 * layout of the state tables.
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
#include "view/analyze.h"
#include "view/chain.h"
#include "view/chain_combine.h"
#include "view/collect.h"
#include "view/event_window.h"
#include "view/flatten.h"
#include "view/function.h"
#include "view/kind.h"
#include "view/kind_deferred.h"
#include "view/kind_retracting.h"
#include "view/layer.h"
#include "view/pack.h"
#include "view/refuse.h"
#include "view/scan.h"

/*
 * eddy_analyze_flatten returns the part of a definition that is maintained, as one SELECT that has
 * the stream in its own FROM clause, and plain GROUP BY if any: what applies to the rows of one
 * stream, if UNION ALL reads several. A copy.
 */
Query *
eddy_analyze_flatten(Query *definition, Oid stream)
{
	EddyLayers	layers;
	Query	   *query;

	eddy_layer_split(&layers, copyObject(definition));
	query = layers.core;
	eddy_compat_flatten_group(query);
	/* before columns that are the same expression become indistinguishable */
	eddy_set_returning_to_from(query);
	eddy_grouping_normalize(query);
	query = eddy_flatten_query(query, stream);
	return query;
}

static List *
list_sources(Query *definition)
{
	EddyLayers	layers;

	eddy_layer_split(&layers, copyObject(definition));
	return eddy_flatten_list_sources(layers.core);
}

/*
 * eddy_analyze_sources returns the streams, and the views in the place of streams, that a
 * definition reads.
 */
List *
eddy_analyze_sources(Query *definition)
{
	List	   *sources = list_sources(definition);
	ListCell   *lc;

	/* raises the error of a query without a stream */
	if (sources == NIL)
		(void) eddy_refuse_query(eddy_analyze_flatten(definition, InvalidOid));
	foreach(lc, sources)
		(void) eddy_refuse_query(eddy_analyze_flatten(definition, lfirst_oid(lc)));
	return sources;
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

/*
 * Sums whose state is internal, but whose final values can be added: their state column is the sum
 * itself, which is readable and small.
 */
static bool
final_values_add_up(Oid aggfnoid)
{
	return aggfnoid == F_SUM_INT8 || aggfnoid == F_SUM_NUMERIC || aggfnoid == F_SUM_INTERVAL;
}

/*
 * Describes the arguments of an aggregate after those of a function that it calls, so that the
 * function knows the types of the values in its states (pack.c), which a stored state cannot say
 * reliably.
 */
static void
add_argument_types(Expr *call, const Oid *types, int ntypes)
{
	FuncExpr   *function = castNode(FuncExpr, call);

	Assert(list_length(function->args) == EDDY_PACK_OWN_ARGUMENTS);
	for (int i = 0; i < ntypes; i++)
		function->args = lappend(function->args,
								 makeNullConst(types[i], -1, InvalidOid));
}

/* An aggregate that combines. */
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

	memset(agg, 0, sizeof(EddyAggregate));
	agg->aggref = aggref;
	ninputs = get_aggregate_argtypes(aggref, input_types);
	agg->transtype = resolve_aggregate_transtype(aggref->aggfnoid, form->aggtranstype,
												 input_types, ninputs);
	agg->internal = (agg->transtype == INTERNALOID);
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

	/*
	 * a combine function is a transition function whose one input is a state; see
	 * add_argument_types
	 */
	fmgr_info(form->aggcombinefn, &agg->combine);
	build_aggregate_transfn_expr(&agg->transtype, 1, 0, false, agg->transtype,
								 aggref->inputcollid, form->aggcombinefn, InvalidOid, &expr,
								 &unused);
	if (agg->internal)
		add_argument_types(expr, input_types, ninputs);
	fmgr_info_set_expr((Node *) expr, &agg->combine);
	if (agg->internal && agg->state_is_final)
		fmgr_info(aggref->aggfnoid == F_SUM_INTERVAL ? F_INTERVAL_PL : F_NUMERIC_ADD, &agg->add);
	if (agg->internal)
	{
		fmgr_info(form->aggserialfn, &agg->serialize);
		build_aggregate_serialfn_expr(form->aggserialfn, &expr);
		fmgr_info_set_expr((Node *) expr, &agg->serialize);
		fmgr_info(form->aggdeserialfn, &agg->deserialize);
		build_aggregate_deserialfn_expr(form->aggdeserialfn, &expr);
		add_argument_types(expr, input_types, ninputs);
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
	if (IsA(node, SubLink))
		eddy_refuse("sub-selects over groups are not supported in a continuous view", NULL,
			   "Use them in a view on top of the continuous view.");
	if (IsA(node, Var))
		eddy_refuse("columns that only depend on a grouped key are not supported in a continuous view",
			   NULL, "Add the column to GROUP BY.");
	return expression_tree_mutator(node, replace_mutator, plan);
}

/* Which bound of a window over the event time a GROUP BY expression is. */
static int
window_bound(EddyViewPlan *plan, Query *query, SortGroupClause *clause)
{
	return eddy_event_window_bound(query, plan->stream_rti,
								   get_sortgroupclause_expr(clause, query->targetList));
}

/*
 * The positions of the GROUP BY expressions in the order of the keys: windows come first, so that
 * groups that are written, closed and removed at the same time are next to each other in the index.
 */
static int *
order_keys(EddyViewPlan *plan, Query *query, List *clauses)
{
	static const int ranks[] = {EDDY_WINDOW_END, EDDY_WINDOW_START, 0, EDDY_WINDOW_LAST};
	int		   *order = palloc(sizeof(int) * Max(plan->nkeys, 1));
	int			n = 0;

	for (int rank = 0; rank < (int) lengthof(ranks); rank++)
		for (int i = 0; i < plan->nkeys; i++)
			if (window_bound(plan, query, list_nth(clauses, i)) == ranks[rank])
				order[n++] = i;
	Assert(n == plan->nkeys);
	return order;
}

/* eddy_analyze_keys fills the keys: the expressions of GROUP BY or DISTINCT ON. */
void
eddy_analyze_keys(EddyViewPlan *plan, Query *query, List *clauses)
{
	int		   *order;

	plan->nkeys = list_length(clauses);
	plan->keys = palloc0(sizeof(EddyKey) * Max(plan->nkeys, 1));
	order = order_keys(plan, query, clauses);
	plan->windowed = plan->nkeys > 0 &&
		window_bound(plan, query, list_nth(clauses, order[0])) == EDDY_WINDOW_END;
	for (int i = 0; i < plan->nkeys; i++)
	{
		Node	   *expr = get_sortgroupclause_expr(list_nth(clauses, order[i]),
													query->targetList);
		EddyKey    *key = &plan->keys[i];
		TypeCacheEntry *type;

		key->position = order[i];
		key->dependent = plan->adds_end && i == 0;
		key->expr = (Expr *) expr;
		key->type = exprType(expr);
		key->typmod = exprTypmod(expr);
		key->collation = exprCollation(expr);
		if (get_typtype(key->type) == TYPTYPE_PSEUDO)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a continuous view cannot group by type %s", format_type_be(key->type)),
					 errdetail("Values of this type cannot be stored."),
					 errhint("Group by the columns of the row.")));
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

/* count(*) of the rows for which a strict transition function is called; NULL: of all rows. */
static Aggref *
make_counter(const Aggref *aggref)
{
	Aggref	   *counter = makeNode(Aggref);
	List	   *conditions = NIL;
	ListCell   *lc;

	if (aggref && aggref->aggfilter)
		conditions = list_make1(copyObject(aggref->aggfilter));
	foreach(lc, aggref ? aggref->args : NIL)
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
 * Determines what a NULL state means, and adds a counter if only the number of inputs shows it.
 * The transition functions of the server never return NULL for a state that is not.
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

/* The range table index of the stream, 0 if it is not at the top of the query. */
static Index
find_stream(const EddyViewPlan *plan, const Query *query)
{
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION && rte->relid == plan->stream && rte->inFromCl)
			return foreach_current_index(lc) + 1;
	}
	return 0;
}

/* An aggregate that is computed from all values of a group: its result is stored. */
static void
analyze_result(EddyAggregate *agg, Aggref *aggref)
{
	memset(agg, 0, sizeof(EddyAggregate));
	agg->aggref = aggref;
	agg->transtype = agg->partial_type = aggref->aggtype;
	get_typlenbyval(aggref->aggtype, &agg->resultlen, &agg->resultbyval);
	agg->translen = agg->resultlen;
	agg->transbyval = agg->resultbyval;
	agg->state_is_final = true;
	agg->state_type = aggref->aggtype;
	agg->state_typmod = exprTypmod((Node *) aggref);
}

/* An aggregate that needs its values: gives it a collection, which it can share. */
static void
analyze_values(EddyViewPlan *plan, Query *query, EddyAggregate *agg, Aggref *aggref)
{
	EddyCollection *collection;

	analyze_result(agg, aggref);
	eddy_collect_analyze(plan, agg);
	collection = agg->collection;
	if (!agg->from_all)
	{
		analyze_aggregate(agg, aggref);
		agg->collection = collection;
	}
	if (collection->input == NULL)
	{
		collection->input = palloc(sizeof(EddyAggregate));
		analyze_aggregate(collection->input, collection->combined ?
						  eddy_combine_make_values(plan, aggref) :
						  eddy_collect_make_aggref(collection, find_stream(plan, query)));
	}
}

/* The index of count(*), which is added if the query has none. */
static int
find_row_count(EddyViewPlan *plan)
{
	Aggref	   *count = make_counter(NULL);

	for (int i = 0; i < plan->naggs; i++)
		if (equal(plan->aggs[i].aggref, count))
			return i;
	analyze_aggregate(&plan->aggs[plan->naggs], count);
	return plan->naggs++;
}

/* An aggregate that combines states of the parent. */
static void
analyze_states(EddyViewPlan *plan, EddyAggregate *agg, Aggref *aggref)
{
	analyze_aggregate(agg, aggref);
	agg->null_is_lost = eddy_combine_source(plan, aggref)->null_is_lost;
	agg->states = palloc(sizeof(EddyAggregate));
	analyze_aggregate(agg->states, eddy_combine_make_states(plan, aggref));
}

/* What is stored of an aggregate is a column of a state table. */
static void
check_state_type(const EddyAggregate *agg)
{
	if (get_typtype(agg->state_type) == TYPTYPE_PSEUDO)
		eddy_refuse(psprintf("aggregate \"%s\" cannot be maintained incrementally",
							 get_func_name(agg->aggref->aggfnoid)),
					psprintf("Its result must be stored, and values of type %s cannot be.",
							 format_type_be(agg->state_type)),
					"Cast rows to a composite type, or build values with jsonb_build_object.");
}

static void
analyze_aggregates(EddyViewPlan *plan, Query *query)
{
	List	   *aggrefs = eddy_analyze_aggrefs(query);
	ListCell   *lc;
	int			n = 0;

	plan->naggs = list_length(aggrefs);
	/* with space for a counter for each */
	plan->aggs = palloc0(sizeof(EddyAggregate) * (2 * plan->naggs + 1));
	foreach(lc, aggrefs)
	{
		Aggref	   *aggref = lfirst_node(Aggref, lc);

		if (plan->retracts ? !eddy_retracting_subtracts(aggref) : eddy_collect_needs_values(aggref))
			analyze_values(plan, query, &plan->aggs[n], aggref);
		else if (eddy_combine_is_combined(aggref))
			analyze_states(plan, &plan->aggs[n], aggref);
		else
			analyze_aggregate(&plan->aggs[n], aggref);
		eddy_function_check_aggregate(&plan->aggs[n]);
		check_state_type(&plan->aggs[n]);
		if (plan->aggs[n].collection == NULL && plan->aggs[n].states == NULL)
			analyze_null_state(plan, &plan->aggs[n]);
		n++;
	}
	if (plan->retracts)
		plan->rows_agg = find_row_count(plan);
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

/* eddy_analyze_groups fills keys, aggregates, outputs and HAVING, in the current memory context. */
void
eddy_analyze_groups(EddyViewPlan *plan, Query *query)
{
	eddy_analyze_keys(plan, query, query->groupClause);
	eddy_empty_sets_note(plan, query);
	analyze_aggregates(plan, query);
	analyze_outputs(plan, query);
}

/* eddy_analyze_rows fills the outputs of a query whose columns are those of the delta. */
void
eddy_analyze_rows(EddyViewPlan *plan, Query *query)
{
	ListCell   *lc;

	plan->outputs = palloc0(sizeof(EddyOutput) * Max(list_length(query->targetList), 1));
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		EddyOutput *output;

		if (tle->resjunk)
			continue;
		output = &plan->outputs[plan->noutputs];
		output->kind = EDDY_OUTPUT_DELTA;
		output->index = plan->noutputs++;
		output->stream_column = eddy_union_find_column(query, plan->stream_rti,
													   (Node *) tle->expr);
		output->expr = tle->expr;
		output->name = pstrdup(tle->resname);
		output->type = exprType((Node *) tle->expr);
		output->typmod = exprTypmod((Node *) tle->expr);
		output->collation = exprCollation((Node *) tle->expr);
	}
}

/* ---- all of a definition ---- */

/* The delta query: what the kind makes of the definition, with the batch as the stream. */
static void
make_delta_query(EddyViewPlan *plan, Query *query, Index stream_rti)
{
	Query	   *delta = copyObject(query);

	plan->kind->make_delta(plan, delta);
	delta = eddy_chain_read_state(plan, delta);
	eddy_scan_mark(rt_fetch(stream_rti, delta->rtable), plan->final_delta);
	plan->delta_query = delta;
}

static void
analyze_flat_query(EddyViewPlan *plan, Query *query)
{
	eddy_chain_analyze_source(plan);
	eddy_combine_replace(plan, query);
	if (plan->kind == NULL)
		plan->kind = eddy_kind_choose_for(plan, query, plan->stream_rti);
	if (plan->deferred)
		eddy_deferred_check(plan);
	eddy_chain_check_query(plan, query);
	plan->adds_end = eddy_event_window_add_end(query, plan->stream_rti);
	plan->kind->layout(plan, query);
	eddy_chain_set_event_time(plan, query);
	make_delta_query(plan, query, plan->stream_rti);
}

/* What applies to the rows of one source. */
static void
analyze_source(EddyViewPlan *plan, Query *definition, Oid source)
{
	Query	   *query = eddy_analyze_flatten(definition, source);
	Index		stream_rti = eddy_refuse_query(query);

	query = eddy_function_guard_times(query);
	plan->stream = rt_fetch(stream_rti, query->rtable)->relid;
	plan->stream_rti = stream_rti;
	PG_TRY();
	{
		analyze_flat_query(plan, query);
	}
	PG_FINALLY();
	{
		eddy_combine_unpin(plan);
	}
	PG_END_TRY();
}

/*
 * The keys, aggregates and state tables must be those of the first source: only the delta query
 * differs.
 */
static void
check_same_layout(const EddyViewPlan *plan, const EddyViewPlan *other)
{
	bool		same = plan->kind == other->kind && plan->nkeys == other->nkeys &&
		plan->naggs == other->naggs && plan->windowed == other->windowed &&
		list_length(plan->state_tables) == list_length(other->state_tables) &&
		equalTupleDescs(plan->delta_desc, other->delta_desc);

	for (int i = 0; same && i < plan->nkeys; i++)
		same = equal(plan->keys[i].expr, other->keys[i].expr);
	for (int i = 0; same && i < plan->naggs; i++)
		same = equal(plan->aggs[i].aggref, other->aggs[i].aggref);
	if (!same)
		elog(ERROR, "branches of UNION ALL are maintained in different ways");
}

/*
 * eddy_analyze_query takes a definition apart into *plan, all in the current memory context. The
 * kind is chosen if the plan has none. Raises ERRCODE_FEATURE_NOT_SUPPORTED with reason and hint
 * for what cannot be maintained incrementally.
 */
void
eddy_analyze_query(EddyViewPlan *plan, Query *definition)
{
	EddyViewPlan policy;
	List	   *sources = list_sources(definition);
	ListCell   *lc;

	eddy_chain_note_sources(plan, sources);
	policy = *plan;
	analyze_source(plan, definition, sources ? linitial_oid(sources) : InvalidOid);
	plan->root = plan->parent && list_length(sources) == 1 ?
		eddy_catalog_root_view(plan->stream) : plan->view;
	foreach(lc, sources)
		plan->streams = list_concat_unique_oid(plan->streams,
											   eddy_catalog_root_streams(lfirst_oid(lc)));
	list_sort(plan->streams, list_oid_cmp);
	for_each_from(lc, sources, 1)
	{
		EddyViewPlan *other = palloc(sizeof(EddyViewPlan));

		*other = policy;
		other->kind = plan->kind;
		analyze_source(other, definition, lfirst_oid(lc));
		check_same_layout(plan, other);
		other->root = plan->root;
		other->streams = plan->streams;
		other->state_tables = plan->state_tables;
		plan->others = lappend(plan->others, other);
		plan->event_views = list_concat(plan->event_views, other->event_views);
	}
}

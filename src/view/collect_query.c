/*-------------------------------------------------------------------------
 *
 * collect_query.c
 *    Computing aggregates from kept values, by the server's own executor.
 *
 * The query is SELECT agg(...), ... FROM values, where values is a tuplestore that is passed
 * through the query environment. So transition and final functions, DISTINCT, ORDER BY and
 * ordered-set aggregates are executed as in a plain SELECT. FILTER was applied before the values
 * were kept.
 *
 * In the partial form, for aggregates with DISTINCT that combine, the values are the new ones of a
 * group, each once, and the result is the (serialized) transition state.
 *
 * No locks. Memory: plans live as long as the plan of the view, which is made again when an
 * aggregate or function that it uses changes; a run uses a context that is deleted at its end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "tcop/tcopprot.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "view/collect.h"
#include "view/kind_combining.h"
#include "view/refuse.h"
#include "view/scan.h"

/* The estimate for the planner. */
#define EXPECTED_VALUES 100

/* ---- the query ---- */

/* Direct arguments can use the keys of the group, which become parameters. */
static Node *
replace_keys(Node *node, EddyViewPlan *plan)
{
	if (node == NULL)
		return NULL;
	for (int i = 0; i < plan->nkeys; i++)
		if (equal(node, plan->keys[i].expr))
		{
			Param	   *param = makeNode(Param);

			param->paramkind = PARAM_EXTERN;
			param->paramid = i + 1;
			param->paramtype = plan->keys[i].type;
			param->paramtypmod = plan->keys[i].typmod;
			param->paramcollid = plan->keys[i].collation;
			param->location = -1;
			return (Node *) param;
		}
	if (IsA(node, Var))
		eddy_refuse("a direct argument of an aggregate depends on a column that is not grouped",
					NULL, "Add the column to GROUP BY.");
	return expression_tree_mutator(node, replace_keys, plan);
}

static Expr *
make_value_var(const EddyCollection *collection, int column)
{
	Form_pg_attribute att = TupleDescAttr(collection->value_desc, column - 1);

	return (Expr *) makeVar(1, column, att->atttypid, att->atttypmod, att->attcollation, 0);
}

/* Arguments, and fields of row constructors, are columns of the values. */
static Node *
replace_values(Node *node, EddyCollection *collection)
{
	ListCell   *lc;

	if (node == NULL)
		return NULL;
	foreach(lc, collection->exprs)
		if (equal(lfirst(lc), node))
			return (Node *) make_value_var(collection, foreach_current_index(lc) + 1);
	return expression_tree_mutator(node, replace_values, collection);
}

/* Equal values keep their order of arrival: a plain SELECT leaves it open. */
static void
add_order_of_arrival(const EddyCollection *collection, Aggref *aggref)
{
	SortGroupClause *clause = makeNode(SortGroupClause);
	TypeCacheEntry *type = lookup_type_cache(INT8OID, TYPECACHE_LT_OPR | TYPECACHE_EQ_OPR);
	TargetEntry *tle = makeTargetEntry(make_value_var(collection, collection->ncolumns + 1),
									   list_length(aggref->args) + 1, NULL, true);
	ListCell   *lc;

	foreach(lc, aggref->args)
		tle->ressortgroupref = Max(tle->ressortgroupref,
								   ((TargetEntry *) lfirst(lc))->ressortgroupref);
	tle->ressortgroupref++;
	clause->tleSortGroupRef = tle->ressortgroupref;
	clause->eqop = type->eq_opr;
	clause->sortop = type->lt_opr;
	clause->hashable = true;
	aggref->args = lappend(aggref->args, tle);
	aggref->aggorder = lappend(aggref->aggorder, clause);
}

/* The aggregate over the columns of values. */
static Aggref *
make_aggref(EddyViewPlan *plan, EddyCollection *collection, Aggref *original,
			bool partial)
{
	Aggref	   *aggref = copyObject(original);

	aggref->aggfilter = NULL;
	aggref->aggdirectargs = (List *) replace_keys((Node *) aggref->aggdirectargs, plan);
	aggref->args = (List *) replace_values((Node *) aggref->args, collection);
	if (partial)
		aggref = eddy_combining_partial_aggref(aggref);
	else if (collection->kind == EDDY_COLLECT_LIST && aggref->aggkind == AGGKIND_NORMAL &&
			 aggref->aggorder && !aggref->aggdistinct)
		add_order_of_arrival(collection, aggref);
	return aggref;
}

static RangeTblEntry *
make_values_rte(const EddyCollection *collection, bool partial)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	TupleDesc	desc = collection->value_desc;

	rte->rtekind = RTE_NAMEDTUPLESTORE;
	rte->enrname = pstrdup(partial ? EDDY_SCAN_NEW_VALUES : EDDY_SCAN_ALL_VALUES);
	rte->enrtuples = EXPECTED_VALUES;
	rte->eref = makeAlias("values", NIL);
	rte->inFromCl = true;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		rte->coltypes = lappend_oid(rte->coltypes, att->atttypid);
		rte->coltypmods = lappend_int(rte->coltypmods, att->atttypmod);
		rte->colcollations = lappend_oid(rte->colcollations, att->attcollation);
		rte->eref->colnames = lappend(rte->eref->colnames,
									  makeString(pstrdup(NameStr(att->attname))));
	}
	return rte;
}

static Query *
make_query(EddyViewPlan *plan, EddyCollection *collection, bool partial)
{
	Query	   *query = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	ListCell   *lc;

	query->commandType = CMD_SELECT;
	query->querySource = QSRC_ORIGINAL;
	query->canSetTag = true;
	query->hasAggs = true;
	query->rtable = list_make1(make_values_rte(collection, partial));
	ref->rtindex = 1;
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	foreach(lc, collection->aggs)
	{
		EddyAggregate *agg = &plan->aggs[lfirst_int(lc)];
		AttrNumber	resno = list_length(query->targetList) + 1;

		if (agg->from_all == partial)
			continue;
		query->targetList = lappend(query->targetList,
									makeTargetEntry((Expr *) make_aggref(plan, collection,
																		 agg->aggref, partial),
													resno, psprintf("a%d", resno), false));
	}
	return query;
}

/* eddy_collect_check raises an error if an aggregate cannot be computed from values alone. */
void
eddy_collect_check(EddyViewPlan *plan, EddyCollection *collection)
{
	(void) make_query(plan, collection, false);
}

/*
 * eddy_collect_plan returns the plan of a query over the values of a collection, NULL if no
 * aggregate needs it. The caller acts as the owner of the view.
 */
PlannedStmt *
eddy_collect_plan(EddyViewPlan *plan, EddyCollection *collection, bool partial)
{
	PlannedStmt **cached = partial ? &collection->partial : &collection->whole;
	MemoryContext scratch;
	MemoryContext old;
	PlannedStmt *statement;
	Query	   *query;

	if (*cached)
		return *cached;
	scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy planning",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(scratch);
	query = make_query(plan, collection, partial);
	if (query->targetList != NIL)
	{
		statement = pg_plan_query(query, plan->delta_name, 0, NULL);
		MemoryContextSwitchTo(plan->mcxt);
		*cached = copyObject(statement);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return *cached;
}

/* ---- running it ---- */

static QueryEnvironment *
make_environment(const EddyCollection *collection, bool partial, Tuplestorestate *values)
{
	QueryEnvironment *environment = create_queryEnv();
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));

	relation->md.name = partial ? EDDY_SCAN_NEW_VALUES : EDDY_SCAN_ALL_VALUES;
	relation->md.tupdesc = collection->value_desc;
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->reldata = values;
	register_ENR(environment, relation);
	return environment;
}

/*
 * eddy_collect_run computes the aggregates of one form from values, in the order of
 * collection->aggs. Results are copied to mcxt.
 */
void
eddy_collect_run(EddyViewPlan *plan, EddyCollection *collection, bool partial,
				 Tuplestorestate *values, ParamListInfo keys, MemoryContext mcxt,
				 EddyState *results)
{
	PlannedStmt *statement = eddy_collect_plan(plan, collection, partial);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy aggregates",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	QueryDesc  *query;
	TupleTableSlot *row;

	query = CreateQueryDesc(statement, plan->delta_name, GetActiveSnapshot(), InvalidSnapshot,
							None_Receiver, keys,
							make_environment(collection, partial, values), 0);
	standard_ExecutorStart(query, 0);
	row = ExecProcNode(query->planstate);
	if (TupIsNull(row))
		elog(ERROR, "aggregates over values gave no row");
	slot_getallattrs(row);
	MemoryContextSwitchTo(mcxt);
	for (int i = 0; i < row->tts_tupleDescriptor->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(row->tts_tupleDescriptor, i);

		results[i].isnull = row->tts_isnull[i];
		results[i].value = results[i].isnull ? (Datum) 0 :
			datumCopy(row->tts_values[i], att->attbyval, att->attlen);
	}
	MemoryContextSwitchTo(scratch);
	standard_ExecutorFinish(query);
	standard_ExecutorEnd(query);
	FreeQueryDesc(query);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

/*-------------------------------------------------------------------------
 *
 * pure.c
 *    Views whose maintenance depends on neither the current user nor settings.
 *
 * The expressions of a view run with the privileges of its owner and with pinned settings
 * (src/owner.c). For a single row, that switch costs more than the expressions. Most views need
 * neither: all that they call are immutable functions of the server over numbers and times,
 * comparisons, and the aggregates of the server. Such functions read no tables and check no
 * privileges, and the settings do not change what they return.
 *
 * That a function is marked as immutable is not sufficient: those that convert values to or from
 * text depend on settings, such as extra_float_digits, although they are marked so. Functions that
 * take or return text are therefore only accepted if they compare.
 *
 * If something fails, it is repeated with the switch, so that the text of the error is the same as
 * for all views.
 *
 * No locks besides those of reading the catalog. No memory of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "view/kind.h"
#include "view/kind_combining.h"
#include "view/pure.h"

/* ---- functions ---- */

/* Types whose functions depend on no setting, unless they involve text. */
static bool
is_plain_type(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case INTERVALOID:
		case UUIDOID:
			return true;
		default:
			return false;
	}
}

static bool
is_text_type(Oid type)
{
	return type == TEXTOID || type == VARCHAROID || type == BPCHAROID || type == BYTEAOID;
}

/*
 * Texts may be compared: by functions that return a boolean, or the one that comes first or last.
 */
static bool
takes_plain_types(Oid function, const Form_pg_proc form)
{
	bool		compares = form->prorettype == BOOLOID || function == F_TEXT_LARGER ||
		function == F_TEXT_SMALLER;

	if (!is_plain_type(form->prorettype) && !(compares && is_text_type(form->prorettype)))
		return false;
	for (int i = 0; i < form->pronargs; i++)
	{
		Oid			type = form->proargtypes.values[i];

		if (!is_plain_type(type) && !(compares && is_text_type(type)))
			return false;
	}
	return true;
}

/*
 * Our window functions, which the server would not let other roles create, and those of the server.
 */
static bool
is_pure_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	bool		pure;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (function < FirstUnpinnedObjectId)
		pure = form->prolang == INTERNALlanguageId && takes_plain_types(function, form);
	else
		pure = form->prolang == ClanguageId && form->pronamespace == eddy_catalog_schema();
	pure &= form->provolatile == PROVOLATILE_IMMUTABLE && !form->proretset &&
		!form->prosecdef && heap_attisnull(tuple, Anum_pg_proc_proconfig, NULL);
	ReleaseSysCache(tuple);
	return pure;
}

static bool
is_impure(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_FuncExpr:
			if (!is_pure_function(((FuncExpr *) node)->funcid))
				return true;
			break;
		case T_OpExpr:
			if (!is_pure_function(get_opcode(((OpExpr *) node)->opno)))
				return true;
			break;
		case T_Aggref:			/* its functions are checked with those that merge */
		case T_BoolExpr:
		case T_BooleanTest:
		case T_CaseExpr:
		case T_CaseTestExpr:
		case T_CaseWhen:
		case T_CoalesceExpr:
		case T_Const:
		case T_List:
		case T_NullTest:
		case T_RelabelType:
		case T_TargetEntry:
		case T_Var:
			break;
		default:
			return true;
	}
	return expression_tree_walker(node, is_impure, context);
}

/* ---- what merging calls ---- */

static bool
is_built_in(Oid object)
{
	return object < FirstUnpinnedObjectId;
}

static bool
is_base_type(Oid type)
{
	return is_built_in(type) && get_typtype(type) == TYPTYPE_BASE;
}

static bool
has_pure_keys(const EddyViewPlan *plan)
{
	for (int i = 0; i < plan->nkeys; i++)
	{
		const EddyKey *key = &plan->keys[i];

		if (!is_base_type(key->type) || !is_built_in(key->lt_opr) || !is_built_in(key->eq.fn_oid))
			return false;
	}
	return true;
}

static bool
has_pure_aggregates(const EddyViewPlan *plan)
{
	for (int i = 0; i < plan->naggs; i++)
	{
		const EddyAggregate *agg = &plan->aggs[i];

		if (!is_built_in(agg->aggref->aggfnoid) || !is_base_type(agg->state_type) ||
			(!agg->internal && !is_base_type(agg->transtype)) ||
			!is_built_in(agg->combine.fn_oid) || !is_built_in(agg->add.fn_oid) ||
			!is_built_in(agg->serialize.fn_oid) || !is_built_in(agg->deserialize.fn_oid) ||
			(agg->has_final && !is_built_in(agg->final.fn_oid)))
			return false;
	}
	return true;
}

static bool
has_pure_outputs(const EddyViewPlan *plan)
{
	for (int i = 0; i < plan->noutputs; i++)
		if (is_impure((Node *) plan->outputs[i].expr, NULL))
			return false;
	return !is_impure((Node *) plan->having, NULL);
}

/* Superusers may add indexes of their own. */
static bool
has_pure_indexes(const EddyViewPlan *plan)
{
	Relation	rel = table_open(eddy_plan_main_table(plan)->relid, NoLock);
	bool		pure = true;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
			pure &= is_built_in(index->rd_opfamily[i]);
		pure &= !is_impure((Node *) RelationGetIndexExpressions(index), NULL) &&
			!is_impure((Node *) RelationGetIndexPredicate(index), NULL);
		index_close(index, AccessShareLock);
	}
	table_close(rel, NoLock);
	return pure;
}

/*
 * eddy_pure_check returns true if the maintenance of a view depends on neither user nor settings.
 * agg and scan are the aggregation of its delta query and what is below. The state tables are
 * locked.
 */
bool
eddy_pure_check(const EddyViewPlan *plan, const Plan *agg, const Plan *scan)
{
	return list_length(plan->streams) == 1 && plan->kind == &eddy_kind_combining && !plan->deferred && !plan->chained &&
		plan->collections == NIL && plan->empty_sets == NIL &&
		!is_impure((Node *) scan->targetlist, NULL) && !is_impure((Node *) scan->qual, NULL) &&
		!is_impure((Node *) agg->targetlist, NULL) &&
		has_pure_keys(plan) && has_pure_aggregates(plan) && has_pure_outputs(plan) &&
		has_pure_indexes(plan);
}

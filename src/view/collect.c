/*-------------------------------------------------------------------------
 *
 * collect.c
 *    Aggregates that are maintained from kept values: which they are, and what is kept for them.
 *
 * An aggregate that cannot be combined from partial results is computed from its input values,
 * which are kept in a state table (collect.h). Aggregates with the same input share one table.
 *
 * - With DISTINCT, each different value is kept once. If the aggregate can combine, only values
 *   that are new in the group are added to its state; otherwise it is computed from all of them.
 * - Ordered-set aggregates of the server depend on no order of arrival, so equal values are kept
 *   once, with their number.
 * - For all others each value is kept, numbered in the order of arrival.
 *
 * Of views whose source takes rows back, all values are kept with their numbers. Equal values can
 * look different (1.0, 1.00, texts of a collation without case), and when one of them is taken back
 * the others must remain: a hash of its text is a further column.
 *
 * Takes no locks; works in the caller's memory context. The layout depends on the definition alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/sysattr.h"
#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "view/analyze.h"
#include "view/chain.h"
#include "view/chain_combine.h"
#include "view/collect.h"
#include "view/refuse.h"

/* ---- which aggregates ---- */

static bool
is_builtin(const Aggref *aggref)
{
	return get_func_namespace(aggref->aggfnoid) == PG_CATALOG_NAMESPACE;
}

static bool
can_combine(const Aggref *aggref)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggref->aggfnoid));
	Form_pg_aggregate form;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", aggref->aggfnoid);
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	result = OidIsValid(form->aggcombinefn) &&
		(form->aggtranstype != INTERNALOID ||
		 (OidIsValid(form->aggserialfn) && OidIsValid(form->aggdeserialfn)));
	ReleaseSysCache(tuple);
	return result;
}

/* Aggregates of the server whose result shows the order of their input. */
static bool
shows_order(const Aggref *aggref)
{
	const char *name = get_func_name(aggref->aggfnoid);

	return name && (strcmp(name, "array_agg") == 0 || strcmp(name, "string_agg") == 0);
}

/*
 * eddy_collect_ignores_order returns true for aggregates of the server that combine, and whose
 * result depends on no order of their input. ORDER BY in such an aggregate has no effect.
 */
bool
eddy_collect_ignores_order(const Aggref *aggref)
{
	return aggref->aggkind == AGGKIND_NORMAL && is_builtin(aggref) && can_combine(aggref) &&
		!shows_order(aggref);
}

/* DISTINCT has no effect on them. */
static bool
ignores_duplicates(const Aggref *aggref)
{
	static const char *const names[] = {
		"any_value", "bit_and", "bit_or", "bool_and", "bool_or", "every", "max", "min"
	};
	const char *name = get_func_name(aggref->aggfnoid);

	for (int i = 0; name && i < (int) lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* eddy_collect_needs_values returns true for aggregates that are maintained from kept values. */
bool
eddy_collect_needs_values(const Aggref *aggref)
{
	if (!eddy_collect_ignores_order(aggref))
		return aggref->aggkind != AGGKIND_NORMAL || aggref->aggdistinct || aggref->aggorder ||
			!can_combine(aggref) || (is_builtin(aggref) && shows_order(aggref));
	return aggref->aggdistinct && !ignores_duplicates(aggref);
}

/* ---- what is kept ---- */

/* True if equality of a sort clause is that of the type's default operator class. */
static bool
has_default_equality(const SortGroupClause *clause, List *args)
{
	TargetEntry *tle = get_sortgroupref_tle(clause->tleSortGroupRef, args);
	TypeCacheEntry *type = lookup_type_cache(exprType((Node *) tle->expr),
											 TYPECACHE_LT_OPR | TYPECACHE_EQ_OPR);

	return OidIsValid(type->lt_opr) && clause->eqop == type->eq_opr;
}

static bool
have_default_equality(List *clauses, List *args)
{
	ListCell   *lc;

	foreach(lc, clauses)
		if (!has_default_equality(lfirst(lc), args))
			return false;
	return true;
}

/* Values of the type become a column of a state table. */
static void
check_type(const Aggref *aggref, Oid type, Oid stream)
{
	if (get_typtype(type) == TYPTYPE_PSEUDO)
		eddy_refuse(psprintf("aggregate \"%s\" cannot be maintained incrementally",
							 get_func_name(aggref->aggfnoid)),
					psprintf("Its input values must be stored, and values of type %s cannot be.",
							 format_type_be(type)),
					type == RECORDOID ?
					"Cast the row to a composite type, or build a value with jsonb_build_object." : NULL);
	if (get_typ_typrelid(type) == stream)
		eddy_refuse(psprintf("aggregate \"%s\" cannot be maintained incrementally",
							 get_func_name(aggref->aggfnoid)),
					"Its input values must be stored, and whole rows of the stream cannot be, because the stream could then not be altered.",
					"Convert the row with to_jsonb, or list its columns with jsonb_build_object.");
}

/* A constant argument is part of the query over the values. The first argument makes a value. */
static bool
is_kept(const TargetEntry *tle, int position)
{
	return position == 0 || !IsA(tle->expr, Const);
}

/* Of a row constructor, the fields are kept: a row without a type of its own cannot be stored. */
static List *
kept_exprs(const Aggref *aggref)
{
	List	   *exprs = NIL;
	ListCell   *lc;

	foreach(lc, aggref->args)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (IsA(tle->expr, RowExpr))
			exprs = list_concat(exprs, ((RowExpr *) tle->expr)->args);
		else if (is_kept(tle, foreach_current_index(lc)))
			exprs = lappend(exprs, tle->expr);
	}
	return exprs;
}

/* True if values can be the key of a table. */
static bool
can_be_key(List *exprs)
{
	ListCell   *lc;

	foreach(lc, exprs)
		if (!OidIsValid(lookup_type_cache(exprType(lfirst(lc)), TYPECACHE_LT_OPR)->lt_opr))
			return false;
	return exprs != NIL && list_length(exprs) < INDEX_MAX_KEYS;
}

static EddyCollectKind
choose_kind(const Aggref *aggref, List *exprs)
{
	if (!can_be_key(exprs))
		return EDDY_COLLECT_LIST;
	if (aggref->aggdistinct && have_default_equality(aggref->aggdistinct, aggref->args))
		return EDDY_COLLECT_SET;
	if (aggref->aggkind != AGGKIND_NORMAL && is_builtin(aggref) &&
		have_default_equality(aggref->aggorder, aggref->args))
		return EDDY_COLLECT_COUNTS;
	return EDDY_COLLECT_LIST;
}

/* Aggregates of pg_eddy that depend on their values alone. */
static bool
depends_on_values(const Aggref *aggref)
{
	static const char *const names[] = {
		"approx_count_distinct", "first", "last", "max_by", "min_by"
	};
	const char *name = get_func_name(aggref->aggfnoid);

	if (get_func_namespace(aggref->aggfnoid) != eddy_catalog_schema())
		return false;
	for (int i = 0; name && i < (int) lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/*
 * True for aggregates of the server that list their input, in an order that only ORDER BY
 * determines.
 */
static bool
lists_values(const Aggref *aggref)
{
	const char *name = get_func_name(aggref->aggfnoid);

	return shows_order(aggref) || (name && (strncmp(name, "json", 4) == 0 ||
											 strcmp(name, "xmlagg") == 0));
}

/*
 * For views whose source takes rows back: only values with numbers can be taken back, and they have
 * no order of arrival.
 */
static EddyCollectKind
choose_counts(const EddyViewPlan *plan, const Aggref *aggref, List *exprs)
{
	const char *message = psprintf("aggregate \"%s\" cannot follow the changes of continuous view \"%s\"",
								   get_func_name(aggref->aggfnoid),
								   get_rel_name(plan->changing));

	if (!is_builtin(aggref) && !depends_on_values(aggref))
		eddy_refuse(message, "Its result may depend on the order of its input.",
					eddy_chain_hint(plan, "Use emit => 'on_close' for the other view."));
	if (lists_values(aggref) && aggref->aggorder == NIL && aggref->aggdistinct == NIL)
		eddy_refuse(message, "Rows that change have no order of arrival.",
					"Add ORDER BY to the aggregate.");
	if (!can_be_key(exprs))
		eddy_refuse(message, "A value of its input must be found again when it is taken back, and its type has no default btree operator class.",
					eddy_chain_hint(plan, "Cast the value to a type that can be sorted, or use emit => 'on_close' for the other view."));
	return EDDY_COLLECT_COUNTS;
}

/* True if equal values of a type look alike, as its operator class says. */
static bool
equal_values_look_alike(Oid type, Oid collation)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY);
	Oid			function = get_opfamily_proc(entry->btree_opf, entry->btree_opintype,
											 entry->btree_opintype, BTEQUALIMAGE_PROC);

	return OidIsValid(function) &&
		DatumGetBool(OidFunctionCall1Coll(function, collation,
										  ObjectIdGetDatum(entry->btree_opintype)));
}

/* A hash of the text of a value. */
static Expr *
make_hash(Expr *value)
{
	CoerceViaIO *text = makeNode(CoerceViaIO);
	Const	   *seed = makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(0), false,
								 FLOAT8PASSBYVAL);

	text->arg = copyObject(value);
	text->resulttype = TEXTOID;
	text->resultcollid = C_COLLATION_OID;
	text->coerceformat = COERCE_EXPLICIT_CAST;
	text->location = -1;
	return (Expr *) makeFuncExpr(F_HASHTEXTEXTENDED, INT8OID, list_make2(text, seed), InvalidOid,
								 C_COLLATION_OID, COERCE_EXPLICIT_CALL);
}

/*
 * The columns of values, followed by those that tell equal ones apart. Only of types of the server:
 * the text of others can change, as the labels of an enum do, and the value would not be found
 * again.
 */
static List *
tell_equal_apart(List *exprs)
{
	List	   *result = list_copy(exprs);
	ListCell   *lc;

	foreach(lc, exprs)
	{
		Oid			type = getBaseType(exprType(lfirst(lc)));

		if (type < FirstNormalObjectId && list_length(result) < INDEX_MAX_KEYS - 1 &&
			!equal_values_look_alike(type, exprCollation(lfirst(lc))))
			result = lappend(result, make_hash(lfirst(lc)));
	}
	return result;
}

static void
describe_columns(EddyCollection *collection)
{
	int			n = collection->ncolumns;
	ListCell   *lc;

	collection->lt_oprs = palloc0(sizeof(Oid) * Max(n, 1));
	collection->collations = palloc0(sizeof(Oid) * Max(n, 1));
	collection->delta_desc = CreateTemplateTupleDesc(n + 1);
	collection->value_desc = CreateTemplateTupleDesc(n + 1);
	TupleDescInitEntry(collection->delta_desc, 1, "place", TIDOID, -1, 0);
	foreach(lc, collection->exprs)
	{
		Node	   *expr = lfirst(lc);
		int			i = foreach_current_index(lc);
		Oid			type = exprType(expr);
		char	   *name = psprintf("value%d", i + 1);

		collection->collations[i] = exprCollation(expr);
		TupleDescInitEntry(collection->delta_desc, i + 2, name, type, -1, 0);
		TupleDescInitEntry(collection->value_desc, i + 1, name, type, -1, 0);
		TupleDescInitEntryCollation(collection->value_desc, i + 1, collection->collations[i]);
		if (collection->kind != EDDY_COLLECT_LIST)
			collection->lt_oprs[i] = lookup_type_cache(type, TYPECACHE_LT_OPR)->lt_opr;
	}
	TupleDescInitEntry(collection->value_desc, n + 1, "number", INT8OID, -1, 0);
}

/* eddy_collect_make_call makes the call of an aggregate of ours; lookup_type: its one argument. */
Aggref *
eddy_collect_make_call(const char *name, Oid lookup_type, Oid type, List *args)
{
	Aggref	   *aggref = makeNode(Aggref);
	ListCell   *lc;

	aggref->aggfnoid = LookupFuncName(list_make2(makeString(EDDY_SCHEMA),
												 makeString(pstrdup(name))), 1, &lookup_type,
									  false);
	aggref->aggtype = type;
	foreach(lc, args)
	{
		aggref->args = lappend(aggref->args,
							   makeTargetEntry(lfirst(lc), list_length(aggref->args) + 1, NULL,
											   false));
		aggref->aggargtypes = lappend_oid(aggref->aggargtypes, exprType(lfirst(lc)));
	}
	aggref->aggkind = AGGKIND_NORMAL;
	aggref->aggsplit = AGGSPLIT_SIMPLE;
	aggref->aggno = -1;
	aggref->aggtransno = -1;
	aggref->location = -1;
	return aggref;
}

/*
 * eddy_collect_make_aggref makes the call of eddy._collect that stands for a collection in the
 * delta query. A row's place in the batch is the ctid that scans of batches return.
 */
Aggref *
eddy_collect_make_aggref(EddyCollection *collection, Index stream_rti)
{
	Expr	   *place;
	Aggref	   *aggref;

	if (stream_rti > 0)
		place = (Expr *) makeVar(stream_rti, SelfItemPointerAttributeNumber, TIDOID, -1,
								 InvalidOid, 0);
	else
		place = (Expr *) makeNullConst(TIDOID, -1, InvalidOid);
	aggref = eddy_collect_make_call("_collect", ANYOID, INT8OID,
									lcons(place, copyObject(collection->exprs)));
	aggref->aggfilter = copyObject(collection->filter);
	return aggref;
}

static EddyCollection *
find_collection(const EddyViewPlan *plan, EddyCollectKind kind, List *exprs, Expr *filter,
				const EddyCollection *combined)
{
	ListCell   *lc;

	foreach(lc, plan->collections)
	{
		EddyCollection *collection = lfirst(lc);

		if (collection->kind == kind && collection->combined == combined &&
			equal(collection->exprs, exprs) &&
			equal(collection->filter, filter))
			return collection;
	}
	return NULL;
}

/*
 * eddy_collect_analyze gives an aggregate its collection: one that the plan has, or a new one, to
 * which analyze.c adds the input. The result of an aggregate is stored if it is computed from all
 * values.
 */
void
eddy_collect_analyze(EddyViewPlan *plan, EddyAggregate *agg)
{
	Aggref	   *aggref = agg->aggref;
	List	   *exprs = kept_exprs(aggref);
	EddyCollectKind kind = plan->retracts ? choose_counts(plan, aggref, exprs) :
		choose_kind(aggref, exprs);
	const EddyCollection *combined = eddy_combine_is_combined(aggref) ?
		eddy_combine_source(plan, aggref)->collection : NULL;
	int			nvalues = list_length(exprs);
	EddyCollection *collection;
	ListCell   *lc;

	foreach(lc, exprs)
		check_type(aggref, exprType(lfirst(lc)), plan->stream);
	if (plan->retracts)
		exprs = tell_equal_apart(exprs);
	collection = find_collection(plan, kind, exprs, aggref->aggfilter, combined);
	if (collection == NULL)
	{
		collection = palloc0(sizeof(EddyCollection));
		collection->kind = kind;
		collection->combined = combined;
		collection->exprs = exprs;
		collection->nvalues = nvalues;
		collection->filter = aggref->aggfilter;
		collection->ncolumns = list_length(exprs);
		describe_columns(collection);
		plan->collections = lappend(plan->collections, collection);
	}
	collection->aggs = lappend_int(collection->aggs, agg - plan->aggs);
	agg->collection = collection;
	/* counts serve aggregates with and without DISTINCT */
	agg->from_all = kind != EDDY_COLLECT_SET || !eddy_collect_ignores_order(aggref);
	/* computing an aggregate, and the limit of values, can fail whatever the row */
	plan->fallible = true;
}

/* ---- tables ---- */

static void
add_column(EddyStateTable *table, const char *name, Oid type, Oid collation, bool not_null)
{
	EddyStateColumn *column = &table->columns[table->ncolumns++];

	column->name = pstrdup(name);
	column->type = type;
	column->typmod = -1;
	column->collation = collation;
	column->not_null = not_null;
}

static void
add_key(EddyStateTable *table, Oid lt_opr)
{
	EddyStateKey *key = &table->keys[table->nkeys++];

	key->column = table->ncolumns;
	key->lt_opr = lt_opr;
	key->collation = table->columns[table->ncolumns - 1].collation;
}

static Oid
default_lt_opr(Oid type)
{
	return lookup_type_cache(type, TYPECACHE_LT_OPR)->lt_opr;
}

static EddyStateTable *
lay_out_table(EddyCollection *collection)
{
	EddyStateTable *table = palloc0(sizeof(EddyStateTable));

	table->suffix = "values";
	table->parts = true;
	table->append_only = (collection->kind != EDDY_COLLECT_COUNTS);
	table->columns = palloc0(sizeof(EddyStateColumn) * (collection->ncolumns + 2));
	table->keys = palloc0(sizeof(EddyStateKey) * (collection->ncolumns + 2));
	add_column(table, "_id", UUIDOID, InvalidOid, true);
	add_key(table, default_lt_opr(UUIDOID));
	if (collection->kind == EDDY_COLLECT_LIST)
	{
		add_column(table, "_number", INT8OID, InvalidOid, true);
		add_key(table, default_lt_opr(INT8OID));
	}
	for (int i = 0; i < collection->ncolumns; i++)
	{
		Form_pg_attribute att = TupleDescAttr(collection->value_desc, i);

		add_column(table, NameStr(att->attname), att->atttypid, att->attcollation, false);
		if (collection->kind != EDDY_COLLECT_LIST)
			add_key(table, collection->lt_oprs[i]);
	}
	if (collection->kind == EDDY_COLLECT_COUNTS)
		add_column(table, "_count", INT8OID, InvalidOid, true);
	return table;
}

/* eddy_collect_lay_out_tables adds the tables of all collections to the plan's state tables. */
void
eddy_collect_lay_out_tables(EddyViewPlan *plan)
{
	ListCell   *lc;

	foreach(lc, plan->collections)
	{
		EddyCollection *collection = lfirst(lc);

		eddy_collect_check(plan, collection);
		collection->table = list_length(plan->state_tables);
		plan->state_tables = lappend(plan->state_tables, lay_out_table(collection));
	}
}

/*
 * eddy_collect_check_privileges raises an error unless the owner of a view may execute the
 * aggregates that are computed from kept values: the delta query does not call them.
 */
void
eddy_collect_check_privileges(const EddyViewPlan *plan)
{
	ListCell   *lc;

	foreach(lc, plan->collections)
	{
		EddyCollection *collection = lfirst(lc);
		ListCell   *la;

		foreach(la, collection->aggs)
		{
			Oid			function = plan->aggs[lfirst_int(la)].aggref->aggfnoid;
			AclResult	result = eddy_compat_proc_aclcheck(function, plan->owner, ACL_EXECUTE);

			if (result != ACLCHECK_OK)
				aclcheck_error(result, OBJECT_AGGREGATE, get_func_name(function));
		}
	}
}

/* eddy_collect_tables returns the tables of all collections of a view: List of Oid. */
List *
eddy_collect_tables(const EddyViewPlan *plan)
{
	List	   *tables = NIL;
	ListCell   *lc;

	foreach(lc, plan->collections)
	{
		EddyCollection *collection = lfirst(lc);
		EddyStateTable *table = list_nth(plan->state_tables, collection->table);

		tables = lappend_oid(tables, table->relid);
	}
	return tables;
}

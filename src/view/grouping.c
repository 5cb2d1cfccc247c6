/*-------------------------------------------------------------------------
 *
 * grouping.c
 *    SELECT DISTINCT and GROUPING SETS as plain GROUP BY.
 *
 * SELECT DISTINCT groups by all columns. With GROUPING SETS, ROLLUP and CUBE, each row is counted
 * once for each set, in which the keys that are not part of the set are NULL:
 *
 *    SELECT a, b, GROUPING(a), count(*) FROM s GROUP BY ROLLUP (a, b)
 *
 * becomes
 *
 *    SELECT CASE WHEN n IN (1, 2) THEN a END, CASE WHEN n = 2 THEN b END,
 *           CASE n WHEN 0 THEN 1 ... END, count(*)
 *    FROM s, (VALUES (0), (1), (2)) sets(n) GROUP BY 1, 2, n
 *
 * The number of the set is a key, so that a group in which a key is NULL is not that of another
 * set. A key that is in all sets, such as the window, stays as it is. Arguments of aggregates refer
 * to the rows, and do not become NULL.
 *
 * Takes no locks; works in the caller's memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_agg.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "view/flatten.h"
#include "view/refuse.h"

/* ---- DISTINCT ---- */

/* eddy_grouping_shows_all_keys returns true if no two groups can give the same row. */
bool
eddy_grouping_shows_all_keys(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->groupClause)
		if (get_sortgroupclause_tle(lfirst(lc), query->targetList)->resjunk)
			return false;
	return query->groupingSets == NIL;
}

static void
normalize_distinct(Query *query)
{
	if (query->distinctClause == NIL || query->hasDistinctOn)
		return;
	if (!query->hasAggs && query->groupClause == NIL && query->groupingSets == NIL &&
		query->havingQual == NULL)
		query->groupClause = query->distinctClause;
	/* over groups, it has no effect here (layer.c) */
	query->distinctClause = NIL;
}

/* ---- grouping sets ---- */

typedef struct SetsContext
{
	List	   *sets;			/* of integer Lists of the references of their keys */
	Var		   *number;			/* of the set */
	int			nkeys;
	Node	  **keys;			/* of all sets */
	Index	   *refs;			/* of the keys */
	Node	  **replacements;	/* NULL: in all sets */
} SetsContext;

/* number = ANY (sets) */
static Expr *
make_condition(SetsContext *context, Datum *sets, int nsets)
{
	ScalarArrayOpExpr *condition = makeNode(ScalarArrayOpExpr);
	ArrayType  *array = construct_array(sets, nsets, INT4OID, sizeof(int32), true, TYPALIGN_INT);

	condition->opno = Int4EqualOperator;
	condition->opfuncid = F_INT4EQ;
	condition->useOr = true;
	condition->args = list_make2(copyObject(context->number),
								 makeConst(INT4ARRAYOID, -1, InvalidOid, -1,
										   PointerGetDatum(array), false, false));
	condition->location = -1;
	return (Expr *) condition;
}

static Expr *
make_number(int32 value)
{
	return (Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(value), false,
							  true);
}

static CaseExpr *
make_case(Oid type, Oid collation, Expr *otherwise)
{
	CaseExpr   *result = makeNode(CaseExpr);

	result->casetype = type;
	result->casecollid = collation;
	result->defresult = otherwise;
	result->location = -1;
	return result;
}

static void
add_case(CaseExpr *result, Expr *condition, Expr *value)
{
	CaseWhen   *when = makeNode(CaseWhen);

	when->expr = condition;
	when->result = value;
	when->location = -1;
	result->args = lappend(result->args, when);
}

/* The key in the sets that it is part of, NULL in the others. NULL if it is part of all. */
static Node *
replace_key(SetsContext *context, Index ref, Node *key)
{
	Datum	   *sets = palloc(sizeof(Datum) * list_length(context->sets));
	int			nsets = 0;
	CaseExpr   *result;
	ListCell   *lc;

	foreach(lc, context->sets)
		if (list_member_int(lfirst(lc), ref))
			sets[nsets++] = Int32GetDatum(foreach_current_index(lc));
	if (nsets == list_length(context->sets))
		return NULL;				/* also if there are none */
	result = make_case(exprType(key), exprCollation(key),
					   (Expr *) makeNullConst(exprType(key), exprTypmod(key),
											  exprCollation(key)));
	add_case(result, make_condition(context, sets, nsets), (Expr *) copyObject(key));
	return (Node *) result;
}

/* GROUPING(...): a bit for each argument, 1 if it is not part of the set. */
static Node *
replace_grouping(SetsContext *context, GroupingFunc *grouping)
{
	CaseExpr   *result = make_case(INT4OID, InvalidOid, make_number(0));
	ListCell   *lc;

	foreach(lc, context->sets)
	{
		Datum		set = Int32GetDatum(foreach_current_index(lc));
		int32		bits = 0;
		ListCell   *lr;

		foreach(lr, grouping->refs)
			bits = (bits << 1) | (list_member_int(lfirst(lc), lfirst_int(lr)) ? 0 : 1);
		if (context->number == NULL)
			return (Node *) make_number(bits);	/* there is only one */
		if (bits != 0)
			add_case(result, make_condition(context, &set, 1), make_number(bits));
	}
	return result->args ? (Node *) result : (Node *) make_number(0);
}

/* A column that is a constant. */
static Node *
replace_constant(SetsContext *context, TargetEntry *tle)
{
	for (int i = 0; i < context->nkeys; i++)
		if (tle->ressortgroupref == context->refs[i] && context->replacements[i])
		{
			TargetEntry *replaced = flatCopyTargetEntry(tle);

			replaced->expr = (Expr *) copyObject(context->replacements[i]);
			return (Node *) replaced;
		}
	return (Node *) tle;
}

static Node *
replace_mutator(Node *node, SetsContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Aggref))
		return node;			/* its arguments are those of the rows */
	if (IsA(node, GroupingFunc))
		return replace_grouping(context, (GroupingFunc *) node);
	/* a constant is a key where it is grouped by, and otherwise what it says */
	if (IsA(node, TargetEntry) && IsA(((TargetEntry *) node)->expr, Const))
		return replace_constant(context, (TargetEntry *) node);
	if (IsA(node, Const))
		return node;
	for (int i = 0; i < context->nkeys; i++)
		if (equal(node, context->keys[i]))
			return context->replacements[i] ? copyObject(context->replacements[i]) : node;
	return expression_tree_mutator(node, replace_mutator, context);
}

/*
 * Adds (VALUES (0, false), (1, true), ...) to the FROM clause, and its first column to the keys.
 * The second one is read by empty_sets.c.
 */
static void
add_numbers(Query *query, SetsContext *context)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	TargetEntry *tle;
	SortGroupClause *group = makeNode(SortGroupClause);
	Index		max_ref = 0;
	ListCell   *lc;

	rte->rtekind = RTE_VALUES;
	foreach(lc, context->sets)
		rte->values_lists =
			lappend(rte->values_lists, list_make2(make_number(foreach_current_index(lc)),
												  makeBoolConst(lfirst(lc) == NIL, false)));
	rte->coltypes = list_make2_oid(INT4OID, BOOLOID);
	rte->coltypmods = list_make2_int(-1, -1);
	rte->colcollations = list_make2_oid(InvalidOid, InvalidOid);
	rte->eref = makeAlias("sets", list_make2(makeString(pstrdup("n")),
											 makeString(pstrdup("empty"))));
	rte->inFromCl = true;
	query->rtable = lappend(query->rtable, rte);
	ref->rtindex = list_length(query->rtable);
	query->jointree->fromlist = lappend(query->jointree->fromlist, ref);
	context->number = makeVar(ref->rtindex, 1, INT4OID, -1, InvalidOid, 0);

	foreach(lc, query->targetList)
		max_ref = Max(max_ref, lfirst_node(TargetEntry, lc)->ressortgroupref);
	tle = makeTargetEntry((Expr *) context->number, list_length(query->targetList) + 1,
						  pstrdup(EDDY_GROUPING_SET_NAME), true);
	tle->ressortgroupref = max_ref + 1;
	query->targetList = lappend(query->targetList, tle);
	group->tleSortGroupRef = max_ref + 1;
	group->eqop = Int4EqualOperator;
	group->sortop = Int4LessOperator;
	group->hashable = true;
	query->groupClause = lappend(query->groupClause, group);
}

static void
normalize_sets(Query *query)
{
	SetsContext context = {0};
	List	   *keys;
	ListCell   *lc;

	/* without sets, only calls of GROUPING are replaced */
	context.sets = expand_grouping_sets(query->groupingSets, query->groupDistinct, -1);
	query->groupingSets = NIL;
	query->groupDistinct = false;
	if (context.sets != NIL && query->groupClause == NIL && !query->hasAggs)
		eddy_refuse("GROUP BY () without an aggregate is not supported in a continuous view",
					NULL, "Use an aggregate.");

	keys = list_copy(query->groupClause);
	if (list_length(context.sets) > 1)
		add_numbers(query, &context);
	context.nkeys = list_length(keys);
	context.keys = palloc(sizeof(Node *) * Max(context.nkeys, 1));
	context.replacements = palloc(sizeof(Node *) * Max(context.nkeys, 1));
	context.refs = palloc(sizeof(Index) * Max(context.nkeys, 1));
	foreach(lc, keys)
	{
		SortGroupClause *group = lfirst_node(SortGroupClause, lc);
		int			i = foreach_current_index(lc);

		context.refs[i] = group->tleSortGroupRef;
		context.keys[i] = get_sortgroupclause_expr(group, query->targetList);
		context.replacements[i] = replace_key(&context, group->tleSortGroupRef, context.keys[i]);
	}
	query->targetList = (List *) replace_mutator((Node *) query->targetList, &context);
	query->havingQual = replace_mutator(query->havingQual, &context);
}

/*
 * eddy_grouping_normalize replaces DISTINCT and GROUPING SETS by plain GROUP BY.
 */
void
eddy_grouping_normalize(Query *query)
{
	normalize_sets(query);
	normalize_distinct(query);
}

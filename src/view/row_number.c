/*-------------------------------------------------------------------------
 *
 * row_number.c
 *    Queries that keep the first row of each key by row_number(), as DISTINCT ON.
 *
 *    SELECT ... FROM (SELECT ..., row_number() OVER (PARTITION BY k ORDER BY o) AS n FROM s) q WHERE n = 1
 *
 * is SELECT DISTINCT ON (k) ... ORDER BY k, o, which keeps one row of each key instead of all rows.
 *
 * Takes no locks; works in the caller's memory context. The result depends on the definition alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "view/row_number.h"

/* The condition n = 1 or n <= 1 or n < 2 for a column n of a sub-select. */
static bool
selects_first(Node *qual, Index *rti, AttrNumber *column)
{
	OpExpr	   *op = (OpExpr *) qual;
	Var		   *var;
	Const	   *value;
	int64		number;

	/* WHERE may be a list of conditions, or one */
	if (qual && IsA(qual, List) && list_length((List *) qual) == 1)
		op = linitial((List *) qual);
	if (op == NULL || !IsA(op, OpExpr) || list_length(op->args) != 2)
		return false;
	var = linitial(op->args);
	value = lsecond(op->args);
	if (!IsA(var, Var) || var->varlevelsup != 0 || var->vartype != INT8OID ||
		!IsA(value, Const) || value->constisnull)
		return false;
	if (value->consttype == INT4OID)
		number = DatumGetInt32(value->constvalue);
	else if (value->consttype == INT8OID)
		number = DatumGetInt64(value->constvalue);
	else
		return false;
	*rti = var->varno;
	*column = var->varattno;
	switch (get_opcode(op->opno))
	{
		case F_INT84EQ:
		case F_INT84LE:
		case F_INT8EQ:
		case F_INT8LE:
			return number == 1;
		case F_INT84LT:
		case F_INT8LT:
			return number == 2;
		default:
			return false;
	}
}

/*
 * Adds a reference to a column of the sub-select to the select list, for DISTINCT ON and ORDER BY.
 */
static SortGroupClause *
add_clause(Query *query, Index rti, TargetEntry *column, SortGroupClause *like)
{
	SortGroupClause *clause = copyObject(like);
	Node	   *expr = (Node *) column->expr;
	TargetEntry *tle;
	Index		ref = 0;
	ListCell   *lc;

	foreach(lc, query->targetList)
		ref = Max(ref, lfirst_node(TargetEntry, lc)->ressortgroupref);
	tle = makeTargetEntry((Expr *) makeVar(rti, column->resno, exprType(expr), exprTypmod(expr),
										   exprCollation(expr), 0),
						  list_length(query->targetList) + 1, NULL, true);
	tle->ressortgroupref = ref + 1;
	query->targetList = lappend(query->targetList, tle);
	clause->tleSortGroupRef = ref + 1;
	return clause;
}

/*
 * True if a query has a single sub-select in FROM, and nothing but its condition that depends on
 * the number of rows.
 */
static bool
is_plain(const Query *query)
{
	return !query->hasWindowFuncs && !query->distinctClause && !query->sortClause &&
		!query->limitCount && !query->limitOffset && !query->setOperations &&
		!query->hasTargetSRFs && list_length(query->jointree->fromlist) == 1 &&
		IsA(linitial(query->jointree->fromlist), RangeTblRef);
}

/* True if row_number() is the only window function of a query, and partitions. */
static bool
numbers_rows(const Query *query, const TargetEntry *number, const WindowClause *window)
{
	const WindowFunc *function = (const WindowFunc *) number->expr;
	ListCell   *lc;

	if (!IsA(function, WindowFunc) || function->winfnoid != F_ROW_NUMBER ||
		window->partitionClause == NIL)
		return false;
	foreach(lc, query->targetList)
		if (lfirst(lc) != number &&
			contain_windowfuncs((Node *) lfirst_node(TargetEntry, lc)->expr))
			return false;
	return true;
}

/*
 * eddy_row_number_find: true if a query without aggregates is of that form; *found has its parts.
 */
bool
eddy_row_number_find(Query *query, EddyRowNumber *found)
{
	AttrNumber	column;
	Query	   *sub;

	if (!is_plain(query) || !selects_first(query->jointree->quals, &found->rti, &column) ||
		linitial_node(RangeTblRef, query->jointree->fromlist)->rtindex != (int) found->rti)
		return false;
	found->rte = rt_fetch(found->rti, query->rtable);
	if (found->rte->rtekind != RTE_SUBQUERY)
		return false;
	sub = found->rte->subquery;
	/* set-returning functions would make several rows of the first one */
	if (sub->distinctClause || sub->sortClause || sub->limitCount || sub->limitOffset ||
		list_length(sub->windowClause) != 1 || sub->hasTargetSRFs)
		return false;
	found->number = list_nth(sub->targetList, column - 1);
	found->window = linitial_node(WindowClause, sub->windowClause);
	return numbers_rows(sub, found->number, found->window);
}

/* The columns to which the window refers can be hidden: they become columns of the sub-select. */
static void
show_columns(RangeTblEntry *rte)
{
	ListCell   *lc;

	foreach(lc, rte->subquery->targetList)
	{
		TargetEntry *column = lfirst_node(TargetEntry, lc);

		if (!column->resjunk)
			continue;
		column->resjunk = false;
		column->resname = pstrdup("_order");
		while (list_length(rte->eref->colnames) < column->resno)
			rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup("_order")));
	}
}

/* eddy_row_number_replace changes a query in which eddy_row_number_find has found that form. */
void
eddy_row_number_replace(Query *query, const EddyRowNumber *found)
{
	Query	   *sub = found->rte->subquery;
	ListCell   *lc;

	/* in all rows that remain */
	found->number->expr = (Expr *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
											 Int64GetDatum(1), false, FLOAT8PASSBYVAL);
	show_columns(found->rte);
	foreach(lc, found->window->partitionClause)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);

		clause = add_clause(query, found->rti, get_sortgroupclause_tle(clause, sub->targetList),
							clause);
		query->distinctClause = lappend(query->distinctClause, clause);
		query->sortClause = lappend(query->sortClause, copyObject(clause));
	}
	foreach(lc, found->window->orderClause)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);

		clause = add_clause(query, found->rti, get_sortgroupclause_tle(clause, sub->targetList),
							clause);
		query->sortClause = lappend(query->sortClause, clause);
	}
	query->hasDistinctOn = true;
	query->jointree->quals = NULL;
	sub->windowClause = NIL;
	sub->hasWindowFuncs = false;
}

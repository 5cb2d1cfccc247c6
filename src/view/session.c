/*-------------------------------------------------------------------------
 *
 * session.c
 *    The call of eddy.session in the definition of a view.
 *
 * eddy.session is no function of its arguments: which session a row belongs to depends on other
 * rows. It is a marker in FROM, whose columns can be grouping expressions and nothing else, because
 * their values are known only after the rows were merged. The other grouping expressions are the
 * key of the session.
 *
 * In the delta query the marker is replaced by eddy._session_row, which the planner inlines: the
 * session that a row would be alone. Grouping by its bounds combines rows of the same time.
 *
 * No locks, except for look-ups in the catalog. Memory: the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_clause.h"
#include "parser/parse_func.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/eddy_catalog.h"
#include "view/event_window.h"
#include "view/refuse.h"
#include "view/session.h"
#include "view/window.h"

PG_FUNCTION_INFO_V1(eddy_session);

/* eddy.session(ts, gap, max_length): outside of continuous views there are no sessions. */
Datum
eddy_session(PG_FUNCTION_ARGS pg_attribute_unused())
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("eddy.session can be used only in the query of a continuous view"),
			 errdetail("The session of a row depends on rows that come before and after it."),
			 errhint("Read the sessions from a continuous view.")));
	PG_RETURN_NULL();
}

/* ---- recognizing the call ---- */

/*
 * eddy_session_refuse_call raises the error of a call that is not the one of the view, in its FROM
 * clause.
 */
void
eddy_session_refuse_call(void)
{
	eddy_refuse("eddy.session can be called once in a continuous view, in its own FROM clause", NULL,
				"Call it beside the stream; for sessions with another gap, create another continuous view.");
	pg_unreachable();
}

/* eddy_session_is_call returns true for a call of eddy.session. */
bool
eddy_session_is_call(const Node *node)
{
	const FuncExpr *call = (const FuncExpr *) node;
	char	   *name;

	if (node == NULL || !IsA(node, FuncExpr) ||
		get_func_namespace(call->funcid) != eddy_catalog_schema())
		return false;
	name = get_func_name(call->funcid);
	return name && strcmp(name, "session") == 0;
}

/* Counts the calls in a query, at any depth. */
static bool
count_calls(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (eddy_session_is_call(node))
		(*(int *) context)++;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, count_calls, context, 0);
	return expression_tree_walker(node, count_calls, context);
}

/* eddy_session_is_used returns true if a query calls eddy.session anywhere. */
bool
eddy_session_is_used(const Query *query)
{
	int			ncalls = 0;

	(void) query_tree_walker(unconstify(Query *, query), count_calls, &ncalls, 0);
	return ncalls > 0;
}

/* The call of a range table entry, NULL if that is another one. */
static FuncExpr *
call_of_entry(const RangeTblEntry *rte)
{
	RangeTblFunction *function;

	if (rte->rtekind != RTE_FUNCTION || list_length(rte->functions) != 1 || rte->funcordinality)
		return NULL;
	function = linitial_node(RangeTblFunction, rte->functions);
	return eddy_session_is_call(function->funcexpr) ? (FuncExpr *) function->funcexpr : NULL;
}

/* ---- where the call may be ---- */

typedef struct FromContext
{
	const EddySession *session;
	bool		found;
} FromContext;

/* Checks that the call is not on the nullable side of an outer join. */
static void
check_from_item(Index rti, bool nullable, void *arg)
{
	FromContext *context = arg;

	if (rti != context->session->rti)
		return;
	context->found = true;
	if (nullable)
		eddy_refuse("eddy.session is on the nullable side of an outer join",
					"A row without a session would belong to none.",
					"Use an inner join.");
}

typedef struct UseContext
{
	const EddySession *session;
	int			level;			/* of sub-selects */
} UseContext;

/* True for a column of the session, or all of them as a row. */
static bool
is_column(const Node *node, const UseContext *context)
{
	return IsA(node, Var) && ((const Var *) node)->varno == (int) context->session->rti &&
		((const Var *) node)->varlevelsup == (Index) context->level;
}

/* True if an expression contains a column of the session. */
static bool
uses_session(Node *node, UseContext *context)
{
	if (node == NULL)
		return false;
	if (is_column(node, context))
		return true;
	if (IsA(node, Query))
	{
		bool		result;

		context->level++;
		result = query_tree_walker((Query *) node, uses_session, context, 0);
		context->level--;
		return result;
	}
	return expression_tree_walker(node, uses_session, context);
}

/* True if an aggregate in an expression has a column of the session as an argument or filter. */
static bool
is_aggregated(Node *node, UseContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
		return uses_session(node, context);
	return expression_tree_walker(node, is_aggregated, context);
}

static void
refuse_use(const char *where)
{
	eddy_refuse(psprintf("columns of eddy.session cannot be used in %s", where),
				"The bounds of a session are known only after its rows were merged.",
				"Group by the columns, and use them in the select list or in HAVING.");
}

/* Checks that columns of the session are grouping expressions, and used nowhere else. */
static void
check_uses(Query *query, const EddySession *session)
{
	UseContext	context = {session, 0};
	bool		grouped = false;
	ListCell   *lc;

	foreach(lc, query->groupClause)
	{
		Node	   *expr = get_sortgroupclause_expr(lfirst(lc), query->targetList);

		if (is_column(expr, &context) && ((Var *) expr)->varattno > 0)
			grouped = true;
		else if (uses_session(expr, &context))
			eddy_refuse("an expression over columns of eddy.session cannot be a grouping expression",
						"The bounds of a session are known only after its rows were merged.",
						"Group by the columns themselves.");
	}
	if (is_aggregated((Node *) query->targetList, &context) ||
		is_aggregated(query->havingQual, &context))
		refuse_use("aggregates");
	if (uses_session((Node *) query->jointree, &context))
		refuse_use("WHERE and join conditions");
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		context.level = (rte->rtekind == RTE_SUBQUERY) ? 1 : 0;
		if (uses_session((Node *) rte->functions, &context) ||
			uses_session((Node *) rte->values_lists, &context) ||
			uses_session((Node *) rte->tablefunc, &context) ||
			(rte->subquery && query_tree_walker(rte->subquery, uses_session, &context, 0)))
			refuse_use("FROM");
	}
	if (!grouped)
		eddy_refuse("a query with eddy.session must group by its columns", NULL,
					"Add window_start and window_end to GROUP BY.");
}

/* ---- analysis ---- */

/* The arguments of the call in order, with defaults, and with constants folded. */
static List *
complete_arguments(const FuncExpr *call)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
	List	   *args;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", call->funcid);
	args = expand_function_arguments(copyObject(call->args), false, call->funcresulttype, tuple);
	ReleaseSysCache(tuple);
	return (List *) eval_const_expressions(NULL, (Node *) args);
}

/* Orders grouping expressions: end and start of the session, other expressions, its last event. */
static int
rank_of_column(int column)
{
	switch (column)
	{
		case EDDY_WINDOW_END:
			return 0;
		case EDDY_WINDOW_START:
			return 1;
		case EDDY_WINDOW_LAST:
			return 3;
		default:
			return 2;
	}
}

/* Adds a column of the session to the select list, as a column that the view does not show. */
static SortGroupClause *
add_group(Query *query, const EddySession *session, AttrNumber column)
{
	Var		   *var = makeVar(session->rti, column, session->type, -1, InvalidOid, 0);
	TargetEntry *tle = makeTargetEntry((Expr *) var, list_length(query->targetList) + 1, NULL,
									   true);
	SortGroupClause *clause = makeNode(SortGroupClause);

	query->targetList = lappend(query->targetList, tle);
	clause->tleSortGroupRef = assignSortGroupRef(tle, query->targetList);
	get_sort_group_operators(session->type, true, true, false, &clause->sortop, &clause->eqop,
							 NULL, &clause->hashable);
	return clause;
}

static bool
is_grouped(Query *query, const EddySession *session, AttrNumber column)
{
	UseContext	context = {session, 0};
	ListCell   *lc;

	foreach(lc, query->groupClause)
	{
		Node	   *expr = get_sortgroupclause_expr(lfirst(lc), query->targetList);

		if (is_column(expr, &context) && ((Var *) expr)->varattno == column)
			return true;
	}
	return false;
}

static int
list_position(List *list, const void *member)
{
	ListCell   *lc;

	foreach(lc, list)
		if (lfirst(lc) == member)
			return foreach_current_index(lc);
	return -1;
}

/*
 * Makes the grouping complete and sorts it: end and start of the session, which identify it
 * together with the key that follows, and its last event.
 */
static void
complete_groups(Query *query, EddySession *session)
{
	UseContext	context = {session, 0};
	List	   *ranked[4] = {NIL, NIL, NIL, NIL};
	List	   *written;
	ListCell   *lc;

	for (AttrNumber column = EDDY_WINDOW_START; column <= EDDY_WINDOW_LAST; column++)
		if (!is_grouped(query, session, column))
			query->groupClause = lappend(query->groupClause, add_group(query, session, column));
	written = query->groupClause;
	foreach(lc, written)
	{
		Node	   *expr = get_sortgroupclause_expr(lfirst(lc), query->targetList);
		int			rank = rank_of_column(is_column(expr, &context) ?
										  ((Var *) expr)->varattno : 0);

		ranked[rank] = lappend(ranked[rank], lfirst(lc));
	}
	query->groupClause = list_concat(list_concat(list_concat(ranked[0], ranked[1]), ranked[2]),
									 ranked[3]);
	foreach(lc, query->groupClause)
		session->positions = lappend_int(session->positions, list_position(written, lfirst(lc)));
}

/*
 * eddy_session_analyze checks the one call of eddy.session in a query. Afterwards the grouping
 * expressions are, in this order: end and start of the session, other expressions, last event.
 */
EddySession *
eddy_session_analyze(Query *query)
{
	EddySession *session = palloc0(sizeof(EddySession));
	FromContext from = {session, false};
	FuncExpr   *call = NULL;
	int			ncalls = 0;
	List	   *args;
	ListCell   *lc;

	(void) query_tree_walker(query, count_calls, &ncalls, 0);
	foreach(lc, query->rtable)
		if (call == NULL && (call = call_of_entry(lfirst_node(RangeTblEntry, lc))) != NULL)
			session->rti = foreach_current_index(lc) + 1;
	if (call)
		eddy_refuse_walk_from((Node *) query->jointree, false, check_from_item, &from);
	if (ncalls != 1 || !from.found)
		eddy_session_refuse_call();

	args = complete_arguments(call);
	session->type = exprType(linitial(args));
	if (!IsA(lthird(args), Const))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the maximum length of a session must be constant")));
	if (!lthird_node(Const, args)->constisnull)
		session->max_length =
			eddy_window_length(DatumGetIntervalP(lthird_node(Const, args)->constvalue));
	if (IsA(lsecond(args), Const) && !lsecond_node(Const, args)->constisnull)
		(void) eddy_window_length(DatumGetIntervalP(lsecond_node(Const, args)->constvalue));
	else if (IsA(lsecond(args), Const))
		eddy_window_raise_null();
	check_uses(query, session);
	complete_groups(query, session);
	return session;
}

/*
 * eddy_session_make_rows replaces the call in a copy of the definition by that of
 * eddy._session_row, which returns the same columns.
 */
void
eddy_session_make_rows(Query *delta, const EddySession *session)
{
	RangeTblEntry *rte = rt_fetch(session->rti, delta->rtable);
	FuncExpr   *call = call_of_entry(rte);
	Oid			types[2] = {session->type, INTERVALOID};
	List	   *args = complete_arguments(call);
	NullTest   *test = makeNode(NullTest);

	call->funcid = LookupFuncName(list_make2(makeString(EDDY_SCHEMA), makeString("_session_row")),
								  2, types, false);
	call->args = list_make2(linitial(args), lsecond(args));

	/* rows without a time are in no session */
	test->arg = (Expr *) makeVar(session->rti, EDDY_WINDOW_START, session->type, -1, InvalidOid,
								 0);
	test->nulltesttype = IS_NOT_NULL;
	test->location = -1;
	delta->jointree->quals = make_and_qual(delta->jointree->quals, (Node *) test);
}

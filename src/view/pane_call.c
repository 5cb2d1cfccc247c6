/*-------------------------------------------------------------------------
 *
 * pane_call.c
 *    Calls of eddy._open_windows in queries, and who may make them.
 *
 * The public view of a view with panes calls the function for its open windows. Whoever may read
 * the view may do so, also through other views that they have rights on instead: the server checks
 * relations in a view as its owner, but functions as the user of the query. So before a query is
 * planned, while it still shows which part of it is which view, the calls that are part of the
 * public view that has the panes are marked; the server checks the rights on that view when the
 * query is executed. Other calls, which a user has written, require the right to read the view.
 *
 * The mark is a position in the text of the query that no parser returns. Stored and parsed queries
 * cannot contain it.
 *
 * No locks, no memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_class.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/planner.h"
#include "utils/lsyscache.h"

#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "view/pane_call.h"

/* The location of a marked call; -1 is an unknown one. */
#define PERMITTED_LOCATION (-2)

static planner_hook_type prev_planner = NULL;

FuncExpr *
eddy_pane_find_call(const RangeTblEntry *rte)
{
	FuncExpr   *call;

	if (rte->rtekind != RTE_FUNCTION || rte->funcordinality || list_length(rte->functions) != 1)
		return NULL;
	call = (FuncExpr *) linitial_node(RangeTblFunction, rte->functions)->funcexpr;
	if (!IsA(call, FuncExpr) || call->funcid < FirstNormalObjectId ||
		list_length(call->args) != 1 || !IsA(linitial(call->args), Const) ||
		castNode(Const, linitial(call->args))->constisnull ||
		get_func_namespace(call->funcid) != eddy_catalog_schema() ||
		strcmp(get_func_name(call->funcid), "_open_windows") != 0)
		return NULL;
	return call;
}

Oid
eddy_pane_call_table(const FuncExpr *call)
{
	return DatumGetObjectId(castNode(Const, linitial(call->args))->constvalue);
}

bool
eddy_pane_call_is_permitted(const FuncExpr *call)
{
	return call->location == PERMITTED_LOCATION;
}

static void
permit_call(const RangeTblEntry *rte, Oid view)
{
	FuncExpr   *call = eddy_pane_find_call(rte);
	EddyView   *row;

	if (call == NULL)
		return;
	row = eddy_catalog_find_view(eddy_pane_call_table(call));
	if (row && row->relid == view)
		call->location = PERMITTED_LOCATION;
}

static bool permit_walker(Node *node, void *context);

/* Marks calls in a query that is part of the query of a view; InvalidOid: of none. */
static void
permit_in_query(Query *query, Oid view)
{
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_SUBQUERY)
		{
			Oid			expanded = eddy_compat_expanded_view(rte);

			permit_in_query(rte->subquery, OidIsValid(expanded) ? expanded : view);
		}
		else if (OidIsValid(view))
			permit_call(rte, view);
	}
	foreach(lc, query->cteList)
		(void) permit_walker(lfirst_node(CommonTableExpr, lc)->ctequery, &view);
	if (query->hasSubLinks)
		(void) query_tree_walker(query, permit_walker, &view,
								 QTW_IGNORE_RT_SUBQUERIES | QTW_IGNORE_CTE_SUBQUERIES);
}

static bool
permit_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		permit_in_query((Query *) node, *(Oid *) context);
		return false;
	}
	return expression_tree_walker(node, permit_walker, context);
}

static PlannedStmt *
plan_query(Query *query, const char *text, int cursor_options, ParamListInfo params)
{
	permit_in_query(query, InvalidOid);
	return prev_planner ? prev_planner(query, text, cursor_options, params) :
		standard_planner(query, text, cursor_options, params);
}

void
eddy_pane_call_init(void)
{
	prev_planner = planner_hook;
	planner_hook = plan_query;
}

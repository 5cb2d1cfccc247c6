/*-------------------------------------------------------------------------
 *
 * event_window.c
 *    Recognizes grouping by windows over the event time of a stream.
 *
 * A group of such a view is final when the watermark reaches the end of its window. That holds only
 * if the argument of the window function is the event time of the stream itself: the watermark says
 * nothing about other times. The end of the window must be a grouping expression, so that each
 * group has one. A start determines the end if the window has a constant length, as those of
 * eddy.tumble and eddy.hop have; then the end is added to the grouping, which changes no group.
 *
 * No locks. Memory: the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_clause.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "catalog/eddy_catalog.h"
#include "view/chain.h"
#include "view/event_window.h"
#include "view/flatten.h"

/* The call of a window function, with its name. */
typedef struct WindowCall
{
	const char *name;
	const FuncExpr *call;
} WindowCall;

/* True if a range table entry is a call of one of our window functions. */
static bool
find_call(const RangeTblEntry *rte, WindowCall *window)
{
	const RangeTblFunction *function;

	if (rte->rtekind != RTE_FUNCTION || list_length(rte->functions) != 1)
		return false;
	function = linitial_node(RangeTblFunction, rte->functions);
	if (!IsA(function->funcexpr, FuncExpr))
		return false;
	window->call = (const FuncExpr *) function->funcexpr;
	if (get_func_namespace(window->call->funcid) != eddy_catalog_schema())
		return false;
	window->name = get_func_name(window->call->funcid);
	return strcmp(window->name, "tumble") == 0 || strcmp(window->name, "hop") == 0 ||
		strcmp(window->name, "cumulate") == 0 || strcmp(window->name, "session") == 0;
}

bool
eddy_event_window_is_event_time(const Query *query, Index stream_rti, const Node *expr)
{
	return eddy_chain_is_event_time(rt_fetch(stream_rti, query->rtable)->relid,
									eddy_union_find_column(query, stream_rti, expr));
}

/* The call of a window function over the event time that an expression is a column of. */
static bool
find_window(const Query *query, Index stream_rti, const Node *expr, WindowCall *window)
{
	const Var  *var = (const Var *) expr;

	return expr && IsA(expr, Var) && var->varlevelsup == 0 &&
		find_call(rt_fetch(var->varno, query->rtable), window) &&
		eddy_event_window_is_event_time(query, stream_rti, linitial(window->call->args));
}

int
eddy_event_window_bound(const Query *query, Index stream_rti, const Node *expr)
{
	WindowCall	window;

	if (!find_window(query, stream_rti, expr, &window))
		return 0;
	return ((const Var *) expr)->varattno;
}

AttrNumber
eddy_event_window_column(const Query *query, Index stream_rti, const Node *expr)
{
	WindowCall	window;

	if (!find_window(query, stream_rti, expr, &window))
		return 0;
	return eddy_union_find_column(query, stream_rti, linitial(window.call->args));
}

/* True if the windows of a call that begin together end together. */
static bool
has_constant_length(const WindowCall *window)
{
	ListCell   *lc;

	if (strcmp(window->name, "cumulate") == 0 || strcmp(window->name, "session") == 0)
		return false;
	foreach(lc, window->call->args)
		if (lc != list_head(window->call->args) && contain_var_clause(lfirst(lc)))
			return false;
	return true;
}

bool
eddy_event_window_add_end(Query *query, Index stream_rti)
{
	const Var  *start = NULL;
	WindowCall	window;
	TargetEntry *entry;
	Var		   *end;
	ListCell   *lc;
	Oid			lt_opr;
	Oid			eq_opr;
	bool		hashable;
	SortGroupClause *clause;

	if (query->groupingSets)
		return false;
	foreach(lc, query->groupClause)
	{
		Node	   *expr = get_sortgroupclause_expr(lfirst(lc), query->targetList);

		switch (eddy_event_window_bound(query, stream_rti, expr))
		{
			case EDDY_WINDOW_END:
				return false;
			case EDDY_WINDOW_START:
				start = (const Var *) expr;
				break;
		}
	}
	if (start == NULL || !find_window(query, stream_rti, (const Node *) start, &window) ||
		!has_constant_length(&window))
		return false;

	end = (Var *) copyObject(unconstify(Var *, start));
	end->varattno = EDDY_WINDOW_END;
	entry = makeTargetEntry((Expr *) end, list_length(query->targetList) + 1, NULL, true);
	query->targetList = lappend(query->targetList, entry);
	get_sort_group_operators(end->vartype, false, true, false, &lt_opr, &eq_opr, NULL, &hashable);
	clause = makeNode(SortGroupClause);
	clause->tleSortGroupRef = assignSortGroupRef(entry, query->targetList);
	clause->eqop = eq_opr;
	clause->sortop = lt_opr;
	clause->hashable = hashable;
	query->groupClause = lappend(query->groupClause, clause);
	return true;
}

const char *
eddy_event_window_missing(const Query *query, Index stream_rti)
{
	EddyStream *stream = eddy_catalog_get_stream(rt_fetch(stream_rti, query->rtable)->relid);
	ListCell   *lc;

	if (stream && stream->event_time == NULL)
		return "The stream has no event time.";
	foreach(lc, query->rtable)
	{
		WindowCall	window;

		if (!find_call(lfirst_node(RangeTblEntry, lc), &window))
			continue;
		if (!eddy_event_window_is_event_time(query, stream_rti, linitial(window.call->args)))
			return stream ?
				"The argument of the window function is not the event time column of the stream." :
				"The argument of the window function is not a bound of windows that the other view closes, or the event time that it passes on.";
		return "The query does not group by the end of the window.";
	}
	return "The query does not group by a window over the event time of the stream.";
}

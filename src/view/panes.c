/*-------------------------------------------------------------------------
 *
 * panes.c
 *    Panes: the parts of which the overlapping windows of eddy.hop and eddy.cumulate consist.
 *
 * A row is in up to size/slide windows, but in one pane: the greatest common divisor of slide and
 * size is the length of a pane, and each window consists of whole panes. This file recognizes
 * queries whose windows can be combined from panes, and computes with their bounds:
 *
 * - The windows are over the event time and have constant lengths, so that it is known for each
 *   pane which windows contain it.
 * - The bounds of a window are used as grouping expressions, and in what is computed from groups,
 *   but not for single rows: a row has one pane instead of its windows.
 *
 * All bounds are aligned as those of the window functions are (window.c).
 *
 * No locks. Memory: the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "catalog/eddy_catalog.h"
#include "view/analyze.h"
#include "view/event_window.h"
#include "view/panes.h"
#include "view/window.h"

/* Days of the longest lengths that panes are used for; far from any overflow. */
#define MAX_DAYS 1000000

/* ---- recognizing queries ---- */

typedef struct UseContext
{
	Index		rti;
	int			level;
} UseContext;

/* True if an expression or sub-select contains a column of the range table entry. */
static bool
uses(Node *node, void *arg)
{
	UseContext *context = arg;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varno == (int) context->rti &&
			(int) ((Var *) node)->varlevelsup == context->level;
	if (IsA(node, Query))
	{
		bool		result;

		context->level++;
		result = query_tree_walker((Query *) node, uses, context, 0);
		context->level--;
		return result;
	}
	return expression_tree_walker(node, uses, context);
}

/* True if the windows of a query serve to compute groups only. */
static bool
groups_only(const Query *query, Index rti)
{
	UseContext	context = {rti, 0};
	List	   *others = NIL;
	ListCell   *lc;

	if (uses((Node *) query->jointree, &context))
		return false;
	foreach(lc, query->rtable)
		if (foreach_current_index(lc) + 1 != (int) rti)
			others = lappend(others, lfirst(lc));
	if (range_table_walker(others, uses, &context, 0))
		return false;
	foreach(lc, eddy_analyze_aggrefs(unconstify(Query *, query)))
		if (uses(lfirst(lc), &context))
			return false;
	foreach(lc, query->groupClause)
	{
		Node	   *expr = get_sortgroupclause_expr(lfirst(lc), query->targetList);

		if (!IsA(expr, Var) && uses(expr, &context))
			return false;
		if (IsA(expr, Var) && uses(expr, &context) &&
			((Var *) expr)->varattno != EDDY_WINDOW_START &&
			((Var *) expr)->varattno != EDDY_WINDOW_END)
			return false;
	}
	return true;
}

/* True if an entry of the range table is joined by inner joins only: it never is null-extended. */
static bool
joined_inner(Node *node, Index rti)
{
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return ((RangeTblRef *) node)->rtindex == (int) rti;
	if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			if (joined_inner(lfirst(lc), rti))
				return true;
	}
	else if (IsA(node, JoinExpr) && ((JoinExpr *) node)->jointype == JOIN_INNER)
		return joined_inner(((JoinExpr *) node)->larg, rti) ||
			joined_inner(((JoinExpr *) node)->rarg, rti);
	return false;
}

/* The window function over the event time by whose bounds a query groups; 0: none. */
static Index
find_windows(const Query *query, Index stream_rti)
{
	ListCell   *lc;

	foreach(lc, query->groupClause)
	{
		Node	   *expr = get_sortgroupclause_expr(lfirst(lc), query->targetList);

		/* a start without an end is refused below, unless the window has a constant length */
		if (eddy_event_window_bound(query, stream_rti, expr) != 0)
			return ((Var *) expr)->varno;
	}
	return 0;
}

/* ---- lengths ---- */

static int64
greatest_common_divisor(int64 a, int64 b)
{
	while (b != 0)
	{
		int64		rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* The value of an argument that is a constant interval without months, in microseconds. */
static bool
constant_usec(const FuncExpr *call, int argno, int64 *usec)
{
	const Const *value = list_nth(call->args, argno);
	const Interval *interval;

	if (!IsA(value, Const) || value->constisnull || value->consttype != INTERVALOID)
		return false;
	interval = DatumGetIntervalP(value->constvalue);
	/* the window function raises the errors */
	if (interval->month != 0 || abs(interval->day) > MAX_DAYS ||
		interval->time > MAX_DAYS * USECS_PER_DAY || interval->time < -MAX_DAYS * USECS_PER_DAY)
		return false;
	*usec = interval->day * USECS_PER_DAY + interval->time;
	return true;
}

/* In a time zone, the lengths of windows are not constant. */
static bool
has_no_time_zone(const FuncExpr *call)
{
	const Const *zone;

	if (list_length(call->args) == 4)
		return true;
	zone = list_nth(call->args, 4);
	return list_length(call->args) == 5 && IsA(zone, Const) && zone->constisnull;
}

static bool
set_lengths(EddyPanes *panes, const FuncExpr *call)
{
	if (list_length(call->args) < 4 || !has_no_time_zone(call) ||
		!constant_usec(call, 1, &panes->slide) || !constant_usec(call, 2, &panes->size) ||
		!constant_usec(call, 3, &panes->offset) ||
		panes->slide <= 0 || panes->size < 2 * panes->slide)
		return false;
	panes->pane = greatest_common_divisor(panes->slide, panes->size);
	panes->end_offset = panes->cumulates ? panes->offset : panes->offset + panes->size % panes->slide;
	/*
	 * About as many blocks in a window as ends of windows in a block, so that the work for a window
	 * grows with neither. A window is at least two blocks long, as its size is at least two slides.
	 */
	panes->block = panes->slide * Max(1, (int64) sqrt((double) (panes->size / panes->slide)));
	return true;
}

static Node *
make_interval(int64 usec)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = usec;
	return (Node *) makeConst(INTERVALOID, -1, InvalidOid, sizeof(Interval),
							  IntervalPGetDatum(interval), false, false);
}

/* The call of eddy.tumble whose windows are the panes. */
static Node *
make_tumble(const EddyPanes *panes, const FuncExpr *call)
{
	Oid			types[] = {InvalidOid, INTERVALOID, INTERVALOID, TEXTOID};
	FuncExpr   *tumble = copyObject(unconstify(FuncExpr *, call));
	int			nargs = list_length(call->args) - 1;	/* without the slide */

	types[0] = getBaseType(exprType(linitial(call->args)));
	tumble->funcid = LookupFuncName(list_make2(makeString(EDDY_SCHEMA), makeString("tumble")),
									nargs, types, false);
	tumble->args = list_make3(linitial(tumble->args), make_interval(panes->pane),
							  make_interval(panes->offset));
	if (nargs == lengthof(types))
		tumble->args = lappend(tumble->args, llast(call->args));	/* no time zone */
	return (Node *) tumble;
}

EddyPanes *
eddy_panes_analyze(const Query *query, Index stream_rti)
{
	EddyPanes  *panes;
	const char *name;
	FuncExpr   *call;
	RangeTblFunction *function;
	ListCell   *lc;

	if (query->groupingSets || query->hasTargetSRFs)
		return NULL;
	panes = palloc0(sizeof(EddyPanes));
	panes->rti = find_windows(query, stream_rti);
	if (panes->rti == 0 || !groups_only(query, panes->rti) ||
		!joined_inner((Node *) query->jointree, panes->rti))
		return NULL;
	function = linitial_node(RangeTblFunction, rt_fetch(panes->rti, query->rtable)->functions);
	panes->windows = copyObject(function->funcexpr);
	name = get_func_name(castNode(FuncExpr, function->funcexpr)->funcid);
	panes->cumulates = strcmp(name, "cumulate") == 0;
	if (!panes->cumulates && strcmp(name, "hop") != 0)
		return NULL;

	/* fold constants, add defaults and put named arguments into order */
	call = (FuncExpr *) eval_const_expressions(NULL, copyObject(function->funcexpr));
	if (!IsA(call, FuncExpr) || !set_lengths(panes, call))
		return NULL;
	panes->tumble = make_tumble(panes, call);
	foreach(lc, query->groupClause)
		if (eddy_event_window_bound(query, stream_rti,
									get_sortgroupclause_expr(lfirst(lc), query->targetList)) != 0)
			panes->nbounds++;
	return panes;
}

/*
 * eddy_panes_pay compares the costs. With a row for each window, a row of the stream changes
 * size/slide rows. With panes it changes one, but closing a window adds up to slide/pane panes.
 */
bool
eddy_panes_pay(const EddyPanes *panes)
{
	return panes->slide / panes->pane <= panes->size / panes->slide;
}

/* ---- bounds ---- */

/* The last time that is aligned by length and offset and not after a time. */
static inline TimestampTz
align(TimestampTz time, int64 length, int64 offset)
{
	return time - eddy_window_position(time, length, offset);
}

TimestampTz
eddy_panes_next_end(const EddyPanes *panes, TimestampTz after)
{
	return align(after, panes->slide, panes->end_offset) + panes->slide;
}

TimestampTz
eddy_panes_next_block(const EddyPanes *panes, TimestampTz after)
{
	return align(after, panes->block, panes->end_offset) + panes->block;
}

TimestampTz
eddy_panes_window_start(const EddyPanes *panes, TimestampTz end)
{
	return panes->cumulates ? align(end - 1, panes->size, panes->offset) : end - panes->size;
}

TimestampTz
eddy_panes_first_end(const EddyPanes *panes, TimestampTz pane_end)
{
	return eddy_panes_next_end(panes, pane_end - panes->pane);
}

TimestampTz
eddy_panes_last_end(const EddyPanes *panes, TimestampTz pane_end)
{
	TimestampTz start = pane_end - panes->pane;

	return panes->cumulates ? align(start, panes->size, panes->offset) + panes->size :
		align(start + panes->size, panes->slide, panes->end_offset);
}

/* Errors for a pane with windows that are not in the range of timestamps. */
static void
check_range(const EddyPanes *panes, TimestampTz pane_end)
{
	TimestampTz start = pane_end - panes->pane;
	TimestampTz last_start = align(start, panes->cumulates ? panes->size : panes->slide,
								   panes->offset);

	/* in this order, nothing overflows */
	if (last_start < MIN_TIMESTAMP || last_start >= END_TIMESTAMP - panes->size ||
		eddy_panes_window_start(panes, eddy_panes_first_end(panes, pane_end)) < MIN_TIMESTAMP)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
}

bool
eddy_panes_leave_out(const EddyPanes *panes, EddyJudgment *judgment, bool is_null,
					 TimestampTz pane_end)
{
	TimestampTz first_end;

	if (is_null)
		return true;
	if (pane_end < MIN_TIMESTAMP + 2 * panes->size || pane_end > END_TIMESTAMP - 2 * panes->size)
		check_range(panes, pane_end);
	first_end = eddy_panes_first_end(panes, pane_end);
	if (first_end <= judgment->late_until)
	{
		judgment->found_late = true;
		if (eddy_panes_last_end(panes, pane_end) <= judgment->late_until)
			return true;
		first_end = eddy_panes_next_end(panes, judgment->late_until);
	}
	judgment->first_end = Min(judgment->first_end, first_end);
	return false;
}

/*-------------------------------------------------------------------------
 *
 * late_pairs.c
 *    Finds the late rows of a batch.
 *
 * A row is late for a window that was final when the batch was judged. All rows of a batch that are
 * in a group of such a window are late, so a merge recognizes late rows by their group, which costs
 * nothing while there are none. Only then does the query here run over the batch, as the delta
 * query without its aggregation: it returns each pair of a row and a final window. One row can be late
 * for one window and be counted in another.
 *
 * A row of a session is late by itself only if no session that is not final has saved it. The merge
 * has noted the late rows of the delta, by which the pairs of the query are filtered: both are
 * sorted by the key of the session and the bounds that the row has alone.
 *
 * Rows that the view has rejected are left out, so that accepted, late and rejected pairs are
 * all. The query runs with the privileges of the owner of the view.
 *
 * Locking: what the query reads is locked as for a SELECT. Memory: batch->mcxt for the result, which
 * is as large as the number of late pairs if the view stores them; the rest goes with the call.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_clause.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/sortsupport.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

#include "compat.h"
#include "owner.h"
#include "view/chain.h"
#include "view/event_window.h"
#include "view/kind_retracting.h"
#include "view/maintain.h"
#include "view/panes.h"

/* Columns of the result. */
enum
{
	LATE_PLACE = 1,
	LATE_START,
	LATE_END,
	LATE_KEY					/* of sessions: the first column of the key */
};

/* Keys of a plan with sessions: end, start, the key of the session, last event. */
#define LATE_SESSION_KEY 2

static TargetEntry *
make_target(AttrNumber resno, Node *expr)
{
	return makeTargetEntry((Expr *) expr, resno, psprintf("c%d", resno), false);
}

/* time <= until */
static Node *
make_condition(Node *time, TimestampTz until)
{
	Oid			time_type = getBaseType(exprType(time));
	TypeCacheEntry *type = lookup_type_cache(time_type, TYPECACHE_BTREE_OPFAMILY);
	Oid			operator = get_opfamily_member(type->btree_opf, time_type, time_type,
												BTLessEqualStrategyNumber);
	Const	   *bound = makeConst(time_type, -1, InvalidOid, sizeof(TimestampTz),
								  TimestampTzGetDatum(until), false, FLOAT8PASSBYVAL);

	return (Node *) make_opclause(operator, BOOLOID, false, (Expr *) copyObject(time),
								  (Expr *) bound, InvalidOid, InvalidOid);
}

/* Joins, functions that return sets, and grouping sets give a pair several times: DISTINCT. */
static void
make_distinct(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);
		SortGroupClause *clause = makeNode(SortGroupClause);

		get_sort_group_operators(exprType((Node *) entry->expr), true, true, false,
								 &clause->sortop, &clause->eqop, NULL, &clause->hashable);
		clause->tleSortGroupRef = assignSortGroupRef(entry, query->targetList);
		query->distinctClause = lappend(query->distinctClause, clause);
	}
}

/*
 * Rows that are late for a window are before its end: only these are paired with the windows, which
 * are many.
 */
static void
restore_windows(const EddyViewPlan *plan, Query *query, TimestampTz until)
{
	RangeTblEntry *rte = rt_fetch(plan->panes->rti, query->rtable);
	FuncExpr   *windows = castNode(FuncExpr, eddy_chain_map(plan, copyObject(plan->panes->windows)));

	linitial_node(RangeTblFunction, rte->functions)->funcexpr = (Node *) windows;
	query->jointree->quals = make_and_qual(query->jointree->quals,
										   make_condition(linitial(windows->args), until));
}

/* The delta query without aggregation, for the pairs of a row and a window that ends until a time. */
static Query *
make_query(EddyViewPlan *plan, TimestampTz until)
{
	Query	   *query = copyObject(plan->delta_query);
	Var		   *end = castNode(Var, plan->keys[0].expr);
	Var		   *start = copyObject(end);
	Var		   *place = makeVar(plan->stream_rti, SelfItemPointerAttributeNumber, TIDOID, -1,
								InvalidOid, 0);

	start->varattno = EDDY_WINDOW_START;
	query->targetList = list_make3(make_target(LATE_PLACE, (Node *) place),
								   make_target(LATE_START, (Node *) start),
								   make_target(LATE_END, (Node *) copyObject(end)));
	if (plan->session)
		for (int i = LATE_SESSION_KEY; i < plan->nkeys - 1; i++)
			query->targetList = lappend(query->targetList,
										make_target(LATE_KEY + i - LATE_SESSION_KEY,
													eddy_chain_map(plan, (Node *) copyObject(plan->keys[i].expr))));
	query->groupClause = NIL;
	query->havingQual = NULL;
	query->hasAggs = false;
	/* an update is late once */
	if (plan->retracts)
		query->jointree->quals = make_and_qual(query->jointree->quals,
											   eddy_retracting_is_last(plan));
	query->jointree->quals = make_and_qual(query->jointree->quals, make_condition((Node *) end, until));
	if (plan->panes)
		restore_windows(plan, query, until);
	make_distinct(query);
	return query;
}

/* Runs the query, as the owner of the view. */
static Tuplestorestate *
run_query(EddyWork *work)
{
	EddyScanRange range = {work->batch, 0, work->batch->nrows, work->skip, -1};
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	EddyOwnerSwitch save;
	PlannedStmt *statement;
	bool		starting;

	eddy_owner_begin(&save, work->plan->owner);
	statement = eddy_delta_plan_query(work->source,
									  make_query(work->source, work->judgment.late_until));
	eddy_delta_execute(work, statement, &range, store, &starting);
	eddy_owner_end(&save);
	return store;
}

static EddyLateRow
read_pair(TupleTableSlot *slot)
{
	EddyLateRow pair;

	slot_getallattrs(slot);
	pair.row = eddy_scan_row((ItemPointer) DatumGetPointer(slot->tts_values[LATE_PLACE - 1]));
	pair.window_start = slot->tts_isnull[LATE_START - 1] ? DT_NOBEGIN :
		DatumGetTimestampTz(slot->tts_values[LATE_START - 1]);
	pair.window_end = DatumGetTimestampTz(slot->tts_values[LATE_END - 1]);
	return pair;
}

static int
compare_pairs(const void *a, const void *b)
{
	const EddyLateRow *left = a;
	const EddyLateRow *right = b;

	if (left->row != right->row)
		return left->row < right->row ? -1 : 1;
	return left->window_end < right->window_end ? -1 : left->window_end > right->window_end;
}

/* Copies the pairs, in order of the rows. */
static void
read_pairs(EddyLateRows *late, Tuplestorestate *store, TupleTableSlot *slot)
{
	int64		n = 0;

	late->rows = MemoryContextAllocHuge(CurrentMemoryContext,
										mul_size(late->count, sizeof(EddyLateRow)));
	tuplestore_rescan(store);
	while (tuplestore_gettupleslot(store, true, false, slot))
		late->rows[n++] = read_pair(slot);
	qsort(late->rows, n, sizeof(EddyLateRow), compare_pairs);
}

/* ---- sessions ---- */

/* Sorts rows by the key of the session, start and end, which are in the given columns. */
static Tuplesortstate *
sort_rows(const EddyViewPlan *plan, Tuplestorestate *store, TupleTableSlot *slot,
		  const AttrNumber *columns)
{
	int			n = plan->nsort_keys;
	Oid		   *operators = palloc(sizeof(Oid) * n);
	Oid		   *collations = palloc(sizeof(Oid) * n);
	bool	   *nulls_first = palloc0(sizeof(bool) * n);
	Tuplesortstate *sort;

	for (int i = 0; i < n; i++)
	{
		operators[i] = plan->keys[plan->sort_keys[i]].lt_opr;
		collations[i] = plan->keys[plan->sort_keys[i]].collation;
	}
	sort = tuplesort_begin_heap(slot->tts_tupleDescriptor, n,
								unconstify(AttrNumber *, columns), operators, collations,
								nulls_first, work_mem, NULL, TUPLESORT_NONE);
	tuplestore_rescan(store);
	while (tuplestore_gettupleslot(store, true, false, slot))
		tuplesort_puttupleslot(sort, slot);
	tuplesort_performsort(sort);
	return sort;
}

/* Compares a pair with a late row of the delta. */
static int
compare_rows(const EddyViewPlan *plan, SortSupport keys, TupleTableSlot *pair,
			 const AttrNumber *pair_columns, TupleTableSlot *row, const AttrNumber *row_columns)
{
	for (int i = 0; i < plan->nsort_keys; i++)
	{
		bool		pair_null;
		bool		row_null;
		Datum		left = slot_getattr(pair, pair_columns[i], &pair_null);
		Datum		right = slot_getattr(row, row_columns[i], &row_null);
		int			order = ApplySortComparator(left, pair_null, right, row_null, &keys[i]);

		if (order != 0)
			return order;
	}
	return 0;
}

static SortSupport
make_comparators(const EddyViewPlan *plan)
{
	SortSupport keys = palloc0(sizeof(SortSupportData) * plan->nsort_keys);

	for (int i = 0; i < plan->nsort_keys; i++)
	{
		keys[i].ssup_cxt = CurrentMemoryContext;
		keys[i].ssup_collation = plan->keys[plan->sort_keys[i]].collation;
		PrepareSortSupportFromOrderingOp(plan->keys[plan->sort_keys[i]].lt_opr, &keys[i]);
	}
	return keys;
}

/* The pairs whose rows the merge has found late. */
static Tuplestorestate *
select_late(EddyWork *work, Tuplestorestate *store, TupleTableSlot *pair)
{
	const EddyViewPlan *plan = work->plan;
	AttrNumber *pair_columns = palloc(sizeof(AttrNumber) * plan->nsort_keys);
	AttrNumber *row_columns = palloc(sizeof(AttrNumber) * plan->nsort_keys);
	SortSupport keys = make_comparators(plan);
	TupleTableSlot *row = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsMinimalTuple);
	Tuplestorestate *selected = tuplestore_begin_heap(false, false, work_mem);
	Tuplesortstate *pairs;
	Tuplesortstate *rows;
	EddyOwnerSwitch save;
	bool		has_row;

	for (int i = 0; i < plan->nsort_keys; i++)
	{
		int			key = plan->sort_keys[i];

		row_columns[i] = key + 1;
		pair_columns[i] = key == 0 ? LATE_END : key == 1 ? LATE_START :
			LATE_KEY + key - LATE_SESSION_KEY;
	}
	/* comparing keys calls functions of their types */
	eddy_owner_begin(&save, plan->owner);
	pairs = sort_rows(plan, store, pair, pair_columns);
	rows = sort_rows(plan, work->judgment.late_rows, row, row_columns);
	has_row = tuplesort_gettupleslot(rows, true, false, row, NULL);
	while (has_row && tuplesort_gettupleslot(pairs, true, false, pair, NULL))
	{
		int			order = 1;

		CHECK_FOR_INTERRUPTS();
		while (has_row && (order = compare_rows(plan, keys, pair, pair_columns, row,
												row_columns)) > 0)
			has_row = tuplesort_gettupleslot(rows, true, false, row, NULL);
		if (has_row && order == 0)
			tuplestore_puttupleslot(selected, pair);
	}
	tuplesort_end(pairs);
	tuplesort_end(rows);
	eddy_owner_end(&save);
	ExecDropSingleTupleTableSlot(row);
	tuplestore_end(store);
	return selected;
}

/* ---- all kinds ---- */

static TupleDesc
make_desc(const EddyViewPlan *plan)
{
	int			nkeys = plan->session ? plan->nkeys - 1 - LATE_SESSION_KEY : 0;
	TupleDesc	desc = CreateTemplateTupleDesc(LATE_END + nkeys);

	TupleDescInitEntry(desc, LATE_PLACE, NULL, TIDOID, -1, 0);
	TupleDescInitEntry(desc, LATE_START, NULL, plan->keys[0].type, -1, 0);
	TupleDescInitEntry(desc, LATE_END, NULL, plan->keys[0].type, -1, 0);
	for (int i = 0; i < nkeys; i++)
	{
		const EddyKey *key = &plan->keys[LATE_SESSION_KEY + i];

		TupleDescInitEntry(desc, LATE_KEY + i, NULL, key->type, key->typmod, 0);
		TupleDescInitEntryCollation(desc, LATE_KEY + i, key->collation);
	}
	return desc;
}

static void
collect(void *arg)
{
	EddyWork   *work = arg;
	EddyBatch  *batch = work->batch;
	Tuplestorestate *store = run_query(work);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(make_desc(work->plan), &TTSOpsMinimalTuple);
	MemoryContext old;
	EddyLateRows *late;

	if (work->plan->session)
		store = select_late(work, store, slot);
	old = MemoryContextSwitchTo(batch->mcxt);
	late = palloc0(sizeof(EddyLateRows));
	late->view = work->plan->view;
	late->watermark = work->watermark;
	late->count = tuplestore_tuple_count(store);
	if (work->plan->keeps_late && late->count > 0)
		read_pairs(late, store, slot);
	if (late->count > 0)
		batch->late_rows = lappend(batch->late_rows, late);
	MemoryContextSwitchTo(old);
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(store);
}

/*
 * eddy_late_collect adds the late rows of a view to those of the batch, after the merge has found
 * that there are some.
 */
void
eddy_late_collect(EddyWork *work)
{
	(void) eddy_delta_run(work, collect, work, false);
}

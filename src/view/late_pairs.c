/*-------------------------------------------------------------------------
 *
 * late_pairs.c
 *    Finds the late rows of a batch.
 *
 * A row is late for a window that was final when the batch was judged. All rows of a batch that are
 * in a group of such a window are late, so a merge recognizes late rows by their group, which costs
 * nothing while there are none. Only then does the query here run over the batch, as the delta
 * query without its aggregation: it returns each pair of a row and a final window. One row can be
 * late for one window and be counted in another.
 *
 * If the windows of a kind of views depend on more than the row, its operations adapt the query and
 * select the pairs.
 *
 * Rows that the view has rejected are left out, so that accepted, late and rejected pairs are
 * all. The query runs with the privileges of the owner of the view.
 *
 * Locking: what the query reads is locked as for a SELECT. Memory: batch->mcxt for the result,
 * which is as large as the number of late pairs if the view stores them; the rest goes with the
 * call.
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
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "compat.h"
#include "owner.h"
#include "view/chain.h"
#include "view/event_window.h"
#include "view/kind.h"
#include "view/kind_retracting.h"
#include "view/late_pairs.h"
#include "view/maintain.h"

TargetEntry *
eddy_late_make_target(AttrNumber resno, Node *expr)
{
	return makeTargetEntry((Expr *) expr, resno, psprintf("c%d", resno), false);
}

/* eddy_late_add_condition adds to a query: AND time <= until. */
void
eddy_late_add_condition(Query *query, Node *time, TimestampTz until)
{
	Oid			time_type = getBaseType(exprType(time));
	TypeCacheEntry *type = lookup_type_cache(time_type, TYPECACHE_BTREE_OPFAMILY);
	Oid			operator = get_opfamily_member(type->btree_opf, time_type, time_type,
												BTLessEqualStrategyNumber);
	Const	   *bound = makeConst(time_type, -1, InvalidOid, sizeof(TimestampTz),
								  TimestampTzGetDatum(until), false, FLOAT8PASSBYVAL);

	query->jointree->quals = make_and_qual(query->jointree->quals,
										   (Node *) make_opclause(operator, BOOLOID, false,
																  (Expr *) copyObject(time),
																  (Expr *) bound, InvalidOid,
																  InvalidOid));
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
 * The delta query without aggregation, for the pairs of a row and a window that ends until a time.
 */
static Query *
make_query(EddyViewPlan *plan, TimestampTz until)
{
	Query	   *query = copyObject(plan->delta_query);
	Var		   *end = castNode(Var, plan->keys[0].expr);
	Var		   *start = copyObject(end);
	Var		   *place = makeVar(plan->stream_rti, SelfItemPointerAttributeNumber, TIDOID, -1,
								InvalidOid, 0);

	start->varattno = EDDY_WINDOW_START;
	query->targetList = list_make3(eddy_late_make_target(EDDY_LATE_PLACE, (Node *) place),
								   eddy_late_make_target(EDDY_LATE_START, (Node *) start),
								   eddy_late_make_target(EDDY_LATE_END, (Node *) copyObject(end)));
	query->groupClause = NIL;
	query->havingQual = NULL;
	query->hasAggs = false;
	/* an update is late once */
	if (plan->retracts)
		query->jointree->quals = make_and_qual(query->jointree->quals,
											   eddy_retracting_is_last(plan));
	eddy_late_add_condition(query, (Node *) end, until);
	if (plan->kind->adapt_late_query)
		plan->kind->adapt_late_query(plan, query, until);
	make_distinct(query);
	return query;
}

/* Runs the query, as the owner of the view. *slot is set to one for its rows. */
static Tuplestorestate *
run_query(EddyWork *work, TupleTableSlot **slot)
{
	Query	   *query;
	EddyScanRange range = {work->batch, 0, work->batch->nrows, work->skip, -1};
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	EddyOwnerSwitch save;
	PlannedStmt *statement;
	bool		starting;

	eddy_owner_begin(&save, work->plan->owner);
	query = make_query(work->source, work->judgment.late_until);
	*slot = MakeSingleTupleTableSlot(ExecCleanTypeFromTL(query->targetList), &TTSOpsMinimalTuple);
	statement = eddy_delta_plan_query(work->source, query);
	eddy_delta_execute(work, statement, &range, store, &starting);
	eddy_owner_end(&save);
	return store;
}

static EddyLateRow
read_pair(TupleTableSlot *slot)
{
	EddyLateRow pair;

	slot_getallattrs(slot);
	pair.row = eddy_scan_row((ItemPointer) DatumGetPointer(slot->tts_values[EDDY_LATE_PLACE - 1]));
	pair.window_start = slot->tts_isnull[EDDY_LATE_START - 1] ? DT_NOBEGIN :
		DatumGetTimestampTz(slot->tts_values[EDDY_LATE_START - 1]);
	pair.window_end = DatumGetTimestampTz(slot->tts_values[EDDY_LATE_END - 1]);
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
	{
		CHECK_FOR_INTERRUPTS();
		late->rows[n++] = read_pair(slot);
	}
	qsort(late->rows, n, sizeof(EddyLateRow), compare_pairs);
}

static void
collect(void *arg)
{
	EddyWork   *work = arg;
	EddyBatch  *batch = work->batch;
	TupleTableSlot *slot;
	Tuplestorestate *store = run_query(work, &slot);
	MemoryContext old;
	EddyLateRows *late;

	if (work->plan->kind->select_late)
		store = work->plan->kind->select_late(work, store, slot);
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

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
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "compat.h"
#include "owner.h"
#include "view/event_window.h"
#include "view/maintain.h"

/* Columns of the result. */
enum
{
	LATE_PLACE = 1,
	LATE_START,
	LATE_END
};

static TargetEntry *
make_target(AttrNumber resno, Node *expr)
{
	return makeTargetEntry((Expr *) expr, resno, psprintf("c%d", resno), false);
}

/* end <= until */
static Node *
make_condition(Var *end, TimestampTz until)
{
	TypeCacheEntry *type = lookup_type_cache(end->vartype, TYPECACHE_BTREE_OPFAMILY);
	Oid			operator = get_opfamily_member(type->btree_opf, end->vartype, end->vartype,
												BTLessEqualStrategyNumber);
	Const	   *bound = makeConst(end->vartype, -1, InvalidOid, sizeof(TimestampTz),
								  TimestampTzGetDatum(until), false, FLOAT8PASSBYVAL);

	return (Node *) make_opclause(operator, BOOLOID, false, (Expr *) copyObject(end),
								  (Expr *) bound, InvalidOid, InvalidOid);
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
	query->groupClause = NIL;
	query->havingQual = NULL;
	query->hasAggs = false;
	query->jointree->quals = make_and_qual(query->jointree->quals, make_condition(end, until));
	return query;
}

/* Runs the query, as the owner of the view. */
static Tuplestorestate *
run_query(EddyWork *work)
{
	EddyScanRange range = {work->batch, 0, work->batch->nrows, work->skip, -1};
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	DestReceiver *dest = CreateDestReceiver(DestTuplestore);
	EddyOwnerSwitch save;
	QueryDesc  *query;
	PlannedStmt *statement;

	eddy_owner_begin(&save, work->plan->owner);
	SetTuplestoreDestReceiverParams(dest, store, CurrentMemoryContext, false, NULL, NULL);
	statement = eddy_delta_plan_query(work->plan,
									  make_query(work->plan, work->judgment.late_until));
	query = CreateQueryDesc(statement, work->plan->delta_name, GetActiveSnapshot(),
							InvalidSnapshot, dest, NULL, eddy_scan_environment(&range), 0);
	ExecutorStart(query, 0);
	eddy_compat_executor_run(query);
	ExecutorFinish(query);
	ExecutorEnd(query);
	FreeQueryDesc(query);
	dest->rDestroy(dest);
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

static void
collect(void *arg)
{
	EddyWork   *work = arg;
	EddyBatch  *batch = work->batch;
	Tuplestorestate *store = run_query(work);
	MemoryContext old = MemoryContextSwitchTo(batch->mcxt);
	EddyLateRows *late = palloc0(sizeof(EddyLateRows));
	TupleDesc	desc = CreateTemplateTupleDesc(LATE_END);
	Oid			time_type = work->plan->keys[0].type;
	TupleTableSlot *slot;

	TupleDescInitEntry(desc, LATE_PLACE, NULL, TIDOID, -1, 0);
	TupleDescInitEntry(desc, LATE_START, NULL, time_type, -1, 0);
	TupleDescInitEntry(desc, LATE_END, NULL, time_type, -1, 0);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	late->view = work->plan->view;
	late->count = tuplestore_tuple_count(store);
	if (work->plan->keeps_late && late->count > 0)
		read_pairs(late, store, slot);
	if (late->count > 0)
		batch->late_rows = lappend(batch->late_rows, late);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextSwitchTo(old);
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

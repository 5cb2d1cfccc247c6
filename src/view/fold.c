/*-------------------------------------------------------------------------
 *
 * fold.c
 *    Merges the deltas of views with maintenance => 'deferred' into their main tables.
 *
 * Users' statements append deltas (kind_deferred.c). The database worker calls eddy_view_fold,
 * which reads a number of them in the order of the table, sorts them by key, deletes them and
 * merges them into the main table as any batch is merged. Both are one transaction, so that each
 * row is in one of the two tables in every snapshot.
 *
 * An error of an expression over a group, or of an aggregate, must neither stop the view nor take
 * other rows with it. The deltas that cause it are searched by halving the range that fails, each
 * part in a subtransaction. One that fails on its own becomes a dead letter of the view, whose key
 * is the delta as JSON, without a payload: the rows of the statement are not known any more.
 *
 * So does one that takes longer than pg_eddy.batch_time_limit on its own. The others then stay
 * until the next call, so that other views have their turn.
 *
 * The owner of a view can delete groups of it in a transaction that stays open. A lock on such a
 * group is waited for a short time, once in a call. Then the rows of all groups of the range are
 * locked without waiting, and the deltas of those that another transaction has locked stay where
 * they are until the next call. A group can also be locked in other ways, for example because it is
 * being inserted: such a range is split by group, after waits that are as short as possible.
 *
 * Before windows close, what was deferred of them is merged in the same transaction (settle): the
 * caller has made sure that no transaction is adding rows.
 *
 * Locking: RowExclusiveLock on the state tables; row locks on the deltas, which are not waited for,
 * then on groups, in the order of keys within a range. Memory: a context for each call, which
 * work_mem limits. A crash leaves nothing: all of it is part of one transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/sortsupport.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "local_setting.h"
#include "owner.h"
#include "view/changes.h"
#include "view/kind.h"
#include "view/kind_deferred.h"
#include "view/maintain.h"
#include "view/view.h"

/* Deltas that one call merges, unless a page has more. */
#define FOLD_ROWS 10000

/* Parts of a range that has taken too long. */
#define FOLD_PARTS 32

/*
 * How many ms a group that another transaction has locked is waited for: the first one of a call,
 * and others.
 */
#define FOLD_LOCK_WAIT 20
#define FOLD_LOCK_WAIT_NEXT 1

/* Places of the table of deltas are given to rows again: also those of deltas that stayed. */
typedef struct FoldRow
{
	ItemPointerData place;
	Datum	   *values;			/* in the columns of the table of deltas */
	bool	   *nulls;
} FoldRow;

/* One call. */
typedef struct Fold
{
	EddyViewPlan *plan;
	const EddyStateTable *table;
	Relation	rel;			/* the table of deltas */
	MemoryContext mcxt;			/* holds the rows */
	FoldRow    *rows;			/* in order of key and ID */
	int			nrows;
	int			capacity;
	SortSupport sort;			/* of the columns of its key */
	EddyJudgment judgment;
	bool		waited;			/* for a lock, in vain */
	bool		stopped;		/* after a delta that took too long: the rest stays */
} Fold;

/* ---- reading deltas ---- */

/* Adds a row to those that are merged; values do not depend on the table any more. */
static void
add_row(Fold *fold, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(fold->mcxt);
	TupleDesc	desc = RelationGetDescr(fold->rel);
	FoldRow    *row;
	HeapTuple	tuple;

	if (fold->nrows == fold->capacity)
	{
		fold->capacity = Max(fold->capacity * 2, 256);
		fold->rows = fold->rows == NULL ?
			palloc_extended(sizeof(FoldRow) * fold->capacity, MCXT_ALLOC_HUGE) :
			repalloc_huge(fold->rows, sizeof(FoldRow) * fold->capacity);
	}
	row = &fold->rows[fold->nrows++];
	row->place = slot->tts_tid;
	row->values = palloc(sizeof(Datum) * desc->natts);
	row->nulls = palloc(sizeof(bool) * desc->natts);
	tuple = ExecCopySlotHeapTuple(slot);
	heap_deform_tuple(tuple, desc, row->values, row->nulls);
	for (int i = 0; i < desc->natts; i++)
		if (!row->nulls[i] && TupleDescAttr(desc, i)->attlen == -1 &&
			VARATT_IS_EXTERNAL(DatumGetPointer(row->values[i])))
			row->values[i] = PointerGetDatum(detoast_external_attr((struct varlena *)
																	DatumGetPointer(row->values[i])));
	MemoryContextSwitchTo(old);
}

static bool
is_enough(const Fold *fold)
{
	return fold->nrows >= FOLD_ROWS ||
		MemoryContextMemAllocated(fold->mcxt, true) > (Size) work_mem * 1024;
}

/*
 * Reads rows from a block on. Returns the block from which to continue, InvalidBlockNumber if there
 * are no more rows: a page is read completely, as rows of it can stay.
 */
static BlockNumber
read_rows(Fold *fold, BlockNumber from)
{
	TupleTableSlot *slot = table_slot_create(fold->rel, NULL);
	BlockNumber next = InvalidBlockNumber;
	BlockNumber block = InvalidBlockNumber;
	ItemPointerData first;
	ItemPointerData last;
	TableScanDesc scan;

	ItemPointerSet(&first, from, FirstOffsetNumber);
	ItemPointerSet(&last, MaxBlockNumber, MaxOffsetNumber);
	scan = table_beginscan_tidrange(fold->rel, GetActiveSnapshot(), &first, &last);
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (block != ItemPointerGetBlockNumber(&slot->tts_tid) && is_enough(fold))
		{
			next = ItemPointerGetBlockNumber(&slot->tts_tid);
			break;
		}
		block = ItemPointerGetBlockNumber(&slot->tts_tid);
		add_row(fold, slot);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return next;
}

/* Reads the rows of windows that end until a time, at most a number of them. */
static void
read_windows(Fold *fold, TimestampTz until, int64 limit)
{
	EddyUpsert *upsert = eddy_upsert_open(fold->table, fold->plan->name);
	TupleTableSlot *row;

	eddy_upsert_seek_range(upsert, DT_NOBEGIN, until);
	while (fold->nrows < limit && !is_enough(fold) && (row = eddy_upsert_next(upsert)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		add_row(fold, row);
	}
	eddy_upsert_close(upsert);
}

/*
 * eddy_deferred_first_end: the earliest end of a window that a delta is for; DT_NOEND if there is
 * none.
 */
TimestampTz
eddy_deferred_first_end(const EddyViewPlan *plan)
{
	const EddyStateTable *table = eddy_deferred_deltas(plan);
	EddyUpsert *upsert;
	TupleTableSlot *row;
	TimestampTz end = DT_NOEND;

	PushActiveSnapshot(GetLatestSnapshot());
	upsert = eddy_upsert_open(table, plan->name);
	eddy_upsert_seek_range(upsert, DT_NOBEGIN, DT_NOEND);
	row = eddy_upsert_next(upsert);
	if (row)
		end = DatumGetTimestampTz(row->tts_values[table->keys[0].column - 1]);
	eddy_upsert_close(upsert);
	PopActiveSnapshot();
	return end;
}

/* ---- order ---- */

static void
prepare_sort(Fold *fold)
{
	fold->sort = palloc0(sizeof(SortSupportData) * fold->table->nkeys);
	for (int i = 0; i < fold->table->nkeys; i++)
	{
		SortSupport sort = &fold->sort[i];

		sort->ssup_cxt = CurrentMemoryContext;
		sort->ssup_collation = fold->table->keys[i].collation;
		sort->ssup_attno = fold->table->keys[i].column;
		PrepareSortSupportFromOrderingOp(fold->table->keys[i].lt_opr, sort);
	}
}

static int
compare_columns(const Fold *fold, const FoldRow *left, const FoldRow *right, int ncolumns)
{
	for (int i = 0; i < ncolumns; i++)
	{
		int			column = fold->table->keys[i].column - 1;
		int			order = ApplySortComparator(left->values[column], left->nulls[column],
												right->values[column], right->nulls[column],
												&fold->sort[i]);

		if (order != 0)
			return order;
	}
	return 0;
}

static int
compare_rows(const void *left, const void *right, void *arg)
{
	const Fold *fold = arg;

	return compare_columns(fold, left, right, fold->table->nkeys);
}

static bool
same_group(const Fold *fold, int left, int right)
{
	return compare_columns(fold, &fold->rows[left], &fold->rows[right],
						   fold->table->nkeys - 1) == 0;
}

/* ---- merging a range of rows ---- */

typedef struct FoldRange
{
	Fold	   *fold;
	int			from;
	int			to;
	char	   *json;			/* of the delta, for a dead letter */
} FoldRange;

/* Deletes a delta; false if another transaction deletes it, or has done so. */
static bool
take_row(Fold *fold, FoldRow *row)
{
	TM_FailureData tmfd;

	return table_tuple_delete(fold->rel, &row->place, GetCurrentCommandId(true),
							  GetActiveSnapshot(), InvalidSnapshot, false, &tmfd,
							  false) == TM_Ok;
}

/*
 * Merges deltas, in two passes: a group that a concurrent transaction inserts is no error. What
 * observers record of it belongs to the subtransaction of the range, so that closing keeps a record
 * of its own.
 */
static void
merge_deltas(Fold *fold, Tuplestorestate *store)
{
	EddyViewPlan *plan = fold->plan;
	EddyChanges *outer = eddy_plan_main_table(plan)->changes;
	EddyChanges *changes = eddy_maintain_make_record(plan, EDDY_CAUSE_BATCH);
	EddyMergeResult *result = eddy_merge_make_result(plan, CurrentMemoryContext,
													 CurrentResourceOwner);

	eddy_merge_compute(plan, list_make1(store), result, &fold->judgment);
	PG_TRY();
	{
		eddy_maintain_record_to(plan, changes);
		eddy_merge_write(plan, result, &fold->judgment);
	}
	PG_FINALLY();
	{
		eddy_maintain_record_to(plan, outer);
	}
	PG_END_TRY();
	eddy_merge_free_result(result);
	if (changes)
	{
		eddy_changes_deliver(changes);
		eddy_changes_free(changes);
	}
}

/* Deletes the rows of a range and merges them. */
static void
run_fold(void *arg)
{
	FoldRange  *range = arg;
	Fold	   *fold = range->fold;
	EddyViewPlan *plan = fold->plan;
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	TupleTableSlot *delta = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsVirtual);

	for (int i = range->from; i < range->to; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!take_row(fold, &fold->rows[i]))
			continue;
		eddy_deferred_to_delta(plan, fold->rows[i].values, fold->rows[i].nulls, delta);
		tuplestore_puttupleslot(store, delta);
	}
	merge_deltas(fold, store);
	ExecDropSingleTupleTableSlot(delta);
	tuplestore_end(store);
}

/* ---- dead letters ---- */

/* The columns of a delta with the names that the main table has for them. */
static TupleDesc
describe_delta(const EddyViewPlan *plan)
{
	const EddyStateTable *state = eddy_plan_main_table(plan);
	TupleDesc	desc = CreateTupleDescCopy(plan->delta_desc);

	for (int i = 0; i < desc->natts; i++)
	{
		AttrNumber	column = i < plan->nkeys ? plan->keys[i].column :
			plan->aggs[i - plan->nkeys].state_column;

		namestrcpy(&TupleDescAttr(desc, i)->attname, state->columns[column - 1].name);
	}
	return BlessTupleDesc(desc);
}

static void
run_describe(void *arg)
{
	FoldRange  *range = arg;
	EddyViewPlan *plan = range->fold->plan;
	FoldRow    *row = &range->fold->rows[range->from];
	TupleTableSlot *delta = MakeSingleTupleTableSlot(describe_delta(plan), &TTSOpsVirtual);
	char	   *json;

	eddy_deferred_to_delta(plan, row->values, row->nulls, delta);
	json = TextDatumGetCString(OidFunctionCall1(F_ROW_TO_JSON_RECORD,
												ExecFetchSlotHeapTupleDatum(delta)));
	range->json = pg_server_to_any(json, strlen(json), PG_UTF8);
	ExecDropSingleTupleTableSlot(delta);
}

/* A delta on which the view fails becomes a dead letter. */
static void
reject_row(Fold *fold, int number, ErrorData *error)
{
	EddyViewPlan *plan = fold->plan;
	FoldRange	range = {.fold = fold,.from = number};
	EddyDeadLetter letter = {
		.stream = plan->stream,
		.view = plan->view,
		.partition = -1,
		.offset = -1,
		.error = eddy_clock_explain(error),
		.sqlerrcode = error->sqlerrcode
	};
	ErrorData  *unprintable;

	if (!take_row(fold, &fold->rows[number]))
		return;
	/* output functions of types can fail as well */
	unprintable = eddy_delta_run_for(plan, run_describe, &range, true);
	if (unprintable && !eddy_batch_is_row_error(unprintable))
		ReThrowError(unprintable);
	/*
	 * not as the payload, which would be the rows: it cannot be applied again. A delta does not say
	 * of which stream its rows are, which decides who may read them.
	 */
	if (range.json && plan->others == NIL)
	{
		letter.key = range.json;
		letter.key_len = strlen(range.json);
	}
	eddy_catalog_insert_dead_letter(&letter);
}

/* ---- searching failing rows ---- */

/* The end of the first half of a range, between two groups if there are several. */
static int
split(const Fold *fold, int from, int to)
{
	int			middle = from + (to - from) / 2;
	int			at = middle;

	while (at > from && same_group(fold, at - 1, at))
		at--;
	if (at > from)
		return at;
	for (at = middle; at < to && same_group(fold, at - 1, at);)
		at++;
	return at < to ? at : middle;
}

/* ---- leaving out locked groups ---- */

/* Locks the row of the group of a delta, if it has one. Never waits. */
static bool
try_lock_group(EddyUpsert *groups, const FoldRow *row)
{
	TupleTableSlot *stored = eddy_upsert_find(groups, row->values, row->nulls);
	ItemPointerData place;

	if (stored == NULL)
		return true;
	place = stored->tts_tid;
	return eddy_upsert_try_lock(groups, &place);
}

/*
 * Takes the deltas of groups that cannot be locked out of a range. Returns its new end. The locks
 * last until the end of the transaction, which is to write these rows.
 */
static int
leave_out_locked(Fold *fold, int from, int to)
{
	EddyUpsert *groups = eddy_upsert_open(eddy_plan_main_table(fold->plan), fold->plan->name);
	int			kept = from;
	bool		locked = false;

	for (int i = from; i < to; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i == from || !same_group(fold, i - 1, i))
			locked = try_lock_group(groups, &fold->rows[i]);
		if (locked)
			fold->rows[kept++] = fold->rows[i];
	}
	eddy_upsert_close(groups);
	return kept;
}

static void
fold_range(Fold *fold, int from, int to)
{
	FoldRange	range = {.fold = fold,.from = from,.to = to};
	MemoryContext scratch;
	MemoryContext old;
	ErrorData  *error;
	bool		by_row;
	bool		locked;
	bool		late;
	int			kept;
	int			step;

	if (from >= to || fold->stopped)
		return;
	check_stack_depth();
	scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy range of deltas",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(scratch);
	error = eddy_delta_run_limited(fold->plan, run_fold, &range, &by_row);
	locked = error && error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	late = error && eddy_clock_caused(error);
	if (error && !locked && !by_row)
		ReThrowError(error);
	if (error && !locked && to - from == 1)
	{
		reject_row(fold, from, error);
		fold->stopped = late;
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);

	/* deltas of a group that another transaction has locked stay */
	if (error == NULL || to - from == 1 || (locked && same_group(fold, from, to - 1)))
		return;
	if (locked)
	{
		if (!fold->waited)
			eddy_local_lock_timeout_in_level(FOLD_LOCK_WAIT_NEXT);
		fold->waited = true;
		kept = leave_out_locked(fold, from, to);
		if (kept < to)
		{
			fold_range(fold, from, kept);
			return;
		}
	}
	if (late)
	{
		step = Max((to - from) / FOLD_PARTS, 1);
		for (int i = from; i < to; i += step)
			fold_range(fold, i, Min(i + step, to));
		return;
	}
	fold_range(fold, from, split(fold, from, to));
	fold_range(fold, split(fold, from, to), to);
}

/* ---- one call ---- */

/* Within eddy_owner_begin and eddy_owner_end, which restores lock_timeout. */
static void
begin_fold(Fold *fold, EddyViewPlan *plan)
{
	eddy_local_lock_timeout_in_level(FOLD_LOCK_WAIT);
	fold->plan = plan;
	fold->table = eddy_deferred_deltas(plan);
	fold->rel = table_open(fold->table->relid, RowExclusiveLock);
	eddy_upsert_check_layout(fold->rel, fold->table);
	fold->mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy deltas",
									   ALLOCSET_DEFAULT_SIZES);
	/* they were judged when they were inserted */
	fold->judgment.late_until = fold->judgment.final_until = DT_NOBEGIN;
	fold->judgment.first_end = DT_NOEND;
	if (plan->lateness > 0)
	{
		EddyViewProgress *progress = eddy_catalog_get_view_progress(plan->view);

		if (progress)
			fold->judgment.final_until = progress->closed_until;
	}
	prepare_sort(fold);
}

/* Merges the rows that were read. */
static void
fold_rows(Fold *fold)
{
	if (fold->nrows > 1)
		qsort_arg(fold->rows, fold->nrows, sizeof(FoldRow), compare_rows, fold);
	fold_range(fold, 0, fold->nrows);
	fold->plan->next_end = Min(fold->plan->next_end, fold->judgment.first_end);
	CommandCounterIncrement();
}

static void
end_fold(Fold *fold)
{
	table_close(fold->rel, NoLock);
	MemoryContextDelete(fold->mcxt);
}

/*
 * eddy_deferred_settle merges the deltas of windows that end until a time, as the view's owner;
 * see kind.h.
 */
TimestampTz
eddy_deferred_settle(EddyViewPlan *plan, TimestampTz until, int64 *budget)
{
	Fold		fold = {0};
	TimestampTz left;

	PushActiveSnapshot(GetLatestSnapshot());
	begin_fold(&fold, plan);
	do
	{
		fold.nrows = 0;
		MemoryContextReset(fold.mcxt);
		fold.rows = NULL;
		fold.capacity = 0;
		read_windows(&fold, until, *budget);
		fold_rows(&fold);
		*budget -= fold.nrows;
		PopActiveSnapshot();
		PushActiveSnapshot(GetLatestSnapshot());
		left = eddy_deferred_first_end(plan);
		/* again if only memory was short, but not if deltas stay because of locks */
	} while (left <= until && *budget > 0 && is_enough(&fold) && !fold.stopped);
	end_fold(&fold);
	PopActiveSnapshot();
	return left <= until ? left - 1 : until;
}

/*
 * eddy_view_fold merges a part of the deltas of a view, in the current transaction. See view.h.
 */
void
eddy_view_fold(EddyViewFold *part)
{
	EddyViewPlan *plan = eddy_maintain_lock_view(part->view, false);
	BlockNumber from = part->next;
	Fold		fold = {0};
	EddyOwnerSwitch save;
	MemoryContext mcxt;
	MemoryContext old;

	part->next = InvalidBlockNumber;
	part->rows = 0;
	if (plan == NULL || !plan->deferred)
		return;
	mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy deferred maintenance",
								 ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(mcxt);
	/* comparing keys calls functions of their types */
	eddy_owner_begin(&save, plan->owner);
	eddy_plan_pin(plan);
	PG_TRY();
	{
		PushActiveSnapshot(GetLatestSnapshot());
		begin_fold(&fold, plan);
		part->next = read_rows(&fold, from);
		part->rows = fold.nrows;
		part->table = fold.table->relid;
		fold_rows(&fold);
		end_fold(&fold);
		PopActiveSnapshot();
	}
	PG_FINALLY();
	{
		eddy_plan_unpin(plan);
	}
	PG_END_TRY();
	eddy_owner_end(&save);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
}

/*-------------------------------------------------------------------------
 *
 * merge.c
 *    Merging deltas into state tables: in one pass, in two passes or on trial.
 *
 * The rows of all deltas of a view are sorted by group key, so that every transaction writes groups
 * in the same order and never deadlocks with another one here. What a group becomes is computed by
 * the kind of the view (kind.h), which reads the groups and what is stored of them through the
 * functions here and passes new versions; where these go is decided here.
 *
 * A user's statement cannot be repeated, and a subtransaction around the writing would cost a
 * transaction id per statement. So its merge has two passes: the first computes every new version,
 * which is where a row can make it fail, and writes nothing; the second writes what was computed. A
 * version whose row was written by a concurrent transaction in between is computed again.
 *
 * A Kafka batch can be repeated, so it needs none of that: it has one pass, in which runs of new
 * groups are inserted together, and a collision fails the batch.
 *
 * A merge on trial goes into memory (trial.c), on top of what is stored, and locks no row.
 *
 * Groups of several rows are changed in merge_rows.c.
 *
 * Locking: see upsert_write.c. Memory: one context for each merge; what the first pass has computed
 * lives in the caller's. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "owner.h"
#include "view/kind.h"
#include "view/merge_state.h"
#include "view/pure.h"

/* ---- the input ---- */

/* eddy_merge_judgment returns which groups of the batch are late. */
EddyJudgment *
eddy_merge_judgment(EddyMerge *merge)
{
	return merge->judgment;
}

/*
 * eddy_merge_is_late returns true for a group of the delta all rows of which are late, and notes
 * that.
 */
bool
eddy_merge_is_late(EddyViewPlan *plan, EddyJudgment *judgment, TupleTableSlot *group)
{
	bool		isnull;
	Datum		end;

	if (plan->kind->is_late)
		return plan->kind->is_late(plan, judgment, group);
	if (!plan->windowed || judgment->late_rows)
		return false;
	end = slot_getattr(group, 1, &isnull);
	if (isnull)
		return false;
	if (DatumGetTimestampTz(end) > judgment->late_until)
	{
		judgment->first_end = Min(judgment->first_end, DatumGetTimestampTz(end));
		return false;
	}
	judgment->found_late = true;
	return true;
}

/*
 * eddy_merge_note_late notes a row of the delta that is late. On trial it is not: the row will be
 * found late again.
 */
void
eddy_merge_note_late(EddyMerge *merge, TupleTableSlot *row)
{
	if (merge->pass == PASS_TRIAL)
		return;
	tuplestore_puttupleslot(merge->judgment->late_rows, row);
	merge->judgment->found_late = true;
}

/*
 * Sorts the rows of all deltas into the order in which groups are locked. Late ones are left out.
 */
static EddyDeltaSort *
sort_deltas(EddyViewPlan *plan, List *deltas, EddyJudgment *judgment, TupleTableSlot *slot)
{
	EddyDeltaSort *sort = eddy_delta_sort_begin(plan);
	ListCell   *lc;

	foreach(lc, deltas)
	{
		Tuplestorestate *store = lfirst(lc);

		while (tuplestore_gettupleslot(store, true, false, slot))
		{
			CHECK_FOR_INTERRUPTS();
			if (!eddy_merge_is_late(plan, judgment, slot))
				eddy_delta_sort_put(sort, slot);
		}
	}
	eddy_delta_sort_perform(sort);
	return sort;
}

/* A view without GROUP BY has no key to sort by, and the second pass reads what is sorted. */
static void
begin_input(EddyMerge *merge)
{
	EddyViewPlan *plan = merge->plan;
	int64		nrows = 0;
	ListCell   *lc;

	merge->row = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsMinimalTuple);
	/* they may have been read before, for a merge that failed */
	foreach(lc, merge->deltas)
	{
		tuplestore_rescan(lfirst(lc));
		nrows += tuplestore_tuple_count(lfirst(lc));
	}
	if (plan->nkeys == 0 || merge->pass == PASS_WRITE)
		return;
	/* setting up a sort would cost more than merging one row */
	if (nrows <= 1)
		merge->judges = true;
	else
		merge->sort = sort_deltas(plan, merge->deltas, merge->judgment, merge->row);
}

/*
 * eddy_merge_next returns the next row of the deltas, with all its columns deformed, or NULL. The
 * rows of one group follow each other. The slot is valid until the next call.
 */
TupleTableSlot *
eddy_merge_next(EddyMerge *merge)
{
	TupleTableSlot *row = merge->row;

	CHECK_FOR_INTERRUPTS();
	if (merge->sort)
	{
		if (!eddy_delta_sort_next(merge->sort, row))
			return NULL;
	}
	else
		for (;;)
		{
			if (merge->position == list_length(merge->deltas))
				return NULL;
			if (!tuplestore_gettupleslot(list_nth(merge->deltas, merge->position), true, false,
										 row))
				merge->position++;
			else if (!merge->judges || !eddy_merge_is_late(merge->plan, merge->judgment, row))
				break;
		}
	slot_getallattrs(row);
	return row;
}

static void
end_input(EddyMerge *merge)
{
	ExecDropSingleTupleTableSlot(merge->row);
	if (merge->sort)
		eddy_delta_sort_end(merge->sort);
}

/* ---- groups ---- */

/* eddy_merge_keeps tells whether the second pass will need the current group. */
bool
eddy_merge_keeps(const EddyMerge *merge)
{
	return merge->pass == PASS_COMPUTE;
}

/* eddy_merge_keep keeps a group, combined into one row of the delta, for the second pass. */
void
eddy_merge_keep(EddyMerge *merge, TupleTableSlot *group)
{
	tuplestore_puttupleslot(merge->result->groups, group);
}

TupleDesc
eddy_merge_desc(EddyMerge *merge, int table)
{
	return eddy_upsert_desc(merge->tables[table].upsert);
}

TupleTableSlot *
eddy_merge_show_tried(MergeTable *target, MinimalTuple tuple)
{
	if (target->tried == NULL)
		target->tried = MakeSingleTupleTableSlot(eddy_upsert_desc(target->upsert),
												 &TTSOpsMinimalTuple);
	ExecStoreMinimalTuple(tuple, target->tried, false);
	slot_getallattrs(target->tried);
	return target->tried;
}

/*
 * eddy_merge_find returns the row of a state table with the given key, NULL if it does not exist.
 * It is valid until the new version is stored. For tables whose ranges are read in another order
 * than that of their key, the key is given in that order.
 */
TupleTableSlot *
eddy_merge_find(EddyMerge *merge, int table, const Datum *keys, const bool *nulls)
{
	MergeTable *target = &merge->tables[table];

	CHECK_FOR_INTERRUPTS();
	target->stored = NULL;
	if (merge->pass == PASS_TRIAL)
	{
		MinimalTuple tuple;

		if (eddy_trial_lookup(merge->trial, table, keys, nulls, &tuple))
			return tuple ? eddy_merge_show_tried(target, tuple) : NULL;
	}
	if (ItemPointerIsValid(&target->changed))
	{
		/* others want this row as well: it is computed once more, under its lock */
		target->stored = eddy_upsert_lock_latest(target->upsert, &target->changed);
		ItemPointerSetInvalid(&target->changed);
		if (target->stored)
			return target->stored;
	}
	target->stored = eddy_upsert_find(target->upsert, keys, nulls);
	if (target->stored == NULL)
		eddy_upsert_check_key(target->upsert, keys, nulls);
	return target->stored;
}

/* eddy_merge_identical returns true if two versions of a row, deformed, have the same values. */
bool
eddy_merge_identical(TupleTableSlot *a, TupleTableSlot *b)
{
	TupleDesc	desc = a->tts_tupleDescriptor;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (a->tts_isnull[i] != b->tts_isnull[i])
			return false;
		if (!a->tts_isnull[i] &&
			!datum_image_eq(a->tts_values[i], b->tts_values[i], att->attbyval, att->attlen))
			return false;
	}
	return true;
}

/* Keeps a new version for the second pass. */
static void
keep_version(EddyMergeResult *result, int table, TupleTableSlot *stored, TupleTableSlot *version)
{
	ComputedRows *rows = &result->tables[table];

	if (rows->nrows == rows->capacity)
	{
		rows->capacity = Max(rows->capacity * 2, 16);
		rows->places = rows->places == NULL ?
			MemoryContextAllocHuge(result->mcxt, rows->capacity * sizeof(ItemPointerData)) :
			repalloc_huge(rows->places, rows->capacity * sizeof(ItemPointerData));
		rows->same = rows->same == NULL ?
			MemoryContextAllocHuge(result->mcxt, rows->capacity * sizeof(bool)) :
			repalloc_huge(rows->same, rows->capacity * sizeof(bool));
	}
	if (stored)
		rows->places[rows->nrows] = stored->tts_tid;
	else
		ItemPointerSetInvalid(&rows->places[rows->nrows]);
	rows->same[rows->nrows] = stored && eddy_merge_identical(stored, version);
	if (!rows->same[rows->nrows])
		tuplestore_puttupleslot(rows->versions, version);
	rows->nrows++;
}

/* Writes a new version; false if a concurrent transaction has written the row first. */
static bool
write_version(MergeTable *target, TupleTableSlot *version)
{
	TupleTableSlot *stored = target->stored;
	bool		done;

	if (stored == NULL)
		done = eddy_upsert_insert(target->upsert, version);
	else
	{
		ItemPointerData place = stored->tts_tid;

		done = eddy_merge_identical(stored, version) ||
			eddy_upsert_update(target->upsert, &place, version);
		if (!done)
			target->changed = place;
	}
	if (!done)
		eddy_upsert_renew(target->upsert);
	return done;
}

/*
 * eddy_merge_store takes the new version of the row that eddy_merge_find was called for. False if a
 * concurrent transaction has written that row: find it again and compute it again.
 */
bool
eddy_merge_store(EddyMerge *merge, int table, TupleTableSlot *version)
{
	MergeTable *target = &merge->tables[table];

	eddy_upsert_check_row(target->upsert, version);
	switch (merge->pass)
	{
		case PASS_COMPUTE:
			keep_version(merge->result, table, target->stored, version);
			return true;
		case PASS_TRIAL:
			eddy_trial_add(merge->trial, table, version);
			return true;
		case PASS_ONLY:
			if (target->stored == NULL)
			{
				eddy_upsert_add(target->upsert, version);
				return true;
			}
			/* rows are locked in order of key: the new ones before this one first */
			eddy_upsert_flush(target->upsert);
			break;
		case PASS_WRITE:
			break;
	}
	return write_version(target, version);
}

/*
 * eddy_merge_write_computed writes the version of the current group that the first pass has
 * computed. False if there was no first pass, or if a concurrent transaction has written the row
 * since.
 */
bool
eddy_merge_write_computed(EddyMerge *merge, int table)
{
	MergeTable *target = &merge->tables[table];
	ComputedRows *rows;
	int64		row;
	bool		done;

	if (merge->pass != PASS_WRITE)
		return false;
	CHECK_FOR_INTERRUPTS();
	rows = &merge->result->tables[table];
	row = target->next++;
	if (rows->same[row])
		return true;
	if (target->computed == NULL)
		target->computed = MakeSingleTupleTableSlot(eddy_upsert_desc(target->upsert),
													&TTSOpsMinimalTuple);
	if (!tuplestore_gettupleslot(rows->versions, true, false, target->computed))
		elog(ERROR, "computed version of a group is missing");
	if (ItemPointerIsValid(&rows->places[row]))
	{
		done = eddy_upsert_update(target->upsert, &rows->places[row], target->computed);
		if (!done)
			target->changed = rows->places[row];
	}
	else
		done = eddy_upsert_insert(target->upsert, target->computed);
	if (!done)
		eddy_upsert_renew(target->upsert);
	return done;
}

/* ---- one merge ---- */

static void
open_tables(EddyMerge *merge)
{
	EddyViewPlan *plan = merge->plan;
	ListCell   *lc;

	foreach(lc, plan->state_tables)
	{
		const EddyStateTable *table = lfirst(lc);

		/* a delta is merged into the main table, or stored in a table of its own */
		if (plan->deferred && table->passing != merge->judgment->defers)
			continue;
		merge->tables[foreach_current_index(lc)].upsert = eddy_upsert_open(table, plan->name);
	}
}

static void
close_tables(EddyMerge *merge)
{
	for (int i = 0; i < list_length(merge->plan->state_tables); i++)
	{
		MergeTable *target = &merge->tables[i];

		if (target->upsert == NULL)
			continue;
		eddy_upsert_flush(target->upsert);
		if (target->tried)
			ExecDropSingleTupleTableSlot(target->tried);
		if (target->computed)
			ExecDropSingleTupleTableSlot(target->computed);
		eddy_upsert_close(target->upsert);
	}
}

static void
run(EddyViewPlan *plan, MergePass pass, List *deltas, EddyMergeResult *result, EddyTrial *trial,
	EddyJudgment *judgment)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy merge",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	EddyMerge  *merge = palloc0(offsetof(EddyMerge, tables) +
								sizeof(MergeTable) * list_length(plan->state_tables));
	EddyOwnerSwitch save;

	merge->plan = plan;
	merge->pass = pass;
	merge->deltas = deltas;
	merge->result = result;
	merge->trial = trial;
	merge->judgment = judgment;
	merge->mcxt = mcxt;
	merge->pending_mcxt = AllocSetContextCreate(mcxt, "pg_eddy group", ALLOCSET_DEFAULT_SIZES);

	/* what this transaction wrote to the groups before must be visible */
	CommandCounterIncrement();
	eddy_pure_begin(&save, plan, plan->pure);
	PushActiveSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() :
					   GetLatestSnapshot());
	open_tables(merge);
	begin_input(merge);
	plan->kind->merge(plan, merge);
	end_input(merge);
	close_tables(merge);
	PopActiveSnapshot();
	eddy_owner_end(&save);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
}

void
eddy_merge(EddyViewPlan *plan, List *deltas, EddyJudgment *judgment)
{
	run(plan, PASS_ONLY, deltas, NULL, NULL, judgment);
}

/*
 * eddy_merge_try merges into a trial instead of the tables, to find out which rows make a merge
 * fail.
 */
void
eddy_merge_try(EddyViewPlan *plan, List *deltas, EddyTrial *trial, EddyJudgment *judgment)
{
	run(plan, PASS_TRIAL, deltas, NULL, trial, judgment);
}

/*
 * eddy_merge_make_result makes what the first pass fills. Its memory is in mcxt, its temporary
 * files belong to owner, so it can outlive the subtransaction of that pass.
 */
EddyMergeResult *
eddy_merge_make_result(EddyViewPlan *plan, MemoryContext mcxt, ResourceOwner owner)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	ResourceOwner saved_owner = CurrentResourceOwner;
	int			ntables = list_length(plan->state_tables);
	EddyMergeResult *result = palloc0(offsetof(EddyMergeResult, tables) +
									  sizeof(ComputedRows) * ntables);

	CurrentResourceOwner = owner;
	result->mcxt = mcxt;
	result->ntables = ntables;
	result->groups = tuplestore_begin_heap(false, false, work_mem);
	for (int i = 0; i < ntables; i++)
		result->tables[i].versions = tuplestore_begin_heap(false, false, work_mem);
	CurrentResourceOwner = saved_owner;
	MemoryContextSwitchTo(old);
	return result;
}

void
eddy_merge_free_result(EddyMergeResult *result)
{
	tuplestore_end(result->groups);
	if (result->changes.changes)
		pfree(result->changes.changes);
	for (int i = 0; i < result->ntables; i++)
	{
		ComputedRows *rows = &result->tables[i];

		tuplestore_end(rows->versions);
		if (rows->places)
			pfree(rows->places);
		if (rows->same)
			pfree(rows->same);
	}
	pfree(result);
}

/* eddy_merge_compute raises every error that a row can cause. */
void
eddy_merge_compute(EddyViewPlan *plan, List *deltas, EddyMergeResult *result,
				   EddyJudgment *judgment)
{
	run(plan, PASS_COMPUTE, deltas, result, NULL, judgment);
}

/*
 * eddy_merge_write raises 40001, under REPEATABLE READ and stricter levels, if a row was
 * written by a concurrent transaction.
 */
void
eddy_merge_write(EddyViewPlan *plan, EddyMergeResult *result, EddyJudgment *judgment)
{
	run(plan, PASS_WRITE, list_make1(result->groups), result, NULL, judgment);
}

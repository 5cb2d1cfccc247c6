/*-------------------------------------------------------------------------
 *
 * merge.c
 *    Merges deltas into a state table: one new tuple version per touched group.
 *
 * The rows of all deltas of the view are sorted by group key, so that every
 * transaction touches groups in the same order and never deadlocks with
 * another one here; rows of one group, which several deltas may have, are combined in memory
 * first. Each group is looked up through the unique index, combined with
 * what is stored, and written directly through the table access method.
 *
 * A user's statement cannot be repeated, and a subtransaction around the writing would
 * cost a transaction id per statement. So its merge has two passes: the first computes every
 * new version, which is where a row can make it fail, and writes nothing; the second writes what
 * was computed. Updates are optimistic: the version that was read is replaced if it is still the
 * latest; otherwise, under READ COMMITTED, the group is read and computed again with a
 * new snapshot, and under the stricter levels the statement fails with
 * 40001. A group that is missing is inserted speculatively, as ON CONFLICT
 * does, because somebody else may be inserting it just now.
 *
 * A Kafka batch can be repeated, so it does not go to such lengths: it has one pass, it inserts
 * runs of missing groups at once, and a collision fails the batch with 23505.
 *
 * A merge on trial goes into memory (trial.c), on top of what is stored, and locks no row.
 *
 * Locking: RowExclusiveLock on state table and index, row locks in key order,
 * all until the end of the transaction. Memory: one context that is reset per
 * group. A crash leaves nothing: all of it is one WAL-logged transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/itup.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"

#include "compat.h"
#include "view/combine.h"
#include "view/merge.h"
#include "owner.h"
#include "view/trial.h"

/* Missing groups that are inserted together at most. */
#define MAX_MISSES 64

/*
 * What one pass has computed and the next one writes: the groups in key order, for each the
 * place of the version that was read, and its new version unless that would be the same.
 */
struct EddyMergeResult
{
	MemoryContext mcxt;
	Tuplestorestate *groups;	/* rows of the delta, one for each group */
	Tuplestorestate *versions;	/* rows of the state table */
	ItemPointer places;			/* by group: invalid for a new one */
	bool	   *same;			/* by group: there is nothing to write */
	int64		ngroups;
	int64		room;
};

/* One run over the deltas of a view. */
typedef struct EddyMerge
{
	EddyViewPlan *plan;
	Relation	state;
	Relation	index;
	IndexScanDesc scan;
	ScanKeyData *scan_keys;
	TupleTableSlot *stored;		/* the version found */
	TupleTableSlot *result;		/* the version to be written */
	TupleTableSlot *finals;		/* keys and final values, for expressions */
	EState	   *estate;
	ExprContext *econtext;
	ResultRelInfo *rri;
	EddyCombiner *combiner;

	/* where new versions go, if not straight to the table */
	EddyMergeResult *computed;	/* pass that computes */
	EddyMergeResult *written;	/* pass that writes; next is the group in hand */
	int64		next;
	EddyTrial *trial;
	TupleTableSlot *prepared;	/* a new version that was computed before */
	TupleTableSlot *tried;		/* a version of the trial, in place of the stored one */

	/* groups to be inserted, in key order; only with repeatable */
	bool		repeatable;
	TupleTableSlot *misses[MAX_MISSES];
	int			nmisses;

	/* the group in hand; by-reference values live in combiner->mcxt */
	Datum	   *keys;
	bool	   *key_nulls;
	EddyState  *partials;
} EddyMerge;

/* ---- reading the delta ---- */

/*
 * Puts the rows of all deltas into the order in which groups are locked. A view
 * without GROUP BY has no key and nothing to sort; its rows pass as they are.
 */
static Tuplesortstate *
sort_deltas(EddyViewPlan *plan, List *deltas, TupleTableSlot *slot)
{
	int			nkeys = plan->nkeys;
	AttrNumber *attnums = palloc(sizeof(AttrNumber) * nkeys);
	Oid		   *operators = palloc(sizeof(Oid) * nkeys);
	Oid		   *collations = palloc(sizeof(Oid) * nkeys);
	bool	   *nulls_first = palloc0(sizeof(bool) * nkeys);
	Tuplesortstate *sort;
	ListCell   *lc;

	for (int i = 0; i < nkeys; i++)
	{
		attnums[i] = i + 1;
		operators[i] = plan->keys[i].lt_opr;
		collations[i] = plan->keys[i].collation;
	}
	sort = tuplesort_begin_heap(plan->delta_desc, nkeys, attnums, operators, collations,
								nulls_first, work_mem, NULL, TUPLESORT_NONE);
	foreach(lc, deltas)
	{
		Tuplestorestate *store = lfirst(lc);

		while (tuplestore_gettupleslot(store, true, false, slot))
			tuplesort_puttupleslot(sort, slot);
	}
	tuplesort_performsort(sort);
	return sort;
}

/* Gives the next row of the delta, sorted or straight from the tuplestores. */
static bool
next_delta(Tuplesortstate *sort, List *deltas, int *position, TupleTableSlot *slot)
{
	if (sort)
		return tuplesort_gettupleslot(sort, true, false, slot, NULL);
	while (*position < list_length(deltas))
	{
		if (tuplestore_gettupleslot(list_nth(deltas, *position), true, false, slot))
			return true;
		(*position)++;
	}
	return false;
}

static bool
same_group(EddyMerge *merge, TupleTableSlot *slot)
{
	EddyViewPlan *plan = merge->plan;

	for (int i = 0; i < plan->nkeys; i++)
	{
		if (merge->key_nulls[i] != slot->tts_isnull[i])
			return false;
		if (!merge->key_nulls[i] &&
			!DatumGetBool(FunctionCall2Coll(&plan->keys[i].eq, plan->keys[i].collation,
											merge->keys[i], slot->tts_values[i])))
			return false;
	}
	return true;
}

/* Takes a row of the delta as the group in hand. */
static void
start_group(EddyMerge *merge, TupleTableSlot *slot)
{
	EddyViewPlan *plan = merge->plan;
	MemoryContext old;

	MemoryContextReset(merge->combiner->mcxt);
	old = MemoryContextSwitchTo(merge->combiner->mcxt);
	for (int i = 0; i < plan->nkeys + plan->naggs; i++)
	{
		bool		isnull = slot->tts_isnull[i];
		Form_pg_attribute att = TupleDescAttr(plan->delta_desc, i);
		Datum		value = isnull ? (Datum) 0 :
			datumCopy(slot->tts_values[i], att->attbyval, att->attlen);

		if (i < plan->nkeys)
		{
			merge->keys[i] = value;
			merge->key_nulls[i] = isnull;
		}
		else
		{
			merge->partials[i - plan->nkeys].value = value;
			merge->partials[i - plan->nkeys].isnull = isnull;
		}
	}
	MemoryContextSwitchTo(old);
}

/*
 * True for a NULL state that a strict transition function has returned, which is the
 * result of the group for good. counter: the state that counts its inputs, if there is one.
 */
static inline bool
is_lost(const EddyAggregate *agg, bool isnull, Datum counter)
{
	return isnull && (agg->null_is_lost || (agg->counter && DatumGetInt64(counter) > 0));
}

static void
add_to_group(EddyMerge *merge, TupleTableSlot *slot)
{
	EddyViewPlan *plan = merge->plan;

	for (int i = 0; i < plan->naggs; i++)
	{
		const EddyAggregate *agg = &plan->aggs[i];
		EddyState	more = {
			slot->tts_values[plan->nkeys + i],
			slot->tts_isnull[plan->nkeys + i]
		};

		/* counters come after the aggregates whose input they count */
		if (is_lost(agg, merge->partials[i].isnull, merge->partials[agg->counter].value) ||
			is_lost(agg, more.isnull, slot->tts_values[plan->nkeys + agg->counter]))
			merge->partials[i].isnull = true;
		else
			eddy_combine_partial(merge->combiner, &plan->aggs[i], &merge->partials[i], &more);
	}
}

/* ---- computing the new version ---- */

/*
 * A superuser may have set columns of the state table NOT NULL, for REPLICA IDENTITY USING INDEX.
 * The table access method checks nothing, and a NULL there would make wrong plans.
 */
static void
check_not_null(EddyMerge *merge)
{
	TupleDesc	desc = RelationGetDescr(merge->state);

	for (int i = 0; i < merge->plan->ncolumns; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attnotnull && merge->result->tts_isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("null value in column \"%s\" of continuous view \"%s\" violates not-null constraint",
							NameStr(att->attname), merge->plan->name),
					 errdetail("The column of its state table was set NOT NULL.")));
	}
}

/* Fills merge->result from the group in hand and the stored version (NULL: a new group). */
static void
compute_result(EddyMerge *merge, TupleTableSlot *stored)
{
	EddyViewPlan *plan = merge->plan;
	TupleTableSlot *result = ExecClearTuple(merge->result);
	TupleTableSlot *finals = ExecClearTuple(merge->finals);
	ExprContext *econtext = merge->econtext;

	ResetExprContext(econtext);
	memset(result->tts_isnull, true, sizeof(bool) * plan->ncolumns);
	for (int i = 0; i < plan->nkeys; i++)
	{
		int			column = plan->keys[i].column - 1;

		/* equal keys can look different (1.0, 1.00): the first stays, as its index entry does */
		finals->tts_values[i] = stored ? stored->tts_values[column] : merge->keys[i];
		finals->tts_isnull[i] = merge->key_nulls[i];
		result->tts_values[column] = finals->tts_values[i];
		result->tts_isnull[column] = finals->tts_isnull[i];
	}
	if (plan->constant_key)
	{
		result->tts_values[plan->constant_key - 1] = Int16GetDatum(0);
		result->tts_isnull[plan->constant_key - 1] = false;
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];
		int			column = agg->state_column - 1;
		EddyState	partial = merge->partials[i];
		EddyState	old = {(Datum) 0, true};
		EddyState	new_stored;
		EddyState	final;
		bool		lost;

		lost = is_lost(agg, partial.isnull, merge->partials[agg->counter].value);
		if (stored)
		{
			old.value = stored->tts_values[column];
			old.isnull = stored->tts_isnull[column];
			lost |= is_lost(agg, old.isnull,
							stored->tts_values[plan->aggs[agg->counter].state_column - 1]);
		}
		if (lost)
			partial.isnull = old.isnull = true;
		/* as for a new group: NULL is final, it does not combine */
		eddy_combine_stored(merge->combiner, agg, &old, stored == NULL || lost, &partial,
							&new_stored, &final);
		result->tts_values[column] = new_stored.value;
		result->tts_isnull[column] = new_stored.isnull;
		finals->tts_values[plan->nkeys + i] = final.value;
		finals->tts_isnull[plan->nkeys + i] = final.isnull;
	}
	ExecStoreVirtualTuple(finals);

	econtext->ecxt_scantuple = finals;
	for (int i = 0; i < plan->noutputs; i++)
	{
		EddyOutput *output = &plan->outputs[i];

		if (output->kind == EDDY_OUTPUT_EXPRESSION)
			result->tts_values[i] = ExecEvalExprSwitchContext(output->state, econtext,
															  &result->tts_isnull[i]);
		else
		{
			int			from = output->kind == EDDY_OUTPUT_KEY ? output->index :
				plan->nkeys + output->index;

			result->tts_values[i] = finals->tts_values[from];
			result->tts_isnull[i] = finals->tts_isnull[from];
		}
	}
	if (plan->visible_column)
	{
		bool		isnull;
		Datum		value = ExecEvalExprSwitchContext(plan->having_state, econtext, &isnull);

		result->tts_values[plan->visible_column - 1] =
			BoolGetDatum(!isnull && DatumGetBool(value));
		result->tts_isnull[plan->visible_column - 1] = false;
	}
	if (RelationGetDescr(merge->state)->constr && RelationGetDescr(merge->state)->constr->has_not_null)
		check_not_null(merge);
	ExecStoreVirtualTuple(result);
}

static bool
identical(TupleTableSlot *a, TupleTableSlot *b)
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

/* ---- snapshots ---- */

static void
begin_scan(EddyMerge *merge)
{
	merge->scan = eddy_compat_index_beginscan(merge->state, merge->index, GetActiveSnapshot(),
											  Max(merge->plan->nkeys, 1));
}

/* Somebody else was faster: read on with a snapshot that sees it, or give up. */
static void
renew_snapshot(EddyMerge *merge)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access to continuous view \"%s\" due to concurrent update",
						merge->plan->name),
				 errhint("The transaction might succeed if retried.")));
	ExecClearTuple(merge->stored);
	index_endscan(merge->scan);
	PopActiveSnapshot();
	PushActiveSnapshot(GetLatestSnapshot());
	begin_scan(merge);
}

/* ---- looking up ---- */

/* Looks the group in hand up; true if it is there, in merge->stored. */
static bool
find_group(EddyMerge *merge)
{
	EddyViewPlan *plan = merge->plan;

	for (int i = 0; i < plan->nkeys; i++)
	{
		merge->scan_keys[i].sk_argument = merge->keys[i];
		merge->scan_keys[i].sk_flags = merge->key_nulls[i] ? SK_ISNULL | SK_SEARCHNULL : 0;
	}
	index_rescan(merge->scan, merge->scan_keys, Max(plan->nkeys, 1), NULL, 0);
	if (!index_getnext_slot(merge->scan, ForwardScanDirection, merge->stored))
		return false;
	slot_getallattrs(merge->stored);
	return true;
}

/*
 * A new group needs an entry in the index, which has a limit. Looked at before anything is
 * written, because a row is to blame; the limit is that of nbtree.h, less what a
 * place in the table takes.
 */
static void
check_key_size(EddyMerge *merge)
{
	const Size	limit = MAXALIGN_DOWN((BLCKSZ - MAXALIGN(SizeOfPageHeaderData +
														 3 * sizeof(ItemIdData)) -
									   MAXALIGN(sizeof(BTPageOpaqueData))) / 3) -
		MAXALIGN(sizeof(ItemPointerData));
	EddyViewPlan *plan = merge->plan;
	Size		size = 0;
	IndexTuple	entry;

	for (int i = 0; i < plan->nkeys; i++)
		if (!merge->key_nulls[i])
			size += datumGetSize(merge->keys[i],
								 TupleDescAttr(plan->delta_desc, i)->attbyval,
								 TupleDescAttr(plan->delta_desc, i)->attlen);
	if (size < limit / 2)
		return;
	/* what is compressible takes less */
	entry = index_form_tuple(RelationGetDescr(merge->index), merge->keys, merge->key_nulls);
	size = IndexTupleSize(entry);
	pfree(entry);
	if (size > limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("group key of continuous view \"%s\" is too long", plan->name),
				 errdetail("It takes %zu bytes in an index, where at most %zu are possible.",
						   size, limit)));
}

/* ---- writing ---- */

/* Replaces the version at place; false if it is not the latest any more. */
static bool
update_group(EddyMerge *merge, ItemPointer place, TupleTableSlot *version)
{
	TM_FailureData tmfd;
	LockTupleMode lockmode;
	bool		update_indexes;
	TM_Result	result;

	result = eddy_compat_tuple_update(merge->state, place, version,
									  GetCurrentCommandId(true), GetActiveSnapshot(), &tmfd,
									  &lockmode, &update_indexes);
	switch (result)
	{
		case TM_Ok:
			if (update_indexes)
				list_free(eddy_compat_insert_index_tuples(merge->rri, version, merge->estate,
														  true, false, NULL));
			return true;
		case TM_Updated:
		case TM_Deleted:
			return false;
		default:
			elog(ERROR, "unexpected result %d of updating a group of continuous view \"%s\"",
				 result, merge->plan->name);
	}
}

/*
 * Inserts the group in hand; false if somebody else has it by now. The look-up
 * has just missed it, so nobody is expected to have it; only if
 * somebody has after all, we wait for the end of that transaction.
 */
static bool
insert_group(EddyMerge *merge, TupleTableSlot *version)
{
	ItemPointerData conflict_tid;
	uint32		token;
	bool		conflict = false;

	ItemPointerSetInvalid(&version->tts_tid);
	token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
	table_tuple_insert_speculative(merge->state, version, GetCurrentCommandId(true), 0,
								   NULL, token);
	list_free(eddy_compat_insert_index_tuples(merge->rri, version, merge->estate, false,
											  true, &conflict));
	table_tuple_complete_speculative(merge->state, version, token, !conflict);
	SpeculativeInsertionLockRelease(GetCurrentTransactionId());
	if (!conflict)
		return true;
	ItemPointerSetInvalid(&version->tts_tid);
	(void) eddy_compat_check_index_constraints(merge->rri, version, merge->estate,
											   &conflict_tid);
	return false;
}

/* Inserts the run of missing groups. A group that somebody else has by now is an error. */
static void
insert_misses(EddyMerge *merge)
{
	if (merge->nmisses == 0)
		return;
	table_multi_insert(merge->state, merge->misses, merge->nmisses, GetCurrentCommandId(true), 0,
					   NULL);
	for (int i = 0; i < merge->nmisses; i++)
	{
		list_free(eddy_compat_insert_index_tuples(merge->rri, merge->misses[i], merge->estate,
												  false, false, NULL));
		ResetPerTupleExprContext(merge->estate);
		ExecClearTuple(merge->misses[i]);
	}
	merge->nmisses = 0;
}

static void
add_miss(EddyMerge *merge)
{
	TupleTableSlot **slot = &merge->misses[merge->nmisses];

	if (*slot == NULL)
		*slot = table_slot_create(merge->state, NULL);
	ExecCopySlot(*slot, merge->result);
	if (++merge->nmisses == MAX_MISSES)
		insert_misses(merge);
}

/* Reads, computes and writes the group in hand until nobody is in between. */
static void
write_group(EddyMerge *merge)
{
	for (;;)
	{
		bool		found = find_group(merge);
		bool		done;

		CHECK_FOR_INTERRUPTS();
		if (!found)
			check_key_size(merge);
		compute_result(merge, found ? merge->stored : NULL);
		if (!found && merge->repeatable)
		{
			add_miss(merge);
			return;
		}
		if (!found)
			done = insert_group(merge, merge->result);
		else
		{
			/* rows are locked in key order: what comes before this one first */
			insert_misses(merge);
			done = identical(merge->stored, merge->result) ||
				update_group(merge, &merge->stored->tts_tid, merge->result);
		}
		ResetPerTupleExprContext(merge->estate);
		if (done)
			return;
		renew_snapshot(merge);
	}
}

/* The group in hand as an earlier step of the trial left it, or NULL. */
static TupleTableSlot *
find_tried(EddyMerge *merge)
{
	MinimalTuple tuple = eddy_trial_find(merge->trial, merge->keys, merge->key_nulls);

	if (tuple == NULL)
		return NULL;
	if (merge->tried == NULL)
		merge->tried = MakeSingleTupleTableSlot(RelationGetDescr(merge->state),
												&TTSOpsMinimalTuple);
	ExecStoreMinimalTuple(tuple, merge->tried, false);
	slot_getallattrs(merge->tried);
	return merge->tried;
}

/* Computes the new version of the group in hand, on top of what is stored or was tried. */
static void
compute_group(EddyMerge *merge)
{
	EddyMergeResult *result = merge->computed;
	TupleTableSlot *base = merge->trial ? find_tried(merge) : NULL;
	bool		found;

	CHECK_FOR_INTERRUPTS();
	if (base == NULL && find_group(merge))
		base = merge->stored;
	found = base == merge->stored;
	if (base == NULL)
		check_key_size(merge);
	compute_result(merge, base);
	if (merge->trial)
	{
		eddy_trial_add(merge->trial, merge->result);
		return;
	}
	if (result->ngroups == result->room)
	{
		result->room = Max(result->room * 2, 16);
		result->places = result->places == NULL ?
			MemoryContextAllocHuge(result->mcxt, result->room * sizeof(ItemPointerData)) :
			repalloc_huge(result->places, result->room * sizeof(ItemPointerData));
		result->same = result->same == NULL ?
			MemoryContextAllocHuge(result->mcxt, result->room * sizeof(bool)) :
			repalloc_huge(result->same, result->room * sizeof(bool));
	}
	if (found)
		result->places[result->ngroups] = merge->stored->tts_tid;
	else
		ItemPointerSetInvalid(&result->places[result->ngroups]);
	result->same[result->ngroups] = found && identical(merge->stored, merge->result);
	if (!result->same[result->ngroups])
		tuplestore_puttupleslot(result->versions, merge->result);
	result->ngroups++;
}

/* Writes the version of the group in hand that was computed before, if that is still right. */
static void
write_computed_group(EddyMerge *merge)
{
	EddyMergeResult *result = merge->written;
	int64		group = merge->next++;
	ItemPointer place = &result->places[group];
	bool		done;

	CHECK_FOR_INTERRUPTS();
	if (result->same[group])
		return;
	if (!tuplestore_gettupleslot(result->versions, true, false, merge->prepared))
		elog(ERROR, "computed version of a group is missing");
	if (ItemPointerIsValid(place))
		done = update_group(merge, place, merge->prepared);
	else
		done = insert_group(merge, merge->prepared);
	ResetPerTupleExprContext(merge->estate);
	if (done)
		return;
	renew_snapshot(merge);
	write_group(merge);
}

static void
merge_group(EddyMerge *merge)
{
	if (merge->computed || merge->trial)
		compute_group(merge);
	else if (merge->written)
		write_computed_group(merge);
	else
		write_group(merge);
}

/* ---- set-up ---- */

static void
init_scan_keys(EddyMerge *merge)
{
	int			nkeys = Max(merge->plan->nkeys, 1);
	Relation	index = merge->index;

	merge->scan_keys = palloc0(sizeof(ScanKeyData) * nkeys);
	for (int i = 0; i < nkeys; i++)
	{
		Oid			type = index->rd_opcintype[i];
		Oid			equal = get_opfamily_member(index->rd_opfamily[i], type, type,
												BTEqualStrategyNumber);

		ScanKeyEntryInitialize(&merge->scan_keys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   index->rd_indcollation[i], get_opcode(equal), Int16GetDatum(0));
	}
}

static void
begin_merge(EddyMerge *merge, EddyViewPlan *plan)
{
	merge->plan = plan;
	merge->state = table_open(plan->state_table, RowExclusiveLock);
	eddy_plan_check_layout(plan, merge->state);
	merge->index = index_open(plan->state_index, RowExclusiveLock);
	merge->combiner = eddy_combine_begin();
	merge->estate = CreateExecutorState();
	merge->econtext = CreateExprContext(merge->estate);
	merge->rri = makeNode(ResultRelInfo);
	InitResultRelInfo(merge->rri, merge->state, 0, NULL, 0);
	ExecOpenIndices(merge->rri, true);
	merge->stored = table_slot_create(merge->state, NULL);
	merge->result = MakeSingleTupleTableSlot(RelationGetDescr(merge->state), &TTSOpsVirtual);
	merge->result->tts_tableOid = plan->state_table;
	merge->finals = MakeSingleTupleTableSlot(plan->final_desc, &TTSOpsVirtual);
	if (merge->written)
		merge->prepared = MakeSingleTupleTableSlot(RelationGetDescr(merge->state),
												   &TTSOpsMinimalTuple);
	merge->keys = palloc(sizeof(Datum) * Max(plan->nkeys, 1));
	merge->key_nulls = palloc(sizeof(bool) * Max(plan->nkeys, 1));
	merge->partials = palloc(sizeof(EddyState) * Max(plan->naggs, 1));
	init_scan_keys(merge);
	begin_scan(merge);
}

static void
end_merge(EddyMerge *merge)
{
	index_endscan(merge->scan);
	for (int i = 0; i < MAX_MISSES && merge->misses[i]; i++)
		ExecDropSingleTupleTableSlot(merge->misses[i]);
	ExecDropSingleTupleTableSlot(merge->stored);
	ExecDropSingleTupleTableSlot(merge->result);
	ExecDropSingleTupleTableSlot(merge->finals);
	if (merge->prepared)
		ExecDropSingleTupleTableSlot(merge->prepared);
	if (merge->tried)
		ExecDropSingleTupleTableSlot(merge->tried);
	ExecCloseIndices(merge->rri);
	FreeExecutorState(merge->estate);
	eddy_combine_end(merge->combiner);
	index_close(merge->index, NoLock);
	table_close(merge->state, NoLock);
}

/* The group in hand is complete: on to the result, and into what the next pass reads. */
static void
finish_group(EddyMerge *merge, TupleTableSlot *slot)
{
	EddyViewPlan *plan = merge->plan;

	if (merge->computed)
	{
		ExecClearTuple(slot);
		for (int i = 0; i < plan->nkeys; i++)
		{
			slot->tts_values[i] = merge->keys[i];
			slot->tts_isnull[i] = merge->key_nulls[i];
		}
		for (int i = 0; i < plan->naggs; i++)
		{
			slot->tts_values[plan->nkeys + i] = merge->partials[i].value;
			slot->tts_isnull[plan->nkeys + i] = merge->partials[i].isnull;
		}
		ExecStoreVirtualTuple(slot);
		tuplestore_puttupleslot(merge->computed->groups, slot);
	}
	merge_group(merge);
}

/* Runs over the deltas, group by group; *merge says what becomes of them. */
static void
run_merge(EddyMerge *merge, EddyViewPlan *plan, List *deltas)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy merge",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	EddyOwnerSwitch save;
	TupleTableSlot *slot;
	TupleTableSlot *group;
	Tuplesortstate *sort;
	int			position = 0;
	bool		in_group = false;
	ListCell   *lc;
	bool		in_order = plan->nkeys == 0 || merge->written != NULL;

	/* what this transaction wrote to the groups before must be visible */
	CommandCounterIncrement();
	eddy_owner_begin(&save, plan->owner);
	PushActiveSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() :
					   GetLatestSnapshot());
	begin_merge(merge, plan);

	slot = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsMinimalTuple);
	group = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsVirtual);
	/* they may have been read before, for a merge that failed */
	foreach(lc, deltas)
		tuplestore_rescan(lfirst(lc));
	sort = in_order ? NULL : sort_deltas(plan, deltas, slot);
	while (next_delta(sort, deltas, &position, slot))
	{
		slot_getallattrs(slot);
		if (in_group && same_group(merge, slot))
			add_to_group(merge, slot);
		else
		{
			if (in_group)
				finish_group(merge, group);
			start_group(merge, slot);
			in_group = true;
		}
	}
	if (in_group)
		finish_group(merge, group);
	insert_misses(merge);

	ExecDropSingleTupleTableSlot(slot);
	ExecDropSingleTupleTableSlot(group);
	if (sort)
		tuplesort_end(sort);
	end_merge(merge);
	PopActiveSnapshot();
	eddy_owner_end(&save);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
}

void
eddy_merge(EddyViewPlan *plan, List *deltas)
{
	EddyMerge	merge = {.repeatable = true};

	run_merge(&merge, plan, deltas);
}

void
eddy_merge_try(EddyViewPlan *plan, List *deltas, EddyTrial *trial)
{
	EddyMerge	merge = {.trial = trial};

	run_merge(&merge, plan, deltas);
}

EddyMergeResult *
eddy_merge_make_result(MemoryContext mcxt, ResourceOwner owner)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	ResourceOwner saved_owner = CurrentResourceOwner;
	EddyMergeResult *result = palloc0(sizeof(EddyMergeResult));

	CurrentResourceOwner = owner;
	result->mcxt = mcxt;
	result->groups = tuplestore_begin_heap(false, false, work_mem);
	result->versions = tuplestore_begin_heap(false, false, work_mem);
	CurrentResourceOwner = saved_owner;
	MemoryContextSwitchTo(old);
	return result;
}

void
eddy_merge_free_result(EddyMergeResult *result)
{
	tuplestore_end(result->groups);
	tuplestore_end(result->versions);
	if (result->places)
		pfree(result->places);
	if (result->same)
		pfree(result->same);
	pfree(result);
}

void
eddy_merge_compute(EddyViewPlan *plan, List *deltas, EddyMergeResult *result)
{
	EddyMerge	merge = {.computed = result};

	run_merge(&merge, plan, deltas);
}

void
eddy_merge_write(EddyViewPlan *plan, EddyMergeResult *result)
{
	EddyMerge	merge = {.written = result};

	run_merge(&merge, plan, list_make1(result->groups));
}

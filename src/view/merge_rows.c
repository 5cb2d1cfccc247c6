/*-------------------------------------------------------------------------
 *
 * merge_rows.c
 *    Merging into groups of several rows, and rows that are only appended.
 *
 * A group can consist of one row (merge.c) or of several rows, which are changed together: all of
 * them, or none if a concurrent transaction has changed one since it was read. So where several
 * existing rows change, they are locked before the first one is written. The kind of the view reads
 * the rows of its groups here as ranges of a state table, and passes changes; those of one group
 * are collected, and made by the pass that writes.
 *
 * Locking: see upsert_write.c. Memory: changes and versions of the current group live in a context
 * of the merge that is reset after each group; those of the first of two passes in its result. A
 * crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "view/kind.h"
#include "view/merge_state.h"

/* ---- groups of several rows ---- */

/* The key of a row, in the order of ranges. */
static void
read_key(EddyMerge *merge, int table, TupleTableSlot *row, Datum *keys, bool *nulls)
{
	const EddyStateTable *layout = list_nth(merge->plan->state_tables, table);
	const EddyStateKey *order = eddy_upsert_order(layout);

	for (int i = 0; i < layout->nkeys; i++)
	{
		keys[i] = row->tts_values[order[i].column - 1];
		nulls[i] = row->tts_isnull[order[i].column - 1];
	}
}

/* True if the trial has changed a row that is stored. */
static bool
is_tried(EddyMerge *merge, int table, TupleTableSlot *row)
{
	Datum		keys[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	MinimalTuple unused;

	read_key(merge, table, row, keys, nulls);
	return eddy_trial_lookup(merge->trial, table, keys, nulls, &unused);
}

static void
read_stored(EddyMerge *merge, int table)
{
	MergeTable *target = &merge->tables[table];

	do
		target->next_stored = eddy_upsert_next(target->upsert);
	while (target->next_stored && is_tried(merge, table, target->next_stored));
}

static void
read_tried(EddyMerge *merge, int table)
{
	MergeTable *target = &merge->tables[table];
	MinimalTuple tuple = eddy_trial_next(merge->trial, table);

	target->next_tried = tuple ? eddy_merge_show_tried(target, tuple) : NULL;
}

/*
 * eddy_merge_seek begins to read the rows of a state table whose first nkeys key columns have the
 * given values and, with from, whose next key column is at least keys[nkeys], not null.
 *
 * A kind that locks its groups does not read the row that shows whether a group has changed; so
 * under REPEATABLE READ and stricter levels 40001 is raised if a concurrent transaction has added
 * a row to the range.
 */
void
eddy_merge_seek(EddyMerge *merge, int table, int nkeys, bool from, const Datum *keys,
				const bool *nulls)
{
	MergeTable *target = &merge->tables[table];

	CHECK_FOR_INTERRUPTS();
	if (IsolationUsesXactSnapshot() && merge->pass != PASS_TRIAL)
		eddy_upsert_check_unseen(target->upsert, nkeys, from, keys, nulls);
	eddy_upsert_seek_from(target->upsert, nkeys, from, keys, nulls);
	if (merge->pass == PASS_TRIAL)
	{
		target->fetched = NULL;
		eddy_trial_seek(merge->trial, table, nkeys, from, keys, nulls);
		read_stored(merge, table);
		read_tried(merge, table);
	}
}

/*
 * eddy_merge_fetch returns the next row of the range, in order of key, with all its columns
 * deformed, or NULL. The slot is valid until the next call for that table.
 */
TupleTableSlot *
eddy_merge_fetch(EddyMerge *merge, int table)
{
	MergeTable *target = &merge->tables[table];
	TupleTableSlot *row;

	CHECK_FOR_INTERRUPTS();
	if (merge->pass != PASS_TRIAL)
		return eddy_upsert_next(target->upsert);

	/* the slot that the last call returned is only now free for the next row */
	if (target->fetched && target->fetched == target->next_stored)
		read_stored(merge, table);
	else if (target->fetched && target->fetched == target->next_tried)
		read_tried(merge, table);
	if (target->next_stored && target->next_tried)
		row = eddy_trial_compare(merge->trial, table, target->next_stored,
								 target->next_tried) < 0 ?
			target->next_stored : target->next_tried;
	else
		row = target->next_stored ? target->next_stored : target->next_tried;
	target->fetched = row;
	return row;
}

static Change *
append_change(Changes *changes, MemoryContext mcxt)
{
	if (changes->n == changes->capacity)
	{
		changes->capacity = Max(changes->capacity * 2, 16);
		changes->changes = changes->changes == NULL ?
			MemoryContextAllocHuge(mcxt, changes->capacity * sizeof(Change)) :
			repalloc_huge(changes->changes, changes->capacity * sizeof(Change));
	}
	return &changes->changes[changes->n++];
}

/* Takes a change of the current group; version is NULL if the row is removed. */
static void
take_change(EddyMerge *merge, ChangeKind kind, int table, const ItemPointerData *place,
			TupleTableSlot *version)
{
	Change	   *change;

	if (version)
		eddy_upsert_check_row(merge->tables[table].upsert, version);
	if (merge->pass == PASS_TRIAL)
	{
		if (version)
			eddy_trial_add(merge->trial, table, version);
		return;
	}
	change = merge->pass == PASS_COMPUTE ?
		append_change(&merge->result->changes, merge->result->mcxt) :
		append_change(&merge->pending, merge->mcxt);
	change->kind = kind;
	change->table = table;
	if (place)
		change->place = *place;
	else
		ItemPointerSetInvalid(&change->place);
	if (version == NULL)
		return;
	if (merge->pass == PASS_COMPUTE)
		tuplestore_puttupleslot(merge->result->tables[table].versions, version);
	else
	{
		MemoryContext old = MemoryContextSwitchTo(merge->pending_mcxt);

		merge->versions = lappend(merge->versions, ExecCopySlotMinimalTuple(version));
		MemoryContextSwitchTo(old);
	}
}

/* eddy_merge_remove removes the row with a key, in the order of ranges, and a place. */
void
eddy_merge_remove(EddyMerge *merge, int table, const ItemPointerData *place, const Datum *keys,
				  const bool *nulls)
{
	if (merge->pass == PASS_TRIAL)
		eddy_trial_remove(merge->trial, table, keys, nulls);
	else
		take_change(merge, CHANGE_REMOVE, table, place, NULL);
}

/* eddy_merge_replace replaces the row at a place by a version with the same key. */
void
eddy_merge_replace(EddyMerge *merge, int table, const ItemPointerData *place,
				   TupleTableSlot *version)
{
	take_change(merge, CHANGE_REPLACE, table, place, version);
}

/* eddy_merge_insert inserts a row. Errors for a key that no row can have are raised now. */
void
eddy_merge_insert(EddyMerge *merge, int table, TupleTableSlot *version)
{
	Datum		keys[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	read_key(merge, table, version, keys, nulls);
	eddy_upsert_check_key(merge->tables[table].upsert, keys, nulls);
	take_change(merge, CHANGE_INSERT, table, NULL, version);
}

/* The next version of a change: one of the current group, or one that the first pass has made. */
static TupleTableSlot *
next_version(EddyMerge *merge, const Change *change, bool computed)
{
	MergeTable *target = &merge->tables[change->table];

	if (target->computed == NULL)
		target->computed = MakeSingleTupleTableSlot(eddy_upsert_desc(target->upsert),
													&TTSOpsMinimalTuple);
	if (computed)
	{
		if (!tuplestore_gettupleslot(merge->result->tables[change->table].versions, true, false,
									 target->computed))
			elog(ERROR, "computed version of a row is missing");
	}
	else
		ExecStoreMinimalTuple(list_nth(merge->versions, merge->next_version++), target->computed,
							  false);
	return target->computed;
}

/*
 * True for a row that is part of a group: its group's own row is changed first, in another table,
 * and no transaction changes a part without locking that row.
 */
static bool
is_part(const EddyMerge *merge, const Change *change)
{
	return ((const EddyStateTable *) list_nth(merge->plan->state_tables, change->table))->parts;
}

/* Makes one change; false if a concurrent transaction has written the row first. */
static bool
make_change(EddyMerge *merge, Change *change, bool computed)
{
	MergeTable *target = &merge->tables[change->table];
	TupleTableSlot *version = change->kind == CHANGE_REMOVE ? NULL :
		next_version(merge, change, computed);

	if (change->kind == CHANGE_INSERT)
	{
		if (merge->pass != PASS_ONLY && !is_part(merge, change))
			return eddy_upsert_insert(target->upsert, version);
		eddy_upsert_add(target->upsert, version);
		return true;
	}
	/* rows are locked in order of key: the new ones before this one first */
	eddy_upsert_flush(target->upsert);
	if (change->kind == CHANGE_REPLACE)
		return eddy_upsert_update(target->upsert, &change->place, version);
	return eddy_upsert_delete(target->upsert, &change->place);
}

/* Locks the existing rows of a group that change, if there are several. */
static bool
lock_changed(EddyMerge *merge, Change *changes, int64 n)
{
	int64		nexisting = 0;

	for (int64 i = 0; i < n; i++)
		nexisting += changes[i].kind != CHANGE_INSERT && !is_part(merge, &changes[i]);
	if (nexisting < 2)
		return true;
	for (int64 i = 0; i < n; i++)
		if (changes[i].kind != CHANGE_INSERT && !is_part(merge, &changes[i]) &&
			!eddy_upsert_lock(merge->tables[changes[i].table].upsert, &changes[i].place))
			return false;
	return true;
}

/* Skips the versions, made by the first pass, of changes that are not made. */
static void
skip_versions(EddyMerge *merge, const Change *changes, int64 n)
{
	for (int64 i = 0; i < n; i++)
		if (changes[i].kind != CHANGE_REMOVE)
			(void) next_version(merge, &changes[i], true);
}

/*
 * Makes all changes of a group, or none and returns false. A batch that can be repeated needs no
 * locks: it fails in the middle of a group. For others, only the first change can fail.
 */
static bool
make_changes(EddyMerge *merge, Change *changes, int64 n, bool computed)
{
	int64		made = 0;

	if (n == 0)
		return true;
	if (merge->pass == PASS_ONLY || lock_changed(merge, changes, n))
	{
		while (made < n && make_change(merge, &changes[made], computed))
		{
			CHECK_FOR_INTERRUPTS();
			made++;
		}
		if (made == n)
			return true;
		if (made > 0)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access to continuous view \"%s\" due to concurrent update",
							merge->plan->name),
					 errhint("The transaction might succeed if retried.")));
		/* the version of the first change is read already */
		if (computed)
			skip_versions(merge, changes + 1, n - 1);
	}
	else if (computed)
		skip_versions(merge, changes, n);
	eddy_upsert_renew(merge->tables[changes[0].table].upsert);
	return false;
}

static void
forget_changes(EddyMerge *merge)
{
	merge->pending.n = 0;
	merge->versions = NIL;
	merge->next_version = 0;
	MemoryContextReset(merge->pending_mcxt);
}

/*
 * eddy_merge_make_changes makes the changes of the current group. False if a concurrent transaction
 * has written one of its rows: nothing was changed, read and compute the group again.
 */
bool
eddy_merge_make_changes(EddyMerge *merge)
{
	bool		done = true;

	if (merge->pass == PASS_COMPUTE)
		append_change(&merge->result->changes, merge->result->mcxt)->kind = CHANGE_END;
	else if (merge->pass != PASS_TRIAL)
	{
		done = make_changes(merge, merge->pending.changes, merge->pending.n, false);
		forget_changes(merge);
	}
	return done;
}

/*
 * eddy_merge_make_computed_changes makes the changes of the current group that the first pass has
 * computed. False if there was no first pass, or if a concurrent transaction has written one of the
 * rows since: then nothing was changed.
 */
bool
eddy_merge_make_computed_changes(EddyMerge *merge)
{
	Change	   *changes;
	int64		n = 0;

	if (merge->pass != PASS_WRITE)
		return false;
	changes = &merge->result->changes.changes[merge->next_change];
	while (changes[n].kind != CHANGE_END)
		n++;
	merge->next_change += n + 1;
	return make_changes(merge, changes, n, true);
}

/* ---- rows that are only appended ---- */

/*
 * eddy_merge_append adds a row whose key no other row has, so that none is searched. Rows are
 * inserted many at a time. Errors for a key that no row can have are raised before any is written.
 */
void
eddy_merge_append(EddyMerge *merge, int table, TupleTableSlot *row)
{
	MergeTable *target = &merge->tables[table];
	Datum		keys[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	read_key(merge, table, row, keys, nulls);
	eddy_upsert_check_key(target->upsert, keys, nulls);
	eddy_upsert_check_row(target->upsert, row);
	switch (merge->pass)
	{
		case PASS_COMPUTE:
			tuplestore_puttupleslot(merge->result->tables[table].versions, row);
			break;
		case PASS_ONLY:
		case PASS_WRITE:
			eddy_upsert_add(target->upsert, row);
			break;
		case PASS_TRIAL:
			break;				/* no row depends on another one */
	}
}

/* eddy_merge_append_computed writes the rows of the first pass. False if there was none. */
bool
eddy_merge_append_computed(EddyMerge *merge, int table)
{
	MergeTable *target = &merge->tables[table];
	ComputedRows *rows;

	if (merge->pass != PASS_WRITE)
		return false;
	rows = &merge->result->tables[table];
	target->computed = MakeSingleTupleTableSlot(eddy_upsert_desc(target->upsert),
												&TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(rows->versions, true, false, target->computed))
	{
		CHECK_FOR_INTERRUPTS();
		eddy_upsert_add(target->upsert, target->computed);
	}
	return true;
}

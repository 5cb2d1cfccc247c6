/*-------------------------------------------------------------------------
 *
 * trial.c
 *    Rows of state tables that were merged on trial, kept in memory.
 *
 * When a merge fails, the failing rows are searched by merging part after part of the batch on
 * trial: what a part that passes has made of a group is found here by the next one, and the tables
 * are not written. There is a tree by key for each table, in the order of the key's operator class,
 * because not every type that can be sorted can be hashed. A removed row is a node without a tuple.
 *
 * No locks. Memory: a context of its own, as large as the groups that were changed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "lib/rbtree.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/sortsupport.h"

#include "view/trial.h"

/* A row that was merged on trial: a node of the tree, by key. */
typedef struct TrialRow
{
	RBTNode		node;
	MinimalTuple tuple;			/* NULL: removed */
	Datum	   *keys;			/* point into tuple */
	bool	   *nulls;
} TrialRow;

/* A row that the current step has added or, without a tuple, removed. */
typedef struct TrialChange
{
	MinimalTuple tuple;
	Datum	   *keys;			/* of a removed row */
	bool	   *nulls;
} TrialChange;

/* The rows of one state table. */
typedef struct TrialTable
{
	const EddyStateTable *table;
	MemoryContext mcxt;
	TupleDesc	desc;
	RBTree	   *rows;
	List	   *changes;		/* of TrialChange: by the current step */
	SortSupport sort_keys;

	/* the range that is read */
	TrialRow	bound;			/* the next row is the first after this one */
	int			nequal;			/* the columns that all rows of the range have in common */
	int			ncompared;		/* columns of bound that count */
	bool		inclusive;		/* a row that equals bound in these is after it */
	bool		searching;		/* the tree is searched for that row */
	TrialRow   *after;			/* the least row found so far */
} TrialTable;

struct EddyTrial
{
	MemoryContext mcxt;
	int			ntables;
	TrialTable	tables[FLEXIBLE_ARRAY_MEMBER];
};

static int
compare_keys(const TrialTable *trial_table, int nkeys, const TrialRow *left,
			 const TrialRow *right)
{
	for (int i = 0; i < nkeys; i++)
	{
		int			order = ApplySortComparator(left->keys[i], left->nulls[i],
												right->keys[i], right->nulls[i],
												&trial_table->sort_keys[i]);

		if (order != 0)
			return order;
	}
	return 0;
}

/*
 * The comparison of the tree. Up to 15 the tree cannot be searched for the first row after a key,
 * so a search for a row that is never found remembers the last one at which it went to the left.
 */
static int
compare_rows(const RBTNode *a, const RBTNode *b, void *arg)
{
	TrialTable *trial_table = arg;
	TrialRow   *right = unconstify(TrialRow *, (const TrialRow *) b);
	int			order;

	if (!trial_table->searching)
		return compare_keys(trial_table, trial_table->table->nkeys, (const TrialRow *) a, right);
	order = compare_keys(trial_table, trial_table->ncompared, (const TrialRow *) a, right);
	if (order > 0 || (order == 0 && !trial_table->inclusive))
		return 1;
	trial_table->after = right;
	return -1;
}

static void
replace_row(RBTNode *existing, const RBTNode *new, void *arg)
{
	TrialRow   *row = (TrialRow *) existing;
	RBTNode		node = row->node;

	memcpy(existing, new, sizeof(TrialRow));
	row->node = node;
	(void) arg;
}

static RBTNode *
allocate_row(void *arg)
{
	return MemoryContextAllocZero(((TrialTable *) arg)->mcxt, sizeof(TrialRow));
}

static void
begin_table(TrialTable *trial_table, const EddyStateTable *table, MemoryContext mcxt)
{
	const EddyStateKey *order = eddy_upsert_order(table);

	trial_table->table = table;
	trial_table->mcxt = mcxt;
	trial_table->rows = rbt_create(sizeof(TrialRow), compare_rows, replace_row, allocate_row,
								   NULL, trial_table);
	trial_table->sort_keys = palloc0(sizeof(SortSupportData) * table->nkeys);
	for (int i = 0; i < table->nkeys; i++)
	{
		SortSupport key = &trial_table->sort_keys[i];

		key->ssup_cxt = mcxt;
		key->ssup_collation = order[i].collation;
		PrepareSortSupportFromOrderingOp(order[i].lt_opr, key);
	}
}

/* eddy_trial_begin begins a trial of a view; its memory is a child of parent. */
EddyTrial *
eddy_trial_begin(const EddyViewPlan *plan, MemoryContext parent)
{
	MemoryContext mcxt = AllocSetContextCreate(parent, "pg_eddy merge on trial",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	int			ntables = list_length(plan->state_tables);
	EddyTrial  *trial = palloc0(offsetof(EddyTrial, tables) + sizeof(TrialTable) * ntables);

	trial->mcxt = mcxt;
	trial->ntables = ntables;
	for (int i = 0; i < ntables; i++)
		begin_table(&trial->tables[i], list_nth(plan->state_tables, i), mcxt);
	MemoryContextSwitchTo(old);
	return trial;
}

static void
keep_changes(TrialTable *trial_table)
{
	const EddyStateTable *table = trial_table->table;
	const EddyStateKey *order = eddy_upsert_order(table);
	TupleTableSlot *slot = NULL;
	ListCell   *lc;

	foreach(lc, trial_table->changes)
	{
		TrialChange *change = lfirst(lc);
		TrialRow	row = {.tuple = change->tuple, .keys = change->keys, .nulls = change->nulls};
		bool		is_new;

		if (row.tuple)
		{
			if (slot == NULL)
				slot = MakeSingleTupleTableSlot(trial_table->desc, &TTSOpsMinimalTuple);
			ExecStoreMinimalTuple(row.tuple, slot, false);
			row.keys = palloc(sizeof(Datum) * table->nkeys);
			row.nulls = palloc(sizeof(bool) * table->nkeys);
			for (int i = 0; i < table->nkeys; i++)
				row.keys[i] = slot_getattr(slot, order[i].column, &row.nulls[i]);
		}
		rbt_insert(trial_table->rows, (RBTNode *) &row, &is_new);
	}
	if (slot)
		ExecDropSingleTupleTableSlot(slot);
}

/* eddy_trial_end_step ends a step, even one that failed: keeps or discards what it has added. */
void
eddy_trial_end_step(EddyTrial *trial, bool keep)
{
	MemoryContext old = MemoryContextSwitchTo(trial->mcxt);

	for (int i = 0; i < trial->ntables; i++)
	{
		TrialTable *trial_table = &trial->tables[i];

		if (keep)
			keep_changes(trial_table);
		list_free(trial_table->changes);
		trial_table->changes = NIL;
	}
	MemoryContextSwitchTo(old);
}

void
eddy_trial_end(EddyTrial *trial)
{
	MemoryContextDelete(trial->mcxt);
}

/*
 * eddy_trial_lookup returns true if earlier steps have changed the row with a key. *tuple is the
 * version that they have made, NULL if they have removed the row. It lives until it is replaced.
 */
bool
eddy_trial_lookup(EddyTrial *trial, int table, const Datum *keys, const bool *nulls,
				  MinimalTuple *tuple)
{
	TrialRow	wanted = {
		.keys = unconstify(Datum *, keys),
		.nulls = unconstify(bool *, nulls)
	};
	TrialRow   *found = (TrialRow *) rbt_find(trial->tables[table].rows, (RBTNode *) &wanted);

	*tuple = found ? found->tuple : NULL;
	return found != NULL;
}

/* eddy_trial_add adds a version made by the current step. It is found once the step is kept. */
void
eddy_trial_add(EddyTrial *trial, int table, TupleTableSlot *version)
{
	MemoryContext old = MemoryContextSwitchTo(trial->mcxt);
	TrialTable *trial_table = &trial->tables[table];
	TrialChange *change = palloc0(sizeof(TrialChange));

	if (trial_table->desc == NULL)
		trial_table->desc = CreateTupleDescCopy(version->tts_tupleDescriptor);
	change->tuple = ExecCopySlotMinimalTuple(version);
	trial_table->changes = lappend(trial_table->changes, change);
	MemoryContextSwitchTo(old);
}

static void
copy_keys(const TrialTable *trial_table, int nkeys, const Datum *keys, const bool *nulls,
		  Datum *to_keys, bool *to_nulls)
{
	const EddyStateTable *table = trial_table->table;

	for (int i = 0; i < nkeys; i++)
	{
		int16		len;
		bool		byval;

		get_typlenbyval(table->columns[eddy_upsert_order(table)[i].column - 1].type, &len,
						&byval);
		to_nulls[i] = nulls[i];
		to_keys[i] = nulls[i] ? (Datum) 0 : datumCopy(keys[i], byval, len);
	}
}

/* eddy_trial_remove removes a row in the current step. It is gone once the step is kept. */
void
eddy_trial_remove(EddyTrial *trial, int table, const Datum *keys, const bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(trial->mcxt);
	TrialTable *trial_table = &trial->tables[table];
	int			nkeys = trial_table->table->nkeys;
	TrialChange *change = palloc0(sizeof(TrialChange));

	change->keys = palloc(sizeof(Datum) * nkeys);
	change->nulls = palloc(sizeof(bool) * nkeys);
	copy_keys(trial_table, nkeys, keys, nulls, change->keys, change->nulls);
	trial_table->changes = lappend(trial_table->changes, change);
	MemoryContextSwitchTo(old);
}

/* ---- ranges ---- */

/*
 * eddy_trial_seek begins to read the rows whose first nkeys key columns have the given values and,
 * with from, whose next one is at least keys[nkeys]. The values must outlive the first call of
 * eddy_trial_next.
 */
void
eddy_trial_seek(EddyTrial *trial, int table, int nkeys, bool from, const Datum *keys,
				const bool *nulls)
{
	TrialTable *trial_table = &trial->tables[table];

	trial_table->bound.keys = unconstify(Datum *, keys);
	trial_table->bound.nulls = unconstify(bool *, nulls);
	trial_table->nequal = nkeys;
	trial_table->ncompared = nkeys + (from ? 1 : 0);
	trial_table->inclusive = true;
}

/*
 * eddy_trial_next returns the next row of the range that earlier steps have made, without those
 * that they have removed, or NULL.
 */
MinimalTuple
eddy_trial_next(EddyTrial *trial, int table)
{
	TrialTable *trial_table = &trial->tables[table];
	TrialRow   *row;

	do
	{
		trial_table->after = NULL;
		trial_table->searching = true;
		(void) rbt_find(trial_table->rows, (RBTNode *) &trial_table->bound);
		trial_table->searching = false;
		row = trial_table->after;
		if (row == NULL ||
			compare_keys(trial_table, trial_table->nequal, row, &trial_table->bound) != 0)
			return NULL;
		trial_table->bound.keys = row->keys;
		trial_table->bound.nulls = row->nulls;
		trial_table->ncompared = trial_table->table->nkeys;
		trial_table->inclusive = false;
	} while (row->tuple == NULL);
	return row->tuple;
}

/* eddy_trial_compare compares the keys of two rows, deformed, in the order of the range. */
int
eddy_trial_compare(EddyTrial *trial, int table, TupleTableSlot *left, TupleTableSlot *right)
{
	TrialTable *trial_table = &trial->tables[table];
	const EddyStateKey *keys = eddy_upsert_order(trial_table->table);

	for (int i = 0; i < trial_table->table->nkeys; i++)
	{
		int			column = keys[i].column - 1;
		int			order = ApplySortComparator(left->tts_values[column],
												left->tts_isnull[column],
												right->tts_values[column],
												right->tts_isnull[column],
												&trial_table->sort_keys[i]);

		if (order != 0)
			return order;
	}
	return 0;
}

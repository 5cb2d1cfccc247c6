/*-------------------------------------------------------------------------
 *
 * trial.c
 *    Rows of state tables that were merged on trial, kept in memory.
 *
 * When a merge fails, the failing rows are searched by merging part after part of the batch on
 * trial: what a part that passes has made of a group is found here by the next one, and the tables
 * are not written. There is a tree by key for each table, in the order of the key's operator class,
 * because not every type that can be sorted can be hashed.
 *
 * No locks. Memory: a context of its own, as large as the groups that were changed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "lib/rbtree.h"
#include "utils/memutils.h"
#include "utils/sortsupport.h"

#include "view/trial.h"

/* A row that was merged on trial: a node of the tree, by key. */
typedef struct TrialRow
{
	RBTNode		node;
	MinimalTuple tuple;
	Datum	   *keys;			/* point into tuple */
	bool	   *nulls;
} TrialRow;

/* The rows of one state table. */
typedef struct TrialTable
{
	const EddyStateTable *table;
	MemoryContext mcxt;
	TupleDesc	desc;
	RBTree	   *rows;
	List	   *added;			/* of MinimalTuple: by the current step */
	SortSupport sort_keys;
} TrialTable;

struct EddyTrial
{
	MemoryContext mcxt;
	int			ntables;
	TrialTable	tables[FLEXIBLE_ARRAY_MEMBER];
};

static int
compare_rows(const RBTNode *a, const RBTNode *b, void *arg)
{
	const TrialRow *left = (const TrialRow *) a;
	const TrialRow *right = (const TrialRow *) b;
	TrialTable *trial_table = arg;

	for (int i = 0; i < trial_table->table->nkeys; i++)
	{
		int			order = ApplySortComparator(left->keys[i], left->nulls[i],
												right->keys[i], right->nulls[i],
												&trial_table->sort_keys[i]);

		if (order != 0)
			return order;
	}
	return 0;
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
	trial_table->table = table;
	trial_table->mcxt = mcxt;
	trial_table->rows = rbt_create(sizeof(TrialRow), compare_rows, replace_row, allocate_row,
								   NULL, trial_table);
	trial_table->sort_keys = palloc0(sizeof(SortSupportData) * table->nkeys);
	for (int i = 0; i < table->nkeys; i++)
	{
		SortSupport key = &trial_table->sort_keys[i];

		key->ssup_cxt = mcxt;
		key->ssup_collation = table->keys[i].collation;
		PrepareSortSupportFromOrderingOp(table->keys[i].lt_opr, key);
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
keep_added(TrialTable *trial_table)
{
	const EddyStateTable *table = trial_table->table;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(trial_table->desc, &TTSOpsMinimalTuple);
	ListCell   *lc;

	foreach(lc, trial_table->added)
	{
		TrialRow	row = {.tuple = lfirst(lc)};
		bool		is_new;

		ExecStoreMinimalTuple(row.tuple, slot, false);
		row.keys = palloc(sizeof(Datum) * table->nkeys);
		row.nulls = palloc(sizeof(bool) * table->nkeys);
		for (int i = 0; i < table->nkeys; i++)
			row.keys[i] = slot_getattr(slot, table->keys[i].column, &row.nulls[i]);
		rbt_insert(trial_table->rows, (RBTNode *) &row, &is_new);
	}
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

		if (keep && trial_table->added)
			keep_added(trial_table);
		list_free(trial_table->added);
		trial_table->added = NIL;
	}
	MemoryContextSwitchTo(old);
}

void
eddy_trial_end(EddyTrial *trial)
{
	MemoryContextDelete(trial->mcxt);
}

/*
 * eddy_trial_find returns the version of a row that earlier steps have made, or NULL. It lives
 * until it is replaced.
 */
MinimalTuple
eddy_trial_find(EddyTrial *trial, int table, const Datum *keys, const bool *nulls)
{
	TrialRow	wanted = {
		.keys = unconstify(Datum *, keys),
		.nulls = unconstify(bool *, nulls)
	};
	TrialRow   *found = (TrialRow *) rbt_find(trial->tables[table].rows, (RBTNode *) &wanted);

	return found ? found->tuple : NULL;
}

/* eddy_trial_add adds a version made by the current step. It is found once the step is kept. */
void
eddy_trial_add(EddyTrial *trial, int table, TupleTableSlot *version)
{
	MemoryContext old = MemoryContextSwitchTo(trial->mcxt);
	TrialTable *trial_table = &trial->tables[table];

	if (trial_table->desc == NULL)
		trial_table->desc = CreateTupleDescCopy(version->tts_tupleDescriptor);
	trial_table->added = lappend(trial_table->added, ExecCopySlotMinimalTuple(version));
	MemoryContextSwitchTo(old);
}

/*-------------------------------------------------------------------------
 *
 * trial.c
 *    Groups that were merged on trial, kept in memory.
 *
 * When a merge fails, the rows to blame are searched by merging part after part of the batch on
 * trial: what a part that passes has made of a group is found here by the next one, and the
 * table is left alone. A tree by key, in the order of the key's operator class, because not every type
 * that can be sorted can be hashed.
 *
 * No locks. Memory: a context of its own, as large as the groups that were touched.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "lib/rbtree.h"
#include "utils/memutils.h"
#include "utils/sortsupport.h"

#include "view/trial.h"

/* A group that was merged on trial: a node of the tree, by key. */
typedef struct TrialGroup
{
	RBTNode		node;
	MinimalTuple tuple;			/* of the state table */
	Datum	   *keys;			/* point into tuple */
	bool	   *key_nulls;
} TrialGroup;

struct EddyTrial
{
	EddyViewPlan *plan;
	MemoryContext mcxt;
	RBTree	   *groups;
	List	   *fresh;			/* of MinimalTuple: by the step that is running */
	TupleDesc	desc;			/* of the state table */
	SortSupport sort_keys;
};

static int
compare_trial_groups(const RBTNode *a, const RBTNode *b, void *arg)
{
	const TrialGroup *left = (const TrialGroup *) a;
	const TrialGroup *right = (const TrialGroup *) b;
	EddyTrial *trial = arg;

	for (int i = 0; i < trial->plan->nkeys; i++)
	{
		int			order = ApplySortComparator(left->keys[i], left->key_nulls[i],
												right->keys[i], right->key_nulls[i],
												&trial->sort_keys[i]);

		if (order != 0)
			return order;
	}
	return 0;
}

static void
replace_trial_group(RBTNode *existing, const RBTNode *new, void *arg)
{
	TrialGroup *group = (TrialGroup *) existing;
	RBTNode		node = group->node;

	memcpy(existing, new, sizeof(TrialGroup));
	group->node = node;
	(void) arg;
}

static RBTNode *
allocate_trial_group(void *arg)
{
	return MemoryContextAllocZero(((EddyTrial *) arg)->mcxt, sizeof(TrialGroup));
}

EddyTrial *
eddy_trial_begin(EddyViewPlan *plan, MemoryContext parent)
{
	MemoryContext mcxt = AllocSetContextCreate(parent, "pg_eddy merge on trial",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	EddyTrial *trial = palloc0(sizeof(EddyTrial));

	trial->plan = plan;
	trial->mcxt = mcxt;
	trial->groups = rbt_create(sizeof(TrialGroup), compare_trial_groups, replace_trial_group,
							   allocate_trial_group, NULL, trial);
	trial->sort_keys = palloc0(sizeof(SortSupportData) * Max(plan->nkeys, 1));
	for (int i = 0; i < plan->nkeys; i++)
	{
		SortSupport key = &trial->sort_keys[i];

		key->ssup_cxt = mcxt;
		key->ssup_collation = plan->keys[i].collation;
		PrepareSortSupportFromOrderingOp(plan->keys[i].lt_opr, key);
	}
	MemoryContextSwitchTo(old);
	return trial;
}

void
eddy_trial_end_step(EddyTrial *trial, bool keep)
{
	EddyViewPlan *plan = trial->plan;
	MemoryContext old = MemoryContextSwitchTo(trial->mcxt);
	TupleTableSlot *slot;
	ListCell   *lc;

	if (keep && trial->fresh)
	{
		slot = MakeSingleTupleTableSlot(trial->desc, &TTSOpsMinimalTuple);
		foreach(lc, trial->fresh)
		{
			TrialGroup	group = {.tuple = lfirst(lc)};
			bool		is_new;

			ExecStoreMinimalTuple(group.tuple, slot, false);
			group.keys = palloc(sizeof(Datum) * Max(plan->nkeys, 1));
			group.key_nulls = palloc(sizeof(bool) * Max(plan->nkeys, 1));
			for (int i = 0; i < plan->nkeys; i++)
				group.keys[i] = slot_getattr(slot, plan->keys[i].column, &group.key_nulls[i]);
			rbt_insert(trial->groups, (RBTNode *) &group, &is_new);
		}
		ExecDropSingleTupleTableSlot(slot);
	}
	list_free(trial->fresh);
	trial->fresh = NIL;
	MemoryContextSwitchTo(old);
}

void
eddy_trial_end(EddyTrial *trial)
{
	MemoryContextDelete(trial->mcxt);
}

MinimalTuple
eddy_trial_find(EddyTrial *trial, Datum *keys, bool *key_nulls)
{
	TrialGroup	wanted = {.keys = keys, .key_nulls = key_nulls};
	TrialGroup *found = (TrialGroup *) rbt_find(trial->groups, (RBTNode *) &wanted);

	return found ? found->tuple : NULL;
}

void
eddy_trial_add(EddyTrial *trial, TupleTableSlot *version)
{
	MemoryContext old = MemoryContextSwitchTo(trial->mcxt);

	if (trial->desc == NULL)
		trial->desc = CreateTupleDescCopy(version->tts_tupleDescriptor);
	trial->fresh = lappend(trial->fresh, ExecCopySlotMinimalTuple(version));
	MemoryContextSwitchTo(old);
}

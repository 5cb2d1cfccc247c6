/*-------------------------------------------------------------------------
 *
 * quick.c
 *    The maintenance of a view by a statement that has added one row.
 *
 * What maintain.c does for a batch of any size consists of parts that cost more than one row: a
 * subtransaction for each step that can fail because of a row, tuplestores between the steps, and
 * two passes over the state table. One row of a pure view (pure.h) needs none of them. The row of
 * the delta is computed without the executor (direct.h), its group is read, and the new version is
 * computed; after that has been done for all views, the versions are written, in the order of all
 * writers.
 *
 * The functions that a pure view calls are the server's, over plain types. They hold no locks, pins
 * or other resources when they raise an error, and have no effects. So an error that they raise is
 * caught without a subtransaction; the view is then maintained in the general way, which finds out
 * what the error means. Any other error is raised again, and the transaction is aborted.
 *
 * Views with HAVING, or with expressions over aggregates, are left to the general way: a version
 * that has to be computed again, because a concurrent transaction has changed the group, could
 * fail.
 *
 * Locking: as maintain.c. Memory: the work's; the state of the computation is kept with the plan. A
 * crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "view/direct.h"
#include "view/kind.h"
#include "view/kind_combining.h"
#include "view/maintain.h"
#include "view/quick.h"

/* One view between reading and writing. */
struct EddyQuick
{
	EddyUpsert *upsert;			/* open; NULL: the row belongs to no group, or is late */
	EddyGroup  *group;
	ItemPointer remembered;		/* place where the row was last */
	bool		found;			/* the table has a row of the group */
	ItemPointerData place;		/* of that row */
	TupleTableSlot *version;	/* to be written; NULL: the row remains as it is */
};

/* True if a batch can be applied to a view in this way. */
static bool
suits(EddyWork *work)
{
	EddyViewPlan *plan = work->plan;
	const EddyBatch *batch = work->batch;

	return plan->pure && plan->direct && work->next == NULL && !plan->fallible && !work->fills && batch->nrows == 1 &&
		batch->nrejected == 0 && !work->judgment.defers && eddy_delta_is_planned(plan);
}

/* Computes the version of the current group, from what is stored of it or NULL. */
static void
compute_version(EddyQuick *quick, TupleTableSlot *stored)
{
	TupleTableSlot *version = eddy_combining_group_compute(quick->group, stored);

	eddy_upsert_check_row(quick->upsert, version);
	quick->found = stored != NULL;
	if (stored)
		quick->place = stored->tts_tid;
	quick->version = stored && eddy_merge_identical(stored, version) ? NULL : version;
}

/* The row of the current group in the table, or NULL. */
static TupleTableSlot *
find_group(EddyQuick *quick)
{
	const bool *nulls;
	const Datum *keys = eddy_combining_group_keys(quick->group, &nulls);
	TupleTableSlot *stored = eddy_upsert_find_at(quick->upsert, quick->remembered, keys, nulls);

	if (stored == NULL)
		stored = eddy_upsert_find(quick->upsert, keys, nulls);
	if (stored == NULL)
		eddy_upsert_check_key(quick->upsert, keys, nulls);
	return stored;
}

static void
run_compute(void *arg)
{
	EddyWork   *work = arg;
	EddyViewPlan *plan = work->plan;
	EddyQuick  *quick = work->quick;
	EddyScanRange range = {work->batch, 0, 1, NULL, -1};
	EddyDirect *direct = eddy_direct_get(plan, &range);
	TupleTableSlot *row = direct ? eddy_direct_compute(direct, &range) : NULL;

	if (row && !eddy_merge_is_late(plan, &work->judgment, row))
	{
		quick->upsert = eddy_upsert_open_lazily(eddy_plan_main_table(plan), plan->name);
		quick->group = eddy_combining_group_start(plan, eddy_upsert_desc(quick->upsert),
												  work->judgment.final_until, row);
		quick->remembered = eddy_combining_group_place(quick->group);
		compute_version(quick, find_group(quick));
	}
	if (direct)
		eddy_direct_clear(direct);
}

/*
 * eddy_quick_compute computes what a batch of one row changes in a view. False if that has to be
 * done in the general way; nothing was done then. The active snapshot sees what this transaction
 * has written.
 */
bool
eddy_quick_compute(EddyWork *work)
{
	MemoryContext mcxt = CurrentMemoryContext;
	volatile bool done = false;

	if (!suits(work))
		return false;
	work->quick = palloc0(sizeof(EddyQuick));
	PG_TRY();
	{
		(void) eddy_delta_run(work, run_compute, work, false);
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(mcxt);
		error = CopyErrorData();
		if (!eddy_batch_is_row_error(error))
			PG_RE_THROW();
		FlushErrorState();
		FreeErrorData(error);
		if (work->quick->upsert)
			eddy_upsert_close(work->quick->upsert);
		work->quick = NULL;
		work->plan->pure = false;
	}
	PG_END_TRY();
	return done;
}

static void
run_write(void *arg)
{
	EddyWork   *work = arg;
	EddyQuick  *quick = work->quick;
	bool		done = quick->version == NULL;

	eddy_maintain_record_to(work->plan, work->changes);
	/* may be replaced */
	PushActiveSnapshot(GetActiveSnapshot());
	while (!done)
	{
		TupleTableSlot *stored = NULL;

		done = quick->found ? eddy_upsert_update(quick->upsert, &quick->place, quick->version) :
			eddy_upsert_insert(quick->upsert, quick->version);
		if (done)
		{
			*quick->remembered = quick->version->tts_tid;
			break;
		}
		/* a concurrent transaction was first: it is computed again, under the lock of the row */
		eddy_upsert_renew(quick->upsert);
		if (quick->found)
			stored = eddy_upsert_lock_latest(quick->upsert, &quick->place);
		compute_version(quick, stored ? stored : find_group(quick));
		done = quick->version == NULL;
	}
	PopActiveSnapshot();
	eddy_upsert_close(quick->upsert);
}

/* eddy_quick_write writes what eddy_quick_compute has computed. */
void
eddy_quick_write(EddyWork *work)
{
	if (work->quick->upsert)
		(void) eddy_delta_run(work, run_write, work, false);
	work->quick = NULL;
}

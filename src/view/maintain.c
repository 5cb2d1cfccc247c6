/*-------------------------------------------------------------------------
 *
 * maintain.c
 *    Maintaining the views of sources: all views of one level that batches concern, in their order.
 *
 * For each view the delta query runs over the batch (delta.c), and its result is merged into the
 * state tables (merge.c). All views of all streams concerned are maintained in one total order, by
 * level (apply/cascade.c) and Oid, and their groups by key, so that maintenance never deadlocks
 * with maintenance. A view that reads several of these sources is maintained once, with the deltas
 * of all of their batches.
 *
 * Everything that can fail because of a row is done before anything is written, in internal
 * subtransactions that only read: running the delta query, combining with what is stored, and
 * the view's own expressions over the results.
 *
 * A statement that has added one row takes a shorter way where possible (quick.c).
 *
 * A batch from Kafka can be repeated. It is merged in one pass first, and repeated carefully only
 * if that fails.
 *
 * Locking: RowExclusiveLock on each view's state tables until the end of the transaction, in order
 * of the views' Oid; so a view cannot be dropped meanwhile. A contended batch takes an object lock
 * on each view before it locks rows of it. Then, in the same order, the groups of views whose kind
 * locks them, and after all of these the rows of state tables. Memory: one context, which is
 * deleted at the end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "owner.h"
#include "subtransaction.h"
#include "view/chain_combine.h"
#include "view/followers.h"
#include "view/kind.h"
#include "view/maintain.h"
#include "view/pane_call.h"
#include "view/pane_read.h"
#include "view/pure.h"
#include "view/quick.h"
#include "view/view.h"

/* Attempts to make a plan that no concurrent change invalidates before it is used. */
#define PLAN_ATTEMPTS 2

/* Attempts to compute a merge whose groups concurrent transactions keep changing. */
#define MERGE_ATTEMPTS 3

/* ---- the parts of maintenance ---- */

/* Computes the delta of the rows of one view, without those that fail. */
static void
collect_rows(EddyWork *work)
{
	EddyScanRange range = {work->batch, 0, work->batch->nrows, work->skip, -1};
	ErrorData  *error;

	if (eddy_delta_try_step(work, &range, EDDY_STEP_COLLECT, true, &error))
		return;
	if (!work->plan->dead_letters || range.position < 0)
		eddy_delta_refuse_batch(work, error);
	eddy_bisect_batch(work, EDDY_STEP_CHECK);
	/* if it still fails, an aggregate over rows of several chunks does */
	range.skip = work->skip;
	range.position = -1;
	if (!work->suspended)
		eddy_bisect_range(work, &range, EDDY_STEP_COLLECT);
}

/* The same of all batches of the view. If the view is suspended for one of them, it is for all. */
static void
collect(EddyWork *work)
{
	for (EddyWork *part = work; part && !work->suspended; part = part->next)
	{
		collect_rows(part);
		work->suspended |= part->suspended;
	}
	if (work->fills)
		eddy_empty_sets_collect(work);
}

/* The deltas of all batches of the view: List of Tuplestorestate in the current memory context. */
static List *
all_deltas(EddyWork *work)
{
	List	   *deltas = NIL;

	for (EddyWork *part = work; part; part = part->next)
		deltas = list_concat(deltas, part->deltas);
	return deltas;
}

static void
discard_deltas(EddyWork *work)
{
	for (EddyWork *part = work; part; part = part->next)
		eddy_delta_discard(part);
}

static void
run_compute(void *arg)
{
	EddyWork   *work = arg;

	eddy_delta_start_clock(work);
	if (work->judgment.late_rows)
		tuplestore_clear(work->judgment.late_rows);
	eddy_merge_compute(work->plan, all_deltas(work), work->result, &work->judgment);
}

/* Computes what will be written; false, with the error, if that fails on a row. */
static bool
compute(EddyWork *work, ErrorData **error)
{
	work->result = eddy_merge_make_result(work->plan, work->mcxt, work->owner);
	*error = eddy_delta_run(work, run_compute, work, true);
	if (*error == NULL)
		return true;
	eddy_merge_free_result(work->result);
	work->result = NULL;
	if (!eddy_delta_is_row_error(work, *error))
		ReThrowError(*error);
	return false;
}

/* Searches the rows of all batches of the view that make the merge fail. */
static void
try_merges(EddyWork *work)
{
	EddyTrial  *trial = eddy_trial_begin(work->plan, work->mcxt);

	for (EddyWork *part = work; part && !work->suspended; part = part->next)
	{
		part->trial = trial;
		eddy_bisect_batch(part, EDDY_STEP_TRY_MERGE);
		part->trial = NULL;
		work->suspended |= part->suspended;
	}
	eddy_trial_end(trial);
}

/*
 * Computes what will be written, without the rows that make it fail. These are searched by
 * merging on trial, chunk by chunk, into memory, without row locks.
 */
static void
compute_rejecting(EddyWork *work)
{
	ErrorData  *error = NULL;

	for (int attempt = 0; !work->suspended && !compute(work, &error); attempt++)
	{
		if (!work->plan->dead_letters || attempt >= MERGE_ATTEMPTS)
			eddy_delta_refuse_batch(work, error);
		/* a row that is not counted now could not be told from others when it is taken back */
		if (work->plan->retracts)
		{
			eddy_delta_suspend(work, error);
			break;
		}
		FreeErrorData(error);
		discard_deltas(work);
		try_merges(work);
		if (!work->suspended)
			collect(work);
	}
}

/* Merges what was collected into the state tables, or writes what was computed. */
static void
run_write(void *arg)
{
	EddyWork   *work = arg;

	/* an earlier attempt may have been rolled back */
	if (work->changes)
		eddy_changes_clear(work->changes);
	eddy_maintain_record_to(work->plan, work->changes);
	if (work->result)
		eddy_merge_write(work->plan, work->result, &work->judgment);
	else
		eddy_merge(work->plan, all_deltas(work), &work->judgment);
}

/*
 * The same in a subtransaction, for a view with expressions over its aggregates: these fail more
 * easily than a sum overflows. False, with the error, if a concurrent transaction changed a group
 * after it was computed and the group now fails.
 */
static bool
try_write(EddyWork *work, ErrorData **error)
{
	*error = eddy_delta_run(work, run_write, work, true);
	if (*error && !eddy_batch_is_row_error(*error))
		ReThrowError(*error);
	return *error == NULL;
}

static void
merge(EddyWork *work, bool repeatable)
{
	ErrorData  *error;

	/* a delta that is stored cannot fail any more */
	if (repeatable || !work->plan->fallible || work->judgment.defers)
		(void) eddy_delta_run(work, run_write, work, false);
	else
	{
		for (int attempt = 0; !work->suspended && !try_write(work, &error); attempt++)
		{
			if (attempt >= MERGE_ATTEMPTS)
				ReThrowError(error);
			FreeErrorData(error);
			eddy_merge_free_result(work->result);
			work->result = NULL;
			compute_rejecting(work);
		}
	}
	if (work->result)
		eddy_merge_free_result(work->result);
	work->result = NULL;
	discard_deltas(work);
}

/* ---- records for observers ---- */

EddyChanges *
eddy_maintain_make_record(const EddyViewPlan *plan, EddyChangeCause cause)
{
	EddyChanges *changes;

	if (!eddy_changes_wanted(plan->view))
		return NULL;
	changes = eddy_changes_make(plan->view, cause, plan->columns, plan->ncolumns,
								plan->visible_column, plan->final_column);
	if (eddy_combine_is_wanted(plan->view))
		eddy_changes_add_hidden(changes, eddy_plan_main_table(plan)->relid);
	return changes;
}

List *
eddy_maintain_keep_record(List *records, EddyChanges *changes)
{
	if (changes == NULL)
		return records;
	if (changes->nrows > 0)
		return lappend(records, changes);
	eddy_changes_free(changes);
	return records;
}

/* ---- all views of a batch ---- */

/*
 * What the view has closed already. That is also how rows of a parent that have appeared when its
 * windows closed are judged: its progress is then ahead of them, but this view closes afterwards.
 * Not by an old snapshot, which would show less than was closed.
 */
static void
judge_by_progress(EddyWork *work)
{
	EddyViewProgress *progress;

	PushActiveSnapshot(GetLatestSnapshot());
	progress = eddy_catalog_get_view_progress(work->plan->view);
	PopActiveSnapshot();
	if (progress == NULL)
		return;
	if (work->plan->lateness > 0)
		work->judgment.final_until = progress->closed_until;
	if (work->plan->event_views != NIL)
		work->judgment.late_until = work->plan->lateness > 0 ? progress->forgotten_until :
			progress->closed_until;
}

/*
 * Determines which groups are late. A view that accepts late rows changes final groups, and creates
 * such groups: those of windows that the view has closed already are final from their creation.
 */
static void
judge(EddyWork *work)
{
	EddyViewPlan *plan = work->plan;
	EddyBatch  *batch = work->batch;

	work->closes_until = work->judgment.late_until = work->judgment.final_until = DT_NOBEGIN;
	work->judgment.first_end = DT_NOEND;
	if (!plan->windowed || batch->judge == NULL)
		return;
	if (!batch->judged)
		batch->judge(batch);
	batch->judged = true;
	work->watermark = list_length(plan->streams) > 1 ?
		batch->union_watermark(plan->root, plan->streams) : batch->watermark;
	work->closes_until = eddy_view_closes_until(plan, work->watermark, EDDY_CHAIN_JUDGE);
	work->judgment.late_until = eddy_view_earlier(work->closes_until, plan->lateness);
	if (plan->kind->finds_late)
		work->judgment.late_rows = tuplestore_begin_heap(false, false, work_mem);
	if (plan->lateness > 0 || plan->event_views != NIL)
		judge_by_progress(work);
}

static EddyWork *
make_work(EddyViewPlan *plan, EddyBatch *batch)
{
	EddyWork   *work = palloc0(sizeof(EddyWork));

	work->plan = plan;
	work->source = eddy_plan_for_source(plan, batch->stream);
	work->batch = batch;
	work->mcxt = CurrentMemoryContext;
	work->owner = CurrentResourceOwner;
	judge(work);
	return work;
}

/* Adds the batch of another source to the work on a view. All rows are judged alike. */
static void
add_batch(EddyWork *work, EddyBatch *batch)
{
	EddyWork   *part = palloc(sizeof(EddyWork));

	*part = *work;
	part->source = eddy_plan_for_source(work->plan, batch->stream);
	part->batch = batch;
	part->changes = NULL;
	if (part->plan->windowed && batch->judge && !batch->judged)
	{
		batch->judge(batch);
		batch->judged = true;
	}
	work->next = part;
}

typedef struct EddyPlanRun
{
	Oid			view;
	EddyViewPlan *volatile plan;
} EddyPlanRun;

static void
run_make_plan(void *arg)
{
	EddyPlanRun *run = arg;
	EddyOwnerSwitch save;

	/* no other rights are needed, but an error must stay one: exit_on_error is pinned */
	eddy_owner_begin(&save, GetUserId());
	run->plan = eddy_plan_get(run->view);
	eddy_owner_end(&save);
}

/*
 * Makes the plan of a view that has none, or whose plan has become invalid. NULL if the view was
 * dropped, or cannot be planned any more; with suspends it is then suspended.
 */
static EddyViewPlan *
make_plan(Oid view, bool suspends)
{
	EddyPlanRun run = {view, NULL};
	ErrorData  *error = eddy_subtransaction_run(run_make_plan, &run);

	if (error == NULL)
		return run.plan;
	if (!eddy_batch_is_row_error(error))
		ReThrowError(error);
	if (suspends)
		eddy_view_suspend(view, error->message, error->sqlerrcode);
	FreeErrorData(error);
	return NULL;
}

/* Locks the state tables of a view; false if it is being dropped. */
static bool
lock_state_tables(const EddyViewPlan *plan)
{
	ListCell   *lc;

	foreach(lc, plan->state_tables)
	{
		Relation	rel = try_table_open(((EddyStateTable *) lfirst(lc))->relid,
										 RowExclusiveLock);

		if (rel == NULL)
			return false;
		table_close(rel, NoLock);
	}
	return true;
}

/*
 * eddy_maintain_lock_view returns the plan of a view that is to be maintained, with its state
 * tables locked. NULL if the view was dropped or cannot be maintained; with suspends it is then
 * suspended. Only for rows that are missing in the view otherwise: during a restore, views are
 * incomplete.
 */
EddyViewPlan *
eddy_maintain_lock_view(Oid view, bool suspends)
{
	EddyViewPlan *plan = eddy_plan_ready(view) ? eddy_plan_get(view) : make_plan(view, suspends);
	Oid			denied;

	for (int attempt = 0; plan; attempt++)
	{
		if (!lock_state_tables(plan))
			return NULL;
		/* with the lock held, changes that still invalidate plans do not concern this view */
		if (eddy_plan_ready(view) || attempt >= PLAN_ATTEMPTS)
			break;
		plan = make_plan(view, suspends);	/* the transaction that was waited for has changed it */
	}
	denied = plan ? eddy_view_denied_source(plan) : InvalidOid;
	if (OidIsValid(denied))
	{
		if (suspends)
			eddy_view_suspend(view, psprintf(get_rel_relkind(denied) == RELKIND_VIEW ?
											 "permission denied for view \"%s\"" :
											 "permission denied for stream \"%s\"",
											 get_rel_name(denied)),
							  ERRCODE_INSUFFICIENT_PRIVILEGE);
		return NULL;
	}
	return plan;
}

typedef struct ViewOfBatch
{
	Oid			view;
	EddyBatch  *batch;
} ViewOfBatch;

static int
compare_views(const ListCell *a, const ListCell *b)
{
	const ViewOfBatch *left = lfirst(a);
	const ViewOfBatch *right = lfirst(b);

	if (left->view != right->view)
		return left->view < right->view ? -1 : 1;
	return left->batch->stream < right->batch->stream ? -1 :
		left->batch->stream > right->batch->stream;
}

/*
 * The views of a level to maintain, in the order of all writers, state tables locked: List of
 * EddyWork. Records for observers are made in records_mcxt.
 */
static List *
make_works(List *batches, int level, MemoryContext records_mcxt)
{
	List	   *views = NIL;
	List	   *works = NIL;
	ListCell   *lc;

	foreach(lc, batches)
	{
		EddyBatch  *batch = lfirst(lc);
		ListCell   *lv;

		if (batch->nrows == batch->nrejected)
			continue;
		foreach(lv, eddy_followers_at(batch->stream, level))
		{
			ViewOfBatch *entry;

			if (OidIsValid(batch->only_view) && batch->only_view != lfirst_oid(lv))
				continue;
			/* its worker reads the messages; rows of users are not in Kafka */
			if (batch->store == NULL && !OidIsValid(batch->only_view) &&
				eddy_followers_is_starting(batch->stream, lfirst_oid(lv)))
				continue;
			entry = palloc(sizeof(ViewOfBatch));
			entry->view = lfirst_oid(lv);
			entry->batch = batch;
			views = lappend(views, entry);
		}
	}
	list_sort(views, compare_views);
	foreach(lc, views)
	{
		ViewOfBatch *entry = lfirst(lc);
		EddyWork   *last = works ? llast(works) : NULL;
		EddyViewPlan *plan;

		if (last && last->plan->view == entry->view)
		{
			add_batch(last, entry->batch);
			continue;
		}
		plan = eddy_maintain_lock_view(entry->view, true);
		if (plan)
		{
			EddyWork   *work = make_work(plan, entry->batch);
			MemoryContext old = MemoryContextSwitchTo(records_mcxt);

			work->changes = eddy_maintain_make_record(plan, EDDY_CAUSE_BATCH);
			MemoryContextSwitchTo(old);
			works = lappend(works, work);
		}
	}
	return works;
}

/*
 * Waits until no other contended batch is being merged into a view. The snapshot of the merge is
 * taken afterwards, so that it sees the groups that such a batch has inserted: without this, two
 * batches that insert the same group would collide, and one would have to be repeated.
 */
static void
take_turn(Oid view)
{
	LockDatabaseObject(eddy_catalog_relid(EDDY_CATALOG_VIEW), view, 1, ExclusiveLock);
}

static void
do_works(List *works, bool repeatable)
{
	ListCell   *lc;

	/* first the steps that only read, then those that lock rows, from the first view to the last */
	foreach(lc, works)
	{
		EddyWork   *work = lfirst(lc);

		/* batches of Kafka, and the first content of a view, are merged at once */
		work->judgment.defers = work->plan->deferred && !repeatable && !work->strict;
		if (!repeatable && eddy_quick_compute(work))
			continue;
		collect(work);
		if (work->plan->kind->lock && !work->suspended && !work->beside)
			work->plan->kind->lock(work->plan, all_deltas(work));
		if (!repeatable)
			compute_rejecting(work);
	}
	foreach(lc, works)
	{
		EddyWork   *work = lfirst(lc);

		if (work->suspended)
			continue;
		if (work->batch->contended)
			take_turn(work->plan->view);
		if (work->quick)
			eddy_quick_write(work);
		else
			merge(work, repeatable);
	}
	foreach(lc, works)
	{
		EddyWork   *work = lfirst(lc);

		if (work->judgment.found_late && !work->suspended)
			for (EddyWork *part = work; part; part = part->next)
				eddy_late_collect(part);
		work->plan->next_end = Min(work->plan->next_end, work->judgment.first_end);
		if (work->judgment.first_end <= work->closes_until)
			work->batch->closes = true;
	}
	CommandCounterIncrement();
}

/* True if no view needs the privileges and settings of its owner; some may turn out to do. */
static bool
all_pure(List *works)
{
	bool		pure = true;
	ListCell   *lc;

	foreach(lc, works)
	{
		EddyViewPlan *plan = ((EddyWork *) lfirst(lc))->plan;

		/* an error must stay one: exit_on_error is pinned */
		plan->pure = plan->is_pure && !ExitOnAnyError;
		pure &= plan->pure;
	}
	return pure;
}

static void
run_works(List *works, bool repeatable)
{
	EddyOwnerSwitch save;
	ListCell   *lc;

	if (works == NIL)
		return;
	foreach(lc, works)
		eddy_plan_pin(((EddyWork *) lfirst(lc))->plan);
	PG_TRY();
	{
		/* what this statement has done to the groups before must be visible */
		CommandCounterIncrement();

		/*
		 * Between the pass that computes and the one that writes, the versions that were read
		 * must not be vacuumed: other rows could take their places.
		 */
		PushActiveSnapshot(GetTransactionSnapshot());
		/* most parts switch to the owner of their view: most views have the same one */
		eddy_pure_begin(&save, ((EddyWork *) linitial(works))->plan, all_pure(works));
		do_works(works, repeatable);
		eddy_owner_end(&save);
		PopActiveSnapshot();
	}
	PG_FINALLY();
	{
		foreach(lc, works)
		{
			EddyWork   *work = lfirst(lc);

			eddy_maintain_record_to(work->plan, NULL);
			eddy_plan_unpin(work->plan);
		}
	}
	PG_END_TRY();
}

/* What was recorded, in the order of the views; in the current memory context. */
static List *
keep_records(List *works)
{
	List	   *records = NIL;
	ListCell   *lc;

	foreach(lc, works)
	{
		EddyWork   *work = lfirst(lc);

		/* an attempt to write that was rolled back may have been the last one */
		if (work->changes && work->suspended)
			eddy_changes_clear(work->changes);
		records = eddy_maintain_keep_record(records, work->changes);
	}
	return records;
}

/*
 * eddy_view_apply maintains every view of a level that reads one of the sources of some batches. A
 * row that a view fails on is left out for that view and noted in view_rejections of its batch, if
 * the view's policy is dead_letter; with policy stop the error is raised. The caller holds
 * RowExclusiveLock on the streams.
 *
 * With repeatable the caller can and must repeat the whole transaction after an error: rows that
 * make the merge with stored groups fail are not searched, and 23505 is raised if a concurrent
 * transaction inserts the same new group.
 *
 * 40001 is raised if a group was changed concurrently under REPEATABLE READ or SERIALIZABLE.
 *
 * Returns what has changed in views that are observed: List of EddyChanges in the current memory
 * context, which views of the next levels follow.
 */
List *
eddy_view_apply(List *batches, int level, bool repeatable)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy views of a batch",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	List	   *works = make_works(batches, level, old);
	List	   *records;

	run_works(works, repeatable);
	MemoryContextSwitchTo(old);
	records = keep_records(works);
	MemoryContextDelete(mcxt);
	return records;
}

/*
 * eddy_maintain_fill does the same for one view, with a batch that may be empty: a view without
 * GROUP BY then gets its one row, and so does a grouping set without columns. Errors of the view
 * are raised instead of suspending it. With beside, only this transaction knows the state tables of
 * the plan.
 */
List *
eddy_maintain_fill(EddyViewPlan *plan, EddyBatch *batch, bool beside)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy views of a batch",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	EddyWork   *work = make_work(plan, batch);
	List	   *records;

	work->strict = work->fills = true;
	work->beside = beside;
	MemoryContextSwitchTo(old);
	work->changes = beside ? NULL : eddy_maintain_make_record(plan, EDDY_CAUSE_BATCH);
	MemoryContextSwitchTo(mcxt);
	run_works(list_make1(work), false);
	MemoryContextSwitchTo(old);
	records = eddy_maintain_keep_record(NIL, work->changes);
	MemoryContextDelete(mcxt);
	return records;
}

/* eddy_view_fill does this for a view of the catalog. */
List *
eddy_view_fill(Oid view, EddyBatch *batch)
{
	EddyViewPlan *plan = eddy_plan_get(view);

	if (plan == NULL)
		elog(ERROR, "continuous view %u does not exist", view);
	return eddy_maintain_fill(plan, batch, false);
}

List *
eddy_view_list(Oid source)
{
	return eddy_followers_list(source);
}

int
eddy_view_next_level(Oid source, int level)
{
	return eddy_followers_next_level(source, level);
}

List *
eddy_view_list_roots_of(List *streams)
{
	return eddy_followers_roots(streams);
}

int
eddy_view_next_level_of(List *streams, int level)
{
	return eddy_followers_next_level_of(streams, level);
}

List *
eddy_view_joined(Oid source)
{
	return eddy_followers_joined(source);
}

List *
eddy_view_unions(Oid stream)
{
	return eddy_followers_unions(stream);
}

static void
at_xact_end(XactEvent event, void *arg pg_attribute_unused())
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	eddy_plan_at_xact_end();
}

/* eddy_view_init registers the planner hooks and custom scans. */
void
eddy_view_init(void)
{
	eddy_scan_init();
	eddy_pane_call_init();
	eddy_pane_scan_init();
	RegisterXactCallback(at_xact_end, NULL);
}

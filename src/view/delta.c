/*-------------------------------------------------------------------------
 *
 * delta.c
 *    Maintaining the views of a stream: what a batch adds to each of them.
 *
 * For each view the delta query (plan.h) runs over the batch and gives one row of
 * partial states per touched group, which is merged into the state table. All
 * views of all streams concerned go in one total order, by Oid, and their groups by
 * key (merge.c), so that maintenance never deadlocks with maintenance.
 *
 * Everything that can fail because of a row is done before anything is written, in
 * internal subtransactions that only read and so cost no transaction id: running
 * the delta query, combining with what is stored, and the view's own expressions
 * over the results. So a failing row can be searched for without locks. The
 * query streams: the row that was handed out last is the suspect, and if it fails alone, it is it.
 * Else the shortest failing prefix of the rows is searched by bisection, which
 * also finds the row at which an aggregate overflows.
 *
 * A batch from Kafka can be repeated. It is merged in one go at first, and done
 * again with care only when that failed.
 *
 * Errors that no row is to blame for, raised before the first row is read, are those of the
 * view: it cannot be planned, or its owner has lost a privilege. The view is suspended, and
 * the batch goes on without it.
 *
 * Locking: RowExclusiveLock on each view's state table from the start to the end of the
 * transaction, in order of Oid; so a view cannot be dropped in between. Memory: the
 * caller's context; deltas spill to temporary files beyond work_mem.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "subtransaction.h"
#include "view/merge.h"
#include "owner.h"
#include "view/plan.h"
#include "view/scan.h"
#include "view/view.h"

/* After a first failure rows are run in chunks of this size, so that many bad rows stay cheap. */
#define CHUNK_ROWS 256

/* Somebody may change things all the time while plans are made: made anew so often. */
#define PLAN_ATTEMPTS 2

/* Groups that others change all the time: a merge is computed anew so often before it fails. */
#define MERGE_ATTEMPTS 3

/* The maintenance of one view by one batch. */
typedef struct EddyWork
{
	EddyViewPlan *plan;
	EddyBatch  *batch;
	bool	   *skip;			/* rows that this view rejects, or NULL */
	List	   *deltas;			/* of Tuplestorestate */
	EddyMergeResult *result;	/* computed and not yet written, or NULL */
	EddyTrial  *trial;			/* while bad rows are searched for: what was merged on trial */
	bool		strict;			/* what is wrong with the view is an error */
	bool		suspended;
	MemoryContext mcxt;			/* outlives the subtransactions of the steps */
	ResourceOwner owner;		/* of temporary files */
} EddyWork;

/*
 * > 0 while we run queries and functions of views. These end like statements, but the end of
 * one of them is not the end of the statement that they are part of; and rows that they
 * insert into a stream would be counted by views that are just being counted.
 */
static int	maintaining = 0;

bool
eddy_view_maintaining(void)
{
	return maintaining > 0;
}

static void
name_view(void *arg)
{
	errcontext("maintenance of continuous view \"%s\"", ((EddyViewPlan *) arg)->name);
}

/*
 * Runs a part of the maintenance of a view, in a subtransaction of its own if told so; then an
 * error is returned instead of raised.
 */
static ErrorData *
maintain(EddyWork *work, void (*function) (void *), void *arg, bool in_subtransaction)
{
	ErrorContextCallback callback = {error_context_stack, name_view, work->plan};
	ErrorData  *error = NULL;
	int			depth = maintaining;

	error_context_stack = &callback;
	PG_TRY();
	{
		maintaining = depth + 1;
		if (in_subtransaction)
			error = eddy_subtransaction_run(function, arg);
		else
			function(arg);
	}
	PG_FINALLY();
	{
		maintaining = depth;
	}
	PG_END_TRY();
	error_context_stack = callback.previous;
	return error;
}

/* ---- running the delta query ---- */

/* An empty tuplestore whose files belong to the caller of the maintenance, not to a step. */
static Tuplestorestate *
make_store(EddyWork *work)
{
	MemoryContext old = MemoryContextSwitchTo(work->mcxt);
	ResourceOwner owner = CurrentResourceOwner;
	Tuplestorestate *store;

	CurrentResourceOwner = work->owner;
	store = tuplestore_begin_heap(false, false, work_mem);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
	return store;
}

/*
 * Runs the delta query over range as the view's owner, into store. Until the first
 * row is read, *starting is true: what fails then is not a row's fault.
 */
static void
run_query(EddyWork *work, EddyScanRange *range, Tuplestorestate *store, volatile bool *starting)
{
	EddyViewPlan *plan = work->plan;
	EddyOwnerSwitch save;
	DestReceiver *dest = CreateDestReceiver(DestTuplestore);
	QueryDesc  *query;

	*starting = true;
	eddy_owner_begin(&save, plan->owner);
	SetTuplestoreDestReceiverParams(dest, store, work->mcxt, true, NULL, NULL);
	query = CreateQueryDesc(eddy_delta_plan(plan), plan->delta_name, GetActiveSnapshot(),
							InvalidSnapshot, dest, NULL, eddy_scan_environment(range), 0);
	ExecutorStart(query, 0);
	*starting = false;
	eddy_compat_executor_run(query);
	ExecutorFinish(query);
	ExecutorEnd(query);
	FreeQueryDesc(query);
	dest->rDestroy(dest);
	eddy_owner_end(&save);
}

/* ---- steps that may fail on a row ---- */

/* The time limit of a batch starts anew with each view, if the batch is a single message. */
static void
start_clock(EddyWork *work)
{
	if (work->batch->start_clock)
		work->batch->start_clock();
}

/* True if an error is a row's, as is a cancel by that time limit. */
static bool
is_row_error(EddyWork *work, const ErrorData *error)
{
	return eddy_batch_is_row_error(error) ||
		(error->sqlerrcode == ERRCODE_QUERY_CANCELED && work->batch->clock_expired &&
		 work->batch->clock_expired());
}

/*
 * Raises a row's error again. A user sees it as it is; of messages it is shown in the status of a
 * source, where it must quote nothing.
 */
static void
refuse_batch(EddyWork *work, ErrorData *error)
{
	if (work->batch->store == NULL)
		ereport(ERROR,
				(errcode(error->sqlerrcode),
				 errmsg("continuous view \"%s\" failed on a message: %s", work->plan->name,
						eddy_batch_describe_error(error))));
	ReThrowError(error);
}

typedef enum EddyStep
{
	STEP_COLLECT,				/* run the delta query, keep the delta */
	STEP_CHECK,					/* run the delta query, keep nothing */
	STEP_TRY_MERGE				/* run the delta query and merge it on trial */
} EddyStep;

/* One run of a step, in a subtransaction. */
typedef struct EddyStepRun
{
	EddyWork   *work;
	EddyScanRange *range;
	EddyStep	step;
	Tuplestorestate *store;		/* takes the delta */
	MemoryContext scratch;
	volatile bool starting;		/* no row has been read yet */
} EddyStepRun;

static void
run_step(void *arg)
{
	EddyStepRun *run = arg;
	MemoryContext old = MemoryContextSwitchTo(run->scratch);

	start_clock(run->work);
	run_query(run->work, run->range, run->store, &run->starting);
	if (run->step == STEP_TRY_MERGE)
		eddy_merge_try(run->work->plan, list_make1(run->store), run->work->trial);
	MemoryContextSwitchTo(old);
}

/* The view cannot be maintained, whatever the rows are. */
static void
suspend(EddyWork *work, ErrorData *error)
{
	if (work->strict)
		ReThrowError(error);
	work->suspended = true;
	eddy_view_suspend(work->plan->view, error->message, error->sqlerrcode);
	FreeErrorData(error);
}

/*
 * Runs a step in a subtransaction of its own; it keeps its result only if asked to. A
 * row's error is returned in *error (in the caller's context), with false; any other
 * is raised again. Also returns true if the view had to be suspended.
 */
static bool
try_step(EddyWork *work, EddyScanRange *range, EddyStep step, bool keep, ErrorData **error)
{
	EddyStepRun run = {.work = work, .range = range, .step = step};
	bool		ok;

	run.store = make_store(work);
	run.scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy maintenance",
										ALLOCSET_DEFAULT_SIZES);
	*error = maintain(work, run_step, &run, true);
	ok = (*error == NULL);

	if (step == STEP_TRY_MERGE)
		eddy_trial_end_step(work->trial, ok && keep);
	if (ok && keep && step == STEP_COLLECT)
		work->deltas = lappend(work->deltas, run.store);
	else
		tuplestore_end(run.store);
	MemoryContextDelete(run.scratch);
	if (ok)
		return true;
	if (!is_row_error(work, *error))
		ReThrowError(*error);
	if (run.starting)
	{
		suspend(work, *error);
		return true;
	}
	return false;
}

/* ---- finding the rows that fail ---- */

static void
reject_row(EddyWork *work, int64 row, ErrorData *error)
{
	EddyRejection *rejection;
	MemoryContext old;

	if (!work->plan->dead_letters)
		refuse_batch(work, error);
	old = MemoryContextSwitchTo(work->batch->mcxt);
	rejection = palloc0(sizeof(EddyRejection));
	rejection->row = row;
	rejection->view = work->plan->view;
	rejection->sqlerrcode = error->sqlerrcode;
	rejection->message = pstrdup(error->message ? error->message : "");
	work->batch->view_rejections = lappend(work->batch->view_rejections, rejection);
	MemoryContextSwitchTo(old);
	work->skip[row] = true;
	FreeErrorData(error);
}

/*
 * A step over [range->from, range->to) has failed with *error. Finds the row that is
 * to blame and returns its index, with the error it raised in *error; -1 if it fails
 * without any row.
 */
static int64
find_culprit(EddyWork *work, EddyScanRange *range, EddyStep step, ErrorData **error)
{
	EddyScanRange probe = *range;
	ErrorData  *found = NULL;
	int64		suspect = range->position;
	int64		good = range->from; /* the prefix of rows before this one passes */
	int64		bad = range->to;	/* the prefix before this one fails */

	if (suspect >= 0 && range->to - range->from == 1)
		return suspect;
	if (suspect >= 0)
	{
		probe.from = suspect;
		probe.to = suspect + 1;
		if (!try_step(work, &probe, step, false, &found))
		{
			*error = found;
			return suspect;
		}
		bad = Min(bad, suspect + 1);
	}
	probe.from = range->from;
	probe.to = range->from;
	if (!try_step(work, &probe, step, false, &found))
		return -1;
	while (bad - good > 1)
	{
		int64		middle = good + (bad - good) / 2;

		probe.to = middle;
		if (try_step(work, &probe, step, false, &found))
			good = middle;
		else
		{
			bad = middle;
			*error = found;
		}
	}
	return bad > range->from ? bad - 1 : -1;
}

/* Runs a step over a part of the batch, leaving out rows it fails on, until it succeeds. */
static void
run_rejecting(EddyWork *work, EddyScanRange *range, EddyStep step)
{
	ErrorData  *error;

	while (!try_step(work, range, step, true, &error))
	{
		int64		row = find_culprit(work, range, step, &error);

		if (row < 0)
			refuse_batch(work, error);
		CHECK_FOR_INTERRUPTS();
		reject_row(work, row, error);
	}
}

/* The same chunk by chunk over the whole batch. */
static void
run_chunks(EddyWork *work, EddyStep step)
{
	EddyBatch  *batch = work->batch;

	if (work->skip == NULL)
		work->skip = MemoryContextAllocExtended(work->mcxt, Max(batch->nrows, 1),
												MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int64 from = 0; from < batch->nrows && !work->suspended; from += CHUNK_ROWS)
	{
		EddyScanRange range = {batch, from, Min(from + CHUNK_ROWS, batch->nrows), work->skip, -1};

		run_rejecting(work, &range, step);
	}
}

/* ---- the parts of maintenance ---- */

static void
discard_deltas(EddyWork *work)
{
	ListCell   *lc;

	foreach(lc, work->deltas)
		tuplestore_end(lfirst(lc));
	list_free(work->deltas);
	work->deltas = NIL;
}

/* Computes the delta of one view; rows that fail are left out. */
static void
collect(EddyWork *work)
{
	EddyScanRange range = {work->batch, 0, work->batch->nrows, work->skip, -1};
	ErrorData  *error;

	if (try_step(work, &range, STEP_COLLECT, true, &error))
		return;
	if (!work->plan->dead_letters || range.position < 0)
		refuse_batch(work, error);
	run_chunks(work, STEP_CHECK);
	/* what fails now fails by an aggregate over rows of several chunks */
	range.skip = work->skip;
	range.position = -1;
	if (!work->suspended)
		run_rejecting(work, &range, STEP_COLLECT);
}

static void
run_compute(void *arg)
{
	EddyWork   *work = arg;

	start_clock(work);
	eddy_merge_compute(work->plan, work->deltas, work->result);
}

/* Computes what will be written; false, with the error, if that fails on a row. */
static bool
compute(EddyWork *work, ErrorData **error)
{
	work->result = eddy_merge_make_result(work->plan, work->mcxt, work->owner);
	*error = maintain(work, run_compute, work, true);
	if (*error == NULL)
		return true;
	eddy_merge_free_result(work->result);
	work->result = NULL;
	if (!is_row_error(work, *error))
		ReThrowError(*error);
	return false;
}

/*
 * Computes what will be written, leaving out rows that make it fail. These are searched by
 * merging on trial, chunk by chunk, into memory: no row is locked meanwhile.
 */
static void
compute_rejecting(EddyWork *work)
{
	ErrorData  *error = NULL;

	for (int attempt = 0; !work->suspended && !compute(work, &error); attempt++)
	{
		if (!work->plan->dead_letters || attempt >= MERGE_ATTEMPTS)
			refuse_batch(work, error);
		FreeErrorData(error);
		discard_deltas(work);
		work->trial = eddy_trial_begin(work->plan, work->mcxt);
		run_chunks(work, STEP_TRY_MERGE);
		eddy_trial_end(work->trial);
		work->trial = NULL;
		if (!work->suspended)
			collect(work);
	}
}

/* Brings what was collected into the state table, or what was computed. */
static void
run_write(void *arg)
{
	EddyWork   *work = arg;

	if (work->result)
		eddy_merge_write(work->plan, work->result);
	else
		eddy_merge(work->plan, work->deltas);
}

/*
 * The same in a subtransaction, for a view with expressions over its aggregates: these fail more
 * easily than a sum overflows. False, with the error, if a group was changed by somebody
 * else after it was computed and now fails.
 */
static bool
try_write(EddyWork *work, ErrorData **error)
{
	*error = maintain(work, run_write, work, true);
	if (*error && !eddy_batch_is_row_error(*error))
		ReThrowError(*error);
	return *error == NULL;
}

static void
merge(EddyWork *work, bool repeatable)
{
	ErrorData  *error;

	if (repeatable || !work->plan->fallible)
		(void) maintain(work, run_write, work, false);
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

/* ---- all views of a batch ---- */

static EddyWork *
make_work(EddyViewPlan *plan, EddyBatch *batch)
{
	EddyWork   *work = palloc0(sizeof(EddyWork));

	work->plan = plan;
	work->batch = batch;
	work->mcxt = CurrentMemoryContext;
	work->owner = CurrentResourceOwner;
	return work;
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

	/* nobody's rights are needed, but an error must stay one: exit_on_error is pinned */
	eddy_owner_begin(&save, GetUserId());
	run->plan = eddy_plan_get(run->view);
	eddy_owner_end(&save);
}

/*
 * Makes the plan of a view that has none, or whose plan has become invalid. A
 * view that cannot be planned any more is suspended, and gives NULL like one that is gone.
 */
static EddyViewPlan *
make_plan(Oid view)
{
	EddyPlanRun run = {view, NULL};
	ErrorData  *error = eddy_subtransaction_run(run_make_plan, &run);

	if (error == NULL)
		return run.plan;
	if (!eddy_batch_is_row_error(error))
		ReThrowError(error);
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

/* The plan of a view that is to be maintained, with its state tables locked, or NULL. */
static EddyViewPlan *
lock_view(Oid view)
{
	EddyViewPlan *plan = eddy_plan_ready(view) ? eddy_plan_get(view) : make_plan(view);

	for (int attempt = 0; plan; attempt++)
	{
		if (!lock_state_tables(plan))
			return NULL;
		/* with the lock held, what still makes plans invalid is not about this view */
		if (eddy_plan_ready(view) || attempt >= PLAN_ATTEMPTS)
			break;
		plan = make_plan(view); /* what was waited for has changed it */
	}
	if (plan && !eddy_view_may_maintain(plan))
	{
		eddy_view_suspend(view, psprintf("permission denied for stream \"%s\"",
										 get_rel_name(plan->stream)),
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
	Oid			left = ((const ViewOfBatch *) lfirst(a))->view;
	Oid			right = ((const ViewOfBatch *) lfirst(b))->view;

	return left < right ? -1 : left > right;
}

/* What there is to do, in the order of all writers. The state tables are locked, the plans pinned. */
static List *
make_works(List *batches)
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
		foreach(lv, eddy_plan_views(batch->stream))
		{
			ViewOfBatch *entry = palloc(sizeof(ViewOfBatch));

			entry->view = lfirst_oid(lv);
			entry->batch = batch;
			views = lappend(views, entry);
		}
	}
	list_sort(views, compare_views);
	foreach(lc, views)
	{
		ViewOfBatch *entry = lfirst(lc);
		EddyViewPlan *plan = lock_view(entry->view);

		if (plan)
			works = lappend(works, make_work(plan, entry->batch));
	}
	return works;
}

static void
do_works(List *works, bool repeatable)
{
	ListCell   *lc;

	/* first what only reads, then what locks rows, in one pass from the first view to the last */
	foreach(lc, works)
	{
		EddyWork   *work = lfirst(lc);

		collect(work);
		if (!repeatable)
			compute_rejecting(work);
	}
	foreach(lc, works)
	{
		EddyWork   *work = lfirst(lc);

		if (!work->suspended)
			merge(work, repeatable);
	}
	CommandCounterIncrement();
}

static void
run_works(List *works, bool repeatable)
{
	ListCell   *lc;

	if (works == NIL)
		return;
	foreach(lc, works)
		eddy_plan_pin(((EddyWork *) lfirst(lc))->plan);
	PG_TRY();
	{
		/*
		 * Between the pass that computes and the one that writes, the versions that were read
		 * must not be vacuumed away: their places could be taken by others.
		 */
		PushActiveSnapshot(GetTransactionSnapshot());
		do_works(works, repeatable);
		PopActiveSnapshot();
	}
	PG_FINALLY();
	{
		foreach(lc, works)
			eddy_plan_unpin(((EddyWork *) lfirst(lc))->plan);
	}
	PG_END_TRY();
}

void
eddy_view_apply(List *batches, bool repeatable)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy views of a batch",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);

	run_works(make_works(batches), repeatable);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
}

void
eddy_view_fill(Oid view, EddyBatch *batch)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy views of a batch",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	EddyViewPlan *plan = eddy_plan_get(view);
	EddyWork   *work;

	if (plan == NULL)
		elog(ERROR, "continuous view %u is gone", view);
	work = make_work(plan, batch);
	work->strict = true;
	run_works(list_make1(work), false);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
}

static void
at_xact_end(XactEvent event, void *arg pg_attribute_unused())
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	eddy_plan_at_xact_end();
}

void
eddy_view_init(void)
{
	eddy_scan_init();
	RegisterXactCallback(at_xact_end, NULL);
}

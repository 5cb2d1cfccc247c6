/*-------------------------------------------------------------------------
 *
 * delta.c
 *    Runs the delta query of a view over a batch, as its owner.
 *
 * A few rows do not need the executor (direct.c). Otherwise
 * the statement gives one row of partial results for each group that the batch touches. It runs in
 * an internal subtransaction that only reads and therefore needs no transaction ID, so a failing
 * row can be searched without locks (bisect.c).
 *
 * Errors that are raised before the first row is read are those of the view and of no row: it
 * cannot be planned, or its owner has lost a privilege. The view is suspended, and the batch
 * continues without it.
 *
 * Locking: what the statement reads is locked as for a SELECT. Memory: deltas are in tuplestores
 * of the work's context, which use temporary files beyond work_mem; the rest goes with each run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "clock.h"
#include "compat.h"
#include "owner.h"
#include "subtransaction.h"
#include "view/chain.h"
#include "view/collect.h"
#include "view/direct.h"
#include "view/maintain.h"
#include "view/pure.h"
#include "view/view.h"

/*
 * > 0 while queries and functions of views run, by the nesting of runs; restored at the end of each
 * run, failed or not.
 */
static int	maintaining = 0;

/*
 * eddy_view_maintaining returns true while queries and functions of views run. These end like
 * statements, but the end of one of them is not the end of the statement that they are part of; and
 * rows that they insert into a stream would be counted by views that are currently being
 * maintained.
 */
bool
eddy_view_maintaining(void)
{
	return maintaining > 0;
}

/*
 * The view in whose part of the maintenance a function was cancelled first; reset when another part
 * begins.
 */
static Oid	canceled = InvalidOid;

Oid
eddy_view_canceled(void)
{
	return maintaining > 0 ? canceled : InvalidOid;
}

static void
name_view(void *arg)
{
	/* the function may catch the error: it is noted when it is raised */
	if (geterrcode() == ERRCODE_QUERY_CANCELED && !OidIsValid(canceled))
		canceled = ((EddyViewPlan *) arg)->view;
	errcontext("maintenance of continuous view \"%s\"", ((EddyViewPlan *) arg)->name);
}

/*
 * eddy_delta_run_for runs a part of the maintenance of a view; with in_subtransaction, in a
 * subtransaction of its own, and returns an error instead of raising it.
 */
ErrorData *
eddy_delta_run_for(EddyViewPlan *plan, void (*function) (void *), void *arg,
				   bool in_subtransaction)
{
	ErrorContextCallback callback = {error_context_stack, name_view, plan};
	ErrorData  *error = NULL;
	int			depth = maintaining;

	error_context_stack = &callback;
	if (depth == 0)
		canceled = InvalidOid;
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
	if (error)
		plan->pure = false;
	return error;
}

/*
 * eddy_delta_run_limited does so in a subtransaction, for a limited time where that is enabled: the
 * caller stops the clock. *by_row: a row causes the error, or takes too long.
 */
ErrorData *
eddy_delta_run_limited(EddyViewPlan *plan, void (*function) (void *), void *arg, bool *by_row)
{
	ErrorData  *error;

	if (eddy_clock_enabled())
		eddy_clock_start();
	error = eddy_delta_run_for(plan, function, arg, true);
	*by_row = error && (eddy_batch_is_row_error(error) ||
						(eddy_clock_enabled() && eddy_clock_caused(error)));
	return error;
}

/* eddy_delta_run does the same for the view of a batch. */
ErrorData *
eddy_delta_run(EddyWork *work, void (*function) (void *), void *arg, bool in_subtransaction)
{
	return eddy_delta_run_for(work->plan, function, arg, in_subtransaction);
}

/* ---- running the delta query ---- */

/* eddy_delta_make_store: an empty tuplestore whose files belong to the work and outlive a step. */
Tuplestorestate *
eddy_delta_make_store(EddyWork *work)
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
 * eddy_delta_execute runs a planned query over range, into a tuplestore of the work. The caller
 * acts as the owner of the view. *starting is set to false when the first row is going to be read.
 */
void
eddy_delta_execute(EddyWork *work, PlannedStmt *statement, EddyScanRange *range,
				   Tuplestorestate *store, volatile bool *starting)
{
	DestReceiver *dest = CreateDestReceiver(DestTuplestore);
	QueryDesc  *query;

	SetTuplestoreDestReceiverParams(dest, store, work->mcxt, true, NULL, NULL);
	query = CreateQueryDesc(statement, work->plan->delta_name, GetActiveSnapshot(),
							InvalidSnapshot, dest, NULL, eddy_scan_environment(range), 0);
	ExecutorStart(query, 0);
	*starting = false;
	eddy_compat_executor_run(query);
	ExecutorFinish(query);
	ExecutorEnd(query);
	FreeQueryDesc(query);
	dest->rDestroy(dest);
}

/*
 * Runs the delta query over range as the view's owner, into store. *starting is true until the
 * first row is read: no row causes an error until then.
 */
static void
run_query(EddyWork *work, EddyScanRange *range, Tuplestorestate *store, volatile bool *starting)
{
	EddyViewPlan *plan = work->plan;
	EddyOwnerSwitch save;
	PlannedStmt *statement;
	EddyDirect *direct;

	*starting = true;
	/* of a pure view, nothing that runs depends on the owner, except for the planning */
	eddy_pure_begin(&save, plan, plan->pure && eddy_delta_is_planned(work->source));
	eddy_collect_check_privileges(plan);
	eddy_chain_check_privileges(work->source);
	statement = eddy_delta_plan(work->source);
	direct = eddy_direct_get(work->source, range);
	if (direct)
		eddy_direct_execute(direct, range, store, starting);
	else
		eddy_delta_execute(work, statement, range, store, starting);
	eddy_owner_end(&save);
}

/* ---- errors ---- */

/* The time limit of a batch is restarted for each view, if the batch is a single message. */
void
eddy_delta_start_clock(EddyWork *work)
{
	if (work->batch->start_clock)
		work->batch->start_clock();
}

/* True if a row causes the error, as it does a cancel by that time limit. */
bool
eddy_delta_is_row_error(EddyWork *work, const ErrorData *error)
{
	return eddy_batch_is_row_error(error) ||
		(error->sqlerrcode == ERRCODE_QUERY_CANCELED && work->batch->clock_expired &&
		 work->batch->clock_expired());
}

/*
 * eddy_delta_refuse_batch raises a row's error again. A user sees it unchanged; the error of a
 * message is shown in the status of a source, where it must quote nothing.
 */
void
eddy_delta_refuse_batch(EddyWork *work, ErrorData *error)
{
	if (work->batch->store == NULL || work->batch->hides_rows)
		ereport(ERROR,
				(errcode(error->sqlerrcode),
				 errmsg("continuous view \"%s\" failed on a message: %s", work->plan->name,
						eddy_batch_describe_error(error))));
	ReThrowError(error);
}

/* ---- steps ---- */

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

	eddy_delta_start_clock(run->work);
	run_query(run->work, run->range, run->store, &run->starting);
	if (run->step == EDDY_STEP_TRY_MERGE)
		eddy_merge_try(run->work->plan, list_make1(run->store), run->work->trial,
					   &run->work->judgment);
	MemoryContextSwitchTo(old);
}

/* eddy_delta_suspend suspends a view that cannot be maintained, regardless of the rows. */
void
eddy_delta_suspend(EddyWork *work, ErrorData *error)
{
	if (work->strict)
		ReThrowError(error);
	work->suspended = true;
	eddy_view_suspend(work->plan->view, error->message, error->sqlerrcode);
	FreeErrorData(error);
}

/*
 * eddy_delta_try_step runs a step in a subtransaction of its own and, with keep, keeps its
 * result. A row's error is returned in *error (in the caller's context), with false; any other is
 * raised again. Also returns true if the view had to be suspended.
 */
bool
eddy_delta_try_step(EddyWork *work, EddyScanRange *range, EddyStep step, bool keep,
					ErrorData **error)
{
	EddyStepRun run = {.work = work, .range = range, .step = step};
	bool		ok;

	run.store = eddy_delta_make_store(work);
	run.scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy maintenance",
										ALLOCSET_DEFAULT_SIZES);
	*error = eddy_delta_run(work, run_step, &run, true);
	ok = (*error == NULL);

	if (step == EDDY_STEP_TRY_MERGE)
		eddy_trial_end_step(work->trial, ok && keep);
	if (ok && keep && step == EDDY_STEP_COLLECT)
		work->deltas = lappend(work->deltas, run.store);
	else
		tuplestore_end(run.store);
	MemoryContextDelete(run.scratch);
	if (ok)
		return true;
	if (!eddy_delta_is_row_error(work, *error))
		ReThrowError(*error);
	if (run.starting)
	{
		eddy_delta_suspend(work, *error);
		return true;
	}
	return false;
}

/* eddy_delta_discard frees what steps have collected. */
void
eddy_delta_discard(EddyWork *work)
{
	ListCell   *lc;

	foreach(lc, work->deltas)
		tuplestore_end(lfirst(lc));
	list_free(work->deltas);
	work->deltas = NIL;
}

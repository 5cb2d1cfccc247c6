/*-------------------------------------------------------------------------
 *
 * view_tick.c
 *    What the clock does to views: changes are shown, groups that are not touched are removed.
 *
 * Views that read a view whose changes are shown follow in the same transaction.
 *
 * The database worker calls this often enough for the shortest interval of emit => 'every ...' in
 * the database: a change is shown at most a tenth of its interval, or one second, after it is
 * due.
 *
 * Work is done in transactions of a limited number of groups. They lock groups without waiting,
 * so that batches wait for one of them at most, and never the other way round.
 *
 * Locking: if other views read the view, the share lock on the windows of the stream before any
 * row, as for a batch (close.c). What is not available within a short time is left for the next
 * call. Errors are logged, and the view is not tried again for a minute. Memory: a context that is
 * deleted at the end. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "apply/steps.h"
#include "clock.h"
#include "interval.h"
#include "local_setting.h"
#include "monotonic.h"
#include "subtransaction.h"
#include "view/view.h"

/* Groups that one transaction changes at most: batches wait for it. */
#define BUDGET 5000

#define INTERVAL_MAX 1000L		/* ms between calls */
#define INTERVAL_MIN 20L
#define INTERVAL_PART 10		/* of the interval of a view */
#define INTERVAL_ERROR (60 * USECS_PER_SEC)
#define LOCK_WAIT 100			/* ms */

/* A view that the clock changes. */
typedef struct TimedView
{
	Oid			view;
	List	   *streams;		/* of Oid, sorted: those that it, or the view that it reads, reads */
	bool		emits;
	bool		expires;
} TimedView;

/* The views that failed last, and when they are tried again, on the monotonic clock. */
static List *failed = NIL;		/* of Oid, in TopMemoryContext */
static int64 retry_at = 0;

typedef struct TimedViews
{
	List	   *views;			/* of TimedView */
	long		pause;			/* ms until the next call; -1: none is needed */
} TimedViews;

static void
add_view(const EddyView *view, void *arg)
{
	TimedViews *list = arg;
	int64		interval = 0;
	bool		emits = eddy_view_parse_emit(view->emit, &interval);
	TimedView  *timed;

	if (view->suspended || (!emits && view->idle_ttl == NULL))
		return;
	list->pause = list->pause < 0 ? INTERVAL_MAX : list->pause;
	if (emits)
		list->pause = Min(list->pause, Max(INTERVAL_MIN, (long) (interval / INTERVAL_PART / 1000)));
	timed = palloc(sizeof(TimedView));
	timed->view = view->relid;
	timed->streams = eddy_catalog_root_streams(view->relid);
	timed->emits = emits;
	timed->expires = view->idle_ttl != NULL;
	list->views = lappend(list->views, timed);
}

/* One step with one view, in a transaction of its own. */
typedef struct Step
{
	const TimedView *view;
	bool		complete;
} Step;

static void
run_step(void *arg)
{
	Step	   *step = arg;
	int64		budget = BUDGET;
	List	   *changes = NIL;

	eddy_local_lock_timeout(LOCK_WAIT);
	eddy_clock_start();
	step->complete = true;
	if (step->view->emits)
	{
		if (eddy_view_list(step->view->view) != NIL)
			eddy_close_join_all(list_union_oid(step->view->streams,
											   eddy_view_joined(step->view->view)));
		step->complete &= eddy_view_emit_due(step->view->view, &budget, &changes);
		eddy_apply_maintain(NIL, changes, false);
	}
	if (step->view->expires)
		step->complete &= eddy_view_expire_idle(step->view->view, &budget);
}

/* False if there was an error other than a lock that is not available. */
static bool
run_steps(const TimedView *view, MemoryContext mcxt)
{
	Step		step = {view, false};

	while (!step.complete)
	{
		ErrorData  *error = NULL;
		bool		locked;

		CHECK_FOR_INTERRUPTS();
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		MemoryContextSwitchTo(mcxt);
		/* a stream that is being changed or dropped is left for the next call */
		locked = eddy_close_lock_streams(view->streams);
		if (locked)
			error = eddy_subtransaction_run(run_step, &step);
		eddy_clock_stop();
		PopActiveSnapshot();
		CommitTransactionCommand();
		MemoryContextSwitchTo(mcxt);
		if (!locked)
			break;
		if (error == NULL)
			continue;
		if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
			break;
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("could not maintain continuous view by the clock: %s", eddy_clock_explain(error))));
		return false;
	}
	return true;
}

static void
note_failure(Oid view, int64 now)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	if (failed == NIL)
		retry_at = now + INTERVAL_ERROR;
	failed = list_append_unique_oid(failed, view);
	MemoryContextSwitchTo(old);
}

long
eddy_view_tick(void)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext mcxt = AllocSetContextCreate(TopMemoryContext, "pg_eddy view tick",
											   ALLOCSET_SMALL_SIZES);
	int64		now = eddy_monotonic_real();
	TimedViews	list = {NIL, -1};
	ListCell   *lc;

	MemoryContextSwitchTo(mcxt);
	eddy_apply_each_view(add_view, &list);
	if (now >= retry_at)
	{
		list_free(failed);
		failed = NIL;
	}
	foreach(lc, list.views)
	{
		const TimedView *view = lfirst(lc);

		if (!list_member_oid(failed, view->view) && !run_steps(view, mcxt))
			note_failure(view->view, now);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(mcxt);
	return list.pause;
}

/*-------------------------------------------------------------------------
 *
 * delta.c
 *    What a batch adds to each view: partial states of the touched groups.
 *
 * Collecting runs a view's delta query (plan.h) over a batch and keeps its
 * result, one row per touched group, in a tuplestore that is "pending" until
 * the flush merges it. A pending delta belongs to the subtransaction that
 * collected it and vanishes with it.
 *
 * Errors of a view's expressions are tied to rows. The query streams, so the row
 * that was handed out last is the suspect: if it fails alone, it is it. Else
 * the shortest failing prefix of the rows is searched by bisection, which also finds the
 * row at which an aggregate overflows. Each run is in an internal
 * subtransaction that reads only and so costs no transaction id.
 *
 * A view with expressions over its aggregates can fail when it is merged, too. Such
 * views are merged as part of collecting, while the rows are still at hand; all
 * writers take them first, in order of Oid, and the others after them when
 * they flush, in order of Oid as well.
 *
 * Locking: RowExclusiveLock on each view's state table from collect to the end
 * of the transaction, views in order of Oid; so a view cannot be dropped
 * between collect and flush. Memory: pending deltas live in TopTransactionContext and spill to
 * temporary files beyond work_mem.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "view/owner.h"
#include "view/plan.h"
#include "view/scan.h"
#include "view/view.h"

/* After a first failure rows are run in chunks of this size, so that many bad rows stay cheap. */
#define CHUNK_ROWS 256

/* One delta that waits for the flush. */
typedef struct EddyPending
{
	Oid			view;
	SubTransactionId subid;
	Tuplestorestate *store;
} EddyPending;

static List *pending = NIL;		/* of EddyPending, in TopTransactionContext */

/*
 * > 0 while we run queries and functions of views. These end like statements, but the end of
 * one of them is not the end of the statement that they are part of.
 */
static int	busy = 0;

bool
eddy_view_pending(void)
{
	return pending != NIL && busy == 0;
}

static int
compare_oids(const ListCell *a, const ListCell *b)
{
	return lfirst_oid(a) < lfirst_oid(b) ? -1 : lfirst_oid(a) > lfirst_oid(b);
}

/* Views with pending deltas, in order of Oid. */
static List *
pending_views(void)
{
	List	   *views = NIL;
	ListCell   *lc;

	foreach(lc, pending)
		views = list_append_unique_oid(views, ((EddyPending *) lfirst(lc))->view);
	list_sort(views, compare_oids);
	return views;
}

/* The pending deltas of a view: List of Tuplestorestate. */
static List *
deltas_of_view(Oid view)
{
	List	   *stores = NIL;
	ListCell   *lc;

	foreach(lc, pending)
	{
		EddyPending *entry = lfirst(lc);

		if (entry->view == view)
			stores = lappend(stores, entry->store);
	}
	return stores;
}

/* Forgets the deltas of a view and closes their files. */
static void
discard_deltas(Oid view)
{
	ListCell   *lc;

	foreach(lc, pending)
	{
		EddyPending *entry = lfirst(lc);

		if (entry->view != view)
			continue;
		pending = foreach_delete_current(pending, lc);
		tuplestore_end(entry->store);
		pfree(entry);
	}
}

/*
 * Makes an empty pending delta. It is in the list before anything is put into it,
 * so that whatever fails later, the callbacks below close its temporary
 * files. These belong to the transaction: a subtransaction closes its own when it
 * ends, even if it commits.
 */
static Tuplestorestate *
add_pending(Oid view)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	ResourceOwner owner = CurrentResourceOwner;
	EddyPending *entry = palloc0(sizeof(EddyPending));

	CurrentResourceOwner = TopTransactionResourceOwner;
	entry->view = view;
	entry->subid = GetCurrentSubTransactionId();
	entry->store = tuplestore_begin_heap(false, false, work_mem);
	pending = lappend(pending, entry);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
	return entry->store;
}

/* ---- running the delta query ---- */

static void
name_view(void *arg)
{
	errcontext("maintenance of continuous view \"%s\"", ((EddyViewPlan *) arg)->name);
}

/*
 * Runs a delta query as the view's owner and leaves its rows pending. range NULL:
 * over the stored rows of the stream.
 */
static void
run_query(EddyViewPlan *plan, EddyScanRange *range)
{
	EddyOwnerSwitch save;
	EddyScanArmed armed;
	SPIExecuteOptions options = {0};
	DestReceiver *dest;
	SPIPlanPtr	query;
	const char *sql = range ? plan->delta_sql : plan->staged_sql;
	ErrorContextCallback callback = {error_context_stack, name_view, plan};
	volatile int rc = 0;

	error_context_stack = &callback;
	eddy_owner_begin(&save, plan->owner);
	SPI_connect();
	eddy_scan_arm(&armed, sql, plan->stream, range);
	query = range ? plan->delta : NULL;
	if (query == NULL)
	{
		query = SPI_prepare(sql, 0, NULL);
		if (query == NULL)
			elog(ERROR, "could not prepare the delta query: %s",
				 SPI_result_code_string(SPI_result));
		if (range)
		{
			SPI_keepplan(query);
			plan->delta = query;
		}
	}
	dest = CreateDestReceiver(DestTuplestore);
	SetTuplestoreDestReceiverParams(dest, add_pending(plan->view), TopTransactionContext, true,
									NULL, NULL);
	options.read_only = true;
	options.dest = dest;
	busy++;
	PG_TRY();
	{
		rc = SPI_execute_plan_extended(query, &options);
	}
	PG_FINALLY();
	{
		busy--;
	}
	PG_END_TRY();
	if (rc < 0)
		elog(ERROR, "could not run the delta query: %s", SPI_result_code_string(rc));
	eddy_scan_disarm(&armed);
	dest->rDestroy(dest);
	SPI_finish();
	eddy_owner_end(&save);
	error_context_stack = callback.previous;
}

/* What a step that may fail on a row does. */
typedef void (*EddyStep) (EddyViewPlan *plan, EddyScanRange *range);

/*
 * Runs a step in a subtransaction of its own and returns true, keeping what
 * it did only if asked to. A row's error is returned in *error (in the caller's
 * context); any other is raised again.
 */
static bool
try_step(EddyViewPlan *plan, EddyScanRange *range, EddyStep step, bool keep,
		 ErrorData **error)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	ResourceOwner oldowner = CurrentResourceOwner;
	volatile bool ok = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(oldcontext);
	PG_TRY();
	{
		step(plan, range);
		if (keep)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(oldcontext);
		CurrentResourceOwner = oldowner;
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(oldcontext);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(oldcontext);
		CurrentResourceOwner = oldowner;
		eddy_scan_reset();
		if (!eddy_batch_is_row_error(edata))
			ReThrowError(edata);
		ok = false;
		*error = edata;
	}
	PG_END_TRY();
	return ok;
}

static void
reject_row(EddyViewPlan *plan, int64 row, ErrorData *error, bool *skip, List **rejections)
{
	EddyRejection *rejection;

	if (!plan->dead_letters)
		ReThrowError(error);
	rejection = palloc0(sizeof(EddyRejection));
	rejection->row = row;
	rejection->view = plan->view;
	rejection->sqlerrcode = error->sqlerrcode;
	rejection->message = pstrdup(error->message);
	*rejections = lappend(*rejections, rejection);
	skip[row] = true;
	FreeErrorData(error);
}

/*
 * A step over [range->from, range->to) has failed with *error. Finds the row that is
 * to blame and returns its index, with the error it raised in *error; -1 if it fails
 * without any row.
 */
static int64
find_culprit(EddyViewPlan *plan, EddyScanRange *range, EddyStep step,
			 ErrorData **error)
{
	EddyScanRange probe = *range;
	ErrorData  *found = NULL;
	int64		suspect = range->position;
	int64		good = range->from; /* the prefix of rows before this one passes */
	int64		bad = range->to;	/* the prefix before this one fails */

	if (suspect >= 0)
	{
		probe.from = suspect;
		probe.to = suspect + 1;
		if (!try_step(plan, &probe, step, false, &found))
		{
			*error = found;
			return suspect;
		}
		bad = Min(bad, suspect + 1);
	}
	probe.from = range->from;
	probe.to = range->from;
	if (!try_step(plan, &probe, step, false, &found))
		return -1;
	while (bad - good > 1)
	{
		int64		middle = good + (bad - good) / 2;

		probe.to = middle;
		if (try_step(plan, &probe, step, false, &found))
			good = middle;
		else
		{
			bad = middle;
			*error = found;
		}
	}
	return bad - 1;
}

/* Runs a step over a part of the batch, leaving out rows it fails on, until it succeeds. */
static void
run_rejecting(EddyViewPlan *plan, EddyScanRange *range, EddyStep step, bool *skip,
			  List **rejections)
{
	ErrorData  *error;

	while (!try_step(plan, range, step, true, &error))
	{
		int64		row = find_culprit(plan, range, step, &error);

		if (row < 0)
			ReThrowError(error);
		reject_row(plan, row, error, skip, rejections);
		range->position = -1;
	}
}

/* ---- collecting ---- */

/* Step: compute the delta and leave it pending. */
static void
collect_step(EddyViewPlan *plan, EddyScanRange *range)
{
	run_query(plan, range);
}

/* Merges what is pending for a view, and forgets it. */
static void
merge_pending(EddyViewPlan *plan, bool repeatable)
{
	busy++;
	PG_TRY();
	{
		eddy_merge(plan, deltas_of_view(plan->view), repeatable);
	}
	PG_FINALLY();
	{
		busy--;
	}
	PG_END_TRY();
	discard_deltas(plan->view);
}

/* Step: compute and merge at once. */
static void
apply_step(EddyViewPlan *plan, EddyScanRange *range)
{
	run_query(plan, range);
	merge_pending(plan, false);
}

static void
collect_view(EddyViewPlan *plan, EddyBatch *batch, List **rejections)
{
	EddyStep	step = plan->fallible ? apply_step : collect_step;
	EddyScanRange range = {batch, 0, batch->nrows, NULL, -1};
	ErrorData  *error;
	bool	   *skip;

	if (try_step(plan, &range, step, true, &error))
		return;
	if (!plan->dead_letters || range.position < 0)
		ReThrowError(error);

	skip = palloc0(sizeof(bool) * batch->nrows);
	range.skip = skip;
	for (int64 from = 0; from < batch->nrows; from += CHUNK_ROWS)
	{
		range.from = from;
		range.to = Min(from + CHUNK_ROWS, batch->nrows);
		range.position = -1;
		run_rejecting(plan, &range, step, skip, rejections);
	}
	pfree(skip);
}

/* The order in which all writers merge: fallible views first, each kind by Oid. */
static int
compare_plans(const ListCell *a, const ListCell *b)
{
	const EddyViewPlan *left = lfirst(a);
	const EddyViewPlan *right = lfirst(b);

	if (left->fallible != right->fallible)
		return left->fallible ? -1 : 1;
	return left->view < right->view ? -1 : left->view > right->view;
}

/*
 * Plans of a stream's views, in merging order, their state tables locked; a view whose
 * state is gone is being dropped and has no say any more.
 */
static List *
lock_views(Oid stream)
{
	List	   *plans = eddy_plan_of_stream(stream);
	ListCell   *lc;

	list_sort(plans, compare_plans);
	foreach(lc, plans)
	{
		EddyViewPlan *plan = lfirst(lc);
		Relation	state = try_table_open(plan->state_table, RowExclusiveLock);

		if (state)
			table_close(state, NoLock);
		else
			plans = foreach_delete_current(plans, lc);
	}
	return plans;
}

void
eddy_view_collect(EddyBatch *batch, List **rejections)
{
	ListCell   *lc;

	if (batch->nrows == batch->nrejected)
		return;
	foreach(lc, lock_views(batch->stream))
	{
		EddyViewPlan *plan = lfirst(lc);

		eddy_plan_pin(plan);
		collect_view(plan, batch, rejections);
		eddy_plan_unpin(plan);
	}
}

/* ---- flushing, and both steps at once ---- */

static void
flush(bool repeatable)
{
	ListCell   *lc;

	if (pending == NIL)
		return;
	foreach(lc, pending_views())
	{
		Oid			view = lfirst_oid(lc);
		EddyViewPlan *plan = eddy_plan_get(view);

		if (plan == NULL)
		{
			discard_deltas(view);	/* dropped by this very transaction */
			continue;
		}
		eddy_plan_pin(plan);
		merge_pending(plan, repeatable);
		eddy_plan_unpin(plan);
	}
	CommandCounterIncrement();
}

void
eddy_view_flush(void)
{
	flush(false);
}

void
eddy_view_apply(EddyBatch *batch, bool careful, List **rejections)
{
	ListCell   *lc;

	if (!careful)
	{
		eddy_view_collect(batch, rejections);
		flush(true);
		return;
	}
	if (batch->nrows == batch->nrejected)
		return;
	foreach(lc, lock_views(batch->stream))
	{
		EddyViewPlan *plan = lfirst(lc);
		bool	   *skip = palloc0(sizeof(bool) * batch->nrows);
		EddyScanRange range = {batch, 0, batch->nrows, skip, -1};

		eddy_plan_pin(plan);
		run_rejecting(plan, &range, apply_step, skip, rejections);
		eddy_plan_unpin(plan);
		pfree(skip);
	}
}

void
eddy_delta_collect_initial(EddyViewPlan *plan, bool staged)
{
	EddyBatch	empty = {
		.stream = plan->stream,
		.tupdesc = NULL,
		.mcxt = CurrentMemoryContext
	};
	EddyScanRange range = {&empty, 0, 0, NULL, -1};

	run_query(plan, staged ? NULL : &range);
}

/* ---- end of transactions ---- */

static void
at_xact_end(XactEvent event, void *arg pg_attribute_unused())
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			/* all hooks were passed by: logical replication's apply, for one */
			if (pending != NIL)
			{
				PushActiveSnapshot(GetTransactionSnapshot());
				eddy_view_flush();
				PopActiveSnapshot();
			}
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			/* the entries themselves go with TopTransactionContext */
			pending = NIL;
			eddy_scan_reset();
			eddy_plan_reset();
			break;
		default:
			break;
	}
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId subid, SubTransactionId parent,
			   void *arg pg_attribute_unused())
{
	ListCell   *lc;

	if (pending == NIL)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		foreach(lc, pending)
		{
			EddyPending *entry = lfirst(lc);

			if (entry->subid == subid)
				entry->subid = parent;
		}
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		foreach(lc, pending)
		{
			EddyPending *entry = lfirst(lc);

			if (entry->subid != subid)
				continue;
			pending = foreach_delete_current(pending, lc);
			tuplestore_end(entry->store);
		}
	}
}

void
eddy_view_init(void)
{
	eddy_scan_init();
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
}

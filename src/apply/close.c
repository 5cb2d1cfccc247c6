/*-------------------------------------------------------------------------
 *
 * close.c
 *    When windows are closed.
 *
 * A row is late for a window that was final when its batch was judged. Two rules make a final row
 * stay as it is, and every window close once with all of its rows:
 *
 * - A batch is judged by the watermark of the state that is committed when it takes a lock on the
 *   windows of its stream, in share mode. The lock is held until the transaction ends.
 * - Windows are closed under the same lock in exclusive mode: no transaction then has added rows, not yet
 *   committed, that were judged by an earlier watermark. A later judgment reads the watermark
 *   by which they were closed, or a later one.
 *
 * Windows close at the end of the transaction that has advanced the watermark, before it commits,
 * so that a transaction that stays open keeps no others from adding rows. The lock is only taken if
 * it is free. Otherwise, and if there are more windows to be closed than one transaction should,
 * the database worker closes them shortly afterwards (eddy_close_tick). It waits for a short time,
 * in which later batches queue behind it, so that it gets its turn among writers that overlap, but
 * not for transactions that it has waited for in vain before (close_holders.c). How long a
 * transaction may close windows, and how long the worker rests between two of them, is the rule of
 * close_pace.c.
 *
 * Windows of views that several streams reach, by UNION ALL, close together, by the minimum of the
 * watermarks, under the locks of all of these streams. A batch of one of the streams takes its lock
 * alone, which is enough to keep these windows open. Each transaction that may have moved the
 * minimum tries to close them.
 *
 * When the windows of a stream close, rows are added to views that others reach, too, if these read
 * views. So that no other transaction is adding to such views meanwhile, batches take the locks of
 * all of their streams (cascade.c), and so does closing, the others in share mode.
 *
 * Locking: the lock described above, an object lock on eddy._watermark and the stream, after the
 * state tables of batches; see view/closing.c. Memory: TopTransactionContext for the list of
 * streams. A crash leaves nothing: what was not closed is still due.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "apply/close_holders.h"
#include "apply/close_pace.h"
#include "apply/steps.h"
#include "clock.h"
#include "compat.h"
#include "local_setting.h"
#include "monotonic.h"
#include "settings.h"
#include "subtransaction.h"
#include "view/view.h"

/*
 * Groups that one transaction closes at most, which takes up to a tenth of a second. That of a
 * worker is limited in time as well; a user who has added rows, or advanced the watermark, expects
 * to see the final results next.
 */
#define CLOSE_BUDGET 20000

/* ms that the database worker removes expired groups at a time */
#define EXPIRE_TIME 10

/* ms between two calls of eddy_close_tick while there are views that close */
#define TICK_INTERVAL 1000L

/* ms that eddy_close_tick waits for the transactions that are adding rows */
#define TICK_WAIT 100

/* A stream whose windows may have to be closed when the transaction commits. */
typedef struct ClosingStream
{
	Oid			stream;
	TimestampTz watermark;		/* the latest one that the transaction knows of */
	TimestampTz statement;		/* start of the statement that it is known from */
} ClosingStream;

static void (*wakeup_worker) (void) = NULL;

static List *closing = NIL;		/* of ClosingStream, in TopTransactionContext */
static EddyClosePace close_pace;

/* ---- the lock on the windows of a stream ---- */

static LOCKTAG
windows_tag(Oid stream)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, eddy_catalog_relid(EDDY_CATALOG_WATERMARK), stream, 0);
	return tag;
}

static bool
lock_windows(Oid stream, LOCKMODE mode, bool wait)
{
	LOCKTAG		tag = windows_tag(stream);

	return LockAcquire(&tag, mode, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* Releases the locks on the first of some streams. */
static void
unlock_windows(List *streams, int count)
{
	for (int i = 0; i < count; i++)
	{
		LOCKTAG		tag = windows_tag(list_nth_oid(streams, i));

		(void) LockRelease(&tag, ExclusiveLock, false);
	}
}

/* Joins the windows of the other streams of views that the rows of closed windows reach. */
static bool
join_others(List *streams, bool wait)
{
	List	   *joined = NIL;
	ListCell   *lc;

	foreach(lc, streams)
		joined = list_concat_unique_oid(joined, eddy_view_joined(lfirst_oid(lc)));
	foreach(lc, list_difference_oid(joined, streams))
		if (!lock_windows(lfirst_oid(lc), ShareLock, wait))
			return false;
	return true;
}

/*
 * Locks the windows of streams (List of Oid, sorted) for closing; all or, without wait, perhaps
 * none. Others are joined until the end of the transaction, which is near.
 */
static bool
lock_for_closing(List *streams, bool wait)
{
	ListCell   *lc;

	foreach(lc, streams)
	{
		if (lock_windows(lfirst_oid(lc), ExclusiveLock, wait))
			continue;
		unlock_windows(streams, foreach_current_index(lc));
		return false;
	}
	if (join_others(streams, wait))
		return true;
	unlock_windows(streams, list_length(streams));
	return false;
}

/* Keeps windows of a stream from being closed until the transaction ends. */
static void
join_windows(Oid stream)
{
	(void) lock_windows(stream, ShareLock, true);
}

/*
 * eddy_close_join_all does so for several streams, in the order of their Oids, as closing locks
 * them.
 */
void
eddy_close_join_all(List *streams)
{
	List	   *sorted = list_copy(streams);
	ListCell   *lc;

	list_sort(sorted, list_oid_cmp);
	foreach(lc, sorted)
		join_windows(lfirst_oid(lc));
	list_free(sorted);
}

/* eddy_close_judge determines the watermark by which the rows of a batch are judged. */
void
eddy_close_judge(EddyBatch *batch)
{
	/* first in the struct, as eddy_apply_run has it */
	const EddyApply *apply = (const EddyApply *) batch;

	join_windows(apply->stream->relid);
	batch->watermark = eddy_watermark_get(apply->stream);
}

/* ---- at the end of a transaction ---- */

static ClosingStream *
find_closing(Oid stream)
{
	ClosingStream *entry;
	ListCell   *lc;
	MemoryContext old;

	foreach(lc, closing)
	{
		entry = lfirst(lc);
		if (entry->stream == stream)
			return entry;
	}
	old = MemoryContextSwitchTo(TopTransactionContext);
	entry = palloc0(sizeof(ClosingStream));
	entry->stream = stream;
	entry->watermark = DT_NOBEGIN;
	closing = lappend(closing, entry);
	MemoryContextSwitchTo(old);
	return entry;
}

/*
 * eddy_close_note remembers a stream with windows whose watermark a batch has moved, or in which it
 * has created windows that have to be closed because late rows are allowed.
 */
void
eddy_close_note(const EddyApply *apply)
{
	ClosingStream *entry;
	TimestampTz watermark;

	/* a batch without rows, which has found partitions idle, judges none */
	if (!apply->batch.judged && apply->batch.nrows > 0)
		return;
	watermark = Max(apply->watermark, apply->batch.watermark);
	if (watermark <= apply->batch.watermark && !apply->batch.closes)
		return;
	entry = find_closing(apply->stream->relid);
	entry->watermark = Max(entry->watermark, watermark);
	entry->statement = GetCurrentStatementStartTimestamp();
}

void
eddy_close_request(Oid stream)
{
	/* it is determined at the end */
	find_closing(stream)->statement = 0;
}

void
eddy_close_set_wakeup(void (*wakeup) (void))
{
	wakeup_worker = wakeup;
}

void
eddy_close_forget(void)
{
	closing = NIL;
}

/* The watermark by which the windows of the views of these streams close. */
static TimestampTz
get_watermark(List *streams)
{
	/* that of a single stream depends on no view */
	return eddy_watermark_for_closing(streams, list_length(streams) > 1 ?
									  eddy_view_list_roots_of(streams) : NIL);
}

/* A number for a set of streams whose windows close together, not 0. */
static uint64
identify(List *streams)
{
	uint64		hash = 0;
	ListCell   *lc;

	foreach(lc, streams)
		hash = hash_combine64(hash, lfirst_oid(lc));
	return Max(hash, 1);
}

/*
 * What a transaction closes: see close_pace.c. A user sees what the own statement has closed, as
 * far as the budget goes.
 */
static void
limit_time(List *streams)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		taken = now - GetCurrentTransactionStartTimestamp();

	eddy_view_close_pause_at(MyBackendType != B_BG_WORKER ? DT_NOEND :
							 now + eddy_close_pace_time(&close_pace, identify(streams), taken, now));
}

/*
 * Closes what is due, of the windows that are locked. The watermark of views over several streams
 * may wait for less than all of these, and must not go back afterwards.
 */
static bool
close_locked(List *streams, int64 *budget)
{
	TimestampTz watermark = get_watermark(streams);
	bool		complete;

	if (list_length(streams) > 1)
		eddy_watermark_raise_views(eddy_view_list_roots_of(streams), watermark, true);
	limit_time(streams);
	complete = eddy_apply_close(streams, watermark, budget);
	eddy_close_pace_note(&close_pace, identify(streams), complete, GetCurrentTimestamp());
	return complete;
}

/* The same at the end of a transaction, if no other transaction is adding rows. */
static void
close_if_alone(List *streams, TimestampTz watermark)
{
	int64		budget = CLOSE_BUDGET;
	bool		alone;

	if (!eddy_view_may_close(streams, watermark))
		return;
	alone = lock_for_closing(streams, false);
	if (!eddy_view_close_due(streams, watermark, alone) || eddy_view_close_interrupted(streams))
	{
		if (alone)
			unlock_windows(streams, list_length(streams));
		return;
	}
	/* the rest is not left until the next tick */
	if (alone && !close_locked(streams, &budget) && wakeup_worker)
		wakeup_worker();
}

/* Closes windows of views that read the stream alone; adds the sets of streams that others read. */
static List *
close_stream(const ClosingStream *entry, List *unions)
{
	List	   *streams = list_make1_oid(entry->stream);
	TimestampTz watermark = entry->watermark;
	ListCell   *lc;

	/* others may have moved it since an earlier statement */
	if (entry->statement != GetCurrentStatementStartTimestamp())
		watermark = get_watermark(streams);
	close_if_alone(streams, watermark);
	foreach(lc, eddy_view_unions(entry->stream))
		unions = list_append_unique(unions, lfirst(lc));
	return unions;
}

/* Windows of views that fewer streams reach close first: others follow from them. */
static int
compare_lengths(const ListCell *a, const ListCell *b)
{
	return list_length(lfirst(a)) - list_length(lfirst(b));
}

static void
close_all(List *streams)
{
	List	   *unions = NIL;
	ListCell   *lc;

	PushActiveSnapshot(GetLatestSnapshot());
	foreach(lc, streams)
		unions = close_stream(lfirst(lc), unions);
	list_sort(unions, compare_lengths);
	foreach(lc, unions)
		close_if_alone(lfirst(lc), get_watermark(lfirst(lc)));
	PopActiveSnapshot();
}

/*
 * eddy_close_at_commit closes windows of the streams that the transaction has added rows to. With
 * an old snapshot rows of others could not be updated: that is left to the database worker.
 */
void
eddy_close_at_commit(void)
{
	List	   *streams = closing;
	bool		limited;

	closing = NIL;
	if (streams == NIL || IsolationUsesXactSnapshot())
		return;
	limited = eddy_clock_enable(true);
	PG_TRY();
	{
		close_all(streams);
	}
	PG_FINALLY();
	{
		/* the messages of a batch are not what takes too long now */
		eddy_clock_reset();
		(void) eddy_clock_enable(limited);
	}
	PG_END_TRY();
}

/* ---- the database worker ---- */

static bool
is_listed(List *list, const List *streams)
{
	ListCell   *lc;

	foreach(lc, list)
		if (linitial_oid((List *) lfirst(lc)) == linitial_oid(streams) &&
			equal(lfirst(lc), streams))
			return true;
	return false;
}

/* Adds the streams of a view that has windows to a List of List of Oid. */
static void
add_streams(const EddyView *view, void *arg)
{
	List	  **result = arg;
	List	   *streams = eddy_catalog_member(view->relid).streams;

	if (view->final_column != InvalidAttrNumber && !view->suspended && streams != NIL &&
		!is_listed(*result, streams))
		*result = lappend(*result, list_copy(streams));
}

/* One step with the views of some streams, in a transaction of its own. */
typedef struct TickStep
{
	List	   *streams;		/* of Oid, sorted */
	void		(*function) (void *);
	bool		complete;
	bool		waiting;		/* for transactions that add rows */
	bool		worked;			/* there were groups to be closed or removed */
	int64		waited;			/* for them, in microseconds */
} TickStep;

/*
 * eddy_close_lock_streams locks streams as batches do, without waiting; false if one is not
 * available.
 */
bool
eddy_close_lock_streams(List *streams)
{
	ListCell   *lc;

	foreach(lc, streams)
		if (!ConditionalLockRelationOid(lfirst_oid(lc), RowExclusiveLock))
			return false;
	return true;
}

/* True if a transaction that has been waited for in vain is still adding rows. */
static bool
is_held(List *streams)
{
	ListCell   *lc;

	foreach(lc, streams)
	{
		LOCKTAG		tag = windows_tag(lfirst_oid(lc));

		if (eddy_close_holders_remain(&tag))
			return true;
	}
	return false;
}

/*
 * Remembers the transactions that are adding rows. Called within a transaction: the tag of the lock
 * has the Oid of a table.
 */
static void
note_holders(List *streams)
{
	ListCell   *lc;

	foreach(lc, streams)
	{
		LOCKTAG		tag = windows_tag(lfirst_oid(lc));

		eddy_close_holders_note(&tag);
	}
}

/*
 * Closes what is due, at most *budget groups, and waits for the transactions that are adding rows.
 * Returns true if nothing more is due. Raises LOCK_NOT_AVAILABLE if they do not end in time.
 */
static bool
close_streams(TickStep *step, int64 *budget)
{
	List	   *streams = step->streams;
	TimestampTz watermark = get_watermark(streams);
	int64		start;

	if (!eddy_view_close_due(streams, watermark, false))
	{
		/* rows that come are judged by what would close their windows */
		if (list_length(streams) > 1)
			eddy_watermark_raise_views(eddy_view_list_roots_of(streams), watermark, false);
		return true;
	}
	if (is_held(streams))
		ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE), errmsg_internal("windows are locked")));
	start = eddy_monotonic_real();
	step->waiting = true;
	(void) lock_for_closing(streams, true);
	step->waiting = false;
	step->waited = eddy_monotonic_real() - start;
	/* no transaction adds rows now, and those that did may have moved it */
	return close_locked(streams, budget);
}

static void
step_close(void *arg)
{
	TickStep   *step = arg;
	int64		budget = CLOSE_BUDGET;

	eddy_local_lock_timeout(TICK_WAIT);
	step->complete = close_streams(step, &budget);
	step->worked = budget < CLOSE_BUDGET;
}

static void
step_expire(void *arg)
{
	TickStep   *step = arg;
	int64		budget = CLOSE_BUDGET;

	eddy_local_lock_timeout(TICK_WAIT);
	eddy_view_close_pause_at(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), EXPIRE_TIME));
	step->complete = eddy_apply_expire(step->streams, get_watermark(step->streams), &budget);
	step->worked = budget < CLOSE_BUDGET;
}

static void
run_limited(void *arg)
{
	eddy_clock_start();
	((TickStep *) arg)->function(arg);
}

/*
 * Leaves the CPUs to others between two steps. A latch that is set stays so; the process returns to
 * its loop when all is closed.
 */
static void
rest(int64 usec)
{
	static uint32 wait_event = 0;

	long		msec = (long) ((usec + 500) / 1000);

	if (msec > 0)
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, msec,
						 eddy_compat_wait_event(&wait_event, "EddyCloseInterval"));
}

/*
 * Runs a step until there is nothing left to do. A lock that is not available in time is left for
 * the next call; other errors are reported and not repeated within this one. Returns false if
 * something is left. begin: of the call, on the monotonic clock.
 */
static bool
run_steps(List *streams, void (*function) (void *), int64 begin, int64 *work)
{
	MemoryContext caller = CurrentMemoryContext;
	TickStep	step = {.streams = streams,.function = function};
	bool		locked = false;

	while (!step.complete)
	{
		ErrorData  *error = NULL;
		int64		start = eddy_monotonic_real();

		CHECK_FOR_INTERRUPTS();
		step.worked = false;
		step.waiting = false;
		step.waited = 0;
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		MemoryContextSwitchTo(caller);
		/* a stream that is being changed or dropped is left for the next call */
		locked = eddy_close_lock_streams(streams);
		if (locked)
			error = eddy_subtransaction_run(run_limited, &step);
		else
			step.complete = true;
		eddy_clock_stop();
		if (error && error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE && step.waiting)
			note_holders(streams);

		/*
		 * Batches wait for this step, and need not wait for the disk as well, even if
		 * pg_eddy.synchronous_commit is on. If its result is lost in a crash, the same windows are
		 * closed again, by the same watermark, with the same rows. Consumers get what was flushed,
		 * with the last step at the latest.
		 */
		if (error == NULL && !step.complete)
			eddy_local_asynchronous_commit();
		PopActiveSnapshot();
		CommitTransactionCommand();
		MemoryContextSwitchTo(caller);
		if (step.worked && error == NULL && !step.complete)
		{
			int64		now = eddy_monotonic_real();

			rest(eddy_close_pace_rest(&close_pace, identify(streams), now - start - step.waited,
									  step.waited, now - begin, GetCurrentTimestamp()));
		}
		if (step.worked)
			*work += eddy_monotonic_real() - start;
		if (error == NULL && eddy_monotonic_real() - start - step.waited <
			eddy_settings_batch_time_limit * INT64CONST(1000))
			continue;
		/* other streams have their turn */
		if (error == NULL)
			return step.complete && locked;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			ereport(LOG,
					(errcode(error->sqlerrcode),
					 errmsg("could not close windows: %s", eddy_clock_explain(error))));
		FreeErrorData(error);
		return false;
	}
	return locked;
}

long
eddy_close_tick(int64 *work, bool *complete)
{
	List	   *streams = NIL;
	int64		begin = eddy_monotonic_real();
	ListCell   *lc;

	eddy_apply_each_view(add_streams, &streams);
	list_sort(streams, compare_lengths);
	*complete = true;

	foreach(lc, streams)
	{
		*complete &= run_steps(lfirst(lc), step_close, begin, work);
		*complete &= run_steps(lfirst(lc), step_expire, begin, work);
	}
	return streams == NIL ? -1 : TICK_INTERVAL;
}

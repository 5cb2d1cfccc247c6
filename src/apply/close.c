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
 * - Windows are closed under the same lock in exclusive mode: nobody then has added rows, not yet
 *   committed, that were judged by an earlier watermark. Whoever judges later reads the watermark
 *   by which they were closed, or a later one.
 *
 * Windows close at the end of the transaction that has advanced the watermark, before it commits,
 * so that a transaction that stays open keeps no others from adding rows. The lock is only taken
 * if it is free. Otherwise, and if there are more windows to be closed than one transaction
 * should, the database worker closes them shortly afterwards (eddy_close_tick). It waits for a
 * short time, in which later batches queue behind it, so that it gets its turn among writers that
 * overlap.
 *
 * Locking: the lock described above, an object lock on eddy._watermark and the stream, after the
 * state tables of batches; see view/closing.c. Memory: TopTransactionContext for the list of
 * streams. A crash leaves nothing: what was not closed is still due.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "apply/steps.h"
#include "monotonic.h"
#include "subtransaction.h"
#include "view/view.h"

/* Groups that one transaction closes at most: batches wait for it. */
#define CLOSE_BUDGET 20000

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

static void
unlock_windows(Oid stream, LOCKMODE mode)
{
	LOCKTAG		tag = windows_tag(stream);

	(void) LockRelease(&tag, mode, false);
}

/* eddy_close_judge determines the watermark by which the rows of a batch are judged. */
void
eddy_close_judge(EddyBatch *batch)
{
	/* first in the struct, as eddy_apply_run has it */
	const EddyApply *apply = (const EddyApply *) batch;

	(void) lock_windows(apply->stream->relid, ShareLock, true);
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

/*
 * Closes what is due, at most *budget groups, and waits for the transactions that are adding rows.
 * Returns true if nothing more is due.
 */
static bool
close_stream(Oid relid, int64 *budget)
{
	EddyStream *stream = eddy_catalog_get_stream(relid);

	if (stream == NULL || !eddy_view_close_due(relid, eddy_watermark_get(stream), false))
		return true;
	(void) lock_windows(relid, ExclusiveLock, true);
	/* nobody adds rows now, and those that did may have moved it */
	return eddy_apply_close(stream, eddy_watermark_get(stream), budget);
}

/* The same at the end of a transaction, if no other transaction is adding rows. */
static void
close_if_alone(const ClosingStream *entry)
{
	Oid			relid = entry->stream;
	TimestampTz watermark = entry->watermark;
	EddyStream *stream = NULL;
	int64		budget = CLOSE_BUDGET;
	bool		alone;

	/* others may have moved it since an earlier statement */
	if (entry->statement != GetCurrentStatementStartTimestamp())
	{
		stream = eddy_catalog_get_stream(relid);
		if (stream == NULL)
			return;
		watermark = eddy_watermark_get(stream);
	}
	if (!eddy_view_may_close(relid, watermark))
		return;
	alone = lock_windows(relid, ExclusiveLock, false);
	if (!eddy_view_close_due(relid, watermark, alone) || eddy_view_close_interrupted(relid))
	{
		if (alone)
			unlock_windows(relid, ExclusiveLock);
		return;
	}
	if (alone && stream == NULL)
		stream = eddy_catalog_get_stream(relid);
	/* the rest is not left until the next tick */
	if (alone && stream && !eddy_apply_close(stream, eddy_watermark_get(stream), &budget) &&
		wakeup_worker)
		wakeup_worker();
}

/*
 * eddy_close_at_commit closes windows of the streams that the transaction has added rows to. With
 * an old snapshot rows of others could not be updated: that is left to the database worker.
 */
void
eddy_close_at_commit(void)
{
	List	   *streams = closing;
	ListCell   *lc;

	closing = NIL;
	if (streams == NIL || IsolationUsesXactSnapshot())
		return;
	PushActiveSnapshot(GetLatestSnapshot());
	foreach(lc, streams)
		close_if_alone(lfirst(lc));
	PopActiveSnapshot();
}

/* ---- the database worker ---- */

/* Streams with views that have windows: List of Oid in the caller's context. */
static List *
list_streams(void)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *streams = NIL;
	ListCell   *lc;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (eddy_catalog_installed())
		foreach(lc, eddy_catalog_list_all_views())
		{
			const EddyView *view = lfirst(lc);
			MemoryContext old = MemoryContextSwitchTo(caller);

			if (view->final_column != InvalidAttrNumber && !view->suspended)
				streams = list_append_unique_oid(streams,
												 eddy_catalog_root_stream(view->stream));
			MemoryContextSwitchTo(old);
		}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return streams;
}

/* One step with one stream, in a transaction of its own. */
typedef struct TickStep
{
	Oid			stream;
	bool		complete;
	bool		worked;			/* there were groups to be closed or removed */
} TickStep;

static void
limit_wait(void)
{
	(void) set_config_option("lock_timeout", psprintf("%d", TICK_WAIT), PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

static void
step_close(void *arg)
{
	TickStep   *step = arg;
	int64		budget = CLOSE_BUDGET;

	limit_wait();
	step->complete = close_stream(step->stream, &budget);
	step->worked = budget < CLOSE_BUDGET;
}

static void
step_expire(void *arg)
{
	TickStep   *step = arg;
	EddyStream *stream = eddy_catalog_get_stream(step->stream);
	int64		budget = CLOSE_BUDGET;

	limit_wait();
	step->complete = stream == NULL ||
		eddy_apply_expire(stream, eddy_watermark_get(stream), &budget);
	step->worked = budget < CLOSE_BUDGET;
}

/*
 * Runs a step until there is nothing left to do. A lock that is not available in time is left for
 * the next call; other errors are reported and not repeated within this one.
 */
static void
run_steps(Oid stream, void (*function) (void *), int64 *work)
{
	MemoryContext caller = CurrentMemoryContext;
	TickStep	step = {stream, false, false};

	while (!step.complete)
	{
		ErrorData  *error = NULL;
		int64		start = eddy_monotonic_real();

		CHECK_FOR_INTERRUPTS();
		step.worked = false;
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		MemoryContextSwitchTo(caller);
		/* a stream that is being changed or dropped is left for the next call */
		if (ConditionalLockRelationOid(stream, RowExclusiveLock))
			error = eddy_subtransaction_run(function, &step);
		else
			step.complete = true;
		PopActiveSnapshot();
		CommitTransactionCommand();
		MemoryContextSwitchTo(caller);
		if (step.worked)
			*work += eddy_monotonic_real() - start;
		if (error == NULL)
			continue;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			ereport(LOG,
					(errcode(error->sqlerrcode),
					 errmsg("could not close windows: %s", error->message)));
		FreeErrorData(error);
		break;
	}
}

long
eddy_close_tick(int64 *work)
{
	List	   *streams = list_streams();
	ListCell   *lc;

	foreach(lc, streams)
	{
		run_steps(lfirst_oid(lc), step_close, work);
		run_steps(lfirst_oid(lc), step_expire, work);
	}
	return streams == NIL ? -1 : TICK_INTERVAL;
}

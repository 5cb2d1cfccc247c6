/*-------------------------------------------------------------------------
 *
 * tick.c
 *    What the clock does to streams: users' rows become idle, watermarks follow the clock.
 *
 * The database worker calls this about once a second while there is a stream whose watermark has
 * an effect. For each it detects, on a clock that changes of the system time do not affect:
 *
 * - that users' rows, in a stream that has sources or is read together with others, have been followed
 *   by no others for idle_timeout: they are marked as idle;
 * - that the minimum over the live partitions is later than the stored watermark, because of
 *   concurrent batches, or because a source was detached;
 * - with auto_advance, that no partition is live and no rows have come for idle_timeout: then the
 *   watermark is the latest event time, minus the delay, plus the time since it was seen.
 *
 * Then it closes the windows that commits have left (close.c).
 *
 * With auto_advance the watermark would move each second for ever, on a server without any
 * traffic. It is therefore raised in steps that grow with the time without rows, of 1/64 of it.
 *
 * On a server without traffic most ticks do nothing: nothing has become due if no transaction has
 * changed anything since a tick that had found nothing, and nothing depends on the clock alone.
 * Still, one of ten ticks is made.
 *
 * The clocks are in local memory. A worker that has just started has seen nothing before, and
 * therefore measures less than the true time.
 *
 * Locking: each change is a transaction of its own that does not wait: it is skipped, until the
 * next tick, if a lock is not available within a short time. Errors are logged, and the stream is
 * not tried again for a minute. Memory: the clocks are in a context of their own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "apply/apply.h"
#include "compat.h"
#include "interval.h"
#include "local_setting.h"
#include "monotonic.h"
#include "transaction_error.h"

#define INTERVAL 1000L			/* ms between ticks */
#define INTERVAL_NONE 60000L	/* ms, while no stream needs them */
#define INTERVAL_ERROR (60 * USECS_PER_SEC) /* after an error in a stream */
#define QUIET_TICKS 10			/* without changes in the server one of so many is made */
#define COST_FACTOR 50			/* a tick takes at most 1/50 of the time, without closing */
#define STEP_FACTOR 64			/* the watermark follows the clock in steps of 1/64 */
#define LOCK_WAIT 100			/* ms */

/* What was seen of a stream, and when, on the monotonic clock. */
typedef struct StreamClock
{
	Oid			stream;			/* hash key */
	bool		seen;			/* in the current tick */
	int64		rows;			/* of all partitions */
	int64		rows_at;
	int64		user_rows;		/* of partition -1 */
	int64		user_rows_at;
	TimestampTz latest;			/* event time of all partitions */
	int64		latest_at;
	int64		retry_at;		/* after an error; 0: none */
} StreamClock;

/* A change that is due. */
typedef struct Due
{
	Oid			stream;
	TimestampTz until;
	int64		idle_user_rows; /* -1: not to be marked */
} Due;

static MemoryContext clocks_context = NULL;
static HTAB *clocks = NULL;

static StreamClock *
get_clock(Oid stream, int64 now)
{
	StreamClock *clock;
	bool		found;

	if (clocks == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(StreamClock)};

		clocks_context = AllocSetContextCreate(TopMemoryContext, "pg_eddy clocks of streams",
											   ALLOCSET_SMALL_SIZES);
		control.hcxt = clocks_context;
		clocks = hash_create("pg_eddy clocks of streams", 16, &control,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	clock = hash_search(clocks, &stream, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) clock + sizeof(Oid), 0, sizeof(StreamClock) - sizeof(Oid));
		clock->latest = DT_NOBEGIN;
		clock->rows_at = clock->user_rows_at = clock->latest_at = now;
	}
	clock->seen = true;
	return clock;
}

/* Forgets streams that were dropped, or need no ticks any more. */
static void
remove_unseen(void)
{
	HASH_SEQ_STATUS scan;
	StreamClock *clock;

	if (clocks == NULL)
		return;
	hash_seq_init(&scan, clocks);
	while ((clock = hash_seq_search(&scan)) != NULL)
	{
		if (!clock->seen)
			(void) hash_search(clocks, &clock->stream, HASH_REMOVE, NULL);
		else
			clock->seen = false;
	}
}

/* ---- what is due ---- */

/* Compares what a stream has with what was seen before. */
static void
observe(StreamClock *clock, const EddyStream *stream, const EddyUserPartition *users, int64 now)
{
	int64		rows = users->rows;
	TimestampTz latest = users->max_event_time;
	ListCell   *lc;
	ListCell   *lp;

	foreach(lc, eddy_watermark_sources(stream))
	{
		foreach(lp, eddy_catalog_list_partitions(lfirst_int(lc)))
		{
			const EddyPartition *partition = lfirst(lp);

			rows += partition->rows;
			latest = Max(latest, partition->max_event_time);
		}
	}
	if (rows != clock->rows)
	{
		clock->rows = rows;
		clock->rows_at = now;
	}
	if (users->rows != clock->user_rows)
	{
		clock->user_rows = users->rows;
		clock->user_rows_at = now;
	}
	if (latest != clock->latest)
	{
		clock->latest = latest;
		clock->latest_at = now;
	}
}

/* The watermark by the clock; DT_NOBEGIN: not to be raised. */
static TimestampTz
follow_clock(const StreamClock *clock, const EddyStream *stream, TimestampTz watermark, int64 now)
{
	int64		timeout = eddy_interval_usec(&stream->idle_timeout);
	int64		since = now - clock->latest_at;
	TimestampTz until;

	if (!stream->auto_advance || timeout <= 0 || now - clock->rows_at < timeout ||
		TIMESTAMP_IS_NOBEGIN(clock->latest) ||
		/* without sources partition -1 is always live, but there are no rows */
		(eddy_watermark_sources(stream) != NIL && !eddy_watermark_all_idle(stream)))
		return DT_NOBEGIN;
	until = eddy_watermark_of_event_time(clock->latest, &stream->delay);
	if (TIMESTAMP_NOT_FINITE(until) || until >= END_TIMESTAMP - since)
		return DT_NOBEGIN;
	until += since;
	if (!TIMESTAMP_IS_NOBEGIN(watermark) &&
		until - watermark < Max(USECS_PER_SEC, since / STEP_FACTOR))
		return DT_NOBEGIN;
	return until;
}

/* Streams that views read together with others, and wait for until they are idle: List of Oid. */
static List *
list_united(List *views)
{
	List	   *united = NIL;
	ListCell   *lc;

	foreach(lc, views)
	{
		List	   *streams = eddy_catalog_member(((EddyView *) lfirst(lc))->relid).streams;

		if (list_length(streams) > 1)
			united = list_concat_unique_oid(united, streams);
	}
	return united;
}

/*
 * Determines what is due in a stream; false if nothing is. Sets *waiting if something may become
 * due by the passing of time alone.
 */
static bool
examine(const EddyStream *stream, List *united, int64 now, Due *due, bool *waiting)
{
	StreamClock *clock = get_clock(stream->relid, now);
	EddyUserPartition users = eddy_catalog_get_user_partition(stream->relid);
	int64		timeout = eddy_interval_usec(&stream->idle_timeout);
	TimestampTz watermark = eddy_watermark_get(stream);
	TimestampTz by_rows;
	TimestampTz by_clock;
	EddyWatermarkChange change = {.user_event_time = DT_NOBEGIN};

	due->stream = stream->relid;
	due->idle_user_rows = -1;
	observe(clock, stream, &users, now);
	*waiting |= stream->auto_advance || clock->retry_at > now;
	if (clock->retry_at > now)
		return false;
	if (timeout > 0 &&
		(eddy_watermark_sources(stream) != NIL ? users.rows > 0 :
		 list_member_oid(united, stream->relid)) &&
		eddy_catalog_get_watermark(stream->relid).idle_user_rows != users.rows)
	{
		*waiting = true;
		if (now - clock->user_rows_at >= timeout)
		{
			due->idle_user_rows = users.rows;
			change.idles_users = true;
		}
	}
	by_rows = eddy_watermark_next(stream, &change);
	by_clock = follow_clock(clock, stream, watermark, now);
	due->until = Max(by_rows, by_clock);
	return due->until > watermark || due->idle_user_rows >= 0;
}

/* True if the watermark of a stream has an effect, or its users' rows may become idle. */
static bool
needs_ticks(const EddyStream *stream, List *views)
{
	ListCell   *lc;

	if (stream->event_time == NULL)
		return false;
	if (stream->auto_advance)
		return true;
	foreach(lc, views)
		if (list_member_oid(((EddyView *) lfirst(lc))->streams, stream->relid))
			return true;
	if (eddy_watermark_sources(stream) == NIL)
		return false;
	return eddy_catalog_get_user_partition(stream->relid).rows !=
		Max(eddy_catalog_get_watermark(stream->relid).idle_user_rows, 0);
}

/*
 * Lists what is due, of Due in mcxt. Sets *ticking if a stream needs ticks; *waiting: see examine.
 */
static List *
list_due(MemoryContext mcxt, bool *ticking, bool *waiting)
{
	int64		now = eddy_monotonic_usec();
	List	   *result = NIL;
	List	   *views;
	List	   *united;
	ListCell   *lc;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	views = eddy_catalog_list_all_views();
	united = list_united(views);
	foreach(lc, eddy_catalog_list_streams())
	{
		EddyStream *stream = lfirst(lc);
		Due			due;

		CHECK_FOR_INTERRUPTS();
		if (!needs_ticks(stream, views))
			continue;
		*ticking = true;
		if (examine(stream, united, now, &due, waiting))
		{
			MemoryContext old = MemoryContextSwitchTo(mcxt);
			Due		   *copy = palloc(sizeof(Due));

			*copy = due;
			result = lappend(result, copy);
			MemoryContextSwitchTo(old);
		}
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	remove_unseen();
	return result;
}

/* ---- changes ---- */

/* If users' rows have come since they were found idle, their number shows it. */
static void
change_stream(const Due *due)
{
	bool		done = false;
	EddyStream *stream;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	eddy_local_lock_timeout(LOCK_WAIT);
	if (ConditionalLockRelationOid(due->stream, RowExclusiveLock))
	{
		stream = eddy_catalog_get_stream(due->stream);
		if (stream && get_rel_relkind(due->stream) == RELKIND_RELATION)
			done = eddy_watermark_raise(stream, due->until, due->idle_user_rows, false);
	}
	if (done)
		CommitTransactionCommand();
	else
		AbortCurrentTransaction();
}

/* The same; an error is logged, unless a lock was not available. */
static void
try_change_stream(const Due *due, MemoryContext mcxt)
{
	PG_TRY();
	{
		change_stream(due);
	}
	PG_CATCH();
	{
		ErrorData  *error = eddy_transaction_error(mcxt);

		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
			error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
		{
			EmitErrorReport();
			get_clock(due->stream, 0)->retry_at = eddy_monotonic_usec() + INTERVAL_ERROR;
		}
		eddy_transaction_abort(mcxt);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(mcxt);
}

long
eddy_apply_tick(bool force)
{
	static bool quiet = false;	/* the last tick has found nothing, nor anything to wait for */
	static int	skipped = 0;
	static uint64 completed = 0;
	uint64		now_completed = eddy_compat_completed_transactions();
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext mcxt;
	int64		start = eddy_monotonic_real();
	bool		ticking = false;
	bool		waiting = false;
	List	   *due;
	long		close_interval;
	int64		closing = 0;
	bool		closed;
	ListCell   *lc;

	if (quiet && !force && now_completed == completed && ++skipped < QUIET_TICKS)
		return INTERVAL;
	quiet = false;
	skipped = 0;
	completed = now_completed;
	mcxt = AllocSetContextCreate(TopMemoryContext, "pg_eddy tick", ALLOCSET_SMALL_SIZES);
	due = list_due(mcxt, &ticking, &waiting);
	MemoryContextSwitchTo(mcxt);
	foreach(lc, due)
	{
		try_change_stream(lfirst(lc), mcxt);
		CHECK_FOR_INTERRUPTS();
	}
	/* what commits could not close, because of writers or because it was too much */
	close_interval = eddy_close_tick(&closing, &closed);
	quiet = due == NIL && !waiting && closed;
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(mcxt);
	if (!ticking && close_interval < 0)
		return INTERVAL_NONE;
	return Max(INTERVAL, (eddy_monotonic_real() - start - closing) * COST_FACTOR / 1000);
}

/*-------------------------------------------------------------------------
 *
 * rotate.c
 *    Retention: emptying expired segments, deleting old rows that users inserted.
 *
 * Run by the database's worker, in short transactions: one or more for the segments of each
 * stream, and one for each few megabytes of rows in the stream's own table.
 *
 * The states of a segment, as its row in eddy._segment shows them:
 *
 *        empty ---- eddy_stream_write ---> current ---- its time is over -> closed
 *          ^        or housekeeping          |      (write or housekeeping)  |
 *          |                                 v                               |
 *          +------- housekeeping, retention after it was closed -------------+
 *
 * Emptying truncates in place. That cannot be rolled back, which is acceptable for a
 * cache: an abort or a crash between truncation and commit leaves an empty segment
 * that is marked as closed, and it is emptied once more.
 *
 * Rows that users inserted have no arrival time, only the transaction that wrote them. So we note
 * the oldest running transaction and the time at intervals: rows of transactions before that
 * horizon were written before that time, and are deleted when retention has passed since. The
 * notes are in memory; a restart of the worker only delays the deletion. Rows are deleted below
 * the level of triggers, so views are not affected; autovacuum reclaims the space. If more than
 * 2^32 transactions run within the retention, rows that were frozen are not recognized as old, and
 * stay.
 *
 * Locking: all locks are conditional, and are tried again after a second if they are not available.
 * An object lock on the stream before segments are emptied, which those take in share mode who must
 * see all rows from now on. AccessExclusiveLock on a segment, ShareUpdateExclusiveLock on a stream
 * that gets or loses a segment, RowExclusiveLock on a stream whose rows are deleted. The one
 * exception: when readers have kept segments from being emptied so that one had to be added, we
 * wait a short time for the next one, because readers that always overlap would otherwise let the
 * stream grow without bound.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/heap.h"
#include "catalog/pg_class.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "interval.h"
#include "local_setting.h"
#include "stream/row_age.h"
#include "stream/segment.h"
#include "stream/stream.h"
#include "subtransaction.h"
#include "transaction_error.h"

/* Milliseconds until the next round: at most, without a lock, and after an error. */
#define INTERVAL_MAX 5000
#define INTERVAL_RETRY 1000
#define INTERVAL_ERROR 60000

/*
 * How long we wait for a segment that is always locked by readers: this many milliseconds
 * for each segment that had to be added because of them, and how often.
 */
#define LOCK_WAIT_PER_SEGMENT 200
#define LOCK_WAIT_MAX 2000
#define LOCK_WAIT_INTERVAL (INT64CONST(10) * USECS_PER_SEC)

/* Times that another process has written can be so much later than those of this one. */
#define CLOCK_TOLERANCE (INT64CONST(10) * USECS_PER_SEC)

/* Notes of horizons per stream: rows are kept for up to a quarter of retention longer. */
#define NOTES 4
#define NOTE_SPAN_MIN (INT64CONST(10) * USECS_PER_SEC)

/* Blocks of a stream's own table that one transaction scans, and transactions per round. */
#define SWEEP_BLOCKS 256
#define SWEEP_CHUNKS 32

/* Transactions before the horizon had ended at that time. */
typedef struct Note
{
	TimestampTz at;
	FullTransactionId horizon;
} Note;

/* State of a stream that is kept between rounds. */
typedef struct StreamState
{
	Oid			relid;
	bool		seen;			/* in this round */
	TimestampTz waited_at;		/* when we last waited for a segment */
	int			nnotes;			/* oldest first */
	Note		notes[NOTES];
	bool		sweeping;		/* rows before sweep_horizon are being deleted */
	FullTransactionId sweep_horizon;
	BlockNumber sweep_block;	/* next block to scan */
} StreamState;

static List *stream_states = NIL;	/* of StreamState, in TopMemoryContext */

/* ---- holding rows ---- */

static void
set_hold_tag(LOCKTAG *tag, Oid stream)
{
	/* no object of that class uses this lock: segments are locked as relations */
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, eddy_catalog_relid(EDDY_CATALOG_SEGMENT), stream, 0);
}

void
eddy_stream_hold_rows(Oid stream)
{
	LOCKTAG		tag;

	set_hold_tag(&tag, stream);
	(void) LockAcquire(&tag, ShareLock, false, false);
}

/* True if no transaction holds the rows of a stream, nor will until this one ends. */
static bool
may_empty(Oid stream)
{
	LOCKTAG		tag;

	set_hold_tag(&tag, stream);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* ---- segments ---- */

/* True if, according to the catalog of now, a segment was closed before that time. */
static bool
is_expired(const EddySegment *segment, TimestampTz before)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_segments(segment->stream))
	{
		EddySegment *other = lfirst(lc);

		if (other->relid == segment->relid)
			return other->state == EDDY_SEGMENT_CLOSED && other->closed_at <= before;
	}
	return false;
}

typedef struct TimedLock
{
	Oid			relid;
	int			lock_wait_ms;
} TimedLock;

static void
take_lock(void *arg)
{
	TimedLock *lock = arg;

	eddy_local_lock_timeout(lock->lock_wait_ms);
	LockRelationOid(lock->relid, AccessExclusiveLock);
}

/* Runs a function; false if it failed with that SQLSTATE. Other errors are thrown on. */
static bool
run_unless(void (*function) (void *), void *arg, int sqlerrcode)
{
	ErrorData  *error = eddy_subtransaction_run(function, arg);

	if (error == NULL)
		return true;
	if (error->sqlerrcode != sqlerrcode)
		ReThrowError(error);
	FreeErrorData(error);
	return false;
}

/*
 * lock_with_timeout waits a limited time for the readers of a segment. New readers queue behind us
 * for that time, which lets us get the lock between readers that overlap.
 */
static bool
lock_with_timeout(Oid relid, int lock_wait_ms)
{
	TimedLock	lock = {relid, lock_wait_ms};

	return run_unless(take_lock, &lock, ERRCODE_LOCK_NOT_AVAILABLE);
}

/*
 * empty_segment truncates a closed segment, its toast table and its indexes, if
 * none of them is in use. A writer without an empty segment may have opened it
 * again before we had the lock, hence the second check.
 */
static bool
empty_segment(const EddySegment *segment, TimestampTz before, int lock_wait_ms)
{
	Relation	rel;
	Oid			toast;
	bool		done = false;

	if (!ConditionalLockRelationOid(segment->relid, AccessExclusiveLock) &&
		(lock_wait_ms == 0 || !lock_with_timeout(segment->relid, lock_wait_ms)))
		return false;
	if (!is_expired(segment, before))
		return false;
	rel = try_relation_open(segment->relid, NoLock);
	if (rel == NULL)
		return false;
	toast = rel->rd_rel->reltoastrelid;
	if (!OidIsValid(toast) || ConditionalLockRelationOid(toast, AccessExclusiveLock))
	{
		heap_truncate_one_rel(rel);
		pgstat_count_truncate(rel);
		done = true;
	}
	relation_close(rel, NoLock);
	return done;
}

static void
delete_segment(void *arg)
{
	eddy_stream_delete_segment(*(Oid *) arg);
}

/*
 * Drops a segment that is not needed. If a user's view depends on this segment, it is kept
 * and housekeeping continues.
 */
static bool
drop_segment(const EddySegment *segment)
{
	Oid			relid = segment->relid;

	if (!ConditionalLockRelationOid(segment->stream, ShareUpdateExclusiveLock) ||
		!ConditionalLockRelationOid(relid, AccessExclusiveLock))
		return false;
	return run_unless(delete_segment, &relid, ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST);
}

/* Moves the time of the next round to an earlier one. */
static void
reschedule(TimestampTz *next, TimestampTz at)
{
	*next = Min(*next, at);
}

static void
reschedule_soon(TimestampTz *next)
{
	reschedule(next, GetCurrentTimestamp() + INTERVAL_RETRY * INT64CONST(1000));
}

/*
 * How long to wait for the readers of a segment, in milliseconds: not at all,
 * unless segments were added because of them, and then only at intervals.
 */
static int
compute_lock_wait(StreamState *state, int nsegments, TimestampTz now)
{
	int			added = nsegments - EDDY_STREAM_SEGMENTS;

	if (added <= 0 ||
		(now >= state->waited_at && now < state->waited_at + LOCK_WAIT_INTERVAL))
		return 0;
	state->waited_at = now;
	return Min(added * LOCK_WAIT_PER_SEGMENT, LOCK_WAIT_MAX);
}

/*
 * empty_expired empties the segments that have expired and are not in use. Returns true
 * if there was one. Lowers *next to the time when the next one expires.
 *
 * We wait for the lock of the first one only, while we hold no other. Once we have
 * it, new readers wait for us, and the other segments, which
 * they lock later, are likely to be available.
 */
static bool
empty_expired(StreamState *state, const EddyStream *stream, List *segments, TimestampTz now,
			  TimestampTz *next)
{
	int64		retention = eddy_interval_usec(&stream->retention);
	bool		done = false;
	ListCell   *lc;

	foreach(lc, segments)
	{
		EddySegment *segment = lfirst(lc);
		int			lock_wait_ms = 0;

		if (segment->state != EDDY_SEGMENT_CLOSED)
			continue;
		reschedule(next, segment->closed_at + retention);
		if (segment->closed_at > now - retention)
			continue;
		if (!done && !may_empty(stream->relid))
			return false;
		if (!done)
			lock_wait_ms = compute_lock_wait(state, list_length(segments), now);
		if (!empty_segment(segment, now - retention, lock_wait_ms))
			continue;
		segment->state = EDDY_SEGMENT_EMPTY;
		if (eddy_catalog_update_segment(segment))
			done = true;
	}
	return done;
}

/*
 * close_current closes the current segment if its time is over, so that it is
 * emptied even if no more rows are written; writers then open an empty one.
 */
static bool
close_current(const EddyStream *stream, List *segments, bool have_empty, TimestampTz now,
			  TimestampTz *next)
{
	int64		span = eddy_stream_segment_span(stream);
	ListCell   *lc;

	foreach(lc, segments)
	{
		EddySegment *segment = lfirst(lc);

		if (segment->state != EDDY_SEGMENT_CURRENT)
			continue;
		reschedule(next, segment->opened_at + span);
		if (have_empty && now >= segment->opened_at + span)
		{
			segment->state = EDDY_SEGMENT_CLOSED;
			segment->closed_at = now;
			return eddy_catalog_update_segment(segment);
		}
	}
	return false;
}

/*
 * True if no segment can accept rows: the current one, if there is one, should have
 * been closed long ago, and readers keep us from emptying another one.
 */
static bool
is_starved(const EddyStream *stream, List *segments, TimestampTz now)
{
	int64		span = eddy_stream_segment_span(stream);
	ListCell   *lc;

	foreach(lc, segments)
	{
		EddySegment *segment = lfirst(lc);

		if (segment->state == EDDY_SEGMENT_CURRENT &&
			now < segment->opened_at + span + span / 4)
			return false;
	}
	return true;
}

/* Adds a segment if there are too few, drops one if too many are empty. */
static bool
adjust_count(const EddyStream *stream, List *segments, EddySegment *empty, int nempty,
			 TimestampTz now)
{
	int			nsegments = list_length(segments);

	if (nsegments < EDDY_STREAM_SEGMENTS ||
		(nempty == 0 && nsegments < EDDY_STREAM_SEGMENTS_MAX &&
		 is_starved(stream, segments, now)))
	{
		if (!ConditionalLockRelationOid(stream->relid, ShareUpdateExclusiveLock) ||
			!ConditionalLockRelationOid(eddy_catalog_relid(EDDY_CATALOG_SEGMENT),
										ShareUpdateExclusiveLock))
			return false;
		eddy_stream_add_segment(stream->relid);
		return true;
	}
	return nsegments > EDDY_STREAM_SEGMENTS && nempty > 1 && may_empty(stream->relid) &&
		drop_segment(empty);
}

/*
 * The clock may have been set back: a time in the future becomes the present, or a segment would be
 * kept until it comes, and the current one would be filled until then. True if a segment has changed.
 */
static bool
correct_times(List *segments, TimestampTz now)
{
	ListCell   *lc;

	foreach(lc, segments)
	{
		EddySegment *segment = lfirst(lc);
		bool		opened = segment->state != EDDY_SEGMENT_EMPTY &&
			segment->opened_at > now + CLOCK_TOLERANCE;
		bool		closed = segment->state == EDDY_SEGMENT_CLOSED &&
			segment->closed_at > now + CLOCK_TOLERANCE;

		if (opened)
			segment->opened_at = now;
		if (closed)
			segment->closed_at = now;
		if (opened || closed)
			return eddy_catalog_update_segment(segment);
	}
	return false;
}

/*
 * Drops a segment of a stream whose retention was changed to zero, with its rows; false if there is
 * none, or if all that remain are in use. Lowers *next then.
 */
static bool
drop_one(const EddyStream *stream, List *segments, TimestampTz *next)
{
	ListCell   *lc;

	if (segments == NIL)
		return false;
	if (may_empty(stream->relid))
		foreach(lc, segments)
			if (drop_segment(lfirst(lc)))
				return true;
	reschedule_soon(next);
	return false;
}

/*
 * maintain_segments performs the first kind of action that is due for the segments of a stream
 * and returns true, to be called again in a new transaction: so no segment is
 * locked while closing the current one waits for a writer's row lock. (The catalog rows
 * of other segments are written only by transactions that have locked the segment.)
 */
static bool
maintain_segments(StreamState *state, const EddyStream *stream, TimestampTz *next)
{
	TimestampTz now = GetCurrentTimestamp();
	List	   *segments = eddy_catalog_list_segments(stream->relid);
	EddySegment *empty = NULL;
	int			nempty = 0;
	ListCell   *lc;

	if (eddy_interval_usec(&stream->retention) <= 0)
		return drop_one(stream, segments, next);
	foreach(lc, segments)
	{
		EddySegment *segment = lfirst(lc);

		if (segment->state == EDDY_SEGMENT_EMPTY)
		{
			empty = segment;
			nempty++;
		}
	}
	return correct_times(segments, now) ||
		empty_expired(state, stream, segments, now, next) ||
		close_current(stream, segments, nempty > 0, now, next) ||
		adjust_count(stream, segments, empty, nempty, now);
}

/* ---- rows that users inserted ---- */

static StreamState *
get_state(Oid relid)
{
	MemoryContext old_context;
	StreamState *state;
	ListCell   *lc;

	foreach(lc, stream_states)
	{
		state = lfirst(lc);
		if (state->relid == relid)
			return state;
	}
	old_context = MemoryContextSwitchTo(TopMemoryContext);
	state = palloc0(sizeof(StreamState));
	state->relid = relid;
	stream_states = lappend(stream_states, state);
	MemoryContextSwitchTo(old_context);
	return state;
}

static void
remove_unseen(void)
{
	ListCell   *lc;

	foreach(lc, stream_states)
	{
		StreamState *state = lfirst(lc);

		if (!state->seen)
		{
			stream_states = foreach_delete_current(stream_states, lc);
			pfree(state);
		}
		else
			state->seen = false;
	}
}

/* The oldest transaction that may still be running, with its epoch. */
static FullTransactionId
oldest_running(void)
{
	TransactionId xmin = GetActiveSnapshot()->xmin;
	FullTransactionId next = ReadNextFullTransactionId();
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xmin > XidFromFullTransactionId(next))
		epoch--;
	return FullTransactionIdFromEpochAndXid(epoch, xmin);
}

/*
 * note_horizon notes the current horizon, and starts a sweep when retention has passed
 * since the oldest note. Lowers *next.
 */
static void
note_horizon(StreamState *state, const EddyStream *stream, TimestampTz now, TimestampTz *next)
{
	int64		retention = eddy_interval_usec(&stream->retention);
	int64		age = Max(retention, NOTE_SPAN_MIN);	/* also for streams without retention */
	int64		span = Max(retention / NOTES, NOTE_SPAN_MIN);

	if (state->sweeping)
		return;
	/* the clock may have been set back */
	for (int i = 0; i < state->nnotes; i++)
		state->notes[i].at = Min(state->notes[i].at, now);
	if (state->nnotes > 0 && now >= state->notes[0].at + age)
	{
		state->sweeping = true;
		state->sweep_horizon = state->notes[0].horizon;
		state->sweep_block = 0;
		state->nnotes--;
		memmove(&state->notes[0], &state->notes[1], sizeof(Note) * state->nnotes);
	}
	if (state->nnotes < NOTES &&
		(state->nnotes == 0 || now >= state->notes[state->nnotes - 1].at + span))
	{
		state->notes[state->nnotes].at = now;
		state->notes[state->nnotes].horizon = oldest_running();
		state->nnotes++;
	}
	reschedule(next, state->notes[0].at + age);
	reschedule(next, state->notes[state->nnotes - 1].at + span);
}

/* True if the transaction that wrote the row had ended when the horizon was noted. */
static bool
is_old(TupleTableSlot *slot, FullTransactionId horizon)
{
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, NULL);

	/* VACUUM can have frozen a row that was written a moment ago */
	return eddy_stream_row_precedes(HeapTupleHeaderGetRawXmin(tuple->t_data), horizon,
									ReadNextFullTransactionId());
}

/*
 * sweep_chunk deletes the old rows of the next blocks. Returns false when the
 * sweep is over or cannot continue now. A row that is locked is left to
 * the next sweep.
 */
static bool
sweep_chunk(StreamState *state)
{
	Relation	rel;
	BlockNumber nblocks;
	BlockNumber last;
	TableScanDesc scan;
	TupleTableSlot *slot;
	ItemPointerData from;
	ItemPointerData to;

	if (!ConditionalLockRelationOid(state->relid, RowExclusiveLock))
		return false;
	rel = try_table_open(state->relid, NoLock);
	if (rel == NULL)
	{
		state->sweeping = false;
		return false;
	}
	nblocks = RelationGetNumberOfBlocks(rel);
	if (state->sweep_block >= nblocks)
	{
		state->sweeping = false;
		table_close(rel, NoLock);
		return false;
	}

	last = Min(nblocks - state->sweep_block, SWEEP_BLOCKS) + state->sweep_block - 1;
	ItemPointerSet(&from, state->sweep_block, FirstOffsetNumber);
	ItemPointerSet(&to, last, MaxOffsetNumber);
	slot = table_slot_create(rel, NULL);
	scan = table_beginscan_tidrange(rel, GetActiveSnapshot(), &from, &to);
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
	{
		TM_FailureData failure;

		if (is_old(slot, state->sweep_horizon))
			(void) table_tuple_delete(rel, &slot->tts_tid, GetCurrentCommandId(true),
									  GetActiveSnapshot(), InvalidSnapshot, false, &failure,
									  false);
		CHECK_FOR_INTERRUPTS();
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	state->sweep_block = last + 1;
	return true;
}

/* ---- rounds ---- */

static void
begin_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
end_transaction(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* One transaction for the segments of a stream. Returns true if more work may be pending. */
static bool
maintain_stream_once(StreamState *state, TimestampTz *next)
{
	EddyStream *stream;
	bool		more = false;

	begin_transaction();
	/* the lock keeps the table from being dropped, and its segments with it */
	if (!ConditionalLockRelationOid(state->relid, AccessShareLock))
		reschedule_soon(next);
	else if ((stream = eddy_catalog_get_stream(state->relid)) != NULL &&
			 get_rel_relkind(state->relid) == RELKIND_RELATION)
	{
		more = maintain_segments(state, stream, next);
		if (!more)
			note_horizon(state, stream, GetCurrentTimestamp(), next);
	}
	end_transaction();
	return more;
}

/* One round for one stream. Lowers *next to the time of the next one. */
static void
maintain_stream(Oid relid, TimestampTz *next)
{
	StreamState *state = get_state(relid);

	state->seen = true;
	for (int i = 0; i < 2 * EDDY_STREAM_SEGMENTS_MAX; i++)
	{
		if (!maintain_stream_once(state, next))
			break;
	}
	for (int i = 0; state->sweeping && i < SWEEP_CHUNKS; i++)
	{
		bool		more;

		begin_transaction();
		more = sweep_chunk(state);
		end_transaction();
		if (!more)
			break;
	}
	if (state->sweeping)
		reschedule_soon(next);
}

/* The Oids of all streams, in mcxt; NIL without the extension. */
static List *
list_streams(MemoryContext mcxt)
{
	List	   *result = NIL;
	ListCell   *lc;

	begin_transaction();
	foreach(lc, eddy_catalog_list_streams())
	{
		MemoryContext old_context = MemoryContextSwitchTo(mcxt);

		result = lappend_oid(result, ((EddyStream *) lfirst(lc))->relid);
		MemoryContextSwitchTo(old_context);
	}
	end_transaction();
	return result;
}

/* Runs maintain_stream; false if it failed, after logging the error. */
static bool
try_maintain_stream(Oid relid, TimestampTz *next)
{
	MemoryContext mcxt = CurrentMemoryContext;
	volatile bool done = true;

	PG_TRY();
	{
		maintain_stream(relid, next);
	}
	PG_CATCH();
	{
		eddy_transaction_log_error(mcxt);
		done = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(mcxt);
	return done;
}

/*
 * eddy_stream_housekeep empties segments whose rows are older than retention, adds one when none
 * is empty, and deletes older rows that users inserted, for all streams. An error in one of them
 * is logged and does not affect the others. Must be called outside a transaction; starts and
 * commits its own. Returns the milliseconds until it should be called again.
 */
long
eddy_stream_housekeep(void)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext mcxt = AllocSetContextCreate(TopMemoryContext, "pg_eddy housekeeping",
											   ALLOCSET_SMALL_SIZES);
	TimestampTz next = GetCurrentTimestamp() + INTERVAL_MAX * INT64CONST(1000);
	bool		failed = false;
	ListCell   *lc;

	foreach(lc, list_streams(mcxt))
	{
		MemoryContextSwitchTo(mcxt);
		if (!try_maintain_stream(lfirst_oid(lc), &next))
			failed = true;
		CHECK_FOR_INTERRUPTS();
	}
	remove_unseen();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(mcxt);

	/* a permanent error is logged once a minute */
	if (failed)
		return INTERVAL_ERROR;
	return Max((next - GetCurrentTimestamp()) / 1000, INTERVAL_RETRY);
}

/*-------------------------------------------------------------------------
 *
 * rotate.c
 *    Retention: emptying expired segments, deleting users' own old rows.
 *
 * Run by the database's own worker, in short transactions of its own: one for the segments of
 * each stream, and one for each few megabytes of a stream's own rows.
 *
 * A segment's life, as its row in eddy._segment tells it:
 *
 *        empty ---- eddy_stream_write ---> current ---- time is over ---> closed
 *          ^        or housekeeping          |      (write or housekeeping)  |
 *          |                                 v                               |
 *          +------- housekeeping, retention after it was closed -------------+
 *
 * Emptying truncates in place. That cannot be rolled back, which is what one wants of a
 * cache: an abort or a crash between truncation and commit leaves an empty segment
 * that is marked as closed, and it is emptied once more.
 *
 * Users' own rows carry no time, only the transaction that wrote them. So we note
 * from time to time (now, oldest running transaction): what that horizon
 * precedes was written before, and is deleted when retention has passed since. The notes are in
 * memory; a restart of the worker only delays. Rows are deleted below the
 * level of triggers, so views do not notice; the space is autovacuum's.
 *
 * Locking: all locks are conditional, and what cannot be had now is tried again in
 * a second. AccessExclusiveLock on a segment, ShareUpdateExclusiveLock on a
 * stream that gets or loses a segment, RowExclusiveLock on a stream whose rows are deleted.
 * The one exception: when readers have kept segments from being emptied so that
 * one had to be added, we queue for the next for a moment, because readers that
 * overlap all the time would otherwise let the stream grow without bound.
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
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "interval.h"
#include "stream/segment.h"
#include "stream/stream.h"
#include "subtransaction.h"

/* Milliseconds until we look again: at the latest, without a lock, and after an error. */
#define INTERVAL_MAX 5000
#define INTERVAL_RETRY 1000
#define INTERVAL_ERROR 60000

/*
 * How long we queue for a segment that readers hold all the time: this many milliseconds
 * for each segment that had to be added because of them, and how often.
 */
#define LOCK_WAIT_PER_SEGMENT 200
#define LOCK_WAIT_MAX 2000
#define LOCK_WAIT_INTERVAL (INT64CONST(10) * USECS_PER_SEC)

/* Notes of horizons per stream: rows stay for up to a quarter of retention longer. */
#define NOTES 4
#define NOTE_SPAN_MIN (INT64CONST(10) * USECS_PER_SEC)

/* Blocks of a stream's own rows that one transaction looks through, and transactions per round. */
#define SWEEP_BLOCKS 256
#define SWEEP_CHUNKS 32

/* Transactions before horizon had ended at that time. */
typedef struct Note
{
	TimestampTz at;
	FullTransactionId horizon;
} Note;

/* What is remembered of a stream between rounds. */
typedef struct StreamState
{
	Oid			relid;
	bool		seen;			/* in this round */
	TimestampTz waited_at;		/* when we last queued for a segment */
	int			nnotes;			/* oldest first */
	Note		notes[NOTES];
	bool		sweeping;		/* rows before sweep_horizon are being deleted */
	FullTransactionId sweep_horizon;
	BlockNumber sweep_block;	/* next block to look through */
} StreamState;

static List *stream_states = NIL;	/* of StreamState, in TopMemoryContext */

/* ---- segments ---- */

/* True if the catalog still says that a segment was closed before that time. */
static bool
is_expired(const EddySegment *segment, TimestampTz before)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_segments(segment->stream))
	{
		EddySegment *other = lfirst(lc);

		if (other->relid == segment->relid)
			return other->closed_at != 0 && other->closed_at <= before;
	}
	return false;
}

typedef struct TimedLock
{
	Oid			relid;
	int			lock_wait_ms;		/* ms */
} TimedLock;

static void
take_lock(void *arg)
{
	TimedLock *lock = arg;
	char		timeout[32];

	snprintf(timeout, sizeof(timeout), "%d", lock->lock_wait_ms);
	(void) set_config_option("lock_timeout", timeout, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	LockRelationOid(lock->relid, AccessExclusiveLock);
}

/* Runs something that may fail with one error, which gives false. */
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
 * lock_with_timeout waits for a segment's readers, but not long. New readers queue behind us
 * for that time, which lets us in between readers that overlap.
 */
static bool
lock_with_timeout(Oid relid, int lock_wait_ms)
{
	TimedLock lock = {relid, lock_wait_ms};

	return run_unless(take_lock, &lock, ERRCODE_LOCK_NOT_AVAILABLE);
}

/*
 * empty_segment truncates a closed segment, its toast table and its indexes, if
 * nobody uses any of it. A writer without an empty segment may have opened it
 * again before we had the lock, hence the second look.
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
 * Drops a segment that is one too many. It is empty. A view of a user's that reads this very segment
 * keeps it: then it stays, and housekeeping goes on with the rest.
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

/* Moves next to an earlier time. */
static void
look_again_at(TimestampTz *next, TimestampTz at)
{
	*next = Min(*next, at);
}

static void
look_again_soon(TimestampTz *next)
{
	look_again_at(next, GetCurrentTimestamp() + INTERVAL_RETRY * INT64CONST(1000));
}

/*
 * How long to wait for the readers of a segment, in milliseconds: not at all,
 * unless they have made us add segments, and then only now and then.
 */
static int
compute_lock_wait(StreamState *state, int nsegments, TimestampTz now)
{
	int			added = nsegments - EDDY_STREAM_SEGMENTS;

	if (added <= 0 || now < state->waited_at + LOCK_WAIT_INTERVAL)
		return 0;
	state->waited_at = now;
	return Min(added * LOCK_WAIT_PER_SEGMENT, LOCK_WAIT_MAX);
}

/*
 * empty_expired empties the segments that are due and not in use. Returns true
 * if there was one. Lowers *next to the time when one will be due.
 *
 * We may queue for the first only, while nothing else is locked. Once we have
 * it, new readers wait for us, and the other segments, which
 * they lock later, are likely to be free.
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

		if (segment->closed_at == 0)
			continue;
		look_again_at(next, segment->closed_at + retention);
		if (segment->closed_at > now - retention)
			continue;
		if (!done)
			lock_wait_ms = compute_lock_wait(state, list_length(segments), now);
		if (!empty_segment(segment, now - retention, lock_wait_ms))
			continue;
		segment->opened_at = segment->closed_at = 0;
		if (eddy_catalog_update_segment(segment))
			done = true;
	}
	return done;
}

/*
 * close_current closes the current segment if its time is over, so that it is
 * emptied even if nothing is written any more; writers then open an empty one.
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

		if (segment->opened_at == 0 || segment->closed_at != 0)
			continue;
		look_again_at(next, segment->opened_at + span);
		if (have_empty && now >= segment->opened_at + span)
		{
			segment->closed_at = now;
			return eddy_catalog_update_segment(segment);
		}
	}
	return false;
}

/*
 * True if rows have nowhere to go: the current segment, if there is one, should have
 * been closed a good while ago, and readers keep us from emptying another.
 */
static bool
is_starved(const EddyStream *stream, List *segments, TimestampTz now)
{
	int64		span = eddy_stream_segment_span(stream);
	ListCell   *lc;

	foreach(lc, segments)
	{
		EddySegment *segment = lfirst(lc);

		if (segment->opened_at != 0 && segment->closed_at == 0 &&
			now < segment->opened_at + span + span / 4)
			return false;
	}
	return true;
}

/* Adds a segment if too few are there, drops one if too many are free. */
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
	return nsegments > EDDY_STREAM_SEGMENTS && nempty > 1 && drop_segment(empty);
}

/*
 * keep_segments does the first kind of thing that is due for the segments of a stream
 * and returns true, to be called again in a new transaction: so no segment is
 * locked while closing the current one waits for a writer's row lock. (The rows
 * of other segments are only written by those who have locked the segment.)
 */
static bool
keep_segments(StreamState *state, const EddyStream *stream, TimestampTz *next)
{
	TimestampTz now = GetCurrentTimestamp();
	List	   *segments = eddy_catalog_list_segments(stream->relid);
	EddySegment *empty = NULL;
	int			nempty = 0;
	ListCell   *lc;

	if (eddy_interval_usec(&stream->retention) <= 0)
		return false;
	foreach(lc, segments)
	{
		EddySegment *segment = lfirst(lc);

		if (segment->opened_at == 0)
		{
			empty = segment;
			nempty++;
		}
	}
	return empty_expired(state, stream, segments, now, next) ||
		close_current(stream, segments, nempty > 0, now, next) ||
		adjust_count(stream, segments, empty, nempty, now);
}

/* ---- users' own rows ---- */

static StreamState *
remember_stream(Oid relid)
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
forget_unseen(void)
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

/* The oldest transaction that may still be running, widened by its epoch. */
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
 * note_horizon notes the horizon of now, and starts a sweep when retention has passed
 * over the oldest note. Lowers *next.
 */
static void
note_horizon(StreamState *state, const EddyStream *stream, TimestampTz now, TimestampTz *next)
{
	int64		retention = eddy_interval_usec(&stream->retention);
	int64		age = Max(retention, NOTE_SPAN_MIN);	/* also of streams that retain nothing */
	int64		span = Max(retention / NOTES, NOTE_SPAN_MIN);

	if (state->sweeping)
		return;
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
	look_again_at(next, state->notes[0].at + age);
	look_again_at(next, state->notes[state->nnotes - 1].at + span);
}

/* True if the transaction that wrote the row had ended when the horizon was noted. */
static bool
is_old(TupleTableSlot *slot, FullTransactionId horizon)
{
	bool		isnull;
	Datum		datum = slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull);
	TransactionId xmin = DatumGetTransactionId(datum);
	uint64		distance = U64FromFullTransactionId(ReadNextFullTransactionId()) -
		U64FromFullTransactionId(horizon);

	/* a horizon that is half the space of transaction numbers away cannot be compared any more */
	if (!TransactionIdIsNormal(xmin) || distance > PG_INT32_MAX / 2)
		return true;
	return TransactionIdPrecedes(xmin, XidFromFullTransactionId(horizon));
}

/*
 * sweep_chunk deletes the old rows of the next blocks. Returns false when the
 * sweep is over or cannot go on now. A row that somebody has locked is left to
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

/*
 * One transaction for the segments of a stream. Returns true if something was
 * done and there may be more to do.
 */
static bool
keep_stream_once(StreamState *state, TimestampTz *next)
{
	EddyStream *stream;
	bool		more = false;

	begin_transaction();
	/* the lock keeps the table from being dropped under us; its segments follow it */
	if (!ConditionalLockRelationOid(state->relid, AccessShareLock))
		look_again_soon(next);
	else if ((stream = eddy_catalog_get_stream(state->relid)) != NULL &&
			 get_rel_relkind(state->relid) == RELKIND_RELATION)
	{
		more = keep_segments(state, stream, next);
		if (!more)
			note_horizon(state, stream, GetCurrentTimestamp(), next);
	}
	end_transaction();
	return more;
}

/* One round for one stream. Lowers *next to the time of the next one. */
static void
keep_stream(Oid relid, TimestampTz *next)
{
	StreamState *state = remember_stream(relid);

	state->seen = true;
	for (int i = 0; i < 2 * EDDY_STREAM_SEGMENTS_MAX; i++)
	{
		if (!keep_stream_once(state, next))
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
		look_again_soon(next);
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

/* Does keep_stream; false if it failed, which is in the log then. */
static bool
try_keep_stream(Oid relid, TimestampTz *next)
{
	MemoryContext mcxt = CurrentMemoryContext;
	volatile bool done = true;

	PG_TRY();
	{
		keep_stream(relid, next);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(mcxt);
		EmitErrorReport();
		AbortOutOfAnyTransaction();
		FlushErrorState();
		done = false;
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(mcxt);
	return done;
}

/*
 * eddy_stream_housekeep goes through all streams. An error with one of them is
 * logged and does not keep the others from being looked after.
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
		if (!try_keep_stream(lfirst_oid(lc), &next))
			failed = true;
		CHECK_FOR_INTERRUPTS();
	}
	forget_unseen();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(mcxt);

	/* one log line a minute about what goes wrong for good */
	if (failed)
		return INTERVAL_ERROR;
	return Max((next - GetCurrentTimestamp()) / 1000, INTERVAL_RETRY);
}

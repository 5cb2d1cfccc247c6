/*-------------------------------------------------------------------------
 *
 * apply.h
 *    The driver of a batch, whether its rows come from Kafka or from a user's statement.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_APPLY_H
#define EDDY_APPLY_H

#include "batch.h"
#include "catalog/eddy_catalog.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "view/changes.h"
#include "view/view.h"

/* ---- event_time.c ---- */

/* What happens to a row whose event time is NULL. */
typedef enum EddyNullEventTime
{
	EDDY_NULL_EVENT_TIME_DEAD_LETTER,	/* the row is rejected */
	EDDY_NULL_EVENT_TIME_SKIP_WATERMARK,	/* it is accepted */
	EDDY_NULL_EVENT_TIME_STOP	/* it is an error */
} EddyNullEventTime;

/* The event time of a stream. */
typedef struct EddyEventTime
{
	AttrNumber	attnum;			/* 0: the stream has none */
	const char *column;
	EddyNullEventTime on_null;
	int64		max_future_skew;	/* microseconds */
} EddyEventTime;

/* The event times of rows that were seen before the batch is applied. */
typedef struct EddyCopyTimes
{
	AttrNumber	attnum;			/* column with the event time; 0: none */
	bool		has_null;
	TimestampTz max;			/* finite; DT_NOBEGIN: none */
} EddyCopyTimes;

static inline void
eddy_event_time_note(EddyCopyTimes *times, const Datum *values, const bool *nulls)
{
	TimestampTz time;

	if (times->attnum == 0)
		return;
	time = DatumGetTimestampTz(values[times->attnum - 1]);
	if (nulls[times->attnum - 1])
		times->has_null = true;
	else if (time > times->max && !TIMESTAMP_NOT_FINITE(time))
		times->max = time;
}

/* The event time of a stream with these columns; refers to the memory of stream. */
extern EddyEventTime eddy_event_time_resolve(const EddyStream *stream, TupleDesc tupdesc);

/* ---- watermark.c ---- */

/* The watermark of a stream; DT_NOBEGIN: none yet. Never decreases. */
extern TimestampTz eddy_watermark_get(const EddyStream *stream);
extern TimestampTz eddy_watermark_of_event_time(TimestampTz time, const Interval *delay);

/*
 * The watermark of a view that reads several streams (List of Oid): the minimum of theirs, or what
 * it was raised to. Never decreases.
 */
extern TimestampTz eddy_watermark_of_union(Oid view, List *streams);

/*
 * The watermark by which the windows of views of these streams (List of Oid) are closed: that of
 * the stream or, of several, the minimum over those that are not idle. views: that read them.
 */
extern TimestampTz eddy_watermark_for_closing(List *streams, List *views);

/*
 * Raises the watermarks of views that read several streams. With wait false, a locked one is left
 * out.
 */
extern void eddy_watermark_raise_views(List *views, TimestampTz until, bool wait);

/* What a transaction is about to store, for eddy_watermark_next. */
typedef struct EddyWatermarkChange
{
	bool		adds_rows;

	/* of a Kafka batch; otherwise source is 0 */
	int32		source;
	int			npartitions;	/* all that the worker consumes */
	bool		complete;		/* that is all of the topic */
	const EddyPartition *const *partitions; /* as they will be stored */
	bool		polled;			/* partitions marked as idle are idle */

	/* of users' rows; otherwise DT_NOBEGIN and false */
	TimestampTz user_event_time;	/* the latest one */
	bool		wakes_users;	/* partition -1 is live */
	bool		idles_users;	/* partition -1 is idle */
} EddyWatermarkChange;

/* The watermark after a change, to be stored with it. */
extern TimestampTz eddy_watermark_next(const EddyStream *stream,
									   const EddyWatermarkChange *change);

/* ---- published.c ---- */

/* A transaction has stored a watermark of a stream, which is published when it commits. */
extern void eddy_watermark_note(Oid stream, TimestampTz watermark);

/* It has changed what is stored of watermarks in another way. */
extern void eddy_watermark_distrust(void);

/* Others have, or the database is dropped: the watermarks of its streams are read again. */
extern void eddy_watermark_reset(Oid database);

/* ---- watermark.c ---- */

/* Numbers of the sources of a stream: List of int, which must not be changed. */
extern List *eddy_watermark_sources(const EddyStream *stream);

/* True if all partitions of all sources of a stream are idle. */
extern bool eddy_watermark_all_idle(const EddyStream *stream);

/*
 * Sets the function that tells whether the workers of a source, of which there should be so many,
 * poll, so that partitions marked as idle are idle. Without one they are live.
 */
extern void eddy_watermark_set_polled_check(bool (*check) (int32 source, int workers));

/*
 * Raises the watermark of a stream to a time, unless it is later, closes what is due when the
 * transaction commits, and marks partition -1 as idle while it has idle_user_rows rows, unless that
 * is -1. False if another transaction holds the stored row and wait is false: nothing was done.
 */
extern bool eddy_watermark_raise(const EddyStream *stream, TimestampTz until,
								 int64 idle_user_rows, bool wait);

/* ---- tick.c ---- */

/*
 * Work that is due by the clock, for all streams; called by the database worker outside of
 * transactions. Never waits for locks. Returns the milliseconds until it should be called again.
 * force: something else than a transaction may have made work due.
 */
extern long eddy_apply_tick(bool force);

/* ---- deferred.c ---- */

/*
 * Merges what users' statements have added to views with deferred maintenance, in transactions of
 * its own; called by the database worker. Returns the milliseconds until it should be called again,
 * -1: there is no such view.
 */
extern long eddy_deferred_tick(void);

/* ---- close.c ---- */

/* Closes what is due of a stream when the current transaction commits. */
extern void eddy_close_request(Oid stream);

/* Before the transaction commits, after the last batch of it was applied. */
extern void eddy_close_at_commit(void);

/* From a transaction callback, when the transaction has ended or is prepared. */
extern void eddy_close_forget(void);

/*
 * Closes windows and removes expired ones, of all streams of the database, in transactions of its
 * own. Never waits for long. Returns the milliseconds until the next call is useful, -1: none is.
 * *work is increased by the microseconds that were spent on groups, rather than on finding out
 * that there are none. *complete: nothing was left because of a lock or an error.
 */
extern long eddy_close_tick(int64 *work, bool *complete);

/*
 * Sets the function that wakes the database worker when the current transaction commits, which
 * has left windows to be closed.
 */
extern void eddy_close_set_wakeup(void (*wakeup) (void));

/* ---- view_tick.c ---- */

/*
 * Work on views that is due by the clock, in transactions of its own. Never waits for long.
 * Returns the milliseconds until the next call, -1: no view needs it.
 */
extern long eddy_view_tick(void);

/* ---- pipeline.c ---- */

typedef struct EddyApply EddyApply;

/* Operations of an input: where batches come from. */
typedef struct EddyInput
{
	/*
	 * Makes the rows of the batch and rejects messages that cannot become one. False if the
	 * batch is not the next one of its input: the transaction must be aborted. NULL if the
	 * rows already exist.
	 */
	bool		(*make_rows) (EddyApply *apply);

	/*
	 * Fills in a dead letter from the message that a row was made from; may replace the error.
	 * NULL if rows are not made from messages: the dead letter contains the row itself.
	 */
	void		(*describe_row) (EddyApply *apply, const EddyRejection *rejection,
								 EddyDeadLetter *letter);

	/*
	 * Stores the position of the input, and apply->counts, and sets apply->watermark. False as for
	 * make_rows.
	 */
	bool		(*finish) (EddyApply *apply);

	/*
	 * True if a batch can end before a row that policy stop forbids, because the input delivers
	 * that row again; otherwise such a row raises an error.
	 */
	bool		can_stop;
} EddyInput;

/* What a batch adds to the counts of one partition. */
typedef struct EddyRowCounts
{
	int64		rejected;		/* rows that are dead letters of the stream */
	int64		skipped;		/* rows that the policy skips */
	int64		ahead;			/* rows further ahead of the clock than max_future_skew */
	TimestampTz max_event_time; /* DT_NOBEGIN: none */
} EddyRowCounts;

/* A batch while it is applied. */
struct EddyApply
{
	EddyBatch	batch;			/* first: a List of these is one of batches */

	/* set by the caller, after eddy_apply_begin */
	const EddyInput *input;
	void	   *arg;			/* for the operations of the input */
	const EddyStream *stream;
	const EddyEventTime *event_time;
	bool		skips;			/* rows rejected for the whole stream are only counted */
	bool		staged;			/* the rows are in the stream already, or were */
	EddyRowCounts *counts;
	const int32 *partitions;	/* for each row the element of counts; NULL: the first */
	const EddyCopyTimes *times; /* of all rows; NULL: not known */

	/* results */
	TimestampTz watermark;		/* of the stream with this batch; DT_NOBEGIN: none */
	List	   *rejections;		/* of EddyRejection, by the whole stream; in batch.mcxt */
	bool		stopped;		/* the batch ends before a row that must not be passed: */
	int			stop_sqlerrcode;
	char	   *stop_message;	/* in batch.mcxt */
};

/* Clears *apply and makes it an empty batch of a stream. */
extern void eddy_apply_begin(EddyApply *apply, Oid stream, TupleDesc tupdesc, MemoryContext mcxt);

/*
 * eddy_apply_run applies batches (List of EddyApply, one for each stream) in the current
 * transaction: makes their rows, stages them, maintains the views, writes dead letters and finishes
 * the inputs. For repeatable and for errors see eddy_view_apply. False if an operation of an input
 * returned false. changes: of views, made before by the statement itself. The caller holds
 * RowExclusiveLock on the streams and has set an active snapshot.
 */
extern bool eddy_apply_run(List *applies, List *changes, bool repeatable);

/* ---- reject.c ---- */

/* Leaves a row out of the batch without a rejection: a message that makes no row. */
extern void eddy_reject_omit(EddyApply *apply, int64 row);

/* Rejects a row for the whole stream; with stops, the batch ends before it. */
extern void eddy_reject_row(EddyApply *apply, int64 row, int sqlerrcode, const char *message,
							bool stops);

/* ---- dead_letter.c ---- */

/* Counts and writes, or skips, a message that made no row at all. */
extern void eddy_dead_letter_add(EddyApply *apply, EddyRowCounts *counts,
								 const EddyDeadLetter *letter);

/* ---- statement.c ---- */

/* Registers transaction callbacks. From _PG_init only. */
extern void eddy_statement_init(void);

/*
 * Called at the start and at the end, also after an error, of each data-modifying statement and
 * each trigger phase. Rows that are added between wait for the end of the outermost one.
 */
extern void eddy_statement_enter(void);
extern void eddy_statement_enter_copy(void);	/* instead, for COPY */
extern void eddy_statement_leave(void);

/* Keeps rows that a statement has added to a stream. */
extern void eddy_statement_add(Relation rel, Tuplestorestate *rows);

/*
 * True if a COPY need not fire the triggers of a stream: nothing but the maintenance happens after
 * it, and it waits for the end of no other statement. Its rows are then passed to
 * eddy_statement_apply_copy.
 */
extern bool eddy_statement_can_copy(Relation rel);

/* Prepares for taking the event times of the rows of a COPY into a stream while they are read. */
extern void eddy_statement_begin_copy_times(Relation rel, EddyCopyTimes *times);
extern void eddy_statement_apply_copy(Relation rel, Tuplestorestate *rows,
									  const EddyCopyTimes *times);

/* The same for rows that a statement has deleted through a view. */
extern void eddy_statement_delete(const EddyView *view, Tuplestorestate *rows, TupleDesc desc);

/*
 * Applies the waiting rows, unless a statement is still running. Raises 40001 under REPEATABLE
 * READ and SERIALIZABLE if a group was changed concurrently, and the errors of views with
 * on_error => 'stop'.
 */
extern void eddy_statement_flush(void);

/* ---- fill.c ---- */

/* Where the first content of a view comes from. */
typedef enum EddyFillSource
{
	EDDY_FILL_NOTHING,
	EDDY_FILL_STAGED,			/* the rows that the stream has staged */
	EDDY_FILL_HISTORY			/* queries over ordinary tables */
} EddyFillSource;

/* A query whose rows a view begins with, as rows of a stream. */
typedef struct EddyHistoryQuery
{
	Oid			stream;			/* InvalidOid: the only one that the view reads */
	const char *query;
} EddyHistoryQuery;

/*
 * Gives a view, whose state is empty, its first content: no rows, or staged ones. The caller holds
 * a lock on the streams that keeps writers out. changes: what was removed from it before (List of
 * EddyChanges).
 */
extern void eddy_apply_fill(Oid view, EddyFillSource source, List *changes);

/*
 * The same for a view that was created with the option unlocked, and for the new state of a view
 * whose query is replaced: no lock keeps writers out until nearly all of it is there. histories:
 * for EDDY_FILL_HISTORY (List of EddyHistoryQuery). Ends with the locks of eddy_view_create, or
 * with eddy_view_replace_lock. replaces: InvalidOid, or a view whose query a worker replaces by
 * that of the new one, after it has added messages that the streams do not store.
 */
extern void eddy_apply_fill_new(Oid view, Oid replaces, EddyFillSource source,
								const List *histories);

/*
 * True if the streams of a view do not store the messages that arrive while a history is counted,
 * and it is known where they begin, so that they can be read from Kafka again.
 */
extern bool eddy_apply_misses_messages(Oid relid);
extern void eddy_apply_refill(EddyReplacement *replacement, EddyFillSource source,
							  const List *histories);

/* ---- cascade.c ---- */

/* From _PG_init only. */
extern void eddy_apply_init(void);

/*
 * Maintains the views of some batches of streams (List of EddyApply), those that read these, or the
 * views of changes that were made before (List of EddyChanges, which are freed), and so on; writes
 * all late rows, and the dead letters of batches of views, and passes all changes to their
 * observers; in the current transaction. repeatable: as for eddy_view_apply.
 */
extern void eddy_apply_maintain(List *applies, List *changes, bool repeatable);

/*
 * Closes the windows of all views that exactly these streams (List of Oid, sorted) reach, and
 * maintains the views that follow: each view is closed after the rows of its parents have arrived.
 * For the rest see eddy_view_close.
 */
extern bool eddy_apply_close(List *streams, TimestampTz watermark, int64 *budget);

/* The same for removing expired groups, whose removal no other view follows. */
extern bool eddy_apply_expire(List *streams, TimestampTz watermark, int64 *budget);

/* The batch of views that read a view with these changes; NULL: its stream was dropped. */
extern EddyApply *eddy_apply_make_child(EddyChanges *changes, List *applies);

#endif							/* EDDY_APPLY_H */

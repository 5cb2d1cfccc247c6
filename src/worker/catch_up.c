/*-------------------------------------------------------------------------
 *
 * catch_up.c
 *    The process that fills a new view from Kafka: start => 'earliest' or a time, and the end of other starts (src/apply/seam.c).
 *
 * It reads the topics of its streams from the beginning, or from a time, with clients and offsets
 * of its own (eddy._view_offset), and maintains this view alone, in transactions that also advance
 * these offsets. The workers of the sources leave the view out meanwhile. Nothing is staged, no row
 * is late, and no window closes: rows of all windows are still to come. Users' statements maintain
 * the view from its creation, as their rows are not in Kafka.
 *
 * The worker applies a message only if its offset is below the next one of the source, which its
 * own workers have stored: these messages are never delivered to the live view again. Messages
 * after that are kept in memory. When it has received all messages up to the stored offsets, it
 * locks the stream, so that no batch is in progress, and reads these offsets again. If it has the
 * messages up to there, it applies them and ends in the same transaction: the next batch of the
 * source concerns the view. Otherwise it releases the lock. The broker is never waited for under
 * the lock. A view over UNION ALL of several streams is handed over by all sources of all streams
 * at once, under the locks of all of them.
 *
 * A view that gets the query and the results of another one (start => 'earliest' of
 * eddy.replace_continuous_view): its results are compared with those before the locks, for
 * consumers of changes. If more messages arrive meanwhile than are kept in memory, several times,
 * they are compared under the locks, so that the filling ends.
 *
 * A message that is a dead letter of the stream is left out, because it is applied to all views,
 * this one included, when it is replayed, which is refused until then. Others that cannot be
 * processed become dead letters of the view.
 *
 * A crash leaves all of a batch or nothing, and the next worker continues at the stored offsets.
 * Batches that fail, crash the worker or take too long are repeated in parts, until a single
 * message is rejected, as those of a source (batch.c, attempt.c).
 *
 * catch_up_reader.c reads the sources, and catch_up_batch.c applies a batch.
 *
 * Locking: as a batch of the source (batch.c), without segments and partitions; at the end
 * ShareRowExclusiveLock on the streams, for each of which it waits a short time only. Memory:
 * messages are librdkafka's, and limited by pg_eddy.batch_bytes; rows live in a context that is
 * reset.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/backend_status.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "compat.h"
#include "local_setting.h"
#include "monotonic.h"
#include "settings.h"
#include "subtransaction.h"
#include "transaction_error.h"
#include "view/view.h"
#include "worker/catch_up.h"
#include "worker/process.h"
#include "worker/slots.h"
#include "worker/source_worker.h"

#define BOUNDS_INTERVAL 200		/* ms after which the offsets of a source are read again */
#define FINISH_INTERVAL 100		/* ms between attempts to hand over, which grow */
#define FINISH_INTERVAL_MAX 5000
#define IDLE_WAIT 100L			/* ms to wait when there is nothing to do */
#define LOCK_WAIT 200			/* ms for the lock on a stream; writers queue behind it */
#define LOCK_ATTEMPTS 20		/* if giving up is expensive */
#define PREPARED_ATTEMPTS 5		/* attempts to hand over to another view that compare the results before the locks */
#define RETRY_DELAY 2000L		/* ms after an error */

static Oid	view_oid = InvalidOid;
static List *readers = NIL;		/* of EddyReader, in readers_context */
static MemoryContext readers_context = NULL;
static int	finish_interval = FINISH_INTERVAL;
static int	finish_attempts = 0;	/* that have failed */
static long crash_delay = 0;	/* ms to wait before the first batch */

/* ---- errors ---- */

/* Shows an error of the broker, outside of transactions. */
static void
report_broker_error(EddyReader *reader, const EddyKafkaError *error)
{
	eddy_reader_show_error(&reader->worker,
						   psprintf("topic \"%s\": %s", reader->worker.topic_name, error->message),
						   error->sqlerrcode);
}

static void
wait_for_latch(long delay)
{
	static uint32 wait_event = 0;

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, delay,
					 eddy_compat_wait_event(&wait_event, "EddyCatchUp"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Waits, outside of transactions. */
static void
wait_for(long delay)
{
	pgstat_report_stat(true);
	wait_for_latch(delay);
	eddy_process_reload_config();
}

/* ---- the sources of the view ---- */

static void
close_readers(void)
{
	ListCell   *lc;

	foreach(lc, readers)
	{
		eddy_reader_close(lfirst(lc));
		eddy_reader_free(lfirst(lc));
	}
	readers = NIL;
	MemoryContextReset(readers_context);
}

/* librdkafka's threads must have ended before the process runs its other exit handlers. */
static void
at_exit(int code pg_attribute_unused(), Datum arg pg_attribute_unused())
{
	ListCell   *lc;

	eddy_attempt_end();
	foreach(lc, readers)
		eddy_reader_close(lfirst(lc));
}

/*
 * The start of the view as a time. DT_NOBEGIN for 'earliest', and if it has got the offsets at
 * which it begins when it was created (src/apply/seam.c): then only partitions that are added later
 * are read from their beginning.
 */
static TimestampTz
read_start_time(const EddyView *view)
{
	if (strcmp(view->start, "earliest") == 0 || strcmp(view->start, "query") == 0 ||
		strcmp(view->start, "staged") == 0)
		return DT_NOBEGIN;
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(view->start),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
}

/* The view if it is still to be filled, otherwise NULL. Needs a transaction. */
static EddyView *
get_starting_view(void)
{
	EddyView   *view = eddy_catalog_installed() ? eddy_catalog_get_view(view_oid) : NULL;

	return view && view->starting ? view : NULL;
}

/* Adds readers for the sources of a stream, in the current context; they are not opened yet. */
static void
add_readers(Oid stream, List *sources)
{
	ListCell   *lc;

	foreach(lc, sources)
	{
		EddyReader *reader = palloc0(sizeof(EddyReader));

		reader->view = view_oid;
		reader->stream = stream;
		reader->source = ((EddySource *) lfirst(lc))->source;
		reader->mcxt = CurrentMemoryContext;
		readers = lappend(readers, reader);
	}
}

/*
 * Reads the view, and makes readers for the sources of its streams, in the current context. False
 * if it is not to be filled any more.
 */
static bool
read_view(TimestampTz *start)
{
	MemoryContext caller = CurrentMemoryContext;
	EddyView   *view;
	ListCell   *lc;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	view = get_starting_view();
	if (view)
		*start = read_start_time(view);
	foreach(lc, view ? view->streams : NIL)
	{
		List	   *sources = eddy_catalog_list_sources(lfirst_oid(lc));
		MemoryContext old = MemoryContextSwitchTo(caller);

		add_readers(lfirst_oid(lc), sources);
		MemoryContextSwitchTo(old);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return view != NULL;
}

/* ---- steps ---- */

/* How a step ended. */
typedef enum StepResult
{
	STEP_DONE,					/* something was applied */
	STEP_NOTHING,				/* there was nothing to do */
	STEP_REOPEN,				/* the sources have to be opened again */
	STEP_LEAVE					/* the view is filled, or is not to be filled any more */
} StepResult;

typedef StepResult (*Step) (void *arg);

/* Reads how far the worker of a source is. */
static StepResult
step_read_bounds(void *arg)
{
	EddyReader *reader = arg;
	StepResult	result = STEP_NOTHING;
	Relation	stream;

	/* a source that is paused or detached: see open_readers */
	if (eddy_reader_lock(reader, &stream) != EDDY_CONTINUE)
		return STEP_REOPEN;
	if (!eddy_reader_is_starting(reader))
		result = STEP_LEAVE;
	else if (!eddy_reader_read_bounds(reader))
		result = STEP_REOPEN;
	PopActiveSnapshot();
	table_close(stream, NoLock);
	return result;
}

/* The end of the filling. */
typedef struct Finish
{
	const EddyView *view;
	Oid			replaces;		/* the view that gets its query and results; or none */
	EddyReplacement *replacement;	/* prepared before the locks; NULL: it is not */
	List	   *opened;			/* the streams of the readers */
} Finish;

/*
 * Locks the view's streams, and the view that it replaces, against others; none of these locks is
 * waited for longer than LOCK_WAIT.
 */
static void
lock_for_finish(void *arg)
{
	const Finish *finish = arg;
	ListCell   *lc;

	eddy_local_lock_timeout(LOCK_WAIT);
	if (OidIsValid(finish->replaces))
		eddy_view_lock_replaced(finish->replaces, view_oid);
	foreach(lc, finish->view->streams)
		LockRelationOid(lfirst_oid(lc), ShareRowExclusiveLock);
	eddy_local_lock_timeout(0);
}

/*
 * Takes these locks; an error if they are not available. When the results were compared before,
 * which would have to be repeated, they are requested several times.
 */
static void
take_locks(Finish *finish)
{
	ErrorData  *error;
	int			attempts = finish->replacement ? LOCK_ATTEMPTS : 1;

	while ((error = eddy_subtransaction_run(lock_for_finish, finish)) != NULL)
	{
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || --attempts == 0)
			ReThrowError(error);
		FreeErrorData(error);
		wait_for_latch(IDLE_WAIT);
	}
}

/*
 * Compares the results with those of the view that is replaced, while writers and batches continue.
 */
static void
prepare_replacement(Finish *finish)
{
	eddy_local_lock_timeout(LOCK_WAIT);
	finish->replacement = eddy_view_succeed_begin(view_oid, finish->replaces);
	eddy_local_lock_timeout(0);
}

/*
 * True if there is a reader for each source of the view's streams: sources can be attached
 * meanwhile.
 */
static bool
reads_all_sources(const EddyView *view)
{
	ListCell   *lc;

	foreach(lc, view->streams)
	{
		ListCell   *ls;

		foreach(ls, eddy_catalog_list_sources(lfirst_oid(lc)))
		{
			bool		found = false;
			ListCell   *lr;

			foreach(lr, readers)
				found |= ((EddyReader *) lfirst(lr))->source == ((EddySource *) lfirst(ls))->source;
			if (!found)
				return false;
		}
	}
	return true;
}

/*
 * Applies the last messages of all sources, whose streams are open and locked, and hands the view
 * over, or makes its state that of the view that it replaces.
 */
static void
hand_over(const Finish *finish)
{
	ListCell   *lc;

	eddy_clock_start();
	foreach(lc, readers)
		if (!eddy_reader_apply_last(lfirst(lc), list_nth(finish->opened, foreach_current_index(lc))))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("offsets of continuous view \"%s\" were changed concurrently",
							get_rel_name(view_oid))));
	eddy_clock_stop();
	ereport(LOG,
			(errmsg("continuous view \"%s\" has been filled from Kafka",
					get_rel_name(view_oid))));
	if (OidIsValid(finish->replaces))
		eddy_view_succeed(finish->replacement, view_oid, finish->replaces);
	else
		eddy_view_finish_start(view_oid);
	foreach(lc, finish->view->streams)
		eddy_close_request(lfirst_oid(lc));
	eddy_worker_wakeup_at_commit();
}

/* Opens the streams of all readers, and checks that all messages are there. */
static StepResult
open_streams(Finish *finish)
{
	ListCell   *lc;

	if (!reads_all_sources(finish->view))
		return STEP_REOPEN;
	foreach(lc, readers)
	{
		EddyReader *reader = lfirst(lc);
		Relation	stream;

		if (eddy_reader_lock(reader, &stream) != EDDY_CONTINUE)
			return STEP_REOPEN;
		finish->opened = lappend(finish->opened, stream);
		if (!eddy_reader_read_bounds(reader))
			return STEP_REOPEN;
		if (!eddy_reader_has_received_now(reader))
			return STEP_NOTHING;
	}
	return STEP_LEAVE;
}

/* Ends the filling, if all messages are there. */
static StepResult
step_finish(void *arg)
{
	const bool *prepares = arg;
	Finish		finish = {0};
	EddyViewStart *start;
	StepResult	result;
	ListCell   *lc;

	PushActiveSnapshot(GetTransactionSnapshot());
	finish.view = get_starting_view();
	if (finish.view == NULL)
	{
		PopActiveSnapshot();
		return STEP_LEAVE;
	}
	start = eddy_catalog_get_view_start(view_oid);
	finish.replaces = start ? start->replaces : InvalidOid;
	if (*prepares && OidIsValid(finish.replaces))
		prepare_replacement(&finish);
	take_locks(&finish);
	PopActiveSnapshot();
	/*
	 * no batch is in progress, and no source is being attached; with what was committed before the
	 * locks
	 */
	PushActiveSnapshot(GetLatestSnapshot());
	result = open_streams(&finish);
	/* it may have been dropped, or suspended, before the locks */
	if (result == STEP_LEAVE && (finish.view = get_starting_view()) != NULL)
		hand_over(&finish);
	else if (finish.replacement)
		/* what was prepared must not remain */
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("messages have arrived while results were compared")));
	foreach(lc, finish.opened)
	{
		PopActiveSnapshot();
		table_close(lfirst(lc), NoLock);
	}
	PopActiveSnapshot();
	return result;
}

/* Runs a step in a transaction; false with the error if it failed. */
static bool
try_step(Step step, void *arg, StepResult *result, ErrorData **error)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool ok = true;

	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		*result = step(arg);
		CommitTransactionCommand();
		MemoryContextSwitchTo(caller);
	}
	PG_CATCH();
	{
		*error = eddy_transaction_error(caller);
		eddy_transaction_abort(caller);
		ok = false;
	}
	PG_END_TRY();
	return ok;
}

typedef struct Failure
{
	const char *message;
	int			sqlerrcode;
} Failure;

static StepResult
step_report(void *arg)
{
	const Failure *failure = arg;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (get_starting_view())
		eddy_catalog_set_start_error(view_oid, failure->message,
									 unpack_sql_state(failure->sqlerrcode));
	PopActiveSnapshot();
	return STEP_DONE;
}

/* Shows the error of a step and waits. */
static void
report_failure(const ErrorData *error)
{
	Failure		failure = {error->message, error->sqlerrcode};
	StepResult	result;
	ErrorData  *other;

	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("continuous view %u could not be filled from Kafka: %s", view_oid,
					error->message)));
	if (!try_step(step_report, &failure, &result, &other))
		FreeErrorData(other);
	eddy_reader_error_is_shown();
	wait_for(RETRY_DELAY);
}

/* Keeps the rate below pg_eddy.catch_up_rate. */
static void
limit_rate(int rows, TimestampTz since)
{
	long		due;

	if (eddy_settings_catch_up_rate == 0 || rows == 0)
		return;
	due = (long) (rows * INT64CONST(1000) / eddy_settings_catch_up_rate) -
		TimestampDifferenceMilliseconds(since, GetCurrentTimestamp());
	while (due > 0)
	{
		TimestampTz before = GetCurrentTimestamp();

		wait_for(Min(due, IDLE_WAIT));
		due -= Max(TimestampDifferenceMilliseconds(before, GetCurrentTimestamp()), 1);
	}
}

/* Shows an error of the broker; STEP_REOPEN if the client cannot be used any more. */
static StepResult
handle_broker_error(EddyReader *reader, bool received, const EddyKafkaError *error)
{
	if (received || error->kind == EDDY_KAFKA_OK)
		return STEP_NOTHING;
	report_broker_error(reader, error);
	if (error->kind == EDDY_KAFKA_RETRIABLE)
		return STEP_NOTHING;
	wait_for(RETRY_DELAY);
	return STEP_REOPEN;
}

/*
 * Applies a batch of a reader, which can be empty. An error because of which it cannot be applied
 * is shown, and the messages are tried again.
 */
static StepResult
apply_batch(EddyReader *reader)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile EddyOutcome outcome = EDDY_CONTINUE;
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		outcome = eddy_batch_apply(&reader->worker);
	}
	PG_CATCH();
	{
		error = eddy_transaction_error(caller);
		eddy_transaction_abort(caller);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	if (error)
	{
		/* an error outside of the batch's own transaction leaves it taken */
		eddy_reader_return_batch(&reader->worker);
		report_failure(error);
		return STEP_NOTHING;
	}
	if (outcome == EDDY_LEAVE)
		return STEP_LEAVE;
	/* a smaller batch is to be tried, with the messages that are in memory */
	if (outcome == EDDY_RESTART && reader->worker.failed != NIL)
		return STEP_DONE;
	return outcome == EDDY_CONTINUE ? STEP_DONE : STEP_REOPEN;
}

/* Reads the bounds of a reader again if that is due. */
static StepResult
refresh_bounds(EddyReader *reader)
{
	ErrorData  *failure;
	StepResult	result;

	if (eddy_reader_has_work(reader) ||
		!TimestampDifferenceExceeds(reader->bounds_at, GetCurrentTimestamp(), BOUNDS_INTERVAL))
		return STEP_NOTHING;
	if (try_step(step_read_bounds, reader, &result, &failure))
		return result;
	report_failure(failure);
	return STEP_REOPEN;
}

/* Applies what a reader has received; *idle is set to false if there was something. */
static StepResult
advance(EddyReader *reader, bool *idle)
{
	EddySourceWorker *worker = &reader->worker;
	EddyKafkaError error = {0};
	TimestampTz since = GetCurrentTimestamp();
	bool		received = eddy_reader_receive(reader, &error);
	StepResult	result = refresh_bounds(reader);

	if (result != STEP_NOTHING)
		return result;
	if (eddy_reader_has_bad_message(reader) && !eddy_reader_measure_bad_message(reader))
	{
		report_broker_error(reader, &reader->bad);
		wait_for(RETRY_DELAY);
		return STEP_REOPEN;
	}
	if (eddy_reader_has_work(reader) || eddy_reader_has_bad_message(reader))
	{
		int			rows = eddy_reader_take_batch(reader, Min(worker->row_limit,
															  eddy_attempt_limit(worker)));

		result = apply_batch(reader);
		if (result == STEP_LEAVE || result == STEP_REOPEN)
			return result;
		if (result == STEP_DONE)
			limit_rate(rows, since);
		*idle = false;
	}
	if (handle_broker_error(reader, received, &error) == STEP_REOPEN)
		return STEP_REOPEN;
	return result;
}

/*
 * True if everything that the workers of the sources have consumed was received, and no message is
 * to be feared, which would be processed while writers wait.
 */
static bool
may_finish(void)
{
	ListCell   *lc;

	foreach(lc, readers)
		if (!eddy_reader_has_received_all(lfirst(lc)) ||
			eddy_attempt_cautious(&((EddyReader *) lfirst(lc))->worker) ||
			((EddyReader *) lfirst(lc))->worker.failed != NIL)
			return false;
	return true;
}

/* Tries to end the filling. */
static StepResult
finish_filling(void)
{
	ErrorData  *failure;
	StepResult	result;
	bool		prepares = finish_attempts < PREPARED_ATTEMPTS;
	bool		had_messages = false;
	ListCell   *lc;

	if (try_step(step_finish, &prepares, &result, &failure))
		return result;
	finish_attempts++;
	eddy_clock_stop();
	/* what was taken is applied by batches, which find out what fails */
	foreach(lc, readers)
	{
		had_messages |= ((EddyReader *) lfirst(lc))->worker.nmessages > 0;
		eddy_reader_return_batch(lfirst(lc));
	}
	if (!had_messages && !eddy_batch_is_transient(failure->sqlerrcode))
		report_failure(failure);
	else
		ereport(DEBUG1,
				(errmsg("continuous view %u is not handed over yet: %s", view_oid,
						failure->message)));
	/* a process that holds a lock must not make others wait most of the time */
	finish_interval = Min(finish_interval * 2, FINISH_INTERVAL_MAX);
	return STEP_NOTHING;
}

/* Reads until the view is filled, or the sources have to be opened again. */
static StepResult
fill(MemoryContext loop_context)
{
	TimestampTz last_try = 0;

	for (;;)
	{
		bool		idle = true;
		ListCell   *lc;
		StepResult	result;

		CHECK_FOR_INTERRUPTS();
		eddy_process_reload_config();
		MemoryContextSwitchTo(loop_context);
		MemoryContextReset(loop_context);
		foreach(lc, readers)
		{
			result = advance(lfirst(lc), &idle);
			if (result == STEP_LEAVE || result == STEP_REOPEN)
				return result;
		}
		/* also while messages keep arriving */
		if (may_finish() &&
			TimestampDifferenceExceeds(last_try, GetCurrentTimestamp(), finish_interval))
		{
			result = finish_filling();
			if (result == STEP_LEAVE || result == STEP_REOPEN)
				return result;
			last_try = GetCurrentTimestamp();
		}
		if (idle)
			wait_for(IDLE_WAIT);
	}
}

/* Opens all sources of the streams. */
static EddyOutcome
open_readers(void)
{
	TimestampTz start;
	ListCell   *lc;

	MemoryContextSwitchTo(readers_context);
	if (!read_view(&start))
		return EDDY_LEAVE;
	foreach(lc, readers)
	{
		EddyReader *reader = lfirst(lc);
		EddyKafkaError error = {0};
		EddyOutcome outcome = eddy_reader_open(reader, start, &error);

		crash_delay = Max(crash_delay, reader->delay);
		MemoryContextSwitchTo(readers_context);
		if (outcome != EDDY_CONTINUE)
		{
			report_broker_error(reader, &error);
			return outcome == EDDY_LEAVE ? EDDY_RESTART : outcome;
		}
	}
	return EDDY_CONTINUE;
}

/* After crashes: shows the reason, and waits. Each crash restarts the whole server. */
static void
wait_after_crash(void)
{
	int64		end = eddy_monotonic_real() + INT64CONST(1000) * crash_delay;
	ListCell   *lc;

	foreach(lc, readers)
	{
		EddySourceWorker *worker = &((EddyReader *) lfirst(lc))->worker;

		if (eddy_attempt_cautious(worker))
			eddy_reader_show_error(worker, eddy_attempt_describe(worker), ERRCODE_CRASH_SHUTDOWN);
	}
	crash_delay = 0;
	while (eddy_monotonic_real() < end)
		wait_for((long) (Max(end - eddy_monotonic_real(), 0) / 1000) + 1);
}

/* One session. True if the process is to end. */
static bool
run_session(MemoryContext loop_context)
{
	EddyOutcome outcome = open_readers();
	StepResult	result = STEP_REOPEN;

	if (outcome == EDDY_CONTINUE)
	{
		wait_after_crash();
		result = fill(loop_context);
	}
	close_readers();
	if (outcome == EDDY_LEAVE || result == STEP_LEAVE)
		return true;
	wait_for(outcome == EDDY_CONTINUE ? IDLE_WAIT : RETRY_DELAY);
	return false;
}

/* The same, with the errors that it raises. */
static bool
try_session(MemoryContext loop_context)
{
	volatile bool leaves = false;
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		leaves = run_session(loop_context);
	}
	PG_CATCH();
	{
		error = eddy_transaction_error(loop_context);
		eddy_transaction_abort(loop_context);
	}
	PG_END_TRY();
	if (error)
	{
		close_readers();
		MemoryContextSwitchTo(loop_context);
		report_failure(error);
	}
	return leaves;
}

void
eddy_catch_up_worker_main(Datum arg)
{
	MemoryContext loop_context;
	EddyWorkerId id = eddy_slots_attach(arg);

	view_oid = (Oid) id.id;
	readers_context = AllocSetContextCreate(TopMemoryContext, "pg_eddy sources of a view",
											ALLOCSET_DEFAULT_SIZES);
	loop_context = AllocSetContextCreate(TopMemoryContext, "pg_eddy catch-up worker loop",
										 ALLOCSET_DEFAULT_SIZES);
	eddy_process_connect(id.database);
	on_shmem_exit(at_exit, (Datum) 0);
	eddy_definition_watch();
	eddy_process_keep_memory();
	eddy_view_cache_groups();
	pgstat_report_activity(STATE_RUNNING, "filling a continuous view");

	while (!try_session(loop_context))
		CHECK_FOR_INTERRUPTS();
	eddy_attempt_remove_files();
	eddy_slots_finish();
	proc_exit(0);
}

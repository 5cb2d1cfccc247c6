/*-------------------------------------------------------------------------
 *
 * source_worker.c
 *    The process of a source worker: loop, waiting, back-off, status.
 *
 *   start: open a client -> settle the offsets -> assign
 *   loop:  collect messages -> apply them in one transaction -> wait for more
 *
 * Every failure leads to one of two visible states. "waiting": the worker retries
 * (broker unreachable, topic missing, an error of a batch), with a back-off and without using the
 * CPU. "stopped": an administrator must decide (lost offsets, an invalid message with
 * on_error => 'stop'); the worker exits.
 *
 * It sleeps in a WaitEventSet on its latch, the death of the postmaster and
 * librdkafka's pipe. If the latch is set, a transaction may have committed a change that concerns
 * the source. SIGTERM is served between any two steps; no call into librdkafka waits
 * longer than a second, and while messages may arrive none longer than 20 ms (inquiry.c).
 *
 * Locking: none outside of batches and short reads. Memory: the loop's context is reset in each
 * iteration; messages are librdkafka's. After a crash of this process, or of the server, a new
 * process starts from the stored offsets.
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
#include "storage/sinval.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "monotonic.h"
#include "transaction_error.h"
#include "view/view.h"
#include "worker/process.h"
#include "worker/slots.h"
#include "worker/source_worker.h"

#define PROBE_INTERVAL 10000L	/* ms between checks for new partitions */
#define WATCH_INTERVAL 2000L	/* ms between checks of a partition without progress */
#define RETRY_INTERVAL_MIN 500L /* ms between requests while the broker is unreachable */
#define RETRY_INTERVAL_MAX 4000L
#define GAP_INTERVAL 1000L		/* ms after which an offset without messages is stored */

/*
 * While messages keep arriving, the next batch begins so many ms after the one before, if that was
 * small. Each batch costs CPU time, also of the broker, for its request, its commit and writing the
 * groups that it touches.
 */
#define BATCH_INTERVAL 4L
#define SMALL_BATCH 1000		/* messages */

/* The status as shown in eddy.sources, which is written on changes only. */
typedef struct ReportedStatus
{
	bool		valid;			/* else none has been written */
	bool		running;
	int			sqlerrcode;
	char		error[1024];
} ReportedStatus;

static EddySourceWorker *worker = NULL;
static ReportedStatus reported;

/* ---- status ---- */

static void
report_running(void)
{
	if (eddy_attempt_cautious(worker))
	{
		char	   *text = eddy_attempt_describe(worker);

		eddy_source_report_waiting(text, ERRCODE_CRASH_SHUTDOWN);
		pfree(text);
		return;
	}
	if (worker->stalled || (reported.valid && reported.running))
		return;
	if (reported.valid)
		ereport(LOG,
				(errmsg("source of stream \"%s\", topic \"%s\" resumed", worker->stream_name,
						worker->topic_name)));
	eddy_process_set_status(worker->id.id, worker->id.shard, "running", NULL, NULL);
	reported.valid = reported.running = true;
	pgstat_report_activity(STATE_RUNNING, "consuming");
}

/*
 * eddy_source_report_waiting shows in eddy.sources what keeps the source from making progress.
 * To be called outside of transactions.
 */
void
eddy_source_report_waiting(const char *error, int sqlerrcode)
{
	if (reported.valid && !reported.running && strcmp(reported.error, error) == 0)
		return;
	/* a series of failures is logged once, even if the text of later ones differs */
	ereport(reported.valid && !reported.running ? DEBUG1 : LOG,
			(errcode(sqlerrcode),
			 errmsg("source of stream \"%s\", topic \"%s\" is waiting: %s", worker->stream_name,
					worker->topic_name, error)));
	eddy_process_set_status(worker->id.id, worker->id.shard, "waiting", error,
							unpack_sql_state(sqlerrcode));
	reported.valid = true;
	reported.running = false;
	reported.sqlerrcode = sqlerrcode;
	strlcpy(reported.error, error, sizeof(reported.error));
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* The same for an error of the broker, with the topic or partition that it concerns. */
static void
report_broker_error(const EddyKafkaError *error)
{
	char		text[sizeof(reported.error)];
	const char *topic = worker->definition ? worker->definition->source->topic : "";

	/* a response that is too large closes the connection: keep showing the cause */
	if (worker->stalled && !reported.running &&
		reported.sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_CONNECTION_EXCEPTION)
		return;

	if (error->kind == EDDY_KAFKA_OFFSET_LOST && error->partition < 0)
		strlcpy(text, error->message, sizeof(text));	/* of start.c, which names it */
	else if (error->partition >= 0)
		snprintf(text, sizeof(text), "topic \"%s\", partition %d: %s", topic,
				 error->partition, error->message);
	else if (error->kind == EDDY_KAFKA_TOPIC_MISSING)
		snprintf(text, sizeof(text), "topic \"%s\": %s", topic, error->message);
	else
		strlcpy(text, error->message, sizeof(text));
	eddy_source_report_waiting(text, error->sqlerrcode);
}

/* ---- client ---- */

static void
close_client(void)
{
	EddyKafkaClient *client = worker->client;

	if (client == NULL)
		return;
	eddy_batch_release(worker);
	worker->client = NULL;
	eddy_kafka_close(client);
}

/* librdkafka's threads must have ended before the process runs its other exit handlers. */
static void
at_exit(int code pg_attribute_unused(), Datum arg pg_attribute_unused())
{
	eddy_attempt_end();
	close_client();
}

/* ---- waiting ---- */

/* Sleeps until an event or the timeout. True if the latch was set. */
static bool
wait_for_events(WaitEventSet *set, long timeout)
{
	static uint32 wait_event = 0;
	WaitEvent	events[3];
	int			count;
	bool		latch = false;

	count = WaitEventSetWait(set, timeout, events, lengthof(events),
							 eddy_compat_wait_event(&wait_event, "EddyKafkaPoll"));
	for (int i = 0; i < count; i++)
		latch = latch || (events[i].events & WL_LATCH_SET) != 0;
	if (latch)
		ResetLatch(MyLatch);
	return latch;
}

/* Waits before another attempt; a commit that concerns the database ends the wait. */
static void
back_off(long delay)
{
	static uint32 wait_event = 0;

	pgstat_report_stat(true);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, delay,
					 eddy_compat_wait_event(&wait_event, "EddyBackOff"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	eddy_process_reload_config();
	/* the server or the user mapping may have been corrected */
	eddy_definition_invalidate();
}

/* ---- changes by concurrent transactions ---- */

/* Reads the definition and the offsets again after a wake-up. */
static EddyOutcome
check_definition(void)
{
	MemoryContext caller = CurrentMemoryContext;
	Relation	stream;
	EddyOutcome outcome;

	eddy_definition_invalidate();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	outcome = eddy_definition_lock(worker, &stream);
	if (outcome == EDDY_CONTINUE)
	{
		if (eddy_start_moved(worker))
			outcome = EDDY_RESTART;
		PopActiveSnapshot();
		table_close(stream, NoLock);
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return outcome;
}

/*
 * Waits after a crash. Commits do not shorten the wait: each crash restarts the whole server. If
 * the source is paused or detached, the worker exits at once.
 */
static EddyOutcome
wait_after_crash(long delay)
{
	static uint32 wait_event = 0;
	int64		end = eddy_monotonic_real() + INT64CONST(1000) * delay;
	EddyOutcome outcome = EDDY_CONTINUE;

	while (outcome != EDDY_LEAVE && eddy_monotonic_real() < end)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 (long) (Max(end - eddy_monotonic_real(), 0) / 1000) + 1,
						 eddy_compat_wait_event(&wait_event, "EddyBackOff"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		eddy_process_reload_config();
		outcome = check_definition();
	}
	return outcome == EDDY_LEAVE ? EDDY_LEAVE : EDDY_CONTINUE;
}

/* ---- the loop ---- */

/* Handles an error that the poll has returned. */
static EddyOutcome
handle_poll_error(const EddyKafkaError *error)
{
	switch (error->kind)
	{
		case EDDY_KAFKA_OK:
			return EDDY_CONTINUE;
		case EDDY_KAFKA_RETRIABLE:
			/* does not pass by itself: only progress shows that it is resolved */
			if (error->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED)
				worker->stalled = true;
			report_broker_error(error);
			return EDDY_CONTINUE;
		case EDDY_KAFKA_OFFSET_LOST:
		case EDDY_KAFKA_TOPIC_MISSING:
			report_broker_error(error);
			return EDDY_RESTART;
		case EDDY_KAFKA_BAD_MESSAGE:
			/* handled with the batch unless its position or end is unknown */
			report_broker_error(error);
			return EDDY_RESTART;
		case EDDY_KAFKA_CONFIG:
		case EDDY_KAFKA_FATAL:
			report_broker_error(error);
			return EDDY_REOPEN;
	}
	return EDDY_REOPEN;
}

/*
 * Checks for new partitions and new messages, and whether the broker is reachable again: evaluates
 * the response to the request of eddy_progress_ask, or error if that has failed.
 */
static EddyOutcome
check_progress(EddyKafkaError *error, long *interval)
{
	EddyOutcome outcome = EDDY_CONTINUE;
	bool		watch = false;

	if (error->kind == EDDY_KAFKA_OK)
		outcome = eddy_progress_check(worker, &watch, error);
	if (outcome != EDDY_CONTINUE)
		return outcome;
	if (error->kind == EDDY_KAFKA_OK)
	{
		if (!worker->batch_failed)
			report_running();
		*interval = !worker->idle.confirmed ? RETRY_INTERVAL_MIN :
			watch ? WATCH_INTERVAL : PROBE_INTERVAL;
		return EDDY_CONTINUE;
	}
	eddy_idle_doubt(worker);
	*interval = reported.running ? RETRY_INTERVAL_MIN :
		Min(*interval * 2, RETRY_INTERVAL_MAX);
	return handle_poll_error(error);
}

/* Applies the batch, which may delay the next poll for long. */
static EddyOutcome
apply_batch(void)
{
	EddyOutcome outcome;

	eddy_slots_set_busy(true);
	outcome = eddy_batch_apply(worker);
	eddy_slots_set_busy(false);
	if (outcome == EDDY_CONTINUE && !worker->batch_failed)
		report_running();
	return outcome;
}

/* Waits after a batch with so many messages, collected at a time, until the next one may begin. */
static void
wait_for_more(TimestampTz start, int nmessages)
{
	static uint32 wait_event = 0;
	long		rest = BATCH_INTERVAL -
		TimestampDifferenceMilliseconds(start, GetCurrentTimestamp());

	/* the latch, if it is set, remains so for wait_for_events */
	if (nmessages > 0 && nmessages < SMALL_BATCH && rest > 0)
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, rest,
						 eddy_compat_wait_event(&wait_event, "EddyBatchInterval"));
}

/* What the loop keeps from one round to the next. */
typedef struct ConsumeLoop
{
	long		interval;		/* ms between checks for new partitions */
	TimestampTz next_probe;		/* the next one of these */
	TimestampTz last_store;		/* when offsets were last stored */
	bool		woken;			/* the latch was set */
	bool		slept;			/* since the last poll */
} ConsumeLoop;

static void
set_probe_interval(ConsumeLoop *loop, long interval)
{
	loop->interval = interval;
	loop->next_probe = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), interval);
}

/* After a sign of trouble, unless requests are already repeated. */
static void
probe_soon(ConsumeLoop *loop)
{
	if (loop->interval == PROBE_INTERVAL)
		set_probe_interval(loop, RETRY_INTERVAL_MIN);
}

/*
 * Notes messages that cannot be read, after those of the batch, if it can be determined how many
 * there are. If not, the session is started again.
 */
static void
note_bad_message(const EddyKafkaError *error)
{
	const EddyPartitionState *state =
		eddy_partitions_find(&worker->partitions, error->partition);

	if (error->kind != EDDY_KAFKA_BAD_MESSAGE || error->offset < 0 || state == NULL)
		return;
	worker->bad = *error;
	/* the partitions are not read meanwhile */
	eddy_idle_doubt(worker);
	worker->has_bad = eddy_bad_message_measure(worker, &worker->bad,
											   eddy_progress_position(worker, state),
											   &worker->bad_next);
}

/* Collects a batch; false, with *error, if the poll has failed. */
static bool
collect_batch(ConsumeLoop *loop, EddyKafkaError *error)
{
	bool		ok;

	eddy_kafka_drain_fd(worker->client);
	if (!eddy_idle_observe(worker, loop->slept))
		probe_soon(loop);
	loop->slept = false;
	ok = eddy_batch_collect(worker, error);
	if (!ok)
		note_bad_message(error);
	if (worker->nmessages == 0)
		worker->drained_at = GetCurrentTimestamp();
	return ok;
}

/*
 * Applies what was collected until now, also if that is offsets without messages, which are stored
 * once in a while. *gap: there are such offsets, *applied: the batch was applied.
 */
static EddyOutcome
apply_collected(ConsumeLoop *loop, TimestampTz now, bool *gap, bool *applied)
{
	int			nmessages = worker->nmessages;
	EddyOutcome outcome;

	*gap = nmessages == 0 && eddy_batch_moved(worker);
	*applied = nmessages > 0 || worker->has_bad ||
		(*gap && now - loop->last_store >= GAP_INTERVAL * 1000);
	if (!*applied)
		return EDDY_CONTINUE;
	outcome = apply_batch();
	if (outcome != EDDY_CONTINUE)
		return outcome;
	loop->last_store = now;
	*gap = false;
	(void) pgstat_report_stat(false);
	wait_for_more(now, nmessages);
	return EDDY_CONTINUE;
}

static EddyOutcome
handle_failed_poll(ConsumeLoop *loop, const EddyKafkaError *error)
{
	EddyOutcome outcome;

	eddy_idle_doubt(worker);
	outcome = handle_poll_error(error);
	if (outcome == EDDY_CONTINUE && !reported.running)
		probe_soon(loop);
	return outcome;
}

/* Requests the ends of partitions when it is time, and evaluates the response when it has come. */
static EddyOutcome
probe_broker(ConsumeLoop *loop, TimestampTz now, EddyKafkaError *error)
{
	EddyOutcome outcome;

	if (!eddy_kafka_asked(worker->client) &&
		(now >= loop->next_probe || eddy_idle_wait(worker) == 0))
		(void) eddy_progress_ask(worker, error);
	if (error->kind == EDDY_KAFKA_OK && !eddy_kafka_answered(worker->client))
		return EDDY_CONTINUE;
	outcome = check_progress(error, &loop->interval);
	/* the marks of idle partitions */
	if (outcome == EDDY_CONTINUE && worker->idle.changed)
		outcome = apply_batch();
	if (outcome != EDDY_CONTINUE)
		return outcome;
	set_probe_interval(loop, loop->interval);
	eddy_process_return_memory();
	return EDDY_CONTINUE;
}

/*
 * Sleeps until there may be messages, or until the next work by the clock. gap: an offset is to be
 * stored.
 */
static void
sleep_until_event(ConsumeLoop *loop, WaitEventSet *set, bool applied, bool gap)
{
	long		timeout;

	/* after a batch there may be more messages: only an empty poll leads to sleep */
	if (applied)
		timeout = 0;
	else if (eddy_kafka_asked(worker->client))
		timeout = PROBE_INTERVAL;	/* the response ends it */
	else
		timeout = Min(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), loop->next_probe) + 1,
					  eddy_idle_wait(worker));
	if (gap)
		timeout = Min(timeout, GAP_INTERVAL);
	if (timeout > 0)
		(void) pgstat_report_stat(true);
	(void) eddy_idle_observe(worker, false);
	loop->slept = true;
	if (wait_for_events(set, timeout))
	{
		loop->woken = true;
		/* keeps the shared queue of invalidations short while the worker is idle */
		if (catchupInterruptPending)
			ProcessCatchupInterrupt();
	}
}

/* Consumes until the session must be restarted. */
static EddyOutcome
consume(WaitEventSet *set, MemoryContext loop_context)
{
	ConsumeLoop loop = {.woken = true};

	set_probe_interval(&loop, PROBE_INTERVAL);
	for (;;)
	{
		EddyKafkaError error = {0};
		EddyOutcome outcome = EDDY_CONTINUE;
		TimestampTz now;
		bool		ok;
		bool		gap;
		bool		applied;

		CHECK_FOR_INTERRUPTS();
		eddy_process_reload_config();
		MemoryContextSwitchTo(loop_context);
		MemoryContextReset(loop_context);
		if (loop.woken || eddy_definition_stale())
			outcome = check_definition();
		loop.woken = false;
		if (outcome != EDDY_CONTINUE)
			return outcome;

		ok = collect_batch(&loop, &error);
		now = GetCurrentTimestamp();
		outcome = apply_collected(&loop, now, &gap, &applied);
		if (outcome == EDDY_CONTINUE)
			outcome = ok ? probe_broker(&loop, now, &error) : handle_failed_poll(&loop, &error);
		if (outcome != EDDY_CONTINUE)
			return outcome;
		/* more messages may follow an error */
		if (ok)
			sleep_until_event(&loop, set, applied, gap);
	}
}

/* From the start to the end of a session. *error is set if the broker fails at the start. */
static EddyOutcome
run_session(MemoryContext loop_context, EddyKafkaError *error)
{
	EddyOutcome outcome;
	WaitEventSet *set;

	MemoryContextSwitchTo(loop_context);
	MemoryContextReset(loop_context);
	if (worker->attempt == NULL)
	{
		long		delay;

		outcome = eddy_attempt_begin(worker, &delay);
		if (outcome != EDDY_CONTINUE)
			return outcome;
		if (delay > 0)
		{
			report_running();
			outcome = wait_after_crash(delay);
			if (outcome != EDDY_CONTINUE)
				return outcome;
		}
		MemoryContextSwitchTo(loop_context);
	}
	if (worker->client == NULL)
	{
		outcome = eddy_start_open(worker, error);
		if (outcome != EDDY_CONTINUE)
			return outcome;
		MemoryContextSwitchTo(loop_context);
	}
	eddy_kafka_unassign(worker->client);
	outcome = eddy_start_assign(worker, error);
	if (outcome != EDDY_CONTINUE)
		return outcome;
	eddy_attempt_settle(worker);
	eddy_batch_settle(worker);
	eddy_progress_reset(worker);
	eddy_idle_begin(worker);
	MemoryContextSwitchTo(loop_context);
	if (!worker->batch_failed)
		report_running();

	set = eddy_compat_create_wait_event_set(3);
	PG_TRY();
	{
		AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		AddWaitEventToSet(set, WL_SOCKET_READABLE, eddy_kafka_fd(worker->client), NULL, NULL);
		outcome = consume(set, loop_context);
	}
	PG_FINALLY();
	{
		FreeWaitEventSet(set);
	}
	PG_END_TRY();
	return outcome;
}

/*
 * Runs a session and handles errors it raises. Returns what to do next, and in *delay how long to
 * wait before that.
 */
static EddyOutcome
try_session(MemoryContext loop_context, long *broker_delay, long *delay)
{
	EddyKafkaError error = {0};
	volatile EddyOutcome outcome = EDDY_RESTART;
	volatile bool failed = false;
	volatile int failure_code = 0;
	char		failure[1024];

	PG_TRY();
	{
		outcome = run_session(loop_context, &error);
	}
	PG_CATCH();
	{
		ErrorData  *edata = eddy_transaction_error(loop_context);

		/* the log gets the whole error, once per series; the status has its message */
		if (!reported.valid || reported.running || strcmp(reported.error, edata->message) != 0)
			EmitErrorReport();
		eddy_transaction_abort(loop_context);
		failed = true;
		failure_code = edata->sqlerrcode;
		strlcpy(failure, edata->message ? edata->message : "", sizeof(failure));
	}
	PG_END_TRY();

	eddy_idle_doubt(worker);
	eddy_slots_set_busy(false);
	eddy_batch_release(worker);
	*delay = 0;
	if (failed)
	{
		eddy_source_report_waiting(failure, failure_code);
		*delay = eddy_slots_fail();
	}
	else if (error.kind != EDDY_KAFKA_OK)
	{
		report_broker_error(&error);
		*delay = *broker_delay;
		*broker_delay = Min(*broker_delay * 2, RETRY_INTERVAL_MAX);
		return outcome;
	}
	else if (!reported.running)
		*delay = RETRY_INTERVAL_MIN;	/* the loop met an error and restarts */
	*broker_delay = RETRY_INTERVAL_MIN;
	return outcome;
}

/* Before a regular exit: removes the file of a source that was detached. */
static void
leave(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (eddy_catalog_get_source(worker->id.id) == NULL)
		eddy_attempt_remove_file(worker);
	CommitTransactionCommand();
}

void
eddy_source_worker_main(Datum arg)
{
	MemoryContext loop_context;
	long		broker_delay = RETRY_INTERVAL_MIN;
	EddyWorkerId id = eddy_slots_attach(arg);

	worker = MemoryContextAllocZero(TopMemoryContext, sizeof(EddySourceWorker));
	worker->id = id;
	worker->work = &eddy_batch_consume;
	worker->row_limit = EDDY_NO_BATCH_LIMIT;
	eddy_process_connect(id.database);
	on_shmem_exit(at_exit, (Datum) 0);
	eddy_definition_watch();

	eddy_process_keep_memory();
	eddy_view_cache_groups();

	/* values of rows: freed as a whole after each batch, and in large pieces */
	worker->batch_context = GenerationContextCreate(TopMemoryContext, "pg_eddy batch",
													0, 4 * 1024 * 1024, 8 * 1024 * 1024);
	loop_context = AllocSetContextCreate(TopMemoryContext, "pg_eddy source worker loop",
										 ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		long		delay;
		EddyOutcome outcome = try_session(loop_context, &broker_delay, &delay);

		if (outcome == EDDY_LEAVE)
			break;
		if (outcome == EDDY_REOPEN)
			close_client();
		if (delay > 0)
			back_off(delay);
	}
	leave();
	eddy_slots_finish();
	proc_exit(0);
}

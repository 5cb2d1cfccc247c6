/*-------------------------------------------------------------------------
 *
 * batch.c
 *    One batch of one source: from polled messages to COMMIT.
 *
 * The worker of a source consumes what it has polled; what else a batch is, and what it does in its
 * transaction, are the operations of EddyBatchWork, so that a worker that fills a view from Kafka
 * retries, shrinks and rejects likewise.
 *
 * Before the transaction the decoder resolves what the messages need, which may wait for the
 * network. The transaction locks stream and source, reads the definition if it has changed, and
 * takes the steps of src/apply/pipeline.c, of which the last advances the offsets by
 * compare-and-set. A crash at any line leaves all of the batch or nothing; the worker then starts
 * from the stored offsets. If the commit does not wait for the disk (flush.c), a crash can take
 * back the last batches, with their offsets. Messages belong to librdkafka and are kept until the
 * commit, so a batch that failed is retried from memory.
 *
 * Several workers of a source, or of several sources of a stream, add to the same groups. While
 * these exist already, they wait for each other's rows. A group that two of them insert fails the
 * later batch, which is retried, and the worker then lets its merges take turns with those of
 * others.
 *
 * Locks, in this order: stream (RowExclusiveLock), source (object lock), segment, state
 * tables and their rows in the order of the views, dead letters, rows of _partition in order of
 * partition. The broker is never waited for here, nor the network within the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "settings.h"
#include "transaction_error.h"
#include "view/view.h"
#include "worker/flush.h"
#include "worker/process.h"
#include "worker/slots.h"
#include "worker/source_worker.h"

#define POLL_WAIT 5				/* ms; how long a single call may wait inside librdkafka */
#define FEW_BEHIND 100			/* offsets for which a small batch does not wait */
#define BATCH_CELLS (4 * 1024 * 1024)	/* rows times columns; 10 bytes each */
#define LARGE_MESSAGE (1024 * 1024) /* bytes; after it memory is released immediately */
#define TRANSIENT_RETRIES 5		/* deadlocks, cancelled waits */
#define CONTENDED_BATCHES 1000	/* that follow a collision with another writer of new groups */
#define SHRINK_FACTOR 32		/* a failed batch is retried in so many parts */

/* ---- collecting ---- */

static int
batch_row_limit(const EddySourceWorker *worker)
{
	int			limit = eddy_pace_limit(worker);

	/* rows of very many columns are large even if nearly all are null */
	if (worker->definition)
		limit = Min(limit, Max(BATCH_CELLS / Max(worker->definition->tupdesc->natts, 1), 1));
	limit = Min(limit, worker->row_limit);
	return Min(limit, eddy_attempt_limit(worker));
}

static void
make_room(EddySourceWorker *worker, int room)
{
	if (room <= worker->room)
		return;
	Assert(worker->nmessages == 0);
	worker->room = 0;
	if (worker->messages)
		pfree(worker->messages);
	if (worker->payloads)
		pfree(worker->payloads);
	worker->messages = NULL;
	worker->payloads = NULL;
	worker->messages = MemoryContextAllocHuge(TopMemoryContext,
											  mul_size(room, sizeof(EddyKafkaMessage)));
	worker->payloads = MemoryContextAllocHuge(TopMemoryContext,
											  mul_size(room, sizeof(EddyDecodeMessage)));
	worker->room = room;
}

/*
 * The number of offsets that the broker has and we have not taken. Not all of them are messages
 * that can be fetched: there are also control records, and messages of open transactions.
 */
static int64
count_behind(EddySourceWorker *worker)
{
	const char *topic = worker->definition->source->topic;
	int64		behind = 0;

	for (int i = 0; i < worker->partitions.count; i++)
	{
		const EddyPartitionState *state = &worker->partitions.states[i];
		int64		position;

		if (eddy_kafka_caught_up(worker->client, state->partition))
			continue;
		position = eddy_kafka_position(worker->client, topic, state->partition);
		if (position < 0)
			position = state->stored.next_offset;
		behind += Max(eddy_kafka_cached_high(worker->client, topic, state->partition) - position,
					  0);
	}
	return behind;
}

/* The number of messages to take next, so that the batch hardly exceeds its size in bytes. */
static int
next_chunk(const EddySourceWorker *worker, int limit, int64 bytes)
{
	int64		max_bytes = (int64) eddy_settings_batch_bytes * 1024;
	int			chunk = Min(limit - worker->nmessages, EDDY_POLL_CHUNK);
	int64		average;

	if (chunk <= 0 || bytes >= max_bytes)
		return 0;
	if (worker->nmessages == 0)
		return chunk;
	average = Max(bytes / worker->nmessages, 1);
	return Max(Min(chunk, (max_bytes - bytes) / average), 1);
}

/*
 * eddy_batch_collect takes the fetched messages. With a backlog it continues until the batch is
 * full by rows, bytes or time, and waits for what librdkafka fetches; otherwise it returns
 * immediately. Returns false with an error if there was one; the messages before it are valid.
 */
bool
eddy_batch_collect(EddySourceWorker *worker, EddyKafkaError *error)
{
	int			limit = batch_row_limit(worker);
	int64		bytes = 0;
	TimestampTz deadline = 0;
	bool		waits = true;

	make_room(worker, limit);
	worker->end = EDDY_PACE_DRAINED;
	for (;;)
	{
		int			before = worker->nmessages;
		int			chunk = next_chunk(worker, limit, bytes);

		if (chunk <= 0)
		{
			worker->end = EDDY_PACE_FULL;
			return true;
		}
		if (!eddy_kafka_poll(worker->client, before > 0 && waits ? POLL_WAIT : 0, chunk,
							 worker->messages, &worker->nmessages, error))
			return false;
		for (int i = before; i < worker->nmessages; i++)
			bytes += worker->messages[i].payload_len + worker->messages[i].key_len;

		if (worker->nmessages == 0)
			return true;
		if (worker->nmessages - before < chunk)
		{
			int64		behind = count_behind(worker);

			waits = worker->nmessages >= EDDY_POLL_CHUNK || behind > FEW_BEHIND;
			if (behind == 0 || (!waits && worker->nmessages == before))
				return true;
		}
		CHECK_FOR_INTERRUPTS();
		if (deadline == 0)
			deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												   eddy_settings_batch_time);
		else if (GetCurrentTimestamp() >= deadline)
		{
			worker->end = EDDY_PACE_SLOW;
			return true;
		}
	}
}

/* eddy_batch_release: messages that were not applied are fetched again, from the stored offsets. */
void
eddy_batch_release(EddySourceWorker *worker)
{
	if (worker->nmessages > 0)
		eddy_kafka_release(worker->messages, worker->nmessages);
	worker->nmessages = 0;
	worker->has_bad = false;
}

bool
eddy_batch_moved(EddySourceWorker *worker)
{
	const char *topic = worker->definition->source->topic;

	for (int i = 0; i < worker->partitions.count; i++)
	{
		const EddyPartitionState *state = &worker->partitions.states[i];

		if (eddy_kafka_position(worker->client, topic, state->partition) >
			state->stored.next_offset)
			return true;
	}
	return false;
}

/* ---- offsets and counts ---- */

/* Adds the counts of the batch to the next state of each partition. */
static void
count_rows(EddySourceWorker *worker)
{
	const EddyApply *apply = &worker->apply;
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < worker->partitions.count; i++)
	{
		EddyPartitionState *state = &worker->partitions.states[i];
		const EddyRowCounts *counts = &apply->counts[state->partition];

		state->next = state->stored;
		state->next.rejected += counts->rejected;
		state->next.skipped += counts->skipped;
		state->next.ahead += counts->ahead;
		if (counts->max_event_time > state->next.max_event_time)
		{
			state->next.max_event_time = counts->max_event_time;
			state->next.advanced_at = now;
		}
	}
	for (int64 row = 0; row < apply->batch.nrows; row++)
	{
		const EddyKafkaMessage *message = &worker->messages[row];
		EddyPartition *next = &worker->partitions.by_number[message->partition]->next;

		next->next_offset = message->offset + 1;
		next->rows++;
		if (message->payload == NULL)
			next->skipped++;
	}
}

/* When the batch contains all polled messages, offsets also pass control records and gaps. */
static void
pass_gaps(EddySourceWorker *worker)
{
	const char *topic = worker->definition->source->topic;

	for (int i = 0; i < worker->partitions.count; i++)
	{
		EddyPartitionState *state = &worker->partitions.states[i];

		state->next.next_offset = Max(state->next.next_offset,
									  eddy_kafka_position(worker->client, topic,
														  state->partition));
	}
	if (worker->has_bad)
	{
		EddyPartition *next = &worker->partitions.by_number[worker->bad.partition]->next;

		next->next_offset = Max(next->next_offset, worker->bad_next);
	}
}

/* The watermark of the stream with what the batch stores. */
static TimestampTz
next_watermark(EddySourceWorker *worker)
{
	int			count = worker->partitions.count;
	const EddyPartition **partitions = palloc(sizeof(EddyPartition *) * Max(count, 1));
	EddyWatermarkChange change = {
		.adds_rows = worker->apply.batch.nrows > 0,
		.source = worker->id.id,
		.npartitions = count,
		.complete = count == worker->partitions.topic_partitions,
		.partitions = partitions,
		.polled = worker->idle.confirmed,
		.user_event_time = DT_NOBEGIN
	};

	for (int i = 0; i < count; i++)
		partitions[i] = &worker->partitions.states[i].next;
	return eddy_watermark_next(worker->definition->stream, &change);
}

/* True if the batch changes the row of a partition. */
static bool
is_changed(const EddyPartitionState *state)
{
	return state->next.next_offset != state->stored.next_offset ||
		TIMESTAMP_IS_NOBEGIN(state->next.idle_since) !=
		TIMESTAMP_IS_NOBEGIN(state->stored.idle_since);
}

/* Writes the rows of all partitions that changed; false if a stored offset is not as expected. */
static bool
advance_partitions(EddySourceWorker *worker)
{
	const char *topic = worker->definition->source->topic;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz watermark = next_watermark(worker);

	worker->apply.watermark = watermark;
	for (int i = 0; i < worker->partitions.count; i++)
	{
		EddyPartitionState *state = &worker->partitions.states[i];

		if (!is_changed(state))
			continue;
		state->next.stream_watermark = Max(state->next.stream_watermark, watermark);
		state->next.high_offset = Max(eddy_kafka_cached_high(worker->client, topic,
															 state->partition),
									  state->next.next_offset);
		if (state->next.next_offset != state->stored.next_offset)
			state->next.updated_at = now;
		if (!eddy_catalog_advance_partition(&state->next, state->stored.next_offset))
			return false;
		eddy_watermark_note(worker->definition->stream->relid, watermark);
	}
	return true;
}

/* ---- operations of the input ---- */

void
eddy_batch_describe_row(EddyApply *apply, const EddyRejection *rejection, EddyDeadLetter *letter)
{
	EddySourceWorker *worker = apply->arg;
	const EddySource *source = worker->definition->source;
	const EddyKafkaMessage *message = &worker->messages[rejection->row];

	letter->source = source->source;
	letter->topic = source->topic;
	letter->partition = message->partition;
	letter->offset = message->offset;
	letter->key = message->key;
	letter->key_len = message->key_len;
	letter->headers = eddy_kafka_headers_json(message);
	letter->payload = message->payload;
	letter->payload_len = message->payload_len;
	letter->timestamp = eddy_rows_message_time(message);
	/* a cancel by the time limit is the view's error of the message */
	if (worker->alone && OidIsValid(rejection->view) &&
		rejection->sqlerrcode == ERRCODE_QUERY_CANCELED)
		letter->error = eddy_clock_describe();
}

/* Of messages that could not be read only their positions and the error are known. */
static void
write_bad_message(EddySourceWorker *worker)
{
	const EddySource *source = worker->definition->source;
	EddyPartition *next = &worker->partitions.by_number[worker->bad.partition]->next;
	EddyRowCounts counts = {0};
	EddyDeadLetter letter = {
		.stream = source->stream,
		.source = source->source,
		.topic = source->topic,
		.partition = worker->bad.partition,
		.offset = worker->bad.offset,
		.timestamp = DT_NOBEGIN,
		.error = worker->bad.message,
		.sqlerrcode = worker->bad.sqlerrcode
	};

	eddy_dead_letter_add(&worker->apply, &counts, &letter);
	next->rows++;
	next->rejected += counts.rejected;
	next->skipped += counts.skipped;
}

/*
 * True if the source stops before messages that could not be read. The policy is for messages: what
 * this version of the client cannot read would be lost, and so would all that follow.
 */
static bool
stops_at_bad(const EddySourceWorker *worker)
{
	return worker->has_bad && !worker->apply.stopped &&
		(strcmp(worker->definition->source->on_error, "stop") == 0 ||
		 eddy_bad_message_is_readable(&worker->bad));
}

/* False if the offsets have been changed by eddy.seek or another worker. */
static bool
finish(EddyApply *apply)
{
	EddySourceWorker *worker = apply->arg;

	count_rows(worker);
	if (!apply->stopped && !stops_at_bad(worker))
	{
		if (worker->has_bad)
			write_bad_message(worker);
		pass_gaps(worker);
	}
	eddy_idle_mark(worker);
	return advance_partitions(worker);
}

static const EddyInput kafka_input = {
	.make_rows = eddy_rows_make,
	.describe_row = eddy_batch_describe_row,
	.finish = finish,
	.can_stop = true
};

/* ---- the transaction ---- */

static char *
describe_position(const EddySourceWorker *worker, int32 partition, int64 offset,
				  const char *error)
{
	return psprintf("topic \"%s\", partition %d, offset " INT64_FORMAT ": %s",
					worker->definition->source->topic, partition, offset, error);
}

static char *
describe_message(const EddySourceWorker *worker, int64 row, const char *error)
{
	return describe_position(worker, worker->messages[row].partition,
							 worker->messages[row].offset, error);
}

/* The source stops before a message, in the transaction that applies those before it. */
static void
stop_source(EddySourceWorker *worker)
{
	const EddyApply *apply = &worker->apply;
	char	   *error;

	if (apply->stopped)
		error = describe_message(worker, apply->batch.nrows, apply->stop_message);
	else
		error = describe_position(worker, worker->bad.partition, worker->bad.offset,
								  worker->bad.message);
	eddy_catalog_set_source_status(worker->id.id, worker->id.shard, "stopped", error,
								   unpack_sql_state(apply->stopped ? apply->stop_sqlerrcode :
													worker->bad.sqlerrcode));
	/* the other workers of the source have to stop, too */
	eddy_worker_wakeup_at_commit();
	ereport(LOG,
			(errmsg("source of stream \"%s\", topic \"%s\" stopped: %s", worker->stream_name,
					worker->topic_name, error)));
}

/* How an attempt ended. */
typedef enum EddyAttemptResult
{
	ATTEMPT_COMMITTED,
	ATTEMPT_UNRESOLVED,			/* the transaction has made a new decoder: resolve, and retry */
	ATTEMPT_LOST,				/* the stored offsets are not where the batch begins */
	ATTEMPT_FAILED				/* with an error */
} EddyAttemptResult;

/* eddy_batch_begin_apply makes worker->apply an empty batch. */
void
eddy_batch_begin_apply(EddySourceWorker *worker, Relation stream, bool careful,
					   const EddyInput *input)
{
	const EddyDefinition *definition = worker->definition;
	EddyApply  *apply = &worker->apply;
	int			npartitions = worker->partitions.topic_partitions;

	worker->alone = careful && worker->nmessages == 1;
	eddy_apply_begin(apply, RelationGetRelid(stream), definition->tupdesc, worker->batch_context);
	apply->input = input;
	apply->arg = worker;
	apply->stream = definition->stream;
	apply->event_time = &definition->event_time;
	apply->skips = strcmp(definition->source->on_error, "skip") == 0;
	apply->counts = MemoryContextAllocZero(worker->batch_context,
										   sizeof(EddyRowCounts) * Max(npartitions, 1));
	for (int i = 0; i < npartitions; i++)
		apply->counts[i].max_event_time = DT_NOBEGIN;
	apply->batch.omitted = definition->omitted;
	apply->batch.contended = worker->contended > 0;
	if (worker->alone)
	{
		apply->batch.start_clock = eddy_clock_start;
		apply->batch.clock_expired = eddy_clock_expired;
	}
}

/* False if eddy.seek or another worker has changed the offsets. */
static bool
run_transaction(EddySourceWorker *worker, Relation stream, bool careful, EddyOutcome *outcome)
{
	eddy_batch_begin_apply(worker, stream, careful, &kafka_input);
	if (!eddy_apply_run(list_make1(&worker->apply), NIL, !careful))
		return false;
	if (worker->end == EDDY_PACE_FULL)
		worker->nviews = list_length(eddy_view_list(RelationGetRelid(stream)));
	eddy_attempt_write(worker, worker->quarantined);
	if (!worker->apply.stopped && !stops_at_bad(worker))
		*outcome = worker->has_bad ? EDDY_RESTART : EDDY_CONTINUE;
	else
	{
		stop_source(worker);
		*outcome = EDDY_LEAVE;
	}
	return true;
}

static void
after_commit(EddySourceWorker *worker)
{
	eddy_idle_committed(worker);
	eddy_partitions_store(worker);
}

static void
report_waiting(EddySourceWorker *worker pg_attribute_unused(), const char *error, int sqlerrcode)
{
	eddy_source_report_waiting(error, sqlerrcode);
}

const EddyBatchWork eddy_batch_consume = {
	.lock = eddy_definition_lock,
	.run = run_transaction,
	.committed = after_commit,
	.release = eddy_batch_release,
	.report = report_waiting
};

/*
 * Commits the batch. Its results become visible before they are on disk, because a crash that takes
 * them back takes back the offsets, too: the messages are read again. Not so after a crash of the
 * worker, when progress must be known to the next process; nor if a crash could take back more
 * messages than the next process would be careful with.
 */
static void
commit_batch(EddySourceWorker *worker)
{
	int64		limit = EDDY_ATTEMPT_LOST_BATCHES * eddy_attempt_max_messages(worker);
	bool		force = eddy_attempt_cautious(worker);

	if (GetFlushRecPtr(NULL) >= worker->unflushed_end)
		worker->unflushed = 0;
	worker->unflushed += worker->nmessages;
	eddy_flush_commit(force || worker->unflushed > limit);
	worker->unflushed_end = XactLastCommitEnd;
}

/* One attempt, in a transaction of its own. *error is in the caller's context. */
static EddyAttemptResult
try_batch(EddySourceWorker *worker, bool careful, EddyOutcome *outcome, ErrorData **error)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile EddyAttemptResult result = ATTEMPT_COMMITTED;

	MemoryContextReset(worker->batch_context);
	PG_TRY();
	{
		Relation	stream;

		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		*outcome = worker->work->lock(worker, &stream);
		if (*outcome == EDDY_CONTINUE && !worker->definition->resolved)
		{
			PopActiveSnapshot();
			table_close(stream, NoLock);
			CommitTransactionCommand();
			result = ATTEMPT_UNRESOLVED;
		}
		else if (*outcome == EDDY_CONTINUE)
		{
			MemoryContextSwitchTo(worker->batch_context);
			eddy_clock_start();
			if (!worker->work->run(worker, stream, careful, outcome))
				result = ATTEMPT_LOST;
			eddy_clock_stop();
			PopActiveSnapshot();
			table_close(stream, NoLock);
			if (result == ATTEMPT_LOST)
				AbortCurrentTransaction();
			else
			{
				commit_batch(worker);
				worker->work->committed(worker);
			}
		}
		else
			CommitTransactionCommand();
		MemoryContextSwitchTo(caller);
	}
	PG_CATCH();
	{
		eddy_clock_stop();
		*error = eddy_transaction_error(caller);
		eddy_transaction_abort(caller);
		result = ATTEMPT_FAILED;
	}
	PG_END_TRY();
	return result;
}

/* eddy_batch_is_transient: true for errors caused by concurrent transactions, not by the batch. */
bool
eddy_batch_is_transient(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		sqlerrcode == ERRCODE_UNIQUE_VIOLATION ||	/* a user inserted the same new group */
		sqlerrcode == ERRCODE_QUERY_CANCELED;
}

/* Remembers the offsets of the failed batch: until they are processed, batches do not grow. */
static void
remember_failed(EddySourceWorker *worker)
{
	MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);

	list_free_deep(worker->failed);
	worker->failed = eddy_attempt_ranges(worker);
	MemoryContextSwitchTo(old_context);
}

/* Smaller batches after a failure narrow down the failing message, which can then be named. */
static void
shrink(EddySourceWorker *worker)
{
	remember_failed(worker);
	worker->row_limit = Max(worker->nmessages / SHRINK_FACTOR, 1);
	worker->batch_failed = true;
}

/* True if the messages of the failed batch have been processed, or there is none. */
static bool
failure_passed(EddySourceWorker *worker)
{
	if (eddy_attempt_within(worker, worker->failed, true))
		return false;
	worker->batch_failed = false;
	list_free_deep(worker->failed);
	worker->failed = NIL;
	return true;
}

/*
 * Batches grow again once the messages of the failed one have been processed, but not up to the
 * time limit if they failed because they were slow.
 */
static void
grow(EddySourceWorker *worker, TimestampTz start)
{
	if (!failure_passed(worker) || worker->row_limit == EDDY_NO_BATCH_LIMIT ||
		TimestampDifferenceExceeds(start, GetCurrentTimestamp(),
								   eddy_settings_batch_time_limit / 4))
		return;
	worker->row_limit *= 2;
	if (worker->row_limit >= eddy_pace_limit(worker))
		worker->row_limit = EDDY_NO_BATCH_LIMIT;
}

/*
 * eddy_batch_settle is called when the offsets have been determined: eddy.seek or the topic's
 * retention may have skipped the messages of the failed batch, and no other message may follow.
 */
void
eddy_batch_settle(EddySourceWorker *worker)
{
	if (worker->failed != NIL)
		(void) failure_passed(worker);
}

/* True if the batch holds a message that may have taken many times its size to process. */
static bool
has_large_message(const EddySourceWorker *worker)
{
	for (int i = 0; i < worker->nmessages; i++)
		if (worker->messages[i].payload_len > LARGE_MESSAGE)
			return true;
	return false;
}

/* The batch has exceeded the time limit: reports it; a smaller one follows. */
static void
retry_smaller(EddySourceWorker *worker)
{
	char	   *error = describe_message(worker, 0, eddy_clock_describe());

	if (worker->nmessages > 1)
		error = psprintf("%s in a batch of %d messages, a smaller one is tried", error,
						 worker->nmessages);
	shrink(worker);
	worker->work->release(worker);
	worker->work->report(worker, error, ERRCODE_QUERY_CANCELED);
}

/* Resolves the messages, or raises the error of the decoder, which concerns none of them alone. */
static void
resolve_batch(EddySourceWorker *worker)
{
	EddyDecodeError error;

	if (eddy_rows_resolve(worker, &error))
		return;
	eddy_attempt_finish(worker, false);
	worker->batch_failed = true;
	worker->work->release(worker);
	ereport(ERROR, (errcode(error.sqlerrcode), errmsg_internal("%s", error.message)));
}

static void
report_groups(void)
{
	int64		lookups;
	int64		hits;

	eddy_view_cache_counts(&lookups, &hits);
	eddy_slots_set_groups(lookups, hits);
}

/* The time limit of a batch with one message: the error names what has exceeded it. */
static void
describe_slow_message(EddySourceWorker *worker, ErrorData *error)
{
	error->message = worker->alone && strstr(error->message, "continuous view") ?
		psprintf("%s; %s", error->message, eddy_clock_describe()) :
		eddy_clock_describe();
}

/*
 * True if an error was caused by concurrent transactions, which the next attempt takes into
 * account.
 */
static bool
note_transient(EddySourceWorker *worker, const ErrorData *error)
{
	if (!eddy_batch_is_transient(error->sqlerrcode))
		return false;
	if (error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION)
		worker->contended = CONTENDED_BATCHES;
	return true;
}

/* Raises the error because of which a batch cannot be committed; smaller ones follow. */
static void
give_up(EddySourceWorker *worker, ErrorData *error)
{
	if (worker->nmessages == 1 && worker->definition)
		error->message = describe_message(worker, 0, error->message);
	shrink(worker);
	worker->work->release(worker);
	ReThrowError(error);
}

/*
 * Repeats a batch after errors that may not recur, and once in careful mode after others, until it
 * is committed or the last error is raised. False if it was released instead, because it must not
 * or cannot be repeated now. *outcome: what the transaction has found out. *careful: it was
 * committed in that mode.
 */
static bool
repeat_until_committed(EddySourceWorker *worker, EddyOutcome *outcome, bool *careful)
{
	ErrorData  *error = NULL;
	int			transient = 0;

	*careful = false;
	for (;;)
	{
		EddyAttemptResult result;

		eddy_attempt_announce(worker);
		resolve_batch(worker);
		result = try_batch(worker, *careful, outcome, &error);
		eddy_attempt_finish(worker, result == ATTEMPT_COMMITTED);
		if (result == ATTEMPT_COMMITTED)
			return true;
		CHECK_FOR_INTERRUPTS();
		if (result == ATTEMPT_UNRESOLVED)
			continue;
		if (result == ATTEMPT_LOST)
		{
			/* the stored offset wins */
			worker->work->release(worker);
			return false;
		}
		if (eddy_clock_expired())
		{
			if (worker->nmessages > 1)
			{
				FreeErrorData(error);
				retry_smaller(worker);
				return false;
			}
			describe_slow_message(worker, error);
		}
		else if (transient < TRANSIENT_RETRIES && note_transient(worker, error))
		{
			transient++;
			FreeErrorData(error);
			continue;
		}
		if (*careful)
			give_up(worker, error);
		*careful = true;
		FreeErrorData(error);
	}
}

/*
 * eddy_batch_apply commits the batch, or raises the error because of which it cannot be
 * committed. In both cases the messages are released.
 */
EddyOutcome
eddy_batch_apply(EddySourceWorker *worker)
{
	EddyOutcome outcome = EDDY_CONTINUE;
	bool		careful;
	bool		large = has_large_message(worker);
	TimestampTz start = GetCurrentTimestamp();

	eddy_pace_start(worker);
	if (!repeat_until_committed(worker, &outcome, &careful))
		return EDDY_RESTART;
	if (worker->contended > 0)
		worker->contended--;
	if (outcome == EDDY_CONTINUE && !careful &&
		worker->row_limit == EDDY_NO_BATCH_LIMIT && !eddy_attempt_cautious(worker))
		eddy_pace_note(worker);
	worker->work->release(worker);
	MemoryContextReset(worker->batch_context);
	if (large)
	{
		if (worker->definition)
			eddy_decode_release_buffers(worker->definition->decoder);
		eddy_process_return_memory();
	}
	report_groups();
	if (outcome == EDDY_CONTINUE)
	{
		grow(worker, start);
		eddy_slots_succeed();
	}
	return outcome;
}

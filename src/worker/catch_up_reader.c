/*-------------------------------------------------------------------------
 *
 * catch_up_reader.c
 *    One source of a stream, as it is read for a view that is filled from Kafka.
 *
 * It has a client of its own. Its offsets are those of the view, in eddy._view_offset. Messages
 * that were received wait in memory until the worker of the source has consumed them as well, which
 * its stored offsets, the bounds, show.
 *
 * Locking: see catch_up.c. Memory: the reader's context, and a limited number of messages, which
 * are librdkafka's. A crash leaves the stored offsets.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "settings.h"
#include "worker/catch_up.h"
#include "worker/slots.h"

/* ---- opening and closing ---- */

/* eddy_reader_close ends the client; also when the process exits. */
void
eddy_reader_close(EddyReader *reader)
{
	if (reader->worker.client == NULL)
		return;
	if (reader->npending > 0)
		eddy_kafka_release(reader->pending, reader->npending);
	if (reader->worker.nmessages > 0)
		eddy_kafka_release(reader->worker.messages, reader->worker.nmessages);
	reader->npending = reader->worker.nmessages = 0;
	eddy_kafka_close(reader->worker.client);
	reader->worker.client = NULL;
}

/* eddy_reader_free frees what is not in the reader's context. */
void
eddy_reader_free(EddyReader *reader)
{
	eddy_definition_free(&reader->worker);
	eddy_partitions_free(&reader->worker);
	eddy_rows_free(&reader->worker);
	list_free_deep(reader->worker.failed);
}

/* eddy_reader_lock begins the work of a transaction, as eddy_definition_lock. */
EddyOutcome
eddy_reader_lock(EddyReader *reader, Relation *stream)
{
	EddyOutcome outcome = eddy_definition_lock(&reader->worker, stream);

	if (outcome != EDDY_CONTINUE)
		return outcome;
	/* the worker of the source stops before a message; here that would be once more */
	if (strcmp(reader->worker.definition->source->on_error, "stop") == 0)
		reader->worker.definition->source->on_error = "dead_letter";
	if (reader->worker.definition->event_time.on_null == EDDY_NULL_EVENT_TIME_STOP)
		reader->worker.definition->event_time.on_null = EDDY_NULL_EVENT_TIME_DEAD_LETTER;
	return EDDY_CONTINUE;
}

/* Where a partition is read first. */
static int64
first_offset(int64 low, int64 high, int64 by_time, bool timed)
{
	if (!timed)
		return low;
	return by_time >= 0 ? by_time : high;
}

/*
 * Determines the offsets of all partitions: those that are stored, and first ones, which are stored
 * now. A part that Kafka has removed meanwhile is left out.
 */
static EddyOutcome
settle_offsets(EddyReader *reader, const int64 *low, const int64 *high, const int64 *by_time,
			   bool timed)
{
	EddySourceWorker *worker = &reader->worker;
	MemoryContext caller = CurrentMemoryContext;
	Relation	stream;
	EddyOutcome outcome;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	outcome = eddy_reader_lock(reader, &stream);
	if (outcome == EDDY_CONTINUE)
	{
		List	   *stored = eddy_catalog_list_view_offsets(reader->view, worker->id.id);

		for (int i = 0; i < worker->partitions.count; i++)
		{
			EddyPartitionState *state = &worker->partitions.states[i];
			EddyViewOffset offset = {
				.view = reader->view,
				.source = worker->id.id,
				.partition = state->partition,
				.next_offset = -1
			};
			ListCell   *lc;

			foreach(lc, stored)
				if (((EddyViewOffset *) lfirst(lc))->partition == state->partition)
					offset = *(EddyViewOffset *) lfirst(lc);
			if (offset.next_offset < 0)
			{
				offset.first_offset = offset.next_offset =
					first_offset(low[i], high[i], by_time[i], timed);
				eddy_catalog_insert_view_offset(&offset);
			}
			if (offset.next_offset < low[i])
				ereport(LOG,
						(errmsg("continuous view \"%s\" was not filled with offsets " INT64_FORMAT " to " INT64_FORMAT
								" of topic \"%s\", partition %d, which Kafka has removed",
								get_rel_name(reader->view), offset.next_offset, low[i] - 1,
								worker->topic_name, state->partition)));
			state->stored.source = worker->id.id;
			state->stored.partition = state->partition;
			state->stored.next_offset = offset.next_offset;
			state->stored.max_event_time = DT_NOBEGIN;
			state->stored.high_offset = high[i];
			state->next = state->stored;
			reader->rows[state->partition] = offset.rows;
			reader->firsts[state->partition] = offset.first_offset;
		}
		PopActiveSnapshot();
		table_close(stream, NoLock);
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return outcome;
}

/* Asks the broker where partitions begin and end, and settles the offsets. False with an error. */
static bool
settle_reader(EddyReader *reader, TimestampTz start, EddyOutcome *outcome, EddyKafkaError *error)
{
	EddySourceWorker *worker = &reader->worker;
	bool		timed = !TIMESTAMP_IS_NOBEGIN(start);
	char	   *cluster_id = NULL;
	EddyKafkaStart *starts;
	int64	   *low;
	int64	   *high;
	int64	   *by_time;
	int			count;

	if (!eddy_kafka_partition_count(worker->client, worker->definition->source->topic,
									EDDY_REQUEST_TIMEOUT, &count, &cluster_id, error))
		return false;
	eddy_partitions_build(worker, count, true);
	count = worker->partitions.count;
	low = palloc0(sizeof(int64) * Max(count, 1));
	high = palloc0(sizeof(int64) * Max(count, 1));
	by_time = palloc0(sizeof(int64) * Max(count, 1));
	reader->bounds = palloc(sizeof(int64) * Max(count, 1));
	for (int i = 0; i < count; i++)
		reader->bounds[i] = -1;
	reader->rows = palloc0(sizeof(int64) * Max(count, 1));
	reader->firsts = palloc0(sizeof(int64) * Max(count, 1));
	if (!eddy_partitions_list_offsets(worker, EDDY_KAFKA_OLDEST, low, error) ||
		!eddy_partitions_list_offsets(worker, EDDY_KAFKA_END, high, error))
		return false;
	/* Kafka counts time from 1970; negative values have other meanings */
	if (timed && !eddy_partitions_list_offsets(worker,
											   Max((start - SetEpochTimestamp()) / 1000, 0),
											   by_time, error))
		return false;
	*outcome = settle_offsets(reader, low, high, by_time, timed);
	if (*outcome != EDDY_CONTINUE)
		return true;
	starts = palloc(sizeof(EddyKafkaStart) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		starts[i].partition = worker->partitions.states[i].partition;
		starts[i].offset = Max(worker->partitions.states[i].stored.next_offset, low[i]);
	}
	return eddy_kafka_assign(worker->client, worker->definition->source->topic, starts, count,
							 error);
}

/*
 * eddy_reader_open opens a source for a reader that is zeroed but for view, stream, source and
 * mcxt, and is to be closed in any case. start: DT_NOBEGIN for the beginning of the topic. Returns
 * EDDY_CONTINUE, or fills in the error.
 */
EddyOutcome
eddy_reader_open(EddyReader *reader, TimestampTz start, EddyKafkaError *error)
{
	EddySourceWorker *worker = &reader->worker;
	MemoryContext caller = MemoryContextSwitchTo(reader->mcxt);
	EddyOutcome outcome;
	long		delay;

	worker->id = eddy_worker_of_source(MyDatabaseId, reader->source, 0);
	worker->view = reader->view;
	worker->work = &eddy_reader_work;
	worker->room = EDDY_READER_ROWS;
	worker->row_limit = EDDY_NO_BATCH_LIMIT;
	worker->batch_context = GenerationContextCreate(reader->mcxt, "pg_eddy batch", 0,
													4 * 1024 * 1024, 8 * 1024 * 1024);
	worker->messages = palloc0(sizeof(EddyKafkaMessage) * EDDY_READER_ROWS);
	worker->payloads = palloc0(sizeof(EddyDecodeMessage) * EDDY_READER_ROWS);
	reader->pending = palloc0(sizeof(EddyKafkaMessage) * EDDY_READER_ROWS);

	outcome = eddy_attempt_begin(worker, &delay);
	reader->delay = Max(reader->delay, delay);
	MemoryContextSwitchTo(reader->mcxt);
	if (outcome == EDDY_CONTINUE)
		outcome = eddy_start_open(worker, error);
	MemoryContextSwitchTo(reader->mcxt);
	if (outcome == EDDY_CONTINUE && !settle_reader(reader, start, &outcome, error))
		outcome = EDDY_RESTART;
	if (outcome == EDDY_CONTINUE)
		eddy_attempt_settle(worker);
	if (outcome == EDDY_LEAVE)
	{
		snprintf(error->message, sizeof(error->message), "the source is paused or stopped");
		error->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	}
	MemoryContextSwitchTo(caller);
	return outcome;
}

/* ---- messages ---- */

static int64
bytes_of(const EddyKafkaMessage *messages, int count)
{
	int64		bytes = 0;

	for (int i = 0; i < count; i++)
		bytes += messages[i].payload_len + messages[i].key_len;
	return bytes;
}

/*
 * eddy_reader_receive takes what has arrived, without waiting. False with an error; messages before
 * it are valid.
 */
bool
eddy_reader_receive(EddyReader *reader, EddyKafkaError *error)
{
	EddySourceWorker *worker = &reader->worker;

	eddy_kafka_drain_fd(worker->client);
	while (reader->npending < EDDY_READER_ROWS && reader->bad.kind == EDDY_KAFKA_OK &&
		   bytes_of(reader->pending, reader->npending) < (int64) eddy_settings_batch_bytes * 1024)
	{
		int			before = reader->npending;

		if (!eddy_kafka_poll(worker->client, 0, Min(EDDY_READER_ROWS - before, EDDY_POLL_CHUNK),
							 reader->pending, &reader->npending, error))
		{
			const EddyPartitionState *state =
				eddy_partitions_find(&worker->partitions, error->partition);

			if (error->kind != EDDY_KAFKA_BAD_MESSAGE || error->offset < 0 || state == NULL)
				return false;
			/* those that were received before it come first */
			error->offset = Max(error->offset, eddy_reader_received_until(reader, state));
			reader->bad = *error;
			reader->bad_next = 0;
			error->kind = EDDY_KAFKA_OK;
		}
		if (reader->npending == before)
			break;
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

/*
 * eddy_reader_received_until returns the offset up to which all messages of a partition were
 * received.
 */
int64
eddy_reader_received_until(EddyReader *reader, const EddyPartitionState *state)
{
	EddySourceWorker *worker = &reader->worker;

	if (reader->bad.kind != EDDY_KAFKA_OK && reader->bad.partition == state->partition)
		return reader->bad.offset;
	return Max(state->stored.next_offset,
			   eddy_kafka_position(worker->client, worker->definition->source->topic,
								   state->partition));
}

/* eddy_reader_compare_places is the order of EddyReader.letters. */
int
eddy_reader_compare_places(const void *a, const void *b)
{
	const EddyRange *left = a;
	const EddyRange *right = b;

	if (left->partition != right->partition)
		return left->partition < right->partition ? -1 : 1;
	return left->first < right->first ? -1 : left->first > right->first;
}

/* Reads which of the messages that are still to be applied are dead letters. */
static void
read_letters(EddyReader *reader)
{
	List	   *letters;
	ListCell   *lc;

	/* not older than the bounds: the letters of a batch are committed with its offsets */
	PushActiveSnapshot(GetLatestSnapshot());
	letters = eddy_catalog_list_letter_offsets(reader->worker.id.id);
	PopActiveSnapshot();
	if (reader->letters)
		pfree(reader->letters);
	reader->letters = MemoryContextAllocHuge(reader->mcxt,
											 sizeof(EddyRange) * Max(list_length(letters), 1));
	reader->nletters = 0;
	foreach(lc, letters)
	{
		const EddyRange *range = lfirst(lc);
		const EddyPartitionState *state = eddy_partitions_find(&reader->worker.partitions,
															   range->partition);

		if (state && range->first >= state->stored.next_offset)
			reader->letters[reader->nletters++] = *range;
	}
	qsort(reader->letters, reader->nletters, sizeof(EddyRange), eddy_reader_compare_places);
}

/*
 * eddy_reader_read_bounds reads the next offsets of the source, and its dead letters below them, in
 * a transaction that has locked the source. False if the topic has got partitions.
 */
bool
eddy_reader_read_bounds(EddyReader *reader)
{
	EddySourceWorker *worker = &reader->worker;
	bool		changed = false;
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_partitions(worker->id.id))
	{
		const EddyPartition *partition = lfirst(lc);

		if (eddy_partitions_find(&worker->partitions, partition->partition) == NULL)
		{
			/* the topic was recreated without it, see settle_missing in start.c */
			if (partition->high_offset < 0)
				continue;
			return false;
		}
		/*
		 * eddy.seek stores other values than offsets, until the worker of the source has replaced
		 * them
		 */
		if (partition->next_offset < 0 ||
			partition->next_offset == reader->bounds[partition->partition])
			continue;
		reader->bounds[partition->partition] = partition->next_offset;
		changed = true;
	}
	if (changed)
		read_letters(reader);
	reader->bounds_at = GetCurrentTimestamp();
	return true;
}

/*
 * eddy_reader_take_batch makes messages below the bounds, at most so many, the batch; returns their
 * number.
 */
int
eddy_reader_take_batch(EddyReader *reader, int limit)
{
	EddySourceWorker *worker = &reader->worker;
	int			kept = 0;

	Assert(worker->nmessages == 0);
	for (int i = 0; i < reader->npending; i++)
	{
		EddyKafkaMessage *message = &reader->pending[i];

		if (worker->nmessages < limit && message->offset < reader->bounds[message->partition])
			worker->messages[worker->nmessages++] = *message;
		else
			reader->pending[kept++] = *message;
	}
	reader->npending = kept;
	return worker->nmessages;
}

/* eddy_reader_return_batch puts the messages of a batch that failed back. */
void
eddy_reader_return_batch(EddySourceWorker *worker)
{
	EddyReader *reader = (EddyReader *) worker;

	if (worker->nmessages == 0)
		return;
	memmove(reader->pending + worker->nmessages, reader->pending,
			sizeof(EddyKafkaMessage) * reader->npending);
	memcpy(reader->pending, worker->messages, sizeof(EddyKafkaMessage) * worker->nmessages);
	reader->npending += worker->nmessages;
	worker->nmessages = 0;
}

/* eddy_reader_has_work: true if there are messages that can be applied. */
bool
eddy_reader_has_work(const EddyReader *reader)
{
	for (int i = 0; i < reader->npending; i++)
		if (reader->pending[i].offset < reader->bounds[reader->pending[i].partition])
			return true;
	return false;
}

/* eddy_reader_has_bad_message: true if messages that could not be read are to be left out. */
bool
eddy_reader_has_bad_message(const EddyReader *reader)
{
	return reader->bad.kind != EDDY_KAFKA_OK &&
		reader->bad.offset < reader->bounds[reader->bad.partition];
}

/*
 * eddy_reader_measure_bad_message determines how many they are, outside of transactions; what
 * follows them is received when the source has been opened again. False if that is not known.
 */
bool
eddy_reader_measure_bad_message(EddyReader *reader)
{
	return reader->bad_next > 0 ||
		eddy_bad_message_measure(&reader->worker, &reader->bad, reader->bad.offset,
								 &reader->bad_next);
}

/* eddy_reader_has_received_all: true if all messages below the bounds are applied or in memory. */
bool
eddy_reader_has_received_all(EddyReader *reader)
{
	EddySourceWorker *worker = &reader->worker;

	for (int i = 0; i < worker->partitions.count; i++)
	{
		const EddyPartitionState *state = &worker->partitions.states[i];
		int64		bound = reader->bounds[state->partition];

		/* the source has not determined yet where it begins */
		if (bound < 0 || eddy_reader_received_until(reader, state) < bound)
			return false;
	}
	return true;
}

/*
 * eddy_reader_has_received_now is the same, with what librdkafka has fetched meanwhile; without
 * waiting.
 */
bool
eddy_reader_has_received_now(EddyReader *reader)
{
	EddyKafkaError error = {0};

	/* errors are raised again by the next call */
	if (!eddy_reader_has_received_all(reader) && !eddy_reader_receive(reader, &error))
		return false;
	return eddy_reader_has_received_all(reader) && reader->bad.kind == EDDY_KAFKA_OK;
}

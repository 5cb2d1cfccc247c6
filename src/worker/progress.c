/*-------------------------------------------------------------------------
 *
 * progress.c
 *    The ends of the partitions, and whether the source makes progress towards them.
 *
 * The ends of partitions are requested, not only learned from fetched messages: otherwise a
 * partition from which no message can be fetched would seem to be consumed. Batches are not kept
 * waiting for the response. The ends are stored as high_offset, so that eddy.partitions shows the
 * true lag. With isolation level read_committed the broker returns the last stable offset: messages
 * after the beginning of an open transaction cannot be fetched yet, which is not an error.
 *
 * A partition is stalled if it has messages but none is received, although librdkafka's
 * queue was empty meanwhile. The source is then waiting, with an error that contains what is
 * known about the cause.
 *
 * Locking: see batch.c; the ends are written in a transaction of their own. What was observed
 * of a partition is in its EddyPartitionState. After a crash the ends are requested again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "worker/flush.h"
#include "worker/source_worker.h"

#define STALL_TIME 5000			/* ms without progress, though there are messages */

/* eddy_progress_reset clears what was observed, after the partitions were assigned. */
void
eddy_progress_reset(EddySourceWorker *worker)
{
	for (int i = 0; i < worker->partitions.count; i++)
		worker->partitions.states[i].behind = false;
	worker->drained_at = 0;
	worker->stalled = false;
}

/*
 * eddy_progress_position returns the position after all that was consumed or is in the current
 * batch.
 */
int64
eddy_progress_position(EddySourceWorker *worker, const EddyPartitionState *state)
{
	return Max(state->stored.next_offset,
			   eddy_kafka_position(worker->client, worker->definition->source->topic,
								   state->partition));
}

/* Stores ends (in the order of states) that are beyond the known ones. */
static EddyOutcome
store_ends(EddySourceWorker *worker, const int64 *ends)
{
	MemoryContext caller = CurrentMemoryContext;
	Relation	stream;
	EddyOutcome outcome;
	bool		changed = false;

	for (int i = 0; i < worker->partitions.count; i++)
		changed = changed || ends[i] > worker->partitions.states[i].stored.high_offset;
	if (!changed)
		return EDDY_CONTINUE;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	outcome = eddy_definition_lock(worker, &stream);
	if (outcome == EDDY_CONTINUE)
	{
		for (int i = 0; i < worker->partitions.count && outcome == EDDY_CONTINUE; i++)
		{
			EddyPartition *next = &worker->partitions.states[i].next;

			*next = worker->partitions.states[i].stored;
			if (ends[i] <= next->high_offset)
				continue;
			next->high_offset = ends[i];
			if (!eddy_catalog_advance_partition(next, next->next_offset))
				outcome = EDDY_RESTART;
		}
		PopActiveSnapshot();
		table_close(stream, NoLock);
	}
	if (outcome == EDDY_RESTART)
		AbortCurrentTransaction();
	else
		eddy_flush_commit(false);	/* the ends are requested again */
	MemoryContextSwitchTo(caller);
	if (outcome == EDDY_CONTINUE)
		eddy_partitions_store(worker);
	return outcome;
}

/*
 * Detects partitions that make no progress; ends is in the order of states. Returns whether the
 * next check should come soon.
 */
static bool
find_stalled(EddySourceWorker *worker, const int64 *ends, EddyKafkaError *error)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		watch = false;

	for (int i = 0; i < worker->partitions.count; i++)
	{
		EddyPartitionState *state = &worker->partitions.states[i];
		int64		position = eddy_progress_position(worker, state);
		bool		unchanged;

		if (ends[i] <= position)
		{
			state->behind = false;
			continue;
		}
		unchanged = !state->behind || state->behind_position == position;
		if (!state->behind || state->behind_position != position)
		{
			state->behind = true;
			state->behind_position = position;
			state->behind_since = now;
		}
		/* while other messages are received, the normal interval is sufficient */
		watch = watch || !TimestampDifferenceExceeds(worker->drained_at, now, STALL_TIME / 5);
		/* the queue was empty since then: fetched messages would have been received */
		if (error->kind == EDDY_KAFKA_OK &&
			((unchanged && worker->stalled) ||
			 (TimestampDifferenceExceeds(state->behind_since, now, STALL_TIME) &&
			  TimestampDifferenceExceeds(state->behind_since, worker->drained_at,
										 STALL_TIME / 2))))
			eddy_kafka_describe_stall(worker->client, state->partition, position, ends[i],
									  error);
	}
	return watch;
}

/* eddy_progress_ask requests what eddy_progress_check evaluates when there is a response. */
bool
eddy_progress_ask(EddySourceWorker *worker, EddyKafkaError *error)
{
	const EddyPartitionSet *set = &worker->partitions;
	int32	   *numbers = palloc(sizeof(int32) * Max(set->count, 1));
	bool		ok;

	for (int i = 0; i < set->count; i++)
		numbers[i] = set->states[i].partition;
	eddy_idle_ask(worker);
	ok = eddy_kafka_ask(worker->client, worker->definition->source->topic, numbers, set->count,
						EDDY_REQUEST_TIMEOUT, error);
	pfree(numbers);
	return ok;
}

/*
 * eddy_progress_check evaluates the response: whether partitions or the cluster have changed, and
 * the ends of all partitions, which it stores. error is set if there was no response, or if a
 * partition is stalled. *watch: the next check should come soon.
 */
EddyOutcome
eddy_progress_check(EddySourceWorker *worker, bool *watch, EddyKafkaError *error)
{
	const char *topic = worker->definition->source->topic;
	int64	   *ends = palloc(sizeof(int64) * Max(worker->partitions.count, 1));
	char	   *cluster_id;
	int			count;
	EddyOutcome outcome;

	*watch = false;
	if (!eddy_kafka_answer(worker->client, &count, &cluster_id, ends, error))
		return EDDY_CONTINUE;
	if (eddy_start_changed(worker, count, cluster_id))
		return EDDY_RESTART;
	*watch = find_stalled(worker, ends, error);
	worker->stalled = (error->kind != EDDY_KAFKA_OK);
	if (!worker->stalled)
		eddy_idle_confirm(worker, ends);
	/* with an open transaction the high watermark is beyond the last stable offset */
	for (int i = 0; i < worker->partitions.count; i++)
		ends[i] = Max(ends[i],
					  eddy_kafka_cached_high(worker->client, topic,
											 worker->partitions.states[i].partition));
	outcome = store_ends(worker, ends);
	pfree(ends);
	return outcome;
}

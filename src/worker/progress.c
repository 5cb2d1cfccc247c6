/*-------------------------------------------------------------------------
 *
 * progress.c
 *    What the broker has of the topic, and whether the source gets nearer to it.
 *
 * The end of a partition is asked for, not only learned from fetched messages: a
 * partition that nothing can be fetched from would else look as if it had been consumed. The
 * ends are stored as high_offset, so that eddy.partitions shows the true lag. With
 * the isolation that we read with, the broker's answer is the last stable offset: what lies behind
 * an open transaction cannot be fetched yet and is no reason to worry.
 *
 * A partition that has messages, of which none arrives although the worker has
 * taken everything that librdkafka had to give, is stalled. The source is
 * then waiting, with an error that says what is known of the reason.
 *
 * Locking: see batch.c; the ends are written in a transaction of their own. Memory: an
 * array in TopMemoryContext, one entry for each partition. After a crash the ends are asked for anew.
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

#include "worker/source_worker.h"

#define QUESTION_TIMEOUT 500	/* ms, for some hundred partitions at once */
#define STALL_TIME 5000			/* ms without progress, though there are messages */

/* A partition at the last look. */
typedef struct Progress
{
	int64		position;
	TimestampTz since;			/* there were messages behind position; 0: none */
} Progress;

static Progress *progress = NULL;
static int	nprogress = 0;

/* eddy_progress_reset forgets all; called when the partitions were assigned anew. */
void
eddy_progress_reset(EddySourceWorker *worker)
{
	if (progress)
		pfree(progress);
	progress = MemoryContextAllocZero(TopMemoryContext,
									  mul_size(sizeof(Progress), Max(worker->npartitions, 1)));
	nprogress = worker->npartitions;
	worker->drained_at = 0;
	worker->stalled = false;
}

static int64
position_of(EddySourceWorker *worker, int p)
{
	return Max(worker->partitions[p].stored.next_offset,
			   eddy_kafka_position(worker->client, worker->definition->source->topic, p));
}

/* Stores ends that are beyond the ones known. */
static EddyOutcome
store_ends(EddySourceWorker *worker, const int64 *ends)
{
	MemoryContext caller = CurrentMemoryContext;
	Relation	stream;
	EddyOutcome outcome;
	bool		news = false;

	for (int p = 0; p < worker->npartitions; p++)
		news = news || ends[p] > worker->partitions[p].stored.high_offset;
	if (!news)
		return EDDY_CONTINUE;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	outcome = eddy_definition_lock(worker, &stream);
	if (outcome == EDDY_CONTINUE)
	{
		for (int p = 0; p < worker->npartitions && outcome == EDDY_CONTINUE; p++)
		{
			EddyPartition *next = &worker->partitions[p].next;

			*next = worker->partitions[p].stored;
			if (ends[p] <= next->high_offset)
				continue;
			next->high_offset = ends[p];
			if (!eddy_catalog_advance_partition(next, next->next_offset))
				outcome = EDDY_RESTART;
		}
		PopActiveSnapshot();
		table_close(stream, NoLock);
	}
	if (outcome == EDDY_RESTART)
		AbortCurrentTransaction();
	else
		CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	for (int p = 0; p < worker->npartitions && outcome == EDDY_CONTINUE; p++)
		worker->partitions[p].stored = worker->partitions[p].next;
	return outcome;
}

/* Looks for a partition that stands still. Returns whether one has to be watched. */
static bool
find_stalled(EddySourceWorker *worker, const int64 *ends, EddyKafkaError *error)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		behind = false;

	for (int p = 0; p < worker->npartitions; p++)
	{
		int64		position = position_of(worker, p);
		Progress   *last = &progress[p];
		bool		stands;

		if (ends[p] <= position)
		{
			last->since = 0;
			continue;
		}
		stands = last->since == 0 || last->position == position;
		if (last->since == 0 || last->position != position)
		{
			last->position = position;
			last->since = now;
		}
		/* while other messages come, there is no hurry */
		behind = behind || !TimestampDifferenceExceeds(worker->drained_at, now, STALL_TIME / 5);
		/* librdkafka's queue was empty since: had it been fetched, it would have come */
		if (error->kind == EDDY_KAFKA_OK &&
			((stands && worker->stalled) ||
			 (TimestampDifferenceExceeds(last->since, now, STALL_TIME) &&
			  TimestampDifferenceExceeds(last->since, worker->drained_at, STALL_TIME / 2))))
			eddy_kafka_describe_stall(worker->client, p, position, ends[p], error);
	}
	return behind;
}

/*
 * eddy_progress_check asks the broker for the ends of all partitions. error is set if it does not
 * answer, or if a partition is stalled. *watch: there is something to look at again soon.
 */
EddyOutcome
eddy_progress_check(EddySourceWorker *worker, bool *watch, EddyKafkaError *error)
{
	const char *topic = worker->definition->source->topic;
	int64	   *ends = palloc(sizeof(int64) * Max(worker->npartitions, 1));
	EddyOutcome outcome;

	*watch = false;
	if (worker->npartitions != nprogress)
		return EDDY_CONTINUE;
	for (int first = 0; first < worker->npartitions; first += EDDY_KAFKA_QUESTIONS)
	{
		CHECK_FOR_INTERRUPTS();
		if (!eddy_kafka_list_offsets(worker->client, topic, first,
									 Min(worker->npartitions - first, EDDY_KAFKA_QUESTIONS),
									 EDDY_KAFKA_END, QUESTION_TIMEOUT, ends + first, error))
			return EDDY_CONTINUE;
	}
	*watch = find_stalled(worker, ends, error);
	worker->stalled = (error->kind != EDDY_KAFKA_OK);
	/* with an open transaction the end of what was written lies further */
	for (int p = 0; p < worker->npartitions; p++)
		ends[p] = Max(ends[p], eddy_kafka_cached_high(worker->client, topic, p));
	outcome = store_ends(worker, ends);
	pfree(ends);
	return outcome;
}

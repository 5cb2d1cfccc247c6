/*-------------------------------------------------------------------------
 *
 * partitions.c
 *    The partitions that a source worker consumes: any subset of the topic's.
 *
 * A partition is known by its number in the topic, here as in messages, in Kafka and in
 * eddy._partition. by_number leads from the number to the state of the partition, or to
 * NULL if this worker does not consume it: nothing may assume that the numbers of a
 * worker's partitions are consecutive.
 *
 * Memory: TopMemoryContext; the set is replaced as a whole when the partitions are
 * assigned. No locks. After a crash it is built again from the broker's metadata.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "worker/source_worker.h"

/*
 * eddy_partitions_owned: true for the partitions that this worker of the source consumes. They are
 * dealt out in turn, so that a change of their number moves none from one worker to another.
 */
bool
eddy_partitions_owned(const EddySourceWorker *worker, int32 partition)
{
	return partition % eddy_catalog_source_workers(worker->definition->source) ==
		worker->id.shard;
}

/* eddy_partitions_free frees the set of a worker. */
void
eddy_partitions_free(EddySourceWorker *worker)
{
	EddyPartitionSet *set = &worker->partitions;

	if (set->by_number)
	{
		pfree(set->by_number);
		pfree(set->states);
	}
	memset(set, 0, sizeof(EddyPartitionSet));
}

/*
 * eddy_partitions_build makes the set of a worker, of a topic with so many partitions. all: it
 * determines the offsets of all partitions, before it consumes its own.
 */
void
eddy_partitions_build(EddySourceWorker *worker, int topic_partitions, bool all)
{
	EddyPartitionSet *set = &worker->partitions;
	int			room = Max(topic_partitions, 1);

	eddy_partitions_free(worker);
	set->states = MemoryContextAllocZero(TopMemoryContext,
										 mul_size(room, sizeof(EddyPartitionState)));
	set->by_number = MemoryContextAllocZero(TopMemoryContext,
											mul_size(room, sizeof(EddyPartitionState *)));
	set->topic_partitions = topic_partitions;
	for (int32 number = 0; number < topic_partitions; number++)
	{
		EddyPartitionState *state = &set->states[set->count];

		if (!all && !eddy_partitions_owned(worker, number))
			continue;
		state->partition = number;
		set->by_number[number] = state;
		set->count++;
	}
}

/* eddy_partitions_store keeps the offsets of the current batch as stored: it was committed. */
void
eddy_partitions_store(EddySourceWorker *worker)
{
	for (int i = 0; i < worker->partitions.count; i++)
		worker->partitions.states[i].stored = worker->partitions.states[i].next;
}

/*
 * eddy_partitions_list_offsets asks the broker for a position in each partition of the set.
 * offsets is in the order of states. Outside of transactions.
 */
bool
eddy_partitions_list_offsets(EddySourceWorker *worker, int64 position, int64 *offsets,
							 EddyKafkaError *error)
{
	const EddyPartitionSet *set = &worker->partitions;
	int32		numbers[EDDY_KAFKA_REQUEST_PARTITIONS];

	for (int first = 0; first < set->count; first += EDDY_KAFKA_REQUEST_PARTITIONS)
	{
		int			count = Min(set->count - first, EDDY_KAFKA_REQUEST_PARTITIONS);

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < count; i++)
			numbers[i] = set->states[first + i].partition;
		if (!eddy_kafka_list_offsets(worker->client, worker->definition->source->topic, numbers,
									 count, position, EDDY_REQUEST_TIMEOUT, offsets + first, error))
			return false;
	}
	return true;
}

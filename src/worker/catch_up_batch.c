/*-------------------------------------------------------------------------
 *
 * catch_up_batch.c
 *    One batch of messages for a view that is filled from Kafka.
 *
 * A batch takes the steps of src/apply/pipeline.c for one view: nothing is staged and no row is judged.
 * The offsets of the view advance in the same transaction.
 *
 * Locking: see catch_up.c. Memory: the batch's context. A crash leaves all of a batch or nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "worker/catch_up.h"

static bool
is_letter(const EddyReader *reader, const EddyKafkaMessage *message)
{
	EddyRange	place = {.partition = message->partition, .first = message->offset};

	return bsearch(&place, reader->letters, reader->nletters, sizeof(EddyRange),
				   eddy_reader_compare_places) != NULL;
}

/* Leaves out the messages that are dead letters of the stream. */
static void
omit_letters(EddyReader *reader, EddyApply *apply)
{
	const EddyKafkaMessage *messages = reader->worker.messages;
	ListCell   *lc;

	if (reader->nletters == 0)
		return;
	foreach(lc, apply->rejections)
		if (is_letter(reader, &messages[((EddyRejection *) lfirst(lc))->row]))
			apply->rejections = foreach_delete_current(apply->rejections, lc);
	for (int64 row = 0; row < apply->batch.nrows; row++)
		if ((apply->batch.rejected == NULL || !apply->batch.rejected[row]) &&
			is_letter(reader, &messages[row]))
			eddy_reject_omit(apply, row);
}

static bool
make_rows(EddyApply *apply)
{
	if (!eddy_rows_make(apply))
		return false;
	/* the worker is the first member */
	omit_letters((EddyReader *) apply->arg, apply);
	return true;
}

/* Stores the offsets of the view. */
static bool
finish(EddyApply *apply)
{
	EddyReader *reader = apply->arg;
	EddySourceWorker *worker = &reader->worker;
	int			npartitions = Max(worker->partitions.topic_partitions, 1);
	int64	   *counts = palloc0(sizeof(int64) * npartitions);
	int64	   *waiting = palloc(sizeof(int64) * npartitions);

	/* the first message of each partition that is not in the batch */
	for (int i = 0; i < npartitions; i++)
		waiting[i] = PG_INT64_MAX;
	for (int i = reader->npending - 1; i >= 0; i--)
		waiting[reader->pending[i].partition] = reader->pending[i].offset;
	for (int row = 0; row < worker->nmessages; row++)
		counts[worker->messages[row].partition]++;
	for (int i = 0; i < worker->partitions.count; i++)
	{
		EddyPartitionState *state = &worker->partitions.states[i];
		EddyViewOffset offset = {
			.view = reader->view,
			.source = worker->id.id,
			.partition = state->partition,
			.first_offset = reader->firsts[state->partition],
			.rows = reader->rows[state->partition] + counts[state->partition]
		};

		/* what is below the bound, and was received, is in the batch, or holds no message */
		offset.next_offset = Min(eddy_reader_received_until(reader, state), waiting[state->partition]);
		offset.next_offset = Max(state->stored.next_offset,
								 Min(offset.next_offset, reader->bounds[state->partition]));
		state->next = state->stored;
		state->next.next_offset = offset.next_offset;
		state->next.rows = counts[state->partition];
		if (offset.next_offset != state->stored.next_offset &&
			!eddy_catalog_advance_view_offset(&offset, state->stored.next_offset))
			return false;
	}
	return true;
}

static const EddyInput catch_up_input = {
	.make_rows = make_rows,
	.describe_row = eddy_batch_describe_row,
	.finish = finish
};

/* eddy_reader_apply_batch applies the batch, in a transaction that has locked stream and source. */
void
eddy_reader_apply_batch(EddyReader *reader, Relation stream)
{
	EddySourceWorker *worker = &reader->worker;
	const EddyDefinition *definition = worker->definition;
	EddyApply  *apply = &worker->apply;
	MemoryContext old;
	EddyDecodeError error;
	int			npartitions = Max(worker->partitions.topic_partitions, 1);

	MemoryContextReset(worker->batch_context);
	old = MemoryContextSwitchTo(worker->batch_context);
	if (!eddy_rows_resolve(worker, &error))
		ereport(ERROR, (errcode(error.sqlerrcode), errmsg_internal("%s", error.message)));
	eddy_apply_begin(apply, RelationGetRelid(stream), definition->tupdesc, worker->batch_context);
	apply->input = &catch_up_input;
	apply->arg = worker;
	apply->stream = definition->stream;
	apply->event_time = &definition->event_time;
	apply->skips = strcmp(definition->source->on_error, "skip") == 0;
	apply->counts = palloc0(sizeof(EddyRowCounts) * npartitions);
	for (int i = 0; i < npartitions; i++)
		apply->counts[i].max_event_time = DT_NOBEGIN;
	apply->staged = true;
	apply->batch.only_view = reader->view;
	/* rows of all windows are still to come */
	apply->batch.judge = NULL;
	if (!eddy_apply_run(list_make1(apply), NIL, false))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("offsets of continuous view \"%s\" were changed concurrently",
						get_rel_name(reader->view))));
	MemoryContextSwitchTo(old);
}

/*
 * eddy_reader_pass_bad_message: a message that could not be fetched, whose position has been reached,
 * becomes a dead letter of the view.
 */
bool
eddy_reader_pass_bad_message(EddyReader *reader)
{
	EddySourceWorker *worker = &reader->worker;
	EddyPartitionState *state;
	EddyKafkaMessage place = {.partition = reader->bad.partition, .offset = reader->bad.offset};
	EddyDeadLetter letter = {
		.stream = reader->stream,
		.view = reader->view,
		.source = worker->id.id,
		.topic = worker->definition->source->topic,
		.partition = reader->bad.partition,
		.offset = reader->bad.offset,
		.timestamp = DT_NOBEGIN,
		.error = reader->bad.message,
		.sqlerrcode = reader->bad.sqlerrcode
	};
	EddyViewOffset offset;

	if (!eddy_reader_has_bad_message(reader))
		return false;
	state = eddy_partitions_find(&worker->partitions, reader->bad.partition);
	if (state->next.next_offset != reader->bad.offset)
		return false;
	if (!is_letter(reader, &place))
		eddy_catalog_insert_dead_letter(&letter);
	offset = (EddyViewOffset) {
		.view = reader->view,
		.source = worker->id.id,
		.partition = state->partition,
		.first_offset = reader->firsts[state->partition],
		.next_offset = reader->bad.offset + 1,
		.rows = reader->rows[state->partition] + state->next.rows + 1
	};
	CommandCounterIncrement();
	(void) eddy_catalog_advance_view_offset(&offset, state->next.next_offset);
	return true;
}

/* eddy_reader_committed is called when the batch was committed. */
void
eddy_reader_committed(EddyReader *reader)
{
	EddySourceWorker *worker = &reader->worker;

	for (int i = 0; i < worker->partitions.count; i++)
	{
		EddyPartitionState *state = &worker->partitions.states[i];

		reader->rows[state->partition] += state->next.rows;
		state->next.rows = 0;
		state->stored = state->next;
	}
	if (worker->nmessages > 0)
		eddy_kafka_release(worker->messages, worker->nmessages);
	worker->nmessages = 0;
}

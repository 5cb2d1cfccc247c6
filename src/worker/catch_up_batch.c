/*-------------------------------------------------------------------------
 *
 * catch_up_batch.c
 *    One batch of messages for a view that is filled from Kafka.
 *
 * A batch takes the steps of src/apply/pipeline.c for one view: nothing is staged and no row is
 * judged. The offsets of the view advance in the same transaction.
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
#include "worker/process.h"

/* The next batch removes what is shown; at first, of another process. */
static bool error_shown = true;

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

/*
 * Messages that could not be read, whose position has been reached, become a dead letter of the
 * view. False if there are none.
 */
static bool
pass_bad_message(EddyReader *reader)
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

	if (!eddy_reader_has_bad_message(reader) || reader->bad_next == 0)
		return false;
	state = eddy_partitions_find(&worker->partitions, reader->bad.partition);
	if (state->next.next_offset != reader->bad.offset)
		return false;
	if (eddy_bad_message_is_readable(&reader->bad))
		ereport(ERROR, (errcode(reader->bad.sqlerrcode), errmsg_internal("%s", reader->bad.message)));
	if (!is_letter(reader, &place))
		eddy_catalog_insert_dead_letter(&letter);
	offset = (EddyViewOffset) {
		.view = reader->view,
		.source = worker->id.id,
		.partition = state->partition,
		.first_offset = reader->firsts[state->partition],
		.next_offset = Min(reader->bad_next, reader->bounds[state->partition]),
		.rows = reader->rows[state->partition] + state->next.rows + 1
	};
	CommandCounterIncrement();
	(void) eddy_catalog_advance_view_offset(&offset, state->next.next_offset);
	return true;
}

/* eddy_reader_is_starting: true if the view is still to be filled. Needs a transaction. */
bool
eddy_reader_is_starting(const EddyReader *reader)
{
	EddyView   *view = eddy_catalog_get_view(reader->view);

	return view && view->starting && list_member_oid(view->streams, reader->stream);
}

/* ---- the operations of a batch ---- */

/* A source that is paused or detached does not end the worker. */
static EddyOutcome
lock(EddySourceWorker *worker, Relation *stream)
{
	EddyOutcome outcome = eddy_reader_lock((EddyReader *) worker, stream);

	return outcome == EDDY_LEAVE ? EDDY_REOPEN : outcome;
}

/* Applies the messages. False if the offsets of the view were changed. */
static bool
apply_messages(EddyReader *reader, Relation stream, bool careful)
{
	EddySourceWorker *worker = &reader->worker;
	EddyApply  *apply = &worker->apply;

	eddy_batch_begin_apply(worker, stream, careful, &catch_up_input);
	apply->staged = true;
	apply->batch.only_view = reader->view;
	/* rows of all windows are still to come */
	apply->batch.judge = NULL;
	if (!eddy_apply_run(list_make1(apply), NIL, !careful))
		return false;
	eddy_attempt_write(worker, worker->quarantined);
	if (error_shown)
		eddy_catalog_set_start_error(reader->view, NULL, NULL);
	return true;
}

static bool
run(EddySourceWorker *worker, Relation stream, bool careful, EddyOutcome *outcome)
{
	EddyReader *reader = (EddyReader *) worker;

	if (!eddy_reader_is_starting(reader))
	{
		*outcome = EDDY_LEAVE;
		return true;
	}
	/* not beyond what eddy.seek has stored meanwhile */
	if (!eddy_reader_read_bounds(reader) || !apply_messages(reader, stream, careful))
		return false;
	*outcome = pass_bad_message(reader) ? EDDY_REOPEN : EDDY_CONTINUE;
	return true;
}

static void
committed(EddySourceWorker *worker)
{
	EddyReader *reader = (EddyReader *) worker;

	for (int i = 0; i < worker->partitions.count; i++)
	{
		EddyPartitionState *state = &worker->partitions.states[i];

		reader->rows[state->partition] += state->next.rows;
		state->next.rows = 0;
		state->stored = state->next;
	}
	error_shown = false;
	if (worker->nmessages > 0)
		eddy_kafka_release(worker->messages, worker->nmessages);
	worker->nmessages = 0;
}

/* eddy_reader_error_is_shown: so that the next batch removes it. */
void
eddy_reader_error_is_shown(void)
{
	error_shown = true;
}

/*
 * eddy_reader_show_error shows in eddy.view_starts what keeps the worker waiting, outside of
 * transactions.
 */
void
eddy_reader_show_error(EddySourceWorker *worker, const char *error, int sqlerrcode)
{
	error_shown = true;
	eddy_process_set_start_error(worker->view, error, unpack_sql_state(sqlerrcode));
}

const EddyBatchWork eddy_reader_work = {
	.lock = lock,
	.run = run,
	.committed = committed,
	.release = eddy_reader_return_batch,
	.report = eddy_reader_show_error
};

/*
 * eddy_reader_apply_last applies all messages below the bounds in a transaction that ends the
 * filling, and has locked stream and source. False if the offsets were changed.
 */
bool
eddy_reader_apply_last(EddyReader *reader, Relation stream)
{
	EddySourceWorker *worker = &reader->worker;
	MemoryContext old;
	EddyDecodeError error;
	bool		done;

	if (eddy_reader_take_batch(reader, EDDY_READER_ROWS) == 0)
		return true;
	MemoryContextReset(worker->batch_context);
	old = MemoryContextSwitchTo(worker->batch_context);
	if (!eddy_rows_resolve(worker, &error))
		ereport(ERROR, (errcode(error.sqlerrcode), errmsg_internal("%s", error.message)));
	done = apply_messages(reader, stream, false);
	MemoryContextSwitchTo(old);
	return done;
}

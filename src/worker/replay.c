/*-------------------------------------------------------------------------
 *
 * replay.c
 *    Applying the messages of dead letters again.
 *
 * Runs in the session of the user who calls eddy.replay_dead_letters, not in a worker, but takes
 * the same way as a batch from Kafka: letters that follow each other and have the same source and
 * view become one batch, whose messages are decoded as the definition of the source is now. Rows of
 * users' statements were stored as JSON objects by column name, so they are decoded as such
 * messages.
 *
 * A letter of the whole stream becomes a row that all views count. A letter of one view was counted
 * by all others, so it is applied to that view alone. A message that is rejected again becomes
 * another letter. The offsets do not move, and neither does the watermark: the rows are judged by
 * it like all others, and can be late.
 *
 * Locking: as a batch (batch.c), except for the source; the caller has locked the stream. Memory: a
 * context that is deleted at the end, and arrays of rows.c, which are freed at the end and after an
 * error. An error rolls back the transaction, with the deletion of the letters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "worker/replay.h"
#include "worker/source_worker.h"

/* The rows exist because of these letters, which the caller has deleted. */
static bool
make_rows(EddyApply *apply)
{
	EddySourceWorker *worker = apply->arg;
	MemoryContext old_context = MemoryContextSwitchTo(worker->batch_context);

	eddy_rows_decode(worker);
	MemoryContextSwitchTo(old_context);
	return true;
}

/* No position has to be stored. */
static bool
finish(EddyApply *apply pg_attribute_unused())
{
	return true;
}

static const EddyInput letter_input = {
	.make_rows = make_rows,
	.describe_row = eddy_batch_describe_row,
	.finish = finish
};

/* What the rows of users' statements were stored as: JSON objects with all columns by name. */
static EddySource *
make_user_source(Oid stream)
{
	EddySource *source = palloc0(sizeof(EddySource));

	source->stream = stream;
	source->format = pstrdup("json");
	return source;
}

/* The definition of the source of a letter, in the worker's batch context. */
static EddyDefinition *
make_definition(EddySourceWorker *worker, Relation rel, const EddyDeadLetter *letter)
{
	EddyStream *stream = eddy_catalog_get_stream(letter->stream);
	EddySource *source = letter->topic ? eddy_catalog_get_source(letter->source) :
		make_user_source(letter->stream);
	EddyDefinition *definition;

	if (stream == NULL || source == NULL)
		elog(ERROR, "source %d does not exist", letter->source);
	/* whatever the policy of the source is, the message remains a dead letter */
	source->on_error = pstrdup("dead_letter");
	definition = eddy_definition_make(source, stream, rel, letter->view, worker->batch_context);
	if (definition->event_time.on_null == EDDY_NULL_EVENT_TIME_STOP)
		definition->event_time.on_null = EDDY_NULL_EVENT_TIME_DEAD_LETTER;
	return definition;
}

static void
make_messages(EddySourceWorker *worker, List *letters)
{
	int			count = list_length(letters);

	worker->messages = palloc0(mul_size(count, sizeof(EddyKafkaMessage)));
	worker->payloads = palloc0(mul_size(count, sizeof(EddyDecodeMessage)));
	worker->nmessages = count;
	for (int i = 0; i < count; i++)
	{
		const EddyDeadLetter *letter = list_nth(letters, i);
		EddyKafkaMessage *message = &worker->messages[i];

		message->partition = letter->partition;
		message->offset = letter->offset;
		message->payload = letter->payload;
		message->payload_len = letter->payload_len;
		message->key = letter->key;
		message->key_len = letter->key_len;
		message->headers = letter->headers;
		eddy_rows_set_message_time(message, letter->timestamp);
	}
}

/* Applies letters with the same source and view; returns how many were rejected again. */
static int64
apply_batch(EddySourceWorker *worker, Relation rel, List *letters)
{
	const EddyDeadLetter *first = linitial(letters);
	EddyApply  *apply = &worker->apply;
	EddyRowCounts counts = {.max_event_time = DT_NOBEGIN};
	EddyDecodeError error;

	worker->definition = make_definition(worker, rel, first);
	make_messages(worker, letters);
	if (!eddy_rows_resolve(worker, &error))
		ereport(ERROR, (errcode(error.sqlerrcode), errmsg_internal("%s", error.message)));

	eddy_apply_begin(apply, RelationGetRelid(rel), worker->definition->tupdesc,
					 worker->batch_context);
	apply->input = &letter_input;
	apply->arg = worker;
	apply->stream = worker->definition->stream;
	apply->event_time = &worker->definition->event_time;
	apply->counts = &counts;
	apply->batch.only_view = first->view;
	apply->batch.omitted = worker->definition->omitted;
	apply->staged = first->topic == NULL || OidIsValid(first->view);
	(void) eddy_apply_run(list_make1(apply), NIL, false);
	eddy_stream_end_prepare(worker->definition->preparer);
	/* a row that the stream has accepted, but not all of its views, was replayed */
	return apply->batch.nrejected +
		(OidIsValid(first->view) ? list_length(apply->batch.view_rejections) : 0);
}

/* The letters at the head of a list that can be applied as one batch. */
static List *
take_batch(List *letters, int from)
{
	const EddyDeadLetter *first = list_nth(letters, from);
	List	   *batch = NIL;

	for (int i = from; i < list_length(letters); i++)
	{
		EddyDeadLetter *letter = list_nth(letters, i);

		if (letter->source != first->source || letter->view != first->view ||
			(letter->topic == NULL) != (first->topic == NULL))
			break;
		batch = lappend(batch, letter);
	}
	return batch;
}

int64
eddy_replay_letters(Relation stream, List *letters)
{
	EddySourceWorker *worker = palloc0(sizeof(EddySourceWorker));
	MemoryContext caller = CurrentMemoryContext;
	volatile int64 rejected = 0;

	worker->row_limit = EDDY_NO_BATCH_LIMIT;
	worker->batch_context = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy dead letters",
												  ALLOCSET_DEFAULT_SIZES);
	PG_TRY();
	{
		for (int i = 0; i < list_length(letters);)
		{
			List	   *batch = take_batch(letters, i);

			MemoryContextSwitchTo(worker->batch_context);
			/* for what the batch before has changed */
			CommandCounterIncrement();
			PushActiveSnapshot(GetTransactionSnapshot());
			rejected += apply_batch(worker, stream, batch);
			PopActiveSnapshot();
			MemoryContextSwitchTo(caller);
			MemoryContextReset(worker->batch_context);
			i += list_length(batch);
		}
	}
	PG_FINALLY();
	{
		eddy_rows_free(worker);
	}
	PG_END_TRY();
	MemoryContextDelete(worker->batch_context);
	return rejected;
}

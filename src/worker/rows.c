/*-------------------------------------------------------------------------
 *
 * rows.c
 *    From messages to rows.
 *
 * Row i of the batch is message i; messages that make no row (tombstones, rejected
 * ones) stay in the array and are marked. What the decoder finds wrong comes
 * back as a value. Input functions, defaults and constraints can raise errors: they
 * run over the batch in one internal subtransaction, and when a row fails, what was
 * done to the rows before it stays (it is only memory) and the rest goes on behind it.
 *
 * Memory: values by reference are in the batch's context; arrays are reused from batch to
 * batch. No locks. A batch that is tried again is decoded again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "owner.h"
#include "worker/source_worker.h"

#define INTERRUPT_ROWS 256		/* rows between looks for interrupts */

/* Rows of the batch before the one that stops the source, or all. */
static inline int64
row_count(const EddySourceWorker *worker)
{
	return worker->stop_row >= 0 ? worker->stop_row : worker->nmessages;
}

static void
mark_rejected(EddySourceWorker *worker, int64 row)
{
	EddyBatch  *batch = &worker->batch;

	if (batch->rejected == NULL)
		batch->rejected = MemoryContextAllocZero(worker->batch_context,
												 sizeof(bool) * Max(worker->nmessages, 1));
	batch->rejected[row] = true;
}

/* A message cannot become a row: remember why, or end the batch before it. */
static void
reject(EddySourceWorker *worker, int64 row, int sqlerrcode, const char *message, bool stops)
{
	MemoryContext old_context = MemoryContextSwitchTo(worker->batch_context);

	if (stops)
	{
		if (worker->stop_row < 0 || row < worker->stop_row)
		{
			worker->stop_row = row;
			worker->stop_sqlerrcode = sqlerrcode;
			worker->stop_message = pstrdup(message);
		}
	}
	else
	{
		EddyRejection *rejection = palloc0(sizeof(EddyRejection));

		rejection->row = row;
		rejection->sqlerrcode = sqlerrcode;
		rejection->message = pstrdup(message);
		worker->rejections = lappend(worker->rejections, rejection);
		mark_rejected(worker, row);
	}
	MemoryContextSwitchTo(old_context);
}

static bool
stops_on_error(const EddySourceWorker *worker)
{
	return strcmp(worker->definition->source->on_error, "stop") == 0;
}

/* ---- first step: the decoder ---- */

static void
make_room(EddySourceWorker *worker, int natts)
{
	int64		cells = (int64) Max(worker->nmessages, 1) * Max(natts, 1);

	if (cells > worker->cells)
	{
		if (worker->values)
		{
			pfree(worker->values);
			pfree(worker->nulls);
			pfree(worker->missing);
			worker->values = NULL;
		}
		worker->cells = 0;
		worker->values = MemoryContextAllocHuge(TopMemoryContext,
												mul_size(cells, sizeof(Datum)));
		worker->nulls = MemoryContextAllocHuge(TopMemoryContext, cells);
		worker->missing = MemoryContextAllocHuge(TopMemoryContext, cells);
		worker->cells = cells;
	}
	/* columns that no message fills are null, and take their default when there is one */
	memset(worker->nulls, true, cells);
	memset(worker->missing, false, cells);
}

static void
decode_messages(EddySourceWorker *worker)
{
	EddyDefinition *definition = worker->definition;
	int			natts = definition->tupdesc->natts;
	bool		cautious = eddy_attempt_cautious();
	EddyDecodeError error;
	int			crashes;

	worker->quarantined = false;
	for (int64 row = 0; row < worker->nmessages; row++)
	{
		const EddyKafkaMessage *message = &worker->messages[row];

		if ((row % INTERRUPT_ROWS) == 0)
			CHECK_FOR_INTERRUPTS();
		if (cautious && (crashes = eddy_attempt_crashed(message)) > 0)
		{
			snprintf(error.message, sizeof(error.message),
					 "crashed the worker in %d attempts", crashes);
			reject(worker, row, ERRCODE_CRASH_SHUTDOWN, error.message, stops_on_error(worker));
			worker->quarantined = true;
			if (worker->stop_row >= 0)
				return;
		}
		else if (message->payload == NULL)
			mark_rejected(worker, row);
		else if (!eddy_decode_message(definition->decoder, message->payload,
									  message->payload_len, worker->values + row * natts,
									  worker->nulls + row * natts,
									  worker->missing + row * natts, &error))
		{
			reject(worker, row, error.sqlerrcode, error.message, stops_on_error(worker));
			if (worker->stop_row >= 0)
				return;
		}
	}
}

/* ---- second step: input functions, metadata, defaults, constraints ---- */

/* Text of a message in the encoding of the database; raises an error for what is no text. */
static Datum
text_datum(const char *data, size_t len)
{
	char	   *converted;
	text	   *result;

	if (len > MaxAllocSize / 4)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("key of the message is too long")));
	converted = pg_any_to_server(data, len, PG_UTF8);
	if (converted != data)
		len = strlen(converted);
	result = cstring_to_text_with_len(converted, len);
	return PointerGetDatum(result);
}

static Datum
bytes_datum(const char *data, size_t len)
{
	bytea	   *result = palloc(add_size(VARHDRSZ, len));

	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), data, len);
	return PointerGetDatum(result);
}

static Datum
headers_datum(Oid type, char *json)
{
	if (type == JSONBOID)
		return DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
	/* json and text have the same form; what jsonb_in would check is true of our own writing */
	return CStringGetTextDatum(json);
}

static Datum
timestamp_datum(Oid type, int64 timestamp_ms)
{
	const int64 epoch_ms = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;
	int64		result;

	if (type == INT8OID)
		return Int64GetDatum(timestamp_ms);
	if (pg_mul_s64_overflow(timestamp_ms - epoch_ms, 1000, &result) ||
		!IS_VALID_TIMESTAMP(result))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp of the message is out of range")));
	return Int64GetDatum(result);
}

static Datum
partition_datum(Oid type, int32 partition)
{
	if (type == INT8OID)
		return Int64GetDatum((int64) partition);
	if (type == INT4OID)
		return Int32GetDatum(partition);
	if (partition > PG_INT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("partition %d is out of range for type smallint", partition)));
	return Int16GetDatum((int16) partition);
}

static void
fill_metadata(EddySourceWorker *worker, const EddyKafkaMessage *message, Datum *values,
			  bool *nulls)
{
	const EddyMapping *mapping = worker->definition->mapping;

	for (int i = 0; i < mapping->nmetadata; i++)
	{
		const EddyMetadataColumn *column = &mapping->metadata[i];
		Datum	   *value = &values[column->attnum - 1];
		bool	   *isnull = &nulls[column->attnum - 1];
		char	   *headers;

		*isnull = false;
		switch (column->what)
		{
			case EDDY_METADATA_TOPIC:
				*value = CStringGetTextDatum(worker->definition->source->topic);
				break;
			case EDDY_METADATA_PARTITION:
				*value = partition_datum(column->type, message->partition);
				break;
			case EDDY_METADATA_OFFSET:
				*value = Int64GetDatum(message->offset);
				break;
			case EDDY_METADATA_TIMESTAMP:
				*isnull = (message->timestamp_ms < 0);
				if (!*isnull)
					*value = timestamp_datum(column->type, message->timestamp_ms);
				break;
			case EDDY_METADATA_KEY:
				*isnull = (message->key == NULL);
				if (!*isnull)
					*value = column->type == BYTEAOID ?
						bytes_datum(message->key, message->key_len) :
						text_datum(message->key, message->key_len);
				break;
			case EDDY_METADATA_HEADERS:
				headers = eddy_kafka_headers_json(message);
				*isnull = (headers == NULL);
				if (!*isnull)
					*value = headers_datum(column->type, headers);
				break;
		}
	}
}

/* Finishes one row; may raise an error. */
static void
finish_row(EddySourceWorker *worker, int64 row, bool converts, bool prepares)
{
	EddyDefinition *definition = worker->definition;
	int			natts = definition->tupdesc->natts;
	Datum	   *values = worker->values + row * natts;
	bool	   *nulls = worker->nulls + row * natts;
	bool	   *missing = worker->missing + row * natts;
	char		message[256];
	int			sqlerrcode;

	if (converts)
		eddy_decode_convert(definition->decoder, values, nulls, missing);
	if (definition->mapping->nmetadata > 0)
		fill_metadata(worker, &worker->messages[row], values, nulls);
	if (prepares && !eddy_stream_prepare_row(definition->preparer, values, nulls, missing,
											 &sqlerrcode, message, sizeof(message)))
		reject(worker, row, sqlerrcode, message, stops_on_error(worker));
}

typedef struct FinishRun
{
	EddySourceWorker *worker;
	volatile int64 row;			/* the next one; after an error the one that failed */
} FinishRun;

/* Finishes the rows that are left. */
static void
run_finish(void *arg)
{
	FinishRun  *run = arg;
	EddySourceWorker *worker = run->worker;
	EddyDefinition *definition = worker->definition;
	bool		converts = eddy_decode_needs_convert(definition->decoder);
	bool		prepares = eddy_stream_needs_prepare(definition->preparer);
	EddyOwnerSwitch save;

	eddy_owner_begin(&save, definition->owner);
	for (; run->row < row_count(worker); run->row++)
	{
		if ((run->row % INTERRUPT_ROWS) == 0)
			CHECK_FOR_INTERRUPTS();
		if (worker->batch.rejected && worker->batch.rejected[run->row])
			continue;
		finish_row(worker, run->row, converts, prepares);
	}
	eddy_owner_end(&save);
}

/*
 * What is wrong with a row, from the error that it has raised; quotes nothing of the row. Any other
 * error is raised again.
 */
static const char *
describe_failure(EddySourceWorker *worker, ErrorData *error)
{
	char	   *description;

	if (worker->alone && error->sqlerrcode == ERRCODE_QUERY_CANCELED && eddy_clock_expired())
		return eddy_clock_describe();
	if (!eddy_batch_is_row_error(error))
		ReThrowError(error);
	description = eddy_decode_describe_failure(worker->definition->decoder, error->sqlerrcode);
	return description ? description : eddy_batch_describe_error(error);
}

static void
finish_all(EddySourceWorker *worker)
{
	FinishRun	run = {worker, 0};
	ErrorData  *error;

	while ((error = eddy_subtransaction_run(run_finish, &run)) != NULL)
	{
		reject(worker, run.row, error->sqlerrcode, describe_failure(worker, error),
			   stops_on_error(worker));
		FreeErrorData(error);
		run.row++;
	}
}

/* ---- event time ---- */

/* Rows without an event time go by the policy of the stream. */
static void
check_event_times(EddySourceWorker *worker)
{
	const EddyDefinition *definition = worker->definition;
	int			natts = definition->tupdesc->natts;
	bool		stops = strcmp(definition->stream->null_event_time, "stop") == 0;
	const bool *isnull = worker->nulls + definition->event_time - 1;
	char	   *message = NULL;

	if (definition->event_time == 0 ||
		strcmp(definition->stream->null_event_time, "skip_watermark") == 0)
		return;
	for (int64 row = 0; row < row_count(worker); row++, isnull += natts)
	{
		if (!*isnull || (worker->batch.rejected && worker->batch.rejected[row]))
			continue;
		if (message == NULL)
			message = psprintf("null value in event time column \"%s\"",
							   definition->stream->event_time);
		reject(worker, row, ERRCODE_NULL_VALUE_NOT_ALLOWED, message, stops);
	}
}

void
eddy_rows_decode(EddySourceWorker *worker, Relation stream)
{
	EddyDefinition *definition = worker->definition;
	EddyBatch  *batch = &worker->batch;
	MemoryContext old_context = MemoryContextSwitchTo(worker->batch_context);

	memset(batch, 0, sizeof(EddyBatch));
	worker->rejections = NIL;
	worker->stop_row = -1;
	make_room(worker, definition->tupdesc->natts);
	batch->stream = RelationGetRelid(stream);
	batch->tupdesc = definition->tupdesc;
	batch->natts = definition->tupdesc->natts;
	batch->mcxt = worker->batch_context;
	batch->values = worker->values;
	batch->nulls = worker->nulls;

	if (worker->alone)
	{
		batch->start_clock = eddy_clock_start;
		batch->clock_expired = eddy_clock_expired;
	}

	decode_messages(worker);
	if (definition->in_two_steps)
		finish_all(worker);
	check_event_times(worker);

	batch->nrows = row_count(worker);
	if (batch->rejected)
		for (int64 row = 0; row < batch->nrows; row++)
			batch->nrejected += batch->rejected[row];
	MemoryContextSwitchTo(old_context);
}

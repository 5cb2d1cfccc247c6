/*-------------------------------------------------------------------------
 *
 * rows.c
 *    From messages to rows.
 *
 * Row i of the batch is message i; messages that make no row (tombstones, rejected
 * ones) stay in the array and are marked. Errors that the decoder finds are
 * returned as values. Input functions, defaults and constraints can raise errors: they
 * run over the batch in one internal subtransaction. When a row fails, the results for the rows
 * before it are kept (they are only memory), and a new subtransaction continues after it.
 *
 * Memory: values by reference are in the batch's context; arrays are reused from batch to
 * batch. No locks. A batch that is retried is decoded again.
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

#include "clock.h"
#include "owner.h"
#include "worker/source_worker.h"

#define INTERRUPT_ROWS 256		/* rows between checks for interrupts */

/* Milliseconds from the epoch of Unix, in which Kafka counts, to that of PostgreSQL. */
#define EPOCH_MS ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000)

/* A message cannot become a row. */
static void
reject(EddySourceWorker *worker, int64 row, int sqlerrcode, const char *message)
{
	eddy_reject_row(&worker->apply, row, sqlerrcode, message,
					strcmp(worker->definition->source->on_error, "stop") == 0);
}

/* ---- first step: the decoder ---- */

/* eddy_rows_free frees the arrays of a worker. */
void
eddy_rows_free(EddySourceWorker *worker)
{
	worker->cells = 0;
	if (worker->values)
		pfree(worker->values);
	worker->values = NULL;
	if (worker->nulls)
		pfree(worker->nulls);
	worker->nulls = NULL;
	if (worker->missing)
		pfree(worker->missing);
	worker->missing = NULL;
}

static void
make_room(EddySourceWorker *worker, int natts)
{
	int64		cells = (int64) Max(worker->nmessages, 1) * Max(natts, 1);

	if (cells > worker->cells)
	{
		eddy_rows_free(worker);
		worker->values = MemoryContextAllocHuge(TopMemoryContext,
												mul_size(cells, sizeof(Datum)));
		worker->nulls = MemoryContextAllocHuge(TopMemoryContext, cells);
		worker->missing = MemoryContextAllocHuge(TopMemoryContext, cells);
		worker->cells = cells;
	}
	/* columns that no message fills are null, and get their default if they have one */
	memset(worker->nulls, true, cells);
	memset(worker->missing, false, cells);
}

/*
 * eddy_rows_resolve passes the messages of the batch to the decoder before the transaction begins:
 * it may wait for the network. Returns false with the error if they cannot be decoded now.
 */
bool
eddy_rows_resolve(EddySourceWorker *worker, EddyDecodeError *error)
{
	for (int i = 0; i < worker->nmessages; i++)
	{
		const EddyKafkaMessage *message = &worker->messages[i];

		/* a message that has crashed the worker is not seen by the decoder */
		worker->payloads[i].data = eddy_attempt_crashed(worker, message) > 0 ? NULL : message->payload;
		worker->payloads[i].len = message->payload_len;
	}
	worker->definition->resolved = eddy_decode_resolve(worker->definition->decoder,
													   worker->payloads, worker->nmessages,
													   error);
	return worker->definition->resolved;
}

/* True if a message must not be decoded, because it has crashed the worker too often. */
static bool
quarantine(EddySourceWorker *worker, int64 row)
{
	int			crashes = eddy_attempt_crashed(worker, &worker->messages[row]);
	char		error[64];

	if (crashes == 0)
		return false;
	snprintf(error, sizeof(error), "crashed the worker in %d attempts", crashes);
	reject(worker, row, ERRCODE_CRASH_SHUTDOWN, error);
	worker->quarantined = true;
	return true;
}

/* Decodes count messages from row on, up to one that is rejected; returns the number before it. */
static int
decode_some(EddySourceWorker *worker, int64 row, int count, EddyDecodeSpace *space)
{
	int			natts = worker->definition->tupdesc->natts;
	EddyDecodeRows rows = {
		.natts = natts,
		.values = worker->values + row * natts,
		.nulls = worker->nulls + row * natts,
		.missing = worker->missing + row * natts,
		.space = space
	};
	EddyDecodeError error;
	int			decoded = eddy_decode_messages(worker->definition->decoder,
											   worker->payloads + row, count, &rows, &error);

	for (int i = 0; i < decoded; i++)
	{
		if (worker->payloads[row + i].data == NULL)
			eddy_reject_omit(&worker->apply, row + i);
	}
	if (decoded < count)
		reject(worker, row + decoded, error.sqlerrcode, error.message);
	return decoded;
}

static void
decode_messages(EddySourceWorker *worker)
{
	bool		cautious = eddy_attempt_cautious(worker);
	int			chunk = cautious ? 1 : INTERRUPT_ROWS;
	EddyDecodeSpace space = {0};
	int64		row = 0;

	worker->quarantined = false;
	/* a row that stops the batch is its new end */
	while (row < worker->apply.batch.nrows)
	{
		int			count = (int) Min(worker->apply.batch.nrows - row, chunk);
		int			decoded = 0;

		CHECK_FOR_INTERRUPTS();
		if (!cautious || !quarantine(worker, row))
			decoded = decode_some(worker, row, count, &space);
		row += decoded < count ? decoded + 1 : count;
	}
}

/* ---- second step: input functions, metadata, defaults, constraints ---- */

/* Text of a message in the encoding of the database; raises an error for invalid text. */
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
	/* json and text have the same form, and our own writing is valid */
	return CStringGetTextDatum(json);
}

/*
 * eddy_rows_message_time returns the timestamp of a message; DT_NOBEGIN if it has none, or one that
 * PostgreSQL cannot represent.
 */
TimestampTz
eddy_rows_message_time(const EddyKafkaMessage *message)
{
	int64		result;

	if (message->timestamp_ms < 0 ||
		pg_mul_s64_overflow(message->timestamp_ms - EPOCH_MS, 1000, &result) ||
		!IS_VALID_TIMESTAMP(result))
		return DT_NOBEGIN;
	return result;
}

/* eddy_rows_set_message_time is the reverse. */
void
eddy_rows_set_message_time(EddyKafkaMessage *message, TimestampTz time)
{
	message->timestamp_ms = TIMESTAMP_NOT_FINITE(time) ? -1 : time / 1000 + EPOCH_MS;
}

static Datum
timestamp_datum(Oid type, const EddyKafkaMessage *message)
{
	TimestampTz result = eddy_rows_message_time(message);

	if (type == INT8OID)
		return Int64GetDatum(message->timestamp_ms);
	if (TIMESTAMP_IS_NOBEGIN(result))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp of the message is out of range")));
	return TimestampTzGetDatum(result);
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
					*value = timestamp_datum(column->type, message);
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
		reject(worker, row, sqlerrcode, message);
}

typedef struct FinishRun
{
	EddySourceWorker *worker;
	volatile int64 row;			/* the next one; after an error the one that failed */
} FinishRun;

/* Finishes the remaining rows. */
static void
run_finish(void *arg)
{
	FinishRun  *run = arg;
	EddySourceWorker *worker = run->worker;
	EddyDefinition *definition = worker->definition;
	EddyBatch  *batch = &worker->apply.batch;
	bool		converts = eddy_decode_needs_convert(definition->decoder);
	bool		prepares = eddy_stream_needs_prepare(definition->preparer);
	EddyOwnerSwitch save;

	eddy_owner_begin(&save, definition->owner);
	for (; run->row < batch->nrows; run->row++)
	{
		if ((run->row % INTERRUPT_ROWS) == 0)
			CHECK_FOR_INTERRUPTS();
		if (batch->rejected && batch->rejected[run->row])
			continue;
		finish_row(worker, run->row, converts, prepares);
	}
	eddy_owner_end(&save);
}

/*
 * The message of a row's error, without content of the row. An error that is not the row's is
 * raised again.
 */
static const char *
describe_failure(EddySourceWorker *worker, ErrorData *error)
{
	char	   *description;

	if (worker->alone && eddy_clock_caused(error))
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
		reject(worker, run.row, error->sqlerrcode, describe_failure(worker, error));
		FreeErrorData(error);
		run.row++;
	}
}

/* ---- the batch ---- */

/*
 * Finds the partition of each row. False if an offset is below the expected one: the message was
 * delivered twice.
 */
static bool
check_offsets(EddySourceWorker *worker)
{
	int32	   *partitions = palloc(sizeof(int32) * Max(worker->nmessages, 1));

	for (int i = 0; i < worker->partitions.count; i++)
		worker->partitions.states[i].next = worker->partitions.states[i].stored;
	for (int row = 0; row < worker->nmessages; row++)
	{
		const EddyKafkaMessage *message = &worker->messages[row];
		EddyPartition *next = &worker->partitions.by_number[message->partition]->next;

		if (message->offset < next->next_offset)
			return false;
		next->next_offset = message->offset + 1;
		partitions[row] = message->partition;
	}
	worker->apply.partitions = partitions;
	return true;
}

/* eddy_rows_decode makes the rows of the worker's messages, without regard to their offsets. */
void
eddy_rows_decode(EddySourceWorker *worker)
{
	EddyBatch  *batch = &worker->apply.batch;

	make_room(worker, batch->natts);
	batch->values = worker->values;
	batch->nulls = worker->nulls;
	batch->nrows = worker->nmessages;
	decode_messages(worker);
	if (worker->definition->in_two_steps)
		finish_all(worker);
}

bool
eddy_rows_make(EddyApply *apply)
{
	EddySourceWorker *worker = apply->arg;
	MemoryContext old_context = MemoryContextSwitchTo(worker->batch_context);
	bool		ok = check_offsets(worker);

	if (ok)
		eddy_rows_decode(worker);
	MemoryContextSwitchTo(old_context);
	return ok;
}

/*-------------------------------------------------------------------------
 *
 * late.c
 *    Counts the late rows of a batch, and writes them to eddy.late_rows.
 *
 * The views have found them (view/late_pairs.c). They are written in the transaction of the
 * batch, so that accepted, late and rejected rows together are always all rows.
 *
 * Locking: RowExclusiveLock on eddy.late_rows and eddy._late_row_count; no row is waited for.
 * Memory: a context that is reset after each chunk of rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "apply/steps.h"
#include "owner.h"

/* Rows whose conversion shares a subtransaction: so many, and none after so many bytes. */
#define CHUNK_ROWS 256
#define CHUNK_SIZE (1024 * 1024)

/* The rows of a batch, read in order. */
typedef struct LateReader
{
	const EddyBatch *batch;
	TupleTableSlot *slot;
	int64		row;			/* in the slot, if the rows are in a tuplestore; -1: none */
} LateReader;

/* Reads a row that is not before the last one into the slot. */
static void
read_row(LateReader *reader, int64 row)
{
	const EddyBatch *batch = reader->batch;
	TupleTableSlot *slot = reader->slot;

	if (batch->store)
		eddy_apply_read_row(batch, slot, &reader->row, row);
	else
	{
		ExecClearTuple(slot);
		memcpy(slot->tts_values, batch->values + row * batch->natts,
			   sizeof(Datum) * batch->natts);
		memcpy(slot->tts_isnull, batch->nulls + row * batch->natts, sizeof(bool) * batch->natts);
		ExecStoreVirtualTuple(slot);
	}
}

/* Rows that are converted together. */
typedef struct Chunk
{
	LateReader *reader;
	const EddyLateRow *rows;
	int64		count;			/* of rows */
	int			done;			/* so many of them are converted */
	Size		size;			/* of their texts */
	char	   *json;			/* text of the next row, if that could be made */
	Datum		results[CHUNK_ROWS];	/* of type jsonb */
} Chunk;

/* Converts rows until the chunk is full, or none is left. */
static void
run_convert(void *arg)
{
	Chunk	   *chunk = arg;
	LateReader *reader = chunk->reader;

	while (chunk->done < Min(chunk->count, CHUNK_ROWS) && chunk->size < CHUNK_SIZE)
	{
		CHECK_FOR_INTERRUPTS();
		chunk->json = NULL;
		read_row(reader, chunk->rows[chunk->done].row);
		chunk->json = TextDatumGetCString(OidFunctionCall1(F_ROW_TO_JSON_RECORD,
														   eddy_dead_letter_row(reader->batch,
																				reader->slot)));
		chunk->results[chunk->done] = DirectFunctionCall1(jsonb_in, CStringGetDatum(chunk->json));
		chunk->size += strlen(chunk->json);
		chunk->done++;
	}
}

/* The text of the next row as a string of JSON. */
static void
run_quote(void *arg)
{
	Chunk	   *chunk = arg;
	StringInfoData quoted;

	initStringInfo(&quoted);
	escape_json(&quoted, chunk->json);
	chunk->results[chunk->done] = DirectFunctionCall1(jsonb_in, CStringGetDatum(quoted.data));
}

/* Runs a part of the conversion; false if it fails because of the next row. */
static bool
try_conversion(void (*function) (void *), Chunk *chunk)
{
	ErrorData  *error = eddy_subtransaction_run(function, chunk);

	if (error && !eddy_batch_is_row_error(error))
		ReThrowError(error);
	return error == NULL;
}

/*
 * Converts the first rows to jsonb: up to one that cannot be converted, as nearly all can. A value
 * of type json can contain what jsonb cannot, such as \u0000 or a number that is too large; then
 * the text of the row becomes a string. The row is late all the same: nobody could repeat the batch
 * without it. 0 if a type of the row has no text.
 */
static void
convert_rows(Chunk *chunk)
{
	chunk->done = 0;
	chunk->size = 0;
	if (try_conversion(run_convert, chunk))
		return;
	if (chunk->json == NULL || !try_conversion(run_quote, chunk))
		chunk->results[chunk->done] = (Datum) 0;
	chunk->done++;
}

/* Where a row came from. */
static void
describe_origin(EddyApply *apply, int64 row, EddyLateRowEntry *entry)
{
	EddyRejection rejection = {.row = row};
	EddyDeadLetter letter = {.partition = -1, .offset = -1};

	if (apply->input->describe_row)
		apply->input->describe_row(apply, &rejection, &letter);
	entry->topic = letter.topic;
	entry->partition = letter.partition;
	entry->offset = letter.offset;
}

/* row_data: of type jsonb, or 0 */
static void
write_row(EddyApply *apply, const EddyLateRows *late, const EddyLateRow *row, Datum row_data)
{
	EddyLateRowEntry entry = {
		.view = late->view,
		.window_start = row->window_start,
		.window_end = row->window_end,
		.watermark = late->watermark,
		.row_data = row_data
	};

	describe_origin(apply, row->row, &entry);
	eddy_catalog_insert_late_row(&entry);
}

static void
write_rows(EddyApply *apply, const EddyLateRows *late)
{
	EddyBatch  *batch = &apply->batch;
	LateReader	reader = {.batch = batch, .row = -1};
	Chunk		chunk = {.reader = &reader, .rows = late->rows, .count = late->count};
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy late row",
											   ALLOCSET_DEFAULT_SIZES);
	EddyOwnerSwitch save;

	/* output functions run with the rights of the stream's owner */
	eddy_owner_begin(&save, eddy_owner_of_relation(batch->stream));
	reader.slot = MakeSingleTupleTableSlot(batch->tupdesc, batch->store ? &TTSOpsMinimalTuple :
										   &TTSOpsVirtual);
	if (batch->store)
		eddy_apply_rewind(batch);
	while (chunk.count > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(mcxt);

		convert_rows(&chunk);
		for (int i = 0; i < chunk.done; i++)
			write_row(apply, late, &chunk.rows[i], chunk.results[i]);
		chunk.rows += chunk.done;
		chunk.count -= chunk.done;
		MemoryContextSwitchTo(old);
		MemoryContextReset(mcxt);
	}
	ExecDropSingleTupleTableSlot(reader.slot);
	eddy_owner_end(&save);
	MemoryContextDelete(mcxt);
}

/* eddy_late_write writes and counts the late rows of batches (List of EddyApply). */
void
eddy_late_write(List *applies)
{
	ListCell   *lc;
	ListCell   *ll;

	foreach(lc, applies)
	{
		EddyApply  *apply = lfirst(lc);

		foreach(ll, apply->batch.late_rows)
		{
			const EddyLateRows *late = lfirst(ll);

			if (late->rows)
				write_rows(apply, late);
			eddy_catalog_count_late_rows(late->view, late->count);
		}
	}
}

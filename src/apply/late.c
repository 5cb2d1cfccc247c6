/*-------------------------------------------------------------------------
 *
 * late.c
 *    Counts the late rows of a batch, and writes them to eddy.late_rows.
 *
 * The views have found them (view/late_pairs.c). They are written in the transaction of the
 * batch, so that accepted, late and rejected rows together are always all rows.
 *
 * Locking: RowExclusiveLock on eddy.late_rows and eddy._late_row_count; no row is waited for.
 * Memory: a context that is reset after each row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "apply/steps.h"
#include "owner.h"

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

/* A row that is being converted. */
typedef struct RowData
{
	const EddyBatch *batch;
	TupleTableSlot *slot;
	char	   *json;			/* its text, if that could be made */
	Datum		result;			/* of type jsonb */
} RowData;

static void
run_convert(void *arg)
{
	RowData    *data = arg;

	data->json = TextDatumGetCString(OidFunctionCall1(F_ROW_TO_JSON_RECORD,
													  eddy_dead_letter_row(data->batch, data->slot)));
	data->result = DirectFunctionCall1(jsonb_in, CStringGetDatum(data->json));
}

/* The text as a string of JSON. */
static void
run_quote(void *arg)
{
	RowData    *data = arg;
	StringInfoData quoted;

	initStringInfo(&quoted);
	escape_json(&quoted, data->json);
	data->result = DirectFunctionCall1(jsonb_in, CStringGetDatum(quoted.data));
}

/* Runs a part of the conversion; false if it fails because of the row. */
static bool
try_conversion(void (*function) (void *), RowData *data)
{
	ErrorData  *error = eddy_subtransaction_run(function, data);

	if (error && !eddy_batch_is_row_error(error))
		ReThrowError(error);
	return error == NULL;
}

/*
 * The row in the slot as jsonb. A value of type json can contain what jsonb cannot, such as \u0000
 * or a number that is too large; then the text of the row becomes a string. The row is late all the
 * same: nobody could repeat the batch without it. 0 if a type of the row has no text.
 */
static Datum
row_as_jsonb(const LateReader *reader)
{
	RowData		data = {reader->batch, reader->slot, NULL, (Datum) 0};

	if (try_conversion(run_convert, &data) ||
		(data.json && try_conversion(run_quote, &data)))
		return data.result;
	return (Datum) 0;
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

static void
write_rows(EddyApply *apply, const EddyLateRows *late)
{
	EddyBatch  *batch = &apply->batch;
	LateReader	reader = {.batch = batch, .row = -1};
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy late row",
											   ALLOCSET_DEFAULT_SIZES);
	EddyOwnerSwitch save;

	/* output functions run with the rights of the stream's owner */
	eddy_owner_begin(&save, eddy_owner_of_relation(batch->stream));
	reader.slot = MakeSingleTupleTableSlot(batch->tupdesc, batch->store ? &TTSOpsMinimalTuple :
										   &TTSOpsVirtual);
	if (batch->store)
		eddy_apply_rewind(batch);
	for (int64 i = 0; i < late->count; i++)
	{
		const EddyLateRow *row = &late->rows[i];
		MemoryContext old = MemoryContextSwitchTo(mcxt);
		EddyLateRowEntry entry = {
			.view = late->view,
			.window_start = row->window_start,
			.window_end = row->window_end,
			.watermark = late->watermark
		};

		describe_origin(apply, row->row, &entry);
		read_row(&reader, row->row);
		entry.row_data = row_as_jsonb(&reader);
		eddy_catalog_insert_late_row(&entry);
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

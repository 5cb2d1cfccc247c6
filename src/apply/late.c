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
#include "utils/builtins.h"
#include "utils/fmgroids.h"
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

/* A row that is not before the last one, as jsonb. */
static Datum
row_as_jsonb(LateReader *reader, int64 row)
{
	const EddyBatch *batch = reader->batch;
	TupleTableSlot *slot = reader->slot;

	if (batch->store)
	{
		for (; reader->row < row; reader->row++)
			if (!tuplestore_gettupleslot(batch->store, true, false, slot))
				elog(ERROR, "row " INT64_FORMAT " is not in the batch", row);
	}
	else
	{
		ExecClearTuple(slot);
		memcpy(slot->tts_values, batch->values + row * batch->natts,
			   sizeof(Datum) * batch->natts);
		memcpy(slot->tts_isnull, batch->nulls + row * batch->natts, sizeof(bool) * batch->natts);
		ExecStoreVirtualTuple(slot);
	}
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(
		OidFunctionCall1(F_ROW_TO_JSON_RECORD, eddy_dead_letter_row(batch, slot)))));
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

	/* output functions and casts to json run with the rights of the stream's owner */
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
		entry.row_data = row_as_jsonb(&reader, row->row);
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

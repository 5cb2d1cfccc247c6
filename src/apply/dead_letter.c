/*-------------------------------------------------------------------------
 *
 * dead_letter.c
 *    Rejected rows and messages become rows of eddy.dead_letters.
 *
 * Letters of rejections by the stream and by single views are written in order of the rows. A
 * letter holds the message if there is one, and otherwise the row as JSON text; the row of a
 * statement stays in the table itself, where the user has put it, until retention removes it.
 * With policy skip, what is rejected for the whole stream is only counted; what a view rejects
 * goes by the view's own policy.
 *
 * Locking: RowExclusiveLock on eddy.dead_letters, after the rows of all state tables. Memory: a
 * context that is reset after each letter.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

#include "apply/steps.h"
#include "owner.h"

/* The rows of a tuplestore, read in order. */
typedef struct RowReader
{
	const EddyBatch *batch;
	TupleTableSlot *slot;
	int64		row;			/* in the slot; -1: none yet */
} RowReader;

static int
compare_rejections(const ListCell *a, const ListCell *b)
{
	const EddyRejection *left = lfirst(a);
	const EddyRejection *right = lfirst(b);

	if (left->row != right->row)
		return left->row < right->row ? -1 : 1;
	return left->view < right->view ? -1 : left->view > right->view;
}

/* eddy_dead_letter_row returns a row in the form in which letters and late rows show it. */
Datum
eddy_dead_letter_row(const EddyBatch *batch, TupleTableSlot *row)
{
	TupleDesc	desc;

	if (batch->nshown == 0 || batch->nshown == batch->natts)
		return ExecFetchSlotHeapTupleDatum(row);
	desc = CreateTemplateTupleDesc(batch->nshown);
	for (int i = 1; i <= batch->nshown; i++)
		TupleDescCopyEntry(desc, i, batch->tupdesc, i);
	slot_getallattrs(row);
	return heap_copy_tuple_as_datum(heap_form_tuple(BlessTupleDesc(desc), row->tts_values,
													row->tts_isnull), desc);
}

/* A row that is not before the last one, as JSON text in UTF-8. */
static char *
row_as_json(RowReader *reader, int64 row)
{
	char	   *json;

	for (; reader->row < row; reader->row++)
	{
		if (!tuplestore_gettupleslot(reader->batch->store, true, false, reader->slot))
			elog(ERROR, "row " INT64_FORMAT " is not in the batch", row);
	}
	json = TextDatumGetCString(OidFunctionCall1(F_ROW_TO_JSON_RECORD,
												eddy_dead_letter_row(reader->batch,
																	 reader->slot)));
	return pg_server_to_any(json, strlen(json), PG_UTF8);
}

static EddyDeadLetter
make_letter(EddyApply *apply, const EddyRejection *rejection, RowReader *reader)
{
	EddyDeadLetter letter = {
		.stream = apply->stream->relid,
		.view = OidIsValid(rejection->view) ? rejection->view : apply->batch.only_view,
		.partition = -1,
		.offset = -1,
		.error = rejection->message,
		.sqlerrcode = rejection->sqlerrcode
	};

	if (apply->input->describe_row)
		apply->input->describe_row(apply, rejection, &letter);
	else
	{
		letter.payload = row_as_json(reader, rejection->row);
		letter.payload_len = strlen(letter.payload);
	}
	return letter;
}

/* Counts a rejection by the whole stream; false if the policy skips it. */
static bool
count_rejection(const EddyApply *apply, EddyRowCounts *counts)
{
	if (apply->skips)
		counts->skipped++;
	else
		counts->rejected++;
	return !apply->skips;
}

static void
write_letters(EddyApply *apply, List *rejections, RowReader *reader)
{
	MemoryContext letter_context = AllocSetContextCreate(CurrentMemoryContext,
														 "pg_eddy dead letter",
														 ALLOCSET_DEFAULT_SIZES);
	ListCell   *lc;

	foreach(lc, rejections)
	{
		const EddyRejection *rejection = lfirst(lc);
		int32		partition = apply->partitions ? apply->partitions[rejection->row] : 0;
		MemoryContext old_context;
		EddyDeadLetter letter;

		if (!OidIsValid(rejection->view) && !count_rejection(apply, &apply->counts[partition]))
			continue;
		old_context = MemoryContextSwitchTo(letter_context);
		letter = make_letter(apply, rejection, reader);
		eddy_catalog_insert_dead_letter(&letter);
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(letter_context);
	}
	MemoryContextDelete(letter_context);
}

void
eddy_dead_letter_write(EddyApply *apply)
{
	EddyBatch  *batch = &apply->batch;
	List	   *rejections = list_concat_copy(apply->rejections, batch->view_rejections);
	RowReader	reader = {.batch = batch, .row = -1};
	EddyOwnerSwitch save;

	if (rejections == NIL)
		return;
	list_sort(rejections, compare_rejections);
	if (batch->store == NULL)
		write_letters(apply, rejections, NULL);
	else
	{
		/* output functions and casts to json run with the rights of the stream's owner */
		eddy_owner_begin(&save, eddy_owner_of_relation(batch->stream));
		reader.slot = MakeSingleTupleTableSlot(batch->tupdesc, &TTSOpsMinimalTuple);
		eddy_apply_rewind(batch);
		write_letters(apply, rejections, &reader);
		ExecDropSingleTupleTableSlot(reader.slot);
		eddy_owner_end(&save);
	}
	list_free(rejections);
}

void
eddy_dead_letter_add(EddyApply *apply, EddyRowCounts *counts, const EddyDeadLetter *letter)
{
	if (count_rejection(apply, counts))
		eddy_catalog_insert_dead_letter(letter);
}

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
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

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

/*
 * True if row_to_json would call a function for values of a type: a cast to json, which the owner
 * of the type has created. If it failed, so would the batch, whatever the policy for its rows.
 */
static bool
has_json_cast(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element;
	Oid			function;
	TupleDesc	desc;
	bool		found = false;

	if (base < FirstNormalObjectId)
		return false;
	check_stack_depth();
	element = get_element_type(base);
	if (OidIsValid(element))
		return has_json_cast(element);
	if (!type_is_rowtype(base))
		return find_coercion_pathway(JSONOID, base, COERCION_EXPLICIT, &function) ==
			COERCION_PATH_FUNC;
	desc = lookup_rowtype_tupdesc(base, -1);
	for (int i = 0; i < desc->natts && !found; i++)
		found = !TupleDescAttr(desc, i)->attisdropped &&
			has_json_cast(TupleDescAttr(desc, i)->atttypid);
	ReleaseTupleDesc(desc);
	return found;
}

/* Replaces a value by its text, in a row and its description. */
static void
make_text(TupleDesc desc, int i, Datum *values, const bool *nulls)
{
	Form_pg_attribute att = TupleDescAttr(desc, i);
	Oid			output;
	bool		isvarlena;

	getTypeOutputInfo(att->atttypid, &output, &isvarlena);
	if (!nulls[i])
		values[i] = CStringGetTextDatum(OidOutputFunctionCall(output, values[i]));
	TupleDescInitEntry(desc, i + 1, pstrdup(NameStr(att->attname)), TEXTOID, -1, 0);
}

/*
 * eddy_dead_letter_row returns a row in the form in which letters and late rows show it:
 * row_to_json calls no function of a user for it. The caller has switched to the owner of the
 * stream.
 */
Datum
eddy_dead_letter_row(const EddyBatch *batch, TupleTableSlot *row)
{
	int			natts = batch->nshown > 0 ? batch->nshown : batch->natts;
	TupleDesc	desc = CreateTemplateTupleDesc(natts);
	Datum	   *values = palloc(sizeof(Datum) * natts);
	bool		as_it_is = natts == batch->natts;

	slot_getallattrs(row);
	for (int i = 0; i < natts; i++)
	{
		TupleDescCopyEntry(desc, i + 1, batch->tupdesc, i + 1);
		values[i] = row->tts_values[i];
		if (TupleDescAttr(desc, i)->attisdropped || !has_json_cast(TupleDescAttr(desc, i)->atttypid))
			continue;
		make_text(desc, i, values, row->tts_isnull);
		as_it_is = false;
	}
	if (as_it_is)
		return ExecFetchSlotHeapTupleDatum(row);
	return heap_copy_tuple_as_datum(heap_form_tuple(BlessTupleDesc(desc), values, row->tts_isnull),
									desc);
}

/* A row that is not before the last one, as JSON text in UTF-8. */
static char *
row_as_json(RowReader *reader, int64 row)
{
	char	   *json;

	eddy_apply_read_row(reader->batch, reader->slot, &reader->row, row);
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
		CHECK_FOR_INTERRUPTS();
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
		/* output functions run with the rights of the stream's owner */
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

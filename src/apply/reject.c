/*-------------------------------------------------------------------------
 *
 * reject.c
 *    Rows of users' statements that are not accepted, and their dead letters.
 *
 * Rows that the stream refuses (NULL event time) and rows that a view's expressions
 * fail on become dead letters, with the row as JSON text. They stay in
 * the table itself, where the user has put them, until retention removes them.
 *
 * Locking: dead letters are written last, behind the rows of all state tables. Memory: the
 * batch's. All is part of the user's transaction: a rollback, also to a savepoint, undoes it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "apply/reject.h"
#include "owner.h"

/* Goes back to the first row; pointer 0 is the one that views use, too. */
static void
rewind_rows(EddyBatch *batch)
{
	tuplestore_select_read_pointer(batch->store, 0);
	tuplestore_rescan(batch->store);
}

/* The event time column if NULLs in it have to be looked for, else 0. */
static AttrNumber
column_to_check(Relation rel, const EddyStream *stream)
{
	AttrNumber	attnum;

	if (stream->event_time == NULL || strcmp(stream->null_event_time, "skip_watermark") == 0)
		return 0;
	attnum = get_attnum(RelationGetRelid(rel), stream->event_time);
	if (attnum == InvalidAttrNumber || TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attnotnull)
		return 0;
	return attnum;
}

List *
eddy_reject_null_event_times(EddyBatch *batch, Relation rel, const EddyStream *stream)
{
	AttrNumber	attnum = column_to_check(rel, stream);
	List	   *rejections = NIL;
	MemoryContext old;
	TupleTableSlot *slot;

	if (attnum == 0)
		return NIL;
	old = MemoryContextSwitchTo(batch->mcxt);
	slot = MakeSingleTupleTableSlot(batch->tupdesc, &TTSOpsMinimalTuple);
	rewind_rows(batch);
	for (int64 row = 0; tuplestore_gettupleslot(batch->store, true, false, slot); row++)
	{
		EddyRejection *rejection;

		if (!slot_attisnull(slot, attnum))
			continue;
		if (strcmp(stream->null_event_time, "stop") == 0)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("null value in event time column \"%s\" of stream \"%s\"",
							stream->event_time, RelationGetRelationName(rel)),
					 errdetail("The stream was created with null_event_time => 'stop'.")));
		if (batch->rejected == NULL)
			batch->rejected = MemoryContextAllocExtended(batch->mcxt, batch->nrows,
														 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
		batch->rejected[row] = true;
		batch->nrejected++;
		rejection = palloc0(sizeof(EddyRejection));
		rejection->row = row;
		rejection->sqlerrcode = ERRCODE_NULL_VALUE_NOT_ALLOWED;
		rejection->message = psprintf("null value in event time column \"%s\"",
									  stream->event_time);
		rejections = lappend(rejections, rejection);
	}
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextSwitchTo(old);
	return rejections;
}

static int
compare_rejections(const ListCell *a, const ListCell *b)
{
	const EddyRejection *left = lfirst(a);
	const EddyRejection *right = lfirst(b);

	if (left->row != right->row)
		return left->row < right->row ? -1 : 1;
	return left->view < right->view ? -1 : left->view > right->view;
}

/* A row as JSON text in UTF-8. */
static char *
row_as_json(TupleTableSlot *slot)
{
	Datum		row = ExecFetchSlotHeapTupleDatum(slot);
	char	   *json = TextDatumGetCString(OidFunctionCall1(F_ROW_TO_JSON_RECORD, row));

	return pg_server_to_any(json, strlen(json), PG_UTF8);
}

void
eddy_reject_write(EddyBatch *batch, Relation rel, List *rejections)
{
	EddyOwnerSwitch save;
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy dead letter",
													  ALLOCSET_DEFAULT_SIZES);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(batch->tupdesc, &TTSOpsMinimalTuple);
	int64		position = -1;	/* row in the slot */
	ListCell   *lc;

	eddy_owner_begin(&save, rel->rd_rel->relowner);
	list_sort(rejections, compare_rejections);
	rewind_rows(batch);
	foreach(lc, rejections)
	{
		EddyRejection *rejection = lfirst(lc);
		EddyDeadLetter letter = {
			.stream = batch->stream,
			.view = rejection->view,
			.partition = -1,
			.offset = -1,
			.error = rejection->message,
			.sqlerrcode = rejection->sqlerrcode
		};
		MemoryContext old_context;

		while (position < rejection->row)
		{
			if (!tuplestore_gettupleslot(batch->store, true, false, slot))
				elog(ERROR, "row " INT64_FORMAT " is not in the batch", rejection->row);
			position++;
		}
		old_context = MemoryContextSwitchTo(row_context);
		letter.payload = row_as_json(slot);
		letter.payload_len = strlen(letter.payload);
		eddy_catalog_insert_dead_letter(&letter);
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(row_context);
	}
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(row_context);
	eddy_owner_end(&save);
}

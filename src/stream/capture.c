/*-------------------------------------------------------------------------
 *
 * capture.c
 *    The triggers of a stream: users' rows go to the views, changes are refused.
 *
 * eddy_capture runs once per statement, after it, whatever road the rows came by (INSERT,
 * COPY, MERGE, modifying CTEs). It reads the transition table in place; the views
 * collect their deltas from it and merge them when the outermost statement ends.
 *
 * Rows that the stream refuses (NULL event time) and rows that a view's expressions
 * fail on become dead letters, with the row as JSON text. They stay in
 * the table itself, where the user has put them, until retention removes them.
 *
 * Locking: RowExclusiveLock on the stream is there already. Memory: the caller's, which
 * lives as long as the trigger call. All is part of the user's
 * transaction: a rollback, also to a savepoint, undoes it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "mb/pg_wchar.h"
#include "replication/logicalworker.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "batch.h"
#include "catalog/eddy_catalog.h"
#include "stream/stream.h"
#include "view/owner.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(eddy_capture);
PG_FUNCTION_INFO_V1(eddy_refuse_change);
PG_FUNCTION_INFO_V1(eddy_refuse_apply);

/* What the next row of the transition table needs; pointer 0 is the one that views use, too. */
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

/*
 * reject_null_event_times marks the rows without an event time as rejected and
 * appends them to *rejections, or raises an error, as the stream's policy says.
 */
static void
reject_null_event_times(EddyBatch *batch, Relation rel, const EddyStream *stream,
						List **rejections)
{
	AttrNumber	attnum = column_to_check(rel, stream);
	TupleTableSlot *slot;

	if (attnum == 0)
		return;
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
		*rejections = lappend(*rejections, rejection);
	}
	ExecDropSingleTupleTableSlot(slot);
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

/* Writes a dead letter for each rejection, in order of the rows. */
static void
write_dead_letters(EddyBatch *batch, List *rejections)
{
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy dead letter",
													  ALLOCSET_DEFAULT_SIZES);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(batch->tupdesc, &TTSOpsMinimalTuple);
	int64		position = -1;	/* row in the slot */
	ListCell   *lc;

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
}

Datum
eddy_capture(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	EddyBatch	batch = {0};
	EddyStream *stream;
	List	   *rejections = NIL;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) || trigger->tg_newtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"eddy._capture\" can only be the trigger of a stream"),
				 errhint("Use eddy.create_stream.")));

	batch.nrows = tuplestore_tuple_count(trigger->tg_newtable);
	if (batch.nrows == 0)
		return PointerGetDatum(NULL);
	stream = eddy_catalog_get_stream(RelationGetRelid(trigger->tg_relation));
	if (stream == NULL)
		return PointerGetDatum(NULL);	/* a table that was a stream */

	batch.stream = RelationGetRelid(trigger->tg_relation);
	batch.tupdesc = RelationGetDescr(trigger->tg_relation);
	batch.natts = batch.tupdesc->natts;
	batch.mcxt = CurrentMemoryContext;
	batch.store = trigger->tg_newtable;

	reject_null_event_times(&batch, trigger->tg_relation, stream, &rejections);
	if (batch.nrejected < batch.nrows)
		eddy_view_collect(&batch, &rejections);
	if (rejections)
	{
		EddyOwnerSwitch save;

		/* output functions and casts to json of user-defined types are the owner's */
		eddy_owner_begin(&save, trigger->tg_relation->rd_rel->relowner);
		write_dead_letters(&batch, rejections);
		eddy_owner_end(&save);
	}
	return PointerGetDatum(NULL);
}

Datum
eddy_refuse_change(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const char *name;
	bool		update;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"eddy._refuse_change\" can only be the trigger of a stream"),
				 errhint("Use eddy.create_stream.")));
	name = RelationGetRelationName(trigger->tg_relation);
	update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 update ? errmsg("cannot update rows of stream \"%s\"", name) :
			 errmsg("cannot delete rows of stream \"%s\"", name),
			 errdetail("The rows of a stream are events that its continuous views have counted."),
			 update ? errhint("Insert a new row instead.") :
			 errhint("Rows go after the retention; TRUNCATE empties the stream, not its views.")));
	return PointerGetDatum(NULL);
}

/*
 * eddy_refuse_apply keeps apply and table synchronization workers from writing rows that no view
 * would see. Sessions that have set session_replication_role fire it, too: they pass.
 */
Datum
eddy_refuse_apply(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"eddy._refuse_apply\" can only be the trigger of a stream"),
				 errhint("Use eddy.create_stream.")));
	if (IsLogicalWorker())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replicate into stream \"%s\"",
						RelationGetRelationName(trigger->tg_relation)),
				 errdetail("Its continuous views cannot see the rows that a subscription writes."),
				 errhint("Take the table out of the publication.")));
	return PointerGetDatum(NULL);
}

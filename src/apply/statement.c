/*-------------------------------------------------------------------------
 *
 * statement.c
 *    Rows that users' statements add to streams, from the trigger to the views.
 *
 * The trigger eddy_capture runs once per statement, after it, whatever road the rows came by
 * (INSERT, COPY, MERGE, modifying CTEs), and keeps a copy of them: transition tables are gone when
 * the triggers of the statement have run. They wait until the outermost statement ends, which
 * api/hooks.c knows; then all views of all streams concerned are maintained at once, in
 * one order, with the rows at hand in case that some make it fail. So a statement that fires a
 * thousand inner INSERTs writes each group once.
 *
 * Rows belong to the subtransaction that added them and vanish with it.
 *
 * Locking: RowExclusiveLock on the stream is there already. Memory: rows wait in
 * TopTransactionContext and spill to temporary files beyond work_mem. All is part of the user's
 * transaction: a rollback, also to a savepoint, undoes it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "apply/apply.h"
#include "apply/reject.h"
#include "batch.h"
#include "catalog/eddy_catalog.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(eddy_capture);
PG_FUNCTION_INFO_V1(eddy_refuse_change);
PG_FUNCTION_INFO_V1(eddy_refuse_apply);

/* Rows of one stream that one subtransaction has added. */
typedef struct EddyCaptured
{
	Oid			stream;
	SubTransactionId subid;
	TupleDesc	tupdesc;		/* of the stream when they were added */
	Tuplestorestate *store;
	int64		nrows;
} EddyCaptured;

static List *captured = NIL;	/* of EddyCaptured, in TopTransactionContext, in order of arrival */

/* The flush has them in hand: what ends within it is not the end of the statement. */
static bool flushing = false;

/* ---- capture ---- */

/* Where rows of a stream go. Temporary files belong to the transaction, as the list does. */
static EddyCaptured *
find_captured(Relation rel)
{
	EddyCaptured *entry = captured ? llast(captured) : NULL;
	MemoryContext old;
	ResourceOwner owner;

	if (entry && entry->stream == RelationGetRelid(rel) &&
		entry->subid == GetCurrentSubTransactionId() &&
		equalTupleDescs(entry->tupdesc, RelationGetDescr(rel)))
		return entry;

	old = MemoryContextSwitchTo(TopTransactionContext);
	owner = CurrentResourceOwner;
	CurrentResourceOwner = TopTransactionResourceOwner;
	entry = palloc0(sizeof(EddyCaptured));
	entry->stream = RelationGetRelid(rel);
	entry->subid = GetCurrentSubTransactionId();
	entry->tupdesc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	entry->store = tuplestore_begin_heap(false, false, work_mem);
	captured = lappend(captured, entry);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
	return entry;
}

static void
end_captured(EddyCaptured *entry)
{
	tuplestore_end(entry->store);
	FreeTupleDesc(entry->tupdesc);
	pfree(entry);
}

Datum
eddy_capture(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Tuplestorestate *rows;
	EddyCaptured *entry;
	TupleTableSlot *slot;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) || trigger->tg_newtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"eddy._capture\" can only be the trigger of a stream"),
				 errhint("Use eddy.create_stream.")));

	rows = trigger->tg_newtable;
	if (tuplestore_tuple_count(rows) == 0)
		return PointerGetDatum(NULL);
	if (flushing || eddy_view_maintaining())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot insert into stream \"%s\" while a continuous view is maintained",
						RelationGetRelationName(trigger->tg_relation)),
				 errdetail("A function that is called for the maintenance has tried to.")));

	entry = find_captured(trigger->tg_relation);
	slot = MakeSingleTupleTableSlot(entry->tupdesc, &TTSOpsMinimalTuple);
	tuplestore_select_read_pointer(rows, 0);
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		tuplestore_puttupleslot(entry->store, slot);
		entry->nrows++;
	}
	ExecDropSingleTupleTableSlot(slot);
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

/* ---- flush ---- */

bool
eddy_apply_pending(void)
{
	return captured != NIL && !flushing && !eddy_view_maintaining();
}

static void
refuse_altered(Oid stream)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("stream \"%s\" was altered while rows of it waited to be counted",
					get_rel_name(stream)),
			 errdetail("They are counted when the outermost statement ends.")));
}

/* Moves the rows of several savepoints of one stream into one store. */
static void
append_rows(EddyCaptured *to, EddyCaptured *from)
{
	TupleTableSlot *slot;

	if (!equalTupleDescs(to->tupdesc, from->tupdesc))
		refuse_altered(to->stream);
	slot = MakeSingleTupleTableSlot(from->tupdesc, &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(from->store, true, false, slot))
		tuplestore_puttupleslot(to->store, slot);
	ExecDropSingleTupleTableSlot(slot);
	to->nrows += from->nrows;
}

/* One entry for each stream. */
static void
unite_captured(void)
{
	for (int i = 0; i < list_length(captured); i++)
	{
		EddyCaptured *to = list_nth(captured, i);

		for (int j = i + 1; j < list_length(captured);)
		{
			EddyCaptured *from = list_nth(captured, j);

			if (from->stream != to->stream)
			{
				j++;
				continue;
			}
			append_rows(to, from);
			captured = list_delete_nth_cell(captured, j);
			end_captured(from);
		}
	}
}

/* A batch and what belongs to it while it is applied. */
typedef struct StatementBatch
{
	EddyBatch	batch;			/* first, so that a list of these is one of batches */
	Relation	rel;
	List	   *rejections;		/* by the stream */
} StatementBatch;

/* The batch of one entry; NULL if its table is gone, or is no stream any more. */
static StatementBatch *
make_batch(EddyCaptured *entry)
{
	Relation	rel = try_table_open(entry->stream, AccessShareLock);
	EddyStream *stream = rel ? eddy_catalog_get_stream(entry->stream) : NULL;
	StatementBatch *statement;

	if (stream == NULL)
	{
		if (rel)
			table_close(rel, NoLock);
		return NULL;
	}
	statement = palloc0(sizeof(StatementBatch));
	statement->rel = rel;
	statement->batch.stream = entry->stream;
	statement->batch.tupdesc = entry->tupdesc;
	statement->batch.natts = entry->tupdesc->natts;
	statement->batch.mcxt = CurrentMemoryContext;
	statement->batch.store = entry->store;
	statement->batch.nrows = entry->nrows;
	if (!eddy_batch_fits(&statement->batch, RelationGetDescr(rel)))
		refuse_altered(entry->stream);
	statement->rejections = eddy_reject_null_event_times(&statement->batch, rel, stream);
	return statement;
}

static void
apply_captured(void)
{
	List	   *batches = NIL;
	ListCell   *lc;

	unite_captured();
	foreach(lc, captured)
	{
		StatementBatch *statement = make_batch(lfirst(lc));

		if (statement)
			batches = lappend(batches, statement);
	}
	eddy_view_apply(batches, false);
	foreach(lc, batches)
	{
		StatementBatch *statement = lfirst(lc);
		List	   *rejections = list_concat(statement->rejections,
											 statement->batch.view_rejections);

		if (rejections)
			eddy_reject_write(&statement->batch, statement->rel, rejections);
		table_close(statement->rel, NoLock);
	}
}

void
eddy_apply_flush(void)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy statement",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	ListCell   *lc;

	flushing = true;
	PG_TRY();
	{
		apply_captured();
	}
	PG_FINALLY();
	{
		flushing = false;
	}
	PG_END_TRY();
	foreach(lc, captured)
		end_captured(lfirst(lc));
	list_free(captured);
	captured = NIL;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
}

/* ---- end of transactions ---- */

static void
at_xact_end(XactEvent event, void *arg pg_attribute_unused())
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			/* all hooks were passed by */
			if (eddy_apply_pending())
			{
				PushActiveSnapshot(GetTransactionSnapshot());
				eddy_apply_flush();
				PopActiveSnapshot();
			}
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			/* the entries themselves go with TopTransactionContext */
			captured = NIL;
			break;
		default:
			break;
	}
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId subid, SubTransactionId parent,
			   void *arg pg_attribute_unused())
{
	ListCell   *lc;

	foreach(lc, captured)
	{
		EddyCaptured *entry = lfirst(lc);

		if (entry->subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			entry->subid = parent;
		else if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			captured = foreach_delete_current(captured, lc);
			end_captured(entry);
		}
	}
}

void
eddy_apply_init(void)
{
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
}

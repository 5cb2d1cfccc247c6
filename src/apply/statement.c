/*-------------------------------------------------------------------------
 *
 * statement.c
 *    Batches of users' statements: rows that wait for the end of the outermost statement.
 *
 * The capture trigger passes the rows that a statement has added. They are copied, because the
 * transition table is freed when the triggers of the statement have run. They wait until the
 * outermost statement ends, as reported by the executor and utility hooks; then all views of all
 * affected streams are maintained at once, in one order. So a statement that fires a thousand inner
 * INSERTs writes each group once. Rows that still wait when the transaction commits are applied
 * then. The rows of a COPY that is not part of another statement, into a table without further
 * triggers, are applied at once (api/copy_stream.c, or the capture trigger), which saves the copy
 * of them.
 *
 * Rows belong to the subtransaction that added them and vanish with it.
 *
 * The definition of a stream is cached (stream_cache.c).
 *
 * Locking: the statement has locked its streams. Memory: rows wait in TopTransactionContext and
 * spill to temporary files beyond work_mem. All is part of the user's transaction: a
 * rollback, also to a savepoint, undoes it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "apply/apply.h"
#include "apply/stream_cache.h"
#include "stream/stream.h"
#include "view/changes.h"
#include "view/view.h"

/* Rows of one stream that one subtransaction has added, or has deleted through a view. */
typedef struct EddyPending
{
	Oid			stream;			/* or view */
	SubTransactionId subid;
	TupleDesc	tupdesc;		/* of the stream when they were added */
	Tuplestorestate *store;
	bool		borrowed;		/* the store is the transition table of the statement */
	int64		nrows;
	const EddyCopyTimes *times; /* of the rows, or NULL */
	EddyChanges *deleted;		/* of a view; NULL: rows of a stream, in store */
} EddyPending;

static List *pending = NIL;		/* of EddyPending, in TopTransactionContext, in order of arrival */

/* How many data-modifying statements and trigger phases are running. */
static int	nesting = 0;

/* The outermost of them is COPY. */
static bool copying = false;

/* While rows are applied, statements of user functions end, but not the outermost one. */
static bool flushing = false;

/* ---- definitions of streams ---- */

typedef struct CachedStream
{
	EddyStreamCacheEntry entry;
	MemoryContext mcxt;			/* holds the rest */
	EddyStream *stream;			/* NULL: not a stream */
	EddyEventTime event_time;
} CachedStream;

static EddyStreamCache *streams = NULL;

/* The definition of a stream; NULL if the table is not a stream any more. */
static const CachedStream *
find_stream(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	CachedStream *cached;
	MemoryContext old;
	uint64		before;

	if (streams == NULL)
		streams = eddy_stream_cache_create("pg_eddy streams of statements", sizeof(CachedStream));
	cached = eddy_stream_cache_find(streams, relid);
	if (cached->entry.valid)
		return cached;
	if (cached->mcxt == NULL)
		cached->mcxt = AllocSetContextCreate(CacheMemoryContext, "pg_eddy stream",
											 ALLOCSET_SMALL_SIZES);
	MemoryContextReset(cached->mcxt);
	before = eddy_stream_cache_changes();
	old = MemoryContextSwitchTo(cached->mcxt);
	cached->stream = eddy_catalog_get_stream(relid);
	if (cached->stream)
		cached->event_time = eddy_event_time_resolve(cached->stream, RelationGetDescr(rel));
	MemoryContextSwitchTo(old);
	cached->entry.valid = cached->stream != NULL && before == eddy_stream_cache_changes();
	return cached->stream ? cached : NULL;
}

/* ---- rows that wait ---- */

/* Where rows of a stream go. Temporary files belong to the transaction, as the list does. */
static EddyPending *
find_pending(Relation rel)
{
	EddyPending *entry = pending ? llast(pending) : NULL;
	MemoryContext old;
	ResourceOwner owner;

	if (entry && entry->stream == RelationGetRelid(rel) && entry->store &&
		entry->subid == GetCurrentSubTransactionId() &&
		equalTupleDescs(entry->tupdesc, RelationGetDescr(rel)))
		return entry;

	old = MemoryContextSwitchTo(TopTransactionContext);
	owner = CurrentResourceOwner;
	CurrentResourceOwner = TopTransactionResourceOwner;
	entry = palloc0(sizeof(EddyPending));
	entry->stream = RelationGetRelid(rel);
	entry->subid = GetCurrentSubTransactionId();
	entry->tupdesc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	entry->store = tuplestore_begin_heap(false, false, work_mem);
	pending = lappend(pending, entry);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
	return entry;
}

static void
end_pending(EddyPending *entry)
{
	if (entry->store && !entry->borrowed)
		tuplestore_end(entry->store);
	if (entry->deleted)
		eddy_changes_free(entry->deleted);
	if (entry->tupdesc)
		FreeTupleDesc(entry->tupdesc);
	pfree(entry);
}

/* True if this is one of the triggers that make a table a stream. */
static bool
is_ours(const Trigger *trigger)
{
	return strcmp(trigger->tgname, EDDY_STREAM_CAPTURE_TRIGGER) == 0 ||
		strcmp(trigger->tgname, EDDY_STREAM_REFUSE_TRIGGER) == 0 ||
		strcmp(trigger->tgname, EDDY_STREAM_APPLY_TRIGGER) == 0;
}

/*
 * True if the current COPY waits for the end of no other statement, and no trigger of the user
 * fires: none at all, or none after the rows.
 */
static bool
ends_statement(Relation rel, bool after_only)
{
	const TriggerDesc *triggers = rel->trigdesc;

	if (!copying || nesting != 1 || pending != NIL || triggers == NULL)
		return false;
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (TRIGGER_FOR_INSERT(trigger->tgtype) &&
			(!after_only || TRIGGER_FOR_AFTER(trigger->tgtype)) &&
			trigger->tgenabled != TRIGGER_DISABLED && !is_ours(trigger))
			return false;
	}
	return true;
}

/*
 * True if the rows are to be counted: a restore loads the rows of a table before it creates the
 * triggers.
 */
static bool
is_captured(Relation rel)
{
	const TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
		if (strcmp(triggers->triggers[i].tgname, EDDY_STREAM_CAPTURE_TRIGGER) == 0)
			return triggers->triggers[i].tgenabled != TRIGGER_DISABLED;
	return false;
}

bool
eddy_statement_can_copy(Relation rel)
{
	return !flushing && !eddy_view_maintaining() && is_captured(rel) && ends_statement(rel, false);
}

static void flush_pending(void);

/*
 * Applies the rows of a transition table, without a copy of them, after those that functions have
 * added to other streams while they were read, in constraints for example.
 */
void
eddy_statement_apply_copy(Relation rel, Tuplestorestate *rows, const EddyCopyTimes *times)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	EddyPending *entry = palloc0(sizeof(EddyPending));

	entry->stream = RelationGetRelid(rel);
	entry->subid = GetCurrentSubTransactionId();
	entry->tupdesc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	entry->store = rows;
	entry->borrowed = true;
	entry->nrows = tuplestore_tuple_count(rows);
	entry->times = times;
	pending = lappend(pending, entry);
	MemoryContextSwitchTo(old);
	tuplestore_select_read_pointer(rows, 0);
	tuplestore_rescan(rows);
	flush_pending();
}

void
eddy_statement_begin_copy_times(Relation rel, EddyCopyTimes *times)
{
	const CachedStream *cached = find_stream(rel);

	memset(times, 0, sizeof(EddyCopyTimes));
	times->attnum = cached ? cached->event_time.attnum : 0;
	times->max = DT_NOBEGIN;
}

void
eddy_statement_add(Relation rel, Tuplestorestate *rows)
{
	EddyPending *entry;
	TupleTableSlot *slot;

	if (flushing || eddy_view_maintaining())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot insert into stream \"%s\" while a continuous view is maintained",
						RelationGetRelationName(rel)),
				 errdetail("A function that is called for the maintenance has tried to.")));

	if (ends_statement(rel, true))
	{
		eddy_statement_apply_copy(rel, rows, NULL);
		return;
	}
	entry = find_pending(rel);
	slot = MakeSingleTupleTableSlot(entry->tupdesc, &TTSOpsMinimalTuple);
	tuplestore_select_read_pointer(rows, 0);
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		tuplestore_puttupleslot(entry->store, slot);
		entry->nrows++;
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* Where deleted rows of a view go. */
static EddyPending *
find_deleted(const EddyView *view)
{
	EddyPending *entry = pending ? llast(pending) : NULL;
	MemoryContext old;
	ResourceOwner owner;

	if (entry && entry->stream == view->relid && entry->subid == GetCurrentSubTransactionId())
		return entry;
	old = MemoryContextSwitchTo(TopTransactionContext);
	owner = CurrentResourceOwner;
	CurrentResourceOwner = TopTransactionResourceOwner;
	entry = palloc0(sizeof(EddyPending));
	entry->stream = view->relid;
	entry->subid = GetCurrentSubTransactionId();
	entry->deleted = eddy_changes_make(view->relid, EDDY_CAUSE_DELETE, view->columns,
									   view->ncolumns, view->visible_column, view->final_column);
	pending = lappend(pending, entry);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
	return entry;
}

void
eddy_statement_delete(const EddyView *view, Tuplestorestate *rows, TupleDesc desc)
{
	EddyPending *entry;
	TupleTableSlot *slot;

	if (!eddy_changes_wanted(view->relid))
		return;
	if (flushing || eddy_view_maintaining())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot delete from continuous view \"%s\" while a continuous view is maintained",
						get_rel_name(view->relid)),
				 errdetail("A function that is called for the maintenance has tried to.")));
	entry = find_deleted(view);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	tuplestore_select_read_pointer(rows, 0);
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		eddy_changes_record(entry->deleted, slot, NULL);
	}
	ExecDropSingleTupleTableSlot(slot);
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
append_rows(EddyPending *to, EddyPending *from)
{
	TupleTableSlot *slot;

	if (!equalTupleDescs(to->tupdesc, from->tupdesc))
		refuse_altered(to->stream);
	slot = MakeSingleTupleTableSlot(from->tupdesc, &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(from->store, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		tuplestore_puttupleslot(to->store, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	to->nrows += from->nrows;
}

/* Leaves one entry for each stream. */
static void
unite_pending(void)
{
	for (int i = 0; i < list_length(pending); i++)
	{
		EddyPending *to = list_nth(pending, i);

		for (int j = i + 1; j < list_length(pending);)
		{
			EddyPending *from = list_nth(pending, j);

			if (from->stream != to->stream || from->store == NULL)
			{
				j++;
				continue;
			}
			append_rows(to, from);
			pending = list_delete_nth_cell(pending, j);
			end_pending(from);
		}
	}
}

/* ---- batches ---- */

/* A batch of a statement, and what belongs to it. */
typedef struct StatementBatch
{
	EddyApply	apply;			/* first, so that a list of these is one of EddyApply */
	EddyRowCounts counts;
	Relation	rel;
} StatementBatch;

/* Users' rows are partition -1 of their stream. */
static bool
finish_statement(EddyApply *apply)
{
	EddyUserPartition added = {
		.stream = apply->batch.stream,
		.rows = apply->batch.nrows,
		.rejected = apply->counts->rejected,
		.skipped = apply->counts->skipped,
		.max_event_time = apply->counts->max_event_time,
		.updated_at = GetCurrentTimestamp(),
		.ahead = apply->counts->ahead
	};
	EddyWatermarkChange change = {
		.adds_rows = true,
		.user_event_time = apply->counts->max_event_time,
		.wakes_users = true
	};

	added.stream_watermark = apply->watermark = eddy_watermark_next(apply->stream, &change);
	eddy_catalog_add_user_rows(&added);
	eddy_watermark_note(added.stream, added.stream_watermark);
	return true;
}

static const EddyInput statement_input = {
	.finish = finish_statement
};

/* The batch of one entry; NULL if its table was dropped, or is not a stream any more. */
static StatementBatch *
make_batch(EddyPending *entry)
{
	/* the statement holds this lock, so that none is requested from the lock manager */
	Relation	rel = try_table_open(entry->stream, RowExclusiveLock);
	const CachedStream *cached = rel ? find_stream(rel) : NULL;
	StatementBatch *statement;

	if (cached == NULL)
	{
		if (rel)
			table_close(rel, NoLock);
		return NULL;
	}
	statement = palloc0(sizeof(StatementBatch));
	statement->rel = rel;
	statement->counts.max_event_time = DT_NOBEGIN;
	eddy_apply_begin(&statement->apply, entry->stream, entry->tupdesc, CurrentMemoryContext);
	statement->apply.batch.store = entry->store;
	statement->apply.batch.nrows = entry->nrows;
	statement->apply.times = entry->times;
	if (!eddy_batch_fits(&statement->apply.batch, RelationGetDescr(rel)))
		refuse_altered(entry->stream);
	statement->apply.input = &statement_input;
	statement->apply.stream = cached->stream;
	statement->apply.event_time = &cached->event_time;
	statement->apply.counts = &statement->counts;
	return statement;
}

static void
apply_pending(void)
{
	List	   *batches = NIL;
	List	   *deleted = NIL;
	ListCell   *lc;

	unite_pending();
	foreach(lc, pending)
	{
		EddyPending *entry = lfirst(lc);
		StatementBatch *statement = entry->store ? make_batch(entry) : NULL;

		if (statement)
			batches = lappend(batches, statement);
		if (entry->deleted)
			deleted = lappend(deleted, entry->deleted);
		entry->deleted = NULL;
	}
	(void) eddy_apply_run(batches, deleted, false);
	foreach(lc, batches)
		table_close(((StatementBatch *) lfirst(lc))->rel, NoLock);
}

static void
flush_pending(void)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy statement",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	ListCell   *lc;

	/* COPY and the end of a portal may have popped their snapshot already */
	PushActiveSnapshot(GetTransactionSnapshot());
	flushing = true;
	PG_TRY();
	{
		apply_pending();
	}
	PG_FINALLY();
	{
		flushing = false;
	}
	PG_END_TRY();
	PopActiveSnapshot();
	foreach(lc, pending)
		end_pending(lfirst(lc));
	list_free(pending);
	pending = NIL;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
}

/* ---- the outermost statement ---- */

void
eddy_statement_enter(void)
{
	nesting++;
}

void
eddy_statement_leave(void)
{
	nesting--;
	copying = copying && nesting > 0;
}

void
eddy_statement_enter_copy(void)
{
	nesting++;
	copying = (nesting == 1);
}

static bool
has_pending(void)
{
	return pending != NIL && !flushing && !eddy_view_maintaining();
}

void
eddy_statement_flush(void)
{
	if (nesting == 0 && has_pending())
		flush_pending();
}

/* ---- end of transactions ---- */

static void
at_xact_end(XactEvent event, void *arg pg_attribute_unused())
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			/* rows of statements that have not ended with a hook */
			if (has_pending())
				flush_pending();
			if (event == XACT_EVENT_PRE_COMMIT)
				eddy_close_at_commit();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			/* the entries themselves vanish with TopTransactionContext */
			pending = NIL;
			eddy_close_forget();
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

	foreach(lc, pending)
	{
		EddyPending *entry = lfirst(lc);

		if (entry->subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			entry->subid = parent;
		else if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			pending = foreach_delete_current(pending, lc);
			end_pending(entry);
		}
	}
}

void
eddy_statement_init(void)
{
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
}

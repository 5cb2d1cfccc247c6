/*-------------------------------------------------------------------------
 *
 * fill.c
 *    The first content of a continuous view: from the rows that its streams have staged, from queries, and
 *    from the rows of the views that it reads.
 *
 * The staged rows, users' own and those of the segments, become one batch for each stream, with
 * which the view is maintained as with any other: a row on which the view fails becomes a dead
 * letter, and the rights and policies are those of the view's owner. Rows that the stream has
 * rejected are still in its table and are omitted again. All rows were counted when they were
 * added.
 *
 * The rows of a query (history.c), one for each stream, become batches of the same kind, one after
 * the other. They are no rows of the stream: they are not stored, not counted, and do not move the
 * watermark. One without an event time becomes a dead letter of the view.
 *
 * When a view is created, or its query is replaced, others do not know the new state before it is
 * complete, so that writers continue (fill_beside): it is filled first with what a snapshot sees,
 * then with the rows that were added to the stream since that snapshot, in several passes. Only for
 * the last one, which has few rows, writers are locked out. The rows that batches of Kafka have
 * added to a stream without retention are not there; a new view gets them from Kafka (seam.c), also
 * one that replaces another. Writers are locked out from the beginning before a source of such a
 * stream knows its offsets, and if a stream with argument staged_columns may not store columns that
 * only this view needs.
 *
 * Locking: the caller has locked writers out, except in eddy_apply_fill_new and eddy_apply_refill;
 * AccessShareLock on the segments, which are not emptied meanwhile. Memory: the caller's; the rows
 * spill to a temporary file beyond work_mem.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "catalog/pg_inherits.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "apply/history.h"
#include "apply/seam.h"
#include "apply/steps.h"
#include "argument.h"
#include "interval.h"
#include "owner.h"
#include "rows_since.h"
#include "stream/stream.h"
#include "view/view.h"

/* Rows of a query that become one batch. */
#define HISTORY_BATCH 100000

/* Passes over new rows while writers continue: until there are few of them, at most so many. */
#define PASSES 10
#define FEW_ROWS 2000

/* No input delivers these rows; the batch is over with its dead letters. */
static const EddyInput filled_rows = {0};

/* Rows of a table that are added to a batch. */
typedef struct RowReader
{
	EddyBatch  *batch;
	TupleConversionMap *map;	/* to the stream's shape; NULL: they have it */
	TupleTableSlot *converted;
} RowReader;

static void
add_row(TupleTableSlot *row, bool present pg_attribute_unused(), void *arg)
{
	RowReader  *reader = arg;

	tuplestore_puttupleslot(reader->batch->store, reader->map ?
							execute_attr_map_slot(reader->map->attrMap, row, reader->converted) :
							row);
	reader->batch->nrows++;
}

static void
read_all_rows(RowReader *reader, Relation rel)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		add_row(slot, true, reader);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Adds the rows of the stream's table or of one of its segments, in the stream's shape: all, or
 * those that were inserted since a snapshot.
 */
static void
read_rows(EddyBatch *batch, Relation rel, Snapshot since)
{
	RowReader	reader = {
		.batch = batch,
		.map = convert_tuples_by_name(RelationGetDescr(rel), batch->tupdesc)
	};

	if (reader.map)
		reader.converted = MakeSingleTupleTableSlot(batch->tupdesc, &TTSOpsVirtual);
	if (since)
		(void) eddy_rows_inserted_since(rel, since, GetActiveSnapshot(), add_row, &reader);
	else
		read_all_rows(&reader, rel);
	if (reader.converted)
		ExecDropSingleTupleTableSlot(reader.converted);
}

/* What batches of one call share. */
typedef struct Filling
{
	Oid			view;
	EddyReplacement *replacement;	/* the view gets its content beside the old one; or NULL */
	Relation	rel;
	const EddyStream *stream;
	EddyEventTime event_time;
	EddyRowCounts counts;
} Filling;

/* The view that is filled, with its new query. */
static const EddyView *
get_filled(const Filling *filling)
{
	return filling->replacement ? eddy_view_replace_row(filling->replacement) :
		eddy_catalog_get_view(filling->view);
}

/* Raises an error if stored rows lack a column of the view: they had none that needed it. */
static void
check_columns(const Filling *filling)
{
	const char *column;

	column = eddy_stream_missing_column(filling->stream, filling->rel, get_filled(filling));
	if (column == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("column \"%s\" was not stored in rows of stream \"%s\" that continuous view \"%s\" would count",
					column, RelationGetRelationName(filling->rel), get_rel_name(filling->view)),
			 errdetail("When these rows arrived, no continuous view needed the column, and argument \"staged_columns\" of the stream did not contain it."),
			 errhint("Specify another start, such as 'now' or 'earliest', for the view, or add the column with eddy.set_staged_columns and wait until the retention of the stream has removed these rows.")));
}

/*
 * Adds the rows of the stream to its batch, all or those since a snapshot, without those that the
 * stream has rejected.
 */
static void
read_stream(const Filling *filling, EddyApply *apply, Snapshot since)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(apply->batch.stream, AccessShareLock, NULL))
	{
		Relation	part = table_open(lfirst_oid(lc), NoLock);

		read_rows(&apply->batch, part, since);
		table_close(part, NoLock);
	}
	/*
	 * after reading, so that the lists of segments contain what those rows lack that were read last
	 */
	check_columns(filling);
	eddy_event_time_take(apply);
	/* these have their dead letters already */
	apply->rejections = NIL;
}

static void
begin_batch(Filling *filling, EddyApply *apply)
{
	eddy_apply_begin(apply, RelationGetRelid(filling->rel), RelationGetDescr(filling->rel),
					 CurrentMemoryContext);
	apply->input = &filled_rows;
	apply->stream = filling->stream;
	apply->event_time = &filling->event_time;
	apply->counts = &filling->counts;
	apply->batch.store = tuplestore_begin_heap(false, false, work_mem);
	/* the first content of a view: nothing of it was final yet */
	apply->batch.judge = NULL;
}

static void
end_batch(Filling *filling, EddyApply *apply, List *changes)
{
	if (filling->replacement)
		eddy_view_replace_fill(filling->replacement, &apply->batch);
	else
		changes = list_concat(changes, eddy_view_fill(filling->view, &apply->batch));
	eddy_dead_letter_write(apply);
	eddy_apply_maintain(NIL, changes, false);
	tuplestore_end(apply->batch.store);
}

static void
fill_from_history(Filling *filling, const EddyHistoryQuery *query)
{
	EddyHistory *history = eddy_history_begin(query, eddy_owner_of_relation(filling->view),
											  filling->rel);
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy filling",
											   ALLOCSET_DEFAULT_SIZES);
	int64		nrows;

	do
	{
		MemoryContext old = MemoryContextSwitchTo(mcxt);
		EddyApply	apply;
		ListCell   *lc;

		begin_batch(filling, &apply);
		apply.batch.nrows = nrows = eddy_history_read(history, apply.batch.store, HISTORY_BATCH);
		eddy_event_time_take(&apply);
		/* the stream has not seen them */
		foreach(lc, apply.rejections)
			((EddyRejection *) lfirst(lc))->view = filling->view;
		end_batch(filling, &apply, NIL);
		MemoryContextSwitchTo(old);
		MemoryContextReset(mcxt);
	} while (nrows == HISTORY_BATCH);
	MemoryContextDelete(mcxt);
	eddy_history_end(history);
}

static void
begin_filling(Filling *filling, Oid view, const EddyStream *stream, EddyReplacement *replacement)
{
	memset(filling, 0, sizeof(Filling));
	filling->view = view;
	filling->replacement = replacement;
	filling->stream = stream;
	filling->rel = table_open(stream->relid, AccessShareLock);
	filling->event_time = eddy_event_time_resolve(stream, RelationGetDescr(filling->rel));
}

/* Fills the view with the staged rows that the active snapshot sees, or with none. */
static void
fill_staged(Filling *filling, EddyFillSource source, List *changes)
{
	EddyApply	apply;

	begin_batch(filling, &apply);
	if (source == EDDY_FILL_STAGED)
		read_stream(filling, &apply, NULL);
	end_batch(filling, &apply, changes);
}

/* The query for rows of a stream, NULL if there is none. */
static const EddyHistoryQuery *
find_history(const List *histories, Oid stream)
{
	ListCell   *lc;

	foreach(lc, histories)
	{
		const EddyHistoryQuery *history = lfirst(lc);

		if (!OidIsValid(history->stream) || history->stream == stream)
			return history;
	}
	return NULL;
}

/* Fills the view with what the active snapshot sees. */
static void
fill_first(Filling *filling, EddyFillSource source, const List *histories)
{
	const EddyHistoryQuery *query = find_history(histories, filling->stream->relid);

	if (query)
		fill_from_history(filling, query);
	else
		fill_staged(filling, source, NIL);
}

/* Adds the rows that were inserted since a snapshot; returns their number. */
static int64
fill_since(Filling *filling, Snapshot since)
{
	EddyApply	apply;
	int64		nrows;

	begin_batch(filling, &apply);
	read_stream(filling, &apply, since);
	nrows = apply.batch.nrows;
	end_batch(filling, &apply, NIL);
	return nrows;
}

/* The stream of a view, which is locked only after it was looked up. */
static EddyStream *
get_stream(Oid relid)
{
	EddyStream *stream = eddy_catalog_get_stream(relid);

	if (stream == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("stream was dropped concurrently")));
	return stream;
}

/* Refuses a query for rows of a relation that the view does not read. */
static void
refuse_history(const EddyView *view, Oid relid)
{
	const char *name = get_rel_name(relid);
	const char **streams = palloc0(sizeof(char *) * (list_length(view->streams) + 1));
	const char *closest;
	ListCell   *lc;

	foreach(lc, view->streams)
		streams[foreach_current_index(lc)] = get_rel_name(lfirst_oid(lc));
	closest = eddy_argument_closest(name, streams);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("argument \"histories\" has a query for \"%s\", which continuous view \"%s\" does not read",
					name, get_rel_name(view->relid)),
			 closest ? errhint("Perhaps you meant the stream \"%s\".", closest) :
			 errhint("Specify queries for streams that the continuous view reads.")));
}

/* Each query is for one of the streams of the view. */
static void
check_histories(const EddyView *view, const List *histories)
{
	ListCell   *lc;

	foreach(lc, histories)
	{
		const EddyHistoryQuery *history = lfirst(lc);

		if (!OidIsValid(history->stream) && list_length(view->streams) > 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("argument \"history\" requires a continuous view that reads one stream"),
					 errdetail("The rows of the query have the columns of a stream, and continuous view \"%s\" reads several.",
							   get_rel_name(view->relid)),
					 errhint("Specify a query for each stream with argument \"histories\".")));
		if (OidIsValid(history->stream) && !list_member_oid(view->streams, history->stream))
			refuse_history(view, history->stream);
	}
}

/* The rows of a stream of a view. */
static void
fill_from_stream(const EddyView *view, const EddyStream *stream, EddyFillSource source, List *changes)
{
	Filling		filling;

	begin_filling(&filling, view->relid, stream, NULL);
	fill_staged(&filling, source, changes);
	table_close(filling.rel, NoLock);
}

/* ---- while writers continue ---- */

static void
push_registered(Snapshot *snapshot)
{
	*snapshot = RegisterSnapshot(GetLatestSnapshot());
	PushActiveSnapshot(*snapshot);
}

/* Locks writers out. */
static void
lock_writers(const EddyView *view, EddyReplacement *replacement)
{
	if (replacement)
		eddy_view_replace_lock(replacement);
	else
		eddy_view_lock_sources(view);
}

/*
 * Fills a view, which reads these streams, while writers continue, and locks them out at the end.
 */
static void
fill_beside(const EddyView *view, Oid replaces, Filling *fillings, int count, EddyFillSource source,
			const List *histories)
{
	EddyReplacement *replacement = fillings[0].replacement;
	Snapshot	since;
	int64		nrows = FEW_ROWS + 1;
	bool		compared = replacement == NULL;
	List	   *seam;

	/* before the snapshot is taken */
	for (int i = 0; i < count; i++)
		eddy_stream_hold_rows(fillings[i].stream->relid);
	push_registered(&since);
	seam = eddy_seam_read(view->streams, since);
	for (int i = 0; i < count; i++)
		fill_first(&fillings[i], source, histories);
	PopActiveSnapshot();
	for (int pass = 0; pass <= PASSES; pass++)
	{
		Snapshot	now;
		bool		last = pass == PASSES || nrows <= FEW_ROWS;

		if (last && !compared)
		{
			compared = true;
			/* rows have arrived meanwhile: another pass follows */
			if (eddy_view_replace_compare(replacement) && pass < PASSES)
				last = false;
		}
		if (last)
			lock_writers(view, replacement);
		push_registered(&now);
		nrows = 0;
		for (int i = 0; i < count; i++)
			nrows += fill_since(&fillings[i], since);
		if (last && replacement == NULL)
			eddy_seam_close(view, seam, now, replaces);
		PopActiveSnapshot();
		UnregisterSnapshot(since);
		since = now;
		if (last)
			break;
	}
	UnregisterSnapshot(since);
}

/*
 * replacement: of the query of the view; replaces: a view that this one, a new one, will replace;
 * or neither.
 */
static void
fill_unlocked(const EddyView *view, EddyReplacement *replacement, Oid replaces, EddyFillSource source,
			  const List *histories)
{
	int			count = list_length(view->streams);
	Filling    *fillings = palloc(sizeof(Filling) * count);
	bool		beside = source != EDDY_FILL_NOTHING;
	ListCell   *lc;

	check_histories(view, histories);
	foreach(lc, view->streams)
	{
		const EddyStream *stream = get_stream(lfirst_oid(lc));

		begin_filling(&fillings[foreach_current_index(lc)], view->relid, stream, replacement);
		/* rows that arrived meanwhile could not be counted */
		beside = beside &&
			!eddy_stream_lacks_columns(stream, fillings[foreach_current_index(lc)].rel, view);
	}
	PushActiveSnapshot(GetLatestSnapshot());
	if (eddy_seam_is_needed(view->streams) &&
		(replacement || !eddy_seam_is_known(view->streams)))
		beside = false;
	PopActiveSnapshot();
	if (beside)
		fill_beside(view, replaces, fillings, count, source, histories);
	else if (source == EDDY_FILL_NOTHING)
	{
		/* nothing is read, so that the order does not matter; one batch without rows is enough */
		PushActiveSnapshot(GetLatestSnapshot());
		fill_first(&fillings[0], source, histories);
		PopActiveSnapshot();
		if (replacement)
			(void) eddy_view_replace_compare(replacement);
		lock_writers(view, replacement);
	}
	else
	{
		lock_writers(view, replacement);
		PushActiveSnapshot(GetLatestSnapshot());
		for (int i = 0; i < count; i++)
			fill_first(&fillings[i], source, histories);
		if (OidIsValid(replaces))
			eddy_seam_close(view, eddy_seam_read(view->streams, GetActiveSnapshot()),
							GetActiveSnapshot(), replaces);
		PopActiveSnapshot();
		if (replacement)
			(void) eddy_view_replace_compare(replacement);
	}
	for (int i = 0; i < count; i++)
	{
		table_close(fillings[i].rel, NoLock);
		eddy_close_request(fillings[i].stream->relid);
	}
}

bool
eddy_apply_misses_messages(Oid relid)
{
	EddyView   *view = eddy_catalog_get_view(relid);

	return view && eddy_seam_is_needed(view->streams) && eddy_seam_is_known(view->streams);
}

void
eddy_apply_refill(EddyReplacement *replacement, EddyFillSource source, const List *histories)
{
	fill_unlocked(eddy_view_replace_row(replacement), replacement, InvalidOid, source, histories);
}

void
eddy_apply_fill_new(Oid view, Oid replaces, EddyFillSource source, const List *histories)
{
	EddyView   *row = eddy_catalog_get_view(view);
	List	   *parents;

	if (row == NULL)
		elog(ERROR, "continuous view %u does not exist", view);
	parents = eddy_catalog_ancestors(row->streams);
	if (parents == NIL)
		fill_unlocked(row, NULL, replaces, source, histories);
	else
	{
		if (source == EDDY_FILL_HISTORY)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("start => 'query' requires a continuous view that reads a stream"),
					 errdetail("Rows of continuous view \"%s\" come from that view alone.",
							   get_rel_name(linitial_oid(parents))),
					 errhint("Fill the continuous view that it reads.")));
		eddy_apply_fill(view, source, NIL);
	}
}

/* ---- a view over a view ---- */

/* The rows of a view as changes that insert them. */
static EddyChanges *
read_view(const EddyView *view, bool wanted)
{
	EddyChanges *rows = eddy_changes_make(view->relid, EDDY_CAUSE_BATCH, view->columns,
										  view->ncolumns, view->visible_column,
										  view->final_column);
	Relation	rel;
	TupleTableSlot *slot;
	TableScanDesc scan;

	if (!wanted)
		return rows;
	rel = table_open(view->state_table, AccessShareLock);
	slot = table_slot_create(rel, NULL);
	scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		eddy_changes_record(rows, NULL, slot);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return rows;
}

/*
 * A view over a view whose rows change must have counted all of them: what it has not counted could
 * not be taken back. One that combines what its parent keeps finds it no more.
 */
static void
fill_from_view(const EddyView *view, const EddyView *parent, bool staged, List *changes)
{
	EddyChanges *rows;
	EddyApply  *apply;

	rows = read_view(parent, !eddy_view_rows_appear(parent) ||
					 (staged && !eddy_view_combines(view->relid)));
	apply = eddy_apply_make_child(rows, NIL);
	if (apply == NULL)
		elog(ERROR, "continuous view %u has no stream", parent->relid);
	apply->batch.judge = NULL;
	changes = list_concat(changes, eddy_view_fill(view->relid, &apply->batch));
	eddy_dead_letter_write(apply);
	eddy_apply_maintain(NIL, changes, false);
	eddy_changes_free(rows);
}

/* A view over a view gets its rows from that one. */
static void
check_parent(const EddyView *parent)
{
	if (parent->starting)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("continuous view \"%s\" is still being filled from Kafka",
						get_rel_name(parent->relid)),
				 errdetail("No continuous view can read it meanwhile."),
				 errhint("The view eddy.view_starts shows the progress.")));
}

void
eddy_apply_fill(Oid view, EddyFillSource source, List *changes)
{
	EddyView   *row = eddy_catalog_get_view(view);
	bool		chained;
	ListCell   *lc;

	if (row == NULL)
		elog(ERROR, "continuous view %u does not exist", view);
	/* rows that were committed while the lock was waited for are read as well */
	PushActiveSnapshot(GetLatestSnapshot());
	chained = eddy_catalog_ancestors(row->streams) != NIL;
	foreach(lc, row->streams)
	{
		const EddyView *parent = eddy_catalog_get_view(lfirst_oid(lc));

		if (parent)
		{
			check_parent(parent);
			fill_from_view(row, parent, source == EDDY_FILL_STAGED, changes);
		}
		else
			fill_from_stream(row, get_stream(lfirst_oid(lc)), source, changes);
		changes = NIL;
		/* one batch without rows is enough */
		if (source == EDDY_FILL_NOTHING && !chained)
			break;
	}
	foreach(lc, eddy_catalog_root_streams(view))
		eddy_close_request(lfirst_oid(lc));
	PopActiveSnapshot();
}

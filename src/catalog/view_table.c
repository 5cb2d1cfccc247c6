/*-------------------------------------------------------------------------
 *
 * view_table.c
 *    Rows of eddy._view and eddy._view_status: definitions of continuous views, and which of them
 *    are suspended, or are filled from Kafka.
 *
 * The output plugin reads neither: it uses security labels (label.h).
 *
 * _view_status has one row for each of these views and none for the others.
 *
 * Locking, memory and crash behaviour: see table.c. Besides, changing the status of a view locks
 * the key of its row, whether the row exists or not, until the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "catalog/table.h"

/* Columns of eddy._view, from 1, as in the install script. */
enum
{
	VIEW_VIEW = 1,
	VIEW_STREAM,
	VIEW_DEFINITION,
	VIEW_KIND,
	VIEW_STATE_TABLES,
	VIEW_VIEW_COLUMNS,
	VIEW_KEY_COLUMNS,
	VIEW_VISIBLE_COLUMN,
	VIEW_FINAL_COLUMN,
	VIEW_EMIT,
	VIEW_LATE,
	VIEW_ALLOWED_LATENESS,
	VIEW_RETENTION,
	VIEW_START,
	VIEW_MAINTENANCE,
	VIEW_ON_ERROR,
	VIEW_FORMAT,
	VIEW_AGGREGATES,
	VIEW_IDLE_TTL,
	VIEW_CHANGES_LOG,
	VIEW_CHANGES_RETENTION,
	VIEW_CHANGES_CHANNEL,
	VIEW_MORE_STREAMS,
	VIEW_NCOLUMNS = VIEW_MORE_STREAMS
};

/* Columns of eddy._view_status. */
enum
{
	VIEW_STATUS_VIEW = 1,
	VIEW_STATUS_STATE,
	VIEW_STATUS_ERROR,
	VIEW_STATUS_SQLSTATE,
	VIEW_STATUS_SINCE,
	VIEW_STATUS_NCOLUMNS = VIEW_STATUS_SINCE
};

/* States in _view_status. */
#define STARTING "starting"
#define SUSPENDED "suspended"

/* ---- arrays ---- */

static List *
read_oids(Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	const Oid  *oids = (const Oid *) ARR_DATA_PTR(array);
	List	   *list = NIL;

	for (int i = 0; i < ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)); i++)
		list = lappend_oid(list, oids[i]);
	return list;
}

static Datum
make_oids(List *list)
{
	Datum	   *oids = palloc(sizeof(Datum) * Max(list_length(list), 1));
	ListCell   *lc;

	foreach(lc, list)
		oids[foreach_current_index(lc)] = ObjectIdGetDatum(lfirst_oid(lc));
	return PointerGetDatum(construct_array(oids, list_length(list), REGCLASSOID, sizeof(Oid), true,
										   TYPALIGN_INT));
}

static AttrNumber *
read_columns(Datum value, int *n)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	AttrNumber *columns;

	*n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	columns = palloc(sizeof(AttrNumber) * Max(*n, 1));
	memcpy(columns, ARR_DATA_PTR(array), sizeof(AttrNumber) * *n);
	return columns;
}

static Datum
make_columns(const AttrNumber *columns, int n)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		values[i] = Int16GetDatum(columns[i]);
	return PointerGetDatum(construct_array(values, n, INT2OID, sizeof(int16), true,
										   TYPALIGN_SHORT));
}

/* ---- reading ---- */

/* An interval, NULL for SQL NULL. */
static Interval *
read_interval(const Datum *values, const bool *nulls, AttrNumber attnum)
{
	Interval   *interval;

	if (nulls[attnum - 1])
		return NULL;
	interval = palloc(sizeof(Interval));
	*interval = *DatumGetIntervalP(values[attnum - 1]);
	return interval;
}

static void *
read_view(const Datum *values, const bool *nulls)
{
	EddyView   *view = palloc0(sizeof(EddyView));

	view->relid = DatumGetObjectId(values[VIEW_VIEW - 1]);
	view->stream = DatumGetObjectId(values[VIEW_STREAM - 1]);
	view->definition = DatumGetObjectId(values[VIEW_DEFINITION - 1]);
	view->kind = TextDatumGetCString(values[VIEW_KIND - 1]);
	view->state_tables = read_oids(values[VIEW_STATE_TABLES - 1]);
	view->state_table = view->state_tables ? linitial_oid(view->state_tables) : InvalidOid;
	view->columns = read_columns(values[VIEW_VIEW_COLUMNS - 1], &view->ncolumns);
	view->key_columns = read_columns(values[VIEW_KEY_COLUMNS - 1], &view->nkeys);
	view->visible_column = DatumGetInt16(values[VIEW_VISIBLE_COLUMN - 1]);
	view->final_column = DatumGetInt16(values[VIEW_FINAL_COLUMN - 1]);
	view->emit = TextDatumGetCString(values[VIEW_EMIT - 1]);
	view->late = TextDatumGetCString(values[VIEW_LATE - 1]);
	view->allowed_lateness = *DatumGetIntervalP(values[VIEW_ALLOWED_LATENESS - 1]);
	view->retention = read_interval(values, nulls, VIEW_RETENTION);
	view->idle_ttl = read_interval(values, nulls, VIEW_IDLE_TTL);
	view->start = TextDatumGetCString(values[VIEW_START - 1]);
	view->maintenance = TextDatumGetCString(values[VIEW_MAINTENANCE - 1]);
	view->on_error = TextDatumGetCString(values[VIEW_ON_ERROR - 1]);
	view->format = DatumGetInt32(values[VIEW_FORMAT - 1]);
	view->aggregates = TextDatumGetCString(values[VIEW_AGGREGATES - 1]);
	if (!nulls[VIEW_CHANGES_LOG - 1])
	{
		view->changes_log = DatumGetInt64(values[VIEW_CHANGES_LOG - 1]);
		view->changes_retention = *DatumGetIntervalP(values[VIEW_CHANGES_RETENTION - 1]);
	}
	view->streams = list_make1_oid(view->stream);
	if (!nulls[VIEW_MORE_STREAMS - 1])
		view->streams = list_concat(view->streams, read_oids(values[VIEW_MORE_STREAMS - 1]));
	list_sort(view->streams, list_oid_cmp);
	if (!nulls[VIEW_CHANGES_CHANNEL - 1])
		view->changes_channel = pstrdup(NameStr(*DatumGetName(values[VIEW_CHANGES_CHANNEL - 1])));
	return view;
}

const EddyTableDesc eddy_catalog_view_table = {EDDY_CATALOG_VIEW, VIEW_NCOLUMNS, read_view};

/* A row of _view_status. */
typedef struct ViewStatus
{
	Oid			view;
	bool		starting;		/* otherwise suspended */
} ViewStatus;

static void *
read_status(const Datum *values, const bool *nulls pg_attribute_unused())
{
	ViewStatus *status = palloc(sizeof(ViewStatus));

	status->view = DatumGetObjectId(values[VIEW_STATUS_VIEW - 1]);
	status->starting = strcmp(TextDatumGetCString(values[VIEW_STATUS_STATE - 1]), STARTING) == 0;
	return status;
}

const EddyTableDesc eddy_catalog_view_status_table = {
	EDDY_CATALOG_VIEW_STATUS, VIEW_STATUS_NCOLUMNS, read_status
};

/* Fills in "suspended" and "starting"; rows of _view_status are few. */
static void
read_statuses(List *views)
{
	List	   *statuses;
	ListCell   *lc;
	ListCell   *lc2;

	if (views == NIL)
		return;
	statuses = eddy_catalog_scan(&eddy_catalog_view_status_table, 0, NULL, false);
	foreach(lc, statuses)
		foreach(lc2, views)
		{
			const ViewStatus *status = lfirst(lc);
			EddyView   *view = lfirst(lc2);

			if (view->relid != status->view)
				continue;
			view->starting = status->starting;
			view->suspended = !status->starting;
		}
	list_free_deep(statuses);
}

EddyView *
eddy_catalog_get_view_as_of(Oid relid, Snapshot as_of)
{
	ScanKeyData key;
	List	   *views;

	eddy_catalog_key_oid(&key, VIEW_VIEW, relid);
	views = eddy_catalog_scan_as_of(&eddy_catalog_view_table, 1, &key, true, as_of);
	return views ? linitial(views) : NULL;
}

EddyView *
eddy_catalog_get_view(Oid relid)
{
	ScanKeyData key;
	EddyView   *view;

	eddy_catalog_key_oid(&key, VIEW_VIEW, relid);
	view = eddy_catalog_read(&eddy_catalog_view_table, 1, &key);
	if (view)
		read_statuses(list_make1(view));
	return view;
}

static int
compare_views(const ListCell *a, const ListCell *b)
{
	Oid			left = ((EddyView *) lfirst(a))->relid;
	Oid			right = ((EddyView *) lfirst(b))->relid;

	return left < right ? -1 : left > right;
}

static List *
order_views(List *rows)
{
	read_statuses(rows);
	list_sort(rows, compare_views);
	return rows;
}

List *
eddy_catalog_list_views(Oid source)
{
	ScanKeyData key;
	List	   *rows;

	eddy_catalog_key_oid(&key, VIEW_STREAM, source);
	rows = eddy_catalog_scan(&eddy_catalog_view_table, 1, &key, false);
	/* most rows have NULL there */
	ScanKeyInit(&key, VIEW_MORE_STREAMS, BTEqualStrategyNumber, F_ARRAYCONTAINS,
				make_oids(list_make1_oid(source)));
	return order_views(list_concat(rows, eddy_catalog_scan(&eddy_catalog_view_table, 1, &key,
														   false)));
}

List *
eddy_catalog_list_all_views(void)
{
	return order_views(eddy_catalog_scan(&eddy_catalog_view_table, 0, NULL, false));
}

Oid
eddy_catalog_root_view(Oid source)
{
	Oid			root = InvalidOid;
	EddyView   *view;

	while ((view = eddy_catalog_get_view(source)) != NULL)
	{
		root = source;
		if (list_length(view->streams) > 1)
			break;
		source = view->stream;
	}
	return root;
}

/* Adds to *streams and *views what is read through sources, each once. */
static void
walk_sources(List *sources, List **streams, List **views)
{
	List	   *all = list_copy(sources);
	ListCell   *lc;

	/* the loop reads what it appends */
	foreach(lc, all)
	{
		Oid			source = lfirst_oid(lc);
		EddyView   *view = eddy_catalog_get_view(source);

		if (view)
		{
			*views = list_append_unique_oid(*views, source);
			all = list_concat_unique_oid(all, view->streams);
		}
		else
			*streams = list_append_unique_oid(*streams, source);
	}
	list_free(all);
}

List *
eddy_catalog_root_streams(Oid source)
{
	List	   *streams = NIL;
	List	   *views = NIL;

	walk_sources(list_make1_oid(source), &streams, &views);
	list_sort(streams, list_oid_cmp);
	return streams;
}

List *
eddy_catalog_ancestors(List *sources)
{
	List	   *streams = NIL;
	List	   *views = NIL;

	walk_sources(sources, &streams, &views);
	return views;
}

EddyView *
eddy_catalog_find_view(Oid part)
{
	EddyView   *view = eddy_catalog_get_view(part);
	ListCell   *lc;

	if (view)
		return view;
	foreach(lc, eddy_catalog_list_all_views())
	{
		view = lfirst(lc);
		if (view->definition == part || list_member_oid(view->state_tables, part))
			return view;
	}
	return NULL;
}

/* ---- writing ---- */

static void
write_changes(const EddyView *view, Datum *values, bool *nulls)
{
	bool		kept = view->changes_log != 0;

	values[VIEW_CHANGES_LOG - 1] = Int64GetDatum(view->changes_log);
	values[VIEW_CHANGES_RETENTION - 1] = IntervalPGetDatum(&view->changes_retention);
	nulls[VIEW_CHANGES_LOG - 1] = nulls[VIEW_CHANGES_RETENTION - 1] = !kept;
	values[VIEW_CHANGES_CHANNEL - 1] = eddy_catalog_name(kept ? view->changes_channel : NULL,
														 &nulls[VIEW_CHANGES_CHANNEL - 1]);
}

static void
write_view(const EddyView *view, Datum *values, bool *nulls)
{
	memset(nulls, 0, sizeof(bool) * VIEW_NCOLUMNS);
	values[VIEW_VIEW - 1] = ObjectIdGetDatum(view->relid);
	values[VIEW_STREAM - 1] = ObjectIdGetDatum(view->stream);
	values[VIEW_DEFINITION - 1] = ObjectIdGetDatum(view->definition);
	values[VIEW_KIND - 1] = CStringGetTextDatum(view->kind);
	values[VIEW_STATE_TABLES - 1] = make_oids(view->state_tables);
	values[VIEW_VIEW_COLUMNS - 1] = make_columns(view->columns, view->ncolumns);
	values[VIEW_KEY_COLUMNS - 1] = make_columns(view->key_columns, view->nkeys);
	values[VIEW_VISIBLE_COLUMN - 1] = Int16GetDatum(view->visible_column);
	values[VIEW_FINAL_COLUMN - 1] = Int16GetDatum(view->final_column);
	values[VIEW_EMIT - 1] = CStringGetTextDatum(view->emit);
	values[VIEW_LATE - 1] = CStringGetTextDatum(view->late);
	values[VIEW_ALLOWED_LATENESS - 1] = IntervalPGetDatum(&view->allowed_lateness);
	values[VIEW_RETENTION - 1] = IntervalPGetDatum(view->retention);
	nulls[VIEW_RETENTION - 1] = (view->retention == NULL);
	values[VIEW_START - 1] = CStringGetTextDatum(view->start);
	values[VIEW_MAINTENANCE - 1] = CStringGetTextDatum(view->maintenance);
	values[VIEW_ON_ERROR - 1] = CStringGetTextDatum(view->on_error);
	values[VIEW_FORMAT - 1] = Int32GetDatum(view->format);
	values[VIEW_AGGREGATES - 1] = CStringGetTextDatum(view->aggregates);
	values[VIEW_IDLE_TTL - 1] = IntervalPGetDatum(view->idle_ttl);
	nulls[VIEW_IDLE_TTL - 1] = (view->idle_ttl == NULL);
	values[VIEW_MORE_STREAMS - 1] = make_oids(list_delete_oid(list_copy(view->streams),
															  view->stream));
	nulls[VIEW_MORE_STREAMS - 1] = list_length(view->streams) <= 1;
	write_changes(view, values, nulls);
}

/*
 * Invalidates the caches about the sources of a view: which views follow from them, through others.
 */
static void
invalidate_sources(const EddyView *view)
{
	List	   *streams = NIL;
	List	   *views = NIL;
	ListCell   *lc;

	walk_sources(view->streams, &streams, &views);
	foreach(lc, list_concat(streams, views))
		eddy_catalog_invalidate(lfirst_oid(lc));
}

/* A view over several streams has a watermark of its own: the row exists before it is raised. */
static void
reset_watermark(const EddyView *view)
{
	EddyWatermark none = {.stream = view->relid, .raised = DT_NOBEGIN, .idle_user_rows = -1};

	eddy_catalog_delete_watermark(view->relid);
	if (list_length(view->streams) > 1)
		eddy_catalog_raise_watermark(&none);
}

void
eddy_catalog_insert_view(const EddyView *view)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_view_table);
	Datum		values[VIEW_NCOLUMNS];
	bool		nulls[VIEW_NCOLUMNS];

	write_view(view, values, nulls);
	eddy_catalog_insert(rel, values, nulls);
	invalidate_sources(view);
	eddy_catalog_close(rel);
	reset_watermark(view);
	eddy_catalog_reset_view_progress(view->relid);
}

/* The streams may be others than before. */
void
eddy_catalog_update_view(const EddyView *view, const EddyView *old)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_view_table);
	Datum		values[VIEW_NCOLUMNS];
	bool		nulls[VIEW_NCOLUMNS];
	ScanKeyData key;

	write_view(view, values, nulls);
	eddy_catalog_key_oid(&key, VIEW_VIEW, view->relid);
	eddy_catalog_put(rel, &key, values, nulls);
	invalidate_sources(view);
	invalidate_sources(old);
	eddy_catalog_close(rel);
	if (!equal(view->streams, old->streams))
		reset_watermark(view);
}

/* Replaces some columns of the row of a view: those that a function sets. */
static void
update_view(const EddyView *view, void (*set) (const EddyView *view, Datum *values, bool *nulls))
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_view_table);
	Datum		values[VIEW_NCOLUMNS];
	bool		nulls[VIEW_NCOLUMNS];
	ScanKeyData key;
	HeapTuple	tuple;

	eddy_catalog_key_oid(&key, VIEW_VIEW, view->relid);
	tuple = eddy_catalog_find(rel, 1, &key);
	if (tuple)
	{
		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		set(view, values, nulls);
		eddy_catalog_replace(rel, tuple, values, nulls);
		invalidate_sources(view);
	}
	eddy_catalog_close(rel);
}

static void
write_aggregates(const EddyView *view, Datum *values, bool *nulls pg_attribute_unused())
{
	values[VIEW_AGGREGATES - 1] = CStringGetTextDatum(view->aggregates);
	values[VIEW_FORMAT - 1] = Int32GetDatum(view->format);
}

void
eddy_catalog_set_view_aggregates(const EddyView *view, const char *aggregates)
{
	EddyView	changed = *view;

	changed.aggregates = unconstify(char *, aggregates);
	update_view(&changed, write_aggregates);
}

void
eddy_catalog_set_view_changes(const EddyView *view)
{
	update_view(view, write_changes);
}

/* ---- status ---- */

/* Opens _view_status after all other transactions that change the status of this view. */
static Relation
open_status(Oid view)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_view_status_table);

	LockDatabaseObject(RelationGetRelid(rel), view, 0, ExclusiveLock);
	return rel;
}

/* Writes the row of a view, which tuple is, NULL if it has none. */
static void
write_status(Relation rel, Oid view, HeapTuple tuple, const char *state, const char *error,
			 const char *sqlstate)
{
	Datum		values[VIEW_STATUS_NCOLUMNS];
	bool		nulls[VIEW_STATUS_NCOLUMNS] = {false};

	values[VIEW_STATUS_VIEW - 1] = ObjectIdGetDatum(view);
	values[VIEW_STATUS_STATE - 1] = CStringGetTextDatum(state);
	values[VIEW_STATUS_ERROR - 1] = eddy_catalog_text(error, &nulls[VIEW_STATUS_ERROR - 1]);
	values[VIEW_STATUS_SQLSTATE - 1] = eddy_catalog_text(sqlstate, &nulls[VIEW_STATUS_SQLSTATE - 1]);
	values[VIEW_STATUS_SINCE - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	if (tuple)
		eddy_catalog_replace(rel, tuple, values, nulls);
	else
		eddy_catalog_insert(rel, values, nulls);
}

/* The row of a view, NULL if it has none; and whether its state is the given one. */
static HeapTuple
find_status(Relation rel, Oid view, const char *state, bool *same)
{
	Datum		values[VIEW_STATUS_NCOLUMNS];
	bool		nulls[VIEW_STATUS_NCOLUMNS];
	ScanKeyData key;
	HeapTuple	tuple;

	eddy_catalog_key_oid(&key, VIEW_STATUS_VIEW, view);
	tuple = eddy_catalog_find(rel, 1, &key);
	*same = false;
	if (tuple)
	{
		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		*same = strcmp(TextDatumGetCString(values[VIEW_STATUS_STATE - 1]), state) == 0;
	}
	return tuple;
}

/*
 * Waits for a concurrent transaction that suspends or resumes the same view. A view that is
 * starting is not filled any more.
 */
bool
eddy_catalog_suspend_view(const EddyView *view, const char *error, const char *sqlstate)
{
	Relation	rel = open_status(view->relid);
	bool		suspended;
	HeapTuple	tuple = find_status(rel, view->relid, SUSPENDED, &suspended);

	if (!suspended)
	{
		write_status(rel, view->relid, tuple, SUSPENDED, error, sqlstate);
		invalidate_sources(view);
		if (tuple)
			eddy_catalog_delete_view_start(view->relid);
	}
	eddy_catalog_close(rel);
	return !suspended;
}

void
eddy_catalog_start_view(const EddyView *view, Oid replaces)
{
	Relation	rel = open_status(view->relid);
	EddyViewStart start = {
		.view = view->relid,
		.started_at = GetCurrentTimestamp(),
		.replaces = replaces
	};

	write_status(rel, view->relid, NULL, STARTING, NULL, NULL);
	invalidate_sources(view);
	eddy_catalog_close(rel);
	eddy_catalog_set_view_start(&start);
}

void
eddy_catalog_set_start_error(Oid view, const char *error, const char *sqlstate)
{
	Relation	rel = open_status(view);
	Datum		values[VIEW_STATUS_NCOLUMNS];
	bool		nulls[VIEW_STATUS_NCOLUMNS];
	bool		starting;
	HeapTuple	tuple = find_status(rel, view, STARTING, &starting);

	if (starting)
	{
		const char *old;

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		old = nulls[VIEW_STATUS_ERROR - 1] ? NULL :
			TextDatumGetCString(values[VIEW_STATUS_ERROR - 1]);
		if ((old == NULL) != (error == NULL) || (old && strcmp(old, error) != 0))
			write_status(rel, view, tuple, STARTING, error, sqlstate);
	}
	eddy_catalog_close(rel);
}

bool
eddy_catalog_resume_view(const EddyView *view)
{
	Relation	rel = open_status(view->relid);
	ScanKeyData key;
	bool		marked;

	eddy_catalog_key_oid(&key, VIEW_STATUS_VIEW, view->relid);
	marked = eddy_catalog_delete(rel, 1, &key) > 0;
	if (marked)
	{
		invalidate_sources(view);
		eddy_catalog_delete_view_start(view->relid);
	}
	eddy_catalog_close(rel);
	return marked;
}

void
eddy_catalog_delete_view(Oid relid)
{
	EddyView   *view = eddy_catalog_get_view(relid);
	Relation	rel = eddy_catalog_open(&eddy_catalog_view_table);
	ScanKeyData key;

	if (view)
		(void) eddy_catalog_resume_view(view);
	eddy_catalog_key_oid(&key, VIEW_VIEW, relid);
	eddy_catalog_delete(rel, 1, &key);
	if (view)
		invalidate_sources(view);
	else
		eddy_catalog_invalidate(InvalidOid);
	eddy_catalog_close(rel);
	eddy_catalog_delete_view_progress(relid);
	eddy_catalog_delete_watermark(relid);
}

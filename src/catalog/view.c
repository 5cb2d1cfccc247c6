/*-------------------------------------------------------------------------
 *
 * view.c
 *    Rows of eddy._view: definitions of continuous views.
 *
 * The table is a user_catalog_table, which the output plugin reads as of each
 * point of the WAL. Each write marks the transaction as catalog-changing, so
 * nothing that changes with a batch may ever be stored here.
 *
 * Locking, memory and crash behaviour: see table.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/table.h"

/* Columns of eddy._view, from 1, as in the install script. */
enum
{
	VIEW_VIEW = 1,
	VIEW_STREAM,
	VIEW_DEFINITION,
	VIEW_STATE_TABLE,
	VIEW_KEY_COLUMNS,
	VIEW_VISIBLE_COLUMN,
	VIEW_EMIT,
	VIEW_LATE,
	VIEW_ALLOWED_LATENESS,
	VIEW_RETENTION,
	VIEW_START,
	VIEW_MAINTENANCE,
	VIEW_ON_ERROR,
	VIEW_FORMAT,
	VIEW_NCOLUMNS = VIEW_FORMAT
};

static void *
read_view(const Datum *values, const bool *nulls)
{
	EddyView   *view = palloc0(sizeof(EddyView));
	ArrayType  *keys = DatumGetArrayTypeP(values[VIEW_KEY_COLUMNS - 1]);

	view->relid = DatumGetObjectId(values[VIEW_VIEW - 1]);
	view->stream = DatumGetObjectId(values[VIEW_STREAM - 1]);
	view->definition = DatumGetObjectId(values[VIEW_DEFINITION - 1]);
	view->state_table = DatumGetObjectId(values[VIEW_STATE_TABLE - 1]);
	view->nkeys = ArrayGetNItems(ARR_NDIM(keys), ARR_DIMS(keys));
	view->key_columns = palloc(sizeof(AttrNumber) * Max(view->nkeys, 1));
	memcpy(view->key_columns, ARR_DATA_PTR(keys), sizeof(AttrNumber) * view->nkeys);
	view->visible_column = DatumGetInt16(values[VIEW_VISIBLE_COLUMN - 1]);
	view->emit = TextDatumGetCString(values[VIEW_EMIT - 1]);
	view->late = TextDatumGetCString(values[VIEW_LATE - 1]);
	view->allowed_lateness = *DatumGetIntervalP(values[VIEW_ALLOWED_LATENESS - 1]);
	if (!nulls[VIEW_RETENTION - 1])
	{
		view->retention = palloc(sizeof(Interval));
		*view->retention = *DatumGetIntervalP(values[VIEW_RETENTION - 1]);
	}
	view->start = TextDatumGetCString(values[VIEW_START - 1]);
	view->maintenance = TextDatumGetCString(values[VIEW_MAINTENANCE - 1]);
	view->on_error = TextDatumGetCString(values[VIEW_ON_ERROR - 1]);
	view->format = DatumGetInt32(values[VIEW_FORMAT - 1]);
	return view;
}

EddyView *
eddy_catalog_get_view(Oid relid)
{
	ScanKeyData key;
	List	   *rows;

	eddy_catalog_key_oid(&key, VIEW_VIEW, relid);
	rows = eddy_catalog_scan(EDDY_CATALOG_VIEW, 1, &key, true, read_view);
	return rows ? linitial(rows) : NULL;
}

static int
compare_views(const ListCell *a, const ListCell *b)
{
	Oid			left = ((EddyView *) lfirst(a))->relid;
	Oid			right = ((EddyView *) lfirst(b))->relid;

	return left < right ? -1 : left > right;
}

List *
eddy_catalog_list_views(Oid stream)
{
	ScanKeyData key;
	List	   *rows;

	eddy_catalog_key_oid(&key, VIEW_STREAM, stream);
	rows = eddy_catalog_scan(EDDY_CATALOG_VIEW, OidIsValid(stream) ? 1 : 0, &key, false,
							 read_view);
	list_sort(rows, compare_views);
	return rows;
}

void
eddy_catalog_insert_view(const EddyView *view)
{
	Relation	rel = eddy_catalog_open(EDDY_CATALOG_VIEW);
	Datum		values[VIEW_NCOLUMNS];
	bool		nulls[VIEW_NCOLUMNS] = {false};
	Datum	   *keys = palloc(sizeof(Datum) * Max(view->nkeys, 1));

	for (int i = 0; i < view->nkeys; i++)
		keys[i] = Int16GetDatum(view->key_columns[i]);
	values[VIEW_VIEW - 1] = ObjectIdGetDatum(view->relid);
	values[VIEW_STREAM - 1] = ObjectIdGetDatum(view->stream);
	values[VIEW_DEFINITION - 1] = ObjectIdGetDatum(view->definition);
	values[VIEW_STATE_TABLE - 1] = ObjectIdGetDatum(view->state_table);
	values[VIEW_KEY_COLUMNS - 1] =
		PointerGetDatum(construct_array(keys, view->nkeys, INT2OID, sizeof(int16), true,
										TYPALIGN_SHORT));
	values[VIEW_VISIBLE_COLUMN - 1] = Int16GetDatum(view->visible_column);
	values[VIEW_EMIT - 1] = CStringGetTextDatum(view->emit);
	values[VIEW_LATE - 1] = CStringGetTextDatum(view->late);
	values[VIEW_ALLOWED_LATENESS - 1] = IntervalPGetDatum(&view->allowed_lateness);
	values[VIEW_RETENTION - 1] = IntervalPGetDatum(view->retention);
	nulls[VIEW_RETENTION - 1] = (view->retention == NULL);
	values[VIEW_START - 1] = CStringGetTextDatum(view->start);
	values[VIEW_MAINTENANCE - 1] = CStringGetTextDatum(view->maintenance);
	values[VIEW_ON_ERROR - 1] = CStringGetTextDatum(view->on_error);
	values[VIEW_FORMAT - 1] = Int32GetDatum(view->format);
	eddy_catalog_insert(rel, values, nulls);
	eddy_catalog_invalidate(view->stream);
	eddy_catalog_close(rel);
}

void
eddy_catalog_delete_view(Oid relid)
{
	EddyView   *view = eddy_catalog_get_view(relid);
	Relation	rel = eddy_catalog_open(EDDY_CATALOG_VIEW);
	ScanKeyData key;

	eddy_catalog_key_oid(&key, VIEW_VIEW, relid);
	eddy_catalog_delete(rel, 1, &key);
	eddy_catalog_invalidate(view ? view->stream : InvalidOid);
	eddy_catalog_close(rel);
}

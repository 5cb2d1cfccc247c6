/*-------------------------------------------------------------------------
 *
 * view_progress_table.c
 *    Rows of eddy._view_progress: up to where the windows of views are closed.
 *
 * Each view has a row from its creation on. Transactions that close windows or remove expired rows
 * update it; it is not updated otherwise, and never by each batch. The table has a security label,
 * by which the output plugin recognizes it, so that consumers learn of the progress of a view from
 * changes that only pg_eddy can write.
 *
 * Locking: a row lock until the end of the transaction, which is waited for; callers lock the rows
 * of several views in order of their Oid. Memory and crash behaviour: see table.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/timestamp.h"

#include "catalog/table.h"

/* Columns of eddy._view_progress, from 1, as in the install script. */
enum
{
	VIEW_PROGRESS_VIEW = 1,
	VIEW_PROGRESS_CLOSED_UNTIL,
	VIEW_PROGRESS_CLOSED_AT,
	VIEW_PROGRESS_FORGOTTEN_UNTIL,
	VIEW_PROGRESS_EXPIRED_UNTIL,
	VIEW_PROGRESS_CLOSED_GROUPS,
	VIEW_PROGRESS_NCOLUMNS = VIEW_PROGRESS_CLOSED_GROUPS
};

static void *
read_progress(const Datum *values, const bool *nulls)
{
	EddyViewProgress *progress = palloc(sizeof(EddyViewProgress));

	progress->view = DatumGetObjectId(values[VIEW_PROGRESS_VIEW - 1]);
	progress->closed_until = eddy_catalog_get_time(values, nulls, VIEW_PROGRESS_CLOSED_UNTIL);
	progress->closed_at = eddy_catalog_get_time(values, nulls, VIEW_PROGRESS_CLOSED_AT);
	progress->forgotten_until = eddy_catalog_get_time(values, nulls, VIEW_PROGRESS_FORGOTTEN_UNTIL);
	progress->expired_until = eddy_catalog_get_time(values, nulls, VIEW_PROGRESS_EXPIRED_UNTIL);
	progress->closed_groups = DatumGetInt64(values[VIEW_PROGRESS_CLOSED_GROUPS - 1]);
	return progress;
}

static void
write_progress(const EddyViewProgress *progress, Datum *values, bool *nulls)
{
	memset(nulls, 0, sizeof(bool) * VIEW_PROGRESS_NCOLUMNS);
	values[VIEW_PROGRESS_VIEW - 1] = ObjectIdGetDatum(progress->view);
	eddy_catalog_set_time(values, nulls, VIEW_PROGRESS_CLOSED_UNTIL, progress->closed_until);
	eddy_catalog_set_time(values, nulls, VIEW_PROGRESS_CLOSED_AT, progress->closed_at);
	eddy_catalog_set_time(values, nulls, VIEW_PROGRESS_FORGOTTEN_UNTIL, progress->forgotten_until);
	eddy_catalog_set_time(values, nulls, VIEW_PROGRESS_EXPIRED_UNTIL, progress->expired_until);
	values[VIEW_PROGRESS_CLOSED_GROUPS - 1] = Int64GetDatum(progress->closed_groups);
}

const EddyTableDesc eddy_catalog_view_progress_table = {
	EDDY_CATALOG_VIEW_PROGRESS, VIEW_PROGRESS_NCOLUMNS, read_progress
};

EddyViewProgress *
eddy_catalog_get_view_progress(Oid view)
{
	ScanKeyData key;

	eddy_catalog_key_oid(&key, VIEW_PROGRESS_VIEW, view);
	return eddy_catalog_read(&eddy_catalog_view_progress_table, 1, &key);
}

void
eddy_catalog_reset_view_progress(Oid view)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_view_progress_table);
	EddyViewProgress progress = {
		.view = view,
		.closed_until = DT_NOBEGIN,
		.closed_at = DT_NOBEGIN,
		.forgotten_until = DT_NOBEGIN,
		.expired_until = DT_NOBEGIN
	};
	Datum		values[VIEW_PROGRESS_NCOLUMNS];
	bool		nulls[VIEW_PROGRESS_NCOLUMNS];
	ScanKeyData key;

	eddy_catalog_key_oid(&key, VIEW_PROGRESS_VIEW, view);
	write_progress(&progress, values, nulls);
	eddy_catalog_put(rel, &key, values, nulls);
	eddy_catalog_close(rel);
	eddy_catalog_delete_late_row_count(view);
}

EddyViewProgress *
eddy_catalog_lock_view_progress(Oid view)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_view_progress_table);
	Datum		values[VIEW_PROGRESS_NCOLUMNS];
	bool		nulls[VIEW_PROGRESS_NCOLUMNS];
	EddyViewProgress *progress = NULL;
	ScanKeyData key;
	HeapTuple	tuple;

	eddy_catalog_key_oid(&key, VIEW_PROGRESS_VIEW, view);
	while ((tuple = eddy_catalog_find(rel, 1, &key)) != NULL && !eddy_catalog_lock(rel, tuple))
		heap_freetuple(tuple);	/* replaced by a concurrent transaction: read the row again */
	if (tuple)
	{
		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		progress = read_progress(values, nulls);
	}
	eddy_catalog_close(rel);
	return progress;
}

void
eddy_catalog_set_view_progress(const EddyViewProgress *progress)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_view_progress_table);
	Datum		values[VIEW_PROGRESS_NCOLUMNS];
	bool		nulls[VIEW_PROGRESS_NCOLUMNS];
	ScanKeyData key;
	HeapTuple	old;

	eddy_catalog_key_oid(&key, VIEW_PROGRESS_VIEW, progress->view);
	old = eddy_catalog_find(rel, 1, &key);
	if (old == NULL)
		elog(ERROR, "progress of continuous view %u does not exist", progress->view);
	write_progress(progress, values, nulls);
	eddy_catalog_replace(rel, old, values, nulls);
	eddy_catalog_close(rel);
}

void
eddy_catalog_delete_view_progress(Oid view)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_view_progress_table);
	ScanKeyData key;

	eddy_catalog_key_oid(&key, VIEW_PROGRESS_VIEW, view);
	eddy_catalog_delete(rel, 1, &key);
	eddy_catalog_close(rel);
	eddy_catalog_delete_late_row_count(view);
}

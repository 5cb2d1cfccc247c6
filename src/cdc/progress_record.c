/*-------------------------------------------------------------------------
 *
 * progress_record.c
 *    The progress of views: until when their windows are closed, and have expired.
 *
 * pg_eddy writes it to a table, whose label (label.h) only superusers can set. Messages in the WAL
 * would not do: every role can write them with pg_logical_emit_message().
 *
 * A record of progress says that the windows of the view that end until this time are final, and
 * that their rows have been sent. It is therefore sent after the rows of its transaction, and has a
 * number above those of all changes. The numbers count all such changes, whether they are sent or
 * not.
 *
 * Rows of windows that have expired are deleted after the table was updated, by the same
 * transaction, or the same subtransaction; see view_row.c. So neither an update of another session
 * nor one that was rolled back matters.
 *
 * While parts of a transaction are sent, it is not known which of its subtransactions will remain:
 * the progress of each is dropped when it is rolled back (in_progress.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "replication/reorderbuffer.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "cdc/emit.h"
#include "cdc/known_views.h"
#include "cdc/progress_record.h"
#include "compat.h"

/* A record to be sent at the end of the transaction. */
typedef struct Progress
{
	TransactionId xid;			/* of the subtransaction that has made it; or the transaction */
	EddyCdcView *view;			/* NULL: not to be sent */
	TimestampTz closed_until;
} Progress;

static TimestampTz
get_time(const EddyCdcRelation *entry, int which, const Datum *values, const bool *nulls)
{
	int			at = entry->progress[which];

	return nulls[at] ? DT_NOBEGIN : DatumGetTimestampTz(values[at]);
}

void
eddy_cdc_change_progress(EddyCdcState *state, EddyCdcRelation *entry, Relation relation,
						 ReorderBufferChange *change)
{
	HeapTuple	old_tuple = eddy_compat_decoded_tuple(change->data.tp.oldtuple);
	HeapTuple	new_tuple = eddy_compat_decoded_tuple(change->data.tp.newtuple);
	TimestampTz old_closed = DT_NOBEGIN;
	TimestampTz closed;
	EddyCdcView *view;
	Progress   *progress;
	MemoryContext old_context;
	Oid			relid;

	/* a row is deleted with its view */
	if (new_tuple == NULL)
		return;
	heap_deform_tuple(new_tuple, RelationGetDescr(relation), entry->new_values, entry->new_nulls);
	if (entry->new_nulls[entry->progress[0]])
		return;
	relid = DatumGetObjectId(entry->new_values[entry->progress[0]]);
	view = eddy_cdc_select_view(state, relid);
	if (view != NULL)
	{
		view->expired_until = get_time(entry, 2, entry->new_values, entry->new_nulls);
		view->expired_by = change->txn->xid;
	}

	closed = get_time(entry, 1, entry->new_values, entry->new_nulls);
	if (old_tuple != NULL && entry->identity == EDDY_CDC_IDENTITY_FULL)
	{
		heap_deform_tuple(old_tuple, RelationGetDescr(relation), entry->old_values,
						  entry->old_nulls);
		old_closed = get_time(entry, 1, entry->old_values, entry->old_nulls);
	}
	if (closed == old_closed)
		return;

	old_context = MemoryContextSwitchTo(state->progress_context);
	progress = palloc(sizeof(Progress));
	progress->xid = change->txn->xid;
	progress->view = state->options.progress ? view : NULL;
	progress->closed_until = closed;
	state->progress = lappend(state->progress, progress);
	MemoryContextSwitchTo(old_context);
}

static List *
copy_progress(List *list, const List *added)
{
	ListCell   *cell;

	foreach(cell, added)
	{
		Progress   *copy = palloc(sizeof(Progress));

		*copy = *(const Progress *) lfirst(cell);
		list = lappend(list, copy);
	}
	return list;
}

List *
eddy_cdc_take_progress(EddyCdcState *state, List *list)
{
	list = copy_progress(list, state->progress);
	state->progress = NIL;
	MemoryContextReset(state->progress_context);
	return list;
}

void
eddy_cdc_restore_progress(EddyCdcState *state, const List *list)
{
	MemoryContext old_context = MemoryContextSwitchTo(state->progress_context);

	state->progress = copy_progress(NIL, list);
	MemoryContextSwitchTo(old_context);
}

List *
eddy_cdc_drop_progress(List *list, TransactionId xid)
{
	ListCell   *cell;

	foreach(cell, list)
	{
		Progress   *progress = lfirst(cell);

		if (progress->xid != xid)
			continue;
		pfree(progress);
		list = foreach_delete_current(list, cell);
	}
	return list;
}

void
eddy_cdc_flush_progress(LogicalDecodingContext *ctx)
{
	EddyCdcState *state = ctx->output_plugin_private;
	ListCell   *cell;

	if (state->progress == NIL)
		return;
	state->seq = state->numbers + 1;
	foreach(cell, state->progress)
	{
		const Progress *progress = lfirst(cell);

		if (progress->view != NULL)
			eddy_cdc_write_progress(ctx, progress->view, progress->closed_until);
		state->seq++;
	}
	state->progress = NIL;
	MemoryContextReset(state->progress_context);
}

/*-------------------------------------------------------------------------
 *
 * change_log.c
 *    Keeps the changes of views for eddy.changes, in the transactions that make them.
 *
 * A change is what users of the view see, as in the output plugin: a row that starts to satisfy
 * HAVING is created, one that no longer does is deleted, and an update of hidden columns only is no
 * change. A row that becomes final is a change.
 *
 * Positions. A transaction that changes a group waits for the one that has changed it before, so
 * changes of a group become visible in the order in which they were made. Transaction IDs do not
 * have that order, as a transaction can have its ID long before it changes a group. So each write
 * draws a position while the groups are locked, and the locks are kept until the transaction ends.
 * change_read.c describes how readers find changes that become visible after others with later
 * positions.
 *
 * The row is stored as the bytes of a tuple of the state table, with the columns of the view and of
 * the key; the others are NULL. No output function runs in the transactions of writers, and a
 * reader knows the types from the state table, whose columns do not change. As a tuple must only be
 * read with the columns that it was made with, it is stored with a number that identifies them.
 * Only this file writes the table: a trigger refuses others.
 *
 * Locking: RowExclusiveLock on eddy._change until the end of the transaction. Memory: the context
 * in which the log was made, at most MAX_SIZE and the largest row. A crash leaves nothing: all of
 * it is part of the writer's transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "commands/async.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "view/change_log.h"
#include "view/row_bytes.h"

/* Changes are written when there are so many, or so many bytes of them. */
#define MAX_ENTRIES 1024
#define MAX_SIZE (4 * 1024 * 1024)

struct EddyChangeLog
{
	const EddyView *view;
	EddyRowColumns *columns;	/* of the state table; NULL: nothing was added yet */
	MemoryContext mcxt;			/* of all of this */
	MemoryContext entries_mcxt; /* of the contents */
	EddyChangeEntry entries[MAX_ENTRIES];
	int			nentries;
	Size		size;
	bool		written;
};

EddyChangeLog *
eddy_change_log_make(Oid view)
{
	MemoryContext mcxt;
	MemoryContext old;
	EddyChangeLog *log;
	EddyView   *row;

	if (!eddy_catalog_member(view).keeps_changes)
		return NULL;
	mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy kept changes",
								 ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(mcxt);
	row = eddy_catalog_get_view(view);
	log = palloc0(sizeof(EddyChangeLog));
	log->view = row;
	log->mcxt = mcxt;
	log->entries_mcxt = AllocSetContextCreate(mcxt, "pg_eddy contents of changes",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(old);
	if (row == NULL || row->changes_log == 0)
	{
		MemoryContextDelete(mcxt);
		return NULL;
	}
	return log;
}

/* ---- what users of the view see ---- */

/* Compares two values of a column as they are stored, after decompression. */
static bool
same_value(Form_pg_attribute att, Datum a, Datum b)
{
	struct varlena *left;
	struct varlena *right;
	bool		same;

	if (att->attlen != -1)
		return datumIsEqual(a, b, att->attbyval, att->attlen);
	if (a == b)
		return true;
	if (toast_raw_datum_size(a) != toast_raw_datum_size(b))
		return false;
	left = PG_DETOAST_DATUM_PACKED(a);
	right = PG_DETOAST_DATUM_PACKED(b);
	same = VARSIZE_ANY_EXHDR(left) == VARSIZE_ANY_EXHDR(right) &&
		memcmp(VARDATA_ANY(left), VARDATA_ANY(right), VARSIZE_ANY_EXHDR(left)) == 0;
	if ((Pointer) left != DatumGetPointer(a))
		pfree(left);
	if ((Pointer) right != DatumGetPointer(b))
		pfree(right);
	return same;
}

static bool
same_row(const EddyChangeLog *log, TupleTableSlot *old, TupleTableSlot *new)
{
	const EddyRowColumns *columns = log->columns;

	for (int i = 0; i < columns->desc->natts; i++)
	{
		if (!columns->is_shown[i])
			continue;
		if (old->tts_isnull[i] != new->tts_isnull[i])
			return false;
		if (!old->tts_isnull[i] &&
			!same_value(TupleDescAttr(columns->desc, i), old->tts_values[i], new->tts_values[i]))
			return false;
	}
	return true;
}

/* ---- entries ---- */

static void
write_entries(EddyChangeLog *log)
{
	if (log->nentries == 0)
		return;
	eddy_catalog_insert_changes(log->view->changes_log, log->columns->layout, log->entries, log->nentries);
	log->nentries = 0;
	log->size = 0;
	log->written = true;
	MemoryContextReset(log->entries_mcxt);
}

void
eddy_change_log_add(EddyChangeLog *log, TupleTableSlot *old, TupleTableSlot *new)
{
	bool		was_visible = eddy_row_is_visible(log->view, old);
	bool		visible = eddy_row_is_visible(log->view, new);
	bool		whole = visible;
	EddyChangeEntry *entry;
	MemoryContext old_context;

	if (!was_visible && !visible)
		return;
	if (log->columns == NULL)
	{
		old_context = MemoryContextSwitchTo(log->mcxt);
		log->columns = eddy_row_columns(log->view, (new ? new : old)->tts_tupleDescriptor);
		MemoryContextSwitchTo(old_context);
	}
	old_context = MemoryContextSwitchTo(log->entries_mcxt);
	if (!was_visible || !visible || !same_row(log, old, new))
	{
		entry = &log->entries[log->nentries++];
		entry->op = !visible ? EDDY_KEPT_DELETE : was_visible ? EDDY_KEPT_UPDATE :
			EDDY_KEPT_CREATE;
		if (visible && eddy_row_is_large(log->columns, new))
		{
			entry->op = was_visible ? EDDY_KEPT_UPDATE_LARGE : EDDY_KEPT_CREATE_LARGE;
			whole = false;
		}
		entry->content = eddy_row_bytes(log->columns, visible ? new : old, whole);
		log->size += VARSIZE(entry->content);
	}
	MemoryContextSwitchTo(old_context);
	if (log->nentries == MAX_ENTRIES || log->size >= MAX_SIZE)
		write_entries(log);
}

/* The notification contains the name that the view has now; several of a transaction are one. */
static void
notify(const EddyView *view)
{
	const char *name = get_rel_name(view->relid);
	const char *schema = get_namespace_name(get_rel_namespace(view->relid));

	if (name && schema)
		Async_Notify(view->changes_channel, quote_qualified_identifier(schema, name));
}

void
eddy_change_log_clear(EddyChangeLog *log)
{
	log->nentries = 0;
	log->size = 0;
	log->written = false;
	MemoryContextReset(log->entries_mcxt);
}

void
eddy_change_log_write(EddyChangeLog *log)
{
	write_entries(log);
	if (log->written && log->view->changes_channel)
		notify(log->view);
}

void
eddy_change_log_free(EddyChangeLog *log)
{
	MemoryContextDelete(log->mcxt);
}

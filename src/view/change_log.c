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
 * read with the columns that it was made with, it is stored with a number that identifies them. Only
 * this file writes the table: a trigger refuses others.
 *
 * Locking: RowExclusiveLock on eddy._change until the end of the transaction. Memory: the context in
 * which the log was made, at most MAX_SIZE and the largest row. A crash leaves nothing: all of it is
 * part of the writer's transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "commands/async.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "view/change_log.h"

/* Changes are written when there are so many, or so many bytes of them. */
#define MAX_ENTRIES 1024
#define MAX_SIZE (4 * 1024 * 1024)

/* Of a row that is larger only the key is kept: its text would not fit into a field. */
#define MAX_ROW_SIZE (256 * 1024 * 1024)

struct EddyChangeLog
{
	const EddyView *view;
	TupleDesc	desc;			/* of the state table; NULL: nothing was added yet */
	int64		layout;
	bool	   *is_shown;		/* columns of the view, and the mark of final rows */
	bool	   *is_key;
	MemoryContext mcxt;			/* of all of this */
	MemoryContext entries_mcxt; /* of the contents */
	EddyChangeEntry entries[MAX_ENTRIES];
	int			nentries;
	Size		size;
	bool		written;
};

int64
eddy_change_log_layout(TupleDesc desc)
{
	uint64		layout = desc->natts;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		layout = hash_combine64(layout, hash_bytes_uint32_extended(att->atttypid, att->attlen));
		layout = hash_combine64(layout, hash_bytes_uint32_extended(att->attalign, att->attbyval));
	}
	return (int64) layout;
}

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

/* Notes which columns of the state table are kept. */
static void
set_columns(EddyChangeLog *log, TupleDesc desc)
{
	MemoryContext old = MemoryContextSwitchTo(log->mcxt);
	const EddyView *view = log->view;

	log->desc = CreateTupleDescCopy(desc);
	log->layout = eddy_change_log_layout(desc);
	log->is_shown = palloc0(sizeof(bool) * desc->natts);
	log->is_key = palloc0(sizeof(bool) * desc->natts);
	for (int i = 0; i < view->ncolumns; i++)
		if (view->columns[i] > 0)
			log->is_shown[view->columns[i] - 1] = true;
	if (view->final_column > 0)
		log->is_shown[view->final_column - 1] = true;
	for (int i = 0; i < view->nkeys; i++)
		log->is_key[view->key_columns[i] - 1] = true;
	MemoryContextSwitchTo(old);
}

/* ---- what users of the view see ---- */

/* True if there is a row, and it is in the view. */
static bool
is_visible(const EddyView *view, TupleTableSlot *row)
{
	int			column = view->visible_column - 1;

	if (row == NULL)
		return false;
	slot_getallattrs(row);
	return column < 0 || (!row->tts_isnull[column] && DatumGetBool(row->tts_values[column]));
}

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
	for (int i = 0; i < log->desc->natts; i++)
	{
		if (!log->is_shown[i])
			continue;
		if (old->tts_isnull[i] != new->tts_isnull[i])
			return false;
		if (!old->tts_isnull[i] &&
			!same_value(TupleDescAttr(log->desc, i), old->tts_values[i], new->tts_values[i]))
			return false;
	}
	return true;
}

/* ---- entries ---- */

/* The size of the values of a row that are kept, without compression. */
static Size
row_size(const EddyChangeLog *log, TupleTableSlot *row)
{
	Size		size = 0;

	for (int i = 0; i < log->desc->natts; i++)
		if (log->is_shown[i] && !row->tts_isnull[i] && TupleDescAttr(log->desc, i)->attlen == -1)
			size += toast_raw_datum_size(row->tts_values[i]);
	return size;
}

/* The bytes of a tuple with the columns that are kept, or with the key alone. */
static bytea *
make_content(const EddyChangeLog *log, TupleTableSlot *row, bool whole)
{
	int			natts = log->desc->natts;
	Datum	   *values = palloc0(sizeof(Datum) * natts);
	bool	   *nulls = palloc(sizeof(bool) * natts);
	HeapTuple	tuple;
	bytea	   *content;

	for (int i = 0; i < natts; i++)
	{
		nulls[i] = row->tts_isnull[i] || !(log->is_key[i] || (whole && log->is_shown[i]));
		if (nulls[i])
			continue;
		values[i] = row->tts_values[i];
		if (TupleDescAttr(log->desc, i)->attlen == -1 &&
			VARATT_IS_EXTERNAL(DatumGetPointer(values[i])))
			values[i] = PointerGetDatum(detoast_external_attr((struct varlena *)
															  DatumGetPointer(values[i])));
	}
	tuple = heap_form_tuple(log->desc, values, nulls);
	content = palloc(VARHDRSZ + tuple->t_len);
	SET_VARSIZE(content, VARHDRSZ + tuple->t_len);
	memcpy(VARDATA(content), tuple->t_data, tuple->t_len);
	heap_freetuple(tuple);
	pfree(values);
	pfree(nulls);
	return content;
}

static void
write_entries(EddyChangeLog *log)
{
	if (log->nentries == 0)
		return;
	eddy_catalog_insert_changes(log->view->changes_log, log->layout, log->entries, log->nentries);
	log->nentries = 0;
	log->size = 0;
	log->written = true;
	MemoryContextReset(log->entries_mcxt);
}

void
eddy_change_log_add(EddyChangeLog *log, TupleTableSlot *old, TupleTableSlot *new)
{
	bool		was_visible = is_visible(log->view, old);
	bool		visible = is_visible(log->view, new);
	bool		whole = visible;
	EddyChangeEntry *entry;
	MemoryContext old_context;

	if (!was_visible && !visible)
		return;
	if (log->desc == NULL)
		set_columns(log, (new ? new : old)->tts_tupleDescriptor);
	old_context = MemoryContextSwitchTo(log->entries_mcxt);
	if (!was_visible || !visible || !same_row(log, old, new))
	{
		entry = &log->entries[log->nentries++];
		entry->op = !visible ? EDDY_KEPT_DELETE : was_visible ? EDDY_KEPT_UPDATE :
			EDDY_KEPT_CREATE;
		if (visible && row_size(log, new) > MAX_ROW_SIZE)
		{
			entry->op = was_visible ? EDDY_KEPT_UPDATE_LARGE : EDDY_KEPT_CREATE_LARGE;
			whole = false;
		}
		entry->content = make_content(log, visible ? new : old, whole);
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

/*-------------------------------------------------------------------------
 *
 * view_row.c
 *    From a change of a state table to changes of its view.
 *
 * The rows of a table with role EDDY_TABLE_ROWS are those of the view, with hidden columns. The
 * change is what a user of the view saw: a row that starts to satisfy HAVING is created, one
 * that no longer does is deleted, and an update of hidden columns only is no change at all.
 *
 * Memory: values are in the current context, which is reset after each change.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "replication/reorderbuffer.h"
#include "utils/timestamp.h"

#include "cdc/emit.h"
#include "cdc/known_views.h"
#include "cdc/view_row.h"
#include "compat.h"

/* Rows whose values are larger may have a text that does not fit into a record. */
#define LARGE_ROW (4 * 1024 * 1024)

static void delete_row(LogicalDecodingContext *ctx, EddyCdcRelation *entry, Relation relation,
					   HeapTuple old_tuple, TransactionId xid);
static const EddyCdcOptions *get_options(LogicalDecodingContext *ctx);
static void insert_row(LogicalDecodingContext *ctx, EddyCdcRelation *entry, Relation relation,
					   HeapTuple new_tuple);
static bool has_expired(const EddyCdcRelation *entry, TransactionId xid);
static HeapTuple plain(HeapTuple tuple);
static bool same_value(EddyCdcColumn *column, const EddyCdcRelation *entry);
static void update_row(LogicalDecodingContext *ctx, EddyCdcRelation *entry, Relation relation,
					   HeapTuple old_tuple, HeapTuple new_tuple);
static void warn_identity(EddyCdcRelation *entry, Relation relation);

/* Emits a change of a table with role EDDY_TABLE_ROWS, unless users of the view cannot see it. */
void
eddy_cdc_change_row(LogicalDecodingContext *ctx, EddyCdcRelation *entry, Relation relation,
					ReorderBufferChange *change)
{
	HeapTuple	old_tuple = eddy_compat_decoded_tuple(change->data.tp.oldtuple);
	HeapTuple	new_tuple = eddy_compat_decoded_tuple(change->data.tp.newtuple);

	if (entry->needs_settings)
		eddy_cdc_pin_settings(ctx->output_plugin_private);

	switch (change->action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			insert_row(ctx, entry, relation, new_tuple);
			break;
		case REORDER_BUFFER_CHANGE_UPDATE:
			update_row(ctx, entry, relation, old_tuple, new_tuple);
			break;
		case REORDER_BUFFER_CHANGE_DELETE:
			delete_row(ctx, entry, relation, old_tuple, change->txn->xid);
			break;
		default:
			break;				/* the server passes no others */
	}
}

static void
insert_row(LogicalDecodingContext *ctx, EddyCdcRelation *entry, Relation relation,
		   HeapTuple new_tuple)
{
	const EddyCdcOptions *options = get_options(ctx);
	EddyCdcChange created = {
		.op = EDDY_CDC_CREATE, .relation = entry,
		.values = entry->new_values, .nulls = entry->new_nulls, .whole = true,
		.tuple = plain(new_tuple)
	};

	if (new_tuple == NULL)
		return;
	heap_deform_tuple(new_tuple, RelationGetDescr(relation), entry->new_values, entry->new_nulls);
	created.large = eddy_cdc_is_large(entry, new_tuple, entry->new_values, entry->new_nulls);
	created.final = eddy_cdc_is_final(entry, entry->new_values, entry->new_nulls);
	if (eddy_cdc_sees_row(options, entry, entry->new_values, entry->new_nulls))
		eddy_cdc_emit(ctx, &created);
}

/*
 * Fills in values of the new row that the WAL has only in the old one: a pointer to an out-of-line
 * value means that it was not changed.
 */
static void
fill_unchanged(EddyCdcRelation *entry)
{
	for (int i = 0; i < entry->nstored; i++)
	{
		EddyCdcColumn *column = &entry->columns[i];
		int			at = column->index;

		if (column->type.len == -1 && !entry->new_nulls[at] && !entry->old_nulls[at] &&
			VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(entry->new_values[at])))
			entry->new_values[at] = entry->old_values[at];
	}
}

static bool
has_same_key(const EddyCdcRelation *entry)
{
	for (int i = 0; i < entry->nkeys; i++)
		if (!same_value(entry->keys[i], entry))
			return false;
	return true;
}

/*
 * Determines the effect of an update of the state table on the row of the view. An old
 * row that is not in the WAL, because the replica identity was changed,
 * counts as visible and different: a consumer gets an update of a row that is
 * new to it, or the delete of one that it never had, rather than nothing.
 */
static void
update_row(LogicalDecodingContext *ctx, EddyCdcRelation *entry, Relation relation,
		   HeapTuple old_tuple, HeapTuple new_tuple)
{
	const EddyCdcOptions *options = get_options(ctx);
	TupleDesc	desc = RelationGetDescr(relation);
	bool		whole = entry->identity == EDDY_CDC_IDENTITY_FULL && old_tuple != NULL;
	bool		has_key = entry->identity != EDDY_CDC_IDENTITY_NONE && old_tuple != NULL;
	bool		was_visible = true;
	bool		visible;
	bool		same_key;
	bool		same;
	EddyCdcChange removed = {
		.op = EDDY_CDC_DELETE, .relation = entry,
		.values = entry->old_values, .nulls = entry->old_nulls, .whole = whole,
		.tuple = plain(old_tuple)
	};
	EddyCdcChange written = {
		.op = EDDY_CDC_UPDATE, .relation = entry,
		.values = entry->new_values, .nulls = entry->new_nulls, .whole = true,
		.old_values = whole ? entry->old_values : NULL,
		.old_nulls = whole ? entry->old_nulls : NULL,
		.tuple = plain(new_tuple),
		.old_tuple = whole ? plain(old_tuple) : NULL
	};

	if (new_tuple == NULL)
		return;
	heap_deform_tuple(new_tuple, desc, entry->new_values, entry->new_nulls);
	if (has_key)
		heap_deform_tuple(old_tuple, desc, entry->old_values, entry->old_nulls);
	if (whole)
	{
		fill_unchanged(entry);
		was_visible = eddy_cdc_sees_row(options, entry, entry->old_values, entry->old_nulls);
	}
	visible = eddy_cdc_sees_row(options, entry, entry->new_values, entry->new_nulls);
	written.final = eddy_cdc_is_final(entry, entry->new_values, entry->new_nulls);
	written.correction = written.final && whole &&
		eddy_cdc_is_final(entry, entry->old_values, entry->old_nulls);
	written.large = eddy_cdc_is_large(entry, new_tuple, entry->new_values, entry->new_nulls) ||
		(has_key && eddy_cdc_is_large(entry, old_tuple, entry->old_values, entry->old_nulls));
	removed.large = written.large;

	same_key = !has_key || has_same_key(entry);
	same = whole && eddy_cdc_same_row(options, entry);

	if (was_visible && visible && same_key)
	{
		if (!same)
			eddy_cdc_emit(ctx, &written);
		return;
	}
	if (was_visible)
	{
		/* without an old row the key of the new one is the key: it has not changed */
		if (!has_key)
		{
			removed.values = entry->new_values;
			removed.nulls = entry->new_nulls;
			removed.tuple = written.tuple;
		}
		eddy_cdc_emit(ctx, &removed);
	}
	if (visible)
	{
		written.op = EDDY_CDC_CREATE;
		eddy_cdc_emit(ctx, &written);
	}
}

/* xid: of the transaction or subtransaction that has deleted the row. */
static void
delete_row(LogicalDecodingContext *ctx, EddyCdcRelation *entry, Relation relation,
		   HeapTuple old_tuple, TransactionId xid)
{
	bool		whole = entry->identity == EDDY_CDC_IDENTITY_FULL;
	const EddyCdcOptions *options = get_options(ctx);
	EddyCdcChange removed = {
		.op = EDDY_CDC_DELETE, .relation = entry,
		.values = entry->old_values, .nulls = entry->old_nulls, .whole = whole,
		.tuple = plain(old_tuple)
	};

	if (old_tuple == NULL || entry->identity == EDDY_CDC_IDENTITY_NONE)
	{
		warn_identity(entry, relation);
		return;
	}
	heap_deform_tuple(old_tuple, RelationGetDescr(relation), entry->old_values, entry->old_nulls);
	removed.large = eddy_cdc_is_large(entry, old_tuple, entry->old_values, entry->old_nulls);
	if (!options->retention && has_expired(entry, xid))
		return;
	if (!whole || eddy_cdc_sees_row(options, entry, entry->old_values, entry->old_nulls))
		eddy_cdc_emit(ctx, &removed);
}

/* Warns, once per description of a table, that deletes cannot be decoded. */
static void
warn_identity(EddyCdcRelation *entry, Relation relation)
{
	if (entry->warned)
		return;
	entry->warned = true;
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("deleted rows of table \"%s\" are not sent", RelationGetRelationName(relation)),
			 errdetail("Its replica identity does not hold the key."),
			 errhint("Use ALTER TABLE ... REPLICA IDENTITY FULL.")));
}

/*
 * True if the values of a row are so large that their text, escaped and repeated, might not fit
 * into a record. Small values that can have a long text are of a type that can_fail.
 */
bool
eddy_cdc_is_large(const EddyCdcRelation *entry, HeapTuple tuple, const Datum *values,
				  const bool *nulls)
{
	Size		size = 0;

	if (!HeapTupleHasExternal(tuple) && tuple->t_len <= BLCKSZ)
		return false;
	for (int i = 0; i < entry->nstored; i++)
	{
		int			at = entry->columns[i].index;

		if (entry->columns[i].type.len == -1 && !nulls[at])
			size += toast_raw_datum_size(values[at]);
	}
	return size > LARGE_ROW;
}

/* Returns a tuple if it has all of its values in it, or NULL. */
static HeapTuple
plain(HeapTuple tuple)
{
	return tuple != NULL && !HeapTupleHasExternal(tuple) ? tuple : NULL;
}

static const EddyCdcOptions *
get_options(LogicalDecodingContext *ctx)
{
	return &((EddyCdcState *) ctx->output_plugin_private)->options;
}

/*
 * True if the client sees the row: it satisfies HAVING, where NULL counts as false, and it is final
 * if the client has asked for final rows only.
 */
bool
eddy_cdc_sees_row(const EddyCdcOptions *options, const EddyCdcRelation *entry, const Datum *values,
				  const bool *nulls)
{
	if (entry->visible >= 0 && (nulls[entry->visible] || !DatumGetBool(values[entry->visible])))
		return false;
	return !options->final_only || eddy_cdc_is_final(entry, values, nulls);
}

/* True if the row will not change any more, unless the view accepts late rows. */
bool
eddy_cdc_is_final(const EddyCdcRelation *entry, const Datum *values, const bool *nulls)
{
	return entry->final >= 0 && !nulls[entry->final] && DatumGetBool(values[entry->final]);
}

/*
 * True if the deleted row, of which the WAL holds all columns, belongs to a window that has
 * expired. The transaction has said so before.
 */
static bool
has_expired(const EddyCdcRelation *entry, TransactionId xid)
{
	return entry->end >= 0 && entry->known != NULL && entry->identity == EDDY_CDC_IDENTITY_FULL &&
		!entry->old_nulls[entry->end] && entry->known->expired_by == xid &&
		!TIMESTAMP_IS_NOBEGIN(entry->known->expired_until) &&
		DatumGetTimestampTz(entry->old_values[entry->end]) <= entry->known->expired_until;
}

/*
 * True if the old and the new row of an entry have the same values in the columns of the view. A
 * row that becomes final is a difference for clients that want to know.
 */
bool
eddy_cdc_same_row(const EddyCdcOptions *options, EddyCdcRelation *entry)
{
	if (options->final_marks && eddy_cdc_is_final(entry, entry->old_values, entry->old_nulls) !=
		eddy_cdc_is_final(entry, entry->new_values, entry->new_nulls))
		return false;
	for (int i = 0; i < entry->ncolumns; i++)
	{
		if (!same_value(&entry->columns[i], entry))
			return false;
	}
	return true;
}

/* Compares the old and the new value of a column as bytes, after decompression. */
static bool
same_value(EddyCdcColumn *column, const EddyCdcRelation *entry)
{
	int			at = column->index;
	Datum		new_value = entry->new_values[at];
	Datum		old_value = entry->old_values[at];

	if (entry->new_nulls[at] || entry->old_nulls[at])
		return entry->new_nulls[at] == entry->old_nulls[at];
	if (column->type.byval)
		return new_value == old_value;
	if (new_value == old_value)
		return true;
	if (column->type.len == -1)
	{
		struct varlena *a;
		struct varlena *b;

		if (VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(new_value)) ||
			VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(old_value)))
			return false;
		a = PG_DETOAST_DATUM_PACKED(new_value);
		b = PG_DETOAST_DATUM_PACKED(old_value);
		return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
			memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
	}
	if (column->type.len == -2)
		return strcmp(DatumGetCString(new_value), DatumGetCString(old_value)) == 0;
	return memcmp(DatumGetPointer(new_value), DatumGetPointer(old_value), column->type.len) == 0;
}

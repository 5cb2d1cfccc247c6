/*-------------------------------------------------------------------------
 *
 * plugin.c
 *    pg_eddy_cdc, the output plugin: the callbacks of logical decoding.
 *
 * A library of its own, small and inert: it has no _PG_init, starts nothing,
 * opens nothing, links nothing but the server, and shares no code with
 * pg_eddy. It emits changes of continuous views and nothing else.
 *
 * From row to record. The rows of a state table are those of its view, with
 * hidden columns. What a user of the view saw decides: a group that starts to satisfy
 * HAVING is a "c", one that no longer does a "d", and an update that touched
 * hidden columns only is no change at all.
 *
 * Numbers. The sequence number of a record is that of its change among the changes of all
 * tables in the transaction, so that it does not depend on options, privileges or on which
 * views exist. An update takes two numbers: one that changes the key is a "d" and a "c".
 *
 * Positions. Clients confirm the position of the last message that they received, and some of
 * them that position plus one, which is beyond the start of a commit record that follows at once:
 * the server would skip that transaction for good. The last message of a transaction therefore
 * has the position before the end of its commit record. Confirmed as it is or plus one, it is
 * beyond the start of this commit record and not beyond that of the next.
 *
 * Everything lives in ctx->context or below, which goes with the decoding;
 * shutdown is not called after an error, and nothing here relies on it.
 *
 * Streaming of transactions in progress and two-phase commit are not offered:
 * their callbacks are unset, and the core keeps such transactions until they
 * commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "replication/logical.h"
#include "replication/output_plugin.h"
#include "utils/memutils.h"

#include "cdc/cdc.h"
#include "pinned_settings.h"
#include "compat.h"

PG_MODULE_MAGIC;

/* Rows whose values are larger may have a text that does not fit into a record. */
#define LARGE_ROW (4 * 1024 * 1024)

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *callbacks);

static void begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
static void begin_records(EddyCdcState *state, ReorderBufferTXN *txn);
static void change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
				   ReorderBufferChange *change);
static void commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn);
static void complain(EddyCdcRelation *entry, Relation relation);
static void delete_row(LogicalDecodingContext *ctx, EddyCdcRelation *entry, Relation relation,
					   HeapTuple old_tuple);
static void insert_row(LogicalDecodingContext *ctx, EddyCdcRelation *entry, Relation relation,
					   HeapTuple new_tuple);
static bool is_large(const EddyCdcRelation *entry, HeapTuple tuple, const Datum *values,
					 const bool *nulls);
static bool is_visible(const EddyCdcRelation *entry, const Datum *values, const bool *nulls);
static bool same_value(EddyCdcColumn *column, const EddyCdcRelation *entry);
static void startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init);
static void update_row(LogicalDecodingContext *ctx, EddyCdcRelation *entry, Relation relation,
					   HeapTuple old_tuple, HeapTuple new_tuple);

void
_PG_output_plugin_init(OutputPluginCallbacks *callbacks)
{
	callbacks->startup_cb = startup;
	callbacks->begin_cb = begin;
	callbacks->change_cb = change;
	callbacks->commit_cb = commit;
}

/* Starts decoding; is_init when a slot is made, which comes without options and without changes. */
static void
startup(LogicalDecodingContext *ctx, OutputPluginOptions *options,
		bool is_init pg_attribute_unused())
{
	MemoryContext old_context = MemoryContextSwitchTo(ctx->context);
	EddyCdcState *state = palloc0(sizeof(EddyCdcState));

	options->output_type = OUTPUT_PLUGIN_TEXTUAL_OUTPUT;
	options->receive_rewrites = false;

	state->context = ctx->context;
	state->change_context = AllocSetContextCreate(ctx->context, "pg_eddy_cdc change",
												  ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&state->records);
	initStringInfo(&state->tail);
	eddy_cdc_parse_options(ctx->output_plugin_options, &state->options);
	eddy_cdc_init_relations(state);
	ctx->output_plugin_private = state;

	MemoryContextSwitchTo(old_context);
}

static void
begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn pg_attribute_unused())
{
	EddyCdcState *state = ctx->output_plugin_private;

	state->numbers = 0;
	state->nrecords = 0;
	state->begun = false;
	state->settings_pinned = false;
}

static void
change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
	   ReorderBufferChange *change)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyCdcRelation *entry = eddy_cdc_get_relation(state, relation);

	state->seq = state->numbers + 1;
	state->numbers += change->action == REORDER_BUFFER_CHANGE_UPDATE ? 2 : 1;

	if (entry != NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(state->change_context);
		HeapTuple	old_tuple = eddy_compat_decoded_tuple(change->data.tp.oldtuple);
		HeapTuple	new_tuple = eddy_compat_decoded_tuple(change->data.tp.newtuple);

		begin_records(state, txn);
		if (entry->needs_settings)
			eddy_cdc_pin_settings(state);

		switch (change->action)
		{
			case REORDER_BUFFER_CHANGE_INSERT:
				insert_row(ctx, entry, relation, new_tuple);
				break;
			case REORDER_BUFFER_CHANGE_UPDATE:
				update_row(ctx, entry, relation, old_tuple, new_tuple);
				break;
			case REORDER_BUFFER_CHANGE_DELETE:
				delete_row(ctx, entry, relation, old_tuple);
				break;
			default:
				break;			/* the core passes no others */
		}
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(state->change_context);
	}

	if (++state->quiet_changes >= EDDY_COMPAT_QUIET_CHANGES)
	{
		state->quiet_changes = 0;
		OutputPluginUpdateProgress(ctx, false);
	}
}

static void
commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
	   XLogRecPtr commit_lsn pg_attribute_unused())
{
	EddyCdcState *state = ctx->output_plugin_private;

	if (state->nrecords == 0 && !state->options.skip_empty_xacts)
	{
		begin_records(state, txn);
		state->seq = 0;
		state->options.format->empty(state);
	}

	/* a transaction that has records has one that was not sent yet */
	if (state->records.len > 0)
		ctx->write_location = txn->end_lsn - 1;
	OutputPluginUpdateProgress(ctx, state->records.len == 0);
	state->quiet_changes = 0;
	eddy_cdc_send(ctx);
	eddy_cdc_trim_relations(state);
}

/* Prepares the format for a transaction when its first record may come: most have none. */
static void
begin_records(EddyCdcState *state, ReorderBufferTXN *txn)
{
	if (state->begun)
		return;
	state->options.format->begin(state, txn);
	state->begun = true;
}

static void
insert_row(LogicalDecodingContext *ctx, EddyCdcRelation *entry, Relation relation,
		   HeapTuple new_tuple)
{
	EddyCdcChange created = {
		.op = 'c', .relation = entry,
		.values = entry->new_values, .nulls = entry->new_nulls, .whole = true
	};

	if (new_tuple == NULL)
		return;
	heap_deform_tuple(new_tuple, RelationGetDescr(relation), entry->new_values, entry->new_nulls);
	created.large = is_large(entry, new_tuple, entry->new_values, entry->new_nulls);
	if (is_visible(entry, entry->new_values, entry->new_nulls))
		eddy_cdc_emit(ctx, &created);
}

/*
 * Determines what an update of the state table did to the row of the view. An old
 * row that is not in the WAL, because the replica identity was changed,
 * counts as visible and different: a consumer gets a "u" for a row that is
 * new to it, or a "d" for one that it never had, rather than nothing.
 */
static void
update_row(LogicalDecodingContext *ctx, EddyCdcRelation *entry, Relation relation,
		   HeapTuple old_tuple, HeapTuple new_tuple)
{
	TupleDesc	desc = RelationGetDescr(relation);
	bool		whole = entry->identity == EDDY_CDC_IDENTITY_FULL && old_tuple != NULL;
	bool		has_key = entry->identity != EDDY_CDC_IDENTITY_NONE && old_tuple != NULL;
	bool		was_visible = true;
	bool		visible;
	bool		same_key = true;
	bool		same = whole;
	EddyCdcChange removed = {
		.op = 'd', .relation = entry,
		.values = entry->old_values, .nulls = entry->old_nulls, .whole = whole
	};
	EddyCdcChange written = {
		.op = 'u', .relation = entry,
		.values = entry->new_values, .nulls = entry->new_nulls, .whole = true,
		.old_values = whole ? entry->old_values : NULL,
		.old_nulls = whole ? entry->old_nulls : NULL
	};

	if (new_tuple == NULL)
		return;
	heap_deform_tuple(new_tuple, desc, entry->new_values, entry->new_nulls);
	if (has_key)
		heap_deform_tuple(old_tuple, desc, entry->old_values, entry->old_nulls);
	if (whole)
	{
		/* a pointer to a value out of line stands for one that was not changed */
		for (int i = 0; i < entry->nstored; i++)
		{
			EddyCdcColumn *column = &entry->columns[i];
			int			at = column->index;

			if (column->type.len == -1 && !entry->new_nulls[at] && !entry->old_nulls[at] &&
				VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(entry->new_values[at])))
				entry->new_values[at] = entry->old_values[at];
		}
		was_visible = is_visible(entry, entry->old_values, entry->old_nulls);
	}
	visible = is_visible(entry, entry->new_values, entry->new_nulls);
	written.large = is_large(entry, new_tuple, entry->new_values, entry->new_nulls) ||
		(has_key && is_large(entry, old_tuple, entry->old_values, entry->old_nulls));
	removed.large = written.large;

	if (has_key)
	{
		for (int i = 0; i < entry->nkeys && same_key; i++)
			same_key = same_value(entry->keys[i], entry);
	}
	for (int i = 0; i < entry->ncolumns && same; i++)
		same = same_value(&entry->columns[i], entry);

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
		}
		eddy_cdc_emit(ctx, &removed);
	}
	if (visible)
	{
		written.op = 'c';
		eddy_cdc_emit(ctx, &written);
	}
}

static void
delete_row(LogicalDecodingContext *ctx, EddyCdcRelation *entry, Relation relation,
		   HeapTuple old_tuple)
{
	bool		whole = entry->identity == EDDY_CDC_IDENTITY_FULL;
	EddyCdcChange removed = {
		.op = 'd', .relation = entry,
		.values = entry->old_values, .nulls = entry->old_nulls, .whole = whole
	};

	if (old_tuple == NULL || entry->identity == EDDY_CDC_IDENTITY_NONE)
	{
		complain(entry, relation);
		return;
	}
	heap_deform_tuple(old_tuple, RelationGetDescr(relation), entry->old_values, entry->old_nulls);
	removed.large = is_large(entry, old_tuple, entry->old_values, entry->old_nulls);
	if (!whole || is_visible(entry, entry->old_values, entry->old_nulls))
		eddy_cdc_emit(ctx, &removed);
}

/* Warns, once for each description of a table, that deletes cannot be decoded. */
static void
complain(EddyCdcRelation *entry, Relation relation)
{
	if (entry->complained)
		return;
	entry->complained = true;
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("deleted rows of table \"%s\" are not sent", RelationGetRelationName(relation)),
			 errdetail("Its replica identity does not hold the key."),
			 errhint("Use ALTER TABLE ... REPLICA IDENTITY FULL.")));
}

/*
 * True if the values of a row are so large that their text, escaped and repeated, might not fit
 * into a record. Values that are small and have a long text nevertheless can_fail.
 */
static bool
is_large(const EddyCdcRelation *entry, HeapTuple tuple, const Datum *values, const bool *nulls)
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

/* The result of the HAVING condition; NULL counts as false, as it does there. */
static bool
is_visible(const EddyCdcRelation *entry, const Datum *values, const bool *nulls)
{
	if (entry->visible < 0)
		return true;
	return !nulls[entry->visible] && DatumGetBool(values[entry->visible]);
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

void
eddy_cdc_pin_settings(EddyCdcState *state)
{
	if (state->settings_pinned)
		return;

	/*
	 * The core replays each transaction in a (sub)transaction of its own and
	 * aborts it at the end, which takes these back, as an error does.
	 */
	for (size_t i = 0; i < lengthof(eddy_pinned_settings); i++)
		if (eddy_pinned_settings[i].output)
			(void) set_config_option(eddy_pinned_settings[i].name,
									 eddy_pinned_settings[i].value, PGC_USERSET,
									 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	state->settings_pinned = true;
}

/*-------------------------------------------------------------------------
 *
 * plugin.c
 *    pg_eddy_cdc, the output plugin: the callbacks of logical decoding.
 *
 * A library of its own, small and inert: it has no _PG_init, starts nothing,
 * opens nothing, links nothing but the server, and shares no code with
 * pg_eddy but headers. It sends changes of continuous views and nothing else.
 *
 * Numbers. The sequence number of a record is that of its change among the changes of all
 * tables in the transaction, so that it does not depend on options, privileges or on which
 * views exist. An update takes two numbers: one that changes the key is a delete and a create.
 * A record that combines changes (net.c) has the number of the last of them.
 *
 * Positions. Clients confirm the position of the last message that they received, and some of
 * them that position plus one, which is past the start of a commit record that follows at once:
 * the server would skip that transaction for good. The last message of a transaction therefore
 * has the position before the end of its commit record. Confirmed as it is or plus one, it is
 * past the start of this commit record and not past that of the next.
 *
 * Memory: everything is in ctx->context or below, which is deleted with the decoding;
 * shutdown is not called after an error, and nothing here relies on it.
 *
 * By default the server keeps transactions until they commit; see in_progress.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "replication/logical.h"
#include "replication/output_plugin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "cdc/emit.h"
#include "cdc/format.h"
#include "cdc/initial_rows.h"
#include "cdc/known_views.h"
#include "cdc/message.h"
#include "cdc/net.h"
#include "cdc/progress_record.h"
#include "cdc/transaction.h"
#include "cdc/view_filter.h"
#include "cdc/view_row.h"
#include "compat.h"
#include "pinned_settings.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *callbacks);

static void commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn);
static EddyCdcRelation *get_relation(LogicalDecodingContext *ctx, Relation relation);
static void refuse_unreadable(EddyCdcState *state, Relation relation);
static void startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init);

void
_PG_output_plugin_init(OutputPluginCallbacks *callbacks)
{
	callbacks->startup_cb = startup;
	callbacks->begin_cb = eddy_cdc_begin;
	callbacks->change_cb = eddy_cdc_decode_change;
	callbacks->truncate_cb = eddy_cdc_decode_truncate;
	callbacks->commit_cb = commit;
	eddy_cdc_set_in_progress(callbacks);
}

/* Starts decoding; is_init when a slot is created, without options and without changes. */
static void
startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init)
{
	MemoryContext old_context = MemoryContextSwitchTo(ctx->context);
	EddyCdcState *state = palloc0(sizeof(EddyCdcState));

	options->output_type = OUTPUT_PLUGIN_TEXTUAL_OUTPUT;
	options->receive_rewrites = false;

	state->context = ctx->context;
	state->change_context = AllocSetContextCreate(ctx->context, "pg_eddy_cdc change",
												  ALLOCSET_DEFAULT_SIZES);
	state->progress_context = AllocSetContextCreate(ctx->context, "pg_eddy_cdc progress",
													ALLOCSET_SMALL_SIZES);
	initStringInfo(&state->records);
	eddy_cdc_parse_options(ctx->output_plugin_options, &state->options);
	state->options.format->startup(state);
	eddy_cdc_init_cache(state);
	eddy_cdc_init_views(state);
	if (state->options.net)
		eddy_cdc_net_init(state);
	if (state->options.strict && !is_init)
		eddy_cdc_check_views(state);
	ctx->output_plugin_private = state;
	eddy_cdc_start_in_progress(ctx);

	MemoryContextSwitchTo(old_context);
}

void
eddy_cdc_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	EddyCdcState *state = ctx->output_plugin_private;

	state->txn = txn;
	state->numbers = 0;
	state->nrecords = 0;
	state->begun = false;
	state->settings_pinned = false;
	state->gid = NULL;
	state->in_progress = false;
	state->subxid = txn->xid;
	state->progress = NIL;
	MemoryContextReset(state->progress_context);

	/*
	 * Views by the names that they have where the session begins: those that are selected by name
	 * remain selected when they are renamed, and the client is told about those that are dropped.
	 */
	if ((state->options.include_schema || state->options.views != NIL) && IsTransactionState())
	{
		MemoryContext old_context = MemoryContextSwitchTo(state->change_context);

		eddy_cdc_pin_settings(state);
		eddy_cdc_load_views(ctx, txn);
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(state->change_context);
	}
}

/*
 * Decodes a change of any table. A state table's role decides what the change means for its view.
 */
void
eddy_cdc_decode_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn pg_attribute_unused(),
					   Relation relation, ReorderBufferChange *change)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyCdcRelation *entry = get_relation(ctx, relation);

	state->seq = state->numbers + 1;
	state->numbers += change->action == REORDER_BUFFER_CHANGE_UPDATE ? 2 : 1;

	if (entry != NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(state->change_context);

		switch (entry->role)
		{
			case EDDY_TABLE_ROWS:
				eddy_cdc_change_row(ctx, entry, relation, change);
				break;
			case EDDY_TABLE_PROGRESS:
				eddy_cdc_pin_settings(state);
				eddy_cdc_change_progress(state, entry, relation, change);
				break;
			case EDDY_TABLE_INITIAL:
				eddy_cdc_change_initial(ctx, entry, relation, change);
				break;
			case EDDY_TABLE_AUXILIARY:
				break;
		}
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(state->change_context);
	}
	eddy_cdc_report_progress(ctx);
}

/*
 * Decodes a TRUNCATE; each of its tables takes a number. Only superusers can truncate state tables.
 */
void
eddy_cdc_decode_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn pg_attribute_unused(),
						 int nrelations, Relation relations[],
						 ReorderBufferChange *change pg_attribute_unused())
{
	EddyCdcState *state = ctx->output_plugin_private;

	for (int i = 0; i < nrelations; i++)
	{
		EddyCdcRelation *entry = get_relation(ctx, relations[i]);

		state->seq = ++state->numbers;
		if (entry == NULL || entry->role != EDDY_TABLE_ROWS)
			continue;
		eddy_cdc_net_flush(ctx);
		state->seq = state->numbers;
		eddy_cdc_write_truncate(ctx, entry);
	}
	eddy_cdc_report_progress(ctx);
}

/*
 * Returns the description of a table, NULL if its changes are not sent. Changes that have to be
 * combined with later ones are sent before a description changes: they belong to the old one.
 */
static EddyCdcRelation *
get_relation(LogicalDecodingContext *ctx, Relation relation)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyCdcRelation *entry;

	if (state->net != NULL && eddy_cdc_net_is_pending(state) &&
		eddy_cdc_is_outdated(state, RelationGetRelid(relation)))
		eddy_cdc_net_flush(ctx);
	entry = eddy_cdc_get_relation(state, relation);
	if (entry == NULL && state->options.strict)
		refuse_unreadable(state, relation);
	return entry;
}

/* Raises an error if changes of a table are not sent because the client may not read its view. */
static void
refuse_unreadable(EddyCdcState *state, Relation relation)
{
	EddyCdcRelation *entry = eddy_cdc_find_relation(state, RelationGetRelid(relation));
	char	   *schema;
	char	   *name;

	if (!entry->refused)
		return;
	schema = get_namespace_name(get_rel_namespace(entry->view));
	name = get_rel_name(entry->view);
	eddy_cdc_refuse_view(schema != NULL ? schema : "", name != NULL ? name : "");
}

static void
commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
	   XLogRecPtr commit_lsn pg_attribute_unused())
{
	eddy_cdc_end_changes(ctx);
	eddy_cdc_write_end(ctx);
	eddy_cdc_send_end(ctx, txn->end_lsn);
}

void
eddy_cdc_end_changes(LogicalDecodingContext *ctx)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyCdcView *view;

	eddy_cdc_net_flush(ctx);
	eddy_cdc_flush_progress(ctx);
	/* catalogs cannot be read when the rest of the transaction was sent before: then later */
	while (IsTransactionState() && (view = eddy_cdc_next_dropped_view(state)) != NULL)
	{
		if (state->options.include_schema && view->shown)
			eddy_cdc_write_dropped(ctx, view);
		eddy_cdc_forget_view(state, view);
	}
}

void
eddy_cdc_send_end(LogicalDecodingContext *ctx, XLogRecPtr end_lsn)
{
	EddyCdcState *state = ctx->output_plugin_private;

	/* a transaction that has records has one that was not sent yet */
	if (state->records.len > 0)
		ctx->write_location = end_lsn - 1;
	OutputPluginUpdateProgress(ctx, state->records.len == 0);
	state->quiet_changes = 0;
	eddy_cdc_send(ctx);
	eddy_cdc_trim_cache(state);
}

/* Makes type output independent of the session's settings until the transaction's replay ends. */
void
eddy_cdc_pin_settings(EddyCdcState *state)
{
	if (state->settings_pinned)
		return;

	/*
	 * The server replays each transaction in a (sub)transaction of its own and
	 * aborts it at the end, which resets these, as an error does.
	 */
	for (size_t i = 0; i < lengthof(eddy_pinned_settings); i++)
		if (eddy_pinned_settings[i].output)
			(void) set_config_option(eddy_pinned_settings[i].name,
									 eddy_pinned_settings[i].value, PGC_USERSET,
									 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	state->settings_pinned = true;
}

/*-------------------------------------------------------------------------
 *
 * callbacks.c
 *    pg_eddy_wal2json, an output plugin for clients of wal2json: the callbacks of logical decoding.
 *
 * A library of its own, as small and inert as pg_eddy_cdc: it has no _PG_init, starts nothing,
 * opens nothing and links nothing but the server. It sends changes of continuous views, and
 * messages of pg_logical_emit_message as wal2json does; nothing of other tables.
 *
 * Positions. The last message of a transaction has the position before the end of its commit
 * record, for the reason that cdc/plugin.c gives.
 *
 * Errors. A record that cannot be made must not keep the slot from advancing: values that raise an
 * error, or do not fit, are left out, as wal2json leaves out values that the WAL does not hold, and
 * a warning is issued. A transaction whose document of version 1 would be larger than a message can
 * be is sent as several documents.
 *
 * Memory: pending text is in EddyCdcState.records: one record, and with version 1 all those of a
 * transaction, as its clients expect one document. All else is in ctx->context or below, which is
 * deleted with the decoding.
 *
 * Streaming of transactions in progress and two-phase commit are not offered: wal2json does not
 * have them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "replication/logical.h"
#include "replication/origin.h"
#include "replication/output_plugin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "cdc/emit.h"
#include "cdc/known_views.h"
#include "cdc/message.h"
#include "cdc/view_row.h"
#include "compat.h"
#include "wal2json/w2j.h"

PG_MODULE_MAGIC;

/*
 * A document of this size is ended, as the text of a change whose values are not large might not
 * fit into the rest of the largest message.
 */
#define MAX_DOCUMENT ((int) MaxAllocSize - 64 * 1024 * 1024)

/*
 * Any role can write messages with a prefix and a content of any length: what exceeds these is cut,
 * as the text would not fit into a document.
 */
#define MAX_ESCAPE 6			/* bytes of text that a byte takes */
#define MAX_PREFIX (1024 * 1024)
#define MAX_CONTENT (MAX_DOCUMENT / MAX_ESCAPE)

/* The arguments of describe_table. */
typedef struct Description
{
	EddyW2jState *w2j;
	EddyCdcRelation *entry;
	TupleDesc	desc;
} Description;

/* The arguments of append_change. */
typedef struct Attempt
{
	EddyCdcState *state;
	EddyW2jTable *table;
	const EddyCdcChange *change;
} Attempt;

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *callbacks);

static void append_change(void *arg);
static bool attempt_change(Attempt *attempt);
static void begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
static void begin_records(LogicalDecodingContext *ctx);
static void change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
				   ReorderBufferChange *change);
static void commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn);
static void describe_table(void *arg);
static EddyW2jTable *find_table(EddyCdcState *state, EddyCdcRelation *entry, Relation relation);
static bool filter_origin(LogicalDecodingContext *ctx, RepOriginId origin);
static void finish_record(LogicalDecodingContext *ctx);
static void message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr message_lsn,
					bool transactional, const char *prefix, Size size, const char *content);
static void send_records(LogicalDecodingContext *ctx);
static void split_document(LogicalDecodingContext *ctx);
static void startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init);
static void truncate_tables(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrelations,
							Relation relations[], ReorderBufferChange *change);

void
_PG_output_plugin_init(OutputPluginCallbacks *callbacks)
{
	callbacks->startup_cb = startup;
	callbacks->begin_cb = begin;
	callbacks->change_cb = change;
	callbacks->truncate_cb = truncate_tables;
	callbacks->commit_cb = commit;
	callbacks->message_cb = message;
	callbacks->filter_by_origin_cb = filter_origin;
}

/* Starts decoding; is_init when a slot is created, without options and without changes. */
static void
startup(LogicalDecodingContext *ctx, OutputPluginOptions *options,
		bool is_init pg_attribute_unused())
{
	MemoryContext old_context = MemoryContextSwitchTo(ctx->context);
	EddyCdcState *state = palloc0(sizeof(EddyCdcState));
	EddyW2jState *w2j = palloc0(sizeof(EddyW2jState));

	options->output_type = OUTPUT_PLUGIN_TEXTUAL_OUTPUT;
	options->receive_rewrites = false;

	state->context = ctx->context;
	state->change_context = AllocSetContextCreate(ctx->context, EDDY_WAL2JSON_PLUGIN " change",
												  ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&state->records);
	initStringInfo(&w2j->header);
	eddy_wal2json_parse_options(ctx->output_plugin_options, &w2j->options);
	w2j->version = w2j->options.format_version == 1 ? &eddy_wal2json_version1 :
		&eddy_wal2json_version2;
	state->options.check_acl = w2j->options.check_acl;
	state->format_state = w2j;
	state->options.retention = true;
	eddy_cdc_init_cache(state);
	eddy_cdc_init_views(state);
	ctx->output_plugin_private = state;

	MemoryContextSwitchTo(old_context);
}

static bool
filter_origin(LogicalDecodingContext *ctx, RepOriginId origin)
{
	EddyW2jState *w2j = eddy_wal2json_state(ctx->output_plugin_private);

	return origin != InvalidRepOriginId && list_member_int(w2j->options.filter_origins, origin);
}

/* ---- transactions ---- */

static void
begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyW2jState *w2j = eddy_wal2json_state(state);

	w2j->txn = txn;
	w2j->begun = false;
	w2j->sent = false;
	resetStringInfo(&state->records);	/* of a transaction that was interrupted */
	if (!w2j->options.skip_empty_xacts)
		begin_records(ctx);
}

/* Writes the begin of the transaction before its first record. */
static void
begin_records(LogicalDecodingContext *ctx)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyW2jState *w2j = eddy_wal2json_state(state);

	if (w2j->begun)
		return;
	w2j->begun = true;
	w2j->version->begin(state);
	finish_record(ctx);
}

static void
commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
	   XLogRecPtr commit_lsn pg_attribute_unused())
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyW2jState *w2j = eddy_wal2json_state(state);
	EddyCdcView *view;

	if (w2j->begun)
	{
		w2j->version->end(state);
		if (state->records.len > 0)
			ctx->write_location = txn->end_lsn - 1;
	}
	OutputPluginUpdateProgress(ctx, state->records.len == 0 && !w2j->sent);
	state->quiet_changes = 0;
	send_records(ctx);
	while ((view = eddy_cdc_next_dropped_view(state)) != NULL)
		eddy_cdc_forget_view(state, view);
	eddy_cdc_trim_cache(state);
	w2j->txn = NULL;
}

/* ---- changes ---- */

/* Decodes a change of any table. */
static void
change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn pg_attribute_unused(), Relation relation,
	   ReorderBufferChange *change)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyW2jState *w2j = eddy_wal2json_state(state);
	EddyCdcRelation *entry = eddy_cdc_get_relation(state, relation);

	if (entry != NULL && entry->role == EDDY_TABLE_ROWS)
	{
		MemoryContext old_context = MemoryContextSwitchTo(state->change_context);

		w2j->lsn = change->lsn;
		if (find_table(state, entry, relation)->wanted)
			eddy_cdc_change_row(ctx, entry, relation, change);
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(state->change_context);
	}
	eddy_cdc_report_progress(ctx);
}

static void
truncate_tables(LogicalDecodingContext *ctx, ReorderBufferTXN *txn pg_attribute_unused(),
				int nrelations, Relation relations[], ReorderBufferChange *change)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyW2jState *w2j = eddy_wal2json_state(state);

	if (w2j->version->truncate == NULL || !(w2j->options.actions & EDDY_W2J_TRUNCATE))
		return;
	w2j->lsn = change->lsn;
	for (int i = 0; i < nrelations; i++)
	{
		EddyCdcRelation *entry = eddy_cdc_get_relation(state, relations[i]);
		EddyW2jTable *table;

		if (entry == NULL || entry->role != EDDY_TABLE_ROWS)
			continue;
		table = find_table(state, entry, relations[i]);
		if (!table->wanted)
			continue;
		begin_records(ctx);
		w2j->version->truncate(state, table);
		finish_record(ctx);
	}
}

/* The texts of a view, which are made before its first change. */
static EddyW2jTable *
find_table(EddyCdcState *state, EddyCdcRelation *entry, Relation relation)
{
	if (entry->format_data == NULL)
	{
		Description description = {
			.w2j = eddy_wal2json_state(state), .entry = entry, .desc = RelationGetDescr(relation)
		};
		MemoryContext old_context = MemoryContextSwitchTo(entry->context);
		ErrorData  *error = eddy_cdc_attempt(describe_table, &description);

		if (error != NULL)
		{
			entry->format_data = palloc0(sizeof(EddyW2jTable));
			ereport(WARNING,
					(errcode(error->sqlerrcode),
					 errmsg("changes of table \"%s\" are not sent",
							RelationGetRelationName(relation)),
					 errdetail("It cannot be described: %s.", error->message)));
		}
		MemoryContextSwitchTo(old_context);
	}
	return entry->format_data;
}

static void
describe_table(void *arg)
{
	Description *description = arg;

	description->entry->format_data = eddy_wal2json_describe(description->w2j, description->entry,
															 description->desc);
}

/* Called by cdc/view_row.c for each change of a row of a view. */
void
eddy_cdc_emit(LogicalDecodingContext *ctx, const EddyCdcChange *change)
{
	static const int actions[] = {
		[EDDY_CDC_CREATE] = EDDY_W2J_INSERT, [EDDY_CDC_UPDATE] = EDDY_W2J_UPDATE,
		[EDDY_CDC_DELETE] = EDDY_W2J_DELETE
	};
	EddyCdcState *state = ctx->output_plugin_private;
	EddyW2jState *w2j = eddy_wal2json_state(state);
	EddyW2jTable *table = change->relation->format_data;
	Attempt		attempt = {.state = state, .table = table, .change = change};
	int			start;

	if (!(w2j->options.actions & actions[change->op]))
		return;
	begin_records(ctx);
	if (state->records.len >= MAX_DOCUMENT)
		split_document(ctx);

	start = state->records.len;
	if (!change->large && !change->relation->can_fail)
		w2j->version->change(state, table, change);
	else if (!attempt_change(&attempt))
	{
		/* there may be room for it in a document of its own */
		if (start > EDDY_CDC_MAX_IDLE_SPACE)
			split_document(ctx);
		if (start <= EDDY_CDC_MAX_IDLE_SPACE || !attempt_change(&attempt))
		{
			w2j->lenient = true;
			w2j->version->change(state, table, change);
			w2j->lenient = false;
		}
	}
	finish_record(ctx);
}

/* Appends a record, or leaves the pending text as it was and returns false. */
static bool
attempt_change(Attempt *attempt)
{
	EddyW2jState *w2j = eddy_wal2json_state(attempt->state);
	int			start = attempt->state->records.len;
	int			nchanges = w2j->nchanges;

	if (eddy_cdc_attempt(append_change, attempt) == NULL)
		return true;
	attempt->state->records.len = start;
	w2j->nchanges = nchanges;
	return false;
}

static void
append_change(void *arg)
{
	Attempt    *attempt = arg;
	EddyCdcState *state = attempt->state;

	eddy_wal2json_state(state)->version->change(state, attempt->table, attempt->change);
	eddy_cdc_enlarge(&state->records, 1024);	/* for the end of a document */
}

/* ---- messages of pg_logical_emit_message ---- */

static void
message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn pg_attribute_unused(),
		XLogRecPtr message_lsn, bool transactional, const char *prefix, Size size,
		const char *content)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyW2jState *w2j = eddy_wal2json_state(state);
	MemoryContext old_context;
	Size		prefix_len;

	if (!eddy_wal2json_wants_prefix(&w2j->options, prefix))
		return;
	w2j->lsn = message_lsn;
	old_context = MemoryContextSwitchTo(state->change_context);

	prefix_len = strlen(prefix);
	if (prefix_len > MAX_PREFIX)
	{
		prefix_len = pg_mbcliplen(prefix, prefix_len, MAX_PREFIX);
		prefix = pnstrdup(prefix, prefix_len);
		ereport(WARNING,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("prefix of a message is cut to %zu bytes", prefix_len)));
	}
	if (size > MAX_CONTENT)
	{
		size = MAX_CONTENT;
		ereport(WARNING,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("content of a message with prefix \"%s\" is cut to %zu bytes",
						pnstrdup(prefix, pg_mbcliplen(prefix, prefix_len, NAMEDATALEN)), size)));
	}

	if (transactional)
	{
		begin_records(ctx);
		if (state->records.len >= MAX_DOCUMENT - (int) size * MAX_ESCAPE)
			split_document(ctx);
		w2j->version->message(state, true, prefix, content, size);
		finish_record(ctx);
	}
	else
	{
		/* a document of its own */
		Assert(w2j->txn == NULL && state->records.len == 0);
		if (w2j->options.format_version == 1)
			w2j->version->begin(state);
		w2j->version->message(state, false, prefix, content, size);
		if (w2j->options.format_version == 1)
		{
			/* it is not written in chunks */
			if (w2j->options.pretty_print && w2j->options.write_in_chunks)
				eddy_cdc_append_literal(&state->records, "\n");
			w2j->version->end(state);
		}
		send_records(ctx);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(state->change_context);
}

/* ---- output ---- */

/* After a record: sends it, unless the whole transaction is one message. */
static void
finish_record(LogicalDecodingContext *ctx)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyW2jState *w2j = eddy_wal2json_state(state);

	if (w2j->options.format_version != 1 || w2j->options.write_in_chunks)
		send_records(ctx);
}

/*
 * Ends the document of the transaction, and begins another one with the same header, as one message
 * cannot hold all changes.
 */
static void
split_document(LogicalDecodingContext *ctx)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyW2jState *w2j = eddy_wal2json_state(state);

	if (w2j->options.format_version != 1 || w2j->options.write_in_chunks)
		return;
	w2j->version->end(state);
	send_records(ctx);
	w2j->version->begin(state);
}

/* Sends the pending text as one message. */
static void
send_records(LogicalDecodingContext *ctx)
{
	if (eddy_cdc_send(ctx))
		eddy_wal2json_state(ctx->output_plugin_private)->sent = true;
}

/* ---- functions that src/cdc/ calls ---- */

/* Values have the text that the session's settings give them, as with wal2json. */
void
eddy_cdc_pin_settings(EddyCdcState *state pg_attribute_unused())
{
}

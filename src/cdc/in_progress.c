/*-------------------------------------------------------------------------
 *
 * in_progress.c
 *    Transactions that are sent before they commit: options "streaming" and "two-phase".
 *
 * With "two-phase", a transaction is sent when it is prepared. Its records have the position of
 * PREPARE and "gid"; COMMIT PREPARED and ROLLBACK PREPARED are records of their own. All of its
 * changes are known, so net changes are those of other transactions. If it was rolled back before
 * it is decoded, the server passes its changes only until catalogs have to be read, leaves the
 * transaction in which it reads them, and reports PREPARE nevertheless: what is not complete, and
 * net changes, are then dropped.
 *
 * With "streaming", the server passes parts of large transactions while these are in progress, and
 * reports later whether they, or some of their subtransactions, were aborted. The records have no
 * position, as that of the commit is not known; they have "xid", and "subxid" if a subtransaction
 * has made the change. Changes of different subtransactions cannot be combined before it is known
 * which of them remain, so "net" is off. The numbers continue from part to part.
 *
 * A part can end within any change, if the transaction was aborted meanwhile and catalogs cannot be
 * read any more: then an incomplete record is dropped. emit.c notes until where the pending ones
 * are complete.
 *
 * Memory: a few bytes for each transaction in progress that was sent in part, in ctx->context,
 * until it ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "replication/logical.h"
#include "replication/output_plugin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "cdc/emit.h"
#include "cdc/message.h"
#include "cdc/net.h"
#include "cdc/progress_record.h"
#include "cdc/transaction.h"
#include "compat.h"

/* What is known of a transaction between its parts; in txn->output_plugin_private. */
typedef struct PartlySent
{
	int64		numbers;
	int64		nrecords;
	List	   *progress;
} PartlySent;

static void begin_prepare(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
static void commit_prepared(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
							XLogRecPtr commit_lsn);
static void prepare(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr prepare_lsn);
static void rollback_prepared(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
							  XLogRecPtr prepare_end_lsn, TimestampTz prepare_time);
static void stream_abort(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
						 XLogRecPtr abort_lsn);
static void stream_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
						  ReorderBufferChange *change);
static void stream_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
						  XLogRecPtr commit_lsn);
static void stream_start(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
static void stream_stop(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
static void stream_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrelations,
							Relation relations[], ReorderBufferChange *change);

void
eddy_cdc_set_in_progress(OutputPluginCallbacks *callbacks)
{
	callbacks->begin_prepare_cb = begin_prepare;
	callbacks->prepare_cb = prepare;
	callbacks->commit_prepared_cb = commit_prepared;
	callbacks->rollback_prepared_cb = rollback_prepared;
	callbacks->stream_start_cb = stream_start;
	callbacks->stream_stop_cb = stream_stop;
	callbacks->stream_abort_cb = stream_abort;
	callbacks->stream_commit_cb = stream_commit;
	callbacks->stream_change_cb = stream_change;
	callbacks->stream_truncate_cb = stream_truncate;
}

/*
 * Both are used only if the client has asked for them; a slot can be marked for two-phase decoding.
 */
void
eddy_cdc_start_in_progress(LogicalDecodingContext *ctx)
{
	const EddyCdcOptions *options = &((EddyCdcState *) ctx->output_plugin_private)->options;

	ctx->streaming &= options->streaming;
	ctx->twophase &= options->two_phase;
	ctx->twophase_opt_given = ctx->twophase;
}

/* Drops a record that is not complete, because the current change was interrupted. */
static void
drop_incomplete(EddyCdcState *state)
{
	state->records.len = Min(state->complete, state->records.len);
}

/* ---- prepared transactions ---- */

static void
begin_prepare(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	EddyCdcState *state = ctx->output_plugin_private;

	eddy_cdc_begin(ctx, txn);
	state->gid = txn->gid;
}

static void
prepare(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
		XLogRecPtr prepare_lsn pg_attribute_unused())
{
	EddyCdcState *state = ctx->output_plugin_private;

	/* since version 18, of a transaction without changes, only PREPARE is reported */
	if (state->gid == NULL)
		begin_prepare(ctx, txn);

	/*
	 * The server has a historic snapshot unless the transaction was found to be rolled back,
	 * perhaps in a first call of this function. ROLLBACK PREPARED follows, so it is enough that
	 * what was sent gets an outcome.
	 */
	if (HistoricSnapshotActive())
		eddy_cdc_end_changes(ctx);
	else
	{
		drop_incomplete(state);
		eddy_cdc_net_discard(state);
	}
	if (state->begun)
		eddy_cdc_write_outcome(ctx, EDDY_CDC_PREPARED);
	eddy_cdc_send_end(ctx, txn->end_lsn);
	state->gid = NULL;
}

/* Reports the outcome of a prepared transaction, which may have been sent in an earlier session. */
static void
end_prepared(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, EddyCdcOutcome outcome)
{
	EddyCdcState *state = ctx->output_plugin_private;

	eddy_cdc_begin(ctx, txn);
	state->gid = txn->gid;
	eddy_cdc_write_outcome(ctx, outcome);
	eddy_cdc_send_end(ctx, txn->end_lsn);
	state->gid = NULL;
}

static void
commit_prepared(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				XLogRecPtr commit_lsn pg_attribute_unused())
{
	end_prepared(ctx, txn, EDDY_CDC_COMMIT_PREPARED);
}

static void
rollback_prepared(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				  XLogRecPtr prepare_end_lsn pg_attribute_unused(),
				  TimestampTz prepare_time pg_attribute_unused())
{
	end_prepared(ctx, txn, EDDY_CDC_ROLLBACK_PREPARED);
}

/* ---- parts of transactions in progress ---- */

static PartlySent *
get_partly_sent(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	if (txn->output_plugin_private == NULL)
		txn->output_plugin_private = MemoryContextAllocZero(ctx->context, sizeof(PartlySent));
	return txn->output_plugin_private;
}

static void
forget(ReorderBufferTXN *txn)
{
	PartlySent *sent = txn->output_plugin_private;

	if (sent == NULL)
		return;
	list_free_deep(sent->progress);
	pfree(sent);
	txn->output_plugin_private = NULL;
}

static void
stream_start(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	EddyCdcState *state = ctx->output_plugin_private;
	PartlySent *sent = get_partly_sent(ctx, txn);

	eddy_cdc_begin(ctx, txn);
	state->in_progress = true;
	state->numbers = sent->numbers;
	state->nrecords = sent->nrecords;
}

static void
stream_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
			  ReorderBufferChange *change)
{
	EddyCdcState *state = ctx->output_plugin_private;

	state->subxid = change->txn->xid;
	eddy_cdc_decode_change(ctx, txn, relation, change);
	state->complete = state->records.len;
}

static void
stream_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrelations,
				Relation relations[], ReorderBufferChange *change)
{
	EddyCdcState *state = ctx->output_plugin_private;

	state->subxid = change->txn->xid;
	eddy_cdc_decode_truncate(ctx, txn, nrelations, relations, change);
	state->complete = state->records.len;
}

static void
stream_stop(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	EddyCdcState *state = ctx->output_plugin_private;
	PartlySent *sent = get_partly_sent(ctx, txn);
	MemoryContext old_context;

	drop_incomplete(state);
	eddy_cdc_send(ctx);

	sent->numbers = state->numbers;
	sent->nrecords = state->nrecords;
	old_context = MemoryContextSwitchTo(ctx->context);
	sent->progress = eddy_cdc_take_progress(state, sent->progress);
	MemoryContextSwitchTo(old_context);
	state->in_progress = false;
}

/* txn: the transaction, or one of its subtransactions. */
static void
stream_abort(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			 XLogRecPtr abort_lsn pg_attribute_unused())
{
	EddyCdcState *state = ctx->output_plugin_private;
	ReorderBufferTXN *top = eddy_compat_top_transaction(txn);
	PartlySent *sent = top->output_plugin_private;

	if (sent != NULL)
		sent->progress = eddy_cdc_drop_progress(sent->progress, txn->xid);
	if (sent != NULL && sent->nrecords > 0)
	{
		eddy_cdc_begin(ctx, top);
		state->in_progress = true;
		state->subxid = txn->xid;
		eddy_cdc_write_outcome(ctx, EDDY_CDC_STREAM_ABORTED);
		eddy_cdc_send(ctx);
		state->in_progress = false;
	}
	if (top == txn)
		forget(txn);
}

static void
stream_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			  XLogRecPtr commit_lsn pg_attribute_unused())
{
	EddyCdcState *state = ctx->output_plugin_private;
	PartlySent *sent = get_partly_sent(ctx, txn);

	eddy_cdc_begin(ctx, txn);
	state->numbers = sent->numbers;
	state->nrecords = sent->nrecords;
	eddy_cdc_restore_progress(state, sent->progress);
	if (sent->nrecords > 0 || !state->options.skip_empty_xacts)
		eddy_cdc_write_outcome(ctx, EDDY_CDC_STREAM_COMMITTED);
	eddy_cdc_end_changes(ctx);
	eddy_cdc_send_end(ctx, txn->end_lsn);
	forget(txn);
}

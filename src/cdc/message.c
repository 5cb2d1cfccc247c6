/*-------------------------------------------------------------------------
 *
 * message.c
 *    Messages to the client, and signs of life while there are none. Both output plugins of pg_eddy
 *    contain this file.
 *
 * Records are collected in EddyCdcState.records. The caller sets ctx->write_location where the
 * position of the message is not that of the current change.
 *
 * Memory: the buffer of the records, which is released after a large message.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "replication/logical.h"
#include "replication/output_plugin.h"

#include "cdc/message.h"
#include "compat.h"

bool
eddy_cdc_send(LogicalDecodingContext *ctx)
{
	EddyCdcState *state = ctx->output_plugin_private;

	if (state->records.len == 0)
		return false;
	OutputPluginPrepareWrite(ctx, true);
	appendBinaryStringInfo(ctx->out, state->records.data, state->records.len);

	if (state->records.maxlen <= EDDY_CDC_MAX_IDLE_SPACE)
		resetStringInfo(&state->records);
	else
	{
		MemoryContext old_context = MemoryContextSwitchTo(state->context);

		pfree(state->records.data);
		initStringInfo(&state->records);
		MemoryContextSwitchTo(old_context);
	}
	OutputPluginWrite(ctx, true);
	state->quiet_changes = 0;
	state->complete = 0;
	return true;
}

/* Keeps the connection and the slot alive through changes for which nothing is sent. */
void
eddy_cdc_report_progress(LogicalDecodingContext *ctx)
{
	EddyCdcState *state = ctx->output_plugin_private;

	if (++state->quiet_changes >= EDDY_COMPAT_QUIET_CHANGES)
	{
		state->quiet_changes = 0;
		OutputPluginUpdateProgress(ctx, false);
	}
}

/*-------------------------------------------------------------------------
 *
 * emit.c
 *    Appends the records of changes, and sends them in messages.
 *
 * Records are collected in state->records and sent as one protocol message, newline between
 * them: a walsender spends about 6 us on each message, more than on the record. A message is
 * sent when another record follows, not when it is full, so that the last message of a
 * transaction is sent at its commit and its position marks the transaction as complete (plugin.c).
 *
 * A record that cannot be made must not keep the slot from advancing: the same change would fail
 * every time. A record that reports the error is sent instead. Only values that can fail are
 * written in a subtransaction: types whose output function may raise errors, and
 * rows that are large enough for their text to exceed what a server can send.
 *
 * Memory is bounded by batch-bytes and the largest record, of which another copy is made to send
 * it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "replication/logical.h"
#include "replication/output_plugin.h"

#include "cdc/emit.h"
#include "cdc/known_views.h"
#include "cdc/message.h"
#include "cdc/net.h"

/* The arguments of append_record. */
typedef struct Attempt
{
	EddyCdcState *state;
	const EddyCdcChange *change;
	const ErrorData *error;		/* NULL: the change itself is appended */
} Attempt;

static void announce(LogicalDecodingContext *ctx, EddyCdcRelation *relation);
static void append_failure(EddyCdcState *state, const EddyCdcChange *change,
						   const ErrorData *error);
static void append_record(void *arg);
static bool attempt_record(EddyCdcState *state, const EddyCdcChange *change,
						   const ErrorData *error, ErrorData **failure);
static void begin_transaction(LogicalDecodingContext *ctx);
static void next_record(LogicalDecodingContext *ctx);
static bool start_transaction(LogicalDecodingContext *ctx);

void
eddy_cdc_emit(LogicalDecodingContext *ctx, const EddyCdcChange *change)
{
	EddyCdcState *state = ctx->output_plugin_private;

	if (state->net != NULL)
		eddy_cdc_net_add(ctx, change);
	else
		eddy_cdc_write(ctx, change);
}

/* Adds the record of a change to the pending ones, which are sent first if they fill a message. */
void
eddy_cdc_write(LogicalDecodingContext *ctx, const EddyCdcChange *change)
{
	EddyCdcState *state = ctx->output_plugin_private;
	const EddyCdcFormat *format = state->options.format;
	ErrorData  *error = NULL;

	if (unlikely(!state->begun))
		begin_transaction(ctx);
	if (unlikely(!change->relation->announced))
		announce(ctx, change->relation);
	state->complete = state->records.len;
	if (state->records.len >= state->options.batch_bytes)
		eddy_cdc_send(ctx);

	if (!change->large && !change->relation->can_fail)
	{
		if (state->records.len > 0)
			eddy_cdc_append_literal(&state->records, "\n");
		format->change(state, change);
	}
	else if (!attempt_record(state, change, NULL, &error))
	{
		bool		alone = state->records.len == 0;

		/* if not, there may be room for it in a message of its own */
		eddy_cdc_send(ctx);
		if (alone || !attempt_record(state, change, NULL, &error))
			append_failure(state, change, error);
	}
	/* a key that failed in the record of the change would fail again */
	if (change->op == EDDY_CDC_DELETE && state->options.tombstones && format->tombstone != NULL &&
		error == NULL)
	{
		next_record(ctx);
		format->tombstone(state, change);
	}
	state->seq++;
	state->nrecords++;
	state->complete = state->records.len;
}

/* Adds the record of a table whose rows were all removed. */
void
eddy_cdc_write_truncate(LogicalDecodingContext *ctx, EddyCdcRelation *relation)
{
	EddyCdcState *state = ctx->output_plugin_private;

	begin_transaction(ctx);
	announce(ctx, relation);
	next_record(ctx);
	state->options.format->truncate(state, relation);
	state->nrecords++;
}

/* Adds the record that precedes the initial rows of a view. */
void
eddy_cdc_write_snapshot(LogicalDecodingContext *ctx, EddyCdcRelation *relation)
{
	EddyCdcState *state = ctx->output_plugin_private;

	if (state->options.format->snapshot == NULL)
		return;
	begin_transaction(ctx);
	announce(ctx, relation);
	next_record(ctx);
	state->options.format->snapshot(state, relation);
	state->nrecords++;
}

/* Adds the record of a view that was dropped. */
void
eddy_cdc_write_dropped(LogicalDecodingContext *ctx, const EddyCdcView *view)
{
	EddyCdcState *state = ctx->output_plugin_private;

	begin_transaction(ctx);
	next_record(ctx);
	state->options.format->dropped(state, view);
}

/* Adds the record of a view whose windows are closed until a time. */
void
eddy_cdc_write_progress(LogicalDecodingContext *ctx, const EddyCdcView *view,
						TimestampTz closed_until)
{
	EddyCdcState *state = ctx->output_plugin_private;

	begin_transaction(ctx);
	next_record(ctx);
	state->options.format->progress(state, view, closed_until);
	state->nrecords++;
}

/* Adds the records that the end of a transaction has. */
void
eddy_cdc_write_end(LogicalDecodingContext *ctx)
{
	EddyCdcState *state = ctx->output_plugin_private;
	const EddyCdcFormat *format = state->options.format;

	if (!state->begun)
	{
		if (state->options.skip_empty_xacts)
			return;
		begin_transaction(ctx);
		if (!state->options.include_transaction)
		{
			state->seq = 0;
			next_record(ctx);
			format->empty(state);
		}
	}
	if (state->options.include_transaction)
	{
		next_record(ctx);
		format->transaction_end(state);
	}
}

/* Adds the record of what became of a transaction that was sent before it has committed. */
void
eddy_cdc_write_outcome(LogicalDecodingContext *ctx, EddyCdcOutcome outcome)
{
	EddyCdcState *state = ctx->output_plugin_private;

	start_transaction(ctx);
	next_record(ctx);
	state->options.format->outcome(state, outcome);
}

/* Prepares what the records of a transaction share. False if that was done before. */
static bool
start_transaction(LogicalDecodingContext *ctx)
{
	EddyCdcState *state = ctx->output_plugin_private;
	const EddyCdcFormat *format = state->options.format;

	if (state->begun)
		return false;
	format->begin(state, state->txn);
	if (state->options.include_schema && !state->greeted)
	{
		next_record(ctx);
		format->protocol(state);
		state->greeted = true;
	}
	/* not before: reading the name of the database may find that the transaction was rolled back */
	state->begun = true;
	return true;
}

/* Adds what precedes the first record of a transaction: most transactions have none. */
static void
begin_transaction(LogicalDecodingContext *ctx)
{
	EddyCdcState *state = ctx->output_plugin_private;

	/* a transaction that is sent in parts ends with a record of its own */
	if (start_transaction(ctx) && state->options.include_transaction && !state->in_progress)
	{
		next_record(ctx);
		state->options.format->transaction_begin(state);
	}
}

/* Adds the record with the columns of a view, unless they are the same as last time. */
static void
announce(LogicalDecodingContext *ctx, EddyCdcRelation *relation)
{
	EddyCdcState *state = ctx->output_plugin_private;

	if (relation->announced)
		return;
	relation->announced = true;
	if (!state->options.include_schema ||
		!eddy_cdc_set_schema(relation->known, relation->schema, relation->schema_len))
		return;
	next_record(ctx);
	state->options.format->schema(state, relation->known);
}

/* Sends the pending records if they fill a message, and separates the next one from the others. */
static void
next_record(LogicalDecodingContext *ctx)
{
	EddyCdcState *state = ctx->output_plugin_private;

	if (state->records.len >= state->options.batch_bytes)
		eddy_cdc_send(ctx);
	state->complete = state->records.len;
	if (state->records.len > 0)
		eddy_cdc_append_literal(&state->records, "\n");
}

/* Appends the best possible record for a change that cannot be sent. */
static void
append_failure(EddyCdcState *state, const EddyCdcChange *change, const ErrorData *error)
{
	EddyCdcChange rest = *change;
	ErrorData  *more;

	/* of a deleted row the key suffices */
	rest.whole = false;
	if (change->op == EDDY_CDC_DELETE && change->whole && attempt_record(state, &rest, NULL, &more))
		return;
	if (!attempt_record(state, change, error, &more))
		state->options.format->failed(state, change, error, false);
}

/* Appends a record, or leaves the records as they were and gives the reason. */
static bool
attempt_record(EddyCdcState *state, const EddyCdcChange *change, const ErrorData *error,
			   ErrorData **failure)
{
	Attempt		attempt = {.state = state, .change = change, .error = error};
	int			start = state->records.len;

	*failure = eddy_cdc_attempt(append_record, &attempt);
	if (*failure == NULL)
		return true;
	state->records.len = start;
	return false;
}

static void
append_record(void *arg)
{
	Attempt    *attempt = arg;
	EddyCdcState *state = attempt->state;

	if (state->records.len > 0)
		eddy_cdc_append_literal(&state->records, "\n");
	if (attempt->error == NULL)
		state->options.format->change(state, attempt->change);
	else
		state->options.format->failed(state, attempt->change, attempt->error, true);
	eddy_cdc_enlarge(&state->records, 0);
}

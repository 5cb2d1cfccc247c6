/*-------------------------------------------------------------------------
 *
 * native.c
 *    Format "native": one JSON object per change.
 *
 * docs/output-protocol.md is the specification, docs/schemas/native.json has the schemas of all
 * records. Each record is complete in itself: each carries the commit's position, transaction
 * and time. Records for the begin and the commit of a transaction are optional.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "cdc/known_views.h"
#include "cdc/row_json.h"

static void append_view(EddyCdcState *state, const EddyCdcView *view, const char *op);

static void
append_change(EddyCdcState *state, const EddyCdcChange *change)
{
	static const char ops[] = {
		[EDDY_CDC_CREATE] = 'c', [EDDY_CDC_UPDATE] = 'u', [EDDY_CDC_DELETE] = 'd'
	};
	EddyCdcRelation *relation = change->relation;
	StringInfo	out = &state->records;

	eddy_cdc_start_record(relation);
	eddy_cdc_append_literal(out, "{\"op\":\"");
	eddy_cdc_append_bytes(out, change->initial ? "r" : &ops[change->op], 1);
	eddy_cdc_append_literal(out, "\",\"view\":");
	eddy_cdc_append_bytes(out, relation->name, relation->name_len);
	eddy_cdc_append_literal(out, ",\"key\":");
	eddy_cdc_append_key(state, relation, change->values, change->nulls);

	if (change->op != EDDY_CDC_DELETE)
	{
		eddy_cdc_append_literal(out, ",\"after\":");
		eddy_cdc_append_row(state, relation, change->values, change->nulls);
	}
	if (state->options.include_before)
	{
		if (change->op == EDDY_CDC_DELETE && change->whole)
		{
			eddy_cdc_append_literal(out, ",\"before\":");
			eddy_cdc_append_row(state, relation, change->values, change->nulls);
		}
		else if (change->op == EDDY_CDC_UPDATE && change->old_values != NULL)
		{
			eddy_cdc_append_literal(out, ",\"before\":");
			eddy_cdc_append_row(state, relation, change->old_values, change->old_nulls);
		}
	}
	eddy_cdc_append_marks(state, change);
	eddy_cdc_append_tail(state, true);
}

static void
append_failed(EddyCdcState *state, const EddyCdcChange *change, const ErrorData *error,
			  bool with_key)
{
	EddyCdcRelation *relation = change->relation;
	StringInfo	out = &state->records;

	eddy_cdc_start_record(relation);
	if (error->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED)
		eddy_cdc_append_literal(out, "{\"op\":\"too_large\",\"view\":");
	else
		eddy_cdc_append_literal(out, "{\"op\":\"e\",\"view\":");
	eddy_cdc_append_bytes(out, relation->name, relation->name_len);
	if (with_key)
	{
		eddy_cdc_append_literal(out, ",\"key\":");
		eddy_cdc_append_key(state, relation, change->values, change->nulls);
	}
	eddy_cdc_append_error(out, error);
	eddy_cdc_append_tail(state, true);
}

static void
append_truncate(EddyCdcState *state, EddyCdcRelation *relation)
{
	eddy_cdc_append_literal(&state->records, "{\"op\":\"t\",\"view\":");
	eddy_cdc_append_bytes(&state->records, relation->name, relation->name_len);
	eddy_cdc_append_tail(state, true);
}

static void
append_snapshot(EddyCdcState *state, EddyCdcRelation *relation)
{
	append_view(state, relation->known, "snapshot");
	eddy_cdc_append_tail(state, true);
}

/* Appends the record of a transaction that changed no row, with option skip-empty-xacts off. */
static void
append_empty(EddyCdcState *state)
{
	eddy_cdc_append_literal(&state->records, "{\"op\":\"x\"");
	eddy_cdc_append_tail(state, true);
}

static void
append_begin(EddyCdcState *state)
{
	eddy_cdc_append_literal(&state->records, "{\"op\":\"begin\"");
	eddy_cdc_append_tail(state, false);
}

static void
append_commit(EddyCdcState *state)
{
	eddy_cdc_append_literal(&state->records, "{\"op\":\"commit\",\"records\":");
	eddy_cdc_append_int64(&state->records, state->nrecords);
	eddy_cdc_append_tail(state, false);
}

static void
append_outcome(EddyCdcState *state, EddyCdcOutcome outcome)
{
	static const char *const ops[] = {
		[EDDY_CDC_PREPARED] = "prepare", [EDDY_CDC_COMMIT_PREPARED] = "commit_prepared",
		[EDDY_CDC_ROLLBACK_PREPARED] = "rollback_prepared",
		[EDDY_CDC_STREAM_ABORTED] = "stream_abort", [EDDY_CDC_STREAM_COMMITTED] = "stream_commit"
	};
	StringInfo	out = &state->records;

	eddy_cdc_append_literal(out, "{\"op\":\"");
	eddy_cdc_append_bytes(out, ops[outcome], strlen(ops[outcome]));
	eddy_cdc_append_literal(out, "\"");
	if (outcome == EDDY_CDC_PREPARED || outcome == EDDY_CDC_STREAM_COMMITTED)
	{
		eddy_cdc_append_literal(out, ",\"records\":");
		eddy_cdc_append_int64(out, state->nrecords);
	}
	eddy_cdc_append_tail(state, false);
}

static void
append_protocol(EddyCdcState *state)
{
	StringInfo	out = &state->records;
	const char *database = IsTransactionState() ? get_database_name(MyDatabaseId) : NULL;

	eddy_cdc_append_literal(out, "{\"op\":\"protocol\",\"version\":");
	eddy_cdc_append_int64(out, EDDY_CDC_PROTOCOL_VERSION);
	eddy_cdc_append_literal(out, ",\"plugin\":\"" EDDY_CDC_PLUGIN "\",\"plugin_version\":\""
							EDDY_VERSION "\"");
	if (database != NULL)
	{
		eddy_cdc_append_literal(out, ",\"database\":");
		eddy_cdc_append_string(out, database, strlen(database));
	}
	eddy_cdc_append_literal(out, "}");
}

static void
append_schema(EddyCdcState *state, const EddyCdcView *view)
{
	append_view(state, view, "schema");
	eddy_cdc_append_bytes(&state->records, view->schema, view->schema_len);
	eddy_cdc_append_tail(state, false);
}

static void
append_dropped(EddyCdcState *state, const EddyCdcView *view)
{
	append_view(state, view, "dropped");
	eddy_cdc_append_tail(state, false);
}

static void
append_progress(EddyCdcState *state, const EddyCdcView *view, TimestampTz closed_until)
{
	eddy_cdc_append_literal(&state->records, "{\"op\":\"p\",\"view\":");
	eddy_cdc_append_bytes(&state->records, view->name, view->name_len);
	eddy_cdc_append_literal(&state->records, ",");
	eddy_cdc_append_closed(&state->records, closed_until);
	eddy_cdc_append_tail(state, true);
}

static void
append_view(EddyCdcState *state, const EddyCdcView *view, const char *op)
{
	StringInfo	out = &state->records;

	eddy_cdc_append_literal(out, "{\"op\":\"");
	eddy_cdc_append_bytes(out, op, strlen(op));
	eddy_cdc_append_literal(out, "\",\"id\":\"");
	eddy_cdc_append_bytes(out, view->id, EDDY_LABEL_ID_LEN);
	eddy_cdc_append_literal(out, "\",\"view\":");
	eddy_cdc_append_bytes(out, view->name, view->name_len);
}

const EddyCdcFormat eddy_cdc_native_format = {
	.startup = eddy_cdc_start_tail,
	.begin = eddy_cdc_begin_tail,
	.change = append_change,
	.empty = append_empty,
	.failed = append_failed,
	.truncate = append_truncate,
	.snapshot = append_snapshot,
	.transaction_begin = append_begin,
	.transaction_end = append_commit,
	.outcome = append_outcome,
	.protocol = append_protocol,
	.schema = append_schema,
	.dropped = append_dropped,
	.progress = append_progress
};

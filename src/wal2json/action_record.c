/*-------------------------------------------------------------------------
 *
 * action_record.c
 *    Format version 2: one JSON object for each change, and for the begin and the end of each
 *    transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "wal2json/w2j.h"

static void append_begin(EddyCdcState *state);
static void append_boundary(EddyCdcState *state, char action);
static void append_change(EddyCdcState *state, EddyW2jTable *table, const EddyCdcChange *change);
static void append_columns(EddyCdcState *state, EddyW2jTable *table, const Datum *values,
						   const bool *nulls);
static void append_end(EddyCdcState *state);
static void append_head(EddyCdcState *state, char action);
static void append_identity(EddyCdcState *state, EddyW2jTable *table, const EddyCdcChange *change);
static void append_message(EddyCdcState *state, bool transactional, const char *prefix,
						   const char *content, Size size);
static void append_truncate(EddyCdcState *state, EddyW2jTable *table);

static void
append_begin(EddyCdcState *state)
{
	EddyW2jState *w2j = eddy_wal2json_state(state);
	EddyW2jOptions *options = &w2j->options;
	StringInfo	header = &w2j->header;

	resetStringInfo(header);
	if (options->include_xids)
		appendStringInfo(header, ",\"xid\":%u", w2j->txn->xid);
	if (options->include_timestamp)
		appendStringInfo(header, ",\"timestamp\":\"%s\"",
						 timestamptz_to_str(w2j->txn->xact_time.commit_time));
	if (options->include_origin)
		appendStringInfo(header, ",\"origin\":%u", w2j->txn->origin_id);
	if (options->include_transaction)
		append_boundary(state, 'B');
}

static void
append_end(EddyCdcState *state)
{
	if (eddy_wal2json_state(state)->options.include_transaction)
		append_boundary(state, 'C');
}

static void
append_boundary(EddyCdcState *state, char action)
{
	EddyW2jState *w2j = eddy_wal2json_state(state);

	appendStringInfo(&state->records, "{\"action\":\"%c\"", action);
	eddy_wal2json_append_buffer(&state->records, w2j->header);
	if (w2j->options.include_lsn)
		appendStringInfo(&state->records, ",\"lsn\":\"%X/%X\",\"nextlsn\":\"%X/%X\"",
						 LSN_FORMAT_ARGS(w2j->txn->final_lsn), LSN_FORMAT_ARGS(w2j->txn->end_lsn));
	eddy_cdc_append_literal(&state->records, "}");
}

/* The fields with which all records begin that are not those of a begin or an end. */
static void
append_head(EddyCdcState *state, char action)
{
	EddyW2jState *w2j = eddy_wal2json_state(state);
	StringInfo	out = &state->records;

	eddy_cdc_append_literal(out, "{\"action\":\"");
	eddy_cdc_append_bytes(out, &action, 1);
	eddy_cdc_append_literal(out, "\"");
	eddy_wal2json_append_buffer(out, w2j->header);
	if (w2j->options.include_lsn)
		appendStringInfo(out, ",\"lsn\":\"%X/%X\"", LSN_FORMAT_ARGS(w2j->lsn));
}

static void
append_change(EddyCdcState *state, EddyW2jTable *table, const EddyCdcChange *change)
{
	static const char actions[] = {
		[EDDY_CDC_CREATE] = 'I', [EDDY_CDC_UPDATE] = 'U', [EDDY_CDC_DELETE] = 'D'
	};
	StringInfo	out = &state->records;

	append_head(state, actions[change->op]);
	eddy_wal2json_append_buffer(out, table->name);
	if (change->op != EDDY_CDC_DELETE)
		append_columns(state, table, change->values, change->nulls);
	if (change->op != EDDY_CDC_CREATE)
		append_identity(state, table, change);
	eddy_wal2json_append_buffer(out, table->pk);
	eddy_cdc_append_literal(out, "}");
}

/*
 * Appends a column of the row, unless it has no value or, if that is asked for, its value is one
 * that cannot be converted. False if nothing was appended.
 */
static bool
append_column(EddyCdcState *state, EddyW2jColumn *column, const Datum *values, const bool *nulls,
			  bool first)
{
	EddyW2jState *w2j = eddy_wal2json_state(state);
	StringInfo	out = &state->records;
	int			start = out->len;

	if (!eddy_wal2json_has_value(column, values, nulls))
		return false;
	if (!first)
		eddy_cdc_append_literal(out, ",");
	eddy_wal2json_append_buffer(out, column->head);
	if (!w2j->lenient)
		eddy_wal2json_append_value(w2j, out, column, values, nulls);
	else if (!eddy_wal2json_try_value(w2j, out, column, values, nulls))
	{
		out->len = start;
		return false;
	}
	return true;
}

static void
append_columns(EddyCdcState *state, EddyW2jTable *table, const Datum *values, const bool *nulls)
{
	StringInfo	out = &state->records;
	bool		first = true;

	eddy_cdc_append_literal(out, ",\"columns\":[");
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (!append_column(state, &table->columns[i], values, nulls, first))
			continue;
		eddy_wal2json_append_buffer(out, table->columns[i].tail);
		first = false;
	}
	eddy_cdc_append_literal(out, "]");
}

/* The columns that identify the row, with the values before the change. */
static void
append_identity(EddyCdcState *state, EddyW2jTable *table, const EddyCdcChange *change)
{
	StringInfo	out = &state->records;
	const Datum *values = change->old_values != NULL ? change->old_values : change->values;
	const bool *nulls = change->old_values != NULL ? change->old_nulls : change->nulls;
	bool		full = table->full_identity && (change->old_values != NULL ||
												(change->op == EDDY_CDC_DELETE && change->whole));
	bool		first = true;

	eddy_cdc_append_literal(out, ",\"identity\":[");
	for (int i = 0; i < table->ncolumns; i++)
	{
		if ((!full && !table->columns[i].is_key) ||
			!append_column(state, &table->columns[i], values, nulls, first))
			continue;
		eddy_cdc_append_literal(out, "}");
		first = false;
	}
	eddy_cdc_append_literal(out, "]");
}

static void
append_truncate(EddyCdcState *state, EddyW2jTable *table)
{
	append_head(state, 'T');
	eddy_wal2json_append_buffer(&state->records, table->name);
	eddy_cdc_append_literal(&state->records, "}");
}

static void
append_message(EddyCdcState *state, bool transactional, const char *prefix, const char *content,
			   Size size)
{
	EddyW2jState *w2j = eddy_wal2json_state(state);
	StringInfo	out = &state->records;

	if (!transactional)
	{
		/* outside of a transaction there is nothing that these fields could contain */
		resetStringInfo(&w2j->header);
		if (w2j->options.include_xids)
			appendStringInfoString(&w2j->header, ",\"xid\":null");
		if (w2j->options.include_timestamp)
			appendStringInfoString(&w2j->header, ",\"timestamp\":null");
		if (w2j->options.include_origin)
			appendStringInfoString(&w2j->header, ",\"origin\":null");
	}
	append_head(state, 'M');
	if (transactional)
		eddy_cdc_append_literal(out, ",\"transactional\":true,\"prefix\":");
	else
		eddy_cdc_append_literal(out, ",\"transactional\":false,\"prefix\":");
	eddy_cdc_append_string(out, prefix, strlen(prefix));
	eddy_cdc_append_literal(out, ",\"content\":");
	eddy_cdc_append_string(out, content, size);
	eddy_cdc_append_literal(out, "}");
}

const EddyW2jVersion eddy_wal2json_version2 = {
	.begin = append_begin,
	.end = append_end,
	.change = append_change,
	.truncate = append_truncate,
	.message = append_message
};

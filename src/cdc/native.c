/*-------------------------------------------------------------------------
 *
 * native.c
 *    Format "native": one JSON object per change.
 *
 * docs/output-protocol.md is the specification. Each record is complete in
 * itself: there are none for the begin and the commit, each carries the commit's
 * position, transaction and time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "cdc/format.h"

/* The end of the transaction's records, in which only the sequence number differs. */
typedef struct Native
{
	StringInfoData tail;
	int			seq_at;			/* where in it the sequence number belongs */
} Native;

static void append_field(EddyCdcState *state, EddyCdcColumn *column, bool *first,
						 const Datum *values, const bool *nulls);
static void append_row(EddyCdcState *state, EddyCdcRelation *relation, const Datum *values,
					   const bool *nulls);
static void append_tail(EddyCdcState *state);
static void append_time(StringInfo out, TimestampTz time);

static void
start_native(EddyCdcState *state)
{
	Native	   *native = palloc(sizeof(Native));

	initStringInfo(&native->tail);
	state->format_state = native;
}

static void
begin_native(EddyCdcState *state, ReorderBufferTXN *txn)
{
	Native	   *native = state->format_state;
	EddyCdcOptions *options = &state->options;
	StringInfo	tail = &native->tail;

	resetStringInfo(tail);
	if (options->include_lsn)
		appendStringInfo(tail, ",\"lsn\":\"%X/%X\"", LSN_FORMAT_ARGS(txn->final_lsn));
	native->seq_at = tail->len;
	if (options->include_xid)
		appendStringInfo(tail, ",\"xid\":%u", txn->xid);
	if (options->include_timestamp)
		append_time(tail, txn->xact_time.commit_time);
	eddy_cdc_append_literal(tail, "}");
}

static void
append_change(EddyCdcState *state, const EddyCdcChange *change)
{
	static const char ops[] = {
		[EDDY_CDC_CREATE] = 'c', [EDDY_CDC_UPDATE] = 'u', [EDDY_CDC_DELETE] = 'd'
	};
	EddyCdcRelation *relation = change->relation;
	StringInfo	out = &state->records;
	bool		first = true;

	for (int i = 0; i < relation->nstored; i++)
		relation->columns[i].text_row = NULL;

	eddy_cdc_append_literal(out, "{\"op\":\"");
	eddy_cdc_append_bytes(out, &ops[change->op], 1);
	eddy_cdc_append_literal(out, "\",\"view\":");
	eddy_cdc_append_bytes(out, relation->name, relation->name_len);
	eddy_cdc_append_literal(out, ",\"key\":{");
	for (int i = 0; i < relation->nkeys; i++)
		append_field(state, relation->keys[i], &first, change->values, change->nulls);
	eddy_cdc_append_literal(out, "}");

	if (change->op != EDDY_CDC_DELETE)
	{
		eddy_cdc_append_literal(out, ",\"after\":");
		append_row(state, relation, change->values, change->nulls);
	}
	if (state->options.include_before)
	{
		if (change->op == EDDY_CDC_DELETE && change->whole)
		{
			eddy_cdc_append_literal(out, ",\"before\":");
			append_row(state, relation, change->values, change->nulls);
		}
		else if (change->op == EDDY_CDC_UPDATE && change->old_values != NULL)
		{
			eddy_cdc_append_literal(out, ",\"before\":");
			append_row(state, relation, change->old_values, change->old_nulls);
		}
	}
	append_tail(state);
}

static void
append_failed(EddyCdcState *state, const EddyCdcChange *change, const ErrorData *error,
			  bool with_key)
{
	EddyCdcRelation *relation = change->relation;
	StringInfo	out = &state->records;
	const char *sqlstate = unpack_sql_state(error->sqlerrcode);
	bool		first = true;

	for (int i = 0; i < relation->nstored; i++)
		relation->columns[i].text_row = NULL;

	eddy_cdc_append_literal(out, "{\"op\":\"e\",\"view\":");
	eddy_cdc_append_bytes(out, relation->name, relation->name_len);
	if (with_key)
	{
		eddy_cdc_append_literal(out, ",\"key\":{");
		for (int i = 0; i < relation->nkeys; i++)
			append_field(state, relation->keys[i], &first, change->values, change->nulls);
		eddy_cdc_append_literal(out, "}");
	}
	eddy_cdc_append_literal(out, ",\"sqlstate\":\"");
	eddy_cdc_append_bytes(out, sqlstate, strlen(sqlstate));
	eddy_cdc_append_literal(out, "\",\"error\":");
	eddy_cdc_append_string(out, error->message, strlen(error->message));
	append_tail(state);
}

/* Appends the record of a transaction that changed no row, with option skip-empty-xacts off. */
static void
append_empty(EddyCdcState *state)
{
	eddy_cdc_append_literal(&state->records, "{\"op\":\"x\"");
	append_tail(state);
}

/* Appends the columns of the view as an object. */
static void
append_row(EddyCdcState *state, EddyCdcRelation *relation, const Datum *values, const bool *nulls)
{
	bool		first = true;

	eddy_cdc_append_literal(&state->records, "{");
	for (int i = 0; i < relation->ncolumns; i++)
		append_field(state, &relation->columns[i], &first, values, nulls);
	eddy_cdc_append_literal(&state->records, "}");
}

/*
 * Appends one field. An out-of-line value that the WAL record does not hold, as the update did not
 * change it and the old row is not available, is left out.
 */
static void
append_field(EddyCdcState *state, EddyCdcColumn *column, bool *first, const Datum *values,
			 const bool *nulls)
{
	StringInfo	out = &state->records;
	Datum		value = values[column->index];
	bool		null = nulls[column->index];

	if (!null && column->type.len == -1 && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value)))
		return;

	if (*first)
		*first = false;
	else
		eddy_cdc_append_literal(out, ",");
	eddy_cdc_append_bytes(out, column->name, column->name_len);

	if (null)
		eddy_cdc_append_literal(out, "null");
	else if (column->text_row == values)
	{
		/* the source moves if the buffer grows: make room before taking its address */
		eddy_cdc_enlarge(out, column->text_len);
		eddy_cdc_append_bytes(out, out->data + column->text_start, column->text_len);
	}
	else
	{
		column->text_start = out->len;
		eddy_cdc_append_value(out, &column->type, value);
		column->text_len = out->len - column->text_start;
		column->text_row = values;
	}
}

/* Ends a record. */
static void
append_tail(EddyCdcState *state)
{
	Native	   *native = state->format_state;
	StringInfo	tail = &native->tail;

	eddy_cdc_append_bytes(&state->records, tail->data, native->seq_at);
	if (state->options.include_seq)
	{
		eddy_cdc_append_literal(&state->records, ",\"seq\":");
		eddy_cdc_append_int64(&state->records, state->seq);
	}
	eddy_cdc_append_bytes(&state->records, tail->data + native->seq_at,
						  tail->len - native->seq_at);
}

/* Appends the commit time in UTC, always with six digits of the second. */
static void
append_time(StringInfo out, TimestampTz time)
{
	char		buf[MAXDATELEN + 1];
	int			utc = 0;
	int64		fraction = time % USECS_PER_SEC;

	if (fraction < 0)
		fraction += USECS_PER_SEC;
	JsonEncodeDateTime(buf, TimestampTzGetDatum(time - fraction), TIMESTAMPTZOID, &utc);
	*strchr(buf, '+') = '\0';
	appendStringInfo(out, ",\"ts\":\"%s.%06d+00:00\"", buf, (int) fraction);
}

const EddyCdcFormat eddy_cdc_native_format = {
	.startup = start_native,
	.begin = begin_native,
	.change = append_change,
	.empty = append_empty,
	.failed = append_failed
};

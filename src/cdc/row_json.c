/*-------------------------------------------------------------------------
 *
 * row_json.c
 *    Rows and keys of a view as JSON objects, and the fields that end a record.
 *
 * What the formats have in common. The text of a value is copied within the record if the value
 * occurs in it again, as keys do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "cdc/row_json.h"

/* The end of the records of a transaction. */
typedef struct Tail
{
	StringInfoData text;
	int			seq_at;			/* where in it the sequence number belongs */
} Tail;

static void append_field(EddyCdcState *state, EddyCdcColumn *column, bool *first,
						 const Datum *values, const bool *nulls);

/* Forgets the texts of the previous record. */
void
eddy_cdc_start_record(EddyCdcRelation *relation)
{
	for (int i = 0; i < relation->nstored; i++)
		relation->columns[i].text_row = NULL;
}

/* Appends the columns that identify the row as an object. */
void
eddy_cdc_append_key(EddyCdcState *state, EddyCdcRelation *relation, const Datum *values,
					const bool *nulls)
{
	bool		first = true;

	eddy_cdc_append_literal(&state->records, "{");
	for (int i = 0; i < relation->nkeys; i++)
		append_field(state, relation->keys[i], &first, values, nulls);
	eddy_cdc_append_literal(&state->records, "}");
}

/* Appends the columns of the view as an object. */
void
eddy_cdc_append_row(EddyCdcState *state, EddyCdcRelation *relation, const Datum *values,
					const bool *nulls)
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

/* Appends the fields that each format has after those of the row. */
void
eddy_cdc_append_marks(EddyCdcState *state, const EddyCdcChange *change)
{
	StringInfo	out = &state->records;

	if (change->final)
		eddy_cdc_append_literal(out, ",\"final\":true");
	if (change->correction)
		eddy_cdc_append_literal(out, ",\"correction\":true");
	if (state->options.include_types)
	{
		eddy_cdc_append_literal(out, ",\"types\":");
		eddy_cdc_append_bytes(out, change->relation->types, change->relation->types_len);
	}
}

void
eddy_cdc_append_error(StringInfo out, const ErrorData *error)
{
	const char *sqlstate = unpack_sql_state(error->sqlerrcode);

	eddy_cdc_append_literal(out, ",\"sqlstate\":\"");
	eddy_cdc_append_bytes(out, sqlstate, strlen(sqlstate));
	eddy_cdc_append_literal(out, "\",\"error\":");
	eddy_cdc_append_string(out, error->message, strlen(error->message));
}

/* ---- the end of a record ---- */

void
eddy_cdc_start_tail(EddyCdcState *state)
{
	Tail	   *tail = palloc(sizeof(Tail));

	initStringInfo(&tail->text);
	state->format_state = tail;
}

/* Prepares the end of the records of a transaction. */
void
eddy_cdc_begin_tail(EddyCdcState *state, ReorderBufferTXN *txn)
{
	Tail	   *tail = state->format_state;
	EddyCdcOptions *options = &state->options;
	StringInfo	text = &tail->text;

	resetStringInfo(text);
	/* the position of the commit is not known while the transaction is in progress */
	if (options->include_lsn && !state->in_progress)
		appendStringInfo(text, ",\"lsn\":\"%X/%X\"", LSN_FORMAT_ARGS(txn->final_lsn));
	tail->seq_at = text->len;
	if (options->include_xid || options->streaming)
		appendStringInfo(text, ",\"xid\":%u", txn->xid);
	if (state->gid != NULL)
	{
		eddy_cdc_append_literal(text, ",\"gid\":");
		eddy_cdc_append_string(text, state->gid, strlen(state->gid));
	}
	if (options->include_timestamp && !state->in_progress)
	{
		eddy_cdc_append_literal(text, ",\"ts\":");
		eddy_cdc_append_time(text, txn->xact_time.commit_time);
	}
	eddy_cdc_append_literal(text, "}");
}

/* Ends a record. */
void
eddy_cdc_append_tail(EddyCdcState *state, bool with_seq)
{
	const Tail *tail = state->format_state;

	eddy_cdc_append_bytes(&state->records, tail->text.data, tail->seq_at);
	if (with_seq && state->options.include_seq)
	{
		eddy_cdc_append_literal(&state->records, ",\"seq\":");
		eddy_cdc_append_int64(&state->records, state->seq);
	}
	if (state->in_progress && state->subxid != state->txn->xid)
	{
		eddy_cdc_append_literal(&state->records, ",\"subxid\":");
		eddy_cdc_append_int64(&state->records, state->subxid);
	}
	eddy_cdc_append_bytes(&state->records, tail->text.data + tail->seq_at,
						  tail->text.len - tail->seq_at);
}

/* Appends a time in UTC as a string, always with six digits of the second. */
void
eddy_cdc_append_time(StringInfo out, TimestampTz time)
{
	char		buf[MAXDATELEN + 1];
	int			utc = 0;
	int64		fraction = time % USECS_PER_SEC;

	if (fraction < 0)
		fraction += USECS_PER_SEC;
	JsonEncodeDateTime(buf, TimestampTzGetDatum(time - fraction), TIMESTAMPTZOID, &utc);
	*strchr(buf, '+') = '\0';
	appendStringInfo(out, "\"%s.%06d+00:00\"", buf, (int) fraction);
}

void
eddy_cdc_append_closed(StringInfo out, TimestampTz closed_until)
{
	char		buf[MAXDATELEN + 1];
	int			utc = 0;

	eddy_cdc_append_literal(out, "\"closed_until\":");
	if (TIMESTAMP_IS_NOBEGIN(closed_until))
		eddy_cdc_append_literal(out, "null");
	else
	{
		JsonEncodeDateTime(buf, TimestampTzGetDatum(closed_until), TIMESTAMPTZOID, &utc);
		eddy_cdc_append_string(out, buf, strlen(buf));
	}
}

/*-------------------------------------------------------------------------
 *
 * value_text.c
 *    Values as wal2json writes them.
 *
 * The type of the column decides, for domains the domain itself: numbers and booleans are written
 * as such, all others as strings with the result of the type's output function, under the session's
 * settings. NaN and infinities are null. bytea is hexadecimal without prefix.
 *
 * Memory: temporary allocations are in the current context, which is reset after each change.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "wal2json/w2j.h"

/*
 * Room that is left for the fixed texts of a record when values are left out because of its size.
 */
#define RESERVE (16 * 1024 * 1024)

typedef struct Attempt
{
	EddyW2jState *state;
	StringInfo	out;
	EddyW2jColumn *column;
	const Datum *values;
	const bool *nulls;
} Attempt;

static void append_bytea(StringInfo out, Datum value);
static void append_number(EddyW2jState *state, StringInfo out, const char *text, int len);
static void attempt_value(void *arg);

/*
 * False for an out-of-line value that the WAL record does not hold, as the update did not change it
 * and the old row is not available.
 */
bool
eddy_wal2json_has_value(const EddyW2jColumn *column, const Datum *values, const bool *nulls)
{
	int			at = column->cdc->index;

	return nulls[at] || column->cdc->type.len != -1 ||
		!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(values[at]));
}

/* Appends the value of a column, or null. */
void
eddy_wal2json_append_value(EddyW2jState *state, StringInfo out, EddyW2jColumn *column,
						   const Datum *values, const bool *nulls)
{
	Datum		value = values[column->cdc->index];
	char		buf[MAXINT8LEN + 1];
	char	   *text;

	if (nulls[column->cdc->index])
	{
		eddy_cdc_append_literal(out, "null");
		return;
	}
	switch (column->kind)
	{
		case EDDY_W2J_BOOL:
			if (DatumGetBool(value))
				eddy_cdc_append_literal(out, "true");
			else
				eddy_cdc_append_literal(out, "false");
			break;
		case EDDY_W2J_INT2:
			append_number(state, out, buf, pg_itoa(DatumGetInt16(value), buf));
			break;
		case EDDY_W2J_INT4:
			append_number(state, out, buf, pg_ltoa(DatumGetInt32(value), buf));
			break;
		case EDDY_W2J_INT8:
			append_number(state, out, buf, pg_lltoa(DatumGetInt64(value), buf));
			break;
		case EDDY_W2J_NUMBER:
			text = OutputFunctionCall(&column->output, value);
			append_number(state, out, text, strlen(text));
			break;
		case EDDY_W2J_TEXT:
			{
				struct varlena *string = PG_DETOAST_DATUM_PACKED(value);

				eddy_cdc_append_string(out, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
				break;
			}
		case EDDY_W2J_BYTEA:
			append_bytea(out, value);
			break;
		case EDDY_W2J_STRING:
			text = OutputFunctionCall(&column->output, value);
			eddy_cdc_append_string(out, text, strlen(text));
			break;
	}
}

/*
 * As eddy_wal2json_append_value, but if the value raises an error or leaves no room for the rest of
 * the record, nothing is appended and the result is false.
 */
bool
eddy_wal2json_try_value(EddyW2jState *state, StringInfo out, EddyW2jColumn *column,
						const Datum *values, const bool *nulls)
{
	Attempt		attempt = {
		.state = state, .out = out, .column = column, .values = values, .nulls = nulls
	};
	int			start = out->len;
	ErrorData  *error = eddy_cdc_attempt(attempt_value, &attempt);

	if (error == NULL)
		return true;
	out->len = start;
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("a value of column %.*s is not sent", column->name.len, column->name.data),
			 errdetail("%s.", error->message)));
	return false;
}

static void
attempt_value(void *arg)
{
	Attempt    *attempt = arg;

	eddy_wal2json_append_value(attempt->state, attempt->out, attempt->column, attempt->values,
							   attempt->nulls);
	eddy_cdc_enlarge(attempt->out, RESERVE);
}

/* Appends the text of a number; JSON has no NaN and no infinities. */
static void
append_number(EddyW2jState *state, StringInfo out, const char *text, int len)
{
	char		first = text[0] == '-' ? text[1] : text[0];

	if (state->options.numeric_as_string)
		eddy_cdc_append_string(out, text, len);
	else if (likely(first >= '0' && first <= '9'))
		eddy_cdc_append_bytes(out, text, len);
	else
		eddy_cdc_append_literal(out, "null");
}

/* wal2json removes the first two characters of the text, which are \x with the default settings. */
static void
append_bytea(StringInfo out, Datum value)
{
	struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);
	Size		len = VARSIZE_ANY_EXHDR(bytes);

	/* twice the length is below 2 GB, as the length is below 1 GB */
	eddy_cdc_append_literal(out, "\"");
	eddy_cdc_enlarge(out, 2 * len);
	out->len += hex_encode(VARDATA_ANY(bytes), len, out->data + out->len);
	eddy_cdc_append_literal(out, "\"");
}

/*-------------------------------------------------------------------------
 *
 * changeset.c
 *    Format version 1: one JSON object for each transaction, with an array of its changes.
 *
 * With option write-in-chunks, the begin of the object, each change and the end are messages of
 * their own. Option pretty-print adds line ends and indentation. TRUNCATE is not part of this
 * version.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "wal2json/w2j.h"

/* Appends one of two literals, by option pretty-print. */
#define APPEND(out, pretty, pretty_text, text) \
	do { \
		if (pretty) \
			eddy_cdc_append_literal(out, pretty_text); \
		else \
			eddy_cdc_append_literal(out, text); \
	} while (0)

static void append_array(StringInfo out, bool pretty, EddyW2jTable *table, const bool *present,
						 bool of_key, const char *name, size_t field);
static void append_arrays(EddyCdcState *state, EddyW2jTable *table, const bool *present, bool of_key);
static void append_begin(EddyCdcState *state);
static void append_change(EddyCdcState *state, EddyW2jTable *table, const EddyCdcChange *change);
static void append_end(EddyCdcState *state);
static void append_message(EddyCdcState *state, bool transactional, const char *prefix,
						   const char *content, Size size);
static void append_open(EddyCdcState *state);
static void append_values(EddyW2jState *w2j, StringInfo out, EddyW2jTable *table,
						  const Datum *values, const bool *nulls, const bool *present);
static int	collect_values(EddyW2jState *w2j, StringInfo out, EddyW2jTable *table,
						   const Datum *values, const bool *nulls, bool *present);

static void
append_begin(EddyCdcState *state)
{
	EddyW2jState *w2j = eddy_wal2json_state(state);
	EddyW2jOptions *options = &w2j->options;
	bool		pretty = options->pretty_print;
	StringInfo	out = &state->records;

	w2j->nchanges = 0;
	APPEND(out, pretty, "{\n", "{");
	if (w2j->txn != NULL)
	{
		if (options->include_xids)
			appendStringInfo(out, pretty ? "\t\"xid\": %u,\n" : "\"xid\":%u,", w2j->txn->xid);
		if (options->include_lsn)
			appendStringInfo(out, pretty ? "\t\"nextlsn\": \"%X/%X\",\n" : "\"nextlsn\":\"%X/%X\",",
							 LSN_FORMAT_ARGS(w2j->txn->end_lsn));
		if (options->include_timestamp)
			appendStringInfo(out, pretty ? "\t\"timestamp\": \"%s\",\n" : "\"timestamp\":\"%s\",",
							 timestamptz_to_str(w2j->txn->xact_time.commit_time));
		if (options->include_origin)
			appendStringInfo(out, pretty ? "\t\"origin\": %u,\n" : "\"origin\":%u,",
							 w2j->txn->origin_id);
	}
	APPEND(out, pretty, "\t\"change\": [", "\"change\":[");
}

static void
append_end(EddyCdcState *state)
{
	EddyW2jOptions *options = &eddy_wal2json_state(state)->options;

	/* a message of its own has no line end at its begin */
	if (options->pretty_print && !options->write_in_chunks)
		eddy_cdc_append_literal(&state->records, "\n");
	APPEND(&state->records, options->pretty_print, "\t]\n}", "]}");
}

/* The begin of an element of the array of changes. */
static void
append_open(EddyCdcState *state)
{
	EddyW2jState *w2j = eddy_wal2json_state(state);
	bool		pretty = w2j->options.pretty_print;
	StringInfo	out = &state->records;

	if (pretty && !(w2j->options.write_in_chunks && w2j->txn != NULL))
		eddy_cdc_append_literal(out, "\n");
	if (pretty)
		eddy_cdc_append_literal(out, "\t\t");
	if (w2j->nchanges++ > 0)
		eddy_cdc_append_literal(out, ",");
	APPEND(out, pretty, "{\n\t\t\t\"kind\": ", "{\"kind\":");
}

static void
append_change(EddyCdcState *state, EddyW2jTable *table, const EddyCdcChange *change)
{
	static const char *const kinds[] = {
		[EDDY_CDC_CREATE] = "\"insert\"", [EDDY_CDC_UPDATE] = "\"update\"",
		[EDDY_CDC_DELETE] = "\"delete\""
	};
	EddyW2jState *w2j = eddy_wal2json_state(state);
	bool		pretty = w2j->options.pretty_print;
	StringInfo	out = &state->records;
	const Datum *old_values = change->old_values != NULL ? change->old_values : change->values;
	const bool *old_nulls = change->old_values != NULL ? change->old_nulls : change->nulls;
	bool		whole = change->old_values != NULL ||
		(change->op == EDDY_CDC_DELETE && change->whole);
	bool		full = table->full_identity && whole;
	bool	   *present = palloc0(sizeof(bool) * Max(table->ncolumns, 1));
	bool	   *old_present = palloc0(sizeof(bool) * Max(table->ncolumns, 1));
	bool		complete = true;
	bool		old_complete = true;
	StringInfoData scratch;
	int			split = 0;

	/*
	 * Names and types precede the values, so that the columns with a value must be known first. In
	 * an identity of all columns, NULL is left out.
	 */
	for (int i = 0; i < table->ncolumns; i++)
	{
		EddyW2jColumn *column = &table->columns[i];

		present[i] = eddy_wal2json_has_value(column, change->values, change->nulls);
		complete &= present[i];
		old_present[i] = (full ? !old_nulls[column->cdc->index] : column->is_key) &&
			eddy_wal2json_has_value(column, old_values, old_nulls);
		old_complete &= old_present[i] == column->is_key;
	}
	if (w2j->lenient)
	{
		initStringInfo(&scratch);
		complete = old_complete = false;
		if (change->op != EDDY_CDC_DELETE)
			split = collect_values(w2j, &scratch, table, change->values, change->nulls, present);
		if (change->op != EDDY_CDC_CREATE)
			collect_values(w2j, &scratch, table, old_values, old_nulls, old_present);
	}

	append_open(state);
	eddy_cdc_append_bytes(out, kinds[change->op], strlen(kinds[change->op]));
	eddy_wal2json_append_buffer(out, table->name);
	if (change->op != EDDY_CDC_DELETE)
	{
		APPEND(out, pretty, ",\n", ",");
		if (complete)
			eddy_wal2json_append_buffer(out, table->arrays);
		else
			append_arrays(state, table, present, false);
		APPEND(out, pretty, "\t\t\t\"columnvalues\": [", "\"columnvalues\":[");
		if (w2j->lenient)
			eddy_cdc_append_bytes(out, scratch.data, split);
		else
			append_values(w2j, out, table, change->values, change->nulls, present);
		eddy_cdc_append_literal(out, "]");
	}
	eddy_wal2json_append_buffer(out, table->pk);
	if (change->op != EDDY_CDC_CREATE)
	{
		APPEND(out, pretty, ",\n\t\t\t\"oldkeys\": {\n", ",\"oldkeys\":{");
		if (old_complete)
			eddy_wal2json_append_buffer(out, table->key_arrays);
		else
			append_arrays(state, table, old_present, true);
		APPEND(out, pretty, "\t\t\t\t\"keyvalues\": [", "\"keyvalues\":[");
		if (w2j->lenient)
			eddy_cdc_append_bytes(out, scratch.data + split, scratch.len - split);
		else
			append_values(w2j, out, table, old_values, old_nulls, old_present);
		APPEND(out, pretty, "]\n\t\t\t}", "]}");
	}
	APPEND(out, pretty, "\n\t\t}", "}");
}

/* The values of some columns, as elements of an array. */
static void
append_values(EddyW2jState *w2j, StringInfo out, EddyW2jTable *table, const Datum *values,
			  const bool *nulls, const bool *present)
{
	bool		first = true;

	for (int i = 0; i < table->ncolumns; i++)
	{
		if (!present[i])
			continue;
		if (!first)
			APPEND(out, w2j->options.pretty_print, ", ", ",");
		eddy_wal2json_append_value(w2j, out, &table->columns[i], values, nulls);
		first = false;
	}
}

/*
 * As append_values, but values that raise errors or do not fit are left out, and no longer marked
 * as present. Returns the length of the text.
 */
static int
collect_values(EddyW2jState *w2j, StringInfo out, EddyW2jTable *table, const Datum *values,
			   const bool *nulls, bool *present)
{
	int			begin = out->len;

	for (int i = 0; i < table->ncolumns; i++)
	{
		int			start = out->len;

		if (!present[i])
			continue;
		if (start > begin)
			APPEND(out, w2j->options.pretty_print, ", ", ",");
		present[i] = eddy_wal2json_try_value(w2j, out, &table->columns[i], values, nulls);
		if (!present[i])
			out->len = start;
	}
	return out->len;
}

/* The arrays up to the values, of some of the columns. */
static void
append_arrays(EddyCdcState *state, EddyW2jTable *table, const bool *present, bool of_key)
{
	EddyW2jOptions *options = &eddy_wal2json_state(state)->options;
	StringInfo	out = &state->records;
	bool		pretty = options->pretty_print;

	append_array(out, pretty, table, present, of_key, of_key ? "keynames" : "columnnames",
				 offsetof(EddyW2jColumn, name));
	if (options->include_types)
		append_array(out, pretty, table, present, of_key, of_key ? "keytypes" : "columntypes",
					 offsetof(EddyW2jColumn, type));
	if (options->include_type_oids)
		append_array(out, pretty, table, present, of_key, of_key ? "keytypeoids" : "columntypeoids",
					 offsetof(EddyW2jColumn, oid));
	if (of_key)
		return;
	if (options->include_column_positions)
		append_array(out, pretty, table, present, of_key, "columnpositions",
					 offsetof(EddyW2jColumn, position));
	if (options->include_not_null)
		append_array(out, pretty, table, present, of_key, "columnoptionals",
					 offsetof(EddyW2jColumn, optional));
	if (options->include_default)
		append_array(out, pretty, table, present, of_key, "columndefaults",
					 offsetof(EddyW2jColumn, default_));
}

static void
append_array(StringInfo out, bool pretty, EddyW2jTable *table, const bool *present, bool of_key,
			 const char *name, size_t field)
{
	bool		first = true;

	if (pretty)
		appendStringInfo(out, "%s\"%s\": [", of_key ? "\t\t\t\t" : "\t\t\t", name);
	else
		appendStringInfo(out, "\"%s\":[", name);
	for (int i = 0; i < table->ncolumns; i++)
	{
		StringInfo	text = (StringInfo) ((char *) &table->columns[i] + field);

		if (!present[i] || text->len == 0)
			continue;
		if (!first)
			APPEND(out, pretty, ", ", ",");
		eddy_cdc_append_bytes(out, text->data, text->len);
		first = false;
	}
	APPEND(out, pretty, "],\n", "],");
}

static void
append_message(EddyCdcState *state, bool transactional, const char *prefix, const char *content,
			   Size size)
{
	bool		pretty = eddy_wal2json_state(state)->options.pretty_print;
	StringInfo	out = &state->records;

	append_open(state);
	eddy_cdc_append_literal(out, "\"message\"");
	APPEND(out, pretty, ",\n\t\t\t\"transactional\": ", ",\"transactional\":");
	APPEND(out, transactional, "true", "false");
	APPEND(out, pretty, ",\n\t\t\t\"prefix\": ", ",\"prefix\":");
	eddy_cdc_append_string(out, prefix, strlen(prefix));
	APPEND(out, pretty, ",\n\t\t\t\"content\": ", ",\"content\":");
	eddy_cdc_append_string(out, content, size);
	APPEND(out, pretty, "\n\t\t}", "}");
}

const EddyW2jVersion eddy_wal2json_version1 = {
	.begin = append_begin,
	.end = append_end,
	.change = append_change,
	.truncate = NULL,
	.message = append_message
};

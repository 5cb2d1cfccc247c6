/*-------------------------------------------------------------------------
 *
 * debezium.c
 *    Format "debezium": the change event envelope of Debezium.
 *
 * A record has the parts of a Kafka record that Debezium would produce: topic, key and value, where
 * the value is the envelope without schema, as with converters whose schemas are disabled. The view
 * takes the place of the table. Values are those of the other formats (json_writer.c).
 * docs/output-protocol.md is the specification, docs/schemas/debezium.json has the schemas.
 *
 * "source" has the same content in all records of a transaction, except the sequence number and
 * the view: its text is prepared when the transaction begins.
 *
 * Progress has the form that Debezium gives to logical decoding messages, which belong to no table
 * either: a topic of their own, operation "m", and content in base64. Logical messages themselves
 * are not sent, so that such a record cannot be forged.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "common/base64.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "cdc/known_views.h"
#include "cdc/row_json.h"

/* Of messages, where those of rows name a view; and Debezium's name for all of them together. */
#define MESSAGE_SOURCE "\"schema\":\"\",\"table\":\"\","
#define MESSAGES "LOGICAL_DECODING_MESSAGE"

/*
 * The first part of the prefix of a message that reports the progress of a view; its name follows.
 */
#define PROGRESS_PREFIX "pg_eddy.progress."

/* Microseconds from the epoch of Unix to that of PostgreSQL. */
#define UNIX_TO_POSTGRES ((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

typedef struct Debezium
{
	/* of the session; JSON strings, made with the first record, in a transaction */
	char	   *database;
	char	   *prefix;			/* of topics, with the opening quote only */

	/* of one transaction */
	StringInfoData source;		/* up to the sequence number */
	StringInfoData initial_source;	/* the same, of initial rows */
	StringInfoData source_end;	/* after the view, to the end of the object */
	StringInfoData times;		/* of the event */
	StringInfoData id;			/* of the transaction */
	int64		transaction;	/* distinguishes transactions */
	int64		nmessages;		/* records of progress */
} Debezium;

/* What records of one view share; in relation->format_data. */
typedef struct DebeziumView
{
	char	   *topic;			/* {"topic":"..." */
	int			topic_len;
	char	   *source;			/* "schema":...,"table":..., */
	int			source_len;
} DebeziumView;

static void append_order(EddyCdcState *state, int64 collection_order);
static void append_source(EddyCdcState *state, const char *view, int view_len, bool initial);
static void append_transaction(EddyCdcState *state, EddyCdcRelation *relation);
static DebeziumView *describe(EddyCdcState *state, EddyCdcRelation *relation);
static char *json_string(MemoryContext context, const char *text);

static void
start_debezium(EddyCdcState *state)
{
	Debezium   *debezium = palloc0(sizeof(Debezium));

	initStringInfo(&debezium->source);
	initStringInfo(&debezium->initial_source);
	initStringInfo(&debezium->source_end);
	initStringInfo(&debezium->times);
	initStringInfo(&debezium->id);
	state->format_state = debezium;
}

/* Prepares the beginning of "source". */
static void
make_source(const Debezium *debezium, StringInfo text, const char *snapshot,
			const ReorderBufferTXN *txn)
{
	int64		committed = txn->xact_time.commit_time + UNIX_TO_POSTGRES;

	resetStringInfo(text);
	appendStringInfo(text,
					 "\"source\":{\"version\":\"" EDDY_VERSION "\",\"connector\":\"pg_eddy\","
					 "\"name\":%s\",\"ts_ms\":" INT64_FORMAT ",\"ts_us\":" INT64_FORMAT
					 ",\"ts_ns\":" INT64_FORMAT "000,\"snapshot\":\"%s\",\"db\":%s,"
					 "\"sequence\":\"[\\\"" UINT64_FORMAT "\\\",\\\"",
					 debezium->prefix, committed / 1000, committed, committed, snapshot,
					 debezium->database, txn->final_lsn);
}

static void
begin_debezium(EddyCdcState *state, ReorderBufferTXN *txn)
{
	Debezium   *debezium = state->format_state;
	int64		now = GetCurrentTimestamp() + UNIX_TO_POSTGRES;

	if (debezium->database == NULL)
	{
		char	   *database = get_database_name(MyDatabaseId);
		const char *prefix = state->options.topic_prefix;

		debezium->database = json_string(state->context, database != NULL ? database : "");
		debezium->prefix = json_string(state->context, prefix != NULL ? prefix :
									   database != NULL ? database : "");
		debezium->prefix[strlen(debezium->prefix) - 1] = '\0';
	}

	debezium->transaction++;
	debezium->nmessages = 0;
	make_source(debezium, &debezium->source, "false", txn);
	make_source(debezium, &debezium->initial_source, "incremental", txn);

	resetStringInfo(&debezium->source_end);
	appendStringInfo(&debezium->source_end, "\"txId\":%u,\"lsn\":" UINT64_FORMAT ",\"xmin\":null}",
					 txn->xid, txn->final_lsn);

	resetStringInfo(&debezium->times);
	appendStringInfo(&debezium->times,
					 "\"ts_ms\":" INT64_FORMAT ",\"ts_us\":" INT64_FORMAT ",\"ts_ns\":"
					 INT64_FORMAT "000", now / 1000, now, now);

	resetStringInfo(&debezium->id);
	appendStringInfo(&debezium->id, "\"id\":\"%u:" UINT64_FORMAT "\"", txn->xid, txn->final_lsn);
}

static void
append_change(EddyCdcState *state, const EddyCdcChange *change)
{
	EddyCdcRelation *relation = change->relation;
	DebeziumView *view = describe(state, relation);
	Debezium   *debezium = state->format_state;
	StringInfo	out = &state->records;
	bool		before = state->options.include_before;

	eddy_cdc_start_record(relation);
	eddy_cdc_append_bytes(out, view->topic, view->topic_len);
	eddy_cdc_append_literal(out, ",\"key\":");
	eddy_cdc_append_key(state, relation, change->values, change->nulls);

	eddy_cdc_append_literal(out, ",\"value\":{\"before\":");
	if (before && change->op == EDDY_CDC_DELETE && change->whole)
		eddy_cdc_append_row(state, relation, change->values, change->nulls);
	else if (before && change->op == EDDY_CDC_UPDATE && change->old_values != NULL)
		eddy_cdc_append_row(state, relation, change->old_values, change->old_nulls);
	else
		eddy_cdc_append_literal(out, "null");
	eddy_cdc_append_literal(out, ",\"after\":");
	if (change->op != EDDY_CDC_DELETE)
		eddy_cdc_append_row(state, relation, change->values, change->nulls);
	else
		eddy_cdc_append_literal(out, "null");

	append_source(state, view->source, view->source_len, change->initial);
	switch (change->op)
	{
		case EDDY_CDC_CREATE:
			if (change->initial)
				eddy_cdc_append_literal(out, ",\"op\":\"r\",");
			else
				eddy_cdc_append_literal(out, ",\"op\":\"c\",");
			break;
		case EDDY_CDC_UPDATE:
			eddy_cdc_append_literal(out, ",\"op\":\"u\",");
			break;
		case EDDY_CDC_DELETE:
			eddy_cdc_append_literal(out, ",\"op\":\"d\",");
			break;
	}
	eddy_cdc_append_bytes(out, debezium->times.data, debezium->times.len);
	append_transaction(state, relation);
	eddy_cdc_append_marks(state, change);
	eddy_cdc_append_literal(out, "}}");
}

/* Appends the record with which a compacted topic forgets the key. */
static void
append_tombstone(EddyCdcState *state, const EddyCdcChange *change)
{
	EddyCdcRelation *relation = change->relation;
	DebeziumView *view = describe(state, relation);

	eddy_cdc_start_record(relation);
	eddy_cdc_append_bytes(&state->records, view->topic, view->topic_len);
	eddy_cdc_append_literal(&state->records, ",\"key\":");
	eddy_cdc_append_key(state, relation, change->values, change->nulls);
	eddy_cdc_append_literal(&state->records, ",\"value\":null}");
}

/* Appends an envelope without a row, and the error. */
static void
append_failed(EddyCdcState *state, const EddyCdcChange *change, const ErrorData *error,
			  bool with_key)
{
	EddyCdcRelation *relation = change->relation;
	DebeziumView *view = describe(state, relation);
	Debezium   *debezium = state->format_state;
	StringInfo	out = &state->records;

	eddy_cdc_start_record(relation);
	eddy_cdc_append_bytes(out, view->topic, view->topic_len);
	eddy_cdc_append_literal(out, ",\"key\":");
	if (with_key)
		eddy_cdc_append_key(state, relation, change->values, change->nulls);
	else
		eddy_cdc_append_literal(out, "null");
	eddy_cdc_append_literal(out, ",\"value\":{\"before\":null,\"after\":null");
	append_source(state, view->source, view->source_len, false);
	eddy_cdc_append_literal(out, ",\"op\":\"e\"");
	eddy_cdc_append_error(out, error);
	eddy_cdc_append_literal(out, ",");
	eddy_cdc_append_bytes(out, debezium->times.data, debezium->times.len);
	append_transaction(state, relation);
	eddy_cdc_append_literal(out, "}}");
}

static void
append_truncate(EddyCdcState *state, EddyCdcRelation *relation)
{
	DebeziumView *view = describe(state, relation);
	Debezium   *debezium = state->format_state;
	StringInfo	out = &state->records;

	eddy_cdc_append_bytes(out, view->topic, view->topic_len);
	eddy_cdc_append_literal(out, ",\"key\":null,\"value\":{\"before\":null,\"after\":null");
	append_source(state, view->source, view->source_len, false);
	eddy_cdc_append_literal(out, ",\"op\":\"t\",");
	eddy_cdc_append_bytes(out, debezium->times.data, debezium->times.len);
	append_transaction(state, relation);
	eddy_cdc_append_literal(out, "}}");
}

/* Appends progress: a message with the key {"prefix":...}, which differs from view to view. */
static void
append_progress(EddyCdcState *state, const EddyCdcView *view, TimestampTz closed_until)
{
	Debezium   *debezium = state->format_state;
	StringInfo	out = &state->records;
	StringInfoData content;
	int			room;

	initStringInfo(&content);
	eddy_cdc_append_literal(&content, "{\"view\":");
	eddy_cdc_append_bytes(&content, view->name, view->name_len);
	eddy_cdc_append_literal(&content, ",");
	eddy_cdc_append_closed(&content, closed_until);
	eddy_cdc_append_literal(&content, "}");

	/* the name without its opening quote continues the prefix */
	appendStringInfo(out, "{\"topic\":%s.message\",\"key\":{\"prefix\":\"" PROGRESS_PREFIX,
					 debezium->prefix);
	eddy_cdc_append_bytes(out, view->name + 1, view->name_len - 1);
	eddy_cdc_append_literal(out, "},\"value\":{\"op\":\"m\",");
	eddy_cdc_append_bytes(out, debezium->times.data, debezium->times.len);
	append_source(state, MESSAGE_SOURCE, strlen(MESSAGE_SOURCE), false);
	eddy_cdc_append_literal(out, ",\"message\":{\"prefix\":\"" PROGRESS_PREFIX);
	eddy_cdc_append_bytes(out, view->name + 1, view->name_len - 1);
	eddy_cdc_append_literal(out, ",\"content\":\"");
	room = pg_b64_enc_len(content.len);
	eddy_cdc_enlarge(out, room);
	/* the type of the first argument depends on the version */
	out->len += pg_b64_encode((const void *) content.data, content.len, out->data + out->len, room);
	eddy_cdc_append_literal(out, "\"}");
	append_order(state, ++debezium->nmessages);
	eddy_cdc_append_literal(out, "}}");
	pfree(content.data);
}

/* Appends the record of a transaction that changed no row: a heartbeat. */
static void
append_empty(EddyCdcState *state)
{
	Debezium   *debezium = state->format_state;
	StringInfo	out = &state->records;

	appendStringInfo(out, "{\"topic\":\"__debezium-heartbeat.%s\",\"key\":{\"serverName\":%s\"},"
					 "\"value\":{", debezium->prefix + 1, debezium->prefix);
	eddy_cdc_append_bytes(out, debezium->times.data, debezium->times.len);
	eddy_cdc_append_literal(out, "}}");
}

static void
append_boundary(EddyCdcState *state, const char *status)
{
	Debezium   *debezium = state->format_state;

	appendStringInfo(&state->records,
					 "{\"topic\":%s.transaction\",\"key\":{%s},\"value\":{\"status\":\"%s\",%s,",
					 debezium->prefix, debezium->id.data, status, debezium->id.data);
}

static void
append_begin(EddyCdcState *state)
{
	Debezium   *debezium = state->format_state;
	StringInfo	out = &state->records;

	append_boundary(state, "BEGIN");
	eddy_cdc_append_literal(out, "\"event_count\":null,\"data_collections\":null,");
	eddy_cdc_append_bytes(out, debezium->times.data, debezium->times.len);
	eddy_cdc_append_literal(out, "}}");
}

static void
append_end(EddyCdcState *state)
{
	Debezium   *debezium = state->format_state;
	StringInfo	out = &state->records;
	EddyCdcView *view;
	bool		first = true;

	append_boundary(state, "END");
	eddy_cdc_append_literal(out, "\"event_count\":");
	eddy_cdc_append_int64(out, state->nrecords);
	eddy_cdc_append_literal(out, ",\"data_collections\":[");
	for (int i = 0; (view = eddy_cdc_nth_view(state, i)) != NULL; i++)
	{
		if (view->counted_in != debezium->transaction)
			continue;
		if (!first)
			eddy_cdc_append_literal(out, ",");
		first = false;
		eddy_cdc_append_literal(out, "{\"data_collection\":");
		eddy_cdc_append_bytes(out, view->plain_name, view->plain_name_len);
		eddy_cdc_append_literal(out, ",\"event_count\":");
		eddy_cdc_append_int64(out, view->count);
		eddy_cdc_append_literal(out, "}");
	}
	if (debezium->nmessages > 0)
	{
		if (!first)
			eddy_cdc_append_literal(out, ",");
		eddy_cdc_append_literal(out, "{\"data_collection\":\"" MESSAGES "\",\"event_count\":");
		eddy_cdc_append_int64(out, debezium->nmessages);
		eddy_cdc_append_literal(out, "}");
	}
	eddy_cdc_append_literal(out, "],");
	eddy_cdc_append_bytes(out, debezium->times.data, debezium->times.len);
	eddy_cdc_append_literal(out, "}}");
}

/* view: the fields that name it. */
static void
append_source(EddyCdcState *state, const char *view, int view_len, bool initial)
{
	Debezium   *debezium = state->format_state;
	const StringInfoData *source = initial ? &debezium->initial_source : &debezium->source;
	StringInfo	out = &state->records;

	eddy_cdc_append_literal(out, ",");
	eddy_cdc_append_bytes(out, source->data, source->len);
	eddy_cdc_append_int64(out, state->seq);
	eddy_cdc_append_literal(out, "\\\"]\",");
	eddy_cdc_append_bytes(out, view, view_len);
	eddy_cdc_append_bytes(out, debezium->source_end.data, debezium->source_end.len);
}

/* Appends the place of the event of a view in its transaction. */
static void
append_transaction(EddyCdcState *state, EddyCdcRelation *relation)
{
	Debezium   *debezium = state->format_state;
	EddyCdcView *view = relation->known;

	if (state->options.include_transaction &&
		(view->counted_in != debezium->transaction || view->counted != state->nrecords))
	{
		view->count = view->counted_in == debezium->transaction ? view->count + 1 : 1;
		view->counted_in = debezium->transaction;
		view->counted = state->nrecords;
	}
	append_order(state, view->count);
}

/*
 * Appends the place of an event in its transaction, counted from 1: of all, and of its collection.
 */
static void
append_order(EddyCdcState *state, int64 collection_order)
{
	Debezium   *debezium = state->format_state;
	StringInfo	out = &state->records;

	if (!state->options.include_transaction)
	{
		eddy_cdc_append_literal(out, ",\"transaction\":null");
		return;
	}
	eddy_cdc_append_literal(out, ",\"transaction\":{");
	eddy_cdc_append_bytes(out, debezium->id.data, debezium->id.len);
	eddy_cdc_append_literal(out, ",\"total_order\":");
	eddy_cdc_append_int64(out, state->nrecords + 1);
	eddy_cdc_append_literal(out, ",\"data_collection_order\":");
	eddy_cdc_append_int64(out, collection_order);
	eddy_cdc_append_literal(out, "}");
}

/* Returns what the records of a view share. */
static DebeziumView *
describe(EddyCdcState *state, EddyCdcRelation *relation)
{
	Debezium   *debezium = state->format_state;
	DebeziumView *view = relation->format_data;
	MemoryContext old_context;
	char	   *schema;
	char	   *name;

	if (view != NULL)
		return view;

	old_context = MemoryContextSwitchTo(relation->context);
	schema = json_string(relation->context, relation->schema_name);
	name = json_string(relation->context, relation->view_name);
	view = palloc(sizeof(DebeziumView));
	view->topic = psprintf("{\"topic\":%s.%.*s.%s", debezium->prefix, (int) strlen(schema) - 2,
						   schema + 1, name + 1);
	view->topic_len = strlen(view->topic);
	view->source = psprintf("\"schema\":%s,\"table\":%s,", schema, name);
	view->source_len = strlen(view->source);
	relation->format_data = view;
	MemoryContextSwitchTo(old_context);
	return view;
}

/* Returns text of the database's encoding as a JSON string, zero-terminated. */
static char *
json_string(MemoryContext context, const char *text)
{
	MemoryContext old_context = MemoryContextSwitchTo(context);
	StringInfoData json;

	initStringInfo(&json);
	eddy_cdc_append_string(&json, text, strlen(text));
	eddy_cdc_append_bytes(&json, "", 1);
	MemoryContextSwitchTo(old_context);
	return json.data;
}

const EddyCdcFormat eddy_cdc_debezium_format = {
	.startup = start_debezium,
	.begin = begin_debezium,
	.change = append_change,
	.empty = append_empty,
	.failed = append_failed,
	.truncate = append_truncate,
	.tombstone = append_tombstone,
	.transaction_begin = append_begin,
	.transaction_end = append_end,
	.progress = append_progress
};

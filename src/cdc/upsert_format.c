/*-------------------------------------------------------------------------
 *
 * upsert_format.c
 *    Format "upsert": the key of a row, and its new content or null.
 *
 * For consumers that store the last value of each key, such as key-value stores and compacted
 * topics. A created and an updated row are not distinguished. docs/output-protocol.md is the
 * specification, docs/schemas/upsert.json has the schemas.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cdc/known_views.h"
#include "cdc/row_json.h"

static void
append_head(EddyCdcState *state, EddyCdcRelation *relation)
{
	eddy_cdc_start_record(relation);
	eddy_cdc_append_literal(&state->records, "{\"view\":");
	eddy_cdc_append_bytes(&state->records, relation->name, relation->name_len);
	eddy_cdc_append_literal(&state->records, ",\"key\":");
}

static void
append_change(EddyCdcState *state, const EddyCdcChange *change)
{
	EddyCdcRelation *relation = change->relation;
	StringInfo	out = &state->records;

	append_head(state, relation);
	eddy_cdc_append_key(state, relation, change->values, change->nulls);
	eddy_cdc_append_literal(out, ",\"value\":");
	if (change->op == EDDY_CDC_DELETE)
		eddy_cdc_append_literal(out, "null");
	else
		eddy_cdc_append_row(state, relation, change->values, change->nulls);
	eddy_cdc_append_marks(state, change);
	eddy_cdc_append_tail(state, true);
}

/* Appends a record with an error instead of the value. */
static void
append_failed(EddyCdcState *state, const EddyCdcChange *change, const ErrorData *error,
			  bool with_key)
{
	StringInfo	out = &state->records;

	append_head(state, change->relation);
	if (with_key)
		eddy_cdc_append_key(state, change->relation, change->values, change->nulls);
	else
		eddy_cdc_append_literal(out, "null");
	eddy_cdc_append_error(out, error);
	eddy_cdc_append_tail(state, true);
}

/* Appends a record without a key: all rows of the view are deleted, or all of them follow. */
static void
append_truncate(EddyCdcState *state, EddyCdcRelation *relation)
{
	append_head(state, relation);
	eddy_cdc_append_literal(&state->records, "null,\"value\":null");
	eddy_cdc_append_tail(state, true);
}

/* Appends the record of a transaction that changed no row, with option skip-empty-xacts off. */
static void
append_empty(EddyCdcState *state)
{
	eddy_cdc_append_literal(&state->records, "{\"view\":null");
	eddy_cdc_append_tail(state, true);
}

/*
 * Appends a record of progress. It has neither "key" nor "value", which all records of rows have: a
 * consumer that stores values by their keys cannot take it for one.
 */
static void
append_progress(EddyCdcState *state, const EddyCdcView *view, TimestampTz closed_until)
{
	eddy_cdc_append_literal(&state->records, "{\"view\":");
	eddy_cdc_append_bytes(&state->records, view->name, view->name_len);
	eddy_cdc_append_literal(&state->records, ",");
	eddy_cdc_append_closed(&state->records, closed_until);
	eddy_cdc_append_tail(state, true);
}

const EddyCdcFormat eddy_cdc_upsert_format = {
	.startup = eddy_cdc_start_tail,
	.begin = eddy_cdc_begin_tail,
	.change = append_change,
	.empty = append_empty,
	.failed = append_failed,
	.truncate = append_truncate,
	.snapshot = append_truncate,
	.progress = append_progress
};

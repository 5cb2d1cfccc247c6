/*-------------------------------------------------------------------------
 *
 * row_json.h
 *    Appends rows and keys of a view to a record, as JSON objects.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_ROW_JSON_H
#define EDDY_CDC_ROW_JSON_H

#include "cdc/format.h"
#include "datatype/timestamp.h"

/* Call at the start of each record. */
extern void eddy_cdc_start_record(EddyCdcRelation *relation);

extern void eddy_cdc_append_key(EddyCdcState *state, EddyCdcRelation *relation, const Datum *values,
								const bool *nulls);
extern void eddy_cdc_append_row(EddyCdcState *state, EddyCdcRelation *relation, const Datum *values,
								const bool *nulls);
/* The fields "final", "correction" and "types" of a change, if it has them. */
extern void eddy_cdc_append_marks(EddyCdcState *state, const EddyCdcChange *change);

extern void eddy_cdc_append_time(StringInfo out, TimestampTz time);

/* The field "closed_until" of records of progress: a time, or null if it is DT_NOBEGIN. */
extern void eddy_cdc_append_closed(StringInfo out, TimestampTz closed_until);

/* The fields "sqlstate" and "error" of a record of a row that cannot be sent. */
extern void eddy_cdc_append_error(StringInfo out, const ErrorData *error);

/*
 * The end of the records of a transaction in formats that have lsn, seq, xid and ts as fields of
 * each record: only the sequence number differs. The first two are operations of such a format,
 * whose state is the end alone.
 */
extern void eddy_cdc_start_tail(EddyCdcState *state);
extern void eddy_cdc_begin_tail(EddyCdcState *state, ReorderBufferTXN *txn);
extern void eddy_cdc_append_tail(EddyCdcState *state, bool with_seq);

#endif							/* EDDY_CDC_ROW_JSON_H */

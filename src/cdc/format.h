/*-------------------------------------------------------------------------
 *
 * format.h
 *    What a format has to provide. Each is one file and one line in plugin_options.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_FORMAT_H
#define EDDY_CDC_FORMAT_H

#include "access/htup.h"
#include "datatype/timestamp.h"

#include "cdc/relation.h"

typedef enum EddyCdcOp
{
	EDDY_CDC_CREATE,
	EDDY_CDC_UPDATE,
	EDDY_CDC_DELETE
} EddyCdcOp;

/* What became of a transaction that was sent before it has committed. */
typedef enum EddyCdcOutcome
{
	EDDY_CDC_PREPARED,			/* all of it was sent; its commit is not known yet */
	EDDY_CDC_COMMIT_PREPARED,
	EDDY_CDC_ROLLBACK_PREPARED,
	EDDY_CDC_STREAM_ABORTED,	/* the transaction, or the subtransaction state->subxid */
	EDDY_CDC_STREAM_COMMITTED
} EddyCdcOutcome;

/* A change of a row of a view. Old values are NULL where they are not known. */
typedef struct EddyCdcChange
{
	EddyCdcOp	op;
	EddyCdcRelation *relation;
	const Datum *values;		/* the row after the change; of a delete, the row before */
	const bool *nulls;
	bool		whole;			/* values hold more than the key */
	const Datum *old_values;	/* the row before an update */
	const bool *old_nulls;
	bool		large;			/* its text may exceed the largest record */
	bool		final;			/* the row after the change is final */
	bool		correction;		/* the row was final before as well */
	bool		initial;		/* not a change: the row exists; op is EDDY_CDC_CREATE */

	/*
	 * The tuples that values and old_values were taken from; NULL if the values are not all in
	 * them, because some are stored out of line.
	 */
	HeapTuple	tuple;
	HeapTuple	old_tuple;
} EddyCdcChange;

/*
 * The operations of a format. All but startup and begin append one record, without a line end, to
 * state->records.
 */
typedef struct EddyCdcFormat
{
	/* Sets state->format_state, in the current context, which lives as long as the decoding. */
	void		(*startup) (EddyCdcState *state);

	/* Prepares what all records of the transaction share; only if it has any. */
	void		(*begin) (EddyCdcState *state, ReorderBufferTXN *txn);

	void		(*change) (EddyCdcState *state, const EddyCdcChange *change);

	/* The transaction has changed no row of a view. */
	void		(*empty) (EddyCdcState *state);

	/* The change cannot be sent because of the error; with_key: but the key of the row can be. */
	void		(*failed) (EddyCdcState *state, const EddyCdcChange *change,
						   const ErrorData *error, bool with_key);

	/* All rows of the table were removed at once. */
	void		(*truncate) (EddyCdcState *state, EddyCdcRelation *relation);

	/* The following are NULL if the format has no such records. */

	/* Initial rows of the view follow, which are all of its rows. */
	void		(*snapshot) (EddyCdcState *state, EddyCdcRelation *relation);

	/* A second record of a delete, with option "tombstones". */
	void		(*tombstone) (EddyCdcState *state, const EddyCdcChange *change);

	/* The first and the last record of a transaction, with option "include-transaction". */
	void		(*transaction_begin) (EddyCdcState *state);
	void		(*transaction_end) (EddyCdcState *state);

	/* With options "streaming" and "two-phase". */
	void		(*outcome) (EddyCdcState *state, EddyCdcOutcome outcome);

	/* With option "include-schema": first of all records; before rows of a view; view dropped. */
	void		(*protocol) (EddyCdcState *state);
	void		(*schema) (EddyCdcState *state, const struct EddyCdcView *view);
	void		(*dropped) (EddyCdcState *state, const struct EddyCdcView *view);

	/* With option "progress": windows that end until this time are closed; DT_NOBEGIN: none is. */
	void		(*progress) (EddyCdcState *state, const struct EddyCdcView *view,
							 TimestampTz closed_until);
} EddyCdcFormat;

extern const EddyCdcFormat eddy_cdc_debezium_format;
extern const EddyCdcFormat eddy_cdc_native_format;
extern const EddyCdcFormat eddy_cdc_upsert_format;

#endif							/* EDDY_CDC_FORMAT_H */

/*-------------------------------------------------------------------------
 *
 * batch.h
 *    The rows that one transaction adds to a stream, as all layers see them.
 *
 * A batch from Kafka is an array of rows in memory: values and nulls, one row
 * behind the other, in the shape of the stream's tuple descriptor. A batch
 * from a user's statement is the transition tuplestore of that statement, read
 * in place. Both can be scanned any number of times, in parts, and less the
 * rows that were rejected.
 *
 * Types, and the rule which errors are a row's; no layer's functions are used.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_BATCH_H
#define EDDY_BATCH_H

#include "access/tupdesc.h"
#include "utils/tuplestore.h"

typedef struct EddyBatch
{
	/* immutable once made */
	Oid			stream;			/* the stream's relation */
	TupleDesc	tupdesc;		/* of the stream's relation, owned by the caller */
	int			natts;			/* tupdesc->natts: also the stride of values and nulls */
	MemoryContext mcxt;			/* holds the arrays and all values by reference */

	/* rows as an array (Kafka); NULL for a statement's rows */
	Datum	   *values;			/* row i, attribute a: values[i * natts + a - 1] */
	bool	   *nulls;

	/* rows as a transition tuplestore (users' statements); else NULL */
	Tuplestorestate *store;

	int64		nrows;			/* rows in values or store, rejected ones included */

	/*
	 * rejected[i]: row i was refused for the whole stream (it is in no view and
	 * not staged). NULL while there is none; nrejected counts them.
	 */
	bool	   *rejected;
	int64		nrejected;
} EddyBatch;

/* A row that one view, or the stream itself, refused, and why. */
typedef struct EddyRejection
{
	int64		row;			/* index in the batch */
	Oid			view;			/* InvalidOid: refused for the whole stream */
	int			sqlerrcode;
	char	   *message;		/* primary message only, no content of the row added by us */
} EddyRejection;

/*
 * eddy_batch_is_row_error tells whether an error is the fault of a row: bad data, violated
 * constraints, limits, errors raised by user functions. All else (cancel, resources,
 * privileges, missing objects, serialization) concerns the transaction and must not cost a row.
 */
static inline bool
eddy_batch_is_row_error(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case MAKE_SQLSTATE('2', '1', '0', '0', '0'):	/* cardinality violation */
		case MAKE_SQLSTATE('2', '2', '0', '0', '0'):	/* data exception */
		case MAKE_SQLSTATE('2', '3', '0', '0', '0'):	/* integrity constraint violation */
		case MAKE_SQLSTATE('3', '8', '0', '0', '0'):	/* external routine exception */
		case MAKE_SQLSTATE('3', '9', '0', '0', '0'):	/* external routine invocation exception */
		case MAKE_SQLSTATE('5', '4', '0', '0', '0'):	/* program limit exceeded */
		case MAKE_SQLSTATE('P', '0', '0', '0', '0'):	/* PL/pgSQL RAISE */
			return true;
		default:
			return sqlerrcode == ERRCODE_FEATURE_NOT_SUPPORTED;
	}
}

#endif							/* EDDY_BATCH_H */

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
 * Types only, plus what is needed to make one; no layer's functions are used.
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

#endif							/* EDDY_BATCH_H */

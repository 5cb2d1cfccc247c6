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
 * Types, and the rules which errors are a row's and what may be told of them; no layer's functions
 * are used.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_BATCH_H
#define EDDY_BATCH_H

#include "access/tupdesc.h"
#include "nodes/pg_list.h"
#include "utils/tuplestore.h"

#include "subtransaction.h"

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

	List	   *view_rejections;	/* of EddyRejection: rows that single views refused, in mcxt */

	/*
	 * The time limit of a worker's batch that is down to one message and tried with care;
	 * otherwise NULL. start_clock starts the limit anew before a step of one view. If
	 * the step ends with an error of SQLSTATE query_canceled, clock_expired tells whether that is the
	 * limit's: it is then that view's error of the row.
	 */
	void		(*start_clock) (void);
	bool		(*clock_expired) (void);
} EddyBatch;

/* A row that one view, or the stream itself, refused, and why. */
typedef struct EddyRejection
{
	int64		row;			/* index in the batch */
	Oid			view;			/* InvalidOid: refused for the whole stream */
	int			sqlerrcode;
	char	   *message;		/* primary message only, no content of the row added by us */
} EddyRejection;

/* True if the rows have the columns of desc: the stream was not altered since they were made. */
static inline bool
eddy_batch_fits(const EddyBatch *batch, TupleDesc desc)
{
	if (batch->tupdesc->natts != desc->natts)
		return false;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute ours = TupleDescAttr(batch->tupdesc, i);
		Form_pg_attribute theirs = TupleDescAttr(desc, i);

		if (ours->atttypid != theirs->atttypid || ours->attisdropped != theirs->attisdropped)
			return false;
	}
	return true;
}

/* True if the error was raised by the code of a function in a procedural language. */
static inline bool
eddy_batch_is_raised(const ErrorData *error)
{
	return error->funcname && (strcmp(error->funcname, "exec_stmt_raise") == 0 ||	/* PL/pgSQL */
							   strcmp(error->funcname, "exec_stmt_assert") == 0 ||
							   strncmp(error->funcname, "plperl_", 7) == 0 ||
							   strncmp(error->funcname, "PLy_", 4) == 0 ||
							   strncmp(error->funcname, "pltcl_", 6) == 0);
}

/*
 * eddy_batch_describe_error returns the message of a row's error without the content of the row,
 * palloc'ed. The server quotes values in its messages with double quotes, and so quotes
 * names of constraints; what a procedural language raises can be anything. A message that may hold
 * content is replaced by the SQLSTATE.
 */
static inline char *
eddy_batch_describe_error(const ErrorData *error)
{
	bool		constraint = ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
		ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION;

	if (error->message && !eddy_batch_is_raised(error) &&
		(constraint || strchr(error->message, '"') == NULL))
		return pstrdup(error->message);
	return psprintf("evaluation failed with SQLSTATE %s", unpack_sql_state(error->sqlerrcode));
}

/*
 * eddy_batch_is_row_error tells whether an error that was raised while one field was converted
 * or one row's expressions ran is the row's. All are, whatever their SQLSTATE, but what
 * would have hit any row: cancel and shutdown, lack of resources, I/O, corruption, and
 * conflicts with other transactions. A RAISE of a procedural language can name any of
 * these codes; it is a row's all the same, told by where it came from.
 */
static inline bool
eddy_batch_is_row_error(const ErrorData *error)
{
	if (eddy_batch_is_raised(error))
		return true;
	return !eddy_subtransaction_is_disturbed(error) &&
		error->sqlerrcode != ERRCODE_DATA_CORRUPTED &&
		error->sqlerrcode != ERRCODE_INDEX_CORRUPTED &&
		error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE;
}

#endif							/* EDDY_BATCH_H */

/*-------------------------------------------------------------------------
 *
 * batch.h
 *    The rows that one transaction adds to a stream.
 *
 * A batch from Kafka is an array of rows in memory: values and nulls, row after row,
 * with the columns of the stream. A batch from a user's statement is a tuplestore.
 * Both can be scanned any number of times, in parts, and without the rows that were
 * rejected.
 *
 * Also the rules which errors belong to a row, and which of their messages may be
 * shown. Used by all layers, so it uses none.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_BATCH_H
#define EDDY_BATCH_H

#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "utils/tuplestore.h"

#include "subtransaction.h"

typedef struct EddyBatch
{
	/* immutable once made */
	Oid			stream;			/* the stream's relation */
	TupleDesc	tupdesc;		/* of the stream's relation, owned by the caller */
	int			natts;			/* of tupdesc, and the stride of values and nulls */
	MemoryContext mcxt;			/* holds the arrays and all values by reference */

	/* the rows of a batch from Kafka, otherwise NULL */
	Datum	   *values;			/* row i, attribute a: values[i * natts + a - 1] */
	bool	   *nulls;
	const Bitmapset *omitted;	/* attributes that are not stored, because nothing needs them; mostly NULL anyway */

	/* the rows of a user's statement, otherwise NULL */
	Tuplestorestate *store;

	int64		nrows;			/* rows in values or store, rejected ones included */

	/*
	 * the changes of a continuous view, for the views that read it, otherwise NULL; then in store
	 */
	const AttrNumber *columns;	/* of each attribute in the state table that is scanned instead */
	int			nshown;			/* columns of the view; others follow. 0: all are */
	const char *marks;			/* EddyChangeMark of each row: which are added, which are taken back */
	bool		hides_rows;		/* they come from messages, which errors must not quote */

	/*
	 * rejected[i]: row i is not part of the stream: it is in no view and not staged.
	 * NULL if there is none.
	 */
	bool	   *rejected;
	int64		nrejected;

	List	   *view_rejections;	/* of EddyRejection: rows rejected by single views, in mcxt */

	Oid			only_view;		/* the other views have counted the rows; InvalidOid: none has */

	/*
	 * The watermark that decides which rows are late, determined by judge when the first view with
	 * windows asks for it: from then on no window closes until the transaction ends. DT_NOBEGIN: no
	 * row is late. judge is NULL if the rows are not judged.
	 */
	void		(*judge) (struct EddyBatch *batch);
	bool		judged;
	TimestampTz watermark;

	/*
	 * Afterwards, the same for a view that reads several streams (List of Oid): whose watermark is
	 * the minimum of theirs.
	 */
	TimestampTz (*union_watermark) (Oid view, List *streams);
	bool		closes;			/* a row was accepted for a window that ends before the watermark */
	List	   *late_rows;		/* of EddyLateRows, in mcxt */

	/*
	 * Other writers add to the same new groups: merges of such batches into a view take turns,
	 * until the end of each transaction.
	 */
	bool		contended;

	/*
	 * The time limit of a batch of one message in careful mode; otherwise NULL. start_clock
	 * restarts the limit before a step of one view. If the step fails with query_canceled and
	 * clock_expired returns true, that is the view's error of the row.
	 */
	void		(*start_clock) (void);
	bool		(*clock_expired) (void);
} EddyBatch;

/* A row that a view, or the stream itself, has rejected. */
typedef struct EddyRejection
{
	int64		row;			/* index in the batch */
	Oid			view;			/* InvalidOid: rejected for the whole stream */
	int			sqlerrcode;
	char	   *message;		/* primary message only */
} EddyRejection;

/* A pair of a row and a window that was final. */
typedef struct EddyLateRow
{
	int64		row;			/* index in the batch */
	TimestampTz window_start;	/* DT_NOBEGIN: not known */
	TimestampTz window_end;
} EddyLateRow;

/* The late rows of one view. */
typedef struct EddyLateRows
{
	Oid			view;
	TimestampTz watermark;		/* that has judged them */
	int64		count;
	EddyLateRow *rows;			/* NULL: the view only counts them */
} EddyLateRows;

/*
 * eddy_batch_next_stored reads the next row of the tuplestore into a slot; false after the last one.
 * A row that comes from a temporary file is allocated with the slot, which frees it when it gets
 * another one: the current memory context can be reset before, or deleted after an error.
 */
static inline bool
eddy_batch_next_stored(const EddyBatch *batch, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(slot->tts_mcxt);
	bool		found = tuplestore_gettupleslot(batch->store, true, false, slot);

	MemoryContextSwitchTo(old);
	return found;
}

/* True if the rows have the columns of desc: the stream has not been altered since. */
static inline bool
eddy_batch_fits(const EddyBatch *batch, TupleDesc desc)
{
	if (batch->columns)
	{
		for (int i = 0; i < batch->natts; i++)
			if (batch->columns[i] > desc->natts ||
				TupleDescAttr(batch->tupdesc, i)->atttypid !=
				TupleDescAttr(desc, batch->columns[i] - 1)->atttypid)
				return false;
		return true;
	}
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
 * eddy_batch_describe_error returns the message of a row's error without content of the row,
 * palloc'ed. The server puts values, and names of constraints, into double quotes; a procedural
 * language can raise any text. A message that may contain values is replaced by the SQLSTATE.
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
 * True if an error that was raised while a field was converted, or while the expressions of a row
 * ran, is caused by the row. All are, whatever their SQLSTATE, except those that any row could
 * have met: cancel and shutdown, lack of resources, I/O, corruption, and conflicts with other
 * transactions. An error raised by a procedural language can have any of these codes and is
 * always the row's.
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

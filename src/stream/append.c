/*-------------------------------------------------------------------------
 *
 * append.c
 *    Storing the rows of a user's COPY in the table of a stream.
 *
 * Users' rows are stored in the table itself, where its owner expects them, and on pages that
 * retention has made free. So they are inserted as COPY does it, through shared buffers. Tuples are
 * formed as for Kafka (row_data.c). The caller has completed and checked the rows; the table has no
 * indexes.
 *
 * Locking: the caller holds RowExclusiveLock on the stream. Memory: a chunk of rows; the copy of
 * all rows, for the views, is the caller's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "stream/chunk.h"
#include "stream/row_data.h"
#include "stream/stream.h"

struct EddyAppender
{
	/* immutable */
	Relation	rel;
	CommandId	cid;
	EddyRowForm *form;			/* of common rows; NULL: none are */
	EddyChunk  *chunk;

	/* changes from row to row */
	uint64		nrows;			/* stored, or in the chunk */
};

EddyAppender *
eddy_stream_begin_append(Relation rel)
{
	EddyAppender *appender = palloc0(sizeof(EddyAppender));

	appender->rel = rel;
	appender->cid = GetCurrentCommandId(true);
	appender->form = eddy_row_form_make(RelationGetDescr(rel), NULL);
	appender->chunk = eddy_chunk_create(CurrentMemoryContext, RelationGetDescr(rel));
	return appender;
}

/*
 * Forms a row without NULLs and without values that need more than being copied; NULL for other
 * rows.
 */
static HeapTupleHeader
form_common_row(EddyAppender *appender, const Datum *values, const bool *nulls, Size *len)
{
	HeapTupleHeader header;

	*len = appender->form ? eddy_row_size(appender->form, values, nulls) : 0;
	if (*len == 0)
		return NULL;
	header = MemoryContextAllocZero(appender->chunk->mcxt, *len);
	eddy_row_fill(appender->form, values, header);
	return header;
}

bool
eddy_stream_append(EddyAppender *appender, Datum *values, bool *nulls, Tuplestorestate *copy)
{
	EddyChunk  *chunk = appender->chunk;
	Size		len;
	HeapTupleHeader header = form_common_row(appender, values, nulls, &len);

	if (header == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(chunk->mcxt);
		HeapTuple	tuple = heap_form_tuple(RelationGetDescr(appender->rel), values, nulls);

		MemoryContextSwitchTo(old);
		header = tuple->t_data;
		len = tuple->t_len;
	}
	tuplestore_puttuple(copy, eddy_chunk_add(chunk, header, len));
	appender->nrows++;
	return chunk->nrows == EDDY_CHUNK_ROWS || chunk->used >= EDDY_CHUNK_BYTES;
}

uint64
eddy_stream_flush_append(EddyAppender *appender)
{
	eddy_chunk_flush(appender->chunk, appender->rel, appender->cid, 0);
	return appender->nrows;
}

void
eddy_stream_end_append(EddyAppender *appender)
{
	Assert(appender->chunk->nrows == 0);
	eddy_chunk_destroy(appender->chunk);
	table_finish_bulk_insert(appender->rel, 0);
}

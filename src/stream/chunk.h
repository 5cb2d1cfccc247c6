/*-------------------------------------------------------------------------
 *
 * chunk.h
 *    Rows that are inserted into a table at once. Private to src/stream.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CHUNK_H
#define EDDY_CHUNK_H

#include "access/heapam.h"
#include "access/htup_details.h"
#include "executor/tuptable.h"
#include "utils/rel.h"

/* Rows and bytes per call of table_multi_insert. */
#define EDDY_CHUNK_ROWS 128
#define EDDY_CHUNK_BYTES (64 * 1024)

typedef struct EddyChunk
{
	/* immutable */
	BulkInsertState bistate;
	TupleTableSlot *slots[EDDY_CHUNK_ROWS];

	/* change from row to row */
	MemoryContext mcxt;			/* reset after each chunk */
	HeapTupleData tuples[EDDY_CHUNK_ROWS];
	int			nrows;
	Size		used;			/* bytes of these rows */
} EddyChunk;

extern EddyChunk *eddy_chunk_create(MemoryContext mcxt, TupleDesc desc);
extern void eddy_chunk_destroy(EddyChunk *chunk);

/* Passes the rows to the table access method, with these options of table_multi_insert. */
extern void eddy_chunk_flush(EddyChunk *chunk, Relation rel, CommandId cid, int options);

/* True if a row of this length has to wait for eddy_chunk_flush. */
static inline bool
eddy_chunk_is_full(const EddyChunk *chunk, Size len)
{
	return chunk->nrows == EDDY_CHUNK_ROWS ||
		(chunk->nrows > 0 && chunk->used + len > EDDY_CHUNK_BYTES);
}

/* Takes a formed tuple, to which the chunk then points. There must be room for one. */
static inline HeapTuple
eddy_chunk_add(EddyChunk *chunk, HeapTupleHeader header, Size len)
{
	HeapTuple	tuple = &chunk->tuples[chunk->nrows++];

	tuple->t_len = len;
	tuple->t_data = header;
	ItemPointerSetInvalid(&tuple->t_self);
	tuple->t_tableOid = InvalidOid;
	chunk->used += len;
	return tuple;
}

#endif							/* EDDY_CHUNK_H */

/*-------------------------------------------------------------------------
 *
 * chunk.c
 *    Rows that are inserted into a table at once.
 *
 * Tuples are formed by the caller, in the memory of the chunk or elsewhere, and handed to the table
 * access method together. Slots and the ring of shared buffers are kept from chunk to chunk.
 *
 * Locking: the caller has locked the table. Memory: a chunk of rows, in a context of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "stream/chunk.h"

EddyChunk *
eddy_chunk_create(MemoryContext mcxt, TupleDesc desc)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	EddyChunk  *chunk = palloc0(sizeof(EddyChunk));

	chunk->bistate = GetBulkInsertState();
	for (int i = 0; i < EDDY_CHUNK_ROWS; i++)
		chunk->slots[i] = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
	chunk->mcxt = AllocSetContextCreate(mcxt, "pg_eddy chunk of rows", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(old);
	return chunk;
}

void
eddy_chunk_destroy(EddyChunk *chunk)
{
	for (int i = 0; i < EDDY_CHUNK_ROWS; i++)
		ExecDropSingleTupleTableSlot(chunk->slots[i]);
	FreeBulkInsertState(chunk->bistate);
	MemoryContextDelete(chunk->mcxt);
	pfree(chunk);
}

void
eddy_chunk_flush(EddyChunk *chunk, Relation rel, CommandId cid, int options)
{
	MemoryContext old;

	if (chunk->nrows == 0)
		return;
	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < chunk->nrows; i++)
		ExecStoreHeapTuple(&chunk->tuples[i], chunk->slots[i], true);

	/* the access method allocates toasted copies and arrays, which are freed with the chunk */
	old = MemoryContextSwitchTo(chunk->mcxt);
	table_multi_insert(rel, chunk->slots, chunk->nrows, cid, options, chunk->bistate);
	MemoryContextSwitchTo(old);

	/*
	 * The slots were marked as owners of their tuples, so that they did not copy
	 * them. The tuples are in other memory, so they must not free them either.
	 */
	for (int i = 0; i < chunk->nrows; i++)
	{
		chunk->slots[i]->tts_flags &= ~TTS_FLAG_SHOULDFREE;
		ExecClearTuple(chunk->slots[i]);
	}
	MemoryContextReset(chunk->mcxt);
	chunk->nrows = 0;
	chunk->used = 0;
}

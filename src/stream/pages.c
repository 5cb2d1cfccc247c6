/*-------------------------------------------------------------------------
 *
 * pages.c
 *    Forming pages of a segment in private memory and appending them to its file.
 *
 * A page that goes through shared buffers is written twice: as zeros, when the table is extended,
 * and with its contents, when its buffer is reused; and it displaces a page that a query may
 * need. A batch of many rows fills whole pages. They are formed here, row by row in their
 * place, and the table is extended by the finished pages. Segments are unlogged, so that no WAL
 * describes them. Other sessions see a page as soon as the file is longer, with rows of a
 * transaction in progress, as usual.
 *
 * The last page of a batch is mostly not full. It is not appended: the caller inserts its rows in
 * the ordinary way, so that the next batch continues on their page, and small batches do
 * not take a page each.
 *
 * Pages that nobody else writes reach the disk when the kernel thinks so, unless backend_flush_after is set.
 *
 * Locking: the lock for extension of the table, for GROUP_PAGES pages at once; the caller holds
 * RowExclusiveLock. Memory: a buffer in the caller's context. After an error, appended pages
 * contain rows of an aborted transaction. After a crash segments are empty.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "storage/smgr.h"

#include "stream/pages.h"

#define GROUP_PAGES 16			/* appended at once; they fit into the L2 cache */
#define IO_ALIGNMENT 4096		/* required for direct I/O */

struct EddyPages
{
	/* immutable */
	char	   *buffer;			/* GROUP_PAGES pages, aligned */

	/* set by eddy_pages_begin */
	Relation	rel;
	TransactionId xid;
	CommandId	cid;
	Size		reserved;		/* bytes to leave free on each page */

	/* change from row to row */
	int			npages;			/* begun; the last one is being filled */
	int			nrows;			/* on all pages, for statistics */

	/* appended pages that the kernel was not told to write yet, see write_back */
	Oid			pending_relid;
	BlockNumber pending_first;
	BlockNumber npending;
};

EddyPages *
eddy_pages_create(MemoryContext mcxt)
{
	EddyPages  *pages = MemoryContextAllocZero(mcxt, sizeof(EddyPages));

	pages->buffer = (char *) TYPEALIGN(IO_ALIGNMENT,
									   MemoryContextAlloc(mcxt, GROUP_PAGES * BLCKSZ +
														  IO_ALIGNMENT));
	return pages;
}

void
eddy_pages_begin(EddyPages *pages, Relation rel, CommandId cid)
{
	/* as heap_multi_insert does */
	CheckForSerializableConflictIn(rel, NULL, InvalidBlockNumber);
	pages->rel = rel;
	pages->xid = GetCurrentTransactionId();
	pages->cid = cid;
	pages->reserved = RelationGetTargetPageFreeSpace(rel, HEAP_DEFAULT_FILLFACTOR);
	pages->npages = 0;
	pages->nrows = 0;
}

static inline Page
get_page(EddyPages *pages, int number)
{
	return (Page) (pages->buffer + (Size) number * BLCKSZ);
}

/* Makes the rows of a page point to themselves: the latest versions. */
static void
set_places(Page page, BlockNumber block)
{
	OffsetNumber max = PageGetMaxOffsetNumber(page);

	for (OffsetNumber offset = FirstOffsetNumber; offset <= max; offset++)
	{
		HeapTupleHeader header = (HeapTupleHeader) PageGetItem(page, PageGetItemId(page, offset));

		ItemPointerSet(&header->t_ctid, block, offset);
	}
}

/*
 * Asks the kernel to begin writing appended pages to the disk, as the server does for shared buffers
 * with backend_flush_after. Else the kernel collects hundreds of megabytes, and writes them at once:
 * when a checkpoint calls fsync for the file, or after half a minute. Flushes of WAL wait for that,
 * and so does who extends the file.
 */
static void
write_back(EddyPages *pages, SMgrRelation smgr, BlockNumber first, int count)
{
	if (backend_flush_after == 0)
		return;
	if (pages->pending_relid != RelationGetRelid(pages->rel) ||
		pages->pending_first + pages->npending != first)
	{
		/* the rest of another segment, or before a page of someone else, is left to the kernel */
		pages->pending_relid = RelationGetRelid(pages->rel);
		pages->pending_first = first;
		pages->npending = 0;
	}
	pages->npending += count;
	if (pages->npending >= (BlockNumber) backend_flush_after)
	{
		smgrwriteback(smgr, MAIN_FORKNUM, pages->pending_first, pages->npending);
		pages->pending_first += pages->npending;
		pages->npending = 0;
	}
}

/* Appends the first count pages to the table. */
static void
append(EddyPages *pages, int count)
{
	SMgrRelation smgr;
	BlockNumber block;

	CHECK_FOR_INTERRUPTS();
	LockRelationForExtension(pages->rel, ExclusiveLock);
	smgr = RelationGetSmgr(pages->rel);
	block = smgrnblocks(smgr, MAIN_FORKNUM);
	for (int i = 0; i < count; i++, block++)
	{
		Page		page = get_page(pages, i);

		if (block == InvalidBlockNumber)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("cannot extend relation \"%s\" beyond %u blocks",
							RelationGetRelationName(pages->rel), InvalidBlockNumber)));
		set_places(page, block);
		PageSetChecksumInplace(page, block);
		smgrextend(smgr, MAIN_FORKNUM, block, (char *) page, false);
	}
	UnlockRelationForExtension(pages->rel, ExclusiveLock);
	write_back(pages, smgr, block - count, count);
}

/* Begins a page; the others are written if there is no room for it. */
static Page
start_page(EddyPages *pages)
{
	Page		page;

	if (pages->npages == GROUP_PAGES)
	{
		append(pages, GROUP_PAGES);
		pages->npages = 0;
	}
	page = get_page(pages, pages->npages++);
	PageInit(page, BLCKSZ, 0);
	return page;
}

HeapTupleHeader
eddy_pages_add(EddyPages *pages, Size len)
{
	Page		page = pages->npages > 0 ? get_page(pages, pages->npages - 1) : NULL;
	Size		size = MAXALIGN(len);
	PageHeader	header;
	HeapTupleHeader tuple;

	Assert(eddy_pages_take(len));
	if (page == NULL ||
		PageGetHeapFreeSpace(page) < size + (PageGetMaxOffsetNumber(page) > 0 ?
											 pages->reserved : 0))
		page = start_page(pages);
	header = (PageHeader) page;
	header->pd_upper -= size;
	ItemIdSetNormal((ItemId) (page + header->pd_lower), header->pd_upper, len);
	header->pd_lower += sizeof(ItemIdData);
	pages->nrows++;

	tuple = (HeapTupleHeader) (page + header->pd_upper);
	tuple->t_infomask = HEAP_XMAX_INVALID;
	HeapTupleHeaderSetXmin(tuple, pages->xid);
	HeapTupleHeaderSetCmin(tuple, pages->cid);
	return tuple;
}

int
eddy_pages_end(EddyPages *pages)
{
	Page		last;
	int			left;

	if (pages->npages == 0)
		return 0;
	last = get_page(pages, pages->npages - 1);
	left = PageGetMaxOffsetNumber(last);
	if (pages->npages > 1)
		append(pages, pages->npages - 1);
	/* what the caller inserts is counted there */
	if (pages->nrows > left)
		pgstat_count_heap_insert(pages->rel, pages->nrows - left);
	return left;
}

/* eddy_pages_get returns a row of the last page. */
HeapTupleHeader
eddy_pages_get(EddyPages *pages, int row, Size *len)
{
	Page		last = get_page(pages, pages->npages - 1);
	ItemId		item = PageGetItemId(last, FirstOffsetNumber + row);

	*len = ItemIdGetLength(item);
	return (HeapTupleHeader) PageGetItem(last, item);
}

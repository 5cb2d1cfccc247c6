/*-------------------------------------------------------------------------
 *
 * pages.h
 *    Pages of a segment that are formed in private memory. Private to src/stream.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_PAGES_H
#define EDDY_PAGES_H

#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "utils/rel.h"

typedef struct EddyPages EddyPages;

extern EddyPages *eddy_pages_create(MemoryContext mcxt);

/* Begins to collect rows of the current transaction; what was collected before is discarded. */
extern void eddy_pages_begin(EddyPages *pages, Relation rel, CommandId cid);

/* True for a length of rows that pages take. Larger ones may need the TOAST table. */
static inline bool
eddy_pages_take(Size len)
{
	return len <= TOAST_TUPLE_THRESHOLD;
}

/* Adds a row of this length. What the caller has to fill is zero, the rest of the header is set. */
extern HeapTupleHeader eddy_pages_add(EddyPages *pages, Size len);

/* Writes all pages but the last one, which is not full, and returns its number of rows. */
extern int	eddy_pages_end(EddyPages *pages);
extern HeapTupleHeader eddy_pages_get(EddyPages *pages, int row, Size *len);

#endif							/* EDDY_PAGES_H */

/*-------------------------------------------------------------------------
 *
 * row_id.h
 *    IDs of rows that nothing else identifies: UUIDs of version 7.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_ROW_ID_H
#define EDDY_ROW_ID_H

#include "utils/uuid.h"

/* The IDs of one batch: 60 bits of time and 38 random bits before the counter. */
typedef struct EddyRowIds
{
	uint64		high;
	uint64		low;
	uint32		next;			/* of 2^24 */
	pg_uuid_t	id;
} EddyRowIds;

extern void eddy_row_ids_begin(EddyRowIds *ids);

/* The next ID, valid until the next call. */
extern Datum eddy_row_ids_next(EddyRowIds *ids);

#endif							/* EDDY_ROW_ID_H */

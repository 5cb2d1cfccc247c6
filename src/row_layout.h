/*-------------------------------------------------------------------------
 *
 * row_layout.h
 *    A number for the types of the columns of a table.
 *
 * Rows that are stored as the bytes of a tuple must only be read with the columns that they were
 * made with. The number is stored with them, and compared when they are read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_ROW_LAYOUT_H
#define EDDY_ROW_LAYOUT_H

#include "access/tupdesc.h"
#include "common/hashfn.h"

static inline int64
eddy_row_layout(TupleDesc desc)
{
	uint64		layout = desc->natts;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		layout = hash_combine64(layout, hash_bytes_uint32_extended(att->atttypid, att->attlen));
		layout = hash_combine64(layout, hash_bytes_uint32_extended(att->attalign, att->attbyval));
	}
	return (int64) layout;
}

#endif							/* EDDY_ROW_LAYOUT_H */

/*-------------------------------------------------------------------------
 *
 * row_bytes.h
 *    Rows of a main state table as bytes, with the columns that users of the view see.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_ROW_BYTES_H
#define EDDY_ROW_BYTES_H

#include "catalog/eddy_catalog.h"
#include "executor/tuptable.h"

/* Which columns of the table are stored. */
typedef struct EddyRowColumns
{
	TupleDesc	desc;			/* of the table, a copy */
	int64		layout;			/* of it (row_layout.h) */
	bool	   *is_shown;		/* columns of the view, and the mark of final rows */
	bool	   *is_key;
} EddyRowColumns;

/* In the current memory context. */
extern EddyRowColumns *eddy_row_columns(const EddyView *view, TupleDesc desc);

/* True if there is a row, and it is in the view. The row is deformed then. */
extern bool eddy_row_is_visible(const EddyView *view, TupleTableSlot *row);

/* True if the text of a row would not fit into a field: then only its key is stored. */
extern bool eddy_row_is_large(const EddyRowColumns *columns, TupleTableSlot *row);

/* The bytes of a tuple with the stored columns, or with the key alone; the others are NULL. */
extern bytea *eddy_row_bytes(const EddyRowColumns *columns, TupleTableSlot *row, bool whole);

#endif							/* EDDY_ROW_BYTES_H */

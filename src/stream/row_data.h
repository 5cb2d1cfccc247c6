/*-------------------------------------------------------------------------
 *
 * row_data.h
 *    Forming the data of common rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_ROW_DATA_H
#define EDDY_ROW_DATA_H

#include "access/attnum.h"
#include "access/htup.h"
#include "access/tupdesc.h"

typedef struct EddyRowForm EddyRowForm;

/*
 * map[a - 1] is the attribute of the values that attribute a takes, 0: it is NULL in each row; NULL
 * if each takes its own. Returns NULL if rows of this shape are formed by heap_fill_tuple only.
 */
extern EddyRowForm *eddy_row_form_make(TupleDesc tupdesc, const AttrNumber *map);

/* The size of a row with its header, 0 if it has values that only heap_fill_tuple can store. */
extern Size eddy_row_size(const EddyRowForm *form, const Datum *values, const bool *nulls);

/*
 * Stores the row in memory of that size, which is zero but for the fields of the header about
 * transactions.
 */
extern void eddy_row_fill(const EddyRowForm *form, const Datum *values, HeapTupleHeader header);

#endif							/* EDDY_ROW_DATA_H */

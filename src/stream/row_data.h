/*-------------------------------------------------------------------------
 *
 * row_data.h
 *    Forming the data of common rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_ROW_DATA_H
#define EDDY_ROW_DATA_H

#include "access/tupdesc.h"

typedef struct EddyRowForm EddyRowForm;

/* NULL if rows of this shape are formed by heap_fill_tuple only. */
extern EddyRowForm *eddy_row_form_make(TupleDesc tupdesc);

/* The size of the data of a row, 0 if it has values that only heap_fill_tuple can store. */
extern Size eddy_row_data_size(const EddyRowForm *form, const Datum *values, const bool *nulls);

/* Stores the data, of that size, in memory that is zero. Returns the flags for t_infomask. */
extern uint16 eddy_row_data_fill(const EddyRowForm *form, const Datum *values, char *data);

#endif							/* EDDY_ROW_DATA_H */

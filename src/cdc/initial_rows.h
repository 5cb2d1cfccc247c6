/*-------------------------------------------------------------------------
 *
 * initial_rows.h
 *    All rows of a view, for one slot.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_INITIAL_ROWS_H
#define EDDY_CDC_INITIAL_ROWS_H

#include "cdc/relation.h"

/* Takes a change of the table of initial rows. */
extern void eddy_cdc_change_initial(LogicalDecodingContext *ctx, EddyCdcRelation *entry,
									Relation relation, ReorderBufferChange *change);

#endif							/* EDDY_CDC_INITIAL_ROWS_H */

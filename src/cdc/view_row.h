/*-------------------------------------------------------------------------
 *
 * view_row.h
 *    From a change of a state table to changes of its view.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_VIEW_ROW_H
#define EDDY_CDC_VIEW_ROW_H

#include "cdc/relation.h"

/* Emits the change of a row of a table with role EDDY_TABLE_ROWS, unless users cannot see it. */
extern void eddy_cdc_change_row(LogicalDecodingContext *ctx, EddyCdcRelation *entry,
								Relation relation, ReorderBufferChange *change);

#endif							/* EDDY_CDC_VIEW_ROW_H */

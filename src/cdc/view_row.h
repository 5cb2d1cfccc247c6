/*-------------------------------------------------------------------------
 *
 * view_row.h
 *    Changes of rows of a view.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_VIEW_ROW_H
#define EDDY_CDC_VIEW_ROW_H

#include "cdc/relation.h"

extern void eddy_cdc_change_row(LogicalDecodingContext *ctx, EddyCdcRelation *entry,
								Relation relation, ReorderBufferChange *change);
extern bool eddy_cdc_sees_row(const EddyCdcOptions *options, const EddyCdcRelation *entry,
							  const Datum *values, const bool *nulls);
extern bool eddy_cdc_is_large(const EddyCdcRelation *entry, HeapTuple tuple, const Datum *values,
							  const bool *nulls);
extern bool eddy_cdc_is_final(const EddyCdcRelation *entry, const Datum *values,
							  const bool *nulls);
extern bool eddy_cdc_same_row(const EddyCdcOptions *options, EddyCdcRelation *entry);

#endif							/* EDDY_CDC_VIEW_ROW_H */

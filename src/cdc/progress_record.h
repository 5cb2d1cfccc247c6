/*-------------------------------------------------------------------------
 *
 * progress_record.h
 *    The progress of views.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_PROGRESS_RECORD_H
#define EDDY_CDC_PROGRESS_RECORD_H

#include "cdc/relation.h"

/* Takes a change of the table with the progress of all views. */
extern void eddy_cdc_change_progress(EddyCdcState *state, EddyCdcRelation *entry,
									 Relation relation, ReorderBufferChange *change);

/* Sends the progress of the transaction, after its rows. */
extern void eddy_cdc_flush_progress(LogicalDecodingContext *ctx);

#endif							/* EDDY_CDC_PROGRESS_RECORD_H */

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

/*
 * Adds the progress of a part of a transaction to a list, in the current memory context, and takes
 * it from such a list at the end.
 */
extern List *eddy_cdc_take_progress(EddyCdcState *state, List *list);
extern void eddy_cdc_restore_progress(EddyCdcState *state, const List *list);

/* Removes the progress of a subtransaction from such a list. */
extern List *eddy_cdc_drop_progress(List *list, TransactionId xid);

/* Sends the progress of the transaction, after its rows. */
extern void eddy_cdc_flush_progress(LogicalDecodingContext *ctx);

#endif							/* EDDY_CDC_PROGRESS_RECORD_H */

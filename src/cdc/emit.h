/*-------------------------------------------------------------------------
 *
 * emit.h
 *    Sends changes to the client.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_EMIT_H
#define EDDY_CDC_EMIT_H

#include "cdc/format.h"

/* Adds the record of a change to those that wait, after sending these if they are enough. */
extern void eddy_cdc_emit(LogicalDecodingContext *ctx, const EddyCdcChange *change);

/* Sends the records that wait. */
extern void eddy_cdc_send(LogicalDecodingContext *ctx);

#endif							/* EDDY_CDC_EMIT_H */

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

extern void eddy_cdc_emit(LogicalDecodingContext *ctx, const EddyCdcChange *change);
extern void eddy_cdc_send(LogicalDecodingContext *ctx);

#endif							/* EDDY_CDC_EMIT_H */

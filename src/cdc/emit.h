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

/* A change, which has the number state->seq. Option "net" delays it until the transaction ends. */
extern void eddy_cdc_emit(LogicalDecodingContext *ctx, const EddyCdcChange *change);

/* The same without that option. */
extern void eddy_cdc_write(LogicalDecodingContext *ctx, const EddyCdcChange *change);

extern void eddy_cdc_write_truncate(LogicalDecodingContext *ctx, EddyCdcRelation *relation);
extern void eddy_cdc_write_snapshot(LogicalDecodingContext *ctx, EddyCdcRelation *relation);
extern void eddy_cdc_write_dropped(LogicalDecodingContext *ctx, const struct EddyCdcView *view);
extern void eddy_cdc_write_progress(LogicalDecodingContext *ctx, const struct EddyCdcView *view,
									TimestampTz closed_until);
extern void eddy_cdc_write_end(LogicalDecodingContext *ctx);
extern void eddy_cdc_write_outcome(LogicalDecodingContext *ctx, EddyCdcOutcome outcome);

#endif							/* EDDY_CDC_EMIT_H */

/*-------------------------------------------------------------------------
 *
 * net.h
 *    The net change of each row in a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_NET_H
#define EDDY_CDC_NET_H

#include "cdc/format.h"

extern void eddy_cdc_net_init(EddyCdcState *state);

/* Combines a change, which has the number state->seq, with those of the same row. */
extern void eddy_cdc_net_add(LogicalDecodingContext *ctx, const EddyCdcChange *change);

/* True if there are changes that have not been sent. */
extern bool eddy_cdc_net_is_pending(EddyCdcState *state);

/* Sends all net changes. */
extern void eddy_cdc_net_flush(LogicalDecodingContext *ctx);

/* Forgets the pending changes of a transaction that was rolled back, without reading catalogs. */
extern void eddy_cdc_net_discard(EddyCdcState *state);

#endif							/* EDDY_CDC_NET_H */

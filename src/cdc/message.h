/*-------------------------------------------------------------------------
 *
 * message.h
 *    Messages to the client, and signs of life while there are none.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_MESSAGE_H
#define EDDY_CDC_MESSAGE_H

#include "cdc/plugin.h"

/* A larger buffer is not kept: more than the largest batch-bytes. */
#define EDDY_CDC_MAX_IDLE_SPACE (80 * 1024 * 1024)

/* Sends the pending records as one message; returns whether there were any. */
extern bool eddy_cdc_send(LogicalDecodingContext *ctx);

/* Called after each change that the server passes. */
extern void eddy_cdc_report_progress(LogicalDecodingContext *ctx);

#endif							/* EDDY_CDC_MESSAGE_H */

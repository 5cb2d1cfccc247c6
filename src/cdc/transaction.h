/*-------------------------------------------------------------------------
 *
 * transaction.h
 *    The steps of decoding a transaction, for all ways in which the server passes them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_TRANSACTION_H
#define EDDY_CDC_TRANSACTION_H

#include "replication/output_plugin.h"

#include "cdc/plugin.h"

/* plugin.c */
extern void eddy_cdc_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
extern void eddy_cdc_decode_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
								   Relation relation, ReorderBufferChange *change);
extern void eddy_cdc_decode_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
									 int nrelations, Relation relations[],
									 ReorderBufferChange *change);

/* Adds the records that follow all changes of a transaction. */
extern void eddy_cdc_end_changes(LogicalDecodingContext *ctx);

/* Sends what was collected, with the position of the end of a transaction. */
extern void eddy_cdc_send_end(LogicalDecodingContext *ctx, XLogRecPtr end_lsn);

/* in_progress.c: the callbacks for options "streaming" and "two-phase" */
extern void eddy_cdc_set_in_progress(OutputPluginCallbacks *callbacks);
extern void eddy_cdc_start_in_progress(LogicalDecodingContext *ctx);

#endif							/* EDDY_CDC_TRANSACTION_H */

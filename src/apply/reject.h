/*-------------------------------------------------------------------------
 *
 * reject.h
 *    Rows of a tuplestore that are not accepted; for src/apply alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_APPLY_REJECT_H
#define EDDY_APPLY_REJECT_H

#include "batch.h"
#include "catalog/eddy_catalog.h"
#include "utils/rel.h"

/*
 * Marks rows of the batch without an event time as rejected, or raises an error, as the stream's
 * policy says. Returns them as a List of EddyRejection, in batch->mcxt.
 */
extern List *eddy_reject_null_event_times(EddyBatch *batch, Relation rel,
										  const EddyStream *stream);

/*
 * Writes a dead letter for each rejection, in order of the rows, with the row as JSON text.
 * Output functions and casts to json run as the stream's owner.
 */
extern void eddy_reject_write(EddyBatch *batch, Relation rel, List *rejections);

#endif							/* EDDY_APPLY_REJECT_H */

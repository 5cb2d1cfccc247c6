/*-------------------------------------------------------------------------
 *
 * seam.h
 *    Where a history ends and the messages of Kafka begin, in streams that do not store messages.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_SEAM_H
#define EDDY_SEAM_H

#include "catalog/eddy_catalog.h"

/* True if a stream does not store the messages of its sources. */
extern bool eddy_seam_is_needed(const List *streams);

/* True if all sources of the streams have offsets. */
extern bool eddy_seam_is_known(const List *streams);

/*
 * The offsets of streams that do not store messages, as a snapshot sees them (List of
 * EddyPartition).
 */
extern List *eddy_seam_read(const List *streams, Snapshot as_of);

/*
 * When writers are locked out: leaves a new view, which has all rows before the seam and all stored
 * rows, to the worker that fills views from Kafka, if messages have arrived since, or if the worker
 * has to replace another view by it. now: a snapshot that was taken after the lock. replaces: that
 * view, or InvalidOid. An error if sources were changed.
 */
extern void eddy_seam_close(const EddyView *view, const List *seam, Snapshot now, Oid replaces);

#endif							/* EDDY_SEAM_H */

/*-------------------------------------------------------------------------
 *
 * published.h
 *    The watermarks of streams in shared memory; for src/apply alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_APPLY_PUBLISHED_H
#define EDDY_APPLY_PUBLISHED_H

#include "apply/apply.h"

/* The watermark of a stream for this transaction; false: it has to be read from the tables. */
extern bool eddy_published_get(Oid stream, TimestampTz *watermark);

/* Around the reading of the tables: publishes the watermark, if nothing speaks against it. */
extern uint64 eddy_published_begin(Oid stream);
extern void eddy_published_end(Oid stream, uint64 reading, TimestampTz watermark);

extern void eddy_published_init(void);	/* from _PG_init only */

#endif							/* EDDY_APPLY_PUBLISHED_H */

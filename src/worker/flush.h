/*-------------------------------------------------------------------------
 *
 * flush.h
 *    Flushing the WAL of batches that do not wait for it: see flush.c. Private to src/worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_FLUSH_H
#define EDDY_FLUSH_H

extern void eddy_flush_commit(bool force);
extern void eddy_flush_request(void);

/* For the launcher. */
extern void eddy_flush_begin(void);
extern bool eddy_flush_serve(void);

#endif							/* EDDY_FLUSH_H */

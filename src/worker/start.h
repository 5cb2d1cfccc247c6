/*-------------------------------------------------------------------------
 *
 * start.h
 *    Offsets that are names: in eddy._partition until the worker has asked the broker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_START_H
#define EDDY_START_H

/* Stored by eddy.seek, replaced by an absolute offset when the worker starts again. */
#define EDDY_OFFSET_LATEST (-1)
#define EDDY_OFFSET_EARLIEST (-2)

#endif							/* EDDY_START_H */

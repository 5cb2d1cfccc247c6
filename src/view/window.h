/*-------------------------------------------------------------------------
 *
 * window.h
 *    The window functions: which windows contain a point in time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_WINDOW_H
#define EDDY_WINDOW_H

#include "datatype/timestamp.h"
#include "nodes/primnodes.h"

extern void eddy_window_check(FuncExpr *call);

/* A length in microseconds; errors for one that no window can have. */
extern int64 eddy_window_length(const Interval *interval);
extern void eddy_window_raise_null(void);

/* Microseconds from the start of the window that contains a time. */
extern int64 eddy_window_position(Timestamp time, int64 size, int64 offset);

#endif							/* EDDY_WINDOW_H */

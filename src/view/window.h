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

extern bool eddy_window_check(FuncExpr *call);

/* A length in microseconds; errors for one that no window can have. */
extern int64 eddy_window_length(const Interval *interval);
extern void eddy_window_raise_null(void);

/* Microseconds from the start of the window that contains a time. */
extern int64 eddy_window_position(Timestamp time, int64 size, int64 offset);

/*
 * The windows of eddy.tumble with constant lengths. find raises the errors that the function raises
 * for such a row.
 */
typedef struct EddyTumbling EddyTumbling;

extern bool eddy_window_is_bound(const FuncExpr *call, bool *is_end);
extern EddyTumbling *eddy_window_make_tumbling(const FuncExpr *call);
extern void eddy_window_find(const EddyTumbling *windows, Timestamp time, Timestamp *start,
							 Timestamp *end);

#endif							/* EDDY_WINDOW_H */

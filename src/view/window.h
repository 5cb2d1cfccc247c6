/*-------------------------------------------------------------------------
 *
 * window.h
 *    The window functions: which windows hold a point in time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_WINDOW_H
#define EDDY_WINDOW_H

#include "nodes/primnodes.h"

/*
 * eddy_window_check raises the error that a call of a window function would raise for
 * every row, from those of its lengths that are constant. Other functions pass.
 */
extern void eddy_window_check(FuncExpr *call);

#endif							/* EDDY_WINDOW_H */

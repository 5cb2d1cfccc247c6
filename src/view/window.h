/*-------------------------------------------------------------------------
 *
 * window.h
 *    The window functions: which windows contain a point in time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_WINDOW_H
#define EDDY_WINDOW_H

#include "nodes/primnodes.h"

extern void eddy_window_check(FuncExpr *call);

#endif							/* EDDY_WINDOW_H */

/*-------------------------------------------------------------------------
 *
 * quick.h
 *    The maintenance of a view by a statement that has added one row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_QUICK_H
#define EDDY_QUICK_H

#include "view/maintain.h"

extern bool eddy_quick_compute(EddyWork *work);
extern void eddy_quick_write(EddyWork *work);

#endif							/* EDDY_QUICK_H */

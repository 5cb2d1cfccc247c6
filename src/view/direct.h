/*-------------------------------------------------------------------------
 *
 * direct.h
 *    The delta of a few rows, without the executor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_DIRECT_H
#define EDDY_DIRECT_H

#include "view/plan.h"
#include "view/scan.h"

extern EddyDirect *eddy_direct_get(EddyViewPlan *plan, const EddyScanRange *range);
extern TupleTableSlot *eddy_direct_compute(EddyDirect *direct, EddyScanRange *range);
extern void eddy_direct_clear(EddyDirect *direct);
extern void eddy_direct_execute(EddyDirect *direct, EddyScanRange *range, Tuplestorestate *store,
								volatile bool *starting);

#endif							/* EDDY_DIRECT_H */

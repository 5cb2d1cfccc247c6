/*-------------------------------------------------------------------------
 *
 * group_lock.h
 *    Locks on the groups of a view that are not locked by the rows of its state tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_GROUP_LOCK_H
#define EDDY_GROUP_LOCK_H

#include "view/plan.h"

extern void eddy_group_lock(EddyViewPlan *plan, int first, int ncolumns, List *deltas);

#endif							/* EDDY_GROUP_LOCK_H */

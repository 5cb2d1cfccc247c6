/*-------------------------------------------------------------------------
 *
 * net_change.h
 *    What consumers of changes receive when the state of a view is replaced.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_NET_CHANGE_H
#define EDDY_NET_CHANGE_H

#include "view/plan.h"

typedef struct EddyNetChange EddyNetChange;

/* Compares the rows of a view before and after; old is NULL if the old state cannot be searched. */
extern EddyNetChange *eddy_net_change_begin(const EddyView *old_view, EddyViewPlan *old,
											const EddyView *new_view, EddyViewPlan *new);

/* Writes what differs, once the new table is the one that consumers know. */
extern void eddy_net_change_end(EddyNetChange *net);

#endif							/* EDDY_NET_CHANGE_H */

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

/*
 * Compares the rows of a view before and after, while others still write to the old state; old is NULL if that cannot be
 * searched. Returns NULL if there are no consumers. All arguments must exist until the end.
 */
extern EddyNetChange *eddy_net_change_compare(const EddyView *old_view, EddyViewPlan *old,
											  const EddyView *new_view, EddyViewPlan *new);

/*
 * Prepares what differs, when both states are locked and complete. net: of the function above, or NULL, and then all
 * rows are compared now.
 */
extern EddyNetChange *eddy_net_change_begin(EddyNetChange *net, const EddyView *old_view,
											EddyViewPlan *old, const EddyView *new_view,
											EddyViewPlan *new);

/* Writes what differs, once the new table is the one that consumers know. */
extern void eddy_net_change_end(EddyNetChange *net);

#endif							/* EDDY_NET_CHANGE_H */

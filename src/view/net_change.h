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
 * Compares the rows of a view before and after, while others still write to the old state; old is
 * NULL if that cannot be searched. sent: the plan of the new view with another main table, which is
 * empty, and is to become that of the view; it is filled with what consumers have. All arguments
 * must exist until the end.
 */
extern EddyNetChange *eddy_net_change_compare(const EddyView *old_view, EddyViewPlan *old,
											  const EddyView *new_view, EddyViewPlan *new,
											  EddyViewPlan *sent);

/*
 * Considers what was changed since then, when both states are locked and complete, and deletes rows
 * of the old table.
 */
extern void eddy_net_change_begin(EddyNetChange *net);

/* Writes the rows of the sent table that differ, once it is the one that consumers know. */
extern void eddy_net_change_end(EddyNetChange *net);

#endif							/* EDDY_NET_CHANGE_H */

/*-------------------------------------------------------------------------
 *
 * ttl.h
 *    idle_ttl: groups that no row has touched for a time are removed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_TTL_H
#define EDDY_TTL_H

#include "view/plan.h"

/* Adds the column to the main state table. */
extern void eddy_ttl_lay_out(EddyViewPlan *plan, EddyStateTable *table);

/* Notes in a new version that the group was touched now; stored: the version before, NULL: none. */
extern void eddy_ttl_touch(const EddyViewPlan *plan, TimestampTz now, TupleTableSlot *stored,
						   TupleTableSlot *version);

#endif							/* EDDY_TTL_H */

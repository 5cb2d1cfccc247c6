/*-------------------------------------------------------------------------
 *
 * delta_sort.h
 *    Sorting the rows of a delta into the order of their groups.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_DELTA_SORT_H
#define EDDY_DELTA_SORT_H

#include "executor/tuptable.h"
#include "view/plan.h"

typedef struct EddyDeltaSort EddyDeltaSort;

extern EddyDeltaSort *eddy_delta_sort_begin(const EddyViewPlan *plan);
extern void eddy_delta_sort_put(EddyDeltaSort *sort, TupleTableSlot *row);
extern void eddy_delta_sort_perform(EddyDeltaSort *sort);
extern bool eddy_delta_sort_next(EddyDeltaSort *sort, TupleTableSlot *row);
extern void eddy_delta_sort_end(EddyDeltaSort *sort);

#endif							/* EDDY_DELTA_SORT_H */

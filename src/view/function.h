/*-------------------------------------------------------------------------
 *
 * function.h
 *    Which functions the query of a continuous view can call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_FUNCTION_H
#define EDDY_FUNCTION_H

#include "nodes/parsenodes.h"
#include "view/plan.h"

extern void eddy_function_check(Node *node);
extern void eddy_function_check_aggregate(EddyAggregate *agg);
extern Query *eddy_function_guard_times(Query *query);

#endif							/* EDDY_FUNCTION_H */

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

/*
 * eddy_function_check raises ERRCODE_FEATURE_NOT_SUPPORTED if one of the functions that an
 * expression node itself calls is volatile, or depends on the clock, the session or
 * the way rows are stored. For each node of an expression.
 */
extern void eddy_function_check(Node *node);

/*
 * eddy_function_check_aggregate does the same for the functions that an aggregate consists
 * of, and checks that its initial condition is neutral: combining it with
 * itself must give it back.
 */
extern void eddy_function_check_aggregate(EddyAggregate *agg);

/*
 * eddy_function_guard_times returns a copy of a query in which casts of text to dates and times
 * refuse words such as 'now', whose meaning depends on the clock: an error of the row.
 */
extern Query *eddy_function_guard_times(Query *query);

#endif							/* EDDY_FUNCTION_H */

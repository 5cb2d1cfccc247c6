/*-------------------------------------------------------------------------
 *
 * kind_retracting.h
 *    What other files need to know of views whose source takes rows back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_KIND_RETRACTING_H
#define EDDY_KIND_RETRACTING_H

#include "view/plan.h"

/* A condition, for queries over a batch, that is false for a row whose new version follows. */
extern Node *eddy_retracting_is_last(const EddyViewPlan *plan);

/* A constant that stands for rows that are added, in the delta query. */
extern Expr *eddy_retracting_make_added(void);

/* True for the row of a group without rows that waits for its removal. */
extern bool eddy_retracting_is_empty(const EddyViewPlan *plan, TupleTableSlot *row);

/* aggregate_exact_sum.c */
extern Datum eddy_exact_sum_subtract(PG_FUNCTION_ARGS);

/* True for an aggregate whose partial results can be subtracted; others need their values. */
extern bool eddy_retracting_subtracts(const Aggref *aggref);

#endif							/* EDDY_KIND_RETRACTING_H */

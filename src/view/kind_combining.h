/*-------------------------------------------------------------------------
 *
 * kind_combining.h
 *    For kinds whose rows are, like those of the kind "combining", keys, states and outputs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_KIND_COMBINING_H
#define EDDY_KIND_COMBINING_H

#include "view/mark_row.h"
#include "view/merge.h"
#include "view/plan.h"

/* operations that kinds share */
extern void eddy_combining_layout(EddyViewPlan *plan, Query *query);
extern void eddy_combining_make_delta(EddyViewPlan *plan, Query *delta);
extern void eddy_combining_merge(EddyViewPlan *plan, EddyMerge *merge);

/* parts of a merge */
extern bool eddy_combining_has_values(const EddyViewPlan *plan, int agg);
extern bool eddy_combining_same_group(const EddyViewPlan *plan, const Datum *keys,
									  const bool *key_nulls, TupleTableSlot *row);
extern void eddy_combining_compute_keys(const EddyViewPlan *plan, const Datum *keys,
										const bool *key_nulls, TupleTableSlot *stored,
										TupleTableSlot *finals, TupleTableSlot *result);
extern void eddy_combining_compute_marks(const EddyViewPlan *plan, TimestampTz final_until,
										 const Datum *keys, const bool *key_nulls,
										 TupleTableSlot *stored, TupleTableSlot *result);

extern Aggref *eddy_combining_partial_aggref(const Aggref *original);
extern Expr *eddy_combining_delta_expr(const EddyViewPlan *plan, int i);
extern void eddy_combining_lay_out(EddyViewPlan *plan);
extern void eddy_combining_lay_out_results(EddyViewPlan *plan);
extern void eddy_combining_make_delta(EddyViewPlan *plan, Query *delta);
extern void eddy_combining_compute_outputs(EddyViewPlan *plan, ExprContext *econtext,
										   TupleTableSlot *finals, TupleTableSlot *result);
extern int	eddy_combining_get_marks(const EddyViewPlan *plan, const TupleTableSlot *row, bool final,
									 EddyMark *marks);
extern void eddy_combining_mark(const EddyViewPlan *plan, TupleTableSlot *row, bool final);
extern MinimalTuple eddy_combining_read(EddyViewPlan *plan, TupleDesc state_desc,
										TimestampTz final_until, TupleTableSlot *stored, int nrows,
										TupleTableSlot *(*get_row) (int number, void *arg),
										void *arg);
extern bool eddy_combining_forgets(const EddyViewPlan *plan);
/* The computation of the version of one group, kept with the plan. */
extern EddyGroup *eddy_combining_group_start(EddyViewPlan *plan, TupleDesc state_desc,
											 TimestampTz final_until, TupleTableSlot *row);
extern ItemPointer eddy_combining_group_place(EddyGroup *group);
extern const Datum *eddy_combining_group_keys(const EddyGroup *group, const bool **nulls);
extern TupleTableSlot *eddy_combining_group_compute(EddyGroup *group, TupleTableSlot *stored);

extern void eddy_combining_forget(EddyViewPlan *plan, TupleTableSlot *row);

/*
 * True for a NULL state that a strict transition function has returned, which is the result of
 * the group from then on. counter: the state that counts its inputs, if there is one.
 */
static inline bool
eddy_combining_is_lost(const EddyAggregate *agg, bool isnull, Datum counter)
{
	return isnull && (agg->null_is_lost || (agg->counter && DatumGetInt64(counter) > 0));
}

#endif							/* EDDY_KIND_COMBINING_H */

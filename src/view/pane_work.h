/*-------------------------------------------------------------------------
 *
 * pane_work.h
 *    Adding up the states of panes, and computing the row of a window from them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_PANE_WORK_H
#define EDDY_PANE_WORK_H

#include "view/combine.h"
#include "view/panes.h"

/* What the functions below work with. */
typedef struct EddyPaneWork
{
	EddyViewPlan *plan;
	TupleDesc	desc;			/* of the tables of panes and sums */
	EddyCombiner *combiner;
	ExprContext *econtext;
	TupleTableSlot *finals;		/* keys and final values, for expressions */
	TupleTableSlot *result;		/* a row of the main table */
} EddyPaneWork;

extern void eddy_pane_begin(EddyPaneWork *work, EddyViewPlan *plan, TupleDesc panes,
							TupleDesc results);
extern void eddy_pane_end(EddyPaneWork *work);

/* A value of a column of a row, copied to the current memory context. */
extern void eddy_pane_copy_value(TupleDesc desc, AttrNumber column, Datum value, bool isnull,
								 Datum *to, bool *to_null);

/* The states of a row of the table of panes or sums, copied likewise. */
extern EddyState *eddy_pane_copy(const EddyPaneWork *work, TupleTableSlot *row);

/* *sum += states; all of *sum, NULL if there is no sum yet, is in the given memory context. */
extern void eddy_pane_add(EddyPaneWork *work, MemoryContext mcxt, EddyState **sum,
						  const EddyState *states);

/* Frees such a sum, which becomes NULL. */
extern void eddy_pane_free(const EddyPaneWork *work, EddyState **sum);

/*
 * Computes the row of a key and a window in work->result, from the states of its parts, of which
 * NULL ones are empty. False if HAVING is. The row is valid until the next call.
 */
extern bool eddy_pane_compute(EddyPaneWork *work, TimestampTz start, TimestampTz end,
							  const Datum *keys, const bool *nulls, int nparts,
							  const EddyState *const *parts);

static inline void
eddy_pane_set(TupleTableSlot *slot, int index, Datum value, bool isnull)
{
	slot->tts_values[index] = value;
	slot->tts_isnull[index] = isnull;
}

#endif							/* EDDY_PANE_WORK_H */

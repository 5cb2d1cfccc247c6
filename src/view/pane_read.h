/*-------------------------------------------------------------------------
 *
 * pane_read.h
 *    Reads windows that are still open from their panes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_PANE_READ_H
#define EDDY_PANE_READ_H

#include "view/plan.h"

/* A condition on a column of the view, which holds for all rows that are wanted. */
typedef struct EddyPaneCondition
{
	int			column;			/* of the view, from 0 */
	Oid			opr;			/* compares it with the value; InvalidOid: it is NULL */
	Oid			collation;
	bool		any;			/* with any element of the value */
	Datum		value;
	bool		isnull;
} EddyPaneCondition;

typedef struct EddyPaneRead EddyPaneRead;

/*
 * The view that has a table of panes, if the current user may read it, or the call was permitted
 * (pane_call.h); an error otherwise.
 */
extern EddyView *eddy_pane_read_view(Oid table, bool permitted);

/*
 * Begins to read the open windows of a view, in a memory context of its own in the current one. The
 * plan must remain pinned until the end.
 */
extern EddyPaneRead *eddy_pane_read_begin(EddyViewPlan *plan);

/* True if a column of the view is a key besides the bounds of windows. */
extern bool eddy_pane_read_is_key(const EddyPaneRead *r, int column);

/* True if rows are found by a condition on this column with this operator (InvalidOid: IS NULL). */
extern bool eddy_pane_read_searches(const EddyPaneRead *r, const EddyPaneCondition *condition);

/*
 * The keys and bounds of windows that the result depends on; others may be left out. accept, if it
 * is not NULL, is called with the row of each key, in which only the columns of keys are set, and
 * says whether the key is wanted.
 */
extern void eddy_pane_read_start(EddyPaneRead *r, const EddyPaneCondition *conditions, int nconditions,
								 bool (*accept) (void *arg, const Datum *values, const bool *nulls),
								 void *arg);

/* The next row, in the columns of the view, valid until the next call; false: there is none. */
extern bool eddy_pane_read_next(EddyPaneRead *r, Datum **values, bool **nulls);
extern void eddy_pane_read_end(EddyPaneRead *r);

/* From _PG_init only (pane_scan.c). */
extern void eddy_pane_scan_init(void);

#endif							/* EDDY_PANE_READ_H */

/*-------------------------------------------------------------------------
 *
 * panes.h
 *    Panes: the parts of which the overlapping windows of eddy.hop and eddy.cumulate consist.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_PANES_H
#define EDDY_PANES_H

#include "datatype/timestamp.h"
#include "nodes/parsenodes.h"
#include "view/merge.h"
#include "view/plan.h"

/*
 * The windows of a view and their panes. Lengths are in microseconds, event times are on the scale
 * of timestamps. A pane contains start <= time < end, as a window does.
 */
struct EddyPanes
{
	bool		cumulates;
	int64		pane;			/* length of a pane */
	int64		slide;			/* between the ends of two windows */
	int64		size;			/* of the longest window */
	int64		block;			/* length of the blocks of which sums are kept; a multiple of slide */
	int64		offset;			/* by which panes, and cycles of cumulating windows, are aligned */
	int64		end_offset;		/* by which the ends of windows, and blocks, are aligned */
	Index		rti;			/* of the window function in the range table */
	Node	   *windows;		/* its call in the definition */
	Node	   *tumble;			/* the call that returns the pane of a row instead */
	int			nbounds;		/* keys that are bounds of the window: its end, perhaps its start */
};

/* The panes of a query, in the current memory context; NULL if it is not suitable for them. */
extern EddyPanes *eddy_panes_analyze(const Query *query, Index stream_rti);

/* True if a view with such windows costs less with panes than with a row for each window. */
extern bool eddy_panes_pay(const EddyPanes *panes);

/* The first end of a window, and the first of a block, after a time. */
extern TimestampTz eddy_panes_next_end(const EddyPanes *panes, TimestampTz after);
extern TimestampTz eddy_panes_next_block(const EddyPanes *panes, TimestampTz after);

/* The start of the window that ends at a time. */
extern TimestampTz eddy_panes_window_start(const EddyPanes *panes, TimestampTz end);

/* The ends of the first and the last window that contain a pane, given by its end. */
extern TimestampTz eddy_panes_first_end(const EddyPanes *panes, TimestampTz pane_end);
extern TimestampTz eddy_panes_last_end(const EddyPanes *panes, TimestampTz pane_end);

/*
 * True if rows of a pane, given by its end, belong to no window that accepts them: they have no
 * event time, or are late for all windows that contain the pane. Notes late rows. Raises an error
 * if a window that contains the pane is not in the range of timestamps.
 */
extern bool eddy_panes_leave_out(const EddyPanes *panes, EddyJudgment *judgment, bool is_null,
								 TimestampTz pane_end);

#endif							/* EDDY_PANES_H */

/*-------------------------------------------------------------------------
 *
 * emit_every.h
 *    emit => 'every ...': changes of a group become visible at most once in an interval.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_EMIT_EVERY_H
#define EDDY_EMIT_EVERY_H

#include "view/plan.h"

/* Adds the columns to the main state table, after all others. */
extern int	eddy_emit_max_columns(const EddyViewPlan *plan);
extern void eddy_emit_lay_out(EddyViewPlan *plan, EddyStateTable *table);

/*
 * The column for the latest value of an output, which is the one of the view if it always shows
 * it.
 */
static inline AttrNumber
eddy_emit_latest(const EddyOutput *output)
{
	return output->latest_column ? output->latest_column : output->column;
}

/*
 * Decides what a new version, which has the latest values, shows: these, or what stored shows
 * (NULL: a new group).
 */
extern void eddy_emit_pace(const EddyViewPlan *plan, TimestampTz now, TupleTableSlot *stored,
						   TupleTableSlot *version);

/* True for the row of a group that is removed when its window closes, instead of becoming final. */
extern bool eddy_emit_removes(const EddyViewPlan *plan, TupleTableSlot *row);

/*
 * Parts of that, for sessions, which are not one row each: whether the interval since a change was
 * shown is over; a version that shows its latest values, or that is not in the view, and pending:
 * shall be later.
 */
extern bool eddy_emit_is_over(const EddyViewPlan *plan, TimestampTz shown_at, TimestampTz now);
extern bool eddy_emit_is_in_view(const EddyViewPlan *plan, TupleTableSlot *version);
extern void eddy_emit_show(const EddyViewPlan *plan, TimestampTz now, TupleTableSlot *version);
extern void eddy_emit_hide(const EddyViewPlan *plan, TimestampTz shown_at, bool pending,
						   TupleTableSlot *version);

/* Shows changes that are not shown yet. */
extern void eddy_emit_show_pending(const EddyViewPlan *plan, TupleTableSlot *version);

#endif							/* EDDY_EMIT_EVERY_H */

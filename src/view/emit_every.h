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

/* Shows changes that are not shown yet. */
extern void eddy_emit_show_pending(const EddyViewPlan *plan, TupleTableSlot *version);

#endif							/* EDDY_EMIT_EVERY_H */

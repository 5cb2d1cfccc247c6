/*-------------------------------------------------------------------------
 *
 * kind_panes.h
 *    The tables of panes and of sums over panes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_KIND_PANES_H
#define EDDY_KIND_PANES_H

#include "view/panes.h"

/* State tables, by their position in plan->state_tables. */
enum
{
	PANE_RESULTS,				/* the main table: final rows */
	PANE_PANES,
	PANE_SUMS
};

/* Columns of the tables of panes and sums, from 1; the keys of groups and the states follow. */
enum
{
	PANE_FIRST_END = 1,			/* the first window that counts the row; of sums: the end of the block */
	PANE_END,
	PANE_KEY
};

/* The keys of a group besides the bounds of its window. */
static inline int
eddy_kind_panes_nkeys(const EddyViewPlan *plan)
{
	return plan->nkeys - plan->panes->nbounds;
}

/* Such a key, by its number from 0. */
static inline EddyKey *
eddy_kind_panes_key(const EddyViewPlan *plan, int n)
{
	return &plan->keys[plan->panes->nbounds + n];
}

/* ---- pane_close.c ---- */

extern TimestampTz eddy_pane_next_due(EddyViewPlan *plan, const EddyViewProgress *progress);
extern bool eddy_pane_close(EddyViewPlan *plan, EddyViewProgress *progress,
							TimestampTz watermark, int64 *budget);

#endif							/* EDDY_KIND_PANES_H */

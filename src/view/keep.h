/*-------------------------------------------------------------------------
 *
 * keep.h
 *    Results that remain when the query of a continuous view is replaced.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_KEEP_H
#define EDDY_KEEP_H

#include "utils/snapshot.h"
#include "view/plan.h"

/* How the state of a new query follows from that of the old one. */
typedef struct EddyKeep
{
	EddyViewPlan *old;
	EddyViewPlan *new;
	bool		same;			/* all state tables serve as they are */
	int		   *keys;			/* for each key of the new query, the old one */
	int		   *aggs;			/* for each aggregate the old one, -1: it is new */
	int		   *outputs;		/* for each column the old one with that expression, -1: none */
	bool		having;			/* the condition is the same */
	bool		adds;			/* an aggregate is new */
} EddyKeep;

/*
 * Compares the definitions of a view. NULL if the state of the old one cannot serve the new one;
 * *reason is then a sentence. State tables that serve as they are become those of the new plan.
 */
extern EddyKeep *eddy_keep_compare(EddyViewPlan *old, Query *old_definition, EddyViewPlan *new,
								   Query *new_definition, const char **reason);

/*
 * Fills the new main state table from the rows of the old one that the active snapshot sees, and
 * follows later changes of these: those that the active snapshot sees and "since" does not. Returns
 * their number.
 */
extern void eddy_keep_convert(EddyKeep *keep);
extern int64 eddy_keep_convert_changed(EddyKeep *keep, Snapshot since);

#endif							/* EDDY_KEEP_H */

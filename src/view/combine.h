/*-------------------------------------------------------------------------
 *
 * combine.h
 *    Combining and finalizing transition states outside of an Agg node.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_COMBINE_H
#define EDDY_COMBINE_H

#include "view/plan.h"

/*
 * What combine and final functions are called under: an AggState borrowed from
 * a trivial query that was started, which AggCheckCallContext accepts.
 */
typedef struct EddyCombiner
{
	QueryDesc  *query;
	AggState   *aggstate;
	MemoryContext mcxt;			/* of the states; reset it after each group */
} EddyCombiner;

extern EddyCombiner *eddy_combine_begin(void);
extern void eddy_combine_end(EddyCombiner *combiner);

/* A state in the form in which it is stored: NULL or a Datum of state_type. */
typedef struct EddyState
{
	Datum		value;
	bool		isnull;
} EddyState;

/*
 * Combines what the delta query gave with each other: partial += more. Both are
 * of partial_type. Results live in combiner->mcxt.
 */
extern void eddy_combine_partial(EddyCombiner *combiner, EddyAggregate *agg, EddyState *partial,
								 const EddyState *more);

/*
 * Combines a stored state (NULL for a new group) with a partial state into the
 * state to be stored and the final value. Results live in combiner->mcxt.
 */
extern void eddy_combine_stored(EddyCombiner *combiner, EddyAggregate *agg,
								const EddyState *stored, bool is_new, const EddyState *partial,
								EddyState *new_stored, EddyState *final);

#endif							/* EDDY_COMBINE_H */

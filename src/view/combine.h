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

/* The aggregate context of the calls: an AggState that AggCheckCallContext accepts. */
typedef struct EddyCombiner
{
	QueryDesc  *query;
	AggState   *aggstate;
	MemoryContext mcxt;			/* of all results; the caller resets it after each group */
} EddyCombiner;

extern EddyCombiner *eddy_combine_begin(void);
extern void eddy_combine_end(EddyCombiner *combiner);

/* A state in the form in which it is stored: NULL or a Datum of state_type. */
typedef struct EddyState
{
	Datum		value;
	bool		isnull;
} EddyState;

extern void eddy_combine_partial(EddyCombiner *combiner, EddyAggregate *agg, EddyState *partial,
								 const EddyState *more);

extern void eddy_combine_stored(EddyCombiner *combiner, EddyAggregate *agg,
								const EddyState *stored, bool is_new, const EddyState *partial,
								EddyState *new_stored, EddyState *final);

#endif							/* EDDY_COMBINE_H */

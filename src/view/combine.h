/*-------------------------------------------------------------------------
 *
 * combine.h
 *    Combining and finalizing transition states outside of an Agg node.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_COMBINE_H
#define EDDY_COMBINE_H

#include "nodes/execnodes.h"
#include "view/plan.h"

/* The aggregate context of the calls: an AggState that AggCheckCallContext accepts. */
typedef struct EddyCombiner
{
	EState	   *estate;
	AggState   *aggstate;
	MemoryContext mcxt;			/* of all results; the caller resets it after each group */
	MemoryContext row_mcxt;		/* of what is needed for one call */
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
 * A state that is collected from any number of results of the delta query and stored states. It
 * lives in the combiner's context.
 */
typedef struct EddyAccumulator
{
	bool		has_transition; /* transition is set */
	EddyState	transition;		/* as functions expect it */
	bool		has_sum;		/* sum is set */
	EddyState	sum;			/* of stored final values that are added instead */
} EddyAccumulator;

extern void eddy_combine_add_partial(EddyCombiner *combiner, EddyAggregate *agg,
									 EddyAccumulator *accumulator, const EddyState *partial);
extern void eddy_combine_add_stored(EddyCombiner *combiner, EddyAggregate *agg,
									EddyAccumulator *accumulator, const EddyState *stored);
extern EddyState eddy_combine_add_in_place(EddyCombiner *combiner, EddyAggregate *agg,
										   const EddyState *sum, const EddyState *stored);
extern void eddy_combine_finish(EddyCombiner *combiner, EddyAggregate *agg,
								EddyAccumulator *accumulator, EddyState *new_stored,
								EddyState *final);

extern void eddy_combine_partial(EddyCombiner *combiner, EddyAggregate *agg, EddyState *partial,
								 const EddyState *more);

extern void eddy_combine_stored(EddyCombiner *combiner, EddyAggregate *agg,
								const EddyState *stored, bool is_new, const EddyState *partial,
								EddyState *new_stored, EddyState *final);

#endif							/* EDDY_COMBINE_H */

/*-------------------------------------------------------------------------
 *
 * analyze.h
 *    Takes the definition of a continuous view apart.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_ANALYZE_H
#define EDDY_ANALYZE_H

#include "view/plan.h"

/*
 * The streams that a definition reads: List of Oid, in the order of its branches; errors for shapes
 * that cannot be maintained.
 */
extern List *eddy_analyze_sources(Query *query);

/* What is maintained of a definition for the rows of one of its streams, as one flat SELECT. */
extern Query *eddy_analyze_flatten(Query *definition, Oid stream);

/*
 * All of it, into a plan, and those of further streams (plan->others); of its kind, or of the first
 * one that accepts the definition.
 */
extern void eddy_analyze_query(EddyViewPlan *plan, Query *query);

/* For kinds: keys, aggregates, outputs and HAVING of a query that groups. */
extern void eddy_analyze_groups(EddyViewPlan *plan, Query *query);

/* empty_sets.c, called by the former */
extern void eddy_empty_sets_note(EddyViewPlan *plan, Query *query);

/* For kinds: keys alone; and the columns of a query that does not group. */
extern void eddy_analyze_keys(EddyViewPlan *plan, Query *query, List *clauses);
extern void eddy_analyze_rows(EddyViewPlan *plan, Query *query);

/* The aggregate calls of a definition, each different one once: List of Aggref, not copied. */
extern List *eddy_analyze_aggrefs(Query *query);

#endif							/* EDDY_ANALYZE_H */

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

/* Oid of the stream that a definition reads; errors for shapes that cannot be maintained. */
extern Oid	eddy_analyze_stream(Query *query);

/* All of it, into a plan whose kind is known. */
extern void eddy_analyze_query(EddyViewPlan *plan, Query *query);

/* For kinds: keys, aggregates, outputs and HAVING of a query that groups. */
extern void eddy_analyze_groups(EddyViewPlan *plan, Query *query);

/* The aggregate calls of a definition, each different one once: List of Aggref, not copied. */
extern List *eddy_analyze_aggrefs(Query *query);

#endif							/* EDDY_ANALYZE_H */

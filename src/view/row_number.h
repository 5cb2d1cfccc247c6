/*-------------------------------------------------------------------------
 *
 * row_number.h
 *    Queries that keep the first row of each key by row_number(), as DISTINCT ON: see row_number.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_ROW_NUMBER_H
#define EDDY_ROW_NUMBER_H

#include "nodes/parsenodes.h"

/* The parts of such a query. */
typedef struct EddyRowNumber
{
	Index		rti;			/* of the sub-select */
	RangeTblEntry *rte;
	TargetEntry *number;		/* its column with row_number() */
	WindowClause *window;
} EddyRowNumber;

extern bool eddy_row_number_find(Query *query, EddyRowNumber *found);
extern void eddy_row_number_replace(Query *query, const EddyRowNumber *found);

#endif							/* EDDY_ROW_NUMBER_H */

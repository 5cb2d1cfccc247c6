/*-------------------------------------------------------------------------
 *
 * late_pairs.h
 *    The query that finds the late rows of a batch, for the kinds of views that adapt it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_LATE_PAIRS_H
#define EDDY_LATE_PAIRS_H

#include "datatype/timestamp.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"

/* Columns of its result: pairs of a row and a window. */
enum
{
	EDDY_LATE_PLACE = 1,		/* of the row in the batch */
	EDDY_LATE_START,
	EDDY_LATE_END,
	EDDY_LATE_KEY				/* and following: what the kind adds */
};

extern TargetEntry *eddy_late_make_target(AttrNumber resno, Node *expr);
extern void eddy_late_add_condition(Query *query, Node *time, TimestampTz until);

#endif							/* EDDY_LATE_PAIRS_H */

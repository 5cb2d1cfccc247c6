/*-------------------------------------------------------------------------
 *
 * mark_row.h
 *    New versions of rows of which only marks change.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_MARK_ROW_H
#define EDDY_MARK_ROW_H

#include "access/attnum.h"
#include "executor/tuptable.h"

/* A column of type boolean that is not NULL, and its value in the new version. */
typedef struct EddyMark
{
	AttrNumber	column;
	bool		value;
} EddyMark;

/* Most marks that a row has. */
#define EDDY_MAX_MARKS 2

/*
 * Makes the new version in a slot with TTSOpsHeapTuple, from a stored row. False if it has to be
 * made from its values instead.
 */
extern bool eddy_mark_row(TupleTableSlot *stored, const EddyMark *marks, int nmarks,
						  TupleTableSlot *version);

#endif							/* EDDY_MARK_ROW_H */

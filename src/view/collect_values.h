/*-------------------------------------------------------------------------
 *
 * collect_values.h
 *    The form of the values of a batch, as eddy._collect serializes them.
 *
 * A header, whose first word is the length of a bytea, and minimal tuples with columns (place,
 * values...). Each begins at a multiple of MAXIMUM_ALIGNOF from the start of the bytea.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_COLLECT_VALUES_H
#define EDDY_COLLECT_VALUES_H

typedef struct EddyValuesHeader
{
	int32		vl_len_;
	uint32		count;
} EddyValuesHeader;

#define EDDY_VALUES_OFFSET MAXALIGN(sizeof(EddyValuesHeader))

#endif							/* EDDY_COLLECT_VALUES_H */

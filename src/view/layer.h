/*-------------------------------------------------------------------------
 *
 * layer.h
 *    The part of a definition that is maintained, and the part that is applied when reading.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_LAYER_H
#define EDDY_LAYER_H

#include "nodes/parsenodes.h"

typedef struct EddyLayers
{
	Query	   *core;			/* what is maintained */
	Query	   *reader;			/* what is applied when reading, NULL: nothing */
	List	   *places;			/* of RangeTblEntry: sub-selects of the reader that stand for the core */
} EddyLayers;

extern void eddy_layer_split(EddyLayers *layers, Query *definition);
extern bool eddy_layer_is_updatable(const EddyLayers *layers);
extern Query *eddy_layer_make_view(EddyLayers *layers, Query *rows);
extern AttrNumber *eddy_layer_find_columns(const EddyLayers *layers, int *ncolumns);

#endif							/* EDDY_LAYER_H */

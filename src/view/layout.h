/*-------------------------------------------------------------------------
 *
 * layout.h
 *    Adding columns to the layout of a state table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_LAYOUT_H
#define EDDY_LAYOUT_H

#include "view/upsert.h"

/*
 * Add a column to an array that has space for it; the name of a hidden one gives way to the
 * others.
 */
extern AttrNumber eddy_layout_add(EddyStateTable *table, const char *name, Oid type, int32 typmod,
								  Oid collation, bool not_null);
extern AttrNumber eddy_layout_add_hidden(EddyStateTable *table, const char *name, Oid type,
										 int32 typmod, Oid collation, bool not_null);

#endif							/* EDDY_LAYOUT_H */

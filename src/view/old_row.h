/*-------------------------------------------------------------------------
 *
 * old_row.h
 *    Whether the WAL needs the old rows of updates.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_OLD_ROW_H
#define EDDY_OLD_ROW_H

#include "utils/rel.h"

/*
 * Before and after a row of a state table is updated: leaves the old row out of the WAL, if the current
 * transaction may do so. The result of the first is passed to the second, also after an error.
 */
extern bool eddy_old_row_omit(Relation rel);
extern void eddy_old_row_restore(Relation rel, bool omitted);

#endif							/* EDDY_OLD_ROW_H */

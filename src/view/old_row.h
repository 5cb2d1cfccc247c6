/*-------------------------------------------------------------------------
 *
 * old_row.h
 *    Whether the WAL needs the old rows of updates.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_OLD_ROW_H
#define EDDY_OLD_ROW_H

#include "access/tableam.h"
#include "executor/tuptable.h"
#include "utils/rel.h"

/*
 * True if a consumer may receive the changes of the current transaction, so that it needs old rows.
 */
extern bool eddy_old_row_needed(void);

/*
 * Replaces the version of a row of a state table at a place, as table_tuple_update does; the old
 * row is in the WAL only if the current transaction needs it there.
 */
extern TM_Result eddy_old_row_update(Relation rel, ItemPointer place, TupleTableSlot *row,
									 bool *update_indexes);

#endif							/* EDDY_OLD_ROW_H */

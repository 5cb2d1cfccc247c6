/*-------------------------------------------------------------------------
 *
 * rows_since.h
 *    What transactions have changed in a table since a snapshot was taken.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_ROWS_SINCE_H
#define EDDY_ROWS_SINCE_H

#include "executor/tuptable.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

/* present: whether the second snapshot sees the row. */
typedef void (*EddyRowFunction) (TupleTableSlot *row, bool present, void *arg);

/*
 * Both snapshots must be registered, the first one since it was taken: then no version is vacuumed
 * or frozen that it does not see. "inserted" calls the function for each row that was inserted
 * between both, even if it has been deleted; "changed" for each version that one of them sees and
 * the other does not. Returns the number of calls.
 */
extern int64 eddy_rows_inserted_since(Relation rel, Snapshot since, Snapshot now,
									  EddyRowFunction function, void *arg);
extern int64 eddy_rows_changed_since(Relation rel, Snapshot since, Snapshot now,
									 EddyRowFunction function, void *arg);

#endif							/* EDDY_ROWS_SINCE_H */

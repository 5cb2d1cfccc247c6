/*-------------------------------------------------------------------------
 *
 * history.h
 *    Rows of a stream from a query over ordinary tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_HISTORY_H
#define EDDY_HISTORY_H

#include "utils/relcache.h"
#include "utils/tuplestore.h"

#include "apply/apply.h"

typedef struct EddyHistory EddyHistory;

/*
 * Starts a query, as a role, with the active snapshot. Its columns are matched with those of the
 * stream, by name.
 */
extern EddyHistory *eddy_history_begin(const EddyHistoryQuery *query, Oid role, Relation stream);

/* Adds the next rows, at most max of them, to a tuplestore; returns their number. */
extern int64 eddy_history_read(EddyHistory *history, Tuplestorestate *store, int64 max);

extern void eddy_history_end(EddyHistory *history);

#endif							/* EDDY_HISTORY_H */

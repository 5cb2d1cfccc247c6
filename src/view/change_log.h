/*-------------------------------------------------------------------------
 *
 * change_log.h
 *    Changes of rows of a view that are kept for eddy.changes.
 *
 * For the files of view/ alone; other layers use view.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CHANGE_LOG_H
#define EDDY_CHANGE_LOG_H

#include "catalog/eddy_catalog.h"
#include "executor/tuptable.h"

/* Values of eddy._change.op. Of a row that is too large only the key is kept. */
#define EDDY_KEPT_CREATE 'c'
#define EDDY_KEPT_UPDATE 'u'
#define EDDY_KEPT_DELETE 'd'
#define EDDY_KEPT_CREATE_LARGE 'C'
#define EDDY_KEPT_UPDATE_LARGE 'U'

/* ---- part of a record of changes (changes.h) ---- */

typedef struct EddyChangeLog EddyChangeLog;

/* NULL if the changes of the view are not kept. In the current memory context. */
extern EddyChangeLog *eddy_change_log_make(Oid view);

/* A change of a row of the main state table, which the caller has locked; NULL: no such version. */
extern void eddy_change_log_add(EddyChangeLog *log, TupleTableSlot *old, TupleTableSlot *new);

/* Forgets what was added, as a subtransaction was rolled back. */
extern void eddy_change_log_clear(EddyChangeLog *log);

/* Writes what was added. */
extern void eddy_change_log_write(EddyChangeLog *log);
extern void eddy_change_log_free(EddyChangeLog *log);

#endif							/* EDDY_CHANGE_LOG_H */

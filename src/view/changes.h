/*-------------------------------------------------------------------------
 *
 * changes.h
 *    The changes that maintenance makes to the rows of a view, for their observers.
 *
 * An observer is registered once per process. It is asked for each view that is about to be written
 * whether it wants the changes, and receives those of each view when all merges of the batch into
 * that view are done, still in the transaction of the batch (apply/cascade.c). Rows have the
 * columns of the view, and only rows that are in the view are shown: HAVING and emit => 'on_close'
 * have been applied, as for the output plugin. A view without observers costs one call for each
 * batch.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CHANGES_H
#define EDDY_CHANGES_H

#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "utils/tuplestore.h"

/* Why rows were changed. */
typedef enum EddyChangeCause
{
	EDDY_CAUSE_BATCH,			/* rows of a stream, or of the view that this one reads, were counted */
	EDDY_CAUSE_CLOSE,			/* windows have closed */
	EDDY_CAUSE_EXPIRE,			/* retention has passed */
	EDDY_CAUSE_DELETE,			/* a user has deleted rows through the view */
	EDDY_CAUSE_REBUILD			/* the view was emptied, to be filled again */
} EddyChangeCause;

/* What a recorded row is. */
typedef enum EddyChangeMark
{
	EDDY_CHANGE_INSERT = 'i',
	EDDY_CHANGE_OLD = 'o',		/* the version that the next recorded row replaces */
	EDDY_CHANGE_NEW = 'n',
	EDDY_CHANGE_DELETE = 'd',
	EDDY_CHANGE_FINAL = 'f'		/* became final, without a change of its columns */
} EddyChangeMark;

/* True for a row that the view does not have any more. */
static inline bool
eddy_changes_is_removed(char mark)
{
	return mark == EDDY_CHANGE_OLD || mark == EDDY_CHANGE_DELETE;
}

/* The changes of one view, in the order in which they were made. */
typedef struct EddyChanges
{
	Oid			view;
	EddyChangeCause cause;
	TupleDesc	desc;			/* of the view; columns computed by its query when reading are NULL */
	int			nshown;			/* columns of the view; others follow, for views that combine them */
	Tuplestorestate *rows;		/* recorded rows, of desc; spills beyond work_mem */
	char	   *marks;			/* EddyChangeMark of each recorded row */
	bool	   *finals;			/* the row is final: it will not change again, except by late rows */
	int64		nrows;
	int64		capacity;
	AttrNumber *columns;		/* of each column in the main state table; 0: not stored */
	struct EddyChangesMap *map; /* how rows of that table are recorded */
	bool		observed;		/* false: rows are counted, not recorded */
	struct EddyChangeLog *log;	/* for eddy.changes (change_log.h); NULL: they are not kept */
} EddyChanges;

/* One change of a row. */
typedef struct EddyRowChange
{
	EddyChangeMark op;			/* INSERT, DELETE, FINAL, or NEW: an update */
	bool		final;			/* of the new row, or of a deleted one */
	TupleTableSlot *old_row;	/* of an update and of DELETE, otherwise NULL; deformed */
	TupleTableSlot *new_row;	/* of INSERT, an update and FINAL, otherwise NULL; deformed */
} EddyRowChange;

typedef struct EddyChangeObserver
{
	/* True if the changes of a view are wanted. Called often: from a cache. */
	bool		(*wants) (Oid view);

	/*
	 * Takes the changes of one view, which are freed afterwards. Called in the subtransaction that
	 * has made them, with an active snapshot, when no part of them is repeated any more.
	 */
	void		(*receive) (EddyChanges *changes);
} EddyChangeObserver;

/* From _PG_init only; observer must remain valid. */
extern void eddy_changes_register(const EddyChangeObserver *observer);

/* True if an observer wants the changes of a view. */
extern bool eddy_changes_wanted(Oid view);

/* Passes changes to all who want them. */
extern void eddy_changes_deliver(EddyChanges *changes);

/* ---- reading ---- */

typedef struct EddyChangesReader EddyChangesReader;

extern EddyChangesReader *eddy_changes_begin_read(EddyChanges *changes);

/* False after the last change. Rows are valid until the next call. */
extern bool eddy_changes_next(EddyChangesReader *reader, EddyRowChange *change);
extern void eddy_changes_end_read(EddyChangesReader *reader);

/* ---- recording ---- */

/*
 * Makes an empty record for a view, described by its columns in the main state table (0: not
 * stored), in the current memory context, with temporary files of the current resource owner.
 */
extern EddyChanges *eddy_changes_make(Oid view, EddyChangeCause cause, const AttrNumber *columns,
									  int ncolumns, AttrNumber visible_column,
									  AttrNumber final_column);

/*
 * Adds the other columns of the state table to an empty record: they are not columns of the view.
 */
extern void eddy_changes_add_hidden(EddyChanges *changes, Oid state_table);

/* Adds a change of a row of the main state table: NULL for a version that does not exist. */
extern void eddy_changes_record(EddyChanges *changes, TupleTableSlot *old_row,
								TupleTableSlot *new_row);
/* A record of the current memory context with what two records of the same view have. */
extern EddyChanges *eddy_changes_unite(EddyChanges *first, EddyChanges *second);
extern void eddy_changes_clear(EddyChanges *changes);
extern void eddy_changes_free(EddyChanges *changes);

#endif							/* EDDY_CHANGES_H */

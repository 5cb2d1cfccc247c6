/*-------------------------------------------------------------------------
 *
 * merge_state.h
 *    What the two files of a merge share: merge.c and merge_rows.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_MERGE_STATE_H
#define EDDY_MERGE_STATE_H

#include "view/delta_sort.h"
#include "view/merge.h"

typedef enum MergePass
{
	PASS_ONLY,					/* read, compute and write each group */
	PASS_COMPUTE,				/* the first of two passes */
	PASS_WRITE,					/* the second one */
	PASS_TRIAL
} MergePass;

/*
 * What the first pass has computed of one state table: for each group the place of the version that
 * was read, and its new version unless that would be the same.
 */
typedef struct ComputedRows
{
	Tuplestorestate *versions;
	ItemPointer places;			/* invalid: a new row */
	bool	   *same;			/* nothing has to be written */
	int64		nrows;
	int64		capacity;
} ComputedRows;

/* A change of a group of several rows. */
typedef enum ChangeKind
{
	CHANGE_REMOVE,
	CHANGE_REPLACE,
	CHANGE_INSERT,
	CHANGE_END					/* of the group */
} ChangeKind;

typedef struct Change
{
	uint8		kind;			/* ChangeKind */
	uint8		table;
	ItemPointerData place;		/* of an existing row */
} Change;

/* An array that grows. */
typedef struct Changes
{
	Change	   *changes;
	int64		n;
	int64		capacity;
} Changes;

struct EddyMergeResult
{
	MemoryContext mcxt;
	Tuplestorestate *groups;	/* rows of the delta, in order of key; usually one for each group */
	Changes		changes;		/* of groups of several rows; their versions are in the tables */
	int			ntables;
	ComputedRows tables[FLEXIBLE_ARRAY_MEMBER];
};

/* One state table during a merge. */
typedef struct MergeTable
{
	EddyUpsert *upsert;
	TupleTableSlot *stored;		/* the version of the current group in the table, NULL: none */
	TupleTableSlot *tried;		/* PASS_TRIAL: a version made by an earlier step */
	TupleTableSlot *computed;	/* PASS_WRITE: a version made by the first pass */
	ItemPointerData changed;	/* the version that others have replaced; invalid: none */
	int64		next;			/* PASS_WRITE: index of the next one */

	/* PASS_TRIAL: the next rows of the range that is read */
	TupleTableSlot *next_stored;
	TupleTableSlot *next_tried;
	TupleTableSlot *fetched;	/* the one of them that was returned last */
} MergeTable;

struct EddyMerge
{
	EddyViewPlan *plan;
	MergePass	pass;
	EddyMergeResult *result;	/* of the first pass */
	EddyTrial  *trial;
	EddyJudgment *judgment;

	/* the input */
	List	   *deltas;
	int			position;		/* of the delta that is read, if they are not sorted */
	bool		judges;			/* late groups are left out while they are read */
	EddyDeltaSort *sort;			/* NULL: not sorted */
	TupleTableSlot *row;

	/* groups of several rows */
	MemoryContext mcxt;			/* of this merge */
	MemoryContext pending_mcxt; /* of the versions of the current group */
	Changes		pending;		/* changes of the current group */
	List	   *versions;		/* of MinimalTuple: of these changes */
	int			next_version;	/* index of the next one */
	int64		next_change;	/* PASS_WRITE: index of the next one in the result */

	MergeTable	tables[FLEXIBLE_ARRAY_MEMBER];
};

/*
 * eddy_merge_show_tried returns a slot with a version that an earlier step of the trial has made.
 */
extern TupleTableSlot *eddy_merge_show_tried(MergeTable *target, MinimalTuple tuple);

#endif							/* EDDY_MERGE_STATE_H */

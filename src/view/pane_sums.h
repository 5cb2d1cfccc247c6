/*-------------------------------------------------------------------------
 *
 * pane_sums.h
 *    The sums of panes from which closing combines windows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_PANE_SUMS_H
#define EDDY_PANE_SUMS_H

#include "lib/rbtree.h"
#include "utils/sortsupport.h"
#include "utils/timestamp.h"
#include "view/kind_panes.h"
#include "view/pane_work.h"

/* The sum of the panes of a block from one of them on. */
typedef struct EddyHeadSum
{
	TimestampTz pane_end;		/* of the first of these panes */
	EddyState  *states;
} EddyHeadSum;

/* The sums of one key. */
typedef struct EddyKeySums
{
	Datum	   *keys;
	bool	   *nulls;
	EddyHeadSum    *heads;			/* in order of their panes; those before next are over */
	int			nheads;
	int			max_heads;
	int			next;
	EddyState  *middle;			/* NULL: no rows */
	EddyState  *tail;			/* likewise */
} EddyKeySums;

/* A row of the table of panes that the current window is the first to count. */
typedef struct EddyNewPaneRow
{
	EddyKeySums    *sums;			/* of the key; its sums are not in memory if it is done */
	bool		counts;			/* they are */
	TimestampTz pane_end;
	EddyState  *states;
	bool		late;			/* for earlier windows of its pane */
	ItemPointerData place;
} EddyNewPaneRow;

/* Rows of a table that need not be read, as the last one shows: none; or, of the same first end, */
typedef enum EddyPaneSkip
{
	EDDY_PANE_SKIP_NONE,
	EDDY_PANE_SKIP_DONE,		/* those of keys until the position */
	EDDY_PANE_SKIP_REST			/* those of the following keys: there is no space for them */
} EddyPaneSkip;

struct EddyPaneSums
{
	EddyViewPlan *plan;
	const EddyPanes *panes;
	int			nkeys;			/* of a key, without bounds of windows */
	TupleDesc	desc;			/* of the tables of panes and sums */
	EddyPaneWork work;
	MemoryContext mcxt;			/* of the sums */
	MemoryContext range_mcxt;
	MemoryContext head_mcxt;
	MemoryContext window_mcxt;
	TupleTableSlot *copy;		/* of a row of the main table */
	EddyUpsert *results;		/* the main table */
	EddyUpsert *stream;			/* reads the new rows of all windows of the range */
	TupleTableSlot *next_row;	/* of these; NULL: none */
	TimestampTz until;			/* of the last window of the range */
	Datum	   *after_keys;		/* of the table of panes or sums: the position, in a first end */
	bool	   *after_nulls;

	/* the keys */
	SortSupport comparators;
	RBTree	   *tree;
	int			nsums;
	int			max_sums;
	bool		overflow;		/* there are more keys, after these */
	EddyKeySums *greatest;		/* the last of the keys; NULL: not known */
	EddyPaneSkip skip;
	bool		has_position;	/* keys until here are done with the current window */
	EddyKeySums		position;
	ItemPointerData position_place;

	/* the current window */
	TimestampTz end;
	TimestampTz start;
	TimestampTz head_end;		/* of the head block */
	TimestampTz tail_start;
	List	   *new_rows;		/* of EddyNewPaneRow */
	EddyKeySums    *one;			/* compute this key only */
	int64		limit;			/* compute so many keys at most */
	int64		ncomputed;
	EddyKeySums    *last;			/* the last key that was computed */
	List	   *rows;			/* of MinimalTuple: rows of the main table */

	/* while the sums are kept: what was closed, and by which transaction */
	bool		loaded;
	TimestampTz closed_until;
	int64		closed_groups;
	TransactionId xid;
	TimestampTz kept_at;
};

/* The end of the next window after a time; DT_NOEND: there is none. */
static inline TimestampTz
eddy_pane_next_end(const EddyPanes *panes, TimestampTz after)
{
	if (after >= END_TIMESTAMP - 2 * panes->slide)
		return DT_NOEND;
	return eddy_panes_next_end(panes, after);
}

static inline TimestampTz
eddy_pane_row_time(TupleTableSlot *row, AttrNumber column)
{
	return DatumGetTimestampTz(row->tts_values[column - 1]);
}

/* No keys, in a context of its own. */
extern EddyPaneSums *eddy_pane_sums_make(EddyViewPlan *plan);
extern void eddy_pane_sums_clear(EddyPaneSums *c);

/* The keys, in their order. */
extern EddyKeySums *eddy_pane_sums_first(EddyPaneSums *c, RBTreeIterator *walk);
extern EddyKeySums *eddy_pane_sums_next(RBTreeIterator *walk);
extern EddyKeySums *eddy_pane_sums_make_key(const EddyPaneSums *c, MemoryContext mcxt,
											TupleTableSlot *row);

/* Calls a function for each row of a table whose first column is in a range. */
extern void eddy_pane_sums_read_range(EddyPaneSums *c, int table, TimestampTz after,
									  TimestampTz until,
									  void (*function) (EddyPaneSums *, TupleTableSlot *));

/*
 * Computes all sums of the current window without its new rows; those that another head block
 * changes.
 */
extern void eddy_pane_sums_load(void *arg);
extern void eddy_pane_sums_open_head_block(void *arg);

/*
 * Takes the new rows of the current window from the stream of all; false if there are too many
 * keys.
 */
extern bool eddy_pane_sums_take_new_rows(EddyPaneSums *c, bool first);
extern void eddy_pane_sums_add_new_rows(void *arg);

/* Keys that have no rows in the current window. */
extern bool eddy_pane_sums_is_empty(const EddyKeySums *sums);
extern void eddy_pane_sums_remove_empty(EddyPaneSums *c);

/*
 * Keeps the sums for the next transaction; those that were kept, if they are still right, or
 * NULL.
 */
extern void eddy_pane_sums_keep(EddyPaneSums *c, const EddyViewProgress *progress);
extern EddyPaneSums *eddy_pane_sums_take(EddyViewPlan *plan, const EddyViewProgress *progress);

#endif							/* EDDY_PANE_SUMS_H */

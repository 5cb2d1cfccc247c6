/*-------------------------------------------------------------------------
 *
 * pane_close.c
 *    Closes windows that are combined from panes.
 *
 * A window can consist of thousands of panes, and the next one of almost the same. So for each key
 * three sums are kept in memory while a range of windows is closed, from which each window is
 * combined:
 *
 *         start of window                                        end of window
 *               |                                                      |
 *     [ head block ][ block ][ block ] ... [ block ][ block ][ tail block ]
 *               <-->  <------------- middle -------------->   <------->
 *               head                                             tail
 *
 * The tail grows with each window by its new rows. When the tail's block is complete its sum is
 * stored, and added to the middle. The head is one of the sums of the last panes of its block, which
 * are computed from the panes once for each block; then the middle is summed up from the blocks
 * again. With blocks of about the square root of the number of panes, a window costs a constant
 * number of additions, and beginning anew (in the next transaction, or after a crash) costs each key
 * about three times that square root of rows to be read. Nothing is subtracted, because most
 * aggregates cannot be. Cumulating windows have a head only when a range begins within a cycle.
 *
 * Rows that were late for earlier windows of their pane are added to the sums when the first window
 * that counts them closes, and then to the pane that is stored, and to the sum of its block.
 *
 * If the budget is used up within a window, the key at which the next transaction continues is
 * stored in the table of sums, in a row whose end is infinity. The window does not change between:
 * its rows are late. At most MAX_KEYS keys are in memory: if a window has more, the first ones that
 * are not done yet are.
 *
 * Final values, expressions over them and HAVING are computed here for the first time. If that fails
 * for a group, the group becomes a dead letter of the view, or with policy stop the view is suspended.
 * The transaction that closes must not fail: it is that of a batch that has nothing to do with it.
 *
 * Locking: see closing.c; no other transaction writes to the tables of panes and sums meanwhile.
 * Memory: one context for each range, within it one for the heads and one for each window. A crash
 * leaves nothing: all is part of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "lib/rbtree.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/sortsupport.h"
#include "utils/timestamp.h"

#include "view/kind.h"
#include "view/kind_panes.h"
#include "view/maintain.h"
#include "view/pane_work.h"
#include "view/view.h"

/* Keys whose sums are in memory at a time. */
#define MAX_KEYS 50000

/* Sums that are kept between transactions: of how many keys, in how much memory, for how long. */
#define MAX_KEPT_KEYS 20000
#define MAX_KEPT_SIZE (32 * 1024 * 1024)
#define MAX_KEPT_AGE (60 * USECS_PER_SEC)

/* The closing of a range of windows, with the sums of its keys. */
typedef EddyPaneSums PaneClosing;

/* The sum of the panes of a block from one of them on. */
typedef struct HeadSum
{
	TimestampTz pane_end;		/* of the first of these panes */
	EddyState  *states;
} HeadSum;

/* The sums of one key. */
typedef struct KeySums
{
	Datum	   *keys;
	bool	   *nulls;
	HeadSum    *heads;			/* in order of their panes; those before next are over */
	int			nheads;
	int			max_heads;
	int			next;
	EddyState  *middle;			/* NULL: no rows */
	EddyState  *tail;			/* likewise */
} KeySums;

/* Node of the tree of keys. */
typedef struct KeyNode
{
	RBTNode		node;
	KeySums    *sums;
} KeyNode;

/* A row of the table of panes that the current window is the first to count. */
typedef struct NewRow
{
	KeySums    *sums;			/* of the key; its sums are not in memory if it is done */
	bool		counts;			/* they are */
	TimestampTz pane_end;
	EddyState  *states;
	bool		late;			/* for earlier windows of its pane */
	ItemPointerData place;
} NewRow;

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

	/* the keys */
	SortSupport comparators;
	RBTree	   *tree;
	int			nsums;
	int			max_sums;
	bool		overflow;		/* there are more keys, after these */
	bool		has_position;	/* keys until here are done with the current window */
	KeySums		position;
	ItemPointerData position_place;

	/* the current window */
	TimestampTz end;
	TimestampTz start;
	TimestampTz head_end;		/* of the head block */
	TimestampTz tail_start;
	List	   *new_rows;		/* of NewRow */
	KeySums    *one;			/* compute this key only */
	int64		limit;			/* compute so many keys at most */
	int64		ncomputed;
	KeySums    *last;			/* the last key that was computed */
	List	   *rows;			/* of MinimalTuple: rows of the main table */

	/* while the sums are kept: what was closed, and by which transaction */
	bool		loaded;
	TimestampTz closed_until;
	int64		closed_groups;
	TransactionId xid;
	TimestampTz kept_at;
};

/* ---- bounds ---- */

static TimestampTz
next_end(const EddyPanes *panes, TimestampTz after)
{
	if (after >= END_TIMESTAMP - 2 * panes->slide)
		return DT_NOEND;
	return eddy_panes_next_end(panes, after);
}

/* The event time from which on panes are needed by windows that are not closed. */
static TimestampTz
needed_from(const EddyPanes *panes, TimestampTz closed_until)
{
	TimestampTz end;

	if (TIMESTAMP_IS_NOBEGIN(closed_until))
		return DT_NOBEGIN;
	end = next_end(panes, closed_until);
	return TIMESTAMP_IS_NOEND(end) ? DT_NOEND : eddy_panes_window_start(panes, end);
}

static TimestampTz
row_time(TupleTableSlot *row, AttrNumber column)
{
	return DatumGetTimestampTz(row->tts_values[column - 1]);
}

/* ---- keys ---- */

static int
compare_keys(const PaneClosing *c, const KeySums *left, const KeySums *right)
{
	for (int i = 0; i < c->nkeys; i++)
	{
		int			order = ApplySortComparator(left->keys[i], left->nulls[i],
												right->keys[i], right->nulls[i],
												&c->comparators[i]);

		if (order != 0)
			return order;
	}
	return 0;
}

static int
compare_nodes(const RBTNode *a, const RBTNode *b, void *arg)
{
	return compare_keys(arg, ((const KeyNode *) a)->sums, ((const KeyNode *) b)->sums);
}

static void
keep_node(RBTNode *existing pg_attribute_unused(), const RBTNode *new pg_attribute_unused(),
		  void *arg pg_attribute_unused())
{
}

static RBTNode *
allocate_node(void *arg)
{
	return MemoryContextAllocZero(((PaneClosing *) arg)->mcxt, sizeof(KeyNode));
}

/* The node that is freed can be another one, whose contents were moved. */
static void
free_node(RBTNode *node, void *arg pg_attribute_unused())
{
	pfree(node);
}

static RBTree *
make_tree(PaneClosing *c)
{
	MemoryContext old = MemoryContextSwitchTo(c->mcxt);
	RBTree	   *tree = rbt_create(sizeof(KeyNode), compare_nodes, keep_node, allocate_node,
								  free_node, c);

	MemoryContextSwitchTo(old);
	return tree;
}

static KeySums *
make_key(const PaneClosing *c, MemoryContext mcxt, TupleTableSlot *row)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	KeySums    *sums = palloc0(sizeof(KeySums) + c->nkeys * (sizeof(Datum) + sizeof(bool)));

	sums->keys = (Datum *) (sums + 1);
	sums->nulls = (bool *) (sums->keys + c->nkeys);
	for (int i = 0; i < c->nkeys; i++)
		eddy_pane_copy_value(c->desc, PANE_KEY + i, row->tts_values[PANE_KEY - 1 + i],
				   row->tts_isnull[PANE_KEY - 1 + i], &sums->keys[i], &sums->nulls[i]);
	MemoryContextSwitchTo(old);
	return sums;
}

static void
remove_key(PaneClosing *c, KeySums *sums)
{
	KeyNode		wanted = {.sums = sums};

	rbt_delete(c->tree, rbt_find(c->tree, (RBTNode *) &wanted));
	c->nsums--;
	for (int i = 0; i < c->nkeys; i++)
		if (!sums->nulls[i] && !TupleDescAttr(c->desc, PANE_KEY - 1 + i)->attbyval)
			pfree(DatumGetPointer(sums->keys[i]));
	pfree(sums);
}

/* Removes the last key, because there are too many. */
static void
remove_last(PaneClosing *c)
{
	RBTreeIterator walk;

	rbt_begin_iterate(c->tree, RightLeftWalk, &walk);
	remove_key(c, ((KeyNode *) rbt_iterate(&walk))->sums);
	c->overflow = true;
}

/*
 * The sums of the key of a row. NULL if the key is done with the current window, or is after those
 * that are in memory.
 */
static KeySums *
find_sums(PaneClosing *c, TupleTableSlot *row)
{
	KeySums		wanted = {
		.keys = &row->tts_values[PANE_KEY - 1],
		.nulls = &row->tts_isnull[PANE_KEY - 1]
	};
	KeyNode		node = {.sums = &wanted};
	KeyNode    *found = (KeyNode *) rbt_find(c->tree, (RBTNode *) &node);
	bool		is_new;

	if (found)
		return found->sums;
	/* when a window was interrupted, only the rest of its keys is needed */
	if (c->has_position && c->nkeys > 0 && compare_keys(c, &wanted, &c->position) <= 0)
		return NULL;
	node.sums = make_key(c, c->mcxt, row);
	(void) rbt_insert(c->tree, (RBTNode *) &node, &is_new);
	if (++c->nsums <= c->max_sums)
		return node.sums;
	remove_last(c);
	/* that was this one, perhaps */
	node.sums = &wanted;
	found = (KeyNode *) rbt_find(c->tree, (RBTNode *) &node);
	return found ? found->sums : NULL;
}

static KeySums *
first_sums(PaneClosing *c, RBTreeIterator *walk)
{
	KeyNode    *node;

	rbt_begin_iterate(c->tree, LeftRightWalk, walk);
	node = (KeyNode *) rbt_iterate(walk);
	return node ? node->sums : NULL;
}

static KeySums *
next_sums(RBTreeIterator *walk)
{
	KeyNode    *node = (KeyNode *) rbt_iterate(walk);

	return node ? node->sums : NULL;
}

/* ---- reading panes and blocks ---- */

/* Calls a function for each row of a table whose first column is in a range. */
static void
read_range(PaneClosing *c, int table, TimestampTz after, TimestampTz until,
		   void (*function) (PaneClosing *, TupleTableSlot *))
{
	EddyUpsert *upsert;
	TupleTableSlot *row;

	if (after >= until)
		return;
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	upsert = eddy_upsert_open(list_nth(c->plan->state_tables, table), c->plan->name);
	eddy_upsert_seek_range(upsert, after, until);
	while ((row = eddy_upsert_next(upsert)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		function(c, row);
	}
	eddy_upsert_close(upsert);
	PopActiveSnapshot();
}

/* True for a row of a pane; others were late for some of its windows and are not counted yet. */
static bool
is_pane(const PaneClosing *c, TupleTableSlot *row)
{
	return row_time(row, PANE_FIRST_END) == eddy_panes_first_end(c->panes, row_time(row, PANE_END));
}

static void
insert_head(PaneClosing *c, KeySums *sums, int at, TimestampTz pane_end, EddyState *states)
{
	if (sums->nheads == sums->max_heads)
	{
		int			max_heads = Max(2 * sums->max_heads, 8);
		HeadSum    *heads = MemoryContextAlloc(c->head_mcxt, sizeof(HeadSum) * max_heads);

		if (sums->nheads > 0)
			memcpy(heads, sums->heads, sizeof(HeadSum) * sums->nheads);
		sums->heads = heads;
		sums->max_heads = max_heads;
	}
	memmove(&sums->heads[at + 1], &sums->heads[at], sizeof(HeadSum) * (sums->nheads - at));
	sums->heads[at].pane_end = pane_end;
	sums->heads[at].states = states;
	sums->nheads++;
}

/* A pane of the head block. Those of one window come in order of keys, not of panes. */
static void
read_head(PaneClosing *c, TupleTableSlot *row)
{
	TimestampTz pane_end = row_time(row, PANE_END);
	KeySums    *sums;
	MemoryContext old;
	int			at;

	if (!is_pane(c, row) || pane_end - c->panes->pane < c->start ||
		pane_end > Min(c->head_end, c->tail_start))
		return;
	sums = find_sums(c, row);
	if (sums == NULL)
		return;
	for (at = sums->nheads; at > 0 && sums->heads[at - 1].pane_end > pane_end; at--)
		;
	old = MemoryContextSwitchTo(c->head_mcxt);
	insert_head(c, sums, at, pane_end, eddy_pane_copy(&c->work, row));
	MemoryContextSwitchTo(old);
}

static void
read_block(PaneClosing *c, TupleTableSlot *row)
{
	KeySums    *sums = find_sums(c, row);
	MemoryContext old = MemoryContextSwitchTo(c->window_mcxt);

	if (sums)
		eddy_pane_add(&c->work, c->mcxt, &sums->middle, eddy_pane_copy(&c->work, row));
	MemoryContextSwitchTo(old);
}

static void
read_tail(PaneClosing *c, TupleTableSlot *row)
{
	KeySums    *sums = is_pane(c, row) ? find_sums(c, row) : NULL;
	MemoryContext old = MemoryContextSwitchTo(c->window_mcxt);

	if (sums)
		eddy_pane_add(&c->work, c->mcxt, &sums->tail, eddy_pane_copy(&c->work, row));
	MemoryContextSwitchTo(old);
}

/* Computes heads and middles for the current window, whose head block has become another one. */
static void
open_head_block(void *arg)
{
	PaneClosing *c = arg;
	TimestampTz counted = c->end - c->panes->slide;
	RBTreeIterator walk;

	MemoryContextReset(c->head_mcxt);
	for (KeySums *sums = first_sums(c, &walk); sums; sums = next_sums(&walk))
	{
		sums->heads = NULL;
		sums->nheads = sums->max_heads = sums->next = 0;
		sums->middle = NULL;	/* its memory goes with the range */
	}
	c->head_end = eddy_panes_next_block(c->panes, c->start);
	read_range(c, PANE_PANES, c->start, Min(c->head_end, counted), read_head);
	for (KeySums *sums = first_sums(c, &walk); sums; sums = next_sums(&walk))
		for (int i = sums->nheads - 2; i >= 0; i--)
			eddy_pane_add(&c->work, c->head_mcxt, &sums->heads[i].states, sums->heads[i + 1].states);
	read_range(c, PANE_SUMS, c->head_end, c->tail_start, read_block);
}

/* Computes all sums of the keys of the current window, without its new rows. */
static void
load(void *arg)
{
	PaneClosing *c = arg;

	c->start = eddy_panes_window_start(c->panes, c->end);
	c->tail_start = Max(eddy_panes_next_block(c->panes, c->end - 1) - c->panes->block, c->start);
	open_head_block(c);
	read_range(c, PANE_PANES, c->tail_start, c->end - c->panes->slide, read_tail);
}

/* ---- one window ---- */

/* Takes the new rows of the window from the stream of all. False if there are too many keys. */
static bool
take_new_rows(PaneClosing *c, bool first)
{
	MemoryContextReset(c->window_mcxt);
	c->new_rows = NIL;
	for (; c->next_row && row_time(c->next_row, PANE_FIRST_END) == c->end;
		 c->next_row = eddy_upsert_next(c->stream))
	{
		MemoryContext old;
		NewRow	   *new;
		KeySums    *sums = find_sums(c, c->next_row);

		/* only the first window of a range is closed for a part of its keys */
		if (c->overflow && !first)
			return false;
		old = MemoryContextSwitchTo(c->window_mcxt);
		new = palloc(sizeof(NewRow));
		new->sums = sums ? sums : make_key(c, c->window_mcxt, c->next_row);
		new->counts = (sums != NULL);
		new->pane_end = row_time(c->next_row, PANE_END);
		new->states = eddy_pane_copy(&c->work, c->next_row);
		new->late = !is_pane(c, c->next_row);
		new->place = c->next_row->tts_tid;
		c->new_rows = lappend(c->new_rows, new);
		MemoryContextSwitchTo(old);
	}
	return true;
}

/* Adds a late row of the head block to the sums that contain its pane. */
static void
add_to_head(PaneClosing *c, KeySums *sums, const NewRow *new)
{
	int			at = sums->next;
	bool		found = false;

	for (; at < sums->nheads && sums->heads[at].pane_end <= new->pane_end; at++)
	{
		found |= sums->heads[at].pane_end == new->pane_end;
		eddy_pane_add(&c->work, c->head_mcxt, &sums->heads[at].states, new->states);
	}
	if (!found)
	{
		EddyState  *states = NULL;

		eddy_pane_add(&c->work, c->head_mcxt, &states, new->states);
		if (at < sums->nheads)
			eddy_pane_add(&c->work, c->head_mcxt, &states, sums->heads[at].states);
		insert_head(c, sums, at, new->pane_end, states);
	}
}

/* Heads of panes that are no longer in the window are over. */
static void
advance_head(const PaneClosing *c, KeySums *sums)
{
	while (sums->next < sums->nheads &&
		   sums->heads[sums->next].pane_end - c->panes->pane < c->start)
		sums->next++;
}

static void
add_new_rows(void *arg)
{
	PaneClosing *c = arg;
	RBTreeIterator walk;
	ListCell   *lc;

	for (KeySums *sums = first_sums(c, &walk); sums; sums = next_sums(&walk))
		advance_head(c, sums);
	foreach(lc, c->new_rows)
	{
		NewRow	   *new = lfirst(lc);
		KeySums    *sums = new->sums;

		if (!new->counts)
			continue;
		if (new->pane_end > c->tail_start)
			eddy_pane_add(&c->work, c->mcxt, &sums->tail, new->states);
		else if (new->pane_end > c->head_end)
			eddy_pane_add(&c->work, c->mcxt, &sums->middle, new->states);
		else
			add_to_head(c, sums, new);
	}
}

static bool
is_empty(const KeySums *sums)
{
	return sums->next >= sums->nheads && sums->middle == NULL && sums->tail == NULL;
}

/* Computes the row of a key and the current window, and keeps it unless HAVING is false. */
static void
compute_row(PaneClosing *c, const KeySums *sums)
{
	const EddyState *const parts[] = {
		sums->next < sums->nheads ? sums->heads[sums->next].states : NULL,
		sums->middle, sums->tail
	};

	if (!eddy_pane_compute(&c->work, c->start, c->end, sums->keys, sums->nulls,
						   lengthof(parts), parts))
		return;
	eddy_upsert_check_row(c->results, c->work.result);
	c->rows = lappend(c->rows, ExecCopySlotMinimalTuple(c->work.result));
}

/* Computes the rows of the keys of the current window. */
static void
compute_rows(void *arg)
{
	PaneClosing *c = arg;
	MemoryContext old = MemoryContextSwitchTo(c->window_mcxt);
	RBTreeIterator walk;

	c->rows = NIL;
	c->ncomputed = 0;
	for (KeySums *sums = first_sums(c, &walk); sums && c->ncomputed < c->limit;
		 sums = next_sums(&walk))
	{
		CHECK_FOR_INTERRUPTS();
		if (is_empty(sums))
			continue;
		compute_row(c, sums);
		c->ncomputed++;
		c->last = sums;
	}
	MemoryContextSwitchTo(old);
}

static void
compute_one(void *arg)
{
	PaneClosing *c = arg;
	MemoryContext old = MemoryContextSwitchTo(c->window_mcxt);

	compute_row(c, c->one);
	MemoryContextSwitchTo(old);
}

/* ---- errors ---- */

/* The view cannot be maintained. */
static void
suspend(PaneClosing *c, ErrorData *error)
{
	eddy_view_suspend(c->plan->view, error->message, error->sqlerrcode);
}

/* Runs a step that combines states. If that fails the view is suspended, and the result is false. */
static bool
run_step(PaneClosing *c, void (*step) (void *))
{
	ErrorData  *error = eddy_delta_run_for(c->plan, step, c, true);

	if (error == NULL)
		return true;
	if (!eddy_batch_is_row_error(error))
		ReThrowError(error);
	suspend(c, error);
	return false;
}

static void
write_dead_letter(const PaneClosing *c, const ErrorData *error)
{
	EddyDeadLetter letter = {
		.stream = c->plan->stream,
		.view = c->plan->view,
		.partition = -1,
		.offset = -1,
		.sqlerrcode = error->sqlerrcode
	};

	letter.error = psprintf("closing a window that ends at %s: %s", timestamptz_to_str(c->end),
							eddy_batch_describe_error(error));
	eddy_catalog_insert_dead_letter(&letter);
}

/* Computes the rows one by one, after it has failed for one of them. */
static bool
compute_carefully(PaneClosing *c)
{
	RBTreeIterator walk;

	c->rows = NIL;
	c->ncomputed = 0;
	for (KeySums *sums = first_sums(c, &walk); sums && c->ncomputed < c->limit;
		 sums = next_sums(&walk))
	{
		ErrorData  *error;

		if (is_empty(sums))
			continue;
		c->one = sums;
		error = eddy_delta_run_for(c->plan, compute_one, c, true);
		if (error && !eddy_batch_is_row_error(error))
			ReThrowError(error);
		if (error && !c->plan->dead_letters)
		{
			suspend(c, error);
			return false;
		}
		if (error)
			write_dead_letter(c, error);
		c->ncomputed++;
		c->last = sums;
	}
	return true;
}

static bool
compute(PaneClosing *c)
{
	ErrorData  *error = eddy_delta_run_for(c->plan, compute_rows, c, true);

	if (error == NULL)
		return true;
	if (!eddy_batch_is_row_error(error))
		ReThrowError(error);
	return compute_carefully(c);
}

/* ---- writing ---- */

static void
write_rows(PaneClosing *c)
{
	ListCell   *lc;

	foreach(lc, c->rows)
	{
		ExecStoreMinimalTuple(lfirst(lc), c->copy, false);
		eddy_upsert_add(c->results, c->copy);
	}
	ExecClearTuple(c->copy);
}

/* Adds states to a row of the table of panes or sums; to a new one if it does not exist. */
static void
add_to_row(PaneClosing *c, int table, const KeySums *sums, TimestampTz first_end, TimestampTz end,
		   const EddyState *states)
{
	EddyViewPlan *plan = c->plan;
	EddyUpsert *upsert;
	TupleTableSlot *stored;
	TupleTableSlot *row = MakeSingleTupleTableSlot(c->desc, &TTSOpsVirtual);
	EddyState  *total = NULL;
	const EddyStateTable *layout = list_nth(plan->state_tables, table);
	Datum		keys[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	upsert = eddy_upsert_open(layout, plan->name);
	eddy_pane_set(row, PANE_FIRST_END - 1, TimestampTzGetDatum(first_end), false);
	eddy_pane_set(row, PANE_END - 1, TimestampTzGetDatum(end), false);
	for (int i = 0; i < c->nkeys; i++)
		eddy_pane_set(row, PANE_KEY - 1 + i, sums->keys[i], sums->nulls[i]);
	for (int i = 0; i < layout->nkeys; i++)
	{
		AttrNumber	column = eddy_upsert_order(layout)[i].column;

		keys[i] = row->tts_values[column - 1];
		nulls[i] = row->tts_isnull[column - 1];
	}

	stored = eddy_upsert_find(upsert, keys, nulls);
	if (stored)
	{
		total = eddy_pane_copy(&c->work, stored);
		for (int i = 0; i < PANE_KEY - 1 + c->nkeys; i++)
			eddy_pane_set(row, i, stored->tts_values[i], stored->tts_isnull[i]);
	}
	eddy_pane_add(&c->work, CurrentMemoryContext, &total, states);
	for (int i = 0; i < plan->naggs; i++)
		eddy_pane_set(row, plan->aggs[i].state_column - 1, total ? total[i].value : (Datum) 0,
				  total ? total[i].isnull : true);
	ExecStoreVirtualTuple(row);
	if (stored ? !eddy_upsert_update(upsert, &stored->tts_tid, row) :
		!eddy_upsert_insert(upsert, row))
		elog(ERROR, "panes of continuous view \"%s\" were written concurrently", plan->name);
	eddy_upsert_close(upsert);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(row);
}

static void
delete_row(PaneClosing *c, int table, ItemPointer place)
{
	EddyUpsert *upsert;

	PushActiveSnapshot(GetLatestSnapshot());
	upsert = eddy_upsert_open(list_nth(c->plan->state_tables, table), c->plan->name);
	if (!eddy_upsert_delete(upsert, place))
		elog(ERROR, "panes of continuous view \"%s\" were written concurrently", c->plan->name);
	eddy_upsert_close(upsert);
	PopActiveSnapshot();
}

/* Adds the late rows of the window to what is stored of their panes and blocks. */
static void
store_late_rows(void *arg)
{
	PaneClosing *c = arg;
	MemoryContext old = MemoryContextSwitchTo(c->window_mcxt);
	ListCell   *lc;

	foreach(lc, c->new_rows)
	{
		NewRow	   *new = lfirst(lc);
		TimestampTz block_end;

		if (!new->late)
			continue;
		delete_row(c, PANE_PANES, &new->place);
		add_to_row(c, PANE_PANES, new->sums, eddy_panes_first_end(c->panes, new->pane_end),
				   new->pane_end, new->states);
		block_end = eddy_panes_next_block(c->panes, new->pane_end - c->panes->pane);
		if (block_end <= c->tail_start)
			add_to_row(c, PANE_SUMS, new->sums, block_end, block_end, new->states);
	}
	MemoryContextSwitchTo(old);
}

/*
 * The tail has become a block: stores its sum, of the keys that are done with the window, and makes
 * it a part of the middle.
 */
static void
store_block(void *arg)
{
	PaneClosing *c = arg;
	EddyViewPlan *plan = c->plan;
	TupleTableSlot *row = MakeSingleTupleTableSlot(c->desc, &TTSOpsVirtual);
	EddyUpsert *upsert;
	RBTreeIterator walk;

	PushActiveSnapshot(GetLatestSnapshot());
	upsert = eddy_upsert_open(list_nth(plan->state_tables, PANE_SUMS), plan->name);
	for (KeySums *sums = first_sums(c, &walk); sums; sums = next_sums(&walk))
	{
		if (sums->tail == NULL)
			continue;
		ExecClearTuple(row);
		eddy_pane_set(row, PANE_FIRST_END - 1, TimestampTzGetDatum(c->end), false);
		eddy_pane_set(row, PANE_END - 1, TimestampTzGetDatum(c->end), false);
		for (int i = 0; i < c->nkeys; i++)
			eddy_pane_set(row, PANE_KEY - 1 + i, sums->keys[i], sums->nulls[i]);
		for (int i = 0; i < plan->naggs; i++)
			eddy_pane_set(row, plan->aggs[i].state_column - 1, sums->tail[i].value,
					  sums->tail[i].isnull);
		eddy_upsert_add(upsert, ExecStoreVirtualTuple(row));
		eddy_pane_add(&c->work, c->mcxt, &sums->middle, sums->tail);
		sums->tail = NULL;
		if (sums == c->last)
			break;
	}
	eddy_upsert_flush(upsert);
	eddy_upsert_close(upsert);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(row);
}

/* Removes keys that have no rows in the window. */
static void
remove_empty(PaneClosing *c)
{
	List	   *empty = NIL;
	RBTreeIterator walk;
	ListCell   *lc;

	for (KeySums *sums = first_sums(c, &walk); sums; sums = next_sums(&walk))
		if (is_empty(sums))
			empty = lappend(empty, sums);
	foreach(lc, empty)
		remove_key(c, lfirst(lc));
	list_free(empty);
}

/* ---- the key at which an interrupted window continues ---- */

static void
read_position(PaneClosing *c, TupleTableSlot *row)
{
	c->position = *make_key(c, c->mcxt, row);
	c->position_place = row->tts_tid;
	c->has_position = true;
}

static void
forget_position(PaneClosing *c)
{
	if (c->has_position)
		delete_row(c, PANE_SUMS, &c->position_place);
	c->has_position = false;
}

static void
store_position(PaneClosing *c)
{
	forget_position(c);
	add_to_row(c, PANE_SUMS, c->last, DT_NOEND, DT_NOEND, NULL);
}

/* ---- a range of windows ---- */

/* Begins the current window. False if the view was suspended. */
static bool
begin_window(PaneClosing *c)
{
	TimestampTz start = eddy_panes_window_start(c->panes, c->end);
	bool		moved = start != c->start;

	c->start = start;
	if (moved && c->panes->cumulates)
	{
		/* rows of the last cycle are in no window of this one */
		MemoryContextReset(c->head_mcxt);
		c->tree = make_tree(c);
		c->nsums = 0;
		c->head_end = eddy_panes_next_block(c->panes, start);
		c->tail_start = Max(c->tail_start, start);
	}
	else if (moved && start >= c->head_end)
		return run_step(c, open_head_block);
	return true;
}

/* Closes the current window. False if there is nothing more to do in this range. */
static bool
close_window(PaneClosing *c, bool first, int64 *budget, int64 *closed, bool *done)
{
	bool		ends_block = c->end == eddy_panes_next_block(c->panes, c->end - 1);
	bool		resumed = c->has_position;
	bool		partial;

	*done = false;
	if (!first && !begin_window(c))
		return false;
	if (!take_new_rows(c, first) || !run_step(c, add_new_rows))
		return false;
	c->limit = *budget;
	c->last = NULL;
	if (!compute(c))
		return false;
	write_rows(c);
	*budget -= c->ncomputed;
	*closed += c->ncomputed;
	remove_empty(c);
	partial = c->overflow || (*budget <= 0 && c->ncomputed < c->nsums);
	if (partial)
	{
		if (c->last && ends_block && !run_step(c, store_block))
			return false;
		if (c->last)
			store_position(c);
		return false;
	}
	forget_position(c);
	*done = true;
	if (!run_step(c, store_late_rows) || (ends_block && !run_step(c, store_block)))
		return false;
	if (ends_block)
		c->tail_start = c->end;
	/* the keys that were done before are not in memory */
	return *budget > 0 && !resumed;
}

/* The end of the next window that has rows; DT_NOEND: there is none. */
static TimestampTz
next_window(const PaneClosing *c)
{
	if (c->nsums > 0)
		return next_end(c->panes, c->end);
	return c->next_row ? row_time(c->next_row, PANE_FIRST_END) : DT_NOEND;
}

/* Makes another window the current one, after windows without rows. False: view suspended. */
static bool
jump(PaneClosing *c, TimestampTz end)
{
	if (end == c->end + c->panes->slide)
	{
		c->end = end;
		return true;
	}
	c->end = end;
	c->tree = make_tree(c);
	c->nsums = 0;
	return run_step(c, load);
}

static void
remove_range(PaneClosing *c, int table, TimestampTz after, TimestampTz until, TimestampTz needed)
{
	EddyUpsert *upsert;
	TupleTableSlot *row;
	int64		length = table == PANE_PANES ? c->panes->pane : c->panes->block;

	if (after >= until)
		return;
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	upsert = eddy_upsert_open(list_nth(c->plan->state_tables, table), c->plan->name);
	eddy_upsert_seek_range(upsert, after, until);
	while ((row = eddy_upsert_next(upsert)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		/* the head is computed from panes, so only whole blocks are needed */
		if (row_time(row, PANE_END) - length < needed &&
			!eddy_upsert_delete(upsert, &row->tts_tid))
			elog(ERROR, "panes of continuous view \"%s\" were written concurrently",
				 c->plan->name);
	}
	eddy_upsert_close(upsert);
	PopActiveSnapshot();
}

/* Removes panes and blocks that windows have needed, and that none that is open needs. */
static void
remove_panes(PaneClosing *c, TimestampTz closed_before, TimestampTz closed_until)
{
	TimestampTz after = needed_from(c->panes, closed_before);
	TimestampTz needed = needed_from(c->panes, closed_until);
	TimestampTz until;

	if (needed <= after)
		return;
	/* the first end of such panes; and of blocks that contain the first one that is needed */
	until = TIMESTAMP_IS_NOEND(needed) ? END_TIMESTAMP : needed + c->panes->slide;
	remove_range(c, PANE_PANES, after, Min(until, closed_until), needed);
	remove_range(c, PANE_SUMS, after, TIMESTAMP_IS_NOEND(needed) ? END_TIMESTAMP :
				 needed + c->panes->block, needed);
}

static PaneClosing *
make_closing(EddyViewPlan *plan)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy panes",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	PaneClosing *c = palloc0(sizeof(PaneClosing));

	c->plan = plan;
	c->panes = plan->panes;
	c->nkeys = eddy_kind_panes_nkeys(plan);
	c->mcxt = mcxt;
	c->head_mcxt = AllocSetContextCreate(mcxt, "pg_eddy heads of windows",
										 ALLOCSET_DEFAULT_SIZES);
	c->window_mcxt = AllocSetContextCreate(mcxt, "pg_eddy window", ALLOCSET_DEFAULT_SIZES);
	c->comparators = palloc0(sizeof(SortSupportData) * Max(c->nkeys, 1));
	for (int i = 0; i < c->nkeys; i++)
	{
		const EddyKey *key = eddy_kind_panes_key(plan, i);

		c->comparators[i].ssup_cxt = mcxt;
		c->comparators[i].ssup_collation = key->collation;
		PrepareSortSupportFromOrderingOp(key->lt_opr, &c->comparators[i]);
	}
	c->tree = make_tree(c);
	MemoryContextSwitchTo(old);
	return c;
}

/* Opens what a range of windows needs, in a context that becomes the current one. */
static void
begin_range(PaneClosing *c, int64 budget)
{
	EddyViewPlan *plan = c->plan;

	c->max_sums = Min(budget, MAX_KEYS);
	c->range_mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy range of windows",
										  ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(c->range_mcxt);
	c->results = eddy_upsert_open(eddy_plan_main_table(plan), plan->name);
	c->copy = MakeSingleTupleTableSlot(eddy_upsert_desc(c->results), &TTSOpsMinimalTuple);
	c->stream = eddy_upsert_open(list_nth(plan->state_tables, PANE_PANES), plan->name);
	c->desc = eddy_upsert_desc(c->stream);
	eddy_pane_begin(&c->work, plan, c->desc, eddy_upsert_desc(c->results));
}

static void
end_range(PaneClosing *c, MemoryContext caller)
{
	eddy_upsert_flush(c->results);
	eddy_upsert_close(c->stream);
	eddy_upsert_close(c->results);
	ExecDropSingleTupleTableSlot(c->copy);
	eddy_pane_end(&c->work);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(c->range_mcxt);
	CommandCounterIncrement();
}

/* ---- keeping sums between transactions ---- */

/*
 * Keeps the sums for the next range, which then need not be computed from what is stored. The
 * progress of the view shows whether they are still right.
 */
static void
keep(PaneClosing *c, const EddyViewProgress *progress)
{
	if (!c->loaded || c->has_position || c->overflow || c->nsums > MAX_KEPT_KEYS ||
		MemoryContextMemAllocated(c->mcxt, true) > MAX_KEPT_SIZE)
	{
		MemoryContextDelete(c->mcxt);
		return;
	}
	MemoryContextReset(c->window_mcxt);
	c->closed_until = progress->closed_until;
	c->closed_groups = progress->closed_groups;
	c->xid = GetCurrentTransactionId();
	c->kept_at = GetCurrentTimestamp();
	MemoryContextSetParent(c->mcxt, c->plan->mcxt);
	c->plan->pane_sums = c;
}

/*
 * The sums that were kept, if nothing was closed since, and if the transaction that has closed
 * windows last was not rolled back. NULL: there are none. An error frees them.
 */
static PaneClosing *
take(EddyViewPlan *plan, const EddyViewProgress *progress)
{
	PaneClosing *c = plan->pane_sums;
	TimestampTz now = GetCurrentTimestamp();

	if (c == NULL)
		return NULL;
	plan->pane_sums = NULL;
	MemoryContextSetParent(c->mcxt, CurrentMemoryContext);
	/* the status of an old transaction is not known for ever */
	if (c->closed_until == progress->closed_until &&
		c->closed_groups == progress->closed_groups &&
		now >= c->kept_at && now - c->kept_at < MAX_KEPT_AGE &&
		(TransactionIdIsCurrentTransactionId(c->xid) || TransactionIdDidCommit(c->xid)))
		return c;
	MemoryContextDelete(c->mcxt);
	return NULL;
}

/* The first row of the table of panes, in a range of first ends. */
static TupleTableSlot *
seek_first(EddyUpsert *upsert, TimestampTz after, TimestampTz until)
{
	if (after >= until)
		return NULL;
	eddy_upsert_seek_range(upsert, after, until);
	return eddy_upsert_next(upsert);
}

/*
 * The end of the first window that has to be closed; DT_NOEND: there is none. Rows whose first end
 * was closed are still there only if the next window contains them.
 */
static TimestampTz
first_window(const EddyPanes *panes, EddyUpsert *upsert, TimestampTz closed_until,
			 TimestampTz watermark)
{
	TimestampTz next = TIMESTAMP_IS_NOBEGIN(closed_until) ? DT_NOBEGIN :
		next_end(panes, closed_until);
	TupleTableSlot *row;

	if (next > watermark)
		return DT_NOEND;
	row = seek_first(upsert, needed_from(panes, closed_until), watermark);
	return row ? Max(row_time(row, PANE_FIRST_END), next) : DT_NOEND;
}

/*
 * Closes windows in the order of their ends, from the given one on. True if all until the watermark
 * are closed.
 */
static bool
close_windows(PaneClosing *c, TimestampTz end, EddyViewProgress *progress,
			  TimestampTz watermark, int64 *budget)
{
	bool		first = !c->loaded;
	bool		done;

	if (first)
	{
		c->end = end;
		read_range(c, PANE_SUMS, END_TIMESTAMP, DT_NOEND, read_position);
		if (!run_step(c, load))
			return false;
	}
	else if (!jump(c, end))
		return false;
	c->loaded = true;
	c->next_row = seek_first(c->stream, c->end - c->panes->slide, watermark);
	for (;;)
	{
		bool		go_on = close_window(c, first, budget, &progress->closed_groups, &done);
		TimestampTz next;

		/* there are no windows with rows between the last one that was closed and this one */
		progress->closed_until = Max(progress->closed_until,
									 done ? c->end : c->end - c->panes->slide);
		if (!go_on && !done)
			return false;
		next = next_window(c);
		if (next > watermark)
			return true;
		if (!go_on || !jump(c, next))
			return false;
		first = false;
	}
}

/* ---- for the kind ---- */

/* eddy_pane_next_due returns the watermark at which windows have to be closed. */
TimestampTz
eddy_pane_next_due(EddyViewPlan *plan, const EddyViewProgress *progress)
{
	EddyUpsert *upsert;
	TimestampTz first;

	PushActiveSnapshot(GetLatestSnapshot());
	upsert = eddy_upsert_open(list_nth(plan->state_tables, PANE_PANES), plan->name);
	first = first_window(plan->panes, upsert, progress->closed_until, DT_NOEND);
	eddy_upsert_close(upsert);
	PopActiveSnapshot();
	return first;
}

/*
 * eddy_pane_close closes windows that end until the watermark, at most *budget groups. Returns true
 * if no more have to be closed.
 */
bool
eddy_pane_close(EddyViewPlan *plan, EddyViewProgress *progress, TimestampTz watermark,
				int64 *budget)
{
	bool		complete = watermark <= progress->closed_until;
	bool		moved = true;

	while (!complete && moved && *budget > 0)
	{
		MemoryContext caller = CurrentMemoryContext;
		TimestampTz before = progress->closed_until;
		int64		budget_before = *budget;
		PaneClosing *c = take(plan, progress);
		bool		kept = (c != NULL);
		TimestampTz end;

		CommandCounterIncrement();
		PushActiveSnapshot(GetLatestSnapshot());
		if (c == NULL)
			c = make_closing(plan);
		begin_range(c, *budget);
		end = first_window(plan->panes, c->stream, before, watermark);
		complete = end > watermark || close_windows(c, end, progress, watermark, budget);
		if (complete)
			progress->closed_until = watermark;
		if (progress->closed_until > before)
			remove_panes(c, before, progress->closed_until);
		end_range(c, caller);
		PopActiveSnapshot();
		if (complete)
			keep(c, progress);
		else
			MemoryContextDelete(c->mcxt);
		/* otherwise the view was suspended, or there were too many keys to be added to those kept */
		moved = progress->closed_until > before || *budget < budget_before || kept;
	}
	return complete || !moved;
}

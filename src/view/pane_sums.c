/*-------------------------------------------------------------------------
 *
 * pane_sums.c
 *    The sums of panes from which closing combines windows.
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
 * stored, and added to the middle. The head is one of the sums of the last panes of its block,
 * which are computed from the panes once for each block; then the middle is summed up from the
 * blocks again. With blocks of about the square root of the number of panes, a window costs a
 * constant number of additions, and beginning again (in the next transaction, or after a crash)
 * costs each key about three times that square root of rows to be read. Nothing is subtracted,
 * because most aggregates cannot be. Cumulating windows have a head only when a range begins
 * within a cycle.
 *
 * Rows that were late for earlier windows of their pane are added to the sums when the first window
 * that counts them closes, and then to the pane that is stored, and to the sum of its block.
 *
 * At most so many keys as pane_close.c allows are in memory: if a window has more, the first ones
 * that are not done yet are, and of the rows of other keys one for each first end is read. The sums
 * are kept for the next transaction, which then need not compute them from what is stored.
 *
 * Locking: see closing.c; no other transaction writes to the tables of panes and sums meanwhile.
 * Memory: one context for the sums, within it one for the heads and one for each window. A crash
 * leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "view/pane_sums.h"

/* Sums that are kept between transactions: of how many keys, in how much memory, for how long. */
#define MAX_KEPT_KEYS 20000
#define MAX_KEPT_SIZE (32 * 1024 * 1024)
#define MAX_KEPT_AGE (60 * USECS_PER_SEC)

/* Node of the tree of keys. */
typedef struct KeyNode
{
	RBTNode		node;
	EddyKeySums    *sums;
} KeyNode;

/* ---- keys ---- */

static int
compare_keys(const EddyPaneSums *c, const EddyKeySums *left, const EddyKeySums *right)
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
	return MemoryContextAllocZero(((EddyPaneSums *) arg)->mcxt, sizeof(KeyNode));
}

/* The node that is freed can be another one, whose contents were moved. */
static void
free_node(RBTNode *node, void *arg pg_attribute_unused())
{
	pfree(node);
}

static RBTree *
make_tree(EddyPaneSums *c)
{
	MemoryContext old = MemoryContextSwitchTo(c->mcxt);
	RBTree	   *tree = rbt_create(sizeof(KeyNode), compare_nodes, keep_node, allocate_node,
								  free_node, c);

	MemoryContextSwitchTo(old);
	return tree;
}

EddyKeySums *
eddy_pane_sums_make_key(const EddyPaneSums *c, MemoryContext mcxt, TupleTableSlot *row)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	EddyKeySums    *sums = palloc0(sizeof(EddyKeySums) + c->nkeys * (sizeof(Datum) + sizeof(bool)));

	sums->keys = (Datum *) (sums + 1);
	sums->nulls = (bool *) (sums->keys + c->nkeys);
	for (int i = 0; i < c->nkeys; i++)
		eddy_pane_copy_value(c->desc, PANE_KEY + i, row->tts_values[PANE_KEY - 1 + i],
				   row->tts_isnull[PANE_KEY - 1 + i], &sums->keys[i], &sums->nulls[i]);
	MemoryContextSwitchTo(old);
	return sums;
}

static void
remove_key(EddyPaneSums *c, EddyKeySums *sums)
{
	KeyNode		wanted = {.sums = sums};

	if (sums == c->greatest)
		c->greatest = NULL;
	rbt_delete(c->tree, rbt_find(c->tree, (RBTNode *) &wanted));
	c->nsums--;
	for (int i = 0; i < c->nkeys; i++)
		if (!sums->nulls[i] && !TupleDescAttr(c->desc, PANE_KEY - 1 + i)->attbyval)
			pfree(DatumGetPointer(sums->keys[i]));
	eddy_pane_free(&c->work, &sums->middle);
	eddy_pane_free(&c->work, &sums->tail);
	pfree(sums);
}

/* The last key. There is one. */
static EddyKeySums *
get_greatest(EddyPaneSums *c)
{
	RBTreeIterator walk;

	if (c->greatest == NULL)
	{
		rbt_begin_iterate(c->tree, RightLeftWalk, &walk);
		c->greatest = ((KeyNode *) rbt_iterate(&walk))->sums;
	}
	return c->greatest;
}

/* Makes space for a key before the last one; false if it is after that. */
static bool
make_space(EddyPaneSums *c, const EddyKeySums *wanted)
{
	if (c->nsums < c->max_sums)
		return true;
	c->overflow = true;
	if (c->nsums == 0 || compare_keys(c, wanted, get_greatest(c)) > 0)
		return false;
	remove_key(c, get_greatest(c));
	return true;
}

/*
 * The sums of the key of a row. NULL if the key is done with the current window, or is after those
 * that are in memory: then c->skip says which rows need not be read.
 */
static EddyKeySums *
find_sums(EddyPaneSums *c, TupleTableSlot *row)
{
	EddyKeySums		wanted = {
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
	{
		c->skip = EDDY_PANE_SKIP_DONE;
		return NULL;
	}
	if (!make_space(c, &wanted))
	{
		c->skip = EDDY_PANE_SKIP_REST;
		return NULL;
	}
	node.sums = eddy_pane_sums_make_key(c, c->mcxt, row);
	(void) rbt_insert(c->tree, (RBTNode *) &node, &is_new);
	c->nsums++;
	if (c->greatest && compare_keys(c, node.sums, c->greatest) > 0)
		c->greatest = node.sums;
	return node.sums;
}

EddyKeySums *
eddy_pane_sums_first(EddyPaneSums *c, RBTreeIterator *walk)
{
	KeyNode    *node;

	rbt_begin_iterate(c->tree, LeftRightWalk, walk);
	node = (KeyNode *) rbt_iterate(walk);
	return node ? node->sums : NULL;
}

EddyKeySums *
eddy_pane_sums_next(RBTreeIterator *walk)
{
	KeyNode    *node;

	/* there can be many keys */
	CHECK_FOR_INTERRUPTS();
	node = (KeyNode *) rbt_iterate(walk);
	return node ? node->sums : NULL;
}

/* ---- reading panes and blocks ---- */

/* Begins to read the rows that follow the position, of a first end and of those after it. */
static void
seek_after_position(EddyPaneSums *c, EddyUpsert *upsert, TimestampTz first_end, TimestampTz until)
{
	c->after_keys[0] = TimestampTzGetDatum(first_end);
	c->after_nulls[0] = false;
	for (int i = 0; i < c->nkeys; i++)
	{
		c->after_keys[1 + i] = c->position.keys[i];
		c->after_nulls[1 + i] = c->position.nulls[i];
	}
	c->after_keys[1 + c->nkeys] = TimestampTzGetDatum(DT_NOEND);
	c->after_nulls[1 + c->nkeys] = false;
	eddy_upsert_seek_after(upsert, c->after_keys, c->after_nulls, until);
}

/*
 * Calls a function for each row of a table whose first column is in a range, except for keys that
 * are done or not in memory: of those one row for each value of that column.
 */
void
eddy_pane_sums_read_range(EddyPaneSums *c, int table, TimestampTz after, TimestampTz until,
		   void (*function) (EddyPaneSums *, TupleTableSlot *))
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
		TimestampTz first_end = eddy_pane_row_time(row, PANE_FIRST_END);

		CHECK_FOR_INTERRUPTS();
		c->skip = EDDY_PANE_SKIP_NONE;
		function(c, row);
		if (c->skip == EDDY_PANE_SKIP_DONE)
			seek_after_position(c, upsert, first_end, until);
		else if (c->skip == EDDY_PANE_SKIP_REST)
			eddy_upsert_seek_range(upsert, first_end, until);
	}
	eddy_upsert_close(upsert);
	PopActiveSnapshot();
}

/* True for a row of a pane; others were late for some of its windows and are not counted yet. */
static bool
is_pane(const EddyPaneSums *c, TupleTableSlot *row)
{
	return eddy_pane_row_time(row, PANE_FIRST_END) == eddy_panes_first_end(c->panes, eddy_pane_row_time(row, PANE_END));
}

static void
insert_head(EddyPaneSums *c, EddyKeySums *sums, int at, TimestampTz pane_end, EddyState *states)
{
	if (sums->nheads == sums->max_heads)
	{
		int			max_heads = Max(2 * sums->max_heads, 8);
		EddyHeadSum    *heads = MemoryContextAlloc(c->head_mcxt, sizeof(EddyHeadSum) * max_heads);

		if (sums->nheads > 0)
			memcpy(heads, sums->heads, sizeof(EddyHeadSum) * sums->nheads);
		sums->heads = heads;
		sums->max_heads = max_heads;
	}
	memmove(&sums->heads[at + 1], &sums->heads[at], sizeof(EddyHeadSum) * (sums->nheads - at));
	sums->heads[at].pane_end = pane_end;
	sums->heads[at].states = states;
	sums->nheads++;
}

/* A pane of the head block. Those of one window come in order of keys, not of panes. */
static void
read_head(EddyPaneSums *c, TupleTableSlot *row)
{
	TimestampTz pane_end = eddy_pane_row_time(row, PANE_END);
	EddyKeySums    *sums;
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
read_block(EddyPaneSums *c, TupleTableSlot *row)
{
	EddyKeySums    *sums = find_sums(c, row);
	MemoryContext old = MemoryContextSwitchTo(c->window_mcxt);

	if (sums)
		eddy_pane_add(&c->work, c->mcxt, &sums->middle, eddy_pane_copy(&c->work, row));
	MemoryContextSwitchTo(old);
}

static void
read_tail(EddyPaneSums *c, TupleTableSlot *row)
{
	EddyKeySums    *sums = is_pane(c, row) ? find_sums(c, row) : NULL;
	MemoryContext old = MemoryContextSwitchTo(c->window_mcxt);

	if (sums)
		eddy_pane_add(&c->work, c->mcxt, &sums->tail, eddy_pane_copy(&c->work, row));
	MemoryContextSwitchTo(old);
}

/* Computes heads and middles for the current window, whose head block has become another one. */
void
eddy_pane_sums_open_head_block(void *arg)
{
	EddyPaneSums *c = arg;
	TimestampTz counted = c->end - c->panes->slide;
	RBTreeIterator walk;

	MemoryContextReset(c->head_mcxt);
	for (EddyKeySums *sums = eddy_pane_sums_first(c, &walk); sums; sums = eddy_pane_sums_next(&walk))
	{
		sums->heads = NULL;
		sums->nheads = sums->max_heads = sums->next = 0;
		eddy_pane_free(&c->work, &sums->middle);
	}
	c->head_end = eddy_panes_next_block(c->panes, c->start);
	eddy_pane_sums_read_range(c, PANE_PANES, c->start, Min(c->head_end, counted), read_head);
	for (EddyKeySums *sums = eddy_pane_sums_first(c, &walk); sums; sums = eddy_pane_sums_next(&walk))
		for (int i = sums->nheads - 2; i >= 0; i--)
			eddy_pane_add(&c->work, c->head_mcxt, &sums->heads[i].states, sums->heads[i + 1].states);
	eddy_pane_sums_read_range(c, PANE_SUMS, c->head_end, c->tail_start, read_block);
}

/* Computes all sums of the keys of the current window, without its new rows. */
void
eddy_pane_sums_load(void *arg)
{
	EddyPaneSums *c = arg;

	c->start = eddy_panes_window_start(c->panes, c->end);
	c->tail_start = Max(eddy_panes_next_block(c->panes, c->end - 1) - c->panes->block, c->start);
	eddy_pane_sums_open_head_block(c);
	eddy_pane_sums_read_range(c, PANE_PANES, c->tail_start, c->end - c->panes->slide, read_tail);
}

/* ---- the new rows of a window ---- */

/* Takes the new rows of the window from the stream of all. False if there are too many keys. */
bool
eddy_pane_sums_take_new_rows(EddyPaneSums *c, bool first)
{
	MemoryContextReset(c->window_mcxt);
	c->new_rows = NIL;
	/* it cannot be completed: then late rows of keys that are done are not needed yet */
	if (c->has_position && c->overflow && c->next_row && c->nkeys > 0 &&
		eddy_pane_row_time(c->next_row, PANE_FIRST_END) == c->end)
	{
		seek_after_position(c, c->stream, c->end, c->until);
		c->next_row = eddy_upsert_next(c->stream);
	}
	for (; c->next_row && eddy_pane_row_time(c->next_row, PANE_FIRST_END) == c->end;
		 c->next_row = eddy_upsert_next(c->stream))
	{
		MemoryContext old;
		EddyNewPaneRow	   *new;
		EddyKeySums    *sums;
		bool		late = !is_pane(c, c->next_row);

		CHECK_FOR_INTERRUPTS();
		c->skip = EDDY_PANE_SKIP_NONE;
		sums = find_sums(c, c->next_row);
		/* only the first window of a range is closed for a part of its keys */
		if (c->overflow && !first)
			return false;
		if (c->skip == EDDY_PANE_SKIP_REST)
			break;
		if (sums == NULL && !late)
			continue;
		old = MemoryContextSwitchTo(c->window_mcxt);
		new = palloc(sizeof(EddyNewPaneRow));
		new->sums = sums ? sums : eddy_pane_sums_make_key(c, c->window_mcxt, c->next_row);
		new->counts = (sums != NULL);
		new->pane_end = eddy_pane_row_time(c->next_row, PANE_END);
		new->states = eddy_pane_copy(&c->work, c->next_row);
		new->late = late;
		new->place = c->next_row->tts_tid;
		c->new_rows = lappend(c->new_rows, new);
		MemoryContextSwitchTo(old);
	}
	return true;
}

/* Adds a late row of the head block to the sums that contain its pane. */
static void
add_to_head(EddyPaneSums *c, EddyKeySums *sums, const EddyNewPaneRow *new)
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
advance_head(const EddyPaneSums *c, EddyKeySums *sums)
{
	while (sums->next < sums->nheads &&
		   sums->heads[sums->next].pane_end - c->panes->pane < c->start)
		sums->next++;
}

void
eddy_pane_sums_add_new_rows(void *arg)
{
	EddyPaneSums *c = arg;
	RBTreeIterator walk;
	ListCell   *lc;

	for (EddyKeySums *sums = eddy_pane_sums_first(c, &walk); sums; sums = eddy_pane_sums_next(&walk))
		advance_head(c, sums);
	foreach(lc, c->new_rows)
	{
		EddyNewPaneRow	   *new = lfirst(lc);
		EddyKeySums    *sums = new->sums;

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

bool
eddy_pane_sums_is_empty(const EddyKeySums *sums)
{
	return sums->next >= sums->nheads && sums->middle == NULL && sums->tail == NULL;
}

/* Removes keys that have no rows in the window. */
void
eddy_pane_sums_remove_empty(EddyPaneSums *c)
{
	List	   *empty = NIL;
	RBTreeIterator walk;
	ListCell   *lc;

	for (EddyKeySums *sums = eddy_pane_sums_first(c, &walk); sums; sums = eddy_pane_sums_next(&walk))
		if (eddy_pane_sums_is_empty(sums))
			empty = lappend(empty, sums);
	foreach(lc, empty)
		remove_key(c, lfirst(lc));
	list_free(empty);
}

/* ---- all sums ---- */

/* eddy_pane_sums_clear leaves no keys. Their memory is freed: sums can be kept for many ranges. */
void
eddy_pane_sums_clear(EddyPaneSums *c)
{
	RBTreeIterator walk;
	EddyKeySums *sums;

	while ((sums = eddy_pane_sums_first(c, &walk)) != NULL)
		remove_key(c, sums);
}

EddyPaneSums *
eddy_pane_sums_make(EddyViewPlan *plan)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy panes",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	EddyPaneSums *c = palloc0(sizeof(EddyPaneSums));

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

/* ---- keeping sums between transactions ---- */

/*
 * Keeps the sums for the next range, which then need not be computed from what is stored. The
 * progress of the view shows whether they are still right.
 */
void
eddy_pane_sums_keep(EddyPaneSums *c, const EddyViewProgress *progress)
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
EddyPaneSums *
eddy_pane_sums_take(EddyViewPlan *plan, const EddyViewProgress *progress)
{
	EddyPaneSums *c = plan->pane_sums;
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

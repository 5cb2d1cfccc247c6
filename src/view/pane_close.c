/*-------------------------------------------------------------------------
 *
 * pane_close.c
 *    Closes windows that are combined from panes.
 *
 * Each window is combined from the sums of its key (pane_sums.c), and written as a row of the
 * main table.
 *
 * If the budget is used up within a window, the key at which the next transaction continues is
 * stored in the table of sums, in a row whose end is infinity. The window does not change between:
 * its rows are late.
 *
 * Final values, expressions over them and HAVING are computed here for the first time. If that
 * fails for a group, the group becomes a dead letter of the view, or with policy stop the view is
 * suspended. The transaction that closes must not fail: it is that of a batch that has nothing to
 * do with it.
 *
 * Locking: see closing.c; no other transaction writes to the tables of panes and sums meanwhile.
 * Memory: one context for each range of windows. A crash leaves nothing: all is part of the
 * transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "view/kind.h"
#include "view/kind_panes.h"
#include "view/maintain.h"
#include "view/pane_sums.h"
#include "view/view.h"

/* Keys whose sums are in memory at a time. */
#define MAX_KEYS 50000

/* ---- bounds ---- */

/* The event time from which on panes are needed by windows that are not closed. */
static TimestampTz
needed_from(const EddyPanes *panes, TimestampTz closed_until)
{
	TimestampTz end;

	if (TIMESTAMP_IS_NOBEGIN(closed_until))
		return DT_NOBEGIN;
	end = eddy_pane_next_end(panes, closed_until);
	return TIMESTAMP_IS_NOEND(end) ? DT_NOEND : eddy_panes_window_start(panes, end);
}

/* ---- one window ---- */

/* Computes the row of a key and the current window, and keeps it unless HAVING is false. */
static void
compute_row(EddyPaneSums *c, const EddyKeySums *sums)
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
	EddyPaneSums *c = arg;
	MemoryContext old = MemoryContextSwitchTo(c->window_mcxt);
	RBTreeIterator walk;

	c->rows = NIL;
	c->ncomputed = 0;
	for (EddyKeySums *sums = eddy_pane_sums_first(c, &walk); sums && c->ncomputed < c->limit;
		 sums = eddy_pane_sums_next(&walk))
	{
		CHECK_FOR_INTERRUPTS();
		if (eddy_pane_sums_is_empty(sums))
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
	EddyPaneSums *c = arg;
	MemoryContext old = MemoryContextSwitchTo(c->window_mcxt);

	compute_row(c, c->one);
	MemoryContextSwitchTo(old);
}

/* ---- errors ---- */

/* The view cannot be maintained. */
static void
suspend(EddyPaneSums *c, ErrorData *error)
{
	eddy_view_suspend(c->plan->view, eddy_clock_explain(error), error->sqlerrcode);
}

/*
 * Runs a step that combines states. If that fails the view is suspended, and the result is false.
 */
static bool
run_step(EddyPaneSums *c, void (*step) (void *))
{
	bool		by_row;
	ErrorData  *error = eddy_delta_run_limited(c->plan, step, c, &by_row);

	if (error == NULL)
		return true;
	if (!by_row)
		ReThrowError(error);
	suspend(c, error);
	return false;
}

static void
write_dead_letter(const EddyPaneSums *c, const ErrorData *error)
{
	EddyDeadLetter letter = {
		.stream = c->plan->stream,
		.view = c->plan->view,
		.partition = -1,
		.offset = -1,
		.sqlerrcode = error->sqlerrcode
	};

	letter.error = psprintf("closing a window that ends at %s: %s", timestamptz_to_str(c->end),
							eddy_clock_caused(error) ? eddy_clock_describe() :
							eddy_batch_describe_error(error));
	eddy_catalog_insert_dead_letter(&letter);
}

/*
 * Computes the rows one by one, after it has failed for one of them. Those after one that has taken
 * too long are left to the next transaction.
 */
static bool
compute_carefully(EddyPaneSums *c)
{
	RBTreeIterator walk;

	c->rows = NIL;
	c->ncomputed = 0;
	for (EddyKeySums *sums = eddy_pane_sums_first(c, &walk); sums && c->ncomputed < c->limit;
		 sums = eddy_pane_sums_next(&walk))
	{
		ErrorData  *error;
		bool		by_row;

		if (eddy_pane_sums_is_empty(sums))
			continue;
		c->one = sums;
		error = eddy_delta_run_limited(c->plan, compute_one, c, &by_row);
		if (error && !by_row)
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
		if (error && eddy_clock_caused(error))
			c->limit = c->ncomputed;
	}
	return true;
}

static bool
compute(EddyPaneSums *c)
{
	bool		by_row;
	ErrorData  *error = eddy_delta_run_limited(c->plan, compute_rows, c, &by_row);

	if (error == NULL)
		return true;
	if (!by_row)
		ReThrowError(error);
	return compute_carefully(c);
}

/* ---- writing ---- */

static void
write_rows(EddyPaneSums *c)
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
add_to_row(EddyPaneSums *c, int table, const EddyKeySums *sums, TimestampTz first_end,
		   TimestampTz end, const EddyState *states)
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
delete_row(EddyPaneSums *c, int table, ItemPointer place)
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
	EddyPaneSums *c = arg;
	MemoryContext old = MemoryContextSwitchTo(c->window_mcxt);
	ListCell   *lc;

	foreach(lc, c->new_rows)
	{
		EddyNewPaneRow	   *new = lfirst(lc);
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
	EddyPaneSums *c = arg;
	EddyViewPlan *plan = c->plan;
	TupleTableSlot *row = MakeSingleTupleTableSlot(c->desc, &TTSOpsVirtual);
	EddyUpsert *upsert;
	RBTreeIterator walk;

	PushActiveSnapshot(GetLatestSnapshot());
	upsert = eddy_upsert_open(list_nth(plan->state_tables, PANE_SUMS), plan->name);
	for (EddyKeySums *sums = eddy_pane_sums_first(c, &walk); sums; sums = eddy_pane_sums_next(&walk))
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
		eddy_pane_free(&c->work, &sums->tail);
		if (sums == c->last)
			break;
	}
	eddy_upsert_flush(upsert);
	eddy_upsert_close(upsert);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(row);
}

/* ---- the key at which an interrupted window continues ---- */

static void
read_position(EddyPaneSums *c, TupleTableSlot *row)
{
	c->position = *eddy_pane_sums_make_key(c, c->mcxt, row);
	c->position_place = row->tts_tid;
	c->has_position = true;
}

static void
forget_position(EddyPaneSums *c)
{
	if (c->has_position)
		delete_row(c, PANE_SUMS, &c->position_place);
	c->has_position = false;
}

static void
store_position(EddyPaneSums *c)
{
	forget_position(c);
	add_to_row(c, PANE_SUMS, c->last, DT_NOEND, DT_NOEND, NULL);
}

/* ---- a range of windows ---- */

/* Begins the current window. False if the view was suspended. */
static bool
begin_window(EddyPaneSums *c)
{
	TimestampTz start = eddy_panes_window_start(c->panes, c->end);
	bool		moved = start != c->start;

	c->start = start;
	if (moved && c->panes->cumulates)
	{
		/* rows of the last cycle are in no window of this one */
		MemoryContextReset(c->head_mcxt);
		eddy_pane_sums_clear(c);
		c->head_end = eddy_panes_next_block(c->panes, start);
		c->tail_start = Max(c->tail_start, start);
	}
	else if (moved && start >= c->head_end)
		return run_step(c, eddy_pane_sums_open_head_block);
	return true;
}

/* Closes the current window. False if there is nothing more to do in this range. */
static bool
close_window(EddyPaneSums *c, bool first, int64 *budget, int64 *closed, bool *done)
{
	bool		ends_block = c->end == eddy_panes_next_block(c->panes, c->end - 1);
	bool		resumed = c->has_position;
	bool		partial;

	*done = false;
	if (!first && !begin_window(c))
		return false;
	if (!eddy_pane_sums_take_new_rows(c, first) || !run_step(c, eddy_pane_sums_add_new_rows))
		return false;
	c->limit = *budget;
	c->last = NULL;
	if (!compute(c))
		return false;
	write_rows(c);
	*budget = c->limit - c->ncomputed;
	*closed += c->ncomputed;
	eddy_pane_sums_remove_empty(c);
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
next_window(const EddyPaneSums *c)
{
	if (c->nsums > 0)
		return eddy_pane_next_end(c->panes, c->end);
	return c->next_row ? eddy_pane_row_time(c->next_row, PANE_FIRST_END) : DT_NOEND;
}

/* Makes another window the current one, after windows without rows. False: view suspended. */
static bool
jump(EddyPaneSums *c, TimestampTz end)
{
	if (end == c->end + c->panes->slide)
	{
		c->end = end;
		return true;
	}
	c->end = end;
	eddy_pane_sums_clear(c);
	return run_step(c, eddy_pane_sums_load);
}

static void
remove_range(EddyPaneSums *c, int table, TimestampTz after, TimestampTz until, TimestampTz needed)
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
		if (eddy_pane_row_time(row, PANE_END) - length < needed &&
			!eddy_upsert_delete(upsert, &row->tts_tid))
			elog(ERROR, "panes of continuous view \"%s\" were written concurrently",
				 c->plan->name);
	}
	eddy_upsert_close(upsert);
	PopActiveSnapshot();
}

/* Removes panes and blocks that windows have needed, and that none that is open needs. */
static void
remove_panes(EddyPaneSums *c, TimestampTz closed_before, TimestampTz closed_until)
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

/* Opens what a range of windows needs, in a context that becomes the current one. */
static void
begin_range(EddyPaneSums *c, int64 budget)
{
	EddyViewPlan *plan = c->plan;

	c->max_sums = Min(budget, MAX_KEYS);
	c->range_mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy range of windows",
										  ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(c->range_mcxt);
	c->results = eddy_upsert_open(eddy_plan_main_table(plan), plan->name);
	c->copy = MakeSingleTupleTableSlot(eddy_upsert_desc(c->results), &TTSOpsMinimalTuple);
	c->stream = eddy_upsert_open(list_nth(plan->state_tables, PANE_PANES), plan->name);
	c->after_keys = palloc(sizeof(Datum) * (c->nkeys + 2));
	c->after_nulls = palloc(sizeof(bool) * (c->nkeys + 2));
	c->desc = eddy_upsert_desc(c->stream);
	eddy_pane_begin(&c->work, plan, c->desc, eddy_upsert_desc(c->results));
}

static void
end_range(EddyPaneSums *c, MemoryContext caller)
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

/* ---- what there is to do ---- */

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
		eddy_pane_next_end(panes, closed_until);
	TupleTableSlot *row;

	if (next > watermark)
		return DT_NOEND;
	row = seek_first(upsert, needed_from(panes, closed_until), watermark);
	return row ? Max(eddy_pane_row_time(row, PANE_FIRST_END), next) : DT_NOEND;
}

/*
 * Closes windows in the order of their ends, from the given one on. True if all until the watermark
 * are closed.
 */
static bool
close_windows(EddyPaneSums *c, TimestampTz end, EddyViewProgress *progress,
			  TimestampTz watermark, int64 *budget)
{
	bool		first = !c->loaded;
	bool		done;

	if (first)
	{
		c->end = end;
		eddy_pane_sums_read_range(c, PANE_SUMS, END_TIMESTAMP, DT_NOEND, read_position);
		if (!run_step(c, eddy_pane_sums_load))
			return false;
	}
	else if (!jump(c, end))
		return false;
	c->loaded = true;
	c->until = watermark;
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
		EddyPaneSums *c = eddy_pane_sums_take(plan, progress);
		bool		kept = (c != NULL);
		TimestampTz end;

		CommandCounterIncrement();
		PushActiveSnapshot(GetLatestSnapshot());
		if (c == NULL)
			c = eddy_pane_sums_make(plan);
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
			eddy_pane_sums_keep(c, progress);
		else
			MemoryContextDelete(c->mcxt);
		/*
		 * otherwise the view was suspended, or there were too many keys to be added to those kept
		 */
		moved = progress->closed_until > before || *budget < budget_before || kept;
	}
	return complete || !moved;
}

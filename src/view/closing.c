/*-------------------------------------------------------------------------
 *
 * closing.c
 *    Closing the windows of views, and removing expired ones.
 *
 * A window is final when the watermark has reached its end. Its groups are then marked, in order
 * of (end of the window, key): that is the order of the unique index of the state table, whose
 * first column is the end of the window, so what has to be closed is a range of the index. What
 * is closed is in eddy._view_progress; groups of the last window that was not closed completely
 * are told apart by their mark. Once a group accepts no late rows any more it shrinks to what the
 * view shows.
 *
 * The caller ensures that no other transaction is adding rows to these windows (apply/close.c),
 * so a window is closed once, with all of its rows. Work is limited by a budget of groups, and
 * continues where it was interrupted: the key that was reached is in memory, so that a window
 * with many groups is read once. Another process, which does not have it, reads the window from
 * its beginning, and skips what is done.
 *
 * Expired groups are removed in the same order, after they were closed and have shrunk. Each
 * transaction that removes some updates eddy._view_progress before, which tells consumers of
 * changes why they are deleted. The values that aggregates keep of a group are deleted when the
 * group shrinks or is removed.
 *
 * A view whose kind merges rows later (settle) closes windows after all of their rows were merged,
 * and only in the database worker: no other process merges them.
 *
 * Locking: RowExclusiveLock on the state tables and the row of the view in eddy._view_progress,
 * view after view in order of their Oid. Memory: a context that is deleted at the end. A crash
 * leaves nothing: all is part of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "interval.h"
#include "owner.h"
#include "view/chain.h"
#include "view/chain_combine.h"
#include "view/collect.h"
#include "view/emit_every.h"
#include "view/followers.h"
#include "view/kind.h"
#include "view/kind_combining.h"
#include "view/kind_deferred.h"
#include "view/maintain.h"
#include "view/mark_row.h"
#include "view/session_emit.h"
#include "view/view.h"

/* How long, in microseconds, it is remembered when the next window has to be closed. */
#define NEXT_END_AGE (500 * INT64CONST(1000))

/* Groups between two looks at the clock: so many are done in any case. */
#define CLOCK_GROUPS 256

/* What is done with the groups of a range. */
typedef enum CloseAction
{
	CLOSE_MARK,					/* groups become final */
	CLOSE_MARK_AND_FORGET,		/* likewise, and shrink at once */
	CLOSE_FORGET,				/* final groups shrink */
	CLOSE_REMOVE				/* groups are deleted */
} CloseAction;

/* What an action is remembered for: marking, forgetting, removing. */
#define NPOSITIONS 3

/* Until where the groups of a range are done, as this process knows. */
struct EddyClosePosition
{
	MemoryContext mcxt;			/* of the key; NULL: not used yet */
	TransactionId xid;			/* that has done it; invalid: nothing is known */
	TimestampTz base;			/* what the catalog said then */
	int64		groups;			/* likewise, of CLOSE_MARK */
	TimestampTz until;			/* all groups until here are done, and those until the key */
	Datum	   *keys;			/* NULL: none */
	bool	   *nulls;
};

/*
 * eddy_view_lateness returns for how many microseconds final rows of a view accept late rows. The
 * option "allowed_lateness" limits it, and "late" says what happens to later ones. With late =>
 * 'update' alone, rows are accepted for all windows that the view still has, so that only its
 * retention limits it.
 */
int64
eddy_view_lateness(const EddyView *view)
{
	int64		allowed = eddy_interval_usec(&view->allowed_lateness);

	if (allowed > 0 || strcmp(view->late, "update") != 0)
		return allowed;
	return view->retention ? eddy_interval_usec(view->retention) : EDDY_LATENESS_UNLIMITED;
}

/*
 * eddy_view_earlier returns a watermark minus a length in microseconds, DT_NOBEGIN instead of a
 * time before the earliest timestamp, and for EDDY_LATENESS_UNLIMITED.
 */
TimestampTz
eddy_view_earlier(TimestampTz watermark, int64 usec)
{
	if (usec == EDDY_LATENESS_UNLIMITED)
		return DT_NOBEGIN;
	if (TIMESTAMP_NOT_FINITE(watermark))
		return watermark;
	return watermark < MIN_TIMESTAMP + usec ? DT_NOBEGIN : watermark - usec;
}

/*
 * eddy_view_closes_until returns the last end of windows that are final by a watermark: rows that
 * are still expected have event times from the watermark on. That is after a window that ends at
 * the watermark, but joins a session that does. watermark: that of the stream.
 */
TimestampTz
eddy_view_closes_until(const EddyViewPlan *plan, TimestampTz watermark, EddyChainUse use)
{
	watermark = eddy_chain_watermark(plan, watermark, use);
	return plan->kind->includes_end ? eddy_view_earlier(watermark, 1) : watermark;
}

/* ---- what there is to do ---- */

/* True in the process that merges rows that were deferred. */
static bool settles = false;

void
eddy_view_settle_here(void)
{
	settles = true;
}

/*
 * The first time after another one at which a window of the view ends; DT_NOEND: none. *final is
 * set if its first group is final.
 */
static TimestampTz
next_end(EddyViewPlan *plan, TimestampTz after, bool *final)
{
	EddyUpsert *upsert;
	TupleTableSlot *row;
	TimestampTz end = DT_NOEND;

	*final = false;
	PushActiveSnapshot(GetLatestSnapshot());
	upsert = eddy_upsert_open(eddy_plan_main_table(plan), plan->name);
	eddy_upsert_seek_range(upsert, after, DT_NOEND);
	row = eddy_upsert_next(upsert);
	if (row)
	{
		end = DatumGetTimestampTz(row->tts_values[plan->keys[0].column - 1]);
		*final = DatumGetBool(row->tts_values[plan->final_column - 1]);
	}
	eddy_upsert_close(upsert);
	PopActiveSnapshot();
	return end;
}

/*
 * eddy_view_next_due returns the watermark at which windows of the view have to be closed, or their
 * groups to shrink.
 */
TimestampTz
eddy_view_next_due(EddyViewPlan *plan)
{
	EddyViewProgress *progress = eddy_catalog_get_view_progress(plan->view);
	TimestampTz due;

	if (progress == NULL)
		return DT_NOEND;
	if (plan->kind->next_due)
		return plan->kind->next_due(plan, progress);
	due = next_end(plan, progress->closed_until, &plan->interrupted);
	/* also of windows that are closed already, if they accept late rows */
	if (plan->deferred)
	{
		TimestampTz first_end = eddy_deferred_first_end(plan);

		due = Min(due, first_end);
	}
	if (plan->lateness > 0 && plan->lateness != EDDY_LATENESS_UNLIMITED)
	{
		bool		final;
		TimestampTz forgets = next_end(plan, progress->forgotten_until, &final);

		if (!TIMESTAMP_NOT_FINITE(forgets) && forgets < DT_NOEND - plan->lateness)
			due = Min(due, forgets + plan->lateness);
	}
	/* the watermark at which eddy_view_closes_until returns that time */
	return plan->kind->includes_end && !TIMESTAMP_NOT_FINITE(due) ? due + 1 : due;
}

/* True unless it is remembered that nothing is due before a later watermark. */
static bool
may_be_due(const EddyViewPlan *plan, TimestampTz watermark)
{
	TimestampTz now = GetCurrentTimestamp();

	return plan->next_end_at == 0 || now - plan->next_end_at > NEXT_END_AGE ||
		now < plan->next_end_at || watermark >= plan->next_end;
}

static bool
is_due(EddyViewPlan *plan, TimestampTz watermark, bool remember)
{
	plan->next_end = eddy_view_next_due(plan);
	plan->next_end_at = remember ? GetCurrentTimestamp() : 0;
	return watermark >= plan->next_end;
}

/* ---- positions ---- */

static EddyClosePosition *
get_position(EddyViewPlan *plan, CloseAction action)
{
	if (plan->positions == NULL)
		plan->positions = MemoryContextAllocZero(plan->mcxt,
												 sizeof(EddyClosePosition) * NPOSITIONS);
	return &plan->positions[action == CLOSE_REMOVE ? 2 : action == CLOSE_FORGET ? 1 : 0];
}

/*
 * True if the position is that of the last work on the view: nothing was done since, and its
 * transaction was not rolled back. Expired groups are removed without a record of each step, and
 * are never created again, so only the transaction matters.
 */
static bool
is_current(EddyClosePosition *position, CloseAction action, TimestampTz base, int64 groups)
{
	if (!TransactionIdIsValid(position->xid) ||
		(action == CLOSE_REMOVE ? base < position->base : base != position->base) ||
		(action != CLOSE_REMOVE && action != CLOSE_FORGET && groups != position->groups))
		return false;
	if (TransactionIdIsCurrentTransactionId(position->xid))
		return true;
	if (!TransactionIdDidCommit(position->xid))
		return false;
	/* the status of an old transaction is not known for ever */
	position->xid = FrozenTransactionId;
	return true;
}

/* Remembers that all groups until a time are done, and with row those until its key. */
static void
set_position(EddyViewPlan *plan, CloseAction action, TimestampTz base, int64 groups,
			 TimestampTz until, TupleTableSlot *row)
{
	EddyClosePosition *position = get_position(plan, action);
	const EddyStateTable *table = eddy_plan_main_table(plan);
	MemoryContext old;

	if (position->mcxt == NULL)
		position->mcxt = AllocSetContextCreate(plan->mcxt, "pg_eddy position of closing",
											   ALLOCSET_SMALL_SIZES);
	/* an error leaves nothing */
	position->xid = InvalidTransactionId;
	position->keys = NULL;
	MemoryContextReset(position->mcxt);
	if (row)
	{
		old = MemoryContextSwitchTo(position->mcxt);
		position->nulls = palloc(sizeof(bool) * table->nkeys);
		position->keys = palloc(sizeof(Datum) * table->nkeys);
		for (int i = 0; i < table->nkeys; i++)
		{
			int			column = table->keys[i].column - 1;
			Form_pg_attribute att = TupleDescAttr(row->tts_tupleDescriptor, column);

			position->nulls[i] = row->tts_isnull[column];
			position->keys[i] = position->nulls[i] ? (Datum) 0 :
				datumCopy(row->tts_values[column], att->attbyval, att->attlen);
		}
		MemoryContextSwitchTo(old);
	}
	position->base = base;
	position->groups = groups;
	position->until = until;
	position->xid = GetCurrentTransactionId();
}

static void
forget_position(EddyViewPlan *plan, CloseAction action)
{
	get_position(plan, action)->xid = InvalidTransactionId;
}

/* ---- one range of one view ---- */

/* The row as a virtual one that can be changed. */
static void
copy_row(TupleTableSlot *copy, TupleTableSlot *row)
{
	int			natts = copy->tts_tupleDescriptor->natts;

	ExecClearTuple(copy);
	memcpy(copy->tts_values, row->tts_values, sizeof(Datum) * natts);
	memcpy(copy->tts_isnull, row->tts_isnull, sizeof(bool) * natts);
	ExecStoreVirtualTuple(copy);
}

/* One pass over the groups of a range. */
typedef struct RangePass
{
	EddyViewPlan *plan;
	CloseAction action;
	int64	   *budget;
	int64	   *changed;
	bool		only_marks;		/* of a row, nothing else changes */
	TupleTableSlot *version;	/* of a row, made from its values */
	TupleTableSlot *marked;		/* made from its tuple */
	List	   *emptied;		/* identities of groups whose kept values are not needed any more */
	bool		partial;		/* windows that are passed are not complete */
	TimestampTz base;			/* of a position; for CLOSE_REMOVE alone */
	TimestampTz complete;		/* until when the range is complete */
} RangePass;

/* When groups are left to the next transaction, even if the budget is not used up. */
static TimestampTz pause_at = DT_NOEND;

/*
 * eddy_view_close_pause_at limits the time of the calls that follow, in addition to their budgets,
 * where the next transaction can continue without reading anything again.
 */
void
eddy_view_close_pause_at(TimestampTz at)
{
	pause_at = at;
}

/* True if closing windows changes nothing but the marks of their rows. */
static bool
changes_only_marks(const EddyViewPlan *plan, CloseAction action)
{
	if (plan->emit_interval > 0)
		return false;
	return action == CLOSE_MARK ||
		(action == CLOSE_MARK_AND_FORGET &&
		 (plan->kind->forget == NULL || !eddy_combining_forgets(plan)));
}

/* Makes the new version of a group from its values; false if it does not change. */
static bool
make_values(RangePass *pass, TupleTableSlot *row)
{
	EddyViewPlan *plan = pass->plan;

	copy_row(pass->version, row);
	eddy_emit_show_pending(plan, pass->version);
	if (pass->action != CLOSE_FORGET)
		eddy_combining_mark(plan, pass->version, true);
	if (pass->action != CLOSE_MARK && plan->kind->forget)
		plan->kind->forget(plan, pass->version);
	/* of a window with many groups, those that an earlier call had the budget for have shrunk */
	return pass->action != CLOSE_FORGET || !eddy_merge_identical(row, pass->version);
}

/* Makes the new version of a group; NULL if it does not change. */
static TupleTableSlot *
make_version(RangePass *pass, TupleTableSlot *row)
{
	EddyViewPlan *plan = pass->plan;

	if (pass->action != CLOSE_FORGET && DatumGetBool(row->tts_values[plan->final_column - 1]))
		return NULL;
	if (pass->only_marks)
	{
		EddyMark	marks[EDDY_MAX_MARKS];
		int			nmarks = eddy_combining_get_marks(plan, row, true, marks);

		if (eddy_mark_row(row, marks, nmarks, pass->marked))
			return pass->marked;
	}
	return make_values(pass, row) ? pass->version : NULL;
}

/*
 * Applies the action to a row. True if that is a change; not if the row was deleted by its owner
 * meanwhile. id: of the group, if its kept values go; otherwise 0.
 */
static bool
act_on_row(RangePass *pass, EddyUpsert *upsert, TupleTableSlot *row, Datum id)
{
	ItemPointerData place = row->tts_tid;
	TupleTableSlot *version;

	if (pass->action == CLOSE_REMOVE)
		return eddy_upsert_delete(upsert, &place);
	if (eddy_emit_removes(pass->plan, row))
	{
		/* it is not in the view, or not any more */
		if (eddy_upsert_delete(upsert, &place))
			(*pass->budget)--;
		return false;
	}
	version = make_version(pass, row);
	if (version != NULL)
		return eddy_upsert_update(upsert, &place, version);
	return pass->action == CLOSE_FORGET && id != (Datum) 0;
}

/* Applies the action to the rows that are read, from a first end on. True if these are all. */
static bool
act_on_rows(RangePass *pass, EddyUpsert *upsert, TimestampTz after)
{
	EddyViewPlan *plan = pass->plan;
	TimestampTz current = after;
	TupleTableSlot *row;
	int64		acted = 0;

	pass->complete = after;
	while ((row = eddy_upsert_next(upsert)) != NULL)
	{
		TimestampTz end = DatumGetTimestampTz(row->tts_values[plan->keys[0].column - 1]);
		Datum		id = plan->id_column && pass->action != CLOSE_MARK ?
			datumCopy(row->tts_values[plan->id_column - 1], false, UUID_LEN) : (Datum) 0;

		CHECK_FOR_INTERRUPTS();
		/* it is removed together with the session that it has become */
		if (eddy_session_is_superseded(eddy_plan_main_table(plan), row))
			continue;
		(void) eddy_session_delete_replaced(plan, row,
											eddy_session_get_replaced(eddy_plan_main_table(plan),
																	  row), true);
		if (end != current)
		{
			if (!pass->partial)
				pass->complete = current;
			current = end;
		}
		if (!act_on_row(pass, upsert, row, id))
			continue;
		(*pass->changed)++;
		if (id != (Datum) 0)
			pass->emptied = lappend(pass->emptied, DatumGetPointer(id));
		if (++acted % CLOCK_GROUPS == 0 && GetCurrentTimestamp() >= pause_at)
			*pass->budget = 1;
		if (--(*pass->budget) <= 0)
		{
			set_position(plan, pass->action,
						 pass->action == CLOSE_REMOVE ? pass->base : pass->complete,
						 *pass->changed, pass->complete, row);
			return false;
		}
	}
	return true;
}

/* Begins to read the groups of a range, after a position if there is one. */
static void
begin_reading(EddyUpsert *upsert, const EddyClosePosition *position, TimestampTz after,
			  TimestampTz until)
{
	if (position && position->keys)
		eddy_upsert_seek_after(upsert, position->keys, position->nulls, until);
	else
		eddy_upsert_seek_range(upsert, position ? Max(after, position->until) : after, until);
}

/*
 * One pass, which sees what the one before has changed. True if it has reached the end of the
 * range.
 */
static bool
run_pass(RangePass *pass, const EddyClosePosition *position, TimestampTz after, TimestampTz until)
{
	EddyUpsert *upsert;
	bool		all;

	PushActiveSnapshot(GetLatestSnapshot());
	upsert = eddy_upsert_open(eddy_plan_main_table(pass->plan), pass->plan->name);
	pass->version = MakeSingleTupleTableSlot(eddy_upsert_desc(upsert), &TTSOpsVirtual);
	pass->marked = MakeSingleTupleTableSlot(eddy_upsert_desc(upsert), &TTSOpsHeapTuple);
	begin_reading(upsert, position, after, until);
	all = act_on_rows(pass, upsert, after);
	ExecDropSingleTupleTableSlot(pass->version);
	ExecDropSingleTupleTableSlot(pass->marked);
	eddy_upsert_close(upsert);
	PopActiveSnapshot();
	CommandCounterIncrement();
	return all;
}

/*
 * Applies an action to the groups of windows that end in a range, at most *budget of them.
 * Returns until when the range is complete; *changed is increased by the number of groups
 * changed. base is what the catalog says of earlier work: after, or for CLOSE_REMOVE until.
 */
static TimestampTz
act_on_range(EddyViewPlan *plan, CloseAction action, TimestampTz base, TimestampTz after,
			 TimestampTz until, int64 *budget, int64 *changed)
{
	EddyClosePosition *position = get_position(plan, action);
	bool		resumes = is_current(position, action, base, *changed);
	/* late rows that are accepted may have created groups before the position */
	bool		repeats = resumes && action == CLOSE_MARK;
	RangePass	pass = {
		.plan = plan, .action = action, .budget = budget, .changed = changed,
		.only_marks = changes_only_marks(plan, action), .partial = repeats, .base = base
	};
	bool		all = run_pass(&pass, resumes ? position : NULL, after, until);

	if (all && repeats)
	{
		pass.partial = false;
		all = run_pass(&pass, NULL, after, until);
	}
	if (all)
		pass.complete = until;
	if (all && action == CLOSE_REMOVE && *changed > 0)
		set_position(plan, action, base, 0, until, NULL);
	else if (all && action != CLOSE_REMOVE)
		forget_position(plan, action);
	eddy_collect_forget(eddy_collect_tables(plan), pass.emptied);
	CommandCounterIncrement();
	list_free_deep(pass.emptied);
	return pass.complete;
}

/* ---- one view ---- */

/* What is done with a view, for the frame below. */
typedef struct CloseRun
{
	EddyViewPlan *plan;
	TimestampTz watermark;
	int64	   *budget;
	bool		complete;
	EddyChanges *changes;		/* NULL: the view is not observed */
} CloseRun;

static void
close_view(CloseRun *run)
{
	EddyViewPlan *plan = run->plan;
	EddyViewProgress *progress;
	TimestampTz until = run->watermark;
	TimestampTz forgets;
	int64		forgotten = 0;

	if (plan->kind->settle)
		until = plan->kind->settle(plan, run->watermark, run->budget);
	forgets = Min(eddy_view_earlier(run->watermark, plan->lateness), until);
	progress = eddy_catalog_lock_view_progress(plan->view);
	if (progress == NULL)
		return;
	if (*run->budget <= 0)
	{
		run->complete = false;
		return;
	}
	if (plan->kind->close)
	{
		run->complete = plan->kind->close(plan, progress, run->watermark, run->budget);
		progress->forgotten_until = progress->closed_until;
		progress->closed_at = GetCurrentTimestamp();
		eddy_catalog_set_view_progress(progress);
		return;
	}
	if (until > progress->closed_until)
	{
		TimestampTz closed_before = progress->closed_until;
		bool		waits = plan->lateness > 0 || eddy_combine_is_wanted(plan->view);
		bool		behind;

		progress->closed_until =
			act_on_range(plan, waits ? CLOSE_MARK : CLOSE_MARK_AND_FORGET,
						 progress->closed_until, progress->closed_until, until,
						 run->budget, &progress->closed_groups);
		progress->closed_at = GetCurrentTimestamp();
		/* groups that were kept when windows were closed before, for views that combine them */
		if (plan->lateness == 0 && *run->budget > 0 &&
			progress->forgotten_until < closed_before)
			progress->forgotten_until = act_on_range(plan, CLOSE_FORGET,
													 progress->forgotten_until,
													 progress->forgotten_until, closed_before,
													 run->budget, &forgotten);
		behind = progress->forgotten_until < closed_before;
		if (!waits && !behind)
			progress->forgotten_until = progress->closed_until;
	}
	if (plan->lateness == 0)
		forgets = progress->forgotten_until;
	else if (*run->budget > 0 && forgets > progress->forgotten_until)
		progress->forgotten_until = act_on_range(plan, CLOSE_FORGET, progress->forgotten_until,
												 progress->forgotten_until, forgets, run->budget,
												 &forgotten);
	/* what other transactions have locked is left for the next call */
	run->complete = progress->closed_until >= until &&
		progress->forgotten_until >= forgets;
	eddy_catalog_set_view_progress(progress);
}

/*
 * True if there are groups of windows that end until a time. What is left of removed ones is not
 * passed again.
 */
static bool
has_groups(EddyViewPlan *plan, const EddyViewProgress *progress, TimestampTz until)
{
	EddyClosePosition *position = get_position(plan, CLOSE_REMOVE);
	EddyUpsert *upsert;
	bool		found;

	if (!is_current(position, CLOSE_REMOVE, progress->expired_until, 0))
	{
		/* a view that was rebuilt can have groups before it */
		forget_position(plan, CLOSE_REMOVE);
		position = NULL;
	}
	PushActiveSnapshot(GetLatestSnapshot());
	upsert = eddy_upsert_open(eddy_plan_main_table(plan), plan->name);
	begin_reading(upsert, position, DT_NOBEGIN, until);
	found = eddy_upsert_next(upsert) != NULL;
	eddy_upsert_close(upsert);
	PopActiveSnapshot();
	return found;
}

static void
expire_view(CloseRun *run)
{
	EddyViewPlan *plan = run->plan;
	EddyViewProgress *progress;
	TimestampTz until;
	int64		removed = 0;

	if (plan->retention < 0)
		return;
	progress = eddy_catalog_get_view_progress(plan->view);
	if (progress == NULL)
		return;
	until = Min(eddy_view_earlier(run->watermark, plan->retention), progress->forgotten_until);
	/* rows that an earlier call had no budget for are still there */
	if (!has_groups(plan, progress, until))
		return;
	progress = eddy_catalog_lock_view_progress(plan->view);
	if (progress == NULL)
		return;
	/*
	 * Before the first row is deleted, so that consumers of changes know why it is, and also if the
	 * time is the same as in the transaction before: a consumer may begin to read after that.
	 */
	progress->expired_until = Max(until, progress->expired_until);
	eddy_catalog_set_view_progress(progress);
	(void) act_on_range(plan, CLOSE_REMOVE, progress->expired_until, DT_NOBEGIN, until, run->budget,
						&removed);
	run->complete = *run->budget > 0;
}

static void
run_on_view(void (*function) (CloseRun *), CloseRun *run)
{
	EddyOwnerSwitch save;

	/* comparing keys calls functions of their types */
	eddy_owner_begin(&save, run->plan->owner);
	eddy_plan_pin(run->plan);
	PG_TRY();
	{
		eddy_maintain_record_to(run->plan, run->changes);
		function(run);
	}
	PG_FINALLY();
	{
		eddy_maintain_record_to(run->plan, NULL);
		eddy_plan_unpin(run->plan);
	}
	PG_END_TRY();
	eddy_owner_end(&save);
}

/* ---- all views of some streams ---- */

/*
 * The plans of the views that exactly these streams reach and that have windows, with their state
 * tables locked, in order of level and Oid; only those of a level, unless it is -1. Without those
 * that another process has to settle. They are pinned until the memory context is deleted: making
 * the plan of one makes that of a view that it reads again, if a concurrent change has invalidated
 * it, and frees the one before.
 */
static List *
windowed_plans(List *streams, int level, MemoryContext mcxt)
{
	List	   *plans = NIL;
	ListCell   *lc;

	foreach(lc, eddy_followers_of(streams, level))
	{
		EddyViewPlan *plan;

		/* rows of all windows are still to come */
		if (eddy_followers_is_starting(linitial_oid(streams), lfirst_oid(lc)))
			continue;
		plan = eddy_maintain_lock_view(lfirst_oid(lc), false);

		if (plan && plan->windowed && (settles || plan->kind->settle == NULL))
		{
			eddy_plan_pin_for(plan, mcxt);
			plans = lappend(plans, plan);
		}
	}
	return plans;
}

/* The memory context of the pins of windowed_plans. */
static MemoryContext
create_pins(void)
{
	return AllocSetContextCreate(CurrentMemoryContext, "pg_eddy plans of views that close",
								 ALLOCSET_SMALL_SIZES);
}

/*
 * eddy_view_may_close returns false if nothing can be due, of the views of a stream and those that
 * read them. Nearly all transactions close nothing, so it is remembered for a while what
 * eddy_view_close_due has found: own groups lower it
 * (maintain.c); windows that other sessions have added since are closed by these sessions, or
 * later.
 */
bool
eddy_view_may_close(List *streams, TimestampTz watermark)
{
	MemoryContext mcxt = create_pins();
	bool		due = false;
	ListCell   *lc;

	foreach(lc, windowed_plans(streams, -1, mcxt))
		if (may_be_due(lfirst(lc), eddy_chain_watermark(lfirst(lc), watermark, EDDY_CHAIN_EXPECT)))
		{
			due = true;
			break;
		}
	MemoryContextDelete(mcxt);
	return due;
}

/*
 * eddy_view_close_due returns true if windows of views of the stream have to be closed, according
 * to the latest state. remember: no other transaction is adding rows.
 */
bool
eddy_view_close_due(List *streams, TimestampTz watermark, bool remember)
{
	MemoryContext mcxt = create_pins();
	bool		due = false;
	ListCell   *lc;

	foreach(lc, windowed_plans(streams, -1, mcxt))
		due |= is_due(lfirst(lc), eddy_chain_watermark(lfirst(lc), watermark, EDDY_CHAIN_EXPECT),
					  remember);
	MemoryContextDelete(mcxt);
	return due;
}

/*
 * eddy_view_close_interrupted returns true if a transaction has closed a part of a window of the
 * stream, according to what eddy_view_close_due has found: the database worker continues, and
 * knows where.
 */
bool
eddy_view_close_interrupted(List *streams)
{
	MemoryContext mcxt = create_pins();
	bool		interrupted = false;
	ListCell   *lc;

	foreach(lc, windowed_plans(streams, -1, mcxt))
		interrupted |= ((EddyViewPlan *) lfirst(lc))->interrupted;
	MemoryContextDelete(mcxt);
	return interrupted;
}

/* Runs a function for each view until the budget is used up. True if all of it was done. */
static bool
run_on_views(List *streams, int level, TimestampTz watermark, int64 *budget,
			 void (*function) (CloseRun *), EddyChangeCause cause, List **changes)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy closing",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	bool		complete = true;
	ListCell   *lc;

	foreach(lc, windowed_plans(streams, level, mcxt))
	{
		EddyViewPlan *plan = lfirst(lc);
		CloseRun	run = {plan, eddy_view_closes_until(plan, watermark, EDDY_CHAIN_CLOSE), budget, true, NULL};

		if (*budget <= 0)
			complete = false;
		else
		{
			MemoryContextSwitchTo(old);
			run.changes = eddy_maintain_make_record(plan, cause);
			MemoryContextSwitchTo(mcxt);
			run_on_view(function, &run);
			complete &= run.complete;
			MemoryContextSwitchTo(old);
			*changes = eddy_maintain_keep_record(*changes, run.changes);
			MemoryContextSwitchTo(mcxt);
		}
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
	return complete;
}

/*
 * eddy_view_close closes the windows of the views of a level that exactly these streams reach and
 * that end until the watermark, in the current transaction, at most *budget groups. Returns true if
 * no more have to be closed. The caller ensures that no other transaction judges rows of the
 * streams by an earlier watermark. Changes of views that are observed are added to *changes, in the
 * current memory context.
 */
bool
eddy_view_close(List *streams, int level, TimestampTz watermark, int64 *budget, List **changes)
{
	return run_on_views(streams, level, watermark, budget, close_view, EDDY_CAUSE_CLOSE, changes);
}

/*
 * eddy_view_expire removes groups of closed windows whose retention has passed, as eddy_view_close
 * closes them. Batches need not wait for it.
 */
bool
eddy_view_expire(List *streams, int level, TimestampTz watermark, int64 *budget, List **changes)
{
	return run_on_views(streams, level, watermark, budget, expire_view, EDDY_CAUSE_EXPIRE, changes);
}

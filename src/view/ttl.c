/*-------------------------------------------------------------------------
 *
 * ttl.c
 *    idle_ttl: groups that no row has touched for a time are removed.
 *
 * For keys without a window, whose state would grow for ever. A hidden column has the time at
 * which the group was touched last, and an index over it the groups in that order. The time is
 * exact to an eighth of the length only, so that nearly all updates of a group leave the index
 * alone (HOT): a group is removed when it has not been touched for that length, and at most an
 * eighth of it later.
 *
 * The database worker removes groups in order of that time. As for retention, each transaction that
 * removes some updates eddy._view_progress before, which tells consumers of changes why they are
 * deleted. The values that aggregates keep of a group are deleted with it. A row that comes later
 * begins a new group.
 *
 * The time is that of the clock of the server.
 *
 * Locking: the row of the view in eddy._view_progress; groups are locked without waiting, those
 * that others have locked are left out: they are being touched. Memory: the current context. A
 * crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "monotonic.h"
#include "owner.h"
#include "view/collect.h"
#include "view/layout.h"
#include "view/maintain.h"
#include "view/ttl.h"
#include "view/view.h"

/* The time is exact to this part of the length. */
#define PRECISION 8

void
eddy_ttl_lay_out(EddyViewPlan *plan, EddyStateTable *table)
{
	if (plan->idle_ttl > 0)
		table->touched.column = eddy_layout_add_hidden(table, "_touched_at", TIMESTAMPTZOID, -1,
													   InvalidOid, true);
}

void
eddy_ttl_touch(const EddyViewPlan *plan, TimestampTz now, TupleTableSlot *stored,
			   TupleTableSlot *version)
{
	int			column;

	if (plan->idle_ttl == 0)
		return;
	column = eddy_plan_main_table(plan)->touched.column - 1;
	version->tts_isnull[column] = false;
	if (stored)
	{
		TimestampTz before = DatumGetTimestampTz(stored->tts_values[column]);

		if (before <= now && before > eddy_view_earlier(now, plan->idle_ttl / PRECISION))
			now = before;
	}
	version->tts_values[column] = TimestampTzGetDatum(now);
}

/* The time until which groups have expired that were touched then. */
static TimestampTz
expires_until(const EddyViewPlan *plan)
{
	return eddy_view_earlier(eddy_view_earlier(eddy_wall_clock(), plan->idle_ttl),
							 plan->idle_ttl / PRECISION);
}

/* Removes groups; true if none of those that have expired is left, unless it is locked. */
static bool
remove_groups(EddyViewPlan *plan, TimestampTz until, int64 *budget)
{
	const EddyStateTable *table = eddy_plan_main_table(plan);
	EddyUpsert *upsert = eddy_upsert_open(table, plan->name);
	List	   *emptied = NIL;	/* identities of groups whose kept values are not needed any more */
	bool		recorded = false;
	TupleTableSlot *row;

	eddy_upsert_seek_time(upsert, &table->touched, DT_NOBEGIN, until);
	while (*budget > 0 && (row = eddy_upsert_next(upsert)) != NULL)
	{
		ItemPointerData place = row->tts_tid;
		Datum		id = plan->id_column ?
			datumCopy(row->tts_values[plan->id_column - 1], false, UUID_LEN) : (Datum) 0;

		CHECK_FOR_INTERRUPTS();
		if (!recorded)
		{
			EddyViewProgress *progress = eddy_catalog_lock_view_progress(plan->view);

			if (progress == NULL)
				break;
			/*
			 * also if the clock was set back: each transaction tells consumers that it removes
			 * groups
			 */
			progress->expired_until = Max(until, progress->expired_until);
			eddy_catalog_set_view_progress(progress);
			recorded = true;
		}
		if (!eddy_upsert_try_lock(upsert, &place) || !eddy_upsert_delete(upsert, &place))
			continue;
		(*budget)--;
		if (id != (Datum) 0)
			emptied = lappend(emptied, DatumGetPointer(id));
	}
	eddy_collect_forget(eddy_collect_tables(plan), emptied);
	list_free_deep(emptied);
	eddy_upsert_close(upsert);
	return *budget > 0;
}

/*
 * eddy_view_expire_idle removes groups of a view whose idle_ttl has passed, at most *budget of
 * them, in the current transaction. Returns true if no more have to be removed.
 */
bool
eddy_view_expire_idle(Oid view, int64 *budget)
{
	EddyViewPlan *plan = eddy_maintain_lock_view(view, false);
	EddyOwnerSwitch save;
	bool		complete = true;

	if (plan == NULL || plan->idle_ttl == 0)
		return true;
	eddy_owner_begin(&save, plan->owner);
	eddy_plan_pin(plan);
	PushActiveSnapshot(GetLatestSnapshot());
	PG_TRY();
	{
		complete = remove_groups(plan, expires_until(plan), budget);
	}
	PG_FINALLY();
	{
		eddy_plan_unpin(plan);
	}
	PG_END_TRY();
	PopActiveSnapshot();
	eddy_owner_end(&save);
	return complete;
}

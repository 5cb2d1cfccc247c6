/*-------------------------------------------------------------------------
 *
 * emit_every.c
 *    emit => 'every ...': changes of a group become visible at most once in an interval.
 *
 * Each batch is merged into the state of its groups as usual. The columns of the view in the state
 * table, however, have what was shown last, and hidden columns what is to be shown next:
 *
 *    columns of the view | hidden keys and states | latest values | ... | shown at | pending
 *
 * An aggregate whose state is its final value has its latest value there. A change is shown at
 * once if the group has shown none for the interval, otherwise the row is pending, and the
 * database worker shows it when the interval is over. Pending rows are an index, in order of the
 * time at which they were shown last. Only the beginning and the end of the pending state need
 * new index entries, so between them updates are HOT. All of it is in the row itself: a crash
 * loses nothing.
 *
 * A view whose source takes rows back removes groups. The row of a group without rows remains, as
 * one that is not in the view (_having), until its interval is over: so the group does not appear
 * and vanish more often than once in an interval. A group that was never shown, or whose window
 * closes, is removed at once.
 *
 * Sessions are not one row each: see session_emit.c.
 *
 * Consumers of changes see what readers see: the output plugin sends no update that changes
 * hidden columns alone. A row that becomes final shows its last change at the same time
 * (closing.c).
 *
 * The time is that of the clock of the server. If it is set back, changes are shown too early
 * rather than too late.
 *
 * Locking: the database worker locks rows without waiting; it leaves out those that others have
 * locked, and so never is part of a deadlock. Memory: the current context. A crash leaves
 * nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "interval.h"
#include "monotonic.h"
#include "owner.h"
#include "view/changes.h"
#include "view/collect.h"
#include "view/emit_every.h"
#include "view/kind.h"
#include "view/kind_retracting.h"
#include "view/layout.h"
#include "view/maintain.h"
#include "view/session_emit.h"
#include "view/view.h"

/* What the value of the option begins with. */
#define EVERY "every "

bool
eddy_view_parse_emit(const char *emit, int64 *interval)
{
	Datum		value;

	if (strncmp(emit, EVERY, strlen(EVERY)) != 0)
		return false;
	value = DirectFunctionCall3(interval_in, CStringGetDatum(emit + strlen(EVERY)),
								ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	*interval = eddy_interval_usec(DatumGetIntervalP(value));
	return true;
}

/* ---- layout ---- */

int
eddy_emit_max_columns(const EddyViewPlan *plan)
{
	return plan->emit_interval > 0 ? plan->noutputs + 4 : 0;
}

static bool
is_key_column(const EddyStateTable *table, AttrNumber column)
{
	for (int i = 0; i < table->nkeys; i++)
		if (table->keys[i].column == column)
			return true;
	return false;
}

void
eddy_emit_lay_out(EddyViewPlan *plan, EddyStateTable *table)
{
	if (plan->emit_interval == 0)
		return;
	for (int i = 0; i < plan->noutputs; i++)
	{
		EddyOutput *output = &plan->outputs[i];

		/* a key never changes */
		if (is_key_column(table, output->column) || output->kind == EDDY_OUTPUT_KEY)
			continue;
		if (output->kind == EDDY_OUTPUT_AGGREGATE && plan->aggs[output->index].state_is_final)
			output->latest_column = plan->aggs[output->index].state_column;
		else
			output->latest_column = eddy_layout_add_hidden(table, psprintf("_latest%d", i + 1),
														   output->type, output->typmod,
														   output->collation, false);
	}
	table->shown.column = eddy_layout_add_hidden(table, "_shown_at", TIMESTAMPTZOID, -1,
												 InvalidOid, true);
	table->shown.where = eddy_layout_add_hidden(table, "_pending", BOOLOID, -1, InvalidOid, true);
	if (plan->kind->lay_out_emit)
		plan->kind->lay_out_emit(table);
}

/* ---- one row ---- */

static inline bool
get_mark(TupleTableSlot *row, AttrNumber column)
{
	return DatumGetBool(row->tts_values[column - 1]);
}

static inline void
set_value(TupleTableSlot *row, AttrNumber column, Datum value)
{
	row->tts_values[column - 1] = value;
	row->tts_isnull[column - 1] = false;
}

static void
copy_value(TupleTableSlot *to, AttrNumber to_column, TupleTableSlot *from, AttrNumber from_column)
{
	to->tts_values[to_column - 1] = from->tts_values[from_column - 1];
	to->tts_isnull[to_column - 1] = from->tts_isnull[from_column - 1];
}

/* True for a group without rows, which is to be removed. */
static bool
is_empty(const EddyViewPlan *plan, TupleTableSlot *version)
{
	return plan->retracts && eddy_retracting_is_empty(plan, version);
}

/* True if a row with its latest values is in the view. */
bool
eddy_emit_is_in_view(const EddyViewPlan *plan, TupleTableSlot *version)
{
	return plan->having_column == 0 || get_mark(version, plan->having_column);
}

static void
show(const EddyViewPlan *plan, TupleTableSlot *version)
{
	const EddyStateTable *table = eddy_plan_main_table(plan);

	for (int i = 0; i < plan->noutputs; i++)
		if (plan->outputs[i].latest_column)
			copy_value(version, plan->outputs[i].column, version, plan->outputs[i].latest_column);
	if (plan->visible_column)
		set_value(version, plan->visible_column,
				  BoolGetDatum(eddy_emit_is_in_view(plan, version)));
	set_value(version, table->shown.where, BoolGetDatum(is_empty(plan, version)));
}

/* True if the latest values are not those that are shown. */
static bool
differs(const EddyViewPlan *plan, TupleTableSlot *version)
{
	TupleDesc	desc = version->tts_tupleDescriptor;
	bool		in_view = eddy_emit_is_in_view(plan, version);

	if (eddy_session_get_replaced(eddy_plan_main_table(plan), version) != NIL)
		return true;
	if (plan->visible_column && in_view != get_mark(version, plan->visible_column))
		return true;
	for (int i = 0; in_view && i < plan->noutputs; i++)
	{
		int			shown = plan->outputs[i].column - 1;
		int			latest = plan->outputs[i].latest_column - 1;
		Form_pg_attribute att = TupleDescAttr(desc, shown);

		if (latest < 0)
			continue;
		if (version->tts_isnull[shown] != version->tts_isnull[latest])
			return true;
		if (!version->tts_isnull[shown] &&
			!datum_image_eq(version->tts_values[shown], version->tts_values[latest],
							att->attbyval, att->attlen))
			return true;
	}
	return false;
}

bool
eddy_emit_is_over(const EddyViewPlan *plan, TimestampTz shown_at, TimestampTz now)
{
	return shown_at > now || shown_at <= eddy_view_earlier(now, plan->emit_interval);
}

void
eddy_emit_pace(const EddyViewPlan *plan, TimestampTz now, TupleTableSlot *stored,
			   TupleTableSlot *version)
{
	const EddyStateTable *table = eddy_plan_main_table(plan);
	TimestampTz shown_at;

	if (plan->emit_interval == 0)
		return;
	if (stored == NULL)
	{
		show(plan, version);
		/* a row that is not in the view has shown nothing */
		set_value(version, table->shown.column,
				  TimestampTzGetDatum(eddy_emit_is_in_view(plan, version) ? now : DT_NOBEGIN));
		return;
	}
	for (int i = 0; i < plan->noutputs; i++)
		if (plan->outputs[i].latest_column)
			copy_value(version, plan->outputs[i].column, stored, plan->outputs[i].column);
	if (plan->visible_column)
		copy_value(version, plan->visible_column, stored, plan->visible_column);
	copy_value(version, table->shown.column, stored, table->shown.column);
	if (table->replaces)
		copy_value(version, table->replaces, stored, table->replaces);
	set_value(version, table->shown.where, BoolGetDatum(is_empty(plan, version)));
	if (!differs(plan, version))
		return;
	shown_at = DatumGetTimestampTz(stored->tts_values[table->shown.column - 1]);
	if (eddy_emit_is_over(plan, shown_at, now))
	{
		show(plan, version);
		set_value(version, table->shown.column, TimestampTzGetDatum(now));
	}
	else
		set_value(version, table->shown.where, BoolGetDatum(true));
}

void
eddy_emit_show(const EddyViewPlan *plan, TimestampTz now, TupleTableSlot *version)
{
	show(plan, version);
	set_value(version, eddy_plan_main_table(plan)->shown.column, TimestampTzGetDatum(now));
}

void
eddy_emit_hide(const EddyViewPlan *plan, TimestampTz shown_at, bool pending,
			   TupleTableSlot *version)
{
	const EddyStateTable *table = eddy_plan_main_table(plan);

	set_value(version, plan->visible_column, BoolGetDatum(false));
	set_value(version, table->shown.column, TimestampTzGetDatum(shown_at));
	set_value(version, table->shown.where, BoolGetDatum(pending));
}

void
eddy_emit_show_pending(const EddyViewPlan *plan, TupleTableSlot *version)
{
	const EddyStateTable *table = eddy_plan_main_table(plan);

	if (plan->emit_interval > 0 && get_mark(version, table->shown.where))
	{
		eddy_emit_show(plan, eddy_wall_clock(), version);
		if (table->replaces)
			eddy_session_set_replaced(table, version, NIL);
	}
}

bool
eddy_emit_removes(const EddyViewPlan *plan, TupleTableSlot *row)
{
	return plan->emit_interval > 0 && is_empty(plan, row);
}

/* ---- the database worker ---- */

/* Shows the changes of rows that have shown their last one in a range of times. */
static void
show_range(EddyViewPlan *plan, EddyUpsert *upsert, TimestampTz after, TimestampTz until,
		   TimestampTz now, int64 *budget)
{
	const EddyStateTable *table = eddy_plan_main_table(plan);
	TupleTableSlot *version = MakeSingleTupleTableSlot(eddy_upsert_desc(upsert), &TTSOpsVirtual);
	List	   *emptied = NIL;	/* identities of groups that are removed */
	int			natts = eddy_upsert_desc(upsert)->natts;
	TupleTableSlot *row;

	eddy_upsert_seek_time(upsert, &table->shown, after, until);
	while (*budget > 0 && (row = eddy_upsert_next(upsert)) != NULL)
	{
		ItemPointerData place = row->tts_tid;
		List	   *replaced = eddy_session_get_replaced(table, row);

		CHECK_FOR_INTERRUPTS();
		/* a superuser can have made another index over this column */
		if (!get_mark(row, table->shown.where) || !eddy_upsert_try_lock(upsert, &place))
			continue;
		if (!eddy_session_delete_replaced(plan, row, replaced, false))
			continue;
		/* it has not been in the view for the interval */
		if (is_empty(plan, row) && !get_mark(row, plan->visible_column))
		{
			if (plan->id_column)
				emptied = lappend(emptied, DatumGetPointer(datumCopy(row->tts_values[plan->id_column - 1],
																	 false, UUID_LEN)));
			if (eddy_upsert_delete(upsert, &place))
				(*budget)--;
			continue;
		}
		ExecClearTuple(version);
		memcpy(version->tts_values, row->tts_values, sizeof(Datum) * natts);
		memcpy(version->tts_isnull, row->tts_isnull, sizeof(bool) * natts);
		eddy_emit_show(plan, now, version);
		if (table->replaces)
			eddy_session_set_replaced(table, version, NIL);
		if (eddy_upsert_update(upsert, &place, ExecStoreVirtualTuple(version)))
			(*budget)--;
	}
	eddy_collect_forget(eddy_collect_tables(plan), emptied);
	list_free_deep(emptied);
	ExecDropSingleTupleTableSlot(version);
}

/* Shows the changes of a view that are due, of at most *budget groups. */
static void
show_due(EddyViewPlan *plan, int64 *budget)
{
	TimestampTz now = eddy_wall_clock();
	EddyUpsert *upsert = eddy_upsert_open(eddy_plan_main_table(plan), plan->name);

	show_range(plan, upsert, DT_NOBEGIN, eddy_view_earlier(now, plan->emit_interval), now, budget);
	/* the clock was set back */
	if (*budget > 0)
		show_range(plan, upsert, now, DT_NOEND, now, budget);
	eddy_upsert_close(upsert);
}

/*
 * eddy_view_emit_due shows the changes of a view that have waited for the interval, of at most
 * *budget groups, in the current transaction. Returns true if no more are due, as far as rows are
 * not locked. They are added to *changes, a List of EddyChanges in the current memory context, if
 * the view is observed.
 */
bool
eddy_view_emit_due(Oid view, int64 *budget, List **changes)
{
	EddyViewPlan *plan = eddy_maintain_lock_view(view, false);
	EddyOwnerSwitch save;
	EddyChanges *record;

	if (plan == NULL || plan->emit_interval == 0)
		return true;
	eddy_owner_begin(&save, plan->owner);
	eddy_plan_pin(plan);
	PushActiveSnapshot(GetLatestSnapshot());
	record = eddy_maintain_make_record(plan, EDDY_CAUSE_BATCH);
	PG_TRY();
	{
		eddy_maintain_record_to(plan, record);
		if (eddy_plan_main_table(plan)->shown.column)
			show_due(plan, budget);
	}
	PG_FINALLY();
	{
		eddy_maintain_record_to(plan, NULL);
		eddy_plan_unpin(plan);
	}
	PG_END_TRY();
	PopActiveSnapshot();
	eddy_owner_end(&save);
	*changes = eddy_maintain_keep_record(*changes, record);
	return *budget > 0;
}

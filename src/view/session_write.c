/*-------------------------------------------------------------------------
 *
 * session_write.c
 *    Writing the sessions that a merge has combined, and what is shown of them.
 *
 * A session that keeps its bounds is replaced; otherwise the sessions that it consists of are
 * removed and it is inserted. With emit => 'every ...', its row is not shown until the interval is
 * over, and rows of the others that are shown remain as superseded ones (session_emit.c).
 *
 * Locking, memory, crash: see kind_session.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "view/emit_every.h"
#include "view/kind_combining.h"
#include "view/session_emit.h"
#include "view/session_merge.h"

/* eddy_session_show_stored returns the version of a stored session, until the next call. */
TupleTableSlot *
eddy_session_show_stored(EddySessions *s, const EddyStoredSession *stored)
{
	ExecForceStoreHeapTuple(stored->row, s->copy, false);
	slot_getallattrs(s->copy);
	return s->copy;
}

static void
set_value(TupleTableSlot *slot, int index, Datum value, bool isnull)
{
	slot->tts_values[index] = value;
	slot->tts_isnull[index] = isnull;
}

/*
 * Joins the kept values of the sessions that are combined: of the one that has most, its version is
 * returned, and keeps its identity. NULL: there is none.
 */
static TupleTableSlot *
join_values(EddySessions *s)
{
	EddyStoredSession *most = NULL;
	int64		most_values = -1;
	ListCell   *lc;

	foreach(lc, s->session.absorbed)
	{
		int64		n = eddy_collect_count_values(s->collector, eddy_session_show_stored(s, lfirst(lc)));

		if (n > most_values)
		{
			most = lfirst(lc);
			most_values = n;
		}
	}
	foreach(lc, s->session.absorbed)
		if (lfirst(lc) != most)
			eddy_collect_absorb(s->collector, eddy_session_show_stored(s, lfirst(lc)));
	return most ? eddy_session_show_stored(s, most) : NULL;
}

/* Computes an aggregate from the values of the new session. */
static void
compute_from_values(EddySessions *s, int i, TupleTableSlot *stored, EddyState *new_stored,
					EddyState *final)
{
	int			column = s->plan->aggs[i].state_column - 1;
	EddyState	old = {(Datum) 0, true};

	if (stored)
	{
		old.value = stored->tts_values[column];
		old.isnull = stored->tts_isnull[column];
	}
	eddy_collect_compute(s->collector, i, &old, new_stored, final);
}

/* Fills s->result from the new session. */
static void
compute_result(EddySessions *s)
{
	EddyViewPlan *plan = s->plan;
	EddyNewSession *session = &s->session;
	TupleTableSlot *result = ExecClearTuple(s->result);
	TupleTableSlot *finals = ExecClearTuple(s->finals);
	TupleTableSlot *kept = NULL;

	ResetExprContext(s->econtext);
	memset(result->tts_isnull, true, sizeof(bool) * s->table->ncolumns);
	set_value(finals, EDDY_SESSION_END, TimestampGetDatum(session->end), false);
	set_value(finals, EDDY_SESSION_START, TimestampGetDatum(session->start), false);
	set_value(finals, eddy_session_last_key(plan), TimestampGetDatum(session->last), false);
	for (int i = 0; i < s->nkeys; i++)
		set_value(finals, EDDY_SESSION_KEY + i, s->keys[i], s->key_nulls[i]);
	for (int i = 0; i < plan->nkeys; i++)
		set_value(result, plan->keys[i].column - 1, finals->tts_values[i],
				  finals->tts_isnull[i]);
	if (s->collector)
	{
		kept = join_values(s);
		eddy_collect_prepare(s->collector, NULL, NULL, kept, finals->tts_values,
							 finals->tts_isnull, result);
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];
		EddyState	stored;
		EddyState	final;

		if (agg->collection)
			compute_from_values(s, i, kept, &stored, &final);
		else
			eddy_combine_finish(s->combiner, agg, &session->states[i], &stored, &final);
		set_value(result, agg->state_column - 1, stored.value, stored.isnull);
		set_value(finals, plan->nkeys + i, final.value, final.isnull);
	}
	ExecStoreVirtualTuple(finals);
	eddy_combining_compute_outputs(plan, s->econtext, finals, result);
	if (plan->windowed)
		eddy_combining_mark(plan, result, session->end <= s->judgment->final_until);
	if (plan->having_column && plan->having == NULL)
		set_value(result, plan->having_column - 1, BoolGetDatum(true), false);
	if (s->table->superseded)
		set_value(result, s->table->superseded - 1, BoolGetDatum(false), false);
	ExecStoreVirtualTuple(result);
}

/* The key of a row of the table, in the order of ranges. */
static void
make_key(const EddySessions *s, Timestamp start, Timestamp end, Datum *keys, bool *nulls)
{
	memcpy(keys, s->keys, sizeof(Datum) * s->nkeys);
	memcpy(nulls, s->key_nulls, sizeof(bool) * s->nkeys);
	keys[s->nkeys] = TimestampGetDatum(end);
	keys[s->nkeys + 1] = TimestampGetDatum(start);
	nulls[s->nkeys] = nulls[s->nkeys + 1] = false;
}

static void
remove_stored(EddySessions *s, const EddyStoredSession *stored)
{
	Datum		keys[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	make_key(s, stored->start, stored->end, keys, nulls);
	eddy_merge_remove(s->merge, EDDY_SESSION_TABLE, &stored->place, keys, nulls);
}

/* A session that keeps its bounds. */
static void
replace_stored(EddySessions *s, EddyStoredSession *stored)
{
	s->judgment->first_end = Min(s->judgment->first_end, s->session.end);
	if (!eddy_merge_identical(eddy_session_show_stored(s, stored), s->result))
		eddy_merge_replace(s->merge, EDDY_SESSION_TABLE, &stored->place, s->result);
}

/* ---- emit => 'every ...' ---- */

/* Remembers superseded rows, to be removed when all sessions of the key have been read. */
static void
note_replaced(EddySessions *s, List *replaced)
{
	MemoryContext old = MemoryContextSwitchTo(s->key_mcxt);
	ListCell   *lc;

	foreach(lc, replaced)
	{
		EddySessionBounds *bounds = palloc(sizeof(EddySessionBounds));

		*bounds = *(EddySessionBounds *) lfirst(lc);
		s->replaced = lappend(s->replaced, bounds);
	}
	MemoryContextSwitchTo(old);
}

/* A session that keeps its bounds: what is shown is in its row. */
static void
pace_row(EddySessions *s, EddyStoredSession *stored)
{
	TupleTableSlot *result = s->result;

	eddy_emit_pace(s->plan, s->now, eddy_session_show_stored(s, stored), result);
	if (!DatumGetBool(result->tts_values[s->table->shown.where - 1]))
	{
		note_replaced(s, eddy_session_get_replaced(s->table, result));
		eddy_session_set_replaced(s->table, result, NIL);
	}
	replace_stored(s, stored);
}

static bool
is_shown(const EddySessions *s, const TupleTableSlot *row)
{
	return DatumGetBool(row->tts_values[s->plan->visible_column - 1]);
}

/* Leaves a stored session as a superseded row. */
static void
supersede(EddySessions *s, const EddyStoredSession *stored, TupleTableSlot *row)
{
	TupleTableSlot *version = s->superseded;
	int			natts = version->tts_tupleDescriptor->natts;

	ExecClearTuple(version);
	memcpy(version->tts_values, row->tts_values, sizeof(Datum) * natts);
	memcpy(version->tts_isnull, row->tts_isnull, sizeof(bool) * natts);
	eddy_session_supersede(s->plan, version);
	ExecStoreVirtualTuple(version);
	eddy_merge_replace(s->merge, EDDY_SESSION_TABLE, &stored->place, version);
}

/*
 * A new session, or one that other sessions have become: decides whether it is shown, and what
 * happens with their rows.
 */
static void
pace_session(EddySessions *s)
{
	const EddyNewSession *session = &s->session;
	TupleTableSlot *result = s->result;
	MemoryContext old = MemoryContextSwitchTo(s->combiner->mcxt);
	TimestampTz shown_at = DT_NOBEGIN;
	List	   *hidden = NIL;	/* rows that are superseded already */
	List	   *replaced = NIL; /* these, and those that are shown */
	bool		shows = false;
	ListCell   *lc;

	foreach(lc, session->absorbed)
	{
		const EddyStoredSession *stored = lfirst(lc);
		TupleTableSlot *row = eddy_session_show_stored(s, stored);
		EddySessionBounds *bounds = palloc(sizeof(EddySessionBounds));

		bounds->start = stored->start;
		bounds->end = stored->end;
		hidden = list_concat(hidden, eddy_session_get_replaced(s->table, row));
		if (is_shown(s, row))
			replaced = lappend(replaced, bounds);
		shown_at = Max(shown_at,
					   DatumGetTimestampTz(row->tts_values[s->table->shown.column - 1]));
		/* with a maximum length: two rows cannot have the same key */
		shows |= stored->start == session->start && stored->end == session->end;
	}
	replaced = list_concat(replaced, hidden);
	shows |= eddy_emit_is_over(s->plan, shown_at, s->now);
	if (shows && (replaced != NIL || eddy_emit_is_in_view(s->plan, result)))
		eddy_emit_show(s->plan, s->now, result);
	else
		eddy_emit_hide(s->plan, shown_at,
					   replaced != NIL || eddy_emit_is_in_view(s->plan, result), result);
	eddy_session_set_replaced(s->table, result, shows ? NIL : replaced);
	if (shows)
		note_replaced(s, hidden);
	foreach(lc, session->absorbed)
	{
		TupleTableSlot *row = eddy_session_show_stored(s, lfirst(lc));

		if (shows || !is_shown(s, row))
			remove_stored(s, lfirst(lc));
		else
			supersede(s, lfirst(lc), row);
	}
	MemoryContextSwitchTo(old);
}

static void
insert_session(EddySessions *s)
{
	MemoryContext old;

	s->judgment->first_end = Min(s->judgment->first_end, s->session.end);
	/* with a maximum length, a superseded row of another session can have the same key */
	if (s->table->superseded && s->plan->session->max_length > 0)
	{
		old = MemoryContextSwitchTo(s->key_mcxt);
		s->inserted = lappend(s->inserted, ExecCopySlotHeapTuple(s->result));
		MemoryContextSwitchTo(old);
	}
	else
		eddy_merge_insert(s->merge, EDDY_SESSION_TABLE, s->result);
}

/* Inserts a session, or shows it in the place of a superseded row that has its key. */
static void
insert_noted(EddySessions *s, HeapTuple session)
{
	Datum		keys[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	TupleTableSlot *row;
	TupleTableSlot *result = ExecClearTuple(s->result);

	heap_deform_tuple(session, result->tts_tupleDescriptor, result->tts_values,
					  result->tts_isnull);
	ExecStoreVirtualTuple(result);
	make_key(s, eddy_session_stored_time(s, result, EDDY_SESSION_START),
			 eddy_session_stored_time(s, result, EDDY_SESSION_END), keys, nulls);
	row = eddy_merge_find(s->merge, EDDY_SESSION_TABLE, keys, nulls);
	if (row && eddy_session_is_superseded(s->table, row))
	{
		ItemPointerData place = row->tts_tid;

		eddy_emit_show(s->plan, s->now, result);
		note_replaced(s, eddy_session_get_replaced(s->table, result));
		eddy_session_set_replaced(s->table, result, NIL);
		eddy_merge_replace(s->merge, EDDY_SESSION_TABLE, &place, result);
	}
	else
		eddy_merge_insert(s->merge, EDDY_SESSION_TABLE, result);
}

/*
 * eddy_session_complete_key does what is left when all sessions of the current key have been
 * combined.
 */
void
eddy_session_complete_key(EddySessions *s)
{
	ListCell   *lc;

	foreach(lc, s->inserted)
		insert_noted(s, lfirst(lc));
	foreach(lc, s->replaced)
	{
		const EddySessionBounds *bounds = lfirst(lc);
		EddyStoredSession superseded = {.start = bounds->start, .end = bounds->end};
		Datum		keys[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];
		TupleTableSlot *row;

		make_key(s, bounds->start, bounds->end, keys, nulls);
		row = eddy_merge_find(s->merge, EDDY_SESSION_TABLE, keys, nulls);
		/* a user can have deleted it */
		if (row == NULL || !eddy_session_is_superseded(s->table, row))
			continue;
		superseded.place = row->tts_tid;
		remove_stored(s, &superseded);
	}
	s->inserted = s->replaced = NIL;
}

/* eddy_session_complete: the new session is complete. */
void
eddy_session_complete(EddySessions *s)
{
	EddyNewSession *session = &s->session;
	EddyStoredSession *only = list_length(session->absorbed) == 1 ? linitial(session->absorbed) : NULL;
	bool		keeps_bounds;
	ListCell   *lc;

	CHECK_FOR_INTERRUPTS();
	if (only && !session->has_rows)
		return;
	if (eddy_session_is_late(s, session->end))
	{
		foreach(lc, session->early_rows)
		{
			ExecForceStoreMinimalTuple(lfirst(lc), s->late, false);
			eddy_merge_note_late(s->merge, s->late);
		}
		return;
	}
	compute_result(s);
	keeps_bounds = only && only->start == session->start && only->end == session->end;
	if (s->table->superseded == 0 && keeps_bounds)
		replace_stored(s, only);
	else if (keeps_bounds && only->last == session->last)
		pace_row(s, only);
	else
	{
		if (s->table->superseded)
			pace_session(s);
		else
			foreach(lc, session->absorbed)
				remove_stored(s, lfirst(lc));
		insert_session(s);
	}
	if (s->collector)
		eddy_collect_store(s->collector);
}

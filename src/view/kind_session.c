/*-------------------------------------------------------------------------
 *
 * kind_session.c
 *    Views that group by sessions: rows of a key that are at most a gap apart.
 *
 * There is one row in the state table for each session: key, first event, last event, end, and
 * what the kind "combining" keeps of a group. The end is the largest event time plus gap of the
 * session's rows; so with a constant gap it is the last event plus the gap.
 *
 * Rows and sessions of a key belong together if one begins before the other ends, both included.
 * The delta query gives the rows of the batch, combined by key, time and gap. With the stored
 * sessions that they touch they are read in order of time and combined to new sessions. A session
 * that keeps its bounds is replaced; otherwise the sessions that it consists of are removed and the
 * new one is inserted. So consumers of changes see the net effect of a batch.
 *
 * With a maximum length, a row or session is combined with the session before it only if that does
 * not become longer. Otherwise a new session starts, although the gap has not passed.
 *
 * A session is identified by its key, start and end. Unless there is a maximum length, sessions
 * that can still change do not touch each other, so that their order by start is that by end. A
 * session that is final by the watermark of the batch, less the allowed lateness, never changes: a
 * row that touches one starts a new session, which can overlap it, and ends later. Whether rows are
 * late is known when the new session is complete, because a session that is not final saves older
 * rows that it is combined with.
 *
 * The values that aggregates keep (collect.h) are those of the session that has most of them, of
 * the sessions that are combined; the values of the others are added to these.
 *
 * With emit => 'every ...', rows of sessions that are shown can remain for a while, as superseded
 * ones, which are not read here (session_emit.c).
 *
 * Locking: the sessions of a key, as a whole, are locked before they are read (group_lock.c).
 * Memory: a context for each key and one for each session; the rows of a key are in a tuplestore,
 * which uses temporary files beyond work_mem. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "monotonic.h"
#include "view/analyze.h"
#include "view/collect.h"
#include "view/combine.h"
#include "view/group_lock.h"
#include "view/kind.h"
#include "view/kind_combining.h"
#include "view/session.h"
#include "view/session_emit.h"
#include "view/session_late.h"
#include "view/session_merge.h"

/* Stored sessions that are read and ignored before the next one is searched in the index. */
#define MAX_SKIPPED 16

/* ---- layout ---- */

static bool
accepts(const Query *query)
{
	return eddy_session_is_used(query);
}

/* The keys of the session, its end and its start: ranges of sessions of one key are read. */
static EddyStateKey *
make_order(const EddyStateTable *table)
{
	EddyStateKey *order = palloc(sizeof(EddyStateKey) * table->nkeys);
	int			n = 0;

	for (int i = EDDY_SESSION_KEY; i < table->nkeys; i++)
		order[n++] = table->keys[i];
	order[n++] = table->keys[EDDY_SESSION_END];
	order[n++] = table->keys[EDDY_SESSION_START];
	return order;
}

/* Deltas are sorted by key, start and end. */
static void
make_sort_keys(EddyViewPlan *plan)
{
	plan->sort_keys = palloc(sizeof(int) * plan->nkeys);
	for (int i = EDDY_SESSION_KEY; i < eddy_session_last_key(plan); i++)
		plan->sort_keys[plan->nsort_keys++] = i;
	plan->sort_keys[plan->nsort_keys++] = EDDY_SESSION_START;
	plan->sort_keys[plan->nsort_keys++] = EDDY_SESSION_END;
}

static void
layout(EddyViewPlan *plan, Query *query)
{
	EddyStateTable *table;

	plan->session = eddy_session_analyze(query);
	eddy_analyze_groups(plan, query);
	eddy_combining_lay_out(plan);
	for (int i = 0; i < plan->nkeys; i++)
		plan->keys[i].position = list_nth_int(plan->session->positions, i);
	plan->keys[eddy_session_last_key(plan)].dependent = true;
	table = linitial(plan->state_tables);
	table->nkeys--;
	/* without other keys, the key is in that order */
	if (table->nkeys > EDDY_SESSION_KEY)
		table->order = make_order(table);
	make_sort_keys(plan);
}

/* ---- the delta query ---- */

static TargetEntry *
add_target(List **tlist, Expr *expr, const char *prefix)
{
	AttrNumber	resno = list_length(*tlist) + 1;
	TargetEntry *tle = makeTargetEntry(expr, resno, psprintf("%s%d", prefix, resno), false);

	*tlist = lappend(*tlist, tle);
	return tle;
}

static void
make_delta(EddyViewPlan *plan, Query *delta)
{
	List	   *tlist = NIL;
	List	   *groups = NIL;

	plan->delta_desc = CreateTemplateTupleDesc(plan->nkeys + plan->naggs);
	for (int i = 0; i < plan->nkeys; i++)
	{
		SortGroupClause *group = list_nth(delta->groupClause, i);
		TargetEntry *from = get_sortgroupclause_tle(group, delta->targetList);
		EddyKey    *key = &plan->keys[i];
		TargetEntry *tle;

		/* of a row alone, the last event is its start, by which it is grouped already */
		if (i == eddy_session_last_key(plan))
		{
			Var		   *start = copyObject(castNode(Var, plan->keys[EDDY_SESSION_START].expr));

			tle = add_target(&tlist, (Expr *) start, "k");
		}
		else
		{
			tle = add_target(&tlist, copyObject(from->expr), "k");
			tle->ressortgroupref = from->ressortgroupref;
			groups = lappend(groups, group);
		}
		TupleDescInitEntry(plan->delta_desc, tle->resno, NULL, key->type, key->typmod, 0);
		TupleDescInitEntryCollation(plan->delta_desc, tle->resno, key->collation);
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];
		TargetEntry *tle = add_target(&tlist, eddy_combining_delta_expr(plan, i), "a");

		TupleDescInitEntry(plan->delta_desc, tle->resno, NULL,
						   agg->collection ? BYTEAOID : agg->partial_type, -1, 0);
	}
	delta->targetList = tlist;
	delta->groupClause = groups;
	delta->havingQual = NULL;
	delta->hasAggs = (plan->naggs > 0);
	eddy_session_make_rows(delta, plan->session);
}

/* ---- locking ---- */

static void
lock(EddyViewPlan *plan, List *deltas)
{
	eddy_group_lock(plan, EDDY_SESSION_KEY, eddy_session_last_key(plan) - EDDY_SESSION_KEY, deltas);
}

/* ---- rows of the batch ---- */

static Timestamp
row_time(const EddySessions *s, int key)
{
	return DatumGetTimestamp(s->row->tts_values[key]);
}

static void
next_row(EddySessions *s)
{
	if (tuplestore_gettupleslot(s->rows, true, false, s->row))
		slot_getallattrs(s->row);
	else
		ExecClearTuple(s->row);
}

/* ---- stored sessions ---- */

static void
describe_stored(const EddySessions *s, TupleTableSlot *row, EddyStoredSession *stored)
{
	stored->place = row->tts_tid;
	stored->start = eddy_session_stored_time(s, row, EDDY_SESSION_START);
	stored->end = eddy_session_stored_time(s, row, EDDY_SESSION_END);
	stored->last = eddy_session_stored_time(s, row, eddy_session_last_key(s->plan));
	stored->row = NULL;
}

/* Reads sessions of the current key that do not end before a time, and can change. */
static void
seek(EddySessions *s, Timestamp from)
{
	Datum		keys[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	if (from <= s->judgment->late_until)
		from = s->judgment->late_until + 1;

	memcpy(keys, s->keys, sizeof(Datum) * s->nkeys);
	memcpy(nulls, s->key_nulls, sizeof(bool) * s->nkeys);
	keys[s->nkeys] = TimestampGetDatum(from);
	nulls[s->nkeys] = false;
	eddy_merge_seek(s->merge, EDDY_SESSION_TABLE, s->nkeys, true, keys, nulls);
}

static int
compare_starts(const ListCell *a, const ListCell *b)
{
	Timestamp	left = ((const EddyStoredSession *) lfirst(a))->start;
	Timestamp	right = ((const EddyStoredSession *) lfirst(b))->start;

	return left < right ? -1 : left > right;
}

/*
 * With a maximum length, sessions that can change may touch each other, so that their order by
 * start can differ from that by end. All that the rows of the key could touch are read at once.
 */
static void
read_all_stored(EddySessions *s)
{
	TupleTableSlot *row;

	s->all_stored = NIL;
	s->next_stored = 0;
	seek(s, row_time(s, EDDY_SESSION_START));
	while ((row = eddy_merge_fetch(s->merge, EDDY_SESSION_TABLE)) != NULL)
	{
		/* not around the reading: a scan lives as long as the merge */
		MemoryContext old = MemoryContextSwitchTo(s->key_mcxt);
		EddyStoredSession *stored = palloc(sizeof(EddyStoredSession));

		describe_stored(s, row, stored);
		stored->row = ExecCopySlotHeapTuple(row);
		if (!eddy_session_is_superseded(s->table, row))
			s->all_stored = lappend(s->all_stored, stored);
		MemoryContextSwitchTo(old);
	}
	list_sort(s->all_stored, compare_starts);
}

static void
next_stored(EddySessions *s)
{
	if (s->plan->session->max_length > 0)
	{
		s->has_stored = s->next_stored < list_length(s->all_stored);
		if (s->has_stored)
			s->stored = *(EddyStoredSession *) list_nth(s->all_stored, s->next_stored++);
	}
	else
	{
		do
			s->stored_row = eddy_merge_fetch(s->merge, EDDY_SESSION_TABLE);
		while (s->stored_row && eddy_session_is_superseded(s->table, s->stored_row));
		s->has_stored = (s->stored_row != NULL);
		if (s->has_stored)
			describe_stored(s, s->stored_row, &s->stored);
		else
			s->at_end = true;
	}
}

/*
 * Makes the first stored session that ends after the next row has begun the next one. The last one
 * that was read often is.
 */
static void
find_stored(EddySessions *s)
{
	Timestamp	from = row_time(s, EDDY_SESSION_START);

	for (int i = 0; s->has_stored && s->stored.end < from && i < MAX_SKIPPED; i++)
		next_stored(s);
	if (s->at_end || (s->has_stored && s->stored.end >= from))
		return;
	seek(s, from);
	next_stored(s);
}

/* ---- combining ---- */

static void
begin_session(EddySessions *s)
{
	MemoryContextReset(s->combiner->mcxt);
	memset(&s->session, 0, sizeof(EddyNewSession));
	s->session.states = MemoryContextAllocZero(s->combiner->mcxt,
											   sizeof(EddyAccumulator) * Max(s->plan->naggs, 1));
	if (s->collector)
		eddy_collect_start_group(s->collector);
}

/* True if a row or session that starts later, or at the same time, belongs to the new session. */
static bool
belongs(const EddySessions *s, Timestamp start, Timestamp last)
{
	const EddyNewSession *session = &s->session;
	int64		max_length = s->plan->session->max_length;

	/* times are in a range in which their differences do not overflow */
	return !session->exists ||
		(start <= session->end &&
		 (max_length == 0 || Max(session->last, last) - session->start <= max_length));
}

static void
extend(EddyNewSession *session, Timestamp start, Timestamp last, Timestamp end)
{
	session->start = session->exists ? Min(session->start, start) : start;
	session->last = session->exists ? Max(session->last, last) : last;
	session->end = session->exists ? Max(session->end, end) : end;
	session->exists = true;
}

/* True for an aggregate whose result is lost: in what was collected, or in what is added. */
static bool
is_lost(const EddySessions *s, int i, bool is_null, const EddyAccumulator *counter, Datum more_counted)
{
	const EddyAggregate *agg = &s->plan->aggs[i];
	const EddyAccumulator *state = &s->session.states[i];

	if (eddy_combining_is_lost(agg, is_null, more_counted))
		return true;
	return state->has_transition && state->transition.isnull &&
		(agg->null_is_lost ||
		 (agg->counter && counter->has_transition &&
		  DatumGetInt64(counter->transition.value) > 0));
}

/* Adds the states of a row of the delta, or of a stored session, to the new session. */
static void
add_states(EddySessions *s, TupleTableSlot *row, bool is_stored)
{
	EddyViewPlan *plan = s->plan;

	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];
		EddyAccumulator *state = &s->session.states[i];
		int			column = is_stored ? agg->state_column - 1 : plan->nkeys + i;
		int			counter = is_stored ? plan->aggs[agg->counter].state_column - 1 :
			plan->nkeys + agg->counter;
		EddyState	more = {row->tts_values[column], row->tts_isnull[column]};

		if (agg->collection)
			continue;
		/* counters come after the aggregates whose input they count */
		if (is_lost(s, i, more.isnull, &s->session.states[agg->counter],
					row->tts_values[counter]))
		{
			state->has_transition = true;
			state->transition.isnull = true;
		}
		else if (is_stored)
			eddy_combine_add_stored(s->combiner, agg, state, &more);
		else
			eddy_combine_add_partial(s->combiner, agg, state, &more);
	}
}

/* Adds the values of a row of the delta to the new session. */
static void
add_values(EddySessions *s, TupleTableSlot *row)
{
	for (int i = 0; i < s->plan->naggs; i++)
	{
		s->partials[i].value = row->tts_values[s->plan->nkeys + i];
		s->partials[i].isnull = row->tts_isnull[s->plan->nkeys + i];
	}
	eddy_collect_add_row(s->collector, s->partials);
}

static void
take_row(EddySessions *s)
{
	if (eddy_session_is_late(s, row_time(s, EDDY_SESSION_END)))
	{
		MemoryContext old = MemoryContextSwitchTo(s->combiner->mcxt);

		s->session.early_rows = lappend(s->session.early_rows, ExecCopySlotMinimalTuple(s->row));
		MemoryContextSwitchTo(old);
	}
	extend(&s->session, row_time(s, EDDY_SESSION_START),
		   row_time(s, eddy_session_last_key(s->plan)), row_time(s, EDDY_SESSION_END));
	s->session.has_rows = true;
	add_states(s, s->row, false);
	if (s->collector)
		add_values(s, s->row);
	next_row(s);
}

/* Equal keys can look different (1.0, 1.00): those of the first stored session remain. */
static void
take_keys(EddySessions *s, TupleTableSlot *row)
{
	MemoryContext old = MemoryContextSwitchTo(s->key_mcxt);

	for (int i = 0; i < s->nkeys; i++)
	{
		int			column = s->plan->keys[EDDY_SESSION_KEY + i].column - 1;
		Form_pg_attribute att = TupleDescAttr(row->tts_tupleDescriptor, column);

		if (!s->key_nulls[i])
			s->keys[i] = datumCopy(row->tts_values[column], att->attbyval, att->attlen);
	}
	MemoryContextSwitchTo(old);
}

static void
take_stored(EddySessions *s)
{
	EddyNewSession *session = &s->session;
	MemoryContext old = MemoryContextSwitchTo(s->combiner->mcxt);
	EddyStoredSession *stored = palloc(sizeof(EddyStoredSession));
	TupleTableSlot *row = s->stored_row;

	*stored = s->stored;
	if (stored->row)
	{
		row = eddy_session_show_stored(s, stored);
	}
	else
		stored->row = ExecCopySlotHeapTuple(row);
	if (session->absorbed == NIL)
		take_keys(s, row);
	session->absorbed = lappend(session->absorbed, stored);
	extend(session, stored->start, stored->last, stored->end);
	MemoryContextSwitchTo(old);
	add_states(s, row, true);
	next_stored(s);
}

/* ---- the sessions of one key ---- */

/*
 * Combines rows of the batch and stored sessions, in order of their start, to one new session.
 * Leaves the next row and the next stored session, which belong to later ones.
 */
static void
make_session(EddySessions *s)
{
	begin_session(s);
	for (;;)
	{
		bool		stored_first = s->has_stored &&
			(TTS_EMPTY(s->row) || s->stored.start <= row_time(s, EDDY_SESSION_START));

		CHECK_FOR_INTERRUPTS();
		if (stored_first)
		{
			if (!belongs(s, s->stored.start, s->stored.last))
				break;
			take_stored(s);
		}
		else if (!TTS_EMPTY(s->row))
		{
			if (!belongs(s, row_time(s, EDDY_SESSION_START), row_time(s, eddy_session_last_key(s->plan))))
				break;
			take_row(s);
		}
		else
			break;
	}
	eddy_session_complete(s);
}

/* Merges the rows of the current key with its stored sessions, again after each collision. */
static void
merge_key(EddySessions *s)
{
	bool		in_order = s->plan->session->max_length == 0;

	if (eddy_merge_make_computed_changes(s->merge))
		return;
	do
	{
		tuplestore_rescan(s->rows);
		next_row(s);
		if (!in_order)
		{
			read_all_stored(s);
			next_stored(s);
		}
		else
			s->has_stored = false;
		s->at_end = false;
		s->inserted = s->replaced = NIL;
		while (!TTS_EMPTY(s->row))
		{
			if (in_order)
				find_stored(s);
			make_session(s);
		}
		eddy_session_complete_key(s);
	} while (!eddy_merge_make_changes(s->merge));
}

static bool
same_key(const EddySessions *s, TupleTableSlot *row)
{
	for (int i = 0; i < s->nkeys; i++)
	{
		EddyKey    *key = &s->plan->keys[EDDY_SESSION_KEY + i];
		int			column = EDDY_SESSION_KEY + i;

		if (s->key_nulls[i] != row->tts_isnull[column])
			return false;
		if (!s->key_nulls[i] &&
			!DatumGetBool(FunctionCall2Coll(&key->eq, key->collation, s->keys[i],
											row->tts_values[column])))
			return false;
	}
	return true;
}

static void
begin_key(EddySessions *s, TupleTableSlot *row)
{
	MemoryContext old;

	tuplestore_clear(s->rows);
	MemoryContextReset(s->key_mcxt);
	old = MemoryContextSwitchTo(s->key_mcxt);
	for (int i = 0; i < s->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(s->plan->delta_desc, EDDY_SESSION_KEY + i);

		s->key_nulls[i] = row->tts_isnull[EDDY_SESSION_KEY + i];
		s->keys[i] = s->key_nulls[i] ? (Datum) 0 :
			datumCopy(row->tts_values[EDDY_SESSION_KEY + i], att->attbyval, att->attlen);
	}
	MemoryContextSwitchTo(old);
}

/* ---- one merge ---- */

static void
begin(EddySessions *s)
{
	EddyViewPlan *plan = s->plan;
	TupleDesc	desc = eddy_merge_desc(s->merge, EDDY_SESSION_TABLE);

	s->table = linitial(plan->state_tables);
	s->combiner = eddy_combine_begin();
	if (plan->collections)
		s->collector = eddy_collect_begin(plan, s->merge, s->combiner);
	s->partials = palloc(sizeof(EddyState) * Max(plan->naggs, 1));
	s->econtext = CreateStandaloneExprContext();
	s->finals = MakeSingleTupleTableSlot(plan->final_desc, &TTSOpsVirtual);
	s->result = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	s->copy = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
	s->superseded = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	s->now = plan->emit_interval > 0 ? eddy_wall_clock() : 0;
	s->row = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsMinimalTuple);
	s->late = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsMinimalTuple);
	s->judgment = eddy_merge_judgment(s->merge);
	s->rows = tuplestore_begin_heap(false, false, work_mem);
	s->key_mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy sessions of a key",
										ALLOCSET_DEFAULT_SIZES);
	s->nkeys = eddy_session_last_key(plan) - EDDY_SESSION_KEY;
	s->keys = palloc0(sizeof(Datum) * Max(s->nkeys, 1));
	s->key_nulls = palloc0(sizeof(bool) * Max(s->nkeys, 1));
}

static void
end(EddySessions *s)
{
	tuplestore_end(s->rows);
	ExecDropSingleTupleTableSlot(s->row);
	ExecDropSingleTupleTableSlot(s->late);
	ExecDropSingleTupleTableSlot(s->copy);
	ExecDropSingleTupleTableSlot(s->superseded);
	ExecDropSingleTupleTableSlot(s->result);
	ExecDropSingleTupleTableSlot(s->finals);
	FreeExprContext(s->econtext, true);
	if (s->collector)
		eddy_collect_end(s->collector);
	eddy_combine_end(s->combiner);
	MemoryContextDelete(s->key_mcxt);
}

static void
merge(EddyViewPlan *plan, EddyMerge *merge)
{
	EddySessions	s = {.plan = plan, .merge = merge};
	bool		in_key = false;
	TupleTableSlot *row;

	begin(&s);
	while ((row = eddy_merge_next(merge)) != NULL)
	{
		if (!in_key || !same_key(&s, row))
		{
			if (in_key)
				merge_key(&s);
			begin_key(&s, row);
			in_key = true;
		}
		tuplestore_puttupleslot(s.rows, row);
		if (eddy_merge_keeps(merge))
			eddy_merge_keep(merge, row);
	}
	if (in_key)
		merge_key(&s);
	end(&s);
}

const EddyViewKind eddy_kind_session = {
	.name = "session",
	.accepts = accepts,
	.layout = layout,
	.make_delta = make_delta,
	.lock = lock,
	.merge = merge,
	.finds_late = true,
	.adapt_late_query = eddy_session_adapt_late_query,
	.select_late = eddy_session_select_late,
	.lay_out_emit = eddy_session_emit_lay_out,
	.includes_end = true,
	.forget = eddy_combining_forget,
};

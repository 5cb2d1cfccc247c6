/*-------------------------------------------------------------------------
 *
 * pane_read.c
 *    Reads windows that are still open from their panes.
 *
 * A view with emit => 'changes' shows early rows. If its windows are combined from panes, no table
 * has these rows: the public view calls eddy._open_windows, which the planner replaces by a scan
 * that knows the conditions of the query (pane_scan.c). The panes are read in order of keys, and
 * all windows of a key that are not closed are computed from those of the key. All is read with the
 * snapshot of the query, so that each window is shown once, as an early row or as the final one.
 *
 * Each window is combined from two sums: that of its first panes up to a point, and that of the
 * panes after it. The first one is one of a list of sums that are computed backwards from that
 * point. When the windows have moved past the point, it becomes the end of the current window. So a
 * window costs a constant number of additions.
 *
 * Conditions on keys, and on bounds of windows, select the panes that are read. They are checked
 * once more by the query, so that what cannot be used here is left to it.
 *
 * The function can be called by all roles, as functions in views are called by the readers of the
 * view. It reads for roles that have SELECT on the continuous view itself, and checks all types.
 *
 * Locking: RowExclusiveLock on the state tables, as for all users of a plan. Memory: one context
 * for each key, as large as its panes, and one for some rows of the result.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/skey.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "owner.h"
#include "view/kind.h"
#include "view/kind_panes.h"
#include "view/pane_read.h"
#include "view/pane_sums.h"
#include "view/view.h"

/* Rows that are computed at a time: the switch to the owner costs more than a row. */
#define MAX_RESULTS 256

PG_FUNCTION_INFO_V1(eddy_open_windows);

/* A pane of the key. */
typedef struct OpenPane
{
	TimestampTz first_end;
	TimestampTz pane_end;
	EddyState  *states;
} OpenPane;

struct EddyPaneRead
{
	EddyViewPlan *plan;
	const EddyPanes *panes;
	EddyUpsert *upsert;			/* the table of panes */
	EddyUpsert *main_table;		/* for its columns */
	EddyPaneWork work;
	MemoryContext mcxt;
	int			nkeys;			/* without bounds of windows */
	bool		(*accept) (void *arg, const Datum *values, const bool *nulls);
	void	   *accept_arg;

	/* which windows are wanted */
	TimestampTz after;			/* those that end after this, and after those that are closed */
	TimestampTz until;			/* and not after this */
	bool		none;

	/* the current key */
	TupleTableSlot *ahead;		/* the first row of the next key; NULL: there is none */
	bool		in_key;
	MemoryContext key_mcxt;
	MemoryContext sums_mcxt;	/* of the sums of the current point */
	Datum	   *keys;
	bool	   *nulls;
	OpenPane   *rows;			/* in order of pane_end */
	int			nrows;
	int			max_rows;

	/* the panes that windows up to the next change of late rows consist of */
	OpenPane   *sums;			/* states of panes; before point: of all panes until there */
	int			nsums;
	int			from;			/* the current window is [from, to) */
	int			to;
	int			point;
	EddyState  *rest;			/* of [point, to) */
	TimestampTz end;			/* of the current window */
	TimestampTz change;			/* of the first window in which late rows count that did not before */

	/* rows that are computed */
	MemoryContext results_mcxt;
	Datum	   *values;
	bool	   *isnull;
	int			nresults;
	int			position;
};

/* ---- what is read ---- */

EddyView *
eddy_pane_read_view(Oid table, bool permitted)
{
	EddyView   *view = eddy_catalog_find_view(table);

	if (view == NULL || strcmp(view->kind, eddy_kind_panes.name) != 0 ||
		list_nth_oid(view->state_tables, PANE_PANES) != table)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table of panes of a continuous view",
						get_rel_name(table) ? get_rel_name(table) : "?")));
	if (!permitted && pg_class_aclcheck(view->relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_VIEW, get_rel_name(view->relid));
	return view;
}

/* The key that a column of the view is, -1 if it is something else. */
static int
key_of(const EddyPaneRead *r, int column)
{
	const EddyOutput *output = &r->plan->outputs[column];

	return output->kind == EDDY_OUTPUT_KEY ? output->index : -1;
}

/* True if the index of the table of panes finds rows by a condition on this key. */
static bool
set_key(const EddyPaneRead *r, int key, const EddyPaneCondition *condition, ScanKey scan_key)
{
	Relation	index = eddy_upsert_index(r->upsert);
	int			strategy;
	Oid			left;
	Oid			right;

	if (!OidIsValid(condition->opr))
	{
		ScanKeyEntryInitialize(scan_key, SK_ISNULL | SK_SEARCHNULL, key + 1, InvalidStrategy,
							   InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
		return true;
	}
	if (!op_in_opfamily(condition->opr, index->rd_opfamily[key]))
		return false;
	get_op_opfamily_properties(condition->opr, index->rd_opfamily[key], false, &strategy, &left,
							   &right);
	if (left != index->rd_opcintype[key] ||
		(OidIsValid(index->rd_indcollation[key]) &&
		 index->rd_indcollation[key] != condition->collation))
		return false;
	ScanKeyEntryInitialize(scan_key, condition->any ? SK_SEARCHARRAY : 0, key + 1, strategy, right,
						   index->rd_indcollation[key], get_opcode(condition->opr),
						   condition->value);
	return true;
}

/*
 * The strategy of a condition that bounds the ends of windows, InvalidStrategy if it does not.
 * shift: what has to be added to its value.
 */
static StrategyNumber
bound_strategy(const EddyPaneRead *r, int key, const EddyPaneCondition *condition, int64 *shift)
{
	Relation	index = eddy_upsert_index(r->upsert);
	Oid			opfamily = index->rd_opfamily[r->nkeys];
	int			strategy;
	Oid			left;
	Oid			right;

	*shift = key == 0 ? 0 : r->panes->size;
	if (condition->any || !OidIsValid(condition->opr) || (key > 0 && r->panes->cumulates) ||
		!op_in_opfamily(condition->opr, opfamily))
		return InvalidStrategy;
	get_op_opfamily_properties(condition->opr, opfamily, false, &strategy, &left, &right);
	return left == right && left == r->plan->keys[key].type ? strategy : InvalidStrategy;
}

bool
eddy_pane_read_is_key(const EddyPaneRead *r, int column)
{
	return key_of(r, column) >= r->panes->nbounds;
}

bool
eddy_pane_read_searches(const EddyPaneRead *r, const EddyPaneCondition *condition)
{
	int			key = key_of(r, condition->column);
	ScanKeyData scan_key;
	int64		shift;

	if (key < 0)
		return false;
	return key < r->panes->nbounds ?
		bound_strategy(r, key, condition, &shift) != InvalidStrategy :
		set_key(r, key - r->panes->nbounds, condition, &scan_key);
}

/* Takes a condition on a bound of windows into account. */
static void
add_bound(EddyPaneRead *r, int key, const EddyPaneCondition *condition)
{
	int64		shift;
	StrategyNumber strategy = bound_strategy(r, key, condition, &shift);
	TimestampTz time = DatumGetTimestampTz(condition->value);
	bool		lower = strategy >= BTEqualStrategyNumber;
	bool		upper = strategy <= BTEqualStrategyNumber;

	if (strategy == InvalidStrategy)
		return;
	if (!TIMESTAMP_NOT_FINITE(time))
	{
		/* near the limits of timestamps the query alone decides */
		if (time < MIN_TIMESTAMP + 2 * r->panes->size || time > END_TIMESTAMP - 2 * r->panes->size)
			return;
		time += shift;
	}
	/* no window ends at infinity */
	if (lower && !TIMESTAMP_IS_NOBEGIN(time))
		r->after = Max(r->after, strategy == BTGreaterStrategyNumber ? time : time - 1);
	if (upper && !TIMESTAMP_IS_NOEND(time))
		r->until = Min(r->until, strategy == BTLessStrategyNumber ? time - 1 : time);
	r->none |= (lower && TIMESTAMP_IS_NOEND(time)) || (upper && TIMESTAMP_IS_NOBEGIN(time));
}

static void
set_time_key(const EddyPaneRead *r, ScanKey key, StrategyNumber strategy, TimestampTz time)
{
	Relation	index = eddy_upsert_index(r->upsert);
	Oid			type = index->rd_opcintype[r->nkeys];
	Oid			opr = get_opfamily_member(index->rd_opfamily[r->nkeys], type, type, strategy);

	ScanKeyEntryInitialize(key, 0, r->nkeys + 1, strategy, InvalidOid, InvalidOid, get_opcode(opr),
						   TimestampTzGetDatum(time));
}

/*
 * The index expects conditions in the order of its columns, whatever their order in the query is.
 */
static int
compare_scan_keys(const void *a, const void *b)
{
	return ((const ScanKeyData *) a)->sk_attno - ((const ScanKeyData *) b)->sk_attno;
}

/* Begins to read the panes that the wanted windows of the wanted keys consist of. */
static void
start_scan(EddyPaneRead *r, const EddyPaneCondition *conditions, int nconditions)
{
	ScanKeyData *keys = palloc(sizeof(ScanKeyData) * (nconditions + 2));
	EddyViewProgress *progress = eddy_catalog_get_view_progress(r->plan->view);
	int			n = 0;
	TimestampTz first;

	r->after = progress ? progress->closed_until : DT_NOBEGIN;
	r->until = DT_NOEND;
	for (int i = 0; i < nconditions; i++)
	{
		int			key = key_of(r, conditions[i].column);

		if (key < 0)
			continue;
		/* these operators are strict */
		if (OidIsValid(conditions[i].opr) && conditions[i].isnull)
			r->none = true;
		else if (key < r->panes->nbounds)
			add_bound(r, key, &conditions[i]);
		else if (set_key(r, key - r->panes->nbounds, &conditions[i], &keys[n]))
			n++;
	}
	qsort(keys, n, sizeof(ScanKeyData), compare_scan_keys);
	first = TIMESTAMP_IS_NOBEGIN(r->after) ? r->after : eddy_pane_next_end(r->panes, r->after);
	r->none |= TIMESTAMP_IS_NOEND(first) || r->after >= r->until;
	if (r->none)
		return;
	if (!TIMESTAMP_IS_NOBEGIN(first))
		set_time_key(r, &keys[n++], BTGreaterStrategyNumber,
					 eddy_panes_window_start(r->panes, first));
	if (!TIMESTAMP_IS_NOEND(r->until))
		set_time_key(r, &keys[n++], BTLessEqualStrategyNumber, r->until);
	eddy_upsert_seek_by(r->upsert, keys, n);
	r->ahead = eddy_upsert_next(r->upsert);
}

/* ---- panes of a key ---- */

/* True if a row is of the current key. */
static bool
same_key(const EddyPaneRead *r, TupleTableSlot *row)
{
	for (int i = 0; i < r->nkeys; i++)
	{
		EddyKey    *key = eddy_kind_panes_key(r->plan, i);
		bool		isnull = row->tts_isnull[PANE_KEY - 1 + i];

		if (isnull != r->nulls[i])
			return false;
		if (!isnull && !DatumGetBool(FunctionCall2Coll(&key->eq, key->collation,
													   row->tts_values[PANE_KEY - 1 + i],
													   r->keys[i])))
			return false;
	}
	return true;
}

/* True if the caller wants the current key. */
static bool
is_accepted(EddyPaneRead *r)
{
	EddyViewPlan *plan = r->plan;
	Datum	   *values = palloc0(sizeof(Datum) * Max(plan->noutputs, 1));
	bool	   *nulls = palloc(sizeof(bool) * Max(plan->noutputs, 1));

	for (int i = 0; i < plan->noutputs; i++)
	{
		int			key = key_of(r, i) - r->panes->nbounds;

		nulls[i] = key < 0 || r->nulls[key];
		if (!nulls[i])
			values[i] = r->keys[key];
	}
	return r->accept(r->accept_arg, values, nulls);
}

static void
add_pane(EddyPaneRead *r, TupleTableSlot *row)
{
	OpenPane   *pane;

	if (r->nrows == r->max_rows)
	{
		r->max_rows = Max(r->max_rows * 2, 64);
		r->rows = r->rows == NULL ?
			MemoryContextAlloc(r->key_mcxt, sizeof(OpenPane) * r->max_rows) :
			repalloc_huge(r->rows, sizeof(OpenPane) * r->max_rows);
	}
	pane = &r->rows[r->nrows++];
	pane->first_end = eddy_pane_row_time(row, PANE_FIRST_END);
	pane->pane_end = eddy_pane_row_time(row, PANE_END);
	pane->states = eddy_pane_copy(&r->work, row);
}

/*
 * Adds up the rows of each pane that count in a window, and returns the end of the first window in
 * which others do as well: rows that were late for earlier windows of their pane.
 */
static TimestampTz
select_panes(EddyPaneRead *r, TimestampTz end)
{
	TimestampTz change = DT_NOEND;

	r->nsums = r->from = r->to = r->point = 0;
	r->rest = NULL;
	MemoryContextReset(r->sums_mcxt);
	for (int i = 0; i < r->nrows; i++)
	{
		const OpenPane *row = &r->rows[i];
		OpenPane   *sum = r->nsums > 0 ? &r->sums[r->nsums - 1] : NULL;

		CHECK_FOR_INTERRUPTS();
		if (row->first_end > end &&
			row->first_end != eddy_panes_first_end(r->panes, row->pane_end))
		{
			change = Min(change, row->first_end);
			continue;
		}
		if (sum == NULL || sum->pane_end != row->pane_end)
		{
			sum = &r->sums[r->nsums++];
			sum->pane_end = row->pane_end;
			sum->states = NULL;
		}
		eddy_pane_add(&r->work, r->sums_mcxt, &sum->states, row->states);
	}
	return change;
}

/* ---- windows ---- */

/* Makes the end of the current window the point from which sums are computed backwards. */
static void
move_point(EddyPaneRead *r)
{
	for (int i = r->to - 2; i >= r->from; i--)
		eddy_pane_add(&r->work, r->sums_mcxt, &r->sums[i].states, r->sums[i + 1].states);
	r->point = r->to;
	r->rest = NULL;
}

/* Makes the window that ends at a time the current one. */
static void
move_window(EddyPaneRead *r, TimestampTz start, TimestampTz end)
{
	while (r->to < r->nsums && r->sums[r->to].pane_end <= end)
		eddy_pane_add(&r->work, r->sums_mcxt, &r->rest, r->sums[r->to++].states);
	while (r->from < r->to && r->sums[r->from].pane_end - r->panes->pane < start)
		r->from++;
	if (r->from >= r->point)
		move_point(r);
}

/* Adds the row of the current window to the result, in the columns of the view. */
static void
put_window(EddyPaneRead *r, TimestampTz start)
{
	EddyViewPlan *plan = r->plan;
	const EddyState *const parts[] = {
		r->from < r->point ? r->sums[r->from].states : NULL, r->rest
	};
	TupleTableSlot *row = r->work.result;
	Datum	   *values = r->values + r->nresults * plan->noutputs;
	bool	   *nulls = r->isnull + r->nresults * plan->noutputs;

	if (!eddy_pane_compute(&r->work, start, r->end, r->keys, r->nulls, lengthof(parts), parts))
		return;
	for (int i = 0; i < plan->noutputs; i++)
	{
		int			column = plan->outputs[i].column - 1;
		Form_pg_attribute att = TupleDescAttr(row->tts_tupleDescriptor, column);

		nulls[i] = row->tts_isnull[column];
		values[i] = nulls[i] || att->attbyval ? row->tts_values[column] :
			datumCopy(row->tts_values[column], false, att->attlen);
	}
	r->nresults++;
}

/* The end of the first window that is open and contains a pane of the key, after a time. */
static TimestampTz
next_window(const EddyPaneRead *r, TimestampTz after)
{
	TimestampTz first;

	if (r->from < r->to)
		return eddy_panes_next_end(r->panes, after);
	if (r->to >= r->nsums)
		return DT_NOEND;
	first = eddy_panes_first_end(r->panes, r->sums[r->to].pane_end);
	return TIMESTAMP_IS_NOBEGIN(after) ? first : Max(first, eddy_panes_next_end(r->panes, after));
}

/* Takes the key of the row that was read last, and returns true if it is wanted. */
static bool
take_key(EddyPaneRead *r, EddyOwnerSwitch *save)
{
	MemoryContext old;
	bool		wanted;

	MemoryContextReset(r->key_mcxt);
	old = MemoryContextSwitchTo(r->key_mcxt);
	r->rows = NULL;
	r->nrows = r->max_rows = 0;
	for (int i = 0; i < r->nkeys; i++)
		eddy_pane_copy_value(r->work.desc, PANE_KEY + i, r->ahead->tts_values[PANE_KEY - 1 + i],
							 r->ahead->tts_isnull[PANE_KEY - 1 + i], &r->keys[i], &r->nulls[i]);
	if (r->accept == NULL)
		wanted = true;
	else
	{
		/* conditions of the query are not the owner's */
		eddy_owner_end(save);
		wanted = is_accepted(r);
		eddy_owner_begin(save, r->plan->owner);
	}
	MemoryContextSwitchTo(old);
	return wanted;
}

/* Reads the panes of the current key; only goes to the next key if it is not wanted. */
static void
read_panes(EddyPaneRead *r, bool wanted)
{
	MemoryContext old = MemoryContextSwitchTo(r->key_mcxt);

	do
	{
		CHECK_FOR_INTERRUPTS();
		if (wanted)
			add_pane(r, r->ahead);
		r->ahead = eddy_upsert_next(r->upsert);
	} while (r->ahead && same_key(r, r->ahead));
	MemoryContextSwitchTo(old);
}

/* Makes the next key that is wanted the current one. False if there is none. */
static bool
start_key(EddyPaneRead *r, EddyOwnerSwitch *save)
{
	bool		wanted = false;

	while (!wanted)
	{
		if (r->ahead == NULL)
			return false;
		wanted = take_key(r, save);
		read_panes(r, wanted);
	}
	r->sums = MemoryContextAllocHuge(r->key_mcxt, sizeof(OpenPane) * r->nrows);
	r->end = r->after;
	/* rows that were late for windows that are not even closed yet count in the later ones only */
	r->change = select_panes(r, TIMESTAMP_IS_NOBEGIN(r->end) ? r->end :
							 eddy_panes_next_end(r->panes, r->end));
	r->in_key = true;
	return true;
}

/* Computes the next window of the current key. */
static void
step(EddyPaneRead *r)
{
	TimestampTz start;

	r->end = next_window(r, r->end);
	if (r->end >= r->change && !TIMESTAMP_IS_NOEND(r->change))
	{
		r->end = r->change;
		r->change = select_panes(r, r->end);
	}
	if (TIMESTAMP_IS_NOEND(r->end) || r->end > r->until)
	{
		r->in_key = false;
		return;
	}
	start = eddy_panes_window_start(r->panes, r->end);
	move_window(r, start, r->end);
	if (r->from < r->to)
		put_window(r, start);
}

/* Computes some rows. */
static void
fill(EddyPaneRead *r)
{
	MemoryContext old = MemoryContextSwitchTo(r->results_mcxt);
	EddyOwnerSwitch save;

	MemoryContextReset(r->results_mcxt);
	r->nresults = r->position = 0;
	/* expressions over aggregates, and functions of types, run as the owner */
	eddy_owner_begin(&save, r->plan->owner);
	while (r->nresults < MAX_RESULTS && (r->in_key || start_key(r, &save)))
	{
		CHECK_FOR_INTERRUPTS();
		step(r);
	}
	eddy_owner_end(&save);
	MemoryContextSwitchTo(old);
}

/* ---- interface ---- */

EddyPaneRead *
eddy_pane_read_begin(EddyViewPlan *plan)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy open windows",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	EddyPaneRead *r = palloc0(sizeof(EddyPaneRead));

	r->plan = plan;
	r->panes = plan->panes;
	r->nkeys = eddy_kind_panes_nkeys(plan);
	r->mcxt = mcxt;
	r->key_mcxt = AllocSetContextCreate(mcxt, "pg_eddy panes of a key", ALLOCSET_DEFAULT_SIZES);
	r->sums_mcxt = AllocSetContextCreate(mcxt, "pg_eddy sums of panes", ALLOCSET_DEFAULT_SIZES);
	r->results_mcxt = AllocSetContextCreate(mcxt, "pg_eddy rows of windows", ALLOCSET_DEFAULT_SIZES);
	r->keys = palloc(sizeof(Datum) * Max(r->nkeys, 1));
	r->nulls = palloc(sizeof(bool) * Max(r->nkeys, 1));
	r->values = palloc(sizeof(Datum) * MAX_RESULTS * Max(plan->noutputs, 1));
	r->isnull = palloc(sizeof(bool) * MAX_RESULTS * Max(plan->noutputs, 1));
	r->upsert = eddy_upsert_open(list_nth(plan->state_tables, PANE_PANES), plan->name);
	r->main_table = eddy_upsert_open(eddy_plan_main_table(plan), plan->name);
	eddy_pane_begin(&r->work, plan, eddy_upsert_desc(r->upsert), eddy_upsert_desc(r->main_table));
	MemoryContextSwitchTo(old);
	return r;
}

void
eddy_pane_read_start(EddyPaneRead *r, const EddyPaneCondition *conditions, int nconditions,
					 bool (*accept) (void *arg, const Datum *values, const bool *nulls), void *arg)
{
	MemoryContext old = MemoryContextSwitchTo(r->mcxt);
	EddyOwnerSwitch save;

	r->accept = accept;
	r->accept_arg = arg;
	r->none = r->in_key = false;
	r->ahead = NULL;
	r->nresults = r->position = 0;
	eddy_owner_begin(&save, r->plan->owner);
	start_scan(r, conditions, nconditions);
	eddy_owner_end(&save);
	MemoryContextSwitchTo(old);
}

bool
eddy_pane_read_next(EddyPaneRead *r, Datum **values, bool **nulls)
{
	if (r->position == r->nresults)
		fill(r);
	if (r->nresults == 0)
		return false;
	*values = r->values + r->position * r->plan->noutputs;
	*nulls = r->isnull + r->position * r->plan->noutputs;
	r->position++;
	return true;
}

void
eddy_pane_read_end(EddyPaneRead *r)
{
	eddy_pane_end(&r->work);
	eddy_upsert_close(r->main_table);
	eddy_upsert_close(r->upsert);
	MemoryContextDelete(r->mcxt);
}

/*
 * eddy._open_windows(panes): the windows that are not closed, in the columns of the view that has
 * this table of panes. For the calls that the planner does not replace.
 */
Datum
eddy_open_windows(PG_FUNCTION_ARGS)
{
	EddyView   *view = eddy_pane_read_view(PG_GETARG_OID(0), false);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EddyViewPlan *plan;
	EddyPaneRead *r;
	Datum	   *values;
	bool	   *nulls;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	plan = eddy_plan_get(view->relid);
	if (plan == NULL)
		return (Datum) 0;
	eddy_plan_pin_for(plan, CurrentMemoryContext);
	eddy_plan_check_result(plan, result->setDesc, "eddy._open_windows");
	r = eddy_pane_read_begin(plan);
	eddy_pane_read_start(r, NULL, 0, NULL, NULL);
	while (eddy_pane_read_next(r, &values, &nulls))
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	eddy_pane_read_end(r);
	return (Datum) 0;
}

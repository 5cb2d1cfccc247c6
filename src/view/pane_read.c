/*-------------------------------------------------------------------------
 *
 * pane_read.c
 *    Reads windows that are still open from their panes.
 *
 * A view with emit => 'changes' shows early rows. If its windows are combined from panes, no table has
 * these rows: the public view calls eddy._open_windows for each key, which reads the panes of the
 * key and computes all of its windows that are not closed. All is read with the snapshot of the
 * query, so that each window is shown once, as an early row or as the final one.
 *
 * Each window is combined from two sums: that of its first panes up to a point, and that of the
 * panes after it. The first one is one of a list of sums that are computed backwards from that
 * point. When the windows have moved past the point, it becomes the end of the current window. So a
 * window costs a constant number of additions.
 *
 * The function can be called by all roles, as functions in views are called by the readers of the
 * view. It reads for roles that have SELECT on the continuous view itself, and checks all types.
 *
 * Locking: RowExclusiveLock on the state tables, as for all users of a plan. Memory: one context for
 * each call, as large as the panes of a key, and the result.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "owner.h"
#include "view/kind.h"
#include "view/kind_panes.h"
#include "view/pane_work.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(eddy_open_windows);

/* A pane of the key. */
typedef struct OpenPane
{
	TimestampTz first_end;
	TimestampTz pane_end;
	EddyState  *states;
} OpenPane;

/* One call. */
typedef struct PaneRead
{
	EddyViewPlan *plan;
	const EddyPanes *panes;
	EddyPaneWork work;
	MemoryContext mcxt;
	MemoryContext sums_mcxt;	/* of the sums of the current point */
	Datum	   *keys;
	bool	   *nulls;
	OpenPane   *rows;			/* in order of pane_end */
	int			nrows;
	ReturnSetInfo *result;

	/* the panes that windows up to the next change of late rows consist of */
	OpenPane   *sums;			/* states of panes; before point: of all panes until there */
	int			nsums;
	int			from;			/* the current window is [from, to) */
	int			to;
	int			point;
	EddyState  *rest;			/* of [point, to) */
} PaneRead;

/* ---- arguments ---- */

/* The key, a row of the grouping columns that are not bounds of windows. */
static void
read_key(PaneRead *r, HeapTupleHeader row)
{
	int			nkeys = eddy_kind_panes_nkeys(r->plan);
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(row),
											  HeapTupleHeaderGetTypMod(row));
	bool		same = desc->natts == nkeys;
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(row), .t_data = row};

	for (int i = 0; same && i < nkeys; i++)
		same = TupleDescAttr(desc, i)->atttypid == eddy_kind_panes_key(r->plan, i)->type;
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("function \"%s\" requires the keys of the continuous view",
						"eddy._open_windows")));
	r->keys = palloc(sizeof(Datum) * (nkeys + 1));
	r->nulls = palloc(sizeof(bool) * (nkeys + 1));
	heap_deform_tuple(&tuple, desc, r->keys, r->nulls);
	ReleaseTupleDesc(desc);
}

/* The view whose table of panes this is, if the current user may read it. */
static EddyView *
get_view(Oid table)
{
	EddyView   *view = eddy_catalog_find_view(table);

	if (view == NULL || strcmp(view->kind, eddy_kind_panes.name) != 0 ||
		list_nth_oid(view->state_tables, PANE_PANES) != table)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table of panes of a continuous view",
						get_rel_name(table) ? get_rel_name(table) : "?")));
	if (pg_class_aclcheck(view->relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_VIEW, get_rel_name(view->relid));
	return view;
}

/* ---- panes ---- */

/* Reads the panes of the key, in order of their ends. */
static void
read_panes(PaneRead *r, EddyUpsert *upsert)
{
	int			capacity = 64;
	TupleTableSlot *row;

	r->rows = palloc(sizeof(OpenPane) * capacity);
	eddy_upsert_seek(upsert, eddy_kind_panes_nkeys(r->plan), r->keys, r->nulls);
	while ((row = eddy_upsert_next(upsert)) != NULL)
	{
		OpenPane   *pane;

		CHECK_FOR_INTERRUPTS();
		if (r->nrows == capacity)
		{
			capacity *= 2;
			r->rows = repalloc_huge(r->rows, sizeof(OpenPane) * capacity);
		}
		pane = &r->rows[r->nrows++];
		pane->first_end = DatumGetTimestampTz(row->tts_values[PANE_FIRST_END - 1]);
		pane->pane_end = DatumGetTimestampTz(row->tts_values[PANE_END - 1]);
		pane->states = eddy_pane_copy(&r->work, row);
	}
}

/*
 * Adds up the rows of each pane that count in a window, and returns the end of the first window in
 * which others do as well: rows that were late for earlier windows of their pane.
 */
static TimestampTz
select_panes(PaneRead *r, TimestampTz end)
{
	TimestampTz change = DT_NOEND;

	r->nsums = r->from = r->to = r->point = 0;
	r->rest = NULL;
	MemoryContextReset(r->sums_mcxt);
	for (int i = 0; i < r->nrows; i++)
	{
		const OpenPane *row = &r->rows[i];
		OpenPane   *sum = r->nsums > 0 ? &r->sums[r->nsums - 1] : NULL;

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
move_point(PaneRead *r)
{
	for (int i = r->to - 2; i >= r->from; i--)
		eddy_pane_add(&r->work, r->sums_mcxt, &r->sums[i].states, r->sums[i + 1].states);
	r->point = r->to;
	r->rest = NULL;
}

/* Makes the window that ends at a time the current one. */
static void
move_window(PaneRead *r, TimestampTz start, TimestampTz end)
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
put_window(PaneRead *r, TimestampTz start, TimestampTz end)
{
	EddyViewPlan *plan = r->plan;
	const EddyState *const parts[] = {
		r->from < r->point ? r->sums[r->from].states : NULL, r->rest
	};
	TupleTableSlot *row = r->work.result;
	Datum	   *values;
	bool	   *nulls;

	if (!eddy_pane_compute(&r->work, start, end, r->keys, r->nulls, lengthof(parts), parts))
		return;
	values = palloc(sizeof(Datum) * plan->noutputs);
	nulls = palloc(sizeof(bool) * plan->noutputs);
	for (int i = 0; i < plan->noutputs; i++)
	{
		values[i] = row->tts_values[plan->outputs[i].column - 1];
		nulls[i] = row->tts_isnull[plan->outputs[i].column - 1];
	}
	tuplestore_putvalues(r->result->setResult, r->result->setDesc, values, nulls);
	pfree(values);
	pfree(nulls);
}

/* The end of the first window that is open and contains a pane of the key, after a time. */
static TimestampTz
next_window(const PaneRead *r, TimestampTz after)
{
	TimestampTz first;

	if (r->from < r->to)
		return eddy_panes_next_end(r->panes, after);
	if (r->to >= r->nsums)
		return DT_NOEND;
	first = eddy_panes_first_end(r->panes, r->sums[r->to].pane_end);
	return TIMESTAMP_IS_NOBEGIN(after) ? first : Max(first, eddy_panes_next_end(r->panes, after));
}

static void
put_windows(PaneRead *r, TimestampTz closed_until)
{
	TimestampTz end = closed_until;
	TimestampTz change = DT_NOBEGIN;

	r->sums = palloc(sizeof(OpenPane) * Max(r->nrows, 1));
	/* rows that were late for windows that are not even closed yet count in the later ones only */
	change = select_panes(r, TIMESTAMP_IS_NOBEGIN(end) ? end :
						  eddy_panes_next_end(r->panes, end));
	for (;;)
	{
		TimestampTz start;

		CHECK_FOR_INTERRUPTS();
		end = next_window(r, end);
		if (end >= change && !TIMESTAMP_IS_NOEND(change))
		{
			end = change;
			change = select_panes(r, end);
		}
		if (TIMESTAMP_IS_NOEND(end))
			return;
		start = eddy_panes_window_start(r->panes, end);
		move_window(r, start, end);
		if (r->from < r->to)
			put_window(r, start, end);
	}
}

/* ---- the function ---- */

static void
read_view(PaneRead *r)
{
	EddyViewPlan *plan = r->plan;
	EddyViewProgress *progress = eddy_catalog_get_view_progress(plan->view);
	EddyUpsert *upsert = eddy_upsert_open(list_nth(plan->state_tables, PANE_PANES), plan->name);
	EddyUpsert *results = eddy_upsert_open(eddy_plan_main_table(plan), plan->name);
	EddyOwnerSwitch save;

	/* expressions over aggregates, and functions of types, run as the owner */
	eddy_owner_begin(&save, plan->owner);
	eddy_pane_begin(&r->work, plan, eddy_upsert_desc(upsert), eddy_upsert_desc(results));
	read_panes(r, upsert);
	put_windows(r, progress ? progress->closed_until : DT_NOBEGIN);
	eddy_pane_end(&r->work);
	eddy_owner_end(&save);
	eddy_upsert_close(results);
	eddy_upsert_close(upsert);
}

/*
 * eddy._open_windows(panes, key): the windows of a key that are not closed, in the columns of the
 * view that has this table of panes.
 */
Datum
eddy_open_windows(PG_FUNCTION_ARGS)
{
	EddyView   *view = get_view(PG_GETARG_OID(0));
	PaneRead	r = {0};
	MemoryContext old;

	r.result = (ReturnSetInfo *) fcinfo->resultinfo;
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	r.plan = eddy_plan_get(view->relid);
	if (r.plan == NULL)
		return (Datum) 0;
	eddy_plan_pin(r.plan);
	PG_TRY();
	{
		r.panes = r.plan->panes;
		eddy_plan_check_result(r.plan, r.result->setDesc, "eddy._open_windows");
		r.mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy open windows",
									   ALLOCSET_DEFAULT_SIZES);
		r.sums_mcxt = AllocSetContextCreate(r.mcxt, "pg_eddy sums of panes",
											ALLOCSET_DEFAULT_SIZES);
		old = MemoryContextSwitchTo(r.mcxt);
		read_key(&r, PG_GETARG_HEAPTUPLEHEADER(1));
		read_view(&r);
		MemoryContextSwitchTo(old);
		MemoryContextDelete(r.mcxt);
	}
	PG_FINALLY();
	{
		eddy_plan_unpin(r.plan);
	}
	PG_END_TRY();
	return (Datum) 0;
}

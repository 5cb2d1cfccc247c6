/*-------------------------------------------------------------------------
 *
 * session_late.c
 *    Finds the late rows of views over sessions.
 *
 * A row of a session is late by itself only if no session that is not final has saved it. The merge
 * has noted the late rows of the delta, by which the pairs of the query (late_pairs.c) are
 * filtered: both are sorted by the key of the session and the bounds that the row has alone.
 *
 * Locking: none. Memory: of the call; a crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/sortsupport.h"
#include "utils/tuplesort.h"

#include "compat.h"
#include "owner.h"
#include "view/chain.h"
#include "view/late_pairs.h"
#include "view/maintain.h"
#include "view/session_late.h"

/* Keys of a plan with sessions: end, start, the key of the session, last event. */
#define SESSION_KEY 2

/* eddy_session_adapt_late_query adds the key of the session. */
void
eddy_session_adapt_late_query(EddyViewPlan *plan, Query *query,
							  TimestampTz until pg_attribute_unused())
{
	for (int i = SESSION_KEY; i < plan->nkeys - 1; i++)
	{
		Node	   *key = eddy_chain_map(plan, (Node *) copyObject(plan->keys[i].expr));

		query->targetList = lappend(query->targetList,
									eddy_late_make_target(EDDY_LATE_KEY + i - SESSION_KEY, key));
	}
}

/* Sorts rows by the key of the session, start and end, which are in the given columns. */
static Tuplesortstate *
sort_rows(const EddyViewPlan *plan, Tuplestorestate *store, TupleTableSlot *slot,
		  const AttrNumber *columns)
{
	int			n = plan->nsort_keys;
	Oid		   *operators = palloc(sizeof(Oid) * n);
	Oid		   *collations = palloc(sizeof(Oid) * n);
	bool	   *nulls_first = palloc0(sizeof(bool) * n);
	Tuplesortstate *sort;

	for (int i = 0; i < n; i++)
	{
		operators[i] = plan->keys[plan->sort_keys[i]].lt_opr;
		collations[i] = plan->keys[plan->sort_keys[i]].collation;
	}
	sort = tuplesort_begin_heap(slot->tts_tupleDescriptor, n,
								unconstify(AttrNumber *, columns), operators, collations,
								nulls_first, work_mem, NULL, TUPLESORT_NONE);
	tuplestore_rescan(store);
	while (tuplestore_gettupleslot(store, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		tuplesort_puttupleslot(sort, slot);
	}
	tuplesort_performsort(sort);
	return sort;
}

/* Compares a pair with a late row of the delta. */
static int
compare_rows(const EddyViewPlan *plan, SortSupport keys, TupleTableSlot *pair,
			 const AttrNumber *pair_columns, TupleTableSlot *row, const AttrNumber *row_columns)
{
	for (int i = 0; i < plan->nsort_keys; i++)
	{
		bool		pair_null;
		bool		row_null;
		Datum		left = slot_getattr(pair, pair_columns[i], &pair_null);
		Datum		right = slot_getattr(row, row_columns[i], &row_null);
		int			order = ApplySortComparator(left, pair_null, right, row_null, &keys[i]);

		if (order != 0)
			return order;
	}
	return 0;
}

static SortSupport
make_comparators(const EddyViewPlan *plan)
{
	SortSupport keys = palloc0(sizeof(SortSupportData) * plan->nsort_keys);

	for (int i = 0; i < plan->nsort_keys; i++)
	{
		keys[i].ssup_cxt = CurrentMemoryContext;
		keys[i].ssup_collation = plan->keys[plan->sort_keys[i]].collation;
		PrepareSortSupportFromOrderingOp(plan->keys[plan->sort_keys[i]].lt_opr, &keys[i]);
	}
	return keys;
}

/*
 * eddy_session_select_late returns the pairs whose rows the merge has found late. store, with rows
 * for the slot pair, is freed.
 */
Tuplestorestate *
eddy_session_select_late(EddyWork *work, Tuplestorestate *store, TupleTableSlot *pair)
{
	const EddyViewPlan *plan = work->plan;
	AttrNumber *pair_columns = palloc(sizeof(AttrNumber) * plan->nsort_keys);
	AttrNumber *row_columns = palloc(sizeof(AttrNumber) * plan->nsort_keys);
	SortSupport keys = make_comparators(plan);
	TupleTableSlot *row = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsMinimalTuple);
	Tuplestorestate *selected = tuplestore_begin_heap(false, false, work_mem);
	Tuplesortstate *pairs;
	Tuplesortstate *rows;
	EddyOwnerSwitch save;
	bool		has_row;

	for (int i = 0; i < plan->nsort_keys; i++)
	{
		int			key = plan->sort_keys[i];

		row_columns[i] = key + 1;
		pair_columns[i] = key == 0 ? EDDY_LATE_END : key == 1 ? EDDY_LATE_START :
			EDDY_LATE_KEY + key - SESSION_KEY;
	}
	/* comparing keys calls functions of their types */
	eddy_owner_begin(&save, plan->owner);
	pairs = sort_rows(plan, store, pair, pair_columns);
	rows = sort_rows(plan, work->judgment.late_rows, row, row_columns);
	has_row = tuplesort_gettupleslot(rows, true, false, row, NULL);
	while (has_row && tuplesort_gettupleslot(pairs, true, false, pair, NULL))
	{
		int			order = 1;

		CHECK_FOR_INTERRUPTS();
		while (has_row && (order = compare_rows(plan, keys, pair, pair_columns, row,
												row_columns)) > 0)
			has_row = tuplesort_gettupleslot(rows, true, false, row, NULL);
		if (has_row && order == 0)
			tuplestore_puttupleslot(selected, pair);
	}
	tuplesort_end(pairs);
	tuplesort_end(rows);
	eddy_owner_end(&save);
	ExecDropSingleTupleTableSlot(row);
	tuplestore_end(store);
	return selected;
}

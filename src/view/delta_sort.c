/*-------------------------------------------------------------------------
 *
 * delta_sort.c
 *    Sorting the rows of a delta into the order of their groups.
 *
 * The key of a view with windows begins with the bounds of the window, of which a batch has few.
 * The server's sort keeps the first column of each row at hand and fetches the others from the
 * tuples for each comparison of rows that agree in it, here nearly every one: that cost more than
 * looking up the groups. The rows of such views are therefore sorted with all their keys at hand,
 * as long as they fit into work_mem. If they do not, and for all other views, the server's sort is
 * used.
 *
 * No locks. Memory: a context below that in which the sort began, and temporary files of the
 * server's sort. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/sortsupport.h"
#include "utils/tuplesort.h"

#include "view/delta_sort.h"

/* A row that is sorted in memory. */
typedef struct SortedRow
{
	MinimalTuple tuple;
	uint32		nulls;			/* bit i: key i is NULL */
	Datum		keys[FLEXIBLE_ARRAY_MEMBER];	/* point into the tuple */
} SortedRow;

struct EddyDeltaSort
{
	const EddyViewPlan *plan;
	int			nkeys;
	SortSupportData *keys;		/* ssup_attno: the column of the delta */
	MemoryContext mcxt;			/* of the rows, in memory */
	SortedRow **rows;
	int			nrows;
	int			capacity;
	int			next;
	TupleTableSlot *copy;		/* of the row that is added */
	Tuplesortstate *server;		/* NULL: the rows are in memory */
};

static Tuplesortstate *
begin_server_sort(const EddyDeltaSort *sort)
{
	int			nkeys = sort->nkeys;
	AttrNumber *attnums = palloc(sizeof(AttrNumber) * nkeys);
	Oid		   *operators = palloc(sizeof(Oid) * nkeys);
	Oid		   *collations = palloc(sizeof(Oid) * nkeys);
	bool	   *nulls_first = palloc0(sizeof(bool) * nkeys);

	for (int i = 0; i < nkeys; i++)
	{
		const EddyKey *key = &sort->plan->keys[sort->keys[i].ssup_attno - 1];

		attnums[i] = sort->keys[i].ssup_attno;
		operators[i] = key->lt_opr;
		collations[i] = key->collation;
	}
	return tuplesort_begin_heap(sort->plan->delta_desc, nkeys, attnums, operators, collations,
								nulls_first, work_mem, NULL, TUPLESORT_NONE);
}

EddyDeltaSort *
eddy_delta_sort_begin(const EddyViewPlan *plan)
{
	EddyDeltaSort *sort = palloc0(sizeof(EddyDeltaSort));

	sort->plan = plan;
	sort->nkeys = plan->sort_keys ? plan->nsort_keys : plan->nkeys;
	sort->keys = palloc0(sizeof(SortSupportData) * sort->nkeys);
	for (int i = 0; i < sort->nkeys; i++)
		sort->keys[i].ssup_attno = (plan->sort_keys ? plan->sort_keys[i] : i) + 1;
	if (!plan->windowed || sort->nkeys == 1)
	{
		sort->server = begin_server_sort(sort);
		return sort;
	}
	for (int i = 0; i < sort->nkeys; i++)
	{
		SortSupport support = &sort->keys[i];
		const EddyKey *key = &plan->keys[support->ssup_attno - 1];

		support->ssup_cxt = CurrentMemoryContext;
		support->ssup_collation = key->collation;
		PrepareSortSupportFromOrderingOp(key->lt_opr, support);
	}
	StaticAssertStmt(INDEX_MAX_KEYS <= 32, "keys of a row do not fit into a mask");
	sort->mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy rows of a delta",
									   ALLOCSET_DEFAULT_SIZES);
	sort->copy = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsMinimalTuple);
	sort->capacity = 256;
	sort->rows = MemoryContextAlloc(sort->mcxt, sizeof(SortedRow *) * sort->capacity);
	return sort;
}

/* Passes the rows on to the server's sort. */
static void
leave_memory(EddyDeltaSort *sort)
{
	sort->server = begin_server_sort(sort);
	for (int i = 0; i < sort->nrows; i++)
	{
		ExecStoreMinimalTuple(sort->rows[i]->tuple, sort->copy, false);
		tuplesort_puttupleslot(sort->server, sort->copy);
	}
	ExecClearTuple(sort->copy);
	sort->rows = NULL;
	sort->nrows = 0;
	MemoryContextReset(sort->mcxt);
}

void
eddy_delta_sort_put(EddyDeltaSort *sort, TupleTableSlot *row)
{
	MemoryContext old;
	SortedRow  *sorted;

	if (sort->server)
	{
		tuplesort_puttupleslot(sort->server, row);
		return;
	}
	old = MemoryContextSwitchTo(sort->mcxt);
	if (sort->nrows == sort->capacity)
	{
		sort->capacity *= 2;
		sort->rows = repalloc_huge(sort->rows, sizeof(SortedRow *) * sort->capacity);
	}
	sorted = palloc(offsetof(SortedRow, keys) + sizeof(Datum) * sort->nkeys);
	sorted->tuple = ExecCopySlotMinimalTuple(row);
	sorted->nulls = 0;
	MemoryContextSwitchTo(old);
	ExecStoreMinimalTuple(sorted->tuple, sort->copy, false);
	for (int i = 0; i < sort->nkeys; i++)
	{
		bool		isnull;

		sorted->keys[i] = slot_getattr(sort->copy, sort->keys[i].ssup_attno, &isnull);
		if (isnull)
			sorted->nulls |= (uint32) 1 << i;
	}
	sort->rows[sort->nrows++] = sorted;
	if (MemoryContextMemAllocated(sort->mcxt, false) > work_mem * (Size) 1024)
		leave_memory(sort);
}

static int
compare_rows(const void *a, const void *b, void *arg)
{
	const SortedRow *left = *(SortedRow *const *) a;
	const SortedRow *right = *(SortedRow *const *) b;
	EddyDeltaSort *sort = arg;

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < sort->nkeys; i++)
	{
		int			result = ApplySortComparator(left->keys[i], left->nulls >> i & 1,
												 right->keys[i], right->nulls >> i & 1,
												 &sort->keys[i]);

		if (result != 0)
			return result;
	}
	return 0;
}

void
eddy_delta_sort_perform(EddyDeltaSort *sort)
{
	if (sort->server)
		tuplesort_performsort(sort->server);
	else
		qsort_arg(sort->rows, sort->nrows, sizeof(SortedRow *), compare_rows, sort);
}

/* eddy_delta_sort_next stores the next row in a slot for minimal tuples; false if there is none. */
bool
eddy_delta_sort_next(EddyDeltaSort *sort, TupleTableSlot *row)
{
	if (sort->server)
		return tuplesort_gettupleslot(sort->server, true, false, row, NULL);
	if (sort->next == sort->nrows)
	{
		ExecClearTuple(row);
		return false;
	}
	ExecStoreMinimalTuple(sort->rows[sort->next++]->tuple, row, false);
	return true;
}

void
eddy_delta_sort_end(EddyDeltaSort *sort)
{
	if (sort->server)
		tuplesort_end(sort->server);
	if (sort->copy)
		ExecDropSingleTupleTableSlot(sort->copy);
	if (sort->mcxt)
		MemoryContextDelete(sort->mcxt);
}

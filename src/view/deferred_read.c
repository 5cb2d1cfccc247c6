/*-------------------------------------------------------------------------
 *
 * deferred_read.c
 *    Reads groups of views with maintenance => 'deferred' together with their deltas.
 *
 * The public view of such a view shows the rows of the main table whose group has no deltas, and
 * for each group with deltas the row that eddy._deferred_group computes from the stored row and all
 * of the deltas, without writing it. eddy._is_deferred decides between them. All is read with the
 * snapshot of the query, which sees a delta either in its table or merged, so the view is exact in
 * each snapshot.
 *
 * As long as there are no deltas, the query of the view calls neither of them. eddy._is_deferred
 * searches the index for the first rows of a query; then it reads the keys of all deltas into a
 * sorted array, if work_mem is enough.
 *
 * Both functions can be called by all roles, because functions in a view are called by its reader,
 * who may have rights on another view around it only. They answer to callers who know the ID and
 * the place of a delta, which cannot be guessed, and which only the query of the view, with the
 * privileges of its owner, and that owner can read.
 *
 * A delta on which an expression fails is left out, as when it is merged (fold.c).
 *
 * Locking: RowExclusiveLock on the state tables, as for all users of a plan. Memory: the array
 * lives as long as the expression of the query; a group is computed in a context of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/sortsupport.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "owner.h"
#include "view/kind_combining.h"
#include "view/kind_deferred.h"
#include "view/maintain.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(eddy_is_deferred);
PG_FUNCTION_INFO_V1(eddy_deferred_group);

/* Rows of a query for which the index is searched, before the keys are read. */
#define SEARCHED_ROWS 64

/* ---- who may call ---- */

/* The view that a table of deltas belongs to. */
static EddyView *
get_view(Oid table)
{
	EddyView   *view = eddy_catalog_find_view(table);

	if (view == NULL || strcmp(view->maintenance, "deferred") != 0 ||
		list_nth_oid(view->state_tables, DEFERRED_DELTAS) != table)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table of deltas of a continuous view",
						get_rel_name(table) ? get_rel_name(table) : "?")));
	return view;
}

static EddyViewPlan *
get_plan(Oid view)
{
	EddyViewPlan *plan = eddy_plan_get(view);

	if (plan == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("continuous view was dropped concurrently")));
	return plan;
}

static void
refuse_caller(const char *function)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for function %s", function),
			 errdetail("It is called by the query of a continuous view.")));
}

/*
 * Reads a delta, deformed, into a slot of the table. Raises an error unless the caller knows its
 * ID, and its snapshot sees it.
 */
static void
fetch_delta(const EddyStateTable *table, Relation rel, ItemPointer place, const pg_uuid_t *id,
			TupleTableSlot *slot, const char *function)
{
	int			column = table->nkeys - 1;

	if (!ItemPointerIsValid(place) ||
		ItemPointerGetBlockNumber(place) >= RelationGetNumberOfBlocks(rel) ||
		!table_tuple_fetch_row_version(rel, place, GetActiveSnapshot(), slot))
		refuse_caller(function);
	slot_getallattrs(slot);
	if (memcmp(DatumGetUUIDP(slot->tts_values[column]), id, UUID_LEN) != 0)
		refuse_caller(function);
}

/* ---- eddy._is_deferred ---- */

/* What is known from earlier calls by the same expression of a query. */
typedef struct DeferredKeys
{
	Oid			view;
	int			nkeys;
	int64		calls;
	bool		complete;		/* keys has all of them */
	bool		too_many;		/* they do not fit into work_mem */
	MemoryContext mcxt;			/* of keys */
	SortSupport sort;
	Datum	  **keys;			/* sorted, each once */
	bool	  **nulls;
	int64		count;
} DeferredKeys;

/* Raises an error unless the row consists of the place and the ID of a delta of the view. */
static void
check_row(const EddyStateTable *table, HeapTupleHeader row)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(row),
											  HeapTupleHeaderGetTypMod(row));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(row),.t_data = row};
	Datum		values[2];
	bool		nulls[2];
	Relation	rel;
	TupleTableSlot *slot;

	if (desc->natts != 2 || TupleDescAttr(desc, 0)->atttypid != TIDOID ||
		TupleDescAttr(desc, 1)->atttypid != UUIDOID)
		refuse_caller("_is_deferred");
	heap_deform_tuple(&tuple, desc, values, nulls);
	ReleaseTupleDesc(desc);
	if (nulls[0] || nulls[1])
		refuse_caller("_is_deferred");
	rel = table_open(table->relid, AccessShareLock);
	slot = table_slot_create(rel, NULL);
	fetch_delta(table, rel, (ItemPointer) DatumGetPointer(values[0]), DatumGetUUIDP(values[1]),
				slot, "_is_deferred");
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
}

static void
check_key_types(FunctionCallInfo fcinfo, const EddyStateTable *table)
{
	bool		same = PG_NARGS() == table->nkeys - 1 + 2 && !get_fn_expr_variadic(fcinfo->flinfo);

	for (int i = 0; same && i < table->nkeys - 1; i++)
		same = get_fn_expr_argtype(fcinfo->flinfo, i + 2) == table->columns[i].type;
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("function \"%s\" requires the keys of the continuous view",
						"eddy._is_deferred")));
}

/* At the first call. */
static DeferredKeys *
begin_keys(FunctionCallInfo fcinfo)
{
	EddyView   *view = get_view(PG_GETARG_OID(0));
	EddyViewPlan *plan = get_plan(view->relid);
	const EddyStateTable *table = eddy_deferred_deltas(plan);
	MemoryContext mcxt = fcinfo->flinfo->fn_mcxt;
	DeferredKeys *keys;

	check_key_types(fcinfo, table);
	check_row(table, PG_GETARG_HEAPTUPLEHEADER(1));
	keys = MemoryContextAllocZero(mcxt, sizeof(DeferredKeys));
	keys->view = view->relid;
	keys->nkeys = table->nkeys - 1;
	keys->sort = MemoryContextAllocZero(mcxt, sizeof(SortSupportData) * keys->nkeys);
	for (int i = 0; i < keys->nkeys; i++)
	{
		keys->sort[i].ssup_cxt = mcxt;
		keys->sort[i].ssup_collation = table->keys[i].collation;
		PrepareSortSupportFromOrderingOp(table->keys[i].lt_opr, &keys->sort[i]);
	}
	fcinfo->flinfo->fn_extra = keys;
	return keys;
}

static int
compare_keys(const DeferredKeys *keys, const Datum *left, const bool *left_nulls,
			 const Datum *right, const bool *right_nulls)
{
	for (int i = 0; i < keys->nkeys; i++)
	{
		int			order = ApplySortComparator(left[i], left_nulls[i], right[i], right_nulls[i],
												&keys->sort[i]);

		if (order != 0)
			return order;
	}
	return 0;
}

/* Adds the key of a row, which is not less than the last one. */
static void
add_key(DeferredKeys *keys, TupleTableSlot *row, int64 *capacity)
{
	MemoryContext old;
	Datum	   *values;
	bool	   *nulls;

	if (keys->count > 0 &&
		compare_keys(keys, keys->keys[keys->count - 1], keys->nulls[keys->count - 1],
					 row->tts_values, row->tts_isnull) == 0)
		return;
	old = MemoryContextSwitchTo(keys->mcxt);
	if (keys->count == *capacity)
	{
		*capacity = Max(*capacity * 2, 256);
		keys->keys = keys->keys == NULL ?
			palloc_extended(sizeof(Datum *) * *capacity, MCXT_ALLOC_HUGE) :
			repalloc_huge(keys->keys, sizeof(Datum *) * *capacity);
		keys->nulls = keys->nulls == NULL ?
			palloc_extended(sizeof(bool *) * *capacity, MCXT_ALLOC_HUGE) :
			repalloc_huge(keys->nulls, sizeof(bool *) * *capacity);
	}
	values = palloc(sizeof(Datum) * keys->nkeys);
	nulls = palloc(sizeof(bool) * keys->nkeys);
	for (int i = 0; i < keys->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(row->tts_tupleDescriptor, i);

		nulls[i] = row->tts_isnull[i];
		values[i] = nulls[i] ? (Datum) 0 :
			datumCopy(row->tts_values[i], att->attbyval, att->attlen);
	}
	keys->keys[keys->count] = values;
	keys->nulls[keys->count++] = nulls;
	MemoryContextSwitchTo(old);
}

/* Reads the keys of all deltas, which the index has in their order. */
static void
read_keys(DeferredKeys *keys, const EddyStateTable *table, FunctionCallInfo fcinfo)
{
	EddyUpsert *upsert = eddy_upsert_open(table, "");
	int64		capacity = 0;
	TupleTableSlot *row;

	keys->mcxt = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "pg_eddy keys of deltas",
									   ALLOCSET_DEFAULT_SIZES);
	eddy_upsert_seek(upsert, 0, NULL, NULL);
	while (!keys->too_many && (row = eddy_upsert_next(upsert)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		add_key(keys, row, &capacity);
		keys->too_many = MemoryContextMemAllocated(keys->mcxt, true) > (Size) work_mem * 1024;
	}
	eddy_upsert_close(upsert);
	keys->complete = !keys->too_many;
	if (keys->too_many)
		MemoryContextDelete(keys->mcxt);
}

static bool
is_among(const DeferredKeys *keys, const Datum *values, const bool *nulls)
{
	int64		low = 0;
	int64		high = keys->count;

	while (low < high)
	{
		int64		middle = low + (high - low) / 2;
		int			order = compare_keys(keys, values, nulls, keys->keys[middle],
										 keys->nulls[middle]);

		if (order == 0)
			return true;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}

static bool
is_in_index(const EddyStateTable *table, const Datum *values, const bool *nulls)
{
	EddyUpsert *upsert = eddy_upsert_open(table, "");
	bool		found;

	eddy_upsert_seek(upsert, table->nkeys - 1, values, nulls);
	found = eddy_upsert_next(upsert) != NULL;
	eddy_upsert_close(upsert);
	return found;
}

/*
 * eddy._is_deferred(deltas, delta, VARIADIC key): whether a table has deltas of a group. delta is
 * the place and the ID of one of its rows.
 */
Datum
eddy_is_deferred(PG_FUNCTION_ARGS)
{
	DeferredKeys *keys = fcinfo->flinfo->fn_extra;
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (keys == NULL)
		keys = begin_keys(fcinfo);
	for (int i = 0; i < keys->nkeys; i++)
	{
		values[i] = fcinfo->args[i + 2].value;
		nulls[i] = fcinfo->args[i + 2].isnull;
	}
	if (!keys->complete)
	{
		EddyViewPlan *plan = get_plan(keys->view);
		bool		found = false;

		eddy_plan_pin(plan);
		PG_TRY();
		{
			if (++keys->calls > SEARCHED_ROWS && !keys->too_many)
				read_keys(keys, eddy_deferred_deltas(plan), fcinfo);
			if (!keys->complete)
				found = is_in_index(eddy_deferred_deltas(plan), values, nulls);
		}
		PG_FINALLY();
		{
			eddy_plan_unpin(plan);
		}
		PG_END_TRY();
		if (!keys->complete)
			PG_RETURN_BOOL(found);
	}
	PG_RETURN_BOOL(is_among(keys, values, nulls));
}

/* ---- eddy._deferred_group ---- */

/* One call. */
typedef struct GroupRead
{
	EddyViewPlan *plan;
	EddyUpsert *state;
	EddyUpsert *deltas;
	TimestampTz final_until;
	TupleTableSlot *stored;		/* of the main table, NULL: the group has no row there */
	TupleTableSlot *delta;		/* a row of the delta query */
	HeapTuple  *rows;			/* of the table of deltas, in order of arrival */
	int			nrows;
	int		   *chosen;			/* indexes of those that do not fail */
	int			nchosen;
	int			from;			/* those that are tried together with them */
	int			to;
	MinimalTuple result;		/* of the last attempt that did not fail: that of all chosen rows */
	Datum	   *values;			/* space for one row */
	bool	   *nulls;
} GroupRead;

static void
read_deltas(GroupRead *r, const Datum *keys, const bool *nulls)
{
	int			capacity = 16;
	TupleTableSlot *row;

	r->rows = palloc(sizeof(HeapTuple) * capacity);
	eddy_upsert_seek(r->deltas, eddy_deferred_nkeys(r->plan), keys, nulls);
	while ((row = eddy_upsert_next(r->deltas)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (r->nrows == capacity)
		{
			capacity *= 2;
			r->rows = repalloc_huge(r->rows, sizeof(HeapTuple) * capacity);
		}
		r->rows[r->nrows++] = ExecCopySlotHeapTuple(row);
	}
	r->chosen = palloc_extended(sizeof(int) * Max(r->nrows, 1), MCXT_ALLOC_HUGE);
}

/* The rows that are combined: those chosen so far, then those that are tried. */
static TupleTableSlot *
get_row(int number, void *arg)
{
	GroupRead  *r = arg;
	int			row = number < r->nchosen ? r->chosen[number] : r->from + number - r->nchosen;

	heap_deform_tuple(r->rows[row], eddy_upsert_desc(r->deltas), r->values, r->nulls);
	eddy_deferred_to_delta(r->plan, r->values, r->nulls, r->delta);
	return r->delta;
}

static void
run_combine(void *arg)
{
	GroupRead  *r = arg;
	EddyOwnerSwitch save;

	eddy_owner_begin(&save, r->plan->owner);
	r->result = eddy_combining_read(r->plan, eddy_upsert_desc(r->state), r->final_until, r->stored,
									r->nchosen + r->to - r->from, get_row, r);
	eddy_owner_end(&save);
}

/* Chooses the rows of a range that do not fail together with those chosen before. */
static void
choose(GroupRead *r, int from, int to)
{
	ErrorData  *error;

	if (from >= to)
		return;
	check_stack_depth();
	r->from = from;
	r->to = to;
	error = eddy_delta_run_for(r->plan, run_combine, r, true);
	if (error == NULL)
	{
		for (int i = from; i < to; i++)
			r->chosen[r->nchosen++] = i;
		return;
	}
	if (!eddy_batch_is_row_error(error))
		ReThrowError(error);
	FreeErrorData(error);
	if (to - from == 1)
		return;
	choose(r, from, from + (to - from) / 2);
	choose(r, from + (to - from) / 2, to);
}

/* Adds the row of the group to the result, unless it is not in the view. */
static void
put_group(GroupRead *r, ReturnSetInfo *result)
{
	EddyViewPlan *plan = r->plan;
	TupleDesc	desc = eddy_upsert_desc(r->state);
	TupleTableSlot *computed = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	TupleTableSlot *row = r->stored;
	Datum	   *values = palloc(sizeof(Datum) * plan->noutputs);
	bool	   *nulls = palloc(sizeof(bool) * plan->noutputs);

	if (r->nchosen > 0)
	{
		row = ExecStoreMinimalTuple(r->result, computed, false);
		slot_getallattrs(row);
	}
	if (row && (plan->visible_column == 0 ||
				DatumGetBool(row->tts_values[plan->visible_column - 1])))
	{
		for (int i = 0; i < plan->noutputs; i++)
		{
			values[i] = row->tts_values[plan->outputs[i].column - 1];
			nulls[i] = row->tts_isnull[plan->outputs[i].column - 1];
		}
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	ExecDropSingleTupleTableSlot(computed);
}

static void
read_group(GroupRead *r, ItemPointer place, const pg_uuid_t *id, ReturnSetInfo *result)
{
	EddyViewPlan *plan = r->plan;
	const EddyStateTable *table = eddy_deferred_deltas(plan);
	Relation	rel = table_open(table->relid, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);

	r->values = palloc(sizeof(Datum) * table->ncolumns);
	r->nulls = palloc(sizeof(bool) * table->ncolumns);
	r->delta = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsVirtual);
	r->final_until = DT_NOBEGIN;
	if (plan->lateness > 0)
	{
		EddyViewProgress *progress = eddy_catalog_get_view_progress(plan->view);

		if (progress)
			r->final_until = progress->closed_until;
	}
	fetch_delta(table, rel, place, id, slot, "_deferred_group");
	r->state = eddy_upsert_open(eddy_plan_main_table(plan), plan->name);
	r->deltas = eddy_upsert_open(table, plan->name);
	read_deltas(r, slot->tts_values, slot->tts_isnull);
	r->stored = eddy_upsert_find(r->state, slot->tts_values, slot->tts_isnull);
	choose(r, 0, r->nrows);
	put_group(r, result);
	eddy_upsert_close(r->deltas);
	eddy_upsert_close(r->state);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
}

/*
 * eddy._deferred_group(deltas, place, id): the row of a group that has deltas, in the columns of
 * the view that has this table of deltas; none if it is not in the view. place and id are those of
 * one of the deltas.
 */
Datum
eddy_deferred_group(PG_FUNCTION_ARGS)
{
	EddyView   *view = get_view(PG_GETARG_OID(0));
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	GroupRead	r = {0};
	MemoryContext mcxt;
	MemoryContext old;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	r.plan = get_plan(view->relid);
	mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy deferred group",
								 ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(mcxt);
	eddy_plan_pin(r.plan);
	PG_TRY();
	{
		eddy_plan_check_result(r.plan, result->setDesc, "eddy._deferred_group");
		read_group(&r, (ItemPointer) PG_GETARG_POINTER(1), PG_GETARG_UUID_P(2), result);
	}
	PG_FINALLY();
	{
		eddy_plan_unpin(r.plan);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
	return (Datum) 0;
}

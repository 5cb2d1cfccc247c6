/*-------------------------------------------------------------------------
 *
 * collect_merge.c
 *    Kept values during a merge: adding a batch's values to a group, and computing its aggregates.
 *
 * The values of a batch are read from the delta, sorted, and compared with what is kept of the
 * group. New values become rows of the collection's table once the group's own row is stored, so
 * the lock on that row protects them: its counts change whenever a value is added. Aggregates are
 * computed again, from all values, only for groups that have new ones.
 *
 * Groups can be joined (sessions): the values of a group that is absorbed are new values of the
 * other one, and its rows are removed.
 *
 * Locking: that of the group's row. Memory: the combiner's context, which is reset for each group;
 * values beyond work_mem that are read again use temporary files. Errors of aggregate functions,
 * and the limit of values, are raised before anything of the group is written.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/time.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/sortsupport.h"
#include "utils/uuid.h"

#include "settings.h"
#include "view/collect.h"
#include "view/collect_values.h"

/* A value of the batch; of a set or counts, each different value once. */
typedef struct NewValue
{
	uint64		place;			/* of its row in the batch */
	uint32		index;			/* among the rows of the group, for equal places */
	int64		count;			/* 1, except of counts */
	bool		kept;			/* the table has the value */
	Datum	   *values;
	bool	   *nulls;
} NewValue;

/* A row of a table of values that is stored after the group's own row. */
typedef struct Part
{
	bool		exists;			/* it replaces the version at a place */
	bool		removed;		/* none of it is left */
	ItemPointerData place;
	Datum	   *values;
	bool	   *nulls;
} Part;

/* One collection during a merge. */
typedef struct CollectorPart
{
	EddyCollection *collection;
	SortSupport sort_keys;		/* of a set or counts */
	TupleTableSlot *delta_row;	/* a value in the delta */
	TupleTableSlot *value_row;	/* a value as aggregates read it */
	TupleTableSlot *part_row;	/* a row of its table */
	int			nwhole;			/* aggregates computed from all values */
	int			npartial;		/* aggregates that combine */
	bool		only_counts;	/* those that combine count one value each */
	EddyState  *nothing;		/* transition states of no values; NULL: not known yet */

	/* the current group, before it is prepared */
	int			nadded;
	int			added_capacity;
	NewValue   *added;			/* values of the batch, and of groups that are absorbed */
	int64		ninputs;		/* that they stand for */
	int			nabsorbed;
	int			absorbed_capacity;
	Part	   *absorbed;		/* rows of groups that are absorbed, which are removed */

	/* the current group */
	int			nnew;
	NewValue   *new_values;		/* not kept yet, except for counts */
	int			nparts;
	Part	   *parts;
	EddyState  *whole;			/* results, NULL: unchanged */
	EddyState  *partial;
} CollectorPart;

struct EddyCollector
{
	EddyViewPlan *plan;
	EddyMerge  *merge;
	EddyCombiner *combiner;
	MemoryContext mcxt;			/* of the merge */
	Datum		id;				/* of the current group */
	bool		is_new;
	ParamListInfo keys;			/* of the current group, for direct arguments */
	int			nparts;
	CollectorPart parts[FLEXIBLE_ARRAY_MEMBER];
};

/* ---- one merge ---- */

/* True for count(DISTINCT value), except of rows, which are not NULL. */
static bool
counts_values(const EddyAggregate *agg)
{
	return agg->aggref->aggfnoid == F_COUNT_ANY &&
		!IsA(linitial_node(TargetEntry, agg->aggref->args)->expr, RowExpr);
}

static void
begin_collection(CollectorPart *part, EddyCollector *collector, EddyCollection *collection)
{
	ListCell   *lc;

	part->collection = collection;
	part->delta_row = MakeSingleTupleTableSlot(collection->delta_desc, &TTSOpsMinimalTuple);
	part->value_row = MakeSingleTupleTableSlot(collection->value_desc, &TTSOpsVirtual);
	part->part_row = MakeSingleTupleTableSlot(eddy_merge_desc(collector->merge,
															  collection->table),
											  &TTSOpsVirtual);
	part->only_counts = true;
	foreach(lc, collection->aggs)
	{
		EddyAggregate *agg = &collector->plan->aggs[lfirst_int(lc)];

		if (agg->from_all)
			part->nwhole++;
		else
		{
			part->npartial++;
			part->only_counts &= counts_values(agg);
		}
	}
	if (collection->kind == EDDY_COLLECT_LIST)
		return;
	part->sort_keys = palloc0(sizeof(SortSupportData) * collection->ncolumns);
	for (int i = 0; i < collection->ncolumns; i++)
	{
		SortSupport key = &part->sort_keys[i];

		key->ssup_cxt = CurrentMemoryContext;
		key->ssup_collation = collection->collations[i];
		PrepareSortSupportFromOrderingOp(collection->lt_oprs[i], key);
	}
}

/* eddy_collect_begin works in the context of the merge. */
EddyCollector *
eddy_collect_begin(EddyViewPlan *plan, EddyMerge *merge, EddyCombiner *combiner)
{
	int			nparts = list_length(plan->collections);
	EddyCollector *collector = palloc0(offsetof(EddyCollector, parts) +
									   sizeof(CollectorPart) * nparts);

	collector->plan = plan;
	collector->merge = merge;
	collector->combiner = combiner;
	collector->mcxt = CurrentMemoryContext;
	collector->nparts = nparts;
	for (int i = 0; i < nparts; i++)
		begin_collection(&collector->parts[i], collector, list_nth(plan->collections, i));
	return collector;
}

void
eddy_collect_end(EddyCollector *collector)
{
	for (int i = 0; i < collector->nparts; i++)
	{
		ExecDropSingleTupleTableSlot(collector->parts[i].delta_row);
		ExecDropSingleTupleTableSlot(collector->parts[i].value_row);
		ExecDropSingleTupleTableSlot(collector->parts[i].part_row);
	}
}

/* ---- the identity of a group ---- */

/* A UUID of version 7: random, but later ones are greater, so that index pages fill in order. */
static Datum
make_id(void)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));
	struct timeval now;
	uint64		ms;

	gettimeofday(&now, NULL);
	ms = (uint64) now.tv_sec * 1000 + now.tv_usec / 1000;
	for (int i = 0; i < 6; i++)
		id->data[i] = (unsigned char) (ms >> (8 * (5 - i)));
	if (!pg_strong_random(&id->data[6], UUID_LEN - 6))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	id->data[6] = (id->data[6] & 0x0f) | 0x70;
	id->data[8] = (id->data[8] & 0x3f) | 0x80;
	return UUIDPGetDatum(id);
}

/* ---- values of the batch ---- */

static int
compare_columns(const NewValue *left, const NewValue *right, const CollectorPart *part)
{
	for (int i = 0; i < part->collection->ncolumns; i++)
	{
		int			order = ApplySortComparator(left->values[i], left->nulls[i],
												right->values[i], right->nulls[i],
												&part->sort_keys[i]);

		if (order != 0)
			return order;
	}
	return 0;
}

static int
compare_arrival(const void *a, const void *b, void *arg)
{
	const NewValue *left = a;
	const NewValue *right = b;

	if (left->place != right->place)
		return left->place < right->place ? -1 : 1;
	(void) arg;
	return left->index < right->index ? -1 : left->index > right->index;
}

/* Of equal values the first to arrive comes first, and is the one that is kept. */
static int
compare_values(const void *a, const void *b, void *arg)
{
	int			order = compare_columns(a, b, arg);

	return order != 0 ? order : compare_arrival(a, b, arg);
}

/* Makes room for more elements of an array in the context of the group. */
static void *
enlarge(void *array, int n, int more, int *capacity, Size size)
{
	if (n + more <= *capacity)
		return array;
	*capacity = Max(n + more, *capacity * 2);
	return array ? repalloc_huge(array, size * *capacity) :
		MemoryContextAllocHuge(CurrentMemoryContext, size * *capacity);
}

static NewValue *
add_value(CollectorPart *part, int64 count)
{
	int			n = Max(part->collection->ncolumns, 1);
	NewValue   *value;

	part->added = enlarge(part->added, part->nadded, 1, &part->added_capacity, sizeof(NewValue));
	value = &part->added[part->nadded];
	value->index = part->nadded++;
	value->place = 0;
	value->count = count;
	value->kept = false;
	value->values = palloc(sizeof(Datum) * n);
	value->nulls = palloc(sizeof(bool) * n);
	part->ninputs += count;
	return value;
}

/*
 * Adds the values that the delta query gave for the group, each with the given count: -1 for values
 * that are taken back.
 */
static void
read_values(CollectorPart *part, const EddyState *delta, int count_of_each)
{
	EddyCollection *collection = part->collection;
	bytea	   *bytes;
	char	   *next;
	uint32		count;

	if (delta == NULL || delta->isnull)
		return;
	bytes = DatumGetByteaPCopy(delta->value);
	count = ((EddyValuesHeader *) bytes)->count;
	part->added = enlarge(part->added, part->nadded, count, &part->added_capacity,
						  sizeof(NewValue));
	next = (char *) bytes + EDDY_VALUES_OFFSET;
	for (uint32 i = 0; i < count; i++)
	{
		NewValue   *value;
		TupleTableSlot *row = part->delta_row;
		MinimalTuple tuple = (MinimalTuple) next;

		if (next + sizeof(uint32) > (char *) bytes + VARSIZE(bytes) ||
			next + tuple->t_len > (char *) bytes + VARSIZE(bytes))
			elog(ERROR, "values of a batch are truncated");
		ExecStoreMinimalTuple(tuple, row, false);
		slot_getallattrs(row);
		value = add_value(part, count_of_each);
		if (!row->tts_isnull[0])
		{
			ItemPointer place = (ItemPointer) DatumGetPointer(row->tts_values[0]);

			value->place = (uint64) ItemPointerGetBlockNumberNoCheck(place) << 16 |
				ItemPointerGetOffsetNumberNoCheck(place);
		}
		/* they point into bytes */
		memcpy(value->values, row->tts_values + 1, sizeof(Datum) * collection->ncolumns);
		memcpy(value->nulls, row->tts_isnull + 1, sizeof(bool) * collection->ncolumns);
		next += MAXALIGN(tuple->t_len);
	}
	ExecClearTuple(part->delta_row);
}

/* Sorts them; of a set or counts, leaves each different value once. */
static void
sort_values(CollectorPart *part)
{
	NewValue   *values = part->new_values;
	int			n = 0;

	if (part->nnew == 0)
		return;
	if (part->collection->kind == EDDY_COLLECT_LIST)
	{
		qsort_arg(values, part->nnew, sizeof(NewValue), compare_arrival, part);
		return;
	}
	qsort_arg(values, part->nnew, sizeof(NewValue), compare_values, part);
	for (int i = 1; i < part->nnew; i++)
	{
		if (compare_columns(&values[n], &values[i], part) == 0)
		{
			if (part->collection->kind == EDDY_COLLECT_COUNTS)
				values[n].count += values[i].count;
		}
		else
			values[++n] = values[i];
	}
	part->nnew = n + 1;
	if (part->collection->kind != EDDY_COLLECT_COUNTS)
		return;
	n = 0;
	for (int i = 0; i < part->nnew; i++)
		if (values[i].count != 0)
			values[n++] = values[i];
	part->nnew = n;
}

/* ---- rows of the table ---- */

static Part *
add_part(CollectorPart *part)
{
	TupleDesc	desc = part->part_row->tts_tupleDescriptor;
	Part	   *row = &part->parts[part->nparts++];

	row->exists = row->removed = false;
	row->values = palloc(sizeof(Datum) * desc->natts);
	row->nulls = palloc0(sizeof(bool) * desc->natts);
	return row;
}

/* The key of a value in the table of a set or of counts. */
static void
make_key(const EddyCollector *collector, const CollectorPart *part, const NewValue *value,
		 Datum *keys, bool *nulls)
{
	keys[0] = collector->id;
	nulls[0] = false;
	memcpy(keys + 1, value->values, sizeof(Datum) * part->collection->ncolumns);
	memcpy(nulls + 1, value->nulls, sizeof(bool) * part->collection->ncolumns);
}

/* The row with a key, NULL if it is new. */
static TupleTableSlot *
find_value(EddyCollector *collector, CollectorPart *part, const Datum *keys, const bool *nulls)
{
	CHECK_FOR_INTERRUPTS();
	return collector->is_new ? NULL :
		eddy_merge_find(collector->merge, part->collection->table, keys, nulls);
}

/* Of a set, leaves the values that are not kept yet. */
static void
add_to_set(EddyCollector *collector, CollectorPart *part)
{
	int			n = 0;

	for (int i = 0; i < part->nnew; i++)
	{
		Datum		keys[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];
		Part	   *row;

		make_key(collector, part, &part->new_values[i], keys, nulls);
		if (find_value(collector, part, keys, nulls))
			continue;
		row = add_part(part);
		make_key(collector, part, &part->new_values[i], row->values, row->nulls);
		part->new_values[n++] = part->new_values[i];
	}
	part->nnew = n;
}

/* Returns by how many different values there are more. */
static int64
add_to_counts(EddyCollector *collector, CollectorPart *part)
{
	int			last = part->part_row->tts_tupleDescriptor->natts - 1;
	int64		nvalues = 0;

	for (int i = 0; i < part->nnew; i++)
	{
		NewValue   *value = &part->new_values[i];
		Part	   *row = add_part(part);
		TupleTableSlot *kept;
		int64		count = value->count;

		make_key(collector, part, value, row->values, row->nulls);
		kept = find_value(collector, part, row->values, row->nulls);
		if (kept)
		{
			/* equal values can look different: the first one stays, as its index entry does */
			for (int j = 1; j < last; j++)
			{
				Form_pg_attribute att = TupleDescAttr(kept->tts_tupleDescriptor, j);

				if (!kept->tts_isnull[j])
					row->values[j] = datumCopy(kept->tts_values[j], att->attbyval, att->attlen);
			}
			row->exists = true;
			row->place = kept->tts_tid;
			value->kept = true;
			count += DatumGetInt64(kept->tts_values[last]);
		}
		else
			nvalues++;
		if (count < 0 || (count == 0 && kept == NULL))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("a row that continuous view \"%s\" has not counted was taken back",
							collector->plan->name)));
		row->removed = (count == 0);
		nvalues -= row->removed;
		row->values[last] = Int64GetDatum(count);
		row->nulls[last] = false;
	}
	return nvalues;
}

/* first: the number of the first value. */
static void
add_to_list(EddyCollector *collector, CollectorPart *part, int64 first)
{
	int			n = part->collection->ncolumns;

	for (int i = 0; i < part->nnew; i++)
	{
		Part	   *row = add_part(part);

		row->values[0] = collector->id;
		row->values[1] = Int64GetDatum(first + i);
		memcpy(row->values + 2, part->new_values[i].values, sizeof(Datum) * n);
		memcpy(row->nulls + 2, part->new_values[i].nulls, sizeof(bool) * n);
	}
}

static void
check_limit(const EddyCollector *collector, const CollectorPart *part, int64 nvalues)
{
	int			agg = linitial_int(part->collection->aggs);

	if (nvalues > eddy_settings_group_values_limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many values in one group of continuous view \"%s\"",
						collector->plan->name),
				 errdetail("Aggregate \"%s\" would keep " INT64_FORMAT " values.",
						   get_func_name(collector->plan->aggs[agg].aggref->aggfnoid),
						   nvalues),
				 errhint("The limit is \"pg_eddy.group_values_limit\".")));
}

/* ---- aggregates ---- */

static void
put_value(CollectorPart *part, Tuplestorestate *store, const Datum *values, const bool *nulls,
		  int64 number, int64 count)
{
	TupleTableSlot *row = part->value_row;
	int			n = part->collection->ncolumns;

	ExecClearTuple(row);
	memcpy(row->tts_values, values, sizeof(Datum) * n);
	memcpy(row->tts_isnull, nulls, sizeof(bool) * n);
	row->tts_values[n] = Int64GetDatum(number);
	row->tts_isnull[n] = false;
	ExecStoreVirtualTuple(row);
	/* a value can have been counted any number of times */
	for (int64 i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		tuplestore_puttupleslot(store, row);
	}
}

/* What the batch adds to the number of a kept value, or takes back. */
static int64
change_of_count(CollectorPart *part, Datum *values, bool *nulls)
{
	NewValue	key = {.values = values, .nulls = nulls};
	int			low = 0;
	int			high = part->nnew;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		int			order = compare_columns(&part->new_values[middle], &key, part);

		if (order == 0)
			return part->new_values[middle].count;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return 0;
}

static void
put_kept_values(EddyCollector *collector, CollectorPart *part, Tuplestorestate *store)
{
	EddyCollection *collection = part->collection;
	bool		is_list = collection->kind == EDDY_COLLECT_LIST;
	bool		has_count = collection->kind == EDDY_COLLECT_COUNTS;
	int			first = is_list ? 2 : 1;
	bool		not_null = false;
	TupleTableSlot *row;

	if (collector->is_new)
		return;
	eddy_merge_seek(collector->merge, collection->table, 1, false, &collector->id, &not_null);
	while ((row = eddy_merge_fetch(collector->merge, collection->table)) != NULL)
	{
		int64		count = has_count ?
			DatumGetInt64(row->tts_values[first + collection->ncolumns]) : 1;

		if (collector->plan->retracts)
			count += change_of_count(part, row->tts_values + first, row->tts_isnull + first);
		put_value(part, store, row->tts_values + first, row->tts_isnull + first,
				  is_list ? DatumGetInt64(row->tts_values[1]) : 0, count);
	}
}

/* Computes aggregates from new values, preceded by the kept ones unless partial. */
static EddyState *
run_aggregates(EddyCollector *collector, CollectorPart *part, bool partial, int64 first,
			   MemoryContext mcxt)
{
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	EddyState  *results = MemoryContextAlloc(mcxt, sizeof(EddyState) *
											 (partial ? part->npartial : part->nwhole));

	if (!partial)
		put_kept_values(collector, part, store);
	for (int i = 0; i < part->nnew; i++)
		if (!(part->new_values[i].kept && collector->plan->retracts))
			put_value(part, store, part->new_values[i].values, part->new_values[i].nulls,
					  first + i, part->new_values[i].count);
	eddy_collect_run(collector->plan, part->collection, partial, store, collector->keys, mcxt,
					 results);
	tuplestore_end(store);
	return results;
}

/* count(DISTINCT value) needs no query: its state is a number. */
static EddyState *
count_new_values(CollectorPart *part)
{
	EddyState  *results = palloc(sizeof(EddyState) * part->npartial);
	int64		count = 0;

	for (int i = 0; i < part->nnew; i++)
		count += !part->new_values[i].nulls[0];
	for (int i = 0; i < part->npartial; i++)
	{
		results[i].value = Int64GetDatum(count);
		results[i].isnull = false;
	}
	return results;
}

static EddyState *
combine_new_values(EddyCollector *collector, CollectorPart *part)
{
	if (part->only_counts)
		return count_new_values(part);
	if (part->nnew > 0)
		return run_aggregates(collector, part, true, 0, CurrentMemoryContext);
	if (part->nothing == NULL)
		part->nothing = run_aggregates(collector, part, true, 0, collector->mcxt);
	return part->nothing;
}

static int64
stored_number(TupleTableSlot *stored, AttrNumber column)
{
	return stored && column > 0 ? DatumGetInt64(stored->tts_values[column - 1]) : 0;
}

static void
set_number(TupleTableSlot *result, AttrNumber column, int64 number)
{
	result->tts_values[column - 1] = Int64GetDatum(number);
	result->tts_isnull[column - 1] = false;
}

static void
prepare_collection(EddyCollector *collector, CollectorPart *part, const EddyState *delta,
				   const EddyState *removed, TupleTableSlot *stored, TupleTableSlot *result)
{
	EddyCollection *collection = part->collection;
	int64		nvalues = stored_number(stored, collection->nvalues_column);
	int64		inputs = stored_number(stored, collection->count_column);
	int64		first = nvalues;
	bool		changed;

	read_values(part, delta, 1);
	read_values(part, removed, -1);
	inputs += part->ninputs;
	part->nnew = part->nadded;
	part->new_values = part->added;
	sort_values(part);
	part->nparts = part->nabsorbed;
	part->parts = MemoryContextAllocHuge(CurrentMemoryContext,
										 sizeof(Part) * Max(part->nnew + part->nabsorbed, 1));
	if (part->nabsorbed > 0)
		memcpy(part->parts, part->absorbed, sizeof(Part) * part->nabsorbed);
	changed = part->nnew > 0;
	switch (collection->kind)
	{
		case EDDY_COLLECT_SET:
			add_to_set(collector, part);
			nvalues += part->nnew;
			changed = part->nnew > 0;
			break;
		case EDDY_COLLECT_COUNTS:
			nvalues += add_to_counts(collector, part);
			break;
		case EDDY_COLLECT_LIST:
			add_to_list(collector, part, first);
			nvalues += part->nnew;
			break;
	}
	if (changed)
		check_limit(collector, part, nvalues);
	set_number(result, collection->nvalues_column, nvalues);
	if (collection->count_column > 0)
		set_number(result, collection->count_column, inputs);
	part->whole = NULL;
	part->partial = NULL;
	if (part->nwhole > 0 && (changed || collector->is_new))
		part->whole = run_aggregates(collector, part, false, first, CurrentMemoryContext);
	if (part->npartial > 0)
		part->partial = combine_new_values(collector, part);
}

static void
set_keys(EddyCollector *collector, const Datum *keys, const bool *key_nulls)
{
	EddyViewPlan *plan = collector->plan;

	collector->keys = makeParamList(plan->nkeys);
	for (int i = 0; i < plan->nkeys; i++)
	{
		ParamExternData *param = &collector->keys->params[i];

		param->value = keys[i];
		param->isnull = key_nulls[i];
		param->ptype = plan->keys[i].type;
		param->pflags = 0;
	}
}

/* eddy_collect_start_group: what add and absorb take from now on is of another group. */
void
eddy_collect_start_group(EddyCollector *collector)
{
	for (int i = 0; i < collector->nparts; i++)
	{
		CollectorPart *part = &collector->parts[i];

		part->added = NULL;
		part->nadded = part->added_capacity = 0;
		part->ninputs = 0;
		part->absorbed = NULL;
		part->nabsorbed = part->absorbed_capacity = 0;
	}
}

/* eddy_collect_add_row adds the values of a row of the delta; partials: its aggregates. */
void
eddy_collect_add_row(EddyCollector *collector, const EddyState *partials)
{
	MemoryContext old = MemoryContextSwitchTo(collector->combiner->mcxt);

	for (int i = 0; i < collector->nparts; i++)
	{
		CollectorPart *part = &collector->parts[i];

		read_values(part, &partials[linitial_int(part->collection->aggs)], 1);
	}
	MemoryContextSwitchTo(old);
}

/* Takes a kept value of a group that is absorbed, in the current context. */
static void
absorb_value(CollectorPart *part, TupleTableSlot *row)
{
	const EddyCollection *collection = part->collection;
	TupleDesc	desc = row->tts_tupleDescriptor;
	int			first = collection->kind == EDDY_COLLECT_LIST ? 2 : 1;
	int64		count = collection->kind == EDDY_COLLECT_COUNTS ?
		DatumGetInt64(row->tts_values[first + collection->ncolumns]) : 1;
	NewValue   *value = add_value(part, count);
	Part	   *removed;

	part->absorbed = enlarge(part->absorbed, part->nabsorbed, 1, &part->absorbed_capacity,
							 sizeof(Part));
	removed = &part->absorbed[part->nabsorbed++];
	removed->exists = removed->removed = true;
	removed->place = row->tts_tid;
	removed->values = palloc(sizeof(Datum) * desc->natts);
	removed->nulls = palloc(sizeof(bool) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		removed->nulls[i] = row->tts_isnull[i];
		removed->values[i] = row->tts_isnull[i] ? (Datum) 0 :
			datumCopy(row->tts_values[i], att->attbyval, att->attlen);
	}
	memcpy(value->values, removed->values + first, sizeof(Datum) * collection->ncolumns);
	memcpy(value->nulls, removed->nulls + first, sizeof(bool) * collection->ncolumns);
}

/* eddy_collect_absorb adds the values of another stored group, which is removed with its values. */
void
eddy_collect_absorb(EddyCollector *collector, TupleTableSlot *stored)
{
	bool		not_null = false;

	for (int i = 0; i < collector->nparts; i++)
	{
		CollectorPart *part = &collector->parts[i];
		int			table = part->collection->table;
		TupleTableSlot *row;

		eddy_merge_seek(collector->merge, table, 1, false,
						&stored->tts_values[collector->plan->id_column - 1], &not_null);
		while ((row = eddy_merge_fetch(collector->merge, table)) != NULL)
		{
			/* not around the reading: a scan lives as long as the merge */
			MemoryContext old = MemoryContextSwitchTo(collector->combiner->mcxt);

			absorb_value(part, row);
			MemoryContextSwitchTo(old);
		}
	}
}

/* eddy_collect_count_values returns the number of values that are kept of a stored group. */
int64
eddy_collect_count_values(const EddyCollector *collector, TupleTableSlot *stored)
{
	int64		count = 0;

	for (int i = 0; i < collector->nparts; i++)
		count += stored_number(stored, collector->parts[i].collection->nvalues_column);
	return count;
}

/*
 * eddy_collect_prepare adds the values of the batch to those of a group, in memory, and computes
 * the aggregates that changed. partials: what the delta query gave for rows that are added, NULL if
 * there are none, or if eddy_collect_add_row was called for each; removed: for rows that are taken
 * back; stored: the group's row, or NULL; result: its new version, in which the hidden columns are
 * set.
 */
void
eddy_collect_prepare(EddyCollector *collector, const EddyState *partials,
					 const EddyState *removed, TupleTableSlot *stored, const Datum *keys,
					 const bool *key_nulls, TupleTableSlot *result)
{
	EddyViewPlan *plan = collector->plan;
	MemoryContext old = MemoryContextSwitchTo(collector->combiner->mcxt);
	int			id = plan->id_column - 1;

	collector->is_new = (stored == NULL);
	collector->id = stored ? datumCopy(stored->tts_values[id], false, UUID_LEN) : make_id();
	result->tts_values[id] = collector->id;
	result->tts_isnull[id] = false;
	set_keys(collector, keys, key_nulls);
	for (int i = 0; i < collector->nparts; i++)
	{
		CollectorPart *part = &collector->parts[i];

		int			agg = linitial_int(part->collection->aggs);

		prepare_collection(collector, part, partials ? &partials[agg] : NULL,
						   removed ? &removed[agg] : NULL, stored, result);
	}
	MemoryContextSwitchTo(old);
}

/*
 * eddy_collect_compute returns the state to be stored and the final value of an aggregate. stored:
 * the state of the group's row, ignored for a new group.
 */
void
eddy_collect_compute(EddyCollector *collector, int agg, const EddyState *stored,
					 EddyState *new_stored, EddyState *final)
{
	EddyAggregate *aggregate = &collector->plan->aggs[agg];
	CollectorPart *part = NULL;
	int			position = 0;	/* among the results of its form */
	ListCell   *lc;

	for (int i = 0; part == NULL || part->collection != aggregate->collection; i++)
		part = &collector->parts[i];
	foreach(lc, part->collection->aggs)
	{
		if (lfirst_int(lc) == agg)
			break;
		if (collector->plan->aggs[lfirst_int(lc)].from_all == aggregate->from_all)
			position++;
	}
	if (aggregate->from_all)
		*new_stored = *final = part->whole ? part->whole[position] : *stored;
	else
		eddy_combine_stored(collector->combiner, aggregate, stored, collector->is_new,
							&part->partial[position], new_stored, final);
}

static void
store_part(EddyCollector *collector, CollectorPart *part, Part *row)
{
	TupleTableSlot *slot = part->part_row;
	int			natts = slot->tts_tupleDescriptor->natts;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, row->values, sizeof(Datum) * natts);
	memcpy(slot->tts_isnull, row->nulls, sizeof(bool) * natts);
	ExecStoreVirtualTuple(slot);
	if (row->removed)
		eddy_merge_remove(collector->merge, part->collection->table, &row->place, row->values,
						  row->nulls);
	else if (row->exists)
		eddy_merge_replace(collector->merge, part->collection->table, &row->place, slot);
	else
		eddy_merge_insert(collector->merge, part->collection->table, slot);
}

/*
 * eddy_collect_store passes the changes of kept values to the merge, after that of the group's own
 * row.
 */
void
eddy_collect_store(EddyCollector *collector)
{
	/* rows are inserted last */
	for (int i = 0; i < collector->nparts; i++)
		for (int j = 0; j < collector->parts[i].nparts; j++)
			if (collector->parts[i].parts[j].exists)
				store_part(collector, &collector->parts[i], &collector->parts[i].parts[j]);
	for (int i = 0; i < collector->nparts; i++)
		for (int j = 0; j < collector->parts[i].nparts; j++)
			if (!collector->parts[i].parts[j].exists)
				store_part(collector, &collector->parts[i], &collector->parts[i].parts[j]);
}

/*-------------------------------------------------------------------------
 *
 * batch_aggregate.c
 *    Scanning and aggregating a batch in one step.
 *
 * Most delta queries group by columns of common types and by tumbling windows, and compute count,
 * sum, min and max of integers and times. For these, one custom node replaces the scan, the
 * expressions and the aggregation of the server. It works column by column on blocks of rows: keys,
 * hash values and groups of a block are found first, then each aggregate takes its column. The
 * results are those of the server's functions, and so are the errors.
 *
 * Everything else (conditions, FILTER, joins, expressions, other types and aggregates) is left to
 * the server: eddy_batch_aggregate_path returns no path.
 *
 * Groups are returned in the order of their keys, because merging sorts them, and sorting what is
 * in order is cheap. When the groups of a batch exceed work_mem, those found so far are returned,
 * and a group can then be returned again with what follows: merging combines them.
 *
 * No locks. Memory: that of the execution, of the size of work_mem.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "optimizer/pathnode.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "view/batch_aggregate.h"
#include "view/scan.h"
#include "view/window.h"

#define BLOCK_ROWS 256
#define FIRST_GROUPS 64			/* space for groups at first; a power of two */
#define MAX_KEYS 32				/* one bit for each that is NULL */
#define NO_GROUP PG_UINT32_MAX

/* ---- what is computed ---- */

/* Types of values by their representation: all are kept as int64. */
typedef enum ValueType
{
	VALUE_NONE,					/* not supported */
	VALUE_BOOL,
	VALUE_INT2,
	VALUE_INT4,					/* and date */
	VALUE_INT8					/* and timestamps */
} ValueType;

typedef enum KeyKind
{
	KEY_COLUMN,
	KEY_WINDOW_START,			/* of the tumbling window that contains the column */
	KEY_WINDOW_END
} KeyKind;

typedef struct Key
{
	KeyKind		kind;
	ValueType	type;
	int			column;			/* index in columns */
	const FuncExpr *call;		/* of a window */
	int			window;			/* index in windows */
} Key;

typedef enum AggregateKind
{
	AGGREGATE_COUNT_ROWS,
	AGGREGATE_COUNT,			/* of values that are not NULL */
	AGGREGATE_SUM,				/* bigint */
	AGGREGATE_SUM_NUMERIC,		/* of bigint, exact */
	AGGREGATE_MIN,
	AGGREGATE_MAX
} AggregateKind;

typedef struct Aggregate
{
	AggregateKind kind;
	ValueType	type;
	int			column;
} Aggregate;

/* A target list that this node can compute. */
typedef struct Program
{
	int			nkeys;
	Key		   *keys;			/* the first columns of the result */
	int			naggregates;
	Aggregate  *aggregates;		/* the others */
	int			ncolumns;
	AttrNumber *columns;		/* of the stream, that are read */
} Program;

static ValueType
value_type(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return VALUE_BOOL;
		case INT2OID:
			return VALUE_INT2;
		case INT4OID:
		case DATEOID:
			return VALUE_INT4;
		case INT8OID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return VALUE_INT8;
		default:
			return VALUE_NONE;
	}
}

/*
 * The index of a column of the stream in program->columns, which is added; -1 for other
 * expressions.
 */
static int
take_column(Program *program, Index relid, const Node *expr)
{
	const Var  *var = (const Var *) expr;

	if (!IsA(expr, Var) || var->varno != (int) relid || var->varlevelsup != 0 || var->varattno <= 0)
		return -1;
	for (int i = 0; i < program->ncolumns; i++)
		if (program->columns[i] == var->varattno)
			return i;
	program->columns[program->ncolumns] = var->varattno;
	return program->ncolumns++;
}

static bool
take_key(Program *program, Index relid, const Expr *expr)
{
	Key		   *key = &program->keys[program->nkeys++];
	const Node *value = (const Node *) expr;
	bool		is_end;

	if (program->nkeys > MAX_KEYS)
		return false;
	key->kind = KEY_COLUMN;
	if (IsA(expr, FuncExpr))
	{
		key->call = (const FuncExpr *) expr;
		if (!eddy_window_is_bound(key->call, &is_end))
			return false;
		key->kind = is_end ? KEY_WINDOW_END : KEY_WINDOW_START;
		value = linitial(key->call->args);
	}
	key->column = take_column(program, relid, value);
	if (key->column < 0)
		return false;
	key->type = value_type(((const Var *) value)->vartype);
	return key->type != VALUE_NONE && (key->kind == KEY_COLUMN || key->type == VALUE_INT8);
}

/* Sets the kind of an aggregate; false for one that is not supported. */
static bool
set_kind(Aggregate *aggregate, Oid function)
{
	switch (function)
	{
		case F_COUNT_:
			aggregate->kind = AGGREGATE_COUNT_ROWS;
			return true;
		case F_COUNT_ANY:
			aggregate->kind = AGGREGATE_COUNT;
			return true;
		case F_SUM_INT2:
		case F_SUM_INT4:
			aggregate->kind = AGGREGATE_SUM;
			return true;
		case F_SUM_INT8:
			aggregate->kind = AGGREGATE_SUM_NUMERIC;
			return true;
		case F_MIN_INT2:
		case F_MIN_INT4:
		case F_MIN_INT8:
		case F_MIN_DATE:
		case F_MIN_TIMESTAMP:
		case F_MIN_TIMESTAMPTZ:
			aggregate->kind = AGGREGATE_MIN;
			return true;
		case F_MAX_INT2:
		case F_MAX_INT4:
		case F_MAX_INT8:
		case F_MAX_DATE:
		case F_MAX_TIMESTAMP:
		case F_MAX_TIMESTAMPTZ:
			aggregate->kind = AGGREGATE_MAX;
			return true;
		default:
			return false;
	}
}

static bool
take_aggregate(Program *program, Index relid, const Aggref *aggref)
{
	Aggregate  *aggregate = &program->aggregates[program->naggregates++];
	const Node *arg;

	if (aggref->aggfilter || aggref->aggdistinct || aggref->aggorder || aggref->aggdirectargs ||
		!set_kind(aggregate, aggref->aggfnoid))
		return false;
	if (aggregate->kind == AGGREGATE_COUNT_ROWS)
		return true;
	arg = (const Node *) linitial_node(TargetEntry, aggref->args)->expr;
	aggregate->column = take_column(program, relid, arg);
	if (aggregate->column < 0)
		return false;
	aggregate->type = value_type(((const Var *) arg)->vartype);
	return aggregate->type != VALUE_NONE || aggregate->kind == AGGREGATE_COUNT;
}

/* Takes a target list apart: keys, then aggregates. False if it has something else. */
static bool
compile(Program *program, Index relid, List *exprs)
{
	int			n = list_length(exprs);
	ListCell   *lc;

	memset(program, 0, sizeof(Program));
	program->keys = palloc0(sizeof(Key) * n);
	program->aggregates = palloc0(sizeof(Aggregate) * n);
	program->columns = palloc0(sizeof(AttrNumber) * n);
	foreach(lc, exprs)
	{
		const Expr *expr = lfirst(lc);

		if (IsA(expr, Aggref) ? !take_aggregate(program, relid, (const Aggref *) expr) :
			program->naggregates > 0 || !take_key(program, relid, expr))
			return false;
	}
	return true;
}

/* ---- groups ---- */

/*
 * What an aggregate has of a group. A sum is value + 2^64 * carries; found is false while there was
 * no value.
 */
typedef struct Accumulator
{
	int64		value;
	int32		carries;
	bool		found;
} Accumulator;

/* A group: this, then its keys (int64), then its accumulators. */
typedef struct BatchGroup
{
	uint32		hash;
	uint32		nulls;			/* a bit for each key that is NULL */
	int64		keys[FLEXIBLE_ARRAY_MEMBER];
} BatchGroup;

/* A window that was found last: most rows are in the same one. */
typedef struct LastWindow
{
	EddyTumbling *windows;		/* NULL: not made yet */
	Timestamp	start;			/* start >= end: none */
	Timestamp	end;
} LastWindow;

typedef struct AggregateState
{
	CustomScanState css;
	Program		program;
	EddyBatchReader reader;
	bool		ended;			/* all rows were read */
	bool		returned;		/* groups were returned */

	/* a block of rows */
	int64	   *rows;			/* their indexes in the batch */
	Datum	  **values;			/* of each column */
	bool	  **nulls;
	int64	   *key_values;		/* key k of row i: [k * BLOCK_ROWS + i] */
	uint32	   *key_nulls;
	uint32	   *hashes;
	BatchGroup	  **row_groups;
	LastWindow *windows;		/* of each key that is one */

	/* the groups, in mcxt */
	MemoryContext mcxt;
	Size		group_size;
	char	   *groups;			/* an array with steps of group_size */
	uint32		ngroups;
	uint32		capacity;		/* of groups */
	uint32	   *table;			/* twice the capacity: hash -> number of group */
	BatchGroup	  **sorted;			/* to be returned */
	uint32		next_sorted;
} AggregateState;

static inline BatchGroup *
get_group(const AggregateState *state, uint32 number)
{
	return (BatchGroup *) (state->groups + (Size) number * state->group_size);
}

/* Where the accumulator of an aggregate is in a group. */
static inline Size
accumulator_offset(const Program *program, int aggregate)
{
	return offsetof(BatchGroup, keys) + sizeof(int64) * program->nkeys + sizeof(Accumulator) * aggregate;
}

static inline Accumulator *
get_accumulator(BatchGroup *group, Size offset)
{
	return (Accumulator *) ((char *) group + offset);
}

static inline uint32
table_mask(const AggregateState *state)
{
	return state->capacity * 2 - 1;
}

static void
clear_groups(AggregateState *state)
{
	state->ngroups = 0;
	memset(state->table, 0xFF, sizeof(uint32) * state->capacity * 2);
}

/* Makes space for as many groups again. */
static void
grow(AggregateState *state)
{
	uint32		capacity = state->capacity * 2;

	state->groups = repalloc_huge(state->groups, capacity * state->group_size);
	pfree(state->table);
	state->table = MemoryContextAllocHuge(state->mcxt, sizeof(uint32) * capacity * 2);
	state->capacity = capacity;
	memset(state->table, 0xFF, sizeof(uint32) * capacity * 2);
	for (uint32 i = 0; i < state->ngroups; i++)
	{
		uint32		place = get_group(state, i)->hash & table_mask(state);

		while (state->table[place] != NO_GROUP)
			place = (place + 1) & table_mask(state);
		state->table[place] = i;
	}
}

static inline bool
has_keys(const AggregateState *state, const BatchGroup *group, int row)
{
	if (group->hash != state->hashes[row] || group->nulls != state->key_nulls[row])
		return false;
	for (int k = 0; k < state->program.nkeys; k++)
		if (group->keys[k] != state->key_values[k * BLOCK_ROWS + row])
			return false;
	return true;
}

/* The number of the group with the keys of a row of the block, which is added. */
static uint32
find_group(AggregateState *state, int row)
{
	uint32		mask = table_mask(state);
	uint32		place = state->hashes[row] & mask;
	uint32		number;
	BatchGroup	   *group;

	while ((number = state->table[place]) != NO_GROUP)
	{
		if (has_keys(state, get_group(state, number), row))
			return number;
		place = (place + 1) & mask;
	}
	number = state->table[place] = state->ngroups++;
	group = get_group(state, number);
	memset(group, 0, state->group_size);
	group->hash = state->hashes[row];
	group->nulls = state->key_nulls[row];
	for (int k = 0; k < state->program.nkeys; k++)
		group->keys[k] = state->key_values[k * BLOCK_ROWS + row];
	return number;
}

/* ---- a block of rows ---- */

static inline int64
to_int64(ValueType type, Datum value)
{
	switch (type)
	{
		case VALUE_BOOL:
			return DatumGetBool(value);
		case VALUE_INT2:
			return DatumGetInt16(value);
		case VALUE_INT4:
			return DatumGetInt32(value);
		default:
			return DatumGetInt64(value);
	}
}

static inline Datum
from_int64(ValueType type, int64 value)
{
	switch (type)
	{
		case VALUE_BOOL:
			return BoolGetDatum(value != 0);
		case VALUE_INT2:
			return Int16GetDatum((int16) value);
		case VALUE_INT4:
			return Int32GetDatum((int32) value);
		default:
			return Int64GetDatum(value);
	}
}

/* Finds the window of a row that is not in the last one. */
static void
find_window(AggregateState *state, int k, int row, Timestamp time)
{
	LastWindow *last = &state->windows[k];

	/* what is raised here is an error of this row */
	state->reader.range->position = state->rows[row];
	if (last->windows == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(state->css.ss.ps.state->es_query_cxt);

		last->windows = eddy_window_make_tumbling(state->program.keys[k].call);
		MemoryContextSwitchTo(old);
	}
	eddy_window_find(last->windows, time, &last->start, &last->end);
}

/* The values of a key that is a bound of a window. */
static void
find_windows(AggregateState *state, int k, int n)
{
	const Key  *key = &state->program.keys[k];
	LastWindow *last = &state->windows[k];
	const Datum *values = state->values[key->column];
	const bool *nulls = state->nulls[key->column];
	int64	   *result = &state->key_values[k * BLOCK_ROWS];

	for (int i = 0; i < n; i++)
	{
		Timestamp	time = DatumGetTimestamp(values[i]);

		if (nulls[i])
		{
			result[i] = 0;
			state->key_nulls[i] |= (uint32) 1 << k;
			continue;
		}
		if (time < last->start || time >= last->end)
			find_window(state, k, i, time);
		result[i] = key->kind == KEY_WINDOW_END ? last->end : last->start;
	}
}

static void
take_key_column(AggregateState *state, int k, int n)
{
	const Key  *key = &state->program.keys[k];
	const Datum *values = state->values[key->column];
	const bool *nulls = state->nulls[key->column];
	int64	   *result = &state->key_values[k * BLOCK_ROWS];
	uint32	   *key_nulls = state->key_nulls;
	ValueType	type = key->type;

	for (int i = 0; i < n; i++)
	{
		result[i] = nulls[i] ? 0 : to_int64(type, values[i]);
		key_nulls[i] |= (uint32) nulls[i] << k;
	}
}

/* The hash value of one more key. */
static inline uint32
hash_value(uint32 hash, int64 value)
{
	uint64		result = ((uint64) value ^ ((uint64) hash << 32 | hash)) *
		UINT64CONST(0x9E3779B97F4A7C15);

	return (uint32) (result >> 32) ^ (uint32) result;
}

static void
compute_keys(AggregateState *state, int n)
{
	uint32	   *hashes = state->hashes;

	memset(state->key_nulls, 0, sizeof(uint32) * n);
	memset(hashes, 0, sizeof(uint32) * n);
	for (int k = 0; k < state->program.nkeys; k++)
	{
		const int64 *values = &state->key_values[k * BLOCK_ROWS];

		if (state->program.keys[k].kind == KEY_COLUMN)
			take_key_column(state, k, n);
		else
			find_windows(state, k, n);
		for (int i = 0; i < n; i++)
			hashes[i] = hash_value(hashes[i], values[i]);
	}
}

static void
find_groups(AggregateState *state, int n)
{
	/* groups move when there are more of them, which happens between blocks only */
	while (state->ngroups + n > state->capacity)
		grow(state);
	for (int i = 0; i < n; i++)
		state->row_groups[i] = get_group(state, find_group(state, i));
}

static inline void
add_to_sum(Accumulator *accumulator, int64 value)
{
	int64		sum = (int64) ((uint64) accumulator->value + (uint64) value);

	/* the sum has another sign than both only if it has overflowed */
	if (((accumulator->value ^ sum) & (value ^ sum)) < 0)
		accumulator->carries += sum < 0 ? 1 : -1;
	accumulator->value = sum;
	accumulator->found = true;
}

static inline void
take_extreme(Accumulator *accumulator, int64 value, bool is_max)
{
	if (!accumulator->found || (is_max ? value > accumulator->value : value < accumulator->value))
		accumulator->value = value;
	accumulator->found = true;
}

/* One aggregate of the rows of a block. */
static void
accumulate(AggregateState *state, int number, int n)
{
	const Aggregate *aggregate = &state->program.aggregates[number];
	const Datum *values = state->values[aggregate->column];
	const bool *nulls = state->nulls[aggregate->column];
	BatchGroup	  **groups = state->row_groups;
	Size		offset = accumulator_offset(&state->program, number);
	ValueType	type = aggregate->type;
	bool		is_max = aggregate->kind == AGGREGATE_MAX;

	switch (aggregate->kind)
	{
		case AGGREGATE_COUNT_ROWS:
			for (int i = 0; i < n; i++)
				get_accumulator(groups[i], offset)->value++;
			break;
		case AGGREGATE_COUNT:
			for (int i = 0; i < n; i++)
				get_accumulator(groups[i], offset)->value += !nulls[i];
			break;
		case AGGREGATE_SUM:
		case AGGREGATE_SUM_NUMERIC:
			for (int i = 0; i < n; i++)
				if (!nulls[i])
					add_to_sum(get_accumulator(groups[i], offset), to_int64(type, values[i]));
			break;
		case AGGREGATE_MIN:
		case AGGREGATE_MAX:
			for (int i = 0; i < n; i++)
				if (!nulls[i])
					take_extreme(get_accumulator(groups[i], offset), to_int64(type, values[i]),
								 is_max);
			break;
	}
}

/* ---- the result ---- */

/* The order of keys, NULLs last, as the merge has it. */
static inline int
compare_groups(BatchGroup *const *a, BatchGroup *const *b, void *arg)
{
	int			nkeys = *(int *) arg;

	for (int k = 0; k < nkeys; k++)
	{
		bool		left_null = ((*a)->nulls >> k) & 1;
		bool		right_null = ((*b)->nulls >> k) & 1;

		if (left_null != right_null)
			return left_null ? 1 : -1;
		if ((*a)->keys[k] != (*b)->keys[k])
			return (*a)->keys[k] < (*b)->keys[k] ? -1 : 1;
	}
	return 0;
}

typedef BatchGroup *GroupPointer;

#define ST_SORT sort_groups
#define ST_ELEMENT_TYPE GroupPointer
#define ST_COMPARE(a, b, arg) compare_groups(a, b, arg)
#define ST_COMPARE_ARG_TYPE void
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* Aggregates rows until the last one, or until the groups have taken their memory. */
static void
aggregate_rows(AggregateState *state)
{
	Size		limit = (Size) work_mem * 1024;
	int			n;

	clear_groups(state);
	if (state->sorted)
		pfree(state->sorted);
	state->sorted = NULL;
	while (state->ngroups * (state->group_size + 2 * sizeof(uint32)) <= limit)
	{
		CHECK_FOR_INTERRUPTS();
		n = eddy_scan_read_columns(&state->reader, BLOCK_ROWS, state->program.ncolumns,
								   state->program.columns, state->values, state->nulls,
								   state->rows);
		if (n == 0)
		{
			state->ended = true;
			break;
		}
		compute_keys(state, n);
		find_groups(state, n);
		for (int i = 0; i < state->program.naggregates; i++)
			accumulate(state, i, n);
	}
	/* without GROUP BY there is one group, even of no rows */
	if (state->ngroups == 0 && state->program.nkeys == 0 && !state->returned)
	{
		state->hashes[0] = state->key_nulls[0] = 0;
		(void) find_group(state, 0);
	}
	state->sorted = MemoryContextAllocHuge(state->mcxt, sizeof(BatchGroup *) * (state->ngroups + 1));
	for (uint32 i = 0; i < state->ngroups; i++)
		state->sorted[i] = get_group(state, i);
	sort_groups(state->sorted, state->ngroups, &state->program.nkeys);
	state->next_sorted = 0;
	state->returned = true;
}

/* A sum as numeric. */
static Datum
sum_to_numeric(const Accumulator *accumulator)
{
	Datum		low = NumericGetDatum(int64_to_numeric(accumulator->value));
	Datum		high;

	if (accumulator->carries == 0)
		return low;
	high = DirectFunctionCall2(numeric_mul,
							   NumericGetDatum(int64_to_numeric((int64) accumulator->carries * 4)),
							   NumericGetDatum(int64_to_numeric(INT64CONST(1) << 62)));
	return DirectFunctionCall2(numeric_add, high, low);
}

static Datum
aggregate_result(const Aggregate *aggregate, const Accumulator *accumulator, bool *isnull)
{
	*isnull = false;
	switch (aggregate->kind)
	{
		case AGGREGATE_COUNT_ROWS:
		case AGGREGATE_COUNT:
			return Int64GetDatum(accumulator->value);
		default:
			break;
	}
	*isnull = !accumulator->found;
	if (*isnull)
		return (Datum) 0;
	switch (aggregate->kind)
	{
		case AGGREGATE_SUM:
			return Int64GetDatum(accumulator->value);
		case AGGREGATE_SUM_NUMERIC:
			return sum_to_numeric(accumulator);
		default:
			return from_int64(aggregate->type, accumulator->value);
	}
}

/* Returns the next group, or an empty slot. */
static TupleTableSlot *
next_group(ScanState *node)
{
	AggregateState *state = (AggregateState *) node;
	Program    *program = &state->program;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	MemoryContext old;
	BatchGroup	   *group;

	ExecClearTuple(slot);
	while (state->sorted == NULL || state->next_sorted == state->ngroups)
	{
		if (state->ended)
			return slot;
		aggregate_rows(state);
	}
	group = state->sorted[state->next_sorted++];
	for (int k = 0; k < program->nkeys; k++)
	{
		slot->tts_values[k] = from_int64(program->keys[k].type, group->keys[k]);
		slot->tts_isnull[k] = (group->nulls >> k) & 1;
	}
	old = MemoryContextSwitchTo(node->ps.ps_ExprContext->ecxt_per_tuple_memory);
	for (int i = 0; i < program->naggregates; i++)
		slot->tts_values[program->nkeys + i] =
			aggregate_result(&program->aggregates[i],
							 get_accumulator(group, accumulator_offset(program, i)),
							 &slot->tts_isnull[program->nkeys + i]);
	MemoryContextSwitchTo(old);
	return ExecStoreVirtualTuple(slot);
}

static bool
recheck_group(ScanState *node pg_attribute_unused(), TupleTableSlot *slot pg_attribute_unused())
{
	return true;
}

/* ---- execution ---- */

static void
make_block(AggregateState *state)
{
	int			ncolumns = Max(state->program.ncolumns, 1);
	int			nkeys = Max(state->program.nkeys, 1);

	state->rows = palloc(sizeof(int64) * BLOCK_ROWS);
	state->values = palloc(sizeof(Datum *) * ncolumns);
	state->nulls = palloc(sizeof(bool *) * ncolumns);
	for (int i = 0; i < ncolumns; i++)
	{
		state->values[i] = palloc(sizeof(Datum) * BLOCK_ROWS);
		state->nulls[i] = palloc(sizeof(bool) * BLOCK_ROWS);
	}
	state->key_values = palloc(sizeof(int64) * BLOCK_ROWS * nkeys);
	state->key_nulls = palloc(sizeof(uint32) * BLOCK_ROWS);
	state->hashes = palloc(sizeof(uint32) * BLOCK_ROWS);
	state->row_groups = palloc(sizeof(BatchGroup *) * BLOCK_ROWS);
	state->windows = palloc0(sizeof(LastWindow) * nkeys);
}

static void
make_groups(AggregateState *state)
{
	state->mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy groups of a batch",
										ALLOCSET_DEFAULT_SIZES);
	state->group_size = offsetof(BatchGroup, keys) + sizeof(int64) * state->program.nkeys +
		sizeof(Accumulator) * state->program.naggregates;
	state->capacity = FIRST_GROUPS;
	state->groups = MemoryContextAlloc(state->mcxt, state->capacity * state->group_size);
	state->table = MemoryContextAlloc(state->mcxt, sizeof(uint32) * state->capacity * 2);
}

static void
begin(CustomScanState *node, EState *estate, int eflags pg_attribute_unused())
{
	AggregateState *state = (AggregateState *) node;
	CustomScan *plan = castNode(CustomScan, node->ss.ps.plan);
	Index		relid = linitial_int(plan->custom_private);
	Relation	stream = table_open(exec_rt_fetch(relid, estate)->relid, NoLock);
	List	   *exprs = NIL;
	ListCell   *lc;

	eddy_scan_begin_read(&state->reader, estate, stream);
	table_close(stream, NoLock);
	foreach(lc, plan->custom_scan_tlist)
		exprs = lappend(exprs, lfirst_node(TargetEntry, lc)->expr);
	if (!compile(&state->program, relid, exprs))
		elog(ERROR, "unexpected expression in the plan of a delta query");
	make_block(state);
	make_groups(state);
}

static TupleTableSlot *
execute(CustomScanState *node)
{
	return ExecScan(&node->ss, next_group, recheck_group);
}

static void
end(CustomScanState *node)
{
	eddy_scan_end_read(&((AggregateState *) node)->reader);
}

static void
rescan(CustomScanState *node)
{
	AggregateState *state = (AggregateState *) node;

	ExecScanReScan(&node->ss);
	eddy_scan_rewind(&state->reader);
	state->ended = state->returned = false;
	state->next_sorted = state->ngroups = 0;
}

static const CustomExecMethods exec_methods = {
	.CustomName = "EddyBatchAggregate",
	.BeginCustomScan = begin,
	.ExecCustomScan = execute,
	.EndCustomScan = end,
	.ReScanCustomScan = rescan,
};

static Node *
create_state(CustomScan *plan pg_attribute_unused())
{
	AggregateState *state = (AggregateState *) newNode(sizeof(AggregateState), T_CustomScanState);

	state->css.methods = &exec_methods;
	return (Node *) state;
}

static const CustomScanMethods scan_methods = {
	.CustomName = "EddyBatchAggregate",
	.CreateCustomScanState = create_state,
};

/* ---- planning ---- */

static Plan *
make_plan(PlannerInfo *root pg_attribute_unused(), RelOptInfo *rel pg_attribute_unused(),
		  struct CustomPath *best_path, List *tlist, List *clauses pg_attribute_unused(),
		  List *custom_plans pg_attribute_unused())
{
	CustomScan *scan = makeNode(CustomScan);

	scan->scan.plan.targetlist = tlist;
	scan->scan.scanrelid = 0;
	/* what the node returns; the target list refers to it */
	scan->custom_scan_tlist = copyObject(tlist);
	/* this is the outermost query, so that indexes in its range table do not change */
	scan->custom_private = copyObject(best_path->custom_private);
	scan->flags = best_path->flags;
	scan->methods = &scan_methods;
	return &scan->scan.plan;
}

static const CustomPathMethods path_methods = {
	.CustomName = "EddyBatchAggregate",
	.PlanCustomPath = make_plan,
};

Path *
eddy_batch_aggregate_path(RelOptInfo *output_rel, const Path *input, PathTarget *target)
{
	Index		relid = eddy_scan_path_relid(input);
	CustomPath *path;
	Program		program;

	if (relid == 0 || !compile(&program, relid, target->exprs))
		return NULL;
	path = makeNode(CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parent = output_rel;
	path->path.pathtarget = target;
	path->path.rows = FIRST_GROUPS;
	path->path.total_cost = input->total_cost;
	path->custom_private = list_make1_int(relid);
	path->methods = &path_methods;
	return &path->path;
}

void
eddy_batch_aggregate_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
}

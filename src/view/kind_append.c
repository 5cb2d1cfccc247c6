/*-------------------------------------------------------------------------
 *
 * kind_append.c
 *    Views without aggregates: each row of the stream appends the rows of its result.
 *
 * Columns of the state table, in order:
 *
 *    columns of the view | _row [ | _touched_at ]
 *
 * _row is the key, a UUID that the row gets here. Nothing else identifies it: joins can make several
 * rows of one message, messages can be counted again on purpose (eddy.seek), and rows of users have
 * no origin at all. That each message gives its rows exactly once is ensured by the transaction,
 * which also stores the offset. An ID consists of the time, random bits, both per batch, and a
 * counter: IDs are never used twice, also after a crash and in a copy of the database, so that rows
 * are inserted without searching the index; and neighbours in time are neighbours in the index. A
 * sequence would do the same, but would change lastval() of the session that inserts.
 *
 * The delta query is the definition itself, and all that can fail happens in it.
 *
 * Locking: see upsert.c; no row is ever waited for. Memory: the caller's. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "port/pg_bswap.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "monotonic.h"
#include "view/analyze.h"
#include "view/kind.h"
#include "view/ttl.h"

/* The one state table. */
#define STATE 0

/* Every query that neither aggregates nor groups. */
static bool
accepts(const Query *query)
{
	return !query->hasAggs && query->groupClause == NIL && query->havingQual == NULL &&
		query->distinctClause == NIL;
}

/* ---- layout ---- */

/* _row, or a name that gives way to those of the view. */
static char *
choose_row_name(const EddyViewPlan *plan)
{
	char	   *name = "_row";

	for (int suffix = 1, i = 0; i < plan->noutputs; i++)
		if (strcmp(plan->outputs[i].name, name) == 0)
		{
			name = psprintf("_row_%d", suffix++);
			i = -1;
		}
	return name;
}

static void
layout(EddyViewPlan *plan, Query *query)
{
	EddyStateTable *table = palloc0(sizeof(EddyStateTable));
	EddyStateColumn *row;

	eddy_analyze_rows(plan, query);
	table->suffix = "state";
	table->append_only = true;
	table->ncolumns = plan->noutputs + 1;
	table->columns = palloc0(sizeof(EddyStateColumn) * (table->ncolumns + 1));
	for (int i = 0; i < plan->noutputs; i++)
	{
		plan->outputs[i].column = i + 1;
		table->columns[i].name = plan->outputs[i].name;
		table->columns[i].type = plan->outputs[i].type;
		table->columns[i].typmod = plan->outputs[i].typmod;
		table->columns[i].collation = plan->outputs[i].collation;
	}
	row = &table->columns[plan->noutputs];
	row->name = choose_row_name(plan);
	row->type = UUIDOID;
	row->typmod = -1;
	row->not_null = true;
	plan->row_column = table->ncolumns;
	eddy_ttl_lay_out(plan, table);

	table->nkeys = 1;
	table->keys = palloc0(sizeof(EddyStateKey));
	table->keys[0].column = plan->row_column;
	table->keys[0].lt_opr = lookup_type_cache(UUIDOID, TYPECACHE_LT_OPR)->lt_opr;
	plan->state_tables = list_make1(table);
	plan->final_desc = CreateTemplateTupleDesc(0);
}

/* ---- the delta query ---- */

static void
make_delta(EddyViewPlan *plan, Query *delta)
{
	List	   *tlist = NIL;
	ListCell   *lc;

	plan->delta_desc = CreateTemplateTupleDesc(plan->noutputs);
	foreach(lc, delta->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		EddyOutput *output = &plan->outputs[list_length(tlist)];

		if (tle->resjunk)
			continue;
		tlist = lappend(tlist, tle);
		tle->resno = list_length(tlist);
		TupleDescInitEntry(plan->delta_desc, tle->resno, NULL, output->type, output->typmod, 0);
		TupleDescInitEntryCollation(plan->delta_desc, tle->resno, output->collation);
	}
	delta->targetList = tlist;
}

/* ---- IDs of rows ---- */

/* The IDs of one batch: UUIDs of version 7, 60 bits of time and 38 random bits before the counter. */
typedef struct RowIds
{
	uint64		high;
	uint64		low;
	uint32		next;			/* of 2^24 */
	pg_uuid_t	id;
} RowIds;

static void
begin_ids(RowIds *ids)
{
	int64		now = GetCurrentTimestamp() +
		((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * USECS_PER_DAY;
	uint64		fraction = (now % 1000) * 4096 / 1000;
	uint64		random;

	if (!pg_strong_random(&random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random number")));
	ids->high = ((uint64) (now / 1000) << 16) | (UINT64CONST(7) << 12) | fraction;
	ids->low = (UINT64CONST(2) << 62) | ((random >> 26) << 24);
	ids->next = 0;
}

/* The next ID, valid until the next call. */
static Datum
next_id(RowIds *ids)
{
	uint64		halves[2];

	if (ids->next == (1 << 24))
		begin_ids(ids);
	halves[0] = pg_hton64(ids->high);
	halves[1] = pg_hton64(ids->low | ids->next++);
	memcpy(ids->id.data, halves, UUID_LEN);
	return UUIDPGetDatum(&ids->id);
}

/* ---- appending ---- */

static void
merge(EddyViewPlan *plan, EddyMerge *merge)
{
	TupleTableSlot *result;
	TupleTableSlot *row;
	TimestampTz now = eddy_wall_clock();
	RowIds		ids;

	if (eddy_merge_append_computed(merge, STATE))
		return;
	result = MakeSingleTupleTableSlot(eddy_merge_desc(merge, STATE), &TTSOpsVirtual);
	begin_ids(&ids);
	while ((row = eddy_merge_next(merge)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		ExecClearTuple(result);
		memcpy(result->tts_values, row->tts_values, sizeof(Datum) * plan->noutputs);
		memcpy(result->tts_isnull, row->tts_isnull, sizeof(bool) * plan->noutputs);
		result->tts_values[plan->row_column - 1] = next_id(&ids);
		result->tts_isnull[plan->row_column - 1] = false;
		eddy_ttl_touch(plan, now, NULL, result);
		eddy_merge_append(merge, STATE, ExecStoreVirtualTuple(result));
	}
	ExecDropSingleTupleTableSlot(result);
}

const EddyViewKind eddy_kind_append = {
	.name = "append",
	.accepts = accepts,
	.layout = layout,
	.make_delta = make_delta,
	.merge = merge,
};

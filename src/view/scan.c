/*-------------------------------------------------------------------------
 *
 * scan.c
 *    Reading the rows of a batch in place of the stream, inside a delta query.
 *
 * A batch's delta is the view's own SELECT, planned by PostgreSQL, with two changes: the scan of
 * the stream is a custom scan that returns the rows of the batch from memory, and the aggregates at
 * the top return their (serialized) transition states, unless their final values can be combined.
 * WHERE, FILTER, lateral functions and joins are executed by the server unchanged. Where all that
 * the query does is common, one step replaces scan and aggregation (batch_aggregate.c).
 *
 * The range table entry of the stream has a mark, by which the planner hooks recognize a delta
 * query; no parser ever sets it. The rows are passed through the query environment of the
 * execution. So an error leaves no state that has to be reset, and queries can be nested.
 *
 * Locking: none beyond what planning takes. Memory: the planner's and the executor's. Nothing here
 * survives the query.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "nodes/extensible.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/planner.h"
#include "optimizer/prep.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"

#include "compat.h"
#include "view/batch_aggregate.h"
#include "view/changes.h"
#include "view/scan.h"

/* The estimate for a full batch: a plan is kept for all batches, small and large. */
#define EXPECTED_ROWS 10000

/*
 * The initial size of the hash table of groups, which grows as needed: the same plan is used for
 * single-row INSERTs, for which creating and scanning a large table would be most of the work.
 */
#define EXPECTED_GROUPS 64

typedef struct EddyBatchScanState
{
	CustomScanState css;
	EddyBatchReader reader;
} EddyBatchScanState;

static set_rel_pathlist_hook_type prev_set_rel_pathlist = NULL;
static create_upper_paths_hook_type prev_create_upper_paths = NULL;

static bool separate = false;	/* see eddy_scan_separate */

/*
 * The mark, in a field that the server uses for ephemeral relations only, and the name under
 * which the rows are found in the query environment. With the other mark, the aggregates of the
 * query return final values.
 */
#define BATCH_MARK "pg_eddy batch"
#define FINAL_MARK "pg_eddy batch, final values"

static bool
has_mark(const RangeTblEntry *rte, const char *mark)
{
	return rte->rtekind == RTE_RELATION && rte->enrname != NULL && strcmp(rte->enrname, mark) == 0;
}

static bool
is_marked(const RangeTblEntry *rte)
{
	return has_mark(rte, BATCH_MARK) || has_mark(rte, FINAL_MARK);
}

/*
 * eddy_scan_mark marks the range table entry of the stream in a delta query. When the query is
 * planned, that scan reads a batch, and the aggregates of the query return their transition states
 * (AGGSPLIT_INITIAL_SERIAL) or, with final, their values.
 */
void
eddy_scan_mark(RangeTblEntry *rte, bool final)
{
	rte->enrname = pstrdup(final ? FINAL_MARK : BATCH_MARK);
	rte->inh = false;			/* the segments are not part of the batch */
}

bool
eddy_scan_is_marked(const RangeTblEntry *rte)
{
	return is_marked(rte);
}

/*
 * eddy_scan_environment makes the query environment under which the plan of a delta query reads
 * range, in the current memory context. range must outlive the execution.
 */
QueryEnvironment *
eddy_scan_environment(EddyScanRange *range)
{
	QueryEnvironment *environment = create_queryEnv();
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));

	relation->md.name = BATCH_MARK;
	relation->md.reliddesc = range->batch->stream;
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->reldata = range;
	register_ENR(environment, relation);
	range->position = -1;
	return environment;
}

/* ---- execution ---- */

/* Makes a row of a view a row of the state table in whose place the batch is read. */
static void
set_columns(const EddyBatch *batch, TupleTableSlot *slot, TupleTableSlot *row)
{
	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	for (int i = 0; i < batch->natts; i++)
	{
		slot->tts_values[batch->columns[i] - 1] = row->tts_values[i];
		slot->tts_isnull[batch->columns[i] - 1] = row->tts_isnull[i];
	}
}

static Oid
sign_of(const EddyBatch *batch, int64 row)
{
	char		mark = batch->marks ? batch->marks[row] : EDDY_CHANGE_INSERT;

	if (mark == EDDY_CHANGE_OLD)
		return EDDY_SCAN_REPLACED;
	return mark == EDDY_CHANGE_DELETE ? EDDY_SCAN_REMOVED : EDDY_SCAN_ADDED;
}

/*
 * Advances to the next row of the range that is read; false after the last one. A row of a
 * tuplestore is then in store_slot.
 */
static inline bool
advance(EddyBatchReader *reader)
{
	EddyScanRange *range = reader->range;
	EddyBatch  *batch = range->batch;

	while (reader->next < range->to)
	{
		int64		row = reader->next++;

		if (batch->store && !eddy_batch_next_stored(batch, reader->store_slot))
			return false;
		if ((batch->rejected && batch->rejected[row]) || (range->skip && range->skip[row]) ||
			(batch->marks && batch->marks[row] == EDDY_CHANGE_FINAL))
			continue;
		range->position = row;
		return true;
	}
	return false;
}

/* Returns the next row of the range, or an empty slot after the last one. */
static TupleTableSlot *
next_row(ScanState *node)
{
	EddyBatchReader *reader = &((EddyBatchScanState *) node)->reader;
	EddyBatch  *batch = reader->range->batch;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	int			natts = batch->natts;
	int64		row;

	ExecClearTuple(slot);
	if (!advance(reader))
		return slot;
	row = reader->range->position;
	if (batch->store)
	{
		slot_getallattrs(reader->store_slot);
		if (batch->columns)
			set_columns(batch, slot, reader->store_slot);
		else
		{
			memcpy(slot->tts_values, reader->store_slot->tts_values, sizeof(Datum) * natts);
			memcpy(slot->tts_isnull, reader->store_slot->tts_isnull, sizeof(bool) * natts);
		}
	}
	else
	{
		memcpy(slot->tts_values, batch->values + row * natts, sizeof(Datum) * natts);
		memcpy(slot->tts_isnull, batch->nulls + row * natts, sizeof(bool) * natts);
	}
	slot->tts_tid = eddy_scan_place(row);
	slot->tts_tableOid = sign_of(batch, row);
	return ExecStoreVirtualTuple(slot);
}

static bool
recheck_row(ScanState *node pg_attribute_unused(), TupleTableSlot *slot pg_attribute_unused())
{
	return true;				/* rows of a batch have no newer versions */
}

/* eddy_scan_go_to_first goes to the first row of a range of a batch in a tuplestore. */
void
eddy_scan_go_to_first(EddyScanRange *range)
{
	if (range->batch->store)
	{
		tuplestore_select_read_pointer(range->batch->store, 0);
		tuplestore_rescan(range->batch->store);
		if (range->from > 0)
			(void) tuplestore_skiptuples(range->batch->store, range->from, true);
	}
}

/* eddy_scan_rewind continues with the first row of the range. */
void
eddy_scan_rewind(EddyBatchReader *reader)
{
	reader->next = reader->range->from;
	eddy_scan_go_to_first(reader->range);
}

/* The plan was made for the current columns of the stream; rows with others would be misread. */
static void
check_shape(EddyBatch *batch, Relation stream)
{
	if (!eddy_batch_fits(batch, RelationGetDescr(stream)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg_internal("rows of a batch do not have the shape of stream \"%s\"",
								 RelationGetRelationName(stream))));
}

/*
 * eddy_scan_begin_read begins to read the batch of an execution in the place of a relation: the
 * stream, or the state table of a view that takes its place.
 */
void
eddy_scan_begin_read(EddyBatchReader *reader, EState *estate, Relation stream)
{
	EphemeralNamedRelation relation = get_ENR(estate->es_queryEnv, BATCH_MARK);

	if (relation == NULL)
		elog(ERROR, "scan of a batch was started without a batch");
	reader->range = relation->reldata;
	check_shape(reader->range->batch, stream);
	if (reader->range->batch->store)
		reader->store_slot = MakeSingleTupleTableSlot(reader->range->batch->tupdesc,
													  &TTSOpsMinimalTuple);
	eddy_scan_rewind(reader);
}

void
eddy_scan_end_read(EddyBatchReader *reader)
{
	if (reader->store_slot)
		ExecDropSingleTupleTableSlot(reader->store_slot);
	reader->store_slot = NULL;
}

/*
 * The index of a column of the relation that a batch stands for in the rows of the batch; -1: none.
 */
static int
find_column(const EddyBatch *batch, AttrNumber column)
{
	if (batch->columns == NULL)
		return column - 1;
	for (int i = 0; i < batch->natts; i++)
		if (batch->columns[i] == column)
			return i;
	return -1;
}

/* One row of a tuplestore, as row number n of the columns. */
static void
take_columns(const EddyBatch *batch, TupleTableSlot *row, int n, int ncolumns,
			 const AttrNumber *columns, Datum **values, bool **nulls)
{
	for (int i = 0; i < ncolumns; i++)
	{
		int			from = find_column(batch, columns[i]);

		if (from >= 0)
			values[i][n] = slot_getattr(row, from + 1, &nulls[i][n]);
		else
			nulls[i][n] = true;
	}
}

/* A column of rows of an array. */
static void
gather_column(const EddyBatch *batch, int from, int n, const int64 *rows, Datum *values,
			  bool *nulls)
{
	int			natts = batch->natts;

	if (from < 0)
	{
		memset(nulls, true, n);
		return;
	}
	for (int i = 0; i < n; i++)
	{
		values[i] = batch->values[rows[i] * natts + from];
		nulls[i] = batch->nulls[rows[i] * natts + from];
	}
}

/*
 * eddy_scan_read_columns reads at most max rows of the range, column by column: of row number n,
 * column i is values[i][n], and rows[n] its index. Returns the number of rows, 0 after the last
 * one. Values by reference are valid only for batches from Kafka.
 */
int
eddy_scan_read_columns(EddyBatchReader *reader, int max, int ncolumns, const AttrNumber *columns,
					   Datum **values, bool **nulls, int64 *rows)
{
	const EddyBatch *batch = reader->range->batch;
	int			n;

	for (n = 0; n < max && advance(reader); n++)
	{
		rows[n] = reader->range->position;
		if (batch->store)
			take_columns(batch, reader->store_slot, n, ncolumns, columns, values, nulls);
	}
	for (int i = 0; i < ncolumns && batch->store == NULL; i++)
		gather_column(batch, find_column(batch, columns[i]), n, rows, values[i], nulls[i]);
	return n;
}

static void
begin_scan(CustomScanState *node, EState *estate, int eflags pg_attribute_unused())
{
	eddy_scan_begin_read(&((EddyBatchScanState *) node)->reader, estate,
						 node->ss.ss_currentRelation);
}

static TupleTableSlot *
exec_scan(CustomScanState *node)
{
	return ExecScan(&node->ss, next_row, recheck_row);
}

static void
end_scan(CustomScanState *node)
{
	eddy_scan_end_read(&((EddyBatchScanState *) node)->reader);
}

static void
rescan(CustomScanState *node)
{
	ExecScanReScan(&node->ss);
	eddy_scan_rewind(&((EddyBatchScanState *) node)->reader);
}

static const CustomExecMethods exec_methods = {
	.CustomName = "EddyBatchScan",
	.BeginCustomScan = begin_scan,
	.ExecCustomScan = exec_scan,
	.EndCustomScan = end_scan,
	.ReScanCustomScan = rescan,
};

static Node *
create_scan_state(CustomScan *plan pg_attribute_unused())
{
	EddyBatchScanState *state = (EddyBatchScanState *) newNode(sizeof(EddyBatchScanState),
															   T_CustomScanState);

	state->css.methods = &exec_methods;
	return (Node *) state;
}

static const CustomScanMethods scan_methods = {
	.CustomName = "EddyBatchScan",
	.CreateCustomScanState = create_scan_state,
};

/*
 * eddy_scan_separate makes the planner leave scan and aggregation of a batch to two nodes, for
 * callers that need the expressions of both; until it is called again.
 */
void
eddy_scan_separate(bool value)
{
	separate = value;
}

bool
eddy_scan_is_batch(const Plan *plan)
{
	return plan && IsA(plan, CustomScan) &&
		((const CustomScan *) plan)->methods == &scan_methods;
}

/* ---- planning ---- */

static Plan *
plan_scan(PlannerInfo *root pg_attribute_unused(), RelOptInfo *rel, struct CustomPath *best_path,
		  List *tlist,
		  List *clauses, List *custom_plans pg_attribute_unused())
{
	CustomScan *scan = makeNode(CustomScan);

	scan->scan.plan.targetlist = tlist;
	scan->scan.plan.qual = extract_actual_clauses(clauses, false);
	scan->scan.scanrelid = rel->relid;
	scan->flags = best_path->flags;
	scan->methods = &scan_methods;
	return &scan->scan.plan;
}

static const CustomPathMethods path_methods = {
	.CustomName = "EddyBatchScan",
	.PlanCustomPath = plan_scan,
};

void
eddy_scan_replace_paths(PlannerInfo *root, RelOptInfo *rel, const CustomPathMethods *methods,
						Cost cost)
{
	CustomPath *path = makeNode(CustomPath);

	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.param_info = get_baserel_parampathinfo(root, rel, rel->lateral_relids);
	path->path.rows = rel->rows;
	path->path.total_cost = cost;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->methods = methods;
	rel->consider_parallel = false;
	rel->partial_pathlist = NIL;
	rel->pathlist = NIL;
	add_path(rel, &path->path);
}

/* Replaces all paths that scan the stream by one over the batch. */
static void
set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	if (prev_set_rel_pathlist)
		prev_set_rel_pathlist(root, rel, rti, rte);
	if (!is_marked(rte) || rel->reloptkind != RELOPT_BASEREL)
		return;
	rel->rows = EXPECTED_ROWS;
	eddy_scan_replace_paths(root, rel, &path_methods, EXPECTED_ROWS * 0.001);
}

/*
 * eddy_scan_path_relid returns the index of the stream in the range table if a path reads all rows
 * of a batch, and nothing else.
 */
Index
eddy_scan_path_relid(const Path *path)
{
	/* what the projection computes is also computed from the rows */
	if (IsA(path, ProjectionPath))
		path = ((const ProjectionPath *) path)->subpath;
	if (path->pathtype != T_CustomScan || ((const CustomPath *) path)->methods != &path_methods ||
		path->parent->baserestrictinfo != NIL || path->param_info != NULL)
		return 0;
	return path->parent->relid;
}

/*
 * What the aggregates return at the top level of a delta query, and of a query over new values of a
 * group; -1 for other queries.
 */
static int
result_of_aggregates(PlannerInfo *root)
{
	ListCell   *lc;

	if (root->parent_root != NULL)
		return -1;
	foreach(lc, root->parse->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (has_mark(rte, FINAL_MARK))
			return AGGSPLIT_SIMPLE;
		if (is_marked(rte) || (rte->rtekind == RTE_NAMEDTUPLESTORE &&
							   strcmp(rte->enrname, EDDY_SCAN_NEW_VALUES) == 0))
			return AGGSPLIT_INITIAL_SERIAL;
	}
	return -1;
}

/* The result of a delta query: its keys, and its aggregates as transition states. */
static PathTarget *
partial_target(PathTarget *target)
{
	PathTarget *result = copy_pathtarget(target);
	ListCell   *lc;

	foreach(lc, result->exprs)
	{
		Aggref	   *aggref = lfirst(lc);
		Aggref	   *partial;

		if (!IsA(aggref, Aggref))
			continue;
		partial = makeNode(Aggref);
		memcpy(partial, aggref, sizeof(Aggref));
		mark_partial_aggref(partial, AGGSPLIT_INITIAL_SERIAL);
		lfirst(lc) = partial;
	}
	return result;
}

/*
 * Makes the aggregates of a delta query return what is combined: its only path is one aggregation
 * step over the cheapest input.
 */
static void
create_upper_paths(PlannerInfo *root, UpperRelationKind stage, RelOptInfo *input_rel,
				   RelOptInfo *output_rel, void *extra)
{
	Path	   *input;
	Path	   *path;
	PathTarget *target = output_rel->reltarget;
	List	   *clause;
	AggStrategy strategy;
	AggClauseCosts costs = {0};
	int			split = -1;

	if (prev_create_upper_paths)
		prev_create_upper_paths(root, stage, input_rel, output_rel, extra);
	if (stage == UPPERREL_GROUP_AGG && root->parse->hasAggs)
		split = result_of_aggregates(root);
	if (split < 0)
		return;

	input = input_rel->cheapest_total_path;
	output_rel->partial_pathlist = NIL;
	if (split == AGGSPLIT_SIMPLE)
	{
		path = separate ? NULL : eddy_batch_aggregate_path(output_rel, input, target);
		if (path)
		{
			output_rel->pathlist = list_make1(path);
			return;
		}
	}
	else
		target = partial_target(target);
	clause = eddy_compat_group_clause(root);
	if (root->parse->groupClause == NIL)
		strategy = AGG_PLAIN;
	else if (clause != NIL && grouping_is_hashable(clause))
		strategy = AGG_HASHED;
	else
	{
		strategy = AGG_SORTED;
		if (clause != NIL)
			input = (Path *) create_sort_path(root, output_rel, input, root->group_pathkeys, -1.0);
	}
	get_agg_clause_costs(root, split, &costs);
	path = (Path *) create_agg_path(root, output_rel, input, target, strategy, split, clause, NIL,
									&costs, EXPECTED_GROUPS);
	output_rel->pathlist = list_make1(path);
}

void
eddy_scan_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
	eddy_batch_aggregate_init();
	prev_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = set_rel_pathlist;
	prev_create_upper_paths = create_upper_paths_hook;
	create_upper_paths_hook = create_upper_paths;
}

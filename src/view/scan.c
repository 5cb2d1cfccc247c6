/*-------------------------------------------------------------------------
 *
 * scan.c
 *    Planning and running a view's SELECT over the rows of a batch.
 *
 * A batch's delta is the view's own SELECT, planned by PostgreSQL, with two
 * changes: the scan of the stream becomes a custom scan that hands out the
 * rows of the batch from memory, and the aggregates at the top stop at their
 * (serialized) transition states. WHERE, FILTER, lateral functions and joins
 * come from the executor unchanged.
 *
 * The changes are made by hooks, and only while the text of a delta query that
 * has been "armed" is planned: plan caches may plan again at any execution, and other
 * queries may be planned in between by functions that are folded or run.
 *
 * Locking: none beyond what planning takes. Memory: the scan state is the
 * executor's. Errors leave an armed entry behind that the transaction
 * callbacks of delta.c reset.
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
#include "optimizer/restrictinfo.h"
#include "utils/rel.h"

#include "view/refuse.h"
#include "view/scan.h"

/* Rows a plan should expect: a full batch. A plan is kept for all batches, small and large. */
#define EXPECTED_ROWS 10000

/*
 * The hash table of groups starts with room for these and grows as needed: the
 * same plan serves single-row INSERTs, for which setting up and walking a large
 * table would be most of the work.
 */
#define EXPECTED_GROUPS 64

typedef struct EddyBatchScanState
{
	CustomScanState css;
	EddyScanRange *range;
	int64		next;			/* row to look at next */
	TupleTableSlot *store_slot; /* for batches in a tuplestore */
} EddyBatchScanState;

static planner_hook_type prev_planner = NULL;
static set_rel_pathlist_hook_type prev_set_rel_pathlist = NULL;
static create_upper_paths_hook_type prev_create_upper_paths = NULL;

static EddyScanArmed *armed = NULL; /* innermost announced query */
static EddyScanArmed *planning = NULL;	/* the armed query that is being planned just now */
static Index stream_rti = 0;	/* its stream, in the range table of the query itself */

void
eddy_scan_arm(EddyScanArmed *entry, const char *sql, Oid stream, EddyScanRange *range)
{
	entry->sql = sql;
	entry->stream = stream;
	entry->range = range;
	entry->outer = armed;
	armed = entry;
	if (range)
		range->position = -1;
}

void
eddy_scan_disarm(EddyScanArmed *entry)
{
	armed = entry->outer;
}

void
eddy_scan_reset(void)
{
	armed = NULL;
	planning = NULL;
}

/* ---- execution ---- */

/* Gives the next row of the range, or an empty slot behind the last. */
static TupleTableSlot *
next_row(ScanState *node)
{
	EddyBatchScanState *state = (EddyBatchScanState *) node;
	EddyScanRange *range = state->range;
	EddyBatch  *batch = range->batch;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	int			natts = batch->natts;

	ExecClearTuple(slot);
	while (state->next < range->to)
	{
		int64		row = state->next++;
		bool		wanted = !(batch->rejected && batch->rejected[row]) &&
			!(range->skip && range->skip[row]);

		if (batch->store)
		{
			if (!tuplestore_gettupleslot(batch->store, true, false, state->store_slot))
				break;
			if (!wanted)
				continue;
			slot_getallattrs(state->store_slot);
			memcpy(slot->tts_values, state->store_slot->tts_values, sizeof(Datum) * natts);
			memcpy(slot->tts_isnull, state->store_slot->tts_isnull, sizeof(bool) * natts);
		}
		else
		{
			if (!wanted)
				continue;
			memcpy(slot->tts_values, batch->values + row * natts, sizeof(Datum) * natts);
			memcpy(slot->tts_isnull, batch->nulls + row * natts, sizeof(bool) * natts);
		}
		range->position = row;
		return ExecStoreVirtualTuple(slot);
	}
	return slot;
}

static bool
recheck_row(ScanState *node pg_attribute_unused(), TupleTableSlot *slot pg_attribute_unused())
{
	return true;				/* rows of a batch have no newer versions */
}

static void
rewind_scan(EddyBatchScanState *state)
{
	EddyScanRange *range = state->range;

	state->next = range->from;
	if (range->batch->store)
	{
		tuplestore_select_read_pointer(range->batch->store, 0);
		tuplestore_rescan(range->batch->store);
		if (range->from > 0)
			(void) tuplestore_skiptuples(range->batch->store, range->from, true);
	}
}

static void
begin_scan(CustomScanState *node, EState *estate pg_attribute_unused(),
		   int eflags pg_attribute_unused())
{
	EddyBatchScanState *state = (EddyBatchScanState *) node;

	if (armed == NULL || armed->range == NULL)
		elog(ERROR, "scan of a batch was started without a batch");
	state->range = armed->range;
	if (state->range->batch->store)
		state->store_slot = MakeSingleTupleTableSlot(state->range->batch->tupdesc,
													 &TTSOpsMinimalTuple);
	rewind_scan(state);
}

static TupleTableSlot *
exec_scan(CustomScanState *node)
{
	return ExecScan(&node->ss, next_row, recheck_row);
}

static void
end_scan(CustomScanState *node)
{
	EddyBatchScanState *state = (EddyBatchScanState *) node;

	if (state->store_slot)
		ExecDropSingleTupleTableSlot(state->store_slot);
	state->store_slot = NULL;
}

static void
rescan(CustomScanState *node)
{
	ExecScanReScan(&node->ss);
	rewind_scan((EddyBatchScanState *) node);
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

/* ---- planning ---- */

/* Quals of row-level security must run before any that could leak what they hide. */
static int
compare_security_levels(const ListCell *a, const ListCell *b)
{
	Index		left = lfirst_node(RestrictInfo, a)->security_level;
	Index		right = lfirst_node(RestrictInfo, b)->security_level;

	return left < right ? -1 : left > right;
}

static Plan *
plan_scan(PlannerInfo *root pg_attribute_unused(), RelOptInfo *rel, struct CustomPath *best_path,
		  List *tlist,
		  List *clauses, List *custom_plans pg_attribute_unused())
{
	CustomScan *scan = makeNode(CustomScan);

	list_sort(clauses, compare_security_levels);
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

/* Replaces all ways to scan the stream by the one over the batch. */
static void
set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	CustomPath *path;

	if (prev_set_rel_pathlist)
		prev_set_rel_pathlist(root, rel, rti, rte);
	if (planning == NULL || rte->rtekind != RTE_RELATION)
		return;
	if (root->parent_root != NULL ||
		(rti != stream_rti && !bms_is_member(stream_rti, rel->top_parent_relids)))
		eddy_refuse_hidden_relation(rte->relid, false);
	if (planning->range == NULL || rti != stream_rti || root->parent_root != NULL)
		return;

	path = makeNode(CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.param_info = get_baserel_parampathinfo(root, rel, rel->lateral_relids);
	path->path.rows = rel->rows = EXPECTED_ROWS;
	path->path.startup_cost = 0;
	path->path.total_cost = EXPECTED_ROWS * 0.001;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->methods = &path_methods;
	rel->consider_parallel = false;
	rel->partial_pathlist = NIL;
	rel->pathlist = NIL;
	add_path(rel, &path->path);
}

/* Leaves the aggregates of an armed query at their transition states. */
static void
create_upper_paths(PlannerInfo *root, UpperRelationKind stage, RelOptInfo *input_rel,
				   RelOptInfo *output_rel, void *extra)
{
	List	   *paths = NIL;
	ListCell   *lc;

	if (prev_create_upper_paths)
		prev_create_upper_paths(root, stage, input_rel, output_rel, extra);
	if (planning == NULL || stage != UPPERREL_GROUP_AGG || root->parent_root != NULL ||
		!root->parse->hasAggs)
		return;

	foreach(lc, output_rel->pathlist)
	{
		AggPath    *path = lfirst(lc);

		if (!IsA(path, AggPath) || path->aggsplit != AGGSPLIT_SIMPLE)
			continue;
		path->aggsplit = AGGSPLIT_INITIAL_SERIAL;
		path->numGroups = Min(path->numGroups, EXPECTED_GROUPS);
		paths = lappend(paths, path);
	}
	if (paths == NIL)
		elog(ERROR, "no plan with a single aggregation step was found");
	output_rel->pathlist = paths;

	/* the paths share their target, whose aggregates are all at the top level */
	foreach(lc, ((Path *) linitial(paths))->pathtarget->exprs)
	{
		Aggref	   *aggref = lfirst(lc);

		if (IsA(aggref, Aggref) && aggref->aggsplit == AGGSPLIT_SIMPLE)
			mark_partial_aggref(aggref, AGGSPLIT_INITIAL_SERIAL);
	}
}

/* Notices that an armed query is planned, and that others planned meanwhile are not meant. */
static PlannedStmt *
plan_query(Query *parse, const char *query_string, int cursorOptions, ParamListInfo boundParams)
{
	EddyScanArmed *outer = planning;
	Index		outer_rti = stream_rti;
	PlannedStmt *result;

	planning = (armed && query_string && strcmp(query_string, armed->sql) == 0) ? armed : NULL;
	PG_TRY();
	{
		if (planning)
			stream_rti = eddy_refuse_hidden_streams(parse);
		if (prev_planner)
			result = prev_planner(parse, query_string, cursorOptions, boundParams);
		else
			result = standard_planner(parse, query_string, cursorOptions, boundParams);
	}
	PG_FINALLY();
	{
		planning = outer;
		stream_rti = outer_rti;
	}
	PG_END_TRY();
	return result;
}

void
eddy_scan_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
	prev_planner = planner_hook;
	planner_hook = plan_query;
	prev_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = set_rel_pathlist;
	prev_create_upper_paths = create_upper_paths_hook;
	create_upper_paths_hook = create_upper_paths;
}

/*-------------------------------------------------------------------------
 *
 * chain.c
 *    Continuous views that read other continuous views, their parents, in the place of streams.
 *
 * A batch of such a view are the changes that the same transaction has made to the rows of its
 * parent (view/changes.h, apply/cascade.c). The delta query reads the main state table of the
 * parent, and a scan of that table returns the rows of the batch (scan.c); so nothing else of the
 * maintenance differs.
 *
 * The rows of some parents only appear: those of views without aggregates, and with emit =>
 * 'on_close', where a row appears when its window closes. For these a child is as over a stream.
 * The rows of all other parents change: a child has to take back what it has counted
 * (kind_retracting.c), which must be possible exactly, so its query may depend on nothing but the
 * row.
 *
 * Event time: a column of the parent is an event time if it is known until when all of its rows
 * have arrived. That is the end of the windows of the parent, which are closed in the order of
 * their ends; the start, if it follows from the end; and in a view without aggregates, a column
 * that is the event time of what that view reads. Only then do windows of the child close. Closing
 * goes from parents to children in one transaction, and the watermark of the child is what its
 * parent has really closed, not what it should have: so a child never closes a window before all
 * rows of it have arrived. A parent that other streams reach than the child closes in another
 * transaction: what it still has open counts.
 *
 * Several sources, views and streams, can be the branches of UNION ALL, as several streams can be
 * (union.c). If the rows of one of them change, the child is one that takes rows back; those of the
 * others are only added to it. Its windows close when those of all of its parents have closed.
 *
 * Which relations are the sources is decided by the definition alone: in each branch, the streams,
 * if it reads one; otherwise the continuous view in its FROM clause. Others are ordinary relations.
 *
 * Locking: a child is maintained after its parents, and its parents were locked before it, in each
 * transaction. Memory: the caller's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "view/chain.h"
#include "view/event_window.h"
#include "view/flatten.h"
#include "view/followers.h"
#include "view/kind.h"
#include "view/kind_panes.h"
#include "view/layer.h"
#include "view/maintain.h"
#include "view/refuse.h"
#include "view/session.h"
#include "view/view.h"

/* The mark, in a field that the server uses for ephemeral relations only. */
#define SOURCE_MARK "pg_eddy source"

/* ---- which relation is the source ---- */

bool
eddy_chain_is_source(const RangeTblEntry *rte)
{
	if (rte->rtekind != RTE_RELATION)
		return false;
	return (rte->enrname && strcmp(rte->enrname, SOURCE_MARK) == 0) ||
		eddy_catalog_get_stream(rte->relid) != NULL;
}

/* A query, and those around it, to which references to CTEs lead. */
typedef struct Scope
{
	Query	   *query;
	struct Scope *outer;
} Scope;

/*
 * What a relation of a FROM clause selects from: a sub-select or a CTE; NULL: it is something else.
 */
static Query *
query_behind(const RangeTblEntry *rte, Scope *scope, Scope **outer)
{
	ListCell   *lc;

	*outer = scope;
	if (rte->rtekind == RTE_SUBQUERY)
		return rte->subquery;
	if (rte->rtekind != RTE_CTE || rte->self_reference)
		return NULL;
	for (Index level = 0; *outer && level < rte->ctelevelsup; level++)
		*outer = (*outer)->outer;
	if (*outer == NULL)
		return NULL;
	foreach(lc, (*outer)->query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);

		if (strcmp(cte->ctename, rte->ctename) == 0)
			return cte->cterecursive ? NULL : castNode(Query, cte->ctequery);
	}
	return NULL;
}

/*
 * True if a relation of a FROM clause is a stream, or reads one in its own FROM clause, at any
 * depth.
 */
static bool
item_reads_stream(const RangeTblEntry *rte, Scope *scope)
{
	Scope		inner = {NULL, NULL};
	ListCell   *lc;

	check_stack_depth();
	if (rte->rtekind == RTE_RELATION)
		return eddy_catalog_get_stream(rte->relid) != NULL;
	inner.query = query_behind(rte, scope, &inner.outer);
	if (inner.query)
		foreach(lc, inner.query->rtable)
			if (item_reads_stream(lfirst_node(RangeTblEntry, lc), &inner))
				return true;
	return false;
}

/*
 * Marks the sources of a query among the continuous views in its FROM clause, at any depth: none
 * beside a stream. Each branch of a set operation is for itself.
 */
static void
mark_views(Query *query, Scope *outer)
{
	Scope		scope = {query, outer};
	bool		has_stream = false;
	ListCell   *lc;

	check_stack_depth();
	foreach(lc, query->rtable)
		has_stream |= item_reads_stream(lfirst_node(RangeTblEntry, lc), &scope);
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);
		Scope	   *around;
		Query	   *inner;

		if (has_stream && query->setOperations == NULL && !item_reads_stream(rte, &scope))
			continue;
		if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW && rte->inFromCl &&
			eddy_catalog_get_view(rte->relid))
			rte->enrname = pstrdup(SOURCE_MARK);
		inner = query_behind(rte, &scope, &around);
		if (inner)
			mark_views(inner, around);
	}
}

void
eddy_chain_mark_sources(Query *definition)
{
	mark_views(definition, NULL);
}

/* ---- the parent ---- */

bool
eddy_view_rows_appear(const EddyView *view)
{
	if (strcmp(view->kind, eddy_kind_append.name) == 0)
		return true;
	return strcmp(view->emit, "on_close") == 0 && eddy_view_lateness(view) == 0;
}

void
eddy_chain_analyze_source(EddyViewPlan *plan)
{
	EddyView   *parent = eddy_catalog_get_view(plan->stream);
	const char *name = get_rel_name(plan->stream);
	EddyLayers	layers;
	Query	   *definition;

	plan->parent = parent;
	if (parent == NULL)
		return;
	definition = eddy_plan_definition_query(parent->definition);
	if (definition == NULL)
		elog(ERROR, "continuous view \"%s\" has no definition", name);
	eddy_layer_split(&layers, copyObject(definition));
	if (layers.reader)
		eddy_refuse(psprintf("a continuous view cannot read continuous view \"%s\"", name),
					"A part of the query of that view, such as ORDER BY or a window function, is applied when it is read, so that the changes of its rows are not known.",
					"Create the other view without that part, and an ordinary view with the rest of its query.");
	if (strcmp(parent->maintenance, "deferred") == 0)
		eddy_refuse(psprintf("a continuous view cannot read continuous view \"%s\"", name),
					"It has maintenance => 'deferred', so that its rows change after the transactions that have inserted them.",
					"Create the other view with maintenance => 'immediate'.");
	if (strcmp(parent->kind, eddy_kind_panes.name) == 0 && strcmp(parent->emit, "on_close") != 0)
		eddy_refuse(psprintf("a continuous view cannot read continuous view \"%s\"", name),
					"Its many overlapping windows are computed when it is read, until they close.",
					"Create the other view with emit => 'on_close'.");
	if (parent->idle_ttl)
		eddy_refuse(psprintf("a continuous view cannot read continuous view \"%s\"", name),
					"It has an idle_ttl, so that its rows are removed by the clock, and a group that returns begins again.",
					"Create the other view without idle_ttl, and give this view one.");
}

void
eddy_chain_note_sources(EddyViewPlan *plan, List *sources)
{
	ListCell   *lc;

	plan->sources = sources;
	foreach(lc, sources)
	{
		const EddyView *view = eddy_catalog_get_view(lfirst_oid(lc));

		if (view == NULL)
			continue;
		plan->chained = true;
		if (!OidIsValid(plan->changing) && !eddy_view_rows_appear(view))
			plan->changing = view->relid;
	}
	plan->retracts = OidIsValid(plan->changing);
}

/* ---- queries over a parent whose rows change ---- */

const char *
eddy_chain_hint(const EddyViewPlan *plan, const char *hint)
{
	const EddyView *view = eddy_catalog_get_view(plan->changing);

	if (view == NULL || strcmp(view->emit, "on_close") != 0)
		return hint;
	return "Create the other view without allowed_lateness, and with late => 'drop' or 'keep', so that its rows only appear.";
}

static void
refuse_retraction(const EddyViewPlan *plan, const char *detail, const char *hint)
{
	eddy_refuse(psprintf("a continuous view cannot follow the changes of continuous view \"%s\"",
						 get_rel_name(plan->changing)), detail, eddy_chain_hint(plan, hint));
}

static bool
is_unsure_function(Oid funcid, void *context pg_attribute_unused())
{
	Oid			schema = get_func_namespace(funcid);

	/* of these, function.c accepts what depends on pinned settings alone */
	return schema != PG_CATALOG_NAMESPACE && schema != eddy_catalog_schema() &&
		func_volatile(funcid) != PROVOLATILE_IMMUTABLE;
}

static bool
check_retraction(Node *node, EddyViewPlan *plan)
{
	if (node == NULL)
		return false;
	if (eddy_session_is_call(node))
		refuse_retraction(plan, "A session cannot be divided when rows are taken back.",
						  "Use emit => 'on_close' for the other view.");
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION && !eddy_chain_is_source(rte))
			refuse_retraction(plan,
							  psprintf("When a row is taken back, the rows of \"%s\" that it was joined with may have changed.",
									   get_rel_name(rte->relid)),
							  "Join with the table in the other view, or when reading, or use emit => 'on_close' for the other view.");
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, check_retraction, plan,
								 QTW_EXAMINE_RTES_BEFORE);
	if (check_functions_in_node(node, is_unsure_function, NULL))
		refuse_retraction(plan,
						  "A function that is not immutable can have another result when a row is taken back.",
						  "Declare the function IMMUTABLE if that is true, or use emit => 'on_close' for the other view.");
	return expression_tree_walker(node, check_retraction, plan);
}

void
eddy_chain_check_query(EddyViewPlan *plan, Query *query)
{
	if (plan->combines && plan->kind != &eddy_kind_combining && plan->kind != &eddy_kind_collected)
		eddy_refuse("eddy.combine is not possible here",
					"Sessions cannot combine what another view keeps.", NULL);
	if (!plan->retracts)
		return;
	/* rows of a source that only appear are not taken back, and may depend on anything */
	if (plan->parent && !eddy_view_rows_appear(plan->parent))
		(void) query_tree_walker(query, check_retraction, plan, QTW_EXAMINE_RTES_BEFORE);
	if (plan->kind != &eddy_kind_retracting)
		refuse_retraction(plan, query->distinctClause ?
						  "The row that follows a first one of a key would have to be found when that is taken back." :
						  "Rows without a group cannot be found again when they change.",
						  query->distinctClause ?
						  "Use DISTINCT ON in the other view, or group the rows." :
						  "Create an ordinary view over the other view, or use emit => 'on_close' for it.");
}

/* ---- the delta query ---- */

typedef struct WholeRowContext
{
	Index		rti;
	int			depth;
	Oid			parent;
	int			natts;			/* of the parent */
} WholeRowContext;

/* Replaces references to whole rows of the parent by row constructors. */
static Node *
expand_whole_rows(Node *node, WholeRowContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		RowExpr    *row;

		if (var->varno != (int) context->rti || var->varlevelsup != (Index) context->depth ||
			var->varattno != InvalidAttrNumber)
			return (Node *) copyObject(var);
		row = makeNode(RowExpr);
		row->row_typeid = get_rel_type_id(context->parent);
		row->row_format = COERCE_IMPLICIT_CAST;
		row->location = -1;
		for (AttrNumber attno = 1; attno <= context->natts; attno++)
		{
			Oid			type;
			int32		typmod;
			Oid			collation;

			get_atttypetypmodcoll(context->parent, attno, &type, &typmod, &collation);
			row->args = lappend(row->args, makeVar(var->varno, attno, type, typmod, collation,
												   var->varlevelsup));
			row->colnames = lappend(row->colnames,
									makeString(get_attname(context->parent, attno, false)));
		}
		return (Node *) row;
	}
	if (IsA(node, Query))
	{
		Query	   *query;

		context->depth++;
		query = query_tree_mutator((Query *) node, expand_whole_rows, context, 0);
		context->depth--;
		return (Node *) query;
	}
	return expression_tree_mutator(node, expand_whole_rows, context);
}

Node *
eddy_chain_map(const EddyViewPlan *plan, Node *node)
{
	const EddyView *parent = plan->parent;
	WholeRowContext context = {plan->stream_rti, 0, plan->stream, parent ? parent->ncolumns : 0};
	AttrMap    *map;
	bool		found_whole_row;

	if (parent == NULL || node == NULL)
		return node;
	if (IsA(node, Query))
		node = (Node *) query_tree_mutator((Query *) node, expand_whole_rows, &context, 0);
	else
		node = expand_whole_rows(node, &context);
	map = make_attrmap(parent->ncolumns + plan->nparent_columns);
	for (int i = 0; i < parent->ncolumns; i++)
		map->attnums[i] = parent->columns[i];
	/* columns of the state table itself */
	for (int i = 0; i < plan->nparent_columns; i++)
		map->attnums[parent->ncolumns + i] = i + 1;
	node = map_variable_attnos(node, plan->stream_rti, 0, map, InvalidOid, &found_whole_row);
	Assert(!found_whole_row);
	return node;
}

Query *
eddy_chain_read_state(EddyViewPlan *plan, Query *delta)
{
	RangeTblEntry *rte = rt_fetch(plan->stream_rti, delta->rtable);

	if (plan->parent == NULL)
		return delta;
	plan->source_columns = eddy_compat_selected_columns(delta, rte);
	delta = castNode(Query, eddy_chain_map(plan, (Node *) delta));
	eddy_compat_read_table(delta, rt_fetch(plan->stream_rti, delta->rtable),
						   plan->parent->state_table);
	return delta;
}

void
eddy_chain_check_privileges(const EddyViewPlan *plan)
{
	int			column = -1;
	AclResult	result = ACLCHECK_OK;

	if (plan->parent == NULL ||
		pg_class_aclcheck(plan->stream, plan->owner, ACL_SELECT) == ACLCHECK_OK)
		return;
	if (bms_is_empty(plan->source_columns))
		result = pg_attribute_aclcheck_all(plan->stream, plan->owner, ACL_SELECT, ACLMASK_ANY);
	while (result == ACLCHECK_OK && (column = bms_next_member(plan->source_columns, column)) >= 0)
	{
		AttrNumber	attno = column + FirstLowInvalidHeapAttributeNumber;

		result = attno == InvalidAttrNumber ?
			pg_attribute_aclcheck_all(plan->stream, plan->owner, ACL_SELECT, ACLMASK_ALL) :
			pg_attribute_aclcheck(plan->stream, attno, plan->owner, ACL_SELECT);
	}
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_VIEW, get_rel_name(plan->stream));
}

/* Orders views by level and Oid, as all lock them. */
static int
compare_ancestors(const ListCell *a, const ListCell *b)
{
	int			left = eddy_catalog_member(lfirst_oid(a)).level;
	int			right = eddy_catalog_member(lfirst_oid(b)).level;

	return left != right ? left - right : list_oid_cmp(a, b);
}

void
eddy_chain_lock_queries(List *views)
{
	List	   *sorted = list_copy(views);

	/* a view before those that it reads, as where it is locked alone first */
	list_sort(sorted, compare_ancestors);
	for (int i = list_length(sorted) - 1; i >= 0; i--)
		eddy_view_lock_query(list_nth_oid(sorted, i));
	list_free(sorted);
}

void
eddy_chain_lock_sources(List *sources)
{
	List	   *parents = eddy_catalog_ancestors(sources);
	List	   *streams = NIL;
	ListCell   *lc;

	/* their queries are not being replaced */
	eddy_chain_lock_queries(parents);
	foreach(lc, sources)
		streams = list_concat_unique_oid(streams, eddy_catalog_root_streams(lfirst_oid(lc)));
	list_sort(streams, list_oid_cmp);
	eddy_view_lock_streams(streams);
	/* users can delete rows without a lock on the stream */
	list_sort(parents, compare_ancestors);
	foreach(lc, parents)
	{
		const EddyView *view = eddy_catalog_get_view(lfirst_oid(lc));

		if (view)
			LockRelationOid(view->state_table, ShareRowExclusiveLock);
	}
}

/* ---- event time ---- */

/* A view whose windows must be closed before all rows until a time have arrived. */
struct EddyEventView
{
	Oid			view;
	bool		updates;		/* and then accept late rows for a while */
	Expr	   *start;			/* over Param 1, the end of closing: the start of the first open window; NULL: that */
};

/* What the arrival of rows by a column of a source depends on. */
typedef struct EventTime
{
	bool		known;
	List	   *views;			/* of EddyEventView; NIL: the watermark of the streams alone */
} EventTime;

/* A Param for the time of which the first open window is to be found. */
static Expr *
make_time_param(Oid type)
{
	Param	   *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = 1;
	param->paramtype = type;
	param->paramtypmod = -1;
	param->location = -1;
	return (Expr *) param;
}

/*
 * The start of the window that contains a time, if the windows of a view follow each other, and all
 * are of one size. All windows that end later begin there, or later.
 */
static Expr *
make_start(const EddyViewPlan *plan, const Query *query)
{
	const Var  *end = (const Var *) plan->keys[0].expr;
	const RangeTblFunction *function;
	const FuncExpr *call;
	HeapTuple	tuple;
	List	   *args;
	Oid			types[FUNC_MAX_ARGS];
	Oid			funcid;
	ListCell   *lc;

	if (!IsA(end, Var))
		return NULL;
	function = linitial_node(RangeTblFunction, rt_fetch(end->varno, query->rtable)->functions);
	call = castNode(FuncExpr, (FuncExpr *) function->funcexpr);
	if (strcmp(get_func_name(call->funcid), "tumble") != 0)
		return NULL;
	/* with the defaults */
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", call->funcid);
	args = expand_function_arguments(copyObject(call->args), false, call->funcresulttype, tuple);
	ReleaseSysCache(tuple);
	args = list_copy_tail(args, 1);
	if (contain_var_clause((Node *) args))
		return NULL;
	args = lcons(make_time_param(exprType(linitial(call->args))), args);
	foreach(lc, args)
		types[foreach_current_index(lc)] = exprType(lfirst(lc));
	funcid = LookupFuncName(list_make2(makeString(EDDY_SCHEMA), makeString("_window_start")),
							list_length(args), types, true);
	if (!OidIsValid(funcid))
		return NULL;
	return (Expr *) makeFuncExpr(funcid, types[0], args, InvalidOid, InvalidOid,
								 COERCE_EXPLICIT_CALL);
}

static EventTime find_event_time(Oid source, AttrNumber column);

/* The same for rows that a view passes on: it depends on all of its sources. */
static EventTime
find_passed_event_time(const EddyViewPlan *plan, int output)
{
	EventTime	result = {false, NIL};
	const EddyViewPlan *part = plan;
	ListCell   *next = list_head(plan->others);

	for (;;)
	{
		AttrNumber	column = part->outputs[output].stream_column;
		EventTime	event = {false, NIL};

		if (column > 0)
			event = find_event_time(part->stream, column);
		if (!event.known)
			return event;
		result.known = true;
		result.views = list_concat(result.views, event.views);
		if (next == NULL)
			return result;
		part = lfirst(next);
		next = lnext(plan->others, next);
	}
}

/* The same for a view. */
static EventTime
find_event_time_of_view(const EddyView *view, AttrNumber column)
{
	EventTime	result = {false, NIL};
	EddyEventView *event;
	EddyViewPlan *plan;
	int			output = -1;
	const EddyKey *key;

	/* of the main state table */
	if (column > view->ncolumns || view->columns[column - 1] <= 0)
		return result;
	plan = eddy_plan_get(view->relid);
	if (plan == NULL)
		return result;
	for (int i = 0; i < plan->noutputs; i++)
		if (plan->outputs[i].column == view->columns[column - 1])
			output = i;
	if (output < 0)
		return result;
	if (plan->kind == &eddy_kind_append)
		return find_passed_event_time(plan, output);
	if (!plan->windowed || plan->outputs[output].kind != EDDY_OUTPUT_KEY)
		return result;
	/* none of its windows is ever complete */
	if (plan->lateness == EDDY_LATENESS_UNLIMITED)
		return result;
	event = palloc0(sizeof(EddyEventView));
	event->view = view->relid;
	event->updates = plan->lateness > 0;
	key = &plan->keys[plan->outputs[output].index];
	if (plan->outputs[output].index == 0)
		result.known = true;
	else if (IsA(key->expr, Var) && IsA(plan->keys[0].expr, Var) &&
			 ((Var *) key->expr)->varno == ((Var *) plan->keys[0].expr)->varno &&
			 ((Var *) key->expr)->varattno == EDDY_WINDOW_START)
	{
		/* the plan may be made again before this is used */
		event->start = copyObject(plan->window_start);
		result.known = event->start != NULL;
	}
	result.views = list_make1(event);
	return result;
}

static EventTime
find_event_time(Oid source, AttrNumber column)
{
	EventTime	result = {false, NIL};
	EddyStream *stream = eddy_catalog_get_stream(source);
	EddyView   *view;

	if (stream)
		result.known = stream->event_time && get_attnum(source, stream->event_time) == column;
	else if ((view = eddy_catalog_get_view(source)) != NULL)
		result = find_event_time_of_view(view, column);
	return result;
}

bool
eddy_chain_is_event_time(Oid source, AttrNumber column)
{
	return column > 0 && find_event_time(source, column).known;
}

void
eddy_chain_set_event_time(EddyViewPlan *plan, Query *query)
{
	AttrNumber	column;
	EventTime	event;

	if (!plan->windowed)
		return;
	plan->window_start = make_start(plan, query);
	if (plan->parent == NULL)
		return;
	column = eddy_event_window_column(query, plan->stream_rti, (Node *) plan->keys[0].expr);
	event = find_event_time(plan->stream, column);
	if (!event.known)
		elog(ERROR, "continuous view \"%s\" has no event time", get_rel_name(plan->stream));
	plan->event_views = event.views;
}

/* The start of the first window that is open after others were closed until a time. */
static TimestampTz
first_open(const Expr *start, TimestampTz closed_until)
{
	EState	   *estate;
	ParamListInfo params;
	ExprState  *state;
	bool		isnull;
	TimestampTz result;

	if (TIMESTAMP_NOT_FINITE(closed_until))
		return closed_until;
	estate = CreateExecutorState();
	params = makeParamList(1);
	params->params[0].value = TimestampTzGetDatum(closed_until);
	params->params[0].isnull = false;
	params->params[0].pflags = 0;
	params->params[0].ptype = exprType((const Node *) start);
	estate->es_param_list_info = params;
	state = ExecPrepareExpr(copyObject(unconstify(Expr *, start)), estate);
	result = DatumGetTimestampTz(ExecEvalExprSwitchContext(state, GetPerTupleExprContext(estate),
														   &isnull));
	FreeExecutorState(estate);
	return isnull ? DT_NOBEGIN : result;
}

/* True if the windows of a view close in the same step as those of a plan, before them. */
static bool
closes_with(Oid view, const EddyViewPlan *plan)
{
	return list_member_oid(eddy_followers_of(plan->streams, -1), view);
}

/* What closing by a watermark leaves settled of a view, if its parents are. */
static TimestampTz
settled_by(const EddyViewPlan *plan, TimestampTz watermark)
{
	TimestampTz until = eddy_chain_watermark(plan, watermark, EDDY_CHAIN_EXPECT);

	return eddy_view_earlier(plan->kind->includes_end ? eddy_view_earlier(until, 1) : until,
							 plan->lateness);
}

/*
 * The last watermark, at most the given one, by which a view and those that it follows have nothing
 * left to close.
 */
static TimestampTz
find_undisturbed(EddyViewPlan *plan, TimestampTz watermark)
{
	TimestampTz due;
	ListCell   *lc;

	check_stack_depth();
	eddy_plan_pin(plan);
	due = eddy_view_next_due(plan);
	if (due <= watermark)
		watermark = eddy_view_earlier(due, 1);
	foreach(lc, plan->event_views)
	{
		EddyViewPlan *parent = eddy_maintain_lock_view(((EddyEventView *) lfirst(lc))->view, false);

		watermark = parent ? find_undisturbed(parent, watermark) : DT_NOBEGIN;
	}
	eddy_plan_unpin(plan);
	return watermark;
}

/*
 * The same for a view that closes in another step, because other streams reach it. It closes by the
 * watermark of these, and what it has closed says nothing where it had no windows, or while its
 * streams are idle: then it has what is still open, and other rows will be late.
 */
static TimestampTz
settled_before(Oid view, TimestampTz watermark)
{
	EddyViewPlan *plan = eddy_maintain_lock_view(view, false);

	return plan ? settled_by(plan, find_undisturbed(plan, watermark)) : DT_NOBEGIN;
}

/* Until when no row of a window of the view changes any more. */
static TimestampTz
settled_until(const EddyEventView *event, TimestampTz watermark, const EddyViewPlan *child,
			  EddyChainUse use)
{
	EddyViewProgress *progress;

	if (use != EDDY_CHAIN_JUDGE &&
		!equal(eddy_catalog_member(event->view).streams, child->streams))
		return settled_before(event->view, watermark);
	/* a suspended parent closes nothing */
	if (use == EDDY_CHAIN_EXPECT && eddy_plan_ready(event->view) && closes_with(event->view, child))
		return settled_by(eddy_plan_get(event->view), watermark);
	/* the caller keeps others from closing; an old snapshot would show less than was closed */
	PushActiveSnapshot(GetLatestSnapshot());
	progress = eddy_catalog_get_view_progress(event->view);
	PopActiveSnapshot();
	if (progress == NULL)
		return DT_NOBEGIN;
	return event->updates ? progress->forgotten_until : progress->closed_until;
}

TimestampTz
eddy_chain_watermark(const EddyViewPlan *plan, TimestampTz watermark, EddyChainUse use)
{
	TimestampTz least = watermark;
	ListCell   *lc;

	foreach(lc, plan->event_views)
	{
		const EddyEventView *event = lfirst(lc);
		TimestampTz until = settled_until(event, watermark, plan, use);

		least = Min(least, event->start ? first_open(event->start, until) : until);
	}
	return least;
}

/*-------------------------------------------------------------------------
 *
 * define.c
 *    Creates continuous views.
 *
 * A continuous view consists of the definition, a view with the user's query; the state tables; and
 * the public view, which users read, an ordinary view of the main state table. Definition and state
 * tables are in schema eddy and owned by the owner of the extension (objects.c). The definition and
 * the public view are created with the privileges of the user alone; the definition is then moved
 * and changes its owner.
 *
 * Locking: ShareRowExclusiveLock on the streams, in the order of their Oids, which conflicts with
 * writers, so that a view begins between two batches. Memory: the caller's context. All of it is
 * one transaction: creation is atomic.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "commands/view.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "interval.h"
#include "owner.h"
#include "view/analyze.h"
#include "view/chain.h"
#include "view/define.h"
#include "view/event_window.h"
#include "view/kind.h"
#include "view/kind_deferred.h"
#include "view/layer.h"
#include "view/name.h"
#include "view/session.h"
#include "view/state_table.h"
#include "view/view.h"
#include "view/window.h"

/* The trigger on a public view, see eddy_define_set_delete_trigger. */
#define INSTEAD_OF_DELETE_TRIGGER "pg_eddy_delete"

/* eddy_define_execute executes an SQL command; SPI is connected. */
void
eddy_define_execute(const char *sql)
{
	int			rc = SPI_execute(sql, false, 0);

	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
}

/* ---- the definition ---- */

/*
 * eddy_view_point_into_query is a callback for errors, whose argument is a query: makes the
 * position of an error refer to it, not to the call of the function.
 */
void
eddy_view_point_into_query(void *arg)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery((const char *) arg);
	}
}

/*
 * eddy_view_parse_select parses the text of a query, which must be a single SELECT; what: its name.
 */
RawStmt *
eddy_view_parse_select(const char *query, const char *what)
{
	List	   *statements = pg_parse_query(query);
	RawStmt    *raw;

	if (list_length(statements) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("%s must be a single SELECT", what),
				 errdetail("It has %d statements.", list_length(statements))));
	raw = linitial_node(RawStmt, statements);
	if (!IsA(raw->stmt, SelectStmt) || ((SelectStmt *) raw->stmt)->intoClause)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("%s must be a single SELECT", what)));
	return raw;
}

/*
 * Creates the definition as a view under the user's name for the continuous view, which checks
 * name, privileges and query as CREATE VIEW does, then moves it into schema eddy and makes the
 * owner of the extension its owner.
 */
Oid
eddy_define_definition(RangeVar *name, const char *query)
{
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = eddy_view_point_into_query,
		.arg = unconstify(char *, query)
	};
	RawStmt    *raw;
	ViewStmt   *stmt = makeNode(ViewStmt);
	ObjectAddress address;
	ObjectAddresses *moved;
	Relation	rel;
	char	   *hidden_name;

	error_context_stack = &callback;
	raw = eddy_view_parse_select(query, "the query of a continuous view");
	stmt->view = copyObject(name);
	stmt->query = raw->stmt;
	stmt->withCheckOption = NO_CHECK_OPTION;
	/* queries on the definition have the privileges of their user, not of its later owner */
	stmt->options = list_make1(makeDefElem("security_invoker", (Node *) makeString("true"), -1));
	address = DefineView(stmt, query, raw->stmt_location, raw->stmt_len);
	error_context_stack = callback.previous;
	CommandCounterIncrement();

	hidden_name = eddy_name_choose(psprintf("_%s", name->relname), NULL, "def",
								   eddy_catalog_schema());
	RenameRelationInternal(address.objectId, hidden_name, true, false);
	CommandCounterIncrement();
	rel = relation_open(address.objectId, AccessExclusiveLock);
	moved = new_object_addresses();
	AlterTableNamespaceInternal(rel, RelationGetNamespace(rel), eddy_catalog_schema(), moved);
	free_object_addresses(moved);
	relation_close(rel, NoLock);
	CommandCounterIncrement();
	eddy_view_seize(address.objectId);
	return address.objectId;
}

/* ---- the public view ---- */

/* The names of the columns of a table of deltas that are the key of the group, with a prefix. */
static char *
list_delta_keys(const EddyViewPlan *plan, const char *prefix)
{
	const EddyStateTable *deltas = eddy_deferred_deltas(plan);
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < eddy_deferred_nkeys(plan); i++)
		appendStringInfo(&names, "%s%s%s", i > 0 ? ", " : "", prefix,
						 eddy_state_table_column_name(deltas, deltas->keys[i].column));
	return names.data;
}

/*
 * The condition for rows of the main table, s, whose group has no deltas. As long as there are none
 * at all, the function is not called.
 */
static void
append_not_deferred(StringInfo sql, const EddyViewPlan *plan)
{
	const EddyStateTable *state = eddy_plan_main_table(plan);
	const EddyStateTable *deltas = eddy_deferred_deltas(plan);
	const char *table = quote_qualified_identifier(EDDY_SCHEMA, get_rel_name(deltas->relid));

	appendStringInfo(sql, "((SELECT d.id FROM %s AS d LIMIT 1) IS NULL OR NOT "
					 "%s._is_deferred(%s::pg_catalog.regclass,"
					 " (SELECT ROW(d.ctid, d.id) FROM %s AS d LIMIT 1)",
					 table, EDDY_SCHEMA, quote_literal_cstr(table), table);
	for (int i = 0; i < state->nkeys; i++)
		appendStringInfo(sql, ", s.%s", eddy_state_table_column_name(state, state->keys[i].column));
	appendStringInfoString(sql, "))");
}

/* The query for groups that have deltas. */
static void
append_deferred_groups(StringInfo sql, const EddyViewPlan *plan)
{
	const EddyStateTable *state = eddy_plan_main_table(plan);
	const EddyStateTable *deltas = eddy_deferred_deltas(plan);
	const char *table = quote_qualified_identifier(EDDY_SCHEMA, get_rel_name(deltas->relid));
	char	   *keys = list_delta_keys(plan, "d.");

	appendStringInfoString(sql, " UNION ALL SELECT ");
	for (int i = 0; i < plan->noutputs; i++)
	{
		const EddyOutput *output = &plan->outputs[i];

		/* conditions on keys select the deltas that are read */
		appendStringInfo(sql, "%s%s.%s", i > 0 ? ", " : "",
						 output->kind == EDDY_OUTPUT_KEY ? "k" : "w",
						 output->kind == EDDY_OUTPUT_KEY ?
						 eddy_state_table_column_name(deltas, deltas->keys[output->index].column) :
						 eddy_state_table_column_name(state, output->column));
	}
	appendStringInfo(sql, " FROM (SELECT DISTINCT ON (%s) %s, d.ctid AS place, d.id FROM %s AS d) AS k,"
					 " LATERAL %s._deferred_group(%s::pg_catalog.regclass, k.place, k.id) AS w (",
					 keys, keys, table, EDDY_SCHEMA, quote_literal_cstr(table));
	for (int i = 0; i < plan->noutputs; i++)
	{
		if (i > 0)
			appendStringInfoString(sql, ", ");
		eddy_state_table_append_column(sql, &state->columns[plan->outputs[i].column - 1]);
	}
	appendStringInfoChar(sql, ')');
}

/* A query for the rows of the main state table that are rows of what is maintained. */
char *
eddy_define_rows_query(const EddyViewPlan *plan)
{
	const EddyStateTable *table = eddy_plan_main_table(plan);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	for (int i = 0; i < plan->noutputs; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
						 eddy_state_table_column_name(table, plan->outputs[i].column));
	appendStringInfo(&sql, " FROM %s",
					 quote_qualified_identifier(EDDY_SCHEMA, get_rel_name(table->relid)));
	if (eddy_deferred_is_shown(plan))
		appendStringInfoString(&sql, " AS s");
	if (plan->visible_column)
		appendStringInfo(&sql, " WHERE %s", eddy_state_table_column_name(table, plan->visible_column));
	if (eddy_deferred_is_shown(plan))
	{
		appendStringInfoString(&sql, plan->visible_column ? " AND " : " WHERE ");
		append_not_deferred(&sql, plan);
		append_deferred_groups(&sql, plan);
	}
	if (plan->kind->append_reader)
		plan->kind->append_reader(plan, &sql);
	return sql.data;
}

/* A query with the columns of the reader, as a placeholder. */
char *
eddy_define_empty_query(const Query *reader)
{
	StringInfoData sql;
	const char *separator = "";
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	foreach(lc, reader->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Oid			type = exprType((Node *) tle->expr);
		Oid			collation = exprCollation((Node *) tle->expr);

		if (tle->resjunk)
			continue;
		appendStringInfo(&sql, "%sNULL::%s", separator,
						 format_type_extended(type, exprTypmod((Node *) tle->expr),
											  FORMAT_TYPE_TYPEMOD_GIVEN |
											  FORMAT_TYPE_FORCE_QUALIFY));
		if (OidIsValid(collation))
			appendStringInfo(&sql, " COLLATE %s", generate_collation_name(collation));
		appendStringInfo(&sql, " AS %s", quote_identifier(tle->resname));
		separator = ", ";
	}
	return sql.data;
}

/*
 * eddy_define_refuse_rename raises the error of a command that another object has got: commands and
 * queries that are made here name schemas, which no lock keeps from being renamed.
 */
void
eddy_define_refuse_rename(Oid view)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("names in the definition of continuous view \"%s\" were changed concurrently",
					get_rel_name(view)),
			 errdetail("A schema or type was renamed or moved."),
			 errhint("Repeat the command.")));
}

/* The query of a view has the types of its columns, which were created by their names. */
static void
check_types(Oid view, const Query *query)
{
	Relation	rel = relation_open(view, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);
	TupleDesc	result = ExecCleanTypeFromTL(query->targetList);
	bool		fits = desc->natts == result->natts;

	for (int i = 0; fits && i < desc->natts; i++)
		fits = TupleDescAttr(desc, i)->atttypid == TupleDescAttr(result, i)->atttypid;
	relation_close(rel, NoLock);
	if (!fits)
		eddy_define_refuse_rename(view);
}

/* Replaces the query of the view by the reader over the rows of the state table. */
void
eddy_define_store_reader(Oid view, EddyLayers *layers, const char *rows_query)
{
	RawStmt    *raw = linitial_node(RawStmt, pg_parse_query(rows_query));
	Query	   *rows = parse_analyze_fixedparams(raw, rows_query, NULL, 0, NULL);
	Query	   *query = eddy_layer_make_view(layers, rows);

	check_types(view, query);
	StoreViewQuery(view, query, true);
	CommandCounterIncrement();
}

/*
 * eddy_define_set_delete_trigger lets users delete rows of the public view by a trigger where the
 * server cannot delete through the view, although each row of it is that of a group; elsewhere it
 * removes the trigger.
 */
void
eddy_define_set_delete_trigger(Oid view, const EddyViewPlan *plan, const EddyLayers *layers)
{
	const char *qualified = quote_qualified_identifier(get_namespace_name(get_rel_namespace(view)),
													   get_rel_name(view));
	bool		needed = eddy_deferred_is_shown(plan) && eddy_layer_is_updatable(layers);
	EddyOwnerSwitch save;

	if (OidIsValid(get_trigger_oid(view, INSTEAD_OF_DELETE_TRIGGER, true)) == needed)
		return;
	/* the function can be used by no other role */
	eddy_owner_become(&save, eddy_catalog_extension_owner());
	SPI_connect();
	eddy_define_execute(needed ? psprintf("CREATE TRIGGER " INSTEAD_OF_DELETE_TRIGGER " INSTEAD OF DELETE ON %s"
							  " FOR EACH ROW EXECUTE FUNCTION %s._delete_group()",
							  qualified, EDDY_SCHEMA) :
			psprintf("DROP TRIGGER " INSTEAD_OF_DELETE_TRIGGER " ON %s", qualified));
	SPI_finish();
	eddy_owner_end(&save);
	CommandCounterIncrement();
	if (OidIsValid(get_trigger_oid(view, INSTEAD_OF_DELETE_TRIGGER, true)) != needed)
		eddy_define_refuse_rename(view);
}

/* True if a relation was created by the current transaction. */
static bool
is_new(Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	bool		created = rel->rd_createSubid != InvalidSubTransactionId;

	relation_close(rel, AccessShareLock);
	return created;
}

/* A simple view over the main state table, or what the definition does with its rows. */
static Oid
create_public_view(const EddyViewPlan *plan, EddyLayers *layers, Oid schema, const char *name)
{
	char	   *rows_query = eddy_define_rows_query(plan);
	Oid			relid;

	SPI_connect();
	eddy_define_execute(psprintf("CREATE VIEW %s AS %s",
					 quote_qualified_identifier(get_namespace_name(schema), name),
					 layers->reader ? eddy_define_empty_query(layers->reader) : rows_query));
	SPI_finish();
	CommandCounterIncrement();
	relid = get_relname_relid(name, schema);
	/* the command has named the schema, and another session may have renamed it */
	if (!OidIsValid(relid) || !is_new(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot create continuous view \"%s\"", name),
				 errdetail("Its schema was renamed concurrently."),
				 errhint("Repeat the command.")));
	if (layers->reader)
		eddy_define_store_reader(relid, layers, rows_query);
	eddy_define_set_delete_trigger(relid, plan, layers);
	return relid;
}

/* ---- labels for the output plugin ---- */

/*
 * Labels the state tables of the view that has this ID: the plugin sends the changes of the main
 * one and of no other.
 */
void
eddy_define_label_tables(const EddyView *view, const EddyViewPlan *layout, const char *id)
{
	EddyTableLabel main_table = {
		.role = EDDY_TABLE_ROWS,
		.ncolumns = view->ncolumns,
		.columns = view->columns,
		.nkeys = view->nkeys,
		.keys = view->key_columns,
		.visible = view->visible_column,
		.final = view->final_column,
		.end = layout->windowed ? layout->keys[0].column :
			eddy_plan_main_table(layout)->touched.column
	};
	EddyTableLabel other = {.role = EDDY_TABLE_AUXILIARY};
	ListCell   *lc;

	foreach(lc, view->state_tables)
		eddy_view_label_table(id, lfirst_oid(lc),
							  lfirst_oid(lc) == view->state_table ? &main_table : &other);
}

/* ---- creation ---- */

static bool
exists_already(RangeVar *name, Oid schema, bool if_not_exists, Oid *relid)
{
	*relid = get_relname_relid(name->relname, schema);
	if (!OidIsValid(*relid))
		return false;
	if (!if_not_exists || eddy_catalog_get_view(*relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", name->relname),
				 eddy_catalog_get_view(*relid) ?
				 errhint("Use eddy.replace_continuous_view to replace the query of a continuous view.") : 0));
	ereport(NOTICE,
			(errcode(ERRCODE_DUPLICATE_TABLE),
			 errmsg("continuous view \"%s\" already exists, skipping", name->relname)));
	return true;
}

/* Copies to the catalog row what it records of the layout. */
void
eddy_define_describe(EddyView *row, const EddyViewPlan *layout, const EddyLayers *layers)
{
	row->kind = pstrdup(layout->kind->name);
	row->state_table = linitial_oid(row->state_tables);
	if (layers->reader)
		row->columns = eddy_layer_find_columns(layers, &row->ncolumns);
	else
	{
		row->ncolumns = layout->noutputs;
		row->columns = palloc(sizeof(AttrNumber) * Max(layout->noutputs, 1));
		for (int i = 0; i < layout->noutputs; i++)
			row->columns[i] = i + 1;
	}
	for (int i = 0; i < row->ncolumns; i++)
		if (row->columns[i] > 0)
			row->columns[i] = layout->outputs[row->columns[i] - 1].column;
	/* in the order of GROUP BY, without what was added to it */
	row->key_columns = palloc(sizeof(AttrNumber) * Max(layout->nkeys, 1));
	row->nkeys = 0;
	for (int position = 0; position < layout->nkeys; position++)
		for (int i = 0; i < layout->nkeys; i++)
			if (layout->keys[i].position == position && !layout->keys[i].dependent)
				row->key_columns[row->nkeys++] = layout->keys[i].column;
	if (layout->row_column)
		row->key_columns[row->nkeys++] = layout->row_column;
	row->visible_column = layout->visible_column;
	row->final_column = layout->final_column;
}

static void
set_options(EddyView *row, const EddyViewOptions *options)
{
	row->emit = pstrdup(options->emit);
	row->late = pstrdup(options->late);
	row->allowed_lateness = options->allowed_lateness;
	row->retention = options->retention;
	row->idle_ttl = options->idle_ttl;
	row->start = pstrdup(options->start);
	row->maintenance = pstrdup(options->maintenance);
	row->on_error = pstrdup(options->on_error);
}

/* Raises an error if an option does not fit the windows or keys of the query. */
static void
check_clock_options(const EddyViewPlan *layout)
{
	if (layout->idle_ttl == 0)
		return;
	if (layout->retracts)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("argument \"idle_ttl\" is not supported for a continuous view over changing rows of another one"),
				 errdetail("It takes back what it has counted, which must not be forgotten."),
				 errhint("Read a continuous view with emit => 'on_close', or the stream.")));
	if (layout->windowed || layout->session)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("argument \"idle_ttl\" is not supported for a continuous view whose windows close"),
				 errhint("Use argument \"retention\" to remove groups of windows that have closed.")));
	if ((layout->nkeys == 0 && layout->row_column == 0) || layout->empty_sets != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("argument \"idle_ttl\" requires a continuous view with keys"),
				 errdetail("Without GROUP BY, and for a grouping set without columns, the view always has a row.")));
}

/* Why a view has no windows that close. */
static const char *
get_missing_window(const EddyViewPlan *layout, Query *definition)
{
	ListCell   *lc;

	if (layout->others == NIL)
		return eddy_event_window_missing(eddy_analyze_flatten(definition, layout->stream),
										 layout->stream_rti);
	foreach(lc, layout->streams)
	{
		const EddyStream *stream = eddy_catalog_get_stream(lfirst_oid(lc));

		if (stream && stream->event_time == NULL)
			return psprintf("Stream \"%s\" has no event time.", get_rel_name(stream->relid));
	}
	return "The query around UNION ALL does not call a window function for a column that is the event time in all branches, and group by the end of the window.";
}

/* The name of a view that is read and whose windows are never final for good; NULL: none is. */
static const char *
find_never_final(const EddyViewPlan *layout)
{
	ListCell   *lc;

	foreach(lc, layout->sources)
	{
		const EddyView *view = eddy_catalog_get_view(lfirst_oid(lc));

		if (view && eddy_view_lateness(view) == EDDY_LATENESS_UNLIMITED)
			return get_rel_name(view->relid);
	}
	return NULL;
}

/*
 * Raises an error if late rows are accepted for ever, and which stored rows they concern is not
 * limited. Sessions without a maximum length are read one by one; with one, all from the event time
 * of the row on.
 */
static void
check_lateness(const EddyViewPlan *layout)
{
	if (layout->lateness == EDDY_LATENESS_UNLIMITED && layout->session && layout->session->max_length > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("late => 'update' requires argument \"allowed_lateness\" or \"retention\" for sessions with max_length"),
				 errdetail("A late row is combined with the sessions of its key from its event time on, whose number must be limited."),
				 errhint("Specify for how long after the end of a session late rows change its result, or how long sessions are kept.")));
}

/* Raises an error if an option needs windows that close and the query has none. */
void
eddy_define_check_options(const EddyViewPlan *layout, Query *definition, const EddyView *row)
{
	const char *option = NULL;
	const char *parent;

	if (layout->combines && strcmp(row->start, "now") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("start => '%s' is not possible with eddy.combine", row->start),
				 errdetail("What is combined is only kept until the windows of the other view have closed."),
				 errhint("Create the view before the other one has closed windows that it should count.")));
	check_clock_options(layout);
	check_lateness(layout);
	if (layout->windowed)
		return;
	if (strcmp(row->emit, "on_close") == 0)
		option = psprintf("emit => '%s'", row->emit);
	else if (strcmp(row->late, "drop") != 0)
		option = psprintf("late => '%s'", row->late);
	else if (eddy_interval_usec(&row->allowed_lateness) > 0)
		option = "argument allowed_lateness";
	else if (row->retention)
		option = "argument retention";
	if (option && (parent = find_never_final(layout)) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s requires a continuous view whose windows close", option),
				 errdetail("Continuous view \"%s\" accepts late rows for all of its windows, so that none is complete.", parent),
				 errhint("Create the other view with allowed_lateness or retention.")));
	if (option)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s requires a continuous view whose windows close", option),
				 errdetail("%s", get_missing_window(layout, definition)),
				 errhint("Group by the bounds of a window such as eddy.tumble over the event time of the stream.")));
}

/*
 * eddy_define_set_streams determines the sources of a view from its query: the first one, and all
 * in order.
 */
void
eddy_define_set_streams(EddyView *row, Query *definition)
{
	List	   *sources = eddy_analyze_sources(definition);

	row->stream = linitial_oid(sources);
	row->streams = sources;
	list_sort(row->streams, list_oid_cmp);
}

/*
 * eddy_view_lock_sources locks writers of the streams of a view out, whose creation has not done
 * so.
 */
void
eddy_view_lock_sources(const EddyView *view)
{
	eddy_chain_lock_sources(view->streams);
	eddy_define_check_streams(view);
}

/*
 * eddy_define_check_streams raises an error if a source is not one any more, after it was locked.
 */
void
eddy_define_check_streams(const EddyView *row)
{
	ListCell   *lc;

	foreach(lc, row->streams)
		if (eddy_catalog_get_stream(lfirst_oid(lc)) == NULL &&
			eddy_catalog_get_view(lfirst_oid(lc)) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("stream was dropped concurrently")));
}

static bool
has_gaps(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr) && eddy_window_check((FuncExpr *) node))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, has_gaps, context, 0);
	return expression_tree_walker(node, has_gaps, context);
}

/*
 * eddy_view_create creates a continuous view with the privileges of the current user and returns
 * its Oid. *created is false if it already exists. It has no content yet, not even the row of a
 * view without GROUP BY: the caller fills it with eddy_apply_fill, under the locks on the streams
 * that are taken here, or, with the option unlocked, for a view over streams, with
 * eddy_apply_fill_new, which takes them.
 */
Oid
eddy_view_create(const char *name, const char *query, const EddyViewOptions *options,
				 bool *created)
{
	RangeVar   *rangevar = makeRangeVarFromNameList(eddy_compat_qualified_name(name));
	EddyViewPlan layout = {0};
	EddyLayers	layers;
	EddyView	row = {0};
	Query	   *parsed;
	Oid			schema;
	Oid			relid;
	ListCell   *lc;

	eddy_view_check_context("create");
	schema = RangeVarGetCreationNamespace(rangevar);
	*created = !exists_already(rangevar, schema, options->if_not_exists, &relid);
	if (*created)
	{
		/* another transaction may be creating it */
		eddy_name_lock(rangevar->relname, schema);
		*created = !exists_already(rangevar, schema, options->if_not_exists, &relid);
	}
	if (!*created)
		return relid;
	if (isTempNamespace(schema))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("a continuous view cannot be temporary")));
	rangevar->schemaname = get_namespace_name(schema);

	row.definition = eddy_define_definition(rangevar, query);
	parsed = eddy_plan_definition_query(row.definition);
	eddy_define_set_streams(&row, parsed);
	if (!options->unlocked || eddy_catalog_ancestors(row.streams) != NIL)
		eddy_chain_lock_sources(row.streams);
	eddy_define_check_streams(&row);
	eddy_view_check_sources(row.streams, GetUserId());
	foreach(lc, row.streams)
	{
		const EddyView *parent = eddy_catalog_get_view(lfirst_oid(lc));

		if (parent)
			eddy_view_watch_deletes(parent);
	}

	set_options(&row, options);
	eddy_plan_set_policy(&layout, &row);
	eddy_analyze_query(&layout, parsed);
	eddy_define_check_options(&layout, parsed, &row);
	row.state_tables = eddy_state_tables_create(&layout, rangevar->relname);

	eddy_layer_split(&layers, copyObject(parsed));
	eddy_define_describe(&row, &layout, &layers);
	row.relid = create_public_view(&layout, &layers, schema, rangevar->relname);
	row.format = EDDY_SERVER_MAJOR;
	row.aggregates = eddy_signature_make(parsed);
	eddy_catalog_insert_view(&row);
	if (!options->unlabeled)
		eddy_define_label_tables(&row, &layout, eddy_view_label(row.relid));

	eddy_view_sync(row.relid);
	if (has_gaps((Node *) parsed, NULL))
		ereport(WARNING,
				(errmsg("windows of continuous view \"%s\" leave gaps", rangevar->relname),
				 errdetail("Their slide is longer than their size. Rows between two windows are not counted."),
				 errhint("Specify the slide first, as in eddy.hop(ts, '1 minute', '5 minutes').")));
	return row.relid;
}

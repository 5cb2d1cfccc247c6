/*-------------------------------------------------------------------------
 *
 * publication.c
 *    Publications of continuous views, for consumers that use the output plugin pgoutput.
 *
 * A publication contains the main state table of each view, with a column list, which leaves out
 * transition states, and with the result of the HAVING condition as row filter. State tables
 * belong to the owner of the extension, so that owners of views cannot add them to publications
 * themselves.
 *
 * The server refuses DELETE on a table whose replica identity has columns that the column list
 * leaves out (42P10), as a subscriber might not be able to find the row. REPLICA IDENTITY FULL
 * includes the transition states; the key suffices, and is always in the list.
 * eddy_view_allow_delete removes that restriction for DELETE on a continuous view. Maintenance does
 * not use the executor, which makes that check.
 *
 * Locking: ShareUpdateExclusiveLock on the state tables, by ALTER PUBLICATION. Memory: the caller's
 * context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_publication.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "owner.h"
#include "view/define.h"
#include "view/plan.h"
#include "view/view.h"

/*
 * Of the logical messages that Debezium emits while no view changes, to receive a position that it
 * can store and confirm. If the driver confirmed positions of keepalive messages instead
 * (lsn.flush.mode), which Debezium does not store, a connector that was killed would refuse to
 * continue.
 */
#define HEARTBEAT_PREFIX "pg_eddy_heartbeat"

/*
 * The columns of the state table that identify a row. A view without GROUP BY has one row: then it
 * is the column of the unique index, which has the same value in all rows. Debezium takes the key
 * from that index, and a subscriber can have a primary key.
 */
static List *
published_keys(const EddyView *view)
{
	List	   *keys = NIL;
	Relation	table;
	ListCell   *lc;

	for (int i = 0; i < view->nkeys; i++)
		keys = lappend_int(keys, view->key_columns[i]);
	if (keys != NIL)
		return keys;

	table = table_open(view->state_table, AccessShareLock);
	foreach(lc, RelationGetIndexList(table))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_index->indisunique && keys == NIL)
			for (int i = 0; i < index->rd_index->indnkeyatts; i++)
				keys = lappend_int(keys, index->rd_index->indkey.values[i]);
		index_close(index, AccessShareLock);
	}
	table_close(table, AccessShareLock);
	return keys;
}

/*
 * The columns of the state table that are sent: those of the view, and keys that it does not show.
 */
static List *
published_columns(const EddyView *view)
{
	List	   *columns = NIL;

	/* others are computed when the view is read */
	for (int i = 0; i < view->ncolumns; i++)
		if (view->columns[i] > 0)
			columns = list_append_unique_int(columns, view->columns[i]);
	return list_concat_unique_int(columns, published_keys(view));
}

static const char *
state_table_name(const EddyView *view)
{
	return quote_qualified_identifier(EDDY_SCHEMA, get_rel_name(view->state_table));
}

static void
append_columns(StringInfo out, const EddyView *view, List *columns)
{
	ListCell   *lc;

	foreach(lc, columns)
		appendStringInfo(out, "%s%s", foreach_current_index(lc) > 0 ? ", " : "",
						 quote_identifier(get_attname(view->state_table, lfirst_int(lc), false)));
}

/* ---- the settings of consumers, as text ---- */

/*
 * Appends a name to a list of regular expressions in a Java properties file. Characters that could
 * have a meaning in either, or end an element of the list, are replaced by escapes.
 */
static void
append_pattern(StringInfo out, const char *name)
{
	for (const char *p = name; *p != '\0'; p++)
	{
		if (IS_HIGHBIT_SET(*p) || *p == '_' || isalnum((unsigned char) *p))
			appendStringInfoChar(out, *p);
		else
			appendStringInfo(out, "\\\\u%04x", *p);
	}
}

/*
 * Appends a name of a column to such a list. Debezium ignores case, unless the expression
 * says otherwise, which it does if another column has the same name but for its case.
 */
static void
append_column_pattern(StringInfo out, const char *table, const char *column, TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		const char *other = NameStr(TupleDescAttr(desc, i)->attname);

		if (pg_strcasecmp(other, column) == 0 && strcmp(other, column) != 0)
		{
			appendStringInfoString(out, "(?-i)");
			break;
		}
	}
	if (table != NULL)
	{
		appendStringInfoString(out, "eddy.");
		append_pattern(out, table);
		appendStringInfoChar(out, '.');
	}
	append_pattern(out, column);
}

/*
 * Appends the name of a table to the regular expression of a topic. Debezium replaces characters
 * that topics cannot have, so that any character matches there.
 */
static void
append_topic_pattern(StringInfo out, const char *name)
{
	for (const char *p = name; *p != '\0'; p += pg_mblen(p))
	{
		if (!IS_HIGHBIT_SET(*p) && (*p == '_' || isalnum((unsigned char) *p)))
			appendStringInfoChar(out, *p);
		else
			appendStringInfoChar(out, '.');
	}
}

/*
 * Appends a character to a Java properties file, where a backslash begins an escape. A name must
 * not end the line: what follows would be read as another property.
 */
static void
append_property_char(StringInfo out, char c)
{
	switch (c)
	{
		case '\n':
			appendStringInfoString(out, "\\n");
			break;
		case '\r':
			appendStringInfoString(out, "\\r");
			break;
		case '\t':
			appendStringInfoString(out, "\\t");
			break;
		case '\f':
			appendStringInfoString(out, "\\f");
			break;
		case '\\':
			appendStringInfoString(out, "\\\\");
			break;
		default:
			appendStringInfoChar(out, c);
	}
}

/* Appends a value to a Java properties file, where blanks before it are ignored. */
static void
append_property(StringInfo out, const char *value)
{
	if (*value == ' ')
		appendStringInfoChar(out, '\\');
	for (const char *p = value; *p != '\0'; p++)
		append_property_char(out, *p);
}

/*
 * Appends a name to a replacement of a regular expression, where a dollar sign refers to a group.
 */
static void
append_replacement(StringInfo out, const char *name)
{
	for (const char *p = name; *p != '\0'; p++)
	{
		if (*p == '\\' || *p == '$')
			appendStringInfoString(out, "\\\\");
		append_property_char(out, *p);
	}
}

/* Appends part of the name of a property, which ends at a blank, "=" or ":" that is not escaped. */
static void
append_property_name(StringInfo out, const char *name)
{
	for (const char *p = name; *p != '\0'; p++)
	{
		if (strchr(" =:", *p) != NULL)
			appendStringInfoChar(out, '\\');
		append_property_char(out, *p);
	}
}

static void
append_list(StringInfo out, const char *property, const StringInfoData *list)
{
	if (list->len > 0)
		appendStringInfo(out, "%s=%s\n", property, list->data);
}

/* Values of properties of Debezium's connector that have a part for each view. */
typedef struct DebeziumLists
{
	StringInfoData tables;
	StringInfoData excluded;	/* columns */
	StringInfoData keys;
	StringInfoData overrides;	/* tables with a query for the first rows */
	StringInfoData queries;		/* properties with these queries */
	StringInfoData transforms;
	StringInfoData routes;		/* properties of the transforms */
} DebeziumLists;

static void
exclude_columns(DebeziumLists *lists, const char *table, TupleDesc desc, const List *published)
{
	for (AttrNumber attnum = 1; attnum <= desc->natts; attnum++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, attnum - 1);

		if (attribute->attisdropped || list_member_int(published, attnum))
			continue;
		if (lists->excluded.len > 0)
			appendStringInfoChar(&lists->excluded, ',');
		append_column_pattern(&lists->excluded, table, NameStr(attribute->attname), desc);
	}
}

static void
add_keys(DebeziumLists *lists, const char *table, TupleDesc desc, const List *columns)
{
	ListCell   *lc;

	if (columns == NIL)
		return;
	appendStringInfo(&lists->keys, "%seddy.", lists->keys.len > 0 ? ";" : "");
	append_pattern(&lists->keys, table);
	foreach(lc, columns)
	{
		appendStringInfoChar(&lists->keys, foreach_current_index(lc) > 0 ? ',' : ':');
		append_column_pattern(&lists->keys, NULL,
							  NameStr(TupleDescAttr(desc, lfirst_int(lc) - 1)->attname), desc);
	}
}

/*
 * Debezium reads the first rows by this query: without rows that HAVING or emit => 'on_close'
 * hides.
 */
static void
add_query(DebeziumLists *lists, const EddyView *view, List *columns)
{
	const char *table = state_table_name(view);
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfoString(&query, "SELECT ");
	append_columns(&query, view, columns);
	appendStringInfo(&query, " FROM %s", table);
	if (view->visible_column)
		appendStringInfo(&query, " WHERE %s",
						 quote_identifier(get_attname(view->state_table, view->visible_column,
													  false)));
	/* Debezium reads these names as SQL does */
	if (lists->overrides.len > 0)
		appendStringInfoChar(&lists->overrides, ',');
	append_property(&lists->overrides, table);
	appendStringInfoString(&lists->queries, "snapshot.select.statement.overrides.");
	append_property_name(&lists->queries, table);
	appendStringInfoChar(&lists->queries, '=');
	append_property(&lists->queries, query.data);
	appendStringInfoChar(&lists->queries, '\n');
}

/* The topic of a view has the name of the view, not that of its state table. */
static void
add_route(DebeziumLists *lists, const EddyView *view, const char *table, int number)
{
	StringInfo	routes = &lists->routes;

	appendStringInfo(&lists->transforms, "%sview%d", number > 1 ? "," : "", number);
	appendStringInfo(routes,
					 "transforms.view%d.type=io.debezium.transforms.ByLogicalTableRouter\n"
					 "transforms.view%d.topic.regex=(.*)[.]eddy[.]", number, number);
	append_topic_pattern(routes, table);
	appendStringInfo(routes, "\ntransforms.view%d.topic.replacement=$1.", number);
	append_replacement(routes, get_namespace_name(get_rel_namespace(view->relid)));
	appendStringInfoChar(routes, '.');
	append_replacement(routes, get_rel_name(view->relid));
	appendStringInfo(routes, "\ntransforms.view%d.key.enforce.uniqueness=false\n", number);
}

static void
add_view(DebeziumLists *lists, const EddyView *view, int number)
{
	char	   *table = get_rel_name(view->state_table);
	List	   *columns = published_columns(view);
	Relation	relation = table_open(view->state_table, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(relation);

	appendStringInfo(&lists->tables, "%seddy.", lists->tables.len > 0 ? "," : "");
	append_pattern(&lists->tables, table);
	exclude_columns(lists, table, desc, columns);
	add_keys(lists, table, desc, published_keys(view));
	table_close(relation, AccessShareLock);
	add_query(lists, view, columns);
	add_route(lists, view, table, number);
}

/* The properties of Debezium's connector for PostgreSQL. */
static void
describe_debezium(StringInfo out, const char *name, List *views)
{
	DebeziumLists lists;
	ListCell   *lc;

	initStringInfo(&lists.tables);
	initStringInfo(&lists.excluded);
	initStringInfo(&lists.keys);
	initStringInfo(&lists.overrides);
	initStringInfo(&lists.queries);
	initStringInfo(&lists.transforms);
	initStringInfo(&lists.routes);
	foreach(lc, views)
		add_view(&lists, lfirst(lc), foreach_current_index(lc) + 1);

	appendStringInfoString(out, "# Debezium connector for PostgreSQL\n"
						   "plugin.name=pgoutput\n"
						   "publication.name=");
	append_property(out, name);
	appendStringInfoString(out, "\npublication.autocreate.mode=disabled\n");
	append_list(out, "table.include.list", &lists.tables);
	append_list(out, "column.exclude.list", &lists.excluded);
	append_list(out, "message.key.columns", &lists.keys);
	append_list(out, "snapshot.select.statement.overrides", &lists.overrides);
	appendStringInfoString(out, lists.queries.data);
	appendStringInfoString(out, "decimal.handling.mode=string\n"
						   "heartbeat.interval.ms=10000\n"
						   "heartbeat.action.query=SELECT pg_logical_emit_message(true, '" HEARTBEAT_PREFIX "', '')\n"
						   "message.prefix.exclude.list=" HEARTBEAT_PREFIX "\n");
	append_list(out, "transforms", &lists.transforms);
	appendStringInfoString(out, lists.routes.data);
}

/* Appends lines as comments, also where a name in them has several lines. */
static void
append_comment(StringInfo out, const char *text)
{
	appendStringInfoString(out, "# ");
	for (const char *p = text; *p != '\0'; p++)
	{
		appendStringInfoChar(out, *p);
		if (*p == '\n' || *p == '\r')
			appendStringInfoString(out, "# ");
	}
	appendStringInfoChar(out, '\n');
}

/* The tables of a subscriber. */
static void
describe_subscriber(StringInfo out, List *views)
{
	ListCell   *lc;

	appendStringInfoString(out, "\n# Tables for CREATE SUBSCRIPTION, on the other server\n"
						   "# CREATE SCHEMA eddy;\n");
	foreach(lc, views)
	{
		EddyView   *view = lfirst(lc);
		Relation	table = table_open(view->state_table, AccessShareLock);
		List	   *columns = published_columns(view);
		List	   *keys = published_keys(view);
		bool		nullable = false;
		StringInfoData command;
		ListCell   *cell;

		initStringInfo(&command);
		appendStringInfo(&command, "CREATE TABLE %s (", state_table_name(view));
		foreach(cell, columns)
		{
			Form_pg_attribute attribute =
				TupleDescAttr(RelationGetDescr(table), lfirst_int(cell) - 1);

			appendStringInfo(&command, "%s%s %s", foreach_current_index(cell) > 0 ? ", " : "",
							 quote_identifier(NameStr(attribute->attname)),
							 format_type_with_typemod(attribute->atttypid, attribute->atttypmod));
		}
		foreach(cell, keys)
			nullable |= !TupleDescAttr(RelationGetDescr(table), lfirst_int(cell) - 1)->attnotnull;
		if (keys != NIL)
		{
			appendStringInfoString(&command, nullable ? ", UNIQUE NULLS NOT DISTINCT (" : ", PRIMARY KEY (");
			append_columns(&command, view, keys);
			appendStringInfoChar(&command, ')');
		}
		appendStringInfoString(&command, ");");
		append_comment(out, command.data);
		if (nullable)
			appendStringInfoString(out, "# (with PRIMARY KEY instead of UNIQUE, which is faster up to version 15, if no value is NULL)\n");
		table_close(table, AccessShareLock);
	}
}

/* ---- creation ---- */

/* Adds the main state tables of views to a publication. */
static void
add_tables(const char *name, List *views)
{
	StringInfoData text;
	EddyOwnerSwitch save;
	ListCell   *lc;

	initStringInfo(&text);
	appendStringInfo(&text, "ALTER PUBLICATION %s ADD TABLE ", quote_identifier(name));
	foreach(lc, views)
	{
		EddyView   *view = lfirst(lc);

		appendStringInfo(&text, "%sONLY %s (", foreach_current_index(lc) > 0 ? ", " : "",
						 state_table_name(view));
		append_columns(&text, view, published_columns(view));
		appendStringInfoChar(&text, ')');
		if (view->visible_column)
			appendStringInfo(&text, " WHERE (%s)",
							 quote_identifier(get_attname(view->state_table, view->visible_column,
														  false)));
	}
	/* as the owner of the tables, and a superuser, as publications of other roles require */
	eddy_owner_become(&save, eddy_catalog_extension_owner());
	SPI_connect();
	eddy_define_execute(text.data);
	SPI_finish();
	eddy_owner_end(&save);
}

/* The name of a publication for which the user has not chosen one. */
static char *
choose_name(const EddyView *view)
{
	char	   *name = get_rel_name(view->relid);

	if (OidIsValid(get_publication_oid(name, true)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("publication \"%s\" already exists", name),
				 errdetail("A publication of one continuous view gets the name of the view, if no other name is specified."),
				 errhint("Specify another name, as in eddy.create_publication('name', %s).",
						 quote_literal_cstr(quote_qualified_identifier(get_namespace_name(get_rel_namespace(view->relid)),
																	   name)))));
	return name;
}

/*
 * eddy_view_publish creates a publication of continuous views, which the current user must own,
 * and returns the settings of its consumers. If name is NULL, it is the one of the first view.
 */
char *
eddy_view_publish(const char *name, const Oid *relids, int count)
{
	List	   *views = NIL;
	StringInfoData text;
	ListCell   *lc;

	for (int i = 0; i < count; i++)
	{
		EddyView   *view = eddy_view_get(relids[i]);

		eddy_view_check_owner(view, false);
		foreach(lc, views)
			if (((EddyView *) lfirst(lc))->relid == relids[i])
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_OBJECT),
						 errmsg("continuous view \"%s\" is specified more than once",
								get_rel_name(relids[i]))));
		views = lappend(views, view);
	}
	if (views == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a publication of continuous views requires at least one of them")));
	if (name == NULL)
		name = choose_name(linitial(views));

	/* as the user, who becomes the owner and must have the privilege CREATE on the database */
	SPI_connect();
	eddy_define_execute(psprintf("CREATE PUBLICATION %s", quote_identifier(name)));
	SPI_finish();

	add_tables(name, views);

	initStringInfo(&text);
	describe_debezium(&text, name, views);
	describe_subscriber(&text, views);
	return text.data;
}

/*
 * eddy_view_republish adds the main state table of a view to the publications of the table that it
 * replaces, which leaves them when it is dropped.
 */
void
eddy_view_republish(const EddyView *old, const EddyView *new)
{
	ListCell   *lc;

	foreach(lc, GetRelationPublications(old->state_table))
	{
		add_tables(get_publication_name(lfirst_oid(lc), false),
				   list_make1(unconstify(EddyView *, new)));
		CommandCounterIncrement();
		/* the command has named the publication, which can be renamed meanwhile */
		if (!list_member_oid(GetRelationPublications(new->state_table), lfirst_oid(lc)))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("a publication of continuous view \"%s\" was renamed concurrently",
							get_rel_name(new->relid)),
					 errhint("Repeat the command.")));
	}
}

/*
 * eddy_view_allow_delete is called before the executor checks a DELETE on the main state table of a
 * view. The server caches whether publications allow that in the relation's descriptor; what is set
 * here is lost if the descriptor is rebuilt, because the table or a publication is changed
 * concurrently. The DELETE then fails as it would without this.
 */
void
eddy_view_allow_delete(Oid state_table)
{
	Relation	relation = table_open(state_table, NoLock);	/* the planner has locked it */
	PublicationDesc desc;

	if (relation->rd_rel->relreplident == REPLICA_IDENTITY_FULL)
	{
		RelationBuildPublicationDesc(relation, &desc);
		if (relation->rd_pubdesc != NULL)
			relation->rd_pubdesc->cols_valid_for_delete = true;
	}
	table_close(relation, NoLock);
}

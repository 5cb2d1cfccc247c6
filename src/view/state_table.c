/*-------------------------------------------------------------------------
 *
 * state_table.c
 *    Creates the state tables of continuous views, with their indexes and triggers.
 *
 * They are created with SQL commands, as the owner of the extension. Locking: of CREATE TABLE, and
 * their names (name.c); the caller has locked the streams. Memory: the caller's context. After an error nothing remains, as
 * the transaction is rolled back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "owner.h"
#include "view/define.h"
#include "view/name.h"
#include "view/state_table.h"

/* By which deleted rows are recorded. */
#define DELETE_TRIGGER "pg_eddy_capture_delete"

/* eddy_state_table_append_column appends a column as in CREATE TABLE. */
void
eddy_state_table_append_column(StringInfo sql, const EddyStateColumn *column)
{
	appendStringInfo(sql, "%s %s", quote_identifier(column->name),
					 format_type_extended(column->type, column->typmod,
										  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	if (OidIsValid(column->collation) && column->collation != get_typcollation(column->type))
		appendStringInfo(sql, " COLLATE %s", generate_collation_name(column->collation));
	if (column->not_null)
		appendStringInfoString(sql, " NOT NULL");
}

/* eddy_state_table_column_name returns the quoted name of a column. */
const char *
eddy_state_table_column_name(const EddyStateTable *table, AttrNumber column)
{
	return quote_identifier(table->columns[column - 1].name);
}

/*
 * True if ANALYZE would call a function of a user for a column of this type: the subtype_diff of a
 * range type, with the privileges of the table's owner. Neither the types of columns nor the
 * functions of a range type ever change; all other support functions are created by superusers.
 */
static bool
is_unsafe_to_analyze(Oid type)
{
	Oid			base = getBaseType(type);
	char		typtype = get_typtype(base);

	return base >= FirstNormalObjectId &&
		(typtype == TYPTYPE_RANGE || typtype == TYPTYPE_MULTIRANGE);
}

/*
 * A name for an index, as the server would choose it. The names of two tables can be the same but
 * for their ends, which the names of their indexes do not have.
 */
static const char *
choose_index_name(const EddyStateTable *table, const char *name, const EddyStateKey *columns,
				  int ncolumns)
{
	StringInfoData names;

	initStringInfo(&names);
	/* no more than the length of a name is used */
	for (int i = 0; i < ncolumns && names.len < NAMEDATALEN; i++)
		appendStringInfo(&names, "%s%s", i > 0 ? "_" : "",
						 table->columns[columns[i].column - 1].name);
	return quote_identifier(eddy_name_choose(name, names.data, "idx", eddy_catalog_schema()));
}

static void
create_index(const EddyStateTable *table, const char *name, const char *what,
			 const EddyStateKey *columns, const char *nulls)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE %s %s ON %s (", what,
					 choose_index_name(table, name, columns, table->nkeys),
					 quote_qualified_identifier(EDDY_SCHEMA, name));
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
						 eddy_state_table_column_name(table, columns[i].column));
	appendStringInfo(&sql, ") %s", nulls);
	eddy_define_execute(sql.data);
	pfree(sql.data);
}

static void
create_time_index(const EddyStateTable *table, const char *name, const EddyTimeIndex *time)
{
	EddyStateKey key = {.column = time->column};

	if (time->column == 0)
		return;
	eddy_define_execute(psprintf("CREATE INDEX %s ON %s (%s)%s%s",
								 choose_index_name(table, name, &key, 1),
								 quote_qualified_identifier(EDDY_SCHEMA, name),
								 eddy_state_table_column_name(table, time->column),
								 time->where ? " WHERE " : "",
								 time->where ? eddy_state_table_column_name(table, time->where) : ""));
}

/*
 * Half-empty pages leave room for HOT updates, which need no new index entries. Most
 * writes are updates, so autovacuum must start early. Neither is true of rows that are
 * only appended; rows that are rarely updated, but removed, do not need the space.
 */
static void
append_storage(StringInfo sql, const EddyStateTable *table)
{
	appendStringInfoString(sql, " USING heap");
	if (table->passing)
		appendStringInfoString(sql, " WITH (autovacuum_vacuum_scale_factor = 0.0,"
							   " autovacuum_vacuum_threshold = 10000)");
	else if (!table->append_only)
		appendStringInfo(sql, " WITH (fillfactor = %d,"
						 " autovacuum_vacuum_scale_factor = 0.01,"
						 " autovacuum_vacuum_insert_scale_factor = 0.1)", table->settled ? 100 : 50);
}

static void
create_table(const EddyStateTable *table, const char *qualified_name)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", qualified_name);
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (i > 0)
			appendStringInfoString(&sql, ", ");
		eddy_state_table_append_column(&sql, &table->columns[i]);
	}
	appendStringInfoChar(&sql, ')');
	append_storage(&sql, table);
	eddy_define_execute(sql.data);

	for (int i = 0; i < table->ncolumns; i++)
	{
		const char *column = quote_identifier(table->columns[i].name);

		if (is_unsafe_to_analyze(table->columns[i].type))
			eddy_define_execute(psprintf("ALTER TABLE %s ALTER COLUMN %s SET STATISTICS 0", qualified_name,
							 column));
		if (table->columns[i].uncompressed)
			eddy_define_execute(psprintf("ALTER TABLE %s ALTER COLUMN %s SET STORAGE EXTERNAL", qualified_name,
							 column));
	}
}

/*
 * A trigger with the name of its function for DELETE by users, also where session_replication_role
 * is replica.
 */
static void
create_delete_trigger(const char *qualified_name, const char *function, const char *argument)
{
	eddy_define_execute(psprintf("CREATE TRIGGER pg_eddy_%s AFTER DELETE ON %s"
					 " REFERENCING OLD TABLE AS deleted"
					 " FOR EACH STATEMENT EXECUTE FUNCTION %s._%s(%s)",
					 function, qualified_name, EDDY_SCHEMA, function, argument));
	eddy_define_execute(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER pg_eddy_%s", qualified_name,
					 function));
}

/* id_column: of a table whose groups have parts in other tables, otherwise 0. */
static void
create_triggers(const EddyStateTable *table, const char *qualified_name, AttrNumber id_column)
{
	eddy_define_execute(psprintf("CREATE TRIGGER pg_eddy_refuse BEFORE INSERT OR UPDATE OR TRUNCATE ON %s"
					 " FOR EACH STATEMENT EXECUTE FUNCTION %s._refuse_state_change()",
					 qualified_name, EDDY_SCHEMA));
	if (id_column > 0)
		create_delete_trigger(qualified_name, "delete_values",
							  quote_literal_cstr(table->columns[id_column - 1].name));
	if (table->superseded > 0)
		create_delete_trigger(qualified_name, "delete_sessions", "");
}

/* Creates a state table as the owner of the extension. id_column: see create_triggers. */
static Oid
create_state_table(const EddyStateTable *table, const char *view_name, AttrNumber id_column)
{
	Oid			schema = eddy_catalog_schema();
	char	   *name = eddy_name_choose(psprintf("_%s", view_name), NULL, table->suffix, schema);
	const char *qualified_name = quote_qualified_identifier(EDDY_SCHEMA, name);
	EddyOwnerSwitch save;
	Oid			relid;

	eddy_owner_become(&save, eddy_catalog_extension_owner());
	SPI_connect();
	create_table(table, qualified_name);
	create_index(table, name, "UNIQUE INDEX", table->keys, "NULLS NOT DISTINCT");
	if (table->order)
		create_index(table, name, "INDEX", table->order, "");

	/*
	 * Keys can be NULL, so only FULL identifies a deleted group to consumers. Changes of parts of
	 * groups, and of deltas, are not sent.
	 */
	eddy_define_execute(psprintf("ALTER TABLE %s REPLICA IDENTITY %s", qualified_name,
					 table->parts || table->passing || table->unsent ? "NOTHING" : "FULL"));
	create_triggers(table, qualified_name, id_column);
	create_time_index(table, name, &table->shown);
	create_time_index(table, name, &table->touched);
	relid = get_relname_relid(name, schema);
	SPI_finish();
	eddy_owner_end(&save);
	CommandCounterIncrement();
	eddy_view_seize(relid);
	return relid;
}

/*
 * eddy_view_watch_deletes makes sure that rows that users delete through a view are recorded for
 * its observers (changes.h). The trigger stays when the view has no observers any more. The caller
 * holds a lock on the main state table that conflicts with writers.
 */
void
eddy_view_watch_deletes(const EddyView *view)
{
	const char *qualified = quote_qualified_identifier(EDDY_SCHEMA,
													   get_rel_name(view->state_table));
	EddyOwnerSwitch save;

	if (OidIsValid(get_trigger_oid(view->state_table, DELETE_TRIGGER, true)))
		return;
	eddy_owner_become(&save, eddy_catalog_extension_owner());
	SPI_connect();
	eddy_define_execute(psprintf("CREATE TRIGGER " DELETE_TRIGGER " AFTER DELETE ON %s"
					 " REFERENCING OLD TABLE AS deleted"
					 " FOR EACH STATEMENT EXECUTE FUNCTION %s._capture_delete()",
					 qualified, EDDY_SCHEMA));
	/* also where session_replication_role is replica */
	eddy_define_execute(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER " DELETE_TRIGGER, qualified));
	SPI_finish();
	eddy_owner_end(&save);
	CommandCounterIncrement();
}

/* Creates the state tables of a layout that have no Oid yet, and returns all: List of Oid. */
List *
eddy_state_tables_create(EddyViewPlan *layout, const char *view_name)
{
	List	   *relids = NIL;
	ListCell   *lc;

	foreach(lc, layout->state_tables)
	{
		EddyStateTable *table = lfirst(lc);

		if (!OidIsValid(table->relid))
			table->relid = create_state_table(table, view_name,
											  table->parts ? 0 : layout->id_column);
		relids = lappend_oid(relids, table->relid);
	}
	return relids;
}

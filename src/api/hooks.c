/*-------------------------------------------------------------------------
 *
 * hooks.c
 *    Server hooks: the end of statements, and DDL.
 *
 * Executor: rows that a statement adds to a stream are applied when the outermost data-modifying
 * statement ends (src/apply/statement.c). A function called by SELECT, CALL or DO is not part of a
 * data-modifying statement: each INSERT in it is applied at its own end and visible to the
 * next query. COPY does not use the executor; the utility hook detects its end.
 *
 * Utility: workers leave a database before it is dropped, renamed, moved or copied; columns
 * and servers in the catalog follow a rename; the effect of a command on streams and segments is
 * checked when it ends (guard_stream.c).
 *
 * Each hook returns early if it has nothing to do. No locks of its own, no memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "executor/executor.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

#include "api/copy_stream.h"
#include "api/guard_stream.h"
#include "api/hooks.h"
#include "apply/apply.h"
#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "stream/stream.h"
#include "view/view.h"
#include "worker/worker.h"

static ExecutorRun_hook_type prev_executor_run = NULL;
static ExecutorFinish_hook_type prev_executor_finish = NULL;
static ProcessUtility_hook_type prev_process_utility = NULL;

/* ---- the end of statements ---- */

static void
executor_run(EDDY_COMPAT_EXECUTOR_RUN_ARGS)
{
	volatile bool modifies = queryDesc->operation != CMD_SELECT ||
		queryDesc->plannedstmt->hasModifyingCTE;

	if (modifies)
		eddy_statement_enter();
	PG_TRY();
	{
		if (prev_executor_run)
			prev_executor_run(EDDY_COMPAT_EXECUTOR_RUN_PASS);
		else
			standard_ExecutorRun(EDDY_COMPAT_EXECUTOR_RUN_PASS);
	}
	PG_FINALLY();
	{
		if (modifies)
			eddy_statement_leave();
	}
	PG_END_TRY();
}

/* Runs AFTER triggers, including ours. */
static void
executor_finish(QueryDesc *queryDesc)
{
	eddy_statement_enter();
	PG_TRY();
	{
		if (prev_executor_finish)
			prev_executor_finish(queryDesc);
		else
			standard_ExecutorFinish(queryDesc);
	}
	PG_FINALLY();
	{
		eddy_statement_leave();
	}
	PG_END_TRY();
	eddy_statement_flush();
}

/* ---- utility commands ---- */

/* The database that must be free of our workers while a command runs, or InvalidOid. */
static Oid
database_to_evict(Node *parsetree)
{
	const char *name = NULL;
	Oid			database;
	ListCell   *lc;

	switch (nodeTag(parsetree))
	{
		case T_DropdbStmt:
			name = ((DropdbStmt *) parsetree)->dbname;
			break;
		case T_RenameStmt:
			if (((RenameStmt *) parsetree)->renameType == OBJECT_DATABASE)
				name = ((RenameStmt *) parsetree)->subname;
			break;
		case T_CreatedbStmt:
			foreach(lc, ((CreatedbStmt *) parsetree)->options)
			{
				DefElem    *option = lfirst(lc);

				if (strcmp(option->defname, "template") == 0 && option->arg)
					name = defGetString(option);
			}
			break;
		case T_AlterDatabaseStmt:
			foreach(lc, ((AlterDatabaseStmt *) parsetree)->options)
				if (strcmp(((DefElem *) lfirst(lc))->defname, "tablespace") == 0)
					name = ((AlterDatabaseStmt *) parsetree)->dbname;
			break;
		default:
			break;
	}
	database = name ? get_database_oid(name, true) : InvalidOid;
	/* the command checks privileges later, but without them workers must not be stopped */
	if (OidIsValid(database) && !eddy_compat_database_ownercheck(database, GetUserId()))
		return InvalidOid;
	return database;
}

static bool
is_commit_prepared(Node *parsetree)
{
	return IsA(parsetree, TransactionStmt) &&
		((TransactionStmt *) parsetree)->kind == TRANS_STMT_COMMIT_PREPARED;
}

/*
 * True if a prepared transaction that is about to be committed may have changed a stream, a source
 * or a view. Only its locks show that: a writer of one of these tables keeps its lock, so if the
 * table cannot be locked, there is one. Other transactions need not wake any worker.
 */
static bool
commits_prepared_definition(void)
{
	static const EddyCatalogTable tables[] = {EDDY_CATALOG_SOURCE, EDDY_CATALOG_STREAM, EDDY_CATALOG_VIEW};

	if (!eddy_catalog_installed())
		return false;
	for (int i = 0; i < (int) lengthof(tables); i++)
	{
		Oid			relid = eddy_catalog_relid(tables[i]);

		if (!ConditionalLockRelationOid(relid, ShareLock))
			return true;
		UnlockRelationOid(relid, ShareLock);
	}
	return false;
}

/* True if a command may have changed extension, databases or servers, on which workers depend. */
static bool
concerns_workers(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_DropStmt:
			return ((DropStmt *) parsetree)->removeType == OBJECT_EXTENSION ||
				((DropStmt *) parsetree)->removeType == OBJECT_SCHEMA;
		case T_TransactionStmt:
			return is_commit_prepared(parsetree) && commits_prepared_definition();
		case T_DropOwnedStmt:
		case T_CreatedbStmt:
		case T_AlterForeignServerStmt:
		case T_CreateUserMappingStmt:
		case T_AlterUserMappingStmt:
		case T_DropUserMappingStmt:
			return true;
		default:
			return false;
	}
}

/*
 * A column of a relation was renamed: changes the name in the event time, in mappings and in lists
 * of columns.
 */
static void
follow_column_rename(Oid relid, const char *old_name, const char *new_name)
{
	EddyStream *stream = eddy_catalog_get_stream(relid);
	bool		changed;
	ListCell   *lc;

	if (stream == NULL)
		return;
	changed = eddy_catalog_rename_staged(stream, old_name, new_name);
	if (stream->event_time && strcmp(stream->event_time, old_name) == 0)
	{
		stream->event_time = pstrdup(new_name);
		changed = true;
	}
	if (changed)
		eddy_catalog_update_stream(stream);
	eddy_catalog_rename_omitted(relid, old_name, new_name);
	foreach(lc, eddy_catalog_list_sources(relid))
	{
		EddySource *source;

		/* the stream is already locked; a transaction that has paused the source commits first */
		eddy_process_lock_source(((EddySource *) lfirst(lc))->source, ExclusiveLock);
		source = eddy_catalog_get_source(((EddySource *) lfirst(lc))->source);
		if (source == NULL)
			continue;
		/* a column without a mapping is filled from the field of its name, and must remain so */
		eddy_catalog_rename_mapping(source, old_name, new_name);
		eddy_catalog_update_source(source);
	}
}

static bool
has_all_segments(const List *tables, Oid stream)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_segments(stream))
		if (!list_member_oid(tables, ((EddySegment *) lfirst(lc))->relid))
			return false;
	return true;
}

/*
 * After TRUNCATE of these tables, which it has locked: if all of a stream are empty, no row lacks a
 * column.
 */
static void
forget_truncated(const List *tables)
{
	ListCell   *lc;

	foreach(lc, tables)
	{
		Oid			relid = lfirst_oid(lc);

		if (eddy_catalog_member(relid).kind == EDDY_MEMBER_STREAM && has_all_segments(tables, relid))
			eddy_catalog_forget_omitted(relid);
	}
}

/*
 * Before ALTER SERVER ... RENAME: locks the sources that will be updated in the usual order,
 * streams before sources, and before the server itself.
 */
static void
lock_sources_of_server(const char *name)
{
	Oid			server = get_foreign_server_oid(name, true);
	List	   *streams = NIL;
	ListCell   *lc;

	/* the command fails for other roles, which must not be able to block sources */
	if (!OidIsValid(server) || !eddy_compat_server_ownercheck(server, GetUserId()))
		return;
	foreach(lc, eddy_catalog_list_all_sources())
	{
		EddySource *source = lfirst(lc);

		if (strcmp(source->server, name) == 0)
			streams = list_append_unique_oid(streams, source->stream);
	}
	list_sort(streams, list_oid_cmp);
	foreach(lc, streams)
		LockRelationOid(lfirst_oid(lc), ShareUpdateExclusiveLock);
	foreach(lc, eddy_catalog_list_all_sources())
	{
		EddySource *source = lfirst(lc);

		if (list_member_oid(streams, source->stream))
			eddy_process_lock_source(source->source, ExclusiveLock);
	}
}

/* After ALTER SERVER ... RENAME. */
static void
follow_server_rename(const char *old_name, const char *new_name)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_all_sources())
	{
		EddySource *source = lfirst(lc);

		if (strcmp(source->server, old_name) != 0)
			continue;
		source->server = pstrdup(new_name);
		eddy_catalog_update_source(source);
	}
}

/*
 * Notes the table of ALTER TABLE: some forms, such as ENABLE ROW LEVEL SECURITY, do not call
 * object_access_hook. Called before and after the command, because the name may mean another table
 * then, which is nothing to the command if its user does not own it.
 */
static void
note_alter_table(Node *parsetree)
{
	if (IsA(parsetree, AlterTableStmt))
	{
		Oid			relid = RangeVarGetRelid(((AlterTableStmt *) parsetree)->relation, NoLock,
											 true);

		if (OidIsValid(relid) && eddy_compat_class_ownercheck(relid, GetUserId()))
			eddy_guard_note(relid);
	}
}

/*
 * The restore of a dump writes to our catalog by COPY, not by its functions. With several sessions
 * that can be the last command of all, so it records dependencies that the dump does not contain.
 */
static void
note_restore(const CopyStmt *stmt)
{
	Oid			relid;

	/* others have no privilege to write to it, but triggers that change what the name means */
	if (stmt->relation == NULL || !eddy_catalog_installed() || !eddy_guard_is_trusted())
		return;
	relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	if (!OidIsValid(relid) || get_rel_namespace(relid) != eddy_catalog_schema())
		return;
	eddy_worker_note_restore();
	eddy_worker_wake_database_at_commit();
	eddy_catalog_refresh();
	eddy_watermark_distrust();
	if (relid == eddy_catalog_relid(EDDY_CATALOG_VIEW))
		eddy_view_bind_definitions();
	else if (relid == eddy_catalog_relid(EDDY_CATALOG_SEGMENT))
		eddy_stream_bind_segments();
}

/* How a command that dropped a continuous view treats objects that depend on it. */
static DropBehavior
drop_behavior(const Node *parsetree)
{
	if (IsA(parsetree, DropStmt))
		return ((const DropStmt *) parsetree)->behavior;
	if (IsA(parsetree, DropOwnedStmt))
		return ((const DropOwnedStmt *) parsetree)->behavior;
	/* other commands, such as ALTER TABLE ... DROP COLUMN, drop views only by CASCADE */
	return DROP_CASCADE;
}

/* True if a command changes names of functions or types, or of their schemas. */
static bool
renames_functions(Node *parsetree)
{
	ObjectType	type;

	if (IsA(parsetree, RenameStmt))
		type = ((RenameStmt *) parsetree)->renameType;
	else if (IsA(parsetree, AlterObjectSchemaStmt))
		type = ((AlterObjectSchemaStmt *) parsetree)->objectType;
	else
		return false;
	switch (type)
	{
		case OBJECT_AGGREGATE:
		case OBJECT_DOMAIN:
		case OBJECT_EXTENSION:
		case OBJECT_FUNCTION:
		case OBJECT_PROCEDURE:
		case OBJECT_ROUTINE:
		case OBJECT_SCHEMA:
		case OBJECT_TYPE:
			return true;
		case OBJECT_TABLE:		/* is also a type */
			return true;
		default:
			return false;
	}
}

/* True for commands that rename a column of tables; also by their type, with CASCADE. */
static bool
renames_column(const RenameStmt *stmt)
{
	return stmt->renameType == OBJECT_COLUMN || stmt->renameType == OBJECT_ATTRIBUTE;
}

/* A utility command: the arguments of the hook, and what is known of it before it is executed. */
typedef struct Command
{
	PlannedStmt *pstmt;
	const char *query_string;
	bool		read_only_tree;
	ProcessUtilityContext context;
	ParamListInfo params;
	QueryEnvironment *query_env;
	DestReceiver *dest;
	QueryCompletion *qc;

	Node	   *parsetree;
	bool		copies;			/* COPY FROM */
	bool		guarded;		/* a part of a command is checked with the command */
	bool		concerns_workers;
	bool		may_install;	/* COMMIT PREPARED in a database without the extension */
	Oid			evicted;		/* the database that workers must leave, or InvalidOid */
	List	   *signed_views;	/* whose signatures have names that the command may change */
	RenameStmt *rename;			/* of columns or servers, which the catalog follows; or NULL */
	List	   *held;			/* by LOCK TABLE */
	EddyGuardFrame frame;		/* the objects that it changes */
} Command;

static void
run_utility(Command *command)
{
	ProcessUtility_hook_type run = prev_process_utility ? prev_process_utility :
		standard_ProcessUtility;

	run(command->pstmt, command->query_string, command->read_only_tree, command->context,
		command->params, command->query_env, command->dest, command->qc);
}

/*
 * COPY FROM. What other libraries do around the server's command, such as statistics, is not left
 * out.
 */
static void
run_copy(Command *command)
{
	uint64		processed;

	if (prev_process_utility ||
		!eddy_copy_into_stream(command->pstmt, command->query_string, &processed))
		run_utility(command);
	else if (command->qc)
		SetQueryCompletion(command->qc, CMDTAG_COPY, processed);
}

/*
 * run_utility for ALTER TABLE: an error about a column that a continuous view uses names that view,
 * not the object behind it.
 */
static void
run_alter_table(Command *command)
{
	MemoryContext mcxt = CurrentMemoryContext;
	List	   *names = eddy_view_list_definitions();

	PG_TRY();
	{
		run_utility(command);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(mcxt);
		error = CopyErrorData();
		FlushErrorState();
		if (eddy_view_show_names(error, names) && error->hint == NULL)
			error->hint = pstrdup("Use eddy.replace_continuous_view with a query that does not use the column, or drop the continuous view.");
		else if (eddy_view_show_row_type(error))
			error->hint = pstrdup("Drop the continuous view before, and create it again. Its query can convert rows with to_jsonb instead of keeping their type.");
		ReThrowError(error);
	}
	PG_END_TRY();
}

/* Takes the locks that must come before those of a command, and reads what it may change. */
static void
prepare_command(Command *command)
{
	Node	   *parsetree = command->parsetree;

	command->copies = IsA(parsetree, CopyStmt) && ((CopyStmt *) parsetree)->is_from;
	command->guarded = command->context != PROCESS_UTILITY_SUBCOMMAND;
	command->evicted = database_to_evict(parsetree);
	command->concerns_workers = concerns_workers(parsetree);
	command->may_install = is_commit_prepared(parsetree) && !eddy_catalog_installed();
	if (renames_functions(parsetree))
		command->signed_views = eddy_signature_before_rename();

	eddy_guard_check_copy(command->copies ? (CopyStmt *) parsetree : NULL);
	if (IsA(parsetree, LockStmt))
		command->held = eddy_guard_lock((LockStmt *) parsetree);
	if (IsA(parsetree, RenameStmt))
	{
		RenameStmt *stmt = (RenameStmt *) parsetree;

		if (renames_column(stmt) || stmt->renameType == OBJECT_FOREIGN_SERVER)
			command->rename = copyObject(stmt);
		if (stmt->renameType == OBJECT_FOREIGN_SERVER && eddy_catalog_installed())
			lock_sources_of_server(strVal(stmt->object));
	}
	if (IsA(parsetree, DropStmt) && ((DropStmt *) parsetree)->removeType == OBJECT_VIEW)
		eddy_guard_lock_streams((DropStmt *) parsetree);
}

/* Begins what end_command ends, also after an error. */
static void
begin_command(Command *command)
{
	if (OidIsValid(command->evicted))
	{
		eddy_worker_evict(command->evicted);
		eddy_watermark_reset(command->evicted);
	}
	if (command->copies)
		eddy_statement_enter_copy();
	if (command->guarded)
		eddy_guard_begin(&command->frame);
}

static void
execute_command(Command *command)
{
	if (command->guarded)
		note_alter_table(command->parsetree);
	if (IsA(command->parsetree, AlterTableStmt) && eddy_catalog_has_members())
		run_alter_table(command);
	else if (command->copies)
		run_copy(command);
	else
		run_utility(command);
	if (command->guarded)
	{
		note_alter_table(command->parsetree);
		eddy_guard_check(drop_behavior(command->parsetree));
	}
}

static void
end_command(Command *command)
{
	if (command->guarded)
		eddy_guard_end(&command->frame);
	if (command->copies)
		eddy_statement_leave();
	if (OidIsValid(command->evicted))
		eddy_worker_readmit(command->evicted);
}

/* Changes names in the catalog after columns or a server were renamed. */
static void
follow_rename(const Command *command)
{
	const RenameStmt *rename = command->rename;
	ListCell   *lc;

	if (!renames_column(rename))
		follow_server_rename(strVal(rename->object), rename->newname);
	else
		foreach(lc, command->frame.column_altered)
			follow_column_rename(lfirst_oid(lc), rename->subname, rename->newname);
}

/* What a command that has succeeded entails. */
static void
follow_command(Command *command)
{
	Node	   *parsetree = command->parsetree;

	if (IsA(parsetree, LockStmt))
		eddy_guard_lock_end((LockStmt *) parsetree, command->held);
	if (IsA(parsetree, TruncateStmt))
		forget_truncated(command->frame.truncated);
	if (command->signed_views)
	{
		CommandCounterIncrement();
		eddy_signature_after_rename(command->signed_views);
	}
	/* another session has stored what it has */
	if (is_commit_prepared(parsetree))
		eddy_watermark_reset(MyDatabaseId);
	/* that was CREATE EXTENSION */
	if (command->may_install)
	{
		AcceptInvalidationMessages();
		command->concerns_workers = eddy_catalog_installed();
	}
	if (command->copies)
	{
		note_restore((CopyStmt *) parsetree);
		eddy_statement_flush();
	}
	if (command->concerns_workers)
		eddy_worker_wakeup_at_commit();
	if (command->rename && eddy_catalog_installed())
		follow_rename(command);
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
				DestReceiver *dest, QueryCompletion *qc)
{
	Command		command = {
		.pstmt = pstmt,
		.query_string = queryString,
		.read_only_tree = readOnlyTree,
		.context = context,
		.params = params,
		.query_env = queryEnv,
		.dest = dest,
		.qc = qc,
		.parsetree = pstmt->utilityStmt
	};

	prepare_command(&command);
	begin_command(&command);
	PG_TRY();
	{
		execute_command(&command);
	}
	PG_FINALLY();
	{
		end_command(&command);
	}
	PG_END_TRY();
	follow_command(&command);
}

void
eddy_hooks_init(void)
{
	prev_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
	prev_executor_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = executor_finish;
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	eddy_guard_view_init();
	eddy_guard_changes_init();
	eddy_guard_stream_init();
}

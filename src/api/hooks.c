/*-------------------------------------------------------------------------
 *
 * hooks.c
 *    Server hooks: when to flush, which DDL to watch.
 *
 * Executor: rows that a statement adds to a stream are captured by a trigger at its end
 * and wait as deltas; they are merged when the outermost data-modifying
 * statement finishes, so a statement that fires a thousand inner INSERTs
 * writes each group once. A function called by SELECT, CALL or DO is not a data-modifying
 * statement: each INSERT in it is merged at once and seen by its next query.
 * COPY passes no executor hook; the utility hook serves it.
 *
 * Utility: databases are cleared of our workers before they are dropped, renamed, moved
 * or copied; columns that the catalog names follow a rename.
 *
 * Each hook is an early exit unless there is something to do. No locks of its own, no
 * memory; the nesting counter is restored on error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/event_trigger.h"
#include "foreign/foreign.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "api/hooks.h"
#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "stream/segment.h"
#include "stream/stream.h"
#include "view/view.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(eddy_after_drop);
PG_FUNCTION_INFO_V1(eddy_after_ddl);

static ExecutorRun_hook_type prev_executor_run = NULL;
static ExecutorFinish_hook_type prev_executor_finish = NULL;
static ProcessUtility_hook_type prev_process_utility = NULL;

/* How many data-modifying statements and trigger phases we are inside of. */
static int	nesting = 0;

/* ---- flushing at the end of statements ---- */

static void
flush_if_outermost(void)
{
	if (nesting > 0 || !eddy_view_pending())
		return;
	/* COPY and the end of a portal may have popped their snapshot by now */
	PushActiveSnapshot(GetTransactionSnapshot());
	eddy_view_flush();
	PopActiveSnapshot();
}

static void
executor_run(EDDY_COMPAT_EXECUTOR_RUN_ARGS)
{
	volatile bool modifies = queryDesc->operation != CMD_SELECT ||
		queryDesc->plannedstmt->hasModifyingCTE;

	if (modifies)
		nesting++;
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
			nesting--;
	}
	PG_END_TRY();
}

/* AFTER triggers, ours included, run in here. */
static void
executor_finish(QueryDesc *queryDesc)
{
	nesting++;
	PG_TRY();
	{
		if (prev_executor_finish)
			prev_executor_finish(queryDesc);
		else
			standard_ExecutorFinish(queryDesc);
	}
	PG_FINALLY();
	{
		nesting--;
	}
	PG_END_TRY();
	flush_if_outermost();
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
	/* the command checks privileges later, but workers are not ended for who may not run it */
	if (OidIsValid(database) && !eddy_compat_database_ownercheck(database, GetUserId()))
		return InvalidOid;
	return database;
}

/* True if a command may have changed what workers go by: extension, databases, servers. */
static bool
concerns_workers(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_DropStmt:
			return ((DropStmt *) parsetree)->removeType == OBJECT_EXTENSION ||
				((DropStmt *) parsetree)->removeType == OBJECT_SCHEMA;
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

/* True if a command would keep the capture trigger from firing. */
static bool
silences_capture(const AlterTableCmd *cmd)
{
	switch (cmd->subtype)
	{
		case AT_DisableTrigAll:
		case AT_DisableTrigUser:
			return true;
		case AT_DisableTrig:
		case AT_EnableTrig:
		case AT_EnableReplicaTrig:
			return strcmp(cmd->name, EDDY_STREAM_CAPTURE_TRIGGER) == 0;
		default:
			return false;
	}
}

/*
 * Refuses what would make a stream something else: SET LOGGED, a log of raw rows;
 * without its capture trigger, a table whose rows are silently not counted.
 */
static void
check_alter_table(AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		bool		silences = silences_capture(cmd);
		Oid			relid;

		if ((cmd->subtype != AT_SetLogged && !silences) || !eddy_catalog_installed())
			continue;
		relid = RangeVarGetRelid(stmt->relation, NoLock, true);
		if (!OidIsValid(relid) || eddy_catalog_get_stream(relid) == NULL)
			continue;
		if (silences)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot disable the triggers of stream \"%s\"",
							stmt->relation->relname),
					 errdetail("Rows inserted meanwhile would be missing from its continuous views.")));
		else
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot make stream \"%s\" logged", stmt->relation->relname),
					 errdetail("The rows of a stream are kept for a bounded time, in an unlogged table; results are logged.")));
	}
}

/* After ALTER TABLE ... RENAME COLUMN: event time and mappings go on under the new name. */
static void
follow_column_rename(Oid relid, const char *old_name, const char *new_name)
{
	EddyStream *stream = eddy_catalog_get_stream(relid);
	ListCell   *lc;

	if (stream == NULL)
		return;
	if (stream->event_time && strcmp(stream->event_time, old_name) == 0)
	{
		stream->event_time = pstrdup(new_name);
		eddy_catalog_update_stream(stream);
	}
	foreach(lc, eddy_catalog_list_sources(relid))
	{
		EddySource *source = lfirst(lc);

		/* a column without a mapping takes the field of its name: keep it fed from there */
		eddy_catalog_rename_mapping(source, old_name, new_name);
		eddy_catalog_update_source(source);
	}
}

/* After ALTER SERVER ... RENAME. */
static void
follow_server_rename(const char *old_name, const char *new_name)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_sources(InvalidOid))
	{
		EddySource *source = lfirst(lc);

		if (strcmp(source->server, old_name) != 0)
			continue;
		source->server = pstrdup(new_name);
		eddy_catalog_update_source(source);
	}
}

/* After owners may have changed: what belongs to streams and views follows. */
static void
sync_owners(void)
{
	if (!eddy_catalog_installed())
		return;
	eddy_stream_sync();
	eddy_view_sync(InvalidOid);
}

static void
run_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
			DestReceiver *dest, QueryCompletion *qc)
{
	if (prev_process_utility)
		prev_process_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest,
							 qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv,
								dest, qc);
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
				DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *parsetree = pstmt->utilityStmt;
	bool		copies = IsA(parsetree, CopyStmt) && ((CopyStmt *) parsetree)->is_from;
	Oid			database = database_to_evict(parsetree);
	bool		wake = concerns_workers(parsetree);
	bool		reassign = IsA(parsetree, ReassignOwnedStmt);
	RenameStmt *rename = NULL;
	Oid			renamed = InvalidOid;

	if (IsA(parsetree, AlterTableStmt))
		check_alter_table((AlterTableStmt *) parsetree);
	if (IsA(parsetree, LockStmt))
		eddy_guard_lock((LockStmt *) parsetree);
	if (IsA(parsetree, RenameStmt))
	{
		RenameStmt *stmt = (RenameStmt *) parsetree;

		if (stmt->renameType == OBJECT_COLUMN && stmt->relation)
			renamed = RangeVarGetRelid(stmt->relation, NoLock, true);
		if (OidIsValid(renamed) || stmt->renameType == OBJECT_FOREIGN_SERVER)
			rename = copyObject(stmt);
	}

	if (OidIsValid(database))
		eddy_worker_evict(database);
	if (copies)
		nesting++;
	PG_TRY();
	{
		run_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_FINALLY();
	{
		if (copies)
			nesting--;
		if (OidIsValid(database))
			eddy_worker_readmit(database);
	}
	PG_END_TRY();

	if (copies)
		flush_if_outermost();
	if (wake)
		eddy_worker_wakeup_at_commit();
	/* fires no event trigger */
	if (reassign)
		sync_owners();
	if (rename && eddy_catalog_installed())
	{
		if (OidIsValid(renamed))
			follow_column_rename(renamed, rename->subname, rename->newname);
		else
			follow_server_rename(strVal(rename->object), rename->newname);
	}
}

/* ---- event triggers ---- */

static void
check_event_trigger(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("not called by event trigger manager")));
}

/* Refuses to drop a server that sources are attached to; nothing else would protect it. */
static void
check_servers(void)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_sources(InvalidOid))
	{
		EddySource *source = lfirst(lc);

		if (!OidIsValid(get_foreign_server_oid(source->server, true)))
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot drop server \"%s\" because stream \"%s\" consumes from it",
							source->server, get_rel_name(source->stream)),
					 errhint("Use eddy.detach_kafka first.")));
	}
}

/* What a command that dropped a continuous view does to objects that depend on it. */
static DropBehavior
drop_behavior(Node *parsetree)
{
	if (IsA(parsetree, DropStmt))
		return ((DropStmt *) parsetree)->behavior;
	if (IsA(parsetree, DropOwnedStmt))
		return ((DropOwnedStmt *) parsetree)->behavior;
	/* any other, such as ALTER TABLE ... DROP COLUMN, drops views by CASCADE only */
	return DROP_CASCADE;
}

/*
 * eddy_after_drop runs after any command that dropped something. What our
 * catalog still names but the database has no more is cleared away.
 */
Datum
eddy_after_drop(PG_FUNCTION_ARGS)
{
	EventTriggerData *trigger;

	check_event_trigger(fcinfo);
	if (!eddy_catalog_installed())
		PG_RETURN_NULL();
	trigger = (EventTriggerData *) fcinfo->context;
	eddy_view_cleanup_dropped(drop_behavior(trigger->parsetree));
	eddy_stream_cleanup_dropped();
	if (IsA(trigger->parsetree, DropStmt) &&
		((DropStmt *) trigger->parsetree)->removeType != OBJECT_EXTENSION)
		check_servers();
	eddy_worker_wakeup_at_commit();
	PG_RETURN_NULL();
}

/*
 * The table of a command that pg_restore runs on a state table when the catalog has its rows, but
 * perhaps in several sessions: each takes care of its own table alone.
 */
static Oid
restored_table(Node *parsetree)
{
	RangeVar   *relation = NULL;
	Oid			relid;

	if (IsA(parsetree, IndexStmt))
		relation = ((IndexStmt *) parsetree)->relation;
	else if (IsA(parsetree, CreateTrigStmt))
		relation = ((CreateTrigStmt *) parsetree)->relation;
	relid = relation ? RangeVarGetRelid(relation, NoLock, true) : InvalidOid;
	return OidIsValid(relid) && get_rel_namespace(relid) == eddy_catalog_schema() ? relid : InvalidOid;
}

/*
 * eddy_after_ddl runs after any other DDL: owners and privileges follow, objects of a restored
 * dump are adopted.
 */
Datum
eddy_after_ddl(PG_FUNCTION_ARGS)
{
	EventTriggerData *trigger;

	check_event_trigger(fcinfo);
	trigger = (EventTriggerData *) fcinfo->context;
	switch (nodeTag(trigger->parsetree))
	{
		case T_AlterTableStmt:
		case T_AlterOwnerStmt:
		case T_AlterObjectSchemaStmt:
			sync_owners();
			break;
		case T_IndexStmt:
		case T_CreateTrigStmt:
			if (OidIsValid(restored_table(trigger->parsetree)))
				eddy_view_sync(restored_table(trigger->parsetree));
			break;
		default:
			break;
	}
	PG_RETURN_NULL();
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
}

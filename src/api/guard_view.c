/*-------------------------------------------------------------------------
 *
 * guard_view.c
 *    Refuses commands that would change the query or the results of a continuous view.
 *
 * The definition and the state tables belong to the owner of the extension, and are protected by
 * privileges. The hooks here are for the public view, which belongs to a user, and for the
 * privileges that this user has on the state table:
 *
 * - The query of the public view must stay as it was created: catalog and output plugin
 *   know which columns of the state table it shows. CREATE OR REPLACE VIEW,
 *   CREATE RULE and ALTER COLUMN SET DEFAULT are recognized by the Oid of the view, where the
 *   server reports the new catalog row, whatever the command and the name in it.
 * - A view is not dropped by a function that it or another view calls in the middle of a batch.
 * - Rows are removed with DELETE on the public view, and in no other way.
 * - Users may not take locks that writers of the stream would have to wait for; on tables of pg_eddy that all
 *   streams share, such as eddy.dead_letters, from which all roles may delete, writers of any stream would.
 *
 * Superusers may write and lock: dumps are restored and tables are repaired that way.
 *
 * Locking: only AccessShareLock on views whose query is read. No memory of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_rewrite.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "api/hooks.h"
#include "apply/apply.h"
#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "owner.h"
#include "view/view.h"
#include "worker/worker.h"

static object_access_hook_type prev_object_access = NULL;
static ExecutorStart_hook_type prev_executor_start = NULL;

bool
eddy_guard_is_trusted(void)
{
	return superuser() || GetUserId() == eddy_catalog_extension_owner();
}

/* The continuous view with that Oid, or NULL; for relations of any kind. */
static EddyView *
get_public_view(Oid relid)
{
	if (get_rel_relkind(relid) != RELKIND_VIEW || !eddy_catalog_installed())
		return NULL;
	return eddy_catalog_get_view(relid);
}

/*
 * The continuous view that a state table belongs to, or NULL. Cheap for tables outside schema eddy.
 */
static EddyView *
get_view_of_state(Oid relid)
{
	EddyView   *view;

	if (get_rel_namespace(relid) != eddy_catalog_schema() || !eddy_catalog_installed())
		return NULL;
	view = eddy_catalog_find_view(relid);
	return view && list_member_oid(view->state_tables, relid) ? view : NULL;
}

/* ---- DDL on the public view ---- */

static void
refuse_ddl(const char *message, Oid relid, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg(message, get_rel_name(relid)),
			 errdetail("Rows and columns of a continuous view are those of the table that its stream maintains."),
			 hint ? errhint("%s", hint) : 0));
}

/*
 * A copy of a catalog row, found by a unique index. The command that reports it has not
 * incremented the command counter yet, so only SnapshotSelf sees it.
 */
static HeapTuple
read_new_row(Relation rel, Oid index, int nkeys, ScanKeyData *keys)
{
	SysScanDesc scan = systable_beginscan(rel, index, true, SnapshotSelf, nkeys, keys);
	HeapTuple	tuple = systable_getnext(scan);

	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

/* A rule was created or replaced; the query of a view is its rule for SELECT. */
static void
check_rule(Oid rule)
{
	Relation	rel = table_open(RewriteRelationId, AccessShareLock);
	Oid			relid = InvalidOid;
	bool		is_query = false;
	ScanKeyData key;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_rewrite_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(rule));
	tuple = read_new_row(rel, RewriteOidIndexId, 1, &key);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_rewrite form = (Form_pg_rewrite) GETSTRUCT(tuple);

		relid = form->ev_class;
		is_query = form->ev_type == '0' + CMD_SELECT;
	}
	table_close(rel, AccessShareLock);

	if (!OidIsValid(relid) || get_public_view(relid) == NULL)
		return;
	if (is_query && eddy_view_is_replaced(relid))
		return;
	if (is_query)
		refuse_ddl("cannot replace the query of continuous view \"%s\"", relid,
				   "Use eddy.replace_continuous_view.");
	refuse_ddl("cannot create a rule on continuous view \"%s\"", relid, NULL);
}

/* Options of a view were set: it must be read with the privileges of its owner. */
static void
check_options(Oid relid)
{
	Relation	rel = table_open(RelationRelationId, AccessShareLock);
	ViewOptions *options = NULL;
	ScanKeyData key;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	tuple = read_new_row(rel, ClassOidIndexId, 1, &key);
	if (HeapTupleIsValid(tuple))
		options = (ViewOptions *) extractRelOptions(tuple, RelationGetDescr(rel), NULL);
	table_close(rel, AccessShareLock);
	if (options && options->security_invoker)
		refuse_ddl("cannot set security_invoker for continuous view \"%s\"", relid,
				   "Grant SELECT on the continuous view instead.");
}

/*
 * A column was renamed: the columns of the state table follow, so hidden ones must have other
 * names.
 */
static void
check_column_name(const EddyView *view, AttrNumber attnum)
{
	Relation	rel = table_open(AttributeRelationId, AccessShareLock);
	ScanKeyData keys[2];
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_attribute_attrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(view->relid));
	ScanKeyInit(&keys[1], Anum_pg_attribute_attnum, BTEqualStrategyNumber, F_INT2EQ,
				Int16GetDatum(attnum));
	tuple = read_new_row(rel, AttributeRelidNumIndexId, 2, keys);
	if (HeapTupleIsValid(tuple))
	{
		const char *name = NameStr(((Form_pg_attribute) GETSTRUCT(tuple))->attname);
		AttrNumber	column = get_attnum(view->state_table, name);
		bool		shown = false;

		for (int i = 0; i < view->ncolumns; i++)
			shown |= (view->columns[i] == column);
		if (column != InvalidAttrNumber && !shown)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column name \"%s\" of continuous view \"%s\" is reserved", name,
							get_rel_name(view->relid)),
					 errdetail("A grouping column that the view does not show has this name.")));
	}
	table_close(rel, AccessShareLock);
}

static void
check_alter(Oid relid, int column)
{
	EddyView   *view = get_public_view(relid);

	if (view == NULL)
		return;
	if (column > 0)
		check_column_name(view, column);
	else
		check_options(relid);
}

static void
object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class, object, sub, arg);

	if (access == OAT_POST_CREATE && class == RewriteRelationId)
		check_rule(object);
	else if (access == OAT_POST_CREATE && class == AttrDefaultRelationId)
	{
		/* reported with the relation's Oid */
		if (get_public_view(object))
			refuse_ddl("cannot set a default for a column of continuous view \"%s\"", object, NULL);
	}
	else if (access == OAT_POST_ALTER && class == RelationRelationId)
		check_alter(object, sub);
	else if (access == OAT_DROP && class == RelationRelationId && sub == 0 &&
			 InSecurityRestrictedOperation() &&
			 eddy_catalog_member(object).kind == EDDY_MEMBER_VIEW)
		eddy_view_check_context("drop");
}

/* ---- writing ---- */

/*
 * Refuses to write through a view to its result. A missing privilege on the view is reported by the
 * server.
 */
static void
refuse_result(const EddyView *view, AclMode through)
{
	if (pg_class_aclmask(view->relid, GetUserId(), through, ACLMASK_ALL) != through)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot write to the result of a continuous view"),
			 errdetail("View \"%s\" shows results computed from the rows of a stream.",
					   get_rel_name(view->relid)),
			 errhint("Write to the stream, or use DELETE to remove groups that are no longer needed.")));
}

/*
 * Checks a statement that writes to a state table, before the server checks its privileges.
 */
static void
check_target(PlannedStmt *stmt, Oid relid)
{
	EddyView   *view;
	AclMode		direct;
	AclMode		through;

	/* this is called for each statement; most write to other schemas */
	if (get_rel_namespace(relid) != eddy_catalog_schema() || !eddy_catalog_installed())
		return;
	view = get_view_of_state(relid);
	if (view && (eddy_compat_required_privileges(stmt, relid) & ACL_DELETE))
	{
		if ((eddy_compat_required_privileges(stmt, view->relid) & ACL_DELETE) &&
			relid == view->state_table)
			eddy_view_check_delete(view);
		eddy_view_allow_delete(relid);
	}
	direct = eddy_compat_required_privileges(stmt, relid);
	direct &= ACL_INSERT | ACL_UPDATE | ACL_DELETE | ACL_TRUNCATE;
	through = view ? eddy_compat_required_privileges(stmt, view->relid) : 0;
	through &= ACL_INSERT | ACL_UPDATE | ACL_DELETE;
	/* of the view of another role, the server would report what its owner may not */
	if ((through & (ACL_INSERT | ACL_UPDATE)) &&
		eddy_owner_of_relation(view->relid) != GetUserId())
		refuse_result(view, through);
	if (eddy_guard_is_trusted())
	{
		/* pg_restore of a dump that was made with --inserts */
		if ((view || relid == eddy_catalog_relid(EDDY_CATALOG_VIEW)) && (direct & ACL_INSERT))
			eddy_worker_note_restore();
		if (view == NULL)
		{
			eddy_catalog_refresh();
			eddy_watermark_distrust();
		}
		return;
	}
	if (view == NULL)
		return;
	if (through != 0)
	{
		if (direct != ACL_DELETE)
			refuse_result(view, through);
		return;
	}
	if (direct != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", get_rel_name(relid)),
				 errdetail("The table belongs to continuous view \"%s\".",
						   get_rel_name(view->relid)),
				 errhint("Use DELETE on the continuous view to remove groups that are no longer needed.")));
}

static void
executor_start(QueryDesc *queryDesc, int eflags)
{
	PlannedStmt *stmt = queryDesc->plannedstmt;
	ListCell   *lc;

	foreach(lc, stmt->resultRelations)
		check_target(stmt, rt_fetch(lfirst_int(lc), stmt->rtable)->relid);
	if (prev_executor_start)
		prev_executor_start(queryDesc, eflags);
	else
		standard_ExecutorStart(queryDesc, eflags);
}

/* ---- LOCK TABLE ---- */

static void check_lock(Oid relid);

/* LOCK TABLE on a view locks what the view reads; *view is the view whose query this is. */
static bool
check_locked_query(Node *node, void *view)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		ListCell   *lc;

		foreach(lc, ((Query *) node)->rtable)
		{
			RangeTblEntry *rte = lfirst(lc);

			/* OLD and NEW of a rule are the view itself */
			if (rte->rtekind == RTE_RELATION && rte->relid != *(Oid *) view)
				check_lock(rte->relid);
		}
		return query_tree_walker((Query *) node, check_locked_query, view,
								 QTW_IGNORE_JOINALIASES);
	}
	return expression_tree_walker(node, check_locked_query, view);
}

/*
 * True for a table that the streams of all owners share. A segment belongs to the owner of its
 * stream.
 */
static bool
is_shared_table(Oid relid)
{
	return get_rel_namespace(relid) == eddy_catalog_schema() &&
		get_rel_relkind(relid) == RELKIND_RELATION &&
		eddy_catalog_member(relid).kind == EDDY_MEMBER_NONE;
}

static void
check_lock(Oid relid)
{
	EddyView   *view = get_view_of_state(relid);

	check_stack_depth();
	if (view)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot lock the rows of continuous view \"%s\"",
						get_rel_name(view->relid)),
				 errdetail("Writers of its stream would have to wait."),
				 errhint("Use a mode that does not conflict with ROW EXCLUSIVE.")));
	if (is_shared_table(relid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot lock table \"%s\" of pg_eddy", get_rel_name(relid)),
				 errdetail("Writers of all streams would have to wait."),
				 errhint("Use a mode that does not conflict with ROW EXCLUSIVE.")));
	if (get_rel_relkind(relid) == RELKIND_VIEW)
	{
		Relation	rel = try_relation_open(relid, AccessShareLock);

		if (rel == NULL)
			return;
		(void) check_locked_query((Node *) get_view_query(rel), &relid);
		relation_close(rel, AccessShareLock);
	}
}

static bool
is_locked(Oid relid, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	return eddy_compat_lock_held(&tag, mode);
}

/*
 * The state tables, and the tables that all streams share (of Oid), that this process has locked in
 * a mode.
 */
static List *
list_locked(LOCKMODE mode)
{
	List	   *locked = NIL;
	ListCell   *lv;
	ListCell   *lt;

	for (int i = 0; i < EDDY_CATALOG_NTABLES; i++)
		if (is_locked(eddy_catalog_relid(i), mode))
			locked = lappend_oid(locked, eddy_catalog_relid(i));
	foreach(lv, eddy_catalog_list_all_views())
		foreach(lt, ((EddyView *) lfirst(lv))->state_tables)
			if (is_locked(lfirst_oid(lt), mode))
				locked = lappend_oid(locked, lfirst_oid(lt));
	return locked;
}

static bool
is_guarded_lock(const LockStmt *stmt)
{
	/* the weakest mode that conflicts with the lock of a writer */
	return stmt->mode >= ShareLock && eddy_catalog_installed() && !eddy_guard_is_trusted();
}

/*
 * eddy_guard_lock_end checks what LOCK TABLE has locked: while it waited, its names may have got
 * another meaning. held: what eddy_guard_lock has returned.
 */
void
eddy_guard_lock_end(const LockStmt *stmt, const List *held)
{
	ListCell   *lc;

	if (!is_guarded_lock(stmt))
		return;
	foreach(lc, list_difference_oid(list_locked(stmt->mode), held))
		check_lock(lfirst_oid(lc));
}

/*
 * eddy_guard_lock returns the tables behind views, and those of all streams (of Oid), that are
 * locked in this mode before the command.
 */
List *
eddy_guard_lock(const LockStmt *stmt)
{
	ListCell   *lc;

	if (!is_guarded_lock(stmt))
		return NIL;
	foreach(lc, stmt->relations)
	{
		Oid			relid = RangeVarGetRelid(lfirst_node(RangeVar, lc), NoLock, true);

		if (OidIsValid(relid))
			check_lock(relid);
	}
	return list_locked(stmt->mode);
}

void
eddy_guard_view_init(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
}

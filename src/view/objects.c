/*-------------------------------------------------------------------------
 *
 * objects.c
 *    Owners, privileges and dependencies of the objects behind a continuous view.
 *
 * The definition and the state tables belong to the owner of the extension, so that PostgreSQL
 * itself refuses all DDL on them to the owner of the view: a state that was not written by an
 * aggregate function would be read as pointers and lengths. The owner of the view has SELECT and
 * DELETE on the main state table, which the public view needs. These two privileges follow the
 * owner of the public view.
 *
 * The definition has an internal dependency on the public view: when one is dropped, so is the
 * other, and messages name the public view. The public view depends on the main state table, which
 * therefore cannot depend on it: state tables are dropped after the view, when the command ends
 * (api/guard_stream.c). A dump contains owners and privileges, but not that dependency.
 *
 * Locking: AccessExclusiveLock on objects that are dropped or change their owner. Memory: the
 * caller's context. All of it is part of the DDL command's transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "commands/tablecmds.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "owner.h"
#include "relation_acl.h"
#include "view/chain.h"
#include "view/kind.h"
#include "view/kind_deferred.h"
#include "view/kind_panes.h"
#include "view/view.h"

/* The privileges of the owner of a view on its main state table. */
#define OWNER_PRIVILEGES (ACL_SELECT | ACL_DELETE)

/* ---- privileges ---- */

/* Grants OWNER_PRIVILEGES to a role, or revokes them with their grant options. */
static Acl *
change_acl(Acl *acl, bool grant, Oid role, Oid grantor, Oid owner)
{
	AclItem		item = {.ai_grantee = role, .ai_grantor = grantor};

	ACLITEM_SET_PRIVS_GOPTIONS(item, OWNER_PRIVILEGES, grant ? ACL_NO_RIGHTS : OWNER_PRIVILEGES);
	return aclupdate(acl, &item, grant ? ACL_MODECHG_ADD : ACL_MODECHG_DEL, owner, DROP_CASCADE);
}

/*
 * Grants the privileges on a state table to the owner of the view, and revokes them from a former
 * owner, who is recognized by DELETE, which no other role is granted. Other grants are kept,
 * such as SELECT for a consumer that reads through a publication.
 */
static void
sync_privileges(Oid state_table, Oid view_owner, Oid extension_owner)
{
	Acl		   *old;
	Acl		   *acl;
	AclItem    *items;
	int			nitems;
	bool		granted = (view_owner == extension_owner);
	bool		changed = false;

	LockRelationOid(state_table, ShareUpdateExclusiveLock);
	old = eddy_acl_read(state_table);
	acl = old ? old : acldefault(OBJECT_TABLE, extension_owner);
	items = old ? ACL_DAT(old) : NULL;
	nitems = old ? ACL_NUM(old) : 0;
	for (int i = 0; i < nitems; i++)
	{
		if (items[i].ai_grantee == extension_owner)
			continue;
		if (items[i].ai_grantee == view_owner && items[i].ai_grantor == extension_owner &&
			(ACLITEM_GET_PRIVS(items[i]) & OWNER_PRIVILEGES) == OWNER_PRIVILEGES)
			granted = true;
		else if (items[i].ai_grantee != view_owner && (ACLITEM_GET_PRIVS(items[i]) & ACL_DELETE))
		{
			acl = change_acl(acl, false, items[i].ai_grantee, items[i].ai_grantor,
							 extension_owner);
			changed = true;
		}
	}
	if (!granted)
		acl = change_acl(acl, true, view_owner, extension_owner, extension_owner);
	if (changed || !granted)
		eddy_acl_write(state_table, acl);
}

/* eddy_view_seize gives a relation to the owner of the extension and revokes all privileges. */
void
eddy_view_seize(Oid relid)
{
	Oid			owner = eddy_catalog_extension_owner();

	if (eddy_owner_of_relation(relid) != owner)
	{
		ATExecChangeOwner(relid, owner, true, AccessExclusiveLock);
		CommandCounterIncrement();
	}
	/* ALTER DEFAULT PRIVILEGES of the creator must not grant privileges in the new owner's name */
	eddy_acl_reset(relid);
}

/* ---- dependencies ---- */

static void
bind_definition(Oid definition, Oid view)
{
	ObjectAddress part;
	ObjectAddress whole;

	if (eddy_catalog_depends(RelationRelationId, definition, view, false, DEPENDENCY_INTERNAL))
		return;
	ObjectAddressSet(part, RelationRelationId, definition);
	ObjectAddressSet(whole, RelationRelationId, view);
	recordDependencyOn(&part, &whole, DEPENDENCY_INTERNAL);
	CommandCounterIncrement();
}

/* ---- after ALTER and after a restore ---- */

/* False if a state table was dropped. */
static bool
has_state_tables(const EddyView *view)
{
	ListCell   *lc;

	foreach(lc, view->state_tables)
		if (!OidIsValid(eddy_owner_of_relation(lfirst_oid(lc))))
			return false;
	return true;
}

/* Whether the view itself reads a state table, so that its owner needs privileges on it. */
static bool
is_read_by_view(const EddyView *view, Oid state_table)
{
	return state_table == view->state_table ||
	/* the keys of open windows */
		(strcmp(view->kind, eddy_kind_panes.name) == 0 &&
		 state_table == list_nth_oid(view->state_tables, PANE_PANES)) ||
	/* deltas that are not merged yet */
		(strcmp(view->maintenance, "deferred") == 0 &&
		 state_table == list_nth_oid(view->state_tables, DEFERRED_DELTAS));
}

static void
sync_state_table(const EddyView *view, Oid state_table, Oid view_owner, Oid extension_owner)
{
	if (eddy_owner_of_relation(state_table) != extension_owner)
	{
		ATExecChangeOwner(state_table, extension_owner, true, AccessExclusiveLock);
		CommandCounterIncrement();
	}
	if (is_read_by_view(view, state_table))
		sync_privileges(state_table, view_owner, extension_owner);
}

/*
 * eddy_view_sync corrects owners, privileges and dependencies of the objects behind a view, after
 * ALTER ... OWNER and after a restore: of the view that part belongs to, but of its state tables
 * only part, if part is one. The sessions of pg_restore -j hold locks on different state tables,
 * and would wait for each other.
 */
void
eddy_view_sync(Oid part)
{
	EddyView   *view;
	Oid			view_owner;
	Oid			definition_owner;
	Oid			owner;
	ListCell   *lc;

	if (!eddy_catalog_installed())
		return;
	view = eddy_catalog_find_view(part);
	if (!view)
		return;
	view_owner = eddy_owner_of_relation(view->relid);
	definition_owner = eddy_owner_of_relation(view->definition);
	if (!OidIsValid(view_owner) || !OidIsValid(definition_owner) || !has_state_tables(view))
		return;
	owner = eddy_catalog_extension_owner();
	if (list_member_oid(view->state_tables, part))
		sync_state_table(view, part, view_owner, owner);
	else
		foreach(lc, view->state_tables)
			sync_state_table(view, lfirst_oid(lc), view_owner, owner);
	/* last, because each of several sessions may lock it */
	if (definition_owner != owner)
		eddy_view_seize(view->definition);
	bind_definition(view->definition, view->relid);
}

/*
 * eddy_view_bind_definitions records the dependencies of all definitions on their views, which a
 * dump does not contain. Takes no lock that another session could wait for: several sessions
 * restore a dump.
 */
void
eddy_view_bind_definitions(void)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_all_views())
	{
		EddyView   *view = lfirst(lc);

		if (OidIsValid(eddy_owner_of_relation(view->relid)) &&
			OidIsValid(eddy_owner_of_relation(view->definition)))
			bind_definition(view->definition, view->relid);
	}
}

/* ---- dropping ---- */

/* True for a character that continues a name that is not quoted. */
static bool
continues_name(char c)
{
	return IS_HIGHBIT_SET(c) || isalnum((unsigned char) c) || c == '_' || c == '$';
}

/* Replaces a description, but not where it is only the beginning of that of another object. */
static char *
replace_all(const char *subject, const char *from, const char *to)
{
	StringInfoData result;
	const char *found;

	initStringInfo(&result);
	while ((found = strstr(subject, from)) != NULL)
	{
		const char *end = found + strlen(from);

		appendBinaryStringInfo(&result, subject, found - subject);
		appendStringInfoString(&result, continues_name(*end) ? from : to);
		subject = end;
	}
	appendStringInfoString(&result, subject);
	return result.data;
}

/* Adds the state tables that still exist to objects. */
static void
add_state_tables(const EddyView *view, ObjectAddresses *objects)
{
	ListCell   *lc;

	foreach(lc, view->state_tables)
	{
		ObjectAddress table;

		if (!OidIsValid(eddy_owner_of_relation(lfirst_oid(lc))))
			continue;
		ObjectAddressSet(table, RelationRelationId, lfirst_oid(lc));
		add_exact_object_address(&table, objects);
	}
}

/* ---- names in errors ---- */

/* The description of an object behind a view, and that of the view to be shown instead. */
typedef struct HiddenName
{
	char	   *hidden;
	const char *shown;
} HiddenName;

/* Adds an object behind a view to a List of HiddenName. */
static List *
add_hidden_name(List *names, Oid relid, const char *shown)
{
	HiddenName *name = palloc(sizeof(HiddenName));
	ObjectAddress object;

	ObjectAddressSet(object, RelationRelationId, relid);
	name->hidden = getObjectDescription(&object, true);
	name->shown = shown;
	return name->hidden ? lappend(names, name) : names;
}

/*
 * eddy_view_list_definitions returns the descriptions of all definitions, and those of their views,
 * for eddy_view_show_names.
 */
List *
eddy_view_list_definitions(void)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_all_views())
	{
		EddyView   *view = lfirst(lc);
		ObjectAddress object;
		char	   *description;

		ObjectAddressSet(object, RelationRelationId, view->relid);
		description = getObjectDescription(&object, true);
		if (description)
			names = add_hidden_name(names, view->definition,
									psprintf("continuous %s", description));
	}
	return names;
}

/*
 * eddy_view_show_names replaces the objects behind views in the detail of an error; true if there
 * are any.
 */
bool
eddy_view_show_names(ErrorData *error, const List *names)
{
	bool		found = false;
	ListCell   *lc;

	foreach(lc, names)
	{
		const HiddenName *name = lfirst(lc);

		found |= error->detail && strstr(error->detail, name->hidden);
		if (error->detail)
			error->detail = replace_all(error->detail, name->hidden, name->shown);
		if (error->detail_log)
			error->detail_log = replace_all(error->detail_log, name->hidden, name->shown);
	}
	return found;
}

/*
 * eddy_view_show_row_type replaces a state table in the error of a command that would rewrite a
 * stream whose rows are kept as a whole; true if the error is such a one.
 */
bool
eddy_view_show_row_type(ErrorData *error)
{
	ListCell   *lv;
	ListCell   *lt;

	if (error->message_id == NULL ||
		strcmp(error->message_id, "cannot alter table \"%s\" because column \"%s.%s\" uses its row type") != 0)
		return false;
	foreach(lv, eddy_catalog_list_all_views())
	{
		const EddyView *view = lfirst(lv);
		const char *name = get_rel_name(view->relid);

		foreach(lt, view->state_tables)
		{
			const char *table = get_rel_name(lfirst_oid(lt));
			char	   *from = table ? psprintf("\"%s.", table) : NULL;
			char	   *found = from ? strstr(error->message, from) : NULL;
			char	   *end = found ? strchr(found + strlen(from), '"') : NULL;

			if (name == NULL || end == NULL)
				continue;
			error->message = psprintf("%.*s\"%.*s\" of continuous view \"%s\"%s",
									  (int) (found - error->message), error->message,
									  (int) (end - found - strlen(from)), found + strlen(from),
									  name, end + 1);
			return true;
		}
	}
	return false;
}

/* ---- deleting ---- */

/*
 * Deletes objects of a view unless others depend on them. The error then names the continuous
 * view, by its description, instead of its state tables, and has a hint unless that is NULL.
 */
static void
delete_objects(const ObjectAddresses *objects, const EddyView *view, const char *description,
			   const char *hint)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, view->state_tables)
		names = add_hidden_name(names, lfirst_oid(lc), description);
	PG_TRY();
	{
		performMultipleDeletions(objects, DROP_RESTRICT, 0);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (error->sqlerrcode == ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST)
		{
			error->message = psprintf("cannot drop %s because other objects depend on it",
									  description);
			(void) eddy_view_show_names(error, names);
			if (hint)
				error->hint = pstrdup(hint);
		}
		ReThrowError(error);
	}
	PG_END_TRY();
}

/* eddy_view_drop_table drops an object behind a view that still exists, and what depends on it. */
void
eddy_view_drop_table(Oid relid)
{
	ObjectAddress address;

	if (!OidIsValid(eddy_owner_of_relation(relid)))
		return;
	ObjectAddressSet(address, RelationRelationId, relid);
	performDeletion(&address, DROP_CASCADE, PERFORM_DELETION_INTERNAL);
}

/* True if a view reads another one of a List of EddyView. */
static bool
reads_view(const EddyView *view, const List *views)
{
	ListCell   *lc;

	foreach(lc, views)
		if (list_member_oid(view->streams, ((const EddyView *) lfirst(lc))->relid))
			return true;
	return false;
}

/*
 * Deletes the dead letters of a view that was dropped and has read other views: they are rows of
 * these, which are shown to roles that may read them as long as it is known which these are. They
 * cannot be replayed.
 */
static void
delete_letters(Oid view)
{
	PushActiveSnapshot(GetLatestSnapshot());
	eddy_catalog_delete_dead_letters(view);
	PopActiveSnapshot();
}

/* True if a relation exists, as a snapshot sees it. */
static bool
exists_as_of(Oid relid, Snapshot as_of)
{
	Relation	rel = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		exists;

	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, ClassOidIndexId, true, as_of, 1, &key);
	exists = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return exists;
}

static bool
lacks_object(const EddyView *view, Snapshot as_of)
{
	ListCell   *lc;

	foreach(lc, view->state_tables)
		if (!exists_as_of(lfirst_oid(lc), as_of))
			return true;
	return !exists_as_of(view->relid, as_of) || !exists_as_of(view->definition, as_of);
}

/*
 * The row of a view of which an object was dropped; NULL if the view has all of them, or was
 * dropped by another transaction. Row and objects are read with one snapshot: another transaction
 * can replace the query of the view at any time, and then the old objects are gone, but not the
 * view.
 */
static EddyView *
get_incomplete(Oid relid)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EddyView   *view = eddy_catalog_get_view_as_of(relid, snapshot);

	if (view && !lacks_object(view, snapshot))
		view = NULL;
	UnregisterSnapshot(snapshot);
	return view;
}

/*
 * eddy_view_cleanup_dropped drops the remaining objects of views whose public view, definition or
 * state table was dropped: by DROP VIEW, DROP TABLE stream CASCADE, DROP OWNED or DROP SCHEMA.
 * Under DROP_RESTRICT it is an error if other objects depend on a state table; name_of(view, arg)
 * returns the quoted name that a dropped view had, or NULL.
 */
void
eddy_view_cleanup_dropped(DropBehavior behavior,
						  const char *(*name_of) (Oid view, const void *arg), const void *arg)
{
	List	   *views;
	ListCell   *lc;

	if (!eddy_catalog_installed())
		return;
	views = eddy_catalog_list_all_views();
	foreach(lc, views)
	{
		EddyView   *view = lfirst(lc);
		bool		has_view = OidIsValid(eddy_owner_of_relation(view->relid));
		ListCell   *lt;

		if (has_view && has_state_tables(view) &&
			OidIsValid(eddy_owner_of_relation(view->definition)))
			continue;
		/* the list and the caches are of different times */
		view = get_incomplete(view->relid);
		if (view == NULL)
			continue;
		eddy_catalog_delete_view(view->relid);
		if (reads_view(view, views))
			delete_letters(view->relid);
		if (behavior == DROP_RESTRICT && !has_view)
		{
			ObjectAddresses *objects = new_object_addresses();
			const char *name = name_of(view->relid, arg);

			add_state_tables(view, objects);
			delete_objects(objects, view,
						   psprintf("continuous view %s", name ? name : "?"), NULL);
		}
		eddy_view_drop_table(view->relid);
		eddy_view_drop_table(view->definition);
		foreach(lt, view->state_tables)
			eddy_view_drop_table(lfirst_oid(lt));
	}
}

/*
 * eddy_view_drop_parts drops the definition and the state tables of a view that has others now,
 * unless objects of users depend on these tables.
 */
void
eddy_view_drop_parts(const EddyView *old, const EddyView *new)
{
	EddyView	dropped = *old;
	ObjectAddresses *objects = new_object_addresses();
	ObjectAddress view;

	/* the public view does not read it any more */
	deleteDependencyRecordsForSpecific(RelationRelationId, old->definition, DEPENDENCY_INTERNAL,
									   RelationRelationId, old->relid);
	CommandCounterIncrement();
	eddy_view_drop_table(old->definition);
	dropped.state_tables = list_difference_oid(old->state_tables, new->state_tables);
	if (dropped.state_tables == NIL)
		return;
	add_state_tables(&dropped, objects);
	ObjectAddressSet(view, RelationRelationId, old->relid);
	delete_objects(objects, &dropped,
				   psprintf("the state of continuous %s", getObjectDescription(&view, false)),
				   "Let these objects read the continuous view instead.");
}

/* eddy_view_copy_privileges gives a state table those of another one, which it replaces. */
void
eddy_view_copy_privileges(Oid from, Oid to)
{
	Acl		   *acl = eddy_acl_read(from);

	if (acl)
		eddy_acl_write(to, acl);
}

/* eddy_view_drop does what DROP VIEW does, for the owner of the view or of its stream. */
void
eddy_view_drop(Oid relid)
{
	EddyView   *view = eddy_view_get(relid);
	ObjectAddresses *objects = new_object_addresses();
	ObjectAddress public_view;

	eddy_view_check_context("drop");
	eddy_view_check_owner(view, true);

	/* the stream before state tables, as in batches */
	eddy_view_lock_query(relid);
	eddy_chain_lock_sources(view->streams);
	ObjectAddressSet(public_view, RelationRelationId, view->relid);
	add_exact_object_address(&public_view, objects);
	add_state_tables(view, objects);
	delete_objects(objects, view,
				   psprintf("continuous %s", getObjectDescription(&public_view, false)), NULL);
	/* before the end of a command or of the transaction, when the guard would detect it */
	eddy_view_cleanup_dropped(DROP_CASCADE, NULL, NULL);
}

/* eddy_view_get returns the view of which relid is the public view; anything else is an error. */
EddyView *
eddy_view_get(Oid relid)
{
	EddyView   *view = eddy_catalog_get_view(relid);

	if (view == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a continuous view",
						get_rel_name(relid) ? get_rel_name(relid) : "?"),
				 errhint("eddy.continuous_views lists the continuous views of this database.")));
	return view;
}

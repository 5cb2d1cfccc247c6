/*-------------------------------------------------------------------------
 *
 * guard_changes.c
 *    The objects that utility commands create, alter and drop.
 *
 * object_access_hook notes the OIDs of the objects that a command touches, whatever the command is
 * called and however it names them (search_path, DO blocks, functions, CASCADE). When the
 * command ends, the notes are given to guard_stream.c. Objects that were noted and then rolled
 * back to a savepoint do no harm, because the checks inspect the resulting state.
 *
 * Commands nest: an expression in ALTER TABLE may call a function that executes DDL. Each
 * command has a list of its own, so that an inner one does not check what the outer one has only
 * half done. Changes that C code of other extensions makes outside of commands are checked before
 * commit.
 *
 * Tables that TRUNCATE empties, and relations of which a column is altered, are noted in lists of
 * their own, which hooks.c reads when the command has ended.
 *
 * Cost: an ordinary command calls the hook, which does nothing; one that drops a table looks it up
 * in a hash table (catalog/member.c). No locks but AccessShareLock on system catalogs.
 * Memory: the lists live in TopTransactionContext.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_subscription.h"
#include "catalog/pg_trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "api/guard_changes.h"
#include "api/guard_stream.h"
#include "catalog/eddy_catalog.h"
#include "stream/stream.h"

static object_access_hook_type prev_object_access = NULL;

static EddyGuardFrame outside;	/* changes made outside of utility commands */
static EddyGuardFrame *current = &outside;

static bool
is_watched_class(Oid class_id)
{
	switch (class_id)
	{
		case RelationRelationId:
		case TriggerRelationId:
		case ConstraintRelationId:
		case RewriteRelationId:
		case PolicyRelationId:
		case InheritsRelationId:
		case AttrDefaultRelationId:
		case SubscriptionRelationId:
		case ForeignServerRelationId:
			return true;
		default:
			return false;
	}
}

static void
note(Oid class_id, Oid object, Oid other, EddyChangeKind kind, bool internal)
{
	bool		privileged = superuser();
	MemoryContext old_context;
	EddyChange *change;

	/* a command that changes many columns reports the table each time */
	if (current->changes != NIL)
	{
		change = llast(current->changes);
		if (change->class_id == class_id && change->object == object && change->other == other &&
			change->kind == kind && change->internal == internal &&
			change->privileged == privileged)
			return;
	}
	old_context = MemoryContextSwitchTo(TopTransactionContext);
	change = palloc(sizeof(EddyChange));
	change->class_id = class_id;
	change->object = object;
	change->other = other;
	change->kind = kind;
	change->internal = internal;
	change->privileged = privileged;
	change->name = NULL;
	if (class_id == RelationRelationId && kind == EDDY_CHANGE_DROPPED &&
		eddy_catalog_member(object).kind == EDDY_MEMBER_VIEW)
		change->name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(object)),
												  get_rel_name(object));
	current->changes = lappend(current->changes, change);
	MemoryContextSwitchTo(old_context);
}

Oid
eddy_guard_trigger_table(Oid trigger, FormData_pg_trigger *form)
{
	HeapTuple	tuple = eddy_catalog_find_by_oid(TriggerRelationId, TriggerOidIndexId,
												 Anum_pg_trigger_oid, trigger);

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	*form = *(Form_pg_trigger) GETSTRUCT(tuple);
	heap_freetuple(tuple);
	return form->tgrelid;
}

bool
eddy_guard_is_our_trigger(const FormData_pg_trigger *form)
{
	return get_func_namespace(form->tgfoid) == eddy_catalog_schema();
}

/*
 * Called while the object still exists in the system catalogs: notes also the table it belongs to.
 */
static void
note_drop(Oid class_id, Oid object)
{
	Oid			table = InvalidOid;
	FormData_pg_trigger form;

	if (class_id == TriggerRelationId)
	{
		if (!eddy_catalog_has_members())
			return;
		table = eddy_guard_trigger_table(object, &form);
		if (eddy_catalog_member(table).kind != EDDY_MEMBER_STREAM ||
			!eddy_guard_is_our_trigger(&form))
			return;
	}
	else if (class_id == ConstraintRelationId)
	{
		HeapTuple	tuple;

		if (!eddy_catalog_has_members())
			return;
		tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(object));
		if (!HeapTupleIsValid(tuple))
			return;
		table = ((Form_pg_constraint) GETSTRUCT(tuple))->conrelid;
		ReleaseSysCache(tuple);
		if (eddy_catalog_member(table).kind == EDDY_MEMBER_NONE)
			return;
	}
	else if (class_id != RelationRelationId && class_id != ForeignServerRelationId)
		return;
	note(class_id, object, table, EDDY_CHANGE_DROPPED, false);
}

/* Adds to a list of the current command; outside of commands it is not read. */
static void
add_to_frame(List **list, Oid relid)
{
	MemoryContext old_context;

	if (current == &outside || (*list != NIL && llast_oid(*list) == relid))
		return;
	old_context = MemoryContextSwitchTo(TopTransactionContext);
	*list = lappend_oid(*list, relid);
	MemoryContextSwitchTo(old_context);
}

static void
object_access(ObjectAccessType access, Oid class_id, Oid object, int sub, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object, sub, arg);

	if (access == OAT_TRUNCATE)
	{
		eddy_guard_check_truncate(object, &current->truncating);
		if (eddy_catalog_member(object).kind != EDDY_MEMBER_NONE)
			add_to_frame(&current->truncated, object);
	}
	if (eddy_stream_altering_segment())
		return;
	switch (access)
	{
		case OAT_POST_CREATE:
			if (is_watched_class(class_id))
				note(class_id, object, InvalidOid, EDDY_CHANGE_CREATED,
					 arg && ((ObjectAccessPostCreate *) arg)->is_internal);
			break;
		case OAT_POST_ALTER:
			if (class_id == RelationRelationId && sub > 0)
				add_to_frame(&current->column_altered, object);
			if (is_watched_class(class_id))
				note(class_id, object,
					 class_id == InheritsRelationId && arg ?
					 ((ObjectAccessPostAlter *) arg)->auxiliary_id : InvalidOid,
					 EDDY_CHANGE_ALTERED, arg && ((ObjectAccessPostAlter *) arg)->is_internal);
			break;
		case OAT_DROP:
			/* dropping a column alters its table */
			if (class_id == RelationRelationId && sub != 0)
				note(class_id, object, InvalidOid, EDDY_CHANGE_ALTERED, false);
			else
				note_drop(class_id, object);
			break;
		default:
			break;
	}
}

void
eddy_guard_note(Oid relid)
{
	note(RelationRelationId, relid, InvalidOid, EDDY_CHANGE_ALTERED, false);
}

/* ---- commands ---- */

static void
check_frame(EddyGuardFrame *frame, DropBehavior behavior)
{
	/* following a change makes changes of its own */
	while (frame->changes != NIL)
	{
		MemoryContext mcxt;
		MemoryContext old_context;
		List	   *changes = frame->changes;

		frame->changes = NIL;
		if (!eddy_catalog_has_members())
			return;
		CommandCounterIncrement();	/* makes the last writes of the command visible */
		mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy guard", ALLOCSET_SMALL_SIZES);
		old_context = MemoryContextSwitchTo(mcxt);
		eddy_guard_follow(changes, behavior);
		MemoryContextSwitchTo(old_context);
		MemoryContextDelete(mcxt);
	}
}

void
eddy_guard_begin(EddyGuardFrame *frame)
{
	frame->changes = NIL;
	frame->truncating = InvalidOid;
	frame->truncated = NIL;
	frame->column_altered = NIL;
	frame->outer = current;
	current = frame;
}

/*
 * eddy_guard_check raises an error if the command left a stream or segment in a state that is not
 * permitted, or dropped a continuous view by DROP_RESTRICT on whose state table others depend.
 */
void
eddy_guard_check(DropBehavior behavior)
{
	check_frame(current, behavior);
}

void
eddy_guard_end(EddyGuardFrame *frame)
{
	current = frame->outer;
}

static void
at_transaction_event(XactEvent event, void *arg pg_attribute_unused())
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			for (EddyGuardFrame *frame = current; frame != NULL; frame = frame->outer)
				check_frame(frame, DROP_CASCADE);
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			/* the memory was that of the transaction */
			for (EddyGuardFrame *frame = current; frame != NULL; frame = frame->outer)
				frame->changes = frame->truncated = frame->column_altered = NIL;
			break;
		default:
			break;
	}
}

void
eddy_guard_changes_init(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
	RegisterXactCallback(at_transaction_event, NULL);
}

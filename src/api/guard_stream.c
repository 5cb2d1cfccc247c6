/*-------------------------------------------------------------------------
 *
 * guard_stream.c
 *    Guards streams and segments against DDL, and lets our catalog follow it.
 *
 * object_access_hook notes the OIDs of the objects that a command creates, alters or drops. When
 * the command ends, the relations that they belong to are inspected, whatever the command was
 * called and however it named them (search_path, DO blocks, functions, CASCADE):
 *
 *   dropped      what our catalog still says about them is deleted
 *   stream       must still be a table that can be a stream (stream/shape.c), its triggers must
 *                be enabled as we made them, and its segments must match it
 *   segment      may have changed only together with its stream, by a command that recursed
 *   view         owners and privileges of the internal relations follow
 *
 * What does not hold is an error, and the command is undone. Objects that were noted and then
 * rolled back to a savepoint do no harm, because the checks look at the resulting state.
 * Direct DML on segments is refused by ExecutorCheckPerms_hook, TRUNCATE by its own
 * object access. Superusers may do everything to segments, as pg_restore must; the segment
 * writer does not trust them and checks again (stream/write.c).
 *
 * Commands nest: an expression in ALTER TABLE may call a function that executes DDL. Each
 * command has a list of its own, so an inner one does not inspect what the outer one has
 * half done. What C code of other extensions changes outside of commands is inspected before
 * commit.
 *
 * Cost: an ordinary command calls the hook and does nothing; one that creates or drops a
 * table looks its OIDs up in a hash table (catalog/member.c). Locking: a view that was dropped
 * locks its stream before its state table, in the order of internals.md.
 * Memory: lists live in TopTransactionContext.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
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
#include "commands/trigger.h"
#include "executor/executor.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "api/guard_stream.h"
#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "stream/stream.h"
#include "view/view.h"
#include "worker/worker.h"

typedef enum ChangeKind
{
	CHANGE_CREATED,
	CHANGE_ALTERED,
	CHANGE_DROPPED
} ChangeKind;

/* One object that a command has touched. */
typedef struct Change
{
	Oid			class_id;
	Oid			object;
	Oid			other;			/* parent in pg_inherits; table of a dropped object */
	ChangeKind	kind;
	bool		internal;		/* part of something else: a rewrite, a constraint's trigger */
	bool		privileged;		/* by a superuser */
	char	   *name;			/* of a dropped continuous view, quoted; else NULL */
} Change;

/* What is known about the relations of a command once its changes are resolved. */
typedef struct Findings
{
	List	   *streams;		/* Oids of streams to check */
	List	   *altered;		/* of these, Oids of those altered themselves */
	List	   *segments;		/* Oids of segments altered by someone who is not a superuser */
	List	   *views;			/* Oids of views, or parts of views, that were altered */
	List	   *bereft;			/* Oids of streams with a view that was dropped */
	List	   *triggers;		/* Oids of triggers that were altered */
	List	   *new_triggers;	/* Oids of triggers that were created or replaced */
	List	   *lost_triggers;	/* Oids of streams that have lost a trigger of ours */
	bool		dropped;		/* something of ours is gone */
	bool		server_dropped;
	bool		subscribed;
} Findings;

static object_access_hook_type prev_object_access = NULL;
static ExecutorCheckPerms_hook_type prev_check_perms = NULL;

static EddyGuardFrame outside;	/* changes made outside of utility commands */
static EddyGuardFrame *current = &outside;

/* What a command has dropped, while its check runs. */
static const List *following = NIL;

/* TRUNCATE reports a table and then its children. */
static Oid	truncating = InvalidOid;

/* ---- noting changes ---- */

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
note(Oid class_id, Oid object, Oid other, ChangeKind kind, bool internal)
{
	bool		privileged = superuser();
	MemoryContext old_context;
	Change	   *change;

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
	change = palloc(sizeof(Change));
	change->class_id = class_id;
	change->object = object;
	change->other = other;
	change->kind = kind;
	change->internal = internal;
	change->privileged = privileged;
	change->name = NULL;
	if (class_id == RelationRelationId && kind == CHANGE_DROPPED &&
		eddy_catalog_member(object).kind == EDDY_MEMBER_VIEW)
		change->name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(object)),
												  get_rel_name(object));
	current->changes = lappend(current->changes, change);
	MemoryContextSwitchTo(old_context);
}

/* A copy of the row with that OID of a catalog without a syscache for it, or NULL. */
static HeapTuple
find_by_oid(Oid catalog, Oid index, AttrNumber attnum, Oid object)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, attnum, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object));
	scan = systable_beginscan(rel, index, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return tuple;
}

/* The table of a trigger, with the trigger itself in *form; InvalidOid if it does not exist. */
static Oid
table_of_trigger(Oid trigger, FormData_pg_trigger *form)
{
	HeapTuple	tuple = find_by_oid(TriggerRelationId, TriggerOidIndexId, Anum_pg_trigger_oid,
									trigger);

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	*form = *(Form_pg_trigger) GETSTRUCT(tuple);
	heap_freetuple(tuple);
	return form->tgrelid;
}

/* True if a trigger calls a function of ours. */
static bool
is_our_trigger(const FormData_pg_trigger *form)
{
	return get_func_namespace(form->tgfoid) == eddy_catalog_schema();
}

/* While a row of the system catalogs is still there: the table that it belongs to. */
static void
note_drop(Oid class_id, Oid object, bool internal)
{
	Oid			table = InvalidOid;
	FormData_pg_trigger form;

	if (class_id == TriggerRelationId)
	{
		if (!eddy_catalog_has_members())
			return;
		table = table_of_trigger(object, &form);
		if (eddy_catalog_member(table).kind != EDDY_MEMBER_STREAM || !is_our_trigger(&form))
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
	note(class_id, object, table, CHANGE_DROPPED, internal);
}

/* TRUNCATE of a segment must come from TRUNCATE of its stream. */
static void
check_truncate(Oid relid)
{
	EddyMember	member = eddy_catalog_member(relid);

	if (member.kind != EDDY_MEMBER_SEGMENT)
		truncating = relid;
	else if (member.stream != truncating && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot truncate segment \"%s\" of stream \"%s\"", get_rel_name(relid),
						get_rel_name(member.stream)),
				 errhint("TRUNCATE the stream.")));
}

static void
object_access(ObjectAccessType access, Oid class_id, Oid object, int sub, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object, sub, arg);

	switch (access)
	{
		case OAT_POST_CREATE:
			if (is_watched_class(class_id) && !eddy_stream_altering_segment())
				note(class_id, object, InvalidOid, CHANGE_CREATED,
					 arg && ((ObjectAccessPostCreate *) arg)->is_internal);
			break;
		case OAT_POST_ALTER:
			if (is_watched_class(class_id) && !eddy_stream_altering_segment())
				note(class_id, object,
					 class_id == InheritsRelationId && arg ?
					 ((ObjectAccessPostAlter *) arg)->auxiliary_id : InvalidOid,
					 CHANGE_ALTERED, arg && ((ObjectAccessPostAlter *) arg)->is_internal);
			break;
		case OAT_DROP:
			if (!eddy_stream_altering_segment())
			{
				/* a column is an alteration of its table */
				if (class_id == RelationRelationId && sub != 0)
					note(class_id, object, InvalidOid, CHANGE_ALTERED, false);
				else
					note_drop(class_id, object, false);
			}
			break;
		case OAT_TRUNCATE:
			check_truncate(object);
			break;
		default:
			break;
	}
}

/* ---- from changes to relations ---- */

static void
add_relation(Findings *findings, Oid relid, const Change *change, bool itself)
{
	EddyMember	member = eddy_catalog_member(relid);

	switch (member.kind)
	{
		case EDDY_MEMBER_NONE:
			break;
		case EDDY_MEMBER_STREAM:
			findings->streams = list_append_unique_oid(findings->streams, relid);
			if (itself)
				findings->altered = list_append_unique_oid(findings->altered, relid);
			break;
		case EDDY_MEMBER_SEGMENT:
			findings->streams = list_append_unique_oid(findings->streams, member.stream);
			if (!change->privileged && !change->internal)
				findings->segments = list_append_unique_oid(findings->segments, relid);
			break;
		case EDDY_MEMBER_VIEW:
			findings->views = list_append_unique_oid(findings->views, relid);
			break;
	}
}

/* A relation was created or altered; indexes belong to their table. */
static void
resolve_relation(Findings *findings, const Change *change)
{
	if (eddy_catalog_member(change->object).kind != EDDY_MEMBER_NONE)
		add_relation(findings, change->object, change, true);
	else if (change->kind == CHANGE_CREATED && get_rel_relkind(change->object) == RELKIND_INDEX)
		add_relation(findings, IndexGetRelation(change->object, true), change, true);
}

static void
resolve_trigger(Findings *findings, const Change *change)
{
	FormData_pg_trigger form;
	Oid			relid;

	if (change->kind == CHANGE_DROPPED)
	{
		findings->lost_triggers = list_append_unique_oid(findings->lost_triggers, change->other);
		return;
	}
	relid = table_of_trigger(change->object, &form);
	if (!OidIsValid(relid))
		return;
	add_relation(findings, relid, change, true);
	if (change->kind == CHANGE_ALTERED)
		findings->triggers = lappend_oid(findings->triggers, change->object);
	else
		findings->new_triggers = lappend_oid(findings->new_triggers, change->object);
}

static void
resolve_constraint(Findings *findings, const Change *change)
{
	HeapTuple	tuple;

	if (change->kind == CHANGE_DROPPED)
	{
		add_relation(findings, change->other, change, true);
		return;
	}
	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(change->object));
	if (!HeapTupleIsValid(tuple))
		return;
	add_relation(findings, ((Form_pg_constraint) GETSTRUCT(tuple))->conrelid, change, true);
	add_relation(findings, ((Form_pg_constraint) GETSTRUCT(tuple))->confrelid, change, false);
	ReleaseSysCache(tuple);
}

static void
resolve_dropped(Findings *findings, const Change *change)
{
	EddyMember	member = eddy_catalog_member(change->object);

	/* a table of the user's: the usual case */
	if (member.kind == EDDY_MEMBER_NONE)
		return;
	findings->dropped = true;
	if (member.kind == EDDY_MEMBER_VIEW)
		findings->bereft = list_append_unique_oid(findings->bereft, member.stream);
	else
		add_relation(findings, change->object, change, member.kind == EDDY_MEMBER_STREAM);
}

static void
resolve(Findings *findings, const Change *change)
{
	HeapTuple	tuple = NULL;

	switch (change->class_id)
	{
		case RelationRelationId:
			if (change->kind == CHANGE_DROPPED)
				resolve_dropped(findings, change);
			else
				resolve_relation(findings, change);
			break;
		case TriggerRelationId:
			resolve_trigger(findings, change);
			break;
		case ConstraintRelationId:
			resolve_constraint(findings, change);
			break;
		case InheritsRelationId:
			add_relation(findings, change->object, change, true);
			add_relation(findings, change->other, change, false);
			break;
		case RewriteRelationId:
			tuple = find_by_oid(RewriteRelationId, RewriteOidIndexId, Anum_pg_rewrite_oid,
								change->object);
			if (tuple)
				add_relation(findings, ((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class, change,
							 true);
			break;
		case PolicyRelationId:
			tuple = find_by_oid(PolicyRelationId, PolicyOidIndexId, Anum_pg_policy_oid,
								change->object);
			if (tuple)
				add_relation(findings, ((Form_pg_policy) GETSTRUCT(tuple))->polrelid, change,
							 true);
			break;
		case AttrDefaultRelationId:
			/* reported as a column of the table */
			add_relation(findings, change->object, change, true);
			break;
		case SubscriptionRelationId:
			findings->subscribed = true;
			break;
		case ForeignServerRelationId:
			findings->server_dropped |= change->kind == CHANGE_DROPPED;
			break;
	}
	if (tuple)
		heap_freetuple(tuple);
}

/* ---- checks ---- */

/* Our triggers by the function they call, and how they must be enabled. */
static const struct
{
	const char *function;
	const char *name;
	char		enabled;
}			our_triggers[] = {
	{"_capture", "pg_eddy_capture", TRIGGER_FIRES_ALWAYS},
	{"_refuse_change", "pg_eddy_refuse", TRIGGER_FIRES_ALWAYS},
	{"_refuse_apply", "pg_eddy_refuse_apply", TRIGGER_FIRES_ON_REPLICA},
};

static void
refuse_trigger_change(const char *message, const char *trigger, Oid stream)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg(message, trigger, get_rel_name(stream)),
			 errdetail("Rows inserted meanwhile could be missing from its continuous views."),
			 errhint("Triggers of yours can be enabled and disabled by name.")));
}

/*
 * A trigger of a stream must call our function if, and only if, it has our name. How it is
 * enabled is checked when that is changed: pg_restore creates it first and enables it then.
 */
static void
check_trigger(Oid trigger, bool altered)
{
	FormData_pg_trigger form;
	Oid			relid = table_of_trigger(trigger, &form);
	const char *function;

	if (!OidIsValid(relid) || eddy_catalog_member(relid).kind != EDDY_MEMBER_STREAM)
		return;
	function = is_our_trigger(&form) ? get_func_name(form.tgfoid) : "";
	for (int i = 0; function && i < (int) lengthof(our_triggers); i++)
	{
		bool		has_function = strcmp(our_triggers[i].function, function) == 0;
		bool		has_name = strcmp(our_triggers[i].name, NameStr(form.tgname)) == 0;

		if (has_name && !has_function)
			refuse_trigger_change("cannot replace trigger \"%s\" of stream \"%s\"",
								  our_triggers[i].name, relid);
		if (has_function && !has_name)
			refuse_trigger_change("cannot rename trigger \"%s\" of stream \"%s\"",
								  our_triggers[i].name, relid);
		if (has_function && altered && form.tgenabled != our_triggers[i].enabled)
			refuse_trigger_change("cannot enable or disable trigger \"%s\" of stream \"%s\"",
								  our_triggers[i].name, relid);
	}
}

static void
check_lost_trigger(Oid stream)
{
	const char *name = get_rel_name(stream);

	/* the stream is dropped as well, or is not a stream any more */
	if (name == NULL || eddy_catalog_member(stream).kind != EDDY_MEMBER_STREAM)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot drop a trigger of pg_eddy from stream \"%s\"", name),
			 errdetail("The continuous views of the stream would silently miss rows."),
			 errhint("Drop the stream with eddy.drop_stream or DROP TABLE.")));
}

/* A segment may change only together with its stream. */
static void
check_segment(Oid relid, const List *altered)
{
	EddyMember	member = eddy_catalog_member(relid);
	const char *stream = get_rel_name(member.stream);
	const char *segment = get_rel_name(relid);

	if (member.kind != EDDY_MEMBER_SEGMENT || stream == NULL ||
		(segment != NULL && list_member_oid(altered, member.stream)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 segment ? errmsg("cannot alter segment \"%s\" of stream \"%s\"", segment, stream) :
			 errmsg("cannot drop a segment of stream \"%s\"", stream),
			 errdetail("Segments are created, altered and dropped with their stream."),
			 errhint("Use the command on the stream.")));
}

/* ALTER TABLE ONLY can leave the stream and its segments with different columns. */
static void
check_segments_match(Relation stream)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_segments(RelationGetRelid(stream)))
	{
		Oid			relid = ((EddySegment *) lfirst(lc))->relid;
		const char *problem = eddy_stream_check_segment(relid, stream);

		if (problem)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("segment \"%s\" would no longer match stream \"%s\"",
							get_rel_name(relid), RelationGetRelationName(stream)),
					 errdetail_internal("%s", problem),
					 errhint("Use the command without ONLY on the stream.")));
	}
}

static void
check_stream(Oid relid, bool altered)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);
	EddyShapeProblem problem;

	if (rel == NULL)
		return;
	if (eddy_catalog_member(relid).kind == EDDY_MEMBER_STREAM)
	{
		if (!eddy_stream_check_shape(rel, &problem))
			ereport(ERROR,
					(errcode(problem.sqlerrcode),
					 errmsg("command would make \"%s\" unfit to be a stream",
							RelationGetRelationName(rel)),
					 errdetail_internal("%s", problem.detail),
					 problem.hint ? errhint("%s", problem.hint) : 0));
		if (altered)
			check_segments_match(rel);
	}
	relation_close(rel, AccessShareLock);
}

/* CREATE and ALTER SUBSCRIPTION do not report their tables. */
static void
check_subscriptions(void)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_streams())
	{
		Oid			relid = ((EddyStream *) lfirst(lc))->relid;

		if (eddy_stream_is_subscribed(relid))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot replicate into stream \"%s\"", get_rel_name(relid)),
					 errdetail("Its continuous views cannot see the rows that a subscription writes."),
					 errhint("Take the table out of the publication, or replicate into another table. "
							 "A replication slot that was just created on the publisher has to be dropped there.")));
	}
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

/* ---- the end of a command ---- */

/* The name that a continuous view had, or NULL. */
static const char *
name_of_dropped(Oid view)
{
	ListCell   *lc;

	foreach(lc, following)
	{
		const Change *change = lfirst(lc);

		if (change->class_id == RelationRelationId && change->object == view && change->name)
			return change->name;
	}
	return NULL;
}

/* Lets our catalog follow, which can drop more, and then checks what has to hold. */
static void
follow_and_check(const List *changes, DropBehavior behavior)
{
	Findings	findings = {0};
	ListCell   *lc;

	foreach(lc, changes)
		resolve(&findings, lfirst(lc));

	/* before anything is deleted from our catalog, while it still knows what a segment is */
	foreach(lc, findings.segments)
		check_segment(lfirst_oid(lc), findings.altered);

	/* stream before state tables, in one order, as batches lock them */
	list_sort(findings.bereft, list_oid_cmp);
	foreach(lc, findings.bereft)
		LockRelationOid(lfirst_oid(lc), ShareRowExclusiveLock);
	if (findings.bereft != NIL)
	{
		following = changes;
		eddy_view_cleanup_dropped(behavior, name_of_dropped);
		following = NIL;
	}
	foreach(lc, findings.views)
		eddy_view_sync(lfirst_oid(lc));
	if (findings.dropped)
		eddy_stream_cleanup_dropped(findings.streams);
	if (findings.server_dropped)
		check_servers();
	foreach(lc, findings.altered)
		eddy_stream_sync(lfirst_oid(lc));

	foreach(lc, findings.lost_triggers)
		check_lost_trigger(lfirst_oid(lc));
	foreach(lc, findings.triggers)
		check_trigger(lfirst_oid(lc), true);
	foreach(lc, findings.new_triggers)
		check_trigger(lfirst_oid(lc), false);
	foreach(lc, findings.streams)
		check_stream(lfirst_oid(lc), list_member_oid(findings.altered, lfirst_oid(lc)));
	if (findings.subscribed)
		check_subscriptions();
	if (findings.dropped)
		eddy_worker_wakeup_at_commit();
}

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
		CommandCounterIncrement();	/* what the command wrote last */
		mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy guard", ALLOCSET_SMALL_SIZES);
		old_context = MemoryContextSwitchTo(mcxt);
		follow_and_check(changes, behavior);
		MemoryContextSwitchTo(old_context);
		MemoryContextDelete(mcxt);
	}
}

/*
 * DROP VIEW locks a continuous view and its definition. Batches of its stream, which hold the
 * stream, need the definition now and then; so we lock the stream first.
 */
void
eddy_guard_lock_streams(const DropStmt *stmt)
{
	List	   *streams = NIL;
	ListCell   *lc;

	if (!eddy_catalog_has_members())
		return;
	foreach(lc, stmt->objects)
	{
		Oid			relid = RangeVarGetRelid(makeRangeVarFromNameList(lfirst(lc)), NoLock, true);
		EddyMember	member = eddy_catalog_member(relid);

		/* the command fails for others, who must not be able to block writers */
		if (member.kind == EDDY_MEMBER_VIEW && eddy_compat_class_ownercheck(relid, GetUserId()))
			streams = list_append_unique_oid(streams, member.stream);
	}
	list_sort(streams, list_oid_cmp);
	foreach(lc, streams)
		LockRelationOid(lfirst_oid(lc), ShareRowExclusiveLock);
}

void
eddy_guard_begin(EddyGuardFrame *frame)
{
	frame->changes = NIL;
	frame->outer = current;
	current = frame;
	truncating = InvalidOid;
}

void
eddy_guard_check(DropBehavior behavior)
{
	check_frame(current, behavior);
}

void
eddy_guard_note(Oid relid)
{
	note(RelationRelationId, relid, InvalidOid, CHANGE_ALTERED, false);
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
			/* the memory goes with the transaction */
			for (EddyGuardFrame *frame = current; frame != NULL; frame = frame->outer)
				frame->changes = NIL;
			break;
		default:
			break;
	}
}

/* ---- direct DML ---- */

/*
 * True if a statement writes to a segment that it names. Segments that the planner adds to a
 * query on their stream require no privileges. Reading is nobody's business but the owner's.
 */
static bool
writes_segment(List *permissions, Oid *segment)
{
	ListCell   *lc;

	foreach(lc, permissions)
	{
		EddyCompatPermission *permission = lfirst(lc);

		if ((permission->requiredPerms & (ACL_INSERT | ACL_UPDATE | ACL_DELETE)) == 0 ||
			!eddy_catalog_is_segment(permission->relid))
			continue;
		*segment = permission->relid;
		return true;
	}
	return false;
}

static bool
check_perms(EDDY_COMPAT_CHECK_PERMS_ARGS)
{
	Oid			segment;

	if (prev_check_perms && !prev_check_perms(EDDY_COMPAT_CHECK_PERMS_PASS))
		return false;
	if (!writes_segment(EDDY_COMPAT_CHECK_PERMS_LIST, &segment) || superuser())
		return true;
	if (report)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot change rows of segment \"%s\" of stream \"%s\"",
						get_rel_name(segment),
						get_rel_name(eddy_catalog_member(segment).stream)),
				 errhint("Insert into the stream.")));
	return false;
}

void
eddy_guard_stream_init(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
	prev_check_perms = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = check_perms;
	RegisterXactCallback(at_transaction_event, NULL);
}

/*-------------------------------------------------------------------------
 *
 * guard_stream.c
 *    Guards streams and segments against DDL, and lets our catalog follow it.
 *
 * When a command ends, the relations that it touched (guard_changes.c) are checked:
 *
 *   dropped      their rows are deleted from our catalog
 *   stream       must still be a table that can be a stream (stream/shape.c), its triggers must
 *                be enabled as we created them, and its segments must match it
 *   segment      may have changed only together with its stream, by a command that recursed
 *   view         owners and privileges of the internal relations are updated
 *
 * A violation is an error, which undoes the command. Direct DML on segments is refused by
 * ExecutorCheckPerms_hook, TRUNCATE by its own object access. Superusers may change segments, as
 * pg_restore must; the segment writer does not rely on them and checks again (stream/write.c).
 *
 * Locking: dropping a view locks its stream before its state table, in the order of internals.md.
 * Memory: the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/catalog.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_subscription.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "api/guard_stream.h"
#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "stream/stream.h"
#include "view/view.h"
#include "worker/worker.h"

/* The relations of a command, once its changes are resolved. */
typedef struct Findings
{
	List	   *streams;		/* Oids of streams to check */
	List	   *altered;		/* of these, Oids of those altered themselves */
	List	   *segments;		/* Oids of segments altered by a role that is not a superuser */
	List	   *views;			/* Oids of views, or parts of views, that were altered */
	List	   *lost_views;		/* Oids of streams with a view that was dropped */
	List	   *triggers;		/* Oids of triggers that were altered */
	List	   *new_triggers;	/* Oids of triggers that were created or replaced */
	List	   *lost_triggers;	/* Oids of streams with a trigger of ours that was dropped */
	bool		dropped;		/* a relation of ours was dropped */
	bool		server_dropped;
	bool		subscribed;
} Findings;

static ExecutorCheckPerms_hook_type prev_check_perms = NULL;

/* ---- from changes to relations ---- */

static void
add_relation(Findings *findings, Oid relid, const EddyChange *change, bool itself)
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

/*
 * A relation was created or altered; indexes belong to their table. An index of a state table
 * changes nothing that has to be followed, and two sessions of pg_restore may create indexes of one
 * table.
 */
static void
resolve_relation(Findings *findings, const EddyChange *change)
{
	Oid			table;

	if (eddy_catalog_member(change->object).kind != EDDY_MEMBER_NONE)
		add_relation(findings, change->object, change, true);
	else if (change->kind == EDDY_CHANGE_CREATED && get_rel_relkind(change->object) == RELKIND_INDEX)
	{
		table = IndexGetRelation(change->object, true);
		if (eddy_catalog_member(table).kind != EDDY_MEMBER_VIEW)
			add_relation(findings, table, change, true);
	}
}

static void
resolve_trigger(Findings *findings, const EddyChange *change)
{
	FormData_pg_trigger form;
	Oid			relid;

	if (change->kind == EDDY_CHANGE_DROPPED)
	{
		findings->lost_triggers = list_append_unique_oid(findings->lost_triggers, change->other);
		return;
	}
	relid = eddy_guard_trigger_table(change->object, &form);
	if (!OidIsValid(relid))
		return;
	add_relation(findings, relid, change, true);
	if (change->kind == EDDY_CHANGE_ALTERED)
		findings->triggers = lappend_oid(findings->triggers, change->object);
	else
		findings->new_triggers = lappend_oid(findings->new_triggers, change->object);
}

static void
resolve_constraint(Findings *findings, const EddyChange *change)
{
	HeapTuple	tuple;

	if (change->kind == EDDY_CHANGE_DROPPED)
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
resolve_dropped(Findings *findings, const EddyChange *change)
{
	EddyMember	member = eddy_catalog_member(change->object);

	/* the usual case: an ordinary table */
	if (member.kind == EDDY_MEMBER_NONE)
		return;
	findings->dropped = true;
	if (member.kind == EDDY_MEMBER_VIEW)
		findings->lost_views = list_concat_unique_oid(findings->lost_views, member.streams);
	else
		add_relation(findings, change->object, change, member.kind == EDDY_MEMBER_STREAM);
}

static void
resolve(Findings *findings, const EddyChange *change)
{
	HeapTuple	tuple = NULL;

	switch (change->class_id)
	{
		case RelationRelationId:
			if (change->kind == EDDY_CHANGE_DROPPED)
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
			tuple = eddy_catalog_find_by_oid(RewriteRelationId, RewriteOidIndexId,
											 Anum_pg_rewrite_oid, change->object);
			if (tuple)
				add_relation(findings, ((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class, change,
							 true);
			break;
		case PolicyRelationId:
			tuple = eddy_catalog_find_by_oid(PolicyRelationId, PolicyOidIndexId,
											 Anum_pg_policy_oid, change->object);
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
			findings->server_dropped |= change->kind == EDDY_CHANGE_DROPPED;
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
			 errdetail("Without it, rows could be missing from the continuous views of the stream."),
			 errhint("Other triggers can be enabled and disabled by name.")));
}

/* The stream whose triggers the last command was not allowed to disable, or InvalidOid. */
static Oid	refused_stream = InvalidOid;

/*
 * eddy_guard_check_copy refuses COPY into a stream right after the command that should have
 * disabled its triggers: pg_restore --disable-triggers continues after that error, with rows that
 * the restored views have counted. Called at the start of each utility command; stmt is NULL unless
 * it is COPY FROM.
 */
void
eddy_guard_check_copy(const CopyStmt *stmt)
{
	Oid			stream = refused_stream;

	refused_stream = InvalidOid;
	if (!OidIsValid(stream) || stmt == NULL || stmt->relation == NULL ||
		RangeVarGetRelid(stmt->relation, NoLock, true) != stream ||
		eddy_catalog_member(stream).kind != EDDY_MEMBER_STREAM)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot copy rows into stream \"%s\" without its triggers", stmt->relation->relname),
			 errdetail("The command before has tried to disable them, as pg_restore --disable-triggers does. The continuous views of a dump have counted its rows, which would be counted again."),
			 errhint("Rows of a stream are a cache: leave them out with pg_dump --no-unlogged-table-data. To insert other rows, repeat the command.")));
}

/*
 * A trigger of a stream must call our function if, and only if, it has our name. Whether it is
 * enabled as it has to be is checked when that is changed: pg_restore enables a trigger after it
 * has created it.
 */
static void
check_trigger(Oid trigger, bool altered)
{
	FormData_pg_trigger form;
	Oid			relid = eddy_guard_trigger_table(trigger, &form);
	const char *function;

	if (!OidIsValid(relid) || eddy_catalog_member(relid).kind != EDDY_MEMBER_STREAM)
		return;
	function = eddy_guard_is_our_trigger(&form) ? get_func_name(form.tgfoid) : "";
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
		{
			refused_stream = relid;
			refuse_trigger_change("cannot enable or disable trigger \"%s\" of stream \"%s\"",
								  our_triggers[i].name, relid);
		}
	}
}

static void
check_lost_trigger(Oid stream)
{
	const char *name = get_rel_name(stream);

	/* the stream was dropped as well, or is no longer a stream */
	if (name == NULL || eddy_catalog_member(stream).kind != EDDY_MEMBER_STREAM)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot drop a trigger of pg_eddy from stream \"%s\"", name),
			 errdetail("Rows would be missing from the continuous views of the stream."),
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

/* ALTER TABLE ONLY can give the stream other columns than its segments. */
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
					 errhint("Remove the table from the publication, or replicate into another table. "
							 "A replication slot that was just created on the publisher has to be dropped there.")));
	}
}

/* Refuses to drop a server that sources use; sources name it, so that no dependency protects it. */
static void
check_servers(void)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_all_sources())
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

/* The name that a continuous view had, or NULL; changes is a List of EddyChange. */
static const char *
name_of_dropped(Oid view, const void *changes)
{
	ListCell   *lc;

	foreach(lc, (const List *) changes)
	{
		const EddyChange *change = lfirst(lc);

		if (change->class_id == RelationRelationId && change->object == view && change->name)
			return change->name;
	}
	return NULL;
}

/* eddy_guard_follow updates our catalog, which can drop further relations, and then checks. */
void
eddy_guard_follow(const List *changes, DropBehavior behavior)
{
	Findings	findings = {0};
	ListCell   *lc;

	foreach(lc, changes)
		resolve(&findings, lfirst(lc));

	/* before segments are deleted from our catalog */
	foreach(lc, findings.segments)
		check_segment(lfirst_oid(lc), findings.altered);

	/* stream before state tables, in one order, as batches lock them */
	list_sort(findings.lost_views, list_oid_cmp);
	foreach(lc, findings.lost_views)
		LockRelationOid(lfirst_oid(lc), ShareRowExclusiveLock);
	if (findings.lost_views != NIL)
		eddy_view_cleanup_dropped(behavior, name_of_dropped, changes);
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

/*
 * DROP VIEW locks a continuous view and its definition. Batches of its stream lock the stream and
 * then, sometimes, the definition; so we lock the stream first.
 */
void
eddy_guard_lock_streams(const DropStmt *stmt)
{
	List	   *streams = NIL;
	List	   *views = NIL;
	ListCell   *lc;

	if (!eddy_catalog_has_members())
		return;
	foreach(lc, stmt->objects)
	{
		Oid			relid = RangeVarGetRelid(makeRangeVarFromNameList(lfirst(lc)), NoLock, true);
		EddyMember	member = eddy_catalog_member(relid);

		/* the command fails for others, who must not be able to block writers */
		if (member.kind == EDDY_MEMBER_VIEW && eddy_compat_class_ownercheck(relid, GetUserId()))
		{
			streams = list_concat_unique_oid(streams, member.streams);
			views = list_append_unique_oid(views, relid);
		}
	}
	list_sort(views, list_oid_cmp);
	foreach(lc, views)
		eddy_view_lock_query(lfirst_oid(lc));
	eddy_view_lock_streams(streams);
}

/* ---- direct DML and TRUNCATE ---- */

/* TRUNCATE of a segment must come from TRUNCATE of its stream. */
void
eddy_guard_check_truncate(Oid relid, Oid *truncating)
{
	EddyMember	member = eddy_catalog_member(relid);

	if (member.kind != EDDY_MEMBER_SEGMENT)
		*truncating = relid;
	else if (member.stream != *truncating && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot truncate segment \"%s\" of stream \"%s\"", get_rel_name(relid),
						get_rel_name(member.stream)),
				 errhint("TRUNCATE the stream.")));
}

/*
 * True if a statement writes to a segment that it names. Segments that the planner adds to a
 * query on their stream require no privileges. Reading needs no check beyond privileges.
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
	prev_check_perms = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = check_perms;
}

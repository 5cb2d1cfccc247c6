/*-------------------------------------------------------------------------
 *
 * suspend.c
 *    Views that are not maintained: suspending them and rebuilding them.
 *
 * A view is maintained in the transactions of the writers of its stream, so a view that can no
 * longer be maintained (its owner lost a privilege, an object that it reads was changed) must not
 * make them fail. It is suspended instead: it keeps its last content, writers skip it, and
 * eddy.continuous_views shows the error.
 *
 * Rebuilding empties the state tables and counts the staged rows again. The counts of rows that are
 * no longer staged are lost, because it is not known which rows were skipped meanwhile. Consumers
 * of changes receive the removed rows as deletes and the new ones as inserts.
 *
 * Locking: suspending locks only the status of the view, never the view, its state tables or its
 * stream, so that no transaction that holds locks on those can prevent it. Rebuilding takes
 * ShareRowExclusiveLock on the stream, as creation does, and on the state tables. Memory: the
 * caller's context. The status is a row of a table: it exists after a crash if the transaction that
 * wrote it has committed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "owner.h"
#include "view/chain.h"
#include "view/followers.h"
#include "view/maintain.h"
#include "view/plan.h"
#include "view/view.h"

/* ---- privileges ---- */

/*
 * eddy_view_denied_source returns a source of a view, a stream or its parent, on which the owner of
 * the view has lost the TRIGGER privilege; InvalidOid: none. It costs a few syscache look-ups.
 */
Oid
eddy_view_denied_source(const EddyViewPlan *plan)
{
	ListCell   *lc;

	if (pg_class_aclcheck(plan->stream, plan->owner, ACL_TRIGGER) != ACLCHECK_OK)
		return plan->stream;
	foreach(lc, plan->others)
	{
		const EddyViewPlan *other = lfirst(lc);

		if (pg_class_aclcheck(other->stream, plan->owner, ACL_TRIGGER) != ACLCHECK_OK)
			return other->stream;
	}
	return InvalidOid;
}

static void
check_source(Oid stream, Oid role)
{
	if (pg_class_aclcheck(stream, role, ACL_TRIGGER) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 get_rel_relkind(stream) == RELKIND_VIEW ?
				 errmsg("permission denied for view \"%s\"", get_rel_name(stream)) :
				 errmsg("permission denied for stream \"%s\"", get_rel_name(stream)),
				 get_rel_relkind(stream) == RELKIND_VIEW ?
				 errdetail("The owner of a continuous view needs the TRIGGER privilege on the continuous view that it reads, because it is maintained by the transactions that change that view.") :
				 errdetail("The owner of a continuous view needs the TRIGGER privilege on its stream, because the view is maintained by the transactions that write to the stream.")));
}

/*
 * eddy_view_check_sources raises an error unless a role has the TRIGGER privilege on the streams of
 * a view, or on its parent (List of Oid): like a trigger, a view runs in the transactions of the
 * writers.
 */
void
eddy_view_check_sources(List *sources, Oid role)
{
	ListCell   *lc;

	foreach(lc, sources)
		check_source(lfirst_oid(lc), role);
}

/*
 * eddy_view_check_context raises an error if the caller is an expression of a view, of a stream or
 * of another object that runs with the privileges of its owner: a batch must not begin within
 * another one. command: the verb for the message.
 */
void
eddy_view_check_context(const char *command)
{
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot %s a continuous view within security-restricted operation",
						command)));
}

static bool
owns_source(const EddyView *view)
{
	ListCell   *lc;

	foreach(lc, view->streams)
		if (eddy_compat_class_ownercheck(lfirst_oid(lc), GetUserId()))
			return true;
	return false;
}

/*
 * eddy_view_check_owner raises an error unless the current user owns the view or, if that is
 * allowed, one of its streams.
 */
void
eddy_view_check_owner(const EddyView *view, bool allow_stream_owner)
{
	if (!eddy_compat_class_ownercheck(view->relid, GetUserId()) &&
		!(allow_stream_owner && owns_source(view)))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_VIEW, get_rel_name(view->relid));
}

/*
 * eddy_view_check_delete raises an error if users must not delete rows through a view, because the
 * result of a view that reads another would be wrong afterwards.
 */
void
eddy_view_check_delete(const EddyView *view)
{
	List	   *children;
	ListCell   *lc;

	foreach(lc, view->streams)
	{
		const EddyView *parent = eddy_catalog_get_view(lfirst_oid(lc));

		if (parent && !eddy_view_rows_appear(parent))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot delete from continuous view \"%s\"", get_rel_name(view->relid)),
					 errdetail("It is computed from the current rows of continuous view \"%s\", whose changes could not be followed any more.",
							   get_rel_name(parent->relid)),
					 errhint("Delete from \"%s\", or let it satisfy a condition in WHERE.",
							 get_rel_name(parent->relid))));
	}
	if (!eddy_view_rows_appear(view))
		return;
	children = eddy_followers_list(view->relid);
	if (children != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot delete from continuous view \"%s\"", get_rel_name(view->relid)),
				 errdetail("Continuous view \"%s\" has counted its rows, and keeps nothing by which they could be taken back.",
						   get_rel_name(linitial_oid(children))),
				 errhint("Use argument retention to remove old rows, or drop the other view first.")));
}

/*
 * eddy_view_check_reader raises an error unless the current user may read a view, including its
 * changes: as for SELECT, with USAGE on the schema, and all columns. Row-level security of the
 * state table, which superusers can enable, is not evaluated.
 */
void
eddy_view_check_reader(const EddyView *view)
{
	Oid			user = GetUserId();
	Oid			schema = get_rel_namespace(view->relid);
	HeapTuple	class;
	bool		hidden;

	if (eddy_compat_namespace_aclcheck(schema, user, ACL_USAGE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_SCHEMA, get_namespace_name(schema));
	if (pg_class_aclcheck(view->relid, user, ACL_SELECT) != ACLCHECK_OK &&
		pg_attribute_aclcheck_all(view->relid, user, ACL_SELECT, ACLMASK_ALL) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_VIEW, get_rel_name(view->relid));
	class = SearchSysCache1(RELOID, ObjectIdGetDatum(view->state_table));
	hidden = !HeapTupleIsValid(class) || ((Form_pg_class) GETSTRUCT(class))->relrowsecurity;
	if (HeapTupleIsValid(class))
		ReleaseSysCache(class);
	if (hidden && !has_bypassrls_privilege(user))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for view %s", get_rel_name(view->relid)),
				 errdetail("Row-level security is enabled for its state table.")));
}

/* ---- suspending ---- */

/*
 * eddy_view_suspend stops the maintenance of a view because of an error, with a WARNING, or does
 * nothing if it is already suspended or dropped. The view keeps its last content until
 * eddy_view_resume. Part of the caller's transaction, checks no privileges; to be called outside of
 * any subtransaction that is going to be rolled back. The caller discards deltas that are pending
 * for the view.
 */
void
eddy_view_suspend(Oid relid, const char *error, int sqlerrcode)
{
	EddyView   *view = eddy_catalog_get_view(relid);
	const char *name = get_rel_name(relid);

	if (view == NULL || name == NULL ||
		!eddy_catalog_suspend_view(view, error, unpack_sql_state(sqlerrcode)))
		return;
	ereport(WARNING,
			(errcode(sqlerrcode),
			 errmsg("continuous view \"%s\" was suspended", name),
			 errdetail("It could not be maintained: %s", error),
			 errhint("Its owner can rebuild it with eddy.resume after the cause is resolved.")));
}

/*
 * eddy_view_pause suspends a view without an error, for its owner or the owner of its stream. Takes
 * no lock that a writer of the stream could hold.
 */
bool
eddy_view_pause(Oid relid)
{
	EddyView   *view = eddy_catalog_get_view(relid);

	if (view == NULL)
		return false;
	eddy_view_check_owner(view, true);
	(void) eddy_catalog_suspend_view(view, NULL, NULL);
	return true;
}

/* ---- rebuilding ---- */

/*
 * Deletes all rows of a state table, regardless of the transaction's snapshot. Not by TRUNCATE: the
 * write-ahead log must contain the keys that are deleted.
 */
static void
empty_state_table(const EddyViewPlan *plan, const EddyStateTable *table)
{
	EddyUpsert *upsert;
	TupleTableSlot *row;

	PushActiveSnapshot(GetLatestSnapshot());
	upsert = eddy_upsert_open(table, plan->name);
	eddy_upsert_seek(upsert, 0, NULL, NULL);
	while ((row = eddy_upsert_next(upsert)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (!eddy_upsert_delete(upsert, &row->tts_tid))
			elog(ERROR, "state table %u was written although it is locked", table->relid);
	}
	eddy_upsert_close(upsert);
	PopActiveSnapshot();
}

static void
empty_view(const EddyView *view, List **changes)
{
	EddyViewPlan *plan;
	EddyChanges *record;
	ListCell   *lc;

	plan = eddy_plan_get(view->relid);
	if (plan == NULL)
		elog(ERROR, "continuous view %u does not exist", view->relid);
	record = eddy_maintain_make_record(plan, EDDY_CAUSE_REBUILD);
	eddy_plan_pin(plan);
	PG_TRY();
	{
		eddy_maintain_record_to(plan, record);
		foreach(lc, plan->state_tables)
			empty_state_table(plan, lfirst(lc));
	}
	PG_FINALLY();
	{
		eddy_maintain_record_to(plan, NULL);
		eddy_plan_unpin(plan);
	}
	PG_END_TRY();
	CommandCounterIncrement();
	*changes = eddy_maintain_keep_record(*changes, record);
}

/* Empties a view whose stream is locked. */
static void
rebuild(const EddyView *view, List **changes)
{
	ListCell   *lc;

	foreach(lc, view->state_tables)
		LockRelationOid(lfirst_oid(lc), ShareRowExclusiveLock);
	empty_view(view, changes);
	/* its windows close again, with the rows that its source still holds */
	eddy_catalog_reset_view_progress(view->relid);
	/* rows that it rejected are tried again with the others */
	eddy_catalog_delete_dead_letters(view->relid);
}

/* From the last level to the first, and within a level from the last Oid to the first. */
static int
compare_descendants(const ListCell *a, const ListCell *b)
{
	int			left = eddy_catalog_member(lfirst_oid(a)).level;
	int			right = eddy_catalog_member(lfirst_oid(b)).level;

	return left != right ? right - left : list_oid_cmp(b, a);
}

/* The views that read a view, and those that read these: views of later levels first. */
static List *
list_descendants(Oid view)
{
	List	   *all = eddy_followers_list(view);
	ListCell   *lc;

	/* the loop reads what it appends */
	foreach(lc, all)
		all = list_concat_unique_oid(all, eddy_followers_list(lfirst_oid(lc)));
	list_sort(all, compare_descendants);
	return all;
}

/* All that a view, and the views that follow from it, read: List of Oid. */
static List *
list_sources_of_all(const EddyView *view)
{
	List	   *sources = list_copy(view->streams);
	ListCell   *lc;

	foreach(lc, list_descendants(view->relid))
	{
		const EddyView *other = eddy_catalog_get_view(lfirst_oid(lc));

		if (other)
			sources = list_concat_unique_oid(sources, other->streams);
	}
	return list_delete_oid(sources, view->relid);
}

/* ---- filling from Kafka ---- */

/*
 * eddy_view_start marks a new view as one that is filled from Kafka, by a worker of its own, and
 * then replaces another one, unless that is InvalidOid. The caller has created it in this
 * transaction.
 */
void
eddy_view_start(Oid relid, Oid replaces)
{
	EddyView   *view = eddy_catalog_get_view(relid);
	ListCell   *lc;

	foreach(lc, view->streams)
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_VIEW)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("start => '%s' requires a continuous view that reads a stream", view->start),
					 errdetail("Continuous view \"%s\" is not filled from Kafka.",
							   get_rel_name(lfirst_oid(lc))),
					 errhint("Use start => 'staged' to begin with its present rows.")));
	/* rows of users, which are not in Kafka, may be the only ones of some streams */
	foreach(lc, view->streams)
		if (eddy_catalog_list_sources(lfirst_oid(lc)) != NIL)
			break;
	if (lc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 list_length(view->streams) == 1 ?
				 errmsg("stream \"%s\" has no sources", get_rel_name(view->stream)) :
				 errmsg("no stream of continuous view \"%s\" has sources", get_rel_name(relid)),
				 errdetail("With start => '%s', a view is filled from Kafka.", view->start),
				 errhint("Attach a topic first.")));
	eddy_catalog_start_view(view, replaces);
}

/*
 * eddy_view_finish_start makes batches of sources maintain a view that was filled from Kafka. The
 * caller holds ShareRowExclusiveLock on the streams, and closes its windows.
 */
void
eddy_view_finish_start(Oid relid)
{
	EddyView   *view = eddy_catalog_get_view(relid);

	if (view)
		(void) eddy_catalog_resume_view(view);
	CommandCounterIncrement();
}

/* The view, which can have been dropped while a lock was waited for. */
static EddyView *
get_existing(Oid relid)
{
	EddyView   *view = eddy_catalog_get_view(relid);

	if (view == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("continuous view was dropped concurrently")));
	return view;
}

/*
 * eddy_view_resume empties a suspended view, with all views that follow it, and marks it as
 * maintained, for its owner, who must have the privileges that its creation needs. Takes the locks
 * that creation takes. The caller must fill the views of *emptied with eddy_apply_fill, in that
 * order, and pass it *changes, to which the removal of rows was added, with the last one.
 */
bool
eddy_view_resume(Oid relid, List **emptied, List **changes)
{
	EddyView   *view = eddy_catalog_get_view(relid);
	List	   *sources;

	*emptied = NIL;
	if (view == NULL)
		return false;
	eddy_view_check_context("rebuild");
	/* before the lock: other users must not be able to block writers of the stream */
	eddy_view_check_owner(view, false);
	eddy_view_check_sources(view->streams, eddy_owner_of_relation(relid));

	if (view->starting)
		return true;			/* it is maintained already */
	/* views that follow, and read something else, too, are filled from that again */
	sources = list_sources_of_all(view);
	eddy_chain_lock_queries(list_append_unique_oid(eddy_catalog_ancestors(sources), relid));
	view = get_existing(relid);
	sources = list_sources_of_all(view);
	eddy_chain_lock_sources(sources);
	view = get_existing(relid);
	if (list_difference_oid(list_sources_of_all(view), sources) != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("continuous view \"%s\" was changed concurrently", get_rel_name(relid)),
				 errdetail("A continuous view that reads it was created."),
				 errhint("Resume it again.")));
	eddy_view_check_owner(view, false);
	eddy_view_check_sources(view->streams, eddy_owner_of_relation(relid));
	if (eddy_catalog_resume_view(view))
	{
		Query	   *query;
		List	   *descendants = list_descendants(relid);

		/* new states are those of the aggregates, and of the server, as they are now */
		view->format = EDDY_SERVER_MAJOR;
		query = eddy_plan_definition_query(view->definition);
		if (query)
			eddy_catalog_set_view_aggregates(view, eddy_signature_make(query));
		rebuild(view, changes);
		/* parents before children, as all lock them */
		for (int i = list_length(descendants) - 1; i >= 0; i--)
			rebuild(eddy_catalog_get_view(list_nth_oid(descendants, i)), changes);
		*emptied = lappend_oid(descendants, relid);
	}
	return true;
}

/*-------------------------------------------------------------------------
 *
 * replace.c
 *    Replaces the query of a continuous view.
 *
 * The public view remains: its OID, name, owner, grants and comments, the objects that depend on
 * it, and the ID by which consumers of changes know it. As with CREATE OR REPLACE VIEW, its columns
 * must stay, and more can follow. Definition and state tables are new ones:
 *
 *   eddy_view_replace_begin    creates them beside the old ones
 *   eddy_view_replace_fill     (called for each batch of rows) or eddy_view_replace_keep fills the state
 *   eddy_view_replace_compare  compares the old state and the new one for consumers of changes, and copies the new rows
 *                              into another main table, which becomes that of the view (net_change.c)
 *   eddy_view_replace_lock     locks writers out, and makes the catalog row point to the new objects;
 *                              after that a last, short filling
 *   eddy_view_replace_end      writes the difference for consumers of changes (net_change.c), makes the
 *                              public view read the new table, and drops the old objects
 *
 * The state of the old query can serve the new one (keep.c). Then it is converted instead of being
 * filled, or its tables are not replaced at all.
 *
 * To be filled from Kafka, or with a history that messages from Kafka follow, the new query gets a
 * view of its own first, the successor, which is created as any view that is filled so, but without
 * the labels by which consumers know it. In the transaction that would hand it over to the sources
 * (src/worker/catch_up.c), its definition and state become those of the view instead
 * (eddy_view_succeed).
 *
 * Otherwise all of it is one transaction, and others know nothing of the new objects before it
 * commits. Batches before the lock maintain the old state, batches after it the new one.
 *
 * Locking: first an object lock, which one replacement of a view has, and AccessShareLock on the
 * view and what it reads, so that DROP waits for us before it locks anything else. At the end
 * ShareRowExclusiveLock on the streams, as for creation, and AccessExclusiveLock on the public
 * view, the definition and the state tables. Transactions of users take the lock on the stream and
 * those on the view in either order. So while one of them is held the other is waited for only for
 * a short time, then both are released, and requested in the other order: a transaction that has
 * written to the stream can read the view and end, and the other way round. Memory: the caller's
 * context. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/tablecmds.h"
#include "commands/view.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_node.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "local_setting.h"
#include "owner.h"
#include "subtransaction.h"
#include "view/analyze.h"
#include "view/define.h"
#include "view/keep.h"
#include "view/kind.h"
#include "view/maintain.h"
#include "view/name.h"
#include "view/net_change.h"
#include "view/old_row.h"
#include "view/replace_check.h"
#include "view/state_table.h"
#include "view/view.h"

/* ms for which a lock is waited for while another one is held; less than deadlock_timeout */
#define SECOND_LOCK_WAIT 200

struct EddyReplacement
{
	EddyView   *old_view;
	EddyViewPlan *old;			/* NULL: it could not be made */
	EddyView	new_view;
	EddyViewPlan layout;		/* of the new query */
	EddyLayers	layers;
	EddyKeep   *keep;			/* NULL: the state is filled */
	EddyNetChange *net;			/* NULL: the states are not compared, or not yet */
	EddyView	filled_view;	/* with net: new_view, before it gets the following tables */
	List	   *sent_tables;	/* with net: its state tables, of which consumers get to know the first */
	Query	   *query;			/* the new one, as it was parsed */
};

/*
 * Passes over changed groups while writers continue: until there are few of them, at most so many.
 */
#define KEEP_PASSES 10
#define KEEP_FEW_GROUPS 2000

/* The view whose query is being replaced. */
static Oid	replaced = InvalidOid;

/* eddy_view_is_replaced returns true while eddy_view_replace_end changes the query of that view. */
bool
eddy_view_is_replaced(Oid view)
{
	return OidIsValid(replaced) && replaced == view;
}

/* ---- locks ---- */

typedef struct LockAttempt
{
	List	   *streams;		/* Oids, sorted */
	List	   *relations;		/* Oids: view, definition, state tables */
	bool		streams_first;
	bool		limited;		/* the locks that are waited for only for a short time are being taken */
} LockAttempt;

static void
lock_streams(const LockAttempt *attempt)
{
	ListCell   *lc;

	/* while the locks of relations are held, with a limit */
	if (attempt->streams_first)
		eddy_view_lock_streams(attempt->streams);
	else
		foreach(lc, attempt->streams)
			LockRelationOid(lfirst_oid(lc), ShareRowExclusiveLock);
}

static void
lock_relations(const LockAttempt *attempt)
{
	ListCell   *lc;

	foreach(lc, attempt->relations)
		LockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
}

static void
run_attempt(void *arg)
{
	LockAttempt *attempt = arg;
	int			level;

	if (attempt->streams_first)
		lock_streams(attempt);
	else
		lock_relations(attempt);
	level = NewGUCNestLevel();
	eddy_local_lock_timeout_in_level(SECOND_LOCK_WAIT);
	attempt->limited = true;
	if (attempt->streams_first)
		lock_relations(attempt);
	else
		lock_streams(attempt);
	AtEOXact_GUC(true, level);
}

/* Takes all locks, while it waits for each of the two groups without holding the other. */
static void
lock_all(List *streams, List *relations)
{
	LockAttempt attempt = {streams, relations, true, false};
	ErrorData  *error;

	/* if it fails, its locks are released */
	while ((error = eddy_subtransaction_run(run_attempt, &attempt)) != NULL)
	{
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || !attempt.limited)
			ReThrowError(error);
		FreeErrorData(error);
		CHECK_FOR_INTERRUPTS();
		attempt.limited = false;
		attempt.streams_first = !attempt.streams_first;
	}
}

/* No two transactions replace the query of a view, or rebuild it, at the same time. */
void
eddy_view_lock_query(Oid view)
{
	/* no object of that class uses this lock */
	LockDatabaseObject(eddy_catalog_relid(EDDY_CATALOG_VIEW_START), view, 0, ExclusiveLock);
}

/* ---- the old state ---- */

typedef struct PlanRun
{
	const EddyView *view;
	EddyViewPlan *plan;
} PlanRun;

static void
run_make_plan(void *arg)
{
	PlanRun    *run = arg;

	run->plan = eddy_plan_make(run->view);
}

/* The plan of the old query; NULL, with the reason, if it cannot be made any more. */
static EddyViewPlan *
make_old_plan(const EddyView *view, const char **reason)
{
	PlanRun		run = {view, NULL};
	ErrorData  *error = eddy_subtransaction_run(run_make_plan, &run);

	if (error == NULL)
		return run.plan;
	if (eddy_subtransaction_is_disturbed(error))
		ReThrowError(error);
	*reason = psprintf("It cannot be maintained: %s.", error->message);
	FreeErrorData(error);
	return NULL;
}

/* How the old state serves the new query; an error if it does not. */
static EddyKeep *
plan_keep(EddyReplacement *r, Query *parsed, const char *reason)
{
	Query	   *old_definition = eddy_plan_definition_query(r->old_view->definition);

	if (r->old_view->suspended)
		reason = "It is suspended, so that rows are missing in it.";
	else if (r->old_view->starting)
		reason = "It is still being filled from Kafka.";
	else if (r->old && old_definition)
	{
		EddyKeep   *keep = eddy_keep_compare(r->old, old_definition, &r->layout, parsed, &reason);

		if (keep)
			return keep;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot keep the results of continuous view \"%s\"",
					get_rel_name(r->old_view->relid)),
			 errdetail("%s", reason),
			 errhint("Specify start => 'staged' to begin with the rows that the stream still holds, or start => 'now' to begin without rows.")));
	return NULL;
}

/* ---- new objects ---- */

/* A name in the schema of the view for a relation that is moved to schema eddy at once. */
static RangeVar *
choose_temporary_name(Oid view)
{
	Oid			schema = get_rel_namespace(view);

	return makeRangeVar(get_namespace_name(schema),
						eddy_name_choose(get_rel_name(view), NULL, "new", schema), -1);
}

/* The reader must be split off a query of its own: it is changed. */
static void
split_layers(EddyReplacement *r, Query *parsed)
{
	eddy_layer_split(&r->layers, copyObject(parsed));
	eddy_define_describe(&r->new_view, &r->layout, &r->layers);
}

/*
 * Checks that the current user may replace the query of a view, and locks it; no other session
 * replaces it then.
 */
static EddyView *
lock_for_replacement(Oid relid)
{
	EddyView   *view = eddy_view_get(relid);

	eddy_view_check_context("replace");
	/* before any lock */
	eddy_view_check_owner(view, false);
	eddy_view_lock_query(relid);
	LockRelationOid(relid, AccessShareLock);
	/* others may have dropped it or replaced its query meanwhile */
	view = eddy_view_get(relid);
	eddy_view_check_owner(view, false);
	eddy_replace_check_successor(relid);
	return view;
}

/*
 * eddy_view_replace_begin creates the objects of a new query beside those of a continuous view that
 * the current user owns. With keeps the state of the old one has to serve the new one.
 */
EddyReplacement *
eddy_view_replace_begin(Oid relid, const char *query, bool keeps)
{
	EddyReplacement *r = palloc0(sizeof(EddyReplacement));
	EddyView   *view = lock_for_replacement(relid);
	EddyView   *row = &r->new_view;
	const char *reason = NULL;
	Query	   *parsed;

	*row = *view;
	row->definition = eddy_define_definition(choose_temporary_name(relid), query);
	parsed = eddy_plan_definition_query(row->definition);
	r->query = copyObject(parsed);
	eddy_define_set_streams(row, parsed);
	eddy_replace_check_chain(view, row);
	eddy_view_check_sources(row->streams, eddy_owner_of_relation(relid));
	eddy_define_check_streams(row);
	eddy_replace_check_columns(relid, parsed);

	r->old_view = view;
	r->old = make_old_plan(view, &reason);
	eddy_plan_set_policy(&r->layout, row);
	eddy_analyze_query(&r->layout, parsed);
	eddy_define_check_options(&r->layout, parsed, row);
	if (keeps)
		r->keep = plan_keep(r, parsed, reason);
	else
		eddy_replace_check_emit(&r->layout, relid);
	if (r->keep == NULL || !r->keep->same)
		eddy_replace_check_changes(view);
	row->state_tables = eddy_state_tables_create(&r->layout, get_rel_name(relid));
	split_layers(r, parsed);
	row->format = EDDY_SERVER_MAJOR;
	row->aggregates = eddy_signature_make(parsed);
	row->suspended = row->starting = false;
	CommandCounterIncrement();
	return r;
}

/* eddy_view_replace_row returns the catalog row of the view as it will be. */
EddyView *
eddy_view_replace_row(EddyReplacement *r)
{
	return &r->new_view;
}

/* ---- filling ---- */

static EddyViewPlan *
make_plan(const EddyView *view)
{
	EddyViewPlan *plan = eddy_plan_make(view);

	if (plan == NULL)
		elog(ERROR, "continuous view %u does not exist", view->relid);
	return plan;
}

/* eddy_view_replace_fill adds the rows of a batch, which can be empty, to the new state. */
void
eddy_view_replace_fill(EddyReplacement *r, EddyBatch *batch)
{
	EddyViewPlan *plan = make_plan(&r->new_view);

	(void) eddy_maintain_fill(plan, batch, true);
	MemoryContextDelete(plan->mcxt);
}

/*
 * Follows what batches have changed in the old state since a snapshot was registered, which is
 * replaced by a newer one. Returns the number of changes.
 */
static int64
follow_changes(EddyReplacement *r, Snapshot *since)
{
	Snapshot	now = RegisterSnapshot(GetLatestSnapshot());
	int64		changed;

	PushActiveSnapshot(now);
	changed = eddy_keep_convert_changed(r->keep, *since);
	PopActiveSnapshot();
	UnregisterSnapshot(*since);
	*since = now;
	return changed;
}

/*
 * Creates another main table, which gets the place of that of the new state; returns the view with
 * it.
 */
static EddyView
create_sent_table(EddyReplacement *r)
{
	EddyStateTable table = *eddy_plan_main_table(&r->layout);
	EddyViewPlan layout = r->layout;
	EddyView	sent = r->new_view;

	table.relid = InvalidOid;
	layout.state_tables = list_make1(&table);
	sent.state_table =
		linitial_oid(eddy_state_tables_create(&layout, get_rel_name(r->new_view.relid)));
	sent.state_tables = list_copy(r->new_view.state_tables);
	linitial_oid(sent.state_tables) = sent.state_table;
	CommandCounterIncrement();
	return sent;
}

/*
 * eddy_view_replace_compare compares the new state, which is nearly complete, with the old one,
 * while writers continue. Both are followed afterwards. False if there are no consumers, so that
 * nothing was compared.
 */
bool
eddy_view_replace_compare(EddyReplacement *r)
{
	EddyView	sent;

	if (r->new_view.state_table == r->old_view->state_table || !eddy_old_row_needed())
		return false;
	sent = create_sent_table(r);
	r->sent_tables = sent.state_tables;
	r->filled_view = r->new_view;
	r->net = eddy_net_change_compare(r->old_view, r->old, &r->filled_view,
									 make_plan(&r->filled_view), make_plan(&sent));
	return true;
}

/*
 * eddy_view_replace_keep makes the new state from the old one, and ends with
 * eddy_view_replace_lock.
 */
void
eddy_view_replace_keep(EddyReplacement *r)
{
	Snapshot	since;
	int			passes = 0;

	if (r->new_view.state_table == r->old_view->state_table)
	{
		eddy_view_replace_lock(r);
		return;
	}
	r->keep->new = make_plan(&r->new_view);
	since = RegisterSnapshot(GetLatestSnapshot());
	PushActiveSnapshot(since);
	eddy_keep_convert(r->keep);
	PopActiveSnapshot();
	while (follow_changes(r, &since) > KEEP_FEW_GROUPS && ++passes < KEEP_PASSES)
		CHECK_FOR_INTERRUPTS();
	if (eddy_view_replace_compare(r))
		while (follow_changes(r, &since) > KEEP_FEW_GROUPS && ++passes < KEEP_PASSES)
			CHECK_FOR_INTERRUPTS();
	eddy_view_replace_lock(r);
	(void) follow_changes(r, &since);
	UnregisterSnapshot(since);
}

/* True if nothing has changed in a view on which the new state depends. */
static bool
is_unchanged(const EddyReplacement *r, const EddyView *now)
{
	const EddyView *before = r->old_view;

	return now->definition == before->definition && equal(now->streams, before->streams) &&
		equal(now->state_tables, before->state_tables) && now->changes_log == before->changes_log &&
		(r->keep == NULL || (now->suspended == before->suspended && now->starting == before->starting));
}

/*
 * eddy_view_replace_lock locks out writers of the stream and readers of the view. From now on the
 * catalog has the new objects.
 */
void
eddy_view_replace_lock(EddyReplacement *r)
{
	EddyView   *row = &r->new_view;
	Oid			relid = row->relid;
	List	   *streams = list_union_oid(r->old_view->streams, row->streams);
	List	   *relations = lcons_oid(r->old_view->definition, list_copy(r->old_view->state_tables));
	EddyView   *view;

	list_sort(streams, list_oid_cmp);
	lock_all(streams, lcons_oid(relid, relations));
	view = eddy_view_get(relid);
	eddy_view_check_owner(view, false);
	if (!is_unchanged(r, view))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("continuous view \"%s\" was changed concurrently", get_rel_name(relid)),
				 errhint("Replace its query again.")));
	eddy_replace_check_chain(view, row);
	eddy_define_check_streams(row);
	eddy_view_check_sources(row->streams, eddy_owner_of_relation(relid));
	eddy_replace_check_columns(relid, r->query);
	/* the old one remains in memory, where the comparison refers to it */
	r->old_view = view;
	eddy_catalog_update_view(row, view);
	if (r->keep == NULL)
	{
		/* its windows close again, with the rows that it is filled with */
		(void) eddy_catalog_resume_view(row);
		eddy_catalog_reset_view_progress(relid);
	}
	CommandCounterIncrement();
}

/* ---- the swap ---- */

/* The options of the view, which CREATE OR REPLACE VIEW would reset. */
static List *
get_options(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	List	   *options = NIL;
	Datum		value;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	value = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_reloptions, &isnull);
	if (!isnull)
		options = untransformRelOptions(value);
	ReleaseSysCache(tuple);
	return options;
}

/* Makes the public view read the new state table, with columns that are new. */
static void
replace_query(EddyReplacement *r)
{
	Oid			relid = r->new_view.relid;
	char	   *rows_query = eddy_define_rows_query(&r->layout);
	char	   *query = r->layers.reader ? eddy_define_empty_query(r->layers.reader) : rows_query;
	RawStmt    *raw = linitial_node(RawStmt, pg_parse_query(query));
	ViewStmt   *stmt = makeNode(ViewStmt);

	stmt->view = makeRangeVar(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid),
							  -1);
	stmt->query = raw->stmt;
	stmt->replace = true;
	stmt->withCheckOption = NO_CHECK_OPTION;
	stmt->options = get_options(relid);
	replaced = relid;
	PG_TRY();
	{
		if (DefineView(stmt, query, raw->stmt_location, raw->stmt_len).objectId != relid)
			eddy_define_refuse_rename(relid);
		CommandCounterIncrement();
		if (r->layers.reader)
			eddy_define_store_reader(relid, &r->layers, rows_query);
		eddy_define_set_delete_trigger(relid, &r->layout, &r->layers);
	}
	PG_FINALLY();
	{
		replaced = InvalidOid;
	}
	PG_END_TRY();
}

/* The main table and the definition get the names of the old ones, by which consumers know them. */
static void
rename_parts(EddyReplacement *r, const char *definition, const char *main_table)
{
	const char *view = get_rel_name(r->new_view.relid);
	ListCell   *lc;

	RenameRelationInternal(r->new_view.definition, definition, true, false);
	foreach(lc, r->layout.state_tables)
	{
		EddyStateTable *table = lfirst(lc);
		const char *name = main_table;

		if (list_member_oid(r->old_view->state_tables, table->relid))
			continue;
		if (foreach_current_index(lc) > 0)
			name = eddy_name_choose(psprintf("_%s", view), NULL, table->suffix,
									eddy_catalog_schema());
		RenameRelationInternal(table->relid, name, true, false);
		CommandCounterIncrement();
	}
}

static void
notice_new_aggregates(const EddyReplacement *r)
{
	if (r->keep && r->keep->adds)
		ereport(NOTICE,
				(errmsg("new aggregates of continuous view \"%s\" count rows from now on",
						get_rel_name(r->new_view.relid)),
				 errdetail("The rows of existing groups are not available any more."),
				 errhint("Specify start => 'staged' to count all aggregates from the rows that the stream still holds.")));
}

/* Makes the table that consumers get to know the main table of the view. */
static void
take_sent_table(EddyReplacement *r)
{
	EddyView   *row = &r->new_view;

	eddy_net_change_begin(r->net);
	row->state_tables = r->sent_tables;
	row->state_table = linitial_oid(row->state_tables);
	eddy_plan_main_table(&r->layout)->relid = row->state_table;
	eddy_catalog_update_view(row, &r->filled_view);
	CommandCounterIncrement();
}

/* eddy_view_replace_end swaps the old state and the new one, which has been filled. */
void
eddy_view_replace_end(EddyReplacement *r)
{
	EddyView   *row = &r->new_view;
	char	   *definition = get_rel_name(r->old_view->definition);
	char	   *main_table = get_rel_name(r->old_view->state_table);
	bool		moves = row->state_table != r->old_view->state_table;

	if (moves)
	{
		notice_new_aggregates(r);
		if (r->net)
			take_sent_table(r);
		eddy_view_copy_privileges(r->old_view->state_table, row->state_table);
	}
	replace_query(r);
	if (moves)
		eddy_view_republish(r->old_view, row);
	eddy_view_drop_parts(r->old_view, row);
	rename_parts(r, definition, main_table);
	eddy_define_label_tables(row, &r->layout, eddy_view_get_label(row->relid));
	eddy_view_sync(row->relid);
	if (r->net)
	{
		eddy_net_change_end(r->net);
		eddy_view_drop_table(r->filled_view.state_table);
	}
}

/* ---- with a successor ---- */

/* Creates the view that gets the new query, with the options of the other one, beside it. */
static Oid
create_successor(const EddyView *view, const char *query, const char *start, bool unlocked)
{
	Oid			schema = get_rel_namespace(view->relid);
	Oid			owner = eddy_owner_of_relation(view->relid);
	EddyViewOptions options = {
		.emit = view->emit,
		.late = view->late,
		.allowed_lateness = view->allowed_lateness,
		.retention = view->retention,
		.start = start,
		.maintenance = view->maintenance,
		.on_error = view->on_error,
		.idle_ttl = view->idle_ttl,
		.unlabeled = true,
		.unlocked = unlocked
	};
	char	   *name = eddy_name_choose(get_rel_name(view->relid), NULL, "next", schema);
	bool		created;
	Oid			successor;

	successor = eddy_view_create(quote_qualified_identifier(get_namespace_name(schema), name), query,
								 &options, &created);
	if (GetUserId() != owner)
	{
		ATExecChangeOwner(successor, owner, false, AccessExclusiveLock);
		CommandCounterIncrement();
		eddy_view_sync(successor);
	}
	return successor;
}

/*
 * eddy_view_create_successor creates a view with a new query for a view that the current user owns.
 * It is dropped with that view. unlocked: see EddyViewOptions.
 */
Oid
eddy_view_create_successor(Oid relid, const char *query, const char *start, bool unlocked)
{
	EddyReplacement r = {0};
	EddyView   *view = lock_for_replacement(relid);
	EddyView   *successor;
	ObjectAddress part;
	ObjectAddress whole;

	eddy_replace_check_changes(view);
	if (view->starting)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("continuous view \"%s\" is still being filled from Kafka",
						get_rel_name(relid)),
				 errhint("The view eddy.view_starts shows the progress.")));
	eddy_plan_set_policy(&r.layout, view);
	eddy_replace_check_emit(&r.layout, relid);
	successor = eddy_view_get(create_successor(view, query, start, unlocked));
	eddy_replace_check_chain(view, successor);
	eddy_replace_check_columns(relid, eddy_plan_definition_query(successor->definition));
	ObjectAddressSet(part, RelationRelationId, successor->relid);
	ObjectAddressSet(whole, RelationRelationId, relid);
	recordDependencyOn(&part, &whole, DEPENDENCY_AUTO);
	return successor->relid;
}

/* Locks a view and its tables against all others; nothing if it was dropped. */
static void
lock_view(Oid relid)
{
	EddyView   *view = eddy_catalog_get_view(relid);
	ListCell   *lc;

	if (view == NULL)
		return;
	LockRelationOid(relid, AccessExclusiveLock);
	LockRelationOid(view->definition, AccessExclusiveLock);
	foreach(lc, view->state_tables)
		LockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
}

/*
 * eddy_view_lock_replaced locks a view and its successor, with their tables, against all others,
 * before the streams; those that were dropped are left out.
 */
void
eddy_view_lock_replaced(Oid relid, Oid successor)
{
	eddy_view_lock_query(relid);
	lock_view(relid);
	lock_view(successor);
}

/* Removes a view whose definition and state tables become those of another one. */
static void
dissolve(const EddyView *successor)
{
	ObjectAddress object;

	deleteDependencyRecordsForSpecific(RelationRelationId, successor->definition,
									   DEPENDENCY_INTERNAL, RelationRelationId, successor->relid);
	eddy_catalog_delete_view(successor->relid);
	CommandCounterIncrement();
	ObjectAddressSet(object, RelationRelationId, successor->relid);
	performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	CommandCounterIncrement();
}

static void
run_split_layers(void *arg)
{
	EddyReplacement *r = arg;
	EddyOwnerSwitch save;

	/* functions of the user must not run with other privileges */
	eddy_owner_begin(&save, r->layout.owner);
	split_layers(r, r->query);
	eddy_owner_end(&save);
}

/* The replacement of a view's query by that of its successor. */
static EddyReplacement *
make_succession(Oid successor, Oid relid)
{
	EddyReplacement *r = palloc0(sizeof(EddyReplacement));
	EddyView   *next = eddy_view_get(successor);
	EddyView   *view = eddy_view_get(relid);
	EddyView   *row = &r->new_view;
	EddyViewPlan *plan = make_plan(next);
	const char *reason;

	r->layout = *plan;
	r->layout.view = relid;
	r->query = eddy_plan_definition_query(next->definition);
	*row = *next;
	row->relid = relid;
	row->start = view->start;
	row->suspended = row->starting = false;
	eddy_replace_check_chain(view, row);
	eddy_replace_check_changes(view);
	eddy_replace_check_columns(relid, r->query);
	r->old_view = view;
	r->old = make_old_plan(view, &reason);
	return r;
}

/*
 * eddy_view_succeed_begin compares the results of a view with those of its successor, for consumers
 * of changes, while others write to both. Returns NULL if there are no consumers, or if the view
 * was dropped. The query of the view is locked.
 */
EddyReplacement *
eddy_view_succeed_begin(Oid successor, Oid relid)
{
	EddyReplacement *r;

	eddy_view_lock_query(relid);
	if (eddy_catalog_get_view(relid) == NULL || !eddy_old_row_needed())
		return NULL;
	LockRelationOid(relid, AccessShareLock);
	r = make_succession(successor, relid);
	(void) eddy_view_replace_compare(r);
	return r;
}

/*
 * eddy_view_succeed gives a view the query and the state of its successor, which has been filled.
 * The caller has locked the streams and the views against all others. r: of
 * eddy_view_succeed_begin, or NULL.
 */
void
eddy_view_succeed(EddyReplacement *r, Oid successor, Oid relid)
{
	EddyView   *next = eddy_view_get(successor);
	EddyView   *view = eddy_view_get(relid);
	ErrorData  *error;

	if (r == NULL)
		r = make_succession(successor, relid);
	else if (!is_unchanged(r, view) || !equal(next->state_tables, r->new_view.state_tables))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("continuous view \"%s\" was changed concurrently", get_rel_name(relid))));
	/* columns can have been renamed since */
	eddy_replace_check_columns(relid, r->query);
	error = eddy_subtransaction_run(run_split_layers, r);
	if (error)
		ReThrowError(error);
	eddy_catalog_move_dead_letters(successor, relid);
	dissolve(next);
	eddy_catalog_update_view(&r->new_view, view);
	/* its windows close again, with the rows that it was filled with */
	(void) eddy_catalog_resume_view(&r->new_view);
	eddy_catalog_reset_view_progress(relid);
	CommandCounterIncrement();
	if (r->net == NULL)
		(void) eddy_view_replace_compare(r);
	eddy_view_replace_end(r);
}

/*-------------------------------------------------------------------------
 *
 * plan.c
 *    Plans of continuous views, cached in each backend.
 *
 * A plan is made from the definition at its first use and kept until a
 * relation, function, type, operator or aggregate it may depend on changes.
 * Invalidation only marks plans: it can come at any moment, also while one is
 * in use. A plan that is marked is made anew when nobody has it pinned.
 *
 * Locking: AccessShareLock on the definition while it is read. Memory: one
 * context per plan under CacheMemoryContext. Nothing here outlives the process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteDefine.h"
#include "rewrite/rewriteHandler.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "view/owner.h"
#include "view/plan.h"

typedef struct PlanEntry
{
	Oid			view;			/* hash key */
	EddyViewPlan *plan;			/* NULL: not made */
} PlanEntry;

/* Which views a stream has; an entry is there only while it is known to be right. */
typedef struct StreamEntry
{
	Oid			stream;			/* hash key */
	bool		valid;
	List	   *views;			/* of Oid, in CacheMemoryContext */
} StreamEntry;

static HTAB *plans = NULL;
static HTAB *streams = NULL;
static bool callbacks_registered = false;
static uint64 invalidations = 0;	/* counts calls of the relcache callback */

/* ---- invalidation ---- */

static void
invalidate_relation(Datum arg pg_attribute_unused(), Oid relid)
{
	HASH_SEQ_STATUS status;
	PlanEntry  *entry;
	StreamEntry *stream;

	if (plans == NULL)
		return;
	invalidations++;
	hash_seq_init(&status, plans);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (entry->plan &&
			(!OidIsValid(relid) || relid == entry->plan->stream ||
			 relid == entry->plan->definition || relid == entry->plan->state_table ||
			 relid == entry->plan->view))
			entry->plan->valid = false;

	/* a row of eddy._view that changes invalidates the stream's relcache entry, too */
	hash_seq_init(&status, streams);
	while ((stream = hash_seq_search(&status)) != NULL)
		if (!OidIsValid(relid) || relid == stream->stream)
			stream->valid = false;
}

/* Functions, types, operators and aggregates: rare enough to forget all plans. */
static void
invalidate_syscache(Datum arg pg_attribute_unused(), int cacheid pg_attribute_unused(),
					uint32 hashvalue pg_attribute_unused())
{
	HASH_SEQ_STATUS status;
	PlanEntry  *entry;

	if (plans == NULL)
		return;
	hash_seq_init(&status, plans);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (entry->plan)
			entry->plan->valid = false;
}

static void
create_caches(void)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(PlanEntry);
	ctl.hcxt = CacheMemoryContext;
	plans = hash_create("pg_eddy view plans", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.entrysize = sizeof(StreamEntry);
	streams = hash_create("pg_eddy streams", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	if (!callbacks_registered)
	{
		CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(PROCOID, invalidate_syscache, (Datum) 0);
		CacheRegisterSyscacheCallback(TYPEOID, invalidate_syscache, (Datum) 0);
		CacheRegisterSyscacheCallback(OPEROID, invalidate_syscache, (Datum) 0);
		CacheRegisterSyscacheCallback(AGGFNOID, invalidate_syscache, (Datum) 0);
		callbacks_registered = true;
	}
}

/* ---- making a plan ---- */

Query *
eddy_plan_definition_query(Oid definition)
{
	Relation	rel = try_relation_open(definition, AccessShareLock);
	Query	   *query;

	if (rel == NULL)
		return NULL;
	query = copyObject(get_view_query(rel));
	relation_close(rel, AccessShareLock);
	/* the rights that count are those of the owner of the continuous view, not of its definition */
	setRuleCheckAsUser((Node *) query, InvalidOid);
	return query;
}

/*
 * The unique index over the keys. Users may add indexes of their own, so it is
 * told by its columns.
 */
static Oid
find_state_index(Relation state, EddyViewPlan *plan)
{
	ListCell   *lc;
	int			nkeys = Max(plan->nkeys, 1);

	foreach(lc, RelationGetIndexList(state))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		match = index->rd_index->indisunique && index->rd_index->indisvalid &&
			IndexRelationGetNumberOfKeyAttributes(index) == nkeys;

		for (int i = 0; match && i < nkeys; i++)
			match = index->rd_index->indkey.values[i] ==
				(plan->nkeys ? plan->keys[i].column : plan->constant_key);
		index_close(index, AccessShareLock);
		if (match)
			return lfirst_oid(lc);
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("state table \"%s\" has lost the unique index over its group keys",
					RelationGetRelationName(state)),
			 errhint("Create the index again, with NULLS NOT DISTINCT, or drop and create the continuous view.")));
}

static ExprState *
compile(Expr *expr)
{
	return ExecInitExpr(expression_planner((Expr *) copyObject(expr)), NULL);
}

/*
 * Makes the plan of a view. The parts that cost something to look up stay in a
 * context of their own; on error that context goes with the transaction.
 */
static EddyViewPlan *
make_plan(const EddyView *view)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy view plan",
											   ALLOCSET_SMALL_SIZES);
	MemoryContext old;
	EddyViewPlan *plan;
	Query	   *query;
	Relation	state;
	EddyOwnerSwitch save;
	Oid			owner = eddy_owner_of_relation(view->relid);

	/* the plan points into the query */
	old = MemoryContextSwitchTo(mcxt);
	state = OidIsValid(owner) ? try_table_open(view->state_table, AccessShareLock) : NULL;
	query = state ? eddy_plan_definition_query(view->definition) : NULL;
	if (query == NULL)
	{
		MemoryContextSwitchTo(old);
		if (state)
			table_close(state, AccessShareLock);
		return NULL;			/* dropped meanwhile */
	}
	if (view->format != PG_VERSION_NUM / 10000)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("state of continuous view \"%s\" was written by PostgreSQL %d",
						get_rel_name(view->relid), view->format),
				 errdetail("Transition states of aggregates can differ between major versions."),
				 errhint("Drop the continuous view and create it again.")));

	plan = palloc0(sizeof(EddyViewPlan));
	plan->mcxt = mcxt;
	plan->view = view->relid;
	plan->definition = view->definition;
	plan->state_table = view->state_table;
	plan->owner = owner;
	plan->name = pstrdup(get_rel_name(view->relid) ? get_rel_name(view->relid) : "");
	plan->dead_letters = strcmp(view->on_error, "dead_letter") == 0;

	/* names in the delta query are qualified as the pinned search_path demands */
	eddy_owner_begin(&save, plan->owner);
	eddy_analyze_query(plan, query);
	for (int i = 0; i < plan->noutputs; i++)
		if (plan->outputs[i].kind == EDDY_OUTPUT_EXPRESSION)
			plan->outputs[i].state = compile(plan->outputs[i].expr);
	if (plan->having)
		plan->having_state = compile(plan->having);
	eddy_owner_end(&save);

	if (plan->ncolumns != RelationGetNumberOfAttributes(state))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("state table \"%s\" does not have the columns of its continuous view",
						RelationGetRelationName(state)),
				 errhint("Drop the continuous view and create it again.")));
	plan->state_index = find_state_index(state, plan);
	plan->valid = true;
	MemoryContextSwitchTo(old);
	table_close(state, AccessShareLock);

	/* nothing can fail any more: keep it */
	MemoryContextSetParent(mcxt, CacheMemoryContext);
	return plan;
}

static void
free_plan(EddyViewPlan *plan)
{
	if (plan->delta)
		SPI_freeplan(plan->delta);
	MemoryContextDelete(plan->mcxt);
}

static EddyViewPlan *
get_plan(Oid view_oid)
{
	PlanEntry  *entry;
	EddyView   *view;
	EddyViewPlan *plan;

	entry = hash_search(plans, &view_oid, HASH_FIND, NULL);
	if (entry && entry->plan)
	{
		if (entry->plan->valid || entry->plan->users > 0)
			return entry->plan;
		plan = entry->plan;
		entry->plan = NULL;
		free_plan(plan);
	}
	view = eddy_catalog_get_view(view_oid);
	plan = view ? make_plan(view) : NULL;
	if (plan == NULL)
	{
		if (entry)
			hash_search(plans, &view_oid, HASH_REMOVE, NULL);
		return NULL;
	}
	entry = hash_search(plans, &view_oid, HASH_ENTER, NULL);
	entry->plan = plan;
	return plan;
}

EddyViewPlan *
eddy_plan_get(Oid view)
{
	if (plans == NULL)
		create_caches();
	return get_plan(view);
}

List *
eddy_plan_of_stream(Oid stream)
{
	StreamEntry *entry;
	bool		found;
	List	   *result = NIL;
	ListCell   *lc;

	if (plans == NULL)
		create_caches();
	entry = hash_search(streams, &stream, HASH_ENTER, &found);
	if (!found)
	{
		entry->valid = false;
		entry->views = NIL;
	}
	if (!entry->valid)
	{
		List	   *views;
		List	   *oids = NIL;
		MemoryContext old;
		uint64		before = invalidations;

		views = eddy_catalog_list_views(stream);
		old = MemoryContextSwitchTo(CacheMemoryContext);
		foreach(lc, views)
			if (!((EddyView *) lfirst(lc))->suspended)
				oids = lappend_oid(oids, ((EddyView *) lfirst(lc))->relid);
		MemoryContextSwitchTo(old);
		list_free(entry->views);
		entry->views = oids;
		/* an invalidation that came while we read must win */
		entry->valid = (before == invalidations);
	}
	foreach(lc, list_copy(entry->views))
	{
		EddyViewPlan *plan = get_plan(lfirst_oid(lc));

		if (plan)
			result = lappend(result, plan);
	}
	return result;
}

void
eddy_plan_pin(EddyViewPlan *plan)
{
	plan->users++;
}

void
eddy_plan_unpin(EddyViewPlan *plan)
{
	Assert(plan->users > 0);
	plan->users--;
}

void
eddy_plan_reset(void)
{
	HASH_SEQ_STATUS status;
	PlanEntry  *entry;

	if (plans == NULL)
		return;
	hash_seq_init(&status, plans);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (entry->plan)
			entry->plan->users = 0;
}

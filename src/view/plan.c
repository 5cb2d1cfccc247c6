/*-------------------------------------------------------------------------
 *
 * plan.c
 *    Plans of continuous views, cached in each backend.
 *
 * A plan is made from the definition at its first use and kept until a relation, function, type,
 * operator or aggregate that it may depend on changes. Invalidation only marks plans: it can happen
 * at any time, even while a plan is in use. A marked plan is made again at its next use without
 * pins. Pins are held for one call of the maintenance, which releases them even if it fails.
 *
 * Locking: RowExclusiveLock on the state tables, until the end of the transaction. They protect the
 * definition, which is read without a lock: DROP locks the definition before the state tables, so
 * waiting for it here would be a deadlock. Memory: one context per plan under CacheMemoryContext.
 * Nothing here outlives the process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
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

#include "interval.h"
#include "owner.h"
#include "relcache_watch.h"
#include "view/analyze.h"
#include "view/chain.h"
#include "view/followers.h"
#include "view/kind.h"
#include "view/plan.h"
#include "view/view.h"

typedef struct PlanEntry
{
	Oid			view;			/* hash key */
	EddyViewPlan *plan;			/* NULL: not made */
} PlanEntry;

static HTAB *plans = NULL;
static bool callbacks_registered = false;
static uint64 invalidations = 0;	/* counts calls of the relcache callback */
static uint64 transactions = 0; /* counts ends of transactions */
static int	nlong_pins = 0;		/* made by eddy_plan_pin_for in this one */

/* A pin that ends with a memory context. */
typedef struct PlanPin
{
	EddyViewPlan *plan;
	uint64		transaction;
	MemoryContextCallback callback;
} PlanPin;

/* ---- invalidation ---- */

/*
 * eddy_plan_invalidations counts invalidations of any kind: as long as it does not change, nothing
 * that plans depend on has changed.
 */
uint64
eddy_plan_invalidations(void)
{
	return invalidations;
}

static void
invalidate_deltas(EddyViewPlan *plan, Oid relid)
{
	ListCell   *lc;

	if (plan->delta_valid && list_member_oid(plan->delta->relationOids, relid))
		plan->delta_valid = false;
	foreach(lc, plan->others)
		invalidate_deltas(lfirst(lc), relid);
}

static bool
has_state_table(const EddyViewPlan *plan, Oid relid)
{
	ListCell   *lc;

	foreach(lc, plan->state_tables)
		if (((EddyStateTable *) lfirst(lc))->relid == relid)
			return true;
	return false;
}

static void
invalidate_relation(Datum arg pg_attribute_unused(), Oid relid)
{
	HASH_SEQ_STATUS status;
	PlanEntry  *entry;

	if (plans == NULL)
		return;
	invalidations++;
	hash_seq_init(&status, plans);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		EddyViewPlan *plan = entry->plan;

		if (plan == NULL)
			continue;
		if (!OidIsValid(relid) || relid == plan->definition || relid == plan->view ||
			has_state_table(plan, relid) || list_member_oid(plan->sources, relid) ||
			list_member_oid(plan->streams, relid))
			plan->valid = false;
		else
			invalidate_deltas(plan, relid);
	}

	eddy_followers_invalidate(relid);
}

static bool
depends_on(List *items, int cacheid, uint32 hashvalue)
{
	ListCell   *lc;

	foreach(lc, items)
	{
		PlanInvalItem *item = lfirst_node(PlanInvalItem, lc);

		if (item->cacheId == cacheid && (hashvalue == 0 || item->hashValue == hashvalue))
			return true;
	}
	return false;
}

static void
invalidate_deltas_by_object(EddyViewPlan *plan, int cacheid, uint32 hashvalue)
{
	ListCell   *lc;

	if (plan->delta_valid && depends_on(plan->delta->invalItems, cacheid, hashvalue))
		plan->delta_valid = false;
	foreach(lc, plan->others)
		invalidate_deltas_by_object(lfirst(lc), cacheid, hashvalue);
}

/* Functions and types. Each temporary table creates a type, so only those used count. */
static void
invalidate_object(Datum arg pg_attribute_unused(), int cacheid, uint32 hashvalue)
{
	HASH_SEQ_STATUS status;
	PlanEntry  *entry;

	if (plans == NULL)
		return;
	invalidations++;
	hash_seq_init(&status, plans);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		EddyViewPlan *plan = entry->plan;

		if (plan && plan->valid && depends_on(plan->depends, cacheid, hashvalue))
			plan->valid = false;
		if (plan)
			invalidate_deltas_by_object(plan, cacheid, hashvalue);
	}
}

/* Operators, operator classes, foreign servers, roles: rare enough to invalidate all plans. */
static void
invalidate_all(Datum arg pg_attribute_unused(), int cacheid pg_attribute_unused(),
			   uint32 hashvalue pg_attribute_unused())
{
	HASH_SEQ_STATUS status;
	PlanEntry  *entry;

	if (plans == NULL)
		return;
	invalidations++;
	hash_seq_init(&status, plans);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (entry->plan)
			entry->plan->valid = false;
}

/* eddy_plan_watch makes the cache, and watches for invalidations, if that has not been done. */
void
eddy_plan_watch(void)
{
	HASHCTL		ctl = {0};

	if (plans)
		return;
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(PlanEntry);
	ctl.hcxt = CacheMemoryContext;
	plans = hash_create("pg_eddy view plans", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	if (!callbacks_registered)
	{
		eddy_relcache_watch(invalidate_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(PROCOID, invalidate_object, (Datum) 0);
		CacheRegisterSyscacheCallback(TYPEOID, invalidate_object, (Datum) 0);
		CacheRegisterSyscacheCallback(AGGFNOID, invalidate_all, (Datum) 0);
		CacheRegisterSyscacheCallback(OPEROID, invalidate_all, (Datum) 0);
		CacheRegisterSyscacheCallback(AMOPOPID, invalidate_all, (Datum) 0);
		CacheRegisterSyscacheCallback(FOREIGNSERVEROID, invalidate_all, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, invalidate_all, (Datum) 0);
		callbacks_registered = true;
	}
}

/* ---- making a plan ---- */

/*
 * eddy_plan_definition_query returns a copy of the definition's query, with the privileges of the
 * role that runs it. NULL if the definition was dropped. Takes no lock: a lock on a state table
 * keeps the definition from being dropped.
 */
Query *
eddy_plan_definition_query(Oid definition)
{
	Relation	rel = RelationIdGetRelation(definition);
	Query	   *query;

	if (rel == NULL)
		return NULL;
	query = copyObject(get_view_query(rel));
	/* privileges of the owner of the continuous view are checked, not of the definition's owner */
	setRuleCheckAsUser((Node *) query, InvalidOid);
	RelationClose(rel);
	eddy_chain_mark_sources(query);
	return query;
}

/* Locks the state tables until the end of the transaction. False if one was dropped. */
static bool
lock_state_tables(const EddyView *view)
{
	ListCell   *lc;

	foreach(lc, view->state_tables)
	{
		Relation	rel = try_table_open(lfirst_oid(lc), RowExclusiveLock);

		if (rel == NULL)
			return false;
		table_close(rel, NoLock);
	}
	return true;
}

/* Adds to the layout of the state tables where they are, and checks that they have it. */
static void
find_state_tables(EddyViewPlan *plan, const EddyView *view)
{
	ListCell   *lc;
	ListCell   *lo;

	if (list_length(plan->state_tables) != list_length(view->state_tables))
		elog(ERROR, "continuous view \"%s\" has %d state tables instead of %d", plan->name,
			 list_length(view->state_tables), list_length(plan->state_tables));
	forboth(lc, plan->state_tables, lo, view->state_tables)
	{
		EddyStateTable *table = lfirst(lc);
		Relation	rel = table_open(lfirst_oid(lo), NoLock);

		table->relid = lfirst_oid(lo);
		eddy_upsert_check_layout(rel, table);
		eddy_upsert_find_indexes(rel, table);
		table_close(rel, NoLock);
	}
}

/* ---- dependencies of a plan ---- */

static void
depend_on_object(EddyViewPlan *plan, int cacheid, Oid object)
{
	PlanInvalItem *item;

	if (!OidIsValid(object))
		return;
	item = makeNode(PlanInvalItem);
	item->cacheId = cacheid;
	item->hashValue = GetSysCacheHashValue1(cacheid, ObjectIdGetDatum(object));
	plan->depends = lappend(plan->depends, item);
}

/* Objects used to combine states and compare keys. The plan of the delta has its own list. */
static void
collect_dependencies(EddyViewPlan *plan)
{
	for (int i = 0; i < plan->nkeys; i++)
	{
		depend_on_object(plan, TYPEOID, plan->keys[i].type);
		depend_on_object(plan, PROCOID, plan->keys[i].eq.fn_oid);
	}
	for (int i = 0; i < plan->naggs; i++)
	{
		EddyAggregate *agg = &plan->aggs[i];

		depend_on_object(plan, PROCOID, agg->aggref->aggfnoid);
		depend_on_object(plan, TYPEOID, agg->transtype);
		depend_on_object(plan, PROCOID, agg->combine.fn_oid);
		depend_on_object(plan, PROCOID, agg->serialize.fn_oid);
		depend_on_object(plan, PROCOID, agg->deserialize.fn_oid);
		depend_on_object(plan, PROCOID, agg->final.fn_oid);
	}
}

static ExprState *
compile(EddyViewPlan *plan, Expr *expr)
{
	List	   *relations = NIL;
	List	   *items = NIL;
	Expr	   *planned = expression_planner_with_deps((Expr *) copyObject(expr), &relations,
													   &items);

	plan->depends = list_concat(plan->depends, items);
	return ExecInitExpr(planned, NULL);
}

/* ---- plans and their cache ---- */

/* eddy_plan_set_policy takes over the options of the view from its catalog row. */
void
eddy_plan_set_policy(EddyViewPlan *plan, const EddyView *view)
{
	plan->dead_letters = strcmp(view->on_error, "dead_letter") == 0;
	if (!eddy_view_parse_emit(view->emit, &plan->emit_interval))
		plan->emit_interval = 0;
	plan->on_close = strcmp(view->emit, "on_close") == 0;
	plan->keeps_late = strcmp(view->late, "drop") != 0;
	plan->lateness = eddy_view_lateness(view);
	plan->retention = view->retention ? eddy_interval_usec(view->retention) : -1;
	plan->idle_ttl = view->idle_ttl ? eddy_interval_usec(view->idle_ttl) : 0;
	plan->deferred = strcmp(view->maintenance, "deferred") == 0;
}

/*
 * eddy_plan_make makes the plan of a view, in a context of its own below the current one; the plan
 * is not in the cache. NULL if the view was dropped. Locks the state tables, as eddy_plan_get does.
 */
EddyViewPlan *
eddy_plan_make(const EddyView *view)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy view plan",
											   ALLOCSET_SMALL_SIZES);
	MemoryContext old;
	EddyViewPlan *plan;
	Query	   *query;
	EddyOwnerSwitch save;
	Oid			owner = eddy_owner_of_relation(view->relid);
	uint64		before = invalidations;
	ListCell   *lc;

	/* the plan points into the query */
	old = MemoryContextSwitchTo(mcxt);
	query = OidIsValid(owner) && lock_state_tables(view) ?
		eddy_plan_definition_query(view->definition) : NULL;
	if (query == NULL)
	{
		MemoryContextSwitchTo(old);
		return NULL;
	}
	eddy_signature_check(view, query, get_rel_name(view->relid));
	plan = palloc0(sizeof(EddyViewPlan));
	plan->mcxt = mcxt;
	plan->view = view->relid;
	plan->definition = view->definition;
	plan->kind = eddy_kind_get(view->kind);
	plan->owner = owner;
	plan->name = pstrdup(get_rel_name(view->relid) ? get_rel_name(view->relid) : "");
	MemoryContextSetIdentifier(mcxt, plan->name);
	eddy_plan_set_policy(plan, view);
	plan->ncolumns = view->ncolumns;
	plan->columns = palloc(sizeof(AttrNumber) * Max(view->ncolumns, 1));
	memcpy(plan->columns, view->columns, sizeof(AttrNumber) * view->ncolumns);

	eddy_owner_begin(&save, plan->owner);
	eddy_analyze_query(plan, query);
	plan->delta_name = psprintf("maintenance of continuous view \"%s\"", plan->name);
	foreach(lc, plan->others)
		((EddyViewPlan *) lfirst(lc))->delta_name = plan->delta_name;
	collect_dependencies(plan);
	for (int i = 0; i < plan->noutputs; i++)
		if (plan->outputs[i].kind == EDDY_OUTPUT_EXPRESSION)
			plan->outputs[i].state = compile(plan, plan->outputs[i].expr);
	if (plan->having)
		plan->having_state = compile(plan, plan->having);
	eddy_owner_end(&save);

	find_state_tables(plan, view);
	plan->valid = (before == invalidations);
	MemoryContextSwitchTo(old);
	return plan;
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
		MemoryContextDelete(plan->mcxt);
	}
	view = eddy_catalog_get_view(view_oid);
	plan = view ? eddy_plan_make(view) : NULL;
	if (plan == NULL)
	{
		if (entry)
			hash_search(plans, &view_oid, HASH_REMOVE, NULL);
		return NULL;
	}
	entry = hash_search(plans, &view_oid, HASH_ENTER, NULL);
	entry->plan = plan;
	/* no error can be raised from here on */
	MemoryContextSetParent(plan->mcxt, CacheMemoryContext);
	return plan;
}

/*
 * eddy_plan_get returns the plan of a view, NULL if it was dropped. Making it locks the state
 * tables with RowExclusiveLock, and raises errors if the view cannot be maintained any more.
 */
EddyViewPlan *
eddy_plan_get(Oid view)
{
	eddy_plan_watch();
	return get_plan(view);
}

/*
 * eddy_plan_for_source returns the plan whose delta query reads rows of a stream, or of a parent.
 */
EddyViewPlan *
eddy_plan_for_source(EddyViewPlan *plan, Oid source)
{
	ListCell   *lc;

	foreach(lc, plan->others)
		if (((EddyViewPlan *) lfirst(lc))->stream == source)
			return lfirst(lc);
	return plan;
}

/* eddy_plan_ready returns true if the view has a plan: getting it reads and checks nothing. */
bool
eddy_plan_ready(Oid view)
{
	PlanEntry  *entry = plans ? hash_search(plans, &view, HASH_FIND, NULL) : NULL;

	return entry && entry->plan && (entry->plan->valid || entry->plan->users > 0);
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

static void
unpin_for(void *arg)
{
	PlanPin    *pin = arg;

	if (pin->transaction != transactions)
		return;
	eddy_plan_unpin(pin->plan);
	nlong_pins--;
}

/*
 * eddy_plan_pin_for pins a plan until a memory context is reset or deleted, also by an error. For
 * queries, which end with their transaction at the latest.
 */
void
eddy_plan_pin_for(EddyViewPlan *plan, MemoryContext mcxt)
{
	PlanPin    *pin = MemoryContextAllocZero(mcxt, sizeof(PlanPin));

	pin->plan = plan;
	pin->transaction = transactions;
	pin->callback.func = unpin_for;
	pin->callback.arg = pin;
	MemoryContextRegisterResetCallback(mcxt, &pin->callback);
	eddy_plan_pin(plan);
	nlong_pins++;
}

/*
 * eddy_plan_at_xact_end frees invalid plans at the end of a transaction: if their views were
 * dropped, they would never be used again. Accesses memory only, as required at that time.
 */
void
eddy_plan_at_xact_end(void)
{
	static uint64 swept = 0;
	HASH_SEQ_STATUS status;
	PlanEntry  *entry;

	transactions++;
	if (plans == NULL)
		return;
	/* the memory of a query that has failed can be freed later than this */
	if (nlong_pins > 0)
	{
		hash_seq_init(&status, plans);
		while ((entry = hash_seq_search(&status)) != NULL)
			if (entry->plan)
				entry->plan->users = 0;
		nlong_pins = 0;
	}
	if (swept == invalidations)
		return;
	swept = invalidations;
	hash_seq_init(&status, plans);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		EddyViewPlan *plan = entry->plan;

		if (plan && plan->valid)
			continue;
		hash_search(plans, &entry->view, HASH_REMOVE, NULL);
		if (plan)
			MemoryContextDelete(plan->mcxt);
	}
	eddy_followers_sweep();
}

/*
 * eddy_plan_check_result raises an error unless the rows that the caller of an SQL function expects
 * are those of the view.
 */
void
eddy_plan_check_result(const EddyViewPlan *plan, TupleDesc expected, const char *function)
{
	bool		same = expected != NULL && expected->natts == plan->noutputs;

	for (int i = 0; same && i < plan->noutputs; i++)
		same = TupleDescAttr(expected, i)->atttypid == plan->outputs[i].type;
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("function \"%s\" must return the columns of the continuous view",
						function)));
}

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
#include "view/analyze.h"
#include "view/chain.h"
#include "view/kind.h"
#include "view/plan.h"
#include "view/view.h"

typedef struct PlanEntry
{
	Oid			view;			/* hash key */
	EddyViewPlan *plan;			/* NULL: not made */
} PlanEntry;

/* Views that the same streams reach, directly or through other views. */
typedef struct SetEntry
{
	List	   *streams;		/* of Oid, sorted */
	List	   *views;			/* of Oid, by level and Oid */
	List	   *levels;			/* of int, of these */
	List	   *roots;			/* of Oid: those of them that read several sources, and so have a watermark */
} SetEntry;

/* What follows from a stream, or from a view. Lists are in mcxt. */
typedef struct SourceEntry
{
	Oid			source;			/* hash key */
	bool		valid;			/* false: all of it has to be read again */
	MemoryContext mcxt;			/* NULL: nothing was read yet */
	List	   *views;			/* of Oid: the views that read it */
	List	   *levels;			/* of int, of these */
	int			max_level;
	List	   *starting;		/* those of them that are filled from Kafka */
	List	   *sets;			/* of SetEntry, of a stream: all views that it reaches */
	List	   *joined;			/* of Oid, sorted: see eddy_plan_joined */
} SourceEntry;

static HTAB *plans = NULL;
static HTAB *sources = NULL;
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
	SourceEntry *source;

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

	/* a change of a row of eddy._view also invalidates the relcache entries of all that the view follows from */
	hash_seq_init(&status, sources);
	while ((source = hash_seq_search(&status)) != NULL)
		if (!OidIsValid(relid) || relid == source->source)
			source->valid = false;
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

static void
create_caches(void)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(PlanEntry);
	ctl.hcxt = CacheMemoryContext;
	plans = hash_create("pg_eddy view plans", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.entrysize = sizeof(SourceEntry);
	sources = hash_create("pg_eddy sources", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	if (!callbacks_registered)
	{
		CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
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
	bool		updates = strcmp(view->late, "update") == 0;

	plan->dead_letters = strcmp(view->on_error, "dead_letter") == 0;
	if (!eddy_view_parse_emit(view->emit, &plan->emit_interval))
		plan->emit_interval = 0;
	plan->on_close = strcmp(view->emit, "on_close") == 0;
	plan->keeps_late = updates || strcmp(view->late, "keep") == 0;
	plan->lateness = updates ? eddy_interval_usec(&view->allowed_lateness) : 0;
	plan->retention = view->retention ? eddy_interval_usec(view->retention) : -1;
	plan->idle_ttl = view->idle_ttl ? eddy_interval_usec(view->idle_ttl) : 0;
	plan->deferred = strcmp(view->maintenance, "deferred") == 0;
}

/*
 * eddy_plan_make makes the plan of a view, in a context of its own below the current one; the plan is not
 * in the cache. NULL if the view was dropped. Locks the state tables, as eddy_plan_get does.
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
	if (plans == NULL)
		create_caches();
	return get_plan(view);
}

/* eddy_plan_for_source returns the plan whose delta query reads rows of a stream, or of a parent. */
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

static void
clear_source(SourceEntry *entry)
{
	if (entry->mcxt)
		MemoryContextDelete(entry->mcxt);
	entry->mcxt = NULL;
	entry->views = entry->levels = entry->starting = entry->sets = entry->joined = NIL;
	entry->max_level = 0;
}

static SetEntry *
find_set(const SourceEntry *entry, const List *streams)
{
	ListCell   *lc;

	foreach(lc, entry->sets)
		if (equal(((SetEntry *) lfirst(lc))->streams, streams))
			return lfirst(lc);
	return NULL;
}

/* Adds a view to those that its streams reach together, in the order in which all lock them. */
static void
add_to_set(SourceEntry *entry, const EddyView *view, const EddyMember *member)
{
	SetEntry   *set = find_set(entry, member->streams);
	int			place = 0;

	if (set == NULL)
	{
		set = palloc0(sizeof(SetEntry));
		set->streams = list_copy(member->streams);
		entry->sets = lappend(entry->sets, set);
	}
	while (place < list_length(set->views) &&
		   (list_nth_int(set->levels, place) < member->level ||
			(list_nth_int(set->levels, place) == member->level &&
			 list_nth_oid(set->views, place) < view->relid)))
		place++;
	set->views = list_insert_nth_oid(set->views, place, view->relid);
	set->levels = list_insert_nth_int(set->levels, place, member->level);
	if (list_length(view->streams) > 1)
		set->roots = lappend_oid(set->roots, view->relid);
}

/* The views of a list that read a source. */
static List *
select_readers(List *views, Oid source)
{
	List	   *readers = NIL;
	ListCell   *lc;

	foreach(lc, views)
		if (list_member_oid(((EddyView *) lfirst(lc))->streams, source))
			readers = lappend(readers, lfirst(lc));
	return readers;
}

/* True if a view that a view reads, directly or through others, is not maintained. */
static bool
has_suspended_source(List *views, const EddyView *view)
{
	List	   *ancestors = eddy_catalog_ancestors(view->streams);
	ListCell   *lc;

	if (ancestors == NIL)
		return false;
	foreach(lc, views)
	{
		const EddyView *other = lfirst(lc);

		if (other->suspended && list_member_oid(ancestors, other->relid))
			return true;
	}
	return false;
}

/* A view that the source of an entry reaches. */
static void
add_reached(SourceEntry *entry, List *all, const EddyView *view)
{
	EddyMember	member = eddy_catalog_member(view->relid);
	bool		closes = list_member_oid(member.streams, entry->source) &&
		!has_suspended_source(all, view);
	MemoryContext old = MemoryContextSwitchTo(entry->mcxt);

	if (list_length(view->streams) > 1 && member.level > 0)
		entry->joined = list_concat_unique_oid(entry->joined, member.streams);
	if (closes)
		add_to_set(entry, view, &member);
	MemoryContextSwitchTo(old);
}

/* A view that reads the source of an entry. */
static void
add_reader(SourceEntry *entry, const EddyView *view)
{
	int			level = eddy_catalog_member(view->relid).level;
	MemoryContext old = MemoryContextSwitchTo(entry->mcxt);

	if (!view->suspended)
	{
		entry->views = lappend_oid(entry->views, view->relid);
		entry->levels = lappend_int(entry->levels, level);
		entry->max_level = Max(entry->max_level, level);
	}
	if (view->starting)
		entry->starting = lappend_oid(entry->starting, view->relid);
	MemoryContextSwitchTo(old);
}

static void
read_source(SourceEntry *entry)
{
	List	   *all = eddy_catalog_list_all_views();
	List	   *reached = NIL;
	MemoryContext old;
	ListCell   *lc;

	clear_source(entry);
	entry->mcxt = AllocSetContextCreate(CacheMemoryContext, "pg_eddy views of a source",
										ALLOCSET_SMALL_SIZES);
	foreach(lc, select_readers(all, entry->source))
	{
		add_reader(entry, lfirst(lc));
		reached = lappend(reached, lfirst(lc));
	}
	/* the loop reads what it appends */
	foreach(lc, reached)
	{
		const EddyView *view = lfirst(lc);

		if (view->suspended)
			continue;
		add_reached(entry, all, view);
		reached = list_concat_unique_ptr(reached, select_readers(all, view->relid));
	}
	old = MemoryContextSwitchTo(entry->mcxt);
	list_sort(entry->joined, list_oid_cmp);
	MemoryContextSwitchTo(old);
}

/* The entry of a stream or a view, with what follows from it. */
static SourceEntry *
get_source(Oid source)
{
	SourceEntry *entry;
	bool		found;

	if (plans == NULL)
		create_caches();
	entry = hash_search(sources, &source, HASH_ENTER, &found);
	if (!found)
	{
		entry->valid = false;
		entry->mcxt = NULL;
		clear_source(entry);
	}
	if (!entry->valid)
	{
		uint64		before = invalidations;

		read_source(entry);
		/* an invalidation during the reading takes precedence */
		entry->valid = (before == invalidations);
	}
	return entry;
}

/*
 * eddy_plan_views returns the views that read a stream, or a view, and are maintained: all but suspended
 * ones. List of Oid, sorted, in the current memory context.
 */
List *
eddy_plan_views(Oid source)
{
	return list_copy(get_source(source)->views);
}

/* The Oids of a list whose number in another one is a level. */
static List *
select_level(const List *views, const List *levels, int level)
{
	List	   *result = NIL;
	ListCell   *lc;
	ListCell   *ll;

	forboth(lc, views, ll, levels)
		if (lfirst_int(ll) == level)
			result = lappend_oid(result, lfirst_oid(lc));
	return result;
}

/* The least number of a list that is not less than a level; -1: none. */
static int
least_level(const List *levels, int level)
{
	int			least = -1;
	ListCell   *lc;

	foreach(lc, levels)
		if (lfirst_int(lc) >= level && (least < 0 || lfirst_int(lc) < least))
			least = lfirst_int(lc);
	return least;
}

/* eddy_plan_views_at returns those of a level. */
List *
eddy_plan_views_at(Oid source, int level)
{
	const SourceEntry *entry = get_source(source);

	return select_level(entry->views, entry->levels, level);
}

/* eddy_plan_next_level returns the first level of such views that is not less than a level; -1: there is none. */
int
eddy_plan_next_level(Oid source, int level)
{
	const SourceEntry *entry = get_source(source);

	return level > entry->max_level ? -1 : least_level(entry->levels, level);
}

/*
 * eddy_plan_views_of returns the views that exactly these streams reach, directly or through other views that
 * are all maintained. List of Oid, by level and Oid, in the current memory context. level: those of this one
 * alone, unless it is -1. streams: of Oid, sorted.
 */
List *
eddy_plan_views_of(const List *streams, int level)
{
	const SetEntry *set = find_set(get_source(linitial_oid(streams)), streams);

	if (set == NULL)
		return NIL;
	return level < 0 ? list_copy(set->views) : select_level(set->views, set->levels, level);
}

/* eddy_plan_next_level_of returns the first level of such views that is not less than a level; -1: there is none. */
int
eddy_plan_next_level_of(const List *streams, int level)
{
	const SetEntry *set = find_set(get_source(linitial_oid(streams)), streams);

	return set ? least_level(set->levels, level) : -1;
}

/*
 * eddy_plan_roots_of returns those of such views that have a watermark of their own, as all have that read several
 * sources: the others have that of the view that they read. List of Oid in the current memory context.
 */
List *
eddy_plan_roots_of(const List *streams)
{
	const SetEntry *set = find_set(get_source(linitial_oid(streams)), streams);

	return set ? list_copy(set->roots) : NIL;
}

/*
 * eddy_plan_unions returns the sets of streams that reach views together with a stream: List of List of Oid,
 * sorted, in the current memory context.
 */
List *
eddy_plan_unions(Oid stream)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, get_source(stream)->sets)
		if (list_length(((SetEntry *) lfirst(lc))->streams) > 1)
			result = lappend(result, list_copy(((SetEntry *) lfirst(lc))->streams));
	return result;
}

/*
 * eddy_plan_joined returns the streams on whose windows a writer of a stream, or of a view, takes a share lock
 * before it locks any view: those of all views that follow from it and that read a view and something else. Rows of
 * such a view change when windows of one of these streams close, and when rows are added to another one.
 */
List *
eddy_plan_joined(Oid source)
{
	return list_copy(get_source(source)->joined);
}

/*
 * eddy_plan_is_starting returns true for a view of a stream that is filled from Kafka: batches of
 * sources do not concern it yet, and its windows do not close.
 */
bool
eddy_plan_is_starting(Oid stream, Oid view)
{
	return list_member_oid(get_source(stream)->starting, view);
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
 * eddy_plan_pin_for pins a plan until a memory context is reset or deleted, also by an error. For queries,
 * which end with their transaction at the latest.
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
	SourceEntry *source;

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
	hash_seq_init(&status, sources);
	while ((source = hash_seq_search(&status)) != NULL)
	{
		if (source->valid)
			continue;
		clear_source(source);
		hash_search(sources, &source->source, HASH_REMOVE, NULL);
	}
}

/*
 * eddy_plan_check_result raises an error unless the rows that the caller of an SQL function expects are
 * those of the view.
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

/*-------------------------------------------------------------------------
 *
 * followers.c
 *    Which views follow from a stream, or from a view, cached in each backend.
 *
 * A source has the views that read it, each of which has a level (apply/cascade.c). A stream also
 * has the views that it reaches through others, by the sets of streams that reach them together:
 * the windows of these close in one step. All of it is read from the catalog at the first use, and
 * again after a change of a row of eddy._view that concerns it, which invalidates the relcache
 * entries of all that the view follows from.
 *
 * Takes no locks. Memory: one context for each source, below CacheMemoryContext. Nothing here
 * outlives the process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "catalog/eddy_catalog.h"
#include "view/followers.h"
#include "view/plan.h"

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
	List	   *joined;			/* of Oid, sorted: see eddy_followers_joined */
} SourceEntry;

static HTAB *sources = NULL;

static void
make_cache(void)
{
	HASHCTL		ctl = {0};

	/* before anything is read */
	eddy_plan_watch();
	if (sources)
		return;
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(SourceEntry);
	ctl.hcxt = CacheMemoryContext;
	sources = hash_create("pg_eddy sources", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* ---- reading ---- */

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

	make_cache();
	entry = hash_search(sources, &source, HASH_ENTER, &found);
	if (!found)
	{
		entry->valid = false;
		entry->mcxt = NULL;
		clear_source(entry);
	}
	if (!entry->valid)
	{
		uint64		before = eddy_plan_invalidations();

		read_source(entry);
		/* an invalidation during the reading takes precedence */
		entry->valid = (before == eddy_plan_invalidations());
	}
	return entry;
}

/*
 * eddy_followers_list returns the views that read a stream, or a view, and are maintained: all but
 * suspended ones. List of Oid, sorted, in the current memory context.
 */
List *
eddy_followers_list(Oid source)
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

/* eddy_followers_at returns those of a level. */
List *
eddy_followers_at(Oid source, int level)
{
	const SourceEntry *entry = get_source(source);

	return select_level(entry->views, entry->levels, level);
}

/*
 * eddy_followers_next_level returns the first level of such views that is not less than a level;
 * -1: there is none.
 */
int
eddy_followers_next_level(Oid source, int level)
{
	const SourceEntry *entry = get_source(source);

	return level > entry->max_level ? -1 : least_level(entry->levels, level);
}

/*
 * eddy_followers_of returns the views that exactly these streams reach, directly or through other
 * views that are all maintained. List of Oid, by level and Oid, in the current memory context.
 * level: those of this one alone, unless it is -1. streams: of Oid, sorted.
 */
List *
eddy_followers_of(const List *streams, int level)
{
	const SetEntry *set = find_set(get_source(linitial_oid(streams)), streams);

	if (set == NULL)
		return NIL;
	return level < 0 ? list_copy(set->views) : select_level(set->views, set->levels, level);
}

/*
 * eddy_followers_next_level_of returns the first level of such views that is not less than a level;
 * -1: there is none.
 */
int
eddy_followers_next_level_of(const List *streams, int level)
{
	const SetEntry *set = find_set(get_source(linitial_oid(streams)), streams);

	return set ? least_level(set->levels, level) : -1;
}

/*
 * eddy_followers_roots returns those of such views that have a watermark of their own, as all have
 * that read several sources: the others have that of the view that they read. List of Oid in the
 * current memory context.
 */
List *
eddy_followers_roots(const List *streams)
{
	const SetEntry *set = find_set(get_source(linitial_oid(streams)), streams);

	return set ? list_copy(set->roots) : NIL;
}

/*
 * eddy_followers_unions returns the sets of streams that reach views together with a stream: List
 * of List of Oid, sorted, in the current memory context.
 */
List *
eddy_followers_unions(Oid stream)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, get_source(stream)->sets)
		if (list_length(((SetEntry *) lfirst(lc))->streams) > 1)
			result = lappend(result, list_copy(((SetEntry *) lfirst(lc))->streams));
	return result;
}

/*
 * eddy_followers_joined returns the streams on whose windows a writer of a stream, or of a view,
 * takes a share lock before it locks any view: those of all views that follow from it and that read
 * a view and something else. Rows of such a view change when windows of one of these streams close,
 * and when rows are added to another one.
 */
List *
eddy_followers_joined(Oid source)
{
	return list_copy(get_source(source)->joined);
}

/*
 * eddy_followers_is_starting returns true for a view of a stream that is filled from Kafka: batches
 * of sources do not concern it yet, and its windows do not close.
 */
bool
eddy_followers_is_starting(Oid stream, Oid view)
{
	return list_member_oid(get_source(stream)->starting, view);
}

/* ---- invalidation ---- */

/* eddy_followers_invalidate marks what is known of a relation, or of all. */
void
eddy_followers_invalidate(Oid relid)
{
	HASH_SEQ_STATUS status;
	SourceEntry *source;

	if (sources == NULL)
		return;
	hash_seq_init(&status, sources);
	while ((source = hash_seq_search(&status)) != NULL)
		if (!OidIsValid(relid) || relid == source->source)
			source->valid = false;
}

/* eddy_followers_sweep frees what is marked, at the end of a transaction. Accesses memory only. */
void
eddy_followers_sweep(void)
{
	HASH_SEQ_STATUS status;
	SourceEntry *source;

	if (sources == NULL)
		return;
	hash_seq_init(&status, sources);
	while ((source = hash_seq_search(&status)) != NULL)
	{
		if (source->valid)
			continue;
		clear_source(source);
		hash_search(sources, &source->source, HASH_REMOVE, NULL);
	}
}

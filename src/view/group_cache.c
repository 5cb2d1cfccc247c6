/*-------------------------------------------------------------------------
 *
 * group_cache.c
 *    Where rows of a state table were seen last, by the hash of their key.
 *
 * A group that has just been merged is often merged again by the next batch. A source worker
 * remembers the places of such rows, so that it finds them without a descent of the index.
 *
 * An entry is only a hint. Concurrent transactions update, delete and vacuum rows, transactions
 * abort, and tables are truncated and rewritten, none of which is noticed here. So the row at the
 * place is fetched with the snapshot of the merge and its key is compared: keys are unique, so the
 * row with the key that is visible is the row of the group, whatever has happened. If there is no
 * such row, the index decides. For the same reason two keys with the same hash replace each other
 * without harm.
 *
 * The table of entries doubles, while a quarter is used, up to pg_eddy.group_cache_memory; then new
 * entries replace old ones.
 *
 * Memory: a context for each state table, deleted when its relcache entry is invalidated, for
 * instance because the table was dropped. No locks. Only source workers have caches: statements of
 * users touch few groups. Nothing survives the process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "relcache_watch.h"
#include "settings.h"
#include "view/group_cache.h"
#include "view/upsert.h"
#include "view/view.h"

#define WAYS 4					/* places where an entry can be; they share a line of the CPU's cache */
#define FIRST_SIZE 256			/* entries */

typedef struct GroupEntry
{
	uint64		hash;
	ItemPointerData place;		/* invalid: the entry is free */
} GroupEntry;

struct EddyGroupCache
{
	Oid			relid;			/* hash key */
	bool		valid;
	bool		hashable;		/* every type of the key has a hash function; else the rest is not set */
	MemoryContext mcxt;			/* holds the rest */
	int			nkeys;
	FmgrInfo   *functions;		/* of the types of the key, with a seed */
	Oid		   *collations;
	GroupEntry *entries;
	uint64		size;			/* a power of two */
	uint64		used;
	uint32		victim;			/* which of the places is used next if all are taken */
};

static HTAB *caches = NULL;		/* NULL: this process has none */
static int64 lookups = 0;
static int64 hits = 0;

static void
at_relcache_change(Datum arg pg_attribute_unused(), Oid relid)
{
	HASH_SEQ_STATUS scan;
	EddyGroupCache *cache;

	if (OidIsValid(relid))
	{
		cache = hash_search(caches, &relid, HASH_FIND, NULL);
		if (cache)
			cache->valid = false;
		return;
	}
	hash_seq_init(&scan, caches);
	while ((cache = hash_seq_search(&scan)) != NULL)
		cache->valid = false;
}

void
eddy_view_cache_groups(void)
{
	HASHCTL		control = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(EddyGroupCache),
		.hcxt = TopMemoryContext
	};

	if (caches != NULL)
		return;
	caches = hash_create("pg_eddy group caches", 16, &control,
						 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	eddy_relcache_watch(at_relcache_change, (Datum) 0);
}

/* Makes a cache that is empty, or notes that the table cannot have one. */
static void
reset(EddyGroupCache *cache, const EddyStateTable *table)
{
	if (cache->mcxt == NULL)
		cache->mcxt = AllocSetContextCreate(TopMemoryContext, "pg_eddy group cache",
											ALLOCSET_SMALL_SIZES);
	MemoryContextReset(cache->mcxt);
	cache->nkeys = table->nkeys;
	cache->functions = MemoryContextAllocZero(cache->mcxt, sizeof(FmgrInfo) * table->nkeys);
	cache->collations = MemoryContextAllocZero(cache->mcxt, sizeof(Oid) * table->nkeys);
	cache->entries = NULL;
	cache->size = cache->used = 0;
	cache->hashable = true;
	for (int i = 0; i < table->nkeys && cache->hashable; i++)
	{
		/* keys are looked up in the order of the index */
		const EddyStateKey *key = &eddy_upsert_order(table)[i];
		Oid			type = table->columns[key->column - 1].type;
		TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_HASH_EXTENDED_PROC);

		/* arrays and rows have it only if their elements do */
		cache->hashable = OidIsValid(entry->hash_extended_proc);
		if (cache->hashable)
			fmgr_info_cxt(entry->hash_extended_proc, &cache->functions[i], cache->mcxt);
		cache->collations[i] = key->collation;
	}
	cache->valid = true;
}

/* Drops the caches of tables that have changed, of which some may not exist any more. */
static void
drop_invalid(void)
{
	HASH_SEQ_STATUS scan;
	EddyGroupCache *cache;

	hash_seq_init(&scan, caches);
	while ((cache = hash_seq_search(&scan)) != NULL)
	{
		if (cache->valid)
			continue;
		if (cache->mcxt)
			MemoryContextDelete(cache->mcxt);
		hash_search(caches, &cache->relid, HASH_REMOVE, NULL);
	}
}

/* eddy_view_cache_counts is called between batches, and also frees what is not needed any more. */
void
eddy_view_cache_counts(int64 *all, int64 *found)
{
	drop_invalid();
	*all = lookups;
	*found = hits;
}

EddyGroupCache *
eddy_group_cache_open(const EddyStateTable *table)
{
	EddyGroupCache *cache;
	bool		found;

	if (caches == NULL || eddy_settings_group_cache_memory == 0)
		return NULL;
	cache = hash_search(caches, &table->relid, HASH_ENTER, &found);
	if (!found)
	{
		cache->valid = false;
		cache->mcxt = NULL;
	}
	if (!cache->valid)
		reset(cache, table);
	return cache->hashable ? cache : NULL;
}

uint64
eddy_group_cache_hash(const EddyGroupCache *cache, const Datum *keys, const bool *nulls)
{
	uint64		hash = 0;

	for (int i = 0; i < cache->nkeys; i++)
	{
		uint64		part = nulls[i] ? 0 :
			DatumGetUInt64(FunctionCall2Coll(&cache->functions[i],
											 cache->collations[i], keys[i], UInt64GetDatum(0)));

		hash = hash_combine64(hash, part);
	}
	return hash;
}

static inline GroupEntry *
first_place(EddyGroupCache *cache, uint64 hash)
{
	return &cache->entries[hash & (cache->size - 1) & ~(uint64) (WAYS - 1)];
}

bool
eddy_group_cache_find(EddyGroupCache *cache, uint64 hash, ItemPointer place)
{
	const GroupEntry *entry;

	lookups++;
	if (cache->size == 0)
		return false;
	entry = first_place(cache, hash);
	for (int i = 0; i < WAYS; i++, entry++)
	{
		if (entry->hash == hash && ItemPointerIsValid(&entry->place))
		{
			*place = entry->place;
			return true;
		}
	}
	return false;
}

void
eddy_group_cache_hit(EddyGroupCache *cache pg_attribute_unused())
{
	hits++;
}

void
eddy_group_cache_skip(EddyGroupCache *cache pg_attribute_unused())
{
	lookups++;
}

/* Doubles the table, if the setting allows it. */
static void
grow(EddyGroupCache *cache)
{
	GroupEntry *old = cache->entries;
	uint64		old_size = cache->size;
	uint64		size = Max(old_size * 2, FIRST_SIZE);

	if (size * sizeof(GroupEntry) > (uint64) eddy_settings_group_cache_memory * 1024)
		return;
	cache->entries = MemoryContextAllocExtended(cache->mcxt, size * sizeof(GroupEntry),
												MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	cache->size = size;
	cache->used = 0;
	for (uint64 i = 0; i < old_size; i++)
	{
		if (ItemPointerIsValid(&old[i].place))
			eddy_group_cache_put(cache, old[i].hash, &old[i].place);
	}
	if (old)
		pfree(old);
}

void
eddy_group_cache_put(EddyGroupCache *cache, uint64 hash, ItemPointer place)
{
	GroupEntry *first;
	GroupEntry *entry;

	if (cache->used * 4 >= cache->size)
		grow(cache);
	if (cache->size == 0)
		return;
	first = first_place(cache, hash);
	for (entry = first; entry < first + WAYS; entry++)
		if (entry->hash == hash || !ItemPointerIsValid(&entry->place))
			break;
	if (entry == first + WAYS)
		entry = first + cache->victim++ % WAYS;
	if (!ItemPointerIsValid(&entry->place))
		cache->used++;
	entry->hash = hash;
	entry->place = *place;
}

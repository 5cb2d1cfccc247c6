/*-------------------------------------------------------------------------
 *
 * stream_cache.c
 *    Caches of what is known of streams, by the OID of their table.
 *
 * An entry is valid until the relcache entry of the stream is invalidated, or that of eddy._view,
 * as each change of a row of our catalog about the stream does.
 *
 * No locks. Memory: CacheMemoryContext, for the life of the process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "apply/stream_cache.h"
#include "catalog/eddy_catalog.h"
#include "relcache_watch.h"

struct EddyStreamCache
{
	HTAB	   *entries;
	Size		entry_size;
};

static uint64 changes = 0;		/* invalidations so far */
static Oid	watched_views = InvalidOid; /* eddy._view, invalidated by all changes of our catalog */

static void
at_relcache_change(Datum arg, Oid relid)
{
	EddyStreamCache *cache = (EddyStreamCache *) DatumGetPointer(arg);
	HASH_SEQ_STATUS scan;
	EddyStreamCacheEntry *entry;

	changes++;
	if (OidIsValid(relid) && relid != watched_views)
	{
		entry = hash_search(cache->entries, &relid, HASH_FIND, NULL);
		if (entry)
			entry->valid = false;
		return;
	}
	hash_seq_init(&scan, cache->entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entry->valid = false;
}

uint64
eddy_stream_cache_changes(void)
{
	return changes;
}

/* eddy_stream_cache_create creates a cache for the life of the process. */
EddyStreamCache *
eddy_stream_cache_create(const char *name, Size entry_size)
{
	EddyStreamCache *cache = MemoryContextAlloc(CacheMemoryContext, sizeof(EddyStreamCache));
	HASHCTL		control = {
		.keysize = sizeof(Oid),
		.entrysize = entry_size,
		.hcxt = CacheMemoryContext
	};

	cache->entry_size = entry_size;
	cache->entries = hash_create(name, 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	eddy_relcache_watch(at_relcache_change, PointerGetDatum(cache));
	return cache;
}

/* eddy_stream_cache_find returns the entry of a stream. One that is new is not valid, and zero. */
void *
eddy_stream_cache_find(EddyStreamCache *cache, Oid stream)
{
	bool		found;
	EddyStreamCacheEntry *entry = hash_search(cache->entries, &stream, HASH_ENTER, &found);

	if (!found)
		memset((char *) entry + sizeof(Oid), 0, cache->entry_size - sizeof(Oid));
	if (!entry->valid)
		watched_views = eddy_catalog_relid(EDDY_CATALOG_VIEW);
	return entry;
}

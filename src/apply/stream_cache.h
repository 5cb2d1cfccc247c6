/*-------------------------------------------------------------------------
 *
 * stream_cache.h
 *    Caches of what is known of streams, by the OID of their table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_STREAM_CACHE_H
#define EDDY_STREAM_CACHE_H

/* The first member of each entry. */
typedef struct EddyStreamCacheEntry
{
	Oid			stream;			/* hash key */
	bool		valid;			/* false: the rest has to be read again */
} EddyStreamCacheEntry;

typedef struct EddyStreamCache EddyStreamCache;

extern EddyStreamCache *eddy_stream_cache_create(const char *name, Size entry_size);
extern void *eddy_stream_cache_find(EddyStreamCache *cache, Oid stream);

/*
 * Around reading what is not valid, so that neither a change meanwhile nor an error leaves an entry
 * valid that is not: before = changes(); read; entry->valid = (before == changes()).
 */
extern uint64 eddy_stream_cache_changes(void);

#endif							/* EDDY_STREAM_CACHE_H */

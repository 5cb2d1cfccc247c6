/*-------------------------------------------------------------------------
 *
 * group_cache.h
 *    Where rows of a state table were seen last, by the hash of their key. Private to src/view.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_GROUP_CACHE_H
#define EDDY_GROUP_CACHE_H

#include "storage/itemptr.h"
#include "view/upsert.h"

typedef struct EddyGroupCache EddyGroupCache;

/* The cache of a table; NULL if there is none. Valid until the table is opened again. */
extern EddyGroupCache *eddy_group_cache_open(const EddyStateTable *table);

extern uint64 eddy_group_cache_hash(const EddyGroupCache *cache, const Datum *keys,
									const bool *nulls);

/*
 * False if the place is not known. Otherwise the caller must check that the row there is visible
 * and has the key, and count it with eddy_group_cache_hit if it is.
 */
extern bool eddy_group_cache_find(EddyGroupCache *cache, uint64 hash, ItemPointer place);
extern void eddy_group_cache_hit(EddyGroupCache *cache);

/* Counts a group that is known not to exist. */
extern void eddy_group_cache_skip(EddyGroupCache *cache);
extern void eddy_group_cache_put(EddyGroupCache *cache, uint64 hash, ItemPointer place);

#endif							/* EDDY_GROUP_CACHE_H */

/*-------------------------------------------------------------------------
 *
 * relcache_watch.h
 *    Functions that are called when a relation may have changed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_RELCACHE_WATCH_H
#define EDDY_RELCACHE_WATCH_H

#include "utils/inval.h"

/*
 * As CacheRegisterRelcacheCallback, without its limit. Register each function once for each
 * argument.
 */
extern void eddy_relcache_watch(RelcacheCallbackFunction function, Datum arg);

#endif							/* EDDY_RELCACHE_WATCH_H */

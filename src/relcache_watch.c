/*-------------------------------------------------------------------------
 *
 * relcache_watch.c
 *    Functions that are called when a relation may have changed.
 *
 * The server has a fixed number of places for such functions, ten, which all libraries of a process
 * share, and ends the process (FATAL) when there are none left. Each library of pg_eddy therefore
 * takes one of them, and calls its own functions in turn.
 *
 * The list is for the life of the process. Invalidations are processed in any state of a
 * transaction, so that the functions must not raise errors or access catalogs. Registering from
 * within one of them is not possible.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "relcache_watch.h"

typedef struct Watcher
{
	RelcacheCallbackFunction function;
	Datum		arg;
} Watcher;

static Watcher *watchers = NULL;
static int	nwatchers = 0;
static int	capacity = 0;

static void
call_watchers(Datum arg pg_attribute_unused(), Oid relid)
{
	for (int i = 0; i < nwatchers; i++)
		watchers[i].function(watchers[i].arg, relid);
}

void
eddy_relcache_watch(RelcacheCallbackFunction function, Datum arg)
{
	if (watchers == NULL)
	{
		watchers = MemoryContextAlloc(TopMemoryContext, 8 * sizeof(Watcher));
		capacity = 8;
		CacheRegisterRelcacheCallback(call_watchers, (Datum) 0);
	}
	else if (nwatchers == capacity)
	{
		watchers = repalloc(watchers, 2 * capacity * sizeof(Watcher));
		capacity *= 2;
	}
	watchers[nwatchers].function = function;
	watchers[nwatchers].arg = arg;
	nwatchers++;
}

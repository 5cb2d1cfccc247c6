/*-------------------------------------------------------------------------
 *
 * shared_state.h
 *    What pg_eddy has in shared memory. For slots.c, wakeup.c, evict.c, flush.c and launcher.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_SHARED_STATE_H
#define EDDY_SHARED_STATE_H

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"

#include "worker/slots.h"

#define EDDY_MAX_REQUESTS 32	/* more of them: all databases are checked */

/* guarded by the lock */
typedef struct EddySlot
{
	EddySlotState state;
	uint32		generation;		/* raised whenever the slot changes hands */
	EddyWorkerId id;			/* unless FREE */
	int			pid;			/* of the worker, while RUNNING */
	int			starter;		/* pid of the process that started it, unless FREE */
	int			failures;		/* in a row */
	TimestampTz next_start;		/* FAILED and DONE: not before */
	char		problem[128];	/* why it does not run, empty if there is no problem */
	bool		polls;			/* of a source, RUNNING: receives what its partitions have */
	int64		busy_since;		/* start of its batch on the monotonic clock; 0: there is none */
	Oid			suspect;		/* of a database worker, FAILED: the view whose function did not end */
	int64		group_lookups;	/* of a source worker, see view/group_cache.c */
	int64		group_hits;
} EddySlot;

/* A database that is kept free of workers; guarded by the lock. */
typedef struct EddyEviction
{
	bool		used;
	Oid			database;
	int			pid;			/* of the process that asked for it */
} EddyEviction;

typedef struct EddySharedState
{
	/* immutable */
	LWLock	   *lock;
	int			nslots;
	int			nevictions;

	ConditionVariable exited;	/* broadcast whenever a worker has exited */

	/* of flush.c */
	pg_atomic_uint64 flush_to;	/* what the launcher should flush */
	pg_atomic_uint32 flushing;	/* it does, and will look for more */

	/* guarded by the lock */
	bool		has_launcher;
	int			launcher;		/* its pid, if there is one */
	bool		check_all;		/* every database, not only those in requests */
	int			nrequests;
	Oid			requests[EDDY_MAX_REQUESTS];
} EddySharedState;

/* NULL if the library was not preloaded. */
extern EddySharedState *eddy_shared;
extern EddySlot *eddy_shared_slots;
extern EddyEviction *eddy_shared_evictions;

/* Installs the hooks that request and initialize the memory. */
extern void eddy_shared_init(void);

/* The number of slots that only database workers can have; they are the last ones. */
extern int	eddy_shared_database_slots(void);

/* For callers that hold the lock. */
extern void eddy_shared_wake(int pid);
extern void eddy_shared_wake_launcher(void);
extern void eddy_shared_wake_database(Oid database);
extern void eddy_shared_free_slot(EddySlot *slot);
extern bool eddy_shared_is_evicted(Oid database);

#endif							/* EDDY_SHARED_STATE_H */

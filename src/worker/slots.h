/*-------------------------------------------------------------------------
 *
 * slots.h
 *    Which background workers run, in shared memory. Private to src/worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_SLOTS_H
#define EDDY_SLOTS_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "worker/worker.h"

/*
 * Life of a slot. It belongs to the starter: the launcher for a database
 * worker, the database worker for all others.
 *
 *            claim                attach                 exit
 *   FREE  ----------> STARTING ----------> RUNNING ------------> FAILED | DONE
 *     ^                  |                                            |
 *     +------------------+------------- release <---------------------+
 *                 (could not start)         until next_start at least
 */
typedef enum EddySlotState
{
	EDDY_SLOT_FREE,				/* -> STARTING */
	EDDY_SLOT_STARTING,			/* -> RUNNING, FAILED, FREE */
	EDDY_SLOT_RUNNING,			/* -> FAILED, DONE */
	EDDY_SLOT_FAILED,			/* -> STARTING (again), FREE */
	EDDY_SLOT_DONE				/* had no work to do. -> STARTING, FREE */
} EddySlotState;

/* A copy of a slot, for its starter. */
typedef struct EddySlotView
{
	EddyWorkerId id;
	EddySlotState state;
	TimestampTz next_start;		/* FAILED and DONE: not before */
} EddySlotView;

/*
 * Identities. A source has as many workers as its option "workers" says, shards 0 and up. Each
 * consumes the partitions that eddy_partitions_owned gives it, in transactions of its own, and has
 * its own row in eddy._source_status and eddy._attempt. Slots, wake-ups and eviction make no
 * difference between shards.
 */
static inline EddyWorkerId
eddy_worker_of_database(Oid database)
{
	return (EddyWorkerId) {.database = database, .kind = EDDY_WORKER_DATABASE};
}

static inline EddyWorkerId
eddy_worker_of_source(Oid database, int32 source, int32 shard)
{
	return (EddyWorkerId) {
		.database = database, .kind = EDDY_WORKER_SOURCE, .id = source, .shard = shard
	};
}

static inline EddyWorkerId
eddy_worker_of_start(Oid database, Oid view)
{
	return (EddyWorkerId) {
		.database = database, .kind = EDDY_WORKER_CATCH_UP, .id = (int32) view
	};
}

/* ---- for starters ---- */

/* Slots in use by workers of a kind, in all databases or in one: List of EddySlotView. */
extern List *eddy_slots_list(EddyWorkerKind kind);
extern List *eddy_slots_list_in(Oid database, EddyWorkerKind kind);

/*
 * eddy_slots_start starts a worker unless it runs, is starting or waits for its back-off. subject
 * is what its process title shows after the kind. Returns NULL if it was started or there
 * is nothing to do; otherwise a reason for the user to read, in a static buffer.
 */
extern const char *eddy_slots_start(EddyWorkerId id, const char *subject);

/* Frees a slot that is not running. */
extern void eddy_slots_release(EddyWorkerId id);

/* Detects workers that were registered but could not be started. */
extern void eddy_slots_check_starting(void);

/* ---- for workers ---- */

/*
 * eddy_slots_attach takes over the slot that the process was started for, and must be
 * the first thing it does. Exits silently if the starter has given the slot up.
 */
extern EddyWorkerId eddy_slots_attach(Datum arg);

/*
 * The view whose function has ended the previous process of this slot, by exceeding the time limit;
 * once. InvalidOid: none.
 */
extern Oid	eddy_slots_take_suspect(void);

/* Marks the end of this process as regular. */
extern void eddy_slots_finish(void);

/* Resets the back-off: the next failure starts with the shortest one again. */
extern void eddy_slots_succeed(void);

/* Shows how many groups were looked up, and how many of these were found without the index. */
extern void eddy_slots_set_groups(int64 lookups, int64 hits);

/* Counts a failure that the process survives and returns how long to wait, in ms. */
extern long eddy_slots_fail(void);

/* Whether this source worker receives what its partitions have: see eddy_worker_polls. */
extern void eddy_slots_set_polls(bool polls);

/* Whether it applies a batch. */
extern void eddy_slots_set_busy(bool busy);

#endif							/* EDDY_SLOTS_H */

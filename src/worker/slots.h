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
 * Life of a slot. It belongs to the starter: the launcher for a database's
 * worker, the database's worker for a source's.
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
	EDDY_SLOT_DONE				/* had nothing to do. -> STARTING, FREE */
} EddySlotState;

/* What the starter sees of a slot: a copy. */
typedef struct EddySlotView
{
	Oid			database;
	int32		source;
	EddySlotState state;
	TimestampTz next_start;		/* not before */
} EddySlotView;

/* ---- for starters ---- */

/* Remembers the latch of the launcher, to be set when something needs its attention. */
extern void eddy_slots_set_launcher(void);

/* Slots of a database's sources, or (InvalidOid) of all databases' own workers. */
extern List *eddy_slots_list(Oid database);

/*
 * eddy_slots_start starts the worker of (database, source) unless it runs, is
 * starting or waits for its back-off. Returns NULL if that went well or there is nothing
 * to do; otherwise a reason for the user to read, in a static buffer.
 */
extern const char *eddy_slots_start(Oid database, int32 source);

/* Forgets a slot that is not running. */
extern void eddy_slots_release(Oid database, int32 source);

/* Looks after workers that were registered but never came up. */
extern void eddy_slots_check_starting(void);

/* Sets the latch of every worker of a database; true if its own worker was among them. */
extern bool eddy_slots_wake(Oid database);

/* Databases to be looked at again, because something was committed there; *all: every one. */
extern List *eddy_slots_take_requests(bool *all);

/* ---- for workers ---- */

/*
 * eddy_slots_attach takes over the slot that the process was started for, and must be
 * the first thing it does. Exits silently if the starter has given it up.
 */
extern void eddy_slots_attach(Datum arg, Oid *database, int32 *source);

/* Tells that the end of this process is not a failure. */
extern void eddy_slots_finish(void);

/* The work goes well: the next failure starts with the shortest back-off again. */
extern void eddy_slots_succeed(void);

/* Counts a failure that the process survives and returns how long to wait, in ms. */
extern long eddy_slots_fail(void);

#endif							/* EDDY_SLOTS_H */

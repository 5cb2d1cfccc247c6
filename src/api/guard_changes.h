/*-------------------------------------------------------------------------
 *
 * guard_changes.h
 *    The objects that utility commands create, alter and drop.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_GUARD_CHANGES_H
#define EDDY_GUARD_CHANGES_H

#include "access/htup.h"
#include "catalog/pg_trigger.h"
#include "nodes/parsenodes.h"

typedef enum EddyChangeKind
{
	EDDY_CHANGE_CREATED,
	EDDY_CHANGE_ALTERED,
	EDDY_CHANGE_DROPPED
} EddyChangeKind;

/* One object that a command has touched. */
typedef struct EddyChange
{
	Oid			class_id;
	Oid			object;
	Oid			other;			/* parent in pg_inherits; table of a dropped object */
	EddyChangeKind kind;
	bool		internal;		/* part of another change: a rewrite, a constraint's trigger */
	bool		privileged;		/* by a superuser */
	char	   *name;			/* of a dropped continuous view, quoted; else NULL */
} EddyChange;

/*
 * What one utility command has done so far; on the stack of its caller, its lists in
 * TopTransactionContext.
 */
typedef struct EddyGuardFrame
{
	List	   *changes;		/* of EddyChange */
	Oid			truncating;		/* the table that TRUNCATE reported last, before its children */
	List	   *truncated;		/* of Oid: tables that TRUNCATE has reported */
	List	   *column_altered; /* of Oid: relations of which a column was altered */
	struct EddyGuardFrame *outer;
} EddyGuardFrame;

/* Installs the hooks. From _PG_init only. */
extern void eddy_guard_changes_init(void);

/* Around a utility command: begin, the command, check if it succeeded, end in each case. */
extern void eddy_guard_begin(EddyGuardFrame *frame);
extern void eddy_guard_check(DropBehavior behavior);
extern void eddy_guard_end(EddyGuardFrame *frame);

/* Notes a relation that the command has altered without reporting it. */
extern void eddy_guard_note(Oid relid);

/* The table of a trigger, with the trigger itself in *form; InvalidOid if it does not exist. */
extern Oid	eddy_guard_trigger_table(Oid trigger, FormData_pg_trigger *form);

/* True if a trigger calls a function of ours. */
extern bool eddy_guard_is_our_trigger(const FormData_pg_trigger *form);

#endif							/* EDDY_GUARD_CHANGES_H */

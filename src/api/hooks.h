/*-------------------------------------------------------------------------
 *
 * hooks.h
 *    Server hooks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_HOOKS_H
#define EDDY_HOOKS_H

#include "nodes/parsenodes.h"

/* Installs the executor, utility and transaction hooks. From _PG_init only. */
extern void eddy_hooks_init(void);

/* Installs the hooks that protect continuous views (guard_view.c). From eddy_hooks_init only. */
extern void eddy_guard_view_init(void);

/* True for roles that the guards do not apply to. */
extern bool eddy_guard_is_trusted(void);

/*
 * Before and after LOCK TABLE: refuses modes that block the writers of a stream, on a continuous
 * view.
 */
extern List *eddy_guard_lock(const LockStmt *stmt);
extern void eddy_guard_lock_end(const LockStmt *stmt, const List *held);

#endif							/* EDDY_HOOKS_H */

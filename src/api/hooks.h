/*-------------------------------------------------------------------------
 *
 * hooks.h
 *    Server hooks: when to flush, which DDL to watch.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_HOOKS_H
#define EDDY_HOOKS_H

/* Installs the executor, utility and transaction hooks. From _PG_init only. */
extern void eddy_hooks_init(void);

#endif							/* EDDY_HOOKS_H */

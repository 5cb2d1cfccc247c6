/*-------------------------------------------------------------------------
 *
 * wakeup.h
 *    Wake-ups of workers, and the launcher's list of databases to check. Private to src/worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_WAKEUP_H
#define EDDY_WAKEUP_H

#include "nodes/pg_list.h"

/* Registers the callback that wakes workers at commit. From _PG_init only. */
extern void eddy_wakeup_init(void);

/* Makes this process the launcher, whose latch is set when something needs its attention. */
extern void eddy_wakeup_set_launcher(void);

/* Databases to check, because something was committed there; *all: every one. */
extern List *eddy_wakeup_take_requests(bool *all);

#endif							/* EDDY_WAKEUP_H */

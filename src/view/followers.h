/*-------------------------------------------------------------------------
 *
 * followers.h
 *    Which views follow from a stream, or from a view.
 *
 * For the files of view/ alone; other layers use view.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_FOLLOWERS_H
#define EDDY_FOLLOWERS_H

#include "nodes/pg_list.h"

/*
 * The views that read a source and are maintained (List of Oid, sorted), of all levels or of one.
 */
extern List *eddy_followers_list(Oid source);
extern List *eddy_followers_at(Oid source, int level);
extern int	eddy_followers_next_level(Oid source, int level);
extern bool eddy_followers_is_starting(Oid stream, Oid view);

/* The views that exactly some streams reach (List of Oid, sorted). */
extern List *eddy_followers_of(const List *streams, int level);
extern int	eddy_followers_next_level_of(const List *streams, int level);
extern List *eddy_followers_roots(const List *streams);
extern List *eddy_followers_unions(Oid stream);
extern List *eddy_followers_joined(Oid source);

/* For the file that watches for invalidations, plan.c. */
extern void eddy_followers_invalidate(Oid relid);
extern void eddy_followers_sweep(void);

#endif							/* EDDY_FOLLOWERS_H */

/*-------------------------------------------------------------------------
 *
 * guard_stream.h
 *    Guards streams and segments against DDL, and lets our catalog follow it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_GUARD_STREAM_H
#define EDDY_GUARD_STREAM_H

#include "nodes/parsenodes.h"

/* The objects that one utility command has touched; on the stack of its caller. */
typedef struct EddyGuardFrame
{
	List	   *changes;
	struct EddyGuardFrame *outer;
} EddyGuardFrame;

/* Before DROP VIEW: locks the streams of continuous views, in order of Oid. */
extern void eddy_guard_lock_streams(const DropStmt *stmt);

/* Installs the hooks. From _PG_init only. */
extern void eddy_guard_stream_init(void);

/*
 * Around a utility command: begin, the command, check if it succeeded, end in each case. The check
 * raises an error if the command left a stream or segment in a state that is not permitted, or
 * dropped a continuous view by DROP_RESTRICT on whose state table others depend.
 */
extern void eddy_guard_begin(EddyGuardFrame *frame);

/* Notes a relation that the command has altered without reporting it. */
extern void eddy_guard_note(Oid relid);
extern void eddy_guard_check(DropBehavior behavior);
extern void eddy_guard_end(EddyGuardFrame *frame);

#endif							/* EDDY_GUARD_STREAM_H */

/*-------------------------------------------------------------------------
 *
 * guard_stream.h
 *    Guards streams and segments against DDL, and lets our catalog follow it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_GUARD_STREAM_H
#define EDDY_GUARD_STREAM_H

#include "api/guard_changes.h"

/* Before DROP VIEW: locks the streams of continuous views, in order of Oid. */
extern void eddy_guard_check_copy(const CopyStmt *stmt);
extern void eddy_guard_lock_streams(const DropStmt *stmt);

/* At the end of a command with these changes (EddyChange): updates our catalog and checks. */
extern void eddy_guard_follow(const List *changes, DropBehavior behavior);

/* Before TRUNCATE empties a table, which reports a table and then its children. */
extern void eddy_guard_check_truncate(Oid relid, Oid *truncating);

/* Installs the hook. From _PG_init only. */
extern void eddy_guard_stream_init(void);

#endif							/* EDDY_GUARD_STREAM_H */

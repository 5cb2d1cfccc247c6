/*-------------------------------------------------------------------------
 *
 * restore.c
 *    What must not happen while a dump is being restored.
 *
 * A restore commits each table separately, in any order: views are known before their states,
 * deltas of views with deferred maintenance before the groups, the watermark before the windows. If
 * the worker of the database merged deltas or closed windows in between, groups would exist before
 * they are loaded, and windows would be passed that are still missing. So a session that loads one
 * of our tables takes a lock that it holds until it ends, and the worker leaves this work while
 * another session holds it. With pg_restore -j, each session loads tables until the last one is
 * loaded.
 *
 * Locking: an advisory lock, as the server releases these at the end of a session; in share mode
 * for sessions, and in exclusive mode, without waiting, for an instant, to find out whether one
 * holds it. No memory. A crash ends the sessions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"

#include "worker/worker.h"

static void
set_tag(LOCKTAG *tag)
{
	/* pg_advisory_lock has 1 and 2 in the last field */
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, 0, 0, 3);
}

/*
 * eddy_worker_note_restore is called when this session writes to a table of pg_eddy by COPY or
 * INSERT.
 */
void
eddy_worker_note_restore(void)
{
	LOCKTAG		tag;

	set_tag(&tag);
	(void) LockAcquire(&tag, ShareLock, true, false);
}

/* eddy_worker_restores: true while a session of this database that has done so is connected. */
bool
eddy_worker_restores(void)
{
	LOCKTAG		tag;

	set_tag(&tag);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	(void) LockRelease(&tag, ExclusiveLock, true);
	return false;
}

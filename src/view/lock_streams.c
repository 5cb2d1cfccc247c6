/*-------------------------------------------------------------------------
 *
 * lock_streams.c
 *    Locks several streams against writers.
 *
 * A view over UNION ALL of several streams is created, rebuilt and dropped under a lock on each of
 * them. A statement that writes to several streams takes its locks in the order in which it names
 * them, which need not be that of the Oids. So while one of the locks is held, the others are
 * waited for only for a short time; then all are released, and the one that was not available is
 * waited for first.
 *
 * Locking: ShareRowExclusiveLock on the streams until the end of the transaction. Memory: the
 * caller's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/guc.h"

#include "local_setting.h"
#include "subtransaction.h"
#include "view/view.h"

/* ms for which a lock is waited for while another one is held; less than deadlock_timeout */
#define SECOND_LOCK_WAIT 200

typedef struct LockAttempt
{
	List	   *streams;		/* of Oid */
	Oid			first;			/* which is waited for without holding another one */
	Oid			waiting;		/* which is being waited for */
} LockAttempt;

static void
run_attempt(void *arg)
{
	LockAttempt *attempt = arg;
	int			level;
	ListCell   *lc;

	attempt->waiting = attempt->first;
	LockRelationOid(attempt->first, ShareRowExclusiveLock);
	level = NewGUCNestLevel();
	eddy_local_lock_timeout_in_level(SECOND_LOCK_WAIT);
	foreach(lc, attempt->streams)
	{
		attempt->waiting = lfirst_oid(lc);
		LockRelationOid(lfirst_oid(lc), ShareRowExclusiveLock);
	}
	AtEOXact_GUC(true, level);
}

/* eddy_view_lock_streams locks streams (List of Oid), whose order does not matter. */
void
eddy_view_lock_streams(List *streams)
{
	LockAttempt attempt = {.streams = streams};
	ErrorData  *error;

	if (streams == NIL)
		return;
	attempt.first = linitial_oid(streams);
	if (list_length(streams) == 1)
	{
		LockRelationOid(attempt.first, ShareRowExclusiveLock);
		return;
	}
	/* if it fails, its locks are released */
	while ((error = eddy_subtransaction_run(run_attempt, &attempt)) != NULL)
	{
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || attempt.waiting == attempt.first)
			ReThrowError(error);
		FreeErrorData(error);
		CHECK_FOR_INTERRUPTS();
		attempt.first = attempt.waiting;
	}
}

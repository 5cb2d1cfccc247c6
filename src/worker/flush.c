/*-------------------------------------------------------------------------
 *
 * flush.c
 *    Flushing the WAL of batches that do not wait for it.
 *
 * A batch of Kafka messages is visible when it has been committed; no session waits for the message
 * that it is on disk, and a crash that takes it back takes back its offsets, too. So a worker need
 * not wait for the disk, and does not unless pg_eddy.synchronous_commit is on; subscriptions of
 * PostgreSQL do not by default, for the same reason. While other files are written, those of a
 * checkpoint or of the kernel's cache, a flush can take a large part of a second, in which the
 * locks of the batch are held.
 *
 * But consumers of changes and standbys receive flushed WAL only, and the server's own WAL writer
 * flushes after up to three times wal_writer_delay. So the launcher flushes what a worker
 * has committed, at once; batches of other workers, and those that are committed while it
 * waits for the disk, share a flush. Without a launcher, the WAL writer does it.
 *
 * Locking: none here; the position is an atomic that only grows. A request is not lost: the
 * launcher looks for a newer one after it has said that it does not flush any more, and who sees it
 * flushing has written the position before. Memory: none. After a crash the position begins at zero
 * again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/latch.h"

#include "local_setting.h"
#include "settings.h"
#include "worker/flush.h"
#include "worker/shared_state.h"

/*
 * eddy_flush_commit commits a transaction that can be lost in a crash, because the messages are
 * read again. It waits for the flush if pg_eddy.synchronous_commit is on, as far as the server's
 * synchronous_commit says, or if force is set.
 */
void
eddy_flush_commit(bool force)
{
	if (force)
		ForceSyncCommit();
	else if (!eddy_settings_synchronous_commit)
		eddy_local_asynchronous_commit();
	CommitTransactionCommand();
	eddy_flush_request();
}

/* eddy_flush_request is called after a commit that may not have waited for its flush. */
void
eddy_flush_request(void)
{
	uint64		end = XactLastCommitEnd;
	uint64		known;

	if (eddy_shared == NULL || GetFlushRecPtr(NULL) >= end)
		return;
	known = pg_atomic_read_u64(&eddy_shared->flush_to);
	do
	{
		if (known >= end)
			return;
	} while (!pg_atomic_compare_exchange_u64(&eddy_shared->flush_to, &known, end));

	/* the exchange was a barrier */
	if (pg_atomic_read_u32(&eddy_shared->flushing) != 0)
		return;
	LWLockAcquire(eddy_shared->lock, LW_SHARED);
	eddy_shared_wake_launcher();
	LWLockRelease(eddy_shared->lock);
}

/*
 * eddy_flush_begin is called when the launcher starts; another one may have ended while it flushed.
 */
void
eddy_flush_begin(void)
{
	pg_atomic_write_u32(&eddy_shared->flushing, 0);
}

/*
 * eddy_flush_serve flushes what has been requested. Returns false if there was nothing to flush.
 * Sets the latch if there is more.
 */
bool
eddy_flush_serve(void)
{
	static uint64 flushed = 0;
	uint64		wanted = pg_atomic_read_u64(&eddy_shared->flush_to);

	if (wanted <= flushed)
		return false;
	(void) pg_atomic_exchange_u32(&eddy_shared->flushing, 1);
	wanted = pg_atomic_read_u64(&eddy_shared->flush_to);
	XLogFlush(wanted);
	flushed = wanted;
	(void) pg_atomic_exchange_u32(&eddy_shared->flushing, 0);
	if (pg_atomic_read_u64(&eddy_shared->flush_to) > flushed)
		SetLatch(MyLatch);
	return true;
}

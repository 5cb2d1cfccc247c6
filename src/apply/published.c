/*-------------------------------------------------------------------------
 *
 * published.c
 *    The watermarks of streams in shared memory.
 *
 * Every statement that adds rows to a stream with windows is judged by the watermark of the stream.
 * Reading it from the tables that store it (watermark.c) costs more than merging a row, so the
 * value is also published in shared memory: by the first process that has read it, and raised by
 * each transaction that has stored a later one, when it has committed.
 *
 * A transaction publishes after its changes have become visible, and before it releases its locks.
 * So a process that has obtained the lock on the windows (close.c) sees what those have stored that
 * have closed windows. Between the two moments others can see the watermark before; that only
 * accepts rows that are not late for any closed window. The value never decreases: it is a maximum,
 * as in the tables.
 *
 * A process that reads the tables makes the entry first. What is published while it reads is
 * therefore not lost; if the entry is given to another stream, or reset, meanwhile, the value is
 * not published. What the transaction itself has stored counts for it alone, and vanishes with its
 * subtransaction.
 *
 * On a standby the tables change by the replay of WAL, which publishes nothing. So the entries are
 * neither made nor used during recovery; after a promotion the first reading makes them.
 *
 * Changes of the tables that do not come from batches, such as a restore, reset all entries of the
 * database, as do transactions that were prepared: their commit runs in another session.
 *
 * Locking: a spinlock for each entry. The number of entries is fixed, and the place of a stream is
 * given by its hash: streams with the same place read the tables more often. Memory: shared memory,
 * and TopTransactionContext. After a crash of the server there are no entries.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "apply/published.h"

#define ENTRIES 512

typedef struct Entry
{
	slock_t		mutex;
	Oid			database;
	Oid			stream;
	uint64		readings;		/* counts those who began to read the tables, and resets */
	bool		known;			/* the tables were read */
	TimestampTz watermark;		/* the latest that was published */
} Entry;

/* What this transaction has stored. */
typedef struct Stored
{
	Oid			stream;
	TimestampTz watermark;
	SubTransactionId subid;
} Stored;

static Entry *entries = NULL;
static List *stored = NIL;		/* of Stored, in TopTransactionContext */
static bool distrusted = false; /* this transaction has changed the tables otherwise */

static shmem_request_hook_type prev_shmem_request = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;

static Entry *
place_of(Oid stream)
{
	return &entries[hash_combine(murmurhash32(MyDatabaseId), murmurhash32(stream)) % ENTRIES];
}

static bool
belongs_to(const Entry *entry, Oid stream)
{
	return entry->stream == stream && entry->database == MyDatabaseId;
}

/* ---- reading ---- */

/* The latest watermark of a stream that this transaction has stored. */
static TimestampTz
stored_watermark(Oid stream)
{
	TimestampTz result = DT_NOBEGIN;
	ListCell   *lc;

	foreach(lc, stored)
	{
		const Stored *own = lfirst(lc);

		if (own->stream == stream)
			result = Max(result, own->watermark);
	}
	return result;
}

bool
eddy_published_get(Oid stream, TimestampTz *watermark)
{
	Entry	   *entry = place_of(stream);
	bool		known;

	if (distrusted || RecoveryInProgress())
		return false;
	SpinLockAcquire(&entry->mutex);
	known = belongs_to(entry, stream) && entry->known;
	*watermark = entry->watermark;
	SpinLockRelease(&entry->mutex);
	if (known)
		*watermark = Max(*watermark, stored_watermark(stream));
	return known;
}

uint64
eddy_published_begin(Oid stream)
{
	Entry	   *entry = place_of(stream);
	uint64		reading;

	if (RecoveryInProgress())
		return 0;
	/* what only this transaction sees is not for others */
	if (distrusted || !TIMESTAMP_IS_NOBEGIN(stored_watermark(stream)))
		return 0;
	SpinLockAcquire(&entry->mutex);
	if (!belongs_to(entry, stream))
	{
		entry->database = MyDatabaseId;
		entry->stream = stream;
		entry->known = false;
		entry->watermark = DT_NOBEGIN;
	}
	reading = ++entry->readings;
	SpinLockRelease(&entry->mutex);
	return reading;
}

void
eddy_published_end(Oid stream, uint64 reading, TimestampTz watermark)
{
	Entry	   *entry = place_of(stream);

	if (reading == 0)
		return;
	SpinLockAcquire(&entry->mutex);
	if (belongs_to(entry, stream) && entry->readings == reading)
	{
		entry->known = true;
		entry->watermark = Max(entry->watermark, watermark);
	}
	SpinLockRelease(&entry->mutex);
}

/* ---- writing ---- */

void
eddy_watermark_note(Oid stream, TimestampTz watermark)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	MemoryContext old;
	Stored	   *own;
	ListCell   *lc;

	if (TIMESTAMP_IS_NOBEGIN(watermark))
		return;
	foreach(lc, stored)
	{
		own = lfirst(lc);
		if (own->stream == stream && own->subid == subid)
		{
			own->watermark = Max(own->watermark, watermark);
			return;
		}
	}
	old = MemoryContextSwitchTo(TopTransactionContext);
	own = palloc(sizeof(Stored));
	own->stream = stream;
	own->watermark = watermark;
	own->subid = subid;
	stored = lappend(stored, own);
	MemoryContextSwitchTo(old);
}

void
eddy_watermark_distrust(void)
{
	distrusted = true;
}

static void
publish(const Stored *own)
{
	Entry	   *entry = place_of(own->stream);

	SpinLockAcquire(&entry->mutex);
	if (belongs_to(entry, own->stream))
		entry->watermark = Max(entry->watermark, own->watermark);
	SpinLockRelease(&entry->mutex);
}

void
eddy_watermark_reset(Oid database)
{
	for (int i = 0; i < ENTRIES; i++)
	{
		Entry	   *entry = &entries[i];

		SpinLockAcquire(&entry->mutex);
		if (entry->database == database)
		{
			entry->readings++;
			entry->known = false;
			entry->watermark = DT_NOBEGIN;
		}
		SpinLockRelease(&entry->mutex);
	}
}

/* ---- end of transactions ---- */

/* Accesses memory only, as required after a commit. */
static void
at_xact_end(XactEvent event, void *arg pg_attribute_unused())
{
	ListCell   *lc;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
			foreach(lc, stored)
				publish(lfirst(lc));
			if (distrusted)
				eddy_watermark_reset(MyDatabaseId);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			break;
		default:
			return;
	}
	stored = NIL;
	distrusted = false;
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId subid, SubTransactionId parent,
			   void *arg pg_attribute_unused())
{
	ListCell   *lc;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(lc, stored)
	{
		Stored	   *own = lfirst(lc);

		if (own->subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			own->subid = parent;
		else
			stored = foreach_delete_current(stored, lc);
	}
}

/* ---- shared memory ---- */

static void
shmem_request(void)
{
	if (prev_shmem_request)
		prev_shmem_request();
	RequestAddinShmemSpace(ENTRIES * sizeof(Entry));
}

static void
shmem_startup(void)
{
	bool		found;

	if (prev_shmem_startup)
		prev_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	entries = ShmemInitStruct("pg_eddy watermarks", ENTRIES * sizeof(Entry), &found);
	if (!found)
	{
		memset(entries, 0, ENTRIES * sizeof(Entry));
		for (int i = 0; i < ENTRIES; i++)
			SpinLockInit(&entries[i].mutex);
	}
	LWLockRelease(AddinShmemInitLock);
}

void
eddy_published_init(void)
{
	prev_shmem_request = shmem_request_hook;
	shmem_request_hook = shmem_request;
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
}

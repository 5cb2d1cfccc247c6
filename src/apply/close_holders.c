/*-------------------------------------------------------------------------
 *
 * close_holders.c
 *    Transactions that closing windows need not wait for again.
 *
 * The database worker waits for a short time for the lock under which it closes windows, and
 * batches queue behind it. That is worth while if those who hold the lock come and go. A
 * transaction that has held it during all of that time, such as one of a user who has inserted rows
 * and is thinking, will probably hold it the next time, too; then each tick would delay batches,
 * and no window would be closed. So the holders are noted when waiting was in vain, and while one
 * of them still holds the lock, it is not waited for.
 *
 * Locking: none is taken; the tables of the lock manager are read. Memory: TopMemoryContext, one
 * entry for each holder of the last time. A crash forgets them, and each is waited for once more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/memutils.h"

#include "apply/close_holders.h"

typedef struct Holder
{
	LOCKTAG		tag;
	VirtualTransactionId transaction;
} Holder;

static List *holders = NIL;		/* of Holder, in TopMemoryContext */

static bool
is_tag(const Holder *holder, const LOCKTAG *tag)
{
	return memcmp(&holder->tag, tag, sizeof(LOCKTAG)) == 0;
}

static void
forget(const LOCKTAG *tag)
{
	ListCell   *lc;

	foreach(lc, holders)
	{
		Holder	   *holder = lfirst(lc);

		if (!is_tag(holder, tag))
			continue;
		holders = foreach_delete_current(holders, lc);
		pfree(holder);
	}
}

/*
 * eddy_close_holders_note is called when a lock was waited for in vain: those who hold it now are
 * noted.
 */
void
eddy_close_holders_note(const LOCKTAG *tag)
{
	int			count;
	VirtualTransactionId *found = GetLockConflicts(tag, ExclusiveLock, &count);
	MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);

	forget(tag);
	for (int i = 0; i < count; i++)
	{
		Holder	   *holder = palloc(sizeof(Holder));

		holder->tag = *tag;
		holder->transaction = found[i];
		holders = lappend(holders, holder);
	}
	MemoryContextSwitchTo(old_context);
}

/*
 * eddy_close_holders_remain: true if one of those that were noted still holds the lock. Else they
 * are forgotten.
 */
bool
eddy_close_holders_remain(const LOCKTAG *tag)
{
	VirtualTransactionId *found = NULL;
	int			count = 0;
	ListCell   *lc;

	foreach(lc, holders)
	{
		const Holder *holder = lfirst(lc);

		if (!is_tag(holder, tag))
			continue;
		if (found == NULL)
			found = GetLockConflicts(tag, ExclusiveLock, &count);
		for (int i = 0; i < count; i++)
			if (VirtualTransactionIdEquals(found[i], holder->transaction))
				return true;
	}
	if (found)
		forget(tag);
	return false;
}

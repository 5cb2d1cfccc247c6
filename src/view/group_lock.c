/*-------------------------------------------------------------------------
 *
 * group_lock.c
 *    Locks on the groups of a view that are not locked by the rows of its state tables.
 *
 * A row locks its group if every transaction that changes the group writes that row. Where a group
 * consists of a varying set of rows, as the sessions of a key do, two transactions could each
 * insert a row that they would have to merge, without seeing the other's. So they lock the group
 * before they read it.
 *
 * Locks are heavyweight locks on the view as an object (class pg_class; pg_locks shows them with
 * locktype "object"), whose number must be bounded: the lock table of the server is. A group is
 * locked by one of NBUCKETS locks, chosen by the hash of its key. A batch with many groups takes
 * one lock on all of them instead.
 *
 *    objsubid 0          RowExclusiveLock, or ShareRowExclusiveLock for all groups
 *    objsubid 1 and up   ExclusiveLock on the groups of a bucket
 *
 * Locking: as above, in ascending order, until the end of the (sub)transaction. Callers lock views
 * in one order and all groups before rows, so single statements and batches never deadlock. Memory:
 * the caller's context. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "storage/lock.h"
#include "utils/typcache.h"

#include "view/group_lock.h"

#define NBUCKETS 512

/* Locks of buckets that one batch takes at most. */
#define MAX_LOCKS 32

static void
lock_object(const EddyViewPlan *plan, uint16 sub, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId, plan->view, sub);
	(void) LockAcquire(&tag, mode, false, false);
}

/* The hash functions of some columns of the key; NULL if one of their types has none. */
static FmgrInfo **
find_hash_functions(const EddyViewPlan *plan, int first, int ncolumns)
{
	FmgrInfo  **functions = palloc(sizeof(FmgrInfo *) * Max(ncolumns, 1));

	for (int i = 0; i < ncolumns; i++)
	{
		TypeCacheEntry *type = lookup_type_cache(plan->keys[first + i].type,
												 TYPECACHE_HASH_PROC_FINFO);

		if (!OidIsValid(type->hash_proc_finfo.fn_oid))
			return NULL;
		functions[i] = &type->hash_proc_finfo;
	}
	return functions;
}

static uint32
hash_row(const EddyViewPlan *plan, int first, int ncolumns, FmgrInfo **functions,
		 TupleTableSlot *row)
{
	uint32		hash = 0;

	for (int i = 0; i < ncolumns; i++)
	{
		bool		isnull;
		Datum		value = slot_getattr(row, first + i + 1, &isnull);

		hash = hash_combine(hash, isnull ? 0 :
							DatumGetUInt32(FunctionCall1Coll(functions[i],
															 plan->keys[first + i].collation, value)));
	}
	return hash;
}

/* The buckets of the rows of all deltas; *all if they are too many. */
static Bitmapset *
collect_buckets(const EddyViewPlan *plan, int first, int ncolumns, FmgrInfo **functions,
				List *deltas, bool *all)
{
	TupleTableSlot *row = MakeSingleTupleTableSlot(plan->delta_desc, &TTSOpsMinimalTuple);
	Bitmapset  *buckets = NULL;
	int			nbuckets = 0;
	ListCell   *lc;

	*all = false;
	foreach(lc, deltas)
	{
		Tuplestorestate *store = lfirst(lc);

		tuplestore_rescan(store);
		while (!*all && tuplestore_gettupleslot(store, true, false, row))
		{
			int			bucket = hash_row(plan, first, ncolumns, functions, row) % NBUCKETS;

			CHECK_FOR_INTERRUPTS();
			if (bms_is_member(bucket, buckets))
				continue;
			buckets = bms_add_member(buckets, bucket);
			*all = ++nbuckets > MAX_LOCKS;
		}
	}
	ExecDropSingleTupleTableSlot(row);
	return buckets;
}

/*
 * eddy_group_lock locks the groups of the rows of some deltas, a List of Tuplestorestate. A group
 * is identified by ncolumns columns from index first on, which are keys of the view.
 */
void
eddy_group_lock(EddyViewPlan *plan, int first, int ncolumns, List *deltas)
{
	FmgrInfo  **functions = find_hash_functions(plan, first, ncolumns);
	Bitmapset  *buckets = NULL;
	bool		all = (functions == NULL);
	int			bucket = -1;

	if (!all)
		buckets = collect_buckets(plan, first, ncolumns, functions, deltas, &all);
	lock_object(plan, 0, all ? ShareRowExclusiveLock : RowExclusiveLock);
	if (!all)
		while ((bucket = bms_next_member(buckets, bucket)) >= 0)
			lock_object(plan, bucket + 1, ExclusiveLock);
}

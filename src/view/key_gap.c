/*-------------------------------------------------------------------------
 *
 * key_gap.c
 *    A range of keys that a state table is known not to have.
 *
 * A merge looks for its groups in the order of the index. Most groups of a window that has just
 * begun are new. So when a group is not found, the index is read up to the next row: the groups
 * until there are new as well, and are not looked for. A window without any rows costs one descent
 * of the index.
 *
 * Reading on costs more than looking for one key: all keys that follow on the page of the index are
 * compared, and the next row is fetched. Where new groups are scattered among others, no gap
 * contains a second one. So gaps that were not used are followed by a growing number of keys for
 * which none is looked for.
 *
 * This is what one snapshot sees. If a concurrent transaction inserts such a row, inserting it
 * fails, as it does when the row was looked for.
 *
 * No locks. Memory: that of the merge.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "utils/datum.h"

#include "view/key_gap.h"

#define LONGEST_PAUSE 63

struct EddyKeyGap
{
	Relation	index;
	MemoryContext mcxt;
	int			nkeys;
	int			pause;			/* number of keys until a gap is looked for */
	int			next_pause;		/* after that, unless the gap is used */
	bool		valid;			/* the rest is set */
	Datum	   *first;			/* the first key */
	bool	   *first_nulls;
	bool		bounded;
	Datum		next;			/* the last column of the first key after the gap, if bounded */
};

EddyKeyGap *
eddy_key_gap_make(Relation index)
{
	int			nkeys = IndexRelationGetNumberOfKeyAttributes(index);
	EddyKeyGap *gap;

	/* rows are read upwards from a key */
	if (index->rd_indoption[nkeys - 1] & INDOPTION_DESC)
		return NULL;
	gap = palloc0(sizeof(EddyKeyGap));
	gap->index = index;
	gap->mcxt = CurrentMemoryContext;
	gap->nkeys = nkeys;
	gap->first = palloc0(sizeof(Datum) * nkeys);
	gap->first_nulls = palloc0(sizeof(bool) * nkeys);
	return gap;
}

/* Compares values of a column of the key, counted from 0. */
static inline int
compare(const EddyKeyGap *gap, int column, Datum left, Datum right)
{
	return DatumGetInt32(FunctionCall2Coll(index_getprocinfo(gap->index, column + 1, BTORDER_PROC),
										   gap->index->rd_indcollation[column], left, right));
}

static bool
covers(const EddyKeyGap *gap, const Datum *keys, const bool *nulls)
{
	int			last = gap->nkeys - 1;

	if (!gap->valid || nulls[last])
		return false;
	for (int i = 0; i < last; i++)
		if (nulls[i] != gap->first_nulls[i] ||
			(!nulls[i] && compare(gap, i, keys[i], gap->first[i]) != 0))
			return false;
	return compare(gap, last, keys[last], gap->first[last]) >= 0 &&
		(!gap->bounded || compare(gap, last, keys[last], gap->next) < 0);
}

bool
eddy_key_gap_covers(EddyKeyGap *gap, const Datum *keys, const bool *nulls)
{
	if (!covers(gap, keys, nulls))
		return false;
	gap->pause = gap->next_pause = 0;
	return true;
}

bool
eddy_key_gap_is_due(EddyKeyGap *gap)
{
	if (gap->pause > 0)
	{
		gap->pause--;
		return false;
	}
	gap->pause = gap->next_pause;
	gap->next_pause = Min(2 * gap->next_pause + 1, LONGEST_PAUSE);
	return true;
}

static void
free_value(const EddyKeyGap *gap, int column, Datum value)
{
	if (!TupleDescAttr(RelationGetDescr(gap->index), column)->attbyval)
		pfree(DatumGetPointer(value));
}

static Datum
copy_value(const EddyKeyGap *gap, int column, Datum value)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(gap->index), column);

	return datumCopy(value, att->attbyval, att->attlen);
}

void
eddy_key_gap_forget(EddyKeyGap *gap)
{
	if (!gap->valid)
		return;
	gap->valid = false;
	for (int i = 0; i < gap->nkeys; i++)
		if (!gap->first_nulls[i])
			free_value(gap, i, gap->first[i]);
	if (gap->bounded)
		free_value(gap, gap->nkeys - 1, gap->next);
}

void
eddy_key_gap_set(EddyKeyGap *gap, const Datum *keys, const bool *nulls, const Datum *next)
{
	MemoryContext old = MemoryContextSwitchTo(gap->mcxt);

	Assert(!nulls[gap->nkeys - 1]);
	eddy_key_gap_forget(gap);
	for (int i = 0; i < gap->nkeys; i++)
	{
		gap->first_nulls[i] = nulls[i];
		if (!nulls[i])
			gap->first[i] = copy_value(gap, i, keys[i]);
	}
	gap->bounded = next != NULL;
	if (next)
		gap->next = copy_value(gap, gap->nkeys - 1, *next);
	gap->valid = true;
	MemoryContextSwitchTo(old);
}

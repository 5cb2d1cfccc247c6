/*-------------------------------------------------------------------------
 *
 * upsert_state.h
 *    A state table that is open; for upsert.c and upsert_write.c alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_UPSERT_STATE_H
#define EDDY_UPSERT_STATE_H

#include "access/relscan.h"
#include "access/skey.h"
#include "nodes/execnodes.h"

#include "compat.h"
#include "view/group_cache.h"
#include "view/key_gap.h"
#include "view/upsert.h"

/* New rows that are inserted together at most. */
#define MAX_ADDED 64

struct EddyUpsert
{
	const EddyStateTable *table;
	const char *view_name;		/* for messages */
	MemoryContext mcxt;			/* in which the table was opened: scans live as long */
	Relation	rel;
	Relation	index;			/* by which rows are read, in the order of ranges */
	Relation	key_index;		/* the unique index over the key; often the same */
	Relation	time_index;		/* by which rows are read in order of a time; NULL: none */
	IndexScanDesc scan;			/* NULL: none with the active snapshot */
	int			scan_nkeys;
	ScanKeyData *scan_keys;		/* of the layout */
	FmgrInfo   *at_least;		/* >= of each key column; fn_oid 0: not looked up yet */
	const Datum *after_keys;	/* rows after this key are read, in several ranges; NULL: one range */
	const bool *after_nulls;
	TimestampTz after_until;
	int			after_column;	/* the next range differs from the key in this column; -1: none */
	bool		after_null;		/* it has NULL there, instead of greater values */
	TupleTableSlot *stored;		/* the row that was read last */
	TupleTableSlot *replaced;	/* a version that is replaced or deleted, for observers; often NULL */
	EState	   *estate;			/* for index entries; NULL until they are needed */
	ResultRelInfo *rri;
	TupleTableSlot *added[MAX_ADDED];	/* rows that are not inserted yet */
	uint64		added_hashes[MAX_ADDED];	/* of the keys, for the cache */
	ItemPointer added_places[MAX_ADDED];	/* where their places are stored; NULL: nowhere */
	int			nadded;

	/* places of rows that were seen before */
	EddyGroupCache *cache;		/* NULL: none */
	BlockNumber nblocks;		/* of the table when it was opened: later it does not shrink */
	BlockNumber pruned;			/* old versions were removed from this page last */
	uint64		found_hash;		/* of the key that was looked for last */
	ItemPointerData found_place;	/* of the row with it, invalid if there is none */
	EddyKeyGap *gap;			/* keys that no row has; NULL: not noted */
};

extern void eddy_upsert_open_key_indexes(EddyUpsert *upsert);
extern void eddy_upsert_end_scan(EddyUpsert *upsert);

eddy_compat_noreturn
extern void eddy_upsert_raise_conflict(const EddyUpsert *upsert);

#endif							/* EDDY_UPSERT_STATE_H */

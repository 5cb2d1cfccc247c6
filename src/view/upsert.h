/*-------------------------------------------------------------------------
 *
 * upsert.h
 *    Reading and writing the rows of a state table by key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_UPSERT_H
#define EDDY_UPSERT_H

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "utils/rel.h"

/* A column of a state table. */
typedef struct EddyStateColumn
{
	char	   *name;
	Oid			type;
	int32		typmod;
	Oid			collation;
	bool		not_null;
	bool		uncompressed;	/* changes often: compressing would cost more than it saves */
} EddyStateColumn;

/* A column of the key of a state table. */
typedef struct EddyStateKey
{
	AttrNumber	column;
	Oid			lt_opr;			/* of the default btree operator class */
	Oid			collation;
} EddyStateKey;

/*
 * A column with a time, by which rows are found: all rows, or those whose column "where" is true.
 */
typedef struct EddyTimeIndex
{
	AttrNumber	column;			/* 0: the table has no such index */
	AttrNumber	where;			/* 0: all rows */
	Oid			index;
} EddyTimeIndex;

/* A state table, as the kind of its view lays it out. */
typedef struct EddyStateTable
{
	const char *suffix;			/* of its name: _<view>_<suffix> */
	int			ncolumns;
	EddyStateColumn *columns;
	bool		append_only;	/* rows are never updated */
	bool		settled;		/* rarely, but they are deleted: pages are filled */
	bool		passing;		/* nor kept: they are deleted soon, and no consumer receives them */
	int			nkeys;			/* at least 1 */
	EddyStateKey *keys;
	bool		parts;			/* its rows are parts of groups, which another table has */
	bool		unsent;			/* no consumer receives its changes, as those of parts */
	EddyStateKey *order;		/* the key's columns as ranges are read; NULL: in that order */
	EddyTimeIndex shown;		/* rows with changes that are not shown yet (emit_every.h) */
	AttrNumber	superseded;		/* the row is shown until another one replaces it (session_emit.h); 0: none */
	AttrNumber	replaces;		/* the rows that a row replaces when it is shown; 0: none */
	EddyTimeIndex touched;		/* rows by the time of their last change (ttl.c) */
	Oid			relid;
	Oid			index;			/* unique index over the key */
	Oid			order_index;	/* index over order, if it is not NULL */
	struct ScanKeyData *scan_keys;	/* one for each key column, in the order of ranges: equal to a value */
	struct EddyChanges *changes;	/* records what is written (changes.h); NULL: it is not observed */
} EddyStateTable;

/* The columns of the key in the order in which ranges of rows are read. */
static inline const EddyStateKey *
eddy_upsert_order(const EddyStateTable *table)
{
	return table->order ? table->order : table->keys;
}

extern void eddy_upsert_check_layout(Relation rel, const EddyStateTable *table);
extern void eddy_upsert_find_indexes(Relation rel, EddyStateTable *table);

/* A state table that is open. */
typedef struct EddyUpsert EddyUpsert;

extern EddyUpsert *eddy_upsert_open(const EddyStateTable *table, const char *view_name);
extern EddyUpsert *eddy_upsert_open_lazily(const EddyStateTable *table, const char *view_name);
extern void eddy_upsert_close(EddyUpsert *upsert);
extern TupleDesc eddy_upsert_desc(const EddyUpsert *upsert);

/* The row with a key, or NULL. */
extern TupleTableSlot *eddy_upsert_find(EddyUpsert *upsert, const Datum *keys, const bool *nulls);

/* The same if it is at a place where it was seen before. NULL: it has to be found. */
extern TupleTableSlot *eddy_upsert_find_at(EddyUpsert *upsert, ItemPointer place, const Datum *keys,
										   const bool *nulls);

/*
 * The rows whose key, in the order of ranges, begins with nkeys values and, with from, whose next
 * key column is at least keys[nkeys]; in that order.
 */
extern void eddy_upsert_seek(EddyUpsert *upsert, int nkeys, const Datum *keys, const bool *nulls);
extern void eddy_upsert_seek_from(EddyUpsert *upsert, int nkeys, bool from, const Datum *keys,
								   const bool *nulls);

/* The index with that order, and the rows that meet conditions on its columns. */
extern Relation eddy_upsert_index(const EddyUpsert *upsert);
extern void eddy_upsert_seek_by(EddyUpsert *upsert, struct ScanKeyData *keys, int nkeys);

/*
 * The rows whose first key column, a timestamp, is after the first and not after the second time.
 */
extern void eddy_upsert_seek_range(EddyUpsert *upsert, TimestampTz after, TimestampTz until);

/*
 * The rows that follow a key in the order of keys, as far as their first key column is not after
 * a time. The values must remain valid while the rows are read.
 */
extern void eddy_upsert_seek_after(EddyUpsert *upsert, const Datum *keys, const bool *nulls,
								   TimestampTz until);
extern TupleTableSlot *eddy_upsert_next(EddyUpsert *upsert);

/*
 * The rows of an index over a time, in order of that time, after the first and not after the
 * second one.
 */
extern void eddy_upsert_seek_time(EddyUpsert *upsert, const EddyTimeIndex *index,
								  TimestampTz after, TimestampTz until);

/* Raises 40001 if the active snapshot does not see a row of that range that is committed. */
extern void eddy_upsert_check_unseen(EddyUpsert *upsert, int nkeys, bool from, const Datum *keys,
									 const bool *nulls);

/* Errors for what no row of the table can have. */
extern void eddy_upsert_check_key(EddyUpsert *upsert, const Datum *keys, const bool *nulls);
extern void eddy_upsert_check_row(EddyUpsert *upsert, const TupleTableSlot *row);

/*
 * Write one row. False if a concurrent transaction has written it first: then call
 * eddy_upsert_renew, and read the row again.
 */
extern bool eddy_upsert_insert(EddyUpsert *upsert, TupleTableSlot *row);
extern bool eddy_upsert_update(EddyUpsert *upsert, ItemPointer place, TupleTableSlot *row);
extern bool eddy_upsert_delete(EddyUpsert *upsert, ItemPointer place);
extern bool eddy_upsert_lock(EddyUpsert *upsert, ItemPointer place);
extern bool eddy_upsert_try_lock(EddyUpsert *upsert, ItemPointer place);	/* never waits */

/*
 * After that: waits for the latest version of the row at a place and locks it, so that it can be
 * replaced for certain. Returns it as eddy_upsert_find does, NULL if it was deleted.
 */
extern TupleTableSlot *eddy_upsert_lock_latest(EddyUpsert *upsert, ItemPointer place);
extern void eddy_upsert_renew(EddyUpsert *upsert);

/*
 * Insert many rows; one that a concurrent transaction has inserted first is an error (23505).
 * eddy_upsert_add_at stores the place of the row when it is inserted.
 */
extern void eddy_upsert_add(EddyUpsert *upsert, TupleTableSlot *row);
extern void eddy_upsert_add_at(EddyUpsert *upsert, TupleTableSlot *row, ItemPointer place);
extern void eddy_upsert_flush(EddyUpsert *upsert);

#endif							/* EDDY_UPSERT_H */

/*-------------------------------------------------------------------------
 *
 * table.h
 *    Scanning and writing rows of our own tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CATALOG_TABLE_H
#define EDDY_CATALOG_TABLE_H

#include "access/htup.h"
#include "access/skey.h"
#include "catalog/eddy_catalog.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* Upper bound of columns of our tables, for arrays on the stack. */
#define EDDY_CATALOG_MAX_COLUMNS 32

/* Makes a struct of one row; values of NULL columns are 0. */
typedef void *(*EddyRowReader) (const Datum *values, const bool *nulls);

/* A table as this library knows it; defined where its rows are read and written. */
typedef struct EddyTableDesc
{
	EddyCatalogTable table;
	int			ncolumns;		/* a table with another number is of another version */
	EddyRowReader reader;		/* NULL: rows are never read */
} EddyTableDesc;

extern const EddyTableDesc eddy_catalog_attempt_table;
extern const EddyTableDesc eddy_catalog_change_table;
extern const EddyTableDesc eddy_catalog_dead_letter_table;
extern const EddyTableDesc eddy_catalog_installation_table;
extern const EddyTableDesc eddy_catalog_late_row_table;
extern const EddyTableDesc eddy_catalog_late_row_count_table;
extern const EddyTableDesc eddy_catalog_partition_table;
extern const EddyTableDesc eddy_catalog_segment_table;
extern const EddyTableDesc eddy_catalog_source_table;
extern const EddyTableDesc eddy_catalog_source_status_table;
extern const EddyTableDesc eddy_catalog_stream_table;
extern const EddyTableDesc eddy_catalog_user_partition_table;
extern const EddyTableDesc eddy_catalog_view_table;
extern const EddyTableDesc eddy_catalog_view_offset_table;
extern const EddyTableDesc eddy_catalog_view_progress_table;
extern const EddyTableDesc eddy_catalog_view_start_table;
extern const EddyTableDesc eddy_catalog_view_status_table;
extern const EddyTableDesc eddy_catalog_watermark_table;

/* True if an installed table has the columns that this library knows. */
extern bool eddy_catalog_table_matches(const EddyTableDesc *desc);

/* The rows that match all keys, as structs. With by_pkey in the order of the primary key. */
extern List *eddy_catalog_scan(const EddyTableDesc *desc, int nkeys, ScanKeyData *keys,
							   bool by_pkey);
extern List *eddy_catalog_scan_as_of(const EddyTableDesc *desc, int nkeys, ScanKeyData *keys,
									 bool by_pkey, Snapshot as_of);

/* The row with that primary key as a struct, or NULL. */
extern void *eddy_catalog_read(const EddyTableDesc *desc, int nkeys, ScanKeyData *keys);

/* Equality scan keys on a column. */
extern void eddy_catalog_key_oid(ScanKeyData *key, AttrNumber attnum, Oid value);
extern void eddy_catalog_key_int4(ScanKeyData *key, AttrNumber attnum, int32 value);
extern void eddy_catalog_key_int8(ScanKeyData *key, AttrNumber attnum, int64 value);

/* The index of the primary key; all our tables have one. */
extern Oid	eddy_catalog_primary_key(Relation rel);

/* Opens a table for writing; the lock stays until the transaction ends. Errors if not installed. */
extern Relation eddy_catalog_open(const EddyTableDesc *desc);
extern void eddy_catalog_close(Relation rel);

/* Inserts one row. */
extern void eddy_catalog_insert(Relation rel, const Datum *values, const bool *nulls);

/* A copy of the row with that primary key, or NULL. */
extern HeapTuple eddy_catalog_find(Relation rel, int nkeys, ScanKeyData *keys);

/* Locks a row for update, waiting for a concurrent writer; false if it was changed since. */
extern bool eddy_catalog_lock(Relation rel, HeapTuple tuple);

/* The same without waiting: false also if another transaction has locked the row. */
extern bool eddy_catalog_try_lock(Relation rel, HeapTuple tuple);

/* Replaces a row that eddy_catalog_find gave. */
extern void eddy_catalog_replace(Relation rel, HeapTuple old, const Datum *values,
								 const bool *nulls);

/* Inserts a row, or replaces the one with that primary key of one column. */
extern void eddy_catalog_put(Relation rel, ScanKeyData *key, const Datum *values,
							 const bool *nulls);
extern void eddy_catalog_put_by(Relation rel, int nkeys, ScanKeyData *keys, const Datum *values,
								const bool *nulls);

/* Deletes the rows that match keys; returns their number. */
extern int	eddy_catalog_delete(Relation rel, int nkeys, ScanKeyData *keys);

/* Invalidates the caches of all backends about a stream, or InvalidOid. */
extern void eddy_catalog_invalidate(Oid stream);

/* Times, where DT_NOBEGIN stands for SQL NULL. */
static inline TimestampTz
eddy_catalog_get_time(const Datum *values, const bool *nulls, AttrNumber attnum)
{
	return nulls[attnum - 1] ? DT_NOBEGIN : DatumGetTimestampTz(values[attnum - 1]);
}

static inline void
eddy_catalog_set_time(Datum *values, bool *nulls, AttrNumber attnum, TimestampTz time)
{
	values[attnum - 1] = TimestampTzGetDatum(time);
	nulls[attnum - 1] = TIMESTAMP_IS_NOBEGIN(time);
}

/* Texts and names, where NULL stands for SQL NULL. */
extern Datum eddy_catalog_text(const char *value, bool *isnull);
extern Datum eddy_catalog_name(const char *value, bool *isnull);

/* Arrays of type name[] without NULLs, as a List of char *. */
extern List *eddy_catalog_read_names(Datum array);
extern Datum eddy_catalog_make_names(const List *names);

#endif							/* EDDY_CATALOG_TABLE_H */

/*-------------------------------------------------------------------------
 *
 * table.c
 *    Scanning and writing rows of our own tables.
 *
 * No SQL text and no SPI: workers and hooks read and write these tables often.
 *
 * Locking: readers take AccessShareLock for the scan only, writers
 * RowExclusiveLock until the end of the transaction. Memory: results are allocated
 * in the caller's context. Crash: all tables are LOGGED, so that they are as the last commit left
 * them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog/table.h"

static const char *const table_names[EDDY_CATALOG_NTABLES] = {
	[EDDY_CATALOG_INSTALLATION] = "_installation",
	[EDDY_CATALOG_STREAM] = "_stream",
	[EDDY_CATALOG_SEGMENT] = "_segment",
	[EDDY_CATALOG_SOURCE] = "_source",
	[EDDY_CATALOG_SOURCE_STATUS] = "_source_status",
	[EDDY_CATALOG_PARTITION] = "_partition",
	[EDDY_CATALOG_USER_PARTITION] = "_user_partition",
	[EDDY_CATALOG_ATTEMPT] = "_attempt",
	[EDDY_CATALOG_VIEW] = "_view",
	[EDDY_CATALOG_VIEW_STATUS] = "_view_status",
	[EDDY_CATALOG_VIEW_PROGRESS] = "_view_progress",
	[EDDY_CATALOG_VIEW_START] = "_view_start",
	[EDDY_CATALOG_VIEW_OFFSET] = "_view_offset",
	[EDDY_CATALOG_WATERMARK] = "_watermark",
	[EDDY_CATALOG_DEAD_LETTERS] = "dead_letters",
	[EDDY_CATALOG_LATE_ROWS] = "late_rows",
	[EDDY_CATALOG_LATE_ROW_COUNT] = "_late_row_count",
	[EDDY_CATALOG_CHANGE] = "_change",
};

/*
 * Tables that were found by name, until an invalidation of the server's caches of relations or
 * schemas by name. Each user's statement needs several of them.
 */
static Oid	found_relids[lengthof(table_names)];
static uint64 name_changes = 0;
static bool watching_names = false;

static void
forget_relids(Datum arg pg_attribute_unused(), int cacheid pg_attribute_unused(),
			  uint32 hashvalue pg_attribute_unused())
{
	memset(found_relids, 0, sizeof(found_relids));
	name_changes++;
}

Oid
eddy_catalog_schema(void)
{
	return get_namespace_oid(EDDY_SCHEMA, true);
}

Oid
eddy_catalog_relid(EddyCatalogTable table)
{
	uint64		before;
	Oid			schema;
	Oid			relid;

	if (OidIsValid(found_relids[table]))
		return found_relids[table];
	if (!watching_names)
	{
		CacheRegisterSyscacheCallback(RELNAMENSP, forget_relids, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACENAME, forget_relids, (Datum) 0);
		watching_names = true;
	}
	before = name_changes;
	schema = eddy_catalog_schema();
	relid = OidIsValid(schema) ? get_relname_relid(table_names[table], schema) : InvalidOid;
	/* not if it has changed during the look-up */
	if (before == name_changes)
		found_relids[table] = relid;
	return relid;
}

/* The scripts of CREATE and ALTER EXTENSION pg_eddy create and alter our tables. */
bool
eddy_catalog_installed(void)
{
	Oid			extension = get_extension_oid("pg_eddy", true);

	return OidIsValid(extension) &&
		!(creating_extension && CurrentExtensionObject == extension) &&
		OidIsValid(eddy_catalog_relid(EDDY_CATALOG_VIEW));
}

Oid
eddy_catalog_extension_owner(void)
{
	Oid			owner = InvalidOid;
	HeapTuple	tuple = eddy_catalog_find_by_oid(ExtensionRelationId, ExtensionOidIndexId,
												 Anum_pg_extension_oid,
												 get_extension_oid("pg_eddy", false));

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
		heap_freetuple(tuple);
	}
	return owner;
}

HeapTuple
eddy_catalog_find_by_oid(Oid catalog, Oid index, AttrNumber attnum, Oid object)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	eddy_catalog_key_oid(&key, attnum, object);
	scan = systable_beginscan(rel, index, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return tuple;
}

bool
eddy_catalog_depends(Oid classid, Oid object, Oid relid, bool on_column, char deptype)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(classid));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object));
	scan = systable_beginscan(depend, DependDependerIndexId, true, NULL, 2, keys);
	while (!found && (tuple = systable_getnext(scan)) != NULL)
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		found = form->refclassid == RelationRelationId && form->refobjid == relid &&
			(form->refobjsubid != 0) == on_column && form->deptype == deptype;
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return found;
}

void
eddy_catalog_key_oid(ScanKeyData *key, AttrNumber attnum, Oid value)
{
	ScanKeyInit(key, attnum, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(value));
}

void
eddy_catalog_key_int4(ScanKeyData *key, AttrNumber attnum, int32 value)
{
	ScanKeyInit(key, attnum, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(value));
}

void
eddy_catalog_key_int8(ScanKeyData *key, AttrNumber attnum, int64 value)
{
	ScanKeyInit(key, attnum, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(value));
}

Oid
eddy_catalog_primary_key(Relation rel)
{
	if (!rel->rd_indexvalid)
		list_free(RelationGetIndexList(rel));
	return rel->rd_pkindex;
}

/*
 * The extension is installed by SQL and the library by a package, so they can be of different
 * versions until ALTER EXTENSION. Rows of such a table cannot be read as structs.
 */
static void
check_columns(Relation rel, const EddyTableDesc *desc)
{
	int			ncolumns = RelationGetNumberOfAttributes(rel);

	Assert(desc->ncolumns <= EDDY_CATALOG_MAX_COLUMNS);
	if (ncolumns != desc->ncolumns)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"pg_eddy\" and its loaded library are of different versions"),
				 errdetail("Table \"%s.%s\" has %d columns; the library expects %d.", EDDY_SCHEMA,
						   RelationGetRelationName(rel), ncolumns, desc->ncolumns),
				 errhint("Run ALTER EXTENSION pg_eddy UPDATE, or restart the server if it runs an older library.")));
}

bool
eddy_catalog_table_matches(const EddyTableDesc *desc)
{
	Oid			relid = eddy_catalog_relid(desc->table);
	Relation	rel = OidIsValid(relid) ? try_table_open(relid, AccessShareLock) : NULL;
	bool		matches = rel == NULL || RelationGetNumberOfAttributes(rel) == desc->ncolumns;

	if (rel)
		table_close(rel, AccessShareLock);
	return matches;
}

/* A scan of rows as catalogs are scanned: the latest committed and own ones. */
typedef struct TableScan
{
	SysScanDesc scan;
	Relation	index;			/* whose order the rows have; NULL: any order */
	Snapshot	snapshot;		/* that decides which versions are returned; NULL: that of the scan */
} TableScan;

/*
 * Under SERIALIZABLE, a scan with an MVCC snapshot takes predicate locks, and rows that every
 * batch writes would make transactions fail with 40001 that only read them. Our own tables are no
 * data of the transaction: all versions are scanned, which takes no such locks, and those that
 * the snapshot sees are returned.
 */
static TableScan
begin_scan(Relation rel, int nkeys, ScanKeyData *keys, bool by_pkey, Snapshot as_of)
{
	TableScan	s = {0};

	if (as_of)
		s.snapshot = RegisterSnapshot(as_of);
	else if (IsolationIsSerializable())
		s.snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(rel)));
	if (by_pkey)
	{
		s.index = index_open(eddy_catalog_primary_key(rel), AccessShareLock);
		s.scan = systable_beginscan_ordered(rel, s.index, s.snapshot ? SnapshotAny : NULL, nkeys,
											keys);
	}
	else
		s.scan = systable_beginscan(rel, InvalidOid, false, s.snapshot ? SnapshotAny : NULL,
									nkeys, keys);
	return s;
}

static HeapTuple
next_row(const TableScan *s)
{
	HeapTuple	tuple;

	do
		tuple = s->index ? systable_getnext_ordered(s->scan, ForwardScanDirection) :
			systable_getnext(s->scan);
	while (tuple && s->snapshot &&
		   !table_tuple_satisfies_snapshot(s->scan->heap_rel, s->scan->slot, s->snapshot));
	return tuple;
}

static void
end_scan(TableScan *s)
{
	if (s->index)
	{
		systable_endscan_ordered(s->scan);
		index_close(s->index, AccessShareLock);
	}
	else
		systable_endscan(s->scan);
	if (s->snapshot)
		UnregisterSnapshot(s->snapshot);
}

/*
 * eddy_catalog_scan gives the reader each row that matches keys (AND), the latest committed and
 * own ones, and returns what it made; NIL also if the extension is not installed. With by_pkey
 * the keys are the leading columns of the primary key.
 */
List *
eddy_catalog_scan(const EddyTableDesc *desc, int nkeys, ScanKeyData *keys, bool by_pkey)
{
	return eddy_catalog_scan_as_of(desc, nkeys, keys, by_pkey, NULL);
}

/* The same, with the rows that a snapshot sees; NULL: the latest ones. */
List *
eddy_catalog_scan_as_of(const EddyTableDesc *desc, int nkeys, ScanKeyData *keys, bool by_pkey,
						Snapshot as_of)
{
	List	   *result = NIL;
	Oid			relid = eddy_catalog_relid(desc->table);
	Relation	rel;
	TableScan	scan;
	HeapTuple	tuple;
	Datum		values[EDDY_CATALOG_MAX_COLUMNS];
	bool		nulls[EDDY_CATALOG_MAX_COLUMNS];

	if (!OidIsValid(relid))
		return NIL;
	/* it may be dropped between the look-up and the lock */
	rel = try_table_open(relid, AccessShareLock);
	if (rel == NULL)
		return NIL;
	check_columns(rel, desc);

	scan = begin_scan(rel, nkeys, keys, by_pkey, as_of);
	while ((tuple = next_row(&scan)) != NULL)
	{
		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		result = lappend(result, desc->reader(values, nulls));
	}
	end_scan(&scan);
	table_close(rel, AccessShareLock);
	return result;
}

void *
eddy_catalog_read(const EddyTableDesc *desc, int nkeys, ScanKeyData *keys)
{
	List	   *rows = eddy_catalog_scan(desc, nkeys, keys, true);

	return rows ? linitial(rows) : NULL;
}

Relation
eddy_catalog_open(const EddyTableDesc *desc)
{
	Oid			relid = eddy_catalog_relid(desc->table);
	Relation	rel;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"pg_eddy\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION pg_eddy.")));
	rel = table_open(relid, RowExclusiveLock);
	check_columns(rel, desc);
	return rel;
}

void
eddy_catalog_close(Relation rel)
{
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
eddy_catalog_insert(Relation rel, const Datum *values, const bool *nulls)
{
	HeapTuple	tuple = heap_form_tuple(RelationGetDescr(rel), unconstify(Datum *, values),
										unconstify(bool *, nulls));

	CatalogTupleInsert(rel, tuple);
	heap_freetuple(tuple);
}

HeapTuple
eddy_catalog_find(Relation rel, int nkeys, ScanKeyData *keys)
{
	SysScanDesc scan = systable_beginscan(rel, eddy_catalog_primary_key(rel), true, NULL, nkeys,
										  keys);
	HeapTuple	tuple = systable_getnext(scan);

	if (tuple)
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

static bool
lock_row(Relation rel, HeapTuple tuple, LockWaitPolicy policy)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TM_FailureData tmfd;
	TM_Result	result;

	result = table_tuple_lock(rel, &tuple->t_self, GetLatestSnapshot(), slot,
							  GetCurrentCommandId(true), LockTupleNoKeyExclusive,
							  policy, 0, &tmfd);
	ExecDropSingleTupleTableSlot(slot);
	return result == TM_Ok;
}

bool
eddy_catalog_lock(Relation rel, HeapTuple tuple)
{
	return lock_row(rel, tuple, LockWaitBlock);
}

bool
eddy_catalog_try_lock(Relation rel, HeapTuple tuple)
{
	return lock_row(rel, tuple, LockWaitSkip);
}

void
eddy_catalog_replace(Relation rel, HeapTuple old, const Datum *values, const bool *nulls)
{
	HeapTuple	tuple = heap_form_tuple(RelationGetDescr(rel), unconstify(Datum *, values),
										unconstify(bool *, nulls));

	CatalogTupleUpdate(rel, &old->t_self, tuple);
	heap_freetuple(tuple);
}

void
eddy_catalog_put(Relation rel, ScanKeyData *key, const Datum *values, const bool *nulls)
{
	eddy_catalog_put_by(rel, 1, key, values, nulls);
}

void
eddy_catalog_put_by(Relation rel, int nkeys, ScanKeyData *keys, const Datum *values,
					const bool *nulls)
{
	HeapTuple	old = eddy_catalog_find(rel, nkeys, keys);

	if (old)
		eddy_catalog_replace(rel, old, values, nulls);
	else
		eddy_catalog_insert(rel, values, nulls);
}

int
eddy_catalog_delete(Relation rel, int nkeys, ScanKeyData *keys)
{
	int			count = 0;
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, nkeys, keys);
	HeapTuple	tuple;

	while ((tuple = systable_getnext(scan)) != NULL)
	{
		CatalogTupleDelete(rel, &tuple->t_self);
		count++;
	}
	systable_endscan(scan);
	return count;
}

void
eddy_catalog_invalidate(Oid stream)
{
	Oid			views = eddy_catalog_relid(EDDY_CATALOG_VIEW);

	if (OidIsValid(stream) && get_rel_relkind(stream) != '\0')
		CacheInvalidateRelcacheByRelid(stream);
	if (OidIsValid(views))
		CacheInvalidateRelcacheByRelid(views);
}

/* At the end of the current command. The functions that write to our tables do it themselves. */
void
eddy_catalog_refresh(void)
{
	eddy_catalog_invalidate(InvalidOid);
}

Datum
eddy_catalog_text(const char *value, bool *isnull)
{
	*isnull = (value == NULL);
	return value ? CStringGetTextDatum(value) : (Datum) 0;
}

Datum
eddy_catalog_name(const char *value, bool *isnull)
{
	Name		name;

	*isnull = (value == NULL);
	if (value == NULL)
		return (Datum) 0;
	name = palloc(sizeof(NameData));
	namestrcpy(name, value);
	return NameGetDatum(name);
}

List *
eddy_catalog_read_names(Datum array)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	List	   *names = NIL;

	deconstruct_array(DatumGetArrayTypeP(array), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &elements,
					  &nulls, &count);
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			names = lappend(names, pstrdup(NameStr(*DatumGetName(elements[i]))));
	return names;
}

Datum
eddy_catalog_make_names(const List *names)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(list_length(names), 1));
	ListCell   *lc;
	bool		isnull;

	foreach(lc, names)
		elements[foreach_current_index(lc)] = eddy_catalog_name(lfirst(lc), &isnull);
	return PointerGetDatum(construct_array(elements, list_length(names), NAMEOID, NAMEDATALEN, false,
										   TYPALIGN_CHAR));
}

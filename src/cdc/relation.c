/*-------------------------------------------------------------------------
 *
 * relation.c
 *    What the plugin knows of a decoded table: is it the state table of a
 *    continuous view, and what does that view look like.
 *
 * Everything is read under the historic snapshot of the transaction that is
 * decoded, so a change is described by the names that held when it was made.
 * eddy._view is a user_catalog_table for that purpose. Only tables within
 * schema eddy are looked up in it: nobody can make the plugin emit a table of
 * somebody else by creating a schema and a table of these names.
 *
 * Entries are built once and live until an invalidation message says that the
 * table, its view, eddy._view, a schema or a role membership has changed. The
 * callbacks only mark: they may run while an entry is in use. They cannot be
 * unregistered and outlive the decoding, which in an ordinary backend is one
 * SQL statement; a reset callback of the decoding's memory context makes them
 * harmless, whether the decoding ends in order or by an error.
 *
 * Memory: each described entry owns a small context below relations_context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "cdc/cdc.h"
#include "compat.h"

#define CATALOG_SCHEMA "eddy"
#define CATALOG_TABLE "_view"
#define CATALOG_INDEX "_view_state_table"

/* More tables than this are forgotten between transactions. */
#define MAX_RELATIONS 4096

/* What a row of eddy._view says. */
typedef struct ViewRow
{
	Oid			view;
	int			nkeys;
	AttrNumber *keys;
	AttrNumber	visible;
} ViewRow;

/* The decoding at work in this process; there is at most one, as for slots. */
static EddyCdcState *active = NULL;

static void add_column(EddyCdcColumn *column, TupleDesc desc, AttrNumber attnum, const char *name);
static bool allows_select(Oid view, Oid schema);
static void create_cache(EddyCdcState *state);
static void describe_columns(EddyCdcRelation *entry, TupleDesc desc, const ViewRow *row);
static void describe_relation(EddyCdcState *state, EddyCdcRelation *entry, Relation relation);
static EddyCdcIdentity find_identity(Relation relation, const ViewRow *row);
static void forget_active(void *arg);
static void invalidate_relation(Datum arg, Oid relid);
static void invalidate_syscache(Datum arg, int cacheid, uint32 hashvalue);
static bool read_view_row(EddyCdcState *state, Oid namespace, Oid relid, ViewRow *row);

void
eddy_cdc_init_relations(EddyCdcState *state)
{
	static bool registered = false;
	MemoryContextCallback *callback = MemoryContextAllocZero(state->context,
															 sizeof(MemoryContextCallback));

	state->generation = 1;
	create_cache(state);

	callback->func = forget_active;
	callback->arg = state;
	MemoryContextRegisterResetCallback(state->context, callback);
	active = state;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, invalidate_syscache, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, invalidate_syscache, (Datum) 0);
		registered = true;
	}
}

EddyCdcRelation *
eddy_cdc_get_relation(EddyCdcState *state, Relation relation)
{
	Oid			relid = RelationGetRelid(relation);
	EddyCdcRelation *entry = state->last;

	if (entry == NULL || entry->relid != relid)
	{
		bool		found;

		entry = hash_search(state->relations, &relid, HASH_ENTER, &found);
		if (!found)
		{
			memset((char *) entry + sizeof(Oid), 0, sizeof(*entry) - sizeof(Oid));
			entry->generation = 0;
		}
		state->last = entry;
	}

	/* an invalidation may come in while the entry is built */
	while (entry->generation != state->generation)
	{
		entry->generation = state->generation;
		describe_relation(state, entry, relation);
	}
	return entry->emitted ? entry : NULL;
}

void
eddy_cdc_trim_relations(EddyCdcState *state)
{
	if (hash_get_num_entries(state->relations) <= MAX_RELATIONS)
		return;
	MemoryContextDelete(state->relations_context);
	create_cache(state);
}

static void
create_cache(EddyCdcState *state)
{
	HASHCTL		ctl = {0};

	state->last = NULL;
	dlist_init(&state->views);
	state->relations_context = AllocSetContextCreate(state->context, "pg_eddy_cdc relations",
													 ALLOCSET_DEFAULT_SIZES);
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(EddyCdcRelation);
	ctl.hcxt = state->relations_context;
	state->relations = hash_create("pg_eddy_cdc relations", 64, &ctl,
								   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
forget_active(void *arg)
{
	if (active == arg)
		active = NULL;
}

static void
invalidate_relation(Datum arg pg_attribute_unused(), Oid relid)
{
	EddyCdcRelation *entry;
	dlist_iter	iter;

	if (active == NULL)
		return;
	if (!OidIsValid(relid) || relid == active->catalog)
	{
		active->generation++;
		return;
	}

	entry = hash_search(active->relations, &relid, HASH_FIND, NULL);
	if (entry != NULL)
		entry->generation = 0;
	dlist_foreach(iter, &active->views)
	{
		entry = dlist_container(EddyCdcRelation, node, iter.cur);
		if (entry->view == relid)
			entry->generation = 0;
	}
}

static void
invalidate_syscache(Datum arg pg_attribute_unused(), int cacheid pg_attribute_unused(),
					uint32 hashvalue pg_attribute_unused())
{
	if (active != NULL)
		active->generation++;
}

/* Fills an entry anew. Its generation is the caller's. */
static void
describe_relation(EddyCdcState *state, EddyCdcRelation *entry, Relation relation)
{
	Oid			namespace;
	HeapTuple	tuple;
	Form_pg_class class;
	MemoryContext old_context;
	ViewRow		row;
	char	   *schema;
	StringInfoData name;

	if (OidIsValid(entry->view))
		dlist_delete(&entry->node);
	if (entry->context != NULL)
		MemoryContextDelete(entry->context);
	entry->context = NULL;
	entry->view = InvalidOid;
	entry->emitted = false;
	entry->complained = false;

	namespace = get_namespace_oid(CATALOG_SCHEMA, true);
	if (!OidIsValid(namespace) || RelationGetNamespace(relation) != namespace)
		return;

	entry->context = AllocSetContextCreate(state->relations_context, "pg_eddy_cdc relation",
										   ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(entry->context);

	if (read_view_row(state, namespace, RelationGetRelid(relation), &row))
	{
		/* known from here on to depend on the view, whatever comes of it */
		entry->view = row.view;
		dlist_push_tail(&state->views, &entry->node);
		tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(row.view));
	}
	else
		tuple = NULL;
	if (!HeapTupleIsValid(tuple))
	{
		MemoryContextSwitchTo(old_context);
		return;
	}

	class = (Form_pg_class) GETSTRUCT(tuple);
	schema = get_namespace_name(class->relnamespace);
	entry->emitted = schema != NULL &&
		eddy_cdc_wants_view(&state->options, schema, NameStr(class->relname)) &&
		(!state->options.check_acl || allows_select(row.view, class->relnamespace));

	if (entry->emitted)
	{
		char	   *qualified;

		eddy_cdc_pin_settings(state);	/* quoting of identifiers */
		qualified = quote_qualified_identifier(schema, NameStr(class->relname));
		initStringInfo(&name);
		eddy_cdc_append_string(&name, qualified, strlen(qualified));
		entry->name = name.data;
		entry->name_len = name.len;

		entry->ncolumns = Min(class->relnatts, RelationGetDescr(relation)->natts);
		entry->identity = find_identity(relation, &row);
		describe_columns(entry, RelationGetDescr(relation), &row);
	}
	ReleaseSysCache(tuple);
	MemoryContextSwitchTo(old_context);
}

/*
 * Reads the row of eddy._view for a state table, if there is one. Its columns
 * are found by name: versions of the extension may add some.
 */
static bool
read_view_row(EddyCdcState *state, Oid namespace, Oid relid, ViewRow *row)
{
	Relation	catalog;
	Oid			index;
	AttrNumber	view;
	AttrNumber	state_table;
	AttrNumber	key_columns;
	AttrNumber	visible_column;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	state->catalog = get_relname_relid(CATALOG_TABLE, namespace);
	if (!OidIsValid(state->catalog))
		return false;
	index = get_relname_relid(CATALOG_INDEX, namespace);
	view = get_attnum(state->catalog, "view");
	state_table = get_attnum(state->catalog, "state_table");
	key_columns = get_attnum(state->catalog, "key_columns");
	visible_column = get_attnum(state->catalog, "visible_column");
	if (view <= 0 || state_table <= 0 || key_columns <= 0 || visible_column <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s.%s\" lacks a column that output plugin \"%s\" reads",
						CATALOG_SCHEMA, CATALOG_TABLE, EDDY_CDC_PLUGIN),
				 errhint("Install the library of the same version as extension \"pg_eddy\".")));

	catalog = table_open(state->catalog, AccessShareLock);
	ScanKeyInit(&key, state_table, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, index, OidIsValid(index), NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		TupleDesc	desc = RelationGetDescr(catalog);
		Datum	   *keys;
		bool	   *nulls;
		bool		null;

		/* none of these columns can be NULL */
		row->view = DatumGetObjectId(heap_getattr(tuple, view, desc, &null));
		row->visible = DatumGetInt16(heap_getattr(tuple, visible_column, desc, &null));
		deconstruct_array(DatumGetArrayTypeP(heap_getattr(tuple, key_columns, desc, &null)),
						  INT2OID, sizeof(int16), true, TYPALIGN_SHORT,
						  &keys, &nulls, &row->nkeys);
		row->keys = palloc(sizeof(AttrNumber) * Max(row->nkeys, 1));
		for (int i = 0; i < row->nkeys; i++)
			row->keys[i] = DatumGetInt16(keys[i]);
		found = true;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/* Describes the columns of the view, and the keys that it does not show. */
static void
describe_columns(EddyCdcRelation *entry, TupleDesc desc, const ViewRow *row)
{
	entry->columns = palloc0(sizeof(EddyCdcColumn) * (entry->ncolumns + row->nkeys));
	entry->keys = palloc0(sizeof(EddyCdcColumn *) * Max(row->nkeys, 1));
	entry->nkeys = 0;
	entry->nstored = entry->ncolumns;
	entry->visible = row->visible > 0 ? row->visible - 1 : -1;

	for (int i = 0; i < entry->ncolumns; i++)
		add_column(&entry->columns[i], desc, i + 1, get_attname(entry->view, i + 1, false));

	for (int i = 0; i < row->nkeys; i++)
	{
		AttrNumber	attnum = row->keys[i];

		if (attnum < 1 || attnum > desc->natts)
			continue;
		if (attnum <= entry->ncolumns)
			entry->keys[entry->nkeys++] = &entry->columns[attnum - 1];
		else
		{
			EddyCdcColumn *column = &entry->columns[entry->nstored++];

			add_column(column, desc, attnum, NameStr(TupleDescAttr(desc, attnum - 1)->attname));
			entry->keys[entry->nkeys++] = column;
		}
	}

	entry->needs_settings = false;
	for (int i = 0; i < entry->nstored; i++)
		entry->needs_settings |= entry->columns[i].type.needs_settings;

	entry->new_values = palloc0(sizeof(Datum) * desc->natts);
	entry->new_nulls = palloc0(sizeof(bool) * desc->natts);
	entry->old_values = palloc0(sizeof(Datum) * desc->natts);
	entry->old_nulls = palloc0(sizeof(bool) * desc->natts);
}

static void
add_column(EddyCdcColumn *column, TupleDesc desc, AttrNumber attnum, const char *name)
{
	StringInfoData json;

	column->index = attnum - 1;
	eddy_cdc_describe_type(&column->type, TupleDescAttr(desc, attnum - 1)->atttypid);
	initStringInfo(&json);
	eddy_cdc_append_string(&json, name, strlen(name));
	eddy_cdc_append_literal(&json, ":");
	column->name = json.data;
	column->name_len = json.len;
}

/*
 * Tells what old rows hold. State tables are made with REPLICA IDENTITY FULL;
 * somebody may have changed that.
 */
static EddyCdcIdentity
find_identity(Relation relation, const ViewRow *row)
{
	Bitmapset  *columns;

	if (relation->rd_rel->relreplident == REPLICA_IDENTITY_FULL)
		return EDDY_CDC_IDENTITY_FULL;
	columns = RelationGetIdentityKeyBitmap(relation);
	for (int i = 0; i < row->nkeys; i++)
	{
		if (!bms_is_member(row->keys[i] - FirstLowInvalidHeapAttributeNumber, columns))
			return EDDY_CDC_IDENTITY_NONE;
	}
	return columns != NULL ? EDDY_CDC_IDENTITY_KEY : EDDY_CDC_IDENTITY_NONE;
}

/*
 * Tells whether the user of this session could SELECT all columns of the view.
 * Decoding itself asks for REPLICATION only.
 */
static bool
allows_select(Oid view, Oid schema)
{
	Oid			user = GetUserId();

	if (eddy_compat_namespace_aclcheck(schema, user, ACL_USAGE) != ACLCHECK_OK)
		return false;
	return pg_class_aclcheck(view, user, ACL_SELECT) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(view, user, ACL_SELECT, ACLMASK_ALL) == ACLCHECK_OK;
}

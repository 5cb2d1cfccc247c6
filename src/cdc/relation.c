/*-------------------------------------------------------------------------
 *
 * relation.c
 *    Descriptions of decoded tables: whether a table is a state table of a
 *    continuous view, and the columns of that view.
 *
 * Everything is read under the historic snapshot of the transaction that is
 * decoded, so a change is described by the names of the time when it was made.
 *
 * Entries are built once and live until an invalidation message reports that the
 * table, its view, a schema or a role membership has changed. The
 * callbacks only mark: they may run while an entry is in use. They cannot be
 * unregistered and outlive the decoding, which in an ordinary backend is one
 * SQL statement; a reset callback of the decoding's memory context makes them
 * harmless, whether the decoding ends normally or by an error.
 *
 * Memory: each described entry owns a small context below that of the cache.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "cdc/plugin.h"
#include "cdc/relation.h"
#include "cdc/view_label.h"
#include "compat.h"

/* A cache of more tables than this is emptied between transactions. */
#define MAX_RELATIONS 4096

typedef struct EddyCdcCache
{
	MemoryContext context;		/* of the entries */
	HTAB	   *relations;		/* NULL: the cache is being emptied */
	dlist_head	state_tables;	/* entries of state tables */
	uint64		generation;		/* entries of another one are described again */
	EddyCdcRelation *last;		/* found last */
} EddyCdcCache;

/* The arguments of describe_relation. */
typedef struct Description
{
	EddyCdcState *state;
	EddyCdcRelation *entry;
	Relation	relation;
} Description;

/* The cache of the decoding in progress in this process; there is at most one, as for slots. */
static EddyCdcCache *active = NULL;

static void add_column(EddyCdcColumn *column, TupleDesc desc, AttrNumber attnum, const char *name);
static bool allows_select(Oid view, Oid schema);
static void clear_entry(EddyCdcRelation *entry);
static void deactivate(void *arg);
static void describe_columns(EddyCdcRelation *entry, TupleDesc desc, const EddyTableLabel *label);
static void describe_relation(void *arg);
static void fill_cache(EddyCdcState *state);
static EddyCdcIdentity find_identity(Relation relation, const EddyTableLabel *label);
static void invalidate_relation(Datum arg, Oid relid);
static void invalidate_syscache(Datum arg, int cacheid, uint32 hashvalue);

/* Creates the cache and registers its invalidation. */
void
eddy_cdc_init_cache(EddyCdcState *state)
{
	static bool registered = false;
	MemoryContextCallback *callback = MemoryContextAllocZero(state->context,
															 sizeof(MemoryContextCallback));

	state->cache = MemoryContextAllocZero(state->context, sizeof(EddyCdcCache));
	state->cache->generation = 1;
	fill_cache(state);

	callback->func = deactivate;
	callback->arg = state->cache;
	MemoryContextRegisterResetCallback(state->context, callback);
	active = state->cache;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, invalidate_syscache, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, invalidate_syscache, (Datum) 0);
		registered = true;
	}
}

/* Gives the cache a new, empty table. */
static void
fill_cache(EddyCdcState *state)
{
	EddyCdcCache *cache = state->cache;
	HASHCTL		ctl = {0};

	cache->last = NULL;
	dlist_init(&cache->state_tables);
	cache->context = AllocSetContextCreate(state->context, "pg_eddy_cdc relations",
										   ALLOCSET_DEFAULT_SIZES);
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(EddyCdcRelation);
	ctl.hcxt = cache->context;
	cache->relations = hash_create("pg_eddy_cdc relations", 64, &ctl,
								   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Empties the cache if it is large: it would grow with every table ever decoded. */
void
eddy_cdc_trim_cache(EddyCdcState *state)
{
	EddyCdcCache *cache = state->cache;

	if (hash_get_num_entries(cache->relations) <= MAX_RELATIONS)
		return;
	cache->relations = NULL;	/* invalidations may come in before there is another table */
	MemoryContextDelete(cache->context);
	fill_cache(state);
}

/* Returns the description of a table, or NULL if its changes are not sent. */
EddyCdcRelation *
eddy_cdc_get_relation(EddyCdcState *state, Relation relation)
{
	EddyCdcCache *cache = state->cache;
	Oid			relid = RelationGetRelid(relation);
	EddyCdcRelation *entry = cache->last;

	if (entry == NULL || entry->relid != relid)
	{
		bool		found;

		entry = hash_search(cache->relations, &relid, HASH_ENTER, &found);
		if (!found)
		{
			memset((char *) entry + sizeof(Oid), 0, sizeof(*entry) - sizeof(Oid));
			entry->generation = 0;
		}
		cache->last = entry;
	}

	/* an invalidation may come in while the entry is built */
	while (entry->generation != cache->generation)
	{
		Description description = {.state = state, .entry = entry, .relation = relation};
		MemoryContext old_context;
		ErrorData  *error;

		entry->generation = cache->generation;
		clear_entry(entry);
		eddy_cdc_pin_settings(state);	/* quoting of identifiers */
		old_context = MemoryContextSwitchTo(state->change_context);
		error = eddy_cdc_attempt(describe_relation, &description);
		if (error != NULL)
		{
			clear_entry(entry);
			ereport(WARNING,
					(errcode(error->sqlerrcode),
					 errmsg("changes of table \"%s\" are not sent",
							RelationGetRelationName(relation)),
					 errdetail("It cannot be described: %s.", error->message)));
		}
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(state->change_context);
	}
	return entry->emitted ? entry : NULL;
}

/* Resets the description of an entry. The caller sets its generation. */
static void
clear_entry(EddyCdcRelation *entry)
{
	if (OidIsValid(entry->view))
		dlist_delete(&entry->node);
	entry->view = InvalidOid;
	if (entry->context != NULL)
		MemoryContextDelete(entry->context);
	entry->context = NULL;
	entry->emitted = false;
	entry->warned = false;
}

static void
deactivate(void *arg)
{
	if (active == arg)
		active = NULL;
}

static void
invalidate_relation(Datum arg pg_attribute_unused(), Oid relid)
{
	EddyCdcRelation *entry;
	dlist_iter	iter;

	if (active == NULL || active->relations == NULL)
		return;
	if (!OidIsValid(relid))
	{
		active->generation++;
		return;
	}

	entry = hash_search(active->relations, &relid, HASH_FIND, NULL);
	if (entry != NULL)
		entry->generation = 0;
	dlist_foreach(iter, &active->state_tables)
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

/* Fills an entry that has been cleared; its argument is a Description. */
static void
describe_relation(void *arg)
{
	EddyCdcState *state = ((Description *) arg)->state;
	EddyCdcRelation *entry = ((Description *) arg)->entry;
	Relation	relation = ((Description *) arg)->relation;
	EddyTableLabel label;
	Oid			view;
	HeapTuple	tuple;
	Form_pg_class class;
	MemoryContext old_context;
	char	   *schema;
	bool		emitted;

	view = eddy_cdc_find_view(relation, &label);
	if (!OidIsValid(view))
		return;

	/* from here on the entry depends on the view, also if it is not emitted */
	entry->view = view;
	entry->role = label.role;
	dlist_push_tail(&state->cache->state_tables, &entry->node);
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(view));
	if (!HeapTupleIsValid(tuple))
		return;

	class = (Form_pg_class) GETSTRUCT(tuple);
	schema = get_namespace_name(class->relnamespace);
	emitted = schema != NULL &&
		eddy_cdc_wants_view(&state->options, schema, NameStr(class->relname)) &&
		(!state->options.check_acl || allows_select(view, class->relnamespace));

	if (emitted)
	{
		char	   *qualified = quote_qualified_identifier(schema, NameStr(class->relname));
		StringInfoData name;

		entry->context = AllocSetContextCreate(state->cache->context, "pg_eddy_cdc relation",
											   ALLOCSET_SMALL_SIZES);
		old_context = MemoryContextSwitchTo(entry->context);
		initStringInfo(&name);
		eddy_cdc_append_string(&name, qualified, strlen(qualified));
		entry->name = name.data;
		entry->name_len = name.len;

		/* a superuser may have replaced the view by one with fewer columns */
		label.ncolumns = Min(class->relnatts, label.ncolumns);
		entry->identity = find_identity(relation, &label);
		describe_columns(entry, RelationGetDescr(relation), &label);
		MemoryContextSwitchTo(old_context);
	}
	ReleaseSysCache(tuple);
	entry->emitted = emitted;
}

/*
 * Describes the columns of the view, and the keys that it does not show. A column of the state
 * table that was dropped is left out.
 */
static void
describe_columns(EddyCdcRelation *entry, TupleDesc desc, const EddyTableLabel *label)
{
	entry->columns = palloc0(sizeof(EddyCdcColumn) * Max(label->ncolumns + label->nkeys, 1));
	entry->keys = palloc0(sizeof(EddyCdcColumn *) * Max(label->nkeys, 1));
	entry->nstored = 0;
	for (int i = 0; i < label->ncolumns; i++)
	{
		AttrNumber	attnum = label->columns[i];

		if (!TupleDescAttr(desc, attnum - 1)->attisdropped)
			add_column(&entry->columns[entry->nstored++], desc, attnum,
					   get_attname(entry->view, i + 1, false));
	}
	entry->ncolumns = entry->nstored;

	entry->nkeys = 0;
	for (int i = 0; i < label->nkeys; i++)
	{
		AttrNumber	attnum = label->keys[i];
		EddyCdcColumn *column = NULL;

		if (TupleDescAttr(desc, attnum - 1)->attisdropped)
			continue;
		for (int j = 0; j < entry->ncolumns && column == NULL; j++)
		{
			if (entry->columns[j].index == attnum - 1)
				column = &entry->columns[j];
		}
		if (column == NULL)
		{
			column = &entry->columns[entry->nstored++];
			add_column(column, desc, attnum, NameStr(TupleDescAttr(desc, attnum - 1)->attname));
		}
		entry->keys[entry->nkeys++] = column;
	}

	entry->visible = label->visible - 1;
	entry->needs_settings = false;
	entry->can_fail = false;
	for (int i = 0; i < entry->nstored; i++)
	{
		entry->needs_settings |= entry->columns[i].type.needs_settings;
		entry->can_fail |= entry->columns[i].type.can_fail;
	}

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
 * Determines what old rows hold. State tables are created with REPLICA IDENTITY FULL, which a
 * superuser may have changed.
 */
static EddyCdcIdentity
find_identity(Relation relation, const EddyTableLabel *label)
{
	Bitmapset  *columns;

	if (relation->rd_rel->relreplident == REPLICA_IDENTITY_FULL)
		return EDDY_CDC_IDENTITY_FULL;
	columns = RelationGetIdentityKeyBitmap(relation);
	for (int i = 0; i < label->nkeys; i++)
	{
		if (!bms_is_member(label->keys[i] - FirstLowInvalidHeapAttributeNumber, columns))
			return EDDY_CDC_IDENTITY_NONE;
	}
	return columns != NULL ? EDDY_CDC_IDENTITY_KEY : EDDY_CDC_IDENTITY_NONE;
}

/*
 * True if the user of this session could SELECT all columns of the view. Decoding itself requires
 * REPLICATION only.
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

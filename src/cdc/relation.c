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

#include "cdc/known_views.h"
#include "cdc/relation.h"
#include "cdc/view_label.h"
#include "compat.h"
#include "row_layout.h"

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

static void add_column(EddyCdcColumn *column, TupleDesc desc, AttrNumber attnum, const char *name,
					   const EddyCdcOptions *options);
static void append_types(StringInfo out, EddyCdcColumn **columns, int ncolumns, TupleDesc desc,
						 bool list);
static void clear_entry(EddyCdcRelation *entry);
static void deactivate(void *arg);
static void describe_columns(EddyCdcRelation *entry, TupleDesc desc, const EddyTableLabel *label,
							 const EddyCdcOptions *options);
static void describe_own_table(EddyCdcState *state, EddyCdcRelation *entry, Relation relation,
							   const EddyTableLabel *label);
static void describe_relation(void *arg);
static void describe_types(EddyCdcRelation *entry, TupleDesc desc, const EddyCdcOptions *options);
static void fill_cache(EddyCdcState *state);
static EddyCdcIdentity find_identity(Relation relation, const EddyTableLabel *label);
static void invalidate_relation(Datum arg, Oid relid);
static void invalidate_syscache(Datum arg, int cacheid, uint32 hashvalue);
static bool is_hidden(Relation relation);
static void make_space(EddyCdcRelation *entry, TupleDesc desc);

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
		/* one for both lists: all libraries of a process share ten */
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
		error = eddy_subtransaction_run(describe_relation, &description);
		if (error != NULL)
		{
			clear_entry(entry);
			/*
			 * not the fault of the table: the decoding may continue, after a transaction that was
			 * rolled back
			 */
			if (eddy_subtransaction_is_disturbed(error))
			{
				entry->generation = 0;
				ReThrowError(error);
			}
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

/* Returns an entry that eddy_cdc_get_relation has returned in this transaction. */
EddyCdcRelation *
eddy_cdc_find_relation(EddyCdcState *state, Oid relid)
{
	return hash_search(state->cache->relations, &relid, HASH_FIND, NULL);
}

/* True if eddy_cdc_get_relation would replace a description whose changes are sent. */
bool
eddy_cdc_is_outdated(EddyCdcState *state, Oid relid)
{
	EddyCdcRelation *entry = state->cache->last;

	if (entry == NULL || entry->relid != relid)
		entry = eddy_cdc_find_relation(state, relid);
	return entry != NULL && entry->emitted && entry->generation != state->cache->generation;
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
	entry->known = NULL;
	entry->emitted = false;
	entry->refused = false;
	entry->announced = false;
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

	eddy_cdc_suspect_view(relid);
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
	entry->role = label.role;
	if ((label.role == EDDY_TABLE_PROGRESS || label.role == EDDY_TABLE_INITIAL) &&
		state->select != NULL)
		describe_own_table(state, entry, relation, &label);
	if (!OidIsValid(view))
		return;

	/* from here on the entry depends on the view, also if it is not emitted */
	entry->view = view;
	dlist_push_tail(&state->cache->state_tables, &entry->node);
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(view));
	if (!HeapTupleIsValid(tuple))
		return;

	class = (Form_pg_class) GETSTRUCT(tuple);
	schema = get_namespace_name(class->relnamespace);
	if (schema == NULL)
		emitted = false;
	else if (state->select != NULL)
	{
		entry->known = state->select(state, label.id, view, schema, NameStr(class->relname));
		emitted = entry->known != NULL;
	}
	else
		emitted = eddy_cdc_wants_view(&state->options, schema, NameStr(class->relname));
	if (emitted && state->options.check_acl &&
		(!eddy_cdc_may_read(view, class->relnamespace) || is_hidden(relation)))
	{
		emitted = false;
		entry->refused = true;
	}

	if (emitted)
	{
		char	   *qualified = quote_qualified_identifier(schema, NameStr(class->relname));
		StringInfoData name;

		entry->context = AllocSetContextCreate(state->cache->context, "pg_eddy_cdc relation",
											   ALLOCSET_SMALL_SIZES);
		old_context = MemoryContextSwitchTo(entry->context);
		entry->schema_name = pstrdup(schema);
		entry->view_name = pstrdup(NameStr(class->relname));
		initStringInfo(&name);
		eddy_cdc_append_string(&name, qualified, strlen(qualified));
		entry->name = name.data;
		entry->name_len = name.len;
		entry->format_data = NULL;

		/* a superuser may have replaced the view by one with fewer columns */
		label.ncolumns = Min(class->relnatts, label.ncolumns);
		entry->identity = find_identity(relation, &label);
		make_space(entry, RelationGetDescr(relation));
		describe_columns(entry, entry->desc, &label, &state->options);
		describe_types(entry, entry->desc, &state->options);
		MemoryContextSwitchTo(old_context);
	}
	ReleaseSysCache(tuple);
	entry->emitted = emitted;
}

/* Describes a table of pg_eddy whose changes are translated for any options. */
static void
describe_own_table(EddyCdcState *state, EddyCdcRelation *entry, Relation relation,
				   const EddyTableLabel *label)
{
	MemoryContext old_context;

	/*
	 * only superusers can set labels, but another role may own the table: it could write any bytes
	 */
	if (label->role == EDDY_TABLE_INITIAL && !superuser_arg(relation->rd_rel->relowner))
		return;
	entry->context = AllocSetContextCreate(state->cache->context, "pg_eddy_cdc relation",
										   ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(entry->context);
	for (int i = 0; i < (int) lengthof(entry->progress); i++)
		entry->progress[i] = label->progress[i] - 1;
	for (int i = 0; i < (int) lengthof(entry->initial); i++)
		entry->initial[i] = label->initial[i] - 1;
	entry->identity = find_identity(relation, label);
	make_space(entry, RelationGetDescr(relation));
	MemoryContextSwitchTo(old_context);
	entry->emitted = true;
}

/* Makes space for an old and a new row. */
static void
make_space(EddyCdcRelation *entry, TupleDesc desc)
{
	entry->desc = CreateTupleDescCopyConstr(desc);
	entry->layout = eddy_row_layout(desc);
	entry->new_values = palloc0(sizeof(Datum) * desc->natts);
	entry->new_nulls = palloc0(sizeof(bool) * desc->natts);
	entry->old_values = palloc0(sizeof(Datum) * desc->natts);
	entry->old_nulls = palloc0(sizeof(bool) * desc->natts);
}

/*
 * Describes the columns of the view, and the keys that it does not show. A column of the state
 * table that was dropped is left out.
 */
static void
describe_columns(EddyCdcRelation *entry, TupleDesc desc, const EddyTableLabel *label,
				 const EddyCdcOptions *options)
{
	entry->columns = palloc0(sizeof(EddyCdcColumn) * Max(label->ncolumns + label->nkeys, 1));
	entry->keys = palloc0(sizeof(EddyCdcColumn *) * Max(label->nkeys, 1));
	entry->nstored = 0;
	for (int i = 0; i < label->ncolumns; i++)
	{
		AttrNumber	attnum = label->columns[i];

		/* 0: computed when the view is read */
		if (attnum > 0 && !TupleDescAttr(desc, attnum - 1)->attisdropped)
		{
			EddyCdcColumn *column = &entry->columns[entry->nstored++];

			column->view_column = i + 1;
			add_column(column, desc, attnum, get_attname(entry->view, i + 1, false), options);
		}
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
			add_column(column, desc, attnum, NameStr(TupleDescAttr(desc, attnum - 1)->attname),
					   options);
		}
		entry->keys[entry->nkeys++] = column;
	}

	entry->visible = label->visible - 1;
	entry->final = label->final - 1;
	entry->end = label->end - 1;
	entry->needs_settings = false;
	entry->can_fail = false;
	for (int i = 0; i < entry->nstored; i++)
	{
		entry->needs_settings |= entry->columns[i].type.needs_settings;
		entry->can_fail |= entry->columns[i].type.can_fail;
	}
}

static void
add_column(EddyCdcColumn *column, TupleDesc desc, AttrNumber attnum, const char *name,
		   const EddyCdcOptions *options)
{
	StringInfoData json;

	column->index = attnum - 1;
	eddy_cdc_describe_type(&column->type, TupleDescAttr(desc, attnum - 1)->atttypid);
	if (options->numeric_as_string)
		eddy_cdc_quote_numbers(&column->type);
	initStringInfo(&json);
	eddy_cdc_append_string(&json, name, strlen(name));
	eddy_cdc_append_literal(&json, ":");
	column->name = json.data;
	column->name_len = json.len;
}

/* Describes the types of the columns, for options that ask for them. */
static void
describe_types(EddyCdcRelation *entry, TupleDesc desc, const EddyCdcOptions *options)
{
	EddyCdcColumn **columns = palloc(sizeof(EddyCdcColumn *) * Max(entry->ncolumns, 1));
	StringInfoData json;

	for (int i = 0; i < entry->ncolumns; i++)
		columns[i] = &entry->columns[i];
	entry->types = entry->schema = NULL;
	if (options->include_types)
	{
		initStringInfo(&json);
		append_types(&json, columns, entry->ncolumns, desc, false);
		entry->types = json.data;
		entry->types_len = json.len;
	}
	if (options->include_schema)
	{
		initStringInfo(&json);
		eddy_cdc_append_literal(&json, ",\"columns\":");
		append_types(&json, columns, entry->ncolumns, desc, true);
		eddy_cdc_append_literal(&json, ",\"key\":");
		append_types(&json, entry->keys, entry->nkeys, desc, true);
		entry->schema = json.data;
		entry->schema_len = json.len;
	}
}

/* Appends the types of columns: [{"name":"a","type":"integer"}] as a list, or {"a":"integer"}. */
static void
append_types(StringInfo out, EddyCdcColumn **columns, int ncolumns, TupleDesc desc, bool list)
{
	eddy_cdc_append_bytes(out, list ? "[" : "{", 1);
	for (int i = 0; i < ncolumns; i++)
	{
		EddyCdcColumn *column = columns[i];
		Form_pg_attribute attribute = TupleDescAttr(desc, column->index);
		char	   *type = format_type_with_typemod(attribute->atttypid, attribute->atttypmod);

		if (i > 0)
			eddy_cdc_append_literal(out, ",");
		if (list)
			eddy_cdc_append_literal(out, "{\"name\":");
		/* the name ends with a colon */
		eddy_cdc_append_bytes(out, column->name, column->name_len - (list ? 1 : 0));
		if (list)
			eddy_cdc_append_literal(out, ",\"type\":");
		eddy_cdc_append_string(out, type, strlen(type));
		if (list)
			eddy_cdc_append_literal(out, "}");
	}
	eddy_cdc_append_bytes(out, list ? "]" : "}", 1);
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
bool
eddy_cdc_may_read(Oid view, Oid schema)
{
	Oid			user = GetUserId();

	if (eddy_compat_namespace_aclcheck(schema, user, ACL_USAGE) != ACLCHECK_OK)
		return false;
	return pg_class_aclcheck(view, user, ACL_SELECT) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(view, user, ACL_SELECT, ACLMASK_ALL) == ACLCHECK_OK;
}

/*
 * True if row-level security may hide rows of the state table from the user. A superuser
 * can have enabled it; policies are expressions, which the plugin does not evaluate.
 */
static bool
is_hidden(Relation relation)
{
	return relation->rd_rel->relrowsecurity && !has_bypassrls_privilege(GetUserId());
}

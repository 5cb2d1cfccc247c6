/*-------------------------------------------------------------------------
 *
 * known_views.c
 *    The continuous views that a decoding has met, by the ID in their labels.
 *
 * The ID of a view does not change when it is renamed, and a view that is dropped and created again
 * has another one. So a view that option "views" has selected by name remains selected under
 * another name, and clients can be informed when the columns of a view have changed or it was
 * dropped.
 *
 * Views that are listed by name are looked for where the session begins, so that they are followed
 * also if they were renamed before their first change. The first transaction can have begun long
 * before: its own catalogs may have names that were changed since. Its early changes, which are
 * described by these, are changes of the view all the same.
 *
 * A dropped view is detected at the end of the transaction that drops it: the server then has
 * processed the invalidation of its pg_class row. For that, the views that exist when the session
 * begins are read from pg_seclabel, as of that point of the WAL; others are added with their
 * first change.
 *
 * Memory: in the context of the decoding, a few hundred bytes for each view. The callback for
 * invalidations outlives the decoding; see relation.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_seclabel.h"
#include "miscadmin.h"
#include "replication/snapbuild.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "cdc/known_views.h"
#include "cdc/relation.h"
#include "cdc/view_filter.h"
#include "cdc/view_label.h"
#include "compat.h"

typedef struct EddyCdcViews
{
	MemoryContext context;
	List	   *views;			/* of EddyCdcView */
	bool		loaded;			/* those that existed when the session began are in it */
	bool		suspect;		/* any of them is */
} EddyCdcViews;

/* Calls a function for each view that has a label; it may raise an error. */
typedef void (*VisitView) (EddyCdcState *state, const char *id, Oid relid, const char *schema,
						   const char *name, Oid namespace);

/* As in relation.c. */
static EddyCdcViews *active = NULL;

static void check_view(EddyCdcState *state, const char *id, Oid relid, const char *schema,
					   const char *name, Oid namespace);
static void deactivate(void *arg);
static void load_view(EddyCdcState *state, const char *id, Oid relid, const char *schema,
					  const char *name, Oid namespace);
static EddyCdcView *select_view(EddyCdcState *state, const char *id, Oid relid,
								const char *schema, const char *name);
static void visit_views(EddyCdcState *state, Snapshot snapshot, VisitView visit);

/* Creates the empty list. eddy_cdc_init_cache registers its invalidation. */
void
eddy_cdc_init_views(EddyCdcState *state)
{
	MemoryContextCallback *callback = MemoryContextAllocZero(state->context,
															 sizeof(MemoryContextCallback));

	state->views = MemoryContextAllocZero(state->context, sizeof(EddyCdcViews));
	state->views->context = AllocSetContextCreate(state->context, "pg_eddy_cdc views",
												  ALLOCSET_DEFAULT_SIZES);
	callback->func = deactivate;
	callback->arg = state->views;
	MemoryContextRegisterResetCallback(state->context, callback);
	active = state->views;
	state->select = select_view;
}

static void
deactivate(void *arg)
{
	if (active == arg)
		active = NULL;
}

/* Notes that a relation has changed; it may be a view that was dropped. */
void
eddy_cdc_suspect_view(Oid relid)
{
	ListCell   *cell;

	if (active == NULL)
		return;
	foreach(cell, active->views)
	{
		EddyCdcView *view = lfirst(cell);

		if (view->relid == relid || !OidIsValid(relid))
			view->suspect = active->suspect = true;
	}
}

/*
 * Adds the views that exist, unless that was done; call with the first transaction.
 *
 * The snapshot of the decoding is that of the place in the WAL where the session begins: no commit
 * that has changed the catalogs has been processed since. If this transaction itself has, that is
 * contained, and its own first snapshot is used.
 */
void
eddy_cdc_load_views(LogicalDecodingContext *ctx, const ReorderBufferTXN *txn)
{
	EddyCdcState *state = ctx->output_plugin_private;

	if (state->views->loaded)
		return;
	state->views->loaded = true;
	visit_views(state, rbtxn_has_catalog_changes(txn) ? NULL :
				eddy_compat_decoding_snapshot(ctx->snapshot_builder), load_view);
}

/* True if the client could read a view, as far as the catalogs of the transaction have it. */
static bool
is_readable(Oid relid, Oid namespace)
{
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)) &&
		SearchSysCacheExists1(NAMESPACEOID, ObjectIdGetDatum(namespace)) &&
		eddy_cdc_may_read(relid, namespace);
}

static void
load_view(EddyCdcState *state, const char *id, Oid relid, const char *schema, const char *name,
		  Oid namespace)
{
	if ((eddy_cdc_wants_view(&state->options, schema, name) ||
		 eddy_cdc_wants_id(&state->options, id)) &&
		(!state->options.check_acl || is_readable(relid, namespace)))
	{
		EddyCdcView *view = eddy_cdc_find_known_view(state, id, relid);

		view->followed = true;
		view->shown = true;
		eddy_cdc_name_view(view, schema, name);
	}
}

/*
 * Checks, with option "strict", that the current catalogs have all views that the client has named,
 * and that it may read them. Called at startup, where a walsender has no transaction.
 */
void
eddy_cdc_check_views(EddyCdcState *state)
{
	bool		own = !IsTransactionState();
	MemoryContext old_context = CurrentMemoryContext;

	if (own)
		StartTransactionCommand();
	MemoryContextSwitchTo(old_context);
	visit_views(state, NULL, check_view);
	eddy_cdc_require_views(&state->options);
	if (own)
		CommitTransactionCommand();
	MemoryContextSwitchTo(old_context);
}

static void
check_view(EddyCdcState *state, const char *id, Oid relid, const char *schema, const char *name,
		   Oid namespace)
{
	if (eddy_cdc_note_view(&state->options, id, schema, name) && state->options.check_acl &&
		!eddy_cdc_may_read(relid, namespace))
		eddy_cdc_refuse_view(schema, name);
}

/* Returns a copy of a row of a catalog by its OID, without the caches; NULL if there is none. */
static HeapTuple
find_row(Oid catalog, Oid index, AttrNumber column, Oid oid, Snapshot snapshot)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(rel, index, true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return tuple;
}

/* Calls a function for a view, with its names under a snapshot. */
static void
visit_view(EddyCdcState *state, const char *id, Oid relid, Snapshot snapshot, VisitView visit)
{
	HeapTuple	tuple = find_row(RelationRelationId, ClassOidIndexId, Anum_pg_class_oid, relid,
								 snapshot);
	Form_pg_class class;
	HeapTuple	schema;

	if (!HeapTupleIsValid(tuple))
		return;
	class = (Form_pg_class) GETSTRUCT(tuple);
	schema = find_row(NamespaceRelationId, NamespaceOidIndexId, Anum_pg_namespace_oid,
					  class->relnamespace, snapshot);
	if (HeapTupleIsValid(schema))
		visit(state, id, relid, NameStr(((Form_pg_namespace) GETSTRUCT(schema))->nspname),
			  NameStr(class->relname), class->relnamespace);
}

/*
 * Calls a function for all views that have a label, under a snapshot; NULL: the one in effect. The
 * caches have the content of the latter.
 */
static void
visit_views(EddyCdcState *state, Snapshot snapshot, VisitView visit)
{
	Relation	labels = table_open(SecLabelRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(labels, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		FormData_pg_seclabel *row = (FormData_pg_seclabel *) GETSTRUCT(tuple);
		bool		null;
		Datum		provider = heap_getattr(tuple, Anum_pg_seclabel_provider,
											RelationGetDescr(labels), &null);
		char		id[EDDY_LABEL_ID_LEN + 1];

		if (row->classoid != RelationRelationId || row->objsubid != 0 || null ||
			strcmp(TextDatumGetCString(provider), EDDY_LABEL_PROVIDER) != 0)
			continue;
		if (eddy_cdc_parse_view_label(TextDatumGetCString(heap_getattr(tuple,
																	   Anum_pg_seclabel_label,
																	   RelationGetDescr(labels),
																	   &null)), id))
			visit_view(state, id, row->objoid, snapshot, visit);
	}
	systable_endscan(scan);
	table_close(labels, AccessShareLock);
}

/* Returns the view with an ID, which is added if it is new. Its relation is updated. */
EddyCdcView *
eddy_cdc_find_known_view(EddyCdcState *state, const char *id, Oid relid)
{
	EddyCdcViews *views = state->views;
	MemoryContext old_context;
	EddyCdcView *view;
	ListCell   *cell;

	foreach(cell, views->views)
	{
		view = lfirst(cell);
		if (strcmp(view->id, id) == 0)
		{
			view->relid = relid;
			return view;
		}
	}

	old_context = MemoryContextSwitchTo(views->context);
	view = palloc0(sizeof(EddyCdcView));
	strlcpy(view->id, id, sizeof(view->id));
	view->relid = relid;
	view->expired_until = DT_NOBEGIN;
	view->expired_by = InvalidTransactionId;
	view->name_context = AllocSetContextCreate(views->context, "pg_eddy_cdc view",
											   ALLOCSET_SMALL_SIZES);
	views->views = lappend(views->views, view);
	MemoryContextSwitchTo(old_context);
	return view;
}

/*
 * Returns a view as the changes of its rows would find it, with its present name; NULL if the
 * client has not asked for it, or may not read it, or the relation is not a view with a label.
 */
EddyCdcView *
eddy_cdc_select_view(EddyCdcState *state, Oid relid)
{
	EddyCdcView *view;
	HeapTuple	class;
	char		id[EDDY_LABEL_ID_LEN + 1];
	char	   *schema;
	Oid			namespace;

	if (!eddy_cdc_get_view_id(relid, id))
		return NULL;
	class = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	if (!HeapTupleIsValid(class))
		return NULL;
	view = eddy_cdc_find_known_view(state, id, relid);
	namespace = ((Form_pg_class) GETSTRUCT(class))->relnamespace;
	schema = get_namespace_name(namespace);
	if (schema != NULL)
		eddy_cdc_follow_view(state, view, schema,
							 NameStr(((Form_pg_class) GETSTRUCT(class))->relname));
	ReleaseSysCache(class);
	if (schema == NULL || !view->followed ||
		(state->options.check_acl && !eddy_cdc_may_read(relid, namespace)))
		return NULL;
	return view;
}

/* Returns the view with an ID and its present name, or NULL if the client has not asked for it. */
static EddyCdcView *
select_view(EddyCdcState *state, const char *id, Oid relid, const char *schema, const char *name)
{
	EddyCdcView *view = eddy_cdc_find_known_view(state, id, relid);

	eddy_cdc_follow_view(state, view, schema, name);
	return view->followed ? view : NULL;
}

/* Sets the name of a view, and notes that the client has asked for it if the name is listed. */
void
eddy_cdc_follow_view(EddyCdcState *state, EddyCdcView *view, const char *schema, const char *name)
{
	view->followed |= eddy_cdc_wants_view(&state->options, schema, name) ||
		eddy_cdc_wants_id(&state->options, view->id);
	eddy_cdc_name_view(view, schema, name);
}

/* Returns the views one after the other, NULL after the last one. */
EddyCdcView *
eddy_cdc_nth_view(EddyCdcState *state, int n)
{
	return n < list_length(state->views->views) ? list_nth(state->views->views, n) : NULL;
}

/*
 * Sets the name of a view. Its schema, which includes the name, has to be sent again if it differs.
 */
void
eddy_cdc_name_view(EddyCdcView *view, const char *schema, const char *name)
{
	/* in the current context, which is short-lived: this is done for each record of progress */
	char	   *qualified = quote_qualified_identifier(schema, name);
	char	   *plain = psprintf("%s.%s", schema, name);
	MemoryContext old_context = MemoryContextSwitchTo(view->name_context);
	StringInfoData json;

	initStringInfo(&json);
	eddy_cdc_append_string(&json, qualified, strlen(qualified));
	if (view->name == NULL || view->name_len != json.len ||
		memcmp(view->name, json.data, json.len) != 0)
	{
		if (view->name != NULL)
		{
			pfree(view->name);
			pfree(view->plain_name);
		}
		view->name = json.data;
		view->name_len = json.len;
		initStringInfo(&json);
		eddy_cdc_append_string(&json, plain, strlen(plain));
		view->plain_name = json.data;
		view->plain_name_len = json.len;
		if (view->schema != NULL)
			pfree(view->schema);
		view->schema = NULL;
	}
	else
		pfree(json.data);
	MemoryContextSwitchTo(old_context);
}

/* Sets the columns of a view, as JSON; false if they are the same as those that were sent last. */
bool
eddy_cdc_set_schema(EddyCdcView *view, const char *schema, int len)
{
	view->shown = true;
	if (view->schema != NULL && view->schema_len == len && memcmp(view->schema, schema, len) == 0)
		return false;
	if (view->schema != NULL)
		pfree(view->schema);
	view->schema = MemoryContextAlloc(view->name_context, Max(len, 1));
	memcpy(view->schema, schema, len);
	view->schema_len = len;
	return true;
}

/* Returns a view that does not exist any more, or NULL. Call at the end of a transaction. */
EddyCdcView *
eddy_cdc_next_dropped_view(EddyCdcState *state)
{
	ListCell   *cell;

	if (!state->views->suspect)
		return NULL;
	foreach(cell, state->views->views)
	{
		EddyCdcView *view = lfirst(cell);

		if (!view->suspect)
			continue;
		view->suspect = false;
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(view->relid)))
			return view;
	}
	state->views->suspect = false;
	return NULL;
}

/* Forgets a view that was dropped. */
void
eddy_cdc_forget_view(EddyCdcState *state, EddyCdcView *view)
{
	state->views->views = list_delete_ptr(state->views->views, view);
	MemoryContextDelete(view->name_context);
	pfree(view);
}

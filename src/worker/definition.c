/*-------------------------------------------------------------------------
 *
 * definition.c
 *    The definition of a source and its stream, cached until DDL changes it.
 *
 * A batch must not pay for reading catalogs, and must not use outdated definitions. So the rows of
 * _source and _stream, the columns of the table, the foreign server and the user mapping are
 * cached, together with the decoder and the compiled defaults, CHECK constraints and generated
 * columns. Callbacks of the server's caches invalidate it: on any change of the stream, of a server
 * or user mapping, of a type of one of its columns, and, if it has expressions that call functions,
 * of any function. Invalidations are processed when the batch locks the stream, so a change that
 * was committed before is always seen.
 *
 * Locking: RowExclusiveLock on the stream, as for INSERT, then the source's object lock;
 * both until the end of the transaction; a worker waits for neither while it holds the other.
 * Memory: one context per definition, deleted when the next one has been read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "relcache_watch.h"
#include "worker/process.h"
#include "worker/source_worker.h"

/* Invalidations that concern the definition, and those of its server among them. */
static uint64 changes = 1;
static uint64 server_changes = 1;

/* How many there were at the last attempt to read a definition. */
static uint64 tried_changes = 0;

/* What it depends on; until it has been read, on all functions and types. */
static List *watched_streams = NIL; /* of Oid; several in a process that fills a view over several */
static Oid	watched_views = InvalidOid; /* for changes of the catalog that concern no stream */
static bool watched_functions = true;	/* the stream has expressions that call functions */
static bool watched_all_types = true;
static List *watched_types = NIL;	/* hash values of TYPEOID, in the context of the definition */

/* The stream, or the table of views, was altered, or has grown or lost a segment. */
static void
at_relcache_change(Datum arg pg_attribute_unused(), Oid relid)
{
	if (relid == InvalidOid || list_member_oid(watched_streams, relid) || relid == watched_views)
		changes++;
}

/* A server or user mapping was created, altered or dropped; which one is not known. */
static void
at_server_change(Datum arg pg_attribute_unused(), int cacheid pg_attribute_unused(),
				 uint32 hashvalue pg_attribute_unused())
{
	changes++;
	server_changes++;
}

/*
 * A function was created, replaced or dropped. Which functions a default, CHECK constraint or
 * generated column calls after inlining and constant folding is not known, so each one counts.
 */
static void
at_function_change(Datum arg pg_attribute_unused(), int cacheid pg_attribute_unused(),
				   uint32 hashvalue pg_attribute_unused())
{
	if (watched_functions)
		changes++;
}

/* Each temporary table creates and drops types: only those of the stream count. */
static void
at_type_change(Datum arg pg_attribute_unused(), int cacheid pg_attribute_unused(),
			   uint32 hashvalue)
{
	if (hashvalue == 0 || watched_all_types || list_member_int(watched_types, (int) hashvalue))
		changes++;
}

/* eddy_definition_watch registers the callbacks that detect DDL, once per process. */
void
eddy_definition_watch(void)
{
	eddy_relcache_watch(at_relcache_change, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, at_server_change, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, at_server_change, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, at_function_change, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, at_type_change, (Datum) 0);
}

/* From now on, changes of the stream count. */
static void
watch_stream(Oid stream)
{
	MemoryContext old;

	if (list_member_oid(watched_streams, stream))
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	watched_streams = lappend_oid(watched_streams, stream);
	MemoryContextSwitchTo(old);
}

/* eddy_definition_stale returns whether the definition may have changed since it was read. */
bool
eddy_definition_stale(void)
{
	return changes != tried_changes;
}

/* eddy_definition_invalidate makes the next use read the definition again. */
void
eddy_definition_invalidate(void)
{
	changes++;
}

/*
 * Columns that nothing needs are not converted from messages; late rows are shown with all of them.
 * The messages may be for one view, which then counts also those with values for other columns that
 * cannot be converted, as it would have done when they arrived.
 */
static void
omit_columns(EddyDefinition *definition, Relation rel, Oid view)
{
	const EddyStream *stream = definition->stream;
	const EddyView *only = OidIsValid(view) ? eddy_catalog_get_view(view) : NULL;

	definition->omitted = eddy_stream_omitted_columns(stream, rel, only);
	if (definition->omitted && (only || !eddy_stream_shows_late_rows(stream)))
		eddy_mapping_omit(definition->mapping, definition->omitted);
}

/*
 * eddy_definition_make compiles the rows of _source and _stream and the columns of the table, in
 * mcxt, which must be the current context. view: that alone gets the rows, or InvalidOid.
 */
EddyDefinition *
eddy_definition_make(EddySource *source, EddyStream *stream, Relation rel, Oid view, MemoryContext mcxt)
{
	EddyDefinition *definition = palloc0(sizeof(EddyDefinition));
	const EddyDecoderFormat *format = eddy_decode_find_format(source->format);
	EddyDecodeOptions decode_options;

	definition->mcxt = mcxt;
	definition->source = source;
	definition->stream = stream;
	definition->tupdesc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	definition->owner = rel->rd_rel->relowner;
	definition->options = eddy_mapping_read_options(source->options);
	definition->mapping = eddy_mapping_create(definition->tupdesc, source->mapping, false);
	omit_columns(definition, rel, view);
	definition->event_time = eddy_event_time_resolve(stream, definition->tupdesc);

	if (format == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("format \"%s\" is not supported", source->format)));
	decode_options.time_format = definition->options.time_format;
	definition->decoder = eddy_decode_create(format, mcxt, definition->tupdesc,
											 definition->mapping->columns,
											 definition->mapping->ncolumns, &decode_options);
	/* a decoder that has nothing to resolve is ready at once */
	definition->resolved = !eddy_decode_needs_resolve(definition->decoder);
	definition->preparer = eddy_stream_begin_prepare(mcxt, rel, definition->mapping->decoded);
	definition->in_two_steps = definition->mapping->nmetadata > 0 ||
		eddy_decode_needs_convert(definition->decoder) ||
		eddy_stream_needs_prepare(definition->preparer);
	return definition;
}

/*
 * Hash values of the types of all columns, and of their base and element types: a domain's default
 * and constraints are compiled into the preparer, and ALTER DOMAIN sends an invalidation of the
 * domain.
 */
static List *
hash_types(TupleDesc tupdesc)
{
	List	   *types = NIL;
	List	   *hashes = NIL;
	ListCell   *lc;

	for (int i = 0; i < tupdesc->natts; i++)
		if (!TupleDescAttr(tupdesc, i)->attisdropped)
			types = list_append_unique_oid(types, TupleDescAttr(tupdesc, i)->atttypid);
	/* the list grows during the loop */
	for (int i = 0; i < list_length(types); i++)
	{
		HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(list_nth_oid(types, i)));
		Form_pg_type form;

		if (!HeapTupleIsValid(tuple))
			continue;
		form = (Form_pg_type) GETSTRUCT(tuple);
		if (OidIsValid(form->typbasetype))
			types = list_append_unique_oid(types, form->typbasetype);
		if (OidIsValid(form->typelem))
			types = list_append_unique_oid(types, form->typelem);
		ReleaseSysCache(tuple);
	}
	foreach(lc, types)
		hashes = lappend_int(hashes, (int) GetSysCacheHashValue1(TYPEOID, lfirst_oid(lc)));
	list_free(types);
	return hashes;
}

/* eddy_definition_free frees the definition of a worker. */
void
eddy_definition_free(EddySourceWorker *worker)
{
	EddyDefinition *old = worker->definition;

	if (old == NULL)
		return;
	worker->definition = NULL;
	watched_types = NIL;
	eddy_stream_end_prepare(old->preparer);
	MemoryContextDelete(old->mcxt);
}

/* Keeps the names that messages show; what cannot be read keeps its last name. */
static void
set_names(EddySourceWorker *worker, const EddySource *source)
{
	char	   *schema = get_namespace_name(get_rel_namespace(source->stream));
	char	   *name = get_rel_name(source->stream);

	if (schema && name)
		snprintf(worker->stream_name, sizeof(worker->stream_name), "%s.%s", schema, name);
	strlcpy(worker->topic_name, source->topic, sizeof(worker->topic_name));
}

/*
 * eddy_definition_read reads the definition again if it may have changed.
 *
 * Needs a transaction that holds the locks on stream and source.
 */
EddyOutcome
eddy_definition_read(EddySourceWorker *worker, Relation stream)
{
	MemoryContext mcxt;
	MemoryContext old_context;
	EddyDefinition *definition;
	EddySource *source;
	EddyStream *row;
	List	   *types;
	bool		reopen;
	bool		reassign;
	uint64		before;
	uint64		server_before;

	if (changes == worker->read_changes && worker->definition)
		return EDDY_CONTINUE;
	/* taken before reading, so that a change during it counts */
	before = tried_changes = changes;
	server_before = server_changes;
	watched_functions = watched_all_types = true;

	mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy source definition",
								 ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(mcxt);
	source = eddy_catalog_get_source(worker->id.id);
	row = source ? eddy_catalog_get_stream(source->stream) : NULL;
	if (row == NULL || source->stream != RelationGetRelid(stream) ||
		!eddy_process_may_run(source) ||
		worker->id.shard >= eddy_catalog_source_workers(source))
	{
		MemoryContextSwitchTo(old_context);
		MemoryContextDelete(mcxt);
		return EDDY_LEAVE;
	}
	set_names(worker, source);
	types = hash_types(RelationGetDescr(stream));
	definition = eddy_definition_make(source, row, stream, worker->view, mcxt);
	MemoryContextSwitchTo(old_context);
	MemoryContextSetParent(mcxt, TopMemoryContext);

	reopen = server_before != worker->read_server_changes || worker->definition == NULL ||
		strcmp(worker->definition->source->server, source->server) != 0 ||
		worker->definition->owner != definition->owner;
	/* the partitions are shared differently */
	reassign = worker->definition != NULL && !OidIsValid(worker->view) &&
		eddy_catalog_source_workers(worker->definition->source) != eddy_catalog_source_workers(source);
	eddy_definition_free(worker);
	worker->definition = definition;
	/* a process that fills a view has several definitions */
	watched_functions = OidIsValid(worker->view) ||
		eddy_stream_calls_functions(definition->preparer);
	watched_types = types;
	watched_all_types = OidIsValid(worker->view);
	worker->read_changes = before;
	worker->read_server_changes = server_before;
	if (reopen && worker->client)
		return EDDY_REOPEN;
	return reassign ? EDDY_RESTART : EDDY_CONTINUE;
}

/*
 * lock_both locks stream and source, and waits for neither while it holds the other: a
 * transaction that has paused the source may alter the stream next. NULL if the stream was
 * dropped.
 */
static Relation
lock_both(int32 source, Oid relid)
{
	for (;;)
	{
		Relation	stream = try_table_open(relid, RowExclusiveLock);

		if (stream == NULL || eddy_process_try_lock_source(source, RowExclusiveLock))
			return stream;
		table_close(stream, RowExclusiveLock);
		eddy_process_lock_source(source, RowExclusiveLock);
		eddy_process_unlock_source(source, RowExclusiveLock);
	}
}

/*
 * eddy_definition_lock begins the work of a transaction on a source: locks stream and source, in
 * that order, pushes a snapshot and reads the definition.
 *
 * *stream is the open relation if the result is EDDY_CONTINUE, otherwise NULL.
 */
EddyOutcome
eddy_definition_lock(EddySourceWorker *worker, Relation *stream)
{
	EddyOutcome outcome;
	Oid			relid = worker->stream;

	*stream = NULL;
	watched_views = eddy_catalog_relid(EDDY_CATALOG_VIEW);
	if (!OidIsValid(watched_views))
		return EDDY_LEAVE;
	if (!OidIsValid(relid))
	{
		EddySource *source = eddy_catalog_get_source(worker->id.id);

		if (source == NULL)
			return EDDY_LEAVE;
		set_names(worker, source);
		relid = source->stream;
	}
	worker->stream = relid;
	watch_stream(relid);
	*stream = lock_both(worker->id.id, relid);
	if (*stream == NULL)
		return EDDY_LEAVE;

	/* taken after the locks: it sees the transactions that they have waited for */
	PushActiveSnapshot(GetTransactionSnapshot());
	outcome = eddy_definition_read(worker, *stream);
	if (outcome != EDDY_CONTINUE)
	{
		PopActiveSnapshot();
		table_close(*stream, NoLock);
		*stream = NULL;
	}
	return outcome;
}

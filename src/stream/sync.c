/*-------------------------------------------------------------------------
 *
 * sync.c
 *    Keeping the catalog of streams true after DDL by users.
 *
 * Called by the event triggers of the extension, in the transaction and with the rights of
 * whoever runs the DDL. What was dropped is forgotten; owners of segments
 * follow their stream; streams and segments that pg_dump restored get back what
 * a dump does not carry (segments that are in no catalog row, dependencies).
 *
 * Dropping one of our triggers alone would silently stop the views of the stream
 * from being maintained: it is refused, which undoes the DDL.
 *
 * All functions are idempotent and cheap when nothing has changed: they run
 * after every DDL command of the database. No locks are taken beyond
 * those on our own tables, except AccessExclusiveLock on a segment whose owner changes,
 * whose stream ALTER TABLE ... OWNER has locked already.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "stream/segment.h"
#include "stream/stream.h"
#include "view/owner.h"

/*
 * refuse_lost_trigger raises an error if the DDL that just ran has dropped one of our
 * triggers from a table that is a stream still. Works within a sql_drop event trigger only.
 */
static void
refuse_lost_trigger(void)
{
	SPI_connect();
	if (SPI_execute("SELECT address_names[1], address_names[2], address_names[3]"
					" FROM pg_catalog.pg_event_trigger_dropped_objects()"
					" WHERE classid OPERATOR(pg_catalog.=)"
					" 'pg_catalog.pg_trigger'::pg_catalog.regclass", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the dropped objects");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *schema = SPI_getvalue(row, desc, 1);
		char	   *table = SPI_getvalue(row, desc, 2);
		char	   *trigger = SPI_getvalue(row, desc, 3);
		Oid			namespace;
		Oid			relid;

		if (trigger == NULL || (strcmp(trigger, EDDY_STREAM_CAPTURE_TRIGGER) != 0 &&
								strcmp(trigger, EDDY_STREAM_REFUSE_TRIGGER) != 0))
			continue;
		namespace = get_namespace_oid(schema, true);
		relid = OidIsValid(namespace) ? get_relname_relid(table, namespace) : InvalidOid;
		if (OidIsValid(relid) && eddy_catalog_get_stream(relid))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot drop trigger \"%s\" of stream \"%s\"", trigger, table),
					 errdetail("The continuous views of the stream would silently miss rows."),
					 errhint("Drop the stream with eddy.drop_stream or DROP TABLE.")));
	}
	SPI_finish();
}

void
eddy_stream_cleanup_dropped(void)
{
	ListCell   *lc;

	if (!eddy_catalog_installed())
		return;
	foreach(lc, eddy_catalog_list_sources(InvalidOid))
	{
		EddySource *source = lfirst(lc);

		if (!OidIsValid(eddy_owner_of_relation(source->stream)))
			eddy_catalog_delete_source(source->source);
	}
	foreach(lc, eddy_catalog_list_segments(InvalidOid))
	{
		EddySegment *segment = lfirst(lc);

		if (!OidIsValid(eddy_owner_of_relation(segment->relid)))
			eddy_catalog_delete_segment(segment->relid);
	}
	foreach(lc, eddy_catalog_list_streams())
	{
		EddyStream *stream = lfirst(lc);

		if (!OidIsValid(eddy_owner_of_relation(stream->relid)))
			eddy_catalog_delete_stream(stream->relid);
	}
	refuse_lost_trigger();
}

/* Remakes the dependency on the event time column, which a dump does not carry. */
static void
sync_event_time(const EddyStream *stream)
{
	Oid			trigger;

	if (stream->event_time == NULL ||
		get_attnum(stream->relid, stream->event_time) == InvalidAttrNumber)
		return;
	trigger = get_trigger_oid(stream->relid, EDDY_STREAM_CAPTURE_TRIGGER, true);
	if (OidIsValid(trigger) &&
		!eddy_stream_depends(TriggerRelationId, trigger, stream->relid, true))
		eddy_stream_bind_event_time(stream->relid, stream->event_time);
}

/* A table of ours in schema eddy, that is not in the catalog: a restored dump's. */
static void
adopt_segment(Oid relid, Oid stream)
{
	EddySegment segment = {.relid = relid, .stream = stream};

	/* what is in it may be old, and is emptied in time */
	segment.opened_at = segment.closed_at = GetCurrentTimestamp();
	eddy_catalog_insert_segment(&segment);
}

static void
sync_segments(const EddyStream *stream, List *known)
{
	Oid			schema = eddy_catalog_schema();
	Oid			owner = eddy_owner_of_relation(stream->relid);
	ListCell   *lc;

	foreach(lc, find_inheritance_children(stream->relid, NoLock))
	{
		Oid			child = lfirst_oid(lc);
		Oid			child_owner = eddy_owner_of_relation(child);

		if (get_rel_namespace(child) != schema || !OidIsValid(child_owner))
			continue;
		if (!list_member_oid(known, child))
			adopt_segment(child, stream->relid);
		eddy_stream_bind_segment(child, stream->relid);
		if (child_owner != owner)
		{
			EddyOwnerSwitch save;

			eddy_owner_become_extension(&save);
			ATExecChangeOwner(child, owner, false, AccessExclusiveLock);
			CommandCounterIncrement();
			eddy_owner_end(&save);
		}
	}
}

void
eddy_stream_sync(void)
{
	List	   *streams;
	List	   *known = NIL;
	ListCell   *lc;

	if (eddy_stream_adding_segment() || !eddy_catalog_installed())
		return;
	streams = eddy_catalog_list_streams();
	if (streams == NIL)
		return;
	foreach(lc, eddy_catalog_list_segments(InvalidOid))
		known = lappend_oid(known, ((EddySegment *) lfirst(lc))->relid);
	foreach(lc, streams)
	{
		EddyStream *stream = lfirst(lc);

		if (!OidIsValid(eddy_owner_of_relation(stream->relid)))
			continue;
		sync_event_time(stream);
		sync_segments(stream, known);
	}
}

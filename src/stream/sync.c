/*-------------------------------------------------------------------------
 *
 * sync.c
 *    Updating the catalog of streams after DDL by users.
 *
 * Called after the commands that touched a stream (api/guard_stream.c), in the transaction and
 * with the rights of the session that executes the DDL. Dropped relations are deleted from the
 * catalog; segments get the owner of their stream; for streams and segments that pg_restore
 * created, the parts that a dump does not contain are recreated (catalog rows of segments,
 * dependencies).
 *
 * All functions are idempotent and read only the streams that they are given. No locks
 * are taken beyond those on our own tables, except AccessExclusiveLock on a segment whose owner
 * changes, whose stream ALTER TABLE ... OWNER has already locked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "owner.h"
#include "stream/segment.h"
#include "stream/stream.h"

static bool
exists(Oid relid)
{
	return OidIsValid(eddy_owner_of_relation(relid));
}

/*
 * eddy_stream_cleanup_dropped removes catalog rows of those of these streams (Oids) that were
 * dropped, with their segments and sources, and of segments that were dropped.
 */
void
eddy_stream_cleanup_dropped(const List *streams)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, streams)
	{
		Oid			relid = lfirst_oid(lc);

		foreach(lc2, eddy_catalog_list_segments(relid))
		{
			EddySegment *segment = lfirst(lc2);

			if (!exists(segment->relid))
				eddy_catalog_delete_segment(segment->relid);
		}
		if (exists(relid))
			continue;
		foreach(lc2, eddy_catalog_list_sources(relid))
			eddy_catalog_delete_source(((EddySource *) lfirst(lc2))->source);
		eddy_catalog_delete_user_partition(relid);
		eddy_catalog_delete_watermark(relid);
		eddy_catalog_delete_stream(relid);
	}
}

/* Recreates the dependency on the event time column, which a dump does not contain. */
static void
sync_event_time(const EddyStream *stream)
{
	Oid			trigger;

	if (stream->event_time == NULL ||
		get_attnum(stream->relid, stream->event_time) == InvalidAttrNumber)
		return;
	trigger = get_trigger_oid(stream->relid, EDDY_STREAM_CAPTURE_TRIGGER, true);
	if (OidIsValid(trigger) &&
		!eddy_catalog_depends(TriggerRelationId, trigger, stream->relid, true, DEPENDENCY_NORMAL))
		eddy_stream_bind_event_time(stream->relid, stream->event_time);
}

/* Registers a segment that was restored from a dump without its catalog row. */
static void
adopt_segment(Oid relid, Oid stream)
{
	EddySegment segment = {.relid = relid, .stream = stream, .state = EDDY_SEGMENT_CLOSED};

	/* as closed, so that it is emptied: its rows may be old */
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
		/* while none is known, a dump is being restored and its rows of _segment follow */
		if (known != NIL && !list_member_oid(known, child))
			adopt_segment(child, stream->relid);
		eddy_stream_bind_segment(child, stream->relid);
		if (child_owner != owner)
		{
			EddyOwnerSwitch save;

			eddy_owner_become(&save, eddy_catalog_extension_owner());
			eddy_stream_give_segment(child, owner);
			eddy_owner_end(&save);
		}
	}
}

/*
 * eddy_stream_sync gives the segments of a stream its owner and adopts segments restored by
 * pg_restore. Does nothing if the relation is not a stream.
 */
void
eddy_stream_sync(Oid relid)
{
	EddyStream *stream;
	List	   *known = NIL;
	ListCell   *lc;

	if (!exists(relid) || (stream = eddy_catalog_get_stream(relid)) == NULL)
		return;
	foreach(lc, eddy_catalog_list_segments(relid))
		known = lappend_oid(known, ((EddySegment *) lfirst(lc))->relid);
	sync_event_time(stream);
	sync_segments(stream, known);
}

/*-------------------------------------------------------------------------
 *
 * member.c
 *    Which relations of the database are streams, segments or parts of continuous views.
 *
 * Hooks need this for each statement that writes and after each command that changed a
 * relation, so it must cost no more than a look-up in a hash table. The table is read
 * from our catalog at the first use and again after a change of the catalog, which sends a
 * relcache invalidation of eddy._view (see eddy_catalog_invalidate). A trigger sends it after
 * changes by SQL, such as COPY by pg_restore.
 *
 * Locking: as for any reader, see table.c. Memory: one context below CacheMemoryContext,
 * replaced by the next reading. The table is not used after an invalidation, unless each of several
 * readings was invalidated while it ran.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "catalog/table.h"
#include "relcache_watch.h"

PG_FUNCTION_INFO_V1(eddy_catalog_changed);

#define MAX_READINGS 10			/* of the catalog: with debug_discard_caches none stays valid */

typedef struct Member
{
	Oid			relid;			/* hash key */
	EddyMember	member;
} Member;

static HTAB *members = NULL;
static MemoryContext members_context = NULL;
static bool valid = false;
static bool watching = false;
static Oid	watched = InvalidOid;	/* eddy._view when the table was read */

static void
at_relcache_change(Datum arg pg_attribute_unused(), Oid relid)
{
	if (relid == InvalidOid || relid == watched)
		valid = false;
}

static Member *
add_member(Oid relid, EddyMemberKind kind, Oid stream)
{
	Member	   *entry = hash_search(members, &relid, HASH_ENTER, NULL);

	entry->member.kind = kind;
	entry->member.stream = stream;
	entry->member.streams = NIL;
	entry->member.level = 0;
	entry->member.keeps_changes = false;
	return entry;
}

static const EddyView *
find_view(List *views, Oid relid)
{
	ListCell   *lc;

	foreach(lc, views)
		if (((EddyView *) lfirst(lc))->relid == relid)
			return lfirst(lc);
	return NULL;
}

/*
 * A view, after those that it reads: its streams are theirs. Views never read each other in a
 * circle.
 */
static const Member *
add_view(List *views, const EddyView *view)
{
	Member	   *entry = hash_search(members, &view->relid, HASH_FIND, NULL);
	EddyMember	member = {.kind = EDDY_MEMBER_VIEW, .keeps_changes = view->changes_log != 0};
	MemoryContext old;
	ListCell   *lc;

	if (entry)
		return entry;
	check_stack_depth();
	foreach(lc, view->streams)
	{
		const EddyView *source = find_view(views, lfirst_oid(lc));
		const EddyMember *read = source ? &add_view(views, source)->member : NULL;

		if (read)
		{
			member.streams = list_concat_unique_oid(member.streams, read->streams);
			member.level = Max(member.level, read->level + 1);
		}
		else
			member.streams = list_append_unique_oid(member.streams, lfirst_oid(lc));
		if (lfirst_oid(lc) == view->stream)
			member.stream = read ? read->stream : lfirst_oid(lc);
	}
	list_sort(member.streams, list_oid_cmp);
	old = MemoryContextSwitchTo(members_context);
	member.streams = list_copy(member.streams);
	MemoryContextSwitchTo(old);
	entry = hash_search(members, &view->relid, HASH_ENTER, NULL);
	entry->member = member;
	return entry;
}

/* The definition or a state table of a view. */
static void
add_view_part(Oid relid, const Member *view)
{
	Member	   *entry = hash_search(members, &relid, HASH_ENTER, NULL);

	entry->member = view->member;
	entry->member.keeps_changes = false;
}

/* Reads our catalog, with temporary data in a memory context of its own. */
static void
read_members(void)
{
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(Member)};
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy reading members",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(scratch);
	List	   *views;
	ListCell   *lc;

	if (members_context)
		MemoryContextDelete(members_context);
	members = NULL;
	members_context = AllocSetContextCreate(CacheMemoryContext, "pg_eddy members",
											ALLOCSET_SMALL_SIZES);
	control.hcxt = members_context;
	members = hash_create("pg_eddy members", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	foreach(lc, eddy_catalog_list_streams())
	{
		EddyStream *stream = lfirst(lc);

		add_member(stream->relid, EDDY_MEMBER_STREAM, stream->relid);
	}
	foreach(lc, eddy_catalog_list_all_segments())
	{
		EddySegment *segment = lfirst(lc);

		add_member(segment->relid, EDDY_MEMBER_SEGMENT, segment->stream);
	}
	views = eddy_catalog_list_all_views();
	foreach(lc, views)
	{
		EddyView   *view = lfirst(lc);
		const Member *entry = add_view(views, view);
		ListCell   *lt;

		add_view_part(view->definition, entry);
		foreach(lt, view->state_tables)
			add_view_part(lfirst_oid(lt), entry);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(scratch);
}

/* Makes the table valid; false if the extension is not installed. */
static bool
refresh(void)
{
	if (valid)
		return true;
	if (!OidIsValid(MyDatabaseId) || !IsTransactionState() || !eddy_catalog_installed())
		return false;
	if (!watching)
	{
		eddy_relcache_watch(at_relcache_change, (Datum) 0);
		watching = true;
	}
	/* again if the catalog was changed meanwhile; at some point the latest reading has to do */
	for (int i = 0; i < MAX_READINGS && !valid; i++)
	{
		watched = eddy_catalog_relid(EDDY_CATALOG_VIEW);
		valid = true;
		PG_TRY();
		{
			read_members();
		}
		PG_CATCH();
		{
			valid = false;
			PG_RE_THROW();
		}
		PG_END_TRY();
	}
	return true;
}

/*
 * A relation that was dropped in this command is known until its rows are deleted from our catalog.
 */
EddyMember
eddy_catalog_member(Oid relid)
{
	static const EddyMember none = {EDDY_MEMBER_NONE, InvalidOid, NIL, 0, false};
	Member	   *entry;

	if (!refresh())
		return none;
	entry = hash_search(members, &relid, HASH_FIND, NULL);
	return entry ? entry->member : none;
}

/*
 * eddy_catalog_is_segment is for DML, which must not fail in tables of all kinds when our catalog
 * is of another version. Batches, triggers of streams and DDL do fail then.
 */
bool
eddy_catalog_is_segment(Oid relid)
{
	if (!valid && !(eddy_catalog_table_matches(&eddy_catalog_stream_table) &&
					eddy_catalog_table_matches(&eddy_catalog_segment_table) &&
					eddy_catalog_table_matches(&eddy_catalog_view_table)))
		return false;
	return eddy_catalog_member(relid).kind == EDDY_MEMBER_SEGMENT;
}

bool
eddy_catalog_has_members(void)
{
	return refresh() && hash_get_num_entries(members) > 0;
}

Datum
eddy_catalog_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"eddy._catalog_changed\" can only be a trigger")));
	eddy_catalog_invalidate(InvalidOid);
	return PointerGetDatum(NULL);
}

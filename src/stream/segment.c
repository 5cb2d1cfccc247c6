/*-------------------------------------------------------------------------
 *
 * segment.c
 *    Staging segments as objects: creating them, their dependencies, dropping them.
 *
 * A segment is an UNLOGGED inheritance child of the user's table in schema eddy. Users do not have
 * CREATE there, so the extension's owner creates it and then changes its owner to the stream's
 * owner. Other roles have no privileges on it: they read it through the user's table, whose
 * privileges and policies apply. It is not a member of the extension (dropping the user's table
 * would try to drop the extension); instead it has an AUTO dependency on its parent in addition to
 * the NORMAL one of inheritance, so that DROP TABLE drops it as well.
 *
 * Autovacuum is off for segments: their rows are inserted once, never updated
 * and removed by emptying the whole segment, so a vacuum would not remove anything
 * and would conflict with the lock that emptying needs. Vacuum against
 * wraparound still runs.
 *
 * Locking: ShareUpdateExclusiveLock on eddy._segment while a name is chosen, so
 * that two sessions do not choose the same one. A crash leaves no partial state:
 * all changes are part of one transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "commands/tablespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "interval.h"
#include "owner.h"
#include "relation_acl.h"
#include "stream/segment.h"
#include "stream/stream.h"

/* A rotation costs two catalog updates and a truncation: not more often than this. */
#define SPAN_MIN (INT64CONST(10) * USECS_PER_SEC)

/* A counter, because adding a segment includes changing its owner. */
static int	altering = 0;

/* eddy_stream_execute runs one DDL command. All names in the text must be quoted. */
void
eddy_stream_execute(const char *command)
{
	int			result;

	SPI_connect();
	result = SPI_execute(command, false, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute gave %s", SPI_result_code_string(result));
	SPI_finish();
}

/*
 * All but one segment together cover the retention: with three, each is written
 * for half of it, and the oldest has expired when an empty one is needed.
 */
int64
eddy_stream_segment_span(const EddyStream *stream)
{
	int64		retention = eddy_interval_usec(&stream->retention);

	return Max(retention / (EDDY_STREAM_SEGMENTS - 1), SPAN_MIN);
}

bool
eddy_stream_altering_segment(void)
{
	return altering > 0;
}

/* eddy_stream_give_segment changes the owner. With the rights of the extension's owner. */
void
eddy_stream_give_segment(Oid segment, Oid owner)
{
	altering++;
	PG_TRY();
	{
		ATExecChangeOwner(segment, owner, false, AccessExclusiveLock);
		CommandCounterIncrement();
	}
	PG_FINALLY();
	{
		altering--;
	}
	PG_END_TRY();
}

/* eddy_stream_delete_segment drops an empty segment. With the rights of the extension's owner. */
void
eddy_stream_delete_segment(Oid segment)
{
	ObjectAddress object;

	altering++;
	PG_TRY();
	{
		ObjectAddressSet(object, RelationRelationId, segment);
		performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
		eddy_catalog_delete_segment(segment);
	}
	PG_FINALLY();
	{
		altering--;
	}
	PG_END_TRY();
}

void
eddy_stream_bind_segment(Oid segment, Oid stream)
{
	ObjectAddress child;
	ObjectAddress parent;

	if (eddy_catalog_depends(RelationRelationId, segment, stream, false, DEPENDENCY_AUTO))
		return;
	ObjectAddressSet(child, RelationRelationId, segment);
	ObjectAddressSet(parent, RelationRelationId, stream);
	recordDependencyOn(&child, &parent, DEPENDENCY_AUTO);
	CommandCounterIncrement();
}

/* Takes no lock that another session could wait for: several sessions can restore a dump. */
void
eddy_stream_bind_segments(void)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_all_segments())
	{
		EddySegment *segment = lfirst(lc);

		if (OidIsValid(eddy_owner_of_relation(segment->relid)) &&
			OidIsValid(eddy_owner_of_relation(segment->stream)))
			eddy_stream_bind_segment(segment->relid, segment->stream);
	}
}

/* The first free name of the form _<stream>_segment_<n> in schema eddy. */
static char *
choose_name(const char *stream_name)
{
	Oid			schema = eddy_catalog_schema();
	char	   *stem = psprintf("_%s", stream_name);

	for (int n = 1;; n++)
	{
		char		label[32];
		char	   *name;

		snprintf(label, sizeof(label), "segment_%d", n);
		name = makeObjectName(stem, label, NULL);
		if (!OidIsValid(get_relname_relid(name, schema)))
			return name;
		pfree(name);
	}
}

/* The command that creates a segment: in the tablespace of its parent, with access method heap. */
static char *
create_command(Relation parent, const char *segment_name)
{
	StringInfoData sql;
	Oid			tablespace = parent->rd_rel->reltablespace;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE UNLOGGED TABLE %s () INHERITS (%s) USING heap "
					 "WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false)",
					 quote_qualified_identifier(EDDY_SCHEMA, segment_name),
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(parent)),
												RelationGetRelationName(parent)));
	appendStringInfo(&sql, " TABLESPACE %s",
					 quote_identifier(OidIsValid(tablespace) ? get_tablespace_name(tablespace) :
									  get_tablespace_name(MyDatabaseTableSpace)));
	return sql.data;
}

/*
 * The command names the parent, whose lock does not keep its schema from being renamed: the segment
 * must not become a child of another table.
 */
static void
check_new_segment(Oid segment, Relation parent)
{
	const char *problem = eddy_stream_check_segment(segment, parent);

	if (problem)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("segment \"%s\" does not match stream \"%s\"", get_rel_name(segment),
						RelationGetRelationName(parent)),
				 errdetail_internal("%s", problem),
				 errhint("If a schema was renamed concurrently, repeat the command.")));
}

/*
 * eddy_stream_add_segment creates one more empty segment of a stream and registers it. The caller
 * holds ShareUpdateExclusiveLock or more on the stream.
 */
void
eddy_stream_add_segment(Oid stream)
{
	EddySegment segment = {.stream = stream};
	EddyOwnerSwitch save;
	Relation	parent;
	char	   *name;

	eddy_owner_become(&save, eddy_catalog_extension_owner());
	LockRelationOid(eddy_catalog_relid(EDDY_CATALOG_SEGMENT), ShareUpdateExclusiveLock);
	parent = table_open(stream, ShareUpdateExclusiveLock);
	name = choose_name(RelationGetRelationName(parent));

	altering++;
	PG_TRY();
	{
		eddy_stream_execute(create_command(parent, name));
		segment.relid = get_relname_relid(name, eddy_catalog_schema());
		check_new_segment(segment.relid, parent);
		eddy_acl_reset(segment.relid);
		eddy_stream_give_segment(segment.relid, parent->rd_rel->relowner);
		eddy_stream_bind_segment(segment.relid, stream);
		eddy_catalog_insert_segment(&segment);
	}
	PG_FINALLY();
	{
		altering--;
	}
	PG_END_TRY();

	table_close(parent, NoLock);
	eddy_owner_end(&save);
}

/*-------------------------------------------------------------------------
 *
 * register.c
 *    Registering a table as a stream, and dropping it.
 *
 * A stream is the user's own UNLOGGED table plus a row of eddy._stream, three triggers and some
 * staging segments. The statement triggers are ENABLE ALWAYS, so that session_replication_role
 * does not bypass them. Apply workers of subscriptions fire only row triggers; the third one
 * is ENABLE REPLICA, so that it has no cost for other sessions:
 *
 *   pg_eddy_capture        AFTER INSERT, gives the new rows to the continuous views
 *   pg_eddy_refuse         BEFORE UPDATE OR DELETE, refuses
 *   pg_eddy_refuse_apply   AFTER any change of a row, refuses apply workers
 *
 * The capture trigger depends on the event time column, so that the server refuses to drop the
 * column or to change its type.
 *
 * Locking: ShareRowExclusiveLock on the table, which CREATE TRIGGER takes as well: no rows
 * are written until the registration has committed. Registration is one transaction, so creation
 * is atomic. AccessExclusiveLock to alter a stream, as for most forms of ALTER TABLE.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "argument.h"
#include "compat.h"
#include "interval.h"
#include "owner.h"
#include "stream/segment.h"
#include "stream/stream.h"

/* The first one is the default. */
static const char *const null_policies[] = {"dead_letter", "skip_watermark", "stop", NULL};

/* As in the install script: 5 minutes. */
#define DEFAULT_MAX_FUTURE_SKEW (INT64CONST(5) * SECS_PER_MINUTE * USECS_PER_SEC)

/* The quoted name of a relation. */
static char *
qualified_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

static void
check_owner(Oid relid)
{
	char		relkind = get_rel_relkind(relid);

	if (relkind == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (!eddy_compat_class_ownercheck(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(relkind), get_rel_name(relid));
}

/* eddy_stream_check_owner raises an error unless relid is a stream owned by the current user. */
EddyStream *
eddy_stream_check_owner(Oid relid)
{
	EddyStream *stream;

	check_owner(relid);
	stream = eddy_catalog_get_stream(relid);
	if (stream == NULL)
	{
		bool		is_view = eddy_catalog_get_view(relid) != NULL;

		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a stream", get_rel_name(relid)),
				 is_view ? errdetail("It is a continuous view over stream \"%s\".",
									 get_rel_name(linitial_oid(eddy_catalog_root_streams(relid)))) : 0,
				 get_rel_relkind(relid) == RELKIND_RELATION ?
				 errhint("Register the table with eddy.create_stream.") : 0));
	}
	return stream;
}

/* The table must be one whose rows can be staged, kept and removed. */
static void
check_table(Relation rel)
{
	const char *name = RelationGetRelationName(rel);
	EddyShapeProblem problem;

	if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relispartition)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot make \"%s\" a stream", name),
				 rel->rd_rel->relispartition ?
				 errdetail("It is a partition.") :
				 errdetail_relkind_not_supported(rel->rd_rel->relkind),
				 errhint("Use a plain table created with CREATE UNLOGGED TABLE.")));
	if (IsSystemRelation(rel) || RelationGetNamespace(rel) == eddy_catalog_schema())
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot make \"%s\" a stream", name),
				 errdetail("It is a system table or belongs to pg_eddy.")));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot make temporary table \"%s\" a stream", name),
				 errdetail("Background workers cannot write to temporary tables."),
				 errhint("Use CREATE UNLOGGED TABLE.")));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot make logged table \"%s\" a stream", name),
				 errdetail("The rows of a stream are a cache that is not written to the WAL."),
				 errhint("Use CREATE UNLOGGED TABLE, or run ALTER TABLE %s SET UNLOGGED first.",
						 qualified_name(RelationGetRelid(rel)))));
	if (!eddy_stream_check_shape(rel, &problem))
		ereport(ERROR,
				(errcode(problem.sqlerrcode),
				 errmsg("cannot make \"%s\" a stream", name),
				 errdetail_internal("%s", problem.detail),
				 problem.hint ? errhint("%s", problem.hint) : 0));
	/*
	 * not has_subclass: relhassubclass remains set when the children, such as segments, are dropped
	 */
	if (find_inheritance_children(RelationGetRelid(rel), NoLock) != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot make \"%s\" a stream", name),
				 errdetail("It is part of an inheritance hierarchy."),
				 errhint("Use a table without parents and children.")));
}

/* True for a column that can be the event time. */
static bool
is_event_time(Form_pg_attribute att)
{
	Oid			type = att->attisdropped ? InvalidOid : getBaseType(att->atttypid);

	return type == TIMESTAMPTZOID || type == TIMESTAMPOID;
}

static void
check_event_time(Relation rel, const char *event_time)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);
	const char **names = eddy_argument_columns(tupdesc);
	const char *closest;

	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (att->attisdropped || strcmp(NameStr(att->attname), event_time) != 0)
			continue;
		if (!is_event_time(att))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" cannot be the event time", event_time),
					 errdetail("Its type is %s.", format_type_be(att->atttypid)),
					 errhint("Use a column of type timestamp with time zone or timestamp.")));
		return;
	}
	closest = eddy_argument_closest(event_time, names);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of table \"%s\" does not exist", event_time,
					RelationGetRelationName(rel)),
			 names[0] ? errdetail("Columns of the table are %s.", eddy_argument_list(names)) :
			 errdetail("The table has no columns."),
			 closest ? errhint("Perhaps you meant the column \"%s\".", closest) : 0));
}

/* The name of an argument that only concerns event times, if it does not have its default. */
static const char *
get_event_time_argument(const EddyStream *stream)
{
	if (eddy_interval_usec(&stream->delay) != 0)
		return "delay";
	if (eddy_interval_usec(&stream->max_future_skew) != DEFAULT_MAX_FUTURE_SKEW)
		return "max_future_skew";
	if (strcmp(stream->null_event_time, null_policies[0]) != 0)
		return "null_event_time";
	if (stream->auto_advance)
		return "auto_advance";
	return NULL;
}

/* Without event time, arguments about it must have their defaults: others have no effect. */
static void
check_no_event_time(Relation rel, const EddyStream *stream)
{
	const char *argument = get_event_time_argument(stream);
	TupleDesc	tupdesc = RelationGetDescr(rel);
	const char *column = NULL;

	if (argument == NULL)
		return;
	for (int i = 0; i < tupdesc->natts && column == NULL; i++)
		if (is_event_time(TupleDescAttr(tupdesc, i)))
			column = NameStr(TupleDescAttr(tupdesc, i)->attname);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("argument \"%s\" requires argument \"event_time\"", argument),
			 errdetail("It has no effect on a stream without event time."),
			 column ? errhint("Specify the event time, as in event_time => %s.", quote_literal_cstr(column)) :
			 errhint("Add a column of type timestamp with time zone to the table, and specify it as the event time.")));
}

static bool
has_trigger(Relation rel, const char *name, char enabled)
{
	const TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
		if (strcmp(triggers->triggers[i].tgname, name) == 0)
			return triggers->triggers[i].tgenabled == enabled;
	return false;
}

/*
 * The commands name the table, whose lock does not keep its schema from being renamed: another
 * table must not get the triggers, nor this one remain without.
 */
static void
check_triggers(Oid relid)
{
	Relation	rel = relation_open(relid, NoLock);

	if (!has_trigger(rel, EDDY_STREAM_CAPTURE_TRIGGER, TRIGGER_FIRES_ALWAYS) ||
		!has_trigger(rel, EDDY_STREAM_REFUSE_TRIGGER, TRIGGER_FIRES_ALWAYS) ||
		!has_trigger(rel, EDDY_STREAM_APPLY_TRIGGER, TRIGGER_FIRES_ON_REPLICA))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot make \"%s\" a stream", RelationGetRelationName(rel)),
				 errdetail("Its schema was renamed concurrently."),
				 errhint("Register the table again.")));
	relation_close(rel, NoLock);
}

/*
 * Creates the triggers with the rights of the extension's owner: only it may use their functions.
 */
static void
create_triggers(Oid relid, const char *event_time)
{
	const char *table = qualified_name(relid);
	EddyOwnerSwitch save;

	eddy_owner_become(&save, eddy_catalog_extension_owner());
	eddy_stream_execute(psprintf("CREATE TRIGGER " EDDY_STREAM_CAPTURE_TRIGGER
								 " AFTER INSERT ON %s REFERENCING NEW TABLE AS eddy_new_rows"
								 " FOR EACH STATEMENT EXECUTE FUNCTION eddy._capture()", table));
	eddy_stream_execute(psprintf("CREATE TRIGGER " EDDY_STREAM_REFUSE_TRIGGER
								 " BEFORE UPDATE OR DELETE ON %s"
								 " FOR EACH STATEMENT EXECUTE FUNCTION eddy._refuse_change()",
								 table));
	eddy_stream_execute(psprintf("CREATE TRIGGER " EDDY_STREAM_APPLY_TRIGGER
								 " AFTER INSERT OR UPDATE OR DELETE ON %s"
								 " FOR EACH ROW EXECUTE FUNCTION eddy._refuse_apply()", table));
	eddy_stream_execute(psprintf("ALTER TABLE ONLY %s"
								 " ENABLE ALWAYS TRIGGER " EDDY_STREAM_CAPTURE_TRIGGER
								 ", ENABLE ALWAYS TRIGGER " EDDY_STREAM_REFUSE_TRIGGER
								 ", ENABLE REPLICA TRIGGER " EDDY_STREAM_APPLY_TRIGGER, table));
	eddy_owner_end(&save);
	check_triggers(relid);

	if (event_time)
		eddy_stream_bind_event_time(relid, event_time);
}

void
eddy_stream_bind_event_time(Oid relid, const char *event_time)
{
	ObjectAddress trigger;
	ObjectAddress column;

	ObjectAddressSet(trigger, TriggerRelationId,
					 get_trigger_oid(relid, EDDY_STREAM_CAPTURE_TRIGGER, false));
	ObjectAddressSubSet(column, RelationRelationId, relid, get_attnum(relid, event_time));
	recordDependencyOn(&trigger, &column, DEPENDENCY_NORMAL);
	CommandCounterIncrement();
}

/* Checks the properties of a stream that do not depend on its table. */
static void
check_properties(const EddyStream *stream)
{
	eddy_argument_check_interval("delay", &stream->delay);
	eddy_argument_check_interval("retention", &stream->retention);
	eddy_argument_check_interval("idle_timeout", &stream->idle_timeout);
	eddy_argument_check_interval("max_future_skew", &stream->max_future_skew);
	(void) eddy_argument_choice("argument", "null_event_time", stream->null_event_time,
								null_policies);
	if (stream->auto_advance && eddy_interval_usec(&stream->idle_timeout) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("auto_advance requires an \"idle_timeout\" greater than zero"),
				 errdetail("The watermark follows the clock after there were no rows for this time.")));
}

/* Adds the segments of a stream that has none, if it stores rows. */
static void
add_segments(const EddyStream *stream)
{
	if (eddy_interval_usec(&stream->retention) <= 0)
		return;
	for (int i = 0; i < EDDY_STREAM_SEGMENTS; i++)
		eddy_stream_add_segment(stream->relid);
}

/* eddy_stream_create registers a table with these properties, after checking both. */
void
eddy_stream_create(const EddyStream *stream)
{
	EddyWatermark watermark = {
		.stream = stream->relid,
		.raised = DT_NOBEGIN,
		.idle_user_rows = -1
	};
	Relation	rel;

	/* before the lock: a role that does not own the table must not be able to block it */
	check_owner(stream->relid);
	check_properties(stream);

	rel = relation_open(stream->relid, ShareRowExclusiveLock);
	check_owner(stream->relid);
	if (eddy_catalog_get_stream(stream->relid))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" is already a stream", RelationGetRelationName(rel)),
				 errhint("Change its properties with eddy.alter_stream. To change its event time column, drop the stream.")));
	check_table(rel);
	if (stream->event_time)
		check_event_time(rel, stream->event_time);
	else
		check_no_event_time(rel, stream);
	eddy_stream_check_staged_columns(rel, stream->staged_columns);
	CheckTableNotInUse(rel, "eddy.create_stream");
	relation_close(rel, NoLock);	/* DDL refuses tables that are open */

	create_triggers(stream->relid, stream->event_time);
	eddy_catalog_insert_stream(stream);
	eddy_catalog_raise_watermark(&watermark);
	add_segments(stream);
}

/* eddy_stream_lock_to_alter returns the properties of a stream, which nothing uses from then on. */
EddyStream *
eddy_stream_lock_to_alter(Oid relid)
{
	EddyStream *stream;
	Relation	rel;

	(void) eddy_stream_check_owner(relid);
	rel = table_open(relid, AccessExclusiveLock);
	stream = eddy_stream_check_owner(relid);	/* as it is now that the lock is held */
	CheckTableNotInUse(rel, "eddy.alter_stream");
	table_close(rel, NoLock);
	return stream;
}

/*
 * eddy_stream_alter stores changed properties of a stream, after eddy_stream_lock_to_alter: a view
 * that is being filled must find the rows that it expects, and a statement must not judge its rows by
 * different properties. Segments of a stream that stores no more rows are dropped by housekeeping. The watermark
 * does not decrease, because that of the last batch is stored.
 */
void
eddy_stream_alter(const EddyStream *stream)
{
	const char *argument = stream->event_time ? NULL : get_event_time_argument(stream);

	check_properties(stream);
	if (argument)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" requires argument \"event_time\"", argument),
				 errdetail("It has no effect on a stream without event time."),
				 errhint("Drop the stream, and create it again with an event time.")));
	eddy_catalog_update_stream(stream);
	if (eddy_catalog_list_segments(stream->relid) == NIL)
		add_segments(stream);
}

/* eddy_stream_drop drops the table as DROP TABLE ... RESTRICT does. */
void
eddy_stream_drop(Oid relid)
{
	eddy_stream_check_owner(relid);
	/* so that the table keeps its name; its schema may not */
	LockRelationOid(relid, AccessExclusiveLock);
	eddy_stream_check_owner(relid);
	eddy_stream_execute(psprintf("DROP TABLE %s", qualified_name(relid)));
	CommandCounterIncrement();
	if (get_rel_relkind(relid) != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot drop stream \"%s\"", get_rel_name(relid)),
				 errdetail("Its schema was renamed concurrently."),
				 errhint("Repeat the command.")));
}

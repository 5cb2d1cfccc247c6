/*-------------------------------------------------------------------------
 *
 * stream_triggers.c
 *    The triggers of a stream.
 *
 * eddy_capture hands the rows that a statement has added to src/apply. The other two refuse what
 * views could not follow: UPDATE and DELETE, and rows that a subscription writes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "replication/logicalworker.h"
#include "utils/rel.h"

#include "apply/apply.h"

PG_FUNCTION_INFO_V1(eddy_capture);
PG_FUNCTION_INFO_V1(eddy_refuse_change);
PG_FUNCTION_INFO_V1(eddy_refuse_apply);

static void
refuse_call(const char *function)
{
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("function \"eddy.%s\" can only be the trigger of a stream", function),
			 errhint("Use eddy.create_stream.")));
}

/*
 * eddy_capture runs once per statement, after it, whatever path the rows took: INSERT, COPY,
 * MERGE, modifying CTEs.
 */
Datum
eddy_capture(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) || trigger->tg_newtable == NULL)
		refuse_call("_capture");
	if (tuplestore_tuple_count(trigger->tg_newtable) > 0)
		eddy_statement_add(trigger->tg_relation, trigger->tg_newtable);
	return PointerGetDatum(NULL);
}

Datum
eddy_refuse_change(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const char *name;
	bool		update;

	if (!CALLED_AS_TRIGGER(fcinfo))
		refuse_call("_refuse_change");
	name = RelationGetRelationName(trigger->tg_relation);
	update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 update ? errmsg("cannot update rows of stream \"%s\"", name) :
			 errmsg("cannot delete rows of stream \"%s\"", name),
			 errdetail("The rows of a stream are events that its continuous views have counted."),
			 update ? errhint("Insert a new row instead.") :
			 errhint("Rows are removed after the retention period; TRUNCATE empties the stream, "
					 "not its views.")));
	return PointerGetDatum(NULL);
}

/*
 * eddy_refuse_apply keeps apply and table synchronization workers from writing rows that no view
 * would see. It also fires in sessions that have set session_replication_role, which may write.
 */
Datum
eddy_refuse_apply(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		refuse_call("_refuse_apply");
	if (IsLogicalWorker())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replicate into stream \"%s\"",
						RelationGetRelationName(trigger->tg_relation)),
				 errdetail("Its continuous views cannot see the rows that a subscription writes."),
				 errhint("Remove the table from the publication.")));
	return PointerGetDatum(NULL);
}

/*-------------------------------------------------------------------------
 *
 * stream_functions.c
 *    SQL-callable functions about streams.
 *
 * They read the arguments and call src/stream.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "apply/apply.h"
#include "argument.h"
#include "catalog/eddy_catalog.h"
#include "interval.h"
#include "stream/stream.h"
#include "view/view.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(eddy_create_stream);
PG_FUNCTION_INFO_V1(eddy_alter_stream);
PG_FUNCTION_INFO_V1(eddy_drop_stream);
PG_FUNCTION_INFO_V1(eddy_set_staged_columns);
PG_FUNCTION_INFO_V1(eddy_omitted_columns);
PG_FUNCTION_INFO_V1(eddy_watermark);
PG_FUNCTION_INFO_V1(eddy_advance_watermark);
PG_FUNCTION_INFO_V1(eddy_event_time_less);

/* Arguments of eddy.create_stream, as in the install script. */
enum
{
	ARG_RELATION,
	ARG_EVENT_TIME,
	ARG_DELAY,
	ARG_RETENTION,
	ARG_IDLE_TIMEOUT,
	ARG_MAX_FUTURE_SKEW,
	ARG_NULL_EVENT_TIME,
	ARG_AUTO_ADVANCE,
	ARG_STAGED_COLUMNS,
	ARG_COUNT
};

/* The arguments that must not be null: all but event_time and staged_columns. */
static const char *const argument_names[ARG_COUNT] = {
	[ARG_RELATION] = "relation",
	[ARG_DELAY] = "delay",
	[ARG_RETENTION] = "retention",
	[ARG_IDLE_TIMEOUT] = "idle_timeout",
	[ARG_MAX_FUTURE_SKEW] = "max_future_skew",
	[ARG_NULL_EVENT_TIME] = "null_event_time",
	[ARG_AUTO_ADVANCE] = "auto_advance"
};

/* The names in argument staged_columns, which is not null: List of char *. */
static List *
get_names(ArrayType *array)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	List	   *names = NIL;

	deconstruct_array(array, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"staged_columns\" must not contain null")));
		names = eddy_catalog_add_name(names, NameStr(*DatumGetName(elements[i])));
	}
	return names;
}

Datum
eddy_create_stream(PG_FUNCTION_ARGS)
{
	EddyStream	stream = {0};

	PreventCommandIfReadOnly("eddy.create_stream()");
	eddy_argument_check_not_null(fcinfo, argument_names, ARG_COUNT);
	stream.relid = PG_GETARG_OID(ARG_RELATION);
	if (!PG_ARGISNULL(ARG_EVENT_TIME))
		stream.event_time = NameStr(*PG_GETARG_NAME(ARG_EVENT_TIME));
	stream.delay = *PG_GETARG_INTERVAL_P(ARG_DELAY);
	stream.retention = *PG_GETARG_INTERVAL_P(ARG_RETENTION);
	stream.idle_timeout = *PG_GETARG_INTERVAL_P(ARG_IDLE_TIMEOUT);
	stream.max_future_skew = *PG_GETARG_INTERVAL_P(ARG_MAX_FUTURE_SKEW);
	stream.null_event_time = text_to_cstring(PG_GETARG_TEXT_PP(ARG_NULL_EVENT_TIME));
	stream.auto_advance = PG_GETARG_BOOL(ARG_AUTO_ADVANCE);
	/* the extension may be older than the library */
	stream.omits = PG_NARGS() > ARG_STAGED_COLUMNS && !PG_ARGISNULL(ARG_STAGED_COLUMNS);
	if (stream.omits)
		stream.staged_columns = get_names(PG_GETARG_ARRAYTYPE_P(ARG_STAGED_COLUMNS));

	eddy_stream_create(&stream);
	/* the table may have been a stream before */
	eddy_watermark_distrust();
	eddy_worker_wakeup_at_commit();
	PG_RETURN_VOID();
}

/* An expression of another role must not change a stream of the owner who evaluates it. */
static void
refuse_restricted_alter(void)
{
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot alter a stream within security-restricted operation")));
}

/* Arguments of eddy.alter_stream, as in the install script. */
enum
{
	ALTER_STREAM,
	ALTER_DELAY,
	ALTER_RETENTION,
	ALTER_IDLE_TIMEOUT,
	ALTER_MAX_FUTURE_SKEW,
	ALTER_NULL_EVENT_TIME,
	ALTER_AUTO_ADVANCE
};

/* eddy_alter_stream(regclass, ...) changes the properties whose arguments are not null. */
Datum
eddy_alter_stream(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"stream"};
	EddyStream *stream;

	PreventCommandIfReadOnly("eddy.alter_stream()");
	eddy_argument_check_not_null(fcinfo, names, lengthof(names));
	refuse_restricted_alter();
	stream = eddy_stream_lock_to_alter(PG_GETARG_OID(ALTER_STREAM));
	if (!PG_ARGISNULL(ALTER_DELAY))
		stream->delay = *PG_GETARG_INTERVAL_P(ALTER_DELAY);
	if (!PG_ARGISNULL(ALTER_RETENTION))
		stream->retention = *PG_GETARG_INTERVAL_P(ALTER_RETENTION);
	if (!PG_ARGISNULL(ALTER_IDLE_TIMEOUT))
		stream->idle_timeout = *PG_GETARG_INTERVAL_P(ALTER_IDLE_TIMEOUT);
	if (!PG_ARGISNULL(ALTER_MAX_FUTURE_SKEW))
		stream->max_future_skew = *PG_GETARG_INTERVAL_P(ALTER_MAX_FUTURE_SKEW);
	if (!PG_ARGISNULL(ALTER_NULL_EVENT_TIME))
		stream->null_event_time = text_to_cstring(PG_GETARG_TEXT_PP(ALTER_NULL_EVENT_TIME));
	if (!PG_ARGISNULL(ALTER_AUTO_ADVANCE))
		stream->auto_advance = PG_GETARG_BOOL(ALTER_AUTO_ADVANCE);
	eddy_stream_alter(stream);
	eddy_worker_wakeup_at_commit();
	PG_RETURN_VOID();
}

Datum
eddy_drop_stream(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("eddy.drop_stream()");
	eddy_stream_drop(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}

/* eddy_set_staged_columns(regclass, name[]); NULL: all columns are stored. */
Datum
eddy_set_staged_columns(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"stream", NULL};
	bool		omits = !PG_ARGISNULL(1);

	PreventCommandIfReadOnly("eddy.set_staged_columns()");
	eddy_argument_check_not_null(fcinfo, names, lengthof(names));
	refuse_restricted_alter();
	eddy_stream_stage_columns(PG_GETARG_OID(0), omits,
							  omits ? get_names(PG_GETARG_ARRAYTYPE_P(1)) : NIL);
	PG_RETURN_VOID();
}

/*
 * eddy_omitted_columns(regclass), for eddy.streams: NULL if the stream stores all columns, or does
 * not exist. Without a lock, as that would wait for DDL.
 */
Datum
eddy_omitted_columns(PG_FUNCTION_ARGS)
{
	EddyStream *stream = eddy_catalog_get_stream(PG_GETARG_OID(0));
	Relation	rel = stream && stream->omits ? RelationIdGetRelation(stream->relid) : NULL;
	Bitmapset  *omitted;
	int			attnum = -1;
	int			count = 0;
	Datum	   *names;
	ArrayType  *array;

	if (rel == NULL)
		PG_RETURN_NULL();
	omitted = eddy_stream_omitted_columns(stream, rel, NULL);
	names = palloc(sizeof(Datum) * Max(RelationGetNumberOfAttributes(rel), 1));
	while ((attnum = bms_next_member(omitted, attnum)) >= 0)
		names[count++] = NameGetDatum(&TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attname);
	array = construct_array(names, count, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR);
	RelationClose(rel);
	PG_RETURN_ARRAYTYPE_P(array);
}

/*
 * eddy_watermark returns the watermark of a stream, or of that of a view; NULL if it has none yet.
 */
Datum
eddy_watermark(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	List	   *streams = eddy_catalog_root_streams(relid);
	EddyStream *stream = eddy_catalog_get_stream(linitial_oid(streams));
	TimestampTz watermark;

	if (stream == NULL)
	{
		const char *name = get_rel_name(relid);

		if (name == NULL)		/* dropped concurrently: eddy.streams must not fail */
			PG_RETURN_NULL();
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a stream", name),
				 errhint("Only streams and continuous views have a watermark.")));
	}
	watermark = list_length(streams) > 1 ?
		eddy_watermark_of_union(eddy_catalog_root_view(relid), streams) :
		eddy_watermark_get(stream);
	if (TIMESTAMP_IS_NOBEGIN(watermark))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(watermark);
}

/*
 * eddy_advance_watermark(regclass, timestamptz) closes what the watermark passes when the
 * transaction commits, as far as eddy_close_at_commit can; the database worker closes the rest. An
 * infinite watermark could never be passed by a row.
 */
Datum
eddy_advance_watermark(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	TimestampTz until = PG_GETARG_TIMESTAMPTZ(1);
	EddyStream *stream = eddy_stream_check_owner(relid);
	Relation	rel;
	TimestampTz watermark;

	if (TIMESTAMP_NOT_FINITE(until))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("watermark cannot be infinite")));
	PreventCommandIfReadOnly("eddy.advance_watermark()");
	if (InSecurityRestrictedOperation() || eddy_view_maintaining())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot advance the watermark of stream \"%s\" while a continuous view is maintained",
						get_rel_name(relid)),
				 errdetail("A function that is called for the maintenance has tried to.")));

	rel = table_open(relid, RowExclusiveLock);
	stream = eddy_stream_check_owner(relid);	/* as it is now that the lock is held */
	(void) eddy_watermark_raise(stream, until, -1, true);
	watermark = eddy_watermark_get(stream);
	table_close(rel, NoLock);
	PG_RETURN_TIMESTAMPTZ(watermark);
}

/* The watermark of a partition: eddy_event_time_less(timestamptz, interval) never fails. */
Datum
eddy_event_time_less(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(eddy_watermark_of_event_time(PG_GETARG_TIMESTAMPTZ(0),
													   PG_GETARG_INTERVAL_P(1)));
}

/*-------------------------------------------------------------------------
 *
 * event_time.c
 *    Event times of the rows of a batch.
 *
 * One pass over the accepted rows finds the latest event time of each partition, and the rows whose
 * event time is NULL, which are rejected, accepted or an error as the stream says. Event times
 * further ahead of the clock than max_future_skew are only counted; infinite ones have no effect.
 * A timestamp without time zone is taken as UTC. Streams without an event time cost nothing.
 *
 * No locks. Memory: batch.mcxt.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "apply/steps.h"
#include "interval.h"

static EddyNullEventTime
parse_null_policy(const char *policy)
{
	if (strcmp(policy, "skip_watermark") == 0)
		return EDDY_NULL_EVENT_TIME_SKIP_WATERMARK;
	if (strcmp(policy, "stop") == 0)
		return EDDY_NULL_EVENT_TIME_STOP;
	return EDDY_NULL_EVENT_TIME_DEAD_LETTER;
}

/* A column that does not exist, or is not a timestamp any more, is no event time. */
EddyEventTime
eddy_event_time_resolve(const EddyStream *stream, TupleDesc tupdesc)
{
	EddyEventTime result = {
		.on_null = parse_null_policy(stream->null_event_time),
		.max_future_skew = eddy_interval_usec(&stream->max_future_skew)
	};

	if (stream->event_time == NULL)
		return result;
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);
		Oid			type;

		if (att->attisdropped || strcmp(NameStr(att->attname), stream->event_time) != 0)
			continue;
		type = getBaseType(att->atttypid);
		if (type != TIMESTAMPTZOID && type != TIMESTAMPOID)
			break;
		result.attnum = att->attnum;
		result.column = stream->event_time;
	}
	return result;
}

/* A row has no event time. */
static void
take_null(EddyApply *apply, int64 row)
{
	const EddyEventTime *event_time = apply->event_time;
	bool		stops = (event_time->on_null == EDDY_NULL_EVENT_TIME_STOP);
	char		message[NAMEDATALEN + 64];

	if (event_time->on_null == EDDY_NULL_EVENT_TIME_SKIP_WATERMARK)
		return;
	if (stops && !apply->input->can_stop)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("null value in event time column \"%s\" of stream \"%s\"",
						event_time->column, get_rel_name(apply->batch.stream)),
				 errdetail("The stream was created with null_event_time => 'stop'.")));
	snprintf(message, sizeof(message), "null value in event time column \"%s\"",
			 event_time->column);
	eddy_reject_row(apply, row, ERRCODE_NULL_VALUE_NOT_ALLOWED, message, stops);
}

static inline void
take_value(EddyRowCounts *counts, Datum value, TimestampTz latest)
{
	TimestampTz time = DatumGetTimestampTz(value);

	if (time <= counts->max_event_time || TIMESTAMP_NOT_FINITE(time))
		return;
	if (time <= latest)
		counts->max_event_time = time;
	else
		counts->ahead++;
}

static void
take_array(EddyApply *apply, TimestampTz latest)
{
	EddyBatch  *batch = &apply->batch;
	AttrNumber	attnum = apply->event_time->attnum;
	const Datum *value = batch->values + attnum - 1;
	const bool *isnull = batch->nulls + attnum - 1;

	/* the end can change underway: a row that stops the batch */
	for (int64 row = 0; row < batch->nrows; row++)
	{
		if (batch->rejected && batch->rejected[row])
			 /* nothing to take */ ;
		else if (*isnull)
			take_null(apply, row);
		else
			take_value(&apply->counts[apply->partitions ? apply->partitions[row] : 0], *value,
					   latest);
		value += batch->natts;
		isnull += batch->natts;
	}
}

static void
take_store(EddyApply *apply, TimestampTz latest)
{
	EddyBatch  *batch = &apply->batch;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(batch->tupdesc, &TTSOpsMinimalTuple);

	eddy_apply_rewind(batch);
	for (int64 row = 0; eddy_batch_next_stored(batch, slot); row++)
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, apply->event_time->attnum, &isnull);

		CHECK_FOR_INTERRUPTS();
		if (isnull)
			take_null(apply, row);
		else
			take_value(&apply->counts[0], value, latest);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* True if the times of the rows are known, and none of them needs anything but to be taken. */
static bool
take_known(EddyApply *apply, TimestampTz latest)
{
	const EddyCopyTimes *times = apply->times;

	if (times == NULL || times->attnum != apply->event_time->attnum || times->has_null ||
		times->max > latest)
		return false;
	apply->counts[0].max_event_time = times->max;
	return true;
}

void
eddy_event_time_take(EddyApply *apply)
{
	TimestampTz latest;

	if (apply->event_time->attnum == 0)
		return;
	latest = GetCurrentTimestamp() + apply->event_time->max_future_skew;
	if (take_known(apply, latest))
		return;
	if (apply->batch.store)
		take_store(apply, latest);
	else
		take_array(apply, latest);
}

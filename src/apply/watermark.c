/*-------------------------------------------------------------------------
 *
 * watermark.c
 *    The watermark of a stream.
 *
 * The watermark of a partition is the latest event time seen in it, minus the delay of the stream;
 * that of a stream is the minimum over its live partitions, and at least what eddy._watermark says.
 * It is not stored: it follows from rows that each batch writes anyway.
 *
 * No locks beyond those of reading. Memory: the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "apply/apply.h"
#include "interval.h"

/*
 * eddy_watermark_of_event_time returns an event time minus a delay, with days of 24 hours in every
 * time zone; -infinity instead of a result before the earliest timestamp.
 */
TimestampTz
eddy_watermark_of_event_time(TimestampTz time, const Interval *delay)
{
	int64		usec = eddy_interval_usec(delay);

	if (TIMESTAMP_NOT_FINITE(time))
		return time;
	return time < MIN_TIMESTAMP + usec ? DT_NOBEGIN : time - usec;
}

/* Lowers *least to the event times of a source; false if a partition has none yet. */
static bool
least_event_time(const EddySource *source, TimestampTz *least)
{
	List	   *partitions = eddy_catalog_list_partitions(source->source);
	ListCell   *lc;

	foreach(lc, partitions)
	{
		EddyPartition *partition = lfirst(lc);

		if (TIMESTAMP_IS_NOBEGIN(partition->max_event_time))
			return false;
		*least = Min(*least, partition->max_event_time);
	}
	return partitions != NIL;
}

static TimestampTz
of_partitions(const EddyStream *stream)
{
	TimestampTz least = DT_NOEND;
	bool		found = false;
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_sources(stream->relid))
	{
		EddySource *source = lfirst(lc);

		if (!source->enabled)
			continue;
		if (!least_event_time(source, &least))
			return DT_NOBEGIN;
		found = true;
	}
	if (!found)
		least = eddy_catalog_user_event_time(stream->relid);
	return eddy_watermark_of_event_time(least, &stream->delay);
}

/*
 * eddy_watermark_get returns the watermark of a stream according to the latest committed state and
 * the changes of the current transaction; DT_NOBEGIN if there is none.
 */
TimestampTz
eddy_watermark_get(const EddyStream *stream)
{
	return Max(of_partitions(stream), eddy_catalog_get_watermark(stream->relid));
}

/*-------------------------------------------------------------------------
 *
 * watermark.c
 *    The watermark of a stream, and of a view over several streams.
 *
 * The watermark of a partition, W_p, is the latest event time seen in it, minus the delay of the
 * stream. That of the stream, W, is the minimum over its live partitions, and never decreases:
 *
 * - Each transaction that adds rows computes the minimum from the latest committed state and its
 *   own changes, and stores it in a row that it writes anyway: that of its Kafka partition, or its
 *   stripe of users' rows (column stream_watermark). These values are only ever raised.
 * - W is the maximum of the stored values, which are never lowered, and of eddy._watermark.raised.
 *
 * So W is a maximum of values that never decrease: it cannot decrease either, whatever commits
 * concurrently, and no writer waits for another one. A partition that becomes live again, or
 * is added, counts for the minimum from then on; W stays where it is until the minimum passes it.
 * Storing the minimum rather than the watermarks of partitions alone is what makes this work: if W
 * were derived from the partitions each time, a transaction that wakes a partition could commit
 * after others have raised W beyond what it saw, and W would go back. Old offsets and an
 * old watermark cannot be combined, as one transaction stores both.
 *
 * Price: if two transactions raise the minimum concurrently and neither sees the other, W stays
 * behind the minimum until the next batch or tick (tick.c) computes it again. That is safe: it
 * accepts rows that a later W would have called late.
 *
 * Which partitions are live:
 *
 * - A Kafka partition, unless its row is marked as idle by its worker (worker/idle.c), its source
 *   is enabled, and its workers still poll. The mark is in a table, because a batch of another
 *   source, or a user's statement, needs it; whether the worker polls is in shared memory,
 *   so that the mark is void as soon as the worker ends in any way, or loses its broker. It is read
 *   before the rows: if the worker resumes in between, it has removed outdated marks before.
 * - Partitions of a source that is paused, stopped or waiting hold W where they are. A source
 *   without rows in eddy._partition was never started: its partitions are not known and hold W at
 *   the beginning.
 * - Users' rows, partition -1, from the first one on, until the tick finds that there were no more
 *   for idle_timeout, and stores how many there were. Another row makes it live again, without
 *   a write to a shared row. In a stream without sources it is always live.
 *
 * If no partition is live, W stays. A stream without event time uses processing time: W is the time
 * of the last batch.
 *
 * The watermark of a view over UNION ALL of several streams is the minimum over those that are not
 * idle: one of whose partitions is live. Without sources, a stream is idle once the tick has found
 * that no rows came for idle_timeout; until then it holds the windows of such views, even if it
 * never had a row. The watermark of such a view is at least the minimum of all of its streams,
 * which never decreases, and what eddy._watermark.raised of the view says. Whatever closes its
 * windows without waiting for an idle stream stores that watermark there first: when the stream
 * becomes live again, the view's watermark remains.
 *
 * A transaction that judges rows, or closes windows, reads W under a lock of its stream (close.c).
 * As W does not decrease, and is stored by the transaction that closes windows by it, no row is
 * judged by an earlier W once windows were closed.
 *
 * W itself is also in shared memory (published.c), so that judging rows does not read these tables.
 *
 * Cost: a Kafka batch of a worker that has all partitions reads users' rows and eddy._watermark. A
 * user's statement reads nothing if the stream has no sources, otherwise all their partitions.
 *
 * Locking: those of reading, and the row of eddy._watermark where it is raised. Memory: the
 * caller's context; the sources of streams are cached until the relcache entry of the stream is
 * invalidated, as each change of its sources does. After a crash the stored values are those of
 * the last commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "apply/apply.h"
#include "apply/published.h"
#include "apply/stream_cache.h"
#include "interval.h"
#include "view/view.h"

/*
 * eddy_watermark_of_event_time returns an event time minus a delay, with days of 24 hours in every
 * time zone; -infinity instead of a result before the earliest timestamp.
 */
TimestampTz
eddy_watermark_of_event_time(TimestampTz time, const Interval *delay)
{
	return eddy_view_earlier(time, eddy_interval_usec(delay));
}

/* ---- the sources of a stream ---- */

typedef struct CachedSources
{
	EddyStreamCacheEntry entry;
	List	   *sources;		/* of int: their numbers */
	List	   *workers;		/* of int: how many workers each should have, 0: it is not enabled */
} CachedSources;

static EddyStreamCache *cache = NULL;

static const CachedSources *
find_sources(Oid stream)
{
	CachedSources *cached;
	uint64		before;
	List	   *rows;
	ListCell   *lc;

	if (cache == NULL)
		cache = eddy_stream_cache_create("pg_eddy sources of streams", sizeof(CachedSources));
	cached = eddy_stream_cache_find(cache, stream);
	if (cached->entry.valid)
		return cached;
	list_free(cached->sources);
	list_free(cached->workers);
	cached->sources = cached->workers = NIL;
	before = eddy_stream_cache_changes();
	rows = eddy_catalog_list_sources(stream);
	foreach(lc, rows)
	{
		const EddySource *source = lfirst(lc);
		MemoryContext old = MemoryContextSwitchTo(CacheMemoryContext);

		cached->sources = lappend_int(cached->sources, source->source);
		cached->workers = lappend_int(cached->workers, source->enabled ?
									  eddy_catalog_source_workers(source) : 0);
		MemoryContextSwitchTo(old);
	}
	cached->entry.valid = (before == eddy_stream_cache_changes());
	return cached;
}

List *
eddy_watermark_sources(const EddyStream *stream)
{
	return find_sources(stream->relid)->sources;
}

/* ---- reading the state ---- */

static bool (*polled_check) (int32 source, int workers) = NULL;

void
eddy_watermark_set_polled_check(bool (*check) (int32 source, int workers))
{
	polled_check = check;
}

/* What the rows of a stream say. */
typedef struct State
{
	TimestampTz stored;			/* latest stored watermark */
	TimestampTz least;			/* earliest of the latest event times of live partitions */
	bool		live;			/* there is a live partition */
	bool		holds;			/* windows of views over several streams wait for this one */
} State;

static void
count_live(State *state, TimestampTz max_event_time)
{
	state->least = state->live ? Min(state->least, max_event_time) : max_event_time;
	state->live = state->holds = true;
}

static void
count_partition(State *state, const EddyPartition *partition, bool polled)
{
	state->stored = Max(state->stored, partition->stream_watermark);
	if (!polled || TIMESTAMP_IS_NOBEGIN(partition->idle_since))
		count_live(state, partition->max_event_time);
}

/* The state of a partition that the change is about to store; NULL if it is not one of them. */
static const EddyPartition *
changed_partition(const EddyWatermarkChange *change, int32 partition)
{
	/* in order of partition, and usually all of them */
	if (partition < change->npartitions && change->partitions[partition]->partition == partition)
		return change->partitions[partition];
	for (int i = 0; i < change->npartitions; i++)
		if (change->partitions[i]->partition == partition)
			return change->partitions[i];
	return NULL;
}

/*
 * Counts the partitions of one source, which should have so many workers; change is NULL, or that
 * of a batch of this source.
 */
static void
count_source(State *state, int32 source, int workers, const EddyWatermarkChange *change)
{
	/* before the rows are read */
	bool		polled = workers > 0 && polled_check && polled_check(source, workers);
	List	   *partitions;
	ListCell   *lc;

	if (change && change->complete)
	{
		for (int i = 0; i < change->npartitions; i++)
			count_partition(state, change->partitions[i], change->polled);
		return;
	}
	partitions = eddy_catalog_list_partitions(source);
	if (partitions == NIL)
		count_live(state, DT_NOBEGIN);
	foreach(lc, partitions)
	{
		const EddyPartition *stored = lfirst(lc);
		const EddyPartition *changed = change ? changed_partition(change, stored->partition) : NULL;

		if (changed)
			count_partition(state, changed, change->polled);
		else
			count_partition(state, stored, polled);
	}
	list_free_deep(partitions);
}

static void
count_users(State *state, const EddyStream *stream, bool has_sources, int64 idle_user_rows,
			const EddyWatermarkChange *change)
{
	EddyUserPartition users = eddy_catalog_get_user_partition(stream->relid);
	bool		live = users.rows > 0;

	if (has_sources && (users.rows == idle_user_rows || (change && change->idles_users)))
		live = false;
	if (change && change->wakes_users)
	{
		live = true;
		users.max_event_time = Max(users.max_event_time, change->user_event_time);
	}
	state->stored = Max(state->stored, users.stream_watermark);
	if (live)
		count_live(state, users.max_event_time);
	/* there is no other sign that a stream without sources is idle */
	if (!has_sources)
		state->holds = users.rows != idle_user_rows;
}

static State
read_state(const EddyStream *stream, const EddyWatermarkChange *change)
{
	const CachedSources *cached = find_sources(stream->relid);
	EddyWatermark watermark = eddy_catalog_get_watermark(stream->relid);
	State		state = {.stored = watermark.raised, .least = DT_NOBEGIN};
	/* the cache may be invalidated and freed by the readings */
	List	   *sources = list_copy(cached->sources);
	List	   *workers = list_copy(cached->workers);
	ListCell   *lc;
	ListCell   *lw;

	forboth(lc, sources, lw, workers)
		count_source(&state, lfirst_int(lc), lfirst_int(lw),
					 change && change->source == lfirst_int(lc) ? change : NULL);
	count_users(&state, stream, sources != NIL, watermark.idle_user_rows, change);
	list_free(sources);
	list_free(workers);
	return state;
}

/* ---- the watermark ---- */

TimestampTz
eddy_watermark_get(const EddyStream *stream)
{
	TimestampTz watermark;
	uint64		reading;

	if (eddy_published_get(stream->relid, &watermark))
		return watermark;
	reading = eddy_published_begin(stream->relid);
	watermark = read_state(stream, NULL).stored;
	eddy_published_end(stream->relid, reading, watermark);
	return watermark;
}

/*
 * eddy_watermark_next returns what a transaction that makes this change has to store. It is the
 * watermark according to the latest committed state, the changes of the current transaction, and
 * this one; or less, if what others have stored is sufficient.
 */
TimestampTz
eddy_watermark_next(const EddyStream *stream, const EddyWatermarkChange *change)
{
	State		state;

	if (stream->event_time == NULL)
		return change->adds_rows ? GetCurrentTimestamp() : eddy_watermark_get(stream);
	/* users' rows alone: the others have stored theirs, and the maximum counts */
	if (change->wakes_users && find_sources(stream->relid)->sources == NIL)
		return eddy_watermark_of_event_time(change->user_event_time, &stream->delay);
	state = read_state(stream, change);
	if (!state.live)
		return state.stored;
	return Max(state.stored, eddy_watermark_of_event_time(state.least, &stream->delay));
}

/* ---- of views over several streams ---- */

/* The minimum of the watermarks of streams; of those that are not idle, if there is one. */
static TimestampTz
get_minimum(List *streams, bool without_idle)
{
	TimestampTz all = DT_NOEND;
	TimestampTz live = DT_NOEND;
	ListCell   *lc;

	foreach(lc, streams)
	{
		EddyStream *stream = eddy_catalog_get_stream(lfirst_oid(lc));
		State		state;

		if (stream == NULL)
			return DT_NOBEGIN;	/* dropped concurrently, and the view with it */
		state = read_state(stream, NULL);
		all = Min(all, state.stored);
		if (state.holds)
			live = Min(live, state.stored);
	}
	return without_idle && live != DT_NOEND ? live : all;
}

TimestampTz
eddy_watermark_of_union(Oid view, List *streams)
{
	TimestampTz watermark = get_minimum(streams, false);
	TimestampTz raised = eddy_catalog_get_watermark(view).raised;

	return Max(watermark, raised);
}

TimestampTz
eddy_watermark_for_closing(List *streams, List *views)
{
	TimestampTz watermark;
	ListCell   *lc;

	if (list_length(streams) == 1)
	{
		EddyStream *stream = eddy_catalog_get_stream(linitial_oid(streams));

		return stream ? eddy_watermark_get(stream) : DT_NOBEGIN;
	}
	watermark = get_minimum(streams, true);
	foreach(lc, views)
	{
		TimestampTz raised = eddy_catalog_get_watermark(lfirst_oid(lc)).raised;

		watermark = Max(watermark, raised);
	}
	return watermark;
}

void
eddy_watermark_raise_views(List *views, TimestampTz until, bool wait)
{
	ListCell   *lc;

	foreach(lc, views)
	{
		EddyWatermark watermark = {
			.stream = lfirst_oid(lc),
			.raised = until,
			.idle_user_rows = -1
		};

		if (eddy_catalog_get_watermark(lfirst_oid(lc)).raised >= until)
			continue;
		if (wait)
			eddy_catalog_raise_watermark(&watermark);
		else
			(void) eddy_catalog_try_raise_watermark(&watermark);
	}
}

/* ---- changes by hand and by the clock ---- */

bool
eddy_watermark_all_idle(const EddyStream *stream)
{
	return !read_state(stream, NULL).live;
}

bool
eddy_watermark_raise(const EddyStream *stream, TimestampTz until, int64 idle_user_rows, bool wait)
{
	EddyWatermark watermark = {
		.stream = stream->relid,
		.raised = until,
		.idle_user_rows = idle_user_rows
	};

	if (wait)
		eddy_catalog_raise_watermark(&watermark);
	else if (!eddy_catalog_try_raise_watermark(&watermark))
		return false;
	eddy_watermark_note(stream->relid, until);
	eddy_close_request(stream->relid);
	return true;
}

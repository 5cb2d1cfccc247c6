/*-------------------------------------------------------------------------
 *
 * change_keep.c
 *    Starts and ends keeping the changes of a view, and removes those that have been kept for long enough.
 *
 * Changes are removed by transactions, not by their own age: readers recognize what they have by
 * snapshots, and a transaction can commit long after it has written a change. A marker notes, for a
 * time, that all transactions with an ID less than "before" had ended then. Every snapshot that is
 * taken after that time sees what these transactions have changed. When the marker is older than
 * the retention, their changes are removed. A token whose snapshot does not see all of them,
 * because it was taken earlier, is then refused (change_read.c).
 *
 * The database worker does this. A log that no view has any more, because the view was dropped or
 * its changes are no longer kept, is removed as well.
 *
 * Locking: eddy.keep_changes takes ShareRowExclusiveLock on the stream, so that it happens between
 * two batches. Removing takes no locks that others wait for. Memory: the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "interval.h"
#include "monotonic.h"
#include "owner.h"
#include "transaction_error.h"
#include "view/chain.h"
#include "view/plan.h"
#include "view/view.h"

/* Time between two markers: a part of the retention. */
#define MARKERS_PER_RETENTION 16
#define MIN_INTERVAL USECS_PER_SEC
#define MAX_INTERVAL USECS_PER_MINUTE

/* Rows that are removed in one transaction. */
#define MAX_REMOVED 10000

/* ---- eddy.keep_changes ---- */

/* A random number, by which tokens of another log are recognized. */
static int64
make_log(void)
{
	int64		log;

	do
	{
		if (!pg_strong_random(&log, sizeof(log)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		log &= PG_INT64_MAX;
	} while (log == 0);
	return log;
}

/*
 * eddy_view_keep_changes keeps the changes of a view from now on, or with retention NULL no longer.
 * False if relid is not a continuous view. If changes are kept already, tokens remain valid.
 */
bool
eddy_view_keep_changes(Oid relid, const Interval *retention, const char *channel)
{
	EddyView   *view = eddy_catalog_get_view(relid);
	bool		was_kept;

	if (view == NULL)
		return false;
	eddy_view_check_context("keep changes of");
	/* before the lock: other users must not be able to block writers of the stream */
	eddy_view_check_owner(view, false);
	eddy_view_lock_query(relid);
	eddy_chain_lock_sources(view->streams);
	view = eddy_catalog_get_view(relid);
	if (view == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("continuous view was dropped concurrently")));
	eddy_view_check_owner(view, false);

	was_kept = view->changes_log != 0;
	if (retention == NULL)
		view->changes_log = 0;
	else
	{
		if (!was_kept)
			view->changes_log = make_log();
		view->changes_retention = *retention;
	}
	view->changes_channel = unconstify(char *, channel);
	eddy_catalog_set_view_changes(view);
	if (retention && !was_kept)
	{
		LockRelationOid(view->state_table, ShareRowExclusiveLock);
		eddy_view_watch_deletes(view);
	}
	return true;
}

/* ---- removing ---- */

static int64
execute_int8(const char *sql, int nargs, Oid *types, Datum *values)
{
	bool		isnull = true;
	Datum		value = (Datum) 0;

	if (SPI_execute_with_args(sql, nargs, types, values, NULL, false, 0) < 0)
		elog(ERROR, "SPI_execute_with_args failed: %s", sql);
	if (SPI_tuptable && SPI_processed > 0)
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return isnull ? 0 : DatumGetInt64(value);
}

/* Removes changes of a log whose time has passed; true if there may be more. */
static bool
remove_old(const EddyView *view, int64 interval)
{
	Oid			types[] = {INT8OID, INTERVALOID, INTERVALOID};
	Interval	gap = {.time = interval};
	Datum		values[] = {
		Int64GetDatum(view->changes_log), IntervalPGetDatum(&gap),
		IntervalPGetDatum(&view->changes_retention)
	};
	int64		removed;

	/* the clock is read after the snapshot was taken */
	(void) execute_int8("INSERT INTO eddy._change_marker"
						" SELECT $1, clock_timestamp(), pg_snapshot_xmin(pg_current_snapshot()), false"
						" WHERE NOT EXISTS (SELECT FROM eddy._change_marker m WHERE m.log = $1"
						" AND m.at > clock_timestamp() - $2 AND m.at <= clock_timestamp())"
						" ON CONFLICT DO NOTHING", 2, types, values);
	CommandCounterIncrement();
	removed = execute_int8("WITH marker AS (SELECT m.at, m.before FROM eddy._change_marker m"
						   " WHERE m.log = $1 AND m.at <= clock_timestamp() - $3 ORDER BY m.at DESC LIMIT 1),"
						   " removed AS (DELETE FROM eddy._change c USING marker m WHERE c.ctid = ANY (ARRAY("
						   " SELECT o.ctid FROM eddy._change o, marker WHERE o.log = $1"
						   " AND o.xid < marker.before LIMIT " CppAsString2(MAX_REMOVED) "))"
						   " RETURNING 1),"
						   " pruned AS (UPDATE eddy._change_marker m SET pruned = true FROM marker"
						   " WHERE m.log = $1 AND m.at = marker.at AND NOT m.pruned"
						   " AND (EXISTS (SELECT FROM removed) OR EXISTS (SELECT FROM eddy._change_marker p"
						   " WHERE p.log = $1 AND p.at < marker.at AND p.pruned))),"
						   " forgotten AS (DELETE FROM eddy._change_marker m USING marker"
						   " WHERE m.log = $1 AND m.at < marker.at)"
						   " SELECT count(*) FROM removed", 3, types, values);
	return removed == MAX_REMOVED;
}

/* Removes changes of logs that no view has; true if there may be more. */
static bool
remove_orphans(void)
{
	int64		removed =
		execute_int8("WITH RECURSIVE logs AS (SELECT min(c.log) AS log FROM eddy._change c"
					 " UNION ALL SELECT (SELECT min(c.log) FROM eddy._change c WHERE c.log > l.log)"
					 " FROM logs l WHERE l.log IS NOT NULL),"
					 " removed AS (DELETE FROM eddy._change c WHERE c.ctid = ANY (ARRAY("
					 " SELECT o.ctid FROM logs l JOIN eddy._change o ON o.log = l.log"
					 " WHERE NOT EXISTS (SELECT FROM eddy._view v WHERE v.changes_log = l.log)"
					 " LIMIT " CppAsString2(MAX_REMOVED) ")) RETURNING 1),"
					 " forgotten AS (DELETE FROM eddy._change_marker m"
					 " WHERE NOT EXISTS (SELECT FROM eddy._view v WHERE v.changes_log = m.log))"
					 " SELECT count(*) FROM removed", 0, NULL, NULL);

	return removed == MAX_REMOVED;
}

static int64
interval_of(const EddyView *view)
{
	int64		interval = eddy_interval_usec(&view->changes_retention) / MARKERS_PER_RETENTION;

	return Min(Max(interval, MIN_INTERVAL), MAX_INTERVAL);
}

/*
 * Removes changes of all views, in one transaction. Returns the time until the next step in
 * microseconds.
 */
static int64
prune(void)
{
	int64		next = MAX_INTERVAL;
	bool		more = false;
	EddyOwnerSwitch save;
	ListCell   *lc;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (eddy_catalog_installed())
	{
		List	   *views = eddy_catalog_list_all_views();

		eddy_owner_become(&save, eddy_catalog_extension_owner());
		SPI_connect();
		foreach(lc, views)
		{
			const EddyView *view = lfirst(lc);
			int64		interval;

			if (view->changes_log == 0)
				continue;
			interval = interval_of(view);
			next = Min(next, interval);
			more |= remove_old(view, interval);
		}
		more |= remove_orphans();
		SPI_finish();
		eddy_owner_end(&save);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	return more ? MIN_INTERVAL : next;
}

/*
 * eddy_view_prune_changes removes changes that have been kept long enough, when it is time. Called
 * by the database worker; returns the ms until it is time again. An error is logged: the changes
 * are kept until a later attempt succeeds.
 */
long
eddy_view_prune_changes(void)
{
	static int64 next_at = 0;
	int64		now = eddy_monotonic_usec();
	MemoryContext caller = CurrentMemoryContext;
	int64		interval = MAX_INTERVAL;

	if (now < next_at)
		return (next_at - now) / 1000 + 1;
	PG_TRY();
	{
		interval = prune();
	}
	PG_CATCH();
	{
		eddy_transaction_log_error(caller);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	next_at = now + interval;
	return interval / 1000 + 1;
}

/*-------------------------------------------------------------------------
 *
 * deferred.c
 *    When the deltas of views with maintenance => 'deferred' are merged.
 *
 * The database worker calls this every pg_eddy.fold_interval while there is such a view. For each
 * view it merges deltas, part by part (view/fold.c), until all that were there have been read, or
 * until the interval has passed: other views and the closing of windows have their turn.
 *
 * Merged deltas leave dead rows, many more than autovacuum could remove in time. The worker
 * therefore vacuums a table of deltas after it has merged many of them, for at most a part of the
 * time. An empty end of the table is only truncated when hardly any deltas come, because that takes
 * a lock.
 *
 * Locking: each part is a transaction that does not wait for locks on the stream, and for other
 * locks a short time only. Errors are logged, and the view is not tried again for a minute. Memory:
 * what is known of each view is in a context of its own. Nothing here outlives the process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "apply/steps.h"
#include "clock.h"
#include "local_setting.h"
#include "monotonic.h"
#include "settings.h"
#include "subtransaction.h"
#include "transaction_error.h"
#include "view/view.h"

#define INTERVAL_ERROR (60 * USECS_PER_SEC) /* after an error in a view */
#define LOCK_WAIT 100			/* ms */
#define VACUUM_ROWS 2000		/* merged rows after which a table is vacuumed */
#define VACUUM_COST_FACTOR 20	/* vacuuming takes at most 1/20 of the time */

/* What is known of a view, on the monotonic clock. */
typedef struct ViewClock
{
	Oid			view;			/* hash key */
	int64		retry_at;		/* after an error; 0: none */
	int64		vacuum_at;		/* not vacuumed before */
	int64		dead;			/* rows merged since then */
} ViewClock;

/* A view whose deltas are merged. */
typedef struct DeferredView
{
	Oid			view;
	Oid			stream;
} DeferredView;

static HTAB *clocks = NULL;

static ViewClock *
get_clock(Oid view)
{
	ViewClock  *clock;
	bool		found;

	if (clocks == NULL)
	{
		HASHCTL		control = {
			.keysize = sizeof(Oid),
			.entrysize = sizeof(ViewClock),
			.hcxt = TopMemoryContext
		};

		clocks = hash_create("pg_eddy deferred views", 16, &control,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	clock = hash_search(clocks, &view, HASH_ENTER, &found);
	if (!found)
		memset((char *) clock + sizeof(Oid), 0, sizeof(ViewClock) - sizeof(Oid));
	return clock;
}

/* Forgets views that were dropped. */
static void
remove_others(List *views)
{
	HASH_SEQ_STATUS scan;
	ViewClock  *clock;
	ListCell   *lc;

	if (clocks == NULL)
		return;
	hash_seq_init(&scan, clocks);
	while ((clock = hash_seq_search(&scan)) != NULL)
	{
		bool		exists = false;

		foreach(lc, views)
			exists |= ((DeferredView *) lfirst(lc))->view == clock->view;
		if (!exists)
			(void) hash_search(clocks, &clock->view, HASH_REMOVE, NULL);
	}
}

/* Adds a view that is maintained so to a List of DeferredView. */
static void
add_view(const EddyView *view, void *arg)
{
	List	  **views = arg;
	DeferredView *entry;

	if (strcmp(view->maintenance, "deferred") != 0 || view->suspended)
		return;
	entry = palloc(sizeof(DeferredView));
	entry->view = view->relid;
	entry->stream = view->stream;
	*views = lappend(*views, entry);
}

/* ---- merging ---- */

static void
run_fold(void *arg)
{
	eddy_local_lock_timeout(LOCK_WAIT);
	eddy_clock_start();
	eddy_view_fold(arg);
}

/* Merges a part of the deltas of a view; false if the rest is left for the next call. */
static bool
fold_part(const DeferredView *view, EddyViewFold *part, MemoryContext mcxt)
{
	ErrorData  *error = NULL;
	int64		start = eddy_monotonic_real();
	int64		taken;
	bool		locked;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(mcxt);
	/* a stream that is being changed or dropped is left for the next call */
	locked = ConditionalLockRelationOid(view->stream, RowExclusiveLock);
	if (locked)
		error = eddy_subtransaction_run(run_fold, part);
	eddy_clock_stop();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(mcxt);
	taken = eddy_monotonic_real() - start;
	/* others have their turn for as long */
	if (taken >= eddy_settings_batch_time_limit * INT64CONST(1000))
		get_clock(view->view)->retry_at = eddy_monotonic_real() + taken;
	if (error == NULL)
		return locked && part->next != InvalidBlockNumber;
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
	{
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("could not merge the deltas of a continuous view: %s", eddy_clock_explain(error)),
				 error->context ? errcontext("%s", error->context) : 0));
		get_clock(view->view)->retry_at = eddy_monotonic_real() + INTERVAL_ERROR;
	}
	FreeErrorData(error);
	return false;
}

/* ---- vacuuming ---- */

static VacuumStmt *
make_vacuum(Oid table, bool truncates)
{
	VacuumStmt *stmt = makeNode(VacuumStmt);
	RangeVar   *name = makeRangeVar(EDDY_SCHEMA, get_rel_name(table), -1);

	stmt->is_vacuumcmd = true;
	stmt->options = list_make2(makeDefElem("skip_locked", (Node *) makeString("true"), -1),
							   makeDefElem("truncate", (Node *)
										   makeString(truncates ? "true" : "false"), -1));
	stmt->rels = list_make1(makeVacuumRelation(name, table, NIL));
	return stmt;
}

/* The statement commits and starts transactions. */
static void
vacuum_table(Oid table, bool truncates)
{
	MemoryContext portal = PortalContext;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PortalContext = AllocSetContextCreate(TopMemoryContext, "pg_eddy vacuum",
										  ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(PortalContext);
	PG_TRY();
	{
		/* if another process vacuums it, that is sufficient, and not worth a message */
		if (get_rel_name(table) != NULL &&
			ConditionalLockRelationOid(table, ShareUpdateExclusiveLock))
		{
			UnlockRelationOid(table, ShareUpdateExclusiveLock);
			ExecVacuum(NULL, make_vacuum(table, truncates), true);
		}
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		eddy_transaction_log_error(PortalContext);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextDelete(PortalContext);
	PortalContext = portal;
}

static void
vacuum_view(ViewClock *clock, const EddyViewFold *part, bool truncates)
{
	int64		start = eddy_monotonic_real();
	Oid			view = clock->view;

	if (clock->dead < VACUUM_ROWS || start < clock->vacuum_at || !OidIsValid(part->table))
		return;
	vacuum_table(part->table, truncates);
	clock = get_clock(view);
	clock->dead = 0;
	clock->vacuum_at = eddy_monotonic_real() +
		(eddy_monotonic_real() - start) * VACUUM_COST_FACTOR;
}

/* ---- one call ---- */

static void
fold_view(const DeferredView *view, MemoryContext mcxt)
{
	int64		start = eddy_monotonic_real();
	EddyViewFold part = {.view = view->view};
	int64		rows = 0;

	if (get_clock(view->view)->retry_at > start)
		return;
	for (;;)
	{
		bool		more = fold_part(view, &part, mcxt);

		rows += part.rows;
		CHECK_FOR_INTERRUPTS();
		if (!more ||
			eddy_monotonic_real() - start > (int64) eddy_settings_fold_interval * 1000)
			break;
	}
	get_clock(view->view)->dead += rows;
	vacuum_view(get_clock(view->view), &part, rows < VACUUM_ROWS);
	MemoryContextSwitchTo(mcxt);
}

long
eddy_deferred_tick(void)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext mcxt = AllocSetContextCreate(TopMemoryContext, "pg_eddy deferred tick",
											   ALLOCSET_SMALL_SIZES);
	bool		deferred;
	List	   *views = NIL;
	ListCell   *lc;

	MemoryContextSwitchTo(mcxt);
	eddy_apply_each_view(add_view, &views);
	deferred = (views != NIL);
	foreach(lc, views)
		fold_view(lfirst(lc), mcxt);
	remove_others(views);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(mcxt);
	return deferred ? eddy_settings_fold_interval : -1;
}

/*-------------------------------------------------------------------------
 *
 * cascade.c
 *    The views that follow from a batch, level by level: those of streams, those that read these, and so on,
 *    and whatever observers do with their changes, in the transaction that has made them.
 *
 * Changes come from the maintenance of views (eddy_view_apply), from closing and expiry, and from
 * users who delete rows through a view (statement.c). Those of one view are a batch for all views
 * that read it. The views that read streams alone are level 0, and a view that reads others has the
 * level after the last of these. All views of a level are maintained together, each once, with the
 * batches of all that it reads: streams, and views of any earlier level. So a view that a batch
 * reaches by several ways changes once. When windows are closed, each level is closed after the
 * rows of the levels before have arrived.
 *
 * Locking: views, and their rows, in the order of (level, Oid). The level of a view is fixed,
 * because its query is not replaced while it reads views, or is read. The Oids alone would do in
 * the database in which the views were created, but not after a restore, which creates them in the
 * order of their names. Late rows and dead letters after the last level.
 *
 * Closing windows changes rows after those that the batch of the same transaction has locked. It
 * holds the exclusive lock on the windows of the streams whose windows close (close.c), which no
 * other batch of these streams holds. If a view follows from these and from others, batches of the
 * others could still hold rows of it. So a transaction that changes something from which such a
 * view follows first joins the windows of all of its streams (eddy_view_joined).
 *
 * Memory: the caller's; the changes of each level spill beyond work_mem. An error, or a crash,
 * leaves nothing, as the transaction is rolled back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "apply/published.h"
#include "apply/steps.h"
#include "clock.h"
#include "view/changes.h"
#include "view/view.h"

/* What happens with the views of each level that exactly some streams reach. */
typedef bool (*LevelFunction) (List *streams, int level, TimestampTz watermark, int64 *budget,
							   List **changes);

typedef struct Cascade
{
	List	   *applies;		/* of EddyApply: those of streams */
	bool		repeatable;

	/* of closing and expiry, otherwise NULL */
	LevelFunction function;
	List	   *streams;		/* of Oid, sorted: whose views are visited */
	TimestampTz watermark;
	int64	   *budget;
	bool		complete;

	/* results */
	List	   *records;		/* of EddyChanges, one of each view: those that are no batch yet */
	List	   *changes;		/* of EddyChanges, of all levels */
	List	   *united;			/* of EddyChanges: copies for batches */
	List	   *children;		/* of EddyApply */
} Cascade;

/* Rows that are changes of views need no input. */
static const EddyInput changes_input = {0};

/* ---- batches ---- */

/* A batch of one of some streams. */
static EddyApply *
find_apply(List *applies, List *streams)
{
	ListCell   *lc;

	foreach(lc, applies)
		if (list_member_oid(streams, ((EddyApply *) lfirst(lc))->batch.stream))
			return lfirst(lc);
	return NULL;
}

EddyApply *
eddy_apply_make_child(EddyChanges *changes, List *applies)
{
	EddyMember	member = eddy_catalog_member(changes->view);
	const EddyApply *root = find_apply(applies, member.streams);
	/* without a batch windows are closed, and those of all streams are locked */
	const EddyStream *stream = root ? root->stream : eddy_catalog_get_stream(member.stream);
	EddyApply  *apply;
	EddyBatch  *batch;

	if (stream == NULL)
		return NULL;
	apply = palloc(sizeof(EddyApply));
	eddy_apply_begin(apply, changes->view, changes->desc, CurrentMemoryContext);
	apply->input = &changes_input;
	apply->stream = stream;
	batch = &apply->batch;
	batch->store = changes->rows;
	batch->nrows = changes->nrows;
	batch->columns = changes->columns;
	batch->nshown = changes->nshown;
	batch->marks = changes->marks;
	if (root)
	{
		batch->hides_rows = root->batch.store == NULL;
		batch->contended = root->batch.contended;
		batch->start_clock = root->batch.start_clock;
		batch->clock_expired = root->batch.clock_expired;
	}
	else if (eddy_clock_enabled())
	{
		/* what the clock changes must not wait for a function without end; the caller stops it */
		batch->start_clock = eddy_clock_start;
		batch->clock_expired = eddy_clock_expired;
	}
	return apply;
}

/* True if views follow these changes. Retention removes rows that they have counted. */
static bool
is_followed(const EddyChanges *changes)
{
	return changes->cause != EDDY_CAUSE_EXPIRE && changes->cause != EDDY_CAUSE_REBUILD &&
		changes->nrows > 0 && eddy_view_list(changes->view) != NIL;
}

/* The one record of a view in a list, NULL if it has none. */
static ListCell *
find_record(List *records, Oid view)
{
	ListCell   *lc;

	foreach(lc, records)
		if (((EddyChanges *) lfirst(lc))->view == view)
			return lc;
	return NULL;
}

/*
 * Takes what has changed in views. A view that has several records, because rows of it were deleted
 * and merged, and windows closed, say, has one batch: a view that reads it is maintained once.
 */
static void
take_changes(Cascade *cascade, List *changes)
{
	ListCell   *lc;

	cascade->changes = list_concat(cascade->changes, changes);
	foreach(lc, changes)
	{
		EddyChanges *record = lfirst(lc);
		ListCell   *other;

		if (!is_followed(record))
			continue;
		other = find_record(cascade->records, record->view);
		if (other == NULL)
			cascade->records = lappend(cascade->records, record);
		else
		{
			lfirst(other) = eddy_changes_unite(lfirst(other), record);
			cascade->united = lappend(cascade->united, lfirst(other));
		}
	}
}

/* Makes batches of the changes of all views before a level: they are complete. */
static void
make_batches(Cascade *cascade, int level)
{
	ListCell   *lc;

	foreach(lc, cascade->records)
	{
		EddyChanges *record = lfirst(lc);
		EddyApply  *apply;

		if (eddy_catalog_member(record->view).level >= level)
			continue;
		apply = eddy_apply_make_child(record, cascade->applies);
		if (apply)
			cascade->children = lappend(cascade->children, apply);
		cascade->records = foreach_delete_current(cascade->records, lc);
	}
}

/* ---- levels ---- */

/* The lesser one of two levels, of which -1 is none. */
static int
lesser_level(int a, int b)
{
	if (a < 0 || b < 0)
		return Max(a, b);
	return Min(a, b);
}

/* The first level, not before another one, that has something to do; -1: there is none. */
static int
next_level(const Cascade *cascade, int level)
{
	int			next = -1;
	ListCell   *lc;

	foreach(lc, cascade->applies)
		next = lesser_level(next, eddy_view_next_level(((EddyApply *) lfirst(lc))->batch.stream,
													   level));
	foreach(lc, cascade->children)
		next = lesser_level(next, eddy_view_next_level(((EddyApply *) lfirst(lc))->batch.stream,
													   level));
	foreach(lc, cascade->records)
		next = lesser_level(next, eddy_view_next_level(((EddyChanges *) lfirst(lc))->view, level));
	if (cascade->function)
		next = lesser_level(next, eddy_view_next_level_of(cascade->streams, level));
	return next;
}

/* Maintains, and visits, level by level. */
static void
run_levels(Cascade *cascade)
{
	for (int level = next_level(cascade, 0); level >= 0; level = next_level(cascade, level + 1))
	{
		List	   *batches;
		List	   *changes = NIL;

		make_batches(cascade, level);
		batches = list_concat_copy(cascade->applies, cascade->children);
		if (batches != NIL)
			changes = eddy_view_apply(batches, level, cascade->repeatable);
		if (cascade->function)
			cascade->complete &= cascade->function(cascade->streams, level, cascade->watermark,
												   cascade->budget, &changes);
		take_changes(cascade, changes);
		list_free(batches);
	}
}

/* After the last level. */
static void
finish(Cascade *cascade)
{
	ListCell   *lc;

	eddy_late_write(cascade->applies);
	eddy_late_write(cascade->children);
	foreach(lc, cascade->children)
	{
		eddy_dead_letter_write(lfirst(lc));
		eddy_close_note(lfirst(lc));
	}
	foreach(lc, cascade->changes)
		eddy_changes_deliver(lfirst(lc));
	foreach(lc, cascade->changes)
		eddy_changes_free(lfirst(lc));
	foreach(lc, cascade->united)
		eddy_changes_free(lfirst(lc));
}

/* Before any view is locked: see above. */
static void
join_windows(const Cascade *cascade, const List *changes)
{
	List	   *joined = NIL;
	ListCell   *lc;

	foreach(lc, cascade->applies)
		joined = list_concat_unique_oid(joined, eddy_view_joined(((EddyApply *) lfirst(lc))->batch.stream));
	foreach(lc, changes)
		joined = list_concat_unique_oid(joined, eddy_view_joined(((EddyChanges *) lfirst(lc))->view));
	eddy_close_join_all(joined);
}

void
eddy_apply_maintain(List *applies, List *changes, bool repeatable)
{
	Cascade		cascade = {.applies = applies, .repeatable = repeatable};

	join_windows(&cascade, changes);
	take_changes(&cascade, changes);
	run_levels(&cascade);
	finish(&cascade);
}

/* ---- closing and expiry ---- */

/*
 * Rows of a parent that make a child fail become dead letters, also where the transaction could be
 * repeated: it would fail again.
 */
static bool
visit_all(List *streams, TimestampTz watermark, int64 *budget, LevelFunction function)
{
	Cascade		cascade = {
		.function = function,
		.streams = streams,
		.watermark = watermark,
		.budget = budget,
		.complete = true
	};

	run_levels(&cascade);
	finish(&cascade);
	return cascade.complete;
}

bool
eddy_apply_close(List *streams, TimestampTz watermark, int64 *budget)
{
	return visit_all(streams, watermark, budget, eddy_view_close);
}

bool
eddy_apply_expire(List *streams, TimestampTz watermark, int64 *budget)
{
	return visit_all(streams, watermark, budget, eddy_view_expire);
}

/* ---- observing ---- */

static bool
has_children(Oid view)
{
	return eddy_view_list(view) != NIL;
}

/* The driver above takes the changes before they are delivered. */
static void
ignore(EddyChanges *changes pg_attribute_unused())
{
}

static const EddyChangeObserver children = {has_children, ignore};

void
eddy_apply_init(void)
{
	eddy_changes_register(&children);
	eddy_published_init();
}

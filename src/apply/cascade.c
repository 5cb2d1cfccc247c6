/*-------------------------------------------------------------------------
 *
 * cascade.c
 *    What follows from the changes of views, in the transaction that has made them: the maintenance of
 *    views that read these views, and whatever observers do.
 *
 * Changes come from the maintenance of views (eddy_view_apply), from closing and expiry, and from users
 * who delete rows through a view (statement.c). Those of one view are a batch for all views that read
 * it. The views that read views of a stream directly are level 1, those that read these level 2, and
 * so on: all batches of a level are maintained together, then the next level follows. When windows
 * are closed, each level is closed after the rows of the level before have arrived.
 *
 * Locking: views, and their rows, in the order of (level, Oid). A view reads one view, or streams only, so
 * that its level is fixed. The Oids alone would do in the database in which the views were created, but not after a
 * restore, which creates them in the order of their names. Late rows and dead letters after the last
 * level. Memory: the caller's; the changes of each level spill beyond work_mem. An error, or a crash, leaves
 * nothing, as the transaction is rolled back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "apply/published.h"
#include "apply/steps.h"
#include "view/changes.h"
#include "view/view.h"

/* What happens with the views of each level, by what they read (List of Oid). */
typedef bool (*LevelFunction) (List *sources, TimestampTz watermark, int64 *budget, List **changes);

typedef struct Cascade
{
	List	   *applies;		/* of EddyApply: those that have caused the first changes */
	bool		repeatable;

	/* of closing and expiry, otherwise NULL */
	LevelFunction function;
	TimestampTz watermark;
	int64	   *budget;
	bool		complete;

	/* results */
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
 * The batches of the views that follow some changes. A view that has several records, because rows of it
 * were merged and windows closed, say, has one batch: a view is maintained once for each level.
 */
static List *
make_batches(Cascade *cascade, List *changes)
{
	List	   *records = NIL;
	List	   *batches = NIL;
	ListCell   *lc;

	foreach(lc, changes)
	{
		EddyChanges *record = lfirst(lc);
		ListCell   *other;

		if (!is_followed(record))
			continue;
		other = find_record(records, record->view);
		if (other == NULL)
			records = lappend(records, record);
		else
		{
			lfirst(other) = eddy_changes_unite(lfirst(other), record);
			cascade->united = lappend(cascade->united, lfirst(other));
		}
	}
	foreach(lc, records)
	{
		EddyApply  *apply = eddy_apply_make_child(lfirst(lc), cascade->applies);

		if (apply)
			batches = lappend(batches, apply);
	}
	list_free(records);
	return batches;
}

/* ---- levels ---- */

/* What views of the next level read, from what those of a level read: List of List of Oid. */
static List *
next_sources(List *sources)
{
	List	   *result = NIL;
	ListCell   *lc;
	ListCell   *lv;

	foreach(lc, sources)
		foreach(lv, eddy_view_list_of(lfirst(lc)))
			if (eddy_view_list(lfirst_oid(lv)) != NIL)
				result = lappend(result, list_make1_oid(lfirst_oid(lv)));
	return result;
}

/* Does what the function of the cascade does with the views of a level. */
static List *
visit(Cascade *cascade, List *sources, List *changes)
{
	ListCell   *lc;

	foreach(lc, sources)
		cascade->complete &= cascade->function(lfirst(lc), cascade->watermark, cascade->budget,
											   &changes);
	return changes;
}

/* Follows changes, and visits sources, level by level. */
static void
run_levels(Cascade *cascade, List *sources, List *changes)
{
	for (;;)
	{
		List	   *batches;

		changes = visit(cascade, sources, changes);
		sources = next_sources(sources);
		if (changes == NIL && sources == NIL)
			break;
		cascade->changes = list_concat(cascade->changes, changes);
		batches = make_batches(cascade, changes);
		changes = batches ? eddy_view_apply(batches, cascade->repeatable) : NIL;
		cascade->children = list_concat(cascade->children, batches);
	}
}

/* After the last level. */
static void
finish(Cascade *cascade)
{
	ListCell   *lc;

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

void
eddy_apply_changes(List *changes, List *applies, bool repeatable)
{
	Cascade		cascade = {.applies = applies, .repeatable = repeatable};

	if (changes == NIL)
		return;
	run_levels(&cascade, NIL, changes);
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
		.watermark = watermark,
		.budget = budget,
		.complete = true
	};

	run_levels(&cascade, list_make1(streams), NIL);
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

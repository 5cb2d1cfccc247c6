/*-------------------------------------------------------------------------
 *
 * view.h
 *    What other layers call to maintain and to define continuous views.
 *
 * Maintenance has two steps. "Collect" runs each view's own SELECT over a
 * batch and keeps the partial states of the touched groups in memory, tagged with the
 * subtransaction that made them. "Flush" merges them into the state
 * tables, in one total order of views and group keys, so that writers never
 * deadlock among themselves. A Kafka batch does both in its transaction; a
 * user's statement collects in the capture trigger and flushes when it ends.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_VIEW_H
#define EDDY_VIEW_H

#include "batch.h"
#include "catalog/eddy_catalog.h"
#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"

/* Registers the planner hooks and the custom scan that reads a batch. From _PG_init only. */
extern void eddy_view_init(void);

/*
 * eddy_view_collect computes the delta of every view of batch->stream. Rows that a view's
 * expressions fail on are left out for that view and appended to *rejections
 * (EddyRejection, in the current memory context) if its policy is dead_letter; with
 * policy stop the error is raised. The caller holds RowExclusiveLock on the stream.
 */
extern void eddy_view_collect(EddyBatch *batch, List **rejections);

/* True while collected deltas wait to be flushed in this transaction. */
extern bool eddy_view_pending(void);

/*
 * eddy_view_flush merges all pending deltas into the state tables. Errors
 * (40001 under REPEATABLE READ, or those of a view's expressions over its aggregates) are raised.
 */
extern void eddy_view_flush(void);

/*
 * eddy_view_apply does both steps for a Kafka batch. It may fail with 40001, 40P01 or 23505
 * because of what others do at the same time; the batch then has to be done again. With
 * careful, each view is
 * merged in a subtransaction of its own and rows that make the merge fail are
 * found and rejected, too; the worker asks for it after a batch failed without.
 */
extern void eddy_view_apply(EddyBatch *batch, bool careful, List **rejections);

/* Parameters of eddy.create_continuous_view. */
typedef struct EddyViewOptions
{
	const char *emit;
	const char *late;
	Interval	allowed_lateness;
	Interval   *retention;
	const char *start;
	const char *maintenance;
	const char *on_error;
	bool		if_not_exists;
} EddyViewOptions;

/* Creates a continuous view with the rights of the current user; returns its Oid. */
extern Oid	eddy_view_create(const char *name, const char *query, const EddyViewOptions *options);

/* Makes SECURITY LABEL know our labels, so that dumps can be restored. From _PG_init only. */
extern void eddy_view_register_labels(void);

/*
 * Labels a new view and its state table for the output plugin; the first ncolumns columns of
 * the state table are those of the view. Whoever replaces a state table labels both again.
 */
extern void eddy_view_label(const EddyView *view, int ncolumns);

/*
 * eddy_view_suspend stops the maintenance of a view because of an error, with a WARNING, or
 * does nothing if it is already suspended or dropped. The view keeps its last content and
 * nobody maintains it until eddy_view_resume. Part of the caller's transaction, with anyone's
 * rights; call it outside of any subtransaction that is going to be rolled back. Deltas that are
 * pending for the view are the caller's to discard.
 */
extern void eddy_view_suspend(Oid view, const char *error, int sqlerrcode);

/*
 * eddy_view_pause suspends a view without an error, for its owner or the owner of its stream.
 * Takes no lock that a writer of the stream could hold. False if relid is no continuous view.
 */
extern bool eddy_view_pause(Oid relid);

/*
 * eddy_view_resume empties a suspended view, counts the rows that its stream still stages and
 * has it maintained again, for its owner, who must have the privileges that its creation needs.
 * Takes the locks that creation takes. False if relid is no continuous view.
 */
extern bool eddy_view_resume(Oid relid);

/* eddy.drop_continuous_view: as DROP VIEW, for the owner of the view or of its stream. */
extern void eddy_view_drop(Oid relid);

/* ---- objects.c ---- */

/*
 * Drops what is left of views whose public view, definition or state table was dropped. Under
 * DROP_RESTRICT it is an error if other objects depend on the state table; name_of gives the
 * quoted name that a dropped view had, or NULL.
 */
extern void eddy_view_cleanup_dropped(DropBehavior behavior, const char *(*name_of) (Oid view));

/*
 * eddy_view_sync makes owners, privileges and dependencies of the objects behind views what
 * they have to be, after ALTER ... OWNER and after a restore: of the view that part belongs
 * to, or with InvalidOid of all.
 */
extern void eddy_view_sync(Oid part);

#endif							/* EDDY_VIEW_H */

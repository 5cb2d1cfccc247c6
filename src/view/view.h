/*-------------------------------------------------------------------------
 *
 * view.h
 *    What other layers call to maintain and to define continuous views.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_VIEW_H
#define EDDY_VIEW_H

#include "batch.h"
#include "catalog/eddy_catalog.h"
#include "label.h"
#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"

/* Registers the planner hooks and the custom scan that reads a batch. From _PG_init only. */
extern void eddy_view_init(void);

/*
 * eddy_view_apply maintains every view of the streams of some batches (List of EddyBatch, one
 * for each stream). A row that a view fails on is left out for that view and noted in
 * view_rejections of its batch, if the view's policy is dead_letter; with policy stop
 * the error is raised. The caller holds RowExclusiveLock on the streams.
 *
 * With repeatable the caller can do the whole transaction again, and has to: rows
 * that make the merge with what is stored fail are not searched for, and 23505 is raised if
 * somebody else inserts the same new group at the same time.
 *
 * 40001 is raised when a group was changed concurrently under REPEATABLE READ or SERIALIZABLE.
 */
extern void eddy_view_apply(List *batches, bool repeatable);

/*
 * eddy_view_fill does the same for one view, with a batch that may be empty: a view
 * without GROUP BY then gets its one row.
 */
extern void eddy_view_fill(Oid view, EddyBatch *batch);

/* True while queries and functions of views run, in which nobody may insert into a stream. */
extern bool eddy_view_maintaining(void);

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

/*
 * Creates a continuous view with the rights of the current user; returns its Oid. *created is false if
 * there was one already. It has no content yet, not even the row of a view without GROUP BY:
 * eddy_apply_fill gives it that, under the lock on the stream that is taken here.
 */
extern Oid	eddy_view_create(const char *name, const char *query, const EddyViewOptions *options,
							 bool *created);

/* Makes SECURITY LABEL accept our labels, for restoring dumps. From _PG_init only. */
extern void eddy_view_register_labels(void);

/* Label a new view, and with the ID that this returns each of its state tables. */
extern char *eddy_view_label(Oid view);
extern void eddy_view_label_table(const char *id, Oid table, const EddyTableLabel *label);

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
 * Around a command that renames functions, types or schemas, or moves them: keeps what
 * the catalog says of the aggregates of views right. The first gives the views to pass to the second.
 */
extern List *eddy_signature_before_rename(void);
extern void eddy_signature_after_rename(List *views);


/*
 * eddy_view_resume empties a suspended view and has it maintained again, for its owner, who must
 * have the privileges that its creation needs. Takes the locks that creation takes. If *emptied,
 * the caller has to fill it with eddy_apply_fill. False if relid is no continuous view.
 */
extern bool eddy_view_resume(Oid relid, bool *emptied);

/* eddy.drop_continuous_view: as DROP VIEW, for the owner of the view or of its stream. */
extern void eddy_view_drop(Oid relid);

/*
 * Errors if the caller is an expression of a view, of a stream or of anything else that runs with
 * the rights of its owner: a batch must not begin in the middle of another one. command: the
 * verb for the message.
 */
extern void eddy_view_check_context(const char *command);

/* ---- objects.c ---- */

/*
 * Drops what is left of views whose public view, definition or state table was dropped. Under
 * DROP_RESTRICT it is an error if other objects depend on the state table; name_of gives the
 * quoted name that a dropped view had, or NULL; arg is passed to it.
 */
extern void eddy_view_cleanup_dropped(DropBehavior behavior, const char *(*name_of) (Oid view, const void *arg),
									  const void *arg);

/*
 * eddy_view_sync makes owners, privileges and dependencies of the objects behind views what
 * they have to be, after ALTER ... OWNER and after a restore: of the view that part belongs
 * to, or with InvalidOid of all.
 */
extern void eddy_view_sync(Oid part);

/* Records the dependencies of all definitions on their views, which a dump does not carry. */
extern void eddy_view_bind_definitions(void);

#endif							/* EDDY_VIEW_H */

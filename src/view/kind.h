/*-------------------------------------------------------------------------
 *
 * kind.h
 *    Kinds of continuous views: what differs in how they are maintained.
 *
 * A kind is one file, kind_NAME.c, and a line in the array of kind.c. Closing windows and removing
 * expired rows are the same for all kinds whose main state table has the end of the window as its
 * first key (closing.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_KIND_H
#define EDDY_KIND_H

#include "lib/stringinfo.h"
#include "view/merge.h"
#include "view/plan.h"

struct EddyWork;

struct EddyViewKind
{
	const char *name;			/* eddy._view.kind */

	/* True if views with this query are of this kind. The query can still be refused. */
	bool		(*accepts) (const Query *query);

	/*
	 * True if a view with this query and policy is to be of this kind instead of a later one that
	 * accepts it. May be NULL.
	 */
	bool		(*suits) (const EddyViewPlan *policy, const Query *query, Index stream_rti);

	/*
	 * Takes a definition apart and lays out the state tables: fills what plan.h lists as the
	 * kind's, all in the current memory context. Raises ERRCODE_FEATURE_NOT_SUPPORTED for
	 * what cannot be maintained incrementally.
	 */
	void		(*layout) (EddyViewPlan *plan, Query *query);

	/*
	 * Turns a copy of the definition into the delta query: its select list, and plan->delta_desc.
	 */
	void		(*make_delta) (EddyViewPlan *plan, Query *delta);

	/*
	 * Locks the groups of a delta, a List of Tuplestorestate, for kinds whose groups are not
	 * locked by their rows: a row that a concurrent transaction inserts could belong to a group of
	 * this one. See group_lock.h. NULL if there is nothing to lock. Called before any row of a
	 * state table is locked for the batch, and before groups are read.
	 */
	void		(*lock) (EddyViewPlan *plan, List *deltas);

	/* Merges what the delta query gave into the state tables, by the functions of merge.h. */
	void		(*merge) (EddyViewPlan *plan, EddyMerge *merge);

	/*
	 * True if all rows of a group of the delta are late. NULL: if the window has closed that ends
	 * at its first key. With finds_late, the kind finds late rows itself while it merges, and notes
	 * them with eddy_merge_note_late.
	 */
	bool		(*is_late) (const EddyViewPlan *plan, EddyJudgment *judgment, TupleTableSlot *group);
	bool		finds_late;

	/*
	 * For kinds whose windows depend on more than the row, otherwise NULL: adapts the query that
	 * finds the late rows of a batch (late_pairs.h), and selects from its result, which is freed,
	 * the pairs that are late.
	 */
	void		(*adapt_late_query) (EddyViewPlan *plan, Query *query, TimestampTz until);
	Tuplestorestate *(*select_late) (struct EddyWork *work, Tuplestorestate *pairs,
									 TupleTableSlot *pair);

	/* Appends UNION ALL and more rows to the query of the public view; NULL: there are none. */
	void		(*append_reader) (const EddyViewPlan *plan, StringInfo sql);

	/* Adds columns to the main table of a view with emit => 'every ...'; NULL: none. */
	void		(*lay_out_emit) (EddyStateTable *table);

	/* A window closes when the watermark has passed its end, not when it has reached it. */
	bool		includes_end;

	/*
	 * Changes a row of the main state table whose window is final and accepts no rows any more: it
	 * shrinks to what the view shows. NULL: nothing is left out.
	 */
	void		(*forget) (EddyViewPlan *plan, TupleTableSlot *row);

	/*
	 * For kinds whose final rows are not rows of the main table that get a mark, otherwise NULL:
	 * the watermark at which windows have to be closed, DT_NOEND if there are none; and closing
	 * those that end until a watermark, in order of (end, key), at most *budget groups. close sets
	 * progress->closed_until and progress->closed_groups, and returns true if no more have to be
	 * closed.
	 */
	TimestampTz (*next_due) (EddyViewPlan *plan, const EddyViewProgress *progress);
	bool		(*close) (EddyViewPlan *plan, EddyViewProgress *progress, TimestampTz watermark,
						  int64 *budget);

	/*
	 * For kinds that merge rows later than they are added, otherwise NULL: merges those of windows
	 * that end until a time, at most *budget. Returns until when no such rows are left, at most
	 * that time. Called before windows are closed, by the database worker alone.
	 */
	TimestampTz (*settle) (EddyViewPlan *plan, TimestampTz until, int64 *budget);
};

extern const EddyViewKind eddy_kind_append; /* kind_append.c */
extern const EddyViewKind eddy_kind_collected;	/* kind_collected.c */
extern const EddyViewKind eddy_kind_combining;	/* kind_combining.c */
extern const EddyViewKind eddy_kind_deferred;	/* kind_deferred.c */
extern const EddyViewKind eddy_kind_panes;	/* kind_panes.c */
extern const EddyViewKind eddy_kind_retracting; /* kind_retracting.c */
extern const EddyViewKind eddy_kind_session;	/* kind_session.c */
extern const EddyViewKind eddy_kind_distinct_on;	/* kind_distinct_on.c */

extern const EddyViewKind *eddy_kind_choose(const Query *query);
extern const EddyViewKind *eddy_kind_choose_for(const EddyViewPlan *policy,
												 const Query *query, Index stream_rti);
extern const EddyViewKind *eddy_kind_get(const char *name);

#endif							/* EDDY_KIND_H */

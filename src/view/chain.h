/*-------------------------------------------------------------------------
 *
 * chain.h
 *    Continuous views that read other continuous views, their parents, in the place of streams.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CHAIN_H
#define EDDY_CHAIN_H

#include "view/plan.h"

/* ---- which relations of a definition are its source ---- */

/* Marks the continuous views that a definition reads in the place of streams. */
extern void eddy_chain_mark_sources(Query *definition);

/* True for a stream, and for a marked view of a definition. */
extern bool eddy_chain_is_source(const RangeTblEntry *rte);

/* ---- the parent ---- */

/*
 * Fills what a plan records of all of its sources (List of Oid): plan->sources, chained, changing,
 * retracts.
 */
extern void eddy_chain_note_sources(EddyViewPlan *plan, List *sources);

/*
 * Fills what a plan records of its own source (plan->parent), and raises
 * ERRCODE_FEATURE_NOT_SUPPORTED if the rows of the parent cannot be followed. Only for the source
 * itself: what the query does with its rows is checked by eddy_chain_check_query.
 */
extern void eddy_chain_analyze_source(EddyViewPlan *plan);

/*
 * The hint of an error for a view that reads changing rows, which recommends emit => 'on_close' for
 * the other view: another one if that has it, so that its rows only change because it accepts late
 * rows.
 */
extern const char *eddy_chain_hint(const EddyViewPlan *plan, const char *hint);

/* Raises an error if a flat query over a parent whose rows change cannot be maintained. */
extern void eddy_chain_check_query(EddyViewPlan *plan, Query *query);

/*
 * Makes the delta query read the main state table of the parent, whose rows a batch has. Returns
 * the query. eddy_chain_map changes references to columns of the parent alone, in a copy of a query
 * or expression.
 */
extern Query *eddy_chain_read_state(EddyViewPlan *plan, Query *delta);
extern Node *eddy_chain_map(const EddyViewPlan *plan, Node *node);

/*
 * Raises an error unless the owner of a view may read the columns of the parent of a plan that it
 * uses.
 */
extern void eddy_chain_check_privileges(const EddyViewPlan *plan);

/*
 * Locks what changes the rows of the sources of a view, streams and parents (List of Oid): for
 * creating, rebuilding and dropping views that read them.
 */
extern void eddy_chain_lock_sources(List *sources);

/*
 * Waits until the queries of views (List of Oid) are not being replaced, in the order in which all
 * do so.
 */
extern void eddy_chain_lock_queries(List *views);

/* ---- event time ---- */

/* True if a column of a source is a time up to which it is known that no more rows come. */
extern bool eddy_chain_is_event_time(Oid source, AttrNumber column);

/* Sets how the watermark of a plan with windows follows from that of its source. */
extern void eddy_chain_set_event_time(EddyViewPlan *plan, Query *query);

/* For what the watermark of a view is needed. */
typedef enum EddyChainUse
{
	EDDY_CHAIN_JUDGE,			/* while rows are added: what is known to be closed */
	EDDY_CHAIN_CLOSE,			/* to close windows, after those of parents that close in the same step */
	EDDY_CHAIN_EXPECT			/* as if these were closed until the watermark of the streams */
} EddyChainUse;

/*
 * The watermark that the windows of a view are judged and closed by, from that of its streams: that
 * of the streams, or a time until which all rows of the parents have arrived.
 */
extern TimestampTz eddy_chain_watermark(const EddyViewPlan *plan, TimestampTz watermark,
										EddyChainUse use);

#endif							/* EDDY_CHAIN_H */

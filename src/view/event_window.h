/*-------------------------------------------------------------------------
 *
 * event_window.h
 *    Windows over the event time of a stream, by which the groups of a view become final.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_EVENT_WINDOW_H
#define EDDY_EVENT_WINDOW_H

#include "nodes/parsenodes.h"

/* Numbers of the output columns of the window functions. */
#define EDDY_WINDOW_START 1
#define EDDY_WINDOW_END 2
#define EDDY_WINDOW_LAST 3		/* last_event, of a session */

/*
 * Returns which bound of a window over the event time of the stream an expression is, or 0. The
 * query is flat: the window function is in its own FROM clause.
 */
extern int	eddy_event_window_bound(const Query *query, Index stream_rti, const Node *expr);

/* True if an expression over a flat query is the event time of its source. */
extern bool eddy_event_window_is_event_time(const Query *query, Index stream_rti, const Node *expr);

/* The column of the stream that is the argument of that window function. */
extern AttrNumber eddy_event_window_column(const Query *query, Index stream_rti, const Node *expr);

/*
 * Adds the end of a window, as the last expression, to the grouping of a query that groups only by
 * its start, if the start determines the end. False if nothing was added.
 */
extern bool eddy_event_window_add_end(Query *query, Index stream_rti);

/* Why a view with this query has no windows that close: for the detail of an error. */
extern const char *eddy_event_window_missing(const Query *query, Index stream_rti);

#endif							/* EDDY_EVENT_WINDOW_H */

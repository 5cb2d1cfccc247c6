/*-------------------------------------------------------------------------
 *
 * flatten.h
 *    Makes one flat query of a definition with sub-selects, CTEs and UNION ALL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_FLATTEN_H
#define EDDY_FLATTEN_H

#include "nodes/parsenodes.h"

#include "compat.h"

/* ---- flatten.c: change the query that they get, and return it ---- */

extern Query *eddy_flatten_query(Query *query, Oid stream);
extern bool eddy_flatten_reads_stream(Query *query);
extern List *eddy_flatten_list_sources(Query *query);
extern void eddy_flatten_inline_ctes(Query *query, bool all);
extern void eddy_flatten_replace_ref(Query *query, Index rti, FromExpr *replacement);
extern Query *eddy_flatten_pull_up(Query *query, Index rti, Index stream_rti,
								   Index outer_stream_rti);

/* ---- union.c ---- */

extern Query *eddy_union_wrap(Query *query);
extern Query *eddy_union_to_distinct(Query *query);
eddy_compat_noreturn
extern void eddy_union_refuse(Node *operations);
extern void eddy_union_flatten(Query *query, Index rti, Oid stream);
extern Query *eddy_union_pull_up(Query *query, Index stream_rti);
extern AttrNumber eddy_union_find_column(const Query *query, Index stream_rti, const Node *expr);

/* ---- set_returning.c ---- */

extern void eddy_set_returning_to_from(Query *query);
extern bool eddy_set_returning_is_key(Query *query, const TargetEntry *tle);

/* ---- grouping.c ---- */

/* Name of the target list entry with the number of the grouping set. */
#define EDDY_GROUPING_SET_NAME "grouping_set"

extern void eddy_grouping_normalize(Query *query);
extern bool eddy_grouping_shows_all_keys(Query *query);

#endif							/* EDDY_FLATTEN_H */

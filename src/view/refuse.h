/*-------------------------------------------------------------------------
 *
 * refuse.h
 *    Which queries a continuous view can have, and the errors for all others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_REFUSE_H
#define EDDY_REFUSE_H

#include "nodes/parsenodes.h"

/*
 * eddy_refuse_query checks the definition of a continuous view and returns the
 * range table index of its stream. Raises ERRCODE_FEATURE_NOT_SUPPORTED, with
 * reason and hint, for queries that cannot be maintained incrementally.
 */
extern Index eddy_refuse_query(Query *query);

/*
 * eddy_refuse_hidden_streams checks a definition after rewriting, when views
 * have been expanded and row security policies added: no stream or segment may be
 * read in it at any depth, except for one stream in the range table of the query itself.
 * Returns the range table index of that stream, 0 if there is none. To be
 * called whenever a plan is made: a view that is joined can have been replaced since.
 */
extern Index eddy_refuse_hidden_streams(Query *rewritten);

/*
 * eddy_refuse_hidden_relation raises the same error if a relation is a stream or
 * segment, or if, with children, one inherits from it. For relations that appear
 * only during planning, from functions that are inlined.
 */
extern void eddy_refuse_hidden_relation(Oid relid, bool with_children);

/* Raises ERRCODE_FEATURE_NOT_SUPPORTED; detail and hint can be NULL. */
extern void eddy_refuse(const char *message, const char *detail, const char *hint);

#endif							/* EDDY_REFUSE_H */

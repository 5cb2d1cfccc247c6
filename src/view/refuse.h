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

#include "compat.h"

/* All raise ERRCODE_FEATURE_NOT_SUPPORTED with the reason and, if there is one, an alternative. */
extern Index eddy_refuse_query(Query *query);
extern Index eddy_refuse_hidden_streams(Query *rewritten);
extern void eddy_refuse_hidden_relation(Oid relid, bool with_children);
extern void eddy_refuse_not_row_wise(Query *sub);
extern void eddy_refuse_nullable_stream(Query *query);
extern void eddy_refuse_second_stream(void);
eddy_compat_noreturn
extern void eddy_refuse_inner_stream(void);
eddy_compat_noreturn
extern void eddy_refuse_without_stream(Query *query);
extern void eddy_refuse(const char *message, const char *detail, const char *hint);

/* Calls a function for each entry of a FROM clause. */
extern void eddy_refuse_walk_from(Node *node, bool nullable,
								  void (*visit) (Index rti, bool nullable, void *context),
								  void *context);

#endif							/* EDDY_REFUSE_H */

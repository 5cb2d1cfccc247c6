/*-------------------------------------------------------------------------
 *
 * replace_check.h
 *    Which queries can take the place of that of a continuous view, and when: see replace_check.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_REPLACE_CHECK_H
#define EDDY_REPLACE_CHECK_H

#include "catalog/eddy_catalog.h"
#include "view/plan.h"

extern void eddy_replace_check_columns(Oid relid, Query *query);
extern void eddy_replace_check_chain(const EddyView *view, const EddyView *new);
extern void eddy_replace_check_changes(const EddyView *view);	/* unless the new query has the same results */
extern void eddy_replace_check_successor(Oid relid);
extern void eddy_replace_check_emit(const EddyViewPlan *layout, Oid relid); /* unless the results stay */

#endif							/* EDDY_REPLACE_CHECK_H */

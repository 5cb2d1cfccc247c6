/*-------------------------------------------------------------------------
 *
 * state_table.h
 *    Creates the state tables of continuous views: see state_table.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_STATE_TABLE_H
#define EDDY_STATE_TABLE_H

#include "lib/stringinfo.h"
#include "view/plan.h"

/* Creates the state tables of a layout that have no Oid yet; returns all: List of Oid. */
extern List *eddy_state_tables_create(EddyViewPlan *layout, const char *view_name);

/* Parts of SQL commands about a state table. */
extern void eddy_state_table_append_column(StringInfo sql, const EddyStateColumn *column);
extern const char *eddy_state_table_column_name(const EddyStateTable *table, AttrNumber column);

#endif							/* EDDY_STATE_TABLE_H */

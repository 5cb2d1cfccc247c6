/*-------------------------------------------------------------------------
 *
 * define.h
 *    The parts of the creation of a continuous view, which replacing its query shares.
 *
 * For the files of view/ alone; other layers use view.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_DEFINE_H
#define EDDY_DEFINE_H

#include "lib/stringinfo.h"
#include "nodes/primnodes.h"

#include "compat.h"
#include "view/layer.h"
#include "view/plan.h"
#include "view/view.h"

/* Creates the definition: a view in schema eddy, of the owner of the extension. */
extern Oid	eddy_define_definition(RangeVar *name, const char *query);

/*
 * The sources of a view, in its catalog row; and an error if one of them was dropped before it was
 * locked.
 */
extern void eddy_define_set_streams(EddyView *row, Query *definition);
extern void eddy_define_check_streams(const EddyView *row);

/* Raises the error of a name of a view, or in its query, that means another object meanwhile. */
eddy_compat_noreturn
extern void eddy_define_refuse_rename(Oid view);

/* Executes an SQL command; SPI is connected. */
extern void eddy_define_execute(const char *sql);

/* The queries of the public view. */
extern char *eddy_define_rows_query(const EddyViewPlan *plan);
extern char *eddy_define_empty_query(const Query *reader);
extern void eddy_define_store_reader(Oid view, EddyLayers *layers, const char *rows_query);
extern void eddy_define_set_delete_trigger(Oid view, const EddyViewPlan *plan,
										   const EddyLayers *layers);

/* The catalog row, and the labels of the state tables. */
extern void eddy_define_describe(EddyView *row, const EddyViewPlan *layout,
								 const EddyLayers *layers);
extern void eddy_define_label_tables(const EddyView *view, const EddyViewPlan *layout,
									 const char *id);

/* Raises an error if an option needs windows that close and the query has none. */
extern void eddy_define_check_options(const EddyViewPlan *layout, Query *definition,
									  const EddyView *row);

#endif							/* EDDY_DEFINE_H */

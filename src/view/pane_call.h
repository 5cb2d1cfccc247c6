/*-------------------------------------------------------------------------
 *
 * pane_call.h
 *    Calls of eddy._open_windows in queries. Private to src/view.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_PANE_CALL_H
#define EDDY_PANE_CALL_H

#include "nodes/parsenodes.h"

/*
 * The call for a constant table that is all of an entry of a range table; NULL if it is something
 * else.
 */
extern FuncExpr *eddy_pane_find_call(const RangeTblEntry *rte);

/* The table of panes that it names, which need not be one. */
extern Oid	eddy_pane_call_table(const FuncExpr *call);

/* True if it is part of the public view of these panes, whose rights the server checks. */
extern bool eddy_pane_call_is_permitted(const FuncExpr *call);

/* From _PG_init only. */
extern void eddy_pane_call_init(void);

#endif							/* EDDY_PANE_CALL_H */

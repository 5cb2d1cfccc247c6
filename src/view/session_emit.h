/*-------------------------------------------------------------------------
 *
 * session_emit.h
 *    emit => 'every ...' of sessions: rows that are shown in the place of others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_SESSION_EMIT_H
#define EDDY_SESSION_EMIT_H

#include "view/plan.h"

/* The bounds of a session. With its key they identify it. */
typedef struct EddySessionBounds
{
	Timestamp	start;
	Timestamp	end;
} EddySessionBounds;

/* Adds the columns to the main state table. */
extern void eddy_session_emit_lay_out(EddyStateTable *table);

/* True for a row that is shown until another one is, which has taken its place. */
static inline bool
eddy_session_is_superseded(const EddyStateTable *table, const TupleTableSlot *row)
{
	return table->superseded && DatumGetBool(row->tts_values[table->superseded - 1]);
}

/* Makes a version of a row a superseded one: it has no states any more. */
extern void eddy_session_supersede(EddyViewPlan *plan, TupleTableSlot *version);

/* The superseded rows that are shown in the place of a session: List of EddySessionBounds. */
extern List *eddy_session_get_replaced(const EddyStateTable *table, const TupleTableSlot *row);
extern void eddy_session_set_replaced(const EddyStateTable *table, TupleTableSlot *version,
									  List *replaced);

/*
 * Deletes superseded rows, which are shown in the place of a session whose row is locked. Without
 * wait, false if one of them is locked: then none is deleted.
 */
extern bool eddy_session_delete_replaced(const EddyViewPlan *plan, const TupleTableSlot *session,
										 List *replaced, bool wait);

#endif							/* EDDY_SESSION_EMIT_H */

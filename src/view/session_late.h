/*-------------------------------------------------------------------------
 *
 * session_late.h
 *    Late rows of views over sessions: operations of the kind (kind.h).
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_SESSION_LATE_H
#define EDDY_SESSION_LATE_H

#include "view/plan.h"

struct EddyWork;

extern void eddy_session_adapt_late_query(EddyViewPlan *plan, Query *query, TimestampTz until);
extern Tuplestorestate *eddy_session_select_late(struct EddyWork *work, Tuplestorestate *store,
												 TupleTableSlot *pair);

#endif							/* EDDY_SESSION_LATE_H */

/*-------------------------------------------------------------------------
 *
 * session.h
 *    The call of eddy.session in the definition of a view.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_SESSION_H
#define EDDY_SESSION_H

#include "view/plan.h"

#include "compat.h"

/* A call of eddy.session. */
struct EddySession
{
	Index		rti;			/* in the range table of the definition */
	Oid			type;			/* of its times */
	int64		max_length;		/* in microseconds, 0: unlimited */
	List	   *positions;		/* of int: of the grouping expressions, in GROUP BY as written */
};

extern bool eddy_session_is_call(const Node *node);
eddy_compat_noreturn
extern void eddy_session_refuse_call(void);
extern bool eddy_session_is_used(const Query *query);

/* Checks the call, and adds to the grouping the bounds of the session that it lacks. */
extern EddySession *eddy_session_analyze(Query *query);

/* Replaces the call in the delta query: each row becomes a session of its own. */
extern void eddy_session_make_rows(Query *delta, const EddySession *session);

#endif							/* EDDY_SESSION_H */

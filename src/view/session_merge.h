/*-------------------------------------------------------------------------
 *
 * session_merge.h
 *    What the two files that merge sessions share: kind_session.c and session_write.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_SESSION_MERGE_H
#define EDDY_SESSION_MERGE_H

#include "utils/timestamp.h"
#include "view/collect.h"
#include "view/combine.h"
#include "view/merge.h"
#include "view/session.h"

/* The one state table. */
#define EDDY_SESSION_TABLE 0

/* Keys of the plan, and the first columns of a row of the delta. The last event is the last key. */
#define EDDY_SESSION_END 0
#define EDDY_SESSION_START 1
#define EDDY_SESSION_KEY 2		/* of the keys of the session itself */

/* A session that is stored. */
typedef struct EddyStoredSession
{
	ItemPointerData place;
	Timestamp	start;
	Timestamp	last;
	Timestamp	end;
	HeapTuple	row;			/* with a maximum length only, otherwise it is in the slot */
} EddyStoredSession;

/* The session that is being combined. */
typedef struct EddyNewSession
{
	bool		exists;
	Timestamp	start;
	Timestamp	last;
	Timestamp	end;
	bool		has_rows;		/* of the batch */
	List	   *early_rows;		/* of MinimalTuple: those that are late unless the session is not */
	List	   *absorbed;		/* of EddyStoredSession */
	EddyAccumulator *states;
} EddyNewSession;

/* One merge. */
typedef struct EddySessions
{
	EddyViewPlan *plan;
	EddyMerge  *merge;
	const EddyStateTable *table;
	EddyCombiner *combiner;		/* its context is that of the current session */
	EddyCollector *collector;	/* NULL: no aggregate needs its values */
	EddyState  *partials;		/* of a row of the delta */
	ExprContext *econtext;
	TupleTableSlot *finals;		/* keys and final values, for expressions */
	TupleTableSlot *result;		/* the session to be written */
	TupleTableSlot *copy;		/* a copy of a stored session */
	TupleTableSlot *superseded; /* the new version of one */
	TupleTableSlot *late;		/* a late row of the delta */
	EddyJudgment *judgment;
	TimestampTz now;			/* of the merge */
	int			nkeys;			/* of a session */

	/* the current key */
	MemoryContext key_mcxt;
	Datum	   *keys;			/* as the state table shows them */
	bool	   *key_nulls;
	Tuplestorestate *rows;		/* of the delta, in order of start and end */
	TupleTableSlot *row;		/* the next one; empty: there are no more */

	/* stored sessions of the key, in order of start */
	TupleTableSlot *stored_row; /* the next one, if it was read from the table */
	EddyStoredSession stored;	/* the same; exists if has_stored */
	bool		has_stored;
	bool		at_end;			/* there are no more */
	List	   *all_stored;		/* with a maximum length: of EddyStoredSession, all that can be touched */
	int			next_stored;	/* of all_stored */

	/* of emit => 'every ...' */
	List	   *replaced;		/* of EddySessionBounds: superseded rows to be removed */
	List	   *inserted;		/* of HeapTuple: sessions to be inserted */

	EddyNewSession	session;
} EddySessions;

static inline int
eddy_session_last_key(const EddyViewPlan *plan)
{
	return plan->nkeys - 1;
}

static inline Timestamp
eddy_session_stored_time(const EddySessions *s, TupleTableSlot *row, int key)
{
	return DatumGetTimestamp(row->tts_values[s->plan->keys[key].column - 1]);
}

static inline bool
eddy_session_is_late(const EddySessions *s, Timestamp end)
{
	return end <= s->judgment->late_until;
}

/* ---- session_write.c ---- */

extern TupleTableSlot *eddy_session_show_stored(EddySessions *s, const EddyStoredSession *stored);
extern void eddy_session_complete(EddySessions *s);
extern void eddy_session_complete_key(EddySessions *s);

#endif							/* EDDY_SESSION_MERGE_H */

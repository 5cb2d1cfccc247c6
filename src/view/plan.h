/*-------------------------------------------------------------------------
 *
 * plan.h
 *    A continuous view taken apart: keys, aggregates, result columns, delta query.
 *
 * Layout of a state table, fixed by the definition alone:
 *
 *    columns of the view | keys that it does not show | states | verdict of HAVING
 *
 * A shown column that is a bare group key or a bare aggregate serves as key or
 * as state itself, so most views have no hidden columns at all.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_PLAN_H
#define EDDY_PLAN_H

#include "catalog/eddy_catalog.h"
#include "executor/execdesc.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/execnodes.h"
#include "nodes/parsenodes.h"

/* One GROUP BY expression. */
typedef struct EddyKey
{
	Expr	   *expr;			/* over the FROM clause of the definition */
	Oid			type;
	int32		typmod;
	Oid			collation;
	Oid			lt_opr;			/* of the default btree class: the order of locking */
	AttrNumber	column;			/* in the state table */
	FmgrInfo	eq;
} EddyKey;

/*
 * One aggregate call, each different call once.
 *
 * The state column holds either the transition state (serialized to bytea if it
 * is of type internal), or the final value where two final values can be
 * combined to the final value of both: then it is a column of the view as well.
 */
typedef struct EddyAggregate
{
	Aggref	   *aggref;
	Oid			transtype;
	Oid			partial_type;	/* what the delta query gives: bytea for internal */
	bool		internal;		/* transtype is internal */
	bool		state_is_final; /* the state column holds the final value */
	Oid			state_type;
	int32		state_typmod;
	AttrNumber	state_column;	/* in the state table */
	int16		translen;
	bool		transbyval;
	int16		resultlen;
	bool		resultbyval;
	FmgrInfo	combine;		/* of two transition states */
	FmgrInfo	add;			/* of two final values, if internal and state_is_final */
	FmgrInfo	serialize;
	FmgrInfo	deserialize;
	bool		has_final;
	FmgrInfo	final;
	int			nfinal_args;	/* the state and NULLs for the rest */
} EddyAggregate;

typedef enum EddyOutputKind
{
	EDDY_OUTPUT_KEY,
	EDDY_OUTPUT_AGGREGATE,
	EDDY_OUTPUT_EXPRESSION
} EddyOutputKind;

/* One column of the view. */
typedef struct EddyOutput
{
	EddyOutputKind kind;
	int			index;			/* of the key or aggregate */
	Expr	   *expr;			/* over Vars of varno 1: keys, then final values */
	ExprState  *state;			/* of EDDY_OUTPUT_EXPRESSION */
	char	   *name;
	Oid			type;
	int32		typmod;
	Oid			collation;
} EddyOutput;

/* A column of the state table, in order. */
typedef struct EddyStateColumn
{
	char	   *name;
	Oid			type;
	int32		typmod;
	Oid			collation;
} EddyStateColumn;

typedef struct EddyViewPlan
{
	Oid			view;
	Oid			stream;
	Oid			definition;
	Oid			state_table;
	Oid			state_index;	/* unique index over the keys */
	Oid			owner;
	char	   *name;			/* for messages */
	bool		dead_letters;	/* policy for rows that expressions fail on; false: stop */
	bool		fallible;		/* expressions over aggregates or HAVING may raise an error */

	int			nkeys;			/* 0: one row for the whole stream */
	EddyKey    *keys;
	int			naggs;
	EddyAggregate *aggs;
	int			noutputs;
	EddyOutput *outputs;
	Expr	   *having;			/* over the same Vars, or NULL */
	ExprState  *having_state;
	AttrNumber	visible_column; /* 0: no HAVING */
	int			ncolumns;		/* of the state table */
	EddyStateColumn *columns;
	AttrNumber	constant_key;	/* column of the key of a view without GROUP BY, else 0 */

	TupleDesc	delta_desc;		/* keys, then partial states */
	TupleDesc	final_desc;		/* keys, then final values: what expressions read */
	char	   *delta_sql;		/* over ONLY stream: for a batch */
	char	   *staged_sql;		/* over the stream and its segments: start => 'staged' */
	SPIPlanPtr	delta;			/* NULL until first used */

	MemoryContext mcxt;			/* holds all of it */
	bool		valid;			/* false: something changed, make it anew */
	int			users;			/* while > 0 it is not freed */
} EddyViewPlan;

/* ---- analyze.c ---- */

/* Oid of the stream that a definition reads; errors for shapes that cannot be maintained. */
extern Oid	eddy_analyze_stream(Query *query);

/*
 * eddy_analyze_query takes a definition apart into *plan (keys, aggregates, outputs,
 * columns, delta SQL), all in the current memory context. Raises
 * ERRCODE_FEATURE_NOT_SUPPORTED with reason and hint for what cannot be maintained incrementally.
 */
extern void eddy_analyze_query(EddyViewPlan *plan, Query *query);

/* ---- plan.c: cached per backend ---- */

/*
 * Plans of the views of a stream that are not suspended, by Oid of the view. List of
 * EddyViewPlan; pin while in use.
 */
extern List *eddy_plan_of_stream(Oid stream);

/* The plan of a view, NULL if it is gone. */
extern EddyViewPlan *eddy_plan_get(Oid view);

/* Copy of the definition's query. Takes AccessShareLock on the definition. */
extern Query *eddy_plan_definition_query(Oid definition);

extern void eddy_plan_pin(EddyViewPlan *plan);
extern void eddy_plan_unpin(EddyViewPlan *plan);

/* Unpins everything; at the end of a transaction. */
extern void eddy_plan_reset(void);

/* ---- delta.c ---- */

/* Runs the delta query over stored rows (start => 'staged') or over none, and leaves it pending. */
extern void eddy_delta_collect_initial(EddyViewPlan *plan, bool staged);

/* ---- define.c ---- */

/*
 * Fills the empty state table of a view from the rows that its stream stages, or from none. The
 * caller holds ShareRowExclusiveLock on the stream.
 */
extern void eddy_view_fill(Oid view, bool staged);

/* ---- objects.c ---- */

/* Gives a relation to the owner of the extension and revokes all privileges on it. */
extern void eddy_view_seize(Oid relid);

/* ---- suspend.c ---- */

/*
 * False if the owner of a view has lost the TRIGGER privilege on its stream. A few look-ups in
 * the syscache.
 */
extern bool eddy_view_may_maintain(const EddyViewPlan *plan);

/* Errors unless a role has the TRIGGER privilege on a stream. */
extern void eddy_view_check_stream(Oid stream, Oid role);

/* Errors unless the current user owns the view or, if that is allowed, its stream. */
extern void eddy_view_check_owner(const EddyView *view, bool allow_stream_owner);

/* ---- merge.c ---- */

/*
 * Merges deltas (List of Tuplestorestate, not freed) into the state table of a view. With
 * repeatable a new group that somebody else inserts at the same time is an
 * error (23505), after which the caller's transaction has to be done again.
 */
extern void eddy_merge(EddyViewPlan *plan, List *deltas, bool repeatable);

#endif							/* EDDY_PLAN_H */

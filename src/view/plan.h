/*-------------------------------------------------------------------------
 *
 * plan.h
 *    A continuous view taken apart: keys, aggregates, columns, state tables, delta query.
 *
 * For the files of view/ alone; other layers use view.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_PLAN_H
#define EDDY_PLAN_H

#include "catalog/eddy_catalog.h"
#include "fmgr.h"
#include "label.h"
#include "nodes/execnodes.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "utils/rel.h"
#include "view/upsert.h"

/*
 * One GROUP BY expression. The end of a window is the first key and its start the next, if they are
 * keys.
 */
typedef struct EddyKey
{
	Expr	   *expr;			/* over the FROM clause of the definition */
	Oid			type;
	int32		typmod;
	Oid			collation;
	Oid			lt_opr;			/* of the default btree class: the order of locking */
	FmgrInfo	eq;
	int			position;		/* in GROUP BY */
	bool		dependent;		/* determined by the others, so that it identifies no group */
	AttrNumber	column;			/* in the state table */
} EddyKey;

/*
 * One aggregate call, each different call once.
 *
 * The state column holds either the transition state, serialized to bytea if it is of type
 * internal, or the final value, if two final values can be combined to the final value of both.
 * Then it can also be a column of the view.
 */
typedef struct EddyAggregate
{
	Aggref	   *aggref;
	Oid			transtype;
	Oid			partial_type;	/* of the delta query: bytea for internal */
	bool		partial_is_final;	/* the delta query gives the final value, which add combines */
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

	/*
	 * A strict transition function that has returned NULL is not called again: the group's
	 * result remains NULL. A NULL state means this, and not "no input yet", if there is an
	 * initial state, or a positive count of inputs in another aggregate.
	 */
	bool		null_is_lost;
	int			counter;		/* index of the aggregate that counts inputs, 0: none */

	struct EddyAggregate *states;	/* combines states of the parent (chain_combine.h): their list */

	/* maintained from kept values (collect.h); NULL: by combining what the delta query gives */
	struct EddyCollection *collection;
	bool		from_all;		/* from all values of the group; false: new ones are combined */
} EddyAggregate;

typedef enum EddyOutputKind
{
	EDDY_OUTPUT_KEY,
	EDDY_OUTPUT_AGGREGATE,
	EDDY_OUTPUT_EXPRESSION,		/* over keys and final values */
	EDDY_OUTPUT_DELTA			/* a column of the delta */
} EddyOutputKind;

/* One column of the view. */
typedef struct EddyOutput
{
	EddyOutputKind kind;
	int			index;			/* of the key, aggregate or column of the delta */
	Expr	   *expr;			/* over Vars of varno 1: keys, then final values */
	ExprState  *state;			/* of EDDY_OUTPUT_EXPRESSION */
	char	   *name;
	Oid			type;
	int32		typmod;
	Oid			collation;
	AttrNumber	column;			/* in the main state table */
	AttrNumber	stream_column;	/* of EDDY_OUTPUT_DELTA: the column of the source that it is, 0: none */
	AttrNumber	latest_column;	/* what column will show (emit_every.h); 0: it always shows the latest value */
} EddyOutput;

/* One expression of ORDER BY that chooses among the rows of a key. */
typedef struct EddyOrder
{
	Expr	   *expr;
	Oid			type;
	int32		typmod;
	Oid			collation;
	Oid			sort_opr;
	bool		nulls_first;
	AttrNumber	column;			/* in the state table */
} EddyOrder;

typedef struct EddyViewKind EddyViewKind;	/* kind.h */

typedef struct EddySession EddySession; /* session.h */

typedef struct EddyPanes EddyPanes;	/* panes.h */

typedef struct EddyPaneSums EddyPaneSums;	/* pane_sums.h */

typedef struct EddyClosePosition EddyClosePosition;	/* closing.c */

typedef struct EddyDirect EddyDirect;	/* direct.h */

typedef struct EddyGroup EddyGroup;	/* kind_combining.h */

typedef struct EddyEventView EddyEventView;	/* chain.c */

typedef struct EddyViewPlan EddyViewPlan;

struct EddyViewPlan
{
	Oid			view;
	Oid			stream;			/* whose rows the delta query reads: a stream, or a parent */
	List	   *sources;		/* of Oid: all that the view reads, in the order of its query */
	List	   *streams;		/* of Oid, sorted: all whose rows reach the view, also through parents */
	Oid			root;			/* the view whose watermark applies: this one, or the parent that it reads alone */
	List	   *others;			/* of EddyViewPlan: of UNION ALL of several sources, those of the others, of
								 * which only what concerns the delta query is used */
	Oid			definition;
	Oid			owner;
	char	   *name;			/* for messages */
	const EddyViewKind *kind;
	bool		dead_letters;	/* policy for rows that expressions fail on; false: stop */
	bool		on_close;		/* rows are in the view once they are final */
	bool		keeps_late;		/* late rows are stored in eddy.late_rows */
	int64		emit_interval;	/* microseconds between visible changes of a group; 0: all are visible */
	int64		lateness;		/* microseconds for which final rows accept late rows (eddy_view_lateness) */
	int64		retention;		/* microseconds for which final rows are kept; -1: indefinitely */
	int64		idle_ttl;		/* microseconds for which groups are kept that are not touched; 0: indefinitely */
	bool		deferred;		/* users' statements append to a table that is merged later */

	/* made by the kind's operation layout */
	int			nkeys;			/* 0: no GROUP BY */
	EddyKey    *keys;
	int			set_key;		/* of views with empty_sets: the key with the number of the set */
	List	   *empty_sets;		/* numbers of grouping sets without columns */
	int			naggs;
	EddyAggregate *aggs;
	int			norder;			/* of DISTINCT ON: ORDER BY after the keys */
	EddyOrder  *order;
	int			noutputs;
	EddyOutput *outputs;
	Expr	   *having;			/* over the same Vars as outputs, or NULL */
	ExprState  *having_state;
	bool		fallible;		/* has expressions over aggregates, or HAVING, which can fail */
	TupleDesc	final_desc;		/* keys, then final values: what these expressions read */
	EddySession *session;		/* of a view with session windows, otherwise NULL */
	EddyPanes  *panes;			/* of a view whose windows are combined from panes, otherwise NULL */
	EddyPaneSums *pane_sums;	/* sums of panes that closing has kept, or NULL */
	List	   *state_tables;	/* of EddyStateTable; the view reads the first, the main one */
	bool		windowed;		/* keys[0] is the end of a window over the event time */
	TimestampTz next_end;		/* no window that is not closed ends before, as of next_end_at */
	TimestampTz next_end_at;	/* 0: not known */
	EddyView   *parent;			/* the view that it reads in the place of a stream, or NULL (chain.h) */
	bool		chained;		/* it, or another source of the same view, is a view */
	Oid			changing;		/* the first source of the view whose rows change; InvalidOid: none */
	bool		retracts;		/* there is one: what was counted is taken back */
	struct EddyViewPlan *pinned_parent; /* during the analysis of a view that combines */
	bool		combines;		/* it combines what the parent keeps (chain_combine.h) */
	int			nparent_columns;	/* of the parent's main state table, if it does */
	Bitmapset  *source_columns; /* of the parent, as in RTEs: those that the query reads */
	List	   *event_views;	/* of EddyEventView: whose closed windows are the watermark; NIL: that of the streams is */
	Expr	   *window_start;	/* of Param 1: the start of the window that contains a time, or NULL */
	int			rows_agg;		/* of views that retract: index of count(*), the rows of a group */
	bool		interrupted;	/* a window was found partly closed */
	EddyClosePosition *positions;	/* where the work on ranges of windows continues, or NULL */
	bool		adds_end;		/* that end is not in the definition's GROUP BY, but its start is */

	/* columns of the main state table, 0: none */
	AttrNumber	having_column;	/* the result of HAVING */
	AttrNumber	final_column;	/* the row will not change again, unless by an accepted late row */
	AttrNumber	visible_column; /* the row is in the view */
	AttrNumber	row_column;		/* the ID that is the key of a row without another */
	AttrNumber	id_column;		/* identity of the group, by which its kept values are found */

	List	   *collections;	/* of EddyCollection: values that aggregates need */

	/* the delta query: what the view's SELECT gives over a batch (delta_plan.c) */
	Query	   *delta_query;
	Index		stream_rti;		/* in its range table */
	TupleDesc	delta_desc;		/* the group keys come first */
	bool		final_delta;	/* it has final values of the aggregates, not transition states */
	int			nsort_keys;		/* by which deltas are sorted for merging */
	int		   *sort_keys;		/* indexes of keys; NULL: all keys in their order */
	char	   *delta_name;		/* stands for its text where servers and logs want one */
	PlannedStmt *delta;			/* NULL until first used */
	MemoryContext delta_mcxt;	/* holds delta */
	bool		delta_valid;	/* false: something it depends on has changed */
	EddyDirect *direct;			/* computes the delta of few rows (direct.h); NULL: not prepared */
	bool		indirect;		/* it cannot */
	bool		is_pure;		/* maintenance calls only functions that depend on nothing else (pure.h) */
	bool		pure;			/* the same, unless something has failed: then errors are made under the owner */

	EddyGroup  *group;			/* computes the version of one group; NULL: not made */

	int			ncolumns;		/* of the view; these two are not known before it exists */
	AttrNumber *columns;		/* in the main state table; 0: computed when reading */

	List	   *depends;		/* of PlanInvalItem: functions, types and aggregates used */
	MemoryContext mcxt;			/* holds all of it */
	bool		valid;			/* false: something it depends on has changed */
	int			users;			/* while > 0 it is not freed */
};

/* ---- plan.c ---- */

extern void eddy_plan_watch(void);
extern bool eddy_plan_ready(Oid view);
extern EddyViewPlan *eddy_plan_get(Oid view);	/* NULL: dropped; pin it while in use */
extern EddyViewPlan *eddy_plan_make(const EddyView *view);	/* not from the cache */
extern EddyViewPlan *eddy_plan_for_source(EddyViewPlan *plan, Oid source);	/* of plan, or one of others */
extern void eddy_plan_pin(EddyViewPlan *plan);
extern void eddy_plan_unpin(EddyViewPlan *plan);
extern void eddy_plan_pin_for(EddyViewPlan *plan, MemoryContext mcxt);
extern void eddy_plan_check_result(const EddyViewPlan *plan, TupleDesc expected,
								   const char *function);
extern void eddy_plan_set_policy(EddyViewPlan *plan, const EddyView *view);
extern Query *eddy_plan_definition_query(Oid definition);
extern void eddy_plan_at_xact_end(void);
extern uint64 eddy_plan_invalidations(void);

/* The state table that the view reads. */
static inline EddyStateTable *
eddy_plan_main_table(const EddyViewPlan *plan)
{
	return linitial(plan->state_tables);
}

/* ---- objects.c ---- */

extern void eddy_view_seize(Oid relid);
extern void eddy_view_drop_table(Oid relid);
extern void eddy_view_drop_parts(const EddyView *old, const EddyView *new);
extern void eddy_view_copy_privileges(Oid from, Oid to);

/* ---- publication.c ---- */

extern void eddy_view_republish(const EddyView *old, const EddyView *new);

/* ---- label.c ---- */

/* Label a new view, and with the ID that this returns each of its state tables. */
extern char *eddy_view_label(Oid view);
extern char *eddy_view_get_label(Oid view);
extern void eddy_view_label_table(const char *id, Oid table, const EddyTableLabel *label);

/* ---- suspend.c ---- */

extern Oid	eddy_view_denied_source(const EddyViewPlan *plan);
extern void eddy_view_check_sources(List *sources, Oid role);
extern EddyView *eddy_view_get(Oid relid);
extern void eddy_view_check_owner(const EddyView *view, bool allow_stream_owner);
extern void eddy_view_check_reader(const EddyView *view);

/* ---- signature.c ---- */

/* Major version of the server, as _view.format records it. */
#define EDDY_SERVER_MAJOR (PG_VERSION_NUM / 10000)

extern char *eddy_signature_make(Query *query);
extern void eddy_signature_check(const EddyView *view, Query *query, const char *name);
extern bool eddy_signature_is_readable(const EddyView *view, Query *query);

/* ---- delta_plan.c ---- */

extern bool eddy_delta_is_planned(EddyViewPlan *plan);
extern PlannedStmt *eddy_delta_plan(EddyViewPlan *plan);
extern PlannedStmt *eddy_delta_plan_query(EddyViewPlan *plan, Query *query);

#endif							/* EDDY_PLAN_H */

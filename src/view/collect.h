/*-------------------------------------------------------------------------
 *
 * collect.h
 *    Aggregates that are maintained from their input values, which are kept.
 *
 * A collection is what the aggregates of a view with the same input keep of it: the values of each
 * group, in a state table of its own. The rows of that table are found by the identity of the
 * group, a UUID in a hidden column of the group's own row: a group that is deleted and created
 * again has another identity, so that values of the first one are never counted for the second.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_COLLECT_H
#define EDDY_COLLECT_H

#include "utils/sortsupport.h"
#include "view/combine.h"
#include "view/merge.h"
#include "view/plan.h"

/* What is kept, and the columns of the table: the identity of the group is the first one. */
typedef enum EddyCollectKind
{
	EDDY_COLLECT_SET,			/* identity, values: each different value once, for DISTINCT */
	EDDY_COLLECT_COUNTS,		/* identity, values, count: for what depends on no order */
	EDDY_COLLECT_LIST			/* identity, number, values: all, in the order of arrival */
} EddyCollectKind;

typedef struct EddyCollection EddyCollection;

struct EddyCollection
{
	/* from the definition */
	EddyCollectKind kind;
	List	   *exprs;			/* of Expr: the columns of a value, and what tells equal ones apart */
	int			nvalues;		/* of these, the columns of a value */
	const EddyCollection *combined;	/* of the parent, whose values these are; only for the analysis */
	Expr	   *filter;			/* NULL: all rows */
	int			ncolumns;
	EddyAggregate *input;		/* eddy._collect of a batch's rows, in the delta query */
	List	   *aggs;			/* of int, indexes in plan->aggs; the first one has the delta's column */
	Oid		   *lt_oprs;		/* of each column; not of a list */
	Oid		   *collations;
	TupleDesc	delta_desc;		/* as in the delta: place in the batch, columns */
	TupleDesc	value_desc;		/* as aggregates read them: columns, number */

	/* where it is stored */
	int			table;			/* position in plan->state_tables */
	AttrNumber	count_column;	/* of the main table: values (of counts: inputs) of the group */
	AttrNumber	nvalues_column; /* of the main table: values of the group */

	/* queries over values, NULL until first used */
	PlannedStmt *whole;			/* the aggregates that are computed from all values */
	PlannedStmt *partial;		/* the others: transition states of new values */
};

/* ---- collect.c: layout ---- */

extern bool eddy_collect_needs_values(const Aggref *aggref);
extern bool eddy_collect_ignores_order(const Aggref *aggref);
extern void eddy_collect_analyze(EddyViewPlan *plan, EddyAggregate *agg);
extern Aggref *eddy_collect_make_call(const char *name, Oid lookup_type, Oid type, List *args);
extern Aggref *eddy_collect_make_aggref(EddyCollection *collection, Index stream_rti);
extern void eddy_collect_lay_out_tables(EddyViewPlan *plan);
extern void eddy_collect_check_privileges(const EddyViewPlan *plan);
extern List *eddy_collect_tables(const EddyViewPlan *plan);

/* ---- collect_query.c: queries over values ---- */

extern void eddy_collect_check(EddyViewPlan *plan, EddyCollection *collection);
extern PlannedStmt *eddy_collect_plan(EddyViewPlan *plan, EddyCollection *collection,
									  bool partial);
extern void eddy_collect_run(EddyViewPlan *plan, EddyCollection *collection, bool partial,
							 Tuplestorestate *values, ParamListInfo keys, MemoryContext mcxt,
							 EddyState *results);

/* ---- collect_merge.c: one merge ---- */

typedef struct EddyCollector EddyCollector;

extern EddyCollector *eddy_collect_begin(EddyViewPlan *plan, EddyMerge *merge,
										 EddyCombiner *combiner);
extern void eddy_collect_end(EddyCollector *collector);

/*
 * For each group, again after a collision: start_group, prepare, then one compute for each
 * aggregate that has a collection, then store, after the change of the group's own row was passed
 * to the merge. Before prepare, add_row for each of several rows of the delta, and absorb for each
 * stored group that becomes a part of this one.
 */
extern void eddy_collect_start_group(EddyCollector *collector);
extern void eddy_collect_add_row(EddyCollector *collector, const EddyState *partials);
extern void eddy_collect_absorb(EddyCollector *collector, TupleTableSlot *stored);
extern int64 eddy_collect_count_values(const EddyCollector *collector, TupleTableSlot *stored);
extern void eddy_collect_prepare(EddyCollector *collector, const EddyState *partials,
								 const EddyState *removed, TupleTableSlot *stored, const Datum *keys,
								 const bool *key_nulls, TupleTableSlot *result);
extern void eddy_collect_compute(EddyCollector *collector, int agg, const EddyState *stored,
								 EddyState *new_stored, EddyState *final);
extern void eddy_collect_store(EddyCollector *collector);

/* ---- collect_delete.c ---- */

extern void eddy_collect_forget(List *tables, List *identities);

#endif							/* EDDY_COLLECT_H */

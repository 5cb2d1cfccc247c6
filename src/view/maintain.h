/*-------------------------------------------------------------------------
 *
 * maintain.h
 *    The maintenance of one view by one batch, as the files that do it share it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_MAINTAIN_H
#define EDDY_MAINTAIN_H

#include "batch.h"
#include "compat.h"
#include "utils/resowner.h"
#include "view/chain.h"
#include "view/changes.h"
#include "view/merge.h"
#include "view/plan.h"
#include "view/scan.h"

typedef struct EddyQuick EddyQuick;

typedef struct EddyWork
{
	EddyViewPlan *plan;
	EddyViewPlan *source;		/* plan, or that of another source: its delta query reads the batch */
	EddyBatch  *batch;

	/*
	 * The batch of another source that the same statement has changed and the view also reads, or
	 * NULL: a work of its own until the deltas are merged, which is done for all of them together.
	 */
	struct EddyWork *next;
	bool	   *skip;			/* rows that this view rejects, or NULL */
	List	   *deltas;			/* of Tuplestorestate */
	TimestampTz watermark;		/* by which the rows are judged */
	TimestampTz closes_until;	/* windows that end until here are closed with the batch's watermark */
	EddyJudgment judgment;		/* which of their groups are late */
	EddyMergeResult *result;	/* computed and not yet written, or NULL */
	EddyQuick  *quick;			/* the same of a batch of one row (quick.h), or NULL */
	EddyChanges *changes;		/* records what is written, for observers; NULL: there are none */
	EddyTrial  *trial;			/* during the search for rows that make a merge fail, or NULL */
	bool		strict;			/* errors of the view itself are raised */
	bool		fills;			/* the view is created or rebuilt */
	bool		beside;			/* its state tables are not known to others yet */
	bool		suspended;
	MemoryContext mcxt;			/* outlives the subtransactions of the steps */
	ResourceOwner owner;		/* of temporary files */
} EddyWork;

/* What is done with a part of the batch, in a subtransaction that only reads. */
typedef enum EddyStep
{
	EDDY_STEP_COLLECT,			/* run the delta query, keep the delta */
	EDDY_STEP_CHECK,			/* run the delta query, keep nothing */
	EDDY_STEP_TRY_MERGE			/* run the delta query and merge it on trial */
} EddyStep;

/* ---- maintain.c ---- */

/* The plan of a view that is to be maintained, with its state tables locked, or NULL. */
extern EddyViewPlan *eddy_maintain_lock_view(Oid view, bool suspends);

/*
 * Makes an empty record for the changes of a view, in the current memory context, if an observer
 * wants them; otherwise NULL.
 */
extern EddyChanges *eddy_maintain_make_record(const EddyViewPlan *plan, EddyChangeCause cause);

/* Writes to the main state table are recorded there until this is called again with NULL. */
static inline void
eddy_maintain_record_to(EddyViewPlan *plan, EddyChanges *changes)
{
	eddy_plan_main_table(plan)->changes = changes;
}

/* Maintains one view with a batch that is part of its first content: List of EddyChanges. */
extern List *eddy_maintain_fill(EddyViewPlan *plan, EddyBatch *batch, bool beside);

/* Adds a record to a list, if it is not empty, and frees it otherwise; NULL is ignored. */
extern List *eddy_maintain_keep_record(List *records, EddyChanges *changes);

/* ---- closing.c ---- */

/* The last end of windows that are final by a watermark. */
extern TimestampTz eddy_view_closes_until(const EddyViewPlan *plan, TimestampTz watermark,
										  EddyChainUse use);

/*
 * The watermark at which windows of a view have to be closed, or their groups to shrink; DT_NOEND:
 * none has. The state tables are locked.
 */
extern TimestampTz eddy_view_next_due(EddyViewPlan *plan);

/* ---- empty_sets.c ---- */

extern void eddy_empty_sets_collect(EddyWork *work);

/* ---- late_pairs.c ---- */

extern void eddy_late_collect(EddyWork *work);

/* ---- delta.c ---- */

extern ErrorData *eddy_delta_run_for(EddyViewPlan *plan, void (*function) (void *), void *arg,
									 bool in_subtransaction);
extern ErrorData *eddy_delta_run_limited(EddyViewPlan *plan, void (*function) (void *), void *arg,
										 bool *by_row);
extern ErrorData *eddy_delta_run(EddyWork *work, void (*function) (void *), void *arg,
								 bool in_subtransaction);
extern Tuplestorestate *eddy_delta_make_store(EddyWork *work);
extern void eddy_delta_execute(EddyWork *work, PlannedStmt *statement, EddyScanRange *range,
							   Tuplestorestate *store, volatile bool *starting);
extern bool eddy_delta_try_step(EddyWork *work, EddyScanRange *range, EddyStep step, bool keep,
								ErrorData **error);
extern void eddy_delta_discard(EddyWork *work);
extern void eddy_delta_start_clock(EddyWork *work);
extern bool eddy_delta_is_row_error(EddyWork *work, const ErrorData *error);
extern void eddy_delta_suspend(EddyWork *work, ErrorData *error);
eddy_compat_noreturn
extern void eddy_delta_refuse_batch(EddyWork *work, ErrorData *error);

/* ---- bisect.c ---- */

extern void eddy_bisect_range(EddyWork *work, EddyScanRange *range, EddyStep step);
extern void eddy_bisect_batch(EddyWork *work, EddyStep step);

#endif							/* EDDY_MAINTAIN_H */

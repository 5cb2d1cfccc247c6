/*-------------------------------------------------------------------------
 *
 * merge.h
 *    Merging deltas into state tables, in one pass, in two passes or on trial.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_MERGE_H
#define EDDY_MERGE_H

#include "datatype/timestamp.h"
#include "utils/resowner.h"
#include "view/plan.h"
#include "view/trial.h"

/* Which groups of a batch a view accepts, if it has windows. */
typedef struct EddyJudgment
{
	TimestampTz late_until;		/* groups whose window ends until here are late; DT_NOBEGIN: none */
	TimestampTz final_until;	/* new groups whose window ends until here are final at once */
	bool		found_late;		/* set if there was a late group */
	TimestampTz first_end;		/* set to the earliest end of a window that has changed */
	Tuplestorestate *late_rows; /* rows of the delta that a kind found late itself; NULL: none does */
	bool		defers;			/* the delta is stored and merged later (kind_deferred.c) */
} EddyJudgment;

/* ---- for the maintenance of a view: deltas are a List of Tuplestorestate, not freed ---- */

/*
 * For a batch that can be repeated: a new row that a concurrent transaction inserts as well
 * is an error (23505).
 */
extern void eddy_merge(EddyViewPlan *plan, List *deltas, EddyJudgment *judgment);

/* The same in two passes: the first computes and writes nothing, the second writes. */
typedef struct EddyMergeResult EddyMergeResult;

extern EddyMergeResult *eddy_merge_make_result(EddyViewPlan *plan, MemoryContext mcxt,
											   ResourceOwner owner);
extern void eddy_merge_compute(EddyViewPlan *plan, List *deltas, EddyMergeResult *result,
							   EddyJudgment *judgment);
extern void eddy_merge_write(EddyViewPlan *plan, EddyMergeResult *result,
							 EddyJudgment *judgment);
extern void eddy_merge_free_result(EddyMergeResult *result);

/* On trial: into memory, on top of what earlier steps of the trial have merged. */
extern void eddy_merge_try(EddyViewPlan *plan, List *deltas, EddyTrial *trial,
						   EddyJudgment *judgment);

/* ---- for kinds of views ---- */

/* What one call of the kind's operation merge works with. */
typedef struct EddyMerge EddyMerge;

extern EddyJudgment *eddy_merge_judgment(EddyMerge *merge);

/* True if a row of the delta is late, of a kind whose groups have one row. */
extern bool eddy_merge_is_late(EddyViewPlan *plan, EddyJudgment *judgment, TupleTableSlot *group);

/* For kinds whose rows of the delta are not late by themselves: notes one that is. */
extern void eddy_merge_note_late(EddyMerge *merge, TupleTableSlot *row);

/* The input, in order of its first nkeys columns, without late groups. */
extern TupleTableSlot *eddy_merge_next(EddyMerge *merge);

/* The state tables, by their position in plan->state_tables. */
extern TupleDesc eddy_merge_desc(EddyMerge *merge, int table);

/*
 * A group goes through these in this order, and through the last two again until store returns
 * true:
 *
 *		if (eddy_merge_keeps(merge)) eddy_merge_keep(merge, delta row of the whole group);
 *		if (eddy_merge_write_computed(merge, table)) the group is complete;
 *		stored = eddy_merge_find(merge, table, key);
 *		eddy_merge_store(merge, table, new version computed from stored);
 */
extern bool eddy_merge_keeps(const EddyMerge *merge);
extern void eddy_merge_keep(EddyMerge *merge, TupleTableSlot *group);
extern bool eddy_merge_write_computed(EddyMerge *merge, int table);
extern TupleTableSlot *eddy_merge_find(EddyMerge *merge, int table, const Datum *keys,
									   const bool *nulls);
extern bool eddy_merge_store(EddyMerge *merge, int table, TupleTableSlot *version);
extern bool eddy_merge_identical(TupleTableSlot *a, TupleTableSlot *b);

/*
 * A group that consists of several rows, in one state table or more, goes through these, and
 * through the loop again until make_changes returns true:
 *
 *		if (eddy_merge_keeps(merge)) eddy_merge_keep(merge, delta row), for each row of the group;
 *		if (eddy_merge_make_computed_changes(merge)) the group is complete;
 *		do
 *		{
 *			read the rows: eddy_merge_find, or eddy_merge_seek and eddy_merge_fetch;
 *			for each row to be changed: eddy_merge_remove, eddy_merge_replace, eddy_merge_insert;
 *		} while (!eddy_merge_make_changes(merge));
 *
 * The changes of a group are made by make_changes, in the order of the calls; insert comes last. No
 * row is changed twice, and reads do not show changes of the same merge. The place of a row is
 * tts_tid of the slot from which it was read. Keys are given in the order in which ranges of the
 * table are read (upsert.h).
 *
 * Concurrent transactions must not write the same group, as a whole, at the same time. Either the
 * kind locks it before (kind.h), or its first change always writes the same row, by which others
 * recognize that the group has changed: that row is replaced even if it remains the same.
 */
extern void eddy_merge_seek(EddyMerge *merge, int table, int nkeys, bool from, const Datum *keys,
							const bool *nulls);
extern TupleTableSlot *eddy_merge_fetch(EddyMerge *merge, int table);
extern void eddy_merge_remove(EddyMerge *merge, int table, const ItemPointerData *place,
							  const Datum *keys, const bool *nulls);
extern void eddy_merge_replace(EddyMerge *merge, int table, const ItemPointerData *place,
							   TupleTableSlot *version);
extern void eddy_merge_insert(EddyMerge *merge, int table, TupleTableSlot *version);
extern bool eddy_merge_make_changes(EddyMerge *merge);
extern bool eddy_merge_make_computed_changes(EddyMerge *merge);

/*
 * For rows with keys that no other row has, instead of all these:
 *
 *		if (!eddy_merge_append_computed(merge, table))
 *			for each row of the delta: eddy_merge_append(merge, table, new row);
 */
extern bool eddy_merge_append_computed(EddyMerge *merge, int table);
extern void eddy_merge_append(EddyMerge *merge, int table, TupleTableSlot *row);

#endif							/* EDDY_MERGE_H */

/*-------------------------------------------------------------------------
 *
 * deferred_delete.c
 *    DELETE on a view with maintenance => 'deferred'.
 *
 * The public view combines two tables, so the server cannot delete through it. An INSTEAD OF
 * trigger deletes the stored row of a group and all of its deltas that are committed, or are the
 * transaction's own. Rows that are added later recreate the group, as in any view.
 *
 * The row of the view must identify the group, so a view that does not show its key cannot be
 * deleted from.
 *
 * The trigger that records deletes through other views (eddy_capture_delete) is not fired, as the
 * rows are deleted below the executor. So what the observers of the view want to know is recorded
 * here, and delivered with each row. Groups that only have deltas were not recorded when they were
 * added.
 *
 * Locking: RowExclusiveLock on the state tables and a row lock on each deleted row. The database
 * worker, which merges deltas, does not wait for them. Memory: the caller's. A crash leaves
 * nothing: all of it is part of the user's transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "owner.h"
#include "view/changes.h"
#include "view/kind_deferred.h"
#include "view/maintain.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(eddy_delete_group);

/* The key of the group that a row of the view shows. */
static void
read_key(const EddyView *view, const EddyViewPlan *plan, TupleDesc desc, HeapTuple row,
		 Datum *keys, bool *nulls)
{
	const EddyStateTable *table = eddy_plan_main_table(plan);

	if (plan->nkeys == 0)
	{
		keys[0] = Int16GetDatum(0);
		nulls[0] = false;
		return;
	}
	for (int i = 0; i < table->nkeys; i++)
	{
		int			column = 0;

		while (column < view->ncolumns && view->columns[column] != table->keys[i].column)
			column++;
		if (column == view->ncolumns)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot delete from continuous view \"%s\"", plan->name),
					 errdetail("It has maintenance => 'deferred' and does not show all columns of its key."),
					 errhint("Create the continuous view with all grouping expressions, and the end of the window, in its select list.")));
		keys[i] = heap_getattr(row, column + 1, desc, &nulls[i]);
	}
}

/* Deletes the rows of a table whose key begins so; false if one was written concurrently. */
static bool
delete_rows(EddyUpsert *upsert, int nkeys, const Datum *keys, const bool *nulls)
{
	TupleTableSlot *row;

	eddy_upsert_seek(upsert, nkeys, keys, nulls);
	while ((row = eddy_upsert_next(upsert)) != NULL)
	{
		ItemPointerData place = row->tts_tid;

		CHECK_FOR_INTERRUPTS();
		if (!eddy_upsert_delete(upsert, &place))
		{
			eddy_upsert_renew(upsert);
			return false;
		}
	}
	return true;
}

/* Again while the worker moves rows from one table to the other. */
static void
delete_group(const EddyViewPlan *plan, const Datum *keys, const bool *nulls)
{
	int			nkeys = eddy_deferred_nkeys(plan);
	EddyUpsert *deltas;
	EddyUpsert *state;

	PushActiveSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() :
					   GetLatestSnapshot());
	deltas = eddy_upsert_open(eddy_deferred_deltas(plan), plan->name);
	state = eddy_upsert_open(eddy_plan_main_table(plan), plan->name);
	while (!delete_rows(deltas, nkeys, keys, nulls) || !delete_rows(state, nkeys, keys, nulls))
	{
		CHECK_FOR_INTERRUPTS();
		/* what was deleted so far is not found again */
		CommandCounterIncrement();
		PopActiveSnapshot();
		PushActiveSnapshot(GetLatestSnapshot());
	}
	eddy_upsert_close(state);
	eddy_upsert_close(deltas);
	PopActiveSnapshot();
	CommandCounterIncrement();
}

/* Deletes a group, as the owner of the view, and passes that to the observers of the view. */
static void
delete_observed(EddyViewPlan *plan, const Datum *keys, const bool *nulls)
{
	EddyChanges *outer = eddy_plan_main_table(plan)->changes;
	EddyChanges *changes = eddy_maintain_make_record(plan, EDDY_CAUSE_DELETE);

	/* changes of the same group that precede this one may not have been delivered yet */
	if (changes && eddy_view_maintaining())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot delete from continuous view \"%s\" while a continuous view is maintained",
						plan->name),
				 errdetail("A function that is called for the maintenance has tried to.")));
	PG_TRY();
	{
		eddy_maintain_record_to(plan, changes);
		delete_group(plan, keys, nulls);
	}
	PG_FINALLY();
	{
		eddy_maintain_record_to(plan, outer);
	}
	PG_END_TRY();
	if (changes)
	{
		eddy_changes_deliver(changes);
		eddy_changes_free(changes);
	}
}

/* The trigger: INSTEAD OF DELETE, FOR EACH ROW. */
Datum
eddy_delete_group(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Datum		keys[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	EddyView   *view;
	EddyViewPlan *plan;
	EddyOwnerSwitch save;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ||
		!TRIGGER_FIRED_INSTEAD(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager", "eddy._delete_group")));
	view = eddy_catalog_get_view(RelationGetRelid(trigger->tg_relation));
	plan = view && strcmp(view->maintenance, "deferred") == 0 ? eddy_plan_get(view->relid) : NULL;
	if (plan == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a continuous view with maintenance => 'deferred'",
						RelationGetRelationName(trigger->tg_relation))));
	read_key(view, plan, RelationGetDescr(trigger->tg_relation), trigger->tg_trigtuple, keys,
			 nulls);
	eddy_plan_pin(plan);
	PG_TRY();
	{
		/* comparing keys calls functions of their types */
		eddy_owner_begin(&save, plan->owner);
		delete_observed(plan, keys, nulls);
		eddy_owner_end(&save);
	}
	PG_FINALLY();
	{
		eddy_plan_unpin(plan);
	}
	PG_END_TRY();
	return PointerGetDatum(trigger->tg_trigtuple);
}

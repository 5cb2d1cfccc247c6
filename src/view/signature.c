/*-------------------------------------------------------------------------
 *
 * signature.c
 *    The aggregates of a continuous view as they were when its state was begun.
 *
 * Transition states are values that only the functions that made them understand:
 * deserializing what another aggregate has serialized reads memory at random. An
 * aggregate can be replaced under its name, with another transition type or other
 * functions. So the catalog keeps, for each view, which types and functions its aggregates
 * were made of, and a plan is made only if they still are.
 *
 * The signature is text, which dumps and upgrades carry. When one of the functions or types, or
 * a schema, is renamed, the signatures that were right before the command are written anew after it.
 *
 * Locking: AccessShareLock on definitions; eddy._view as its writers do. Memory: the
 * caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_aggregate.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "parser/parse_agg.h"
#include "utils/builtins.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "owner.h"
#include "view/analyze.h"
#include "view/plan.h"
#include "view/view.h"

static void
append_aggregate(StringInfo text, Aggref *aggref)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggref->aggfnoid));
	Form_pg_aggregate form;
	Oid			input_types[FUNC_MAX_ARGS];
	int			ninputs;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	ninputs = get_aggregate_argtypes(aggref, input_types);
	{
		Oid			functions[] = {form->aggtransfn, form->aggcombinefn, form->aggserialfn,
		form->aggdeserialfn, form->aggfinalfn};
		Oid			state = resolve_aggregate_transtype(aggref->aggfnoid, form->aggtranstype,
														input_types, ninputs);

		if (text->len > 0)
			appendStringInfoString(text, "; ");
		appendStringInfo(text, "%s over %s", format_procedure_qualified(aggref->aggfnoid),
						 format_type_be_qualified(state));
		for (int i = 0; i < (int) lengthof(functions); i++)
			if (OidIsValid(functions[i]))
				appendStringInfo(text, ", %s", format_procedure_qualified(functions[i]));
	}
	ReleaseSysCache(tuple);
}

char *
eddy_signature_make(Query *query)
{
	StringInfoData text;
	ListCell   *lc;
	EddyOwnerSwitch save;

	initStringInfo(&text);
	/* how names are written must not depend on settings of the session */
	eddy_owner_begin(&save, GetUserId());
	foreach(lc, eddy_analyze_aggrefs(query))
		append_aggregate(&text, lfirst_node(Aggref, lc));
	eddy_owner_end(&save);
	return text.data;
}

void
eddy_signature_check(const EddyView *view, Query *query, const char *name)
{
	char	   *now = eddy_signature_make(query);

	if (strcmp(view->aggregates, now) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("aggregates of continuous view \"%s\" have been replaced", name),
				 errdetail("It was created with: %s. Now they are: %s.", view->aggregates, now),
				 errhint("Rebuild the continuous view with eddy.resume, or drop it.")));
	pfree(now);
}

List *
eddy_signature_before_rename(void)
{
	List	   *views;
	List	   *right = NIL;
	ListCell   *lc;

	if (!eddy_catalog_installed())
		return NIL;
	views = eddy_catalog_list_all_views();
	foreach(lc, views)
	{
		EddyView   *view = lfirst(lc);
		Query	   *query = eddy_plan_definition_query(view->definition);

		if (query && strcmp(view->aggregates, eddy_signature_make(query)) == 0)
			right = lappend_oid(right, view->relid);
	}
	return right;
}

void
eddy_signature_after_rename(List *views)
{
	ListCell   *lc;

	foreach(lc, views)
	{
		EddyView   *view = eddy_catalog_get_view(lfirst_oid(lc));
		Query	   *query = view ? eddy_plan_definition_query(view->definition) : NULL;
		char	   *now = query ? eddy_signature_make(query) : NULL;

		if (now && strcmp(view->aggregates, now) != 0)
			eddy_catalog_set_view_aggregates(view, now);
	}
}

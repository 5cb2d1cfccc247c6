/*-------------------------------------------------------------------------
 *
 * signature.c
 *    The aggregates of a continuous view as they were when its first state was computed.
 *
 * Only the functions that have made a transition state can read it: deserializing the state of
 * another aggregate reads arbitrary memory. An aggregate can be replaced under its name, with
 * another transition type or other functions. So the catalog records, for each view, the types and
 * functions that its aggregates consist of, and a plan is made only if they are still the same.
 *
 * The signature is text, which dumps and upgrades preserve. When one of the functions or types, or
 * a schema, is renamed, the signatures that were correct before the command are replaced after it.
 *
 * Locking: AccessShareLock on definitions; eddy._view as its writers do. Memory: the caller's
 * context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_aggregate.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_agg.h"
#include "utils/builtins.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "owner.h"
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

/* Also those of sub-selects, one of which can be what is maintained. */
static bool
collect_aggregates(Node *node, List **aggrefs)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
		*aggrefs = list_append_unique(*aggrefs, node);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, collect_aggregates, aggrefs, 0);
	return expression_tree_walker(node, collect_aggregates, aggrefs);
}

/*
 * eddy_signature_make returns the types and functions that the aggregates of a definition consist
 * of, as text in the current memory context.
 */
char *
eddy_signature_make(Query *query)
{
	StringInfoData text;
	List	   *aggrefs = NIL;
	ListCell   *lc;
	EddyOwnerSwitch save;

	initStringInfo(&text);
	/* the form of names must not depend on settings of the session */
	eddy_owner_begin(&save, GetUserId());
	(void) query_tree_walker(query, collect_aggregates, &aggrefs, 0);
	foreach(lc, aggrefs)
		append_aggregate(&text, lfirst_node(Aggref, lc));
	eddy_owner_end(&save);
	return text.data;
}

/* eddy_signature_check raises an error unless the aggregates of a view are those of its states. */
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

/*
 * eddy_signature_before_rename and eddy_signature_after_rename are called around a command that
 * renames or moves functions, types or schemas, and keep signatures correct. The first returns the
 * views to pass to the second.
 */
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

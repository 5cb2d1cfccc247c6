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
 * It also records the major version of the server. States that another version wrote can be read
 * if their form is the same in both: values of SQL types, and the serialized states of those of the
 * server's aggregates that are listed below, which test/upgrade compares byte by byte. The form of
 * a state of another extension is that extension's.
 *
 * Locking: AccessShareLock on definitions; eddy._view as its writers do. Memory: the caller's
 * context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_agg.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "owner.h"
#include "view/collect.h"
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

/* ---- states of another major version ---- */

/* Versions between which the forms of states have been compared. */
#define FIRST_COMPARED_VERSION 15
#define LAST_COMPARED_VERSION 18

/* PostgreSQL 17 gave the state of avg(interval) another type. */
#define INTERVAL_STATE_VERSION 17

/*
 * True if the serialized states of one of the server's aggregates have the same form in all
 * versions.
 */
static bool
has_stable_state(const Aggref *aggref)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggref->aggfnoid));
	Form_pg_aggregate form;
	bool		stable;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	switch (form->aggtranstype == INTERNALOID ? form->aggserialfn : InvalidOid)
	{
		case InvalidOid:		/* the value of an SQL type */
			stable = (form->aggtranstype != INTERNALOID);
			break;
		case F_INT8_AVG_SERIALIZE:
		case F_NUMERIC_AVG_SERIALIZE:
		case F_NUMERIC_POLY_SERIALIZE:
		case F_NUMERIC_SERIALIZE:
			stable = true;
			break;
		default:
			/* of the final values themselves, and converted by eddy.upgrade_states */
			stable = aggref->aggfnoid == F_SUM_INTERVAL || aggref->aggfnoid == F_AVG_INTERVAL;
			break;
	}
	ReleaseSysCache(tuple);
	return stable;
}

/* The next entry of a signature, which it moves past; NULL at the end. */
static char *
next_entry(const char **signature)
{
	const char *start = *signature;
	const char *end;

	if (*start == '\0')
		return NULL;
	end = strstr(start, "; ");
	*signature = end ? end + 2 : start + strlen(start);
	return end ? pnstrdup(start, end - start) : pstrdup(start);
}

/*
 * True if this server can read the states of a view that another major version has written. Values
 * that are kept for an aggregate have no state. Aggregates that are not the server's must be the
 * same as before.
 */
static bool
are_states_readable(const EddyView *view, Query *query)
{
	const char *before = view->aggregates;
	List	   *aggrefs = NIL;
	ListCell   *lc;

	if (view->format < FIRST_COMPARED_VERSION || view->format > LAST_COMPARED_VERSION ||
		EDDY_SERVER_MAJOR > LAST_COMPARED_VERSION)
		return false;
	(void) query_tree_walker(query, collect_aggregates, &aggrefs, 0);
	foreach(lc, aggrefs)
	{
		Aggref	   *aggref = lfirst_node(Aggref, lc);
		char	   *entry = next_entry(&before);
		StringInfoData now;

		if (entry == NULL)
			return false;
		if (aggref->aggfnoid < FirstGenbkiObjectId)
		{
			if (!eddy_collect_needs_values(aggref) && !has_stable_state(aggref))
				return false;
			continue;
		}
		initStringInfo(&now);
		append_aggregate(&now, aggref);
		if (strcmp(entry, now.data) != 0)
			return false;
	}
	return next_entry(&before) == NULL;
}

/* True if eddy.upgrade_states has to convert states: those of avg(interval). */
static bool
must_be_converted(const EddyView *view, Query *query)
{
	List	   *aggrefs = NIL;
	ListCell   *lc;

	if (view->format >= INTERVAL_STATE_VERSION || EDDY_SERVER_MAJOR < INTERVAL_STATE_VERSION)
		return false;
	(void) query_tree_walker(query, collect_aggregates, &aggrefs, 0);
	foreach(lc, aggrefs)
		if (lfirst_node(Aggref, lc)->aggfnoid == F_AVG_INTERVAL)
			return true;
	return false;
}

/*
 * eddy_signature_is_readable returns true if this server can read the states of a view, as they are
 * or after eddy.upgrade_states.
 */
bool
eddy_signature_is_readable(const EddyView *view, Query *query)
{
	EddyOwnerSwitch save;
	bool		readable;

	if (view->format == EDDY_SERVER_MAJOR)
		return strcmp(view->aggregates, eddy_signature_make(query)) == 0;
	eddy_owner_begin(&save, GetUserId());
	readable = are_states_readable(view, query);
	eddy_owner_end(&save);
	return readable;
}

static void
check_other_version(const EddyView *view, Query *query, const char *name)
{
	if (!eddy_signature_is_readable(view, query))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("state of continuous view \"%s\" was written by PostgreSQL %d", name,
						view->format),
				 errdetail("The states of its aggregates are not known to be the same in PostgreSQL %d.",
						   EDDY_SERVER_MAJOR),
				 errhint("Rebuild the continuous view with eddy.resume, or drop it.")));
	/* the view is not suspended by this: it would miss rows although its states are complete */
	if (must_be_converted(view, query))
		ereport(ERROR,
				(errcode(ERRCODE_OPERATOR_INTERVENTION),
				 errmsg("state of continuous view \"%s\" was written by PostgreSQL %d", name,
						view->format),
				 errdetail("PostgreSQL %d stores the state of avg(interval) in another form.",
						   EDDY_SERVER_MAJOR),
				 errhint("As superuser, execute: SELECT eddy.upgrade_states().")));
}

/* eddy_signature_check raises an error unless the aggregates of a view are those of its states. */
void
eddy_signature_check(const EddyView *view, Query *query, const char *name)
{
	char	   *now;

	if (view->format != EDDY_SERVER_MAJOR)
	{
		check_other_version(view, query, name);
		return;
	}
	now = eddy_signature_make(query);
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

/*-------------------------------------------------------------------------
 *
 * view_functions.c
 *    SQL-callable functions about continuous views.
 *
 * They read the arguments and call src/view and src/apply.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "apply/apply.h"
#include "argument.h"
#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "interval.h"
#include "view/view.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(eddy_create_continuous_view);
PG_FUNCTION_INFO_V1(eddy_drop_continuous_view);
PG_FUNCTION_INFO_V1(eddy_capture_delete);
PG_FUNCTION_INFO_V1(eddy_delete_sessions);
PG_FUNCTION_INFO_V1(eddy_refuse_state_change);
PG_FUNCTION_INFO_V1(eddy_upgrade_states);
PG_FUNCTION_INFO_V1(eddy_replace_continuous_view);

/* Arguments of eddy.create_continuous_view, from 0. */
enum
{
	ARG_NAME,
	ARG_QUERY,
	ARG_EMIT,
	ARG_LATE,
	ARG_ALLOWED_LATENESS,
	ARG_RETENTION,
	ARG_START,
	ARG_MAINTENANCE,
	ARG_ON_ERROR,
	ARG_IF_NOT_EXISTS,
	ARG_IDLE_TTL,
	ARG_HISTORY,
	ARG_HISTORIES,
	ARG_COUNT
};

/* The arguments that must not be null. */
static const char *const argument_names[ARG_COUNT] = {
	[ARG_NAME] = "name",
	[ARG_QUERY] = "query",
	[ARG_EMIT] = "emit",
	[ARG_LATE] = "late",
	[ARG_ALLOWED_LATENESS] = "allowed_lateness",
	[ARG_START] = "start",
	[ARG_MAINTENANCE] = "maintenance",
	[ARG_ON_ERROR] = "on_error"
};

/* A text argument that takes one of a few words. */
static char *
get_choice(FunctionCallInfo fcinfo, int arg, const char *const *choices)
{
	char	   *value = text_to_cstring(PG_GETARG_TEXT_PP(arg));

	(void) eddy_argument_choice("argument", argument_names[arg], value, choices);
	return value;
}

/* An interval that must be positive. */
static Interval *
get_length(FunctionCallInfo fcinfo, int arg, const char *name)
{
	Interval   *length = PG_GETARG_INTERVAL_P(arg);

	eddy_argument_check_interval(name, length);
	if (eddy_interval_usec(length) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be positive", name)));
	return length;
}

/* A word, or "every" and an interval. */
static char *
get_emit(FunctionCallInfo fcinfo)
{
	static const char *const choices[] = {"changes", "on_close", "every 5 s", NULL};
	char	   *emit = text_to_cstring(PG_GETARG_TEXT_PP(ARG_EMIT));
	EddyArgumentInput input;
	int64		interval;
	bool		every;

	eddy_argument_begin_input(&input, "emit", choices, NULL);
	every = eddy_view_parse_emit(emit, &interval);
	eddy_argument_end_input(&input);
	if (!every)
		return get_choice(fcinfo, ARG_EMIT, choices);
	if (interval <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("interval of emit => '%s' must be positive", emit)));
	return emit;
}

/*
 * The stream with a name as in SQL. An error if no relation has it; others are refused when the
 * view is known.
 */
static Oid
find_stream(const char *name)
{
	RangeVar   *given = makeRangeVarFromNameList(eddy_compat_qualified_name(name));
	Oid			relid = RangeVarGetRelid(given, NoLock, true);
	List	   *streams = eddy_catalog_list_streams();
	const char **candidates = palloc0(sizeof(char *) * (list_length(streams) + 1));
	const char *closest;
	int			count = 0;
	ListCell   *lc;

	if (OidIsValid(relid))
		return relid;
	foreach(lc, streams)
	{
		Oid			stream = ((EddyStream *) lfirst(lc))->relid;
		char	   *relname = get_rel_name(stream);

		if (relname == NULL || (given->schemaname == NULL && !RelationIsVisible(stream)))
			continue;
		candidates[count++] = given->schemaname ?
			psprintf("%s.%s", get_namespace_name(get_rel_namespace(stream)), relname) : relname;
	}
	closest = eddy_argument_closest(given->schemaname ?
									psprintf("%s.%s", given->schemaname, given->relname) :
									given->relname, candidates);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("stream \"%s\" in argument \"histories\" does not exist", name),
			 closest ? errhint("Perhaps you meant the stream \"%s\".", closest) :
			 errhint("Name the streams as in the query of the continuous view.")));
}

/* Adds the query for a stream, which is named as in SQL. */
static List *
add_history(List *histories, const JsonbValue *name, const JsonbValue *query)
{
	EddyHistoryQuery *history = palloc(sizeof(EddyHistoryQuery));
	char	   *stream = pnstrdup(name->val.string.val, name->val.string.len);
	ListCell   *lc;

	if (query->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the query for \"%s\" in argument \"histories\" must be a string", stream)));
	history->stream = find_stream(stream);
	history->query = pnstrdup(query->val.string.val, query->val.string.len);
	foreach(lc, histories)
		if (((EddyHistoryQuery *) lfirst(lc))->stream == history->stream)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("argument \"histories\" has several queries for \"%s\"",
							get_rel_name(history->stream))));
	return lappend(histories, history);
}

/* The queries of argument "histories": List of EddyHistoryQuery. */
static List *
get_histories(Jsonb *argument)
{
	List	   *histories = NIL;
	JsonbIterator *iterator = JsonbIteratorInit(&argument->root);
	JsonbValue	name = {0};
	JsonbValue	value;
	JsonbIteratorToken token;

	if (!JB_ROOT_IS_OBJECT(argument) || JB_ROOT_COUNT(argument) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"histories\" must be an object with a query for each stream"),
				 errhint("Use jsonb_build_object('stream', 'SELECT ...', ...).")));
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = value;
		else if (token == WJB_VALUE)
			histories = add_history(histories, &name, &value);
	}
	return histories;
}

/*
 * The source that start, history and histories, which follows it, specify; *histories is NIL unless
 * start is 'query' (List of EddyHistoryQuery).
 */
static EddyFillSource
get_source(FunctionCallInfo fcinfo, const char *start, int history_arg, List **histories)
{
	bool		from_query = strcmp(start, "query") == 0;
	bool		has_one = !PG_ARGISNULL(history_arg);
	bool		has_several = !PG_ARGISNULL(history_arg + 1);

	*histories = NIL;
	if (from_query && !has_one && !has_several)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("start => 'query' requires argument \"history\""),
				 errhint("Specify a SELECT that returns rows with the columns of the stream, or, for several streams, argument \"histories\".")));
	if (!from_query && (has_one || has_several))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" requires start => 'query'",
						has_one ? "history" : "histories")));
	if (has_one && has_several)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments \"history\" and \"histories\" exclude each other"),
				 errhint("Use \"history\" for one stream, and \"histories\" for several.")));
	if (has_one)
	{
		EddyHistoryQuery *history = palloc0(sizeof(EddyHistoryQuery));

		history->query = text_to_cstring(PG_GETARG_TEXT_PP(history_arg));
		*histories = list_make1(history);
	}
	else if (has_several)
		*histories = get_histories(PG_GETARG_JSONB_P(history_arg + 1));
	if (from_query)
		return EDDY_FILL_HISTORY;
	return strcmp(start, "staged") == 0 ? EDDY_FILL_STAGED : EDDY_FILL_NOTHING;
}

/* True if a view that starts there is filled from Kafka. */
static bool
reads_kafka(const char *start)
{
	return strcmp(start, "now") != 0 && strcmp(start, "staged") != 0 &&
		strcmp(start, "query") != 0;
}

Datum
eddy_create_continuous_view(PG_FUNCTION_ARGS)
{
	static const char *const late_choices[] = {"drop", "keep", "update", NULL};
	static const char *const start_choices[] = {"earliest", "now", "query", "staged", NULL};
	static const char *const maintenance_choices[] = {"immediate", "deferred", NULL};
	static const char *const error_choices[] = {"dead_letter", "stop", NULL};
	EddyViewOptions options = {0};
	EddyFillSource source;
	List	   *histories;
	bool		created;
	Oid			view;

	PreventCommandIfReadOnly("eddy.create_continuous_view()");
	eddy_argument_check_not_null(fcinfo, argument_names, ARG_COUNT);
	options.emit = get_emit(fcinfo);
	options.late = get_choice(fcinfo, ARG_LATE, late_choices);
	options.allowed_lateness = *PG_GETARG_INTERVAL_P(ARG_ALLOWED_LATENESS);
	if (!PG_ARGISNULL(ARG_RETENTION))
		options.retention = PG_GETARG_INTERVAL_P(ARG_RETENTION);
	if (!PG_ARGISNULL(ARG_IDLE_TTL))
		options.idle_ttl = get_length(fcinfo, ARG_IDLE_TTL, "idle_ttl");
	options.start = eddy_argument_time_or_word("start",
											   text_to_cstring(PG_GETARG_TEXT_PP(ARG_START)),
											   start_choices);
	options.maintenance = get_choice(fcinfo, ARG_MAINTENANCE, maintenance_choices);
	options.on_error = get_choice(fcinfo, ARG_ON_ERROR, error_choices);
	options.if_not_exists = !PG_ARGISNULL(ARG_IF_NOT_EXISTS) &&
		PG_GETARG_BOOL(ARG_IF_NOT_EXISTS);

	source = get_source(fcinfo, options.start, ARG_HISTORY, &histories);
	options.unlocked = source != EDDY_FILL_NOTHING;
	eddy_argument_check_interval("allowed_lateness", &options.allowed_lateness);
	if (options.retention)
		eddy_argument_check_interval("retention", options.retention);

	view = eddy_view_create(text_to_cstring(PG_GETARG_TEXT_PP(ARG_NAME)),
							text_to_cstring(PG_GETARG_TEXT_PP(ARG_QUERY)), &options, &created);
	if (created)
	{
		if (options.unlocked)
			eddy_apply_fill_new(view, InvalidOid, source, histories);
		else
			eddy_apply_fill(view, source, NIL);
		if (reads_kafka(options.start))
			eddy_view_start(view, InvalidOid);
		eddy_worker_wakeup_at_commit(); /* it may need ticks now */
	}
	PG_RETURN_OID(view);
}

Datum
eddy_drop_continuous_view(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("eddy.drop_continuous_view()");
	eddy_view_drop(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}

/*
 * eddy_capture_delete: AFTER DELETE trigger, for each statement, of the main state table of a view
 * that is observed.
 */
Datum
eddy_capture_delete(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	EddyView   *view;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event) || trigger->tg_oldtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager", "eddy._capture_delete")));
	view = eddy_catalog_find_view(RelationGetRelid(trigger->tg_relation));
	if (view && tuplestore_tuple_count(trigger->tg_oldtable) > 0)
		eddy_statement_delete(view, trigger->tg_oldtable,
							  RelationGetDescr(trigger->tg_relation));
	return PointerGetDatum(NULL);
}

/*
 * eddy_delete_sessions: AFTER DELETE trigger, for each statement, of the main state table of a view
 * over sessions with emit => 'every ...'.
 */
Datum
eddy_delete_sessions(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	EddyView   *view;
	Tuplestorestate *others = NULL;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event) || trigger->tg_oldtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager", "eddy._delete_sessions")));
	desc = RelationGetDescr(trigger->tg_relation);
	view = eddy_catalog_find_view(RelationGetRelid(trigger->tg_relation));
	if (view && tuplestore_tuple_count(trigger->tg_oldtable) > 0)
		others = eddy_view_delete_sessions(view, desc, trigger->tg_oldtable);
	if (others)
	{
		eddy_statement_delete(view, others, desc);
		tuplestore_end(others);
	}
	return PointerGetDatum(NULL);
}

/* Arguments of eddy.replace_continuous_view, from 0. */
enum
{
	REPLACE_VIEW,
	REPLACE_QUERY,
	REPLACE_START,
	REPLACE_HISTORY,
	REPLACE_HISTORIES,
	REPLACE_COUNT
};

Datum
eddy_replace_continuous_view(PG_FUNCTION_ARGS)
{
	static const char *const names[REPLACE_COUNT] = {"view", "query", "start"};
	static const char *const start_choices[] = {"earliest", "keep", "now", "query", "staged", NULL};
	EddyReplacement *replacement;
	EddyFillSource source;
	Oid			view;
	char	   *start;
	char	   *query;
	List	   *histories;
	bool		keeps;

	PreventCommandIfReadOnly("eddy.replace_continuous_view()");
	eddy_argument_check_not_null(fcinfo, names, REPLACE_COUNT);
	view = PG_GETARG_OID(REPLACE_VIEW);
	start = text_to_cstring(PG_GETARG_TEXT_PP(REPLACE_START));
	start = eddy_argument_time_or_word("start", start, start_choices);
	keeps = strcmp(start, "keep") == 0;
	source = get_source(fcinfo, start, REPLACE_HISTORY, &histories);
	query = text_to_cstring(PG_GETARG_TEXT_PP(REPLACE_QUERY));
	if (source == EDDY_FILL_HISTORY && eddy_apply_misses_messages(view))
	{
		eddy_apply_fill_new(eddy_view_create_successor(view, query, start, true), view, source, histories);
		eddy_worker_wakeup_at_commit();
		PG_RETURN_VOID();
	}
	if (!keeps && reads_kafka(start))
	{
		Oid			successor = eddy_view_create_successor(view, query, start, false);

		eddy_apply_fill(successor, EDDY_FILL_NOTHING, NIL);
		eddy_view_start(successor, view);
		eddy_worker_wakeup_at_commit();
		PG_RETURN_VOID();
	}

	replacement = eddy_view_replace_begin(view, query, keeps);
	if (keeps)
		eddy_view_replace_keep(replacement);
	else
		eddy_apply_refill(replacement, source, histories);
	eddy_view_replace_end(replacement);
	eddy_worker_wakeup_at_commit();
	PG_RETURN_VOID();
}

Datum
eddy_refuse_state_change(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	EddyView   *view;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager", "eddy._refuse_state_change")));
	view = eddy_catalog_find_view(RelationGetRelid(trigger->tg_relation));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot write to the result of a continuous view"),
			 view ? errdetail("View \"%s\" shows results computed from the rows of a stream.",
							  get_rel_name(view->relid)) :
			 errdetail("Table \"%s\" contains results computed from the rows of a stream.",
					   RelationGetRelationName(trigger->tg_relation)),
			 errhint("Write to the stream, or use DELETE to remove groups that are no longer needed.")));
	PG_RETURN_NULL();			/* keep compiler quiet */
}

/* eddy.upgrade_states() */
Datum
eddy_upgrade_states(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("eddy.upgrade_states()");
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to upgrade the states of continuous views"),
				 errdetail("Only superusers may alter state tables.")));
	PG_RETURN_INT64(eddy_view_upgrade_states());
}

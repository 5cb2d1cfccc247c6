/*-------------------------------------------------------------------------
 *
 * function.c
 *    Which functions the query of a continuous view can call.
 *
 * A row is counted once, in the session and at the time in which its batch is applied. So volatile
 * functions are refused, and those stable functions of pg_catalog whose result depends on more than
 * their arguments, the pinned settings (owner.c) and the contents of tables as of the batch. They
 * are listed by name, because the catalog does not record what a stable function depends on. The
 * declared volatility of functions of users and extensions is trusted; a stable one is evaluated as
 * of the batch.
 *
 * Functions that convert text to dates and times are accepted. The few words that mean the current
 * time are errors of the rows that contain them.
 *
 * No locks. Checking an initial condition calls the combine function of an aggregate, as the owner
 * and in a security-restricted operation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "catalog/eddy_catalog.h"
#include "view/combine.h"
#include "view/function.h"
#include "owner.h"
#include "view/refuse.h"

PG_FUNCTION_INFO_V1(eddy_refuse_clock_words);

/* ---- functions of pg_catalog ---- */

/* Dependencies of the result of a function. */
typedef enum EddyDependence
{
	EDDY_DEPENDS_CLOCK,
	EDDY_DEPENDS_SESSION,
	EDDY_DEPENDS_SERVER,
	EDDY_DEPENDS_STORAGE,
	EDDY_DEPENDS_RELATIONS
} EddyDependence;

/*
 * Stable functions of pg_catalog, by name; a name that ends with an asterisk matches all names that
 * begin so. current_database, version, pg_get_*def, has_*_privilege, to_reg* and similar functions
 * are accepted, because their result is the same in all sessions of the database while no catalog
 * changes.
 */
static const struct
{
	const char *name;
	EddyDependence dependence;
}			refused[] = {
	{"age", EDDY_DEPENDS_CLOCK},	/* of one argument; the other is immutable */
	{"mxid_age", EDDY_DEPENDS_CLOCK},
	{"now", EDDY_DEPENDS_CLOCK},
	{"pg_timezone_abbrevs", EDDY_DEPENDS_CLOCK},
	{"pg_timezone_names", EDDY_DEPENDS_CLOCK},
	{"statement_timestamp", EDDY_DEPENDS_CLOCK},
	{"transaction_timestamp", EDDY_DEPENDS_CLOCK},

	{"current_schema", EDDY_DEPENDS_SESSION},
	{"current_schemas", EDDY_DEPENDS_SESSION},
	{"current_setting", EDDY_DEPENDS_SESSION},
	{"current_user", EDDY_DEPENDS_SESSION},
	{"getpgusername", EDDY_DEPENDS_SESSION},
	{"inet_client_addr", EDDY_DEPENDS_SESSION},
	{"inet_client_port", EDDY_DEPENDS_SESSION},
	{"inet_server_addr", EDDY_DEPENDS_SESSION},
	{"inet_server_port", EDDY_DEPENDS_SESSION},
	{"pg_backend_pid", EDDY_DEPENDS_SESSION},
	{"pg_client_encoding", EDDY_DEPENDS_SESSION},
	{"pg_current_snapshot", EDDY_DEPENDS_SESSION},
	{"pg_current_xact_id*", EDDY_DEPENDS_SESSION},
	{"pg_cursor", EDDY_DEPENDS_SESSION},
	{"pg_is_other_temp_schema", EDDY_DEPENDS_SESSION},
	{"pg_listening_channels", EDDY_DEPENDS_SESSION},
	{"pg_my_temp_schema", EDDY_DEPENDS_SESSION},
	{"pg_prepared_statement", EDDY_DEPENDS_SESSION},
	{"pg_show_all_settings", EDDY_DEPENDS_SESSION},
	{"pg_trigger_depth", EDDY_DEPENDS_SESSION},
	{"session_user", EDDY_DEPENDS_SESSION},
	{"system_user", EDDY_DEPENDS_SESSION},
	{"txid_current*", EDDY_DEPENDS_SESSION},

	{"pg_conf_load_time", EDDY_DEPENDS_SERVER},
	{"pg_get_replication_slots", EDDY_DEPENDS_SERVER},
	{"pg_postmaster_start_time", EDDY_DEPENDS_SERVER},
	{"pg_stat_get_*", EDDY_DEPENDS_SERVER},

	{"pg_column_compression", EDDY_DEPENDS_STORAGE},
	{"pg_column_size", EDDY_DEPENDS_STORAGE},
	{"pg_column_toast_chunk_id", EDDY_DEPENDS_STORAGE},
	{"pg_filenode_relation", EDDY_DEPENDS_STORAGE},
	{"pg_relation_filenode", EDDY_DEPENDS_STORAGE},
	{"pg_relation_filepath", EDDY_DEPENDS_STORAGE},

	{"database_to_xml*", EDDY_DEPENDS_RELATIONS},
	{"schema_to_xml*", EDDY_DEPENDS_RELATIONS},
	{"table_to_xml*", EDDY_DEPENDS_RELATIONS},
};

static void
refuse_dependence(const char *name, EddyDependence dependence)
{
	const char *detail = NULL;
	const char *hint = NULL;

	switch (dependence)
	{
		case EDDY_DEPENDS_CLOCK:
			eddy_refuse("the query of a continuous view cannot depend on the current time",
						"Rows are counted once, when they arrive, and not again when time has passed.",
						"Compare with the current time when reading the view.");
			break;
		case EDDY_DEPENDS_SESSION:
			detail = "Its result depends on the session or transaction that maintains the view.";
			hint = "Keep it in a column of the stream, for example by a default value.";
			break;
		case EDDY_DEPENDS_SERVER:
			detail = "Its result depends on the state of the server.";
			break;
		case EDDY_DEPENDS_STORAGE:
			detail = "Its result depends on how rows are stored. Rows are aggregated before they are stored.";
			break;
		case EDDY_DEPENDS_RELATIONS:
			detail = "It reads relations that the query does not show.";
			break;
	}
	eddy_refuse(psprintf("function \"%s\" cannot be used in a continuous view", name), detail,
				hint);
}

static bool
matches(const char *name, const char *pattern)
{
	size_t		len = strlen(pattern);

	if (pattern[len - 1] == '*')
		return strncmp(name, pattern, len - 1) == 0;
	return strcmp(name, pattern) == 0;
}

static void
check_stable(Form_pg_proc proc)
{
	const char *name = NameStr(proc->proname);

	if (proc->pronamespace != PG_CATALOG_NAMESPACE)
		return;
	/* for a time without a date, the offset of a zone is that of the current day */
	if (strcmp(name, "timezone") == 0 &&
		proc->proargtypes.values[proc->pronargs - 1] == TIMETZOID)
		refuse_dependence(name, EDDY_DEPENDS_CLOCK);
	for (int i = 0; i < (int) lengthof(refused); i++)
		if (matches(name, refused[i].name))
			refuse_dependence(name, refused[i].dependence);
}

static bool
check_function(Oid funcid, void *context pg_attribute_unused())
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	Form_pg_proc proc;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", funcid);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->provolatile == PROVOLATILE_VOLATILE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("volatile function \"%s\" cannot be used in a continuous view",
						NameStr(proc->proname)),
				 errdetail("Volatile functions cannot be maintained incrementally."),
				 proc->oid < FirstNormalObjectId ?
				 errhint("Store the result in a column of the stream, for instance by its DEFAULT.") :
				 errhint("Declare the function IMMUTABLE or STABLE if its result depends on its arguments alone. Otherwise store the result in a column of the stream, for instance by its DEFAULT.")));
	if (proc->provolatile == PROVOLATILE_STABLE)
		check_stable(proc);
	ReleaseSysCache(tuple);
	return false;
}

static void
check_sql_value(SQLValueFunctionOp op)
{
	switch (op)
	{
		case SVFOP_CURRENT_ROLE:
		case SVFOP_CURRENT_USER:
		case SVFOP_USER:
			refuse_dependence("current_user", EDDY_DEPENDS_SESSION);
			break;
		case SVFOP_SESSION_USER:
			refuse_dependence("session_user", EDDY_DEPENDS_SESSION);
			break;
		case SVFOP_CURRENT_SCHEMA:
			refuse_dependence("current_schema", EDDY_DEPENDS_SESSION);
			break;
		case SVFOP_CURRENT_CATALOG:
			break;				/* as current_database */
		default:
			refuse_dependence("now", EDDY_DEPENDS_CLOCK);
	}
}

static bool
check_expression(Node *node, void *context)
{
	if (node == NULL)
		return false;
	eddy_function_check(node);
	return expression_tree_walker(node, check_expression, context);
}

/* The constraints of a domain that a value is cast to. */
static void
check_domain(Oid domain)
{
	/* the context keeps a pointer to it for its own end */
	DomainConstraintRef *ref = palloc(sizeof(DomainConstraintRef));
	ListCell   *lc;

	InitDomainConstraintRef(domain, ref, CurrentMemoryContext, false);
	foreach(lc, ref->constraints)
		(void) check_expression((Node *) ((DomainConstraintState *) lfirst(lc))->check_expr, NULL);
}

/*
 * eddy_function_check raises an error if one of the functions that an expression node itself calls
 * is volatile, or depends on the clock, the session or the way rows are stored. To be called for
 * each node of an expression.
 */
void
eddy_function_check(Node *node)
{
	check_functions_in_node(node, check_function, NULL);
	if (IsA(node, SQLValueFunction))
		check_sql_value(((SQLValueFunction *) node)->op);
	if (IsA(node, CoerceToDomain))
		check_domain(((CoerceToDomain *) node)->resulttype);
}

/* ---- aggregates ---- */

static void
refuse_aggregate(const EddyAggregate *agg, const char *detail, const char *hint)
{
	eddy_refuse(psprintf("aggregate \"%s\" cannot be maintained incrementally",
						 get_func_name(agg->aggref->aggfnoid)), detail, hint);
}

/* True for functions that no query can call. They are written in C, by superusers. */
static bool
takes_internal(Oid funcid)
{
	Oid		   *types;
	int			ntypes;
	bool		result = false;

	(void) get_func_signature(funcid, &types, &ntypes);
	for (int i = 0; i < ntypes; i++)
		result |= types[i] == INTERNALOID;
	return result;
}

/*
 * The volatility of functions over internal states is not checked: no planner ever reads it, and
 * extensions such as hll do not declare it.
 */
static void
check_support_function(const EddyAggregate *agg, Oid funcid)
{
	if (OidIsValid(funcid) && func_volatile(funcid) == PROVOLATILE_VOLATILE &&
		!takes_internal(funcid))
		refuse_aggregate(agg, psprintf("Its support function \"%s\" is volatile.",
									   get_func_name(funcid)),
						 "Declare the function IMMUTABLE or STABLE if its result depends on its arguments alone.");
}

static bool
states_are_equal(const EddyAggregate *agg, Datum left, Datum right)
{
	TypeCacheEntry *type = lookup_type_cache(agg->transtype, TYPECACHE_EQ_OPR_FINFO);

	if (OidIsValid(type->eq_opr_finfo.fn_oid))
		return DatumGetBool(FunctionCall2Coll(&type->eq_opr_finfo, agg->aggref->inputcollid,
											  left, right));
	return datum_image_eq(left, right, agg->transbyval, agg->translen);
}

/*
 * Each batch begins with the initial condition, which is thus combined into a state many times. A
 * plain SELECT counts it once, so combining it must have no effect.
 */
static void
check_initial_condition(EddyAggregate *agg, const char *initcond)
{
	EddyCombiner *combiner;
	EddyState	first = {0};
	EddyState	second = {0};
	EddyOwnerSwitch save;
	Oid			input;
	Oid			ioparam;
	bool		neutral;

	eddy_owner_begin(&save, GetUserId());
	getTypeInputInfo(agg->transtype, &input, &ioparam);
	/* twice: a combine function may change its first argument in place */
	first.value = OidInputFunctionCall(input, unconstify(char *, initcond), ioparam, -1);
	second.value = OidInputFunctionCall(input, unconstify(char *, initcond), ioparam, -1);
	combiner = eddy_combine_begin();
	eddy_combine_partial(combiner, agg, &first, &second);
	neutral = !first.isnull && states_are_equal(agg, first.value, second.value);
	eddy_combine_end(combiner);
	eddy_owner_end(&save);
	if (!neutral)
		refuse_aggregate(agg,
						 psprintf("Its initial condition \"%s\" is not neutral: combined with itself it gives another state.",
								  initcond),
						 "Begin with a neutral state, and add the constant in the final function.");
}

/* What an aggregate of pg_eddy does with its arguments. */
typedef struct OwnAggregate
{
	const char *name;
	int			nvalues;		/* the first arguments, values of which its state has (pack.c) */
	int			used;			/* the argument that must have a function, from 0 */
	int			function;		/* flag of the type cache */
} OwnAggregate;

static const OwnAggregate own_aggregates[] = {
	{"approx_count_distinct", 0, 0, TYPECACHE_HASH_EXTENDED_PROC},
	{"first", 2, 1, TYPECACHE_CMP_PROC},
	{"last", 2, 1, TYPECACHE_CMP_PROC},
	{"max_by", 2, 1, TYPECACHE_CMP_PROC},
	{"min_by", 2, 1, TYPECACHE_CMP_PROC},
	{"top_k", 1, 0, TYPECACHE_HASH_PROC},
};

static const OwnAggregate *
find_own_aggregate(const Aggref *aggref)
{
	const char *name = get_func_name(aggref->aggfnoid);

	if (get_func_namespace(aggref->aggfnoid) != eddy_catalog_schema())
		return NULL;
	for (int i = 0; name && i < (int) lengthof(own_aggregates); i++)
		if (strcmp(name, own_aggregates[i].name) == 0)
			return &own_aggregates[i];
	return NULL;
}

/* The error that the aggregate would raise for each row. */
static void
check_used_argument(const OwnAggregate *own, const Aggref *aggref)
{
	Oid			type = list_nth_oid(aggref->aggargtypes, own->used);
	TypeCacheEntry *entry = lookup_type_cache(type, own->function);
	bool		compares = own->function == TYPECACHE_CMP_PROC;
	bool		hashes = own->function == TYPECACHE_HASH_PROC;

	if (!OidIsValid(compares ? entry->cmp_proc : hashes ? entry->hash_proc :
					entry->hash_extended_proc))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 compares ? errmsg("could not identify a comparison function for type %s", format_type_be(type)) :
				 hashes ? errmsg("could not identify a hash function for type %s", format_type_be(type)) :
				 errmsg("could not identify an extended hash function for type %s", format_type_be(type)),
				 errdetail("Aggregate \"%s\" needs it for each row.", own->name),
				 errhint("Cast the value to a type that has one.")));
}

/*
 * An aggregate of pg_eddy must be able to do with its arguments what it does with each row. Values
 * in its state are read again, which is not possible for rows without a type of their own; of kept
 * values, the fields of such rows are kept (collect.c).
 */
static void
check_own_aggregate(const EddyAggregate *agg)
{
	const OwnAggregate *own = find_own_aggregate(agg->aggref);

	if (own == NULL)
		return;
	for (int i = 0; i < own->nvalues && agg->collection == NULL; i++)
	{
		Oid			type = list_nth_oid(agg->aggref->aggargtypes, i);

		if (get_typtype(type) == TYPTYPE_PSEUDO)
			refuse_aggregate(agg, psprintf("Its state has values of its arguments, and values of type %s cannot be stored.",
										   format_type_be(type)),
							 "Cast rows to a composite type, or build values with jsonb_build_object.");
	}
	check_used_argument(own, agg->aggref);
}

/*
 * eddy_function_check_aggregate does the same for the functions that an aggregate consists of, and
 * checks that the initial condition of one that combines is neutral: combining it with itself must
 * give the same state.
 */
void
eddy_function_check_aggregate(EddyAggregate *agg)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(agg->aggref->aggfnoid));
	Form_pg_aggregate form;
	Datum		initcond;
	bool		isnull;

	if (get_func_namespace(agg->aggref->aggfnoid) == PG_CATALOG_NAMESPACE)
	{
		ReleaseSysCache(tuple);
		return;					/* known to be neutral */
	}
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	check_support_function(agg, form->aggtransfn);
	check_support_function(agg, form->aggcombinefn);
	check_support_function(agg, form->aggfinalfn);
	check_support_function(agg, form->aggserialfn);
	check_support_function(agg, form->aggdeserialfn);
	check_own_aggregate(agg);
	initcond = SysCacheGetAttr(AGGFNOID, tuple, Anum_pg_aggregate_agginitval, &isnull);
	if (!isnull && agg->collection == NULL)
		check_initial_condition(agg, TextDatumGetCString(initcond));
	ReleaseSysCache(tuple);
}

/* ---- words for the current time ---- */

/*
 * eddy._refuse_clock_words(text): the text, if none of its words means the current
 * time where dates and times are read.
 */
Datum
eddy_refuse_clock_words(PG_FUNCTION_ARGS)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};
	text	   *value = PG_GETARG_TEXT_PP(0);
	const char *end = VARDATA_ANY(value) + VARSIZE_ANY_EXHDR(value);

	for (const char *start = VARDATA_ANY(value); start < end;)
	{
		const char *next = start;

		while (next < end && isalpha((unsigned char) *next))
			next++;
		for (int i = 0; next > start && i < (int) lengthof(words); i++)
			if ((size_t) (next - start) == strlen(words[i]) &&
				pg_strncasecmp(start, words[i], next - start) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
						 errmsg("\"%s\" cannot be used as a time in a continuous view",
								words[i]),
						 errdetail("Its value depends on when it is read.")));
		start = next + 1;
	}
	PG_RETURN_TEXT_P(value);
}

/* True for types whose text can mean the current time. */
static bool
reads_clock(Oid type)
{
	Oid			element;

	type = getBaseType(type);
	switch (type)
	{
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return true;
	}
	if (type_is_multirange(type))
		type = get_multirange_range(type);
	if (type_is_range(type))
		return reads_clock(get_range_subtype(type));
	element = get_element_type(type);
	return OidIsValid(element) && reads_clock(element);
}

static Node *
guard_mutator(Node *node, Oid *function)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
		return (Node *) query_tree_mutator((Query *) node, guard_mutator, function, 0);
	if (IsA(node, CoerceViaIO) && reads_clock(((CoerceViaIO *) node)->resulttype))
	{
		CoerceViaIO *cast = (CoerceViaIO *) expression_tree_mutator(node, guard_mutator, function);
		Oid			type = exprType((Node *) cast->arg);
		Oid			text_type = TEXTOID;
		Node	   *arg;

		if (!OidIsValid(*function))
			*function = LookupFuncName(list_make2(makeString(EDDY_SCHEMA),
												  makeString("_refuse_clock_words")),
									   1, &text_type, false);
		arg = coerce_to_target_type(NULL, (Node *) cast->arg, type, TEXTOID, -1,
									COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
		if (arg == NULL)
			return (Node *) cast;
		cast->arg = (Expr *) makeFuncExpr(*function, TEXTOID, list_make1(arg), InvalidOid,
										  exprCollation(arg), COERCE_EXPLICIT_CALL);
		return (Node *) cast;
	}
	return expression_tree_mutator(node, guard_mutator, function);
}

/*
 * eddy_function_guard_times returns a copy of a query in which casts of text to dates and times
 * raise an error for words that mean the current time.
 */
Query *
eddy_function_guard_times(Query *query)
{
	Oid			function = InvalidOid;

	return query_tree_mutator(query, guard_mutator, &function, 0);
}

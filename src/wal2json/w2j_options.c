/*-------------------------------------------------------------------------
 *
 * w2j_options.c
 *    The options of wal2json, which a client gives when it starts decoding.
 *
 * All options of wal2json 2.6 are accepted with the same values, and three more. All input is text
 * of the client, checked here once: nothing in it names a file, a program or a function. As in
 * pg_eddy_cdc, an option that is given twice is an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "replication/origin.h"
#include "utils/builtins.h"

#include "cdc/option_list.h"
#include "wal2json/w2j.h"

#define BLANKS " \t\n\v\f\r"

#define ALL_ACTIONS (EDDY_W2J_INSERT | EDDY_W2J_UPDATE | EDDY_W2J_DELETE | EDDY_W2J_TRUNCATE)

/* One element of a list of tables; NULL stands for any name. */
typedef struct Pattern
{
	char	   *schema;
	char	   *table;
} Pattern;

static void parse_actions(const EddyCdcOption *option, const char *value, void *options);
static void parse_deprecated(const EddyCdcOption *option, const char *value, void *options);
static void parse_identity(const EddyCdcOption *option, const char *value, void *options);
static void parse_origins(const EddyCdcOption *option, const char *value, void *options);
static void parse_prefixes(const EddyCdcOption *option, const char *value, void *options);
static void parse_tables(const EddyCdcOption *option, const char *value, void *options);
static void parse_version(const EddyCdcOption *option, const char *value, void *options);

#define BOOLEAN(name, initial, field) \
	{name, initial, eddy_cdc_parse_boolean, offsetof(EddyW2jOptions, field), 0}

static const EddyCdcOption known_options[] = {
	{"actions", "insert,update,delete,truncate", parse_actions, 0, 0},
	{"add-msg-prefixes", NULL, parse_prefixes, offsetof(EddyW2jOptions, add_prefixes), 0},
	{"add-tables", NULL, parse_tables, offsetof(EddyW2jOptions, add_tables), 0},
	BOOLEAN("check-acl", "on", check_acl),
	{"filter-msg-prefixes", NULL, parse_prefixes, offsetof(EddyW2jOptions, filter_prefixes), 0},
	{"filter-origins", NULL, parse_origins, 0, 0},
	{"filter-tables", NULL, parse_tables, offsetof(EddyW2jOptions, filter_tables), 0},
	{"format-version", "1", parse_version, 0, 0},
	{"identity", "key", parse_identity, 0, 0},
	BOOLEAN("include-column-positions", "off", include_column_positions),
	BOOLEAN("include-default", "off", include_default),
	BOOLEAN("include-domain-data-type", "off", include_domain_data_type),
	BOOLEAN("include-lsn", "off", include_lsn),
	BOOLEAN("include-not-null", "off", include_not_null),
	BOOLEAN("include-origin", "off", include_origin),
	BOOLEAN("include-pk", "off", include_pk),
	BOOLEAN("include-schemas", "on", include_schemas),
	BOOLEAN("include-timestamp", "off", include_timestamp),
	BOOLEAN("include-transaction", "on", include_transaction),
	BOOLEAN("include-type-oids", "off", include_type_oids),
	BOOLEAN("include-types", "on", include_types),
	BOOLEAN("include-typmod", "on", include_typmod),
	{"include-unchanged-toast", NULL, parse_deprecated, 0, 0},
	BOOLEAN("include-xids", "off", include_xids),
	BOOLEAN("numeric-data-types-as-string", "off", numeric_as_string),
	BOOLEAN("pretty-print", "off", pretty_print),
	BOOLEAN("skip-empty-xacts", "off", skip_empty_xacts),
	BOOLEAN("write-in-chunks", "off", write_in_chunks)
};

/* Receives one element of a list. */
typedef void (*TakeElement) (const EddyCdcOption *option, char *element, EddyW2jOptions *options);

static void for_each_element(const EddyCdcOption *option, const char *value,
							 EddyW2jOptions *options, TakeElement take);
static bool matches(List *patterns, const char *schema, const char *table);
static void take_action(const EddyCdcOption *option, char *element, EddyW2jOptions *options);
static void take_origin(const EddyCdcOption *option, char *element, EddyW2jOptions *options);
static void take_prefix(const EddyCdcOption *option, char *element, EddyW2jOptions *options);
static bool parse_part(const char **cursor, const char *ends, char **name);

/* Fills *options from the client's list of DefElem, and from the defaults. */
void
eddy_wal2json_parse_options(List *list, EddyW2jOptions *options)
{
	static const EddyCdcOptionTable table = {
		EDDY_WAL2JSON_PLUGIN, known_options, lengthof(known_options),
		"The options are those of wal2json, \"check-acl\", \"identity\" and \"skip-empty-xacts\"."
	};
	bool		seen[lengthof(known_options)];

	memset(options, 0, sizeof(*options));
	eddy_cdc_parse_list(&table, list, seen, options);

	/* it has no effect on version 2, as in wal2json */
	if (options->format_version != 1)
		options->pretty_print = options->write_in_chunks = false;
}

/* True if changes of the view with this name are to be sent. */
bool
eddy_wal2json_wants_table(const EddyW2jOptions *options, const char *schema, const char *table)
{
	if (options->filter_tables != NIL && matches(options->filter_tables, schema, table))
		return false;
	return options->add_tables == NIL || matches(options->add_tables, schema, table);
}

/* True if messages with this prefix are to be sent. */
bool
eddy_wal2json_wants_prefix(const EddyW2jOptions *options, const char *prefix)
{
	ListCell   *cell;

	foreach(cell, options->filter_prefixes)
		if (strcmp(lfirst(cell), prefix) == 0)
			return false;
	if (options->add_prefixes == NIL)
		return true;
	foreach(cell, options->add_prefixes)
		if (strcmp(lfirst(cell), prefix) == 0)
			return true;
	return false;
}

static bool
matches(List *patterns, const char *schema, const char *table)
{
	ListCell   *cell;

	foreach(cell, patterns)
	{
		const Pattern *pattern = lfirst(cell);

		if ((pattern->schema == NULL || strcmp(pattern->schema, schema) == 0) &&
			(pattern->table == NULL || strcmp(pattern->table, table) == 0))
			return true;
	}
	return false;
}

/* Without a value, the version is 2. */
static void
parse_version(const EddyCdcOption *option, const char *value, void *arg)
{
	EddyW2jOptions *options = arg;
	char	   *end;
	long		version;

	if (value == NULL)
	{
		options->format_version = 2;
		return;
	}
	errno = 0;
	version = strtol(value, &end, 10);
	if (end == value || *end != '\0' || errno != 0)
		eddy_cdc_refuse_value(option, value, "Valid versions are 1 and 2.", NULL);
	if (version < 1 || version > 2)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("format version %ld is not supported", version),
				 errhint("Valid versions are 1 and 2.")));
	options->format_version = (int) version;
}

static void
parse_deprecated(const EddyCdcOption *option, const char *value pg_attribute_unused(),
				 void *arg pg_attribute_unused())
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_NAME),
			 errmsg("option \"%s\" is not supported", option->name),
			 errdetail("wal2json does not support it either."),
			 errhint("Leave it out: values that an update did not change are sent.")));
}

/* "key": as of a table whose primary key is the view's key; "full": with REPLICA IDENTITY FULL. */
static void
parse_identity(const EddyCdcOption *option, const char *value, void *arg)
{
	static const char *const choices[] = {"key", "full", NULL};
	EddyW2jOptions *options = arg;

	if (value != NULL && strcmp(value, "key") == 0)
		options->full_identity = false;
	else if (value != NULL && strcmp(value, "full") == 0)
		options->full_identity = true;
	else
		eddy_cdc_refuse_choice(option, value, choices);
}

/* A missing value selects all actions, and an empty one none. */
static void
parse_actions(const EddyCdcOption *option, const char *value, void *arg)
{
	EddyW2jOptions *options = arg;

	options->actions = value == NULL ? ALL_ACTIONS : 0;
	for_each_element(option, value, options, take_action);
}

static void
take_action(const EddyCdcOption *option, char *element, EddyW2jOptions *options)
{
	static const char *const names[] = {"insert", "update", "delete", "truncate", NULL};
	static const int actions[] = {
		EDDY_W2J_INSERT, EDDY_W2J_UPDATE, EDDY_W2J_DELETE, EDDY_W2J_TRUNCATE
	};

	for (int i = 0; names[i] != NULL; i++)
		if (strcmp(names[i], element) == 0)
		{
			options->actions |= actions[i];
			return;
		}
	eddy_cdc_refuse_choice(option, element, names);
}

/* A missing or empty list selects no message prefix, and so the option has no effect. */
static void
parse_prefixes(const EddyCdcOption *option, const char *value, void *arg)
{
	for_each_element(option, value, arg, take_prefix);
}

static void
take_prefix(const EddyCdcOption *option, char *element, EddyW2jOptions *options)
{
	List	  **field = (List **) ((char *) options + option->offset);

	*field = lappend(*field, element);
}

/* Numbers of replication origins (pg_replication_origin.roident). */
static void
parse_origins(const EddyCdcOption *option, const char *value, void *arg)
{
	for_each_element(option, value, arg, take_origin);
}

static void
take_origin(const EddyCdcOption *option, char *element, EddyW2jOptions *options)
{
	char	   *end;
	long		origin;

	errno = 0;
	origin = strtol(element, &end, 10);
	if (end == element || *end != '\0' || errno != 0 || origin < 0 || origin > DoNotReplicateId)
		eddy_cdc_refuse_value(option, element,
							  psprintf("Replication origins have numbers from 0 to %d.",
									   DoNotReplicateId),
							  "List numbers of replication origins, as in \"1, 2\".");
	options->filter_origins = lappend_int(options->filter_origins, (int) origin);
}

/*
 * Calls a function for each element of a comma-separated list, without surrounding blanks. A
 * missing or blank list has none. As in wal2json, an element is not empty and contains no blanks,
 * except after a backslash, which remains part of the element.
 */
static void
for_each_element(const EddyCdcOption *option, const char *value, EddyW2jOptions *options,
				 TakeElement take)
{
	const char *cursor = value != NULL ? value : "";

	cursor += strspn(cursor, BLANKS);
	if (*cursor == '\0')
		return;
	for (;;)
	{
		const char *start = cursor;

		while (*cursor != '\0' && strchr("," BLANKS, *cursor) == NULL)
			cursor += cursor[0] == '\\' && cursor[1] != '\0' ? 2 : 1;
		if (cursor == start)
			break;
		take(option, pnstrdup(start, cursor - start), options);
		cursor += strspn(cursor, BLANKS);
		if (*cursor == '\0')
			return;
		if (*cursor++ != ',')
			break;
		cursor += strspn(cursor, BLANKS);
	}
	eddy_cdc_refuse_value(option, value, "It is not a list of elements that have no blanks.",
						  "Separate the elements of the list by commas.");
}

/*
 * Parses a comma-separated list of schema.table, where either may be "*". Names are case-sensitive,
 * and a backslash makes the next character part of the name; the table may contain further periods.
 * An empty list matches no table.
 */
static void
parse_tables(const EddyCdcOption *option, const char *value, void *arg)
{
	EddyW2jOptions *options = arg;
	List	  **field = (List **) ((char *) options + option->offset);
	const char *detail = "An element is the name of a table with its schema.";
	const char *hint = "List names as in \"public.revenue, reports.*\".";
	const char *cursor = value != NULL ? value : "";

	cursor += strspn(cursor, BLANKS);
	if (*cursor == '\0')
	{
		Pattern    *none = palloc0(sizeof(Pattern));

		none->schema = none->table = pstrdup("");
		*field = lappend(*field, none);
		return;
	}
	for (;;)
	{
		Pattern    *pattern = palloc0(sizeof(Pattern));

		cursor += strspn(cursor, BLANKS);
		if (!parse_part(&cursor, ".," BLANKS, &pattern->schema) || *cursor++ != '.' ||
			!parse_part(&cursor, "," BLANKS, &pattern->table))
			eddy_cdc_refuse_value(option, value, detail, hint);
		*field = lappend(*field, pattern);

		cursor += strspn(cursor, BLANKS);
		if (*cursor == '\0')
			return;
		if (*cursor++ != ',')
			eddy_cdc_refuse_value(option, value, detail, hint);
	}
}

/*
 * Parses a name that ends before one of the characters in "ends", or a single asterisk, which gives
 * NULL. False if there is neither.
 */
static bool
parse_part(const char **cursor, const char *ends, char **name)
{
	StringInfoData buf;
	const char *p = *cursor;

	if (p[0] == '*' && (p[1] == '\0' || strchr(ends, p[1]) != NULL))
	{
		*name = NULL;
		*cursor = p + 1;
		return true;
	}
	initStringInfo(&buf);
	while (*p != '\0' && strchr(ends, *p) == NULL)
	{
		if (*p == '\\' && p[1] != '\0')
			p++;
		appendStringInfoChar(&buf, *p++);
	}
	*cursor = p;
	*name = buf.data;
	return buf.len > 0;
}

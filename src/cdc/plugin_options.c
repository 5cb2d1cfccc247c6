/*-------------------------------------------------------------------------
 *
 * plugin_options.c
 *    The options that a client gives when it starts decoding.
 *
 * All options and all formats are in one table each; a new one is a line in it. All input is text
 * of the client, checked here once: nothing in it names a file, a program or a function.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "parser/scansup.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "cdc/format.h"
#include "closest_match.h"

/* Largest message that is collected; a single record may be larger. */
#define MAX_BATCH_BYTES (64 * 1024 * 1024)

/* One element of option "views"; NULL stands for any name. */
typedef struct Pattern
{
	char	   *schema;
	char	   *view;
} Pattern;

typedef struct Option Option;

/* Parses a value, which is NULL if the client gave the name of the option only. */
typedef void (*ParseOption) (const Option *option, const char *value, EddyCdcOptions *options);

struct Option
{
	const char *name;
	const char *initial;		/* the default value, NULL: the field stays zero */
	ParseOption parse;
	size_t		offset;			/* in EddyCdcOptions, of the field that parse_boolean sets */
};

static void parse_batch_bytes(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_boolean(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_emit(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_format(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_progress(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_views(const Option *option, const char *value, EddyCdcOptions *options);

#define BOOLEAN(name, initial, field) \
	{name, initial, parse_boolean, offsetof(EddyCdcOptions, field)}

static const Option known_options[] = {
	{"batch-bytes", "64kB", parse_batch_bytes, 0},
	BOOLEAN("check-acl", "on", check_acl),
	{"emit", "changes", parse_emit, 0},
	{"format", "native", parse_format, 0},
	BOOLEAN("include-before", "off", include_before),
	BOOLEAN("include-lsn", "on", include_lsn),
	BOOLEAN("include-seq", "on", include_seq),
	BOOLEAN("include-timestamp", "on", include_timestamp),
	BOOLEAN("include-xid", "on", include_xid),
	{"progress", "off", parse_progress, 0},
	BOOLEAN("skip-empty-xacts", "on", skip_empty_xacts),
	{"views", NULL, parse_views, 0}
};

/* NULL: the protocol reserves the name, but there is no such format yet. */
static const struct
{
	const char *name;
	const EddyCdcFormat *format;
}			known_formats[] = {
	{"debezium", NULL},
	{"native", &eddy_cdc_native_format},
	{"upsert", NULL},
	{"wal2json", NULL}
};

static const Option *find_option(const char *name);
static void refuse_value(const Option *option, const char *value, const char *hint);
static bool parse_pattern_part(const char **cursor, char **name);

/*
 * Fills *options from the client's list of DefElem, and from the defaults. Errors have SQLSTATE 22023,
 * or 0A000 for what the protocol has reserved.
 */
void
eddy_cdc_parse_options(List *list, EddyCdcOptions *options)
{
	bool		seen[lengthof(known_options)] = {false};
	ListCell   *cell;

	memset(options, 0, sizeof(*options));
	for (size_t i = 0; i < lengthof(known_options); i++)
	{
		const Option *option = &known_options[i];

		if (option->initial != NULL)
			option->parse(option, option->initial, options);
	}

	foreach(cell, list)
	{
		DefElem    *element = lfirst_node(DefElem, cell);
		const Option *option = find_option(element->defname);

		if (seen[option - known_options])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("conflicting or redundant options"),
					 errdetail("Option \"%s\" is given more than once.", option->name)));
		seen[option - known_options] = true;

		option->parse(option, element->arg != NULL ? strVal(element->arg) : NULL, options);
	}
}

/* True if option "views" includes the view, or was not given. */
bool
eddy_cdc_wants_view(const EddyCdcOptions *options, const char *schema, const char *view)
{
	ListCell   *cell;

	if (options->views == NIL)
		return true;
	foreach(cell, options->views)
	{
		const Pattern *pattern = lfirst(cell);

		if ((pattern->schema == NULL || strcmp(pattern->schema, schema) == 0) &&
			(pattern->view == NULL || strcmp(pattern->view, view) == 0))
			return true;
	}
	return false;
}

/* Finds an option by its name; raises an error with the closest one if there is none. */
static const Option *
find_option(const char *name)
{
	EddyClosestMatch closest;

	eddy_closest_init(&closest, name);
	for (size_t i = 0; i < lengthof(known_options); i++)
	{
		if (strcmp(known_options[i].name, name) == 0)
			return &known_options[i];
		eddy_closest_update(&closest, known_options[i].name);
	}

	if (closest.match == NULL)
	{
		StringInfoData names;

		initStringInfo(&names);
		for (size_t i = 0; i < lengthof(known_options); i++)
			appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", known_options[i].name);
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unrecognized option \"%s\" for output plugin \"%s\"", name,
						EDDY_CDC_PLUGIN),
				 errhint("Valid options are: %s.", names.data)));
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized option \"%s\" for output plugin \"%s\"", name,
					EDDY_CDC_PLUGIN),
			 errhint("Perhaps you meant the option \"%s\".", closest.match)));
}

/* Raises the error for a value that is not valid, or missing. */
static void
refuse_value(const Option *option, const char *value, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 value != NULL ?
			 errmsg("invalid value for option \"%s\": \"%s\"", option->name, value) :
			 errmsg("option \"%s\" requires a value", option->name),
			 errhint("%s", hint)));
}

static void
parse_boolean(const Option *option, const char *value, EddyCdcOptions *options)
{
	bool	   *field = (bool *) ((char *) options + option->offset);

	if (value == NULL)
		*field = true;
	else if (!parse_bool(value, field))
		refuse_value(option, value, "Valid values are \"on\" and \"off\".");
}

static void
parse_batch_bytes(const Option *option, const char *value, EddyCdcOptions *options)
{
	int			bytes;

	if (value == NULL || !parse_int(value, &bytes, GUC_UNIT_BYTE, NULL) ||
		bytes < 0 || bytes > MAX_BATCH_BYTES)
		refuse_value(option, value,
					 "Give a size from 0 to 64MB, such as \"64kB\"; "
					 "0 stands for one record per message.");
	else
		options->batch_bytes = bytes;
}

static void
parse_format(const Option *option, const char *value, EddyCdcOptions *options)
{
	bool		reserved = false;
	char	   *hint;
	StringInfoData names;

	initStringInfo(&names);
	for (size_t i = 0; i < lengthof(known_formats); i++)
	{
		const EddyCdcFormat *format = known_formats[i].format;
		bool		asked = value != NULL && strcmp(known_formats[i].name, value) == 0;

		if (format == NULL)
			reserved |= asked;
		else if (asked)
		{
			options->format = format;
			return;
		}
		else
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", known_formats[i].name);
	}

	hint = psprintf("Valid formats are: %s.", names.data);
	if (reserved)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("format \"%s\" is not supported", value),
				 errhint("%s", hint)));
	refuse_value(option, value, hint);
}

/* Selects the changes to send. Final results are not distinguished from others yet. */
static void
parse_emit(const Option *option, const char *value, EddyCdcOptions *options pg_attribute_unused())
{
	if (value != NULL && strcmp(value, "changes") == 0)
		return;
	if (value != NULL && (strcmp(value, "final") == 0 || strcmp(value, "both") == 0))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("value \"%s\" of option \"emit\" is not supported", value),
				 errhint("Use \"changes\".")));
	refuse_value(option, value, "The only value is \"changes\".");
}

/* Requests records of the watermark's progress, which do not exist yet. */
static void
parse_progress(const Option *option, const char *value,
			   EddyCdcOptions *options pg_attribute_unused())
{
	bool		progress = true;

	if (value != NULL && !parse_bool(value, &progress))
		refuse_value(option, value, "The only value is \"off\".");
	if (progress)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("progress records are not supported"),
				 errhint("Leave out the option \"progress\".")));
}

/* Parses a comma-separated list of schema.view, where either may be "*". */
static void
parse_views(const Option *option, const char *value, EddyCdcOptions *options)
{
	const char *hint = "List names as in \"public.revenue, reports.*\".";
	const char *cursor = value;

	if (value == NULL)
		refuse_value(option, value, hint);

	for (;;)
	{
		Pattern    *pattern = palloc0(sizeof(Pattern));

		while (scanner_isspace(*cursor))
			cursor++;
		if (!parse_pattern_part(&cursor, &pattern->schema) || *cursor++ != '.' ||
			!parse_pattern_part(&cursor, &pattern->view))
			refuse_value(option, value, hint);
		options->views = lappend(options->views, pattern);

		while (scanner_isspace(*cursor))
			cursor++;
		if (*cursor == '\0')
			return;
		if (*cursor++ != ',')
			refuse_value(option, value, hint);
	}
}

/*
 * Parses an identifier as SQL reads it, folded or in double quotes, or the
 * wildcard, which gives NULL. False if there is neither.
 */
static bool
parse_pattern_part(const char **cursor, char **name)
{
	const char *start = *cursor;
	const char *p = start;

	if (*p == '"')
	{
		StringInfoData buf;

		initStringInfo(&buf);
		for (p++; *p != '"' || p[1] == '"'; p++)
		{
			if (*p == '\0')
				return false;
			if (*p == '"')
				p++;
			appendStringInfoChar(&buf, *p);
		}
		*cursor = p + 1;
		*name = buf.data;
		return buf.len > 0;
	}

	while (*p != '\0' && *p != '.' && *p != ',' && *p != '"' && !scanner_isspace(*p))
		p++;
	*cursor = p;
	if (p - start == 1 && *start == '*')
	{
		*name = NULL;
		return true;
	}
	*name = downcase_truncate_identifier(start, p - start, false);
	return p > start && strchr(*name, '*') == NULL;
}

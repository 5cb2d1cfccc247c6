/*-------------------------------------------------------------------------
 *
 * plugin_options.c
 *    What a client asks for when it starts decoding.
 *
 * Every option stands in one table; a format that needs more options adds
 * lines to it. All input is text of the client, checked here once: nothing in
 * it names a file, a program or a function.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "parser/scansup.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "cdc/cdc.h"
#include "closest_match.h"

/* Largest message that is collected; a single record may be larger. */
#define MAX_BATCH_BYTES (64 * 1024 * 1024)
#define DEFAULT_BATCH_BYTES (64 * 1024)

typedef struct Option Option;

struct Option
{
	const char *name;
	void		(*parse) (const Option *option, const char *value, EddyCdcOptions *options);
	size_t		offset;			/* in EddyCdcOptions, of what parse writes */
};

static void parse_batch_bytes(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_boolean(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_emit(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_format(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_progress(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_views(const Option *option, const char *value, EddyCdcOptions *options);

#define BOOLEAN(name, field) {name, parse_boolean, offsetof(EddyCdcOptions, field)}

static const Option known_options[] = {
	{"batch-bytes", parse_batch_bytes, 0},
	BOOLEAN("check-acl", check_acl),
	{"emit", parse_emit, 0},
	{"format", parse_format, 0},
	BOOLEAN("include-before", include_before),
	BOOLEAN("include-lsn", include_lsn),
	BOOLEAN("include-seq", include_seq),
	BOOLEAN("include-timestamp", include_timestamp),
	BOOLEAN("include-xid", include_xid),
	{"progress", parse_progress, 0},
	BOOLEAN("skip-empty-xacts", skip_empty_xacts),
	{"views", parse_views, 0}
};

static const EddyCdcFormat *const formats[] = {
	&eddy_cdc_native_format
};

/* Names that the protocol has reserved for formats to come. */
static const char *const reserved_formats[] = {"debezium", "upsert", "wal2json"};

static const Option *find_option(const char *name);
static void refuse_value(const Option *option, const char *value, const char *hint);
static bool parse_pattern_part(const char **cursor, char **name);

void
eddy_cdc_parse_options(List *list, EddyCdcOptions *options)
{
	bool		seen[lengthof(known_options)] = {false};
	ListCell   *cell;

	memset(options, 0, sizeof(*options));
	options->format = &eddy_cdc_native_format;
	options->batch_bytes = DEFAULT_BATCH_BYTES;
	options->check_acl = true;
	options->include_lsn = true;
	options->include_seq = true;
	options->include_timestamp = true;
	options->include_xid = true;
	options->skip_empty_xacts = true;

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

		/* an option without a value is a switch */
		option->parse(option, element->arg != NULL ? strVal(element->arg) : NULL, options);
	}
}

bool
eddy_cdc_wants_view(const EddyCdcOptions *options, const char *schema, const char *view)
{
	ListCell   *cell;

	if (options->views == NIL)
		return true;
	foreach(cell, options->views)
	{
		const EddyCdcPattern *pattern = lfirst(cell);

		if ((pattern->schema == NULL || strcmp(pattern->schema, schema) == 0) &&
			(pattern->view == NULL || strcmp(pattern->view, view) == 0))
			return true;
	}
	return false;
}

/* Finds an option by its name; raises an error that names the closest one. */
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
	for (size_t i = 0; value != NULL && i < lengthof(formats); i++)
	{
		if (strcmp(formats[i]->name, value) == 0)
		{
			options->format = formats[i];
			return;
		}
	}
	for (size_t i = 0; value != NULL && i < lengthof(reserved_formats); i++)
	{
		if (strcmp(reserved_formats[i], value) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("format \"%s\" is not supported", value),
					 errhint("Use the format \"native\".")));
	}
	refuse_value(option, value, "The only format is \"native\".");
}

/* Which changes are sent. Final results are not distinguished from others yet. */
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

/* Whether the progress of the watermark is sent, for which there are no records yet. */
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
		EddyCdcPattern *pattern = palloc0(sizeof(EddyCdcPattern));

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

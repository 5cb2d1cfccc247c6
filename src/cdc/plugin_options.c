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
#include "utils/builtins.h"
#include "utils/guc.h"

#include "cdc/format.h"
#include "cdc/view_filter.h"
#include "closest_match.h"

/* Largest message that is collected; a single record may be larger. */
#define MAX_BATCH_BYTES (64 * 1024 * 1024)

/* The formats, as bits of a set. */
#define DEBEZIUM 0x01
#define NATIVE 0x02
#define UPSERT 0x04
#define ALL_FORMATS (DEBEZIUM | NATIVE | UPSERT)

typedef struct Option Option;

/* Parses a value, which is NULL if the client gave the name of the option only. */
typedef void (*ParseOption) (const Option *option, const char *value, EddyCdcOptions *options);

struct Option
{
	const char *name;
	const char *initial;		/* the default value, NULL: the field stays zero */
	ParseOption parse;
	size_t		offset;			/* in EddyCdcOptions, of the field that parse_boolean sets */
	int			formats;		/* that have the option */
};

static void parse_batch_bytes(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_boolean(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_emit(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_format(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_protocol(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_topic_prefix(const Option *option, const char *value, EddyCdcOptions *options);
static void parse_views(const Option *option, const char *value, EddyCdcOptions *options);

#define BOOLEAN(name, initial, field, formats) \
	{name, initial, parse_boolean, offsetof(EddyCdcOptions, field), formats}

static const Option known_options[] = {
	{"batch-bytes", "64kB", parse_batch_bytes, 0, ALL_FORMATS},
	BOOLEAN("check-acl", "on", check_acl, ALL_FORMATS),
	{"emit", "changes", parse_emit, 0, ALL_FORMATS},
	{"format", "native", parse_format, 0, ALL_FORMATS},
	BOOLEAN("include-before", "off", include_before, DEBEZIUM | NATIVE),
	BOOLEAN("include-lsn", "on", include_lsn, NATIVE | UPSERT),
	BOOLEAN("include-schema", "off", include_schema, NATIVE),
	BOOLEAN("include-seq", "on", include_seq, NATIVE | UPSERT),
	BOOLEAN("include-timestamp", "on", include_timestamp, NATIVE | UPSERT),
	BOOLEAN("include-transaction", "off", include_transaction, DEBEZIUM | NATIVE),
	BOOLEAN("include-types", "off", include_types, NATIVE | UPSERT),
	BOOLEAN("include-xid", "on", include_xid, NATIVE | UPSERT),
	BOOLEAN("net", "on", net, ALL_FORMATS),
	BOOLEAN("numeric-as-string", "off", numeric_as_string, ALL_FORMATS),
	BOOLEAN("progress", "off", progress, NATIVE),
	{"protocol-version", "1", parse_protocol, 0, NATIVE},
	BOOLEAN("retention", "off", retention, ALL_FORMATS),
	BOOLEAN("skip-empty-xacts", "on", skip_empty_xacts, ALL_FORMATS),
	BOOLEAN("streaming", "off", streaming, NATIVE),
	BOOLEAN("strict", "off", strict, ALL_FORMATS),
	BOOLEAN("tombstones", "on", tombstones, DEBEZIUM),
	{"topic-prefix", NULL, parse_topic_prefix, 0, DEBEZIUM},
	BOOLEAN("two-phase", "off", two_phase, NATIVE),
	{"views", NULL, parse_views, 0, ALL_FORMATS}
};

/* NULL: another library has the format. */
static const struct
{
	const char *name;
	const EddyCdcFormat *format;
	int			bit;
}			known_formats[] = {
	{"debezium", &eddy_cdc_debezium_format, DEBEZIUM},
	{"native", &eddy_cdc_native_format, NATIVE},
	{"upsert", &eddy_cdc_upsert_format, UPSERT},
	{"wal2json", NULL, 0}
};

static void check_format(const Option *option, const EddyCdcOptions *options);
static void check_streaming(const EddyCdcOptions *options);
static const Option *find_option(const char *name);
static void refuse_value(const Option *option, const char *value, const char *hint);

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

	for (size_t i = 0; i < lengthof(known_options); i++)
	{
		const Option *option = &known_options[i];

		if (seen[i])
			check_format(option, options);
		else if (option->offset == offsetof(EddyCdcOptions, include_before) &&
				 option->parse == parse_boolean)
			options->include_before = options->format == &eddy_cdc_debezium_format;
		else if (option->offset == offsetof(EddyCdcOptions, net) && options->streaming)
			options->net = false;
	}
	if (options->streaming)
		check_streaming(options);
}

/*
 * Raises an error if the format does not have an option that the client has given. Some clients
 * send all of their options: one that is off is the same as none.
 */
static void
check_format(const Option *option, const EddyCdcOptions *options)
{
	const char *format = NULL;
	StringInfoData names;

	initStringInfo(&names);
	for (size_t i = 0; i < lengthof(known_formats); i++)
	{
		if (known_formats[i].format == options->format)
		{
			if (option->formats & known_formats[i].bit)
				return;
			format = known_formats[i].name;
		}
		else if (option->formats & known_formats[i].bit)
			appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? " or " : "",
							 known_formats[i].name);
	}
	if (option->parse == parse_boolean && !*((const bool *) options + option->offset))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("conflicting options \"format\" and \"%s\"", option->name),
			 errdetail("Format \"%s\" does not have option \"%s\".", format, option->name),
			 errhint("Leave out the option, or use format %s.", names.data)));
}

/* Raises an error if options are on that cannot be combined with "streaming". */
static void
check_streaming(const EddyCdcOptions *options)
{
	if (options->net)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("conflicting options \"%s\" and \"%s\"", "streaming", "net"),
				 errdetail("Changes cannot be combined before it is known which subtransactions are committed."),
				 errhint("Turn one of the options off.")));
	if (options->two_phase)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("conflicting options \"%s\" and \"%s\"", "streaming", "two-phase"),
				 errdetail("A transaction that was sent in parts is complete when it commits."),
				 errhint("Turn one of the options off.")));
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
	EddyClosestMatch closest;
	StringInfoData names;

	initStringInfo(&names);
	eddy_closest_init(&closest, value != NULL ? value : "");
	for (size_t i = 0; i < lengthof(known_formats); i++)
	{
		const EddyCdcFormat *format = known_formats[i].format;

		if (value != NULL && strcmp(known_formats[i].name, value) == 0)
		{
			if (format == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("format \"%s\" is not supported by output plugin \"%s\"", value,
								EDDY_CDC_PLUGIN),
						 errhint("Create a slot with the output plugin \"pg_eddy_wal2json\".")));
			options->format = format;
			return;
		}
		if (format == NULL)
			continue;
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", known_formats[i].name);
		eddy_closest_update(&closest, known_formats[i].name);
	}
	refuse_value(option, value, closest.match != NULL ?
				 psprintf("Perhaps you meant the format \"%s\".", closest.match) :
				 psprintf("Valid formats are: %s.", names.data));
}

/* Checks the version of the records that the client understands. */
static void
parse_protocol(const Option *option, const char *value, EddyCdcOptions *options)
{
	int			version;

	if (value == NULL || !parse_int(value, &version, 0, NULL) || version < 1)
		refuse_value(option, value, "Give a number, such as \"1\".");
	else if (version != EDDY_CDC_PROTOCOL_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("protocol version %d is not supported", version),
				 errhint("This version of output plugin \"%s\" supports protocol version %d.",
						 EDDY_CDC_PLUGIN, EDDY_CDC_PROTOCOL_VERSION)));
	else
		options->protocol_version = version;
}

/* Sets the first part of the names of topics, which Kafka restricts. */
static void
parse_topic_prefix(const Option *option, const char *value, EddyCdcOptions *options)
{
	static const char valid[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

	if (value == NULL || value[0] == '\0' || strlen(value) >= NAMEDATALEN ||
		value[strspn(value, valid)] != '\0')
		refuse_value(option, value,
					 "Give letters, digits, \".\", \"_\" and \"-\", at most 63 of them.");
	else
		options->topic_prefix = pstrdup(value);
}

/* Selects changes of rows before they are final, rows that are final, or both. */
static void
parse_emit(const Option *option, const char *value, EddyCdcOptions *options)
{
	static const char *const values[] = {"changes", "final", "both"};
	EddyClosestMatch closest;

	eddy_closest_init(&closest, value != NULL ? value : "");
	for (size_t i = 0; i < lengthof(values); i++)
	{
		if (value != NULL && strcmp(value, values[i]) == 0)
		{
			options->final_only = i == 1;
			options->final_marks = i != 0;
			return;
		}
		eddy_closest_update(&closest, values[i]);
	}
	refuse_value(option, value, closest.match != NULL ?
				 psprintf("Perhaps you meant \"%s\".", closest.match) :
				 "Valid values are \"changes\", \"final\" and \"both\".");
}

/* Parses a comma-separated list of schema.view, where either may be "*", and IDs. */
static void
parse_views(const Option *option, const char *value, EddyCdcOptions *options)
{
	if (value == NULL || !eddy_cdc_parse_views(value, &options->views))
		refuse_value(option, value, "List names as in \"public.revenue, reports.*\".");
}

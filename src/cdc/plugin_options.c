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

#include "utils/builtins.h"
#include "utils/guc.h"

#include "cdc/format.h"
#include "cdc/option_list.h"
#include "cdc/view_filter.h"

/* Largest message that is collected; a single record may be larger. */
#define MAX_BATCH_BYTES (64 * 1024 * 1024)

/* The formats, as bits of a set. */
#define DEBEZIUM 0x01
#define NATIVE 0x02
#define UPSERT 0x04
#define ALL_FORMATS (DEBEZIUM | NATIVE | UPSERT)

static void parse_batch_bytes(const EddyCdcOption *option, const char *value, void *options);
static void parse_emit(const EddyCdcOption *option, const char *value, void *options);
static void parse_format(const EddyCdcOption *option, const char *value, void *options);
static void parse_protocol(const EddyCdcOption *option, const char *value, void *options);
static void parse_topic_prefix(const EddyCdcOption *option, const char *value, void *options);
static void parse_views(const EddyCdcOption *option, const char *value, void *options);

#define BOOLEAN(name, initial, field, formats) \
	{name, initial, eddy_cdc_parse_boolean, offsetof(EddyCdcOptions, field), formats}

static const EddyCdcOption known_options[] = {
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
	BOOLEAN("include-types", "off", include_types, ALL_FORMATS),
	BOOLEAN("include-xid", "on", include_xid, NATIVE | UPSERT),
	BOOLEAN("net", "on", net, ALL_FORMATS),
	BOOLEAN("numeric-as-string", "off", numeric_as_string, ALL_FORMATS),
	BOOLEAN("progress", "off", progress, ALL_FORMATS),
	{"protocol-version", "1", parse_protocol, 0, ALL_FORMATS},
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

static void check_format(const EddyCdcOption *option, const EddyCdcOptions *options);
static void check_streaming(const EddyCdcOptions *options);

/*
 * Fills *options from the client's list of DefElem, and from the defaults. Errors have SQLSTATE
 * 22023, or 0A000 for what the protocol has reserved.
 */
void
eddy_cdc_parse_options(List *list, EddyCdcOptions *options)
{
	static const EddyCdcOptionTable table = {
		EDDY_CDC_PLUGIN, known_options, lengthof(known_options), NULL
	};
	bool		seen[lengthof(known_options)];

	memset(options, 0, sizeof(*options));
	eddy_cdc_parse_list(&table, list, seen, options);
	for (size_t i = 0; i < lengthof(known_options); i++)
	{
		const EddyCdcOption *option = &known_options[i];

		if (seen[i])
			check_format(option, options);
		else if (option->offset == offsetof(EddyCdcOptions, include_before) &&
				 option->parse == eddy_cdc_parse_boolean)
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
check_format(const EddyCdcOption *option, const EddyCdcOptions *options)
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
	if (option->parse == eddy_cdc_parse_boolean && !*((const bool *) options + option->offset))
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

static void
parse_batch_bytes(const EddyCdcOption *option, const char *value, void *arg)
{
	EddyCdcOptions *options = arg;
	int			bytes;

	if (value == NULL || !parse_int(value, &bytes, GUC_UNIT_BYTE, NULL) ||
		bytes < 0 || bytes > MAX_BATCH_BYTES)
		eddy_cdc_refuse_value(option, value, "Valid sizes are from 0 to 64MB.",
							  "Give a size such as \"64kB\", or 0 for one record per message.");
	else
		options->batch_bytes = bytes;
}

static void
parse_format(const EddyCdcOption *option, const char *value, void *arg)
{
	EddyCdcOptions *options = arg;
	const char *choices[lengthof(known_formats) + 1] = {NULL};
	int			nchoices = 0;

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
		if (format != NULL)
			choices[nchoices++] = known_formats[i].name;
	}
	eddy_cdc_refuse_choice(option, value, choices);
}

/* Checks the version of the records that the client understands. */
static void
parse_protocol(const EddyCdcOption *option, const char *value, void *arg)
{
	EddyCdcOptions *options = arg;
	int			version;

	if (value == NULL || !parse_int(value, &version, 0, NULL) || version < 1)
		eddy_cdc_refuse_value(option, value, "A version is a positive number.",
							  psprintf("Give \"%d\", the version of this output plugin.",
									   EDDY_CDC_PROTOCOL_VERSION));
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
parse_topic_prefix(const EddyCdcOption *option, const char *value, void *arg)
{
	EddyCdcOptions *options = arg;
	static const char valid[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

	if (value == NULL || value[0] == '\0' || strlen(value) >= NAMEDATALEN ||
		value[strspn(value, valid)] != '\0')
		eddy_cdc_refuse_value(option, value,
							  "A prefix has 1 to 63 letters, digits, \".\", \"_\" and \"-\".", NULL);
	else
		options->topic_prefix = pstrdup(value);
}

/* Selects changes of rows before they are final, rows that are final, or both. */
static void
parse_emit(const EddyCdcOption *option, const char *value, void *arg)
{
	EddyCdcOptions *options = arg;
	static const char *const values[] = {"changes", "final", "both", NULL};

	for (int i = 0; values[i] != NULL; i++)
		if (value != NULL && strcmp(value, values[i]) == 0)
		{
			options->final_only = i == 1;
			options->final_marks = i != 0;
			return;
		}
	eddy_cdc_refuse_choice(option, value, values);
}

/* Parses a comma-separated list of schema.view, where either may be "*", and IDs. */
static void
parse_views(const EddyCdcOption *option, const char *value, void *arg)
{
	EddyCdcOptions *options = arg;
	if (value == NULL || !eddy_cdc_parse_views(value, &options->views))
		eddy_cdc_refuse_value(option, value,
							  "An element is the name of a view with its schema, or the ID of a view.",
							  "List names as in \"public.revenue, reports.*\".");
}

/*-------------------------------------------------------------------------
 *
 * mapping.c
 *    Which column of a stream gets its value from which part of a message.
 *
 * Checks the mapping and the options of eddy.attach_kafka and converts them into the form that the
 * decoder and the worker use. No locks. Results are palloc'ed in the current memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "argument.h"
#include "worker/mapping.h"

static const char *const metadata_names[] = {
	[EDDY_METADATA_TOPIC] = "topic",
	[EDDY_METADATA_PARTITION] = "partition",
	[EDDY_METADATA_OFFSET] = "offset",
	[EDDY_METADATA_TIMESTAMP] = "timestamp",
	[EDDY_METADATA_KEY] = "key",
	[EDDY_METADATA_HEADERS] = "headers",
	NULL
};

/* Types that each kind of metadata goes into, ended by InvalidOid, and their names. */
static const struct
{
	Oid			types[4];
	const char *names;
}			metadata_types[] = {
	[EDDY_METADATA_TOPIC] = {{TEXTOID, VARCHAROID}, "text or varchar"},
	[EDDY_METADATA_PARTITION] = {{INT4OID, INT8OID, INT2OID}, "smallint, integer or bigint"},
	[EDDY_METADATA_OFFSET] = {{INT8OID}, "bigint"},
	[EDDY_METADATA_TIMESTAMP] = {{TIMESTAMPTZOID, TIMESTAMPOID, INT8OID},
	"timestamptz, timestamp or bigint"},
	[EDDY_METADATA_KEY] = {{BYTEAOID, TEXTOID, VARCHAROID}, "bytea, text or varchar"},
	[EDDY_METADATA_HEADERS] = {{JSONBOID, JSONOID, TEXTOID}, "jsonb, json or text"},
};

static const char *const time_format_names[] = {
	[EDDY_TIME_ISO] = "iso",
	[EDDY_TIME_SECONDS] = "seconds",
	[EDDY_TIME_MILLISECONDS] = "milliseconds",
	[EDDY_TIME_MICROSECONDS] = "microseconds",
	NULL
};

static const char *const option_names[] = {"check_crcs", "timestamps", "workers", NULL};

static int
index_of(const char *name, const char *const *names)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	return -1;
}

static char *
text_of(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* ---- mapping ---- */

/* Raises the error for a name in the mapping that is not a column. */
static void
refuse_column(TupleDesc tupdesc, const char *name)
{
	const char **names = eddy_argument_columns(tupdesc);
	const char *closest = eddy_argument_closest(name, names);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" in argument \"mapping\" does not exist", name),
			 names[0] ? errdetail("Columns of the stream are %s.", eddy_argument_list(names)) :
			 errdetail("The stream has no columns."),
			 closest ? errhint("Perhaps you meant the column \"%s\".", closest) : 0));
}

static int
find_column(TupleDesc tupdesc, const char *name)
{
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return i;
	}
	return -1;
}

/* The JSON pointer for a word that is a path in another notation, such as $.user.id or user.id. */
static char *
pointer_for(const char *word)
{
	char	   *pointer;

	if (word[0] == '$' && word[1] == '.')
		word += 2;
	pointer = psprintf("/%s", word);
	for (char *c = pointer; *c; c++)
		if (*c == '.')
			*c = '/';
	return pointer;
}

/* Adds a column that gets metadata of the message. */
static void
add_metadata(EddyMapping *mapping, Form_pg_attribute att, const char *word)
{
	int			what = index_of(word, metadata_names);
	EddyMetadataColumn *column = &mapping->metadata[mapping->nmetadata];

	if (what < 0)
	{
		const char *closest = eddy_argument_closest(word, metadata_names);

		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for column \"%s\" in argument \"mapping\": \"%s\"",
						NameStr(att->attname), word),
				 errdetail("A value is a JSON pointer, which begins with \"/\", or one of the words topic, partition, offset, timestamp, key, headers."),
				 closest ? errhint("Perhaps you meant \"%s\".", closest) :
				 strchr(word, '.') ? errhint("Perhaps you meant the field \"%s\".", pointer_for(word)) :
				 errhint("For a top-level field write \"/%s\".", word)));
	}
	for (int i = 0; i < 4 && OidIsValid(metadata_types[what].types[i]); i++)
	{
		if (metadata_types[what].types[i] != att->atttypid || att->atttypmod >= 0)
			continue;
		column->attnum = att->attnum;
		column->type = att->atttypid;
		column->what = what;
		mapping->nmetadata++;
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" cannot store the %s of a message", NameStr(att->attname), word),
			 errdetail("Its type must be %s, without a length or precision.",
					   metadata_types[what].names)));
}

/* Adds one pair of the user's mapping; named[] is set for its column. */
static void
add_pair(EddyMapping *mapping, TupleDesc tupdesc, const char *name, const JsonbValue *value,
		 bool strict, bool *named)
{
	int			i = find_column(tupdesc, name);
	Form_pg_attribute att;
	char	   *target;

	if (i < 0)
	{
		if (strict)
			refuse_column(tupdesc, name);
		return;
	}
	att = TupleDescAttr(tupdesc, i);
	if (att->attgenerated)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("generated column \"%s\" cannot be in argument \"mapping\"", name)));
	named[i] = true;
	if (value->type == jbvNull)
		return;
	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value of column \"%s\" in argument \"mapping\" must be a string or null",
						name)));
	target = text_of(value);
	mapping->decoded[i] = true;
	if (target[0] == '/')
	{
		mapping->columns[mapping->ncolumns].attnum = att->attnum;
		mapping->columns[mapping->ncolumns].pointer = target;
		mapping->ncolumns++;
	}
	else
		add_metadata(mapping, att, target);
}

/*
 * eddy_mapping_create creates the mapping of a table. json (may be NULL) is an object whose names
 * are columns, and whose values are
 *   a JSON pointer       "/user/id"    the value there
 *   a bare word          "partition"   topic, partition, offset, timestamp, key or headers
 *   null                               nothing: the column gets its default
 * Columns that it does not name get the top-level field of their own name. Wrong values always
 * raise an error; names of columns that do not exist do so only if strict is set, because columns
 * can be dropped later. Metadata goes into columns of the types in metadata_types; a timestamp
 * without time zone is in UTC, a bigint timestamp in milliseconds.
 */
EddyMapping *
eddy_mapping_create(TupleDesc tupdesc, const Jsonb *json, bool strict)
{
	EddyMapping *mapping = palloc0(sizeof(EddyMapping));
	int			natts = Max(tupdesc->natts, 1);
	bool	   *named = palloc0(sizeof(bool) * natts);

	mapping->columns = palloc0(sizeof(EddyDecodeColumn) * natts);
	mapping->metadata = palloc0(sizeof(EddyMetadataColumn) * natts);
	mapping->decoded = palloc0(sizeof(bool) * natts);
	if (json)
	{
		JsonbIterator *it;
		JsonbIteratorToken token;
		JsonbValue	value;
		char	   *name = NULL;

		eddy_argument_check_object("mapping", json, NULL);
		it = JsonbIteratorInit(unconstify(JsonbContainer *, &json->root));
		while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
		{
			if (token == WJB_KEY)
				name = text_of(&value);
			else if (token == WJB_VALUE)
				add_pair(mapping, tupdesc, name, &value, strict, named);
		}
	}
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (att->attisdropped || att->attgenerated || named[i])
			continue;
		mapping->columns[mapping->ncolumns].attnum = att->attnum;
		mapping->columns[mapping->ncolumns].pointer = NULL;
		mapping->ncolumns++;
		mapping->decoded[i] = true;
	}
	return mapping;
}

/* eddy_mapping_omit: fields of these columns are treated as those that no column takes. */
void
eddy_mapping_omit(EddyMapping *mapping, const Bitmapset *omitted)
{
	int			ncolumns = 0;
	int			nmetadata = 0;
	int			attnum = -1;

	for (int i = 0; i < mapping->ncolumns; i++)
		if (!bms_is_member(mapping->columns[i].attnum, omitted))
			mapping->columns[ncolumns++] = mapping->columns[i];
	for (int i = 0; i < mapping->nmetadata; i++)
		if (!bms_is_member(mapping->metadata[i].attnum, omitted))
			mapping->metadata[nmetadata++] = mapping->metadata[i];
	mapping->ncolumns = ncolumns;
	mapping->nmetadata = nmetadata;
	while ((attnum = bms_next_member(omitted, attnum)) >= 0)
		mapping->decoded[attnum - 1] = false;
}

/* ---- options ---- */

/* The detail of an error for a value of an option that has the wrong type, or is out of range. */
static int
detail_value(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return errdetail("Its value is null.");
		case jbvString:
			return errdetail("Its value is a string.");
		case jbvBool:
			return errdetail("Its value is %s.", value->val.boolean ? "true" : "false");
		case jbvNumeric:
			return errdetail("Its value is %s.",
							 DatumGetCString(DirectFunctionCall1(numeric_out,
																 NumericGetDatum(value->val.numeric))));
		default:
			return errdetail("Its value is an array or an object.");
	}
}

static void
check_workers(const JsonbValue *value)
{
	Datum		whole;

	if (value->type == jbvNumeric)
	{
		Datum		number = NumericGetDatum(value->val.numeric);
		Datum		limit = DirectFunctionCall1(int4_numeric, Int32GetDatum(EDDY_MAX_SOURCE_WORKERS));

		whole = DirectFunctionCall1(numeric_floor, number);
		if (DatumGetBool(DirectFunctionCall2(numeric_eq, number, whole)) &&
			DatumGetBool(DirectFunctionCall2(numeric_le, number, limit)) &&
			DatumGetInt32(DirectFunctionCall2(numeric_cmp, number,
											  DirectFunctionCall1(int4_numeric,
																  Int32GetDatum(1)))) >= 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"workers\" must be a whole number from 1 to %d",
					EDDY_MAX_SOURCE_WORKERS),
			 detail_value(value),
			 value->type == jbvString ? errhint("Write the number without quotation marks.") : 0));
}

static void
read_option(EddySourceOptions *options, const char *name, const JsonbValue *value)
{
	if (strcmp(name, "check_crcs") == 0)
	{
		if (value->type != jbvBool)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"check_crcs\" must be true or false"),
					 detail_value(value),
					 value->type == jbvString ?
					 errhint("Write the value without quotation marks.") : 0));
		options->check_crcs = value->val.boolean;
		return;
	}
	if (strcmp(name, "workers") == 0)
	{
		/* it is read by eddy_catalog_source_workers */
		check_workers(value);
		return;
	}
	if (strcmp(name, "timestamps") != 0)
		eddy_argument_refuse_option("options", name, option_names);
	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"timestamps\" must be a string"),
				 detail_value(value),
				 errhint("Valid values are %s.", eddy_argument_list(time_format_names))));
	options->time_format = eddy_argument_choice("option", name, text_of(value),
												time_format_names);
}

/*
 * eddy_mapping_read_options reads {"timestamps": "iso|seconds|milliseconds|microseconds",
 * "check_crcs": boolean, "workers": number}; NULL gives the defaults.
 */
EddySourceOptions
eddy_mapping_read_options(const Jsonb *json)
{
	EddySourceOptions options = {.time_format = EDDY_TIME_ISO, .check_crcs = true};
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;

	if (json == NULL)
		return options;
	eddy_argument_check_object("options", json, NULL);
	it = JsonbIteratorInit(unconstify(JsonbContainer *, &json->root));
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = text_of(&value);
		else if (token == WJB_VALUE)
			read_option(&options, name, &value);
	}
	return options;
}

/* The mapping, the options and JSON pointers are checked by creating the worker's decoder. */
void
eddy_mapping_check(TupleDesc tupdesc, const EddySource *source)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy mapping check",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(mcxt);
	EddyMapping *mapping;
	EddyDecodeOptions options;

	(void) eddy_argument_choice("argument", "format", source->format, eddy_decode_format_names());
	mapping = eddy_mapping_create(tupdesc, source->mapping, true);
	options.time_format = eddy_mapping_read_options(source->options).time_format;
	(void) eddy_decode_create(eddy_decode_find_format(source->format), mcxt, tupdesc,
							  mapping->columns, mapping->ncolumns, &options);
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(mcxt);
}

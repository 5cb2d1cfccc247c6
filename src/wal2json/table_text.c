/*-------------------------------------------------------------------------
 *
 * table_text.c
 *    The parts of records that depend on the view only: names, types and keys.
 *
 * wal2json looks these up for each row. Here they are written once per description of a view
 * (cdc/relation.c), which lives until the view or its table changes.
 *
 * The view takes the place of a table with its columns. If it shows all columns of its key, the key
 * is the primary key and the replica identity of that table. If not, rows can only be identified by
 * all their columns: the table has no primary key, and REPLICA IDENTITY FULL.
 *
 * Memory: the context of the description.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "wal2json/w2j.h"

static void append_json_name(StringInfo out, const char *name);
static void append_type_string(StringInfo out, const char *type);
static void describe_array(StringInfo out, EddyW2jState *state, EddyW2jTable *table,
						   const char *name, const char *key_name, size_t field);
static void describe_arrays(EddyW2jState *state, EddyW2jTable *table);
static void describe_column(EddyW2jState *state, EddyW2jColumn *column, const char *name,
							Form_pg_attribute attribute, int position);
static void describe_name(EddyW2jState *state, EddyW2jTable *table, const char *schema,
						  const char *name);
static void describe_pk(EddyW2jState *state, EddyW2jTable *table);
static EddyW2jKind find_kind(Oid type);

/* Describes a view in the current context. desc is the description of its state table. */
EddyW2jTable *
eddy_wal2json_describe(EddyW2jState *state, EddyCdcRelation *relation, TupleDesc desc)
{
	EddyW2jTable *table = palloc0(sizeof(EddyW2jTable));
	char	   *schema = get_namespace_name(get_rel_namespace(relation->view));
	char	   *name = get_rel_name(relation->view);

	table->wanted = schema != NULL && name != NULL &&
		eddy_wal2json_wants_table(&state->options, schema, name);
	if (!table->wanted)
		return table;

	table->ncolumns = relation->ncolumns;
	table->columns = palloc0(sizeof(EddyW2jColumn) * Max(relation->ncolumns, 1));
	table->keyed = relation->nkeys > 0;
	for (int i = 0; i < relation->nkeys; i++)
	{
		int			at = relation->keys[i] - relation->columns;

		if (at < relation->ncolumns)
			table->columns[at].is_key = true;
		else
			table->keyed = false;
	}
	table->full_identity = state->options.full_identity || !table->keyed;
	for (int i = 0; i < table->ncolumns; i++)
	{
		EddyW2jColumn *column = &table->columns[i];

		column->cdc = &relation->columns[i];
		if (!table->keyed)
			column->is_key = false;
		describe_column(state, column,
						get_attname(relation->view, column->cdc->view_column, false),
						TupleDescAttr(desc, column->cdc->index), column->cdc->view_column);
	}
	describe_name(state, table, schema, name);
	initStringInfo(&table->pk);
	if (state->options.include_pk)
		describe_pk(state, table);
	if (state->options.format_version == 1)
		describe_arrays(state, table);
	return table;
}

/* The name of the view as fields of its records. */
static void
describe_name(EddyW2jState *state, EddyW2jTable *table, const char *schema, const char *name)
{
	StringInfo	out = &table->name;
	bool		pretty = state->options.pretty_print && state->options.format_version == 1;

	initStringInfo(out);
	if (state->options.include_schemas)
	{
		appendStringInfoString(out, pretty ? ",\n\t\t\t\"schema\": " : ",\"schema\":");
		append_json_name(out, schema);
	}
	appendStringInfoString(out, pretty ? ",\n\t\t\t\"table\": " : ",\"table\":");
	append_json_name(out, name);
}

static void
describe_column(EddyW2jState *state, EddyW2jColumn *column, const char *name,
				Form_pg_attribute attribute, int position)
{
	EddyW2jOptions *options = &state->options;
	Oid			type = attribute->atttypid;
	int32		typmod = attribute->atttypmod;
	Oid			function;
	bool		varlena;

	initStringInfo(&column->name);
	initStringInfo(&column->type);
	initStringInfo(&column->oid);
	initStringInfo(&column->position);
	initStringInfo(&column->optional);
	initStringInfo(&column->default_);
	initStringInfo(&column->head);
	initStringInfo(&column->tail);

	/*
	 * Version 1 replaces the domain as a whole, but only together with the text; version 2 in the
	 * text only.
	 */
	if (options->include_domain_data_type && options->include_types)
	{
		HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
		Form_pg_type form;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for type %u", type);
		form = (Form_pg_type) GETSTRUCT(tuple);
		if (form->typtype == TYPTYPE_DOMAIN)
		{
			type = form->typbasetype;
			typmod = form->typtypmod;
		}
		ReleaseSysCache(tuple);
	}

	append_json_name(&column->name, name);
	if (options->format_version == 1 && !options->include_typmod)
	{
		HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for type %u", type);
		append_json_name(&column->type, NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname));
		ReleaseSysCache(tuple);
	}
	else
		append_type_string(&column->type, format_type_with_typemod(type, typmod));
	if (options->format_version != 1)
		type = attribute->atttypid;
	appendStringInfo(&column->oid, "%u", type);
	appendStringInfo(&column->position, "%d", position);
	/* version 1 has an empty array if it has no types */
	if (options->format_version != 1 || options->include_types)
		appendStringInfoString(&column->optional, attribute->attnotnull ? "false" : "true");
	appendStringInfoString(&column->default_, "null");	/* columns of views have none */

	column->kind = find_kind(type);
	getTypeOutputInfo(type, &function, &varlena);
	fmgr_info_cxt(function, &column->output, CurrentMemoryContext);

	appendStringInfo(&column->head, "{\"name\":%s", column->name.data);
	if (options->include_types)
		appendStringInfo(&column->head, ",\"type\":%s", column->type.data);
	if (options->include_type_oids)
		appendStringInfo(&column->head, ",\"typeoid\":%s", column->oid.data);
	appendStringInfoString(&column->head, ",\"value\":");
	if (options->include_not_null)
		appendStringInfo(&column->tail, ",\"optional\":%s", column->optional.data);
	if (options->include_column_positions)
		appendStringInfo(&column->tail, ",\"position\":%s", column->position.data);
	if (options->include_default)
		appendStringInfo(&column->tail, ",\"default\":%s", column->default_.data);
	appendStringInfoString(&column->tail, "}");
}

/* Decides by the type itself, not by the base type of a domain, as wal2json does. */
static EddyW2jKind
find_kind(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return EDDY_W2J_BOOL;
		case INT2OID:
			return EDDY_W2J_INT2;
		case INT4OID:
			return EDDY_W2J_INT4;
		case INT8OID:
			return EDDY_W2J_INT8;
		case OIDOID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return EDDY_W2J_NUMBER;
		case BYTEAOID:
			return EDDY_W2J_BYTEA;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return EDDY_W2J_TEXT;
		default:
			return EDDY_W2J_STRING;
	}
}

/*
 * The field "pk". Version 1 leaves it out if there is no primary key; wal2json 2.5 also did if the
 * replica identity was another one.
 */
static void
describe_pk(EddyW2jState *state, EddyW2jTable *table)
{
	StringInfo	out = &table->pk;
	EddyW2jOptions *options = &state->options;
	const char *separator = "";

	if (options->format_version == 1)
	{
		bool		pretty = options->pretty_print;

		if (!table->keyed)
			return;
		appendStringInfoString(out, pretty ? ",\n\t\t\t\"pk\": {\n\t\t\t\t" : ",\"pk\":{");
		appendStringInfoString(out, pretty ? "\"pknames\": [" : "\"pknames\":[");
		for (int i = 0; i < table->ncolumns; i++)
		{
			if (!table->columns[i].is_key)
				continue;
			appendStringInfo(out, "%s%s", separator, table->columns[i].name.data);
			separator = pretty ? ", " : ",";
		}
		separator = "";
		appendStringInfoString(out, pretty ? "],\n\t\t\t\t\"pktypes\": [" : "],\"pktypes\":[");
		for (int i = 0; i < table->ncolumns && options->include_types; i++)
		{
			if (!table->columns[i].is_key)
				continue;
			appendStringInfo(out, "%s%s", separator, table->columns[i].type.data);
			separator = pretty ? ", " : ",";
		}
		appendStringInfoString(out, pretty ? "]\n\t\t\t}" : "]}");
		return;
	}

	appendStringInfoString(out, ",\"pk\":[");
	for (int i = 0; i < table->ncolumns; i++)
	{
		EddyW2jColumn *column = &table->columns[i];

		if (!column->is_key)
			continue;
		appendStringInfo(out, "%s{\"name\":%s", separator, column->name.data);
		if (options->include_types)
			appendStringInfo(out, ",\"type\":%s", column->type.data);
		if (options->include_type_oids)
			appendStringInfo(out, ",\"typeoid\":%s", column->oid.data);
		appendStringInfoString(out, "}");
		separator = ",";
	}
	appendStringInfoString(out, "]");
}

/* The arrays of version 1 that are the same for all rows that have a value in each column. */
static void
describe_arrays(EddyW2jState *state, EddyW2jTable *table)
{
	EddyW2jOptions *options = &state->options;
	StringInfo	out = &table->arrays;

	initStringInfo(&table->arrays);
	initStringInfo(&table->key_arrays);
	describe_array(out, state, table, "columnnames", "keynames", offsetof(EddyW2jColumn, name));
	if (options->include_types)
		describe_array(out, state, table, "columntypes", "keytypes",
					   offsetof(EddyW2jColumn, type));
	if (options->include_type_oids)
		describe_array(out, state, table, "columntypeoids", "keytypeoids",
					   offsetof(EddyW2jColumn, oid));
	if (options->include_column_positions)
		describe_array(out, state, table, "columnpositions", NULL,
					   offsetof(EddyW2jColumn, position));
	if (options->include_not_null)
		describe_array(out, state, table, "columnoptionals", NULL,
					   offsetof(EddyW2jColumn, optional));
	if (options->include_default)
		describe_array(out, state, table, "columndefaults", NULL,
					   offsetof(EddyW2jColumn, default_));
}

/* Appends one array, and if it has a name for that, its elements for the key. */
static void
describe_array(StringInfo out, EddyW2jState *state, EddyW2jTable *table, const char *name,
			   const char *key_name, size_t field)
{
	bool		pretty = state->options.pretty_print;
	const char *comma = pretty ? ", " : ",";
	const char *separator = "";

	appendStringInfo(out, pretty ? "\t\t\t\"%s\": [" : "\"%s\":[", name);
	for (int i = 0; i < table->ncolumns; i++)
	{
		StringInfo	text = (StringInfo) ((char *) &table->columns[i] + field);

		if (text->len == 0)
			continue;
		appendStringInfo(out, "%s%s", i > 0 ? comma : "", text->data);
	}
	appendStringInfoString(out, pretty ? "],\n" : "],");

	if (key_name == NULL)
		return;
	out = &table->key_arrays;
	appendStringInfo(out, pretty ? "\t\t\t\t\"%s\": [" : "\"%s\":[", key_name);
	for (int i = 0; i < table->ncolumns; i++)
	{
		StringInfo	text = (StringInfo) ((char *) &table->columns[i] + field);

		if (!table->columns[i].is_key)
			continue;
		appendStringInfo(out, "%s%s", separator, text->data);
		separator = comma;
	}
	appendStringInfoString(out, pretty ? "],\n" : "],");
}

/* Appends a JSON string, zero-terminated. */
static void
append_json_name(StringInfo out, const char *name)
{
	eddy_cdc_append_string(out, name, strlen(name));
	appendStringInfoString(out, "");
}

/*
 * Appends the name of a type as a JSON string. wal2json takes a name that begins with a double
 * quote for a JSON string already. That is valid only if the name consists of one quoted part
 * ("char"); other names are written as strings here.
 */
static void
append_type_string(StringInfo out, const char *type)
{
	size_t		len = strlen(type);

	if (len > 2 && type[0] == '"' && strcspn(type + 1, "\"\\") == len - 2)
	{
		eddy_cdc_append_string(out, type + 1, len - 2);
		appendStringInfoString(out, "");
	}
	else
		append_json_name(out, type);
}

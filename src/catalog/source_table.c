/*-------------------------------------------------------------------------
 *
 * source_table.c
 *    Rows of eddy._source and eddy._source_status.
 *
 * Locking, memory and crash behaviour: see table.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "catalog/table.h"

/* Columns of eddy._source, from 1, as in the install script. */
enum
{
	SOURCE_SOURCE = 1,
	SOURCE_STREAM,
	SOURCE_SERVER,
	SOURCE_TOPIC,
	SOURCE_FORMAT,
	SOURCE_START,
	SOURCE_START_OFFSETS,
	SOURCE_MAPPING,
	SOURCE_ON_ERROR,
	SOURCE_ON_OFFSET_LOST,
	SOURCE_OPTIONS,
	SOURCE_ENABLED,
	SOURCE_CLUSTER_ID,
	SOURCE_DATABASE,
	SOURCE_INSTALLATION,
	SOURCE_NCOLUMNS = SOURCE_INSTALLATION
};

/* Columns of eddy._source_status. */
enum
{
	SOURCE_STATUS_SOURCE = 1,
	SOURCE_STATUS_SHARD,
	SOURCE_STATUS_STATE,
	SOURCE_STATUS_ERROR,
	SOURCE_STATUS_SQLSTATE,
	SOURCE_STATUS_SINCE,
	SOURCE_STATUS_NCOLUMNS = SOURCE_STATUS_SINCE
};

static char *
text_or_null(const Datum *values, const bool *nulls, AttrNumber attnum)
{
	return nulls[attnum - 1] ? NULL : TextDatumGetCString(values[attnum - 1]);
}

static Jsonb *
jsonb_or_null(const Datum *values, const bool *nulls, AttrNumber attnum)
{
	return nulls[attnum - 1] ? NULL : DatumGetJsonbPCopy(values[attnum - 1]);
}

static void *
read_installation(const Datum *values, const bool *nulls pg_attribute_unused())
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	*id = *DatumGetUUIDP(values[0]);
	return id;
}

const EddyTableDesc eddy_catalog_installation_table = {EDDY_CATALOG_INSTALLATION, 1, read_installation};

/* Identifies this installation of the extension; NULL if it is not installed. */
static pg_uuid_t *
get_installation(void)
{
	return eddy_catalog_read(&eddy_catalog_installation_table, 0, NULL);
}

pg_uuid_t
eddy_catalog_get_installation(void)
{
	pg_uuid_t  *here = get_installation();
	pg_uuid_t	none = {{0}};

	return here ? *here : none;
}

/*
 * A dump carries the rows of _source but not the identity of the installation. OIDs of databases
 * repeat between servers, so a source of another installation belongs to none of
 * this server's databases.
 */
static void
reset_foreign_databases(List *sources)
{
	pg_uuid_t  *here = sources ? get_installation() : NULL;
	ListCell   *lc;

	foreach(lc, sources)
	{
		EddySource *source = lfirst(lc);

		if (here == NULL || memcmp(here, &source->installation, sizeof(pg_uuid_t)) != 0)
			source->database = InvalidOid;
	}
}

static void *
read_source(const Datum *values, const bool *nulls)
{
	EddySource *source = palloc0(sizeof(EddySource));

	source->source = DatumGetInt32(values[SOURCE_SOURCE - 1]);
	source->stream = DatumGetObjectId(values[SOURCE_STREAM - 1]);
	source->server = pstrdup(NameStr(*DatumGetName(values[SOURCE_SERVER - 1])));
	source->topic = TextDatumGetCString(values[SOURCE_TOPIC - 1]);
	source->format = TextDatumGetCString(values[SOURCE_FORMAT - 1]);
	source->start = TextDatumGetCString(values[SOURCE_START - 1]);
	source->start_offsets = jsonb_or_null(values, nulls, SOURCE_START_OFFSETS);
	source->mapping = jsonb_or_null(values, nulls, SOURCE_MAPPING);
	source->on_error = TextDatumGetCString(values[SOURCE_ON_ERROR - 1]);
	source->on_offset_lost = TextDatumGetCString(values[SOURCE_ON_OFFSET_LOST - 1]);
	source->options = jsonb_or_null(values, nulls, SOURCE_OPTIONS);
	source->enabled = DatumGetBool(values[SOURCE_ENABLED - 1]);
	source->cluster_id = text_or_null(values, nulls, SOURCE_CLUSTER_ID);
	source->database = DatumGetObjectId(values[SOURCE_DATABASE - 1]);
	if (!nulls[SOURCE_INSTALLATION - 1])
		source->installation = *DatumGetUUIDP(values[SOURCE_INSTALLATION - 1]);
	return source;
}

const EddyTableDesc eddy_catalog_source_table = {EDDY_CATALOG_SOURCE, SOURCE_NCOLUMNS, read_source};

static void
write_source(const EddySource *source, Datum *values, bool *nulls)
{
	const pg_uuid_t *installation;

	memset(nulls, 0, sizeof(bool) * SOURCE_NCOLUMNS);
	values[SOURCE_SOURCE - 1] = Int32GetDatum(source->source);
	values[SOURCE_STREAM - 1] = ObjectIdGetDatum(source->stream);
	values[SOURCE_SERVER - 1] = eddy_catalog_name(source->server, &nulls[SOURCE_SERVER - 1]);
	values[SOURCE_TOPIC - 1] = CStringGetTextDatum(source->topic);
	values[SOURCE_FORMAT - 1] = CStringGetTextDatum(source->format);
	values[SOURCE_START - 1] = CStringGetTextDatum(source->start);
	values[SOURCE_START_OFFSETS - 1] = JsonbPGetDatum(source->start_offsets);
	nulls[SOURCE_START_OFFSETS - 1] = (source->start_offsets == NULL);
	values[SOURCE_MAPPING - 1] = JsonbPGetDatum(source->mapping);
	nulls[SOURCE_MAPPING - 1] = (source->mapping == NULL);
	values[SOURCE_ON_ERROR - 1] = CStringGetTextDatum(source->on_error);
	values[SOURCE_ON_OFFSET_LOST - 1] = CStringGetTextDatum(source->on_offset_lost);
	values[SOURCE_OPTIONS - 1] = JsonbPGetDatum(source->options);
	nulls[SOURCE_OPTIONS - 1] = (source->options == NULL);
	values[SOURCE_ENABLED - 1] = BoolGetDatum(source->enabled);
	values[SOURCE_CLUSTER_ID - 1] = eddy_catalog_text(source->cluster_id,
													  &nulls[SOURCE_CLUSTER_ID - 1]);
	values[SOURCE_DATABASE - 1] = ObjectIdGetDatum(source->database);
	installation = OidIsValid(source->database) ? get_installation() : &source->installation;
	values[SOURCE_INSTALLATION - 1] = UUIDPGetDatum(installation);
	nulls[SOURCE_INSTALLATION - 1] = (installation == NULL);
}

EddySource *
eddy_catalog_get_source(int32 source)
{
	ScanKeyData key;
	EddySource *result;

	eddy_catalog_key_int4(&key, SOURCE_SOURCE, source);
	result = eddy_catalog_read(&eddy_catalog_source_table, 1, &key);
	if (result)
		reset_foreign_databases(list_make1(result));
	return result;
}

EddySource *
eddy_catalog_find_source(Oid stream, const char *topic)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_sources(stream))
	{
		EddySource *source = lfirst(lc);

		if (strcmp(source->topic, topic) == 0)
			return source;
	}
	return NULL;
}

static int
compare_sources(const ListCell *a, const ListCell *b)
{
	int32		left = ((EddySource *) lfirst(a))->source;
	int32		right = ((EddySource *) lfirst(b))->source;

	return left < right ? -1 : left > right;
}

static List *
list_sources(int nkeys, ScanKeyData *keys)
{
	List	   *rows = eddy_catalog_scan(&eddy_catalog_source_table, nkeys, keys, false);

	reset_foreign_databases(rows);
	list_sort(rows, compare_sources);
	return rows;
}

List *
eddy_catalog_list_sources(Oid stream)
{
	ScanKeyData key;

	eddy_catalog_key_oid(&key, SOURCE_STREAM, stream);
	return list_sources(1, &key);
}

List *
eddy_catalog_list_all_sources(void)
{
	return list_sources(0, NULL);
}

int32
eddy_catalog_next_source(void)
{
	Oid			sequence = get_relname_relid("_source_seq", eddy_catalog_schema());

	return (int32) nextval_internal(sequence, false);
}

void
eddy_catalog_insert_source(const EddySource *source)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_source_table);
	Datum		values[SOURCE_NCOLUMNS];
	bool		nulls[SOURCE_NCOLUMNS];

	write_source(source, values, nulls);
	eddy_catalog_insert(rel, values, nulls);
	eddy_catalog_invalidate(source->stream);
	eddy_catalog_close(rel);
}

void
eddy_catalog_update_source(const EddySource *source)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_source_table);
	Datum		values[SOURCE_NCOLUMNS];
	bool		nulls[SOURCE_NCOLUMNS];
	ScanKeyData key;
	HeapTuple	old;

	eddy_catalog_key_int4(&key, SOURCE_SOURCE, source->source);
	old = eddy_catalog_find(rel, 1, &key);
	if (old)
	{
		write_source(source, values, nulls);
		eddy_catalog_replace(rel, old, values, nulls);
		eddy_catalog_invalidate(source->stream);
	}
	eddy_catalog_close(rel);
}

/* The JSON pointer (RFC 6901) to a top-level field. */
static char *
pointer_to_field(const char *name)
{
	StringInfoData pointer;

	initStringInfo(&pointer);
	appendStringInfoChar(&pointer, '/');
	for (; *name; name++)
	{
		if (*name == '~')
			appendStringInfoString(&pointer, "~0");
		else if (*name == '/')
			appendStringInfoString(&pointer, "~1");
		else
			appendStringInfoChar(&pointer, *name);
	}
	return pointer.data;
}

static JsonbValue
string_value(char *text)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = text;
	value.val.string.len = strlen(text);
	return value;
}

/* The column is filled from the same field of the message as before. */
void
eddy_catalog_rename_mapping(EddySource *source, const char *old_name, const char *new_name)
{
	JsonbParseState *state = NULL;
	JsonbValue	key;
	JsonbValue	value;
	bool		mapped = false;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (source->mapping)
	{
		JsonbIterator *it = JsonbIteratorInit(&source->mapping->root);
		JsonbIteratorToken token;

		while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
		{
			if (token == WJB_KEY && value.val.string.len == (int) strlen(old_name) &&
				memcmp(value.val.string.val, old_name, value.val.string.len) == 0)
			{
				value = string_value(pstrdup(new_name));
				mapped = true;
			}
			if (token == WJB_KEY || token == WJB_VALUE)
				pushJsonbValue(&state, token, &value);
		}
	}
	if (!mapped)
	{
		/* it was filled from the field of its old name, which the messages still have */
		key = string_value(pstrdup(new_name));
		value = string_value(pointer_to_field(old_name));
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	source->mapping = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

void
eddy_catalog_delete_source(int32 source)
{
	const EddyTableDesc *tables[] = {&eddy_catalog_source_table, &eddy_catalog_source_status_table,
	&eddy_catalog_partition_table, &eddy_catalog_attempt_table};

	for (int i = 0; i < (int) lengthof(tables); i++)
	{
		Relation	rel = eddy_catalog_open(tables[i]);
		ScanKeyData key;

		/* the source's number is the first column of all */
		eddy_catalog_key_int4(&key, SOURCE_SOURCE, source);
		eddy_catalog_delete(rel, 1, &key);
		eddy_catalog_close(rel);
	}
	eddy_catalog_invalidate(InvalidOid);
	CommandCounterIncrement();
}

static void *
read_status(const Datum *values, const bool *nulls)
{
	EddySourceStatus *status = palloc0(sizeof(EddySourceStatus));

	status->source = DatumGetInt32(values[SOURCE_STATUS_SOURCE - 1]);
	status->shard = DatumGetInt32(values[SOURCE_STATUS_SHARD - 1]);
	status->state = TextDatumGetCString(values[SOURCE_STATUS_STATE - 1]);
	status->error = text_or_null(values, nulls, SOURCE_STATUS_ERROR);
	status->sqlstate = text_or_null(values, nulls, SOURCE_STATUS_SQLSTATE);
	status->since = DatumGetTimestampTz(values[SOURCE_STATUS_SINCE - 1]);
	return status;
}

const EddyTableDesc eddy_catalog_source_status_table = {
	EDDY_CATALOG_SOURCE_STATUS, SOURCE_STATUS_NCOLUMNS, read_status
};

static void
make_status_keys(ScanKeyData *keys, int32 source, int32 shard)
{
	eddy_catalog_key_int4(&keys[0], SOURCE_STATUS_SOURCE, source);
	eddy_catalog_key_int4(&keys[1], SOURCE_STATUS_SHARD, shard);
}

EddySourceStatus *
eddy_catalog_get_source_status(int32 source, int32 shard)
{
	ScanKeyData keys[2];

	make_status_keys(keys, source, shard);
	return eddy_catalog_read(&eddy_catalog_source_status_table, 2, keys);
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

void
eddy_catalog_set_source_status(int32 source, int32 shard, const char *state, const char *error,
							   const char *sqlstate)
{
	EddySourceStatus *current = eddy_catalog_get_source_status(source, shard);
	Relation	rel;
	Datum		values[SOURCE_STATUS_NCOLUMNS];
	bool		nulls[SOURCE_STATUS_NCOLUMNS] = {false};
	ScanKeyData keys[2];

	if (current && same_text(current->state, state) && same_text(current->error, error) &&
		same_text(current->sqlstate, sqlstate))
		return;

	rel = eddy_catalog_open(&eddy_catalog_source_status_table);
	values[SOURCE_STATUS_SOURCE - 1] = Int32GetDatum(source);
	values[SOURCE_STATUS_SHARD - 1] = Int32GetDatum(shard);
	values[SOURCE_STATUS_STATE - 1] = CStringGetTextDatum(state);
	values[SOURCE_STATUS_ERROR - 1] = eddy_catalog_text(error, &nulls[SOURCE_STATUS_ERROR - 1]);
	values[SOURCE_STATUS_SQLSTATE - 1] = eddy_catalog_text(sqlstate,
														   &nulls[SOURCE_STATUS_SQLSTATE - 1]);
	values[SOURCE_STATUS_SINCE - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	make_status_keys(keys, source, shard);
	eddy_catalog_put_by(rel, 2, keys, values, nulls);
	eddy_catalog_close(rel);
}

/* The workers of a source that are stopped: List of EddySourceStatus. */
static List *
list_stopped(int32 source)
{
	ScanKeyData key;
	List	   *rows;
	ListCell   *lc;

	eddy_catalog_key_int4(&key, SOURCE_STATUS_SOURCE, source);
	rows = eddy_catalog_scan(&eddy_catalog_source_status_table, 1, &key, false);
	foreach(lc, rows)
		if (strcmp(((EddySourceStatus *) lfirst(lc))->state, "stopped") != 0)
			rows = foreach_delete_current(rows, lc);
	return rows;
}

void
eddy_catalog_forget_source_workers(const EddySource *source)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_source_status_table);
	ScanKeyData key;
	ListCell   *lc;

	eddy_catalog_key_int4(&key, SOURCE_STATUS_SOURCE, source->source);
	foreach(lc, eddy_catalog_scan(&eddy_catalog_source_status_table, 1, &key, false))
	{
		int32		shard = ((EddySourceStatus *) lfirst(lc))->shard;
		ScanKeyData keys[2];

		if (shard < eddy_catalog_source_workers(source))
			continue;
		make_status_keys(keys, source->source, shard);
		eddy_catalog_delete(rel, 2, keys);
	}
	eddy_catalog_close(rel);
	CommandCounterIncrement();
}

bool
eddy_catalog_source_stopped(int32 source)
{
	return list_stopped(source) != NIL;
}

void
eddy_catalog_clear_source_stop(int32 source)
{
	ListCell   *lc;

	foreach(lc, list_stopped(source))
		eddy_catalog_set_source_status(source, ((EddySourceStatus *) lfirst(lc))->shard,
									   "waiting", NULL, NULL);
}

int
eddy_catalog_source_workers(const EddySource *source)
{
	JsonbValue *value = source->options == NULL ? NULL :
		getKeyJsonValueFromContainer(&source->options->root, "workers", strlen("workers"), NULL);

	/* the option was checked when it was given */
	if (value == NULL || value->type != jbvNumeric)
		return 1;
	return DatumGetInt32(DirectFunctionCall1(numeric_int4,
											 NumericGetDatum(value->val.numeric)));
}

/*-------------------------------------------------------------------------
 *
 * source_functions.c
 *    SQL-callable functions about sources: attach, alter, detach, pause, resume, seek.
 *
 * They check arguments and privileges, change the catalog, and wake the workers when the
 * transaction commits. They never connect to a broker: the worker determines what only a broker
 * knows (the offset of "latest", whether a topic exists), and reports it in eddy.sources.
 *
 * Locking: the stream, with ShareUpdateExclusiveLock, which conflicts with DDL and with these
 * functions but not with batches and INSERT; then each source that is changed, which
 * is locked against its own batches (see worker/worker.h), in order of their numbers. All locks
 * are held until the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_foreign_server.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "apply/apply.h"
#include "argument.h"
#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "kafka_library.h"
#include "stream/stream.h"
#include "view/view.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(eddy_attach_kafka);
PG_FUNCTION_INFO_V1(eddy_alter_kafka);
PG_FUNCTION_INFO_V1(eddy_detach_kafka);
PG_FUNCTION_INFO_V1(eddy_pause);
PG_FUNCTION_INFO_V1(eddy_resume);
PG_FUNCTION_INFO_V1(eddy_seek);
PG_FUNCTION_INFO_V1(eddy_workers);
PG_FUNCTION_INFO_V1(eddy_is_polled);
PG_FUNCTION_INFO_V1(eddy_notify);

/* The foreign data wrapper of the install script. */
#define EDDY_FDW "eddy_kafka"

/* Longest name of a topic in Kafka. */
#define TOPIC_MAX 249

/* Arguments of eddy.attach_kafka, as in the install script. */
enum
{
	ARG_STREAM,
	ARG_SERVER,
	ARG_TOPIC,
	ARG_FORMAT,
	ARG_START,
	ARG_START_OFFSETS,
	ARG_MAPPING,
	ARG_ON_ERROR,
	ARG_ON_OFFSET_LOST,
	ARG_OPTIONS,
	ARG_COUNT
};

/* The arguments that must not be null. */
static const char *const argument_names[ARG_COUNT] = {
	[ARG_STREAM] = "stream",
	[ARG_SERVER] = "server",
	[ARG_TOPIC] = "topic",
	[ARG_FORMAT] = "format",
	[ARG_START] = "start",
	[ARG_ON_ERROR] = "on_error",
	[ARG_ON_OFFSET_LOST] = "on_offset_lost"
};

static const char *const on_error_values[] = {"dead_letter", "skip", "stop", NULL};
static const char *const on_offset_lost_values[] = {"stop", "earliest", "latest", NULL};
static const char *const start_values[] = {"earliest", "latest", NULL};

/* ---- checking arguments ---- */

static void
check_topic(const char *topic)
{
	size_t		len = strlen(topic);

	if (len == 0 || len > TOPIC_MAX || strcmp(topic, ".") == 0 || strcmp(topic, "..") == 0 ||
		strspn(topic, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != len)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not the name of a Kafka topic", topic),
				 errdetail("Names have 1 to %d letters, digits, dots, underscores and hyphens.",
						   TOPIC_MAX)));
}

static int
compare_names(const void *left, const void *right)
{
	return strcmp(*(const char *const *) left, *(const char *const *) right);
}

/* The names of the servers of the foreign-data wrapper, in order; NULL-terminated. */
static const char **
list_servers(void)
{
	Oid			wrapper = get_foreign_data_wrapper_oid(EDDY_FDW, false);
	Relation	rel = table_open(ForeignServerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	List	   *servers = NIL;
	const char **names;
	HeapTuple	tuple;
	ListCell   *lc;

	while ((tuple = systable_getnext(scan)) != NULL)
	{
		Form_pg_foreign_server form = (Form_pg_foreign_server) GETSTRUCT(tuple);

		if (form->srvfdw == wrapper)
			servers = lappend(servers, pstrdup(NameStr(form->srvname)));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	names = palloc0(sizeof(char *) * (list_length(servers) + 1));
	foreach(lc, servers)
		names[foreach_current_index(lc)] = lfirst(lc);
	qsort(names, list_length(servers), sizeof(char *), compare_names);
	return names;
}

/* The server must exist, be a Kafka server, and be usable by the owner of the stream. */
static void
check_server(const char *name, Oid owner)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	if (server != NULL)
	{
		/* so that it is not dropped or renamed before we have committed */
		LockDatabaseObject(ForeignServerRelationId, server->serverid, 0, AccessShareLock);
		server = GetForeignServerByName(name, true);
	}
	if (server == NULL)
	{
		const char **names = list_servers();
		const char *closest = eddy_argument_closest(name, names);

		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", name),
				 names[0] ? errdetail("These Kafka servers exist: %s.", eddy_argument_list(names)) :
				 errdetail("There is no Kafka server."),
				 closest ? errhint("Perhaps you meant the server \"%s\".", closest) :
				 errhint("Create it with CREATE SERVER ... FOREIGN DATA WRAPPER %s.", EDDY_FDW)));
	}
	if (strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, EDDY_FDW) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not a Kafka server", name),
				 errdetail("Its foreign data wrapper is not \"%s\".", EDDY_FDW),
				 errhint("Create a server with CREATE SERVER ... FOREIGN DATA WRAPPER %s.", EDDY_FDW)));
	if (eddy_compat_server_aclcheck(server->serverid, GetUserId()) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FOREIGN_SERVER, name);
	/* the worker connects as the owner */
	if (eddy_compat_server_aclcheck(server->serverid, owner) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server %s", name),
				 errdetail("The owner of the stream, \"%s\", needs USAGE on it.",
						   GetUserNameFromId(owner, false)),
				 errhint("Use GRANT USAGE ON FOREIGN SERVER.")));
}

/* Parses the number of a partition; false if the name is not one. */
static bool
parse_partition(const char *name, int32 *partition)
{
	char	   *end;
	long		number;

	/* one form of each number: an object cannot have two values for a partition */
	if (name[0] < '0' || name[0] > '9' || (name[0] == '0' && name[1] != '\0'))
		return false;
	errno = 0;
	number = strtol(name, &end, 10);
	if (*end != '\0' || errno != 0 || number > PG_INT32_MAX)
		return false;
	*partition = (int32) number;
	return true;
}

/* One value of an object of offsets: a number, "earliest" or "latest". */
static int64
parse_offset(const char *argument, const char *name, const JsonbValue *value)
{
	if (value->type == jbvNumeric)
	{
		Datum		number = NumericGetDatum(value->val.numeric);
		Datum		largest = DirectFunctionCall1(int8_numeric, Int64GetDatum(PG_INT64_MAX));

		if (DatumGetBool(DirectFunctionCall2(numeric_le, number, largest)) &&
			DatumGetBool(DirectFunctionCall2(numeric_ge, number,
											 DirectFunctionCall1(int8_numeric, Int64GetDatum(0)))))
		{
			Datum		whole = DirectFunctionCall1(numeric_int8, number);

			/* the conversion rounds: a fraction is not equal to the result */
			if (DatumGetBool(DirectFunctionCall2(numeric_eq, number,
												 DirectFunctionCall1(int8_numeric, whole))))
				return DatumGetInt64(whole);
		}
	}
	if (value->type == jbvString)
	{
		char	   *word = pnstrdup(value->val.string.val, value->val.string.len);

		if (strcmp(word, "earliest") == 0)
			return EDDY_OFFSET_EARLIEST;
		if (strcmp(word, "latest") == 0)
			return EDDY_OFFSET_LATEST;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid offset for partition \"%s\" in argument \"%s\"", name, argument),
			 errdetail("An offset is a non-negative integer, \"earliest\" or \"latest\".")));
	return 0;
}

typedef void (*OffsetVisitor) (void *arg, int32 partition, int64 offset);

/* Calls visit for each partition of an object such as {"0": 1234, "1": "latest"}, checking it. */
static void
visit_offsets(const char *argument, Jsonb *json, OffsetVisitor visit, void *arg)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;
	int32		partition = 0;

	eddy_argument_check_object(argument, json,
							   "Name partitions and offsets, such as {\"0\": 1234, \"1\": \"latest\"}.");
	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			name = pnstrdup(value.val.string.val, value.val.string.len);
			if (!parse_partition(name, &partition))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("\"%s\" in argument \"%s\" is not a partition number",
								name, argument),
						 errdetail("Partitions are numbered from 0, without leading zeros.")));
		}
		else if (token == WJB_VALUE)
		{
			int64		offset = parse_offset(argument, name, &value);

			if (visit)
				visit(arg, partition, offset);
		}
	}
}

/* Checks what can be altered of a source. */
static void
check_source(Relation stream, const EddySource *source)
{
	check_server(source->server, stream->rd_rel->relowner);
	(void) eddy_argument_choice("argument", "on_error", source->on_error, on_error_values);
	(void) eddy_argument_choice("argument", "on_offset_lost", source->on_offset_lost,
								on_offset_lost_values);
	eddy_kafka_library_load()->check_source(RelationGetDescr(stream), source);
}

/* ---- attach, alter and detach ---- */

Datum
eddy_attach_kafka(PG_FUNCTION_ARGS)
{
	EddySource	source = {0};
	Relation	rel;

	PreventCommandIfReadOnly("eddy.attach_kafka()");
	eddy_argument_check_not_null(fcinfo, argument_names, ARG_COUNT);
	source.stream = PG_GETARG_OID(ARG_STREAM);
	(void) eddy_stream_check_owner(source.stream);
	/* the columns must not change, and the table must not be dropped, before we have committed */
	rel = table_open(source.stream, ShareUpdateExclusiveLock);
	(void) eddy_stream_check_owner(source.stream);	/* as it is now that the lock is held */

	source.server = pstrdup(NameStr(*PG_GETARG_NAME(ARG_SERVER)));
	source.topic = text_to_cstring(PG_GETARG_TEXT_PP(ARG_TOPIC));
	source.format = text_to_cstring(PG_GETARG_TEXT_PP(ARG_FORMAT));
	source.start = text_to_cstring(PG_GETARG_TEXT_PP(ARG_START));
	source.on_error = text_to_cstring(PG_GETARG_TEXT_PP(ARG_ON_ERROR));
	source.on_offset_lost = text_to_cstring(PG_GETARG_TEXT_PP(ARG_ON_OFFSET_LOST));
	if (!PG_ARGISNULL(ARG_START_OFFSETS))
		source.start_offsets = PG_GETARG_JSONB_P(ARG_START_OFFSETS);
	if (!PG_ARGISNULL(ARG_MAPPING))
		source.mapping = PG_GETARG_JSONB_P(ARG_MAPPING);
	if (!PG_ARGISNULL(ARG_OPTIONS))
		source.options = PG_GETARG_JSONB_P(ARG_OPTIONS);
	source.enabled = true;
	source.database = MyDatabaseId;

	check_topic(source.topic);
	source.start = eddy_argument_time_or_word("start", source.start, start_values);
	if (source.start_offsets)
		visit_offsets("start_offsets", source.start_offsets, NULL, NULL);
	check_source(rel, &source);
	if (eddy_catalog_find_source(source.stream, source.topic) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("topic \"%s\" is already attached to stream \"%s\"", source.topic,
						RelationGetRelationName(rel)),
				 errhint("Use eddy.alter_kafka to change how it is read, or eddy.seek to read it again.")));

	source.source = eddy_catalog_next_source();
	eddy_catalog_insert_source(&source);
	table_close(rel, NoLock);
	eddy_worker_wakeup_at_commit();
	PG_RETURN_INT32(source.source);
}

/* Locks a stream before its sources, and checks that the user owns it, before and after. */
static void
lock_stream(Oid stream)
{
	/* before the lock: other roles must not be able to block DDL of the owner */
	(void) eddy_stream_check_owner(stream);
	LockRelationOid(stream, ShareUpdateExclusiveLock);
	(void) eddy_stream_check_owner(stream);
}

/* A source of a stream, locked against its batches, and read after that. */
static EddySource *
lock_source(Oid stream, const char *topic)
{
	EddySource *source;

	lock_stream(stream);
	source = eddy_catalog_find_source(stream, topic);
	if (source != NULL)
	{
		eddy_process_lock_source(source->source, ExclusiveLock);
		source = eddy_catalog_find_source(stream, topic);
	}
	if (source == NULL)
	{
		List	   *sources = eddy_catalog_list_sources(stream);
		const char **topics = palloc0(sizeof(char *) * (list_length(sources) + 1));
		const char *closest;

		for (int i = 0; i < list_length(sources); i++)
			topics[i] = ((EddySource *) list_nth(sources, i))->topic;
		closest = eddy_argument_closest(topic, topics);
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("topic \"%s\" is not attached to stream \"%s\"", topic,
						get_rel_name(stream)),
				 topics[0] ? errdetail("These topics are attached to it: %s.", eddy_argument_list(topics)) :
				 errdetail("No topic is attached to it."),
				 closest ? errhint("Perhaps you meant the topic \"%s\".", closest) : 0));
	}
	return source;
}

/* Arguments of eddy.alter_kafka, as in the install script. */
enum
{
	ALTER_STREAM,
	ALTER_TOPIC,
	ALTER_SERVER,
	ALTER_MAPPING,
	ALTER_ON_ERROR,
	ALTER_ON_OFFSET_LOST,
	ALTER_OPTIONS
};

/*
 * eddy_alter_kafka changes what the arguments that are not null say, and keeps the offsets. The
 * worker reads it before its next batch. The state of the source remains, also if it is stopped.
 */
Datum
eddy_alter_kafka(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"stream", "topic"};
	EddySource *source;
	Relation	rel;

	PreventCommandIfReadOnly("eddy.alter_kafka()");
	eddy_argument_check_not_null(fcinfo, names, lengthof(names));
	source = lock_source(PG_GETARG_OID(ALTER_STREAM),
						 text_to_cstring(PG_GETARG_TEXT_PP(ALTER_TOPIC)));
	if (!PG_ARGISNULL(ALTER_SERVER))
		source->server = pstrdup(NameStr(*PG_GETARG_NAME(ALTER_SERVER)));
	if (!PG_ARGISNULL(ALTER_MAPPING))
		source->mapping = PG_GETARG_JSONB_P(ALTER_MAPPING);
	if (!PG_ARGISNULL(ALTER_ON_ERROR))
		source->on_error = text_to_cstring(PG_GETARG_TEXT_PP(ALTER_ON_ERROR));
	if (!PG_ARGISNULL(ALTER_ON_OFFSET_LOST))
		source->on_offset_lost = text_to_cstring(PG_GETARG_TEXT_PP(ALTER_ON_OFFSET_LOST));
	if (!PG_ARGISNULL(ALTER_OPTIONS))
		source->options = PG_GETARG_JSONB_P(ALTER_OPTIONS);
	rel = table_open(source->stream, NoLock);
	check_source(rel, source);
	table_close(rel, NoLock);
	eddy_catalog_update_source(source);
	eddy_catalog_forget_source_workers(source);
	eddy_worker_wakeup_at_commit();
	PG_RETURN_VOID();
}

/*
 * eddy_detach_kafka keeps the watermark that is stored in the rows of the partitions, which are
 * deleted, and raises it to the minimum over the remaining partitions.
 */
Datum
eddy_detach_kafka(PG_FUNCTION_ARGS)
{
	EddySource *source;
	EddyStream *stream;
	EddyWatermarkChange none = {.user_event_time = DT_NOBEGIN};
	TimestampTz before;
	TimestampTz watermark;

	PreventCommandIfReadOnly("eddy.detach_kafka()");
	source = lock_source(PG_GETARG_OID(0), text_to_cstring(PG_GETARG_TEXT_PP(1)));
	stream = eddy_catalog_get_stream(source->stream);
	before = eddy_watermark_get(stream);
	eddy_catalog_delete_source(source->source);
	watermark = eddy_watermark_next(stream, &none);
	watermark = Max(before, watermark);
	if (!TIMESTAMP_IS_NOBEGIN(watermark))
		(void) eddy_watermark_raise(stream, watermark, -1, true);
	eddy_worker_wakeup_at_commit();
	PG_RETURN_VOID();
}

/* ---- pause, resume, seek ---- */

static void
set_enabled(Oid stream, bool enabled)
{
	ListCell   *lc;

	lock_stream(stream);
	foreach(lc, eddy_catalog_list_sources(stream))
	{
		int32		number = ((EddySource *) lfirst(lc))->source;
		EddySource *source;

		eddy_process_lock_source(number, ExclusiveLock);
		source = eddy_catalog_get_source(number);
		if (source == NULL)
			continue;			/* detached while we waited for the lock */
		source->enabled = enabled;
		if (enabled)
		{
			/* in a copy of a database, which then consumes the source */
			source->database = MyDatabaseId;
			eddy_catalog_clear_source_stop(number);
		}
		eddy_catalog_update_source(source);
	}
	eddy_worker_wakeup_at_commit();
}

Datum
eddy_pause(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);

	PreventCommandIfReadOnly("eddy.pause()");
	if (!eddy_view_pause(relid))
		set_enabled(relid, false);
	PG_RETURN_VOID();
}

Datum
eddy_resume(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	List	   *emptied;
	List	   *changes = NIL;
	ListCell   *lc;

	PreventCommandIfReadOnly("eddy.resume()");
	if (!eddy_view_resume(relid, &emptied, &changes))
		set_enabled(relid, true);
	else
		eddy_worker_wakeup_at_commit(); /* of the worker that fills it, if it is starting */
	foreach(lc, emptied)
	{
		/*
		 * Itself last, with its changes and those of its children, which follow it. These are
		 * filled from what else they read: what was emptied has no rows yet.
		 */
		eddy_apply_fill(lfirst_oid(lc), EDDY_FILL_STAGED, lfirst_oid(lc) == relid ? changes : NIL);
	}
	PG_RETURN_VOID();
}

/* The argument of seek_one. */
typedef struct SeekTarget
{
	EddySource *source;
	List	   *partitions;		/* of EddyPartition */
} SeekTarget;

static void
seek_one(void *arg, int32 partition, int64 offset)
{
	SeekTarget *target = arg;
	ListCell   *lc;

	foreach(lc, target->partitions)
	{
		if (((EddyPartition *) lfirst(lc))->partition != partition)
			continue;
		eddy_catalog_seek_partition(target->source->source, partition, offset);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("partition %d of topic \"%s\" does not exist", partition,
					target->source->topic),
			 errhint("The view eddy.partitions lists the partitions.")));
}

/* "earliest" or "latest" for all partitions. */
static void
seek_all(SeekTarget *target, const char *word)
{
	int64		offset = strcmp(word, "latest") == 0 ? EDDY_OFFSET_LATEST : EDDY_OFFSET_EARLIEST;
	ListCell   *lc;

	foreach(lc, target->partitions)
		eddy_catalog_seek_partition(target->source->source,
									((EddyPartition *) lfirst(lc))->partition, offset);
}

/* The word in a jsonb that is a string, else NULL. */
static char *
scalar_word(Jsonb *json)
{
	JsonbValue	value;

	if (!JB_ROOT_IS_SCALAR(json) || !JsonbExtractScalar(&json->root, &value) ||
		value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/*
 * eddy_seek sets next offsets. A source that was never started has none: then its start is
 * changed. The stored identity of the cluster is cleared, because the user of seek chooses
 * offsets for the current one.
 */
Datum
eddy_seek(PG_FUNCTION_ARGS)
{
	Jsonb	   *offsets = PG_GETARG_JSONB_P(2);
	char	   *word = scalar_word(offsets);
	SeekTarget	target;

	PreventCommandIfReadOnly("eddy.seek()");
	if (word)
		(void) eddy_argument_choice("argument", "offsets", word, start_values);
	else
		visit_offsets("offsets", offsets, NULL, NULL);

	target.source = lock_source(PG_GETARG_OID(0), text_to_cstring(PG_GETARG_TEXT_PP(1)));
	target.partitions = eddy_catalog_list_partitions(target.source->source);
	target.source->cluster_id = NULL;
	target.source->database = MyDatabaseId;
	if (target.partitions != NIL)
	{
		if (word)
			seek_all(&target, word);
		else
			visit_offsets("offsets", offsets, seek_one, &target);
	}
	else if (word)
	{
		target.source->start = word;
		target.source->start_offsets = NULL;
	}
	else if (target.source->start_offsets)
		target.source->start_offsets =
			DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
											   JsonbPGetDatum(target.source->start_offsets),
											   JsonbPGetDatum(offsets)));
	else
		target.source->start_offsets = offsets;
	eddy_catalog_update_source(target.source);
	eddy_catalog_clear_source_stop(target.source->source);
	eddy_worker_wakeup_at_commit();
	PG_RETURN_VOID();
}

/* ---- workers ---- */

Datum
eddy_workers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EddyWorkerInfo *workers;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	workers = eddy_worker_list(&count);
	for (int i = 0; i < count; i++)
	{
		const EddyWorkerInfo *worker = &workers[i];
		Datum		values[8];
		bool		nulls[8] = {false};

		values[0] = ObjectIdGetDatum(worker->id.database);
		values[1] = CStringGetTextDatum(worker->kind);
		values[2] = Int32GetDatum(worker->id.id);
		values[3] = Int32GetDatum(worker->id.shard);
		nulls[2] = nulls[3] = (worker->id.kind == EDDY_WORKER_DATABASE);
		values[4] = Int32GetDatum(worker->pid);
		nulls[4] = !worker->running;
		values[5] = CStringGetTextDatum(worker->problem);
		nulls[5] = (worker->problem[0] == '\0');
		values[6] = Int64GetDatum(worker->group_lookups);
		values[7] = Int64GetDatum(worker->group_hits);
		nulls[6] = nulls[7] = (worker->id.kind != EDDY_WORKER_SOURCE);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
eddy_is_polled(PG_FUNCTION_ARGS)
{
	EddySource *source = eddy_catalog_get_source(PG_GETARG_INT32(0));

	PG_RETURN_BOOL(source &&
				   eddy_worker_polls(source->source, eddy_catalog_source_workers(source)));
}

/* Wakes the launcher at commit; the last statement of the install script. */
Datum
eddy_notify(PG_FUNCTION_ARGS)
{
	eddy_worker_wakeup_at_commit();
	PG_RETURN_VOID();
}

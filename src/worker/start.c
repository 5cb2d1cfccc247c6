/*-------------------------------------------------------------------------
 *
 * start.c
 *    The start of a source worker: connection, offsets to read from, lost offsets.
 *
 * The offsets in eddy._partition are authoritative. A partition without a row gets
 * one here, with an absolute offset, before its first message is read; so the
 * meaning of "latest" is determined once. A stored offset that the broker no longer
 * has is never moved silently: by the source's policy it stops the source,
 * or moves and leaves a dead letter that names the range.
 *
 * All requests to the broker are sent outside of transactions, with short
 * timeouts, so that no lock waits for the network and SIGTERM is served. Locking: see
 * definition.c; rows of _partition in order of partition. After a crash the start
 * is repeated.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_user_mapping.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "settings.h"
#include "worker/process.h"
#include "worker/source_worker.h"

/*
 * ms that the broker waits for messages before it responds that there are none. Messages that
 * arrive end the wait. Each response without messages costs CPU time on both sides.
 */
#define FETCH_WAIT 500

#define QUEUED_MESSAGES 100000	/* per partition, on libraries with a short fetch back-off */

/* The offsets that the broker has of a partition. */
typedef struct Watermarks
{
	int64		low;
	int64		high;
	int64		by_time;		/* where a start by timestamp begins */
} Watermarks;

/* ---- connection ---- */

/* Options of the user mapping of a role, or of PUBLIC; none if there is no mapping. */
static List *
user_options(Oid role, Oid server)
{
	HeapTuple	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(role),
										ObjectIdGetDatum(server));

	if (!HeapTupleIsValid(tuple))
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid),
								ObjectIdGetDatum(server));
	if (!HeapTupleIsValid(tuple))
		return NIL;
	ReleaseSysCache(tuple);
	return GetUserMapping(role, server)->options;
}

/* Options of the server and of the owner of the stream, who must still be allowed to use it. */
static List *
connection_options(const EddyDefinition *definition)
{
	ForeignServer *server = GetForeignServerByName(definition->source->server, true);

	if (server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", definition->source->server)));
	if (eddy_compat_server_aclcheck(server->serverid, definition->owner) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server %s", server->servername),
				 errdetail("The owner of the stream, \"%s\", needs USAGE on it.",
						   GetUserNameFromId(definition->owner, true)),
				 errhint("Use GRANT USAGE ON FOREIGN SERVER.")));
	return list_concat_copy(server->options,
							user_options(definition->owner, server->serverid));
}

/* Whether the server needs a login that the user mapping does not have. If so, *error is set. */
static bool
lacks_login(const EddyDefinition *definition, List *options, EddyKafkaError *error)
{
	bool		needed = false;
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, "security.protocol") == 0)
			needed = pg_strncasecmp(defGetString(option), "sasl", 4) == 0;
	}
	foreach(lc, options)
		if (strcmp(lfirst_node(DefElem, lc)->defname, "sasl.username") == 0)
			needed = false;
	if (!needed)
		return false;
	error->kind = EDDY_KAFKA_CONFIG;
	error->sqlerrcode = ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
	error->partition = -1;
	snprintf(error->message, sizeof(error->message),
			 "server \"%s\" requires a user mapping with \"sasl.username\" and \"sasl.password\" for \"%s\", the owner of the stream",
			 definition->source->server, GetUserNameFromId(definition->owner, false));
	return true;
}

/* eddy_start_open opens the client. *error is set if that fails. */
EddyOutcome
eddy_start_open(EddySourceWorker *worker, EddyKafkaError *error)
{
	Relation	stream;
	EddyOutcome outcome;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	outcome = eddy_definition_lock(worker, &stream);
	if (outcome == EDDY_CONTINUE)
	{
		EddyKafkaSettings settings = {
			.queued_min_messages = QUEUED_MESSAGES,
			.queued_max_kbytes = eddy_settings_queue_memory,
			.fetch_wait_max_ms = FETCH_WAIT,
			.check_crcs = worker->definition->options.check_crcs,
			.allowed_brokers = eddy_settings_allowed_brokers
		};
		List	   *options;

		settings.log_name = psprintf("stream \"%s\", topic \"%s\"", worker->stream_name,
									 worker->topic_name);
		settings.client_id = psprintf("pg_eddy/%s/%d", get_database_name(MyDatabaseId),
									  worker->id.id);
		options = connection_options(worker->definition);
		if (!lacks_login(worker->definition, options, error))
			worker->client = eddy_kafka_open(options, &settings, error);
		if (worker->client == NULL)
			outcome = EDDY_REOPEN;
		PopActiveSnapshot();
		table_close(stream, NoLock);
	}
	CommitTransactionCommand();
	return outcome;
}

/* ---- the first offset of a partition without a row ---- */

/* The entry of a partition in start_offsets: an offset, absolute or a name; false if none. */
static bool
listed_offset(const EddySource *source, int32 partition, int64 *offset)
{
	char		name[16];
	JsonbValue *value;

	if (source->start_offsets == NULL)
		return false;
	pg_ltoa(partition, name);
	value = getKeyJsonValueFromContainer(&source->start_offsets->root, name, strlen(name), NULL);
	if (value == NULL)
		return false;
	if (value->type == jbvNumeric)
		*offset = DatumGetInt64(DirectFunctionCall1(numeric_int8,
													NumericGetDatum(value->val.numeric)));
	else
		*offset = value->type == jbvString && value->val.string.len == 6 ?
			EDDY_OFFSET_LATEST : EDDY_OFFSET_EARLIEST;
	return true;
}

/* True if the source's start is a point in time. */
static bool
starts_by_time(const EddySource *source)
{
	return strcmp(source->start, "earliest") != 0 && strcmp(source->start, "latest") != 0;
}

static int64
start_offset(const EddySource *source, int32 partition, bool is_new, const Watermarks *marks)
{
	int64		offset = EDDY_OFFSET_EARLIEST;

	/* partitions that are added later are read from the beginning, so that no message is skipped */
	if (!is_new && !listed_offset(source, partition, &offset))
	{
		if (starts_by_time(source))
			return marks->by_time;
		if (strcmp(source->start, "latest") == 0)
			offset = EDDY_OFFSET_LATEST;
	}
	if (offset == EDDY_OFFSET_EARLIEST)
		return marks->low;
	return offset == EDDY_OFFSET_LATEST ? marks->high : offset;
}

/* ---- requests to the broker ---- */

/* Builds the set of partitions and reads their watermarks, in the order of its states. */
static bool
request_watermarks(EddySourceWorker *worker, bool first, Watermarks **marks, char **cluster_id,
				   EddyKafkaError *error)
{
	const EddySource *source = worker->definition->source;
	int64	   *low;
	int64	   *high;
	int			count;

	if (!eddy_kafka_partition_count(worker->client, source->topic, EDDY_REQUEST_TIMEOUT, &count,
									cluster_id, error))
		return false;
	eddy_partitions_build(worker, count, first);
	count = worker->partitions.count;
	*marks = palloc0(sizeof(Watermarks) * Max(count, 1));
	low = palloc(sizeof(int64) * Max(count, 1));
	high = palloc(sizeof(int64) * Max(count, 1));
	if (!eddy_partitions_list_offsets(worker, EDDY_KAFKA_OLDEST, low, error) ||
		!eddy_partitions_list_offsets(worker, EDDY_KAFKA_END, high, error))
		return false;
	for (int i = 0; i < count; i++)
	{
		(*marks)[i].low = low[i];
		(*marks)[i].high = high[i];
	}
	if (first && starts_by_time(source))
	{
		TimestampTz start = DatumGetTimestampTz(
			DirectFunctionCall3(timestamptz_in, CStringGetDatum(source->start),
								ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
		int64	   *by_time = low;

		/* Kafka counts time from 1970; negative values have other meanings */
		if (!eddy_partitions_list_offsets(worker, Max((start - SetEpochTimestamp()) / 1000, 0),
										  by_time, error))
			return false;
		for (int i = 0; i < count; i++)
			(*marks)[i].by_time = by_time[i] >= 0 ? by_time[i] : high[i];
	}
	return true;
}

/* ---- lost offsets ---- */

/* Describes why an offset cannot be read, or returns NULL. */
static char *
describe_loss(const EddySource *source, int32 partition, int64 offset, const Watermarks *marks)
{
	if (offset >= marks->low && offset <= marks->high)
		return NULL;
	if (offset < marks->low)
		return psprintf("offsets " INT64_FORMAT " to " INT64_FORMAT
						" of topic \"%s\", partition %d, are lost: the oldest available offset is "
						INT64_FORMAT,
						offset, marks->low - 1, source->topic, partition, marks->low);
	return psprintf("offset " INT64_FORMAT " of topic \"%s\", partition %d, does not exist: "
					"the topic ends at " INT64_FORMAT ", and may have been recreated or truncated",
					offset, source->topic, partition, marks->high);
}

static EddyOutcome
stop(EddySourceWorker *worker, const char *message)
{
	ereport(LOG,
			(errmsg("source of stream \"%s\", topic \"%s\" stopped: %s", worker->stream_name,
					worker->topic_name, message)));
	eddy_catalog_set_source_status(worker->id.id, worker->id.shard, "stopped",
								   psprintf("%s; use eddy.seek to set where to continue", message),
								   unpack_sql_state(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE));
	/* the other workers of the source have to stop, too */
	eddy_worker_wakeup_at_commit();
	return EDDY_LEAVE;
}

/*
 * True if a loss has been found for the first time: it is checked again, because a leader that has
 * just been elected may not know its end yet, and a broker may have outdated metadata.
 */
static bool
try_again(EddySourceWorker *worker, const char *loss, EddyKafkaError *error)
{
	if (worker->loss_seen)
		return false;
	worker->loss_seen = true;
	error->kind = EDDY_KAFKA_OFFSET_LOST;
	error->partition = -1;
	error->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	strlcpy(error->message, loss, sizeof(error->message));
	return true;
}

/* A dead letter for messages of a partition that were lost, of which the first offset is known. */
static void
insert_loss(EddySourceWorker *worker, int32 partition, int64 offset, char *error)
{
	const EddySource *source = worker->definition->source;
	EddyDeadLetter letter = {
		.stream = source->stream,
		.source = source->source,
		.topic = source->topic,
		.partition = partition,
		.offset = offset,
		.timestamp = DT_NOBEGIN,
		.error = error,
		.sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
	};

	eddy_catalog_insert_dead_letter(&letter);
}

/* Moves a lost offset by the policy of the source; the range becomes a dead letter. */
static void
move_offset(EddySourceWorker *worker, EddyPartition *partition, const Watermarks *marks,
			const char *message)
{
	const EddySource *source = worker->definition->source;
	bool		latest = strcmp(source->on_offset_lost, "latest") == 0;
	int64		lost = partition->next_offset;
	int64		target = latest ? marks->high : marks->low;
	char	   *error;

	partition->next_offset = target;
	if (latest && lost < target)
		error = psprintf("%s; skipped offsets " INT64_FORMAT " to " INT64_FORMAT,
						 message, lost, target - 1);
	else
		error = psprintf("%s; continuing at " INT64_FORMAT, message, target);
	ereport(LOG,
			(errmsg("source of stream \"%s\", topic \"%s\" skipped lost offsets: %s", worker->stream_name,
					worker->topic_name, error)));
	insert_loss(worker, partition->partition, lost, error);
}

/* ---- offsets to start from ---- */

/*
 * settle_partition determines the offset at which one partition continues. stored is its row,
 * NULL if it has none. Returns EDDY_CONTINUE with the row written, or the next step.
 */
static EddyOutcome
settle_partition(EddySourceWorker *worker, EddyPartitionState *state,
				 const EddyPartition *stored, bool is_new, const Watermarks *marks,
				 EddyKafkaError *error)
{
	const EddySource *source = worker->definition->source;
	EddyPartition partition = {
		.source = worker->id.id,
		.partition = state->partition,
		.epoch = 1,
		.max_event_time = DT_NOBEGIN,
		.updated_at = DT_NOBEGIN,
		.idle_since = DT_NOBEGIN,
		.advanced_at = DT_NOBEGIN,
		.stream_watermark = DT_NOBEGIN
	};
	char	   *loss;

	if (stored)
		partition = *stored;
	else
		partition.next_offset = start_offset(source, state->partition, is_new, marks);
	/* set by eddy.seek */
	if (partition.next_offset == EDDY_OFFSET_EARLIEST)
		partition.next_offset = marks->low;
	else if (partition.next_offset == EDDY_OFFSET_LATEST)
		partition.next_offset = marks->high;
	partition.high_offset = marks->high;

	loss = describe_loss(source, state->partition, partition.next_offset, marks);
	if (loss && try_again(worker, loss, error))
		return EDDY_RESTART;
	if (loss && strcmp(source->on_offset_lost, "stop") == 0)
		return stop(worker, loss);
	if (loss)
		move_offset(worker, &partition, marks, loss);

	/* an idle partition still is, unless it has got messages or was moved */
	if (stored && (partition.next_offset != stored->next_offset ||
				   partition.next_offset < marks->high))
		partition.idle_since = DT_NOBEGIN;

	if (stored == NULL)
		eddy_catalog_insert_partition(&partition);
	else if ((partition.next_offset != stored->next_offset ||
			  partition.high_offset > stored->high_offset ||
			  partition.idle_since != stored->idle_since) &&
			 !eddy_catalog_advance_partition(&partition, stored->next_offset))
		return EDDY_RESTART;	/* a concurrent eddy.seek got there first */
	state->stored = state->next = partition;
	return EDDY_CONTINUE;
}

/*
 * Handles a partition that the topic does not have: it was recreated with fewer ones. The row is
 * kept, because the broker's metadata may be outdated, in which case the partition comes back and
 * continues. Meanwhile it has no end, and does not hold the watermark.
 */
static EddyOutcome
settle_missing(EddySourceWorker *worker, const EddyPartition *stored, EddyKafkaError *error)
{
	const EddySource *source = worker->definition->source;
	EddyPartition partition = *stored;
	char	   *message = psprintf("partition %d of topic \"%s\" no longer exists: the topic was recreated with %d partitions",
								   stored->partition, source->topic,
								   worker->partitions.topic_partitions);

	if (stored->high_offset < 0 && !TIMESTAMP_IS_NOBEGIN(stored->idle_since))
		return EDDY_CONTINUE;
	if (try_again(worker, message, error))
		return EDDY_RESTART;
	/* eddy.seek has chosen offsets for the new topic */
	if (stored->next_offset >= 0 && strcmp(source->on_offset_lost, "stop") == 0)
		return stop(worker, message);
	if (!eddy_partitions_owned(worker, stored->partition))
		return EDDY_CONTINUE;
	if (stored->next_offset >= 0)
	{
		ereport(LOG,
				(errmsg("source of stream \"%s\", topic \"%s\" continues without a partition: %s",
						worker->stream_name, worker->topic_name, message)));
		insert_loss(worker, stored->partition, stored->next_offset, message);
	}
	partition.high_offset = -1;
	partition.idle_since = GetCurrentTimestamp();
	return eddy_catalog_advance_partition(&partition, stored->next_offset) ? EDDY_CONTINUE :
		EDDY_RESTART;
}

static EddyOutcome
check_cluster(EddySourceWorker *worker, char *cluster_id)
{
	EddySource *source = worker->definition->source;

	if (cluster_id == NULL)
		return EDDY_CONTINUE;
	if (source->cluster_id == NULL)
	{
		EddySource	copy = *source;

		eddy_process_lock_source(worker->id.id, ExclusiveLock);
		copy.cluster_id = cluster_id;
		eddy_catalog_update_source(&copy);
		return EDDY_CONTINUE;
	}
	if (strcmp(source->cluster_id, cluster_id) != 0)
		return stop(worker,
					psprintf("server \"%s\" points to a different Kafka cluster, \"%s\" instead of \"%s\": the offsets are not valid there",
							 source->server, cluster_id, source->cluster_id));
	return EDDY_CONTINUE;
}

static EddyOutcome
settle(EddySourceWorker *worker, const Watermarks *marks, char *cluster_id,
	   EddyKafkaError *error)
{
	EddyOutcome outcome = check_cluster(worker, cluster_id);
	List	   *rows = eddy_catalog_list_partitions(worker->id.id);
	const EddyPartitionSet *set = &worker->partitions;
	EddyPartition **stored = palloc0(sizeof(EddyPartition *) * Max(set->topic_partitions, 1));
	ListCell   *lc;

	foreach(lc, rows)
	{
		EddyPartition *row = lfirst(lc);

		if (row->partition < set->topic_partitions)
			stored[row->partition] = row;
		else if (outcome == EDDY_CONTINUE)
			outcome = settle_missing(worker, row, error);
	}
	for (int i = 0; i < set->count && outcome == EDDY_CONTINUE; i++)
	{
		EddyPartitionState *state = &set->states[i];

		outcome = settle_partition(worker, state, stored[state->partition], rows != NIL,
								   &marks[i], error);
	}
	return outcome;
}

/* Determines whether the source is started for the first time: no partition has a row. */
static EddyOutcome
read_first(EddySourceWorker *worker, bool *first)
{
	Relation	stream;
	EddyOutcome outcome;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	outcome = eddy_definition_lock(worker, &stream);
	if (outcome == EDDY_CONTINUE)
	{
		*first = eddy_catalog_list_partitions(worker->id.id) == NIL;
		PopActiveSnapshot();
		table_close(stream, NoLock);
	}
	CommitTransactionCommand();
	return outcome;
}

/*
 * eddy_start_assign determines all offsets in one transaction and starts to fetch.
 * Runs in a memory context that is reset afterwards.
 */
EddyOutcome
eddy_start_assign(EddySourceWorker *worker, EddyKafkaError *error)
{
	MemoryContext caller = CurrentMemoryContext;
	Relation	stream;
	EddyOutcome outcome;
	Watermarks *marks;
	char	   *cluster_id = NULL;
	EddyKafkaStart *starts;
	bool		first = false;
	bool		others = false;

	outcome = read_first(worker, &first);
	MemoryContextSwitchTo(caller);
	if (outcome != EDDY_CONTINUE)
		return outcome;
	if (!request_watermarks(worker, first, &marks, &cluster_id, error))
		return EDDY_RESTART;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	outcome = eddy_definition_lock(worker, &stream);
	if (outcome == EDDY_CONTINUE)
	{
		/* rows were inserted or deleted concurrently: other offsets are needed */
		if (first != (eddy_catalog_list_partitions(worker->id.id) == NIL))
			outcome = EDDY_RESTART;
		else
			outcome = settle(worker, marks, cluster_id, error);
		others = first && eddy_catalog_source_workers(worker->definition->source) > 1;
		if (others)
			eddy_worker_wakeup_at_commit();
		PopActiveSnapshot();
		table_close(stream, NoLock);
	}
	/* an unfinished step must not be committed; the reason for stopping must */
	if (outcome == EDDY_RESTART)
		AbortCurrentTransaction();
	else
	{
		/* messages are shown next: a crash must not let "latest" mean a later offset */
		ForceSyncCommit();
		CommitTransactionCommand();
	}
	MemoryContextSwitchTo(caller);
	if (outcome != EDDY_CONTINUE)
		return outcome;
	worker->loss_seen = false;
	/* all partitions have a row now: those of the other workers are left to them */
	if (others)
		return eddy_start_assign(worker, error);

	starts = palloc(sizeof(EddyKafkaStart) * Max(worker->partitions.count, 1));
	for (int i = 0; i < worker->partitions.count; i++)
	{
		starts[i].partition = worker->partitions.states[i].partition;
		starts[i].offset = worker->partitions.states[i].stored.next_offset;
	}
	if (!eddy_kafka_assign(worker->client, worker->definition->source->topic, starts,
						   worker->partitions.count, error))
		return EDDY_REOPEN;
	return EDDY_CONTINUE;
}

/*
 * eddy_start_changed: true if the broker has another number of partitions, or is of another
 * cluster.
 */
bool
eddy_start_changed(const EddySourceWorker *worker, int npartitions, const char *cluster_id)
{
	const EddySource *source = worker->definition->source;

	return npartitions != worker->partitions.topic_partitions ||
		(cluster_id && source->cluster_id && strcmp(cluster_id, source->cluster_id) != 0);
}

/* eddy_start_moved: true if another session has changed the offsets. Needs a transaction. */
bool
eddy_start_moved(EddySourceWorker *worker)
{
	List	   *rows = eddy_catalog_list_partitions(worker->id.id);
	int			count = 0;
	ListCell   *lc;

	foreach(lc, rows)
	{
		const EddyPartition *row = lfirst(lc);
		const EddyPartitionState *state = eddy_partitions_find(&worker->partitions,
															   row->partition);

		if (state == NULL)
			continue;
		count++;
		if (row->next_offset != state->stored.next_offset || row->epoch != state->stored.epoch)
			return true;
	}
	return count != worker->partitions.count;
}

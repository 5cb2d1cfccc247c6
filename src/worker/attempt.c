/*-------------------------------------------------------------------------
 *
 * attempt.c
 *    Crashes of a worker that reads a source, and rejecting the message that causes them.
 *
 * A crash of a worker is a crash of the whole server: shared memory, and the back-offs in
 * it, are reinitialized. So crashes are recorded in a table, eddy._attempt. On
 * the normal path that costs one transaction when a worker starts and nothing per batch:
 *
 *   normal    The row holds a random token that identifies this process. When the
 *             process exits in any way other than a crash of its own, it writes the token
 *             to a file. A start that does not find it there comes after a crash.
 *   cautious  After a crash. Each batch is announced by a transaction of its own,
 *             which writes the offsets of the batch, and the batch's own transaction removes
 *             the announcement. After a crash in a batch the next batches have 1/32 of its
 *             messages, down to one. A message that has crashed the worker twice by
 *             itself, after at least three consecutive crashes, is rejected without being
 *             processed, by the policy of the source. This mode ends when all messages that
 *             could have been in the batch of the first crash have been processed.
 *
 *                 crash: no announced batch          first batch processed
 *      NORMAL  ---------------------------> CAUTIOUS -------------------> NORMAL
 *                                            |    ^
 *                                            +----+ crash in an announced batch: smaller ones
 *
 * Other workers. When one process crashes, the postmaster ends all others with
 * SIGQUIT. The handler writes the token to the file: a crash of another process
 * is not counted. A worker that is killed with SIGKILL
 * leaves no token, which costs a phase of cautious mode; messages are rejected only if the
 * same one is hit repeatedly. The file is in pg_stat_tmp, which is not part of
 * base backups and standbys: a start there also begins in cautious mode.
 *
 * A process that is ended by an error of level FATAL during a batch, without having been
 * terminated, also counts as crashed.
 *
 * The worker that fills a view from Kafka reads all sources of its stream, and each of them has a
 * row, a token and a file for it.
 *
 * Locking: the source (see worker.h) in each of the transactions. Memory: each attempt is kept in a
 * context of its own; what belongs to a source lives as long as the process. Called on the main
 * thread; the signal handler uses write() and static variables only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "access/table.h"
#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "settings.h"
#include "worker/process.h"
#include "worker/source_worker.h"

#define SHRINK_FACTOR 32		/* a batch that crashed is retried in so many parts */
#define QUARANTINE_CRASHES 3	/* in a row, before a message is rejected */
#define QUARANTINE_ALONE 2		/* of these, with only this message in the batch */
#define DELAY_MIN 1000L			/* ms, after the second crash */

/*
 * What this process knows of a source that it reads. The rest is read by signal handlers and at
 * exit.
 */
struct EddyAttemptState
{
	EddyWorkerId id;
	Oid			view;			/* that is filled, or InvalidOid */
	EddyAttempt *attempt;		/* as committed */
	EddyAttempt *pending;		/* as the current transaction commits it */
	MemoryContext context;		/* of attempt */

	int			token_fd;		/* -1: there is no file */
	int64		token;
	volatile sig_atomic_t applying;
	struct EddyAttemptState *next;
};

static struct EddyAttemptState *volatile states = NULL;
static volatile sig_atomic_t terminated = false;

/* Of an eddy_attempt_begin that has failed; signal handlers do not know it. */
static struct EddyAttemptState *unfinished = NULL;

/* ---- the end of a process ---- */

static void
token_path(char *path, const EddySourceWorker *worker)
{
	snprintf(path, MAXPGPATH, PG_STAT_TMP_DIR "/" EDDY_TOKEN_FILE, MyDatabaseId, worker->id.id,
			 worker->id.shard, worker->view);
}

/* Writes the token to the file: this process has not crashed. Safe in a signal handler. */
static void
leave_token(const struct EddyAttemptState *state)
{
	if (state->token_fd >= 0)
	{
		ssize_t		written pg_attribute_unused();

		written = pwrite(state->token_fd, &state->token, sizeof(state->token), 0);
	}
}

/* SIGQUIT: another process has crashed, or an immediate shutdown was requested. */
static void
handle_quit(SIGNAL_ARGS)
{
	for (struct EddyAttemptState *state = states; state; state = state->next)
		leave_token(state);
	_exit(2);
}

/* SIGTERM: as die(), and remembered. */
static void
handle_term(SIGNAL_ARGS)
{
	terminated = true;
	die(postgres_signal_arg);
}

/* eddy_attempt_end is called when the process runs its exit handlers. */
void
eddy_attempt_end(void)
{
	for (struct EddyAttemptState *state = states; state; state = state->next)
		if (!state->applying || terminated)
			leave_token(state);
}

/* Opens the file of the source, and returns whether it has the token of the previous process. */
static bool
open_token_file(const EddySourceWorker *worker, struct EddyAttemptState *state, int64 expected)
{
	char		path[MAXPGPATH];
	int64		found;

	token_path(path, worker);
	state->token_fd = BasicOpenFile(path, O_RDWR | O_CREAT | PG_BINARY);
	if (state->token_fd < 0)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path),
				 errdetail("The next start of the source of stream \"%s\", topic \"%s\" will be treated as one after a crash.",
						   worker->stream_name, worker->topic_name)));
		return false;
	}
	return pread(state->token_fd, &found, sizeof(found), 0) == sizeof(found) && found == expected;
}

static void
remove_file(const EddySourceWorker *worker)
{
	char		path[MAXPGPATH];

	if (worker->attempt && worker->attempt->token_fd >= 0)
	{
		close(worker->attempt->token_fd);
		worker->attempt->token_fd = -1;
	}
	token_path(path, worker);
	(void) unlink(path);
}

/* eddy_attempt_remove_file removes the file of a source that no longer exists. */
void
eddy_attempt_remove_file(const EddySourceWorker *worker)
{
	remove_file(worker);
}

/* eddy_attempt_remove_files removes those of all sources that this process has read. */
void
eddy_attempt_remove_files(void)
{
	for (struct EddyAttemptState *state = states; state; state = state->next)
	{
		EddySourceWorker worker = {.id = state->id, .view = state->view, .attempt = state};

		remove_file(&worker);
	}
}

/* ---- ranges ---- */

static List *
copy_ranges(List *ranges)
{
	List	   *copy = NIL;
	ListCell   *lc;

	foreach(lc, ranges)
	{
		EddyRange  *range = palloc(sizeof(EddyRange));

		*range = *(EddyRange *) lfirst(lc);
		copy = lappend(copy, range);
	}
	return copy;
}

static EddyAttempt *
copy_attempt(const EddyAttempt *from)
{
	EddyAttempt *copy = palloc(sizeof(EddyAttempt));

	*copy = *from;
	copy->current = copy_ranges(from->current);
	copy->failed = copy_ranges(from->failed);
	copy->caution = copy_ranges(from->caution);
	return copy;
}

/* Makes a copy of an attempt the state of this process. */
static void
keep_attempt(struct EddyAttemptState *state, const EddyAttempt *from)
{
	MemoryContext fresh = AllocSetContextCreate(TopMemoryContext, "pg_eddy attempt",
												ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(fresh);

	state->attempt = copy_attempt(from);
	MemoryContextSwitchTo(old);
	if (state->context)
		MemoryContextDelete(state->context);
	state->context = fresh;
}

/* The state of this process for the source of a worker, NULL if it has none. */
static struct EddyAttemptState *
find_state(const EddySourceWorker *worker)
{
	struct EddyAttemptState *state = states;

	while (state && (state->id.id != worker->id.id || state->id.shard != worker->id.shard ||
					 state->view != worker->view))
		state = state->next;
	return state;
}

/* Makes one, which signal handlers do not know yet. What is left of a failure is used again. */
static struct EddyAttemptState *
make_state(const EddySourceWorker *worker)
{
	struct EddyAttemptState *state = unfinished;

	if (state == NULL)
		state = unfinished = MemoryContextAllocZero(TopMemoryContext, sizeof(*state));
	else if (state->token_fd >= 0)
		close(state->token_fd);
	state->id = worker->id;
	state->view = worker->view;
	state->token_fd = -1;
	return state;
}

/* eddy_attempt_ranges returns the offsets of the messages, a palloc'ed range for each partition. */
List *
eddy_attempt_ranges(const EddySourceWorker *worker)
{
	List	   *ranges = NIL;
	EddyRange **by_partition = palloc0(sizeof(EddyRange *) *
									   Max(worker->partitions.topic_partitions, 1));

	for (int i = 0; i < worker->nmessages; i++)
	{
		const EddyKafkaMessage *message = &worker->messages[i];
		EddyRange  *range = by_partition[message->partition];

		if (range == NULL)
		{
			range = by_partition[message->partition] = palloc(sizeof(EddyRange));
			range->partition = message->partition;
			range->first = message->offset;
			ranges = lappend(ranges, range);
		}
		range->next = message->offset + 1;
	}
	pfree(by_partition);
	return ranges;
}

/*
 * eddy_attempt_within: true if the next message of a partition is in one of the ranges, by the
 * committed offsets or by those that the batch will commit.
 */
bool
eddy_attempt_within(const EddySourceWorker *worker, List *ranges, bool committed)
{
	ListCell   *lc;

	foreach(lc, ranges)
	{
		const EddyRange *range = lfirst(lc);
		const EddyPartitionState *state;
		int64		next;

		state = eddy_partitions_find(&worker->partitions, range->partition);
		if (state == NULL)
			continue;
		next = committed ? state->stored.next_offset : state->next.next_offset;
		if (next >= range->first && next < range->next)
			return true;
	}
	return false;
}

/* ---- the start of a process ---- */

static List *
add_range(List *ranges, int32 partition, int64 first, int64 rows)
{
	EddyRange  *range;

	if (first < 0)
		return ranges;
	range = palloc(sizeof(EddyRange));
	range->partition = partition;
	range->first = first;
	range->next = first + rows;
	return lappend(ranges, range);
}

/*
 * eddy_attempt_max_messages returns the largest number of messages of a batch that is not limited
 * by a failure.
 */
int64
eddy_attempt_max_messages(const EddySourceWorker *worker)
{
	return OidIsValid(worker->view) ? worker->room : eddy_settings_batch_rows;
}

/*
 * All messages that can have been in the batch of a crash that was not announced: it may have taken
 * back batches that had been committed before.
 */
static List *
possible_ranges(const EddySourceWorker *worker)
{
	int64		rows = (EDDY_ATTEMPT_LOST_BATCHES + 1) * eddy_attempt_max_messages(worker);
	List	   *ranges = NIL;
	ListCell   *lc;

	if (OidIsValid(worker->view))
	{
		foreach(lc, eddy_catalog_list_view_offsets(worker->view, worker->id.id))
		{
			const EddyViewOffset *offset = lfirst(lc);

			ranges = add_range(ranges, offset->partition, offset->next_offset, rows);
		}
		return ranges;
	}
	foreach(lc, eddy_catalog_list_partitions(worker->id.id))
	{
		const EddyPartition *partition = lfirst(lc);

		if (eddy_partitions_owned(worker, partition->partition))
			ranges = add_range(ranges, partition->partition, partition->next_offset, rows);
	}
	return ranges;
}

static bool
same_message(List *a, List *b)
{
	const EddyRange *left = a ? linitial(a) : NULL;
	const EddyRange *right = b ? linitial(b) : NULL;

	return left && right && left->partition == right->partition && left->first == right->first;
}

/* Counts a crash of the previous process. */
static void
count_crash(const EddySourceWorker *worker, EddyAttempt *last)
{
	last->crashes++;
	if (last->current == NIL)
	{
		/* not in an announced batch: any message, unless the ranges are already known */
		if (last->caution == NIL)
			last->caution = possible_ranges(worker);
		return;
	}
	if (last->messages > 1)
		last->alone = 0;
	else
		last->alone = same_message(last->current, last->failed) ? last->alone + 1 : 1;
	last->failed = last->current;
	last->batch_limit = Max(last->messages / SHRINK_FACTOR, 1);
}

/* True if the row of a worker may be written: its source, or its view, can be gone. */
static bool
is_wanted(int32 source, Oid view)
{
	return eddy_catalog_get_source(source) != NULL &&
		(!OidIsValid(view) || eddy_catalog_get_view_start(view) != NULL);
}

/*
 * eddy_attempt_begin records the process that consumes the source, and determines how the previous
 * one ended. In *delay it returns how long to wait before the first batch, in ms. Called again by
 * the same process, it does nothing.
 */
EddyOutcome
eddy_attempt_begin(EddySourceWorker *worker, long *delay)
{
	MemoryContext caller = CurrentMemoryContext;
	Relation	stream;
	EddyOutcome outcome;
	EddyAttempt *last;
	struct EddyAttemptState *state;
	int64		token;

	*delay = 0;
	worker->attempt = find_state(worker);
	if (worker->attempt)
		return EDDY_CONTINUE;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	outcome = eddy_definition_lock(worker, &stream);
	if (outcome == EDDY_CONTINUE && !is_wanted(worker->id.id, worker->view))
	{
		PopActiveSnapshot();
		table_close(stream, NoLock);
		outcome = EDDY_LEAVE;
	}
	if (outcome != EDDY_CONTINUE)
	{
		CommitTransactionCommand();
		MemoryContextSwitchTo(caller);
		return outcome;
	}
	state = make_state(worker);
	last = eddy_catalog_get_attempt(worker->id.id, worker->id.shard, worker->view);
	if (!pg_strong_random(&token, sizeof(token)))
		token = GetCurrentTimestamp();
	if (last == NULL)
	{
		last = palloc0(sizeof(EddyAttempt));
		last->source = worker->id.id;
		last->shard = worker->id.shard;
		last->view = worker->view;
		last->batch_limit = EDDY_NO_BATCH_LIMIT;
		(void) open_token_file(worker, state, 0);
	}
	else if (!open_token_file(worker, state, last->token))
		count_crash(worker, last);
	last->token = token;
	last->messages = 0;
	last->current = NIL;
	eddy_catalog_set_attempt(last);
	state->token = token;
	keep_attempt(state, last);
	PopActiveSnapshot();
	table_close(stream, NoLock);
	ForceSyncCommit();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	unfinished = NULL;
	worker->attempt = state;
	state->next = states;
	states = state;

	pqsignal(SIGQUIT, handle_quit);
	pqsignal(SIGTERM, handle_term);
	if (worker->attempt->attempt->crashes > 1)
		*delay = Min(DELAY_MIN << Min(worker->attempt->attempt->crashes - 2, 16),
					 eddy_settings_restart_delay_max * 1000L);
	return EDDY_CONTINUE;
}

/* ---- caution ---- */

/* eddy_attempt_cautious: true after a crash, until its possible causes have been processed. */
bool
eddy_attempt_cautious(const EddySourceWorker *worker)
{
	return worker->attempt && worker->attempt->attempt->crashes > 0;
}

/* eddy_attempt_limit returns the largest number of messages of a batch, or EDDY_NO_BATCH_LIMIT. */
int
eddy_attempt_limit(const EddySourceWorker *worker)
{
	return eddy_attempt_cautious(worker) ? worker->attempt->attempt->batch_limit :
		EDDY_NO_BATCH_LIMIT;
}

/* eddy_attempt_describe returns a text for the status of the source, palloc'ed. */
char *
eddy_attempt_describe(const EddySourceWorker *worker)
{
	const EddyAttempt *attempt = worker->attempt->attempt;
	List	   *ranges = attempt->failed ? attempt->failed : attempt->caution;
	const EddyRange *range;

	if (ranges == NIL || worker->definition == NULL)
		return psprintf("recovering from a crash of the worker, attempt %d", attempt->crashes);
	range = linitial(ranges);
	if (list_length(ranges) == 1)
		return psprintf("recovering from a crash of the worker, attempt %d: topic \"%s\", partition %d, offsets "
						INT64_FORMAT " to " INT64_FORMAT,
						attempt->crashes, worker->definition->source->topic, range->partition,
						range->first, range->next - 1);
	return psprintf("recovering from a crash of the worker, attempt %d: topic \"%s\", partition %d, offsets "
					INT64_FORMAT " to " INT64_FORMAT ", and %d more partitions",
					attempt->crashes, worker->definition->source->topic, range->partition,
					range->first, range->next - 1, list_length(ranges) - 1);
}

/* Writes the attempt in a transaction of its own, unless the source was detached. */
static void
store_attempt(EddySourceWorker *worker, EddyAttempt *changed)
{
	MemoryContext caller = CurrentMemoryContext;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (eddy_catalog_installed())
	{
		eddy_process_lock_source(changed->source, RowExclusiveLock);
		if (is_wanted(changed->source, changed->view))
			eddy_catalog_set_attempt(changed);
	}
	PopActiveSnapshot();
	/* a crash must find it, whatever synchronous_commit says */
	ForceSyncCommit();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	keep_attempt(worker->attempt, changed);
}

/* Removes the ranges that have been processed; without any left, cautious mode ends. */
static void
reduce_caution(const EddySourceWorker *worker, EddyAttempt *changed, bool committed)
{
	ListCell   *lc;

	foreach(lc, changed->caution)
	{
		EddyRange  *range = lfirst(lc);

		if (!eddy_attempt_within(worker, list_make1(range), committed))
			changed->caution = foreach_delete_current(changed->caution, lc);
	}
	if (changed->caution == NIL)
	{
		changed->crashes = changed->alone = 0;
		changed->batch_limit = EDDY_NO_BATCH_LIMIT;
		changed->failed = NIL;
	}
}

/*
 * eddy_attempt_settle is called after the offsets were compared with the broker's: messages that
 * the broker does not have cannot have caused the crash.
 */
void
eddy_attempt_settle(EddySourceWorker *worker)
{
	EddyAttempt *changed;
	ListCell   *lc;

	if (!eddy_attempt_cautious(worker))
		return;
	changed = copy_attempt(worker->attempt->attempt);
	foreach(lc, changed->caution)
	{
		EddyRange  *range = lfirst(lc);
		const EddyPartitionState *state = eddy_partitions_find(&worker->partitions,
															   range->partition);

		if (state)
			range->next = Min(range->next, Max(state->stored.high_offset, range->first));
	}
	reduce_caution(worker, changed, true);
	store_attempt(worker, changed);
}

/* ---- around a batch ---- */

/* eddy_attempt_announce is called before a batch is tried, outside of a transaction. */
void
eddy_attempt_announce(EddySourceWorker *worker)
{
	if (eddy_attempt_cautious(worker) && worker->nmessages > 0)
	{
		EddyAttempt *changed = copy_attempt(worker->attempt->attempt);

		changed->messages = worker->nmessages;
		changed->current = eddy_attempt_ranges(worker);
		store_attempt(worker, changed);
	}
	worker->attempt->applying = true;
}

/*
 * eddy_attempt_write is called in the transaction of the batch, with the offsets that it
 * will commit: the announcement is removed and limits grow again. quarantined: this batch
 * rejects the message that crashed the worker.
 */
void
eddy_attempt_write(EddySourceWorker *worker, bool quarantined)
{
	EddyAttempt *pending;

	if (!eddy_attempt_cautious(worker))
		return;
	pending = copy_attempt(worker->attempt->attempt);
	pending->messages = 0;
	pending->current = NIL;
	if (quarantined)
	{
		pending->crashes = 1;
		pending->alone = 0;
		pending->failed = NIL;
	}
	else if (!eddy_attempt_within(worker, pending->failed, false))
	{
		pending->failed = NIL;
		if ((int64) pending->batch_limit * 2 >= eddy_settings_batch_rows)
			pending->batch_limit = EDDY_NO_BATCH_LIMIT;
		else
			pending->batch_limit *= 2;
	}
	reduce_caution(worker, pending, false);
	eddy_catalog_set_attempt(pending);
	worker->attempt->pending = pending;
}

/*
 * eddy_attempt_finish is called when the batch was committed, or (false) has ended without a
 * crash.
 */
void
eddy_attempt_finish(EddySourceWorker *worker, bool committed)
{
	struct EddyAttemptState *state = worker->attempt;

	state->applying = false;
	if (committed && state->pending)
		keep_attempt(state, state->pending);
	state->pending = NULL;
	if (state->attempt->current)
	{
		EddyAttempt *changed = copy_attempt(state->attempt);

		changed->messages = 0;
		changed->current = NIL;
		store_attempt(worker, changed);
	}
}

/* eddy_attempt_crashed: how often a message has crashed the worker if that rejects it, else 0. */
int
eddy_attempt_crashed(const EddySourceWorker *worker, const EddyKafkaMessage *message)
{
	const EddyAttempt *attempt;
	const EddyRange *range;

	if (!eddy_attempt_cautious(worker))
		return 0;
	attempt = worker->attempt->attempt;
	if (attempt->crashes < QUARANTINE_CRASHES ||
		attempt->alone < QUARANTINE_ALONE || attempt->failed == NIL)
		return 0;
	range = linitial(attempt->failed);
	return range->partition == message->partition && range->first == message->offset ?
		attempt->alone : 0;
}

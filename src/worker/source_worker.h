/*-------------------------------------------------------------------------
 *
 * source_worker.h
 *    The state of a source worker, shared by the files that make it up. Private to src/worker.
 *
 * definition.c  what is consumed and into what, re-read after any DDL
 * start.c       connection, where to start, lost offsets
 * partitions.c  the partitions that this worker consumes
 * rows.c        from messages to rows
 * batch.c       one batch: from messages to COMMIT
 * bad_message.c messages that the Kafka client cannot read
 * pace.c        how many messages a batch takes; pace_rule.c: the rule
 * attempt.c     crashes of the process, and rejecting the message that causes them
 * progress.c    the ends of the partitions, and whether the source makes progress
 * idle.c        which partitions are idle
 * source_worker.c  the process: loop, waiting, back-off, status
 * catch_up.c    another process: fills a new view from Kafka
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_SOURCE_WORKER_H
#define EDDY_SOURCE_WORKER_H

#include "apply/apply.h"
#include "catalog/eddy_catalog.h"
#include "decode/decode.h"
#include "kafka/client.h"
#include "stream/stream.h"
#include "worker/mapping.h"
#include "worker/pace.h"
#include "worker/worker.h"

/*
 * ms for one request to the broker, which may have to wait for the end of a fetch (start.c). A
 * request of many partitions at once is for EDDY_KAFKA_REQUEST_PARTITIONS of them.
 */
#define EDDY_REQUEST_TIMEOUT 1000

/* Messages that are taken from librdkafka at once. */
#define EDDY_POLL_CHUNK 2000

/* What the process does after a step. */
typedef enum EddyOutcome
{
	EDDY_CONTINUE,				/* -> poll again */
	EDDY_RESTART,				/* -> read the offsets and assign again */
	EDDY_REOPEN,				/* -> the same, with a new client */
	EDDY_LEAVE					/* -> end of the process: no work remains */
} EddyOutcome;

/* One partition that the worker consumes. */
typedef struct EddyPartitionState
{
	int32		partition;		/* its number in the topic */
	EddyPartition stored;		/* as last committed */
	EddyPartition next;			/* as the current batch would commit it */

	/* of progress.c: its position when it was first seen to be behind */
	bool		behind;			/* the broker had more; else the rest is not set */
	int64		behind_position;
	TimestampTz behind_since;

	/* of idle.c */
	bool		idle;
	int64		quiet_since;	/* of the clock: time of the last messages, or of the assignment */
} EddyPartitionState;

/* The clock that measures how long partitions have had no messages: see idle.c. */
typedef struct EddyIdleClock
{
	int64		polled;			/* microseconds for which the worker has polled */
	int64		last;			/* when that was updated, on the monotonic clock */
	int			last_offset;	/* pg_eddy.test_clock_offset at that time */
	unsigned	errors;			/* errors of the client until then */
	bool		confirmed;		/* the broker has confirmed the positions, no trouble since then */
	int64		asked;			/* polled, when it was asked for the ends of partitions */
	unsigned	doubts;			/* signs of trouble until now */
	unsigned	asked_doubts;	/* until then */
	bool		changed;		/* a batch has to store the marks of partitions */
} EddyIdleClock;

/* The partitions of the topic that the worker consumes: see partitions.c. */
typedef struct EddyPartitionSet
{
	int			topic_partitions;	/* partitions of the topic, the length of by_number */
	EddyPartitionState **by_number; /* NULL for a partition that is not consumed here */
	int			count;			/* the length of states */
	EddyPartitionState *states; /* in order of partition number */
} EddyPartitionSet;

/* The definition of stream, source and server. In a context of its own. */
typedef struct EddyDefinition
{
	MemoryContext mcxt;
	EddySource *source;
	EddyStream *stream;
	EddySourceOptions options;
	EddyMapping *mapping;
	Bitmapset  *omitted;		/* attributes that are not stored, because nothing needs them */
	TupleDesc	tupdesc;		/* a copy of the stream's */
	Oid			owner;			/* of the stream */
	EddyEventTime event_time;
	EddyDecoder *decoder;
	bool		resolved;		/* the decoder has been given the messages of the batch */
	EddyRowPreparer *preparer;
	bool		in_two_steps;	/* rows need converting or preparing */
} EddyDefinition;

typedef struct EddySourceWorker EddySourceWorker;

/*
 * What batch.c does for a worker: by source_worker.c for one that consumes a source, by
 * catch_up_batch.c for one that fills a view.
 */
typedef struct EddyBatchWork
{
	/* Begins the transaction's work, as eddy_definition_lock. */
	EddyOutcome (*lock) (EddySourceWorker *worker, Relation *stream);

	/*
	 * Applies the messages. False if others have changed the offsets. Another outcome than
	 * EDDY_CONTINUE is returned after the commit.
	 */
	bool		(*run) (EddySourceWorker *worker, Relation stream, bool careful,
						EddyOutcome *outcome);

	/* After the commit. */
	void		(*committed) (EddySourceWorker *worker);

	/* Takes the messages from the batch: those that were not applied will come again. */
	void		(*release) (EddySourceWorker *worker);

	/* Shows what keeps the worker waiting. */
	void		(*report) (EddySourceWorker *worker, const char *error, int sqlerrcode);
} EddyBatchWork;

struct EddySourceWorker
{
	EddyWorkerId id;			/* id.id is the number of the source */
	Oid			view;			/* that is filled from the source; InvalidOid: the source is consumed */
	Oid			stream;			/* set by eddy_definition_lock */
	const EddyBatchWork *work;	/* see batch.c */
	struct EddyAttemptState *attempt;	/* of attempt.c; NULL: not begun */

	/* for messages: as of the last read of the definition, or the attempt to read it */
	char		stream_name[2 * NAMEDATALEN];	/* with its schema */
	char		topic_name[NAMEDATALEN * 4];	/* Kafka allows 249 bytes */

	/* see definition.c; NULL until first read */
	EddyDefinition *definition;
	uint64		read_changes;	/* invalidations until it was read */
	uint64		read_server_changes;

	/* made by start.c, freed by source_worker.c */
	EddyKafkaClient *client;
	EddyPartitionSet partitions;

	/* messages of the current batch */
	EddyKafkaMessage *messages;
	EddyDecodeMessage *payloads;	/* of the messages, as the decoder takes them */
	int			nmessages;
	int			room;			/* messages that the array holds */
	EddyPaceEnd end;			/* why it has no more */
	bool		quarantined;	/* one of them is rejected for having crashed the worker */
	bool		has_bad;		/* besides, messages could not be read: */
	EddyKafkaError bad;
	int64		bad_next;		/* the offset that follows them */

	/* rows of the current batch; the arrays are reused */
	MemoryContext batch_context;	/* values by reference, reset after each batch */
	EddyApply	apply;
	Datum	   *values;
	bool	   *nulls;
	bool	   *missing;
	int64		cells;			/* room in values, nulls and missing */

	EddyPace	pace;
	TimestampTz pace_start;		/* of the current batch */
	int64		pace_cpu_start;
	int			nviews;			/* that the last full batch was added to */
	int			row_limit;		/* of a batch after a failure, or EDDY_NO_BATCH_LIMIT */
	List	   *failed;			/* of EddyRange, TopMemoryContext: in it row_limit does not grow */
	int			contended;		/* so many batches more expect other writers of the same new groups */
	int64		unflushed;		/* messages of committed batches that a crash could take back, */
	XLogRecPtr	unflushed_end;	/* until WAL up to there has been flushed */
	bool		alone;			/* a single message in careful mode: errors have one cause */
	bool		batch_failed;	/* the last one did: a connection does not mean running */
	bool		stalled;		/* a partition has messages that are not received, see progress.c */
	TimestampTz drained_at;		/* when librdkafka's queue was last empty */
	EddyIdleClock idle;
	bool		loss_seen;		/* an offset was lost at the last attempt to start */
};

/* ---- definition.c ---- */

extern void eddy_definition_watch(void);
extern bool eddy_definition_stale(void);
extern void eddy_definition_invalidate(void);
extern void eddy_definition_free(EddySourceWorker *worker);
extern EddyOutcome eddy_definition_read(EddySourceWorker *worker, Relation stream);
extern EddyDefinition *eddy_definition_make(EddySource *source, EddyStream *stream, Relation rel,
											Oid view, MemoryContext mcxt);

/* *stream is the open relation when the result is EDDY_CONTINUE, otherwise NULL. */
extern EddyOutcome eddy_definition_lock(EddySourceWorker *worker, Relation *stream);

/* ---- start.c ---- */

/* Steps of the start: EDDY_CONTINUE or the next step; error is set if it is the broker's. */
extern EddyOutcome eddy_start_open(EddySourceWorker *worker, EddyKafkaError *error);
extern EddyOutcome eddy_start_assign(EddySourceWorker *worker, EddyKafkaError *error);

extern bool eddy_start_changed(const EddySourceWorker *worker, int npartitions,
							   const char *cluster_id);
extern bool eddy_start_moved(EddySourceWorker *worker);

/* ---- partitions.c ---- */

extern void eddy_partitions_build(EddySourceWorker *worker, int topic_partitions, bool all);
extern void eddy_partitions_free(EddySourceWorker *worker);
extern bool eddy_partitions_owned(const EddySourceWorker *worker, int32 partition);
extern void eddy_partitions_store(EddySourceWorker *worker);
extern bool eddy_partitions_list_offsets(EddySourceWorker *worker, int64 position,
										 int64 *offsets, EddyKafkaError *error);

/* The state of a partition by its number; NULL if this worker does not consume it. */
static inline EddyPartitionState *
eddy_partitions_find(const EddyPartitionSet *set, int32 partition)
{
	return partition >= 0 && partition < set->topic_partitions ?
		set->by_number[partition] : NULL;
}

/* ---- rows.c ---- */

/* Outside of transactions: gives the decoder the messages of the batch. */
extern bool eddy_rows_resolve(EddySourceWorker *worker, EddyDecodeError *error);

/* Makes the rows of the worker's messages; an operation of EddyInput. */
extern bool eddy_rows_make(EddyApply *apply);
extern void eddy_rows_decode(EddySourceWorker *worker);
extern void eddy_rows_free(EddySourceWorker *worker);

extern TimestampTz eddy_rows_message_time(const EddyKafkaMessage *message);
extern void eddy_rows_set_message_time(EddyKafkaMessage *message, TimestampTz time);

/* ---- bad_message.c ---- */

extern bool eddy_bad_message_measure(EddySourceWorker *worker, EddyKafkaError *bad, int64 position,
									 int64 *next);

/* True if another version of the client could read them: then they must not be skipped. */
static inline bool
eddy_bad_message_is_readable(const EddyKafkaError *bad)
{
	return bad->sqlerrcode == ERRCODE_FEATURE_NOT_SUPPORTED;
}

/* ---- batch.c ---- */

/* Describes the message of a rejected row; an operation of EddyInput. */
extern void eddy_batch_describe_row(EddyApply *apply, const EddyRejection *rejection,
									EddyDeadLetter *letter);

extern const EddyBatchWork eddy_batch_consume;	/* for the worker of a source */

extern void eddy_batch_begin_apply(EddySourceWorker *worker, Relation stream, bool careful,
								   const EddyInput *input);
extern bool eddy_batch_is_transient(int sqlerrcode);
extern bool eddy_batch_collect(EddySourceWorker *worker, EddyKafkaError *error);
extern EddyOutcome eddy_batch_apply(EddySourceWorker *worker);
extern bool eddy_batch_moved(EddySourceWorker *worker);
extern void eddy_batch_settle(EddySourceWorker *worker);
extern void eddy_batch_release(EddySourceWorker *worker);

/* ---- pace.c ---- */

extern int	eddy_pace_limit(const EddySourceWorker *worker);
extern void eddy_pace_start(EddySourceWorker *worker);
extern void eddy_pace_note(EddySourceWorker *worker);

/* ---- attempt.c ---- */

/* A crash takes back no more batches of the largest size than these. */
#define EDDY_ATTEMPT_LOST_BATCHES 4

extern int64 eddy_attempt_max_messages(const EddySourceWorker *worker);
extern EddyOutcome eddy_attempt_begin(EddySourceWorker *worker, long *delay);
extern void eddy_attempt_settle(EddySourceWorker *worker);
extern void eddy_attempt_announce(EddySourceWorker *worker);
extern void eddy_attempt_write(EddySourceWorker *worker, bool quarantined);
extern void eddy_attempt_finish(EddySourceWorker *worker, bool committed);
extern void eddy_attempt_end(void);
extern void eddy_attempt_remove_file(const EddySourceWorker *worker);
extern void eddy_attempt_remove_files(void);
extern bool eddy_attempt_cautious(const EddySourceWorker *worker);
extern int	eddy_attempt_limit(const EddySourceWorker *worker);
extern char *eddy_attempt_describe(const EddySourceWorker *worker);

extern int	eddy_attempt_crashed(const EddySourceWorker *worker, const EddyKafkaMessage *message);
extern List *eddy_attempt_ranges(const EddySourceWorker *worker);	/* of EddyRange */
extern bool eddy_attempt_within(const EddySourceWorker *worker, List *ranges, bool committed);

/* ---- progress.c ---- */

extern void eddy_progress_reset(EddySourceWorker *worker);
extern bool eddy_progress_ask(EddySourceWorker *worker, EddyKafkaError *error);
extern EddyOutcome eddy_progress_check(EddySourceWorker *worker, bool *watch,
									   EddyKafkaError *error);
extern int64 eddy_progress_position(EddySourceWorker *worker, const EddyPartitionState *state);

/* ---- idle.c ---- */

extern void eddy_idle_begin(EddySourceWorker *worker);
extern void eddy_idle_doubt(EddySourceWorker *worker);
extern bool eddy_idle_observe(EddySourceWorker *worker, bool slept);
extern long eddy_idle_wait(const EddySourceWorker *worker);
extern void eddy_idle_ask(EddySourceWorker *worker);
extern void eddy_idle_confirm(EddySourceWorker *worker, const int64 *ends);
extern void eddy_idle_mark(EddySourceWorker *worker);
extern void eddy_idle_committed(EddySourceWorker *worker);

/* ---- source_worker.c ---- */

extern void eddy_source_report_waiting(const char *error, int sqlerrcode);

#endif							/* EDDY_SOURCE_WORKER_H */

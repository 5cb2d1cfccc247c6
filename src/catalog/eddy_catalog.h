/*-------------------------------------------------------------------------
 *
 * eddy_catalog.h
 *    The tables of schema eddy. Rules for all functions:
 *
 * - Relations are looked up by name, because the extension may be dropped and created again in one
 *   session; what was found is valid until the server's cache of names is invalidated.
 * - Readers use the snapshot that is active (GetActiveSnapshot or, without one,
 *   a catalog snapshot of the latest state); structs and their members are palloc'ed in the
 *   current memory context and belong to the caller.
 * - Writers take RowExclusiveLock on the table until the end of the transaction,
 *   check no privileges (their callers do) and end with CommandCounterIncrement.
 * - A table of another version of the extension is an error.
 * - A change of _stream, _segment, _source, _view or _view_status invalidates the relcache entry
 *   of the stream and of _view, for caches with a relcache callback. The other tables, which change
 *   with batches, do not.
 * - Missing rows give NULL or false, never an error, unless said otherwise.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CATALOG_H
#define EDDY_CATALOG_H

#include "access/attnum.h"
#include "access/htup.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/snapshot.h"
#include "utils/uuid.h"

/* Tables of schema eddy that C code uses. */
typedef enum EddyCatalogTable
{
	EDDY_CATALOG_INSTALLATION,
	EDDY_CATALOG_STREAM,
	EDDY_CATALOG_SEGMENT,
	EDDY_CATALOG_SOURCE,
	EDDY_CATALOG_SOURCE_STATUS,
	EDDY_CATALOG_PARTITION,
	EDDY_CATALOG_USER_PARTITION,
	EDDY_CATALOG_ATTEMPT,
	EDDY_CATALOG_VIEW,
	EDDY_CATALOG_VIEW_STATUS,
	EDDY_CATALOG_VIEW_PROGRESS,
	EDDY_CATALOG_VIEW_START,
	EDDY_CATALOG_VIEW_OFFSET,
	EDDY_CATALOG_WATERMARK,
	EDDY_CATALOG_DEAD_LETTERS,
	EDDY_CATALOG_LATE_ROWS,
	EDDY_CATALOG_LATE_ROW_COUNT,
	EDDY_CATALOG_CHANGE,
	EDDY_CATALOG_NTABLES
} EddyCatalogTable;

#define EDDY_SCHEMA "eddy"

/*
 * True if extension pg_eddy is installed in this database (as the current transaction sees it), and
 * its script is not running.
 */
extern bool eddy_catalog_installed(void);

/* Oid of schema eddy, and of a table in it; InvalidOid if it does not exist. */
extern Oid	eddy_catalog_schema(void);
extern Oid	eddy_catalog_relid(EddyCatalogTable table);

/* After SQL that wrote to our tables, such as a restore: invalidates the caches of all backends. */
extern void eddy_catalog_refresh(void);

/* Owner of the extension, who creates objects in schema eddy. Error if not installed. */
extern Oid	eddy_catalog_extension_owner(void);

/* Identifies this installation of the extension: a restored dump has another one. */
extern pg_uuid_t eddy_catalog_get_installation(void);

/* A copy of the row with that Oid of a system catalog without a syscache for it, or NULL. */
extern HeapTuple eddy_catalog_find_by_oid(Oid catalog, Oid index, AttrNumber attnum, Oid object);

/*
 * True if an object has a dependency of a type (pg_depend.deptype) on a relation, or a column of
 * it.
 */
extern bool eddy_catalog_depends(Oid classid, Oid object, Oid relid, bool on_column, char deptype);

/* ---- streams (_stream) ---- */

typedef struct EddyStream
{
	Oid			relid;
	char	   *event_time;		/* column name, NULL if none */
	Interval	delay;
	Interval	retention;
	Interval	idle_timeout;
	Interval	max_future_skew;
	char	   *null_event_time;	/* dead_letter | skip_watermark | stop */
	bool		auto_advance;
	bool		omits;			/* rows from Kafka do not get columns that nothing needs */
	List	   *staged_columns; /* if so, names of columns that they get although no view needs them */
} EddyStream;

extern EddyStream *eddy_catalog_get_stream(Oid relid);
extern List *eddy_catalog_list_streams(void);	/* of EddyStream */
extern void eddy_catalog_insert_stream(const EddyStream *stream);
extern void eddy_catalog_update_stream(const EddyStream *stream);
extern void eddy_catalog_delete_stream(Oid relid);

/* Changes a name in staged_columns of the struct; false if it is not there. */
extern bool eddy_catalog_rename_staged(EddyStream *stream, const char *old_name, const char *new_name);

/* ---- staging segments (_segment) ---- */

typedef enum EddySegmentState
{
	EDDY_SEGMENT_EMPTY,			/* -> CURRENT */
	EDDY_SEGMENT_CURRENT,		/* -> CLOSED */
	EDDY_SEGMENT_CLOSED			/* -> EMPTY; -> CURRENT if no other is available */
} EddySegmentState;

typedef struct EddySegment
{
	Oid			relid;
	Oid			stream;
	EddySegmentState state;
	TimestampTz opened_at;		/* unless EMPTY */
	TimestampTz closed_at;		/* if CLOSED */
	List	   *omitted;		/* names of columns of the stream that some of its rows lack */
} EddySegment;

extern List *eddy_catalog_list_segments(Oid stream);	/* of EddySegment, in order of Oid */
extern List *eddy_catalog_list_all_segments(void);
extern void eddy_catalog_insert_segment(const EddySegment *segment);

/*
 * False if the row was concurrently changed or deleted since it was read. Names in omitted are
 * added to those that are stored; all are removed with EMPTY.
 */
extern bool eddy_catalog_update_segment(const EddySegment *segment);
extern void eddy_catalog_delete_segment(Oid relid);

/*
 * After a column was renamed: changes the name in the segments of the stream; after TRUNCATE:
 * removes all names.
 */
extern void eddy_catalog_rename_omitted(Oid stream, const char *old_name, const char *new_name);
extern void eddy_catalog_forget_omitted(Oid stream);

/* True if a List of char * contains a name; the same list with one more name. */
extern bool eddy_catalog_has_name(const List *names, const char *name);
extern List *eddy_catalog_add_name(List *names, const char *name);

/* ---- which relations are ours (member.c) ---- */

typedef enum EddyMemberKind
{
	EDDY_MEMBER_NONE,
	EDDY_MEMBER_STREAM,
	EDDY_MEMBER_SEGMENT,
	EDDY_MEMBER_VIEW			/* a continuous view, its definition or a state table */
} EddyMemberKind;

typedef struct EddyMember
{
	EddyMemberKind kind;
	Oid			stream;			/* the stream itself, or the first one it belongs to, through other views perhaps */
	List	   *streams;		/* of a view: all of them, sorted */
	int			level;			/* of a view: the most views in a row between it and a stream */
	bool		keeps_changes;	/* a view whose changes are kept for eddy.changes */
} EddyMember;

/* What a relation is; by a look-up in memory, so that hooks can call it for each statement. */
extern EddyMember eddy_catalog_member(Oid relid);

/* The same for segments alone, without an error if our catalog is of another version. */
extern bool eddy_catalog_is_segment(Oid relid);

/* False if no relation of this database is ours. */
extern bool eddy_catalog_has_members(void);

/* ---- sources (_source, _source_status) ---- */

typedef struct EddySource
{
	int32		source;
	Oid			stream;
	char	   *server;
	char	   *topic;
	char	   *format;
	char	   *start;			/* earliest | latest | a timestamp */
	Jsonb	   *start_offsets;	/* NULL if none */
	Jsonb	   *mapping;		/* NULL if none */
	char	   *on_error;		/* dead_letter | skip | stop */
	char	   *on_offset_lost; /* stop | earliest | latest */
	Jsonb	   *options;		/* NULL if none */
	bool		enabled;
	char	   *cluster_id;		/* NULL until known */
	Oid			database;		/* that consumes it; InvalidOid: one of another installation */
	pg_uuid_t	installation;	/* where it was attached */
} EddySource;

/* The largest number of workers of a source. */
#define EDDY_MAX_SOURCE_WORKERS 64

/* The number of workers that share the partitions of a source: option "workers". */
extern int	eddy_catalog_source_workers(const EddySource *source);

extern EddySource *eddy_catalog_get_source(int32 source);
extern EddySource *eddy_catalog_find_source(Oid stream, const char *topic);
extern List *eddy_catalog_list_sources(Oid stream); /* of EddySource, by number */
extern List *eddy_catalog_list_all_sources(void);
extern int32 eddy_catalog_next_source(void);	/* nextval of _source_seq */
extern void eddy_catalog_insert_source(const EddySource *source);
extern void eddy_catalog_update_source(const EddySource *source);

/* Changes source->mapping after a column was renamed. Nothing is written. */
extern void eddy_catalog_rename_mapping(EddySource *source, const char *old_name,
										const char *new_name);
extern void eddy_catalog_delete_source(int32 source);	/* with its status and partitions */

/* The state of one worker of a source. */
typedef struct EddySourceStatus
{
	int32		source;
	int32		shard;
	char	   *state;			/* running | waiting | stopped */
	char	   *error;			/* NULL if none */
	char	   *sqlstate;		/* NULL if none */
	TimestampTz since;
} EddySourceStatus;

extern EddySourceStatus *eddy_catalog_get_source_status(int32 source, int32 shard);

/* Writes the status, unless it is unchanged. */
extern void eddy_catalog_set_source_status(int32 source, int32 shard, const char *state,
										   const char *error, const char *sqlstate);

/* Removes the states of workers that the source no longer has. */
extern void eddy_catalog_forget_source_workers(const EddySource *source);

/* A source is stopped if one of its workers is. */
extern bool eddy_catalog_source_stopped(int32 source);
extern void eddy_catalog_clear_source_stop(int32 source);

/* ---- partitions (_partition): the offsets ---- */

/* Values of next_offset that eddy.seek stores; the worker replaces them when it starts. */
#define EDDY_OFFSET_LATEST (-1)
#define EDDY_OFFSET_EARLIEST (-2)

typedef struct EddyPartition
{
	int32		source;
	int32		partition;
	int64		next_offset;
	int64		epoch;
	int64		high_offset;	/* -1: not known */
	TimestampTz max_event_time; /* DT_NOBEGIN: none */
	int64		rows;			/* received: accepted, rejected and skipped */
	int64		rejected;		/* of these, dead letters */
	int64		skipped;		/* of these, skipped by policy or tombstones */
	TimestampTz updated_at;		/* DT_NOBEGIN: never */
	TimestampTz idle_since;		/* DT_NOBEGIN: the partition is live */
	TimestampTz advanced_at;	/* when max_event_time was last raised; DT_NOBEGIN: never */
	TimestampTz stream_watermark;	/* of the stream after the last batch; DT_NOBEGIN: none */
	int64		ahead;			/* rows too far ahead of the clock to count for max_event_time */
} EddyPartition;

extern List *eddy_catalog_list_partitions(int32 source); /* of EddyPartition, by partition */
extern List *eddy_catalog_list_partitions_as_of(int32 source, Snapshot as_of);	/* that it sees */
extern void eddy_catalog_insert_partition(const EddyPartition *partition);

/* Compare-and-set; false if next_offset or epoch is not as expected: the transaction must abort. */
extern bool eddy_catalog_advance_partition(const EddyPartition *partition, int64 expected_offset);

/* Sets next_offset, for eddy.seek; inserts the row if it does not exist. */
extern void eddy_catalog_seek_partition(int32 source, int32 partition, int64 next_offset);

/* ---- users' rows (_user_partition): partition -1 ---- */

typedef struct EddyUserPartition
{
	Oid			stream;
	int64		rows;			/* accepted and rejected */
	int64		rejected;		/* of these, dead letters of the stream */
	int64		skipped;		/* of these, skipped by policy */
	TimestampTz max_event_time; /* DT_NOBEGIN: none */
	TimestampTz updated_at;
	TimestampTz advanced_at;	/* when max_event_time was last raised; DT_NOBEGIN: never */
	TimestampTz stream_watermark;	/* as in EddyPartition */
	int64		ahead;			/* as in EddyPartition */
} EddyUserPartition;

/* Adds counts to those of the stream, raises its latest event time and watermark. Never waits. */
extern void eddy_catalog_add_user_rows(const EddyUserPartition *added);
extern void eddy_catalog_delete_user_partition(Oid stream);

/* The sums and latest times of the stream; all zero and DT_NOBEGIN without rows. */
extern EddyUserPartition eddy_catalog_get_user_partition(Oid stream);

/* ---- watermarks (_watermark): what is not in the rows of partitions ---- */

typedef struct EddyWatermark
{
	Oid			stream;
	TimestampTz raised;			/* the watermark is at least this; DT_NOBEGIN: not raised */

	/* Partition -1 is idle while it has this number of rows; -1: it is not idle. */
	int64		idle_user_rows;
} EddyWatermark;

extern EddyWatermark eddy_catalog_get_watermark(Oid stream);

/*
 * Raises the stored watermark, and never lowers it; replaces
 * idle_user_rows unless it is -1. Inserts the row if it does not exist.
 */
extern void eddy_catalog_raise_watermark(const EddyWatermark *watermark);

/* The same, but false if another transaction is changing the row, or it does not exist. */
extern bool eddy_catalog_try_raise_watermark(const EddyWatermark *watermark);
extern void eddy_catalog_delete_watermark(Oid stream);

/* ---- attempts (_attempt): crashes of workers ---- */

/* Offsets [first, next) of a partition. */
typedef struct EddyRange
{
	int32		partition;
	int64		first;
	int64		next;
} EddyRange;

typedef struct EddyAttempt
{
	int32		source;
	int32		shard;			/* of the worker */
	int64		token;			/* of the last process that consumed the source */
	int32		crashes;		/* in a row; none: not cautious */
	int32		alone;			/* of these, the latest ones with a single message in the batch */
	int32		batch_limit;	/* messages in a batch, or EDDY_NO_BATCH_LIMIT */
	int32		messages;		/* in the announced batch */
	List	   *current;		/* of EddyRange: the announced batch; NIL if there is none */
	List	   *failed;			/* of the last announced batch that has crashed */
	List	   *caution;		/* ranges to be processed until the worker stops being cautious */
	Oid			view;			/* that the worker fills from Kafka; InvalidOid: it consumes the source */
} EddyAttempt;

/* Larger than any batch: only the settings limit it. */
#define EDDY_NO_BATCH_LIMIT PG_INT32_MAX

extern EddyAttempt *eddy_catalog_get_attempt(int32 source, int32 shard, Oid view);
extern void eddy_catalog_set_attempt(const EddyAttempt *attempt);	/* inserts or replaces */
extern void eddy_catalog_delete_view_attempts(Oid view);

/* ---- continuous views (_view, _view_status) ---- */

typedef struct EddyView
{
	Oid			relid;			/* what the user reads */
	Oid			stream;			/* the source: a stream, or the continuous view that it reads */
	List	   *streams;		/* of Oid, sorted: all sources, of which stream is the first one in the query */
	Oid			definition;		/* view in schema eddy that holds the query */
	char	   *kind;			/* how it is maintained (view/kind.h) */
	List	   *state_tables;	/* of Oid, in the order of the kind's layout */
	Oid			state_table;	/* the first of them, which the view reads */

	/* columns of state_table */
	int			ncolumns;
	AttrNumber *columns;		/* those of the view, in its order */
	int			nkeys;
	AttrNumber *key_columns;	/* the group key */
	AttrNumber	visible_column; /* 0: all rows are in the view */
	AttrNumber	final_column;	/* 0: the view has no windows that close */

	char	   *emit;			/* changes | on_close | every <interval> */
	char	   *late;			/* drop | keep | update */
	Interval	allowed_lateness;
	Interval   *retention;		/* NULL: kept indefinitely */
	char	   *start;
	char	   *maintenance;
	char	   *on_error;		/* dead_letter | stop */
	int			format;			/* server major of the stored states */
	char	   *aggregates;		/* that computed these states, as text */
	Interval   *idle_ttl;		/* NULL: groups that are not touched are kept */
	int64		changes_log;	/* in which its changes are kept, 0: they are not */
	Interval	changes_retention;	/* of these */
	char	   *changes_channel;	/* that is notified of them, NULL: none */
	bool		suspended;		/* has a row in _view_status, with this state */
	bool		starting;		/* likewise: it is filled from Kafka */
} EddyView;

extern EddyView *eddy_catalog_get_view(Oid relid);

/* As a snapshot sees it, without its status. */
extern EddyView *eddy_catalog_get_view_as_of(Oid relid, Snapshot as_of);
extern List *eddy_catalog_list_views(Oid source);	/* of EddyView that read it, by relid */
extern List *eddy_catalog_list_all_views(void);
extern void eddy_catalog_insert_view(const EddyView *view);

/*
 * The streams that a source is: itself, or those that a view reads, directly or through others.
 * List of Oid, sorted. ancestors: the views in between, of several sources (List of Oid), in no
 * order. root_view: the view whose watermark applies, because it is the first one that reads all of
 * the streams; InvalidOid for a stream.
 */
extern List *eddy_catalog_root_streams(Oid source);
extern List *eddy_catalog_ancestors(List *sources);
extern Oid	eddy_catalog_root_view(Oid source);

/* Replaces a row. Its status and its progress remain. */
extern void eddy_catalog_update_view(const EddyView *view, const EddyView *old);

/* Replaces the view's aggregates, and its format by view->format. */
extern void eddy_catalog_set_view_aggregates(const EddyView *view, const char *aggregates);

/* Replaces changes_log, changes_retention and changes_channel. */
extern void eddy_catalog_set_view_changes(const EddyView *view);
extern void eddy_catalog_delete_view(Oid relid);	/* with its status and progress */

/* The view of which this is the public view, the definition or a state table, or NULL. */
extern EddyView *eddy_catalog_find_view(Oid part);

/* Marks a view as suspended; error and sqlstate can be NULL. False if it already is. */
extern bool eddy_catalog_suspend_view(const EddyView *view, const char *error,
									  const char *sqlstate);

/* Removes the mark, also of a view that is starting. False if the view has none. */
extern bool eddy_catalog_resume_view(const EddyView *view);

/* ---- views that are filled from Kafka (_view_status, _view_start, _view_offset) ---- */

/* Marks a new view as starting, from now on. */
extern void eddy_catalog_start_view(const EddyView *view, Oid replaces);

/* Sets the error of a view that is starting; NULL: none. Nothing is written if it is unchanged. */
extern void eddy_catalog_set_start_error(Oid view, const char *error, const char *sqlstate);

typedef struct EddyViewStart
{
	Oid			view;
	TimestampTz started_at;
	Oid			replaces;		/* the view whose state it becomes when it is filled, or InvalidOid */
} EddyViewStart;

extern EddyViewStart *eddy_catalog_get_view_start(Oid view);
extern List *eddy_catalog_list_view_starts(void);	/* of EddyViewStart */
extern void eddy_catalog_set_view_start(const EddyViewStart *start);	/* inserts or replaces */
extern void eddy_catalog_delete_view_start(Oid view);	/* with offsets and attempts */

typedef struct EddyViewOffset
{
	Oid			view;
	int32		source;
	int32		partition;
	int64		first_offset;	/* where reading began */
	int64		next_offset;
	int64		rows;			/* messages that were read */
} EddyViewOffset;

extern List *eddy_catalog_list_view_offsets(Oid view, int32 source);	/* of EddyViewOffset */
extern void eddy_catalog_insert_view_offset(const EddyViewOffset *offset);

/* Compare-and-set; false if next_offset is not as expected: the transaction must abort. */
extern bool eddy_catalog_advance_view_offset(const EddyViewOffset *offset, int64 expected_offset);

/* ---- progress of views (_view_progress) ---- */

/* Times are DT_NOBEGIN while nothing was closed, forgotten or expired. */
typedef struct EddyViewProgress
{
	Oid			view;
	TimestampTz closed_until;	/* windows that end until here are final */
	TimestampTz closed_at;		/* when windows were closed last */
	TimestampTz forgotten_until;	/* those that end until here accept no rows at all */
	TimestampTz expired_until;	/* those that end until here were removed by retention; or: groups
								 * touched last until here, by idle_ttl */
	int64		closed_groups;	/* how many groups were closed */
} EddyViewProgress;

extern EddyViewProgress *eddy_catalog_get_view_progress(Oid view);

/* Sets the progress of a view to that of a new one. */
extern void eddy_catalog_reset_view_progress(Oid view);

/* The same as get, with the row locked. */
extern EddyViewProgress *eddy_catalog_lock_view_progress(Oid view);

/* Replaces a locked row. */
extern void eddy_catalog_set_view_progress(const EddyViewProgress *progress);
extern void eddy_catalog_delete_view_progress(Oid view);

/* ---- kept changes (_change) ---- */

/* One change, in the memory of its writer. */
typedef struct EddyChangeEntry
{
	char		op;
	bytea	   *content;
} EddyChangeEntry;

/*
 * The changes of some groups, which the caller has locked. Gives them a position after all others.
 */
extern void eddy_catalog_insert_changes(int64 log, int64 layout, const EddyChangeEntry *entries,
										int count);

/* ---- dead letters ---- */

typedef struct EddyDeadLetter
{
	Oid			stream;
	Oid			view;			/* InvalidOid: rejected for the whole stream */
	const char *topic;			/* NULL: a row of a user's statement, partition is -1 */
	int32		source;			/* if there is a topic */
	int32		partition;
	int64		offset;			/* -1: none */
	const char *key;			/* NULL if none */
	size_t		key_len;
	const char *headers;		/* JSON text or NULL */
	const char *payload;		/* NULL if none */
	size_t		payload_len;
	TimestampTz timestamp;		/* of the message; DT_NOBEGIN: none */
	const char *error;
	int			sqlerrcode;
} EddyDeadLetter;

extern void eddy_catalog_insert_dead_letter(const EddyDeadLetter *letter);

/* Which dead letters eddy_catalog_take_dead_letters takes. */
typedef struct EddyDeadLetterFilter
{
	Oid			stream;
	int			nids;			/* -1: all of the stream */
	const int64 *ids;
	int			limit;			/* so many at most */
	Size		max_bytes;		/* and no further one after so many bytes of payload */
	bool		(*wants) (const EddyDeadLetter *letter, void *arg);
	void	   *arg;
} EddyDeadLetterFilter;

/*
 * Deletes dead letters, in order of their numbers, and returns them: List of EddyDeadLetter. Waits
 * for concurrent transactions that delete some of them.
 */
extern List *eddy_catalog_take_dead_letters(const EddyDeadLetterFilter *filter);

/* Deletes the dead letters of a view. */
/* Places of the messages of a source that are dead letters of the stream: List of EddyRange. */
extern List *eddy_catalog_list_letter_offsets(int32 source);
extern void eddy_catalog_delete_dead_letters(Oid view);
extern void eddy_catalog_move_dead_letters(Oid from, Oid to);

/* ---- late rows ---- */

typedef struct EddyLateRowEntry
{
	Oid			view;
	TimestampTz window_start;	/* DT_NOBEGIN: not known */
	TimestampTz window_end;
	TimestampTz watermark;		/* that judged the row */
	const char *topic;			/* NULL: a row of a user's statement, partition is -1 */
	int32		partition;
	int64		offset;			/* -1: none */
	Datum		row_data;		/* jsonb; 0: NULL */
} EddyLateRowEntry;

extern void eddy_catalog_insert_late_row(const EddyLateRowEntry *entry);

/* ---- numbers of late rows (_late_row_count): pairs of a row and a window that was final ---- */

extern void eddy_catalog_count_late_rows(Oid view, int64 count);	/* never waits */
extern void eddy_catalog_delete_late_row_count(Oid view);

#endif							/* EDDY_CATALOG_H */

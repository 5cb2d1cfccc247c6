/*-------------------------------------------------------------------------
 *
 * view.h
 *    What other layers call to maintain and to define continuous views.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_VIEW_H
#define EDDY_VIEW_H

#include "batch.h"
#include "catalog/eddy_catalog.h"
#include "nodes/execnodes.h"
#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"
#include "storage/block.h"
#include "utils/tuplestore.h"

/* From _PG_init only. */
extern void eddy_view_init(void);
extern void eddy_view_register_labels(void);

/*
 * ---- maintenance (maintain.c, delta.c): batches are a List of EddyBatch, one per stream or view
 * ----
 */

extern List *eddy_view_apply(List *batches, int level, bool repeatable);	/* List of EddyChanges */
extern List *eddy_view_fill(Oid view, EddyBatch *batch);
extern bool eddy_view_maintaining(void);

/*
 * The view that is being maintained, if a function was cancelled in it, and has not ended;
 * otherwise InvalidOid.
 */
extern Oid	eddy_view_canceled(void);


/* The views that read a stream, or a view, and are maintained: List of Oid, sorted. */
extern List *eddy_view_list(Oid source);

/*
 * Those that exactly these streams (List of Oid, sorted) reach, also through other views, if these
 * are maintained, too; and that have a watermark of their own, if there are several streams.
 */
extern List *eddy_view_list_roots_of(List *streams);

/*
 * The first level of views that exactly these streams reach, and of views that read a source, that
 * is not less than a level; -1: there is none.
 */
extern int	eddy_view_next_level(Oid source, int level);
extern int	eddy_view_next_level_of(List *streams, int level);

/* The sets of streams that reach views together with a stream: List of List of Oid, sorted. */
extern List *eddy_view_unions(Oid stream);

/*
 * The streams whose windows a writer of a source keeps from being closed, because a view follows
 * from them that reads a view and something else: List of Oid, sorted.
 */
extern List *eddy_view_joined(Oid source);

/*
 * ---- closing of windows (closing.c): of views that exactly these streams reach, or those of a level; changes is a
 * List of EddyChanges, to which is added ----
 */

/*
 * From now on this process, the database worker, merges what was deferred before it closes windows.
 */
extern void eddy_view_settle_here(void);
extern bool eddy_view_may_close(List *streams, TimestampTz watermark);
extern bool eddy_view_close_due(List *streams, TimestampTz watermark, bool remember);
extern bool eddy_view_close_interrupted(List *streams);
extern void eddy_view_close_pause_at(TimestampTz at);
extern bool eddy_view_close(List *streams, int level, TimestampTz watermark, int64 *budget,
							List **changes);
extern bool eddy_view_expire(List *streams, int level, TimestampTz watermark, int64 *budget,
							 List **changes);
extern TimestampTz eddy_view_earlier(TimestampTz watermark, int64 usec);

/*
 * The lateness of a view that accepts rows for all windows that were ever final; no window is final
 * for good.
 */
#define EDDY_LATENESS_UNLIMITED PG_INT64_MAX

extern int64 eddy_view_lateness(const EddyView *view);

/* ---- by the clock (emit_every.c, ttl.c) ---- */

/* True for emit => 'every ...', whose interval in microseconds it determines. */
extern bool eddy_view_parse_emit(const char *emit, int64 *interval);
extern bool eddy_view_emit_due(Oid view, int64 *budget, List **changes);
extern bool eddy_view_expire_idle(Oid view, int64 *budget);

/* ---- deferred maintenance (fold.c) ---- */

/* A call of eddy_view_fold, and the next one. */
typedef struct EddyViewFold
{
	Oid			view;
	BlockNumber next;			/* 0 at first; InvalidBlockNumber: all deltas were read */
	int			rows;			/* that the last call has read */
	Oid			table;			/* of the deltas, once it is known */
} EddyViewFold;

extern void eddy_view_fold(EddyViewFold *part);

/* ---- creation (define.c) ---- */

/* Parameters of eddy.create_continuous_view. */
typedef struct EddyViewOptions
{
	const char *emit;
	const char *late;
	Interval	allowed_lateness;
	Interval   *retention;
	const char *start;
	const char *maintenance;
	const char *on_error;
	Interval   *idle_ttl;
	bool		if_not_exists;
	bool		unlabeled;		/* consumers of changes do not know it */
	bool		unlocked;		/* writers of streams continue until it is filled */
} EddyViewOptions;

extern void eddy_view_watch_deletes(const EddyView *view);
extern RawStmt *eddy_view_parse_select(const char *query, const char *what);
extern void eddy_view_point_into_query(void *arg);
extern void eddy_view_lock_sources(const EddyView *view);
extern Oid	eddy_view_create(const char *name, const char *query, const EddyViewOptions *options,
							 bool *created);

/*
 * ---- replacing the query (replace.c) ----
 *
 * eddy_view_replace_begin makes the new objects. Then the state is converted by
 * eddy_view_replace_keep, or filled by the caller with eddy_view_replace_fill, any number of times,
 * and eddy_view_replace_compare and eddy_view_replace_lock in between: before the latter, writers
 * continue with the old state.
 */

typedef struct EddyReplacement EddyReplacement;

extern EddyReplacement *eddy_view_replace_begin(Oid relid, const char *query, bool keeps);
extern EddyView *eddy_view_replace_row(EddyReplacement *replacement);
extern void eddy_view_replace_fill(EddyReplacement *replacement, EddyBatch *batch);
extern void eddy_view_replace_keep(EddyReplacement *replacement);
extern bool eddy_view_replace_compare(EddyReplacement *replacement);
extern void eddy_view_replace_lock(EddyReplacement *replacement);
extern void eddy_view_replace_end(EddyReplacement *replacement);
extern bool eddy_view_is_replaced(Oid view);

/*
 * With another view that is filled from Kafka first, the successor: its creation, which returns it,
 * and the end, when the caller has filled it: eddy_view_succeed_begin can be called while others
 * write to both, eddy_view_succeed after eddy_view_lock_replaced and the locks on the streams.
 * These raise errors.
 */
extern Oid	eddy_view_create_successor(Oid relid, const char *query, const char *start,
									   bool unlocked);
extern EddyReplacement *eddy_view_succeed_begin(Oid successor, Oid relid);
extern void eddy_view_lock_replaced(Oid relid, Oid successor);
extern void eddy_view_succeed(EddyReplacement *replacement, Oid successor, Oid relid);

/*
 * Waits until no other transaction replaces the query of a view, before any other lock is taken.
 * For all that locks the stream, and then the view or its tables, against others.
 */
extern void eddy_view_lock_query(Oid view);

/* ---- deletion by users of sessions whose changes wait (session_emit.c) ---- */

/*
 * Deletes what the deleted rows of a state table would have become, and returns other rows that are
 * deleted with that; NULL: none.
 */
extern Tuplestorestate *eddy_view_delete_sessions(const EddyView *view, TupleDesc desc,
												  Tuplestorestate *deleted);

/* ---- suspending and rebuilding (suspend.c): false if relid is not a continuous view ---- */

extern void eddy_view_suspend(Oid view, const char *error, int sqlerrcode);
extern bool eddy_view_pause(Oid relid);
extern int64 eddy_view_upgrade_states(void);
extern bool eddy_view_resume(Oid relid, List **emptied, List **changes);
extern void eddy_view_check_delete(const EddyView *view);

/*
 * The columns of a stream that the query of a view reads, offset by
 * FirstLowInvalidHeapAttributeNumber; attribute 0 stands for all (source_columns.c).
 */
extern Bitmapset *eddy_view_source_columns(const EddyView *view, Oid stream);

/*
 * True if rows of a view only ever appear, apart from users' DELETE and from retention (chain.c).
 */
extern bool eddy_view_rows_appear(const EddyView *view);

/* True if a view combines what the view that it reads keeps of its groups (chain_combine.c). */
extern bool eddy_view_combines(Oid view);
extern void eddy_view_start(Oid relid, Oid replaces);
extern void eddy_view_finish_start(Oid relid);

extern void eddy_view_check_context(const char *command);

/* ---- objects behind views (objects.c) ---- */

extern void eddy_view_drop(Oid relid);

/* lock_streams.c: against writers, until the end of the transaction */
extern void eddy_view_lock_streams(List *streams);
extern void eddy_view_cleanup_dropped(DropBehavior behavior,
									  const char *(*name_of) (Oid view, const void *arg),
									  const void *arg);
extern void eddy_view_sync(Oid part);
extern List *eddy_view_list_definitions(void);
extern bool eddy_view_show_names(ErrorData *error, const List *names);
extern bool eddy_view_show_row_type(ErrorData *error);
extern void eddy_view_bind_definitions(void);

/* ---- changes that are kept for eddy.changes (change_keep.c, change_read.c) ---- */

extern bool eddy_view_keep_changes(Oid relid, const Interval *retention, const char *channel);
extern long eddy_view_prune_changes(void);
extern char *eddy_view_change_token(Oid relid);
extern void eddy_view_read_changes(Oid relid, const char *after, int limit,
								   ReturnSetInfo *result);

/* ---- initial rows for consumers (send_rows.c) ---- */

extern int64 eddy_view_send_rows(const char *slot, const Oid *relids, int count);

/* ---- places of groups (group_cache.c) ---- */

/* From now on this process remembers where it has seen groups. */
extern void eddy_view_cache_groups(void);

/* Groups that were looked up since then, and those that were found without the index. */
extern void eddy_view_cache_counts(int64 *all, int64 *found);

/* ---- publications (publication.c) ---- */

extern char *eddy_view_publish(const char *name, const Oid *relids, int count);
extern void eddy_view_allow_delete(Oid state_table);

/* ---- renames (signature.c) ---- */

extern List *eddy_signature_before_rename(void);
extern void eddy_signature_after_rename(List *views);

#endif							/* EDDY_VIEW_H */

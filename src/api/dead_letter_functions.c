/*-------------------------------------------------------------------------
 *
 * dead_letter_functions.c
 *    SQL-callable function that applies dead letters again.
 *
 * The letters are deleted and applied in the transaction of the caller, so that each is applied
 * once or remains. What is rejected again becomes a new letter. This file selects the letters;
 * applying them needs the decoders, which are in pg_eddy_kafka (src/worker/replay.c).
 *
 * Locking: the stream, with ShareUpdateExclusiveLock, which conflicts with DDL and with itself, but
 * not with batches and INSERT; then the rows of eddy.dead_letters; then as a batch. Memory: the
 * letters of one call are kept until it ends: at most so many bytes as a batch from Kafka.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/eddy_catalog.h"
#include "kafka_library.h"
#include "settings.h"
#include "stream/stream.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(eddy_replay_dead_letters);

/* What the letters of a stream can be applied to. */
typedef struct Selection
{
	List	   *sources;		/* of int: those of the stream */
	List	   *views;			/* of Oid: those that are maintained */
	int64		unusable;		/* counts the letters that cannot be applied */
} Selection;

static Selection
make_selection(Oid stream)
{
	Selection	selection = {NIL, NIL, 0};
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_sources(stream))
		selection.sources = lappend_int(selection.sources, ((EddySource *) lfirst(lc))->source);
	foreach(lc, eddy_catalog_list_views(stream))
	{
		const EddyView *view = lfirst(lc);

		/* a letter of a view that reads other views can be a row of one of these */
		if (!view->suspended && eddy_catalog_ancestors(view->streams) == NIL)
			selection.views = lappend_oid(selection.views, view->relid);
	}
	return selection;
}

/*
 * True if a letter can be applied again: its source is still attached, its view is maintained, and
 * it has content. Not if the message has crashed a process: it would crash this one.
 */
static bool
can_apply(const EddyDeadLetter *letter, void *arg)
{
	Selection  *selection = arg;

	if (letter->payload != NULL && letter->sqlerrcode != ERRCODE_CRASH_SHUTDOWN &&
		(letter->topic == NULL || list_member_int(selection->sources, letter->source)) &&
		(!OidIsValid(letter->view) || list_member_oid(selection->views, letter->view)))
		return true;
	selection->unusable++;
	return false;
}

static void
read_ids(ArrayType *array, EddyDeadLetterFilter *filter)
{
	Datum	   *values;
	bool	   *nulls;
	int64	   *ids;

	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &values,
					  &nulls, &filter->nids);
	ids = palloc(sizeof(int64) * Max(filter->nids, 1));
	for (int i = 0; i < filter->nids; i++)
		ids[i] = nulls[i] ? 0 : DatumGetInt64(values[i]);
	filter->ids = ids;
}

static void
check_state(Oid stream)
{
	PreventCommandIfReadOnly("eddy.replay_dead_letters()");
	if (InSecurityRestrictedOperation() || eddy_view_maintaining())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot replay dead letters of stream \"%s\" while a continuous view is maintained",
						get_rel_name(stream)),
				 errdetail("A function that is called for the maintenance has tried to.")));
}

/*
 * A view that is filled from Kafka leaves out messages that are dead letters: it would count them
 * with the other views when they are replayed, which needs it to be complete.
 */
static void
check_starts(Oid stream)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_views(stream))
	{
		const EddyView *view = lfirst(lc);

		if (view->starting)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot replay dead letters of stream \"%s\"", get_rel_name(stream)),
					 errdetail("Continuous view \"%s\" is still being filled from Kafka.",
							   get_rel_name(view->relid)),
					 errhint("The view eddy.view_starts shows the progress.")));
	}
}

/* eddy_replay_dead_letters(regclass, bigint[], integer) returns how many letters were applied. */
Datum
eddy_replay_dead_letters(PG_FUNCTION_ARGS)
{
	EddyDeadLetterFilter filter = {
		.nids = -1,
		.limit = PG_ARGISNULL(2) ? INT_MAX : PG_GETARG_INT32(2),
		.max_bytes = (Size) eddy_settings_batch_bytes * 1024,
		.wants = can_apply
	};
	Selection	selection;
	List	   *letters;
	Relation	rel;
	int64		rejected = 0;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"stream\" cannot be null")));
	filter.stream = PG_GETARG_OID(0);
	if (filter.limit < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"limit\" must not be negative")));
	if (!PG_ARGISNULL(1))
		read_ids(PG_GETARG_ARRAYTYPE_P(1), &filter);

	(void) eddy_stream_check_owner(filter.stream);
	check_state(filter.stream);
	LockRelationOid(filter.stream, ShareUpdateExclusiveLock);
	(void) eddy_stream_check_owner(filter.stream);	/* as it is now that the lock is held */
	rel = table_open(filter.stream, RowExclusiveLock);

	check_starts(filter.stream);
	selection = make_selection(filter.stream);
	filter.arg = &selection;
	letters = eddy_catalog_take_dead_letters(&filter);
	if (selection.unusable > 0)
		ereport(NOTICE,
				(errmsg_plural(INT64_FORMAT " dead letter cannot be replayed",
							   INT64_FORMAT " dead letters cannot be replayed",
							   selection.unusable, selection.unusable),
				 errdetail("The message could not be fetched or has crashed the worker, its source is detached, or its view was dropped, is suspended, or reads another view.")));
	if (letters != NIL)
		rejected = eddy_kafka_library_load()->replay(rel, letters);
	table_close(rel, NoLock);
	PG_RETURN_INT64(list_length(letters) - rejected);
}

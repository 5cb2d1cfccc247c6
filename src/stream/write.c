/*-------------------------------------------------------------------------
 *
 * write.c
 *    The hot path: appending a batch's rows to the current staging segment.
 *
 * Rows are formed on pages that are appended to the segment as a whole (pages.c). What remains of a
 * batch, less than a page, and large rows are handed to the table access method, in chunks. Nothing
 * is allocated per row. Slots, pages and the ring of shared buffers are kept for as long as the
 * process writes to the same segment.
 *
 * A segment has the columns of its stream; after ADD and DROP COLUMN their order can differ,
 * and they are then matched by name. Before the first row is written after any change of the
 * segment, shape.c also compares types, and refuses a segment with other properties of its own:
 * tuples are formed here without the checks of the executor.
 *
 * Locking: RowExclusiveLock on the segment until the end of the transaction;
 * when the time of a segment is over, the row of eddy._segment that is closed. The
 * caller has locked the stream. None of this waits for readers, and no DDL
 * happens here: without an empty segment, rows are written to the old one.
 * After an error the state is discarded, because the abort releases its
 * buffer pin. After a crash segments are empty, whatever the catalog says, which
 * is acceptable for a cache.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/hio.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "interval.h"
#include "relcache_watch.h"
#include "stream/chunk.h"
#include "stream/pages.h"
#include "stream/row_data.h"
#include "stream/segment.h"
#include "stream/stream.h"

/* Attempts to rotate while other workers rotate at the same time. */
#define ROTATE_ATTEMPTS 5

/* The state that is kept from batch to batch. */
typedef struct SegmentWriter
{
	/* immutable, in mcxt */
	MemoryContext mcxt;
	Oid			segment;
	TupleDesc	stream_desc;	/* copies: neither may hold a relcache reference */
	TupleDesc	segment_desc;
	Bitmapset  *omitted;		/* attributes of the stream that are not stored */
	AttrNumber *map;			/* segment's attribute - 1 -> stream's, 0: NULL; NULL if the same */
	EddyChunk  *chunk;			/* of rows that pages do not take */
	EddyPages  *pages;
	EddyRowForm *form;			/* of common rows; NULL: none are */
	Datum	   *mapped_values;	/* one row, if map is set */
	bool	   *mapped_nulls;
} SegmentWriter;

static SegmentWriter *writer = NULL;

/* Cleared when the segment may have changed since its shape was checked. */
static bool verified = false;
static uint64 changes = 0;		/* how often it was cleared by such a change */
static bool watching = false;

/* ---- which segment ---- */

/* The segment that is written to, the newest if a race has left two; NULL if none is open. */
static EddySegment *
find_current(List *segments)
{
	EddySegment *current = NULL;
	ListCell   *lc;

	foreach(lc, segments)
	{
		EddySegment *segment = lfirst(lc);

		if (segment->state == EDDY_SEGMENT_CURRENT &&
			(current == NULL || segment->opened_at > current->opened_at))
			current = segment;
	}
	return current;
}

static EddySegment *
find_empty(List *segments)
{
	ListCell   *lc;

	foreach(lc, segments)
	{
		EddySegment *segment = lfirst(lc);

		if (segment->state == EDDY_SEGMENT_EMPTY)
			return segment;
	}
	return NULL;
}

/* Used again if there is neither a current nor an empty segment. */
static EddySegment *
find_last_closed(List *segments)
{
	EddySegment *last = NULL;
	ListCell   *lc;

	foreach(lc, segments)
	{
		EddySegment *segment = lfirst(lc);

		if (last == NULL || segment->closed_at > last->closed_at)
			last = segment;
	}
	return last;
}

/*
 * choose_segment returns the segment to write to, rotating if the time of the current one
 * is over and another is free. InvalidOid if there is no segment at all.
 *
 * Two workers of one stream may rotate at the same time. The second one to update the row of
 * the current segment waits for the first to commit, fails to update it, and reads the
 * catalog again.
 */
static Oid
choose_segment(const EddyStream *stream)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		span = eddy_stream_segment_span(stream);
	Oid			fallback = InvalidOid;

	for (int attempt = 0; attempt < ROTATE_ATTEMPTS; attempt++)
	{
		List	   *segments = eddy_catalog_list_segments(stream->relid);
		EddySegment *current = find_current(segments);
		EddySegment *next = find_empty(segments);

		if (current != NULL)
		{
			if (now - current->opened_at < span || next == NULL)
				return current->relid;
			fallback = current->relid;
			current->state = EDDY_SEGMENT_CLOSED;
			current->closed_at = now;
			if (!eddy_catalog_update_segment(current))
				continue;
		}
		if (next == NULL)
			next = find_last_closed(segments);
		if (next == NULL)
			return InvalidOid;

		/* its lock before its row, as housekeeping does */
		LockRelationOid(next->relid, RowExclusiveLock);
		next->state = EDDY_SEGMENT_CURRENT;
		next->opened_at = now;
		if (eddy_catalog_update_segment(next))
			return next->relid;
	}
	return fallback;
}

/*
 * open_segment opens and locks the segment to write to, NULL if there is
 * none. It chooses again after waiting for the lock, because housekeeping may have emptied the
 * segment meanwhile.
 */
static Relation
open_segment(const EddyStream *stream)
{
	Oid			relid = InvalidOid;

	for (int attempt = 0; attempt < ROTATE_ATTEMPTS; attempt++)
	{
		Oid			chosen = choose_segment(stream);

		if (!OidIsValid(chosen))
			return NULL;
		if (chosen == relid)
			break;
		relid = chosen;
		LockRelationOid(relid, RowExclusiveLock);
	}
	return try_table_open(relid, NoLock);
}

/* ---- the writer's state ---- */

/* The position of each attribute of the segment in the stream's rows; NULL if all are equal. */
static AttrNumber *
make_map(TupleDesc stream_desc, TupleDesc segment_desc, const Bitmapset *omitted)
{
	AttrNumber *map = palloc0(sizeof(AttrNumber) * Max(segment_desc->natts, 1));
	bool		same = (stream_desc->natts == segment_desc->natts);

	for (int i = 0; i < segment_desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(segment_desc, i);

		if (att->attisdropped)
		{
			same = same && TupleDescAttr(stream_desc, i)->attisdropped;
			continue;
		}
		for (int j = 0; j < stream_desc->natts && map[i] == 0; j++)
		{
			Form_pg_attribute other = TupleDescAttr(stream_desc, j);

			if (!other->attisdropped && strcmp(NameStr(other->attname), NameStr(att->attname)) == 0)
				map[i] = j + 1;
		}
		if (bms_is_member(map[i], omitted))
			map[i] = 0;
		same = same && map[i] == i + 1;
	}
	return same ? NULL : map;
}

static void
make_writer(Relation segment, TupleDesc stream_desc, const Bitmapset *omitted)
{
	MemoryContext mcxt = AllocSetContextCreate(TopMemoryContext, "pg_eddy segment writer",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(mcxt);
	SegmentWriter *made = palloc0(sizeof(SegmentWriter));

	made->mcxt = mcxt;
	made->segment = RelationGetRelid(segment);
	made->stream_desc = CreateTupleDescCopyConstr(stream_desc);
	made->segment_desc = CreateTupleDescCopyConstr(RelationGetDescr(segment));
	made->omitted = bms_copy(omitted);
	made->map = make_map(made->stream_desc, made->segment_desc, omitted);
	made->chunk = eddy_chunk_create(mcxt, made->segment_desc);
	made->pages = eddy_pages_create(mcxt);
	made->form = eddy_row_form_make(made->segment_desc, made->map);
	made->mapped_values = palloc0(sizeof(Datum) * Max(made->segment_desc->natts, 1));
	made->mapped_nulls = palloc0(sizeof(bool) * Max(made->segment_desc->natts, 1));
	MemoryContextSwitchTo(old_context);
	writer = made;
}

/* The pin of a bulk insert state must have been released, or the transaction must be aborting. */
static void
discard_writer(void)
{
	MemoryContext mcxt = writer->mcxt;

	writer = NULL;
	verified = false;
	MemoryContextDelete(mcxt);
}

/* Prepares the kept state for the segment. */
static void
prepare_writer(Relation segment, TupleDesc stream_desc, const Bitmapset *omitted)
{
	if (writer != NULL &&
		(writer->segment != RelationGetRelid(segment) || !bms_equal(writer->omitted, omitted) ||
		 !equalTupleDescs(writer->stream_desc, stream_desc) ||
		 !equalTupleDescs(writer->segment_desc, RelationGetDescr(segment))))
		discard_writer();
	if (writer == NULL)
		make_writer(segment, stream_desc, omitted);
	writer->chunk->nrows = 0;
	writer->chunk->used = 0;
}

static void
at_relcache_change(Datum arg pg_attribute_unused(), Oid relid)
{
	if (relid == InvalidOid || writer == NULL || relid == writer->segment)
	{
		verified = false;
		changes++;
	}
}

/*
 * Raises an error if the segment is not as its stream created it. Only a superuser can change
 * it (api/guard_stream.c), but no such change may crash a server process.
 */
static void
verify_segment(Relation segment, Oid stream)
{
	const char *problem;
	uint64		before = changes;

	if (!watching)
	{
		eddy_relcache_watch(at_relcache_change, (Datum) 0);
		watching = true;
	}
	if (verified)
		return;
	problem = eddy_stream_segment_problem(segment, stream, writer->stream_desc);
	if (problem == NULL)
	{
		/* not if the segment has changed during the check */
		verified = (before == changes);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("segment \"%s\" does not match stream \"%s\"",
					RelationGetRelationName(segment), get_rel_name(stream)),
			 errdetail_internal("%s", problem),
			 errhint("Drop the segment as a superuser: pg_eddy creates another one.")));
}

/* ---- rows ---- */

/* Passes the collected rows to the table access method. */
static void
flush_chunk(Relation segment, CommandId cid)
{
	eddy_chunk_flush(writer->chunk, segment, cid, TABLE_INSERT_SKIP_FSM);
}

/* Puts the row in the order of the segment's columns. */
static void
map_row(Datum **values, bool **nulls)
{
	for (int i = 0; i < writer->segment_desc->natts; i++)
	{
		AttrNumber	from = writer->map[i];

		writer->mapped_nulls[i] = (from == 0) || (*nulls)[from - 1];
		writer->mapped_values[i] = (from == 0) ? (Datum) 0 : (*values)[from - 1];
	}
	*values = writer->mapped_values;
	*nulls = writer->mapped_nulls;
}

/* Space for a tuple that needs the access method, to compress values or to store them apart. */
static HeapTupleHeader
add_large(Relation segment, CommandId cid, Size len)
{
	HeapTupleHeader header;

	if (eddy_chunk_is_full(writer->chunk, len))
		flush_chunk(segment, cid);
	header = MemoryContextAllocZero(writer->chunk->mcxt, len);
	(void) eddy_chunk_add(writer->chunk, header, len);
	return header;
}

/* Forms a row without large values and others that need more than being copied; false if it has. */
static bool
add_common_row(const Datum *values, const bool *nulls)
{
	Size		len = writer->form ? eddy_row_size(writer->form, values, nulls) : 0;

	if (len == 0 || !eddy_pages_take(len))
		return false;
	eddy_row_fill(writer->form, values, eddy_pages_add(writer->pages, len));
	return true;
}

/* add_row forms one heap tuple, as heap_form_tuple does, but without an allocation of its own. */
static void
add_row(Relation segment, CommandId cid, Datum *values, bool *nulls)
{
	TupleDesc	tupdesc = writer->segment_desc;
	HeapTupleHeader header;
	Size		header_len = offsetof(HeapTupleHeaderData, t_bits);
	Size		data_len;
	Size		len;
	uint16		infomask = 0;
	bool		has_nulls = false;

	if (add_common_row(values, nulls))
		return;
	if (writer->map)
		map_row(&values, &nulls);
	for (int i = 0; i < tupdesc->natts && !has_nulls; i++)
		has_nulls = nulls[i];
	if (has_nulls)
		header_len += BITMAPLEN(tupdesc->natts);
	header_len = MAXALIGN(header_len);
	data_len = heap_compute_data_size(tupdesc, values, nulls);
	len = header_len + data_len;

	header = eddy_pages_take(len) ? eddy_pages_add(writer->pages, len) :
		add_large(segment, cid, len);
	HeapTupleHeaderSetNatts(header, tupdesc->natts);
	header->t_hoff = header_len;
	heap_fill_tuple(tupdesc, values, nulls, (char *) header + header_len, data_len, &infomask,
					has_nulls ? header->t_bits : NULL);
	header->t_infomask |= infomask;
}

/* Inserts the rows that are left of the last page in the ordinary way. */
static void
insert_rest(Relation segment, CommandId cid)
{
	int			rest = eddy_pages_end(writer->pages);

	for (int row = 0; row < rest; row++)
	{
		Size		len;
		HeapTupleHeader header = eddy_pages_get(writer->pages, row, &len);

		if (writer->chunk->nrows == EDDY_CHUNK_ROWS)
			flush_chunk(segment, cid);
		(void) eddy_chunk_add(writer->chunk, header, len);
	}
	flush_chunk(segment, cid);
}

static void
write_rows(Relation segment, EddyBatch *batch)
{
	CommandId	cid = GetCurrentCommandId(true);

	eddy_pages_begin(writer->pages, segment, cid);
	for (int64 row = 0; row < batch->nrows; row++)
	{
		if (batch->rejected && batch->rejected[row])
			continue;
		add_row(segment, cid, batch->values + row * batch->natts,
				batch->nulls + row * batch->natts);
	}
	insert_rest(segment, cid);
}

void
eddy_stream_write(const EddyStream *stream, EddyBatch *batch)
{
	Relation	segment;

	Assert(batch->store == NULL);
	if (eddy_interval_usec(&stream->retention) <= 0 || batch->nrejected >= batch->nrows)
		return;
	segment = open_segment(stream);
	if (segment == NULL)
		return;					/* housekeeping adds one soon; staging is a cache */

	eddy_stream_note_omitted(batch, RelationGetRelid(segment));
	prepare_writer(segment, batch->tupdesc, batch->omitted);
	verify_segment(segment, stream->relid);
	PG_TRY();
	{
		write_rows(segment, batch);
		ReleaseBulkInsertStatePin(writer->chunk->bistate);
	}
	PG_CATCH();
	{
		discard_writer();
		PG_RE_THROW();
	}
	PG_END_TRY();
	table_close(segment, NoLock);
}

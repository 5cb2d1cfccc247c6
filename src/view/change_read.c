/*-------------------------------------------------------------------------
 *
 * change_read.c
 *    Reads the changes that are kept of a view: eddy.changes and eddy.change_token.
 *
 * A token stands for a snapshot S: the changes of transactions that S sees have been received. The
 * next changes are those of transactions that the current snapshot sees and S does not, in the
 * order of their positions. Snapshots see transactions in an order in which the changes of each
 * group are made (change_log.c), so this order is right for each group, within one call and from
 * one call to the next. Each change is in exactly one difference of consecutive snapshots, no
 * matter how long a transaction was in progress, and no transaction in progress delays others.
 *
 * Finding them. L is a position that is read after S was taken. Changes with positions after L were
 * written later, and S does not see them. The others that S does not see are of transactions that
 * were in progress, with IDs not less than the xmin of S; the index over IDs finds them.
 *
 * If there are more changes than the limit, the token of a change has both snapshots and its
 * position; the following calls continue with the same difference. The last change of a difference
 * has a token with the later snapshot alone.
 *
 *   token = log ";" S ";" L [ ";" S' ";" L' ";" position ";" number ]
 *
 * A crash must not make transaction IDs or positions that a token contains be used again: the WAL
 * is flushed before a token is returned. So a reader also never receives a change that a crash
 * undoes.
 *
 * Rows are converted to JSON as the owner of the view, as conversions of a type can be functions of
 * its owner, and with the settings that are pinned for all expressions of a view.
 *
 * No locks besides those of the queries. Memory: the changes of one call, in the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"
#include "utils/xid8.h"

#include "compat.h"
#include "owner.h"
#include "row_layout.h"
#include "view/change_log.h"
#include "view/plan.h"
#include "view/view.h"

/* Where a reader is. */
typedef struct Position
{
	char	   *snapshot;
	int64		last;			/* position that was read after it was taken; 0: all are read */
	char	   *next_snapshot;	/* of the difference that is being read; NULL: none is */
	int64		next_last;
	int64		position;		/* of the last change that was received of it */
	int32		number;
} Position;

/* The rows of a view, as JSON. */
typedef struct RowReader
{
	const EddyView *view;
	TupleDesc	desc;			/* of the main state table */
	int64		layout;
	TupleDesc	row_desc;
	AttrNumber *row_columns;	/* of row_desc, in desc */
	TupleDesc	key_desc;
	AttrNumber *key_columns;
	Datum	   *values;
	bool	   *nulls;
} RowReader;

/* Columns of the result, from 0. */
enum
{
	RESULT_TOKEN,
	RESULT_OP,
	RESULT_KEY,
	RESULT_AFTER,
	RESULT_FINAL,
	RESULT_XID,
	RESULT_AT,
	RESULT_NCOLUMNS
};

/* ---- the view ---- */

/* Returns a view whose changes are kept, and which the current user may read. */
static EddyView *
get_view(Oid relid)
{
	EddyView   *view = eddy_view_get(relid);

	eddy_view_check_reader(view);
	if (view->changes_log == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("changes of continuous view \"%s\" are not kept", get_rel_name(relid)),
				 errhint("Its owner can keep them with eddy.keep_changes.")));
	return view;
}

/*
 * The first part of tokens: identifies the log and this installation, so that tokens of a
 * database whose dump was restored here are recognized.
 */
static uint64
log_id(const EddyView *view)
{
	pg_uuid_t	installation = eddy_catalog_get_installation();

	return hash_combine64(hash_bytes_extended(installation.data, UUID_LEN, 0),
						  (uint64) view->changes_log);
}

/* ---- tokens ---- */

/* The active snapshot, as pg_current_snapshot() returns it, and also right on standbys. */
static char *
current_snapshot(void)
{
	Snapshot	snapshot = GetActiveSnapshot();
	FullTransactionId next = ReadNextFullTransactionId();
	uint32		next_epoch = EpochFromFullTransactionId(next);
	uint32		count = snapshot->takenDuringRecovery ? (uint32) snapshot->subxcnt : snapshot->xcnt;
	TransactionId *xids = snapshot->takenDuringRecovery ? snapshot->subxip : snapshot->xip;
	TransactionId *sorted = palloc(sizeof(TransactionId) * (count + 1));
	TransactionId own = GetTopTransactionIdIfAny();
	StringInfoData text;
	bool		first = true;

#define FULL(xid) \
	(U64FromFullTransactionId(FullTransactionIdFromEpochAndXid((xid) > XidFromFullTransactionId(next) ? \
															   next_epoch - 1 : next_epoch, (xid))))
	initStringInfo(&text);
	appendStringInfo(&text, UINT64_FORMAT ":" UINT64_FORMAT ":", FULL(snapshot->xmin),
					 FULL(snapshot->xmax));
	/* without transactions in progress, a snapshot can have no array */
	if (count > 0)
		memcpy(sorted, xids, sizeof(TransactionId) * count);
	/* snapshots do not list the own transaction, which is in progress as well */
	if (TransactionIdIsValid(own))
		sorted[count++] = own;
	qsort(sorted, count, sizeof(TransactionId), xidLogicalComparator);
	for (uint32 i = 0; i < count; i++)
	{
		if (TransactionIdFollowsOrEquals(sorted[i], snapshot->xmax) ||
			TransactionIdPrecedes(sorted[i], snapshot->xmin))
			continue;
		appendStringInfo(&text, "%s" UINT64_FORMAT, first ? "" : ",", FULL(sorted[i]));
		first = false;
	}
#undef FULL
	pfree(sorted);
	return text.data;
}

/* The current value of the sequence of positions, which is not less than any that was drawn. */
static int64
last_position(void)
{
	bool		isnull;

	if (SPI_execute("SELECT last_value FROM eddy._change_position", true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read the sequence of positions");
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
									   &isnull));
}

/* Flushes all WAL up to now: see the head of this file. */
static void
flush_wal(void)
{
	XLogRecPtr	end;
	uint32		offset;

	if (RecoveryInProgress())
		return;
	end = GetXLogInsertRecPtr();
	/* at the start of a page, this is past the header, which is not written yet */
	offset = end % XLOG_BLCKSZ;
	if (offset <= SizeOfXLogLongPHD)
		end -= offset;
	XLogFlush(end);
}

static char *
make_token(uint64 log, const Position *position)
{
	StringInfoData token;

	initStringInfo(&token);
	appendStringInfo(&token, "%08x%08x;%s;" INT64_FORMAT, (uint32) (log >> 32), (uint32) log,
					 position->snapshot, position->last);
	if (position->next_snapshot)
		appendStringInfo(&token, ";%s;" INT64_FORMAT ";" INT64_FORMAT ";%d",
						 position->next_snapshot, position->next_last, position->position,
						 position->number);
	return token.data;
}

eddy_compat_noreturn
static void
refuse_token(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid token of changes"),
			 errdetail("%s", detail),
			 errhint("Use the last value of column \"token\", or that of eddy.change_token.")));
	pg_unreachable();
}

/* Parses a number; NULL if there is none before the end or a semicolon. */
static const char *
parse_number(const char *text, int64 *number)
{
	char	   *end;

	errno = 0;
	*number = strtoi64(text, &end, 10);
	return errno == 0 && end > text && (*end == ';' || *end == '\0') && *number >= 0 ? end : NULL;
}

/* Parses a snapshot, which the server checks later, and the position after it. */
static const char *
parse_snapshot(const char *text, char **snapshot, int64 *last)
{
	size_t		len = strspn(text, "0123456789:,");

	if (len == 0 || text[len] != ';')
		return NULL;
	*snapshot = pnstrdup(text, len);
	return parse_number(text + len + 1, last);
}

static void
parse_token(const char *token, uint64 log, Position *position)
{
	static const char *const invalid = "It does not have the form of a token.";
	char		prefix[20];
	const char *rest;
	int64		number;

	snprintf(prefix, sizeof(prefix), "%08x%08x;", (uint32) (log >> 32), (uint32) log);
	if (strspn(token, "0123456789abcdef") != 16 || token[16] != ';')
		refuse_token(invalid);
	if (strncmp(token, prefix, 17) != 0)
		refuse_token("It belongs to another continuous view or database, or to changes that are no longer kept.");
	rest = parse_snapshot(token + 17, &position->snapshot, &position->last);
	if (rest && *rest == ';')
	{
		rest = parse_snapshot(rest + 1, &position->next_snapshot, &position->next_last);
		if (rest && *rest == ';')
			rest = parse_number(rest + 1, &position->position);
		else
			rest = NULL;
		if (rest && *rest == ';')
			rest = parse_number(rest + 1, &number);
		else
			rest = NULL;
		if (rest && number <= PG_INT32_MAX)
			position->number = (int32) number;
		else
			rest = NULL;
	}
	if (rest == NULL || *rest != '\0')
		refuse_token(invalid);
}

/* ---- changes ---- */

static Datum
snapshot_datum(const char *text)
{
	return DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(text));
}

/*
 * The ID of a transaction before which changes of others were removed: all of them had ended before
 * the snapshots were taken that are still accepted. The first possible ID if none were removed.
 */
static uint64
removed_before(const EddyView *view)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(view->changes_log)};
	bool		isnull;
	Datum		before;

	if (SPI_execute_with_args("SELECT m.before FROM eddy._change_marker m WHERE m.log = $1 AND m.pruned"
							  " ORDER BY m.at DESC LIMIT 1", 1, types, values, NULL, true,
							  1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the markers of kept changes");
	if (SPI_processed == 0)
		return FirstNormalTransactionId;
	before = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return U64FromFullTransactionId(DatumGetFullTransactionId(before));
}

/* Raises an error if changes that the snapshot does not see were removed. */
static void
check_retention(const EddyView *view, const Position *position)
{
	uint64		xmin = strtou64(position->snapshot, NULL, 10);

	if (removed_before(view) > xmin)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("changes of continuous view \"%s\" after the token were removed",
						get_rel_name(view->relid)),
				 errdetail("The token is older than the retention of the changes, or a transaction was in progress for longer than that."),
				 errhint("Read the view and continue with a token of eddy.change_token that is read in the same REPEATABLE READ transaction.")));
}

/*
 * Reads changes of the current difference into SPI_tuptable, in order, one more than limit. The
 * second part of the query is for the index over IDs: conditions on positions are hidden from the
 * planner, which would otherwise read all of the log in the order of positions.
 */
static void
fetch_changes(const EddyView *view, const Position *position, int limit)
{
	Oid			types[] = {
		INT8OID, INT8OID, INT4OID, PG_SNAPSHOTOID, INT8OID, PG_SNAPSHOTOID, INT8OID, INT8OID,
		INT4OID
	};
	bool		inside = position->position > position->last;
	Datum		values[] = {
		Int64GetDatum(view->changes_log), Int64GetDatum(position->position),
		Int32GetDatum(position->number), snapshot_datum(position->next_snapshot),
		Int64GetDatum(position->last), snapshot_datum(position->snapshot),
		Int64GetDatum((int64) limit + 1),
		/*
		 * one condition, as the index uses one: past the last change that was received, or past L
		 */
		Int64GetDatum(inside ? position->position : position->last),
		Int32GetDatum(inside ? position->number : position->last > 0 ? PG_INT32_MAX : 0)
	};

	if (SPI_execute_with_args("(SELECT c.position, c.number, c.op, c.layout, c.content, c.xid, c.at"
							  " FROM eddy._change c WHERE c.log = $1 AND (c.position, c.number) > ($8, $9)"
							  " AND ($5 > 0 OR c.xid >= pg_snapshot_xmin($6))"
							  " AND pg_visible_in_snapshot(c.xid, $4)"
							  " ORDER BY c.position, c.number LIMIT $7)"
							  " UNION ALL"
							  " (SELECT c.position, c.number, c.op, c.layout, c.content, c.xid, c.at"
							  " FROM eddy._change c WHERE c.log = $1 AND c.xid >= pg_snapshot_xmin($6)"
							  " AND NOT pg_visible_in_snapshot(c.xid, $6)"
							  " AND pg_visible_in_snapshot(c.xid, $4)"
							  " AND c.position + 0 <= $5 AND (c.position + 0, c.number) > ($2, $3))"
							  " ORDER BY position, number LIMIT $7",
							  lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read kept changes");
}

/* ---- rows ---- */

static void
add_column(TupleDesc desc, int number, const char *name, Form_pg_attribute att)
{
	TupleDescInitEntry(desc, number, name, att->atttypid, att->atttypmod, 0);
	TupleDescInitEntryCollation(desc, number, att->attcollation);
}

static RowReader *
make_reader(const EddyView *view)
{
	RowReader  *reader = palloc0(sizeof(RowReader));
	Relation	rel = table_open(view->state_table, AccessShareLock);
	int			ncolumns = 0;

	reader->view = view;
	reader->desc = CreateTupleDescCopy(RelationGetDescr(rel));
	reader->layout = eddy_row_layout(reader->desc);
	table_close(rel, NoLock);
	reader->values = palloc(sizeof(Datum) * reader->desc->natts);
	reader->nulls = palloc(sizeof(bool) * reader->desc->natts);

	/* columns that are computed when the view is read are not in its changes */
	for (int i = 0; i < view->ncolumns; i++)
		ncolumns += view->columns[i] > 0;
	reader->row_desc = CreateTemplateTupleDesc(ncolumns);
	reader->row_columns = palloc(sizeof(AttrNumber) * Max(ncolumns, 1));
	ncolumns = 0;
	for (int i = 0; i < view->ncolumns; i++)
	{
		if (view->columns[i] <= 0)
			continue;
		reader->row_columns[ncolumns++] = view->columns[i];
		add_column(reader->row_desc, ncolumns, get_attname(view->relid, i + 1, false),
				   TupleDescAttr(reader->desc, view->columns[i] - 1));
	}
	reader->row_desc = BlessTupleDesc(reader->row_desc);

	reader->key_desc = CreateTemplateTupleDesc(view->nkeys);
	reader->key_columns = view->key_columns;
	for (int i = 0; i < view->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(reader->desc, view->key_columns[i] - 1);
		const char *name = NameStr(att->attname);

		/* as in the view, if it shows the column */
		for (int j = 0; j < view->ncolumns; j++)
			if (view->columns[j] == view->key_columns[i])
				name = get_attname(view->relid, j + 1, false);
		add_column(reader->key_desc, i + 1, name, att);
	}
	reader->key_desc = BlessTupleDesc(reader->key_desc);
	return reader;
}

/* Takes the bytes of a row apart; false if they were written for another state table. */
static bool
read_content(RowReader *reader, int64 layout, bytea *content)
{
	HeapTupleData tuple = {.t_len = VARSIZE_ANY_EXHDR(content)};

	if (layout != reader->layout || tuple.t_len < SizeofHeapTupleHeader)
		return false;
	tuple.t_data = palloc(tuple.t_len);
	memcpy(tuple.t_data, VARDATA_ANY(content), tuple.t_len);
	heap_deform_tuple(&tuple, reader->desc, reader->values, reader->nulls);
	return true;
}

static Datum
make_json(const RowReader *reader, TupleDesc desc, const AttrNumber *columns)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	bool	   *nulls = palloc(sizeof(bool) * Max(desc->natts, 1));

	for (int i = 0; i < desc->natts; i++)
	{
		values[i] = reader->values[columns[i] - 1];
		nulls[i] = reader->nulls[columns[i] - 1];
	}
	return DirectFunctionCall1(row_to_json,
							   HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/* Adds the rows of SPI_tuptable, except one that is more than limit, to the result. */
static void
return_changes(const EddyView *view, Position *position, int limit, uint64 log,
			   ReturnSetInfo *result)
{
	SPITupleTable *table = SPI_tuptable;
	uint64		nrows = SPI_processed;
	bool		complete = nrows <= (uint64) limit;
	RowReader  *reader = make_reader(view);
	bool		has_key = reader->key_desc->natts > 0;
	MemoryContext row_mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy change",
												   ALLOCSET_DEFAULT_SIZES);
	Position	end = {.snapshot = position->next_snapshot, .last = position->next_last};

	for (uint64 i = 0; i < Min(nrows, (uint64) limit); i++)
	{
		MemoryContext old_context = MemoryContextSwitchTo(row_mcxt);
		HeapTuple	tuple = table->vals[i];
		Datum		values[RESULT_NCOLUMNS] = {0};
		bool		nulls[RESULT_NCOLUMNS] = {false};
		bool		isnull;
		int64		layout;
		char		op;
		bool		final;

		CHECK_FOR_INTERRUPTS();
#define GET(n) SPI_getbinval(tuple, table->tupdesc, n, &isnull)
		position->position = DatumGetInt64(GET(1));
		position->number = DatumGetInt32(GET(2));
		op = DatumGetChar(GET(3));
		layout = DatumGetInt64(GET(4));
		if (!read_content(reader, layout, DatumGetByteaPP(GET(5))))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("kept changes of continuous view \"%s\" do not have its columns",
							get_rel_name(view->relid)),
					 errhint("Read the view and continue with a token of eddy.change_token.")));
		final = op != EDDY_KEPT_DELETE && view->final_column > 0 &&
			!reader->nulls[view->final_column - 1] &&
			DatumGetBool(reader->values[view->final_column - 1]);

		values[RESULT_TOKEN] = CStringGetTextDatum(make_token(log, complete && i + 1 == nrows ?
															  &end : position));
		values[RESULT_OP] = CStringGetTextDatum(op == EDDY_KEPT_DELETE ? "d" :
												op == EDDY_KEPT_CREATE ||
												op == EDDY_KEPT_CREATE_LARGE ? "c" : "u");
		values[RESULT_KEY] = has_key ? make_json(reader, reader->key_desc, reader->key_columns) :
			CStringGetTextDatum("{}");
		if (op == EDDY_KEPT_CREATE || op == EDDY_KEPT_UPDATE)
			values[RESULT_AFTER] = make_json(reader, reader->row_desc, reader->row_columns);
		else
			nulls[RESULT_AFTER] = true;
		values[RESULT_FINAL] = BoolGetDatum(final);
		values[RESULT_XID] = GET(6);
		values[RESULT_AT] = GET(7);
#undef GET
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(row_mcxt);
	}
	MemoryContextDelete(row_mcxt);
}

/* ---- the functions ---- */

/* eddy_view_change_token returns a token for the active snapshot. */
char *
eddy_view_change_token(Oid relid)
{
	MemoryContext caller = CurrentMemoryContext;
	EddyView   *view = get_view(relid);
	Position	position = {.snapshot = current_snapshot()};
	uint64		log = log_id(view);
	EddyOwnerSwitch save;
	char	   *token;

	eddy_owner_become(&save, eddy_catalog_extension_owner());
	SPI_connect();
	position.last = last_position();
	SPI_finish();
	eddy_owner_end(&save);
	flush_wal();
	MemoryContextSwitchTo(caller);
	token = make_token(log, &position);
	return token;
}

/*
 * eddy_view_read_changes adds at most limit changes after a token, NULL: all that are kept, to a
 * materialized result.
 */
void
eddy_view_read_changes(Oid relid, const char *after, int limit, ReturnSetInfo *result)
{
	EddyView   *view = get_view(relid);
	uint64		log = log_id(view);
	Position	position = {NULL};
	EddyOwnerSwitch extension;
	EddyOwnerSwitch owner;

	if (after)
		parse_token(after, log, &position);
	if (position.next_snapshot == NULL)
	{
		position.next_snapshot = current_snapshot();
		position.position = position.number = 0;
	}

	eddy_owner_become(&extension, eddy_catalog_extension_owner());
	SPI_connect();
	if (position.snapshot == NULL)
	{
		uint64		before = removed_before(view);

		position.snapshot = psprintf(UINT64_FORMAT ":" UINT64_FORMAT ":", before, before);
	}
	check_retention(view, &position);
	if (position.next_last == 0)
		position.next_last = last_position();
	flush_wal();
	fetch_changes(view, &position, limit);
	eddy_owner_begin(&owner, eddy_owner_of_relation(relid));
	return_changes(view, &position, limit, log, result);
	eddy_owner_end(&owner);
	SPI_finish();
	eddy_owner_end(&extension);
}

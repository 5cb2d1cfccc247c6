/*-------------------------------------------------------------------------
 *
 * copy_stream.c
 *    COPY into a stream.
 *
 * The server's COPY stores the rows, writes each of them to the transition table of the capture
 * trigger, and checks for each of them whether a row trigger fires. With a text format it converts
 * times in a general way, which alone takes half of its instructions. All of that costs more than
 * maintaining a view. So COPY FROM into a stream is executed here, with the server's functions:
 * BeginCopyFrom and NextCopyFrom read and convert rows of any format, with faster input functions
 * (copy_input.c); rows are stored in chunks, as COPY does, and passed to src/apply without a
 * trigger.
 *
 * Where a stream has more than that, by triggers, indexes or generated columns of its user, or
 * where the command has options that need more, the server stores the rows (CopyFrom), and the
 * triggers fire as for any table. Commands that this file does not execute at all are left to the
 * server, which checks them and raises its errors.
 *
 * Privileges are checked as the server does: INSERT on the columns; reading files is left to
 * superusers, others are checked by the server. A stream with row-level security for the user is
 * left to it.
 *
 * Locking: RowExclusiveLock on the stream, until the transaction ends. Memory: a chunk of rows; all
 * rows together in a tuplestore, which spills. All is part of the user's transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/copy.h"
#include "commands/copyfrom_internal.h"
#include "commands/progress.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "api/copy_input.h"
#include "api/copy_stream.h"
#include "apply/apply.h"
#include "catalog/eddy_catalog.h"
#include "compat.h"
#include "stream/stream.h"

typedef struct CopyTarget
{
	/* immutable */
	EState	   *estate;
	ResultRelInfo *result;
	EddyAppender *appender;
	bool		has_checks;

	/* change from row to row */
	TupleTableSlot *slot;
	Tuplestorestate *rows;		/* all rows of the command */
	EddyCopyTimes times;
} CopyTarget;

/* ---- which commands ---- */

static bool
is_stream(Oid relid)
{
	return eddy_catalog_member(relid).kind == EDDY_MEMBER_STREAM;
}

/* True for commands that are executed here, if they are about a stream. */
static bool
suits(const CopyStmt *stmt)
{
	Oid			relid;

	if (!stmt->is_from || stmt->relation == NULL || stmt->whereClause != NULL || stmt->is_program ||
		(stmt->filename != NULL && !superuser()) ||
		XactReadOnly || IsInParallelMode() || RecoveryInProgress() || !eddy_catalog_has_members())
		return false;
	relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	return OidIsValid(relid) && is_stream(relid);
}

/* True if the server need not store the rows. */
static bool
can_store(CopyFromState cstate, Relation rel)
{
	const TupleConstr *constr = RelationGetDescr(rel)->constr;

	return !cstate->opts.freeze && !cstate->volatile_defexprs && eddy_compat_copy_stops(cstate) &&
		(constr == NULL || !constr->has_generated_stored) && !rel->rd_rel->relhasindex &&
		eddy_statement_can_copy(rel);
}

/* ---- privileges ---- */

/*
 * Adds the stream to the range table of the command, and checks whether its columns can be
 * inserted.
 */
static void
check_privileges(ParseState *pstate, Relation rel, const CopyStmt *stmt)
{
	ParseNamespaceItem *item = addRangeTableEntryForRelation(pstate, rel, RowExclusiveLock, NULL,
															 false, false);
	Bitmapset  *columns = NULL;
	ListCell   *lc;

	foreach(lc, CopyGetAttnums(RelationGetDescr(rel), rel, stmt->attlist))
		columns = bms_add_member(columns, lfirst_int(lc) - FirstLowInvalidHeapAttributeNumber);
	eddy_compat_check_insert(pstate, item, columns);
}

/* ---- storing rows ---- */

static CopyTarget *
begin_target(CopyFromState cstate, Relation rel)
{
	CopyTarget *target = palloc0(sizeof(CopyTarget));
	const TupleConstr *constr = RelationGetDescr(rel)->constr;

	target->estate = CreateExecutorState();
	eddy_compat_init_copy_range_table(target->estate, cstate);
	target->result = makeNode(ResultRelInfo);
	ExecInitResultRelation(target->estate, target->result, 1);
	target->appender = eddy_stream_begin_append(rel);
	target->has_checks = constr && (constr->has_not_null || constr->num_check > 0);
	target->slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);
	target->slot->tts_tableOid = RelationGetRelid(rel);
	target->rows = tuplestore_begin_heap(false, false, work_mem);
	eddy_statement_begin_copy_times(rel, &target->times);
	return target;
}

/* Stores the rows of the chunk. */
static void
store_chunk(CopyTarget *target, CopyFromState cstate)
{
	/* what fails now is not the line that was read last */
	cstate->line_buf_valid = false;
	pgstat_progress_update_param(PROGRESS_COPY_TUPLES_PROCESSED,
								 eddy_stream_flush_append(target->appender));
}

/* Reads a row; false after the last one. Its values are valid until the next one is read. */
static bool
read_row(CopyTarget *target, CopyFromState cstate)
{
	TupleTableSlot *slot = target->slot;
	ExprContext *econtext;
	MemoryContext old;
	bool		found;

	ResetPerTupleExprContext(target->estate);
	econtext = GetPerTupleExprContext(target->estate);
	ExecClearTuple(slot);
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(target->estate));
	found = NextCopyFrom(cstate, econtext, slot->tts_values, slot->tts_isnull);
	MemoryContextSwitchTo(old);
	if (!found)
		return false;
	ExecStoreVirtualTuple(slot);
	if (target->has_checks)
		ExecConstraints(target->result, slot, target->estate);
	return true;
}

static void
read_rows(CopyTarget *target, CopyFromState cstate)
{
	TupleTableSlot *slot = target->slot;
	ErrorContextCallback callback = {
		.callback = CopyFromErrorCallback,
		.arg = cstate,
		.previous = error_context_stack
	};

	error_context_stack = &callback;
	while (read_row(target, cstate))
	{
		CHECK_FOR_INTERRUPTS();
		eddy_event_time_note(&target->times, slot->tts_values, slot->tts_isnull);
		if (eddy_stream_append(target->appender, slot->tts_values, slot->tts_isnull, target->rows))
			store_chunk(target, cstate);
	}
	store_chunk(target, cstate);
	error_context_stack = callback.previous;
}

static void
end_target(CopyTarget *target)
{
	ExecDropSingleTupleTableSlot(target->slot);
	eddy_stream_end_append(target->appender);
	ExecResetTupleTable(target->estate->es_tupleTable, false);
	ExecCloseResultRelations(target->estate);
	ExecCloseRangeTableRelations(target->estate);
	FreeExecutorState(target->estate);
}

/* Stores the rows and applies them to the views. */
static uint64
store_rows(CopyFromState cstate, Relation rel)
{
	CopyTarget *target = begin_target(cstate, rel);
	uint64		stored;

	read_rows(target, cstate);
	end_target(target);
	stored = tuplestore_tuple_count(target->rows);
	if (stored > 0)
		eddy_statement_apply_copy(rel, target->rows, &target->times);
	tuplestore_end(target->rows);
	return stored;
}

/* ---- the command ---- */

bool
eddy_copy_into_stream(const PlannedStmt *pstmt, const char *query, uint64 *processed)
{
	CopyStmt   *stmt = castNode(CopyStmt, pstmt->utilityStmt);
	ParseState *pstate;
	Relation	rel;
	CopyFromState cstate;

	if (!suits(stmt))
		return false;
	rel = table_openrv(stmt->relation, RowExclusiveLock);
	/* the name can mean another table now */
	if (!is_stream(RelationGetRelid(rel)) ||
		check_enable_rls(RelationGetRelid(rel), InvalidOid, false) == RLS_ENABLED)
	{
		table_close(rel, NoLock);
		return false;
	}
	pstate = make_parsestate(NULL);
	pstate->p_sourcetext = query;
	check_privileges(pstate, rel, stmt);
	cstate = BeginCopyFrom(pstate, rel, NULL, stmt->filename, false, NULL, stmt->attlist,
						   stmt->options);
	if (!cstate->opts.binary)
	{
		ListCell   *lc;

		foreach(lc, cstate->attnumlist)
			eddy_copy_input_replace(&cstate->in_functions[lfirst_int(lc) - 1]);
	}
	*processed = can_store(cstate, rel) ? store_rows(cstate, rel) : CopyFrom(cstate);
	EndCopyFrom(cstate);
	free_parsestate(pstate);
	table_close(rel, NoLock);
	return true;
}

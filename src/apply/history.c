/*-------------------------------------------------------------------------
 *
 * history.c
 *    Rows of a stream from a query over ordinary tables, for the first content of a view.
 *
 * The query is parsed with the settings of its user, as the query of the view is. It is planned and
 * executed as the owner of the view, with pinned settings, like the expressions of views. Its
 * columns are those of the stream, by name, and are converted as INSERT converts them; columns of
 * the stream that it does not have are NULL.
 *
 * Locking: what the query reads is locked as for a SELECT, until the end of the transaction.
 * Memory: one context for the execution; rows are read in parts. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "apply/history.h"
#include "argument.h"
#include "compat.h"
#include "owner.h"
#include "view/view.h"

struct EddyHistory
{
	Oid			role;
	MemoryContext mcxt;
	QueryDesc  *query;
	DestReceiver *dest;
	bool		at_end;
};

/* ---- the query ---- */

/* The argument that contains the query, for messages. */
static const char *
argument_of(const EddyHistoryQuery *history)
{
	return OidIsValid(history->stream) ? "histories" : "history";
}

/* The column of the query with that name, or NULL. */
static TargetEntry *
find_column(Query *query, const char *name)
{
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk && strcmp(tle->resname, name) == 0)
			return tle;
	}
	return NULL;
}

/* Every column must be one of the stream, and occur once. */
static void
check_columns(Query *query, const EddyHistoryQuery *history, Relation stream)
{
	TupleDesc	desc = RelationGetDescr(stream);
	const char **names = palloc0(sizeof(char *) * (desc->natts + 1));
	int			nnames = 0;
	ListCell   *lc;

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			names[nnames++] = NameStr(TupleDescAttr(desc, i)->attname);
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		const char *closest;
		bool		found = false;

		if (tle->resjunk)
			continue;
		for (int i = 0; i < nnames; i++)
			found |= strcmp(names[i], tle->resname) == 0;
		if (!found)
		{
			closest = eddy_argument_closest(tle->resname, names);
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of argument \"%s\" is not a column of stream \"%s\"",
							tle->resname, argument_of(history), RelationGetRelationName(stream)),
					 closest ? errhint("Perhaps you meant the column \"%s\".", closest) :
					 errhint("Name the columns of the query as those of the stream.")));
		}
		if (find_column(query, tle->resname) != tle)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" of argument \"%s\" specified more than once",
							tle->resname, argument_of(history))));
	}
}

/* A column of the stream, from the query as a sub-select with number 1. */
static Expr *
make_column(Query *query, Form_pg_attribute att, const EddyHistoryQuery *history)
{
	TargetEntry *tle;
	Node	   *expr;
	Node	   *result;
	Oid			type;

	if (att->attisdropped)
		return (Expr *) makeNullConst(INT4OID, -1, InvalidOid);
	tle = find_column(query, NameStr(att->attname));
	if (tle == NULL)
		return (Expr *) makeNullConst(att->atttypid, att->atttypmod, att->attcollation);
	expr = (Node *) tle->expr;
	type = exprType(expr);
	expr = (Node *) makeVar(1, tle->resno, type, exprTypmod(expr), exprCollation(expr), 0);
	result = coerce_to_target_type(NULL, expr, type, att->atttypid, att->atttypmod,
								   COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s but column of argument \"%s\" is of type %s",
						NameStr(att->attname),
						format_type_with_typemod(att->atttypid, att->atttypmod),
						argument_of(history), format_type_be(type)),
				 errhint("You will need to cast the column in argument \"%s\".", argument_of(history))));
	return (Expr *) result;
}

/* SELECT columns of the stream FROM (query). */
static Query *
wrap_query(Query *query, TupleDesc desc, const EddyHistoryQuery *history)
{
	Query	   *outer = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, query->targetList)
		if (!lfirst_node(TargetEntry, lc)->resjunk)
			names = lappend(names, makeString(lfirst_node(TargetEntry, lc)->resname));
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = query;
	rte->eref = rte->alias = makeAlias("history", names);
	rte->inFromCl = true;
	ref->rtindex = 1;
	outer->commandType = CMD_SELECT;
	outer->querySource = QSRC_ORIGINAL;
	outer->canSetTag = true;
	outer->rtable = list_make1(rte);
	outer->jointree = makeFromExpr(list_make1(ref), NULL);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		outer->targetList = lappend(outer->targetList,
									makeTargetEntry(make_column(query, att, history), i + 1,
													pstrdup(NameStr(att->attname)), false));
	}
	return outer;
}

static Query *
parse_history(const EddyHistoryQuery *history, Relation stream)
{
	const char *text = history->query;
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = eddy_view_point_into_query,
		.arg = unconstify(char *, text)
	};
	Query	   *query;

	error_context_stack = &callback;
	query = parse_analyze_fixedparams(eddy_view_parse_select(text,
															 psprintf("argument \"%s\"",
																	  argument_of(history))),
									  text, NULL, 0, NULL);
	error_context_stack = callback.previous;
	if (query->hasModifyingCTE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("argument \"%s\" must not contain data-modifying statements in WITH",
						argument_of(history))));
	check_columns(query, history, stream);
	return wrap_query(query, RelationGetDescr(stream), history);
}

/* ---- execution ---- */

EddyHistory *
eddy_history_begin(const EddyHistoryQuery *query, Oid role, Relation stream)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy history",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	EddyHistory *history = palloc0(sizeof(EddyHistory));
	Query	   *parsed = parse_history(query, stream);
	EddyOwnerSwitch save;
	List	   *rewritten;

	history->role = role;
	history->mcxt = mcxt;
	eddy_owner_begin(&save, role);
	AcquireRewriteLocks(parsed, true, false);
	rewritten = QueryRewrite(parsed);
	if (list_length(rewritten) != 1)
		elog(ERROR, "rewriting argument \"%s\" gave %d queries", argument_of(query),
			 list_length(rewritten));
	history->dest = CreateDestReceiver(DestTuplestore);
	history->query = CreateQueryDesc(pg_plan_query(linitial_node(Query, rewritten), query->query, 0,
												   NULL),
									 query->query, GetActiveSnapshot(), InvalidSnapshot, history->dest,
									 NULL, NULL, 0);
	ExecutorStart(history->query, 0);
	eddy_owner_end(&save);
	MemoryContextSwitchTo(old);
	return history;
}

int64
eddy_history_read(EddyHistory *history, Tuplestorestate *store, int64 max)
{
	EddyOwnerSwitch save;
	int64		before = tuplestore_tuple_count(store);
	int64		n;

	if (history->at_end)
		return 0;
	SetTuplestoreDestReceiverParams(history->dest, store, history->mcxt, true, NULL, NULL);
	eddy_owner_begin(&save, history->role);
	eddy_compat_executor_run_part(history->query, max);
	eddy_owner_end(&save);
	n = tuplestore_tuple_count(store) - before;
	history->at_end = n < max;
	return n;
}

void
eddy_history_end(EddyHistory *history)
{
	EddyOwnerSwitch save;

	eddy_owner_begin(&save, history->role);
	ExecutorFinish(history->query);
	ExecutorEnd(history->query);
	eddy_owner_end(&save);
	history->dest->rDestroy(history->dest);
	FreeQueryDesc(history->query);
	MemoryContextDelete(history->mcxt);
}

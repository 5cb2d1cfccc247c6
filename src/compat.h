/*-------------------------------------------------------------------------
 *
 * compat.h
 *    Every difference between PostgreSQL 15 and 18 that affects pg_eddy.
 *
 * No other file tests PG_VERSION_NUM, except include islands directly under
 * its includes. Each macro or inline function carries the name eddy_compat_*
 * and the shape of the newest server where that is possible.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_COMPAT_H
#define EDDY_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "pg_eddy needs PostgreSQL 15 or newer"
#endif

#include "access/genam.h"
#include "access/heapam.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "commands/copyfrom_internal.h"
#include "executor/executor.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_relation.h"
#include "parser/parse_type.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "storage/bufmgr.h"
#include "storage/lwlock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/tuplesort.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#endif

/*
 * Before a declaration, as pg_noreturn since 18; the attribute of earlier servers comes after it.
 */
#if PG_VERSION_NUM >= 180000
#define eddy_compat_noreturn pg_noreturn
#else
#define eddy_compat_noreturn pg_attribute_noreturn()
#endif

/*
 * eddy_compat_completed_transactions returns how many transactions that may have changed anything
 * have ended since the start of the server, in all databases. The variable was renamed in 17.
 */
static inline uint64
eddy_compat_completed_transactions(void)
{
	uint64		count;

	LWLockAcquire(ProcArrayLock, LW_SHARED);
#if PG_VERSION_NUM >= 170000
	count = TransamVariables->xactCompletionCount;
#else
	count = ShmemVariableCache->xactCompletionCount;
#endif
	LWLockRelease(ProcArrayLock);
	return count;
}

/*
 * Since 16 table_tuple_update reports which indexes need a new entry; we need to know only whether
 * any does.
 */
static inline TM_Result
eddy_compat_tuple_update(Relation rel, ItemPointer otid, TupleTableSlot *slot, CommandId cid,
						 Snapshot snapshot, TM_FailureData *tmfd, LockTupleMode *lockmode,
						 bool *update_indexes)
{
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes which;
	TM_Result	result;

	result = table_tuple_update(rel, otid, slot, cid, snapshot, InvalidSnapshot, true, tmfd,
								lockmode, &which);
	*update_indexes = (which != TU_None);
	return result;
#else
	return table_tuple_update(rel, otid, slot, cid, snapshot, InvalidSnapshot, true, tmfd,
							  lockmode, update_indexes);
#endif
}

/*
 * eddy_compat_try_heap_update replaces a row without waiting: false if another transaction is
 * changing it, or has changed it. Since 16 heap_update has an argument for what HeapTupleIsHeapOnly
 * shows as well.
 */
static inline bool
eddy_compat_try_heap_update(Relation rel, ItemPointer otid, HeapTuple tuple)
{
	HeapTupleData locked = {.t_self = *otid};
	CommandId	cid = GetCurrentCommandId(true);
	Buffer		buffer;
	TM_FailureData tmfd;
	LockTupleMode lockmode;
	TM_Result	result;
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes which;
#endif

	/* heap_update itself has to be allowed to wait */
	result = heap_lock_tuple(rel, &locked, cid, LockTupleNoKeyExclusive, LockWaitSkip, false,
							 &buffer, &tmfd);
	ReleaseBuffer(buffer);
	if (result != TM_Ok)
		return false;
#if PG_VERSION_NUM >= 160000
	return heap_update(rel, otid, tuple, cid, InvalidSnapshot, true, &tmfd, &lockmode,
					   &which) == TM_Ok;
#else
	return heap_update(rel, otid, tuple, cid, InvalidSnapshot, true, &tmfd, &lockmode) == TM_Ok;
#endif
}

/* ExecInsertIndexTuples has an argument for summarizing indexes since 16. */
static inline List *
eddy_compat_insert_index_tuples(ResultRelInfo *rri, TupleTableSlot *slot, EState *estate,
								bool update, bool no_dup_err, bool *spec_conflict)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(rri, slot, estate, update, no_dup_err, spec_conflict, NIL,
								 false);
#else
	return ExecInsertIndexTuples(rri, slot, estate, update, no_dup_err, spec_conflict, NIL);
#endif
}

/* ExecCheckIndexConstraints has an argument for the TID of the tuple itself since 18. */
static inline bool
eddy_compat_check_index_constraints(ResultRelInfo *rri, TupleTableSlot *slot, EState *estate,
									ItemPointer conflict)
{
#if PG_VERSION_NUM >= 180000
	ItemPointerData none;

	ItemPointerSetInvalid(&none);
	return ExecCheckIndexConstraints(rri, slot, estate, conflict, &none, NIL);
#else
	return ExecCheckIndexConstraints(rri, slot, estate, conflict, NIL);
#endif
}

/* index_beginscan has an argument for instrumentation since 18. */
static inline IndexScanDesc
eddy_compat_index_beginscan(Relation heap, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

/* Since 18 grouping expressions are Vars of a range table entry of their own. */
static inline void
eddy_compat_flatten_group(Query *query)
{
#if PG_VERSION_NUM >= 180000
	if (query->hasGroupRTE)
	{
		ListCell   *lc;

		query->targetList = (List *) flatten_group_exprs(NULL, query,
														 (Node *) query->targetList);
		query->havingQual = flatten_group_exprs(NULL, query, query->havingQual);
		query->hasGroupRTE = false;
		/* the expressions are not used there any more */
		foreach(lc, query->rtable)
			if (lfirst_node(RangeTblEntry, lc)->rtekind == RTE_GROUP)
				lfirst_node(RangeTblEntry, lc)->groupexprs = NIL;
	}
#else
	(void) query;
#endif
}

/*
 * Returns a copy of a query in which the columns of a relation are replaced by expressions. Since
 * 18 ReplaceVarsFromTargetList has an argument for RETURNING.
 */
static inline Node *
eddy_compat_replace_vars(Node *query, Index rti, RangeTblEntry *rte, List *targetlist)
{
#if PG_VERSION_NUM >= 180000
	return ReplaceVarsFromTargetList(query, rti, 0, rte, targetlist, 0,
									 REPLACEVARS_REPORT_ERROR, 0, NULL);
#else
	return ReplaceVarsFromTargetList(query, rti, 0, rte, targetlist,
									 REPLACEVARS_REPORT_ERROR, 0, NULL);
#endif
}

/* Since 16 flatten_join_alias_vars has an argument for the planner. */
static inline Node *
eddy_compat_flatten_join_aliases(Query *query, Node *node)
{
#if PG_VERSION_NUM >= 160000
	return flatten_join_alias_vars(NULL, query, node);
#else
	return flatten_join_alias_vars(query, node);
#endif
}

/* Removes what an entry of a range table says of privileges. Since 16 the query has it. */
static inline void
eddy_compat_strip_privileges(RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	rte->perminfoindex = 0;
#else
	rte->requiredPerms = 0;
	rte->checkAsUser = InvalidOid;
	rte->selectedCols = rte->insertedCols = rte->updatedCols = rte->extraUpdatedCols = NULL;
#endif
}

static inline void
eddy_compat_strip_query_privileges(Query *query)
{
#if PG_VERSION_NUM >= 160000
	query->rteperminfos = NIL;
#else
	(void) query;
#endif
}

/*
 * Appends the range table of one query to that of another. Since 16 privileges are in a second
 * list.
 */
static inline void
eddy_compat_append_range_table(Query *query, Query *other)
{
#if PG_VERSION_NUM >= 160000
	CombineRangeTables(&query->rtable, &query->rteperminfos, other->rtable, other->rteperminfos);
#else
	query->rtable = list_concat(query->rtable, other->rtable);
#endif
}

/*
 * Makes an entry for a relation in the range table of a query, and returns its index; each call
 * adds the columns that an entry of another query reads.
 */
static inline Index
eddy_compat_add_relation(Query *query, Index rti, Query *other, const RangeTblEntry *like)
{
	RangeTblEntry *rte;

	if (rti == 0)
	{
		rte = (RangeTblEntry *) copyObject(like);
		query->rtable = lappend(query->rtable, rte);
		rti = list_length(query->rtable);
#if PG_VERSION_NUM >= 160000
		rte->perminfoindex = 0;
		(void) addRTEPermissionInfo(&query->rteperminfos, rte);
	}
	rte = rt_fetch(rti, query->rtable);
	{
		RTEPermissionInfo *from = getRTEPermissionInfo(other->rteperminfos,
													   unconstify(RangeTblEntry *, like));
		RTEPermissionInfo *to = getRTEPermissionInfo(query->rteperminfos, rte);

		to->requiredPerms |= from->requiredPerms;
		to->checkAsUser = from->checkAsUser;
		to->selectedCols = bms_add_members(to->selectedCols, from->selectedCols);
	}
#else
	}
	rte = rt_fetch(rti, query->rtable);
	rte->requiredPerms |= like->requiredPerms;
	rte->selectedCols = bms_add_members(rte->selectedCols, like->selectedCols);
	(void) other;
#endif
	return rti;
}

/* The columns of a relation in the range table that a query reads, offset as the server does. */
static inline Bitmapset *
eddy_compat_selected_columns(Query *query, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	return bms_copy(getRTEPermissionInfo(query->rteperminfos, rte)->selectedCols);
#else
	(void) query;
	return bms_copy(rte->selectedCols);
#endif
}

/*
 * Makes an entry in the range table of a query a table, for which the user needs no privileges.
 * Since 16 each table of a query must have an entry in the second list, so it names the table's
 * owner.
 */
static inline void
eddy_compat_read_table(Query *query, RangeTblEntry *rte, Oid relid)
{
#if PG_VERSION_NUM >= 160000
	RTEPermissionInfo *permission = NULL;
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	if (rte->perminfoindex != 0)
		permission = getRTEPermissionInfo(query->rteperminfos, rte);
	rte->relid = relid;
	if (permission == NULL)
		permission = addRTEPermissionInfo(&query->rteperminfos, rte);
	permission->relid = relid;
	permission->inh = false;
	permission->requiredPerms = ACL_SELECT;
	permission->checkAsUser = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	permission->selectedCols = NULL;
	ReleaseSysCache(tuple);
#else
	(void) query;
	rte->relid = relid;
	rte->requiredPerms = ACL_NO_RIGHTS;
	rte->selectedCols = NULL;
#endif
	rte->relkind = RELKIND_RELATION;
	rte->inh = false;
}

/* Makes a relation in a range table one that gives a single row without columns. */
static inline void
eddy_compat_make_result(RangeTblEntry *rte)
{
	rte->rtekind = RTE_RESULT;
	rte->relid = InvalidOid;
	rte->inh = false;
	eddy_compat_strip_privileges(rte);
}

/* Intervals can be infinite since 17. */
#if PG_VERSION_NUM >= 170000
#define eddy_compat_interval_is_finite(interval) (!INTERVAL_NOT_FINITE(interval))
#else
#define eddy_compat_interval_is_finite(interval) ((void) (interval), true)
#endif

/* Since 16 the planner removes redundant grouping columns. */
#if PG_VERSION_NUM >= 160000
#define eddy_compat_group_clause(root) ((root)->processed_groupClause)
#else
#define eddy_compat_group_clause(root) ((root)->parse->groupClause)
#endif

/* stringToQualifiedNameList can report errors softly since 16. */
static inline List *
eddy_compat_qualified_name(const char *name)
{
#if PG_VERSION_NUM >= 160000
	return stringToQualifiedNameList(name, NULL);
#else
	return stringToQualifiedNameList(name);
#endif
}

/* ExecutorRun lost its last argument in 18. */
#if PG_VERSION_NUM >= 180000
#define EDDY_COMPAT_EXECUTOR_RUN_ARGS \
	QueryDesc *queryDesc, ScanDirection direction, uint64 count
#define EDDY_COMPAT_EXECUTOR_RUN_PASS queryDesc, direction, count
#else
#define EDDY_COMPAT_EXECUTOR_RUN_ARGS \
	QueryDesc *queryDesc, ScanDirection direction, uint64 count, bool execute_once
#define EDDY_COMPAT_EXECUTOR_RUN_PASS queryDesc, direction, count, execute_once
#endif

/* Runs a started query until it has given so many rows; it can be continued. */
static inline void
eddy_compat_executor_run_part(QueryDesc *query, uint64 count)
{
#if PG_VERSION_NUM >= 180000
	ExecutorRun(query, ForwardScanDirection, count);
#else
	ExecutorRun(query, ForwardScanDirection, count, false);
#endif
}

/* Runs a started query to its end. */
static inline void
eddy_compat_executor_run(QueryDesc *query)
{
#if PG_VERSION_NUM >= 180000
	ExecutorRun(query, ForwardScanDirection, 0);
#else
	ExecutorRun(query, ForwardScanDirection, 0, true);
#endif
}

/* Ownership of objects is checked by one function since 16. */
static inline bool
eddy_compat_ownercheck(Oid class_id, Oid object, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(class_id, object, role);
#else
	switch (class_id)
	{
		case DatabaseRelationId:
			return pg_database_ownercheck(object, role);
		case ForeignServerRelationId:
			return pg_foreign_server_ownercheck(object, role);
		default:
			Assert(class_id == RelationRelationId);
			return pg_class_ownercheck(object, role);
	}
#endif
}

#define eddy_compat_database_ownercheck(database, role) \
	eddy_compat_ownercheck(DatabaseRelationId, database, role)
#define eddy_compat_server_ownercheck(server, role) \
	eddy_compat_ownercheck(ForeignServerRelationId, server, role)
#define eddy_compat_class_ownercheck(relid, role) \
	eddy_compat_ownercheck(RelationRelationId, relid, role)

/* True if this process has a lock in this very mode; since 17 stronger ones can be included. */
#if PG_VERSION_NUM >= 170000
#define eddy_compat_lock_held(tag, mode) LockHeldByMe(tag, mode, false)
#else
#define eddy_compat_lock_held(tag, mode) LockHeldByMe(tag, mode)
#endif

/*
 * Privileges that a planned statement requires on a relation, of any user. Since 16 they are
 * in a list of their own.
 */
static inline AclMode
eddy_compat_required_privileges(const PlannedStmt *stmt, Oid relid)
{
	AclMode		required = ACL_NO_RIGHTS;
	ListCell   *lc;

#if PG_VERSION_NUM >= 160000
	foreach(lc, stmt->permInfos)
	{
		RTEPermissionInfo *info = lfirst(lc);

		if (info->relid == relid)
			required |= info->requiredPerms;
	}
#else
	foreach(lc, stmt->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind == RTE_RELATION && rte->relid == relid)
			required |= rte->requiredPerms;
	}
#endif
	return required;
}

/*
 * Copies the privileges that a planned statement requires to another one, which requires them of a
 * role; and checks them.
 */
static inline void
eddy_compat_copy_privileges(PlannedStmt *to, const PlannedStmt *from, Oid role)
{
	ListCell   *lc;

	to->rtable = copyObject(from->rtable);
#if PG_VERSION_NUM >= 160000
	to->permInfos = copyObject(from->permInfos);
	foreach(lc, to->permInfos)
		((RTEPermissionInfo *) lfirst(lc))->checkAsUser = role;
#else
	foreach(lc, to->rtable)
		((RangeTblEntry *) lfirst(lc))->checkAsUser = role;
#endif
}

static inline void
eddy_compat_check_privileges(PlannedStmt *stmt)
{
#if PG_VERSION_NUM >= 160000
	(void) ExecCheckPermissions(stmt->rtable, stmt->permInfos, true);
#else
	(void) ExecCheckRTPerms(stmt->rtable, true);
#endif
}

/* The privileges that a statement requires are in a list of their own since 16. */
#if PG_VERSION_NUM >= 160000
typedef RTEPermissionInfo EddyCompatPermission;
#define EDDY_COMPAT_CHECK_PERMS_ARGS List *relations, List *permissions, bool report
#define EDDY_COMPAT_CHECK_PERMS_PASS relations, permissions, report
#else
typedef RangeTblEntry EddyCompatPermission;
#define EDDY_COMPAT_CHECK_PERMS_ARGS List *permissions, bool report
#define EDDY_COMPAT_CHECK_PERMS_PASS permissions, report
#endif
#define EDDY_COMPAT_CHECK_PERMS_LIST permissions

/*
 * Checks whether the current user can insert columns of the relation of an item, which is the only
 * one of pstate. Since 16 the privileges that are required are in a list of their own.
 */
static inline void
eddy_compat_check_insert(ParseState *pstate, ParseNamespaceItem *item, Bitmapset *columns)
{
#if PG_VERSION_NUM >= 160000
	item->p_perminfo->requiredPerms = ACL_INSERT;
	item->p_perminfo->insertedCols = columns;
	(void) ExecCheckPermissions(pstate->p_rtable, list_make1(item->p_perminfo), true);
#else
	item->p_rte->requiredPerms = ACL_INSERT;
	item->p_rte->insertedCols = columns;
	(void) ExecCheckRTPerms(pstate->p_rtable, true);
#endif
}

/* Gives an execution the range table of a COPY. Since 18 with the relations that are not pruned. */
static inline void
eddy_compat_init_copy_range_table(EState *estate, CopyFromState cstate)
{
#if PG_VERSION_NUM >= 180000
	ExecInitRangeTable(estate, cstate->range_table, cstate->rteperminfos, bms_make_singleton(1));
#elif PG_VERSION_NUM >= 160000
	ExecInitRangeTable(estate, cstate->range_table, cstate->rteperminfos);
#else
	ExecInitRangeTable(estate, cstate->range_table);
#endif
}

/* True if the first row that cannot be converted ends the COPY. Since 17 it can also skip rows. */
static inline bool
eddy_compat_copy_stops(CopyFromState cstate)
{
#if PG_VERSION_NUM >= 170000
	return cstate->opts.on_error == COPY_ON_ERROR_STOP;
#else
	(void) cstate;
	return true;
#endif
}

/* Virtual generated columns exist since 18. */
#define EDDY_COMPAT_GENERATED_VIRTUAL 'v'

/* CHECK constraints can be NOT ENFORCED since 18. */
static inline bool
eddy_compat_check_enforced(const ConstrCheck *check)
{
#if PG_VERSION_NUM >= 180000
	return check->ccenforced;
#else
	(void) check;
	return true;
#endif
}

/* Logical decoding passes plain heap tuples since 17. NULL stays NULL. */
#if PG_VERSION_NUM >= 170000
#define eddy_compat_decoded_tuple(decoded) (decoded)
#else
#define eddy_compat_decoded_tuple(decoded) ((decoded) != NULL ? &(decoded)->tuple : NULL)
#endif

/*
 * The number of changes without output after which an output plugin has to report progress. The
 * server does so itself since 16.
 */
#if PG_VERSION_NUM >= 160000
#define EDDY_COMPAT_QUIET_CHANGES INT_MAX
#else
#define EDDY_COMPAT_QUIET_CHANGES 100
#endif

/* pg_namespace_aclcheck and pg_proc_aclcheck became object_aclcheck in 16. */
#if PG_VERSION_NUM >= 160000
#define eddy_compat_proc_aclcheck(function, role, mode) \
	object_aclcheck(ProcedureRelationId, function, role, mode)
#define eddy_compat_namespace_aclcheck(namespace, role, mode) \
	object_aclcheck(NamespaceRelationId, namespace, role, mode)
#else
#define eddy_compat_proc_aclcheck(function, role, mode) \
	pg_proc_aclcheck(function, role, mode)
#define eddy_compat_namespace_aclcheck(namespace, role, mode) \
	pg_namespace_aclcheck(namespace, role, mode)
#endif

/* Privileges on foreign servers are checked by catalog since 16. */
static inline AclResult
eddy_compat_server_aclcheck(Oid server, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ForeignServerRelationId, server, role, ACL_USAGE);
#else
	return pg_foreign_server_aclcheck(server, role, ACL_USAGE);
#endif
}

/* A set of events that lives as long as the process; 17 has an argument for a resource owner. */
#if PG_VERSION_NUM >= 170000
#define eddy_compat_create_wait_event_set(nevents) CreateWaitEventSet(NULL, nevents)
#else
#define eddy_compat_create_wait_event_set(nevents) CreateWaitEventSet(TopMemoryContext, nevents)
#endif

/* Extensions have wait events of their own since 17. Looked up once per use and process. */
static inline uint32
eddy_compat_wait_event(uint32 *cached, const char *name)
{
	if (*cached == 0)
	{
#if PG_VERSION_NUM >= 170000
		*cached = WaitEventExtensionNew(name);
#else
		(void) name;
		*cached = PG_WAIT_EXTENSION;
#endif
	}
	return *cached;
}

/*
 * Returns the next value of a sort as a copy; tuplesort_getdatum has an argument for that since 16.
 */
static inline bool
eddy_compat_tuplesort_getdatum(Tuplesortstate *sort, Datum *value, bool *isnull)
{
#if PG_VERSION_NUM >= 160000
	return tuplesort_getdatum(sort, true, true, value, isnull, NULL);
#else
	return tuplesort_getdatum(sort, true, value, isnull, NULL);
#endif
}

/* Forms a minimal tuple; since 18 the function can leave space before it. */
static inline MinimalTuple
eddy_compat_form_minimal_tuple(TupleDesc desc, const Datum *values, const bool *nulls)
{
#if PG_VERSION_NUM >= 180000
	return heap_form_minimal_tuple(desc, values, nulls, 0);
#else
	return heap_form_minimal_tuple(desc, unconstify(Datum *, values), unconstify(bool *, nulls));
#endif
}

/* Slots of standbys can decode since 16; the primary does not know them. */
#define EDDY_COMPAT_STANDBYS_DECODE (PG_VERSION_NUM >= 160000)

/*
 * eddy_compat_expanded_view returns the view whose query a sub-select is, InvalidOid if it is
 * another one. Before 16 the entry of the view, with the rights to be checked, is the first one of
 * its query, where only rules have it.
 */
static inline Oid
eddy_compat_expanded_view(const RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	return rte->relid;
#else
	const RangeTblEntry *first = rte->subquery->rtable == NIL ? NULL :
		linitial_node(RangeTblEntry, rte->subquery->rtable);

	return first && first->rtekind == RTE_RELATION && first->relkind == RELKIND_VIEW &&
		(first->requiredPerms & ACL_SELECT) != 0 ? first->relid : InvalidOid;
#endif
}

/*
 * The snapshot of the catalogs at the place in the WAL that is decoded. Before 16 the function had
 * an argument that it did not use.
 */
#if PG_VERSION_NUM >= 160000
#define eddy_compat_decoding_snapshot(builder) SnapBuildGetOrBuildSnapshot(builder)
#else
#define eddy_compat_decoding_snapshot(builder) \
	SnapBuildGetOrBuildSnapshot(builder, InvalidTransactionId)
#endif

/* The transaction that a transaction or subtransaction of the reorder buffer is part of. */
#if PG_VERSION_NUM >= 160000
#define eddy_compat_top_transaction(txn) rbtxn_get_toptxn(txn)
#else
#define eddy_compat_top_transaction(txn) ((txn)->toptxn != NULL ? (txn)->toptxn : (txn))
#endif

#endif							/* EDDY_COMPAT_H */

/*-------------------------------------------------------------------------
 *
 * replace_check.c
 *    Which queries can take the place of that of a continuous view, and when.
 *
 * Each function raises the error if the query cannot be replaced. Locking: the query of the view is
 * locked (eddy_view_lock_query); the columns are checked under AccessShareLock on the view. Memory:
 * the caller's context. Nothing is changed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "view/replace_check.h"

/* The columns must stay what they are; more can follow. */
void
eddy_replace_check_columns(Oid relid, Query *query)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	const char *name = RelationGetRelationName(rel);
	int			n = 0;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Node	   *expr = (Node *) tle->expr;
		Form_pg_attribute att;

		if (tle->resjunk)
			continue;
		if (++n > desc->natts)
			break;
		att = TupleDescAttr(desc, n - 1);
		if (strcmp(NameStr(att->attname), tle->resname) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					 errmsg("cannot change name of column \"%s\" of continuous view \"%s\" to \"%s\"",
							NameStr(att->attname), name, tle->resname),
					 errdetail("Its columns must remain, in the same order; new ones must follow them."),
					 errhint("Use ALTER VIEW ... RENAME COLUMN ... to change the name of a column.")));
		if (att->atttypid != exprType(expr) || att->atttypmod != exprTypmod(expr))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					 errmsg("cannot change data type of column \"%s\" of continuous view \"%s\" from %s to %s",
							NameStr(att->attname), name,
							format_type_with_typemod(att->atttypid, att->atttypmod),
							format_type_with_typemod(exprType(expr), exprTypmod(expr))),
					 errhint("Cast the column in the query, or drop the continuous view and create it again.")));
		if (att->attcollation != exprCollation(expr))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					 errmsg("cannot change collation of column \"%s\" of continuous view \"%s\"",
							NameStr(att->attname), name),
					 errhint("Use COLLATE in the query, or drop the continuous view and create it again.")));
	}
	if (n < desc->natts)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("cannot drop column \"%s\" of continuous view \"%s\"",
						NameStr(TupleDescAttr(desc, n)->attname), name),
				 errdetail("Its columns must remain, in the same order; new ones must follow them."),
				 errhint("Drop the continuous view and create it again.")));
	table_close(rel, NoLock);
}

/*
 * Views over views: the children of a view have counted its rows one by one, and a child all rows
 * of its parent.
 */
void
eddy_replace_check_chain(const EddyView *view, const EddyView *new)
{
	List	   *children = eddy_catalog_list_views(view->relid);

	if (children != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replace the query of continuous view \"%s\"",
						get_rel_name(view->relid)),
				 errdetail("Continuous view \"%s\" reads it.",
						   get_rel_name(((EddyView *) linitial(children))->relid)),
				 errhint("Create another continuous view, and others over it.")));
	if (eddy_catalog_ancestors(list_union_oid(view->streams, new->streams)) != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replace the query of continuous view \"%s\"",
						get_rel_name(view->relid)),
				 errdetail("Its query, or the new one, reads a continuous view."),
				 errhint("Drop the continuous view and create it again.")));
}

/* The log of changes would not show what the new query changes. */
void
eddy_replace_check_changes(const EddyView *view)
{
	if (view->changes_log != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot replace the query of continuous view \"%s\"",
						get_rel_name(view->relid)),
				 errdetail("Its changes are kept for eddy.changes, which would not show what the new query changes."),
				 errhint("Run eddy.keep_changes with retention => NULL before, and again afterwards.")));
}

/* Another query is already on its way. */
void
eddy_replace_check_successor(Oid relid)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_view_starts())
	{
		const EddyViewStart *start = lfirst(lc);

		if (start->replaces == relid)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("the query of continuous view \"%s\" is being replaced",
							get_rel_name(relid)),
					 errdetail("Continuous view \"%s\" is being filled from Kafka for that.",
							   get_rel_name(start->view)),
					 errhint("Wait until eddy.view_starts does not list it, or drop it.")));
	}
}

void
eddy_replace_check_emit(const EddyViewPlan *layout, Oid relid)
{
	if (layout->emit_interval > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replace the results of continuous view \"%s\"",
						get_rel_name(relid)),
				 errdetail("Its changes become visible one by one, by emit => 'every ...'."),
				 errhint("Drop the continuous view and create it again.")));
}

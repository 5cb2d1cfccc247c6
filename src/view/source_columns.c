/*-------------------------------------------------------------------------
 *
 * source_columns.c
 *    Which columns of a stream the query of a view reads.
 *
 * The parser notes for each relation of a query the columns whose privileges have to be checked,
 * which are all that the query mentions, at any depth. So nothing has to be planned, and a view
 * that cannot be planned any more still has its columns.
 *
 * No locks: a process that holds a lock on the stream knows all views that are maintained. Memory:
 * the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"

#include "compat.h"
#include "view/plan.h"
#include "view/view.h"

typedef struct ColumnSearch
{
	Query	   *query;			/* whose range table is searched */
	Oid			stream;
	Bitmapset  *columns;
} ColumnSearch;

static bool
search(Node *node, ColumnSearch *s)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION && rte->relid == s->stream)
			s->columns = bms_join(s->columns, eddy_compat_selected_columns(s->query, rte));
		return false;
	}
	if (IsA(node, Query))
	{
		Query	   *outer = s->query;

		s->query = (Query *) node;
		(void) query_tree_walker(s->query, search, s, QTW_EXAMINE_RTES_BEFORE);
		s->query = outer;
		return false;
	}
	return expression_tree_walker(node, search, s);
}

/*
 * eddy_view_source_columns returns the columns of a stream that the query of a view reads, offset
 * by FirstLowInvalidHeapAttributeNumber; attribute 0 stands for all.
 */
Bitmapset *
eddy_view_source_columns(const EddyView *view, Oid stream)
{
	ColumnSearch s = {.stream = stream};
	Query	   *query = eddy_plan_definition_query(view->definition);

	if (query)
		(void) search((Node *) query, &s);
	return s.columns;
}

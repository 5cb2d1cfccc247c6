/*-------------------------------------------------------------------------
 *
 * refuse.c
 *    Which queries a continuous view can have, and the errors for all others.
 *
 * Accepted are one stream, optionally joined with ordinary relations that add columns to its rows;
 * WHERE, GROUP BY and HAVING; aggregates that combine or keep their values, and expressions over
 * them. All other queries get an error with the reason and an alternative. Nothing is approximated.
 *
 * Most checks are made on the definition, after sub-selects were pulled up (flatten.c). Whether a
 * stream is read inside a view, a policy or a function is known only after rewriting and planning,
 * and can change later, so that check is repeated for each plan.
 *
 * Takes no locks; works in the caller's memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "catalog/eddy_catalog.h"
#include "view/chain.h"
#include "view/function.h"
#include "view/kind.h"
#include "view/refuse.h"
#include "view/window.h"

/* eddy_refuse raises ERRCODE_FEATURE_NOT_SUPPORTED; detail and hint can be NULL. */
void
eddy_refuse(const char *message, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s", message),
			 detail ? errdetail("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0));
}

void
eddy_refuse_second_stream(void)
{
	eddy_refuse("a continuous view cannot join two streams",
				"Rows of one stream would have to be kept indefinitely.",
				"Aggregate each stream in a continuous view of its own and join the views when reading.");
}

/*
 * eddy_refuse_not_row_wise raises an error for a sub-select that reads the stream, unless it is
 * evaluated row by row.
 */
void
eddy_refuse_not_row_wise(Query *sub)
{
	if (sub->hasAggs || sub->groupClause || sub->groupingSets || sub->havingQual)
		eddy_refuse("a sub-select of a continuous view cannot aggregate the rows of the stream",
					"The outer query would have to be computed again, over all groups, whenever one of them changes.",
					"Create a continuous view with the query of the sub-select, and an ordinary view with the outer query over it.");
	if (sub->hasWindowFuncs)
		eddy_refuse("window functions over the rows of a stream are not supported in a continuous view",
					"Their results for a row depend on other rows of the stream.",
					"To keep one row of each key, use DISTINCT ON. Otherwise create a continuous view of the rows, and an ordinary view with the rest of the query over it.");
	if (sub->distinctClause)
		eddy_refuse("a sub-select of a continuous view cannot apply DISTINCT to the rows of the stream",
					"Whether a row counts would depend on all rows before it.",
					"Create a continuous view with the query of the sub-select, and an ordinary view with the outer query over it.");
	if (sub->limitCount || sub->limitOffset)
		eddy_refuse("a sub-select of a continuous view cannot apply LIMIT or OFFSET to the rows of the stream",
					"Which rows count would depend on all rows before them.",
					"Select the rows by a condition in WHERE.");
	if (sub->sortClause)
		eddy_refuse("a sub-select of a continuous view cannot sort the rows of the stream",
					"Rows are counted as they arrive.",
					"Leave out ORDER BY, or use it within an aggregate or in the outer query.");
	if (sub->rowMarks)
		eddy_refuse("FOR UPDATE is not supported in a continuous view", NULL,
					"Omit it: joined tables are read as of the transaction of a batch.");
}

/* ---- the FROM clause ---- */

typedef struct FromContext
{
	Query	   *query;
	Index		stream_rti;
} FromContext;

/*
 * eddy_refuse_walk_from calls a function for each range table entry in a FROM clause. nullable: the
 * entry is on the nullable side of an outer join.
 */
void
eddy_refuse_walk_from(Node *node, bool nullable,
					  void (*visit) (Index rti, bool nullable, void *context), void *context)
{
	if (node == NULL)
		return;
	if (IsA(node, FromExpr))
	{
		ListCell   *lc;

		foreach(lc, ((FromExpr *) node)->fromlist)
			eddy_refuse_walk_from(lfirst(lc), nullable, visit, context);
	}
	else if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		eddy_refuse_walk_from(join->larg, nullable || join->jointype == JOIN_RIGHT ||
							  join->jointype == JOIN_FULL, visit, context);
		eddy_refuse_walk_from(join->rarg, nullable || join->jointype == JOIN_LEFT ||
							  join->jointype == JOIN_FULL, visit, context);
	}
	else if (IsA(node, RangeTblRef))
		visit(((RangeTblRef *) node)->rtindex, nullable, context);
}

/* Records the stream's range table index and checks its side of joins. */
static void
check_from_item(Index rti, bool nullable, void *arg)
{
	FromContext *context = arg;
	RangeTblEntry *rte = rt_fetch(rti, context->query->rtable);

	if (rte->tablesample)
		eddy_refuse("TABLESAMPLE is not supported in a continuous view", NULL,
					"Select rows by a condition on their columns, such as hashint8(id) % 10 = 0.");
	if (!eddy_chain_is_source(rte))
		return;
	if (context->stream_rti != 0 && rte->relkind == RELKIND_VIEW)
		eddy_refuse("a continuous view cannot join two continuous views",
					"Rows of one view would have to be kept for the changes of the other.",
					"Join the views when reading, in an ordinary view.");
	if (context->stream_rti != 0)
		eddy_refuse_second_stream();
	if (nullable)
		eddy_refuse("the stream is on the nullable side of an outer join",
			   "Rows without a match would have to be removed when a match arrives.",
			   "Put the stream on the other side, or use an inner join.");
	context->stream_rti = rti;
}

/* eddy_refuse_nullable_stream checks the side of joins on which a flat query has the stream. */
void
eddy_refuse_nullable_stream(Query *query)
{
	FromContext context = {query, 0};

	eddy_refuse_walk_from((Node *) query->jointree, false, check_from_item, &context);
}

/* Finds the first table that a query reads, at any depth. */
static bool
find_table(Node *node, Oid *table)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind != RTE_RELATION || !rte->inFromCl || rte->relkind != RELKIND_RELATION)
			return false;
		*table = rte->relid;
		return true;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_table, table, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, find_table, table);
}

/*
 * eddy_refuse_without_stream raises the error of a query that reads no stream
 * (ERRCODE_WRONG_OBJECT_TYPE).
 */
void
eddy_refuse_without_stream(Query *query)
{
	Oid			table = InvalidOid;

	(void) find_table((Node *) query, &table);
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("the query of a continuous view must read a stream"),
			 OidIsValid(table) ?
			 errhint("Make table \"%s\" a stream with eddy.create_stream.", get_rel_name(table)) :
			 errhint("Make a stream of an unlogged table with eddy.create_stream.")));
}

static Index
find_stream(Query *query)
{
	FromContext context = {query, 0};

	eddy_refuse_walk_from((Node *) query->jointree, false, check_from_item, &context);
	if (context.stream_rti == 0)
		eddy_refuse_without_stream(query);
	return context.stream_rti;
}

/* ---- clauses that cannot be maintained ---- */

/*
 * eddy_refuse_inner_stream raises the error of a sub-select of an expression that reads a stream.
 */
void
eddy_refuse_inner_stream(void)
{
	eddy_refuse("a sub-select in a continuous view cannot read a stream",
				"It would only see the rows that are staged at that time.",
				"Create a continuous view for the sub-select, and combine both in an ordinary view.");
	pg_unreachable();
}

/* Detects expressions whose value depends on when they are evaluated, and other streams. */
static bool
check_node(Node *node, void *context)
{
	if (node == NULL)
		return false;
	eddy_function_check(node);
	if (IsA(node, FuncExpr))
		(void) eddy_window_check((FuncExpr *) node);
	if (IsA(node, Var) && ((Var *) node)->varattno < 0)
		eddy_refuse("system columns cannot be used in a continuous view",
					"Rows are aggregated before they are stored.",
					"Add a column to the stream, for instance one whose default is nextval() of a logged sequence.");
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		ListCell   *lc;

		/* a sub-select: evaluated as of the batch, so it must not read a stream */
		foreach(lc, query->rtable)
		{
			RangeTblEntry *rte = lfirst(lc);

			if (eddy_chain_is_source(rte))
				eddy_refuse_inner_stream();
		}
		return query_tree_walker(query, check_node, context, 0);
	}
	return expression_tree_walker(node, check_node, context);
}

static void
check_clauses(Query *query)
{
	if (query->commandType != CMD_SELECT || query->utilityStmt)
		eddy_refuse("the query of a continuous view must be a SELECT", NULL, NULL);
	if (query->rowMarks)
		eddy_refuse("FOR UPDATE is not supported in a continuous view", NULL,
					"Omit it: joined tables are read as of the transaction of a batch.");
	if (eddy_kind_choose(query) == NULL)
		eddy_refuse("a query with HAVING must aggregate in a continuous view", NULL,
					"Use WHERE.");
	(void) query_tree_walker(query, check_node, NULL, 0);
}

/*
 * eddy_refuse_query checks the definition of a continuous view and returns the range table index of
 * its stream.
 */
Index
eddy_refuse_query(Query *query)
{
	check_clauses(query);
	return find_stream(query);
}

/* ---- streams that are read indirectly ---- */

/* The stream that a scan of a relation, or of one of its ancestors or children, would read. */
static Oid
stream_behind(Oid relid, bool with_children)
{
	ListCell   *lc;

	if (eddy_catalog_get_stream(relid) != NULL)
		return relid;
	foreach(lc, get_partition_ancestors(relid))	/* of a segment, its stream */
		if (eddy_catalog_get_stream(lfirst_oid(lc)) != NULL)
			return lfirst_oid(lc);
	if (with_children && has_subclass(relid))
		foreach(lc, find_all_inheritors(relid, NoLock, NULL))
			if (eddy_catalog_get_stream(lfirst_oid(lc)) != NULL)
				return lfirst_oid(lc);
	return InvalidOid;
}

/*
 * eddy_refuse_hidden_relation raises an error if a relation is a stream or segment, or if, with
 * children, one inherits from it. For relations that appear only during planning, from functions
 * that are inlined.
 */
void
eddy_refuse_hidden_relation(Oid relid, bool with_children)
{
	Oid			stream = stream_behind(relid, with_children);

	if (OidIsValid(stream))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a continuous view can read a stream only once, in its own FROM clause"),
				 errdetail("Stream \"%s\" is also read by a view, function, table or row security policy that the query uses.",
						   get_rel_name(stream)),
				 errhint("Join with relations that do not read a stream, or aggregate the stream in a continuous view of its own.")));
}

/* Relations of sub-queries at any depth. */
static bool
check_hidden(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION)
			eddy_refuse_hidden_relation(rte->relid, rte->inh);
		return false;			/* the walker visits its parts */
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, check_hidden, context,
								 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, check_hidden, context);
}

/*
 * eddy_refuse_hidden_streams checks a definition after rewriting, when views are expanded and
 * policies of row-level security added: no stream or segment may be read at any depth, except for
 * one stream in the range table of the query itself. Returns the range table index of that stream,
 * 0 if there is none. To be called for each plan: a view that is joined can have been replaced
 * since.
 */
Index
eddy_refuse_hidden_streams(Query *query)
{
	Index		stream_rti = 0;
	Index		rti = 0;
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		rti++;
		if (rte->rtekind != RTE_RELATION)
			continue;
		if (stream_rti == 0 && eddy_catalog_get_stream(rte->relid) != NULL)
			stream_rti = rti;
		else
			eddy_refuse_hidden_relation(rte->relid, rte->inh);
	}
	(void) query_tree_walker(query, check_hidden, NULL, 0);
	return stream_rti;
}

/*-------------------------------------------------------------------------
 *
 * set_returning.c
 *    Moves set-returning functions from the select list into FROM.
 *
 * A set-returning function in the select list gives its rows for each row of the FROM clause, as a
 * lateral function in FROM does. Several of them advance together, and those that end first give
 * NULL: ROWS FROM does the same. So
 *
 *    SELECT a, unnest(b) || 'x' FROM s    becomes    SELECT a, f.c || 'x' FROM s, ROWS FROM (unnest(b)) f(c)
 *
 * In a query that groups, this is correct for functions in GROUP BY, which run before the grouping.
 * Others run over the groups, and are refused.
 *
 * Takes no locks; works in the caller's memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "view/flatten.h"
#include "view/refuse.h"

typedef struct MoveContext
{
	Index		rti;			/* of the new entry */
	List	   *functions;		/* of RangeTblFunction */
	List	   *names;			/* of its columns */
	bool		add;			/* false: replace only what was found before */
} MoveContext;

static bool
returns_set(Node *node)
{
	return (IsA(node, FuncExpr) && ((FuncExpr *) node)->funcretset) ||
		(IsA(node, OpExpr) && ((OpExpr *) node)->opretset);
}

/* True if a part of the expression, which itself returns a set, also returns one. */
static bool
is_nested(Node *node)
{
	return expression_returns_set(IsA(node, FuncExpr) ? (Node *) ((FuncExpr *) node)->args :
								  (Node *) ((OpExpr *) node)->args);
}

static void
refuse_composite(void)
{
	eddy_refuse("set-returning functions that return rows are not supported in the select list of a continuous view",
				NULL, "Put them into FROM.");
}

/* The first column of a function in the new entry, adding the function. 0: not found, not added. */
static AttrNumber
find_function(MoveContext *context, Node *node, TypeFuncClass class, TupleDesc desc)
{
	AttrNumber	column = 1;
	RangeTblFunction *function;
	ListCell   *lc;

	foreach(lc, context->functions)
	{
		function = lfirst_node(RangeTblFunction, lc);
		if (equal(function->funcexpr, node))
			return column;
		column += function->funccolcount;
	}
	if (!context->add)
		return 0;
	if (is_nested(node))
		eddy_refuse("nested set-returning functions are not supported in the select list of a continuous view",
					NULL, "Put them into FROM.");
	function = makeNode(RangeTblFunction);
	function->funcexpr = copyObject(node);
	function->funccolcount = class == TYPEFUNC_SCALAR ? 1 : desc->natts;
	context->functions = lappend(context->functions, function);
	for (int i = 0; i < function->funccolcount; i++)
		context->names = lappend(context->names,
								 makeString(class == TYPEFUNC_SCALAR ? pstrdup("value") :
											pstrdup(NameStr(TupleDescAttr(desc, i)->attname))));
	return column;
}

static Node *
move_mutator(Node *node, MoveContext *context)
{
	Node	   *call = node;
	AttrNumber	field = 0;
	AttrNumber	column;
	TypeFuncClass class;
	TupleDesc	desc;
	Oid			type;

	if (node == NULL)
		return NULL;
	/* arguments of aggregates cannot contain them; in sub-selects they stay where they are */
	if (IsA(node, FieldSelect) && returns_set((Node *) ((FieldSelect *) node)->arg))
	{
		call = (Node *) ((FieldSelect *) node)->arg;
		field = ((FieldSelect *) node)->fieldnum;
	}
	if (!returns_set(call))
		return expression_tree_mutator(node, move_mutator, context);
	class = get_expr_result_type(call, &type, &desc);
	if (class != TYPEFUNC_SCALAR && (class != TYPEFUNC_COMPOSITE || field == 0))
		refuse_composite();
	if (class == TYPEFUNC_SCALAR && field != 0)
		return expression_tree_mutator(node, move_mutator, context);
	column = find_function(context, call, class, desc);
	if (column == 0)
		return node;
	return (Node *) makeVar(context->rti, column + (field > 0 ? field - 1 : 0), exprType(node),
							exprTypmod(node), exprCollation(node), 0);
}

static void
add_to_from(Query *query, MoveContext *context)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);

	rte->rtekind = RTE_FUNCTION;
	rte->functions = context->functions;
	rte->lateral = true;
	rte->inFromCl = true;
	rte->eref = makeAlias("rows", context->names);
	query->rtable = lappend(query->rtable, rte);
	ref->rtindex = context->rti;
	query->jointree->fromlist = lappend(query->jointree->fromlist, ref);
}

/* eddy_set_returning_is_key returns true for the expressions by which a query groups. */
bool
eddy_set_returning_is_key(Query *query, const TargetEntry *tle)
{
	ListCell   *lc;

	foreach(lc, query->groupClause)
		if (tle->ressortgroupref != 0 &&
			lfirst_node(SortGroupClause, lc)->tleSortGroupRef == tle->ressortgroupref)
			return true;
	return false;
}

/* True for the columns that are computed before rows are grouped. */
static bool
is_before_grouping(Query *query, TargetEntry *tle)
{
	if (query->groupClause == NIL && !query->hasAggs && query->groupingSets == NIL &&
		query->havingQual == NULL)
		return true;
	return eddy_set_returning_is_key(query, tle);
}

/* eddy_set_returning_to_from moves the set-returning functions of the select list into FROM. */
void
eddy_set_returning_to_from(Query *query)
{
	MoveContext context = {list_length(query->rtable) + 1, NIL, NIL, true};
	ListCell   *lc;

	if (!query->hasTargetSRFs)
		return;
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (is_before_grouping(query, tle))
			tle->expr = (Expr *) move_mutator((Node *) tle->expr, &context);
	}
	context.add = false;
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!is_before_grouping(query, tle))
			tle->expr = (Expr *) move_mutator((Node *) tle->expr, &context);
		if (expression_returns_set((Node *) tle->expr))
			eddy_refuse("set-returning functions over the groups of a continuous view are not supported",
						"They would make several rows of one group.",
						"Put them into GROUP BY or FROM, or use them in a view on top of the continuous view.");
	}
	query->hasTargetSRFs = false;
	if (context.functions)
		add_to_from(query, &context);
}

/*-------------------------------------------------------------------------
 *
 * prepare.c
 *    What INSERT would do to a row before storing it, for rows from Kafka.
 *
 * Defaults for columns that the message lacks, generated columns, NOT NULL and
 * CHECK constraints. Domain constraints of values from the message are the business of
 * the types' input functions. Row triggers and row-level security do not apply.
 *
 * Expressions are the table owner's and run as the owner, in a security-restricted
 * operation with pinned settings. Switching costs more than a row: a caller
 * with many rows calls eddy_owner_begin(owner of the stream) once around them, and
 * eddy_stream_prepare_row notices; otherwise it switches for each row by itself.
 *
 * Memory: everything lives in a context of the preparer's; results by reference are
 * copied to the caller's current context. No locks are taken; the stream must
 * be locked, and unchanged since the preparer was made. An error
 * leaves the preparer usable.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteHandler.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "stream/stream.h"
#include "owner.h"

/* An expression whose result goes into a column. */
typedef struct ColumnExpr
{
	AttrNumber	attnum;
	bool		always;			/* the column is never in the message */
	bool		constant;		/* value and isnull hold the result */
	Datum		value;
	bool		isnull;
	ExprState  *state;			/* else */
	bool		byval;
	int16		len;
} ColumnExpr;

typedef struct CheckExpr
{
	char	   *name;
	ExprState  *state;
} CheckExpr;

struct EddyRowPreparer
{
	/* immutable once made */
	MemoryContext mcxt;
	Oid			owner;
	char	   *relation;		/* name, for messages */
	TupleDesc	tupdesc;		/* a copy */
	int			ndefaults;
	ColumnExpr *defaults;
	int			ngenerated;
	ColumnExpr *generated;
	int			nnotnull;
	AttrNumber *notnull;
	int			nchecks;
	CheckExpr  *checks;
	bool		evaluates;		/* some default, generated column or check is not constant */
	bool		calls_functions;	/* some of them called one that can change, even to become constant */

	/* reused for each row */
	EState	   *estate;
	ExprContext *econtext;
	TupleTableSlot *slot;
};

/* The value an INSERT without the column would take, or NULL if that is plain NULL. */
static Expr *
default_expr(Relation rel, Form_pg_attribute att)
{
	Expr	   *expr = (Expr *) build_column_default(rel, att->attnum);

	if (expr == NULL && get_typtype(att->atttypid) == TYPTYPE_DOMAIN)
	{
		/* NULL, unless the domain forbids it */
		int32		typmod = att->atttypmod;
		Oid			base = getBaseTypeAndTypmod(att->atttypid, &typmod);
		Const	   *null = makeNullConst(base, typmod, att->attcollation);

		expr = (Expr *) coerce_to_domain((Node *) null, base, typmod, att->atttypid,
										 COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1, false);
	}
	return expr;
}

/* Functions of the server itself do not change. */
static bool
is_changeable(Oid function, void *context pg_attribute_unused())
{
	return function >= FirstUnpinnedObjectId;
}

/* True if an expression calls a function that can be replaced, or goes by the constraints of a domain. */
static bool
find_changeable(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_changeable, context))
		return true;
	/* the constraint of a domain calls what it likes */
	if (IsA(node, CoerceToDomain))
		return true;
	return expression_tree_walker(node, find_changeable, context);
}

/* Plans an expression, which can inline and evaluate functions. */
static Expr *
plan(EddyRowPreparer *preparer, Expr *expr)
{
	if (find_changeable((Node *) expr, NULL))
		preparer->calls_functions = true;
	return expression_planner(expr);
}

static void
compile(EddyRowPreparer *preparer, ColumnExpr *column, Form_pg_attribute att, Expr *expr)
{
	expr = plan(preparer, expr);
	column->attnum = att->attnum;
	column->byval = att->attbyval;
	column->len = att->attlen;
	if (IsA(expr, Const))
	{
		Const	   *constant = (Const *) expr;

		column->constant = true;
		column->isnull = constant->constisnull;
		if (!constant->constisnull)
			column->value = datumCopy(constant->constvalue, att->attbyval, att->attlen);
	}
	else
	{
		column->state = ExecInitExpr(expr, NULL);
		preparer->evaluates = true;
	}
}

static void
compile_columns(EddyRowPreparer *preparer, Relation rel, const bool *decoded)
{
	TupleDesc	tupdesc = preparer->tupdesc;

	preparer->defaults = palloc0(sizeof(ColumnExpr) * Max(tupdesc->natts, 1));
	preparer->generated = palloc0(sizeof(ColumnExpr) * Max(tupdesc->natts, 1));
	preparer->notnull = palloc0(sizeof(AttrNumber) * Max(tupdesc->natts, 1));
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);
		Expr	   *expr;

		if (att->attisdropped)
			continue;
		if (att->attnotnull)
			preparer->notnull[preparer->nnotnull++] = att->attnum;
		if (att->attgenerated)
		{
			expr = (Expr *) build_column_default(rel, att->attnum);
			compile(preparer, &preparer->generated[preparer->ngenerated++], att, expr);
			continue;
		}
		expr = default_expr(rel, att);
		if (expr != NULL)
		{
			ColumnExpr *column = &preparer->defaults[preparer->ndefaults++];

			compile(preparer, column, att, expr);
			column->always = !decoded[i];
		}
	}
}

static void
compile_checks(EddyRowPreparer *preparer)
{
	TupleConstr *constr = preparer->tupdesc->constr;

	if (constr == NULL || constr->num_check == 0)
		return;
	preparer->checks = palloc0(sizeof(CheckExpr) * constr->num_check);
	for (int i = 0; i < constr->num_check; i++)
	{
		CheckExpr  *check = &preparer->checks[preparer->nchecks];

		if (!eddy_compat_check_enforced(&constr->check[i]))
			continue;
		check->name = constr->check[i].ccname;
		check->state = ExecInitExpr(plan(preparer, stringToNode(constr->check[i].ccbin)), NULL);
		preparer->nchecks++;
		preparer->evaluates = true;
	}
}

EddyRowPreparer *
eddy_stream_begin_prepare(MemoryContext mcxt, Relation stream, const bool *decoded)
{
	MemoryContext own = AllocSetContextCreate(mcxt, "pg_eddy row preparer",
											  ALLOCSET_SMALL_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(own);
	EddyRowPreparer *preparer = palloc0(sizeof(EddyRowPreparer));
	EddyOwnerSwitch save;

	preparer->mcxt = own;
	preparer->owner = stream->rd_rel->relowner;
	preparer->relation = pstrdup(RelationGetRelationName(stream));
	preparer->tupdesc = CreateTupleDescCopyConstr(RelationGetDescr(stream));
	preparer->estate = CreateExecutorState();
	preparer->econtext = CreateExprContext(preparer->estate);

	/* constant folding already calls functions */
	eddy_owner_begin(&save, preparer->owner);
	compile_columns(preparer, stream, decoded);
	compile_checks(preparer);
	eddy_owner_end(&save);

	preparer->slot = MakeSingleTupleTableSlot(preparer->tupdesc, &TTSOpsVirtual);
	preparer->econtext->ecxt_scantuple = preparer->slot;
	MemoryContextSwitchTo(old_context);
	return preparer;
}

void
eddy_stream_end_prepare(EddyRowPreparer *preparer)
{
	ExecDropSingleTupleTableSlot(preparer->slot);
	FreeExecutorState(preparer->estate);
	MemoryContextDelete(preparer->mcxt);
}

bool
eddy_stream_calls_functions(const EddyRowPreparer *preparer)
{
	return preparer->calls_functions;
}

bool
eddy_stream_needs_prepare(const EddyRowPreparer *preparer)
{
	return preparer->ndefaults > 0 || preparer->ngenerated > 0 || preparer->nnotnull > 0 ||
		preparer->nchecks > 0;
}

/* The value of a column's expression, in the current memory context. */
static Datum
evaluate(EddyRowPreparer *preparer, const ColumnExpr *column, bool *isnull)
{
	Datum		value;

	if (column->constant)
	{
		*isnull = column->isnull;
		return column->value;
	}
	value = ExecEvalExprSwitchContext(column->state, preparer->econtext, isnull);
	return *isnull ? (Datum) 0 : datumCopy(value, column->byval, column->len);
}

/* Shows the row to expressions. Values stay where they are. */
static void
load_slot(EddyRowPreparer *preparer, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot = preparer->slot;
	int			natts = preparer->tupdesc->natts;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, sizeof(Datum) * natts);
	memcpy(slot->tts_isnull, nulls, sizeof(bool) * natts);
	ExecStoreVirtualTuple(slot);
}

static bool
check_not_null(const EddyRowPreparer *preparer, const bool *nulls, int *sqlerrcode,
			   char *message, size_t message_size)
{
	for (int i = 0; i < preparer->nnotnull; i++)
	{
		AttrNumber	attnum = preparer->notnull[i];

		if (!nulls[attnum - 1])
			continue;
		*sqlerrcode = ERRCODE_NOT_NULL_VIOLATION;
		snprintf(message, message_size,
				 "null value in column \"%s\" of relation \"%s\" violates not-null constraint",
				 NameStr(TupleDescAttr(preparer->tupdesc, attnum - 1)->attname),
				 preparer->relation);
		return false;
	}
	return true;
}

static bool
check_constraints(EddyRowPreparer *preparer, int *sqlerrcode, char *message,
				  size_t message_size)
{
	for (int i = 0; i < preparer->nchecks; i++)
	{
		bool		isnull;
		Datum		result = ExecEvalExprSwitchContext(preparer->checks[i].state,
													   preparer->econtext, &isnull);

		/* NULL passes, as the standard wants */
		if (isnull || DatumGetBool(result))
			continue;
		*sqlerrcode = ERRCODE_CHECK_VIOLATION;
		snprintf(message, message_size,
				 "new row for relation \"%s\" violates check constraint \"%s\"",
				 preparer->relation, preparer->checks[i].name);
		return false;
	}
	return true;
}

/* The steps in the order of INSERT: defaults, generated columns, NOT NULL, CHECK. */
static bool
prepare(EddyRowPreparer *preparer, Datum *values, bool *nulls, const bool *missing,
		int *sqlerrcode, char *message, size_t message_size)
{
	for (int i = 0; i < preparer->ndefaults; i++)
	{
		const ColumnExpr *column = &preparer->defaults[i];
		int			a = column->attnum - 1;

		if (column->always || missing[a])
			values[a] = evaluate(preparer, column, &nulls[a]);
	}
	if (preparer->ngenerated > 0)
	{
		load_slot(preparer, values, nulls);
		for (int i = 0; i < preparer->ngenerated; i++)
		{
			const ColumnExpr *column = &preparer->generated[i];
			int			a = column->attnum - 1;

			values[a] = evaluate(preparer, column, &nulls[a]);
		}
	}
	if (!check_not_null(preparer, nulls, sqlerrcode, message, message_size))
		return false;
	if (preparer->nchecks == 0)
		return true;
	load_slot(preparer, values, nulls);
	return check_constraints(preparer, sqlerrcode, message, message_size);
}

bool
eddy_stream_prepare_row(EddyRowPreparer *preparer, Datum *values, bool *nulls,
						const bool *missing, int *sqlerrcode, char *message,
						size_t message_size)
{
	EddyOwnerSwitch save;
	Oid			user;
	int			context;
	bool		result;
	bool		switched = false;

	if (preparer->evaluates)
	{
		/* junk of the last row, which may have ended with an error */
		ResetExprContext(preparer->econtext);
		GetUserIdAndSecContext(&user, &context);
		if (user != preparer->owner || (context & SECURITY_RESTRICTED_OPERATION) == 0)
		{
			eddy_owner_begin(&save, preparer->owner);
			switched = true;
		}
	}
	result = prepare(preparer, values, nulls, missing, sqlerrcode, message, message_size);
	if (switched)
		eddy_owner_end(&save);
	return result;
}

/*-------------------------------------------------------------------------
 *
 * prepare.c
 *    The steps of INSERT before a row is stored, for rows from Kafka.
 *
 * Defaults for columns that the message lacks, generated columns, NOT NULL and
 * CHECK constraints. Domain constraints of values from the message are handled by
 * the types' input functions. Row triggers and row-level security do not apply.
 *
 * Expressions belong to the table's owner and run as the owner, in a security-restricted
 * operation with pinned settings. Switching costs more than a row: a caller
 * with many rows calls eddy_owner_begin(owner of the stream) once around them, which
 * eddy_stream_prepare_row detects; otherwise it switches for each row.
 *
 * Memory: a preparer has a memory context of its own; results by reference are
 * copied to the caller's current context. No locks are taken; the stream must
 * be locked, and unchanged since the preparer was created. An error
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
#include "owner.h"
#include "stream/stream.h"

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
	/* immutable */
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
	bool		calls_functions;	/* some of them call one that can be replaced, or did when folded */

	/* reused for each row */
	EState	   *estate;
	ExprContext *econtext;
	TupleTableSlot *slot;
};

/* The value of the column in an INSERT that does not name it; NULL stands for a NULL value. */
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

/*
 * True if an expression calls a function that can be replaced, or checks the constraints of a
 * domain.
 */
static bool
find_changeable(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_changeable, context))
		return true;
	/* the constraint of a domain can call any function */
	if (IsA(node, CoerceToDomain))
		return true;
	return expression_tree_walker(node, find_changeable, context);
}

/* Plans an expression, which can inline and execute functions. */
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

/*
 * eddy_stream_begin_prepare compiles defaults, generated columns and constraints of the stream; the
 * preparer lives in mcxt. It has to be replaced when the relcache entry of the stream, a type of
 * its columns or, if eddy_stream_calls_functions, any function was invalidated. decoded[a - 1]: the
 * attribute comes from the message or its metadata.
 */
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

	/* constant folding calls functions */
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

/* Makes the row visible to expressions. Values are not copied. */
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

		/* NULL is not a violation */
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

/*
 * eddy_stream_prepare_row fills defaults of missing columns, computes generated columns and
 * checks NOT NULL and CHECK of one row. Violations are returned as values (false, *sqlerrcode,
 * message). Expressions may raise errors: the caller runs it over the batch inside one
 * subtransaction and knows the row by its counter.
 *
 * Attributes that are not decoded, and dropped ones, are NULL on entry; missing is read for decoded
 * ones only. New values by reference are made in the current memory context.
 */
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
		/* leftovers from the previous row, which may have ended with an error */
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

/*-------------------------------------------------------------------------
 *
 * pack.c
 *    Values of any type inside of serialized transition states.
 *
 * A state is stored for a long time, also in dumps. So only values of the server's own base types
 * are stored as they are in memory, with the OID of their type, which is the same everywhere.
 * Values of all other types are stored as text, with the qualified name of the type.
 *
 * That name only tells people what it was: the type can have been renamed since, and another one
 * can have its name. The type of a value is that of the aggregate's argument, which the definition
 * of the view knows by OID, so a value that was unpacked is unresolved until it is read as one of
 * that type. Reading can fail, for example if the label of an enum was renamed; then so does the
 * statement.
 *
 * No locks. Memory: the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "libpq/pqformat.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "view/pack.h"

/* What follows. */
typedef enum PackForm
{
	PACK_NULL,
	PACK_IMAGE,					/* OID, length, bytes */
	PACK_TEXT					/* name of the type, text */
} PackForm;

/* True for types of the server whose values contain no OIDs but those of such types. */
static bool
has_stable_image(Oid type)
{
	Oid			element = get_element_type(type);
	char		typtype = get_typtype(type);

	if (type >= FirstGenbkiObjectId)
		return false;
	if (OidIsValid(element))
		return has_stable_image(element);
	return typtype == TYPTYPE_BASE || typtype == TYPTYPE_RANGE || typtype == TYPTYPE_MULTIRANGE;
}

static void
pack_image(StringInfo buffer, Oid type, Datum value)
{
	int16		len;
	bool		byval;

	get_typlenbyval(type, &len, &byval);
	pq_sendint32(buffer, type);
	if (byval)
	{
		pq_sendint32(buffer, sizeof(int64));
		pq_sendint64(buffer, (int64) value);
	}
	else if (len == -1)
	{
		struct varlena *flat = PG_DETOAST_DATUM_PACKED(value);

		pq_sendint32(buffer, VARSIZE_ANY_EXHDR(flat));
		appendBinaryStringInfo(buffer, VARDATA_ANY(flat), VARSIZE_ANY_EXHDR(flat));
	}
	else
	{
		Size		size = datumGetSize(value, byval, len);

		pq_sendint32(buffer, size);
		appendBinaryStringInfo(buffer, DatumGetPointer(value), size);
	}
}

/*
 * A string in the encoding of the database: that of the client, into which pq_sendstring converts,
 * is another one in another session, and may not have all characters.
 */
static void
pack_string(StringInfo buffer, const char *string)
{
	appendBinaryStringInfo(buffer, string, strlen(string) + 1);
}

void
eddy_pack_value(StringInfo buffer, const EddyValue *value)
{
	if (value->isnull)
		pq_sendbyte(buffer, PACK_NULL);
	else if (OidIsValid(value->type) && has_stable_image(value->type))
	{
		pq_sendbyte(buffer, PACK_IMAGE);
		pack_image(buffer, value->type, value->value);
	}
	else
	{
		Oid			output;
		bool		isvarlena;

		if (!OidIsValid(value->type))
			elog(ERROR, "type of a value in the state of an aggregate was not resolved");
		getTypeOutputInfo(value->type, &output, &isvarlena);
		pq_sendbyte(buffer, PACK_TEXT);
		pack_string(buffer, format_type_extended(value->type, -1, FORMAT_TYPE_FORCE_QUALIFY));
		pack_string(buffer, OidOutputFunctionCall(output, value->value));
	}
}

static Datum
unpack_image(StringInfo buffer, Oid type)
{
	int16		len;
	bool		byval;
	int			size = pq_getmsgint(buffer, 4);
	char	   *result;

	get_typlenbyval(type, &len, &byval);
	if (byval)
		return (Datum) pq_getmsgint64(buffer);
	if (len == -1)
	{
		result = palloc(VARHDRSZ + size);
		SET_VARSIZE(result, VARHDRSZ + size);
		memcpy(VARDATA(result), pq_getmsgbytes(buffer, size), size);
	}
	else
	{
		result = palloc(size);
		memcpy(result, pq_getmsgbytes(buffer, size), size);
	}
	return PointerGetDatum(result);
}

static void
add_context(void *arg pg_attribute_unused())
{
	errcontext("reading a value that the state of an aggregate has as text");
}

/*
 * The text of a value, read as one of the given type; of a domain, without its constraints, which
 * can have been added since the value was accepted. What the input function leaves is freed.
 */
static Datum
read_text(char *text, Oid type)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_eddy packed value",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = add_context};
	Oid			input;
	Oid			ioparam;
	Datum		value;
	int16		len;
	bool		byval;

	error_context_stack = &callback;
	getTypeInputInfo(getBaseType(type), &input, &ioparam);
	value = OidInputFunctionCall(input, text, ioparam, -1);
	error_context_stack = callback.previous;
	MemoryContextSwitchTo(old);
	get_typlenbyval(type, &len, &byval);
	value = datumCopy(value, byval, len);
	MemoryContextDelete(scratch);
	return value;
}

/*
 * eddy_pack_resolve makes a value one of the given type, that of the argument of the aggregate:
 * reads an unresolved one, and converts one of another type by its text.
 */
void
eddy_pack_resolve(EddyValue *value, Oid type)
{
	char	   *text = value->text;

	if (value->isnull || (OidIsValid(value->type) && value->type == type))
		return;
	if (!OidIsValid(type))
		elog(ERROR, "type of an argument of an aggregate is not known");
	if (OidIsValid(value->type))
	{
		Oid			output;
		bool		isvarlena;

		getTypeOutputInfo(value->type, &output, &isvarlena);
		text = OidOutputFunctionCall(output, value->value);
	}
	value->value = read_text(text, type);
	value->type = type;
	value->text = NULL;
	pfree(text);
}

/*
 * eddy_pack_argument_type returns the type of an argument of the aggregate that calls a combine or
 * deserialize function. analyze.c describes them after the two arguments that both functions have.
 * In an Agg node only the combine function can ask for the aggregate; the deserialize function gets
 * InvalidOid there, and the values remain unresolved until they are combined.
 */
Oid
eddy_pack_argument_type(FunctionCallInfo fcinfo, int number, bool combines)
{
	Aggref	   *aggref = combines ? AggGetAggref(fcinfo) : NULL;

	return aggref ? list_nth_oid(aggref->aggargtypes, number) :
		get_fn_expr_argtype(fcinfo->flinfo, EDDY_PACK_OWN_ARGUMENTS + number);
}

/* eddy_unpack_value reads a value, which is unresolved if it was stored as text. */
void
eddy_unpack_value(StringInfo buffer, EddyValue *value)
{
	PackForm	form = pq_getmsgbyte(buffer);

	memset(value, 0, sizeof(EddyValue));
	switch (form)
	{
		case PACK_NULL:
			value->isnull = true;
			break;
		case PACK_IMAGE:
			value->type = pq_getmsgint(buffer, 4);
			value->value = unpack_image(buffer, value->type);
			break;
		case PACK_TEXT:
			(void) pq_getmsgrawstring(buffer);
			value->text = pstrdup(pq_getmsgrawstring(buffer));
			break;
		default:
			elog(ERROR, "unexpected form %d of a value in the state of an aggregate", form);
	}
}

/* eddy_pack_copy copies a value to the current memory context. */
void
eddy_pack_copy(EddyValue *to, const EddyValue *from)
{
	*to = *from;
	if (from->text && !OidIsValid(from->type))
		to->text = pstrdup(from->text);
	if (!from->isnull && OidIsValid(from->type))
	{
		int16		len;
		bool		byval;

		get_typlenbyval(from->type, &len, &byval);
		to->value = len == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(from->value)) :
			datumCopy(from->value, byval, len);
		to->text = NULL;
	}
}

void
eddy_pack_open(StringInfo buffer, bytea *bytes)
{
	buffer->data = VARDATA_ANY(bytes);
	buffer->len = VARSIZE_ANY_EXHDR(bytes);
	buffer->maxlen = buffer->len;
	buffer->cursor = 0;
}

bytea *
eddy_pack_finish(StringInfo buffer)
{
	return pq_endtypsend(buffer);
}

MemoryContext
eddy_pack_context(FunctionCallInfo fcinfo)
{
	MemoryContext mcxt;

	if (!AggCheckCallContext(fcinfo, &mcxt))
		elog(ERROR, "function was called outside of an aggregate");
	return mcxt;
}

/*-------------------------------------------------------------------------
 *
 * pack.c
 *    Values of any type inside of serialized transition states.
 *
 * A state is stored for a long time, also in dumps. So only values of the server's own base types
 * are stored as they are in memory, with the OID of their type, which is the same everywhere.
 * Values of all other types are stored as text, with the qualified name of the type. If the type
 * has been renamed since, the value remains unresolved until it is combined with a newer one, which
 * has the same type.
 *
 * No locks. Memory: the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "libpq/pqformat.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

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
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("a value in the state of an aggregate has a type that does not exist any more")));
		getTypeOutputInfo(value->type, &output, &isvarlena);
		pq_sendbyte(buffer, PACK_TEXT);
		pq_sendstring(buffer, format_type_extended(value->type, -1, FORMAT_TYPE_FORCE_QUALIFY));
		pq_sendstring(buffer, OidOutputFunctionCall(output, value->value));
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

/* eddy_pack_resolve reads an unresolved value as one of the given type. */
void
eddy_pack_resolve(EddyValue *value, Oid type)
{
	Oid			input;
	Oid			ioparam;

	if (value->isnull || OidIsValid(value->type) || !OidIsValid(type))
		return;
	getTypeInputInfo(type, &input, &ioparam);
	value->value = OidInputFunctionCall(input, value->text, ioparam, -1);
	value->type = type;
}

void
eddy_unpack_value(StringInfo buffer, EddyValue *value)
{
	PackForm	form = pq_getmsgbyte(buffer);
	const char *name;
	Oid			type;
	int32		typmod;

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
			name = pq_getmsgstring(buffer);
			value->text = pstrdup(pq_getmsgstring(buffer));
			eddy_compat_parse_type(name, &type, &typmod);
			eddy_pack_resolve(value, type);
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

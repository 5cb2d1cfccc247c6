/*-------------------------------------------------------------------------
 *
 * json_writer.c
 *    Values of columns as JSON text.
 *
 * The text is what to_json() gives with TimeZone UTC: numbers and booleans as
 * such, NaN and infinities as strings, json and jsonb embedded, arrays as JSON
 * arrays, dates and times in ISO 8601. Unlike to_json() composite values are
 * strings, and casts to json are not used: they may be user functions,
 * and the plugin calls no function but the output functions of types.
 *
 * A record is one line. JSON strings hold no raw line ends, so that the only
 * line ends are white space within values of type json, which become spaces.
 *
 * The values are in the encoding of the database; every server encoding is a superset of
 * ASCII, hence bytes can be inspected one by one. encoding.c handles the others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "cdc/json_writer.h"

/*
 * Largest message that the server can send, and return as a row of a query, with room for the
 * surrounding protocol.
 */
#define MAX_MESSAGE ((int) MaxAllocSize - 1024 * 1024)

/* Bytes that a JSON string may not hold as they are. */
#define IS_SPECIAL(c) \
	((unsigned char) (c) < 0x20 || (c) == '"' || (c) == '\\' || IS_HIGHBIT_SET(c))

/*
 * Arrays of domains over arrays of domains ... can be nested to any depth, and the stack is
 * limited.
 */
#define MAX_NESTING 32

/* The elements of an array, of which those before next are written. */
typedef struct ArrayElements
{
	EddyCdcType *type;
	int			ndims;
	const int  *dims;
	Datum	   *values;
	bool	   *nulls;
	int			next;
} ArrayElements;

static void append_array(StringInfo out, EddyCdcType *type, Datum value);
static void append_datetime(StringInfo out, EddyCdcType *type, Datum value);
static void append_dimension(StringInfo out, ArrayElements *elements, int dim);
static int	append_high_run(StringInfo out, const char *data, const char *end);
static void append_json(StringInfo out, const char *data, int len);
static void append_number(StringInfo out, const char *text, int len);
static void describe_type(EddyCdcType *type, Oid oid, int nesting);

/* Describes a type. Allocations are in the current context. */
void
eddy_cdc_describe_type(EddyCdcType *type, Oid oid)
{
	describe_type(type, oid, 0);
}

/* The kind of a type whose values this file writes itself; EDDY_CDC_OTHER: of all others. */
static EddyCdcKind
get_kind(Oid oid)
{
	switch (oid)
	{
		case BOOLOID:
			return EDDY_CDC_BOOL;
		case INT2OID:
			return EDDY_CDC_INT2;
		case INT4OID:
			return EDDY_CDC_INT4;
		case INT8OID:
			return EDDY_CDC_INT8;
		case FLOAT4OID:
			return EDDY_CDC_FLOAT4;
		case FLOAT8OID:
			return EDDY_CDC_FLOAT8;
		case NUMERICOID:
			return EDDY_CDC_NUMERIC;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return EDDY_CDC_TEXT;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return EDDY_CDC_DATETIME;
		case JSONOID:
			return EDDY_CDC_JSON;
		case JSONBOID:
			return EDDY_CDC_JSONB;
		default:
			return OidIsValid(get_element_type(oid)) ? EDDY_CDC_ARRAY : EDDY_CDC_OTHER;
	}
}

static void
describe_array(EddyCdcType *type, int nesting)
{
	if (nesting == MAX_NESTING)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("arrays are nested more than %d levels deep", MAX_NESTING)));
	type->element = palloc(sizeof(EddyCdcType));
	describe_type(type->element, get_element_type(type->oid), nesting + 1);
	type->needs_settings = type->element->needs_settings;
	type->can_fail = true;		/* as jsonb, and NULLs take a bit each */
}

/* A type whose values its output function writes. */
static void
describe_other(EddyCdcType *type)
{
	Oid			function;
	bool		varlena;

	switch (type->oid)
	{
		case CHAROID:
		case NAMEOID:
		case OIDOID:
		case UUIDOID:
		case INETOID:
		case CIDROID:
		case MACADDROID:
		case MACADDR8OID:
		case BITOID:
		case VARBITOID:
			break;
		case BYTEAOID:
		case CASHOID:
		case INTERVALOID:
		case TIMEOID:
		case TIMETZOID:
			type->needs_settings = true;
			break;
		default:

			/*
			 * Enums, composite types and ranges read catalogs, types of other extensions can
			 * do anything.
			 */
			type->needs_settings = true;
			type->can_fail = true;
	}
	getTypeOutputInfo(type->oid, &function, &varlena);
	fmgr_info(function, &type->output);
}

static void
describe_type(EddyCdcType *type, Oid oid, int nesting)
{
	memset(type, 0, sizeof(*type));
	type->oid = getBaseType(oid);
	get_typlenbyvalalign(type->oid, &type->len, &type->byval, &type->align);
	type->kind = get_kind(type->oid);
	switch (type->kind)
	{
		case EDDY_CDC_JSONB:
			type->can_fail = true;	/* a number can have more digits than bytes */
			break;
		case EDDY_CDC_ARRAY:
			describe_array(type, nesting);
			break;
		case EDDY_CDC_OTHER:
			describe_other(type);
			break;
		default:
			break;
	}
}

/*
 * Makes bigint and numeric values strings, for clients whose JSON parsers make every number a
 * double.
 */
void
eddy_cdc_quote_numbers(EddyCdcType *type)
{
	for (; type != NULL; type = type->element)
		type->quoted = true;
}

/* Appends a value, which is not NULL. Temporary allocations are in the current context. */
void
eddy_cdc_append_value(StringInfo out, EddyCdcType *type, Datum value)
{
	char		buf[64];
	char	   *text;
	int			len;

	switch (type->kind)
	{
		case EDDY_CDC_BOOL:
			if (DatumGetBool(value))
				eddy_cdc_append_literal(out, "true");
			else
				eddy_cdc_append_literal(out, "false");
			break;
		case EDDY_CDC_INT2:
			eddy_cdc_append_int64(out, DatumGetInt16(value));
			break;
		case EDDY_CDC_INT4:
			eddy_cdc_append_int64(out, DatumGetInt32(value));
			break;
		case EDDY_CDC_INT8:
			if (type->quoted)
			{
				len = pg_lltoa(DatumGetInt64(value), buf);
				eddy_cdc_append_string(out, buf, len);
			}
			else
				eddy_cdc_append_int64(out, DatumGetInt64(value));
			break;
		case EDDY_CDC_FLOAT4:
			len = float_to_shortest_decimal_buf(DatumGetFloat4(value), buf);
			append_number(out, buf, len);
			break;
		case EDDY_CDC_FLOAT8:
			len = double_to_shortest_decimal_buf(DatumGetFloat8(value), buf);
			append_number(out, buf, len);
			break;
		case EDDY_CDC_NUMERIC:
			text = DatumGetCString(DirectFunctionCall1(numeric_out, value));
			len = strlen(text);
			if (type->quoted)
				eddy_cdc_append_string(out, text, len);
			else
				append_number(out, text, len);
			break;
		case EDDY_CDC_TEXT:
			{
				struct varlena *string = PG_DETOAST_DATUM_PACKED(value);

				eddy_cdc_append_string(out, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
				break;
			}
		case EDDY_CDC_DATETIME:
			append_datetime(out, type, value);
			break;
		case EDDY_CDC_JSON:
			{
				struct varlena *json = PG_DETOAST_DATUM_PACKED(value);

				append_json(out, VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json));
				break;
			}
		case EDDY_CDC_JSONB:
			{
				Jsonb	   *jsonb = DatumGetJsonbP(value);

				text = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
				append_json(out, text, strlen(text));
				break;
			}
		case EDDY_CDC_ARRAY:
			append_array(out, type, value);
			break;
		case EDDY_CDC_OTHER:
			text = OutputFunctionCall(&type->output, value);
			eddy_cdc_append_string(out, text, strlen(text));
			break;
	}
}

/* Makes room for more bytes, or raises an error if the message would be too large. */
void
eddy_cdc_enlarge(StringInfo out, int len)
{
	CHECK_FOR_INTERRUPTS();
	if (len > MAX_MESSAGE - out->len)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("record is larger than %d bytes", MAX_MESSAGE)));
	enlargeStringInfo(out, len);
}

/*
 * Appends text of the database's encoding as a JSON string, in UTF-8. Most strings have nothing to
 * escape: runs of plain bytes are copied at once.
 */
void
eddy_cdc_append_string(StringInfo out, const char *data, int len)
{
	const char *end = data + len;
	const char *run = data;

	eddy_cdc_append_literal(out, "\"");
	for (const char *p = data; p < end; p++)
	{
		char		escape[2] = {'\\', 0};

		if (likely(!IS_SPECIAL(*p)))
			continue;
		eddy_cdc_append_bytes(out, run, p - run);
		if (IS_HIGHBIT_SET(*p))
		{
			run = p + append_high_run(out, p, end);
			p = run - 1;
			continue;
		}
		run = p + 1;

		switch (*p)
		{
			case '"':
			case '\\':
				escape[1] = *p;
				break;
			case '\b':
				escape[1] = 'b';
				break;
			case '\f':
				escape[1] = 'f';
				break;
			case '\n':
				escape[1] = 'n';
				break;
			case '\r':
				escape[1] = 'r';
				break;
			case '\t':
				escape[1] = 't';
				break;
			default:
				eddy_cdc_append_escape(out, (unsigned char) *p);
				continue;
		}
		eddy_cdc_append_bytes(out, escape, sizeof(escape));
	}
	eddy_cdc_append_bytes(out, run, end - run);
	eddy_cdc_append_literal(out, "\"");
}

void
eddy_cdc_append_int64(StringInfo out, int64 value)
{
	char		buf[MAXINT8LEN + 1];

	eddy_cdc_append_bytes(out, buf, pg_lltoa(value, buf));
}

/* Appends the text of a number; NaN and infinities, which JSON does not have, as strings. */
static void
append_number(StringInfo out, const char *text, int len)
{
	char		first = text[0] == '-' ? text[1] : text[0];

	if (likely(first >= '0' && first <= '9'))
		eddy_cdc_append_bytes(out, text, len);
	else
		eddy_cdc_append_string(out, text, len);
}

/* Appends a date or time in ISO 8601, with "+00:00" if the type has a time zone. */
static void
append_datetime(StringInfo out, EddyCdcType *type, Datum value)
{
	if (type->memo_len == 0 || type->memo_value != value)
	{
		int			utc = 0;

		type->memo_len = 0;		/* in case of an error */
		type->memo_text[0] = '"';
		JsonEncodeDateTime(type->memo_text + 1, value, type->oid,
						   type->oid == TIMESTAMPTZOID ? &utc : NULL);
		strcat(type->memo_text, "\"");
		type->memo_value = value;
		type->memo_len = strlen(type->memo_text);
	}
	eddy_cdc_append_bytes(out, type->memo_text, type->memo_len);
}

/* Appends the characters other than ASCII that text begins with, and returns their length. */
static int
append_high_run(StringInfo out, const char *data, const char *end)
{
	const char *p = data;

	while (p < end && IS_HIGHBIT_SET(*p))
		p++;
	eddy_cdc_append_non_ascii(out, data, p - data);
	return p - data;
}

/*
 * Appends JSON text on one line. Line ends are white space between its values; characters other
 * than ASCII are within its strings, where they may be escapes.
 */
static void
append_json(StringInfo out, const char *data, int len)
{
	const char *end = data + len;
	const char *run = data;

	for (const char *p = data; p < end; p++)
	{
		if (likely(*p != '\n' && *p != '\r' && !IS_HIGHBIT_SET(*p)))
			continue;
		eddy_cdc_append_bytes(out, run, p - run);
		if (IS_HIGHBIT_SET(*p))
		{
			run = p + append_high_run(out, p, end);
			p = run - 1;
		}
		else
		{
			eddy_cdc_append_literal(out, " ");
			run = p + 1;
		}
	}
	eddy_cdc_append_bytes(out, run, end - run);
}

static void
append_array(StringInfo out, EddyCdcType *type, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	EddyCdcType *element = type->element;
	ArrayElements elements = {.type = element,.ndims = ARR_NDIM(array),.dims = ARR_DIMS(array)};
	int			nvalues;

	if (ARR_NDIM(array) == 0)
	{
		eddy_cdc_append_literal(out, "[]");
		return;
	}
	/* the elements of an array over a domain are stored as those of its base type */
	deconstruct_array(array, ARR_ELEMTYPE(array), element->len, element->byval, element->align,
					  &elements.values, &elements.nulls, &nvalues);
	append_dimension(out, &elements, 0);
}

/* Appends one dimension of an array, and those within it. At most MAXDIM levels deep. */
static void
append_dimension(StringInfo out, ArrayElements *elements, int dim)
{
	eddy_cdc_append_literal(out, "[");
	for (int i = 0; i < elements->dims[dim]; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i > 0)
			eddy_cdc_append_literal(out, ",");
		if (dim + 1 < elements->ndims)
		{
			append_dimension(out, elements, dim + 1);
			continue;
		}
		if (elements->nulls[elements->next])
			eddy_cdc_append_literal(out, "null");
		else
			eddy_cdc_append_value(out, elements->type, elements->values[elements->next]);
		elements->next++;
	}
	eddy_cdc_append_literal(out, "]");
}

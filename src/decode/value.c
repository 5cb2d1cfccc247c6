/*-------------------------------------------------------------------------
 *
 * value.c
 *    From the text of one value to the Datum of one column.
 *
 * Types that are parsed here accept what their input functions do, as json_populate_record shows;
 * dates and timestamps are narrower (value_time.c). Values by reference are allocated in the
 * current memory context. Bad input raises no error here, except in eddy_value_convert, which calls
 * input functions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tupmacs.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/uuid.h"

#include "decode/value.h"

/* stores_utf8 returns whether UTF-8 may be stored as it is. SQL_ASCII accepts any bytes. */
static bool
stores_utf8(void)
{
	int			encoding = GetDatabaseEncoding();

	return encoding == PG_UTF8 || encoding == PG_SQL_ASCII;
}

/* The type modifier of numeric: 16 bits of precision, then 11 bits of scale with sign. */
static void
set_precision(EddyValueColumn *column)
{
	int32		packed = column->typmod - VARHDRSZ;

	if (column->typmod < (int32) VARHDRSZ)
		return;
	column->precision = (packed >> 16) & 0xffff;
	column->scale = ((packed & 0x7ff) ^ 1024) - 1024;
}

static void
set_text_kind(EddyValueColumn *column, Oid type)
{
	column->kind = EDDY_VALUE_TEXT;
	if (type == TEXTOID || column->typmod < (int32) VARHDRSZ)
		return;
	column->limit = column->typmod - VARHDRSZ;
	column->kind = type == VARCHAROID ? EDDY_VALUE_VARCHAR : EDDY_VALUE_BPCHAR;
}

/*
 * Types whose values their input function makes, which gets arrays and JSON values in the form of
 * their type.
 */
static void
set_input_kind(EddyValueColumn *column, Oid base)
{
	Oid			element = get_element_type(base);

	if (OidIsValid(element))
	{
		int16		len;
		bool		byval;
		char		align;
		Oid			ioparam;
		Oid			function;

		get_type_io_data(element, IOFunc_input, &len, &byval, &align, &column->delimiter, &ioparam,
						 &function);
		element = getBaseType(element);
		column->kind = EDDY_VALUE_INPUT_ARRAY;
		column->json_elements = (element == JSONOID || element == JSONBOID);
	}
	else if (base == JSONOID || base == JSONBOID)
		column->kind = EDDY_VALUE_INPUT_JSON;
}

/*
 * eddy_value_init_column decides by the type of an attribute how its values are made.
 */
void
eddy_value_init_column(EddyValueColumn *column, Form_pg_attribute att, MemoryContext mcxt)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(mcxt);
	Oid			base = getBaseType(att->atttypid);

	column->attnum = att->attnum;
	column->name = pstrdup(NameStr(att->attname));
	column->type_name = format_type_with_typemod(att->atttypid, att->atttypmod);
	column->typmod = att->atttypmod;
	column->limit = -1;
	column->precision = 0;
	column->scale = 0;
	column->check_null = (base != att->atttypid);
	column->json_elements = false;
	column->delimiter = ',';
	column->kind = EDDY_VALUE_INPUT;

	switch (att->atttypid)
	{
		case BOOLOID:
			column->kind = EDDY_VALUE_BOOL;
			break;
		case INT2OID:
			column->kind = EDDY_VALUE_INT2;
			break;
		case INT4OID:
			column->kind = EDDY_VALUE_INT4;
			break;
		case INT8OID:
			column->kind = EDDY_VALUE_INT8;
			break;
		case FLOAT4OID:
			column->kind = EDDY_VALUE_FLOAT4;
			break;
		case FLOAT8OID:
			column->kind = EDDY_VALUE_FLOAT8;
			break;
		case NUMERICOID:
			column->kind = EDDY_VALUE_NUMERIC;
			set_precision(column);
			break;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			if (stores_utf8())
				set_text_kind(column, att->atttypid);
			break;
		case DATEOID:
			column->kind = EDDY_VALUE_DATE;
			break;
		case TIMESTAMPOID:
			column->kind = EDDY_VALUE_TIMESTAMP;
			column->limit = column->typmod;
			break;
		case TIMESTAMPTZOID:
			column->kind = EDDY_VALUE_TIMESTAMPTZ;
			column->limit = column->typmod;
			break;
		case UUIDOID:
			column->kind = EDDY_VALUE_UUID;
			break;
		case BYTEAOID:
			column->kind = EDDY_VALUE_BYTEA;
			break;
		case JSONOID:
			column->kind = stores_utf8() ? EDDY_VALUE_JSON : EDDY_VALUE_INPUT_JSON;
			break;
		default:
			set_input_kind(column, base);
			break;
	}

	if (eddy_value_needs_convert(column))
	{
		Oid			function;

		getTypeInputInfo(att->atttypid, &function, &column->ioparam);
		fmgr_info_cxt(function, &column->input, mcxt);
	}
	MemoryContextSwitchTo(oldcontext);
}

/* store_text makes a text of s, followed by so many blanks. */
static void
store_text(const char *s, uint32 len, uint32 padding, Datum *value)
{
	text	   *result = (text *) palloc(VARHDRSZ + len + padding);

	SET_VARSIZE(result, VARHDRSZ + len + padding);
	memcpy(VARDATA(result), s, len);
	memset(VARDATA(result) + len, ' ', padding);
	*value = PointerGetDatum(result);
}

/* store_limited makes a varchar(n) or char(n): removes blanks after n characters, pads char(n). */
static EddyValueResult
store_limited(const EddyValueColumn *column, const char *s, uint32 len, Datum *value)
{
	uint32		padding = 0;

	if (len > (uint32) column->limit)
	{
		uint32		kept = pg_mbcharcliplen(s, len, column->limit);

		for (uint32 i = kept; i < len; i++)
		{
			if (s[i] != ' ')
				return EDDY_VALUE_TOO_LONG;
		}
		len = kept;
	}
	if (column->kind == EDDY_VALUE_BPCHAR)
		padding = column->limit - pg_mbstrlen_with_len(s, len);
	store_text(s, len, padding, value);
	return EDDY_VALUE_OK;
}

/* store_uuid accepts 32 digits, with a hyphen after any four of them and braces around all. */
static EddyValueResult
store_uuid(const char *s, uint32 len, Datum *value)
{
	const char *end = s + len;
	bool		braces = (len > 0 && *s == '{');
	pg_uuid_t  *uuid;
	unsigned char bytes[UUID_LEN];

	if (braces)
		s++;
	for (int i = 0; i < UUID_LEN; i++)
	{
		int			high,
					low;

		if (end - s < 2)
			return EDDY_VALUE_INVALID;
		high = eddy_decode_hex_digit(s[0]);
		low = eddy_decode_hex_digit(s[1]);
		if (high < 0 || low < 0)
			return EDDY_VALUE_INVALID;
		bytes[i] = (unsigned char) (high * 16 + low);
		s += 2;
		if (s < end && *s == '-' && i % 2 == 1 && i < UUID_LEN - 1)
			s++;
	}
	if (braces && (s == end || *s++ != '}'))
		return EDDY_VALUE_INVALID;
	if (s != end)
		return EDDY_VALUE_INVALID;
	uuid = (pg_uuid_t *) palloc(sizeof(pg_uuid_t));
	memcpy(uuid->data, bytes, UUID_LEN);
	*value = UUIDPGetDatum(uuid);
	return EDDY_VALUE_OK;
}

/* store_bytea accepts PostgreSQL's two forms: hexadecimal after \x, and escapes. */
static EddyValueResult
store_bytea(const char *s, uint32 len, Datum *value)
{
	const char *end = s + len;
	bytea	   *result = (bytea *) palloc(VARHDRSZ + len);
	char	   *dst = VARDATA(result);

	if (len >= 2 && s[0] == '\\' && s[1] == 'x')
	{
		s += 2;
		while (s < end)
		{
			int			high,
						low;

			if (*s == ' ' || *s == '\n' || *s == '\t' || *s == '\r')
			{
				s++;
				continue;
			}
			high = eddy_decode_hex_digit(*s++);
			low = s < end ? eddy_decode_hex_digit(*s++) : -1;
			if (high < 0 || low < 0)
				goto invalid;
			*dst++ = (char) (high * 16 + low);
		}
	}
	else
	{
		while (s < end)
		{
			if (*s != '\\')
				*dst++ = *s++;
			else if (end - s >= 2 && s[1] == '\\')
			{
				*dst++ = '\\';
				s += 2;
			}
			else if (end - s >= 4 && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
					 s[3] >= '0' && s[3] <= '7')
			{
				*dst++ = (char) ((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
				s += 4;
			}
			else
				goto invalid;
		}
	}
	SET_VARSIZE(result, dst - (char *) result);
	*value = PointerGetDatum(result);
	return EDDY_VALUE_OK;

invalid:
	pfree(result);
	return EDDY_VALUE_INVALID;
}

/*
 * eddy_value_from_string makes a column's value from a text; for kinds that convert, a copy of it.
 */
EddyValueResult
eddy_value_from_string(const EddyValueColumn *column, EddyTimeFormat time_format, const char *s,
					   uint32 len, Datum *value)
{
	EddyValueResult result;
	EddyNumber number;
	bool		truth;

	switch (column->kind)
	{
		case EDDY_VALUE_BOOL:
			eddy_value_trim(&s, &len);
			if (!parse_bool_with_len(s, len, &truth))
				return EDDY_VALUE_INVALID;
			*value = BoolGetDatum(truth);
			return EDDY_VALUE_OK;
		case EDDY_VALUE_INT2:
		case EDDY_VALUE_INT4:
		case EDDY_VALUE_INT8:
		case EDDY_VALUE_FLOAT4:
		case EDDY_VALUE_FLOAT8:
		case EDDY_VALUE_NUMERIC:
			return eddy_value_parse_number(column, s, len, value);
		case EDDY_VALUE_TEXT:
		case EDDY_VALUE_JSON:
			store_text(s, len, 0, value);
			return EDDY_VALUE_OK;
		case EDDY_VALUE_VARCHAR:
		case EDDY_VALUE_BPCHAR:
			return store_limited(column, s, len, value);
		case EDDY_VALUE_DATE:
		case EDDY_VALUE_TIMESTAMP:
		case EDDY_VALUE_TIMESTAMPTZ:
			if (time_format != EDDY_TIME_ISO &&
				eddy_decode_scan_number(s, s + len, false, &number) == s + len)
				return eddy_value_time_from_number(column, time_format, &number, value);
			result = eddy_value_parse_time(column, s, len, value);
			if (unlikely(result == EDDY_VALUE_INVALID) &&
				eddy_decode_scan_number(s, s + len, false, &number) == s + len)
				return EDDY_VALUE_NO_UNIT;
			return result;
		case EDDY_VALUE_UUID:
			return store_uuid(s, len, value);
		case EDDY_VALUE_BYTEA:
			return store_bytea(s, len, value);
		case EDDY_VALUE_INPUT:
		case EDDY_VALUE_INPUT_JSON:
		case EDDY_VALUE_INPUT_ARRAY:
			*value = CStringGetDatum(pnstrdup(s, len));
			return EDDY_VALUE_OK;
	}
	return EDDY_VALUE_INVALID;
}

/*
 * eddy_value_report describes what is wrong with a column's value.
 */
void
eddy_value_report(EddyDecodeError *error, const EddyValueColumn *column, EddyValueResult result)
{
	bool		is_time = column->kind == EDDY_VALUE_DATE ||
		column->kind == EDDY_VALUE_TIMESTAMP || column->kind == EDDY_VALUE_TIMESTAMPTZ;
	const char *format;
	char		message[512];

	error->attnum = column->attnum;
	switch (result)
	{
		case EDDY_VALUE_RANGE:
			error->sqlerrcode = is_time ? ERRCODE_DATETIME_FIELD_OVERFLOW :
				ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE;
			format = "value out of range for column \"%s\" of type %s";
			break;
		case EDDY_VALUE_TOO_LONG:
			error->sqlerrcode = ERRCODE_STRING_DATA_RIGHT_TRUNCATION;
			format = "value too long for column \"%s\" of type %s";
			break;
		case EDDY_VALUE_NO_UNIT:
			error->sqlerrcode = ERRCODE_INVALID_DATETIME_FORMAT;
			format = "invalid value for column \"%s\" of type %s: a number requires the option \"timestamps\"";
			break;
		default:
			error->sqlerrcode = is_time ? ERRCODE_INVALID_DATETIME_FORMAT :
				ERRCODE_INVALID_TEXT_REPRESENTATION;
			format = "invalid value for column \"%s\" of type %s";
			break;
	}
	snprintf(message, sizeof(message), format, column->name, column->type_name);
	/* names of types can be long; a character is never split */
	message[pg_mbcliplen(message, strlen(message), sizeof(error->message) - 1)] = '\0';
	strlcpy(error->message, message, sizeof(error->message));
}

/*
 * eddy_value_convert calls the input function of a column's type. *value is the text that decoding
 * left, unless *isnull.
 */
void
eddy_value_convert(EddyValueColumn *column, Datum *value, bool *isnull)
{
	char	   *text;

	if (*isnull)
	{
		if (column->check_null)
			(void) InputFunctionCall(&column->input, NULL, column->ioparam, column->typmod);
		return;
	}
	text = DatumGetCString(*value);
	if (!stores_utf8())
		text = pg_any_to_server(text, strlen(text), PG_UTF8);
	*value = InputFunctionCall(&column->input, text, column->ioparam, column->typmod);
}

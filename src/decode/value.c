/*-------------------------------------------------------------------------
 *
 * value.c
 *    From the text of one value to the Datum of one column.
 *
 * What is accepted follows json_populate_record, that is the types' own
 * input functions, for all types that are parsed by hand here. Values by
 * reference are allocated in the current memory context. Nothing here raises
 * an error for bad input, except eddy_value_convert, whose whole purpose is
 * to call functions that may.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <errno.h>
#include <float.h>
#include <math.h>

#include "access/tupmacs.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/uuid.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "decode/value.h"

/* Decimal digits that always fit into an int64. */
#define SAFE_DIGITS 18

/* What numeric_in takes without complaint; beyond it a value is out of range. */
#define NUMERIC_INTEGER_DIGITS 131072
#define NUMERIC_FRACTION_DIGITS 16383

/* 10^0 to 10^18. */
const int64 eddy_value_powers_of_ten[] = {
	1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000,
	INT64CONST(10000000000), INT64CONST(100000000000), INT64CONST(1000000000000),
	INT64CONST(10000000000000), INT64CONST(100000000000000), INT64CONST(1000000000000000),
	INT64CONST(10000000000000000), INT64CONST(100000000000000000),
	INT64CONST(1000000000000000000)
};

/* The powers of ten that a double holds exactly. */
static const double exact_powers[] = {
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22
};

/*
 * stores_utf8 says whether valid UTF-8 may be stored as it is. SQL_ASCII takes
 * any bytes by definition.
 */
static bool
stores_utf8(void)
{
	int			encoding = GetDatabaseEncoding();

	return encoding == PG_UTF8 || encoding == PG_SQL_ASCII;
}

/*
 * eddy_value_init_column takes a column's type apart.
 */
void
eddy_value_init_column(EddyValueColumn *column, Form_pg_attribute att, MemoryContext mcxt)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(mcxt);
	Oid			base = getBaseType(att->atttypid);
	Oid			element;

	column->attnum = att->attnum;
	column->name = pstrdup(NameStr(att->attname));
	column->type_name = format_type_with_typemod(att->atttypid, att->atttypmod);
	column->typmod = att->atttypmod;
	column->limit = -1;
	column->precision = 0;
	column->scale = 0;
	column->check_null = (base != att->atttypid);
	column->json_elements = false;
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
			if (column->typmod >= (int32) VARHDRSZ)
			{
				int32		packed = column->typmod - VARHDRSZ;

				/* 16 bits of precision, below them 11 bits of scale with sign */
				column->precision = (packed >> 16) & 0xffff;
				column->scale = ((packed & 0x7ff) ^ 1024) - 1024;
			}
			break;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			if (!stores_utf8())
				break;
			column->kind = EDDY_VALUE_TEXT;
			if (column->typmod >= (int32) VARHDRSZ && att->atttypid != TEXTOID)
			{
				column->limit = column->typmod - VARHDRSZ;
				column->kind = att->atttypid == VARCHAROID ?
					EDDY_VALUE_VARCHAR : EDDY_VALUE_BPCHAR;
			}
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
			element = get_element_type(base);
			if (OidIsValid(element))
			{
				element = getBaseType(element);
				column->kind = EDDY_VALUE_INPUT_ARRAY;
				column->json_elements = (element == JSONOID || element == JSONBOID);
			}
			else if (base == JSONOID || base == JSONBOID)
				column->kind = EDDY_VALUE_INPUT_JSON;
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

/* trim cuts white space off both ends, as the input functions of numbers do. */
static inline void
trim(const char **s, uint32 *len)
{
	while (*len > 0 && isspace((unsigned char) **s))
	{
		(*s)++;
		(*len)--;
	}
	while (*len > 0 && isspace((unsigned char) (*s)[*len - 1]))
		(*len)--;
}

static EddyValueResult
store_integer(const EddyValueColumn *column, bool negative, uint64 mantissa, int digits,
			  Datum *value)
{
	int64		result;

	/* 19 digits fit into the mantissa, but not all of them into an int64 */
	if (digits > SAFE_DIGITS + 1 || mantissa > (uint64) PG_INT64_MAX + (negative ? 1 : 0))
		return EDDY_VALUE_RANGE;
	result = negative ? (int64) (0 - mantissa) : (int64) mantissa;

	switch (column->kind)
	{
		case EDDY_VALUE_INT8:
			*value = Int64GetDatum(result);
			return EDDY_VALUE_OK;
		case EDDY_VALUE_INT4:
			if (result < PG_INT32_MIN || result > PG_INT32_MAX)
				return EDDY_VALUE_RANGE;
			*value = Int32GetDatum((int32) result);
			return EDDY_VALUE_OK;
		default:
			if (result < PG_INT16_MIN || result > PG_INT16_MAX)
				return EDDY_VALUE_RANGE;
			*value = Int16GetDatum((int16) result);
			return EDDY_VALUE_OK;
	}
}

static EddyValueResult
integer_from_string(const EddyValueColumn *column, const char *s, uint32 len, Datum *value)
{
	bool		negative = false;
	uint64		mantissa = 0;
	int			digits = 0;

	trim(&s, &len);
	if (len > 0 && (*s == '-' || *s == '+'))
	{
		negative = (*s++ == '-');
		len--;
	}
	if (len == 0)
		return EDDY_VALUE_INVALID;
	for (uint32 i = 0; i < len; i++)
	{
		if (s[i] < '0' || s[i] > '9')
			return EDDY_VALUE_INVALID;
		mantissa = mantissa * 10 + (uint64) (s[i] - '0');
		digits += (mantissa != 0 || digits > 0);
	}
	return store_integer(column, negative, mantissa, digits, value);
}

/* store_float converts a text that the number grammar or strtod's own has to cover whole. */
static EddyValueResult
store_float(const EddyValueColumn *column, const char *s, uint32 len, Datum *value)
{
	char	   *end;

	if (len == 0)
		return EDDY_VALUE_INVALID;
	errno = 0;
	if (column->kind == EDDY_VALUE_FLOAT4)
	{
		float		result = strtof(s, &end);

		if (end != s + len)
			return EDDY_VALUE_INVALID;
		if (errno == ERANGE && (result == 0.0f || isinf(result)))
			return EDDY_VALUE_RANGE;
		*value = Float4GetDatum(result);
	}
	else
	{
		double		result = strtod(s, &end);

		if (end != s + len)
			return EDDY_VALUE_INVALID;
		if (errno == ERANGE && (result == 0.0 || isinf(result)))
			return EDDY_VALUE_RANGE;
		*value = Float8GetDatum(result);
	}
	return EDDY_VALUE_OK;
}

/*
 * quick_double converts a number exactly with one rounding, if mantissa and
 * power of ten are both exact doubles; most numbers in events are.
 */
static inline bool
quick_double(const EddyJsonNumber *number, double *result)
{
#if FLT_EVAL_METHOD == 0
	int			exponent = number->exponent - number->fraction;

	if (number->digits > 15 || exponent < -22 || exponent > 22)
		return false;
	*result = (double) number->mantissa;
	if (exponent < 0)
		*result /= exact_powers[-exponent];
	else
		*result *= exact_powers[exponent];
	if (number->negative)
		*result = -*result;
	return true;
#else
	return false;
#endif
}

/*
 * numeric_from_text is the road of long numbers, NaN and the infinities.
 *
 * The limits are checked here, because numeric's own functions would raise an
 * error for what does not fit.
 */
static EddyValueResult
numeric_from_text(const EddyValueColumn *column, const char *s, uint32 len, Datum *value)
{
	char	   *text = pnstrdup(s, len);
	Datum		result;
	char	   *digits;
	int			count = 0;

	result = DirectFunctionCall3(numeric_in, CStringGetDatum(text),
								 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	pfree(text);
	if (column->precision > 0 && !numeric_is_nan(DatumGetNumeric(result)))
	{
		if (numeric_is_inf(DatumGetNumeric(result)))
			return EDDY_VALUE_RANGE;
		result = DirectFunctionCall2(numeric_round, result, Int32GetDatum(column->scale));
		digits = DatumGetCString(DirectFunctionCall1(numeric_out, result));
		for (const char *p = digits; *p; p++)
			count += isdigit((unsigned char) *p) && (count > 0 || *p != '0');
		pfree(digits);
		if (count + Min(column->scale, 0) > column->precision)
			return EDDY_VALUE_RANGE;
	}
	*value = result;
	return EDDY_VALUE_OK;
}

static EddyValueResult
store_numeric(const EddyValueColumn *column, const char *s, uint32 len,
			  const EddyJsonNumber *number, Datum *value)
{
	int			scale = number->fraction - number->exponent;
	int			digits = number->digits;
	int64		mantissa = (int64) number->mantissa;

	if (digits == 0 && scale < 0)
		scale = 0;				/* zero, whatever its exponent */
	if (scale < 0 && digits <= SAFE_DIGITS && digits - scale <= SAFE_DIGITS)
	{
		mantissa *= eddy_value_powers_of_ten[-scale];
		digits -= scale;
		scale = 0;
	}
	if (column->precision > 0 && column->scale >= 0 && digits <= SAFE_DIGITS && scale >= 0)
	{
		int			drop = scale - column->scale;

		if (drop > SAFE_DIGITS)
			mantissa = 0;
		else if (drop > 0)
			mantissa = mantissa / eddy_value_powers_of_ten[drop] +
				(mantissa % eddy_value_powers_of_ten[drop] >= eddy_value_powers_of_ten[drop] / 2);
		else if (digits - drop <= SAFE_DIGITS)
			mantissa *= eddy_value_powers_of_ten[-drop];
		else
			return numeric_from_text(column, s, len, value);
		scale = column->scale;
		if (column->precision <= SAFE_DIGITS &&
			mantissa >= eddy_value_powers_of_ten[column->precision])
			return EDDY_VALUE_RANGE;
	}

	if (digits <= SAFE_DIGITS && scale >= 0 && scale <= SAFE_DIGITS &&
		(column->precision == 0 || scale == column->scale))
	{
		if (number->negative)
			mantissa = -mantissa;
		*value = NumericGetDatum(scale == 0 ? int64_to_numeric(mantissa) :
								 int64_div_fast_to_numeric(mantissa, scale));
		return EDDY_VALUE_OK;
	}

	if (number->digits - scale > NUMERIC_INTEGER_DIGITS || scale > NUMERIC_FRACTION_DIGITS ||
		number->fraction > NUMERIC_FRACTION_DIGITS)
		return EDDY_VALUE_RANGE;
	return numeric_from_text(column, s, len, value);
}

static EddyValueResult
numeric_from_string(const EddyValueColumn *column, const char *s, uint32 len, Datum *value)
{
	static const char *const words[] = {"nan", "inf", "infinity", NULL};
	EddyJsonNumber number;
	bool		sign;

	trim(&s, &len);
	sign = (len > 0 && (*s == '+' || *s == '-'));
	for (int i = 0; words[i] != NULL; i++)
	{
		/* a sign goes with the infinities only */
		uint32		skip = (sign && i > 0) ? 1 : 0;

		if (len - skip == strlen(words[i]) &&
			pg_strncasecmp(s + skip, words[i], len - skip) == 0)
			return numeric_from_text(column, s, len, value);
	}
	if (len > 0 && *s == '+')
	{
		s++;
		len--;
		if (len > 0 && *s == '-')
			return EDDY_VALUE_INVALID;
	}
	if (eddy_json_scan_number(s, s + len, true, &number) != s + len)
		return EDDY_VALUE_INVALID;
	return store_numeric(column, s, len, &number, value);
}

static void
store_text(const char *s, uint32 len, uint32 padding, Datum *value)
{
	text	   *result = (text *) palloc(VARHDRSZ + len + padding);

	SET_VARSIZE(result, VARHDRSZ + len + padding);
	memcpy(VARDATA(result), s, len);
	memset(VARDATA(result) + len, ' ', padding);
	*value = PointerGetDatum(result);
}

/* store_limited makes a varchar(n) or char(n): blanks beyond n are cut, char(n) is padded. */
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

/* store_uuid takes 32 digits, a hyphen after any four of them, and braces around all. */
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
		high = eddy_json_hex_digit(s[0]);
		low = eddy_json_hex_digit(s[1]);
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

/* store_bytea takes PostgreSQL's own two forms: hexadecimal behind \x, and escapes. */
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
			high = eddy_json_hex_digit(*s++);
			low = s < end ? eddy_json_hex_digit(*s++) : -1;
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
 * eddy_value_from_number makes a column's value from a checked JSON number.
 *
 * Types that know no numbers get its text, as from json_populate_record.
 */
EddyValueResult
eddy_value_from_number(const EddyValueColumn *column, EddyTimeFormat time_format, const char *s,
					   uint32 len, const EddyJsonNumber *number, Datum *value)
{
	double		quick;

	switch (column->kind)
	{
		case EDDY_VALUE_INT2:
		case EDDY_VALUE_INT4:
		case EDDY_VALUE_INT8:
			if (number->has_fraction || number->has_exponent)
				return EDDY_VALUE_INVALID;
			return store_integer(column, number->negative, number->mantissa, number->digits,
								 value);
		case EDDY_VALUE_FLOAT8:
			if (quick_double(number, &quick))
			{
				*value = Float8GetDatum(quick);
				return EDDY_VALUE_OK;
			}
			return store_float(column, s, len, value);
		case EDDY_VALUE_NUMERIC:
			return store_numeric(column, s, len, number, value);
		case EDDY_VALUE_DATE:
		case EDDY_VALUE_TIMESTAMP:
		case EDDY_VALUE_TIMESTAMPTZ:
			return eddy_value_time_from_number(column, time_format, number, value);
		default:
			return eddy_value_from_string(column, time_format, s, len, value);
	}
}

/*
 * eddy_value_from_string makes a column's value from a text.
 *
 * Of the kinds that convert it keeps a copy of the text.
 */
EddyValueResult
eddy_value_from_string(const EddyValueColumn *column, EddyTimeFormat time_format, const char *s,
					   uint32 len, Datum *value)
{
	EddyJsonNumber number;
	bool		truth;

	switch (column->kind)
	{
		case EDDY_VALUE_BOOL:
			trim(&s, &len);
			if (!parse_bool_with_len(s, len, &truth))
				return EDDY_VALUE_INVALID;
			*value = BoolGetDatum(truth);
			return EDDY_VALUE_OK;
		case EDDY_VALUE_INT2:
		case EDDY_VALUE_INT4:
		case EDDY_VALUE_INT8:
			return integer_from_string(column, s, len, value);
		case EDDY_VALUE_FLOAT4:
		case EDDY_VALUE_FLOAT8:
			trim(&s, &len);
			return store_float(column, s, len, value);
		case EDDY_VALUE_NUMERIC:
			return numeric_from_string(column, s, len, value);
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
				eddy_json_scan_number(s, s + len, false, &number) == s + len)
				return eddy_value_time_from_number(column, time_format, &number, value);
			return eddy_value_parse_time(column, s, len, value);
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
		default:
			error->sqlerrcode = is_time ? ERRCODE_INVALID_DATETIME_FORMAT :
				ERRCODE_INVALID_TEXT_REPRESENTATION;
			format = "invalid value for column \"%s\" of type %s";
			break;
	}
	snprintf(message, sizeof(message), format, column->name, column->type_name);
	/* names of types can be long; never cut within a character */
	message[pg_mbcliplen(message, strlen(message), sizeof(error->message) - 1)] = '\0';
	strlcpy(error->message, message, sizeof(error->message));
}

/*
 * eddy_value_convert calls the input function of a column's type.
 *
 * *value is the text left by decoding, unless *isnull.
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

/*-------------------------------------------------------------------------
 *
 * value_number.c
 *    Integers, floating-point numbers and numerics, from texts and from scanned numbers.
 *
 * Numbers of common size are converted without a call of the server's functions, with the same
 * results.
 * Values by reference are allocated in the current memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <errno.h>
#include <float.h>
#include <math.h>

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "decode/value.h"

/* Decimal digits that always fit into an int64. */
#define SAFE_DIGITS 18

/* What numeric_in accepts; a value with more digits is out of range. */
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

/* store_integer checks the range of the column's type. */
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

/* integer_from_string accepts what the input functions of integers did before PostgreSQL 16. */
static EddyValueResult
integer_from_string(const EddyValueColumn *column, const char *s, uint32 len, Datum *value)
{
	bool		negative = false;
	uint64		mantissa = 0;
	int			digits = 0;

	eddy_value_trim(&s, &len);
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

/* store_float converts a text, all of which must be a number to strtod. */
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
 * quick_double converts a number with one rounding, as strtod does. Returns false unless mantissa
 * and power of ten are both exact doubles; in most numbers of events they are.
 */
static inline bool
quick_double(const EddyNumber *number, double *result)
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
 * numeric_from_text handles long numbers, NaN and the infinities.
 *
 * The limits are checked here, because numeric's own functions would raise an error for a value
 * that does not fit.
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

/* store_numeric rounds to the column's scale and checks its precision. */
static EddyValueResult
store_numeric(const EddyValueColumn *column, const char *s, uint32 len,
			  const EddyNumber *number, Datum *value)
{
	int			number_scale = number->fraction - number->exponent;
	int			scale;
	int			digits = number->digits;
	int64		mantissa = (int64) number->mantissa;

	if (digits == 0 && number_scale < 0)
		number_scale = 0;		/* zero, whatever its exponent */
	scale = number_scale;
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

	/* too large for the column, or for numeric, which raises an error, also when it is rounded */
	if (number->digits - number_scale >
		(column->precision > 0 ? column->precision - column->scale : NUMERIC_INTEGER_DIGITS))
		return EDDY_VALUE_RANGE;
	/* numeric_in refuses so many decimal places before it would round them to zero */
	if (column->precision > 0 && number_scale > NUMERIC_FRACTION_DIGITS &&
		number->digits - number_scale < -column->scale)
		return numeric_from_text(column, "0", 1, value);
	if (number_scale > NUMERIC_FRACTION_DIGITS || number->fraction > NUMERIC_FRACTION_DIGITS)
		return EDDY_VALUE_RANGE;
	return numeric_from_text(column, s, len, value);
}

/* numeric_from_string accepts what numeric_in does, in its decimal forms. */
static EddyValueResult
numeric_from_string(const EddyValueColumn *column, const char *s, uint32 len, Datum *value)
{
	static const char *const words[] = {"nan", "inf", "infinity", NULL};
	EddyNumber number;
	bool		sign;

	eddy_value_trim(&s, &len);
	sign = (len > 0 && (*s == '+' || *s == '-'));
	for (int i = 0; words[i] != NULL; i++)
	{
		/* only the infinities have a sign */
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
	if (eddy_decode_scan_number(s, s + len, true, &number) != s + len)
		return EDDY_VALUE_INVALID;
	return store_numeric(column, s, len, &number, value);
}

/*
 * eddy_value_from_number makes a column's value from a scanned number, whose text is s.
 *
 * Types that are not numbers get its text, as from json_populate_record.
 */
EddyValueResult
eddy_value_from_number(const EddyValueColumn *column, EddyTimeFormat time_format, const char *s,
					   uint32 len, const EddyNumber *number, Datum *value)
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

/* eddy_value_parse_number converts the text of an integer, floating-point or numeric column. */
EddyValueResult
eddy_value_parse_number(const EddyValueColumn *column, const char *s, uint32 len, Datum *value)
{
	switch (column->kind)
	{
		case EDDY_VALUE_INT2:
		case EDDY_VALUE_INT4:
		case EDDY_VALUE_INT8:
			return integer_from_string(column, s, len, value);
		case EDDY_VALUE_FLOAT4:
		case EDDY_VALUE_FLOAT8:
			eddy_value_trim(&s, &len);
			return store_float(column, s, len, value);
		default:
			return numeric_from_string(column, s, len, value);
	}
}

/*-------------------------------------------------------------------------
 *
 * lexical.c
 *    Scanning of decimal numbers.
 *
 * Deliberately without postgres.h: see lexical.h.
 *
 *-------------------------------------------------------------------------
 */
#include <stddef.h>

#include "lexical.h"

/*
 * eddy_decode_scan_number checks a number that begins at p and splits it.
 *
 * Returns the byte after it, or NULL if there is no number. Strict is JSON's grammar; lenient also
 * accepts, as PostgreSQL's own numeric input does, leading zeros and a point without digits on one
 * of its sides. Never reads at or after end.
 */
const char *
eddy_decode_scan_number(const char *p, const char *end, bool lenient, EddyNumber *number)
{
	uint64_t	mantissa = 0;
	int32_t		digits = 0;
	int32_t		fraction = 0;
	const char *first;
	int32_t		integer_digits;

	number->negative = (p < end && *p == '-');
	number->has_fraction = false;
	number->has_exponent = false;
	number->exponent = 0;
	if (number->negative)
		p++;

	first = p;
	while (p < end && *p >= '0' && *p <= '9')
	{
		/* overflow is harmless: mantissa counts only up to 19 digits */
		mantissa = mantissa * 10 + (uint64_t) (*p - '0');
		digits += (mantissa != 0 || digits > 0);
		p++;
	}
	integer_digits = (int32_t) (p - first);
	if (!lenient && (integer_digits == 0 || (integer_digits > 1 && *first == '0')))
		return NULL;

	if (p < end && *p == '.')
	{
		number->has_fraction = true;
		first = ++p;
		while (p < end && *p >= '0' && *p <= '9')
		{
			mantissa = mantissa * 10 + (uint64_t) (*p - '0');
			digits += (mantissa != 0 || digits > 0);
			p++;
		}
		fraction = (int32_t) (p - first);
		if (fraction == 0 && !lenient)
			return NULL;
	}
	if (integer_digits + fraction == 0)
		return NULL;

	if (p < end && (*p == 'e' || *p == 'E'))
	{
		bool		negative = false;
		int32_t		exponent = 0;

		number->has_exponent = true;
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			negative = (*p++ == '-');
		first = p;
		while (p < end && *p >= '0' && *p <= '9')
		{
			if (exponent < EDDY_NUMBER_MAX_EXPONENT)
				exponent = exponent * 10 + (*p - '0');
			p++;
		}
		if (p == first)
			return NULL;
		if (exponent > EDDY_NUMBER_MAX_EXPONENT)
			exponent = EDDY_NUMBER_MAX_EXPONENT;
		number->exponent = negative ? -exponent : exponent;
	}

	number->mantissa = mantissa;
	number->digits = digits;
	number->fraction = fraction;
	return p;
}

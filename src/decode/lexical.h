/*-------------------------------------------------------------------------
 *
 * lexical.h
 *    Numbers, digits and white space as they occur in the texts of all formats.
 *
 * Without PostgreSQL, so that parsers which are fuzzed alone can use it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_DECODE_LEXICAL_H
#define EDDY_DECODE_LEXICAL_H

#include <stdbool.h>
#include <stdint.h>

/* A decimal number, split into its parts while it is checked. */
typedef struct EddyNumber
{
	bool		negative;
	bool		has_fraction;	/* it contains a decimal point */
	bool		has_exponent;
	uint64_t	mantissa;		/* all digits; valid if digits <= 19 */
	int32_t		digits;			/* significant ones, without leading zeros */
	int32_t		fraction;		/* digits after the point */
	int32_t		exponent;		/* as written, clamped to +-EDDY_NUMBER_MAX_EXPONENT */
} EddyNumber;

#define EDDY_NUMBER_MAX_EXPONENT 1000000

extern const char *eddy_decode_scan_number(const char *p, const char *end, bool lenient,
										   EddyNumber *number);

/*
 * eddy_decode_scan_integer does the same for the most common numbers: 1 to 18 digits, of which the
 * first is not 0. Returns the byte after them, or NULL for other numbers. The text is terminated.
 */
static inline const char *
eddy_decode_scan_integer(const char *p, EddyNumber *number)
{
	const char *first = p;
	uint64_t	mantissa = 0;
	unsigned int digit = (unsigned int) *p - '0';

	if (digit == 0)
		return NULL;
	while (digit <= 9)
	{
		mantissa = mantissa * 10 + digit;
		digit = (unsigned int) *++p - '0';
	}
	if (p == first || p - first > 18)
		return NULL;
	number->negative = number->has_fraction = number->has_exponent = false;
	number->mantissa = mantissa;
	number->digits = (int32_t) (p - first);
	number->fraction = number->exponent = 0;
	return p;
}

static inline bool
eddy_decode_is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* The value of a hexadecimal digit, -1 if it is not one. */
static inline int
eddy_decode_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

#endif							/* EDDY_DECODE_LEXICAL_H */

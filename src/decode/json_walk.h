/*-------------------------------------------------------------------------
 *
 * json_walk.h
 *    A strict walk over the tokens of a JSON text.
 *
 * The walker consumes values one by one and checks each against RFC 8259,
 * the skipped ones included. It allocates nothing, raises nothing and knows
 * neither PostgreSQL nor C++, so that it can be fuzzed alone.
 *
 * The text must be followed by one NUL byte. The walker never writes to it;
 * callers may overwrite bytes within strings that they have consumed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_JSON_WALK_H
#define EDDY_JSON_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "json_shim.h"

/* Deeper texts are refused; the walk is recursive. */
#define EDDY_JSON_MAX_DEPTH 512

/* A place in the list of tokens. */
typedef struct EddyJsonCursor
{
	char	   *text;			/* text[len] is NUL */
	const uint32_t *positions;	/* of the tokens; positions[count] = len */
	uint32_t	count;
	uint32_t	next;			/* the token to be consumed next; never above count */
	bool		has_escapes;	/* is there any backslash in the text? */
	EddyJsonStatus status;		/* why a function returned false */
} EddyJsonCursor;

typedef enum EddyJsonKind
{
	EDDY_JSON_NULL,
	EDDY_JSON_TRUE,
	EDDY_JSON_FALSE,
	EDDY_JSON_NUMBER,
	EDDY_JSON_STRING,
	EDDY_JSON_OBJECT,
	EDDY_JSON_ARRAY
} EddyJsonKind;

/* A number, taken apart while it is checked. */
typedef struct EddyJsonNumber
{
	bool		negative;
	bool		has_fraction;	/* a decimal point was there */
	bool		has_exponent;
	uint64_t	mantissa;		/* all digits; valid if digits <= 19 */
	int32_t		digits;			/* significant ones, without leading zeros */
	int32_t		fraction;		/* digits behind the point */
	int32_t		exponent;		/* as written, clamped to +-EDDY_JSON_MAX_EXPONENT */
} EddyJsonNumber;

#define EDDY_JSON_MAX_EXPONENT 1000000

/* One value as read. */
typedef struct EddyJsonValue
{
	EddyJsonKind kind;
	bool		escaped;		/* string with backslashes: eddy_json_unescape it */
	uint32_t	start;			/* offset of its text; of strings, without the quotes */
	uint32_t	len;
	EddyJsonNumber number;
} EddyJsonValue;

/* What eddy_json_unescape can object to. */
typedef enum EddyJsonEscape
{
	EDDY_JSON_ESCAPE_OK,
	EDDY_JSON_ESCAPE_NUL,		/* \u0000 */
	EDDY_JSON_ESCAPE_SURROGATE	/* half of a surrogate pair */
} EddyJsonEscape;

/* eddy_json_peek gives the first byte of the next token, NUL at the end. */
static inline char
eddy_json_peek(const EddyJsonCursor *cursor)
{
	return cursor->text[cursor->positions[cursor->next]];
}

static inline bool
eddy_json_is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

extern EddyJsonStatus eddy_json_open(EddyJsonCursor *cursor, char *text, size_t len);
extern bool eddy_json_read(EddyJsonCursor *cursor, int depth, EddyJsonValue *value);
extern bool eddy_json_skip(EddyJsonCursor *cursor, int depth);
extern bool eddy_json_read_key(EddyJsonCursor *cursor, EddyJsonValue *key);
extern EddyJsonEscape eddy_json_unescape(const char *src, uint32_t len, char *dst,
										 uint32_t *dst_len);
extern const char *eddy_json_scan_number(const char *p, const char *end, bool lenient,
										 EddyJsonNumber *number);

/* The value of a hexadecimal digit, -1 if it is none. */
static inline int
eddy_json_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

#endif							/* EDDY_JSON_WALK_H */

/*-------------------------------------------------------------------------
 *
 * json_walk.h
 *    A strict walk over the tokens of a JSON text.
 *
 * The walk consumes values one by one and checks each against RFC 8259, including those that are
 * skipped. It allocates no memory, raises no errors and uses neither PostgreSQL nor C++, so that it
 * can be fuzzed alone.
 *
 * The text must be followed by one NUL byte. The walk never writes to it; callers may overwrite
 * bytes within strings that they have consumed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_JSON_WALK_H
#define EDDY_JSON_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "json_shim.h"
#include "lexical.h"

/* Deeper texts are refused; the walk is recursive. */
#define EDDY_JSON_MAX_DEPTH 512

/* A position in the list of tokens. */
typedef struct EddyJsonCursor
{
	char	   *text;			/* text[len] is NUL */
	const uint32_t *positions;	/* of the tokens; positions[count] = len */
	uint32_t	count;
	uint32_t	next;			/* the token to be consumed next; never above count */
	bool		has_escapes;	/* the text contains a backslash */
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

/* One value as read. */
typedef struct EddyJsonValue
{
	EddyJsonKind kind;
	bool		escaped;		/* string with backslashes: eddy_json_unescape it */
	uint32_t	start;			/* offset of its text; of strings, without the quotes */
	uint32_t	len;
	EddyNumber number;
} EddyJsonValue;

/* The result of eddy_json_unescape. */
typedef enum EddyJsonEscape
{
	EDDY_JSON_ESCAPE_OK,
	EDDY_JSON_ESCAPE_NUL,		/* \u0000 */
	EDDY_JSON_ESCAPE_SURROGATE	/* half of a surrogate pair */
} EddyJsonEscape;

/* eddy_json_peek returns the first byte of the next token, NUL at the end. */
static inline char
eddy_json_peek(const EddyJsonCursor *cursor)
{
	return cursor->text[cursor->positions[cursor->next]];
}

extern EddyJsonStatus eddy_json_open(EddyJsonCursor *cursor, char *text, size_t len);
extern bool eddy_json_read(EddyJsonCursor *cursor, int depth, EddyJsonValue *value);
extern bool eddy_json_skip(EddyJsonCursor *cursor, int depth);
extern bool eddy_json_read_key(EddyJsonCursor *cursor, EddyJsonValue *key);
extern EddyJsonEscape eddy_json_unescape(const char *src, uint32_t len, char *dst,
										 uint32_t *dst_len);

#endif							/* EDDY_JSON_WALK_H */

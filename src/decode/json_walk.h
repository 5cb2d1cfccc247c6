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
#include <string.h>

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
extern bool eddy_json_skip(EddyJsonCursor *cursor, int depth);
extern bool eddy_json_read_key(EddyJsonCursor *cursor, EddyJsonValue *key);
extern EddyJsonEscape eddy_json_unescape(const char *src, uint32_t len, char *dst,
										 uint32_t *dst_len);

/* ---- reading a value: inline, because it is done for each field of each message ---- */

extern bool eddy_json_skip_container(EddyJsonCursor *cursor, int depth);
extern bool eddy_json_check_escapes(const char *s, uint32_t len);

/* eddy_json_refuse sets the status of the cursor; returns false. */
static inline bool
eddy_json_refuse(EddyJsonCursor *cursor, EddyJsonStatus status)
{
	cursor->status = status;
	return false;
}

/* eddy_json_ends_scalar returns whether a number or literal may end before the byte at offset. */
static inline bool
eddy_json_ends_scalar(const EddyJsonCursor *cursor, uint32_t offset)
{
	char		c = cursor->text[offset];

	return c == ',' || c == '}' || c == ']' || eddy_decode_is_space(c) ||
		offset == cursor->positions[cursor->count];
}

/* eddy_json_read_string consumes a string token; value gets what is between the quotes. */
static inline bool
eddy_json_read_string(EddyJsonCursor *cursor, EddyJsonValue *value)
{
	uint32_t	start = cursor->positions[cursor->next] + 1;
	uint32_t	end = cursor->positions[cursor->next + 1] - 1;

	while (eddy_decode_is_space(cursor->text[end]))
		end--;
	if (end < start || cursor->text[end] != '"')
		return eddy_json_refuse(cursor, EDDY_JSON_SYNTAX);
	cursor->next++;

	value->kind = EDDY_JSON_STRING;
	value->start = start;
	value->len = end - start;
	value->escaped = cursor->has_escapes &&
		memchr(cursor->text + start, '\\', value->len) != NULL;
	if (value->escaped && !eddy_json_check_escapes(cursor->text + start, value->len))
		return eddy_json_refuse(cursor, EDDY_JSON_SYNTAX);
	return true;
}

/* eddy_json_read_literal consumes true, false or null. */
static inline bool
eddy_json_read_literal(EddyJsonCursor *cursor, const char *word, uint32_t len,
					   EddyJsonKind kind, EddyJsonValue *value)
{
	uint32_t	start = cursor->positions[cursor->next];

	/* the NUL after the text ends the comparison before it could leave the text */
	if (strncmp(cursor->text + start, word, len) != 0 || !eddy_json_ends_scalar(cursor, start + len))
		return eddy_json_refuse(cursor, EDDY_JSON_SYNTAX);
	cursor->next++;
	value->kind = kind;
	value->escaped = false;
	value->start = start;
	value->len = len;
	return true;
}

static inline bool
eddy_json_read_number(EddyJsonCursor *cursor, EddyJsonValue *value)
{
	uint32_t	start = cursor->positions[cursor->next];
	const char *end;

	if (cursor->next >= cursor->count)
		return eddy_json_refuse(cursor, EDDY_JSON_SYNTAX);
	end = eddy_decode_scan_integer(cursor->text + start, &value->number);
	if (end == NULL || !eddy_json_ends_scalar(cursor, (uint32_t) (end - cursor->text)))
		end = eddy_decode_scan_number(cursor->text + start,
									  cursor->text + cursor->positions[cursor->next + 1],
									  false, &value->number);
	if (end == NULL || !eddy_json_ends_scalar(cursor, (uint32_t) (end - cursor->text)))
		return eddy_json_refuse(cursor, EDDY_JSON_SYNTAX);
	cursor->next++;
	value->kind = EDDY_JSON_NUMBER;
	value->escaped = false;
	value->start = start;
	value->len = (uint32_t) (end - (cursor->text + start));
	return true;
}

/*
 * eddy_json_read consumes one value at the given depth (0: the text itself).
 *
 * The value of an object or array is its text, without white space after it.
 */
static inline bool
eddy_json_read(EddyJsonCursor *cursor, int depth, EddyJsonValue *value)
{
	char		c = eddy_json_peek(cursor);

	switch (c)
	{
		case '"':
			return eddy_json_read_string(cursor, value);
		case '{':
		case '[':
			{
				uint32_t	end;

				value->kind = c == '{' ? EDDY_JSON_OBJECT : EDDY_JSON_ARRAY;
				value->escaped = false;
				value->start = cursor->positions[cursor->next];
				if (!eddy_json_skip_container(cursor, depth))
					return false;
				end = cursor->positions[cursor->next];
				while (eddy_decode_is_space(cursor->text[end - 1]))
					end--;
				value->len = end - value->start;
				return true;
			}
		case 't':
			return eddy_json_read_literal(cursor, "true", 4, EDDY_JSON_TRUE, value);
		case 'f':
			return eddy_json_read_literal(cursor, "false", 5, EDDY_JSON_FALSE, value);
		case 'n':
			return eddy_json_read_literal(cursor, "null", 4, EDDY_JSON_NULL, value);
		default:
			return eddy_json_read_number(cursor, value);
	}
}

#endif							/* EDDY_JSON_WALK_H */

/*-------------------------------------------------------------------------
 *
 * json_walk.c
 *    A strict walk over the tokens of a JSON text.
 *
 * The walk relies on these guarantees of the index (json_shim.h): UTF-8 is valid; strings are
 * closed and contain no control characters; every byte outside strings that is neither white space
 * nor the continuation of a number or literal is a token of its own. So a string ends at the last
 * byte before the next token that is not white space, and what remains to be checked is the order
 * of tokens, the text of numbers and literals, and the escapes within strings.
 *
 * Deliberately without postgres.h: see json_walk.h.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "json_walk.h"

/* refuse sets the status of the cursor; returns false. */
static bool
refuse(EddyJsonCursor *cursor, EddyJsonStatus status)
{
	cursor->status = status;
	return false;
}

/* ends_scalar returns whether a number or literal may end before the byte at offset. */
static inline bool
ends_scalar(const EddyJsonCursor *cursor, uint32_t offset)
{
	char		c = cursor->text[offset];

	return c == ',' || c == '}' || c == ']' || eddy_decode_is_space(c) ||
		offset == cursor->positions[cursor->count];
}

/* read_hex4 reads the four digits of \uXXXX; returns -1 if these are not digits. */
static int
read_hex4(const char *p)
{
	int			result = 0;

	for (int i = 0; i < 4; i++)
	{
		int			digit = eddy_decode_hex_digit(p[i]);

		if (digit < 0)
			return -1;
		result = result * 16 + digit;
	}
	return result;
}

/* check_escapes checks the form of each escape in a string, not its meaning. */
static bool
check_escapes(const char *s, uint32_t len)
{
	const char *end = s + len;

	while ((s = memchr(s, '\\', end - s)) != NULL)
	{
		s++;					/* the closing quote is not escaped, so one byte follows */
		if (s >= end)
			return false;
		switch (*s++)
		{
			case '"':
			case '\\':
			case '/':
			case 'b':
			case 'f':
			case 'n':
			case 'r':
			case 't':
				break;
			case 'u':
				if (end - s < 4 || read_hex4(s) < 0)
					return false;
				s += 4;
				break;
			default:
				return false;
		}
	}
	return true;
}

/*
 * eddy_json_open indexes a text and places the cursor at its first token.
 *
 * text[len] must be NUL.
 */
EddyJsonStatus
eddy_json_open(EddyJsonCursor *cursor, char *text, size_t len)
{
	cursor->text = text;
	cursor->next = 0;
	cursor->status = eddy_json_index(text, len, &cursor->positions, &cursor->count);
	cursor->has_escapes = memchr(text, '\\', len) != NULL;
	return cursor->status;
}

/* read_string consumes a string token; value gets what is between the quotes. */
static inline bool
read_string(EddyJsonCursor *cursor, EddyJsonValue *value)
{
	uint32_t	start = cursor->positions[cursor->next] + 1;
	uint32_t	end = cursor->positions[cursor->next + 1] - 1;

	while (eddy_decode_is_space(cursor->text[end]))
		end--;
	if (end < start || cursor->text[end] != '"')
		return refuse(cursor, EDDY_JSON_SYNTAX);
	cursor->next++;

	value->kind = EDDY_JSON_STRING;
	value->start = start;
	value->len = end - start;
	value->escaped = cursor->has_escapes &&
		memchr(cursor->text + start, '\\', value->len) != NULL;
	if (value->escaped && !check_escapes(cursor->text + start, value->len))
		return refuse(cursor, EDDY_JSON_SYNTAX);
	return true;
}

/* read_literal consumes true, false or null. */
static inline bool
read_literal(EddyJsonCursor *cursor, const char *word, uint32_t len, EddyJsonKind kind,
			 EddyJsonValue *value)
{
	uint32_t	start = cursor->positions[cursor->next];

	/* the NUL after the text ends the comparison before it could leave the text */
	if (strncmp(cursor->text + start, word, len) != 0 || !ends_scalar(cursor, start + len))
		return refuse(cursor, EDDY_JSON_SYNTAX);
	cursor->next++;
	value->kind = kind;
	value->escaped = false;
	value->start = start;
	value->len = len;
	return true;
}

static inline bool
read_number(EddyJsonCursor *cursor, EddyJsonValue *value)
{
	uint32_t	start = cursor->positions[cursor->next];
	const char *end;

	if (cursor->next >= cursor->count)
		return refuse(cursor, EDDY_JSON_SYNTAX);
	end = eddy_decode_scan_number(cursor->text + start,
								  cursor->text + cursor->positions[cursor->next + 1],
								  false, &value->number);
	if (end == NULL || !ends_scalar(cursor, (uint32_t) (end - cursor->text)))
		return refuse(cursor, EDDY_JSON_SYNTAX);
	cursor->next++;
	value->kind = EDDY_JSON_NUMBER;
	value->escaped = false;
	value->start = start;
	value->len = (uint32_t) (end - (cursor->text + start));
	return true;
}

/*
 * eddy_json_read_key consumes a key and the colon after it.
 */
bool
eddy_json_read_key(EddyJsonCursor *cursor, EddyJsonValue *key)
{
	if (eddy_json_peek(cursor) != '"' || !read_string(cursor, key))
		return refuse(cursor, EDDY_JSON_SYNTAX);
	if (eddy_json_peek(cursor) != ':')
		return refuse(cursor, EDDY_JSON_SYNTAX);
	cursor->next++;
	return true;
}

/* skip_container consumes an object or array, and checks everything in it. */
static bool
skip_container(EddyJsonCursor *cursor, int depth)
{
	bool		is_object = eddy_json_peek(cursor) == '{';
	char		closing = is_object ? '}' : ']';
	EddyJsonValue key;

	if (depth >= EDDY_JSON_MAX_DEPTH)
		return refuse(cursor, EDDY_JSON_DEPTH);
	cursor->next++;
	if (eddy_json_peek(cursor) == closing)
	{
		cursor->next++;
		return true;
	}
	for (;;)
	{
		char		c;

		if (is_object && !eddy_json_read_key(cursor, &key))
			return false;
		if (!eddy_json_skip(cursor, depth + 1))
			return false;
		c = eddy_json_peek(cursor);
		if (c != ',' && c != closing)
			return refuse(cursor, EDDY_JSON_SYNTAX);
		cursor->next++;
		if (c == closing)
			return true;
	}
}

/*
 * eddy_json_read consumes one value at the given depth (0: the text itself).
 *
 * The value of an object or array is its text, without white space after it.
 */
bool
eddy_json_read(EddyJsonCursor *cursor, int depth, EddyJsonValue *value)
{
	char		c = eddy_json_peek(cursor);

	switch (c)
	{
		case '"':
			return read_string(cursor, value);
		case '{':
		case '[':
			{
				uint32_t	end;

				value->kind = c == '{' ? EDDY_JSON_OBJECT : EDDY_JSON_ARRAY;
				value->escaped = false;
				value->start = cursor->positions[cursor->next];
				if (!skip_container(cursor, depth))
					return false;
				end = cursor->positions[cursor->next];
				while (eddy_decode_is_space(cursor->text[end - 1]))
					end--;
				value->len = end - value->start;
				return true;
			}
		case 't':
			return read_literal(cursor, "true", 4, EDDY_JSON_TRUE, value);
		case 'f':
			return read_literal(cursor, "false", 5, EDDY_JSON_FALSE, value);
		case 'n':
			return read_literal(cursor, "null", 4, EDDY_JSON_NULL, value);
		default:
			return read_number(cursor, value);
	}
}

/*
 * eddy_json_skip consumes one value and checks it as strictly as reading does.
 */
bool
eddy_json_skip(EddyJsonCursor *cursor, int depth)
{
	char		c = eddy_json_peek(cursor);
	EddyJsonValue value;

	if (c == '{' || c == '[')
		return skip_container(cursor, depth);
	return eddy_json_read(cursor, depth, &value);
}

/* put_utf8 writes a code point; returns the byte after it. */
static char *
put_utf8(char *dst, uint32_t c)
{
	if (c < 0x80)
		*dst++ = (char) c;
	else if (c < 0x800)
	{
		*dst++ = (char) (0xC0 | (c >> 6));
		*dst++ = (char) (0x80 | (c & 0x3F));
	}
	else if (c < 0x10000)
	{
		*dst++ = (char) (0xE0 | (c >> 12));
		*dst++ = (char) (0x80 | ((c >> 6) & 0x3F));
		*dst++ = (char) (0x80 | (c & 0x3F));
	}
	else
	{
		*dst++ = (char) (0xF0 | (c >> 18));
		*dst++ = (char) (0x80 | ((c >> 12) & 0x3F));
		*dst++ = (char) (0x80 | ((c >> 6) & 0x3F));
		*dst++ = (char) (0x80 | (c & 0x3F));
	}
	return dst;
}

/*
 * eddy_json_unescape replaces the escapes of a string that was read.
 *
 * The result is never longer than the source, and dst may be src.
 */
EddyJsonEscape
eddy_json_unescape(const char *src, uint32_t len, char *dst, uint32_t *dst_len)
{
	const char *end = src + len;
	char	   *start = dst;

	while (src < end)
	{
		const char *backslash = memchr(src, '\\', end - src);
		size_t		plain = (backslash ? backslash : end) - src;
		uint32_t	c;

		memmove(dst, src, plain);
		dst += plain;
		if (backslash == NULL)
			break;
		src = backslash + 2;
		switch (backslash[1])
		{
			case 'b':
				*dst++ = '\b';
				break;
			case 'f':
				*dst++ = '\f';
				break;
			case 'n':
				*dst++ = '\n';
				break;
			case 'r':
				*dst++ = '\r';
				break;
			case 't':
				*dst++ = '\t';
				break;
			case 'u':
				c = (uint32_t) read_hex4(src);
				src += 4;
				if (c == 0)
					return EDDY_JSON_ESCAPE_NUL;
				if (c >= 0xD800 && c <= 0xDBFF)
				{
					int			low = -1;

					if (end - src >= 6 && src[0] == '\\' && src[1] == 'u')
						low = read_hex4(src + 2);
					if (low < 0xDC00 || low > 0xDFFF)
						return EDDY_JSON_ESCAPE_SURROGATE;
					src += 6;
					c = 0x10000 + ((c - 0xD800) << 10) + ((uint32_t) low - 0xDC00);
				}
				else if (c >= 0xDC00 && c <= 0xDFFF)
					return EDDY_JSON_ESCAPE_SURROGATE;
				dst = put_utf8(dst, c);
				break;
			default:
				*dst++ = backslash[1];	/* quote, backslash or slash */
				break;
		}
	}
	*dst_len = (uint32_t) (dst - start);
	return EDDY_JSON_ESCAPE_OK;
}

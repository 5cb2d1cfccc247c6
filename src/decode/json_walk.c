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

/* eddy_json_check_escapes checks the form of each escape in a string, not its meaning. */
bool
eddy_json_check_escapes(const char *s, uint32_t len)
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

/*
 * eddy_json_read_key consumes a key and the colon after it.
 */
bool
eddy_json_read_key(EddyJsonCursor *cursor, EddyJsonValue *key)
{
	if (eddy_json_peek(cursor) != '"' || !eddy_json_read_string(cursor, key))
		return eddy_json_refuse(cursor, EDDY_JSON_SYNTAX);
	if (eddy_json_peek(cursor) != ':')
		return eddy_json_refuse(cursor, EDDY_JSON_SYNTAX);
	cursor->next++;
	return true;
}

/* eddy_json_skip_container consumes an object or array, and checks everything in it. */
bool
eddy_json_skip_container(EddyJsonCursor *cursor, int depth)
{
	bool		is_object = eddy_json_peek(cursor) == '{';
	char		closing = is_object ? '}' : ']';
	EddyJsonValue key;

	if (depth >= EDDY_JSON_MAX_DEPTH)
		return eddy_json_refuse(cursor, EDDY_JSON_DEPTH);
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
			return eddy_json_refuse(cursor, EDDY_JSON_SYNTAX);
		cursor->next++;
		if (c == closing)
			return true;
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
		return eddy_json_skip_container(cursor, depth);
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

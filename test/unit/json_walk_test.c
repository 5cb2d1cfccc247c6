/*-------------------------------------------------------------------------
 *
 * json_walk_test.c
 *    Unit tests of the JSON index and walk, without a server. Prints TAP.
 *
 * Texts that must be accepted, texts that must be refused and with which status, the parts of
 * numbers, escapes, limits of depth, and every prefix of a message.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode/json_walk.h"
#include "tap.h"

/*
 * walk reads a text of one value; the copy is followed by exactly one byte, as the walk requires.
 */
static EddyJsonStatus
walk(const char *text, size_t len)
{
	EddyJsonCursor cursor;
	char	   *copy = malloc(len + 1);
	EddyJsonStatus status;

	memcpy(copy, text, len);
	copy[len] = '\0';
	status = eddy_json_open(&cursor, copy, len);
	if (status == EDDY_JSON_OK)
	{
		if (!eddy_json_skip(&cursor, 0))
			status = cursor.status;
		else if (cursor.next != cursor.count)
			status = EDDY_JSON_SYNTAX;
	}
	free(copy);
	return status;
}

static void
expect(const char *text, size_t len, EddyJsonStatus expected)
{
	EddyJsonStatus status = walk(text, len);
	char		name[160];

	snprintf(name, sizeof(name), "status %d for %.*s", (int) expected,
			 (int) strcspn(text, "\n#") > 100 ? 100 : (int) strcspn(text, "\n#"), text);
	ok(status == expected, name);
}

static void
check_accepted(void)
{
	static const char *const texts[] = {
		"{}", " { } ", "[]", "{\"a\":1}", "{\"a\":{\"b\":[1,2,{\"c\":null}]}}", "\"x\"", "0",
		"-0", "-0.0e-0", "1E+5", "123456789012345678901234567890", "1e400", "true", "false",
		"null", "[true,false,null]", "{\"\":\"\"}", "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"]",
		"[\"\\ud800\"]", "[\"\\u0000\"]", "{\"a\":1,\"a\":2}", "[\"a\" , \"b\"]",
		"[\"\xc3\xa4\xf0\x9f\x98\x80\"]", "\r\n\t {\"a\" :\t1\r}\n", NULL
	};

	for (int i = 0; texts[i]; i++)
		expect(texts[i], strlen(texts[i]), EDDY_JSON_OK);
}

static void
check_refused(void)
{
	static const char *const texts[] = {
		"{", "}", "[", "]", ",", ":", "{]", "[}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}",
		"{\"a\" 1}", "{\"a\"::1}", "{\"a\":1 \"b\":2}", "{\"a\":1;\"b\":2}", "{a:1}", "{1:1}",
		"{'a':1}", "[1,]", "[,1]", "[1 2]", "[1,,2]", "{\"a\":1}}", "{\"a\":1}{\"b\":2}",
		"{\"a\":1} x", "{\"a\":1},", "{\"b\":tru}", "{\"b\":truee}", "{\"b\":nul}", "{\"b\":Null}",
		"{\"b\":01}", "{\"b\":-}", "{\"b\":+1}", "{\"b\":.5}", "{\"b\":5.}", "{\"b\":1.e1}",
		"{\"b\":1e}", "{\"b\":1e+}", "{\"b\":0x10}", "{\"b\":1_0}", "{\"b\":1a}", "{\"b\":NaN}",
		"{\"b\":Infinity}", "{\"b\":-Infinity}", "{\"b\":{\"c\":}}", "{\"b\":\"\\q\"}",
		"{\"b\":\"\\u12\"}", "{\"b\":\"\\u12G4\"}", "{\"\\q\":1}", "{\"b\":1\"c\":2}",
		"{\"b\":true\"c\"}", "{\"b\":\"c\"d}", "{\"b\":\"c\"\"d\"}", "[1\f,2]", "[1\v2]",
		"[\"a\"\f]",
		"/* c */ {}", "{} // c", "--1", "1 2", "\xef\xbb\xbf{}", "{\"a\":1\x0c}", NULL
	};
	static const char nul_after[] = "{\"a\":1}\0";
	static const char nul_number[] = "{\"a\":1\0}";
	static const char nul_literal[] = "[true\0]";
	static const char nul_token[] = "[\0]";
	static const char nul_string[] = "[\"a\0b\"]";

	for (int i = 0; texts[i]; i++)
		expect(texts[i], strlen(texts[i]), EDDY_JSON_SYNTAX);
	expect(nul_after, sizeof(nul_after) - 1, EDDY_JSON_SYNTAX);
	expect(nul_number, sizeof(nul_number) - 1, EDDY_JSON_SYNTAX);
	expect(nul_literal, sizeof(nul_literal) - 1, EDDY_JSON_SYNTAX);
	expect(nul_token, sizeof(nul_token) - 1, EDDY_JSON_SYNTAX);
	expect(nul_string, sizeof(nul_string) - 1, EDDY_JSON_CONTROL);
	expect("[\"a\nb\"]", 7, EDDY_JSON_CONTROL);
	expect("[\"a", 3, EDDY_JSON_UNCLOSED);
	expect("[\"a\\\"]", 6, EDDY_JSON_UNCLOSED);
	expect("", 0, EDDY_JSON_EMPTY);
	expect("  ", 2, EDDY_JSON_EMPTY);
	expect("[\"\xc0\xaf\"]", 6, EDDY_JSON_NOT_UTF8);
	expect("[\"\xed\xa0\x80\"]", 7, EDDY_JSON_NOT_UTF8);
	expect("[\"\xf4\x90\x80\x80\"]", 8, EDDY_JSON_NOT_UTF8);
	expect("[\"\xc3\"]", 5, EDDY_JSON_NOT_UTF8);
	expect("{\"a\":\xff}", 7, EDDY_JSON_NOT_UTF8);
}

/* check_depth nests arrays and objects up to the limit and beyond it. */
static void
check_depth(void)
{
	static const struct
	{
		int			depth;
		EddyJsonStatus expected;
	}			cases[] = {
		{EDDY_JSON_MAX_DEPTH, EDDY_JSON_OK},
		{EDDY_JSON_MAX_DEPTH + 1, EDDY_JSON_DEPTH},
		{10000, EDDY_JSON_DEPTH},
		{1000000, EDDY_JSON_DEPTH}
	};

	for (int i = 0; i < 4; i++)
	{
		int			depth = cases[i].depth;
		char	   *text = malloc(6 * (size_t) depth + 2);
		char	   *p = text;
		char		name[64];

		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		snprintf(name, sizeof(name), "%d nested arrays", depth);
		ok(walk(text, 2 * (size_t) depth) == cases[i].expected, name);

		for (int j = 0; j < depth - 1; j++, p += 5)
			memcpy(p, "{\"a\":", 5);
		memcpy(p, "{}", 2);
		memset(p + 2, '}', depth - 1);
		snprintf(name, sizeof(name), "%d nested objects", depth);
		ok(walk(text, 5 * (size_t) (depth - 1) + 2 + (depth - 1)) == cases[i].expected, name);
		free(text);
	}
}

/* check_damage cuts a message after every byte, and drops every byte that is not in a string. */
static void
check_damage(void)
{
	static const char text[] =
		"{\"id\":12,\"skipped\":{\"x\":[1,-2.5e3,null]},\"t\":true,\"s\":\"a\\u00e9\\n\"}";
	size_t		len = sizeof(text) - 1;
	bool		good = true;
	char		copy[sizeof(text)];

	for (size_t cut = 0; cut < len; cut++)
		good = good && walk(text, cut) != EDDY_JSON_OK;
	ok(good, "a message cut after any byte is refused");

	good = true;
	for (size_t i = 0; i < len; i++)
	{
		memcpy(copy, text, i);
		memcpy(copy + i, text + i + 1, len - i);
		if (strchr("{}[]\":,", text[i]) != NULL && text[i - (i > 0)] != 'a')
			good = good && walk(copy, len - 1) != EDDY_JSON_OK;
	}
	/* a missing comma or sign between array items makes another number: none here */
	ok(good, "a message without any one of its marks is refused");

	good = true;
	for (size_t i = 0; i < len; i++)
	{
		memcpy(copy, text, len);
		copy[i] = '\x01';
		good = good && walk(copy, len) != EDDY_JSON_OK;
	}
	ok(good, "a message with any byte replaced by a control character is refused");
}

static void
check_numbers(void)
{
	static const struct
	{
		const char *text;
		bool		lenient;
		bool		valid;
		bool		negative;
		uint64_t	mantissa;
		int			digits;
		int			fraction;
		int			exponent;
	}			cases[] = {
		{"0", false, true, false, 0, 0, 0, 0},
		{"-12", false, true, true, 12, 2, 0, 0},
		{"0.0012", false, true, false, 12, 2, 4, 0},
		{"1.50", false, true, false, 150, 3, 2, 0},
		{"12.5e-3", false, true, false, 125, 3, 1, -3},
		{"9999999999999999999", false, true, false, UINT64_C(9999999999999999999), 19, 0, 0},
		{"1e99999999999999999999", false, true, false, 1, 1, 0, EDDY_NUMBER_MAX_EXPONENT},
		{"1e-99999999999999999999", false, true, false, 1, 1, 0, -EDDY_NUMBER_MAX_EXPONENT},
		{"007", true, true, false, 7, 1, 0, 0},
		{".5", true, true, false, 5, 1, 1, 0},
		{"5.", true, true, false, 5, 1, 0, 0},
		{".", true, false, false, 0, 0, 0, 0},
		{"", true, false, false, 0, 0, 0, 0},
		{"-", true, false, false, 0, 0, 0, 0},
		{"1e", true, false, false, 0, 0, 0, 0},
		{"007", false, false, false, 0, 0, 0, 0}
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		EddyNumber number;
		const char *end = cases[i].text + strlen(cases[i].text);
		bool		valid = eddy_decode_scan_number(cases[i].text, end, cases[i].lenient,
													&number) == end;
		char		name[64];

		snprintf(name, sizeof(name), "number \"%s\"", cases[i].text);
		ok(valid == cases[i].valid &&
		   (!valid || (number.negative == cases[i].negative &&
					   number.mantissa == cases[i].mantissa &&
					   number.digits == cases[i].digits &&
					   number.fraction == cases[i].fraction &&
					   number.exponent == cases[i].exponent)), name);
	}
}

static void
check_escapes(void)
{
	static const struct
	{
		const char *src;
		const char *result;
		EddyJsonEscape expected;
	}			cases[] = {
		{"plain", "plain", EDDY_JSON_ESCAPE_OK},
		{"a\\\"b\\\\c\\/d", "a\"b\\c/d", EDDY_JSON_ESCAPE_OK},
		{"\\b\\f\\n\\r\\t", "\b\f\n\r\t", EDDY_JSON_ESCAPE_OK},
		{"\\u0041\\u00e9\\u20AC\\ud83d\\ude00!", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80!",
		EDDY_JSON_ESCAPE_OK},
		{"x\\u0000", NULL, EDDY_JSON_ESCAPE_NUL},
		{"\\ud800", NULL, EDDY_JSON_ESCAPE_SURROGATE},
		{"\\udc00", NULL, EDDY_JSON_ESCAPE_SURROGATE},
		{"\\ud800\\ud800", NULL, EDDY_JSON_ESCAPE_SURROGATE},
		{"\\ud800\\n12345", NULL, EDDY_JSON_ESCAPE_SURROGATE},
		{"\\ud800x", NULL, EDDY_JSON_ESCAPE_SURROGATE}
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		buffer[64];
		uint32_t	len = 0;
		EddyJsonEscape result;
		char		name[96];

		strcpy(buffer, cases[i].src);
		result = eddy_json_unescape(buffer, strlen(buffer), buffer, &len);
		snprintf(name, sizeof(name), "escapes of %s", cases[i].src);
		ok(result == cases[i].expected &&
		   (cases[i].result == NULL ||
			(len == strlen(cases[i].result) && memcmp(buffer, cases[i].result, len) == 0)), name);
	}
}

/* check_sizes lets the index grow and shrink, and crosses the blocks of the vector code. */
static void
check_sizes(void)
{
	bool		good = true;

	for (size_t len = 2; len < 400; len++)
	{
		char		text[400];

		memset(text, 'x', len);
		text[0] = text[len - 1] = '"';
		good = good && walk(text, len) == EDDY_JSON_OK;
		text[len - 1] = ' ';
		good = good && walk(text, len) == EDDY_JSON_UNCLOSED;
	}
	ok(good, "strings of all lengths around the vector size");

	good = true;
	for (size_t len = 1024; len <= 64 * 1024 * 1024; len *= 8)
	{
		char	   *text = malloc(len);

		memset(text, ',', len);
		for (size_t i = 1; i < len; i += 2)
			text[i] = '1';
		text[0] = '[';
		text[len - 1] = ']';
		text[len - 2] = '1';
		text[len - 3] = ' ';
		text[len - 4] = ',';
		good = good && walk(text, len) == EDDY_JSON_OK && walk("[1]", 3) == EDDY_JSON_OK;
		free(text);
	}
	ok(good, "large messages and small ones in turn");
}

int
main(void)
{
	check_accepted();
	check_refused();
	check_depth();
	check_damage();
	check_numbers();
	check_escapes();
	check_sizes();
	return end_tests();
}

/*-------------------------------------------------------------------------
 *
 * fuzz_text.c
 *    Random texts of values, and JSON texts made of them, for the fuzzers that run in a server.
 *
 * A text is made for a type (FuzzShape), so that most are valid and reach the code for valid ones,
 * with numbers of digits at which the code changes its way. A hostile one is another text, or has
 * some bytes of it changed. All texts are valid UTF-8 without NUL, until fuzz_change_bytes.
 *
 * Memory: the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/resowner.h"

#include "decode/lexical.h"
#include "fuzz_text.h"

void
fuzz_seed(FuzzRandom *random, uint64 seed)
{
	pg_prng_seed(&random->state, seed);
}

uint64
fuzz_below(FuzzRandom *random, uint64 limit)
{
	return pg_prng_uint64_range(&random->state, 0, limit - 1);
}

bool
fuzz_chance(FuzzRandom *random, int percent)
{
	return fuzz_below(random, 100) < (uint64) percent;
}

/* The message of the last error that was caught. */
char		fuzz_error[256];

/*
 * Calls a function that may raise an error, in a subtransaction; returns false if it did.
 */
bool
fuzz_attempt(void (*call) (void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		call(arg);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		strlcpy(fuzz_error, error->message, sizeof(fuzz_error));
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}

typedef struct InputCall
{
	FmgrInfo   *input;
	char	   *text;
	Oid			ioparam;
	int32		typmod;
	Datum		value;
} InputCall;

static void
run_input(void *arg)
{
	InputCall  *call = arg;

	call->value = InputFunctionCall(call->input, call->text, call->ioparam, call->typmod);
}

bool
fuzz_input(FmgrInfo *input, char *text, Oid ioparam, int32 typmod, Datum *value)
{
	InputCall	call = {input, text, ioparam, typmod, (Datum) 0};
	bool		done = fuzz_attempt(run_input, &call);

	*value = call.value;
	return done;
}

#define PICK(random, array) ((array)[fuzz_below((random), lengthof(array))])

/* ---- texts of types ---- */

static void
append_digits(FuzzRandom *random, StringInfo out, int count)
{
	/* runs of equal digits round and carry */
	char		same = PICK(random, "0059");
	bool		run = same != '\0' && fuzz_chance(random, 25);

	for (int i = 0; i < count; i++)
		appendStringInfoChar(out, run ? same : (char) ('0' + fuzz_below(random, 10)));
}

static int
digit_count(FuzzRandom *random)
{
	static const int counts[] = {1, 1, 2, 3, 4, 5, 9, 10, 15, 16, 17, 18, 19, 20, 21, 40, 400};

	return PICK(random, counts);
}

static void
append_integer(FuzzRandom *random, StringInfo out)
{
	static const char *const limits[] = {
		"0", "32767", "32768", "-32768", "-32769", "2147483647", "2147483648", "-2147483648", "-2147483649",
		"9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
		"18446744073709551615", "18446744073709551616", "-0"
	};

	if (fuzz_chance(random, 20))
	{
		appendStringInfoString(out, PICK(random, limits));
		return;
	}
	if (fuzz_chance(random, 30))
		appendStringInfoChar(out, '-');
	appendStringInfo(out, "%d", (int) fuzz_below(random, 9) + 1);
	append_digits(random, out, fuzz_chance(random, 80) ? (int) fuzz_below(random, 4) : digit_count(random));
}

static void
append_number(FuzzRandom *random, StringInfo out)
{
	append_integer(random, out);
	if (fuzz_chance(random, 60))
	{
		appendStringInfoChar(out, '.');
		append_digits(random, out, digit_count(random));
	}
	if (fuzz_chance(random, 20))
	{
		static const int exponents[] = {0, 1, 3, 15, 18, 19, 22, 23, 37, 38, 45, 46, 307, 308, 309, 323, 324, 400, 16383, 16384, 20000, 131070, 131071, 131072, 999999, 1000001};

		appendStringInfo(out, "%c%s%d", fuzz_chance(random, 50) ? 'e' : 'E',
						 fuzz_chance(random, 50) ? "-" : fuzz_chance(random, 50) ? "+" : "",
						 fuzz_chance(random, 80) ? (int) fuzz_below(random, 30) : PICK(random, exponents));
	}
}

static void
append_time(FuzzRandom *random, StringInfo out)
{
	static const char *const years[] = {"2024", "1970", "2000", "0001", "9999", "1600", "294276", "294277", "4714", "12345", "5874897", "1900"};
	static const char *const zones[] = {"", "Z", "z", "+00", "-08", "+05:30", "-00:30", "+1530", "+15:59:59", "-16", "+053015"};

	if (fuzz_chance(random, 3))
	{
		appendStringInfoString(out, fuzz_chance(random, 50) ? "infinity" : "-infinity");
		return;
	}
	appendStringInfo(out, "%s-%02d-%02d", fuzz_chance(random, 70) ? "2024" : PICK(random, years),
					 (int) fuzz_below(random, 12) + 1,
					 (int) fuzz_below(random, fuzz_chance(random, 90) ? 28 : 31) + 1);
	if (fuzz_chance(random, 10))
		return;
	appendStringInfo(out, "%c%02d:%02d", fuzz_chance(random, 50) ? 'T' : ' ',
					 (int) fuzz_below(random, fuzz_chance(random, 98) ? 24 : 25), (int) fuzz_below(random, 60));
	if (fuzz_chance(random, 90))
	{
		appendStringInfo(out, ":%02d", (int) fuzz_below(random, fuzz_chance(random, 95) ? 60 : 61));
		if (fuzz_chance(random, 70))
		{
			appendStringInfoChar(out, '.');
			append_digits(random, out, (int) fuzz_below(random, fuzz_chance(random, 90) ? 9 : 15) + 1);
		}
	}
	appendStringInfoString(out, PICK(random, zones));
}

static void
append_uuid(FuzzRandom *random, StringInfo out)
{
	bool		braces = fuzz_chance(random, 10);

	if (braces)
		appendStringInfoChar(out, '{');
	for (int i = 0; i < 16; i++)
	{
		appendStringInfo(out, fuzz_chance(random, 50) ? "%02x" : "%02X", (int) fuzz_below(random, 256));
		if ((i == 3 || i == 5 || i == 7 || i == 9) && fuzz_chance(random, 98))
			appendStringInfoChar(out, '-');
	}
	if (braces)
		appendStringInfoChar(out, '}');
}

static void
append_bytea(FuzzRandom *random, StringInfo out)
{
	static const char *const pieces[] = {"a", "\\\\", "\\000", "\\377", "\\101", "b c", "'"};
	int			count = (int) fuzz_below(random, 12);
	bool		hex = fuzz_chance(random, 60);

	if (hex)
		appendStringInfoString(out, "\\x");
	for (int i = 0; i < count; i++)
	{
		if (hex)
			appendStringInfo(out, "%02x%s", (int) fuzz_below(random, 256), fuzz_chance(random, 5) ? " \n" : "");
		else
			appendStringInfoString(out, PICK(random, pieces));
	}
}

static void
append_interval(FuzzRandom *random, StringInfo out)
{
	static const char *const units[] = {"day", "hours", "mon", "years", "microseconds", "min", "weeks"};

	for (int i = (int) fuzz_below(random, 3); i >= 0; i--)
		appendStringInfo(out, "%d %s ", (int) fuzz_below(random, 200) - 100, PICK(random, units));
}

static void
append_character(FuzzRandom *random, StringInfo out)
{
	static const char *const strange[] = {
		"\"", "\\", "/", "\b", "\f", "\n", "\r", "\t", "\x01", "\x1f", "\x7f", "'", "{", "}", "[", "]", ",", ":", " ", "%s",
		"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xe2\x80\xa8", "\xef\xbb\xbf", "\xef\xbf\xbf", "\xed\x9f\xbf", "\xee\x80\x80", "\xf4\x8f\xbf\xbf"
	};

	if (fuzz_chance(random, 75))
		appendStringInfoChar(out, (char) (' ' + fuzz_below(random, 95)));
	else
		appendStringInfoString(out, PICK(random, strange));
}

static void
append_text(FuzzRandom *random, StringInfo out)
{
	static const int lengths[] = {0, 1, 4, 5, 6, 7, 8, 20, 62, 63, 64, 65, 124, 125, 126, 127, 128, 129, 500, 6000};
	int			count = fuzz_chance(random, 90) ? (int) fuzz_below(random, 12) : PICK(random, lengths);
	bool		plain = fuzz_chance(random, 50);

	for (int i = 0; i < count; i++)
	{
		if (plain)
			appendStringInfoChar(out, (char) ('a' + fuzz_below(random, 26)));
		else
			append_character(random, out);
	}
	if (fuzz_chance(random, 5))
		appendStringInfoSpaces(out, (int) fuzz_below(random, 5));
}

static void append_json(FuzzRandom *random, StringInfo out, int depth);

/* A text for a type. */
static void
append_shape(FuzzRandom *random, StringInfo out, FuzzShape shape)
{
	static const char *const bools[] = {"true", "false", "t", "f", "yes", "no", "on", "off", "1", "0", "TRUE", " y ", "o", "of"};

	switch (shape)
	{
		case FUZZ_SHAPE_BOOL:
			appendStringInfoString(out, PICK(random, bools));
			break;
		case FUZZ_SHAPE_INTEGER:
			append_integer(random, out);
			break;
		case FUZZ_SHAPE_NUMBER:
			append_number(random, out);
			break;
		case FUZZ_SHAPE_TIME:
			append_time(random, out);
			break;
		case FUZZ_SHAPE_UUID:
			append_uuid(random, out);
			break;
		case FUZZ_SHAPE_BYTEA:
			append_bytea(random, out);
			break;
		case FUZZ_SHAPE_JSON:
			append_json(random, out, 0);
			break;
		case FUZZ_SHAPE_INTERVAL:
			append_interval(random, out);
			break;
		case FUZZ_SHAPE_TEXT:
			append_text(random, out);
			break;
	}
}

/* Changes some characters of a text; it remains valid UTF-8. */
static void
change_characters(FuzzRandom *random, StringInfo text)
{
	static const char *const words[] = {
		"nan", "NaN", "-nan", "inf", "Infinity", "-Infinity", "+inf", "0x1F", "0x1p3", "1_000", "1e", ".", "-.", "5.", ".5", "00012", "+7",
		"--1", "+-1", "- 1", "nan(12)", "1e400", "1e-400", "4.9e-324", "1.17e-38", "1e-46", "infinit", "-infinit", "now", "today", "epoch", "BC",
		"2024-02-30", "2024-13-01", "10000-01-01", "2024-01-01 24:00:01", "{}", "{NULL}", "{\"a\",b}", "[]", "null", "\\", "\\x", "\\x1", "\\x1g", "\\400", "  ", "\t1\n"
	};

	if (fuzz_chance(random, 30))
	{
		resetStringInfo(text);
		appendStringInfoString(text, PICK(random, words));
		return;
	}
	for (int n = (int) fuzz_below(random, 3); n >= 0; n--)
	{
		StringInfoData result;
		int			at = 0;
		int			until = text->len > 0 ? (int) fuzz_below(random, text->len + 1) : 0;
		int			drop;

		/* at the start of a character */
		while (at < until)
			at += pg_utf_mblen((unsigned char *) text->data + at);
		at = Min(at, text->len);
		initStringInfo(&result);
		appendBinaryStringInfo(&result, text->data, at);
		if (fuzz_chance(random, 60))
		{
			static const char *const pieces[] = {"0", "-", "+", ".", "e", " ", ":", "T", "Z", ",", "\"", "\\", "9", "a", "_"};

			appendStringInfoString(&result, PICK(random, pieces));
		}
		else
			append_character(random, &result);
		drop = at < text->len && fuzz_chance(random, 60) ? pg_utf_mblen((unsigned char *) text->data + at) : 0;
		drop = Min(drop, text->len - at);
		appendBinaryStringInfo(&result, text->data + at + drop, text->len - at - drop);
		*text = result;
	}
}

char *
fuzz_text(FuzzRandom *random, FuzzShape shape, bool hostile)
{
	StringInfoData out;

	initStringInfo(&out);
	append_shape(random, &out, hostile && fuzz_chance(random, 20) ? (FuzzShape) fuzz_below(random, FUZZ_SHAPE_TEXT + 1) : shape);
	if (hostile)
		change_characters(random, &out);
	return out.data;
}

/* Which texts are mostly valid for a type. */
FuzzShape
fuzz_shape_of(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return FUZZ_SHAPE_BOOL;
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
			return FUZZ_SHAPE_INTEGER;
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return FUZZ_SHAPE_NUMBER;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return FUZZ_SHAPE_TIME;
		case UUIDOID:
			return FUZZ_SHAPE_UUID;
		case BYTEAOID:
			return FUZZ_SHAPE_BYTEA;
		case JSONOID:
		case JSONBOID:
			return FUZZ_SHAPE_JSON;
		case INTERVALOID:
			return FUZZ_SHAPE_INTERVAL;
		default:
			return FUZZ_SHAPE_TEXT;
	}
}

/* ---- JSON ---- */

/* White space between tokens. */
void
fuzz_space(FuzzRandom *random, StringInfo out)
{
	while (fuzz_chance(random, 15))
		appendStringInfoChar(out, PICK(random, "    \n\r\t")  ? : ' ');
}

/* Appends a string, with escapes where they are needed, and some where they are not. */
void
fuzz_append_json_string(FuzzRandom *random, StringInfo out, const char *text, int len)
{
	static const char escaped[] = "\"\\\b\f\n\r\t/";
	static const char letters[] = "\"\\bfnrt/";
	bool		escapes = fuzz_chance(random, 20);

	appendStringInfoChar(out, '"');
	for (int i = 0; i < len;)
	{
		unsigned char c = text[i];
		const char *special = c != '\0' ? strchr(escaped, c) : NULL;
		int			size = pg_utf_mblen((const unsigned char *) text + i);
		bool		must = c < ' ' || c == '"' || c == '\\';

		if ((must || escapes) && special != NULL && fuzz_chance(random, 80))
			appendStringInfo(out, "\\%c", letters[special - escaped]);
		else if (must || (escapes && fuzz_chance(random, 20)))
		{
			pg_wchar	code = utf8_to_unicode((const unsigned char *) text + i);
			const char *format = fuzz_chance(random, 50) ? "\\u%04x" : "\\u%04X";

			if (code >= 0x10000)
			{
				appendStringInfo(out, format, 0xD800 + ((code - 0x10000) >> 10));
				code = 0xDC00 + ((code - 0x10000) & 0x3FF);
			}
			appendStringInfo(out, format, code);
		}
		else
			appendBinaryStringInfo(out, text + i, size);
		i += size;
	}
	appendStringInfoChar(out, '"');
}

/* Any JSON value. */
static void
append_json(FuzzRandom *random, StringInfo out, int depth)
{
	static const char *const literals[] = {"true", "false", "null", "{}", "[]", "\"\""};
	int			kind = (int) fuzz_below(random, depth < 4 ? 6 : 3);
	char	   *text;

	switch (kind)
	{
		case 0:
			appendStringInfoString(out, PICK(random, literals));
			break;
		case 1:
			append_number(random, out);
			break;
		case 2:
			text = fuzz_text(random, FUZZ_SHAPE_TEXT, false);
			fuzz_append_json_string(random, out, text, strlen(text));
			break;
		default:
			appendStringInfoChar(out, kind == 3 ? '[' : '{');
			for (int n = (int) fuzz_below(random, 4); n >= 0; n--)
			{
				fuzz_space(random, out);
				if (kind != 3)
				{
					text = fuzz_text(random, FUZZ_SHAPE_UUID, false);
					text[fuzz_below(random, 6)] = '\0';
					fuzz_append_json_string(random, out, text, strlen(text));
					fuzz_space(random, out);
					appendStringInfoChar(out, ':');
					fuzz_space(random, out);
				}
				append_json(random, out, depth + 1);
				fuzz_space(random, out);
				if (n > 0)
					appendStringInfoChar(out, ',');
			}
			appendStringInfoChar(out, kind == 3 ? ']' : '}');
	}
}

static bool
is_json_number(const char *text)
{
	EddyNumber	number;
	const char *end = text + strlen(text);

	/* json_shim_fuzz.cc proves the function */
	return eddy_decode_scan_number(text, end, false, &number) == end;
}

static void
make_array(FuzzRandom *random, FuzzValue *value, FuzzShape shape, bool hostile)
{
	StringInfoData json;

	value->kind = FUZZ_ARRAY;
	value->nitems = (int) fuzz_below(random, 5);
	value->items = palloc0(sizeof(char *) * (value->nitems + 1));
	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int i = 0; i < value->nitems; i++)
	{
		StringInfoData item;

		initStringInfo(&item);
		fuzz_space(random, &json);
		if (fuzz_chance(random, 10) && shape != FUZZ_SHAPE_JSON)
			appendStringInfoString(&item, "null");
		else
		{
			char	   *text = fuzz_text(random, shape, hostile && shape != FUZZ_SHAPE_JSON);

			if (shape == FUZZ_SHAPE_JSON)
			{
				/* arrays within it would be further dimensions, null is NULL */
				value->items[i] = *text == '[' || *text == 'n' ? pstrdup("{\"a\": 1}") : text;
				appendStringInfoString(&item, value->items[i]);
			}
			else
			{
				value->items[i] = text;
				if (is_json_number(text) && fuzz_chance(random, 70))
					appendStringInfoString(&item, text);
				else
					fuzz_append_json_string(random, &item, text, strlen(text));
			}
		}
		appendStringInfoString(&json, item.data);
		fuzz_space(random, &json);
		if (i + 1 < value->nitems)
			appendStringInfoChar(&json, ',');
	}
	appendStringInfoChar(&json, ']');
	value->json = value->text = json.data;
}

/* Makes a value for a type, or an array of such values. */
void
fuzz_value(FuzzRandom *random, FuzzValue *value, FuzzShape shape, bool array, bool hostile)
{
	static const char *const not_texts[] = {"\"\\u0000\"", "\"a\\ud800\"", "\"\\udc00b\"", "\"\\ud83d\\u0041\"", "\"x\\ud800\\ud800\""};
	StringInfoData json;

	memset(value, 0, sizeof(*value));
	initStringInfo(&json);
	if (fuzz_chance(random, 5))
	{
		value->kind = FUZZ_NULL;
		value->json = value->text = "null";
		return;
	}
	if (array && !(hostile && fuzz_chance(random, 30)))
	{
		make_array(random, value, shape, hostile);
		return;
	}
	if (hostile && fuzz_chance(random, 20))
	{
		value->json = value->text = pstrdup(PICK(random, not_texts));
		value->kind = FUZZ_STRING;
		value->not_text = true;
		return;
	}
	if (shape == FUZZ_SHAPE_JSON || (hostile && fuzz_chance(random, 20)))
	{
		append_json(random, &json, shape == FUZZ_SHAPE_JSON ? 0 : 4);
		value->json = value->text = json.data;
		value->kind = *json.data == '{' ? FUZZ_OBJECT : *json.data == '[' ? FUZZ_ARRAY : *json.data == '"' ? FUZZ_STRING :
			*json.data == 'n' ? FUZZ_NULL : *json.data == 't' || *json.data == 'f' ? FUZZ_LITERAL : FUZZ_NUMBER;
		/* the content of such a string, or the elements of such an array, are not known here */
		if (shape == FUZZ_SHAPE_JSON || (value->kind != FUZZ_STRING && value->kind != FUZZ_ARRAY))
			return;
		resetStringInfo(&json);
	}
	value->text = fuzz_text(random, shape, hostile);
	value->is_number_text = is_json_number(value->text);
	if (shape == FUZZ_SHAPE_BOOL && (strcmp(value->text, "true") == 0 || strcmp(value->text, "false") == 0))
	{
		value->kind = FUZZ_LITERAL;
		value->json = value->text;
	}
	else if (value->is_number_text && fuzz_chance(random, 70))
	{
		value->kind = FUZZ_NUMBER;
		value->json = value->text;
	}
	else
	{
		value->kind = FUZZ_STRING;
		fuzz_append_json_string(random, &json, value->text, strlen(value->text));
		value->json = json.data;
	}
}

/* Changes, inserts or removes bytes. */
void
fuzz_change_bytes(FuzzRandom *random, StringInfo text)
{
	static const char *const pieces[] = {
		"{", "}", "[", "]", ",", ":", "\"", "\\", "\\\"", "\\u", "\\ud800", "0", "-", "1e", ".", "true", "null", " ", "\f", "\x01", "\x80", "\xed\xa0\x80",
		"\xc0\x80", "\xf8\x88", "{}", "[[[[", "\"a\":", "\"text\":", "\"o\":"
	};

	for (int n = (int) fuzz_below(random, 3); n >= 0; n--)
	{
		int			at = (int) fuzz_below(random, text->len + 1);
		int			drop = (int) fuzz_below(random, 4);
		StringInfoData result;

		drop = Min(drop, text->len - at);
		initStringInfo(&result);
		appendBinaryStringInfo(&result, text->data, at);
		switch (fuzz_below(random, 4))
		{
			case 0:
				drop = text->len - at;
				break;
			case 1:
				appendStringInfoString(&result, PICK(random, pieces));
				break;
			case 2:
				appendStringInfoChar(&result, (char) fuzz_below(random, 256));
				break;
			default:
				break;
		}
		appendBinaryStringInfo(&result, text->data + at + drop, text->len - at - drop);
		*text = result;
	}
}

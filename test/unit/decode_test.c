/*-------------------------------------------------------------------------
 *
 * decode_test.c
 *    Unit tests of the steps that all formats share, with a format of its own. Prints TAP.
 *
 * Messages of the test's format name their schema by one letter, as messages of a registry do by a
 * number: "a:text". Its resolve step learns the schemas of a batch, and decoding rejects a message
 * whose schema is not known. No server: the functions of the server and of value.c that decode.c
 * calls are replaced below.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include "decode/decoder.h"

/* the program is not linked with the server's own versions */
#undef printf
#undef snprintf
#undef vsnprintf

#include "tap.h"

/* ---- in place of the server ---- */

MemoryContext CurrentMemoryContext = NULL;

void *
palloc0(Size size)
{
	return calloc(1, size);
}

char *
psprintf(const char *format,...)
{
	char	   *result = malloc(1000);
	va_list		args;

	va_start(args, format);
	vsnprintf(result, 1000, format, args);
	va_end(args);
	return result;
}

#ifndef HAVE_STRLCPY
size_t
strlcpy(char *dst, const char *src, size_t size)
{
	size_t		len = strlen(src);

	memcpy(dst, src, Min(len + 1, size));
	dst[Min(len, size - 1)] = '\0';
	return len;
}
#endif

/* ---- in place of value.c: odd attributes are text, even ones have an input function ---- */

static jmp_buf raised;
static int	conversions;

void
eddy_value_init_column(EddyValueColumn *column, Form_pg_attribute att,
					   MemoryContext mcxt pg_attribute_unused())
{
	column->attnum = att->attnum;
	column->name = NameStr(att->attname);
	column->type_name = "thing";
	column->kind = att->attnum % 2 ? EDDY_VALUE_TEXT : EDDY_VALUE_INPUT;
}

/* An input function that raises an error for the text "bad". */
void
eddy_value_convert(EddyValueColumn *column pg_attribute_unused(), Datum *value, bool *isnull)
{
	conversions++;
	if (!*isnull && strcmp(DatumGetCString(*value), "bad") == 0)
		longjmp(raised, 1);
}

/* ---- the format ---- */

typedef struct TestDecoder
{
	EddyDecoder base;
	bool		known[256];		/* schemas */
	int			pointers;		/* columns with a pointer */
	int			released;
} TestDecoder;

static void
create(EddyDecoder *base, const EddyDecodeColumn *columns)
{
	TestDecoder *decoder = (TestDecoder *) base;

	for (int i = 0; i < base->ncolumns; i++)
		decoder->pointers += columns[i].pointer != NULL;
}

static bool
resolve(EddyDecoder *base, const EddyDecodeMessage *messages, int count, EddyDecodeError *error)
{
	TestDecoder *decoder = (TestDecoder *) base;

	for (int i = 0; i < count; i++)
	{
		if (messages[i].data == NULL)
			continue;
		if (messages[i].data[0] == '!')
			return eddy_decode_refuse(error, ERRCODE_CONNECTION_FAILURE,
									  "could not connect to the registry");
		decoder->known[(unsigned char) messages[i].data[0]] = true;
	}
	return true;
}

static int
decode(EddyDecoder *base, const EddyDecodeMessage *messages, int count,
	   const EddyDecodeRows *rows, EddyDecodeError *error)
{
	TestDecoder *decoder = (TestDecoder *) base;

	for (int i = 0; i < count; i++)
	{
		int			first = i * rows->natts;

		if (messages[i].data == NULL)
			continue;
		eddy_decode_clear_row(base, rows->values + first, rows->nulls + first,
							  rows->missing + first);
		if (!decoder->known[(unsigned char) messages[i].data[0]])
		{
			(void) eddy_decode_refuse(error, ERRCODE_UNDEFINED_OBJECT, "schema is not known");
			return i;
		}
		for (int c = 0; c < base->ncolumns; c++)
		{
			int			attr = first + base->columns[c].attnum - 1;

			rows->values[attr] = CStringGetDatum(messages[i].data + 2);
			rows->nulls[attr] = rows->missing[attr] = false;
		}
	}
	return count;
}

static void
release_buffers(EddyDecoder *base)
{
	((TestDecoder *) base)->released++;
}

static const EddyDecoderFormat test_format = {
	.name = "test",
	.decoder_size = sizeof(TestDecoder),
	.create = create,
	.resolve = resolve,
	.decode = decode,
	.release_buffers = release_buffers
};

/* What formats.c registers, and a format with no more than what it must have. */
const EddyDecoderFormat eddy_decode_json_format = {
	.name = "json",
	.decoder_size = sizeof(TestDecoder),
	.create = create,
	.decode = decode
};

/* ---- tests ---- */

#define NATTS 3
#define UNTOUCHED ((Datum) 12345)

static EddyDecoder *
make_decoder(const EddyDecoderFormat *format, const EddyDecodeColumn *columns, int ncolumns)
{
	static const EddyDecodeOptions options = {EDDY_TIME_SECONDS};
	TupleDesc	tupdesc = calloc(1, sizeof(struct TupleDescData) +
								 2 * NATTS * sizeof(FormData_pg_attribute));

	tupdesc->natts = NATTS;
	for (int i = 0; i < NATTS; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		att->attnum = i + 1;
		snprintf(NameStr(att->attname), NAMEDATALEN, "column %d", i + 1);
	}
	return eddy_decode_create(format, NULL, tupdesc, columns, ncolumns, &options);
}

static EddyDecodeMessage
message(const char *text)
{
	EddyDecodeMessage result = {text, text ? strlen(text) : 0};

	return result;
}

static void
check_registry(void)
{
	const char *const *names = eddy_decode_format_names();

	ok(eddy_decode_find_format("json") == &eddy_decode_json_format, "a format is found by name");
	ok(eddy_decode_find_format("JSON") == NULL && eddy_decode_find_format("") == NULL &&
	   eddy_decode_find_format("test") == NULL, "other names are not found");
	ok(strcmp(names[0], "json") == 0 && names[1] == NULL, "names of all formats");
}

static void
check_steps(void)
{
	static const EddyDecodeColumn columns[] = {{1, NULL}, {2, "/x"}};
	EddyDecoder *decoder = make_decoder(&test_format, columns, 2);
	EddyDecodeMessage messages[] = {
		message("a:one"), message(NULL), message("b:two"), message("a:three")
	};
	EddyDecodeMessage unreachable = message("!");
	Datum		values[4 * NATTS];
	bool		nulls[4 * NATTS] = {false};
	bool		missing[4 * NATTS] = {false};
	EddyDecodeSpace space = {0};
	EddyDecodeRows rows = {NATTS, values, nulls, missing, &space};
	EddyDecodeError error = {0};

	for (int i = 0; i < 4 * NATTS; i++)
		values[i] = UNTOUCHED;
	ok(((TestDecoder *) decoder)->pointers == 1 && decoder->ncolumns == 2 &&
	   decoder->time_format == EDDY_TIME_SECONDS, "create gets the columns and options");
	ok(eddy_decode_needs_resolve(decoder), "a format can have messages to resolve");
	ok(eddy_decode_resolve(decoder, messages, 1, &error), "messages are resolved");
	ok(eddy_decode_messages(decoder, messages, 4, &rows, &error) == 2 &&
	   error.sqlerrcode == ERRCODE_UNDEFINED_OBJECT, "decoding ends at the first failing message");
	ok(strcmp(DatumGetCString(values[0]), "one") == 0 && !nulls[0] && !missing[0] &&
	   strcmp(DatumGetCString(values[1]), "one") == 0 && values[2] == UNTOUCHED,
	   "rows before it are decoded, and only their columns");
	ok(values[NATTS] == UNTOUCHED && values[NATTS + 1] == UNTOUCHED,
	   "a message without data leaves its row alone");
	ok(nulls[2 * NATTS] && missing[2 * NATTS + 1] && values[2 * NATTS + 2] == UNTOUCHED,
	   "the columns of the failing row are missing");
	ok(values[3 * NATTS] == UNTOUCHED, "rows after it are not decoded");
	ok(eddy_decode_resolve(decoder, messages, 4, &error) &&
	   eddy_decode_messages(decoder, messages, 4, &rows, &error) == 4,
	   "what is resolved for a later batch adds to it");
	ok(!eddy_decode_resolve(decoder, &unreachable, 1, &error) &&
	   error.sqlerrcode == ERRCODE_CONNECTION_FAILURE && error.attnum == 0 &&
	   strcmp(error.message, "could not connect to the registry") == 0,
	   "an error of resolve is a value");
	eddy_decode_release_buffers(decoder);
	ok(((TestDecoder *) decoder)->released == 1, "buffers are released");
}

/* What a format does not need is NULL. */
static void
check_optional_operations(void)
{
	static const EddyDecodeColumn columns[] = {{1, NULL}};
	EddyDecoder *decoder = make_decoder(&eddy_decode_json_format, columns, 1);
	EddyDecodeError error;

	ok(!eddy_decode_needs_resolve(decoder) && eddy_decode_resolve(decoder, NULL, 0, &error),
	   "a format without resolve");
	eddy_decode_release_buffers(decoder);
	ok(!eddy_decode_needs_convert(decoder), "a decoder without input functions");
}

static void
check_convert(void)
{
	static const EddyDecodeColumn columns[] = {{1, NULL}, {2, NULL}};
	EddyDecoder *decoder = make_decoder(&test_format, columns, 2);
	Datum		values[NATTS] = {CStringGetDatum("bad"), CStringGetDatum("good")};
	bool		nulls[NATTS] = {false, false};
	bool		missing[NATTS] = {false, false};
	char	   *description;

	ok(eddy_decode_needs_convert(decoder), "a decoder with input functions");
	if (setjmp(raised) == 0)
		eddy_decode_convert(decoder, values, nulls, missing);
	ok(conversions == 1, "only columns with input functions are converted");
	ok(eddy_decode_describe_failure(decoder, ERRCODE_DIVISION_BY_ZERO) == NULL,
	   "no description without a failure");

	missing[1] = true;
	eddy_decode_convert(decoder, values, nulls, missing);
	ok(conversions == 1, "a missing value is not converted");

	missing[1] = false;
	values[1] = CStringGetDatum("bad");
	if (setjmp(raised) == 0)
	{
		eddy_decode_convert(decoder, values, nulls, missing);
		ok(false, "the input function raises its error");
	}
	description = eddy_decode_describe_failure(decoder, ERRCODE_INVALID_TEXT_REPRESENTATION);
	ok(description &&
	   strcmp(description, "invalid value for column \"column 2\" of type thing") == 0,
	   "a failure is described without the value");
	ok(eddy_decode_describe_failure(decoder, ERRCODE_CHECK_VIOLATION) == NULL,
	   "constraints describe themselves");
}

int
main(void)
{
	check_registry();
	check_steps();
	check_optional_operations();
	check_convert();
	return end_tests();
}

/*-------------------------------------------------------------------------
 *
 * decode_fuzz.c
 *    Fuzzes the decoder of messages against the server's own input functions.
 *
 *   decode_fuzz(relation regclass, pointers text[], time_format text, seed bigint, seconds float8)
 *
 * Loaded into a server by test/fuzz/run, as the oracle is that server: each message is made from
 * texts, one for each column of the relation, and the value of a column must be what the input
 * function of its type returns for the text; where that raises an error, the message must be
 * refused, and because of that column. Numbers for dates and times are computed with numeric.
 * Further checks:
 *
 *   - a message with changed bytes is valid JSON to the decoder if, and only if, it is to json_in;
 *   - the same message decodes to the same row by a decoder that has not seen others, and when it is too
 *     long to be decoded in place.
 *
 * Dates and times accept less than their input functions, so that it is no failure if they are
 * refused. Each message is in memory of its own of exactly its size, for the sanitizer.
 *
 * Returns the number of messages; a failure is an error with the seed and the message.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "decode/decoder.h"
#include "fuzz_text.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(decode_fuzz);

/* Messages that are decoded by one call. */
#define BATCH 5

/* Longer messages are not decoded in place; see json.c. */
#define NOT_IN_PLACE 5000

/* What the oracle says about a value. */
typedef enum Verdict
{
	MUST_BE_VALUE,
	MAY_BE_VALUE,				/* if it is accepted, it is this one */
	MUST_FAIL,
	MAY_BE_ANY					/* it is not known */
} Verdict;

typedef struct Expected
{
	Verdict		verdict;
	bool		missing;
	bool		isnull;
	Datum		value;
	const char *json;			/* of the field */
} Expected;

/* A column of the relation. */
typedef struct Target
{
	Form_pg_attribute att;
	char	   *name;
	char	   *pointer;		/* NULL: the field of that name */
	Oid			element;		/* of an array */
	bool		is_json;
	bool		is_time;
	Oid			ioparam;
	FmgrInfo	input;
} Target;

typedef struct Fuzz
{
	FuzzRandom	random;
	TupleDesc	desc;
	int			ntargets;
	Target	   *targets;
	EddyDecodeColumn *columns;
	EddyDecodeOptions options;
	EddyDecoder *decoder;		/* has seen all messages so far */
	EddyDecoder *fresh;
	MemoryContext mcxt;			/* of one batch */
} Fuzz;

/* A message, with what must become of it. */
typedef struct Made
{
	StringInfoData text;
	bool		changed;		/* its bytes were changed, nothing is known of its values */
	Expected   *expected;
	char	   *data;			/* a copy of the text without anything after it */
} Made;

/* How a message was decoded. */
typedef struct Outcome
{
	bool		accepted;
	EddyDecodeError error;
	Datum	   *values;
	bool	   *nulls;
	bool	   *missing;
} Outcome;

static const char *
printable(const char *data, int len)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < len; i++)
	{
		unsigned char c = data[i];

		if (c < 32 || c > 126)
			appendStringInfo(&text, "\\x%02x", c);
		else
			appendStringInfoChar(&text, c);
	}
	return text.data;
}

/* ---- the oracle ---- */

/* What the input function of a column's type returns; text: NULL for a domain. */
static void
expect_input(Expected *expected, Target *target, const char *text)
{
	bool		valid = fuzz_input(&target->input, text ? pstrdup(text) : NULL, target->ioparam,
								   target->att->atttypmod, &expected->value);

	expected->verdict = valid ? MUST_BE_VALUE : MUST_FAIL;
	if (expected->verdict == MUST_BE_VALUE && target->is_time)
		expected->verdict = MAY_BE_VALUE;
	/* hexadecimal numbers, underscores, and blanks within a number, which messages do not have */
	if (expected->verdict == MUST_BE_VALUE && text && strpbrk(text, "_xXoObB \t\n\r") &&
		(target->att->atttypid == INT2OID || target->att->atttypid == INT4OID ||
		 target->att->atttypid == INT8OID || target->att->atttypid == NUMERICOID))
		expected->verdict = MAY_BE_VALUE;
}

typedef struct EpochCall
{
	Target	   *target;
	const char *text;
	int			digits;			/* of a second, in the number */
	Datum		value;
} EpochCall;

/* A date or time from a number, computed with numeric. */
static void
run_epoch(void *arg)
{
	EpochCall  *call = arg;
	Datum		number = DirectFunctionCall3(numeric_in, CStringGetDatum(call->text),
											 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	Datum		scale = NumericGetDatum(int64_div_fast_to_numeric(1, 0));
	int64		microseconds;

	for (int i = call->digits; i < 6; i++)
		scale = DirectFunctionCall2(numeric_mul, scale, NumericGetDatum(int64_to_numeric(10)));
	number = DirectFunctionCall2(numeric_round, DirectFunctionCall2(numeric_mul, number, scale),
								 Int32GetDatum(0));
	microseconds = DatumGetInt64(DirectFunctionCall1(numeric_int8, number));
	microseconds = DatumGetInt64(DirectFunctionCall2(int8mi, Int64GetDatum(microseconds),
													 Int64GetDatum((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
																   USECS_PER_DAY)));
	if (!IS_VALID_TIMESTAMP(microseconds))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("out of range")));
	if (call->target->att->atttypid == DATEOID)
		call->value = DirectFunctionCall1(timestamp_date, TimestampGetDatum(microseconds));
	else
		call->value = DirectFunctionCall2(timestamp_scale, TimestampGetDatum(microseconds),
										  Int32GetDatum(call->target->att->atttypmod));
}

/* What a number in a message is for a date or time. */
static void
expect_epoch(Fuzz *fuzz, Expected *expected, Target *target, const char *text)
{
	EpochCall	call = {target, text, 0, (Datum) 0};

	expected->verdict = MUST_FAIL;
	switch (fuzz->options.time_format)
	{
		case EDDY_TIME_ISO:
			return;
		case EDDY_TIME_SECONDS:
			call.digits = 0;
			break;
		case EDDY_TIME_MILLISECONDS:
			call.digits = 3;
			break;
		case EDDY_TIME_MICROSECONDS:
			call.digits = 6;
			break;
	}
	/* numeric_in does not accept the exponents that are zero microseconds */
	if (!fuzz_attempt(run_epoch, &call))
		expected->verdict = strpbrk(text, "eE") ? MAY_BE_ANY : MUST_FAIL;
	else
		expected->verdict = MAY_BE_VALUE;	/* unless it has too many digits */
	expected->value = call.value;
}

/* The text of an array of strings, as the input function of an array wants it. */
static char *
array_literal(const FuzzValue *value)
{
	StringInfoData literal;

	initStringInfo(&literal);
	appendStringInfoChar(&literal, '{');
	for (int i = 0; i < value->nitems; i++)
	{
		if (i > 0)
			appendStringInfoChar(&literal, ',');
		if (value->items[i] == NULL)
		{
			appendStringInfoString(&literal, "NULL");
			continue;
		}
		appendStringInfoChar(&literal, '"');
		for (const char *p = value->items[i]; *p; p++)
		{
			if (strchr("\"\\", *p))
				appendStringInfoChar(&literal, '\\');
			appendStringInfoChar(&literal, *p);
		}
		appendStringInfoChar(&literal, '"');
	}
	appendStringInfoChar(&literal, '}');
	return literal.data;
}

static bool
is_number(const FuzzValue *value)
{
	return value->kind == FUZZ_NUMBER;
}

/* What a value of a message must become in a column. */
static void
expect(Fuzz *fuzz, Expected *expected, Target *target, const FuzzValue *value)
{
	bool		array = OidIsValid(target->element);

	memset(expected, 0, sizeof(*expected));
	if (value->kind == FUZZ_NULL)
	{
		expected->isnull = true;
		if (target->att->atttypid != getBaseType(target->att->atttypid))
			expect_input(expected, target, NULL);
	}
	else if (target->is_json)
		expect_input(expected, target, value->json);
	else if (value->not_text)
		expected->verdict = MUST_FAIL;
	else if (value->kind == FUZZ_ARRAY && array)
		expect_input(expected, target, array_literal(value));
	else if (array && value->kind != FUZZ_STRING && !is_number(value))
		expected->verdict = MUST_FAIL;
	else if (target->is_time && is_number(value))
		expect_epoch(fuzz, expected, target, value->text);
	else if (target->is_time && fuzz->options.time_format != EDDY_TIME_ISO && value->is_number_text)
		expect_epoch(fuzz, expected, target, value->text);
	else if ((target->att->atttypid == INT2OID || target->att->atttypid == INT4OID ||
			  target->att->atttypid == INT8OID) && is_number(value) &&
			 strpbrk(value->text, ".eE"))
		expected->verdict = MUST_FAIL;
	else
		expect_input(expected, target, value->text);
}

/* ---- messages ---- */

static void
append_field(Fuzz *fuzz, StringInfo out, const char *name, const char *json, bool *first)
{
	FuzzRandom *random = &fuzz->random;

	fuzz_space(random, out);
	if (!*first)
		appendStringInfoChar(out, ',');
	*first = false;
	fuzz_space(random, out);
	fuzz_append_json_string(random, out, name, strlen(name));
	fuzz_space(random, out);
	appendStringInfoChar(out, ':');
	fuzz_space(random, out);
	appendStringInfoString(out, json);
}

/* Makes the field of a column and says what must become of it. */
static void
make_field(Fuzz *fuzz, StringInfo out, int number, bool hostile, Made *made, bool *first)
{
	Target	   *target = &fuzz->targets[number];
	Expected   *expected = &made->expected[number];
	FuzzRandom *random = &fuzz->random;
	FuzzValue	value;

	fuzz_value(random, &value, fuzz_shape_of(OidIsValid(target->element) ? target->element :
										getBaseType(target->att->atttypid)),
			   OidIsValid(target->element) && fuzz_chance(random, 90), hostile);
	expect(fuzz, expected, target, &value);
	expected->json = value.json;
	/*
	 * of a field that occurs several times, the last one counts; an earlier one must be valid, too
	 */
	if (fuzz_chance(random, 3) && expected->verdict == MUST_BE_VALUE)
		append_field(fuzz, out, target->pointer ? target->pointer : target->name,
					 fuzz_chance(random, 50) && target->att->atttypid == getBaseType(target->att->atttypid) ?
					 "null" : value.json, first);
	append_field(fuzz, out, target->pointer ? target->pointer : target->name, value.json, first);
}

/* Fields that no column wants, and which have to be valid all the same. */
static void
make_other_fields(Fuzz *fuzz, StringInfo out, bool *first)
{
	static const char *const names[] = {"other", "", "i", "int", "tex", "textt", "\xc3\xa4", "a\"b", "o/x"};
	FuzzRandom *random = &fuzz->random;

	while (fuzz_chance(random, 30))
	{
		FuzzValue	value;

		fuzz_value(random, &value, FUZZ_SHAPE_JSON, false, false);
		append_field(fuzz, out, names[fuzz_below(random, lengthof(names))], value.json, first);
	}
}

/*
 * Columns with a pointer are fields of an object "o", or elements of its array "l"; see the
 * relation of test/fuzz/run.
 */
static void
make_nested(Fuzz *fuzz, StringInfo out, Made *made, int hostile, bool *first)
{
	StringInfoData object;
	bool		first_inside = true;

	initStringInfo(&object);
	appendStringInfoChar(&object, '{');
	for (int i = 0; i < fuzz->ntargets; i++)
	{
		char	   *pointer = fuzz->targets[i].pointer;

		if (pointer == NULL || *pointer == '\0')
			continue;
		if (fuzz_chance(&fuzz->random, 10))
			continue;			/* missing */
		/* "/o/name": the name is what the field has */
		fuzz->targets[i].pointer = pointer + strlen("/o/");
		make_field(fuzz, &object, i, hostile == i, made, &first_inside);
		fuzz->targets[i].pointer = pointer;
		make_other_fields(fuzz, &object, &first_inside);
	}
	appendStringInfoChar(&object, '}');
	append_field(fuzz, out, "o", object.data, first);
}

static void
make_message(Fuzz *fuzz, Made *made)
{
	FuzzRandom *random = &fuzz->random;
	StringInfo	out = &made->text;
	int			hostile = fuzz_chance(random, 50) ? (int) fuzz_below(random, fuzz->ntargets) : -1;
	int			start = (int) fuzz_below(random, fuzz->ntargets);
	bool		shuffle = fuzz_chance(random, 30);
	bool		first = true;
	int			whole = -1;

	initStringInfo(out);
	made->changed = false;
	made->expected = palloc0(sizeof(Expected) * fuzz->ntargets);
	for (int i = 0; i < fuzz->ntargets; i++)
	{
		made->expected[i].missing = made->expected[i].isnull = true;
		if (fuzz->targets[i].pointer && *fuzz->targets[i].pointer == '\0')
			whole = i;
	}
	if (fuzz_chance(random, 2))
		appendStringInfoString(out, "\xEF\xBB\xBF");
	fuzz_space(random, out);
	appendStringInfoChar(out, '{');
	for (int n = 0; n < fuzz->ntargets; n++)
	{
		int			i = shuffle ? (start + n) % fuzz->ntargets : n;

		if (fuzz->targets[i].pointer != NULL || fuzz_chance(random, 10))
			continue;
		make_field(fuzz, out, i, hostile == i, made, &first);
		make_other_fields(fuzz, out, &first);
		if (n == fuzz->ntargets / 2 && fuzz_chance(random, 90))
			make_nested(fuzz, out, made, hostile, &first);
	}
	fuzz_space(random, out);
	appendStringInfoChar(out, '}');
	if (whole >= 0)
	{
		made->expected[whole].missing = made->expected[whole].isnull = false;
		expect_input(&made->expected[whole], &fuzz->targets[whole],
					 strchr(out->data, '{'));
	}
	fuzz_space(random, out);
	if (fuzz_chance(random, 2))
		appendStringInfoSpaces(out, NOT_IN_PLACE);
	if (fuzz_chance(random, 40))
	{
		made->changed = true;
		fuzz_change_bytes(random, out);
	}
}

/* ---- decoding ---- */

static void
prepare_rows(Fuzz *fuzz, EddyDecodeRows *rows, int count)
{
	memset(rows, 0, sizeof(*rows));
	rows->natts = fuzz->desc->natts;
	rows->values = palloc0(sizeof(Datum) * count * rows->natts);
	rows->nulls = palloc0(sizeof(bool) * count * rows->natts);
	rows->missing = palloc0(sizeof(bool) * count * rows->natts);
	rows->space = palloc0(sizeof(EddyDecodeSpace));
}

typedef struct ConvertCall
{
	EddyDecoder *decoder;
	Outcome    *outcome;
} ConvertCall;

static void
run_convert(void *arg)
{
	ConvertCall *call = arg;

	eddy_decode_convert(call->decoder, call->outcome->values, call->outcome->nulls,
						call->outcome->missing);
}

typedef struct DecodeCall
{
	EddyDecoder *decoder;
	EddyDecodeMessage *messages;
	int			count;
	EddyDecodeRows *rows;
	EddyDecodeError *error;
	int			result;
} DecodeCall;

/* Only conversions may raise errors. */
static void
run_decode(void *arg)
{
	DecodeCall *call = arg;

	call->result = eddy_decode_messages(call->decoder, call->messages, call->count, call->rows,
										call->error);
}

static int
decode_messages(EddyDecoder *decoder, EddyDecodeMessage *messages, int count, EddyDecodeRows *rows,
				EddyDecodeError *error)
{
	DecodeCall	call = {decoder, messages, count, rows, error, 0};

	if (fuzz_attempt(run_decode, &call))
		return call.result;
	for (int i = 0; i < count; i++)
	{
		DecodeCall	single = {decoder, &messages[i], 1, rows, error, 0};

		rows->space = palloc0(sizeof(EddyDecodeSpace));
		if (!fuzz_attempt(run_decode, &single))
			elog(ERROR, "decoding raised an error: %s; message: %s", fuzz_error, printable(messages[i].data, messages[i].len));
	}
	elog(ERROR, "decoding raised an error, but only for several messages: %s", fuzz_error);
}

/* Decodes messages as one batch, with conversion. */
static void
decode(Fuzz *fuzz, EddyDecoder *decoder, EddyDecodeMessage *messages, int count, Outcome *outcomes)
{
	EddyDecodeRows rows;
	int			done = 0;

	prepare_rows(fuzz, &rows, count);
	for (int i = 0; i < count; i++)
	{
		memset(&outcomes[i], 0, sizeof(Outcome));
		outcomes[i].accepted = true;
		outcomes[i].values = rows.values + i * rows.natts;
		outcomes[i].nulls = rows.nulls + i * rows.natts;
		outcomes[i].missing = rows.missing + i * rows.natts;
	}
	while (done < count)
	{
		EddyDecodeRows rest = rows;
		EddyDecodeError error = {0};
		int			n;

		rest.values = outcomes[done].values;
		rest.nulls = outcomes[done].nulls;
		rest.missing = outcomes[done].missing;
		n = decode_messages(decoder, messages + done, count - done, &rest, &error);
		done += n;
		if (done < count)
		{
			outcomes[done].accepted = false;
			outcomes[done].error = error;
			done++;
		}
	}
	for (int i = 0; i < count && eddy_decode_needs_convert(decoder); i++)
	{
		ConvertCall call = {decoder, &outcomes[i]};

		if (outcomes[i].accepted && !fuzz_attempt(run_convert, &call))
		{
			outcomes[i].accepted = false;
			outcomes[i].error.sqlerrcode = ERRCODE_INVALID_TEXT_REPRESENTATION;
			outcomes[i].error.attnum = decoder->converting->attnum;
			strlcpy(outcomes[i].error.message,
					eddy_decode_describe_failure(decoder, ERRCODE_INVALID_TEXT_REPRESENTATION),
					sizeof(outcomes[i].error.message));
		}
	}
}

/* ---- comparison ---- */

static bool
same_value(Form_pg_attribute att, Datum a, Datum b)
{
	if (att->attbyval)
		return a == b;
	if (att->attlen > 0)
		return memcmp(DatumGetPointer(a), DatumGetPointer(b), att->attlen) == 0;
	return VARSIZE_ANY_EXHDR(DatumGetPointer(a)) == VARSIZE_ANY_EXHDR(DatumGetPointer(b)) &&
		memcmp(VARDATA_ANY(DatumGetPointer(a)), VARDATA_ANY(DatumGetPointer(b)),
			   VARSIZE_ANY_EXHDR(DatumGetPointer(a))) == 0;
}

static void
fail(const Made *made, const char *column, const char *json, const char *what)
{
	elog(ERROR, "column \"%s\" from %s: %s; message: %s", column, json ? json : "nothing", what,
		 printable(made->text.data, made->text.len));
}

static const char *
output(Form_pg_attribute att, Datum value)
{
	Oid			function;
	bool		isvarlena;

	getTypeOutputInfo(att->atttypid, &function, &isvarlena);
	return OidOutputFunctionCall(function, value);
}

/* Compares a decoded row with the values that the message was made of. */
static void
check_values(Fuzz *fuzz, const Made *made, const Outcome *outcome)
{
	bool		may_fail = false;

	for (int i = 0; i < fuzz->ntargets; i++)
	{
		const Expected *expected = &made->expected[i];
		Form_pg_attribute att = fuzz->targets[i].att;
		int			attr = att->attnum - 1;

		may_fail = may_fail || expected->verdict != MUST_BE_VALUE;
		if (!outcome->accepted)
		{
			if (outcome->error.attnum == att->attnum && expected->verdict == MUST_BE_VALUE)
				fail(made, fuzz->targets[i].name, made->expected[i].json, outcome->error.message);
			continue;
		}
		if (expected->verdict == MUST_FAIL)
			fail(made, fuzz->targets[i].name, made->expected[i].json, "the value must be refused");
		if (expected->verdict == MAY_BE_ANY)
			continue;
		if (outcome->missing[attr] != expected->missing || outcome->nulls[attr] != expected->isnull)
			fail(made, fuzz->targets[i].name, made->expected[i].json,
				 psprintf("missing is %d, null is %d", outcome->missing[attr], outcome->nulls[attr]));
		if (!expected->isnull && !same_value(att, outcome->values[attr], expected->value))
			fail(made, fuzz->targets[i].name, made->expected[i].json,
				 psprintf("%s instead of %s", output(att, outcome->values[attr]),
						  output(att, expected->value)));
	}
	if (!outcome->accepted && (outcome->error.attnum == 0 || !may_fail))
		fail(made, "", NULL, psprintf("must be accepted: %s", outcome->error.message));
}

static void
run_json_in(void *arg)
{
	(void) DirectFunctionCall1(json_in, CStringGetDatum((char *) arg));
}

/* Whether a message is valid JSON, which the decoder and json_in must agree on. */
static void
check_json(const Made *made, const Outcome *outcome)
{
	const char *text = made->text.data;
	bool		valid;

	if (made->text.len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
		text += 3;
	valid = memchr(made->text.data, '\0', made->text.len) == NULL &&
		pg_verify_mbstr(PG_UTF8, made->text.data, made->text.len, true) &&
		fuzz_attempt(run_json_in, (void *) text);
	if (outcome->accepted && !valid)
		fail(made, "", NULL, "is not valid JSON");
	if (!outcome->accepted && outcome->error.attnum == 0 && valid &&
		strcmp(outcome->error.message, "message is nested too deeply") != 0 &&
		strcmp(outcome->error.message, "message is not a JSON object") != 0)
		fail(made, "", NULL, psprintf("is valid JSON: %s", outcome->error.message));
}

/* The same message, as a decoder sees it that has seen no others, and not in place. */
static void
check_again(Fuzz *fuzz, const Made *made, const Outcome *outcome)
{
	bool		longer = fuzz_chance(&fuzz->random, 50);
	int			len = made->text.len + (longer ? NOT_IN_PLACE : 0);
	char	   *data = malloc(len);
	EddyDecodeMessage message = {data, len};
	Outcome		again;

	if (data == NULL)
		elog(ERROR, "out of memory");
	memset(data, ' ', len);
	memcpy(data, made->text.data, made->text.len);
	decode(fuzz, fuzz->fresh, &message, 1, &again);
	free(data);
	/* an unclosed string or a NUL in it goes on into the blanks */
	if (longer && !outcome->accepted && !again.accepted && outcome->error.attnum == 0)
		return;
	if (again.accepted != outcome->accepted)
		fail(made, "", NULL, psprintf("the second time it is %s", again.accepted ? "accepted" :
								again.error.message));
	if (!again.accepted)
	{
		if (again.error.attnum != outcome->error.attnum ||
			again.error.sqlerrcode != outcome->error.sqlerrcode ||
			strcmp(again.error.message, outcome->error.message) != 0)
			fail(made, "", NULL, psprintf("first %s, then %s", outcome->error.message,
									again.error.message));
		return;
	}
	for (int i = 0; i < fuzz->ntargets; i++)
	{
		Form_pg_attribute att = fuzz->targets[i].att;
		int			attr = att->attnum - 1;

		if (again.missing[attr] != outcome->missing[attr] ||
			again.nulls[attr] != outcome->nulls[attr] ||
			(!again.nulls[attr] &&
			 !same_value(att, again.values[attr], outcome->values[attr])))
			fail(made, fuzz->targets[i].name, made->expected[i].json, "has another value the second time");
	}
}

/* ---- the loop ---- */

static void
run_batch(Fuzz *fuzz)
{
	Made		made[BATCH];
	EddyDecodeMessage messages[BATCH];
	Outcome		outcomes[BATCH];

	for (int i = 0; i < BATCH; i++)
	{
		make_message(fuzz, &made[i]);
		made[i].data = malloc(Max(made[i].text.len, 1));
		if (made[i].data == NULL)
			elog(ERROR, "out of memory");
		memcpy(made[i].data, made[i].text.data, made[i].text.len);
		messages[i].data = made[i].data;
		messages[i].len = made[i].text.len;
	}
	decode(fuzz, fuzz->decoder, messages, BATCH, outcomes);
	for (int i = 0; i < BATCH; i++)
		free(made[i].data);
	for (int i = 0; i < BATCH; i++)
	{
		if (!made[i].changed)
			check_values(fuzz, &made[i], &outcomes[i]);
		check_json(&made[i], &outcomes[i]);
		check_again(fuzz, &made[i], &outcomes[i]);
	}
}

static EddyTimeFormat
parse_time_format(const char *name)
{
	static const char *const names[] = {"iso", "s", "ms", "us"};

	for (size_t i = 0; i < lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return (EddyTimeFormat) i;
	elog(ERROR, "unrecognized time format");
}

static void
prepare(Fuzz *fuzz, TupleDesc desc, ArrayType *pointers)
{
	Datum	   *texts;
	bool	   *nulls;
	int			npointers;

	deconstruct_array(pointers, TEXTOID, -1, false, TYPALIGN_INT, &texts, &nulls, &npointers);
	fuzz->desc = desc;
	fuzz->ntargets = desc->natts;
	fuzz->targets = palloc0(sizeof(Target) * desc->natts);
	fuzz->columns = palloc0(sizeof(EddyDecodeColumn) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Target	   *target = &fuzz->targets[i];
		Oid			function;
		Oid			base;

		target->att = TupleDescAttr(desc, i);
		target->name = NameStr(target->att->attname);
		if (i < npointers && !nulls[i])
			target->pointer = text_to_cstring(DatumGetTextPP(texts[i]));
		base = getBaseType(target->att->atttypid);
		target->element = get_element_type(base);
		target->is_json = base == JSONOID || base == JSONBOID;
		target->is_time = base == DATEOID || base == TIMESTAMPOID || base == TIMESTAMPTZOID;
		getTypeInputInfo(target->att->atttypid, &function, &target->ioparam);
		fmgr_info(function, &target->input);
		fuzz->columns[i].attnum = i + 1;
		fuzz->columns[i].pointer = target->pointer;
	}
}

Datum
decode_fuzz(PG_FUNCTION_ARGS)
{
	Relation	rel = relation_open(PG_GETARG_OID(0), AccessShareLock);
	const EddyDecoderFormat *format = eddy_decode_find_format("json");
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext fresh = AllocSetContextCreate(outer, "fresh decoder", ALLOCSET_DEFAULT_SIZES);
	Fuzz		fuzz = {0};
	TimestampTz end = GetCurrentTimestamp() + (int64) (PG_GETARG_FLOAT8(4) * USECS_PER_SEC);
	int64		batches = 0;

	fuzz.options.time_format = parse_time_format(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	prepare(&fuzz, CreateTupleDescCopy(RelationGetDescr(rel)), PG_GETARG_ARRAYTYPE_P(1));
	relation_close(rel, NoLock);
	fuzz_seed(&fuzz.random, (uint64) PG_GETARG_INT64(3));
	fuzz.mcxt = AllocSetContextCreate(outer, "batch", ALLOCSET_DEFAULT_SIZES);
	fuzz.decoder = eddy_decode_create(format, outer, fuzz.desc, fuzz.columns, fuzz.ntargets,
									  &fuzz.options);
	while (GetCurrentTimestamp() < end)
	{
		CHECK_FOR_INTERRUPTS();
		if (batches++ % 200 == 0)
		{
			MemoryContextReset(fresh);
			fuzz.fresh = eddy_decode_create(format, fresh, fuzz.desc, fuzz.columns, fuzz.ntargets,
											&fuzz.options);
			eddy_decode_release_buffers(fuzz.decoder);
		}
		MemoryContextSwitchTo(fuzz.mcxt);
		run_batch(&fuzz);
		MemoryContextReset(fuzz.mcxt);
	}
	MemoryContextSwitchTo(outer);
	PG_RETURN_INT64(batches * BATCH);
}

/*-------------------------------------------------------------------------
 *
 * writer_fuzz.c
 *    Fuzzes the JSON text of values in records of changes against to_json.
 *
 *   writer_fuzz(relation regclass, seed bigint, seconds float8)
 *   string_fuzz(seed bigint, seconds float8)
 *
 * writer_fuzz makes values of the types of the relation's columns from random texts; the writer's
 * text must be that of to_json, with line ends within values of type json as blanks. string_fuzz
 * writes random bytes, which need not be text of the database's encoding, as a string, which must
 * be valid JSON in UTF-8; run in databases of several encodings.
 *
 * Both return the number of values; a failure is an error with the value.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "cdc/json_writer.h"
#include "fuzz_text.h"

PG_FUNCTION_INFO_V1(writer_fuzz);
PG_FUNCTION_INFO_V1(string_fuzz);

/* A type, with its writer and the query of the oracle. */
typedef struct Writer
{
	Form_pg_attribute att;
	EddyCdcType type;
	FuzzShape	shape;
	bool		array;
	Oid			ioparam;
	FmgrInfo	input;
	SPIPlanPtr	to_json;
} Writer;

/* The text of the oracle, on one line. */
static char *
expected_text(Writer *writer, Datum value)
{
	char	   *json;
	bool		isnull;

	if (SPI_execute_plan(writer->to_json, &value, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "the query of the oracle failed");
	json = TextDatumGetCString(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	for (char *p = json; *p; p++)
		if (*p == '\n' || *p == '\r')
			*p = ' ';
	return json;
}

/* A text for the type, for arrays as an array literal. */
static char *
random_literal(FuzzRandom *random, Writer *writer)
{
	StringInfoData literal;
	bool		first = true;

	if (!writer->array)
		return fuzz_text(random, writer->shape, fuzz_chance(random, 20));
	initStringInfo(&literal);
	appendStringInfoChar(&literal, '{');
	while (fuzz_chance(random, 70))
	{
		char	   *item = fuzz_text(random, writer->shape, fuzz_chance(random, 5));

		appendStringInfoString(&literal, first ? "\"" : ",\"");
		first = false;
		for (const char *p = item; *p; p++)
		{
			if (*p == '"' || *p == '\\')
				appendStringInfoChar(&literal, '\\');
			appendStringInfoChar(&literal, *p);
		}
		appendStringInfoChar(&literal, '"');
		if (fuzz_chance(random, 10))
			appendStringInfoString(&literal, ",NULL");
	}
	appendStringInfoChar(&literal, '}');
	return literal.data;
}

static void
check_value(FuzzRandom *random, Writer *writer)
{
	char	   *text = random_literal(random, writer);
	Datum		value;
	StringInfoData out;
	char	   *expected;

	if (!fuzz_input(&writer->input, text, writer->ioparam, writer->att->atttypmod, &value))
		return;
	initStringInfo(&out);
	eddy_cdc_append_value(&out, &writer->type, value);
	expected = expected_text(writer, value);
	if ((int) strlen(expected) != out.len || memcmp(expected, out.data, out.len) != 0)
		elog(ERROR, "type %s, value %s: %.*s instead of %s", format_type_be(writer->att->atttypid),
			 text, out.len, out.data, expected);
}

Datum
writer_fuzz(PG_FUNCTION_ARGS)
{
	Relation	rel = relation_open(PG_GETARG_OID(0), AccessShareLock);
	TimestampTz end = GetCurrentTimestamp() + (int64) (PG_GETARG_FLOAT8(2) * USECS_PER_SEC);
	MemoryContext mcxt;
	Writer	   *writers;
	int			count = RelationGetDescr(rel)->natts;
	FuzzRandom	random;
	int64		values = 0;

	SPI_connect();
	writers = palloc0(sizeof(Writer) * count);
	for (int i = 0; i < count; i++)
	{
		Writer	   *writer = &writers[i];
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		Oid			base = getBaseType(att->atttypid);
		Oid			element = get_element_type(base);
		Oid			function;

		writer->att = palloc(sizeof(FormData_pg_attribute));
		memcpy(writer->att, att, ATTRIBUTE_FIXED_PART_SIZE);
		writer->array = OidIsValid(element);
		writer->shape = fuzz_shape_of(writer->array ? element : base);
		eddy_cdc_describe_type(&writer->type, att->atttypid);
		getTypeInputInfo(att->atttypid, &function, &writer->ioparam);
		fmgr_info(function, &writer->input);
		writer->to_json = SPI_prepare("SELECT to_json($1)::text", 1, &att->atttypid);
		if (writer->to_json == NULL)
			elog(ERROR, "could not prepare the query of the oracle");
	}
	relation_close(rel, NoLock);
	fuzz_seed(&random, (uint64) PG_GETARG_INT64(1));
	mcxt = AllocSetContextCreate(CurrentMemoryContext, "values", ALLOCSET_DEFAULT_SIZES);
	while (GetCurrentTimestamp() < end)
	{
		MemoryContext old = MemoryContextSwitchTo(mcxt);

		CHECK_FOR_INTERRUPTS();
		check_value(&random, &writers[fuzz_below(&random, count)]);
		SPI_freetuptable(SPI_tuptable);
		SPI_tuptable = NULL;
		MemoryContextSwitchTo(old);
		MemoryContextReset(mcxt);
		values++;
	}
	SPI_finish();
	PG_RETURN_INT64(values);
}

static void
run_json_in(void *arg)
{
	(void) DirectFunctionCall1(json_in, CStringGetDatum((char *) arg));
}

static void
check_bytes(FuzzRandom *random)
{
	int			len = (int) fuzz_below(random, fuzz_chance(random, 10) ? 400 : 12);
	char	   *bytes = malloc(Max(len, 1));
	StringInfoData out;

	if (bytes == NULL)
		elog(ERROR, "out of memory");
	for (int i = 0; i < len; i++)
		bytes[i] = (char) (fuzz_chance(random, 60) ? 128 + fuzz_below(random, 128) : 1 + fuzz_below(random, 127));
	initStringInfo(&out);
	eddy_cdc_append_string(&out, bytes, len);
	free(bytes);
	eddy_cdc_append_bytes(&out, "", 1);
	if (!pg_verify_mbstr(PG_UTF8, out.data, out.len - 1, true))
		elog(ERROR, "a string is not valid UTF-8");
	if (!fuzz_attempt(run_json_in, out.data))
		elog(ERROR, "a string is not valid JSON: %s", out.data);
}

Datum
string_fuzz(PG_FUNCTION_ARGS)
{
	TimestampTz end = GetCurrentTimestamp() + (int64) (PG_GETARG_FLOAT8(1) * USECS_PER_SEC);
	MemoryContext old = CurrentMemoryContext;
	MemoryContext mcxt = AllocSetContextCreate(old, "values", ALLOCSET_DEFAULT_SIZES);
	FuzzRandom	random;
	int64		values = 0;

	fuzz_seed(&random, (uint64) PG_GETARG_INT64(0));
	while (GetCurrentTimestamp() < end)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(mcxt);
		check_bytes(&random);
		MemoryContextReset(mcxt);
		values++;
	}
	MemoryContextSwitchTo(old);
	PG_RETURN_INT64(values);
}

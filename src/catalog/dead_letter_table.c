/*-------------------------------------------------------------------------
 *
 * dead_letter_table.c
 *    Rows of eddy.dead_letters: rejected messages and rows, with their errors.
 *
 * Written in the transaction that moves the offset past the message, so that a
 * message is either applied or a dead letter.
 *
 * Locking, memory and crash behaviour: see table.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/sequence.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "catalog/table.h"

/* Columns of eddy.dead_letters, from 1, as in the install script. */
enum
{
	LETTER_ID = 1,
	LETTER_STREAM,
	LETTER_VIEW,
	LETTER_SOURCE,
	LETTER_TOPIC,
	LETTER_PARTITION,
	LETTER_OFFSET,
	LETTER_KEY,
	LETTER_HEADERS,
	LETTER_PAYLOAD,
	LETTER_ERROR,
	LETTER_SQLSTATE,
	LETTER_AT,
	LETTER_NCOLUMNS = LETTER_AT
};

const EddyTableDesc eddy_catalog_dead_letter_table = {
	EDDY_CATALOG_DEAD_LETTERS, LETTER_NCOLUMNS, NULL
};

static Datum
bytes_or_null(const char *data, size_t len, bool *isnull)
{
	bytea	   *result;

	*isnull = (data == NULL);
	if (data == NULL)
		return (Datum) 0;
	result = palloc(add_size(VARHDRSZ, len));
	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), data, len);
	return PointerGetDatum(result);
}

void
eddy_catalog_insert_dead_letter(const EddyDeadLetter *letter)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_dead_letter_table);
	Datum		values[LETTER_NCOLUMNS];
	bool		nulls[LETTER_NCOLUMNS] = {false};
	Oid			sequence = get_relname_relid("dead_letters_id_seq", eddy_catalog_schema());

	values[LETTER_ID - 1] = Int64GetDatum(nextval_internal(sequence, false));
	values[LETTER_STREAM - 1] = ObjectIdGetDatum(letter->stream);
	values[LETTER_VIEW - 1] = ObjectIdGetDatum(letter->view);
	nulls[LETTER_VIEW - 1] = !OidIsValid(letter->view);
	values[LETTER_SOURCE - 1] = Int32GetDatum(letter->source);
	nulls[LETTER_SOURCE - 1] = (letter->topic == NULL);
	values[LETTER_TOPIC - 1] = eddy_catalog_text(letter->topic, &nulls[LETTER_TOPIC - 1]);
	values[LETTER_PARTITION - 1] = Int32GetDatum(letter->partition);
	values[LETTER_OFFSET - 1] = Int64GetDatum(letter->offset);
	nulls[LETTER_OFFSET - 1] = (letter->offset < 0);
	values[LETTER_KEY - 1] = bytes_or_null(letter->key, letter->key_len, &nulls[LETTER_KEY - 1]);
	nulls[LETTER_HEADERS - 1] = (letter->headers == NULL);
	if (letter->headers)
		values[LETTER_HEADERS - 1] =
			DirectFunctionCall1(jsonb_in, CStringGetDatum(letter->headers));
	values[LETTER_PAYLOAD - 1] = bytes_or_null(letter->payload, letter->payload_len,
											   &nulls[LETTER_PAYLOAD - 1]);
	values[LETTER_ERROR - 1] = CStringGetTextDatum(letter->error);
	values[LETTER_SQLSTATE - 1] = CStringGetTextDatum(unpack_sql_state(letter->sqlerrcode));
	values[LETTER_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	eddy_catalog_insert(rel, values, nulls);
	eddy_catalog_close(rel);
}

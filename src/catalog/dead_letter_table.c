/*-------------------------------------------------------------------------
 *
 * dead_letter_table.c
 *    Rows of eddy.dead_letters: rejected messages and rows, with their errors.
 *
 * Written in the transaction that moves the offset past the message, so that a
 * message is either applied or a dead letter. Replaying deletes a letter and applies its message in
 * one transaction, too.
 *
 * Locking, memory and crash behaviour: see table.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "executor/tuptable.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
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
	LETTER_TIMESTAMP,
	LETTER_NCOLUMNS = LETTER_TIMESTAMP
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
	eddy_catalog_set_time(values, nulls, LETTER_TIMESTAMP,
						  letter->topic ? letter->timestamp : DT_NOBEGIN);
	eddy_catalog_insert(rel, values, nulls);
	eddy_catalog_close(rel);
}

/* ---- reading them again ---- */

/* The content of a bytea column, NULL if it is null. */
static const char *
read_bytes(const Datum *values, const bool *nulls, AttrNumber attnum, size_t *len)
{
	bytea	   *value;

	*len = 0;
	if (nulls[attnum - 1])
		return NULL;
	value = DatumGetByteaPCopy(values[attnum - 1]);
	*len = VARSIZE(value) - VARHDRSZ;
	return VARDATA(value);
}

static EddyDeadLetter *
read_letter(HeapTuple tuple, TupleDesc tupdesc)
{
	EddyDeadLetter *letter = palloc0(sizeof(EddyDeadLetter));
	Datum		values[LETTER_NCOLUMNS];
	bool		nulls[LETTER_NCOLUMNS];
	const char *state;

	heap_deform_tuple(tuple, tupdesc, values, nulls);
	letter->stream = DatumGetObjectId(values[LETTER_STREAM - 1]);
	letter->view = nulls[LETTER_VIEW - 1] ? InvalidOid : DatumGetObjectId(values[LETTER_VIEW - 1]);
	letter->source = nulls[LETTER_SOURCE - 1] ? 0 : DatumGetInt32(values[LETTER_SOURCE - 1]);
	if (!nulls[LETTER_TOPIC - 1])
		letter->topic = TextDatumGetCString(values[LETTER_TOPIC - 1]);
	letter->partition = nulls[LETTER_PARTITION - 1] ? -1 :
		DatumGetInt32(values[LETTER_PARTITION - 1]);
	letter->offset = nulls[LETTER_OFFSET - 1] ? -1 : DatumGetInt64(values[LETTER_OFFSET - 1]);
	letter->key = read_bytes(values, nulls, LETTER_KEY, &letter->key_len);
	if (!nulls[LETTER_HEADERS - 1])
		letter->headers = DatumGetCString(DirectFunctionCall1(jsonb_out,
															  values[LETTER_HEADERS - 1]));
	letter->payload = read_bytes(values, nulls, LETTER_PAYLOAD, &letter->payload_len);
	letter->timestamp = eddy_catalog_get_time(values, nulls, LETTER_TIMESTAMP);
	letter->error = TextDatumGetCString(values[LETTER_ERROR - 1]);
	state = TextDatumGetCString(values[LETTER_SQLSTATE - 1]);
	if (strlen(state) == 5)
		letter->sqlerrcode = MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]);
	return letter;
}

static bool
has_id(const EddyDeadLetterFilter *filter, int64 id)
{
	for (int i = 0; i < filter->nids; i++)
	{
		if (filter->ids[i] == id)
			return true;
	}
	return filter->nids < 0;
}

/* Deletes a row; false if a transaction that was waited for has deleted it. */
static bool
delete_row(Relation rel, ItemPointer tid)
{
	TM_FailureData failure;
	TM_Result	result = table_tuple_delete(rel, tid, GetCurrentCommandId(true),
											GetActiveSnapshot(), InvalidSnapshot, true, &failure,
											false);

	if (result != TM_Ok && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent delete")));
	return result == TM_Ok;
}

List *
eddy_catalog_take_dead_letters(const EddyDeadLetterFilter *filter)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_dead_letter_table);
	Relation	index = index_open(eddy_catalog_primary_key(rel), AccessShareLock);
	SysScanDesc scan = systable_beginscan_ordered(rel, index, GetActiveSnapshot(), 0, NULL);
	HeapTuple	tuple;
	List	   *letters = NIL;
	Size		bytes = 0;

	while (list_length(letters) < filter->limit && bytes < filter->max_bytes &&
		   (tuple = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL)
	{
		EddyDeadLetter *letter;
		bool		isnull;
		Datum		id = heap_getattr(tuple, LETTER_ID, RelationGetDescr(rel), &isnull);
		Datum		stream = heap_getattr(tuple, LETTER_STREAM, RelationGetDescr(rel), &isnull);

		CHECK_FOR_INTERRUPTS();
		if (DatumGetObjectId(stream) != filter->stream || !has_id(filter, DatumGetInt64(id)))
			continue;
		letter = read_letter(tuple, RelationGetDescr(rel));
		if (!filter->wants(letter, filter->arg) || !delete_row(rel, &tuple->t_self))
			continue;
		letters = lappend(letters, letter);
		bytes += letter->payload_len + letter->key_len;
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	eddy_catalog_close(rel);
	return letters;
}

List *
eddy_catalog_list_letter_offsets(int32 source)
{
	Relation	rel = table_open(eddy_catalog_relid(EDDY_CATALOG_DEAD_LETTERS), AccessShareLock);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	List	   *ranges = NIL;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		EddyRange  *range;

		CHECK_FOR_INTERRUPTS();
		slot_getsomeattrs(slot, LETTER_OFFSET);
		if (!slot->tts_isnull[LETTER_VIEW - 1] || slot->tts_isnull[LETTER_SOURCE - 1] ||
			DatumGetInt32(slot->tts_values[LETTER_SOURCE - 1]) != source ||
			slot->tts_isnull[LETTER_OFFSET - 1])
			continue;
		range = palloc(sizeof(EddyRange));
		range->partition = DatumGetInt32(slot->tts_values[LETTER_PARTITION - 1]);
		range->first = DatumGetInt64(slot->tts_values[LETTER_OFFSET - 1]);
		range->next = range->first + 1;
		ranges = lappend(ranges, range);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	return ranges;
}

void
eddy_catalog_delete_dead_letters(Oid view)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_dead_letter_table);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, LETTER_VIEW, &isnull);

		CHECK_FOR_INTERRUPTS();
		if (!isnull && DatumGetObjectId(value) == view)
			(void) delete_row(rel, &slot->tts_tid);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	eddy_catalog_close(rel);
}

/* eddy_catalog_move_dead_letters makes dead letters of a view those of another one. */
void
eddy_catalog_move_dead_letters(Oid from, Oid to)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_dead_letter_table);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (slot->tts_isnull[LETTER_VIEW - 1] ||
			DatumGetObjectId(slot->tts_values[LETTER_VIEW - 1]) != from)
			continue;
		slot->tts_values[LETTER_VIEW - 1] = ObjectIdGetDatum(to);
		eddy_catalog_replace(rel, ExecFetchSlotHeapTuple(slot, false, NULL), slot->tts_values,
							 slot->tts_isnull);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	eddy_catalog_close(rel);
}

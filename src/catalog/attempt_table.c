/*-------------------------------------------------------------------------
 *
 * attempt_table.c
 *    Rows of eddy._attempt: what a worker must know after its predecessor has crashed.
 *
 * Locking, memory and crash behaviour: see table.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/array.h"

#include "catalog/table.h"

/* Columns of eddy._attempt, from 1, as in the install script. */
enum
{
	ATTEMPT_SOURCE = 1,
	ATTEMPT_SHARD,
	ATTEMPT_TOKEN,
	ATTEMPT_CRASHES,
	ATTEMPT_ALONE,
	ATTEMPT_BATCH_LIMIT,
	ATTEMPT_MESSAGES,
	ATTEMPT_CURRENT,
	ATTEMPT_FAILED,
	ATTEMPT_CAUTION,
	ATTEMPT_VIEW,
	ATTEMPT_NCOLUMNS = ATTEMPT_VIEW
};

/* Ranges are stored as an array of triples: partition, first offset, next offset. */
static List *
read_ranges(Datum value, bool isnull)
{
	List	   *ranges = NIL;
	ArrayType  *array;
	int64	   *numbers;
	int			count;

	if (isnull)
		return NIL;
	array = DatumGetArrayTypeP(value);
	if (ARR_NDIM(array) != 1 || ARR_HASNULL(array) || ARR_ELEMTYPE(array) != INT8OID)
		return NIL;
	numbers = (int64 *) ARR_DATA_PTR(array);
	count = ARR_DIMS(array)[0];
	for (int i = 0; i + 2 < count; i += 3)
	{
		EddyRange  *range = palloc(sizeof(EddyRange));

		range->partition = (int32) numbers[i];
		range->first = numbers[i + 1];
		range->next = numbers[i + 2];
		ranges = lappend(ranges, range);
	}
	return ranges;
}

static Datum
write_ranges(List *ranges, bool *isnull)
{
	Datum	   *numbers = palloc(sizeof(Datum) * 3 * Max(list_length(ranges), 1));
	int			count = 0;
	ListCell   *lc;

	*isnull = (ranges == NIL);
	if (ranges == NIL)
		return (Datum) 0;
	foreach(lc, ranges)
	{
		const EddyRange *range = lfirst(lc);

		numbers[count++] = Int64GetDatum((int64) range->partition);
		numbers[count++] = Int64GetDatum(range->first);
		numbers[count++] = Int64GetDatum(range->next);
	}
	return PointerGetDatum(construct_array(numbers, count, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static void *
read_attempt(const Datum *values, const bool *nulls)
{
	EddyAttempt *attempt = palloc0(sizeof(EddyAttempt));

	attempt->source = DatumGetInt32(values[ATTEMPT_SOURCE - 1]);
	attempt->shard = DatumGetInt32(values[ATTEMPT_SHARD - 1]);
	attempt->token = DatumGetInt64(values[ATTEMPT_TOKEN - 1]);
	attempt->crashes = DatumGetInt32(values[ATTEMPT_CRASHES - 1]);
	attempt->alone = DatumGetInt32(values[ATTEMPT_ALONE - 1]);
	attempt->batch_limit = nulls[ATTEMPT_BATCH_LIMIT - 1] ? EDDY_NO_BATCH_LIMIT :
		DatumGetInt32(values[ATTEMPT_BATCH_LIMIT - 1]);
	attempt->messages = DatumGetInt32(values[ATTEMPT_MESSAGES - 1]);
	attempt->current = read_ranges(values[ATTEMPT_CURRENT - 1], nulls[ATTEMPT_CURRENT - 1]);
	attempt->failed = read_ranges(values[ATTEMPT_FAILED - 1], nulls[ATTEMPT_FAILED - 1]);
	attempt->caution = read_ranges(values[ATTEMPT_CAUTION - 1], nulls[ATTEMPT_CAUTION - 1]);
	attempt->view = DatumGetObjectId(values[ATTEMPT_VIEW - 1]);
	return attempt;
}

const EddyTableDesc eddy_catalog_attempt_table = {EDDY_CATALOG_ATTEMPT, ATTEMPT_NCOLUMNS, read_attempt};

static void
make_keys(ScanKeyData *keys, int32 source, int32 shard, Oid view)
{
	eddy_catalog_key_int4(&keys[0], ATTEMPT_SOURCE, source);
	eddy_catalog_key_int4(&keys[1], ATTEMPT_SHARD, shard);
	eddy_catalog_key_oid(&keys[2], ATTEMPT_VIEW, view);
}

EddyAttempt *
eddy_catalog_get_attempt(int32 source, int32 shard, Oid view)
{
	ScanKeyData keys[3];

	make_keys(keys, source, shard, view);
	return eddy_catalog_read(&eddy_catalog_attempt_table, 3, keys);
}

void
eddy_catalog_delete_view_attempts(Oid view)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_attempt_table);
	ScanKeyData key;

	eddy_catalog_key_oid(&key, ATTEMPT_VIEW, view);
	eddy_catalog_delete(rel, 1, &key);
	eddy_catalog_close(rel);
}

void
eddy_catalog_set_attempt(const EddyAttempt *attempt)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_attempt_table);
	Datum		values[ATTEMPT_NCOLUMNS];
	bool		nulls[ATTEMPT_NCOLUMNS] = {false};
	ScanKeyData keys[3];

	values[ATTEMPT_SOURCE - 1] = Int32GetDatum(attempt->source);
	values[ATTEMPT_SHARD - 1] = Int32GetDatum(attempt->shard);
	values[ATTEMPT_TOKEN - 1] = Int64GetDatum(attempt->token);
	values[ATTEMPT_CRASHES - 1] = Int32GetDatum(attempt->crashes);
	values[ATTEMPT_ALONE - 1] = Int32GetDatum(attempt->alone);
	values[ATTEMPT_BATCH_LIMIT - 1] = Int32GetDatum(attempt->batch_limit);
	nulls[ATTEMPT_BATCH_LIMIT - 1] = (attempt->batch_limit == EDDY_NO_BATCH_LIMIT);
	values[ATTEMPT_MESSAGES - 1] = Int32GetDatum(attempt->messages);
	values[ATTEMPT_CURRENT - 1] = write_ranges(attempt->current, &nulls[ATTEMPT_CURRENT - 1]);
	values[ATTEMPT_FAILED - 1] = write_ranges(attempt->failed, &nulls[ATTEMPT_FAILED - 1]);
	values[ATTEMPT_CAUTION - 1] = write_ranges(attempt->caution, &nulls[ATTEMPT_CAUTION - 1]);
	values[ATTEMPT_VIEW - 1] = ObjectIdGetDatum(attempt->view);
	make_keys(keys, attempt->source, attempt->shard, attempt->view);
	eddy_catalog_put_by(rel, 3, keys, values, nulls);
	eddy_catalog_close(rel);
}

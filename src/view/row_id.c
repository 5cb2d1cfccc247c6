/*-------------------------------------------------------------------------
 *
 * row_id.c
 *    IDs of rows that nothing else identifies: UUIDs of version 7.
 *
 * An ID consists of the time, random bits, both per batch, and a counter: IDs are never used twice,
 * also after a crash and in a copy of the database, and neighbours in time are neighbours in an
 * index. A sequence would do the same, but would change lastval() of the session that inserts. The
 * random bits are strong, so that an ID cannot be guessed.
 *
 * No locks, no memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/timestamp.h"

#include "view/row_id.h"

void
eddy_row_ids_begin(EddyRowIds *ids)
{
	int64		now = GetCurrentTimestamp() +
		((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * USECS_PER_DAY;
	uint64		fraction = (now % 1000) * 4096 / 1000;
	uint64		random;

	if (!pg_strong_random(&random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random number")));
	ids->high = ((uint64) (now / 1000) << 16) | (UINT64CONST(7) << 12) | fraction;
	ids->low = (UINT64CONST(2) << 62) | ((random >> 26) << 24);
	ids->next = 0;
}

Datum
eddy_row_ids_next(EddyRowIds *ids)
{
	uint64		halves[2];

	if (ids->next == (1 << 24))
		eddy_row_ids_begin(ids);
	halves[0] = pg_hton64(ids->high);
	halves[1] = pg_hton64(ids->low | ids->next++);
	memcpy(ids->id.data, halves, UUID_LEN);
	return UUIDPGetDatum(&ids->id);
}

/*-------------------------------------------------------------------------
 *
 * row_age.h
 *    Which stored rows are older than a point in time that is known as a transaction ID.
 *
 * A row has the 32 low bits of the ID of the transaction that wrote it, also after VACUUM has frozen
 * it. Among the last 2^32 transactions they are unique. So the age of a row is exact unless the row
 * is older than that, which only a frozen one can be; it then looks younger.
 *
 * Computes only: test/unit/row_age_test.c runs it without a server.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_STREAM_ROW_AGE_H
#define EDDY_STREAM_ROW_AGE_H

#include "access/transam.h"

/*
 * eddy_stream_row_precedes returns true if the transaction that wrote a row, of which xmin is
 * stored, comes before another one. next: the next ID to be assigned.
 */
static inline bool
eddy_stream_row_precedes(TransactionId xmin, FullTransactionId horizon, FullTransactionId next)
{
	uint32		epoch = EpochFromFullTransactionId(next);

	/* of COPY FREEZE by old versions, and initdb */
	if (!TransactionIdIsNormal(xmin))
		return true;
	if (xmin >= XidFromFullTransactionId(next))
	{
		/* no transaction can have had it: the row is damaged, and of no use to anyone */
		if (epoch == 0)
			return true;
		epoch--;
	}
	return FullTransactionIdPrecedes(FullTransactionIdFromEpochAndXid(epoch, xmin), horizon);
}

#endif							/* EDDY_STREAM_ROW_AGE_H */

/*-------------------------------------------------------------------------
 *
 * transaction_error.h
 *    Handling an error outside of transactions, in a process that starts and ends them itself.
 *
 * For PG_CATCH(). Interrupts are held until the transaction is aborted, because another error
 * before that would end the process. The memory context of the caller is the current one
 * afterwards.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_TRANSACTION_ERROR_H
#define EDDY_TRANSACTION_ERROR_H

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/*
 * eddy_transaction_error returns the error, in the caller's memory context. It can still be logged
 * (EmitErrorReport) before eddy_transaction_abort, which must follow.
 */
static inline ErrorData *
eddy_transaction_error(MemoryContext caller)
{
	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(caller);
	return CopyErrorData();
}

static inline void
eddy_transaction_abort(MemoryContext caller)
{
	FlushErrorState();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(caller);
	RESUME_INTERRUPTS();
}

/* Logs the error, and aborts the transaction. */
static inline void
eddy_transaction_log_error(MemoryContext caller)
{
	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(caller);
	EmitErrorReport();
	eddy_transaction_abort(caller);
}

#endif							/* EDDY_TRANSACTION_ERROR_H */

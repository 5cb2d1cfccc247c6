/*-------------------------------------------------------------------------
 *
 * subtransaction.h
 *    Running a function that may fail in an internal subtransaction.
 *
 * In a header, because the output plugin is a separate library.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_SUBTRANSACTION_H
#define EDDY_SUBTRANSACTION_H

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/*
 * eddy_subtransaction_run calls function(arg) in a subtransaction, in the current memory context.
 * It returns NULL if the function succeeded. Otherwise the effects of the function are undone and
 * the error is returned, in that context. The subtransaction needs a transaction ID only if the
 * function writes. Locks that the function takes are kept if it succeeds, and released if it fails.
 */
static inline ErrorData *
eddy_subtransaction_run(void (*function) (void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		function(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/*
 * True for errors that are not caused by the function itself and may not recur in another attempt:
 * cancel and shutdown, resources, I/O, conflicts with other transactions.
 */
static inline bool
eddy_subtransaction_is_disturbed(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_TRANSACTION_ROLLBACK:
			return true;
		default:
			return false;
	}
}

#endif							/* EDDY_SUBTRANSACTION_H */

/*-------------------------------------------------------------------------
 *
 * each_view.c
 *    The views of the database, for what the database worker does with some of them.
 *
 * Locking: none is kept. Memory: the views live as long as the transaction that reads them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/snapmgr.h"

#include "apply/steps.h"

void
eddy_apply_each_view(EddyViewFunction function, void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	ListCell   *lc;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (eddy_catalog_installed())
		foreach(lc, eddy_catalog_list_all_views())
		{
			MemoryContext old = MemoryContextSwitchTo(caller);

			function(lfirst(lc), arg);
			MemoryContextSwitchTo(old);
		}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
}

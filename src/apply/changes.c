/*-------------------------------------------------------------------------
 *
 * changes.c
 *    What follows from the changes of views: in the transaction that has made them.
 *
 * Changes come from the maintenance of views (eddy_view_apply), from closing and expiry (close.c), and
 * from users who delete rows through a view (statement.c). They are passed to the observers of the
 * views (view/changes.h).
 *
 * Locking: as the observers do. Memory: the caller's. An error, or a crash, leaves nothing, as the
 * transaction is rolled back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "apply/apply.h"
#include "view/changes.h"

void
eddy_apply_changes(List *changes, bool repeatable pg_attribute_unused())
{
	ListCell   *lc;

	foreach(lc, changes)
	{
		eddy_changes_deliver(lfirst(lc));
		eddy_changes_free(lfirst(lc));
	}
}

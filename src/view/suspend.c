/*-------------------------------------------------------------------------
 *
 * suspend.c
 *    Views that are not maintained: suspending them and rebuilding them.
 *
 * A view runs in the transactions of others, so a view that can no longer be
 * maintained (its owner lost a privilege, something it reads was changed) must not make them
 * fail. It is suspended instead: it keeps its last content, its writers pass it by,
 * and eddy.continuous_views shows the error.
 *
 * Locking: suspending locks the status of the view alone, never the view, its state table or
 * its stream, so that no transaction that holds locks on those can prevent it. Memory: the caller's
 * context. The status is a row of a table: it is there after a crash if the
 * transaction that wrote it has committed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "view/plan.h"
#include "view/view.h"

bool
eddy_view_may_maintain(const EddyViewPlan *plan)
{
	return pg_class_aclcheck(plan->stream, plan->owner, ACL_TRIGGER) == ACLCHECK_OK;
}

void
eddy_view_suspend(Oid relid, const char *error, int sqlerrcode)
{
	EddyView   *view = eddy_catalog_get_view(relid);
	const char *name = get_rel_name(relid);

	if (view == NULL || name == NULL ||
		!eddy_catalog_suspend_view(view, error, unpack_sql_state(sqlerrcode)))
		return;
	ereport(WARNING,
			(errcode(sqlerrcode),
			 errmsg("continuous view \"%s\" was suspended", name),
			 errdetail("It could not be maintained: %s", error),
			 errhint("Its owner can rebuild it with eddy.resume after the cause is resolved.")));
}

/*-------------------------------------------------------------------------
 *
 * kind.c
 *    The kinds of continuous views that exist.
 *
 * A view is of the first kind that accepts its query when it is created, and stays of it: the
 * catalog stores the name.
 *
 * No locks, no memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "view/kind.h"

static const EddyViewKind *const kinds[] = {
	&eddy_kind_retracting,
	&eddy_kind_session,
	&eddy_kind_collected,
	&eddy_kind_deferred,
	&eddy_kind_panes,
	&eddy_kind_combining,
	&eddy_kind_append,
	&eddy_kind_distinct_on,
};

/* eddy_kind_choose returns the kind of a view with that query, NULL if it cannot be maintained. */
const EddyViewKind *
eddy_kind_choose(const Query *query)
{
	for (int i = 0; i < (int) lengthof(kinds); i++)
		if (kinds[i]->accepts(query))
			return kinds[i];
	return NULL;
}

/* eddy_kind_choose_for returns the kind of a new view, whose query is accepted, with its policy. */
const EddyViewKind *
eddy_kind_choose_for(const EddyViewPlan *policy, const Query *query, Index stream_rti)
{
	for (int i = 0; i < (int) lengthof(kinds); i++)
		if (kinds[i]->suits ? kinds[i]->suits(policy, query, stream_rti) : kinds[i]->accepts(query))
			return kinds[i];
	return NULL;
}

/* eddy_kind_get returns the kind with a name from the catalog. */
const EddyViewKind *
eddy_kind_get(const char *name)
{
	for (int i = 0; i < (int) lengthof(kinds); i++)
		if (strcmp(kinds[i]->name, name) == 0)
			return kinds[i];
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("continuous views of kind \"%s\" are not supported by this version of pg_eddy",
					name)));
}

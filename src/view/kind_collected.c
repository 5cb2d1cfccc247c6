/*-------------------------------------------------------------------------
 *
 * kind_collected.c
 *    Views with aggregates that need their input values, such as count(DISTINCT x) or array_agg.
 *
 * Such a view may have aggregates that combine as well. It is maintained as a combining view
 * (kind_combining.c), with these additions: the values are kept in state tables of their own
 * (collect.c), and the aggregates that need them are computed from new or from all values
 * (collect_merge.c). The first state table, which the public view reads, has for each group its
 * identity and the numbers of its values.
 *
 * Locking: a group's own row protects its values, see collect_merge.c. Memory: see there. A crash
 * leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "view/analyze.h"
#include "view/collect.h"
#include "view/kind.h"
#include "view/kind_combining.h"

static bool
accepts(const Query *query)
{
	ListCell   *lc;

	foreach(lc, eddy_analyze_aggrefs(unconstify(Query *, query)))
		if (eddy_collect_needs_values(lfirst_node(Aggref, lc)))
			return true;
	return false;
}

const EddyViewKind eddy_kind_collected = {
	.name = "collected",
	.accepts = accepts,
	.layout = eddy_combining_layout,
	.make_delta = eddy_combining_make_delta,
	.lock = NULL,
	.merge = eddy_combining_merge,
	.forget = eddy_combining_forget,
};

/*-------------------------------------------------------------------------
 *
 * pure.h
 *    Views whose maintenance depends on neither the current user nor settings.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_PURE_H
#define EDDY_PURE_H

#include "owner.h"
#include "view/plan.h"

extern bool eddy_pure_check(const EddyViewPlan *plan, const Plan *agg, const Plan *scan);

/* Switches to the owner of a view, unless pure is true. Ended by eddy_owner_end. */
static inline void
eddy_pure_begin(EddyOwnerSwitch *save, const EddyViewPlan *plan, bool pure)
{
	if (pure)
		save->guc_level = 0;
	else
		eddy_owner_begin(save, plan->owner);
}

#endif							/* EDDY_PURE_H */

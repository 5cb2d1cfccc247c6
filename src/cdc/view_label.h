/*-------------------------------------------------------------------------
 *
 * view_label.h
 *    The view that a decoded table belongs to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_VIEW_LABEL_H
#define EDDY_CDC_VIEW_LABEL_H

#include "label.h"
#include "utils/rel.h"

/* The view of a state table, with its label in *label; InvalidOid for other tables. */
extern Oid	eddy_cdc_find_view(Relation relation, EddyTableLabel *label);

#endif							/* EDDY_CDC_VIEW_LABEL_H */

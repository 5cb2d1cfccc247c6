/*-------------------------------------------------------------------------
 *
 * view_label.h
 *    Which view a decoded table belongs to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_VIEW_LABEL_H
#define EDDY_CDC_VIEW_LABEL_H

#include "label.h"
#include "utils/rel.h"

/* Oid of the view of a state table, whose label is parsed into *label; InvalidOid for others. */
extern Oid	eddy_cdc_find_view(Relation relation, EddyTableLabel *label);

#endif							/* EDDY_CDC_VIEW_LABEL_H */

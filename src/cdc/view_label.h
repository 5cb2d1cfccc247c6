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

/* The ID of a view, in a buffer of EDDY_LABEL_ID_LEN + 1 bytes; false if it is not one. */
extern bool eddy_cdc_get_view_id(Oid relid, char *id);
extern bool eddy_cdc_parse_view_label(const char *text, char *id);

#endif							/* EDDY_CDC_VIEW_LABEL_H */

/*-------------------------------------------------------------------------
 *
 * view_filter.h
 *    The option "views": which views the client has asked for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_VIEW_FILTER_H
#define EDDY_CDC_VIEW_FILTER_H

#include "cdc/plugin_options.h"

/* Parses the value of the option into *views; false if it is not valid. */
extern bool eddy_cdc_parse_views(const char *value, List **views);

/* True if the option lists the view by its ID; by its name: plugin_options.h. */
extern bool eddy_cdc_wants_id(const EddyCdcOptions *options, const char *id);

/* The option "strict": note all views that exist, then require that no element is left. */
extern bool eddy_cdc_note_view(EddyCdcOptions *options, const char *id, const char *schema,
							   const char *view);
extern void eddy_cdc_require_views(const EddyCdcOptions *options);
extern void eddy_cdc_refuse_view(const char *schema, const char *view);

#endif							/* EDDY_CDC_VIEW_FILTER_H */

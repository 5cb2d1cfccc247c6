/*-------------------------------------------------------------------------
 *
 * plugin_options.h
 *    What the client asked for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_PLUGIN_OPTIONS_H
#define EDDY_CDC_PLUGIN_OPTIONS_H

#include "nodes/pg_list.h"

typedef struct EddyCdcOptions
{
	const struct EddyCdcFormat *format;
	List	   *views;			/* of Pattern (plugin_options.c); NIL: every continuous view */
	int			batch_bytes;	/* 0: one record per message */
	bool		check_acl;
	bool		include_before;
	bool		include_lsn;
	bool		include_seq;
	bool		include_timestamp;
	bool		include_xid;
	bool		skip_empty_xacts;
} EddyCdcOptions;

/* Fills *options from the client's list of DefElem; errors have SQLSTATE 22023 or 0A000. */
extern void eddy_cdc_parse_options(List *list, EddyCdcOptions *options);

/* True if option "views" asks for the view. */
extern bool eddy_cdc_wants_view(const EddyCdcOptions *options, const char *schema,
								const char *view);

#endif							/* EDDY_CDC_PLUGIN_OPTIONS_H */

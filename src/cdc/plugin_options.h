/*-------------------------------------------------------------------------
 *
 * plugin_options.h
 *    The options of the client.
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

extern void eddy_cdc_parse_options(List *list, EddyCdcOptions *options);
extern bool eddy_cdc_wants_view(const EddyCdcOptions *options, const char *schema,
								const char *view);

#endif							/* EDDY_CDC_PLUGIN_OPTIONS_H */

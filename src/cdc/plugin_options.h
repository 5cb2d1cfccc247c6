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
	List	   *views;			/* of Pattern (view_filter.c); NIL: every continuous view */
	int			batch_bytes;	/* 0: one record per message */
	bool		check_acl;
	bool		final_only;		/* no changes of rows that are not final */
	bool		final_marks;	/* rows that become final without another change */
	bool		include_before;
	bool		include_lsn;
	bool		include_schema;
	bool		include_seq;
	bool		include_timestamp;
	bool		include_transaction;
	bool		include_types;
	bool		include_xid;
	bool		net;			/* one record per row and transaction */
	bool		numeric_as_string;
	bool		progress;
	int			protocol_version;
	bool		retention;		/* deletes of expired rows */
	bool		skip_empty_xacts;
	bool		streaming;		/* parts of transactions in progress */
	bool		strict;
	bool		tombstones;
	bool		two_phase;		/* transactions when they are prepared */
	char	   *topic_prefix;	/* NULL: the name of the database */
} EddyCdcOptions;

/* True if option "views" lists the view, or was not given. */
extern bool eddy_cdc_wants_view(const EddyCdcOptions *options, const char *schema,
								const char *view);

extern void eddy_cdc_parse_options(List *list, EddyCdcOptions *options);

#endif							/* EDDY_CDC_PLUGIN_OPTIONS_H */

/*-------------------------------------------------------------------------
 *
 * plugin.h
 *    The state of one decoding, which all files of the output plugin share.
 *
 * plugin.c has the callbacks, plugin_options.c the client's options. view_label.c determines which
 * tables are state tables, and relation.c caches their descriptions. view_row.c turns changes of
 * their rows into changes of views, and emit.c sends these as records of a format (format.h).
 * json_writer.c turns values into JSON, and encoding.c text into UTF-8.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_PLUGIN_H
#define EDDY_CDC_PLUGIN_H

#include "cdc/plugin_options.h"
#include "lib/stringinfo.h"
#include "replication/logical.h"

#define EDDY_CDC_PLUGIN "pg_eddy_cdc"

typedef struct EddyCdcState
{
	/* set at startup */
	EddyCdcOptions options;
	MemoryContext context;		/* ctx->context: lives as long as the decoding, also after an error */
	MemoryContext change_context;	/* reset after each change */
	struct EddyCdcCache *cache; /* relation.c */
	void	   *format_state;	/* the format's own */

	/* one transaction */
	int64		numbers;		/* sequence numbers used, by changes of all tables */
	int64		seq;			/* of the next record */
	int64		nrecords;
	bool		begun;			/* the format has begun the transaction */
	bool		settings_pinned;

	/* records that have not been sent, one per line */
	StringInfoData records;

	int			quiet_changes;	/* since progress was reported */
} EddyCdcState;

extern void eddy_cdc_pin_settings(EddyCdcState *state);

/* Calls a function in a subtransaction; returns NULL, or the error that it raised. */
extern ErrorData *eddy_cdc_attempt(void (*function) (void *arg), void *arg);

#endif							/* EDDY_CDC_PLUGIN_H */

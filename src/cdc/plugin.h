/*-------------------------------------------------------------------------
 *
 * plugin.h
 *    The state of one decoding, which all files of the output plugin share.
 *
 * plugin.c has the callbacks, in_progress.c those for transactions in progress, plugin_options.c
 * the client's options. view_label.c determines which tables are state tables, and relation.c
 * caches their descriptions. view_row.c turns changes of their rows into changes of views, net.c
 * combines these within a transaction, and emit.c adds them as records of a format (format.h) to
 * messages (message.c). view_filter.c has the option "views", known_views.c the views of the
 * session. row_json.c and json_writer.c turn values into JSON, and encoding.c text into UTF-8.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_PLUGIN_H
#define EDDY_CDC_PLUGIN_H

#include "cdc/plugin_options.h"
#include "lib/stringinfo.h"
#include "replication/logical.h"
#include "subtransaction.h"

#define EDDY_CDC_PLUGIN "pg_eddy_cdc"

/* of the records, as in docs/output-protocol.md */
#define EDDY_CDC_PROTOCOL_VERSION 1

typedef struct EddyCdcState
{
	/* set at startup */
	EddyCdcOptions options;
	MemoryContext context;		/* ctx->context: lives as long as the decoding, also after an error */
	MemoryContext change_context;	/* reset after each change */
	struct EddyCdcCache *cache; /* relation.c */
	struct EddyCdcViews *views; /* known_views.c */

	/*
	 * Returns the view with an ID if the client has asked for it; NULL: eddy_cdc_wants_view
	 * decides, and progress is not described.
	 */
	struct EddyCdcView *(*select) (struct EddyCdcState *state, const char *id, Oid relid,
								   const char *schema, const char *name);
	struct EddyCdcNet *net;		/* net.c; NULL: every change is sent */
	void	   *format_state;	/* the format's own */
	bool		greeted;		/* the first record of the session was sent */

	/* one transaction */
	int64		numbers;		/* sequence numbers used, by changes of all tables */
	int64		seq;			/* of the next record */
	int64		nrecords;
	ReorderBufferTXN *txn;
	bool		begun;			/* the format has begun the transaction */
	bool		settings_pinned;
	List	   *progress;		/* progress.c; in this context */
	MemoryContext progress_context;

	/* records that have not been sent, one per line */
	StringInfoData records;

	int			quiet_changes;	/* since progress was reported */

	/* in_progress.c */
	const char *gid;			/* of the transaction, if it is prepared */
	bool		in_progress;	/* a part of the transaction is sent, or its abort */
	TransactionId subxid;		/* that has made the change; or the transaction */
	int			complete;		/* length of what is complete in records, if the current change is interrupted */
} EddyCdcState;

extern void eddy_cdc_pin_settings(EddyCdcState *state);

/*
 * Calls a function that may raise an error because of a value or of the catalogs, in a
 * subtransaction. Returns NULL, or the error, allocated in the current context. Errors for which
 * neither is the cause, such as a cancel request, are raised.
 */
static inline ErrorData *
eddy_cdc_attempt(void (*function) (void *arg), void *arg)
{
	ErrorData  *error = eddy_subtransaction_run(function, arg);

	if (error && eddy_subtransaction_is_disturbed(error))
		ReThrowError(error);
	return error;
}

#endif							/* EDDY_CDC_PLUGIN_H */

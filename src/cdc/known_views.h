/*-------------------------------------------------------------------------
 *
 * known_views.h
 *    The continuous views that a decoding has met.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_KNOWN_VIEWS_H
#define EDDY_CDC_KNOWN_VIEWS_H

#include "cdc/plugin.h"
#include "datatype/timestamp.h"
#include "label.h"

typedef struct EddyCdcView
{
	char		id[EDDY_LABEL_ID_LEN + 1];	/* of its label: survives renames */
	Oid			relid;			/* of the view */
	bool		followed;		/* it once had a name that option "views" lists */
	bool		shown;			/* the client may read it, and knows it or can do so */
	bool		suspect;		/* may have been dropped */

	/*
	 * rows of windows that end until this time expire if this transaction, or subtransaction,
	 * deletes them
	 */
	TimestampTz expired_until;
	TransactionId expired_by;	/* invalid: none */

	/* as of its last description, in name_context; as JSON */
	MemoryContext name_context;
	char	   *name;			/* "schema.view", quoted as in SQL */
	int			name_len;
	char	   *plain_name;		/* the same without these quotes */
	int			plain_name_len;
	char	   *schema;			/* the columns, as last sent; NULL: not sent yet */
	int			schema_len;

	/* the format's own: number of records in a transaction */
	int64		counted_in;
	int64		counted;
	int64		count;
} EddyCdcView;

extern void eddy_cdc_init_views(EddyCdcState *state);
extern void eddy_cdc_load_views(LogicalDecodingContext *ctx, const ReorderBufferTXN *txn);
extern void eddy_cdc_suspect_view(Oid relid);
extern void eddy_cdc_check_views(EddyCdcState *state);

extern EddyCdcView *eddy_cdc_find_known_view(EddyCdcState *state, const char *id, Oid relid);
extern EddyCdcView *eddy_cdc_select_view(EddyCdcState *state, Oid relid);
extern void eddy_cdc_follow_view(EddyCdcState *state, EddyCdcView *view, const char *schema,
								 const char *name);
extern EddyCdcView *eddy_cdc_nth_view(EddyCdcState *state, int n);
extern void eddy_cdc_name_view(EddyCdcView *view, const char *schema, const char *name);
extern bool eddy_cdc_set_schema(EddyCdcView *view, const char *schema, int len);
extern EddyCdcView *eddy_cdc_next_dropped_view(EddyCdcState *state);
extern void eddy_cdc_forget_view(EddyCdcState *state, EddyCdcView *view);

#endif							/* EDDY_CDC_KNOWN_VIEWS_H */

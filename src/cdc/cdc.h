/*-------------------------------------------------------------------------
 *
 * cdc.h
 *    What the files of the output plugin share.
 *
 * plugin.c owns the callbacks, options.c what the client asked for, view.c which
 * tables are state tables, relation.c what is known of the tables that are
 * decoded, json.c turns values into JSON text and encoding.c text into UTF-8,
 * emit.c adds records to messages, and each format (native.c) turns changes
 * into records. A later format is one more file, one more EddyCdcFormat in the
 * table of options.c and its own options there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_H
#define EDDY_CDC_H

#include "fmgr.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "replication/logical.h"
#include "utils/datetime.h"
#include "utils/hsearch.h"
#include "utils/rel.h"

#define EDDY_CDC_PLUGIN "pg_eddy_cdc"

typedef struct EddyCdcState EddyCdcState;
typedef struct EddyCdcChange EddyCdcChange;

/* ---- formats ---- */

typedef struct EddyCdcFormat
{
	const char *name;

	/* Prepares what all records of the transaction share. */
	void		(*begin) (EddyCdcState *state, ReorderBufferTXN *txn);

	/* Append one record, without a line end, to state->records. */
	void		(*change) (EddyCdcState *state, const EddyCdcChange *change);
	void		(*empty) (EddyCdcState *state);	/* a transaction without changes */

	/*
	 * Append the record of a change that cannot be sent because of the error; with key, if the
	 * key of the row can be.
	 */
	void		(*failed) (EddyCdcState *state, const EddyCdcChange *change,
						   const ErrorData *error, bool with_key);
} EddyCdcFormat;

extern const EddyCdcFormat eddy_cdc_native_format;

/* ---- options ---- */

/* One element of option "views"; NULL stands for any name. */
typedef struct EddyCdcPattern
{
	char	   *schema;
	char	   *view;
} EddyCdcPattern;

typedef struct EddyCdcOptions
{
	const EddyCdcFormat *format;
	List	   *views;			/* of EddyCdcPattern; NIL: every continuous view */
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

/* ---- values ---- */

typedef enum EddyCdcKind
{
	EDDY_CDC_BOOL,
	EDDY_CDC_INT2,
	EDDY_CDC_INT4,
	EDDY_CDC_INT8,
	EDDY_CDC_FLOAT4,
	EDDY_CDC_FLOAT8,
	EDDY_CDC_NUMERIC,
	EDDY_CDC_TEXT,				/* text, varchar, char(n): the bytes themselves */
	EDDY_CDC_DATETIME,			/* date, timestamp, timestamptz */
	EDDY_CDC_JSON,
	EDDY_CDC_JSONB,
	EDDY_CDC_ARRAY,
	EDDY_CDC_OTHER				/* a string: what the output function says */
} EddyCdcKind;

typedef struct EddyCdcType
{
	EddyCdcKind kind;
	Oid			oid;			/* of a domain its base type */
	bool		needs_settings; /* the text depends on settings */
	bool		can_fail;		/* valid values may have no text, or one that is too long */
	FmgrInfo	output;			/* EDDY_CDC_OTHER */
	struct EddyCdcType *element;	/* EDDY_CDC_ARRAY */
	int16		len;
	bool		byval;
	char		align;

	/* EDDY_CDC_DATETIME: the last value, as windows repeat their bounds */
	int			memo_len;		/* 0: none yet */
	Datum		memo_value;
	char		memo_text[MAXDATELEN + 3];
} EddyCdcType;

/* Describes a type; what it allocates is in the current context. */
extern void eddy_cdc_describe_type(EddyCdcType *type, Oid oid);

/* Appends a value, which is not NULL, as JSON; garbage goes to the current context. */
extern void eddy_cdc_append_value(StringInfo out, EddyCdcType *type, Datum value);

/* Appends text of the database's encoding as a JSON string, in UTF-8. */
extern void eddy_cdc_append_string(StringInfo out, const char *data, int len);
extern void eddy_cdc_append_int64(StringInfo out, int64 value);

/* Appends one UTF-16 unit as a JSON escape. */
extern void eddy_cdc_append_escape(StringInfo out, unsigned int unit);

/* Appends bytes with the high bit, text of the database's encoding, within a JSON string. */
extern void eddy_cdc_append_non_ascii(StringInfo out, const char *data, int len);

/* Makes room for more bytes; raises an error if the message would be too large. */
extern void eddy_cdc_enlarge(StringInfo out, int len);

/* Appends bytes. The buffer is not kept zero-terminated. */
static inline void
eddy_cdc_append_bytes(StringInfo out, const char *data, int len)
{
	if (unlikely(len >= out->maxlen - out->len))
		eddy_cdc_enlarge(out, len);
	memcpy(out->data + out->len, data, len);
	out->len += len;
}

#define eddy_cdc_append_literal(out, literal) \
	eddy_cdc_append_bytes(out, "" literal, sizeof(literal) - 1)

/* ---- views ---- */

/* What the label of a state table says. Attribute numbers are those of the state table. */
typedef struct EddyCdcView
{
	Oid			relid;			/* of the view */
	int			ncolumns;		/* of the view, the first ones of the state table */
	AttrNumber	visible;		/* the result of the HAVING condition, 0: none */
	int			nkeys;
	AttrNumber	keys[INDEX_MAX_KEYS];
} EddyCdcView;

extern bool eddy_cdc_find_view(Relation relation, EddyCdcView *view);

/* ---- relations ---- */

typedef struct EddyCdcColumn
{
	int			index;			/* in the state table, from 0 */
	char	   *name;			/* "name": as JSON, with the colon */
	int			name_len;
	EddyCdcType type;

	/* JSON text of the value in the current record, to be copied when it is needed again */
	const Datum *text_row;		/* of which row; NULL: none */
	int			text_start;		/* in state->records */
	int			text_len;
} EddyCdcColumn;

/* How much of the old row an UPDATE or DELETE carries. */
typedef enum EddyCdcIdentity
{
	EDDY_CDC_IDENTITY_NONE,		/* not even the key */
	EDDY_CDC_IDENTITY_KEY,		/* the key; absent in an UPDATE that does not change it */
	EDDY_CDC_IDENTITY_FULL
} EddyCdcIdentity;

typedef struct EddyCdcRelation
{
	Oid			relid;			/* hash key */
	uint64		generation;		/* differs from that of the cache: describe again */
	bool		emitted;		/* a state table whose view is asked for and may be read */

	/* the rest is set if the table is the state table of a view */
	Oid			view;			/* InvalidOid: it is not */
	dlist_node	node;			/* in EddyCdcState.views */
	MemoryContext context;		/* of what follows */
	char	   *name;			/* of the view, as JSON */
	int			name_len;
	int			ncolumns;		/* what users see */
	int			nkeys;
	EddyCdcColumn *columns;		/* columns of the view, then keys that it does not show */
	int			nstored;		/* of them all */
	EddyCdcColumn **keys;		/* in columns */
	int			visible;		/* index of the result of the HAVING condition, -1: none */
	EddyCdcIdentity identity;
	bool		needs_settings;
	bool		can_fail;		/* any column of these types */
	bool		complained;		/* about the replica identity */

	/* space for one change */
	Datum	   *new_values;
	bool	   *new_nulls;
	Datum	   *old_values;
	bool	   *old_nulls;
} EddyCdcRelation;

/* Starts an empty cache and makes invalidations reach it. */
extern void eddy_cdc_init_relations(EddyCdcState *state);

/* What is known of a table, NULL if its changes are not emitted. Valid until the next change. */
extern EddyCdcRelation *eddy_cdc_get_relation(EddyCdcState *state, Relation relation);

/* Keeps the cache from growing with every table ever seen; call between transactions. */
extern void eddy_cdc_trim_relations(EddyCdcState *state);

/* ---- the plugin ---- */

/* A change of a result row. Old values are NULL where they are not known. */
struct EddyCdcChange
{
	char		op;				/* c, u or d */
	EddyCdcRelation *relation;
	const Datum *values;		/* the row after the change; of d, the row before */
	const bool *nulls;
	bool		whole;			/* values hold more than the key */
	const Datum *old_values;	/* the row before an u */
	const bool *old_nulls;
	bool		large;			/* its text may exceed the largest record */
};

struct EddyCdcState
{
	/* set at startup */
	EddyCdcOptions options;
	MemoryContext context;		/* ctx->context: dies with the decoding, by error too */
	MemoryContext change_context;	/* reset after each change */

	/* relation.c */
	MemoryContext relations_context;
	HTAB	   *relations;
	dlist_head	views;			/* entries of state tables */
	uint64		generation;
	EddyCdcRelation *last;		/* found last */

	/* one transaction */
	int64		numbers;		/* sequence numbers given away, to changes of all tables */
	int64		seq;			/* of the next record */
	int64		nrecords;
	bool		begun;			/* the format knows of it */
	bool		settings_pinned;
	StringInfoData tail;		/* native.c: what its records end with */
	int			tail_seq;		/* where in it the sequence number belongs */

	/* records that have not been sent, one per line */
	StringInfoData records;

	int			quiet_changes;	/* since progress was reported */
};

/* ---- emit.c ---- */

/*
 * Calls a function that may raise an error because of a value or of the catalogs. Returns NULL,
 * or the error, allocated in the current context. What concerns the server and not the value,
 * such as a cancel request, is raised.
 */
extern ErrorData *eddy_cdc_attempt(void (*function) (void *arg), void *arg);

/* Adds the record of a change to those that wait, after sending these if they are enough. */
extern void eddy_cdc_emit(LogicalDecodingContext *ctx, const EddyCdcChange *change);

/* Sends the records that wait. */
extern void eddy_cdc_send(LogicalDecodingContext *ctx);

/* ---- plugin.c ---- */

/* Makes type output independent of the session's settings until the transaction's replay ends. */
extern void eddy_cdc_pin_settings(EddyCdcState *state);

#endif							/* EDDY_CDC_H */

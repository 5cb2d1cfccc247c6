/*-------------------------------------------------------------------------
 *
 * w2j.h
 *    The state of pg_eddy_wal2json, which all of its files share.
 *
 * pg_eddy_wal2json sends the changes of continuous views as the output plugin wal2json would send
 * those of tables with the columns and the names of the views. callbacks.c has the callbacks,
 * w2j_options.c the client's options. table_text.c prepares the texts that all records of a view
 * share; changeset.c writes format version 1, one document for each transaction, action_record.c
 * version 2, one for each change. value_text.c writes values.
 *
 * Recognizing views and their visible rows is shared with pg_eddy_cdc: relation.c, view_label.c,
 * view_row.c, known_views.c and view_filter.c of src/cdc/ are linked into both libraries. These
 * call functions that each library defines: eddy_cdc_emit and eddy_cdc_pin_settings. The output
 * depends on the session's settings, as that of wal2json does, so none is pinned here. Views are
 * selected here, by filter-tables and add-tables; the option "views" of pg_eddy_cdc is not set.
 *
 * docs/wal2json.md is the specification.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_W2J_H
#define EDDY_W2J_H

#include "cdc/format.h"
#include "cdc/json_writer.h"
#include "cdc/plugin.h"
#include "cdc/relation.h"
#include "nodes/pg_list.h"
#include "replication/logical.h"

#define EDDY_WAL2JSON_PLUGIN "pg_eddy_wal2json"

/* the actions that option "actions" selects */
typedef enum EddyW2jAction
{
	EDDY_W2J_INSERT = 1 << 0,
	EDDY_W2J_UPDATE = 1 << 1,
	EDDY_W2J_DELETE = 1 << 2,
	EDDY_W2J_TRUNCATE = 1 << 3
} EddyW2jAction;

typedef struct EddyW2jOptions
{
	int			format_version;
	int			actions;		/* EddyW2jAction */

	bool		include_column_positions;
	bool		include_default;
	bool		include_domain_data_type;
	bool		include_lsn;
	bool		include_not_null;
	bool		include_origin;
	bool		include_pk;
	bool		include_schemas;
	bool		include_timestamp;
	bool		include_transaction;
	bool		include_type_oids;
	bool		include_types;
	bool		include_typmod;
	bool		include_xids;
	bool		numeric_as_string;
	bool		pretty_print;
	bool		write_in_chunks;

	/* of pg_eddy, not of wal2json */
	bool		check_acl;
	bool		full_identity;
	bool		skip_empty_xacts;

	/* NIL: the option was not given */
	List	   *filter_tables;	/* patterns, see w2j_options.c */
	List	   *add_tables;
	List	   *filter_prefixes;	/* of char * */
	List	   *add_prefixes;
	List	   *filter_origins; /* of int */
} EddyW2jOptions;

/* How a value is written. */
typedef enum EddyW2jKind
{
	EDDY_W2J_STRING,			/* the result of the output function */
	EDDY_W2J_TEXT,				/* text and similar types: the bytes themselves */
	EDDY_W2J_BOOL,
	EDDY_W2J_BYTEA,
	EDDY_W2J_INT2,
	EDDY_W2J_INT4,
	EDDY_W2J_INT8,
	EDDY_W2J_NUMBER				/* all other numbers: the result of the output function */
} EddyW2jKind;

/* The parts of a column's text that do not depend on the value. */
typedef struct EddyW2jColumn
{
	EddyCdcColumn *cdc;
	bool		is_key;
	EddyW2jKind kind;
	FmgrInfo	output;
	StringInfoData head;		/* version 2: up to the value */
	StringInfoData tail;		/* version 2: what follows the value, in "columns" */
	StringInfoData name;		/* the following are elements of the arrays of version 1 */
	StringInfoData type;
	StringInfoData oid;
	StringInfoData position;
	StringInfoData optional;
	StringInfoData default_;
} EddyW2jColumn;

/* What the records of a view share, in EddyCdcRelation.format_data. */
typedef struct EddyW2jTable
{
	bool		wanted;			/* by options filter-tables and add-tables; if not, the rest is not set */
	bool		keyed;			/* the view shows all columns of its key */
	bool		full_identity;	/* "identity" consists of all columns, not of the key */
	int			ncolumns;
	EddyW2jColumn *columns;
	StringInfoData name;		/* fields for the schema and the name */
	StringInfoData pk;			/* field with the primary key, empty if it is not sent */
	StringInfoData arrays;		/* version 1: all arrays of all columns up to the values */
	StringInfoData key_arrays;	/* version 1: those of the key, likewise */
} EddyW2jTable;

typedef struct EddyW2jState
{
	EddyW2jOptions options;

	const struct EddyW2jVersion *version;

	/* one transaction */
	ReorderBufferTXN *txn;		/* NULL: outside of transactions */
	bool		begun;			/* its begin was written */
	bool		sent;			/* a message was sent */
	int			nchanges;		/* version 1: in the current document */
	StringInfoData header;		/* fields that all records of the transaction share */

	/* one change */
	XLogRecPtr	lsn;
	bool		lenient;		/* leave out values that raise errors or are too large */
} EddyW2jState;

/* A format version. All but finish append text to the pending output, EddyCdcState.records. */
typedef struct EddyW2jVersion
{
	/* the begin and the end of a transaction or document */
	void		(*begin) (EddyCdcState *state);
	void		(*end) (EddyCdcState *state);

	/* one record each */
	void		(*change) (EddyCdcState *state, EddyW2jTable *table, const EddyCdcChange *change);
	void		(*truncate) (EddyCdcState *state, EddyW2jTable *table);
	void		(*message) (EddyCdcState *state, bool transactional, const char *prefix,
							const char *content, Size size);
} EddyW2jVersion;

extern const EddyW2jVersion eddy_wal2json_version1;
extern const EddyW2jVersion eddy_wal2json_version2;

static inline EddyW2jState *
eddy_wal2json_state(EddyCdcState *state)
{
	return state->format_state;
}

/* w2j_options.c */
extern void eddy_wal2json_parse_options(List *list, EddyW2jOptions *options);
extern bool eddy_wal2json_wants_table(const EddyW2jOptions *options, const char *schema,
									  const char *table);
extern bool eddy_wal2json_wants_prefix(const EddyW2jOptions *options, const char *prefix);

/* table_text.c */
extern EddyW2jTable *eddy_wal2json_describe(EddyW2jState *state, EddyCdcRelation *relation,
											TupleDesc desc);

/* value_text.c */
extern bool eddy_wal2json_has_value(const EddyW2jColumn *column, const Datum *values,
									const bool *nulls);
extern void eddy_wal2json_append_value(EddyW2jState *state, StringInfo out, EddyW2jColumn *column,
									   const Datum *values, const bool *nulls);
extern bool eddy_wal2json_try_value(EddyW2jState *state, StringInfo out, EddyW2jColumn *column,
									const Datum *values, const bool *nulls);

#define eddy_wal2json_append_buffer(out, buffer) \
	eddy_cdc_append_bytes(out, (buffer).data, (buffer).len)

#endif							/* EDDY_W2J_H */

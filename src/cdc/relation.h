/*-------------------------------------------------------------------------
 *
 * relation.h
 *    The description of a decoded table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_RELATION_H
#define EDDY_CDC_RELATION_H

#include "cdc/json_writer.h"
#include "cdc/plugin.h"
#include "label.h"
#include "lib/ilist.h"
#include "utils/rel.h"

typedef struct EddyCdcColumn
{
	int			index;			/* in the state table, from 0 */
	AttrNumber	view_column;	/* in the view; 0: a key that it does not show */
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
	/* the cache's own */
	Oid			relid;			/* hash key */
	uint64		generation;		/* differs from that of the cache: describe again */
	bool		emitted;		/* a state table whose view is asked for and may be read */
	bool		refused;		/* asked for, but may not be read */
	dlist_node	node;			/* in the cache's list, if view is set */
	MemoryContext context;		/* of the following */

	Oid			view;			/* InvalidOid: not a state table, the rest is not set */
	EddyTableRole role;
	struct EddyCdcView *known;	/* of state->select */
	char	   *name;			/* of the view with its schema, quoted as in SQL, as JSON */
	int			name_len;
	char	   *schema_name;	/* as they are */
	char	   *view_name;
	char	   *types;			/* of the columns, {"name":"type"}; if options ask for it */
	int			types_len;
	char	   *schema;			/* likewise, the end of record "schema" */
	int			schema_len;
	bool		announced;		/* that record was sent */
	void	   *format_data;	/* the format's own, NULL at first */
	int			ncolumns;		/* of the view, without those that are computed when it is read */
	int			nkeys;
	EddyCdcColumn *columns;		/* columns of the view that are stored, then keys that it does not show */
	int			nstored;		/* of them all */
	EddyCdcColumn **keys;		/* in columns */
	int			visible;		/* index of the result of the HAVING condition, -1: none */
	int			final;			/* index of the mark of final rows, -1: no row is final */
	int			end;			/* index of the end of the window, -1: rows do not expire */
	int			progress[3];	/* EDDY_TABLE_PROGRESS: indexes of view, closed, expired */
	int			initial[4];		/* EDDY_TABLE_INITIAL: of slot, state table, layout, content */
	int64		layout;			/* of the columns (row_layout.h) */
	EddyCdcIdentity identity;
	bool		needs_settings; /* any column of a type that does */
	bool		can_fail;		/* likewise */
	bool		warned;			/* that deleted rows are not sent */

	/* space for one change */
	TupleDesc	desc;			/* of the table, a copy */
	Datum	   *new_values;
	bool	   *new_nulls;
	Datum	   *old_values;
	bool	   *old_nulls;
} EddyCdcRelation;

extern void eddy_cdc_init_cache(EddyCdcState *state);

/* NULL if changes of the table are not sent. Valid until the next change. */
extern EddyCdcRelation *eddy_cdc_get_relation(EddyCdcState *state, Relation relation);

/* Returns an entry that eddy_cdc_get_relation has returned in this transaction. */
extern EddyCdcRelation *eddy_cdc_find_relation(EddyCdcState *state, Oid relid);

/* True if eddy_cdc_get_relation would replace a description whose changes are sent. */
extern bool eddy_cdc_is_outdated(EddyCdcState *state, Oid relid);

/* True if the user of this session could SELECT all columns of the view. */
extern bool eddy_cdc_may_read(Oid view, Oid schema);

/* Call between transactions. */
extern void eddy_cdc_trim_cache(EddyCdcState *state);

#endif							/* EDDY_CDC_RELATION_H */

/*-------------------------------------------------------------------------
 *
 * label.h
 *    The security labels by which the output plugins recognize continuous views.
 *
 * The plugin reads the catalogs as of a past point of the WAL. A table of our own could be read
 * only as a user_catalog_table, which fails for good once its files were rewritten or the extension
 * was dropped: the server maps only system catalogs to their current files. pg_seclabel is a system
 * catalog. A label is written when a view is created or its query is replaced, is dropped with its
 * object, is dumped and restored with it, and can be set by superusers alone (view/label.c). Still,
 * a dump can have been edited: what does not match this grammar, or names columns that the table
 * does not have, is refused (cdc/view_label.c).
 *
 *   label   = "2 " ID " " role
 *   role    = "view"                                                 the view that users read
 *           | "rows columns" numbers " keys" numbers [ " visible " number ] [ " final " number ]
 *                                                            [ " end " number ]
 *           | "auxiliary"                                            any other state table
 *           | "progress" numbers                                     eddy._view_progress
 *           | "initial" numbers                                      eddy._initial_row
 *   numbers = { " " number }
 *
 * 2 is the version of the format; labels of other versions are refused. ID, which is random, is
 * the same in all labels of a view. A number is the attribute number of a column of the labelled
 * table, in decimal notation without sign and leading zeros; the table may have columns that its
 * label does not mention.
 *
 * "rows": the rows of the table are those of the view, and their changes are sent. The n-th
 * number of "columns" is the table's column that holds the n-th column of the view, or 0 if that
 * column is computed when the view is read, and is not sent; "keys" are the columns that identify
 * a row, none if there is one row only; rows for which the boolean column "visible" is not true
 * are not in the view; rows for which the boolean column "final" is true are final: they change
 * only if the view accepts late rows; "end" is of type timestamptz, and holds the time up to
 * which expired rows are deleted: the end of the window, or the time when the group was touched
 * last. The view of the table is the one that reads it and has the same ID: reading alone proves
 * nothing, as owners can make a view read any table.
 *
 * "progress": the numbers are those of three columns, the OID of a view, the time until when its
 * windows are closed, and that until when closed windows have expired. The ID is not that of a
 * view; the install script sets this label. Changes of the table are sent as progress of the views.
 *
 * "initial": the numbers are those of four columns: the name of a slot, the OID of a table with
 * role "rows", the layout of its columns (row_layout.h), and a row of it as bytes. Rows that are
 * inserted are sent by that slot as rows of the view. The table must belong to a superuser, as the
 * bytes are trusted.
 *
 * "auxiliary": changes of the table are not sent. A view may have any number of such tables, and
 * any number of tables with role "rows", also none.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_LABEL_H
#define EDDY_LABEL_H

#include "access/attnum.h"

#define EDDY_LABEL_PROVIDER "pg_eddy"
#define EDDY_LABEL_VERSION "2"

/* hexadecimal digits of an ID */
#define EDDY_LABEL_ID_LEN 32

/* the words of the grammar */
#define EDDY_LABEL_VIEW "view"
#define EDDY_LABEL_ROWS "rows"
#define EDDY_LABEL_AUXILIARY "auxiliary"
#define EDDY_LABEL_COLUMNS "columns"
#define EDDY_LABEL_KEYS "keys"
#define EDDY_LABEL_VISIBLE "visible"
#define EDDY_LABEL_FINAL "final"
#define EDDY_LABEL_END "end"
#define EDDY_LABEL_PROGRESS "progress"
#define EDDY_LABEL_INITIAL "initial"

typedef enum EddyTableRole
{
	EDDY_TABLE_ROWS,
	EDDY_TABLE_AUXILIARY,
	EDDY_TABLE_PROGRESS,
	EDDY_TABLE_INITIAL
} EddyTableRole;

/* What the label of a state table says. The columns are those of the table. */
typedef struct EddyTableLabel
{
	EddyTableRole role;
	char		id[EDDY_LABEL_ID_LEN + 1];	/* set by the plugin */

	/* of EDDY_TABLE_ROWS */
	int			ncolumns;
	AttrNumber *columns;		/* in the order of the view's columns; 0: computed when reading */
	int			nkeys;
	AttrNumber *keys;
	AttrNumber	visible;		/* 0: all rows are visible */
	AttrNumber	final;			/* 0: no row is final */
	AttrNumber	end;			/* 0: rows do not expire */

	/* of EDDY_TABLE_PROGRESS: view, closed, expired */
	AttrNumber	progress[3];

	/* of EDDY_TABLE_INITIAL: slot, state table, layout, content */
	AttrNumber	initial[4];
} EddyTableLabel;

#endif							/* EDDY_LABEL_H */

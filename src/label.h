/*-------------------------------------------------------------------------
 *
 * label.h
 *    The security labels by which the output plugin recognizes state tables.
 *
 * The plugin reads the catalogs as of a past point of the WAL. A table of our own could be
 * read only as a user_catalog_table, which fails for good once its files were rewritten or
 * the extension was dropped: the server maps only system catalogs to their current files.
 * pg_seclabel is a system catalog. A label is written when a view is created, never changes,
 * is dropped with its object, is dumped and restored with it, and can be set by nobody but
 * superusers (view/label.c).
 *
 *   on the state table   "state 1 ID columns N visible N keys N ..."
 *   on the view          "view 1 ID"
 *
 * 1 is the version of the format. ID is random and links the two: that a view reads a state
 * table proves nothing, as its owner can make a view read any table. "columns" is how many of
 * the first columns of the state table are those of the view, in their order; "visible" the
 * number of the column with the result of the HAVING condition, 0 without HAVING; "keys" the
 * numbers of the columns of the group key, none without GROUP BY.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_LABEL_H
#define EDDY_LABEL_H

#define EDDY_LABEL_PROVIDER "pg_eddy"
#define EDDY_LABEL_VERSION 1

/* hexadecimal digits of an ID */
#define EDDY_LABEL_ID_LEN 32

#endif							/* EDDY_LABEL_H */

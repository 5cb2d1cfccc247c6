/*-------------------------------------------------------------------------
 *
 * name.h
 *    Names of new relations, which no other transaction gives to one of its own: see name.c.
 *
 * For the files of view/ alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_VIEW_NAME_H
#define EDDY_VIEW_NAME_H

/* A name for a new relation, made of these parts as ChooseRelationName does; name2 can be NULL. */
extern char *eddy_name_choose(const char *name1, const char *name2, const char *label, Oid schema);

/* Waits for other transactions that create a view with this name. */
extern void eddy_name_lock(const char *name, Oid schema);

#endif							/* EDDY_VIEW_NAME_H */

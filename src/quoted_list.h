/*-------------------------------------------------------------------------
 *
 * quoted_list.h
 *    A list of names in double quotes, for details of errors.
 *
 * In a header, because the output plugins are separate libraries.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_QUOTED_LIST_H
#define EDDY_QUOTED_LIST_H

#include "lib/stringinfo.h"

/*
 * The names of a NULL-terminated list, as in: "a", "b" and "c"; or, if there are others (otherwise
 * NULL): "a", "b" and others.
 */
static inline char *
eddy_quoted_list(const char *const *names, const char *others)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; names[i] != NULL; i++)
		appendStringInfo(&list, "%s\"%s\"",
						 i == 0 ? "" : names[i + 1] != NULL || others != NULL ? ", " : " and ",
						 names[i]);
	if (others != NULL)
		appendStringInfo(&list, " and %s", others);
	return list.data;
}

#endif							/* EDDY_QUOTED_LIST_H */

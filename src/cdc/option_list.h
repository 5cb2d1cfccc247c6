/*-------------------------------------------------------------------------
 *
 * option_list.h
 *    Options that a client of an output plugin gives, as a list of names and values.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_OPTION_LIST_H
#define EDDY_CDC_OPTION_LIST_H

#include "nodes/pg_list.h"

typedef struct EddyCdcOption EddyCdcOption;

/* Parses a value, which is NULL if the client gave the name of the option only. */
typedef void (*EddyCdcParseOption) (const EddyCdcOption *option, const char *value, void *options);

struct EddyCdcOption
{
	const char *name;
	const char *initial;		/* the default value, NULL: the field stays zero */
	EddyCdcParseOption parse;
	size_t		offset;			/* of the field in the struct, if parse sets one of several */
	int			formats;		/* that have the option, of plugins with several formats */
};

/* The options that a plugin has. */
typedef struct EddyCdcOptionTable
{
	const char *plugin;
	const EddyCdcOption *options;
	int			count;
	const char *detail;			/* what the options are; NULL: a list of their names */
} EddyCdcOptionTable;

/*
 * Fills the struct of options from the defaults and from a list of DefElem. Sets seen[] for the
 * options that the client has given. Errors have SQLSTATE 22023, unless a parser raises another
 * one.
 */
extern void eddy_cdc_parse_list(const EddyCdcOptionTable *table, List *list, bool *seen,
								void *options);

/* The parser of options that are on or off; without a value on. */
extern void eddy_cdc_parse_boolean(const EddyCdcOption *option, const char *value, void *options);

/*
 * Raises the error for a value that is not valid, or missing. The detail says which values are;
 * hint can be NULL.
 */
extern void eddy_cdc_refuse_value(const EddyCdcOption *option, const char *value,
								  const char *detail, const char *hint);

/* The same for a NULL-terminated list of valid values, with the closest one as hint. */
extern void eddy_cdc_refuse_choice(const EddyCdcOption *option, const char *value,
								   const char *const *choices);

#endif							/* EDDY_CDC_OPTION_LIST_H */

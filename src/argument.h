/*-------------------------------------------------------------------------
 *
 * argument.h
 *    Checks of function arguments, with one wording for their errors.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_ARGUMENT_H
#define EDDY_ARGUMENT_H

#include "access/tupdesc.h"
#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "compat.h"

/* Raises an error if an argument that has a name is null; names[] has one element per argument. */
extern void eddy_argument_check_not_null(FunctionCallInfo fcinfo, const char *const *names,
										 int count);

/* The index of value in the NULL-terminated list of choices; an error if it is not one of them. */
extern int	eddy_argument_choice(const char *kind, const char *name, const char *value,
								 const char *const *choices);
eddy_compat_noreturn
extern void eddy_argument_refuse_choice(const char *kind, const char *name, const char *value,
										const char *const *choices, const char *others);
eddy_compat_noreturn
extern void eddy_argument_refuse_option(const char *argument, const char *option,
										const char *const *options);

/*
 * While the text of an argument is converted by an input function: its errors name the argument and
 * its valid values (others may be NULL), which the function does not know. End it before returning.
 */
typedef struct EddyArgumentInput
{
	ErrorContextCallback callback;
	const char *name;
	const char *const *choices;
	const char *others;
} EddyArgumentInput;

extern void eddy_argument_begin_input(EddyArgumentInput *input, const char *name,
									  const char *const *choices, const char *others);
extern void eddy_argument_end_input(EddyArgumentInput *input);

/*
 * A point in time, in a form that does not depend on settings, or one of a NULL-terminated list of
 * words.
 */
extern char *eddy_argument_time_or_word(const char *name, char *value, const char *const *words);

/* Raises an error for a negative interval, or one that is out of range. */
extern void eddy_argument_check_interval(const char *name, const Interval *value);

extern void eddy_argument_check_object(const char *name, const Jsonb *value, const char *hint);

/* The name of a NULL-terminated list that is closest to a misspelt one, or NULL. */
extern const char *eddy_argument_closest(const char *name, const char *const *names);

/* The names of the columns of a table, for these two: NULL-terminated. */
extern const char **eddy_argument_columns(TupleDesc desc);

/*
 * The names of such a list for a detail, which has one of them at least: the first ones, and the
 * number of others.
 */
extern char *eddy_argument_list(const char *const *names);

#endif							/* EDDY_ARGUMENT_H */

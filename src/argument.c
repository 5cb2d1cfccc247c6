/*-------------------------------------------------------------------------
 *
 * argument.c
 *    Checks of function arguments, with one wording for their errors.
 *
 * An error names the argument and its value, the detail lists the valid values, and the hint has
 * the closest valid name, if there is one. Takes no locks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"

#include "argument.h"
#include "closest_match.h"
#include "interval.h"
#include "quoted_list.h"

/* Names in a detail, of those that are not pg_eddy's. */
#define MAX_LISTED 20

void
eddy_argument_check_not_null(FunctionCallInfo fcinfo, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
		if (names[i] && PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not be null", names[i])));
}

const char *
eddy_argument_closest(const char *name, const char *const *names)
{
	EddyClosestMatch closest;

	eddy_closest_init(&closest, name);
	for (; *names; names++)
		eddy_closest_update(&closest, *names);
	return closest.match;
}

const char **
eddy_argument_columns(TupleDesc desc)
{
	const char **names = palloc0(sizeof(char *) * (desc->natts + 1));
	int			n = 0;

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			names[n++] = NameStr(TupleDescAttr(desc, i)->attname);
	return names;
}

/* Names of objects of the user can be many. */
char *
eddy_argument_list(const char *const *names)
{
	const char *first[MAX_LISTED + 1] = {NULL};
	int			count = 0;

	while (names[count])
		count++;
	if (count <= MAX_LISTED)
		return eddy_quoted_list(names, NULL);
	memcpy(first, names, sizeof(char *) * MAX_LISTED);
	return eddy_quoted_list(first, psprintf("%d more", count - MAX_LISTED));
}

/*
 * eddy_argument_refuse_choice raises the error for a value that is not one of the choices. kind
 * is the kind of name: "argument", "option". others (may be NULL) describes further valid values.
 */
void
eddy_argument_refuse_choice(const char *kind, const char *name, const char *value,
							const char *const *choices, const char *others)
{
	const char *closest = eddy_argument_closest(value, choices);
	bool		single = choices[0] && choices[1] == NULL && others == NULL;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for %s \"%s\": \"%s\"", kind, name, value),
			 single ? errdetail("The only valid value is \"%s\".", choices[0]) :
			 errdetail("Valid values are %s.", eddy_quoted_list(choices, others)),
			 closest ? errhint("Perhaps you meant \"%s\".", closest) : 0));
}

int
eddy_argument_choice(const char *kind, const char *name, const char *value,
					 const char *const *choices)
{
	for (int i = 0; choices[i]; i++)
		if (strcmp(choices[i], value) == 0)
			return i;
	eddy_argument_refuse_choice(kind, name, value, choices, NULL);
}

/* Raises the error for an unknown option in an argument that is a JSON object of options. */
void
eddy_argument_refuse_option(const char *argument, const char *option, const char *const *options)
{
	const char *closest = eddy_argument_closest(option, options);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized option \"%s\" in argument \"%s\"", option, argument),
			 errdetail("Valid options are %s.", eddy_quoted_list(options, NULL)),
			 closest ? errhint("Perhaps you meant the option \"%s\".", closest) : 0));
}

static void
describe_argument(void *arg)
{
	EddyArgumentInput *input = arg;

	errdetail("Valid values of argument \"%s\" are %s.", input->name,
			  eddy_quoted_list(input->choices, input->others));
}

void
eddy_argument_begin_input(EddyArgumentInput *input, const char *name, const char *const *choices,
						  const char *others)
{
	input->name = name;
	input->choices = choices;
	input->others = others;
	input->callback.callback = describe_argument;
	input->callback.arg = input;
	input->callback.previous = error_context_stack;
	error_context_stack = &input->callback;
}

void
eddy_argument_end_input(EddyArgumentInput *input)
{
	error_context_stack = input->callback.previous;
}

char *
eddy_argument_time_or_word(const char *name, char *value, const char *const *words)
{
	EddyArgumentInput input;
	TimestampTz time;
	struct pg_tm tm;
	fsec_t		fsec;
	char		buffer[MAXDATELEN + 1];
	bool		word = value[0] != '\0' && strspn(value, "abcdefghijklmnopqrstuvwxyz_") ==
		strlen(value);

	for (int i = 0; words[i]; i++)
		if (strcmp(words[i], value) == 0)
			return value;
	if (word)
		eddy_argument_refuse_choice("argument", name, value, words, "timestamps");
	eddy_argument_begin_input(&input, name, words, "timestamps");
	time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(value),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
	eddy_argument_end_input(&input);
	if (TIMESTAMP_NOT_FINITE(time) || timestamp2tm(time, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp \"%s\" in argument \"%s\" is out of range", value, name),
				 errdetail("It must be finite, and within the range of type timestamp with time zone in the time zone of the session.")));
	tm.tm_isdst = 0;			/* otherwise the zone is omitted */
	EncodeDateTime(&tm, fsec, true, 0, NULL, USE_ISO_DATES, buffer);
	return pstrdup(buffer);
}

static char *
interval_text(const Interval *value)
{
	return DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(value)));
}

void
eddy_argument_check_interval(const char *name, const Interval *value)
{
	int64		usec = eddy_interval_usec(value);

	if (usec < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be negative", name),
				 errdetail("Its value is %s.", interval_text(value))));
	if (usec > EDDY_INTERVAL_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be greater than 1000 years", name),
				 errdetail("Its value is %s.", interval_text(value))));
}

void
eddy_argument_check_object(const char *name, const Jsonb *value, const char *hint)
{
	if (!JB_ROOT_IS_OBJECT(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be a JSON object", name),
				 JB_ROOT_IS_SCALAR(value) ? errdetail("Its value is a scalar.") :
				 errdetail("Its value is an array."),
				 hint ? errhint("%s", hint) : 0));
}

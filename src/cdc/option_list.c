/*-------------------------------------------------------------------------
 *
 * option_list.c
 *    Options that a client of an output plugin gives, as a list of names and values.
 *
 * For both plugins, each of which has a table of its options. An unrecognized option, an invalid
 * value and an option given twice are errors. Memory: the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "utils/builtins.h"

#include "cdc/option_list.h"
#include "closest_match.h"
#include "quoted_list.h"

static char *list_names(const EddyCdcOptionTable *table);

/* Finds an option by its name; raises an error with the closest one if there is none. */
static const EddyCdcOption *
find_option(const EddyCdcOptionTable *table, const char *name)
{
	EddyClosestMatch closest;

	eddy_closest_init(&closest, name);
	for (int i = 0; i < table->count; i++)
	{
		if (strcmp(table->options[i].name, name) == 0)
			return &table->options[i];
		eddy_closest_update(&closest, table->options[i].name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized option \"%s\" for output plugin \"%s\"", name, table->plugin),
			 errdetail("%s", table->detail != NULL ? table->detail : list_names(table)),
			 closest.match != NULL ?
			 errhint("Perhaps you meant the option \"%s\".", closest.match) : 0));
}

static char *
list_names(const EddyCdcOptionTable *table)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < table->count; i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "Valid options are: ",
						 table->options[i].name);
	appendStringInfoChar(&names, '.');
	return names.data;
}

void
eddy_cdc_parse_list(const EddyCdcOptionTable *table, List *list, bool *seen, void *options)
{
	ListCell   *cell;

	memset(seen, false, sizeof(bool) * table->count);
	for (int i = 0; i < table->count; i++)
	{
		const EddyCdcOption *option = &table->options[i];

		if (option->initial != NULL)
			option->parse(option, option->initial, options);
	}
	foreach(cell, list)
	{
		DefElem    *element = lfirst_node(DefElem, cell);
		const EddyCdcOption *option = find_option(table, element->defname);

		if (seen[option - table->options])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("conflicting or redundant options"),
					 errdetail("Option \"%s\" is given more than once.", option->name)));
		seen[option - table->options] = true;
		option->parse(option, element->arg != NULL ? strVal(element->arg) : NULL, options);
	}
}

void
eddy_cdc_parse_boolean(const EddyCdcOption *option, const char *value, void *options)
{
	static const char *const choices[] = {"on", "off", NULL};
	bool	   *field = (bool *) ((char *) options + option->offset);

	if (value == NULL)
		*field = true;
	else if (!parse_bool(value, field))
		eddy_cdc_refuse_choice(option, value, choices);
}

void
eddy_cdc_refuse_choice(const EddyCdcOption *option, const char *value, const char *const *choices)
{
	EddyClosestMatch closest;

	eddy_closest_init(&closest, value != NULL ? value : "");
	for (int i = 0; choices[i] != NULL; i++)
		eddy_closest_update(&closest, choices[i]);
	eddy_cdc_refuse_value(option, value,
						  psprintf("Valid values are %s.", eddy_quoted_list(choices, NULL)),
						  closest.match == NULL ? NULL :
						  psprintf("Perhaps you meant \"%s\".", closest.match));
}

void
eddy_cdc_refuse_value(const EddyCdcOption *option, const char *value, const char *detail,
					  const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 value != NULL ?
			 errmsg("invalid value for option \"%s\": \"%s\"", option->name, value) :
			 errmsg("option \"%s\" requires a value", option->name),
			 errdetail("%s", detail),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/*-------------------------------------------------------------------------
 *
 * view_filter.c
 *    The option "views": a list of names, wildcards and IDs.
 *
 *   views   = element { "," element }
 *   element = part "." part                a name; "*" stands for any name
 *           | ID                           of a label (label.h): 32 hexadecimal digits
 *
 * Names are folded or double-quoted as in SQL. With option "strict" an element that selects no view
 * is an error, and the error names the closest view.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "parser/scansup.h"
#include "utils/builtins.h"

#include "cdc/view_filter.h"
#include "closest_match.h"
#include "label.h"

/* One element; NULL stands for any name. */
typedef struct Pattern
{
	char	   *schema;
	char	   *view;
	char	   *id;				/* NULL: a name */

	/* option "strict" */
	bool		found;			/* it selects a view */
	char	   *closest;		/* of the others, the view with the most similar name */
	EddyClosestMatch match;
} Pattern;

static bool matches(const Pattern *pattern, const char *schema, const char *view);
static bool parse_id(const char **cursor, char **id);
static bool parse_part(const char **cursor, char **name);
static char *pattern_name(const Pattern *pattern);

bool
eddy_cdc_parse_views(const char *value, List **views)
{
	const char *cursor = value;

	for (;;)
	{
		Pattern    *pattern = palloc0(sizeof(Pattern));

		while (scanner_isspace(*cursor))
			cursor++;
		if (!parse_id(&cursor, &pattern->id) &&
			(!parse_part(&cursor, &pattern->schema) || *cursor++ != '.' ||
			 !parse_part(&cursor, &pattern->view)))
			return false;
		*views = lappend(*views, pattern);

		while (scanner_isspace(*cursor))
			cursor++;
		if (*cursor == '\0')
			return true;
		if (*cursor++ != ',')
			return false;
	}
}

/* Parses an ID; false if the next element is not one. */
static bool
parse_id(const char **cursor, char **id)
{
	size_t		len = strspn(*cursor, "0123456789abcdef");
	char		next = (*cursor)[len];

	if (len != EDDY_LABEL_ID_LEN || (next != '\0' && next != ',' && !scanner_isspace(next)))
		return false;
	*id = pnstrdup(*cursor, len);
	*cursor += len;
	return true;
}

/*
 * Parses an identifier as SQL reads it, folded or in double quotes, or the
 * wildcard, which gives NULL. False if there is neither.
 */
static bool
parse_part(const char **cursor, char **name)
{
	const char *start = *cursor;
	const char *p = start;

	if (*p == '"')
	{
		StringInfoData buf;

		initStringInfo(&buf);
		for (p++; *p != '"' || p[1] == '"'; p++)
		{
			if (*p == '\0')
				return false;
			if (*p == '"')
				p++;
			appendStringInfoChar(&buf, *p);
		}
		*cursor = p + 1;
		*name = buf.data;
		return buf.len > 0;
	}

	while (*p != '\0' && *p != '.' && *p != ',' && *p != '"' && !scanner_isspace(*p))
		p++;
	*cursor = p;
	if (p - start == 1 && *start == '*')
	{
		*name = NULL;
		return true;
	}
	*name = downcase_truncate_identifier(start, p - start, false);
	return p > start && strchr(*name, '*') == NULL;
}

bool
eddy_cdc_wants_view(const EddyCdcOptions *options, const char *schema, const char *view)
{
	ListCell   *cell;

	if (options->views == NIL)
		return true;
	foreach(cell, options->views)
	{
		if (matches(lfirst(cell), schema, view))
			return true;
	}
	return false;
}

bool
eddy_cdc_wants_id(const EddyCdcOptions *options, const char *id)
{
	ListCell   *cell;

	foreach(cell, options->views)
	{
		const Pattern *pattern = lfirst(cell);

		if (pattern->id != NULL && strcmp(pattern->id, id) == 0)
			return true;
	}
	return false;
}

static bool
matches(const Pattern *pattern, const char *schema, const char *view)
{
	return pattern->id == NULL &&
		(pattern->schema == NULL || strcmp(pattern->schema, schema) == 0) &&
		(pattern->view == NULL || strcmp(pattern->view, view) == 0);
}

/* Notes that a view exists. True if the option selects it. */
bool
eddy_cdc_note_view(EddyCdcOptions *options, const char *id, const char *schema, const char *view)
{
	bool		selected = options->views == NIL;
	ListCell   *cell;

	foreach(cell, options->views)
	{
		Pattern    *pattern = lfirst(cell);

		if (pattern->id != NULL ? strcmp(pattern->id, id) == 0 : matches(pattern, schema, view))
		{
			pattern->found = true;
			selected = true;
		}
		else if (pattern->id == NULL)
		{
			Pattern		candidate = {.schema = unconstify(char *, schema),
			.view = unconstify(char *, view)};
			char	   *name = pattern_name(&candidate);

			if (pattern->match.name == NULL)
				eddy_closest_init(&pattern->match, pattern_name(pattern));
			eddy_closest_update(&pattern->match, name);
			if (pattern->match.match == name)
				pattern->closest = name;
		}
	}
	return selected;
}

/* Raises an error if an element of the option has selected no view. */
void
eddy_cdc_require_views(const EddyCdcOptions *options)
{
	ListCell   *cell;

	foreach(cell, options->views)
	{
		const Pattern *pattern = lfirst(cell);

		if (!pattern->found)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("continuous view \"%s\" does not exist", pattern_name(pattern)),
					 errdetail("With option \"strict\", each element of option \"views\" must select a continuous view."),
					 pattern->closest != NULL ?
					 errhint("Perhaps you meant \"%s\".", pattern->closest) : 0));
	}
}

/* Raises the error for a selected view that the client may not read. */
void
eddy_cdc_refuse_view(const char *schema, const char *view)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for view %s", quote_qualified_identifier(schema, view)),
			 errdetail("Option \"check-acl\" requires USAGE on the schema, and SELECT on all columns of the view.")));
}

/* Returns an element as text, as the client could write it. */
static char *
pattern_name(const Pattern *pattern)
{
	if (pattern->id != NULL)
		return pattern->id;
	return psprintf("%s.%s", pattern->schema != NULL ? quote_identifier(pattern->schema) : "*",
					pattern->view != NULL ? quote_identifier(pattern->view) : "*");
}

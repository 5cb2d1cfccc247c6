/*-------------------------------------------------------------------------
 *
 * layout.c
 *    Adding columns to the layout of a state table.
 *
 * Names of hidden columns begin with "_" and give way to those of the view, which come first.
 *
 * Locking: none. Memory: the current context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "view/layout.h"

static bool
column_exists(const EddyStateTable *table, const char *name)
{
	for (int i = 0; i < table->ncolumns; i++)
		if (strcmp(table->columns[i].name, name) == 0)
			return true;
	return false;
}

AttrNumber
eddy_layout_add(EddyStateTable *table, const char *name, Oid type, int32 typmod, Oid collation,
				bool not_null)
{
	EddyStateColumn *column = &table->columns[table->ncolumns++];

	column->name = pstrdup(name);
	column->type = type;
	column->typmod = typmod;
	column->collation = collation;
	column->not_null = not_null;
	return table->ncolumns;
}

AttrNumber
eddy_layout_add_hidden(EddyStateTable *table, const char *name, Oid type, int32 typmod,
					   Oid collation, bool not_null)
{
	const char *unique = name;

	for (int i = 1; column_exists(table, unique); i++)
		unique = psprintf("%s_%d", name, i);
	return eddy_layout_add(table, unique, type, typmod, collation, not_null);
}

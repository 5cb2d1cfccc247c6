/*-------------------------------------------------------------------------
 *
 * publication_functions.c
 *    SQL-callable functions about publications of continuous views.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "argument.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(eddy_create_publication);

Datum
eddy_create_publication(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"name", "views"};
	ArrayType  *array;
	Datum	   *values;
	bool	   *nulls;
	Oid		   *views;
	int			count;

	eddy_argument_check_not_null(fcinfo, names, lengthof(names));
	array = PG_GETARG_ARRAYTYPE_P(1);
	deconstruct_array(array, REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT, &values, &nulls, &count);
	views = palloc(sizeof(Oid) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"views\" must not contain null values")));
		views[i] = DatumGetObjectId(values[i]);
	}
	PG_RETURN_TEXT_P(cstring_to_text(eddy_view_publish(NameStr(*PG_GETARG_NAME(0)), views, count)));
}

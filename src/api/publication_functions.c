/*-------------------------------------------------------------------------
 *
 * publication_functions.c
 *    SQL-callable functions about publications of continuous views, and their initial rows for slots.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "argument.h"
#include "view/view.h"

PG_FUNCTION_INFO_V1(eddy_create_publication);
PG_FUNCTION_INFO_V1(eddy_create_publication_of_view);
PG_FUNCTION_INFO_V1(eddy_send_snapshot);

/* The OIDs of an argument that is an array of views. */
static Oid *
get_views(FunctionCallInfo fcinfo, int arg, int *count)
{
	Datum	   *values;
	bool	   *nulls;
	Oid		   *views;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT,
					  &values, &nulls, count);
	views = palloc(sizeof(Oid) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"views\" must not contain null values")));
		views[i] = DatumGetObjectId(values[i]);
	}
	return views;
}

Datum
eddy_create_publication(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"name", "views"};
	Oid		   *views;
	int			count;

	PreventCommandIfReadOnly("eddy.create_publication()");
	eddy_argument_check_not_null(fcinfo, names, lengthof(names));
	views = get_views(fcinfo, 1, &count);
	PG_RETURN_TEXT_P(cstring_to_text(eddy_view_publish(NameStr(*PG_GETARG_NAME(0)), views, count)));
}

/* eddy.create_publication(view): the publication has the name of the view, without its schema. */
Datum
eddy_create_publication_of_view(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"view"};
	Oid			view;

	PreventCommandIfReadOnly("eddy.create_publication()");
	eddy_argument_check_not_null(fcinfo, names, lengthof(names));
	view = PG_GETARG_OID(0);
	PG_RETURN_TEXT_P(cstring_to_text(eddy_view_publish(NULL, &view, 1)));
}

Datum
eddy_send_snapshot(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"slot", "views"};
	Oid		   *views;
	int			count;

	PreventCommandIfReadOnly("eddy.send_snapshot()");
	eddy_argument_check_not_null(fcinfo, names, lengthof(names));
	views = get_views(fcinfo, 1, &count);
	PG_RETURN_INT64(eddy_view_send_rows(NameStr(*PG_GETARG_NAME(0)), views, count));
}

/*-------------------------------------------------------------------------
 *
 * change_functions.c
 *    SQL-callable functions about changes of continuous views that are read with SQL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "argument.h"
#include "view/view.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(eddy_change_token);
PG_FUNCTION_INFO_V1(eddy_changes);
PG_FUNCTION_INFO_V1(eddy_keep_changes);

/* Changes of one call are in memory. */
#define MAX_LIMIT 1000000

Datum
eddy_keep_changes(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"view"};
	Interval   *retention = PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1);
	char	   *channel = PG_ARGISNULL(2) ? NULL : NameStr(*PG_GETARG_NAME(2));
	Oid			relid;

	PreventCommandIfReadOnly("eddy.keep_changes()");
	eddy_argument_check_not_null(fcinfo, names, lengthof(names));
	relid = PG_GETARG_OID(0);
	if (retention)
		eddy_argument_check_interval("retention", retention);
	if (channel && channel[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"channel\" must not be empty")));
	if (!eddy_view_keep_changes(relid, retention, channel))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a continuous view",
						get_rel_name(relid) ? get_rel_name(relid) : "?"),
				 errhint("eddy.continuous_views lists the continuous views of this database.")));
	eddy_worker_wakeup_at_commit(); /* which removes changes */
	PG_RETURN_VOID();
}

Datum
eddy_changes(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"view", NULL, "limit"};
	int			limit;

	eddy_argument_check_not_null(fcinfo, names, lengthof(names));
	limit = PG_GETARG_INT32(2);
	if (limit < 1 || limit > MAX_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"limit\" must be from 1 to %d", MAX_LIMIT)));
	InitMaterializedSRF(fcinfo, 0);
	eddy_view_read_changes(PG_GETARG_OID(0),
						   PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)), limit,
						   (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

Datum
eddy_change_token(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(eddy_view_change_token(PG_GETARG_OID(0))));
}

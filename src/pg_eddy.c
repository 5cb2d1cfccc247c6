/*-------------------------------------------------------------------------
 *
 * pg_eddy.c
 *    Entry point of the library: settings, shared memory, hooks, launcher.
 *
 * Nothing else happens here. The library must be preloaded, because the
 * launcher and the hooks have to be there before the first session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "api/hooks.h"
#include "apply/apply.h"
#include "settings.h"
#include "owner.h"
#include "view/view.h"
#include "worker/worker.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

/*
 * _PG_init runs in the postmaster. Loaded later, by CREATE EXTENSION or a call of one of
 * our functions, it refuses: there would be no launcher to consume anything.
 */
void
_PG_init(void)
{
	if (process_shared_preload_libraries_in_progress)
		eddy_view_register_labels();

	/* pg_upgrade starts the server to copy catalogs, labels included: no worker may run then */
	if (IsBinaryUpgrade)
		return;

	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_eddy must be loaded via \"shared_preload_libraries\""),
				 errdetail("Its background workers and hooks are set up when the server starts."),
				 errhint("Add pg_eddy to \"shared_preload_libraries\" in postgresql.conf and restart the server.")));

	eddy_settings_define();
	eddy_worker_init();
	eddy_watermark_set_polled_check(eddy_worker_polls);
	eddy_close_set_wakeup(eddy_worker_wake_database_at_commit);
	eddy_owner_init();
	eddy_view_init();
	eddy_statement_init();
	eddy_apply_init();
	eddy_hooks_init();
}

/*-------------------------------------------------------------------------
 *
 * local_setting.c
 *    Settings of the server that pg_eddy changes within a transaction.
 *
 * They are set as by the session itself, so that the server restores them, also after an error.
 * Takes no locks and keeps no memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/guc.h"

#include "local_setting.h"

static void
set(const char *name, const char *value, GucAction action)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, action, true, 0, false);
}

static void
set_lock_timeout(int msec, GucAction action)
{
	char		value[16];

	snprintf(value, sizeof(value), "%d", msec);
	set("lock_timeout", value, action);
}

void
eddy_local_lock_timeout(int msec)
{
	set_lock_timeout(msec, GUC_ACTION_LOCAL);
}

void
eddy_local_lock_timeout_in_level(int msec)
{
	set_lock_timeout(msec, GUC_ACTION_SAVE);
}

void
eddy_local_asynchronous_commit(void)
{
	set("synchronous_commit", "off", GUC_ACTION_LOCAL);
}

/*-------------------------------------------------------------------------
 *
 * owner.c
 *    Executing with the privileges of an owner: of a view, a stream or the extension.
 *
 * Expressions of a view run inside the transactions of other roles and of
 * superuser workers. Before any of them is looked up or evaluated we switch to
 * its owner, in a security-restricted operation, with a search_path that
 * no other role can write to. The other pinned settings (pinned_settings.h) make results
 * independent of the session that computes them, and of ALTER ROLE and ALTER DATABASE.
 *
 * Locking: none. Memory: configured values of settings, allocated once. After an error the
 * (sub)transaction abort restores user and settings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "owner.h"
#include "pinned_settings.h"

/*
 * eddy_owner_init stores the configured values of settings that are pinned to them. Called in the
 * postmaster, before any role or database can have changed them.
 */
void
eddy_owner_init(void)
{
	for (int i = 0; i < (int) lengthof(eddy_pinned_settings); i++)
	{
		const char *configured = eddy_pinned_settings[i].configured ?
			GetConfigOption(eddy_pinned_settings[i].name, true, false) : NULL;

		if (configured)
			eddy_pinned_settings[i].value = MemoryContextStrdup(TopMemoryContext, configured);
	}
}

/*
 * True if a setting is one of a library that is not loaded, as the setting before it in the list
 * is: looking it up by its name would take longer than comparing all others.
 */
static inline bool
is_absent(const EddyPinnedSetting *setting, const EddyPinnedSetting *absent)
{
	const char *dot = absent ? strchr(absent->name, '.') : NULL;

	return dot && strncmp(setting->name, absent->name, dot - absent->name + 1) == 0;
}

/* *absent: the last setting that was found to be one of a library that is not loaded. */
static inline bool
has_pinned_value(const EddyPinnedSetting *setting, const EddyPinnedSetting **absent)
{
	const char *current;

	if (setting->flag)
		return *setting->flag == (bool) setting->expected;
	if (setting->number)
		return *setting->number == setting->expected;
	if (setting->string)
		current = *setting->string;
	else if (setting->zone)
		current = pg_get_timezone_name(session_timezone);
	else
	{
		/* of a library that is not loaded, or of another version of the server */
		if (is_absent(setting, *absent))
			return true;
		current = GetConfigOption(setting->name, true, false);
		if (current == NULL)
		{
			*absent = setting;
			return true;
		}
	}
	return current != NULL && strcmp(current, setting->value) == 0;
}

/* True if expressions can run without any change: within another switch, usually. */
static bool
is_pinned(Oid owner, const EddyOwnerSwitch *save)
{
	const EddyPinnedSetting *absent = NULL;

	if (save->saved_user != owner || !(save->saved_context & SECURITY_RESTRICTED_OPERATION))
		return false;
	for (int i = 0; i < (int) lengthof(eddy_pinned_settings); i++)
		if (!eddy_pinned_settings[i].workers_only &&
			!has_pinned_value(&eddy_pinned_settings[i], &absent))
			return false;
	return true;
}

/*
 * eddy_owner_begin switches to the owner under SECURITY_RESTRICTED_OPERATION and pins all settings
 * that expressions can depend on. If the (sub)transaction is aborted the server restores both;
 * otherwise the caller has to call eddy_owner_end. Within another switch to the same owner, which
 * is much cheaper, settings that an expression has changed are pinned again.
 */
void
eddy_owner_begin(EddyOwnerSwitch *save, Oid owner)
{
	const EddyPinnedSetting *absent = NULL;

	GetUserIdAndSecContext(&save->saved_user, &save->saved_context);
	save->guc_level = 0;
	if (is_pinned(owner, save))
		return;
	SetUserIdAndSecContext(owner, save->saved_context | SECURITY_RESTRICTED_OPERATION);
	save->guc_level = NewGUCNestLevel();
	for (int i = 0; i < (int) lengthof(eddy_pinned_settings); i++)
	{
		const EddyPinnedSetting *setting = &eddy_pinned_settings[i];

		if (setting->workers_only || has_pinned_value(setting, &absent))
			continue;

		/*
		 * A configured value may be invalid in this database, such as a text search
		 * configuration that does not exist in it: then the session's value is kept.
		 */
		(void) set_config_option(setting->name, setting->value, PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, setting->configured ? DEBUG1 : 0,
								 false);
	}
}

/*
 * eddy_owner_pin_process pins all settings for the life of a worker process, with precedence over
 * ALTER ROLE and ALTER DATABASE, so that eddy_owner_begin does not have to set any.
 */
void
eddy_owner_pin_process(void)
{
	for (int i = 0; i < (int) lengthof(eddy_pinned_settings); i++)
	{
		const EddyPinnedSetting *setting = &eddy_pinned_settings[i];

		if (GetConfigOption(setting->name, true, false) != NULL)
			(void) set_config_option(setting->name, setting->value, PGC_SUSET, PGC_S_OVERRIDE,
									 GUC_ACTION_SET, true, setting->configured ? DEBUG1 : 0,
									 false);
	}
}

void
eddy_owner_end(const EddyOwnerSwitch *save)
{
	if (save->guc_level == 0)
		return;
	AtEOXact_GUC(false, save->guc_level);
	SetUserIdAndSecContext(save->saved_user, save->saved_context);
}

/*
 * eddy_owner_become switches to the owner of the extension (eddy_catalog_extension_owner), with a
 * pinned search_path, for our own DDL in schema eddy, whose names are quoted. No
 * expression of a user may be evaluated. Ended by eddy_owner_end.
 */
void
eddy_owner_become(EddyOwnerSwitch *save, Oid owner)
{
	GetUserIdAndSecContext(&save->saved_user, &save->saved_context);
	SetUserIdAndSecContext(owner, save->saved_context | SECURITY_LOCAL_USERID_CHANGE);
	save->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", EDDY_PINNED_SEARCH_PATH, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

Oid
eddy_owner_of_relation(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

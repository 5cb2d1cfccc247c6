/*-------------------------------------------------------------------------
 *
 * owner.c
 *    Acting with the rights of an owner: of a view, or of the extension.
 *
 * Expressions of a view run inside the transactions of other people and of
 * superuser workers. Before any of them is looked up or evaluated we become
 * their owner, in a security-restricted operation, with a search_path that
 * nobody else can write to. The other pinned settings make results independent of
 * whose transaction computes them.
 *
 * No locks, no memory of its own; after an error the (sub)transaction abort
 * restores user and settings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "catalog/eddy_catalog.h"
#include "view/owner.h"

static const struct
{
	const char *name;
	const char *value;
}			pinned[] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"TimeZone", "UTC"},
	{"DateStyle", "ISO, YMD"},
	{"IntervalStyle", "postgres"},
	{"extra_float_digits", "1"},
	{"row_security", "on"},
	{"jit", "off"},				/* batches are far too small to pay for it */
};

void
eddy_owner_begin(EddyOwnerSwitch *save, Oid owner)
{
	GetUserIdAndSecContext(&save->saved_user, &save->saved_context);
	SetUserIdAndSecContext(owner, save->saved_context | SECURITY_RESTRICTED_OPERATION);
	save->guc_level = NewGUCNestLevel();
	for (int i = 0; i < (int) lengthof(pinned); i++)
	{
		/* setting is several times dearer than looking, and workers have them set already */
		const char *current = GetConfigOption(pinned[i].name, true, false);

		if (current == NULL || strcmp(current, pinned[i].value) != 0)
			(void) set_config_option(pinned[i].name, pinned[i].value, PGC_USERSET,
									 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
}

void
eddy_owner_end(const EddyOwnerSwitch *save)
{
	AtEOXact_GUC(false, save->guc_level);
	SetUserIdAndSecContext(save->saved_user, save->saved_context);
}

void
eddy_owner_become_extension(EddyOwnerSwitch *save)
{
	Oid			owner = eddy_catalog_extension_owner();

	GetUserIdAndSecContext(&save->saved_user, &save->saved_context);
	SetUserIdAndSecContext(owner, save->saved_context | SECURITY_LOCAL_USERID_CHANGE);
	save->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
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

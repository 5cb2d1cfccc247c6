/*-------------------------------------------------------------------------
 *
 * name.c
 *    Names of new relations.
 *
 * Views of the same name can exist in several schemas, but the objects behind them are all in schema
 * eddy. The server sees that a name is in use only after the transaction that uses it has committed.
 * So names are locked until the end of the transaction that creates a relation: a name that another
 * transaction has locked is as good as in use. Nothing waits for such a name. For the name that a
 * user has chosen for a view there is no other one, so that is waited for.
 *
 * Locking: an object lock on the hash of the name. Two names with the same hash only have the effect
 * that one is not chosen, or waited for. No memory but that of the name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

#include "catalog/eddy_catalog.h"
#include "view/name.h"

/* What is locked of the class of views: 0 and 1 are used for their status and for merging. */
#define LOCK_NAME 2

static LOCKTAG
name_tag(const char *name, Oid schema)
{
	LOCKTAG		tag;
	uint32		hash = hash_combine(hash_bytes((const unsigned char *) name, strlen(name)), schema);

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, eddy_catalog_relid(EDDY_CATALOG_VIEW), hash, LOCK_NAME);
	return tag;
}

void
eddy_name_lock(const char *name, Oid schema)
{
	LOCKTAG		tag = name_tag(name, schema);

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	/* what the other transaction has created */
	AcceptInvalidationMessages();
}

static bool
try_lock(const char *name, Oid schema)
{
	LOCKTAG		tag = name_tag(name, schema);

	if (LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages();
	return true;
}

char *
eddy_name_choose(const char *name1, const char *name2, const char *label, Oid schema)
{
	for (int n = 0;; n++)
	{
		char	   *numbered = n == 0 ? pstrdup(label) : psprintf("%s%d", label, n);
		char	   *name = makeObjectName(name1, name2, numbered);

		/* looked up again with the lock: the other transaction may just have committed */
		if (!OidIsValid(get_relname_relid(name, schema)) && try_lock(name, schema) &&
			!OidIsValid(get_relname_relid(name, schema)))
			return name;
		CHECK_FOR_INTERRUPTS();
	}
}

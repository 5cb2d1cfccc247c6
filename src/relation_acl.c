/*-------------------------------------------------------------------------
 *
 * relation_acl.c
 *    Privileges on the relations behind streams and continuous views.
 *
 * These relations contain rows of the streams and views of other roles than the one that creates
 * them, the owner of the extension. Its ALTER DEFAULT PRIVILEGES must not grant access to them.
 * GRANT and REVOKE would need the names of all grantees, and the privileges of all grantors, so the
 * ACL is replaced.
 *
 * Locking: none; without a lock of the caller, VACUUM could update the pg_class tuple in place
 * meanwhile, and that update would be lost. Memory: the caller's context. All of it is part of the
 * caller's transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "owner.h"
#include "relation_acl.h"

Acl *
eddy_acl_read(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Acl		   *acl = NULL;
	Datum		value;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	value = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relacl, &isnull);
	if (!isnull)
		acl = DatumGetAclPCopy(value);
	ReleaseSysCache(tuple);
	return acl;
}

void
eddy_acl_write(Oid relid, const Acl *acl)
{
	Relation	rel = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relid));
	Datum		values[Natts_pg_class] = {0};
	bool		nulls[Natts_pg_class] = {false};
	bool		replaces[Natts_pg_class] = {false};
	Acl		   *old = eddy_acl_read(relid);
	Oid		   *old_members = NULL;
	Oid		   *new_members = NULL;
	int			nold = old ? aclmembers(old, &old_members) : 0;
	int			nnew = acl ? aclmembers(acl, &new_members) : 0;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	replaces[Anum_pg_class_relacl - 1] = true;
	nulls[Anum_pg_class_relacl - 1] = (acl == NULL);
	values[Anum_pg_class_relacl - 1] = PointerGetDatum(acl);
	tuple = heap_modify_tuple(tuple, RelationGetDescr(rel), values, nulls, replaces);
	CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	updateAclDependencies(RelationRelationId, relid, 0, eddy_owner_of_relation(relid),
						  nold, old_members, nnew, new_members);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

void
eddy_acl_reset(Oid relid)
{
	if (eddy_acl_read(relid))
		eddy_acl_write(relid, NULL);
}

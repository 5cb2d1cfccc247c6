/*-------------------------------------------------------------------------
 *
 * relation_acl.h
 *    Privileges on the relations behind streams and continuous views.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_RELATION_ACL_H
#define EDDY_RELATION_ACL_H

#include "utils/acl.h"

/* A copy of a relation's ACL, NULL if it has the default one. */
extern Acl *eddy_acl_read(Oid relid);

/*
 * Replaces a relation's ACL as GRANT would, regardless of the current user; NULL is the default.
 * The caller holds at least ShareUpdateExclusiveLock on the relation.
 */
extern void eddy_acl_write(Oid relid, const Acl *acl);

/*
 * Revokes all privileges but those of the owner: ALTER DEFAULT PRIVILEGES has granted them when it
 * was created.
 */
extern void eddy_acl_reset(Oid relid);

#endif							/* EDDY_RELATION_ACL_H */

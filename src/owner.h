/*-------------------------------------------------------------------------
 *
 * owner.h
 *    Acting with the rights of an owner: of a view, or of the extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_OWNER_H
#define EDDY_OWNER_H

/* What eddy_owner_end has to restore. */
typedef struct EddyOwnerSwitch
{
	Oid			saved_user;
	int			saved_context;
	int			guc_level;
} EddyOwnerSwitch;

/*
 * eddy_owner_begin becomes owner under SECURITY_RESTRICTED_OPERATION and pins
 * all settings that expressions can depend on (search_path, TimeZone, ...).
 * Within a subtransaction or transaction that is aborted the server restores
 * all of it by itself; otherwise call eddy_owner_end.
 */
extern void eddy_owner_begin(EddyOwnerSwitch *save, Oid owner);
extern void eddy_owner_end(const EddyOwnerSwitch *save);

/* Remembers the configured values of settings that are pinned to them. From _PG_init only. */
extern void eddy_owner_init(void);

/*
 * eddy_owner_pin_process pins the same settings for the life of a worker process, over
 * ALTER ROLE and ALTER DATABASE, so that eddy_owner_begin has nothing left to set.
 */
extern void eddy_owner_pin_process(void);

/*
 * eddy_owner_become becomes the owner of the extension (eddy_catalog_extension_owner), with a
 * pinned search_path, for our own DDL in schema eddy, from quoted names only. No
 * expression of a user may be evaluated. Ended by eddy_owner_end, too.
 */
extern void eddy_owner_become(EddyOwnerSwitch *save, Oid owner);

/* The owner of a relation, InvalidOid if there is none with that Oid. */
extern Oid	eddy_owner_of_relation(Oid relid);

#endif							/* EDDY_OWNER_H */

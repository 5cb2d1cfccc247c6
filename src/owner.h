/*-------------------------------------------------------------------------
 *
 * owner.h
 *    Executing with the privileges of an owner: of a view, a stream or the extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_OWNER_H
#define EDDY_OWNER_H

/* What eddy_owner_end restores. */
typedef struct EddyOwnerSwitch
{
	Oid			saved_user;
	int			saved_context;
	int			guc_level;		/* 0: nothing was changed */
} EddyOwnerSwitch;

/* Around expressions of users: restricted, and with all settings pinned. */
extern void eddy_owner_begin(EddyOwnerSwitch *save, Oid owner);
extern void eddy_owner_end(const EddyOwnerSwitch *save);

/* From _PG_init only. */
extern void eddy_owner_init(void);

/* Pins the same settings for the life of a worker process. */
extern void eddy_owner_pin_process(void);

/* Before our own DDL in schema eddy, without expressions of users. Ended by eddy_owner_end. */
extern void eddy_owner_become(EddyOwnerSwitch *save, Oid owner);

/* The owner of a relation, InvalidOid if it does not exist. */
extern Oid	eddy_owner_of_relation(Oid relid);

#endif							/* EDDY_OWNER_H */

/*-------------------------------------------------------------------------
 *
 * owner.h
 *    Evaluating user expressions with the rights of their owner.
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
 * the settings that expressions can depend on (search_path, TimeZone, ...).
 * Within a subtransaction or transaction that is aborted the server restores
 * all of it by itself; otherwise call eddy_owner_end.
 */
extern void eddy_owner_begin(EddyOwnerSwitch *save, Oid owner);
extern void eddy_owner_end(const EddyOwnerSwitch *save);

#endif							/* EDDY_OWNER_H */

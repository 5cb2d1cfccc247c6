/*-------------------------------------------------------------------------
 *
 * local_setting.h
 *    Settings of the server that pg_eddy changes within a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_LOCAL_SETTING_H
#define EDDY_LOCAL_SETTING_H

/*
 * Limits the wait for each lock to so many milliseconds, 0: not at all; until the end of the
 * transaction or subtransaction, if that is rolled back. A longer wait is an error with SQLSTATE
 * 55P03.
 */
extern void eddy_local_lock_timeout(int msec);

/* The same until the end of the current GUC nest level (NewGUCNestLevel). */
extern void eddy_local_lock_timeout_in_level(int msec);

/* The commit of the transaction will not wait for the flush of its WAL. */
extern void eddy_local_asynchronous_commit(void);

#endif							/* EDDY_LOCAL_SETTING_H */

/*-------------------------------------------------------------------------
 *
 * apply.h
 *    Bringing rows that users have added into the views of their streams.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_APPLY_H
#define EDDY_APPLY_H

/* ---- statement.c ---- */

/* Registers transaction callbacks. From _PG_init only. */
extern void eddy_apply_init(void);

/* True while rows that statements have added wait to be counted in this transaction. */
extern bool eddy_apply_pending(void);

/*
 * Brings the waiting rows into all views of their streams. Raises 40001 under
 * REPEATABLE READ and SERIALIZABLE if a group was changed concurrently, and the errors of
 * views with on_error => 'stop'. An active snapshot must be set.
 */
extern void eddy_apply_flush(void);

/* ---- fill.c ---- */

/*
 * Gives a view, whose state is empty, its first content: from the rows that the stream has
 * staged, or from none. The caller holds a lock on the stream that keeps writers out.
 */
extern void eddy_apply_fill(Oid view, bool staged);

#endif							/* EDDY_APPLY_H */

/*-------------------------------------------------------------------------
 *
 * subtransaction.h
 *    Running something that may fail in an internal subtransaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_SUBTRANSACTION_H
#define EDDY_SUBTRANSACTION_H

/*
 * eddy_subtransaction_run calls function(arg) in a subtransaction of its own, in the current memory
 * context. Returns NULL if it succeeded; otherwise everything it did is undone and the error is returned,
 * in that context. It costs a transaction id only if the function writes.
 */
extern ErrorData *eddy_subtransaction_run(void (*function) (void *), void *arg);

#endif							/* EDDY_SUBTRANSACTION_H */

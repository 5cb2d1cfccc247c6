/*-------------------------------------------------------------------------
 *
 * copy_input.h
 *    Faster input functions for COPY into a stream. Private to src/api.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_COPY_INPUT_H
#define EDDY_COPY_INPUT_H

#include "fmgr.h"

/* Replaces the function by one with the same results, if there is one. */
extern void eddy_copy_input_replace(FmgrInfo *function);

#endif							/* EDDY_COPY_INPUT_H */

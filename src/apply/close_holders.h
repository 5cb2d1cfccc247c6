/*-------------------------------------------------------------------------
 *
 * close_holders.h
 *    Transactions that closing windows need not wait for again. See close_holders.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CLOSE_HOLDERS_H
#define EDDY_CLOSE_HOLDERS_H

#include "storage/lock.h"

extern void eddy_close_holders_note(const LOCKTAG *tag);
extern bool eddy_close_holders_remain(const LOCKTAG *tag);

#endif							/* EDDY_CLOSE_HOLDERS_H */

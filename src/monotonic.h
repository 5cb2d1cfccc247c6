/*-------------------------------------------------------------------------
 *
 * monotonic.h
 *    A clock that is not affected by changes of the system time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_MONOTONIC_H
#define EDDY_MONOTONIC_H

#include "datatype/timestamp.h"

/* Microseconds since some time, which is the same in all processes until the machine restarts. */
extern int64 eddy_monotonic_real(void);

/*
 * The same plus pg_eddy.test_clock_offset, by which tests advance the clock: for idle_timeout and
 * auto_advance.
 */
extern int64 eddy_monotonic_usec(void);

/* The clock of the server, which is set from outside, plus pg_eddy.test_clock_offset. */
extern TimestampTz eddy_wall_clock(void);

#endif							/* EDDY_MONOTONIC_H */

/*-------------------------------------------------------------------------
 *
 * interval.h
 *    Lengths of time that users specify as intervals.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_INTERVAL_H
#define EDDY_INTERVAL_H

#include "datatype/timestamp.h"

/* Maximum length, in microseconds: 1000 years of 12 months of 30 days. */
#define EDDY_INTERVAL_MAX (INT64CONST(1000) * 12 * DAYS_PER_MONTH * USECS_PER_DAY)

/*
 * The length in microseconds; a month has 30 days, a day 24 hours. It is clamped to a quarter of
 * the range of int64, which exceeds all timestamps, so that adding it to a timestamp cannot
 * overflow.
 */
static inline int64
eddy_interval_usec(const Interval *interval)
{
	double		usec = interval->month * (double) (DAYS_PER_MONTH * USECS_PER_DAY) +
		interval->day * (double) USECS_PER_DAY + (double) interval->time;

	return (int64) Max(Min(usec, (double) (PG_INT64_MAX / 4)), (double) (PG_INT64_MIN / 4));
}

#endif							/* EDDY_INTERVAL_H */

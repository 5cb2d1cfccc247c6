/*-------------------------------------------------------------------------
 *
 * monotonic.c
 *    A clock that is not affected by changes of the system time.
 *
 * Lengths of time are measured with it, so that a correction of the system time does not make a
 * partition idle. Its values mean nothing after a restart of the machine, and are never stored.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "utils/timestamp.h"

#include "monotonic.h"
#include "settings.h"

int64
eddy_monotonic_real(void)
{
	struct timespec now;

	/* cannot fail: the clock exists on all supported platforms */
	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}

int64
eddy_monotonic_usec(void)
{
	return eddy_monotonic_real() + eddy_settings_test_clock_offset * USECS_PER_SEC;
}

TimestampTz
eddy_wall_clock(void)
{
	return GetCurrentTimestamp() + eddy_settings_test_clock_offset * USECS_PER_SEC;
}

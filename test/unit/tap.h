/*-------------------------------------------------------------------------
 *
 * tap.h
 *    Output of the unit tests in TAP. Each program includes it once.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_TAP_H
#define EDDY_TAP_H

#include <stdbool.h>
#include <stdio.h>

static int	tests;
static int	failures;

static void
ok(bool good, const char *name)
{
	tests++;
	failures += !good;
	printf("%sok %d - %s\n", good ? "" : "not ", tests, name);
}

/* Ends the output; returns the exit status of the program. */
static int
end_tests(void)
{
	printf("1..%d\n", tests);
	return failures ? 1 : 0;
}

#endif							/* EDDY_TAP_H */

/*-------------------------------------------------------------------------
 *
 * clock.h
 *    The time limit of a batch, and of other steps of workers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CLOCK_H
#define EDDY_CLOCK_H

extern bool eddy_clock_enable(bool enable);
extern bool eddy_clock_enabled(void);
extern void eddy_clock_start(void);
extern void eddy_clock_stop(void);
extern void eddy_clock_reset(void);
extern bool eddy_clock_expired(void);
extern bool eddy_clock_caused(const ErrorData *error);
extern char *eddy_clock_explain(const ErrorData *error);
extern char *eddy_clock_describe(void);

#endif							/* EDDY_CLOCK_H */

/*-------------------------------------------------------------------------
 *
 * close_pace.h
 *    How long closing windows may take at a time. See close_pace.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CLOSE_PACE_H
#define EDDY_CLOSE_PACE_H

/* Sets of streams that are remembered. */
#define EDDY_CLOSE_PACE_SETS 64

/* Since when this process has always left windows of a set of streams to be closed. */
typedef struct EddyCloseBehind
{
	uint64		set;			/* 0: the entry is free */
	TimestampTz since;
	TimestampTz noted;
} EddyCloseBehind;

/* All zero at the start of the process. */
typedef struct EddyClosePace
{
	EddyCloseBehind behind[EDDY_CLOSE_PACE_SETS];
} EddyClosePace;

extern void eddy_close_pace_note(EddyClosePace *pace, uint64 set, bool complete, TimestampTz now);
extern int64 eddy_close_pace_time(const EddyClosePace *pace, uint64 set, int64 taken,
								  TimestampTz now);
extern int64 eddy_close_pace_rest(const EddyClosePace *pace, uint64 set, int64 worked,
								  int64 waited, int64 elapsed, TimestampTz now);

#endif							/* EDDY_CLOSE_PACE_H */

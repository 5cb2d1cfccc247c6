/*-------------------------------------------------------------------------
 *
 * pace.h
 *    The rule by which batches grow and shrink. See pace_rule.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_PACE_H
#define EDDY_PACE_H

/* A backlog that has just begun is taken in batches of a sixteenth of the target time. */
#define EDDY_PACE_HALVINGS 4

/* All zero at the start of the process. */
typedef struct EddyPace
{
	int			rows;			/* that take the target time, as far as is known; 0: not known yet */
	int			halvings;		/* the next batch takes the target time, halved so many times */
} EddyPace;

/* How a batch has ended. */
typedef enum EddyPaceEnd
{
	EDDY_PACE_DRAINED,			/* none were left, or it is not known whether there are */
	EDDY_PACE_SLOW,				/* by time: more are waiting, but arrive slowly */
	EDDY_PACE_FULL				/* by its size: more messages may be waiting */
} EddyPaceEnd;

extern int64 eddy_pace_target(int64 target, int nviews, int64 limit);
extern int64 eddy_pace_rows(const EddyPace *pace);
extern void eddy_pace_learn(EddyPace *pace, EddyPaceEnd end, int64 rows, int64 taken,
							int64 target);

#endif							/* EDDY_PACE_H */

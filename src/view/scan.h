/*-------------------------------------------------------------------------
 *
 * scan.h
 *    Planning and running a view's SELECT over the rows of a batch.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_SCAN_H
#define EDDY_SCAN_H

#include "batch.h"

/* The part of a batch that the next run of a delta query reads. */
typedef struct EddyScanRange
{
	EddyBatch  *batch;
	int64		from;			/* first row */
	int64		to;				/* behind the last row */
	const bool *skip;			/* rows left out besides batch->rejected, or NULL */
	int64		position;		/* out: the row handed out last, -1 if none */
} EddyScanRange;

/* Registers the custom scan and the planner hooks. From _PG_init only. */
extern void eddy_scan_init(void);

/*
 * eddy_scan_arm announces that the query with text sql is about to be run over range.
 * Whenever that very text is planned, its aggregates are left partial
 * (AGGSPLIT_INITIAL_SERIAL), and with a range the scan of relation stream is
 * replaced by one of the range. range and sql must live until eddy_scan_disarm;
 * calls nest, and an abort of the (sub)transaction calls for eddy_scan_reset.
 */
typedef struct EddyScanArmed
{
	const char *sql;
	Oid			stream;
	EddyScanRange *range;		/* NULL: the stream's stored rows are scanned */
	struct EddyScanArmed *outer;
} EddyScanArmed;

extern void eddy_scan_arm(EddyScanArmed *armed, const char *sql, Oid stream, EddyScanRange *range);
extern void eddy_scan_disarm(EddyScanArmed *armed);

/* Forgets everything armed; at the end of a transaction that failed. */
extern void eddy_scan_reset(void);

#endif							/* EDDY_SCAN_H */

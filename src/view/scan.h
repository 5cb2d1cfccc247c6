/*-------------------------------------------------------------------------
 *
 * scan.h
 *    Reading the rows of a batch in place of the stream, inside a delta query.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_SCAN_H
#define EDDY_SCAN_H

#include "nodes/parsenodes.h"
#include "utils/queryenvironment.h"

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
 * Marks the range table entry of the stream in a delta query. When the query is planned, its
 * scan reads a batch, and the aggregates of the query stay at their transition states
 * (AGGSPLIT_INITIAL_SERIAL).
 */
extern void eddy_scan_mark(RangeTblEntry *rte);
extern bool eddy_scan_is_marked(const RangeTblEntry *rte);

/*
 * The query environment under which the plan of a delta query reads range, in the current memory
 * context. range must outlive the execution; its position starts at -1.
 */
extern QueryEnvironment *eddy_scan_environment(EddyScanRange *range);

#endif							/* EDDY_SCAN_H */

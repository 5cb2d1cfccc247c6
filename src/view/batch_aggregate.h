/*-------------------------------------------------------------------------
 *
 * batch_aggregate.h
 *    Scanning and aggregating a batch in one step.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_BATCH_AGGREGATE_H
#define EDDY_BATCH_AGGREGATE_H

#include "nodes/pathnodes.h"

extern void eddy_batch_aggregate_init(void);	/* from _PG_init only */

/*
 * The path that gives target, the group keys and final values of aggregates, by one step over the
 * batch that input scans. NULL if something in the query needs the executor of the server.
 */
extern Path *eddy_batch_aggregate_path(RelOptInfo *output_rel, const Path *input,
									   PathTarget *target);

#endif							/* EDDY_BATCH_AGGREGATE_H */

/*-------------------------------------------------------------------------
 *
 * scan.h
 *    Reading the rows of a batch in place of the stream, inside a delta query.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_SCAN_H
#define EDDY_SCAN_H

#include "nodes/execnodes.h"
#include "nodes/parsenodes.h"
#include "nodes/pathnodes.h"
#include "nodes/plannodes.h"
#include "storage/itemptr.h"
#include "utils/queryenvironment.h"

#include "batch.h"

/* The part of a batch that one run of a delta query reads. */
typedef struct EddyScanRange
{
	EddyBatch  *batch;
	int64		from;			/* first row */
	int64		to;				/* past the last row */
	const bool *skip;			/* rows left out besides batch->rejected, or NULL */
	int64		position;		/* out: the row that was read last, -1 if none */
} EddyScanRange;

/*
 * A row of a batch has its index as its place (ctid), so that queries over a batch can return which
 * rows their results come from.
 */
#define EDDY_SCAN_ROWS_PER_BLOCK 32768

static inline ItemPointerData
eddy_scan_place(int64 row)
{
	ItemPointerData place;

	ItemPointerSet(&place, (BlockNumber) (row / EDDY_SCAN_ROWS_PER_BLOCK),
				   (OffsetNumber) (row % EDDY_SCAN_ROWS_PER_BLOCK + 1));
	return place;
}

static inline int64
eddy_scan_row(const ItemPointerData *place)
{
	return (int64) ItemPointerGetBlockNumber(place) * EDDY_SCAN_ROWS_PER_BLOCK +
		ItemPointerGetOffsetNumber(place) - 1;
}

/*
 * The tableoid of a row tells whether the changes of a view have added the row, or it is taken
 * back. Rows of streams are added.
 */
#define EDDY_SCAN_ADDED ((Oid) 1)
#define EDDY_SCAN_REMOVED ((Oid) 2)
#define EDDY_SCAN_REPLACED ((Oid) 3)	/* taken back, and followed by its new version */

extern void eddy_scan_init(void);	/* from _PG_init only */
/*
 * Names of tuplestores in query environments: for queries over kept values (collect_query.c). The
 * aggregates of a query over new values return their transition states.
 */
#define EDDY_SCAN_NEW_VALUES "pg_eddy new values"
#define EDDY_SCAN_ALL_VALUES "pg_eddy values"

extern void eddy_scan_mark(RangeTblEntry *rte, bool final);
extern bool eddy_scan_is_marked(const RangeTblEntry *rte);
extern bool eddy_scan_is_batch(const Plan *plan);	/* true for the scan of a batch */
extern void eddy_scan_separate(bool separate);	/* plan scan and aggregation as two steps */
extern void eddy_scan_go_to_first(EddyScanRange *range);
extern QueryEnvironment *eddy_scan_environment(EddyScanRange *range);

/* ---- for batch_aggregate.c, which reads the rows itself ---- */

typedef struct EddyBatchReader
{
	EddyScanRange *range;
	int64		next;			/* index of the next row */
	TupleTableSlot *store_slot; /* for batches in a tuplestore */
} EddyBatchReader;

extern Index eddy_scan_path_relid(const Path *path);	/* 0: not a scan of a batch, or it has conditions */
extern void eddy_scan_begin_read(EddyBatchReader *reader, EState *estate, Relation stream);
extern void eddy_scan_rewind(EddyBatchReader *reader);
extern int	eddy_scan_read_columns(EddyBatchReader *reader, int max, int ncolumns,
								   const AttrNumber *columns, Datum **values, bool **nulls,
								   int64 *rows);
extern void eddy_scan_end_read(EddyBatchReader *reader);

/* Makes a custom path the only one of a relation, whose number of rows has been set. */
extern void eddy_scan_replace_paths(PlannerInfo *root, RelOptInfo *rel,
									const struct CustomPathMethods *methods, Cost cost);

#endif							/* EDDY_SCAN_H */

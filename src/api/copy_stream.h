/*-------------------------------------------------------------------------
 *
 * copy_stream.h
 *    COPY into a stream. Private to src/api.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_COPY_STREAM_H
#define EDDY_COPY_STREAM_H

#include "nodes/plannodes.h"

/*
 * Executes COPY FROM into a stream and sets the number of rows. False, and nothing is done, if the
 * server has to execute the command: because it is another one, or to raise its errors.
 */
extern bool eddy_copy_into_stream(const PlannedStmt *pstmt, const char *query, uint64 *processed);

#endif							/* EDDY_COPY_STREAM_H */

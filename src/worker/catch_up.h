/*-------------------------------------------------------------------------
 *
 * catch_up.h
 *    Reading the sources of streams for a view that is filled from Kafka. Private to src/worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CATCH_UP_H
#define EDDY_CATCH_UP_H

#include "worker/source_worker.h"

#define EDDY_READER_ROWS 20000	/* messages of a source in memory */

/* One source of a stream, with a client of its own. */
typedef struct EddyReader
{
	EddySourceWorker worker;	/* first; its partitions have the offsets of the view */
	Oid			view;
	Oid			stream;
	int32		source;
	MemoryContext mcxt;			/* of the following */
	EddyKafkaMessage *pending;	/* received and not applied yet, in the order of arrival */
	int			npending;
	int64	   *bounds;			/* for each partition the next offset of the source; -1: not known */
	int64	   *rows;			/* for each, messages that were read; as stored */
	int64	   *firsts;			/* for each, where reading began */
	TimestampTz bounds_at;		/* when they were read */
	EddyRange  *letters;		/* sorted: messages below the bounds that are dead letters */
	int			nletters;
	EddyKafkaError bad;			/* messages that could not be read; kind: none */
	int64		bad_next;		/* the offset that follows them; 0: not known yet */
	long		delay;			/* ms before the first batch, after crashes */
} EddyReader;

/* ---- catch_up_reader.c ---- */

extern EddyOutcome eddy_reader_open(EddyReader *reader, TimestampTz start, EddyKafkaError *error);
extern void eddy_reader_close(EddyReader *reader);
extern void eddy_reader_free(EddyReader *reader);
extern EddyOutcome eddy_reader_lock(EddyReader *reader, Relation *stream);
extern bool eddy_reader_receive(EddyReader *reader, EddyKafkaError *error);
extern int64 eddy_reader_received_until(EddyReader *reader, const EddyPartitionState *state);
extern bool eddy_reader_read_bounds(EddyReader *reader);
extern int	eddy_reader_take_batch(EddyReader *reader, int limit);
extern void eddy_reader_return_batch(EddySourceWorker *worker);
extern bool eddy_reader_has_work(const EddyReader *reader);
extern bool eddy_reader_has_bad_message(const EddyReader *reader);
extern bool eddy_reader_measure_bad_message(EddyReader *reader);
extern bool eddy_reader_has_received_all(EddyReader *reader);
extern bool eddy_reader_has_received_now(EddyReader *reader);
extern int	eddy_reader_compare_places(const void *a, const void *b);

/* ---- catch_up_batch.c ---- */

extern const EddyBatchWork eddy_reader_work;
extern bool eddy_reader_is_starting(const EddyReader *reader);
extern void eddy_reader_show_error(EddySourceWorker *worker, const char *error, int sqlerrcode);
extern void eddy_reader_error_is_shown(void);
extern bool eddy_reader_apply_last(EddyReader *reader, Relation stream);

#endif							/* EDDY_CATCH_UP_H */

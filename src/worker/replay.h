/*-------------------------------------------------------------------------
 *
 * replay.h
 *    Applying the messages of dead letters again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_REPLAY_H
#define EDDY_REPLAY_H

#include "nodes/pg_list.h"
#include "utils/relcache.h"

/*
 * Applies dead letters (List of EddyDeadLetter) of a stream, which the caller has locked, in the
 * current transaction; returns how many of them were rejected again. See EddyKafkaLibrary.
 */
extern int64 eddy_replay_letters(Relation stream, List *letters);

#endif							/* EDDY_REPLAY_H */

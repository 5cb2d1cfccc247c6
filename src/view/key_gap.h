/*-------------------------------------------------------------------------
 *
 * key_gap.h
 *    A range of keys that a state table is known not to have. Private to src/view.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_KEY_GAP_H
#define EDDY_KEY_GAP_H

#include "utils/rel.h"

typedef struct EddyKeyGap EddyKeyGap;

/* For the keys of an index, in the current memory context; NULL if its order is not usable. */
extern EddyKeyGap *eddy_key_gap_make(Relation index);

/* True if the table has no row with this key, as the gap shows. */
extern bool eddy_key_gap_covers(EddyKeyGap *gap, const Datum *keys, const bool *nulls);

/*
 * Called for each key that is looked for in the index: true if the rows that follow should be read,
 * so that a gap is found if the key is not there.
 */
extern bool eddy_key_gap_is_due(EddyKeyGap *gap);

/*
 * Notes that there is no row from a key on up to another one with the same columns but the last,
 * whose last column is *next, or up to the last such key if next is NULL. The last column is not
 * null.
 */
extern void eddy_key_gap_set(EddyKeyGap *gap, const Datum *keys, const bool *nulls,
							 const Datum *next);
extern void eddy_key_gap_forget(EddyKeyGap *gap);

#endif							/* EDDY_KEY_GAP_H */

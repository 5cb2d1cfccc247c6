/*-------------------------------------------------------------------------
 *
 * closest_match.h
 *    The closest match for an unrecognized name, for hints.
 *
 * The server has such functions since 16 (ClosestMatch of varlena.h). Inline, because the output
 * plugin is a separate library: a function that both libraries export could be called across two
 * versions of pg_eddy.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CLOSEST_MATCH_H
#define EDDY_CLOSEST_MATCH_H

#include "utils/varlena.h"

/* Maximum number of edits of a match. */
#define EDDY_CLOSEST_MAX_DISTANCE 4

/* Maximum length of names that are compared: the server's limit for this distance. */
#define EDDY_CLOSEST_MAX_LENGTH 255

typedef struct EddyClosestMatch
{
	const char *name;
	const char *match;			/* NULL: no match */
	int			limit;			/* maximum distance of a better match */
} EddyClosestMatch;

static inline void
eddy_closest_init(EddyClosestMatch *state, const char *name)
{
	state->name = name;
	state->match = NULL;
	state->limit = EDDY_CLOSEST_MAX_DISTANCE;
}

/* Of candidates with the same distance, the first one is the match. */
static inline void
eddy_closest_update(EddyClosestMatch *state, const char *candidate)
{
	int			name_len = strlen(state->name);
	int			candidate_len = strlen(candidate);
	int			limit = Min(state->limit, (Max(name_len, candidate_len) - 1) / 2);
	int			distance;

	/* upper and lower case are no different words */
	if (state->limit >= 0 && pg_strcasecmp(state->name, candidate) == 0)
	{
		state->match = candidate;
		state->limit = -1;
		return;
	}
	/* if half of the letters differ, it is a different word */
	if (limit < 0 || name_len > EDDY_CLOSEST_MAX_LENGTH || candidate_len > EDDY_CLOSEST_MAX_LENGTH)
		return;
	distance = varstr_levenshtein_less_equal(state->name, name_len, candidate, candidate_len,
											 1, 1, 1, limit, true);
	if (distance > limit)
		return;
	state->match = candidate;
	state->limit = distance - 1;
}

#endif							/* EDDY_CLOSEST_MATCH_H */

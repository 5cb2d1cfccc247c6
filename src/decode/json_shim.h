/*-------------------------------------------------------------------------
 *
 * json_shim.h
 *    The C face of simdjson: where the tokens of a JSON text begin.
 *
 * Only the library's first stage is used, the one under both its DOM and its
 * On-Demand parser: it checks UTF-8 and string boundaries with vector
 * instructions and lists the positions of all tokens. Walking the tokens is
 * left to json_walk.c, because On-Demand does not validate what it skips and
 * would be compiled for the oldest processor, while this stage picks the
 * fitting implementation at run time inside the library.
 *
 * No PostgreSQL headers, no exceptions, no callbacks: nothing can jump
 * across a C++ frame. One index per process, reused; it belongs to the next
 * call of eddy_json_index.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_JSON_SHIM_H
#define EDDY_JSON_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C"
{
#endif

typedef enum EddyJsonStatus
{
	EDDY_JSON_OK,
	EDDY_JSON_EMPTY,			/* nothing but white space */
	EDDY_JSON_NOT_UTF8,
	EDDY_JSON_SYNTAX,			/* any violation of the grammar */
	EDDY_JSON_CONTROL,			/* a control character within a string */
	EDDY_JSON_UNCLOSED,			/* a string without its closing quote */
	EDDY_JSON_DEPTH,			/* nested more than EDDY_JSON_MAX_DEPTH levels */
	EDDY_JSON_TOO_LONG,
	EDDY_JSON_MEMORY
} EddyJsonStatus;

/*
 * eddy_json_index finds the tokens of text[0 .. len - 1].
 *
 * *positions gets the offset of each token's first byte, in order, followed
 * by one more entry that equals len. Every byte between two tokens that is
 * not part of the first one is white space or ends a number or literal in a
 * way that the walker notices. No padding is needed.
 */
extern EddyJsonStatus eddy_json_index(const char *text, size_t len,
									  const uint32_t **positions, uint32_t *count);

/* Gives back the index of a large message. */
extern void eddy_json_release_index(void);

#ifdef __cplusplus
}
#endif

#endif							/* EDDY_JSON_SHIM_H */

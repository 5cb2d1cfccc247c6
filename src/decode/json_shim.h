/*-------------------------------------------------------------------------
 *
 * json_shim.h
 *    The C interface to simdjson: where the tokens of a JSON text begin.
 *
 * Only the library's first stage is used, which both its DOM and its On-Demand parser are built on:
 * it checks UTF-8 and string boundaries with vector instructions and lists the positions of all
 * tokens. json_walk.c walks the tokens, because On-Demand does not validate what it skips and would
 * be compiled for the oldest CPU, whereas the library selects the implementation of this stage
 * at run time.
 *
 * No PostgreSQL headers, no exceptions, no callbacks: nothing can jump across a C++ frame. There is
 * one index per process; it is valid until the next call of eddy_json_index.
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
	EDDY_JSON_EMPTY,			/* only white space */
	EDDY_JSON_NOT_UTF8,
	EDDY_JSON_SYNTAX,			/* any violation of the grammar */
	EDDY_JSON_CONTROL,			/* a control character within a string */
	EDDY_JSON_UNCLOSED,			/* a string without its closing quote */
	EDDY_JSON_DEPTH,			/* nested more than EDDY_JSON_MAX_DEPTH levels */
	EDDY_JSON_TOO_LONG,
	EDDY_JSON_MEMORY
} EddyJsonStatus;

/*
 * eddy_json_index finds the tokens of text[0 .. len - 1]. No padding is needed.
 *
 * *positions is set to the offsets of the first bytes of all tokens, in order, followed by one more
 * entry that equals len. Every byte between two tokens that is not part of the first one is white
 * space, or ends a number or literal in a way that the walk detects.
 */
extern EddyJsonStatus eddy_json_index(const char *text, size_t len,
									  const uint32_t **positions, uint32_t *count);

/* Frees the index if a large message has made it large. */
extern void eddy_json_release_index(void);

#ifdef __cplusplus
}
#endif

#endif							/* EDDY_JSON_SHIM_H */

/*-------------------------------------------------------------------------
 *
 * fuzz_text.h
 *    Random texts of values, and JSON texts made of them, for the fuzzers that run in a server.
 *
 *-------------------------------------------------------------------------
 */
#ifndef FUZZ_TEXT_H
#define FUZZ_TEXT_H

#include "common/pg_prng.h"
#include "fmgr.h"
#include "lib/stringinfo.h"

typedef struct FuzzRandom
{
	pg_prng_state state;
} FuzzRandom;

/* The texts that are valid for a type. */
typedef enum FuzzShape
{
	FUZZ_SHAPE_BOOL,
	FUZZ_SHAPE_INTEGER,
	FUZZ_SHAPE_NUMBER,
	FUZZ_SHAPE_TIME,
	FUZZ_SHAPE_UUID,
	FUZZ_SHAPE_BYTEA,
	FUZZ_SHAPE_JSON,
	FUZZ_SHAPE_INTERVAL,
	FUZZ_SHAPE_TEXT
} FuzzShape;

typedef enum FuzzKind
{
	FUZZ_NULL,
	FUZZ_LITERAL,				/* true or false */
	FUZZ_NUMBER,
	FUZZ_STRING,
	FUZZ_ARRAY,					/* of strings and NULLs */
	FUZZ_OBJECT
} FuzzKind;

/* A value of a message. */
typedef struct FuzzValue
{
	FuzzKind	kind;
	char	   *json;			/* its JSON text */
	char	   *text;			/* what a column gets: the content of a string, else the JSON text */
	bool		not_text;		/* a string that no text of the server can be */
	bool		is_number_text; /* a string that is a JSON number */
	int			nitems;			/* of an array; NULL is null */
	char	  **items;
} FuzzValue;

extern void fuzz_seed(FuzzRandom *random, uint64 seed);
extern uint64 fuzz_below(FuzzRandom *random, uint64 limit);
extern bool fuzz_chance(FuzzRandom *random, int percent);

extern char fuzz_error[];
extern bool fuzz_attempt(void (*call) (void *arg), void *arg);

/* The value that an input function makes of a text, or of NULL; false if it raises an error. */
extern bool fuzz_input(FmgrInfo *input, char *text, Oid ioparam, int32 typmod, Datum *value);

extern FuzzShape fuzz_shape_of(Oid type);
extern char *fuzz_text(FuzzRandom *random, FuzzShape shape, bool hostile);
extern void fuzz_space(FuzzRandom *random, StringInfo out);
extern void fuzz_append_json_string(FuzzRandom *random, StringInfo out, const char *text, int len);
extern void fuzz_value(FuzzRandom *random, FuzzValue *value, FuzzShape shape, bool array, bool hostile);
extern void fuzz_change_bytes(FuzzRandom *random, StringInfo text);

#endif							/* FUZZ_TEXT_H */

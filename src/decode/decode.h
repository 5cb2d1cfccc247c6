/*-------------------------------------------------------------------------
 *
 * decode.h
 *    From the bytes of one message to the values of one row.
 *
 * A decoder is made once per source and table shape and then fed one message
 * at a time. Decoding has two steps:
 *
 *   1. eddy_decode_message never raises an error for bad input: what is wrong
 *      with the message comes back as a value. Common types become Datums at
 *      once. Columns whose type needs its input function (numeric, domains,
 *      enums, arrays, jsonb, ...) hold the text of the value, as a cstring Datum.
 *   2. eddy_decode_convert calls those input functions and may ereport(ERROR).
 *      The caller runs it over all rows in one internal subtransaction and
 *      knows by its own row counter which row failed. A decoder without such
 *      columns (eddy_decode_needs_convert() is false) needs no second step.
 *
 * No Kafka headers, no catalog access after creation of the decoder: each
 * decoder can be fuzzed alone. Not reentrant: one message at a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_DECODE_H
#define EDDY_DECODE_H

#include "access/tupdesc.h"

/*
 * How a JSON number, or a string that is one, becomes a date or timestamp. All
 * other strings are ISO 8601.
 */
typedef enum EddyTimeFormat
{
	EDDY_TIME_ISO,				/* numbers are refused */
	EDDY_TIME_SECONDS,			/* since 1970-01-01 UTC, fraction allowed */
	EDDY_TIME_MILLISECONDS,
	EDDY_TIME_MICROSECONDS
} EddyTimeFormat;

/* One column to be filled from the message. */
typedef struct EddyDecodeColumn
{
	int			attnum;			/* 1-based position in the row's values */
	const char *pointer;		/* JSON pointer (RFC 6901); NULL: the top-level field of the
								 * column's name */
} EddyDecodeColumn;

/* Options of the decoder; the same for all columns. */
typedef struct EddyDecodeOptions
{
	EddyTimeFormat time_format; /* default EDDY_TIME_ISO */
} EddyDecodeOptions;

/* What is wrong with one message. */
typedef struct EddyDecodeError
{
	int			sqlerrcode;		/* ERRCODE_INVALID_TEXT_REPRESENTATION, ... */
	int			attnum;			/* column at fault, 0 if the message itself */
	char		message[256];	/* Postgres style, names the column, never the content */
} EddyDecodeError;

typedef struct EddyDecoder EddyDecoder;

/*
 * eddy_decode_create_json makes a decoder for JSON objects.
 *
 * tupdesc describes the row (values are indexed by attnum - 1); columns says
 * which attributes come from the message. All is copied into mcxt. Looks up
 * type input functions, so it needs a transaction; raises
 * ERRCODE_INVALID_PARAMETER_VALUE for a malformed JSON pointer.
 */
extern EddyDecoder *eddy_decode_create_json(MemoryContext mcxt, TupleDesc tupdesc,
											const EddyDecodeColumn *columns, int ncolumns,
											const EddyDecodeOptions *options);

/*
 * eddy_decode_message decodes one message (not NUL-terminated, no padding needed).
 *
 * Fills values[], nulls[] and missing[] at attnum - 1 of each of the decoder's
 * columns and touches no other: missing means the field is not in the message
 * (nulls is true too); JSON null gives nulls without missing. Values by
 * reference are allocated in the current memory context, in few large pieces.
 * Returns false and fills error if the message is not a row.
 */
extern bool eddy_decode_message(EddyDecoder *decoder, const char *data, size_t len,
								Datum *values, bool *nulls, bool *missing,
								EddyDecodeError *error);

/* True if eddy_decode_convert has to be called for each decoded row. */
extern bool eddy_decode_needs_convert(const EddyDecoder *decoder);

/*
 * eddy_decode_convert replaces the texts left by eddy_decode_message with Datums
 * by calling the types' input functions (NULLs of domain types included, so
 * that NOT NULL domains are checked). Allocates in the current memory context.
 * May ereport(ERROR) with whatever the input function raises.
 */
extern void eddy_decode_convert(EddyDecoder *decoder, Datum *values, bool *nulls,
								const bool *missing);

/*
 * eddy_decode_describe_failure tells what the last eddy_decode_convert failed on, without
 * content of the message, which input functions like to quote: messages of
 * errors are seen by more people than messages. Returns NULL if it did not fail, or with
 * an error (a violated domain constraint) that quotes nothing. palloc'ed.
 */
extern char *eddy_decode_describe_failure(const EddyDecoder *decoder, int sqlerrcode);

/* Gives back the scratch memory that a large message needed. */
extern void eddy_decode_forget(EddyDecoder *decoder);

#endif							/* EDDY_DECODE_H */

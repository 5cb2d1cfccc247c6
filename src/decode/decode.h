/*-------------------------------------------------------------------------
 *
 * decode.h
 *    From the bytes of messages to the values of rows.
 *
 * A decoder is created once per source and table shape. For each batch it runs in three steps:
 *
 *   1. eddy_decode_resolve, before the transaction: the decoder gets from other systems what these
 *      messages need. The only step that may wait for the network.
 *   2. eddy_decode_messages: most types become Datums at once. Columns whose type needs its input
 *      function (domains, enums, arrays, jsonb, ...) keep the text of the value, a cstring Datum.
 *   3. eddy_decode_convert calls these input functions, one row at a time. It is the only step that
 *      may raise an error for bad input: the caller runs it in an internal subtransaction. The
 *      others return errors as values.
 *
 * A format provides its operations as an EddyDecoderFormat and is registered in formats.c. Columns,
 * conversion and the description of failures are shared (decoder.h, value.h).
 *
 * No Kafka headers and, once the decoder exists, no catalog access: a format can be fuzzed alone.
 * Not reentrant.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_DECODE_H
#define EDDY_DECODE_H

#include "access/tupdesc.h"

/*
 * How a number, or a string that is one, becomes a date or timestamp. Other strings are ISO 8601.
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
	EddyTimeFormat time_format;
} EddyDecodeOptions;

/* The bytes of one message: no terminator, no padding. Without data it does not become a row. */
typedef struct EddyDecodeMessage
{
	const char *data;
	size_t		len;
} EddyDecodeMessage;

/*
 * Memory for what values of rows point into, in the caller's memory context. It saves an allocation
 * for each message; what a call leaves is used by the next one.
 */
typedef struct EddyDecodeSpace
{
	char	   *next;
	size_t		left;
} EddyDecodeSpace;

/* Rows to be filled: attribute a of row i is at [i * natts + a - 1]. */
typedef struct EddyDecodeRows
{
	int			natts;
	Datum	   *values;
	bool	   *nulls;
	bool	   *missing;		/* the field is not in the message; nulls is true as well */
	EddyDecodeSpace *space;		/* all zero at first; same memory context in each call */
} EddyDecodeRows;

/* What is wrong with one message, or what keeps the decoder from resolving. */
typedef struct EddyDecodeError
{
	int			sqlerrcode;		/* ERRCODE_INVALID_TEXT_REPRESENTATION, ... */
	int			attnum;			/* of the column, 0 if it is the message itself */
	char		message[256];	/* Postgres style, names the column, never the content */
} EddyDecodeError;

typedef struct EddyDecoder EddyDecoder;

/* The operations of a format, called by the functions of the same names below. */
typedef struct EddyDecoderFormat
{
	const char *name;			/* eddy.attach_kafka(format => name) */
	size_t		decoder_size;	/* of its struct, whose first member is an EddyDecoder */

	/* May ereport, for pointers that are not valid. base->columns are filled already. */
	void		(*create) (EddyDecoder *base, const EddyDecodeColumn *columns);

	/* NULL: a message is all that the format needs to decode it. */
	bool		(*resolve) (EddyDecoder *base, const EddyDecodeMessage *messages, int count,
							EddyDecodeError *error);

	/* One call for many messages: the price of a call by pointer is not paid per row. */
	int			(*decode) (EddyDecoder *base, const EddyDecodeMessage *messages, int count,
						   const EddyDecodeRows *rows, EddyDecodeError *error);

	/* NULL: the format has no buffers that grow with a message. */
	void		(*release_buffers) (EddyDecoder *base);
} EddyDecoderFormat;

/* ---- formats.c ---- */

extern const EddyDecoderFormat *eddy_decode_find_format(const char *name);
extern const char *const *eddy_decode_format_names(void);

/* ---- decode.c ---- */

extern EddyDecoder *eddy_decode_create(const EddyDecoderFormat *format, MemoryContext mcxt,
									   TupleDesc tupdesc, const EddyDecodeColumn *columns,
									   int ncolumns, const EddyDecodeOptions *options);

/* True if eddy_decode_resolve has work to do for each batch. */
extern bool eddy_decode_needs_resolve(const EddyDecoder *decoder);
extern bool eddy_decode_resolve(EddyDecoder *decoder, const EddyDecodeMessage *messages,
								int count, EddyDecodeError *error);
extern int	eddy_decode_messages(EddyDecoder *decoder, const EddyDecodeMessage *messages,
								 int count, const EddyDecodeRows *rows,
								 EddyDecodeError *error);

/* True if eddy_decode_convert has to be called for each decoded row. */
extern bool eddy_decode_needs_convert(const EddyDecoder *decoder);
extern void eddy_decode_convert(EddyDecoder *decoder, Datum *values, bool *nulls,
								const bool *missing);
extern char *eddy_decode_describe_failure(const EddyDecoder *decoder, int sqlerrcode);
extern void eddy_decode_release_buffers(EddyDecoder *decoder);

#endif							/* EDDY_DECODE_H */

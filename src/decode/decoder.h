/*-------------------------------------------------------------------------
 *
 * decoder.h
 *    What a format of messages is built on. Private to src/decode.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_DECODER_H
#define EDDY_DECODER_H

#include "utils/memutils.h"

#include "decode/decode.h"
#include "decode/value.h"

/* Longer messages are refused: a string in a message must become a value of at most 1 GB. */
#define EDDY_DECODE_MAX_LENGTH (MaxAllocSize / 2)

/* The part of a decoder that all formats share. */
struct EddyDecoder
{
	/* immutable once created */
	const EddyDecoderFormat *format;
	MemoryContext mcxt;
	EddyTimeFormat time_format;
	int			ncolumns;
	EddyValueColumn *columns;
	bool		needs_convert;

	const EddyValueColumn *converting;	/* whose input function runs, or has failed */
};

extern bool eddy_decode_refuse(EddyDecodeError *error, int sqlerrcode, const char *message);

/* Marks all columns of the decoder as missing in a row. */
static inline void
eddy_decode_clear_row(const EddyDecoder *base, Datum *values, bool *nulls, bool *missing)
{
	for (int i = 0; i < base->ncolumns; i++)
	{
		int			attr = base->columns[i].attnum - 1;

		values[attr] = (Datum) 0;
		nulls[attr] = missing[attr] = true;
	}
}

#endif							/* EDDY_DECODER_H */

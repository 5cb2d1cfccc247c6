/*-------------------------------------------------------------------------
 *
 * decode.c
 *    The steps of a decoder, and the parts of them that all formats share.
 *
 * Shared are columns and their types, the conversion by input functions and the description of its
 * failures. The rest is done by the operations of the format.
 *
 * Memory: the decoder is in the context that it was created in, and goes with it. Values are in the
 * current memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode/decoder.h"

/*
 * eddy_decode_create creates a decoder for rows of a table in mcxt.
 *
 * columns says which attributes of tupdesc come from the message. Everything is copied. Looks up
 * input functions, so it needs a transaction. Raises ERRCODE_INVALID_PARAMETER_VALUE for a pointer
 * that is not valid.
 */
EddyDecoder *
eddy_decode_create(const EddyDecoderFormat *format, MemoryContext mcxt, TupleDesc tupdesc,
				   const EddyDecodeColumn *columns, int ncolumns,
				   const EddyDecodeOptions *options)
{
	MemoryContext old_context = MemoryContextSwitchTo(mcxt);
	EddyDecoder *decoder = palloc0(format->decoder_size);

	decoder->format = format;
	decoder->mcxt = mcxt;
	decoder->time_format = options->time_format;
	decoder->ncolumns = ncolumns;
	decoder->columns = palloc0(Max(ncolumns, 1) * sizeof(EddyValueColumn));
	for (int i = 0; i < ncolumns; i++)
	{
		EddyValueColumn *column = &decoder->columns[i];

		eddy_value_init_column(column, TupleDescAttr(tupdesc, columns[i].attnum - 1), mcxt);
		if (eddy_value_needs_convert(column))
			decoder->needs_convert = true;
	}
	format->create(decoder, columns);
	MemoryContextSwitchTo(old_context);
	return decoder;
}

bool
eddy_decode_needs_resolve(const EddyDecoder *decoder)
{
	return decoder->format->resolve != NULL;
}

/*
 * eddy_decode_resolve prepares the decoder for the messages of the next batch.
 *
 * Must be called outside of a transaction: a format whose messages only name their schema gets it
 * from a registry here, and no lock may be held while it waits for the network. Returns false with
 * the error if the batch cannot be decoded now, for a reason that is not in its messages; errors of
 * single messages are found by decoding them.
 */
bool
eddy_decode_resolve(EddyDecoder *decoder, const EddyDecodeMessage *messages, int count,
					EddyDecodeError *error)
{
	if (!eddy_decode_needs_resolve(decoder))
		return true;
	return decoder->format->resolve(decoder, messages, count, error);
}

/*
 * eddy_decode_messages decodes messages into rows, message i into row i.
 *
 * Returns count, or the index of the first message that cannot become a row, with the error; the
 * caller continues after it. Fills the attributes of the decoder's columns and no others; JSON null
 * and the like is null without missing. Rows of messages without data are not touched.
 */
int
eddy_decode_messages(EddyDecoder *decoder, const EddyDecodeMessage *messages, int count,
					 const EddyDecodeRows *rows, EddyDecodeError *error)
{
	return decoder->format->decode(decoder, messages, count, rows, error);
}

bool
eddy_decode_needs_convert(const EddyDecoder *decoder)
{
	return decoder->needs_convert;
}

/*
 * eddy_decode_convert replaces the texts that decoding left in a row with Datums.
 *
 * NULLs of domain types are converted, too: the input function checks NOT NULL. Raises whatever
 * error the input function raises.
 */
void
eddy_decode_convert(EddyDecoder *decoder, Datum *values, bool *nulls, const bool *missing)
{
	for (int i = 0; i < decoder->ncolumns; i++)
	{
		EddyValueColumn *column = &decoder->columns[i];
		int			attr = column->attnum - 1;

		/* a missing value gets its default from the caller, who also checks it */
		if (eddy_value_needs_convert(column) && !missing[attr])
		{
			decoder->converting = column;
			eddy_value_convert(column, &values[attr], &nulls[attr]);
		}
	}
	decoder->converting = NULL;
}

/*
 * eddy_decode_describe_failure describes what the last eddy_decode_convert failed on.
 *
 * Input functions quote the text in their errors, but error messages are visible to more users than
 * messages of Kafka; so the description names the column only. Returns NULL if the conversion did
 * not fail, or failed with an error that quotes nothing (a violated domain constraint). palloc'ed.
 */
char *
eddy_decode_describe_failure(const EddyDecoder *decoder, int sqlerrcode)
{
	if (decoder->converting == NULL ||
		ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION)
		return NULL;
	return psprintf("invalid value for column \"%s\" of type %s", decoder->converting->name,
					decoder->converting->type_name);
}

/* eddy_decode_release_buffers frees the memory that a large message needed while it was decoded. */
void
eddy_decode_release_buffers(EddyDecoder *decoder)
{
	if (decoder->format->release_buffers)
		decoder->format->release_buffers(decoder);
}

/* eddy_decode_refuse fills the error of a message that is wrong as a whole; returns false. */
bool
eddy_decode_refuse(EddyDecodeError *error, int sqlerrcode, const char *message)
{
	error->sqlerrcode = sqlerrcode;
	error->attnum = 0;
	strlcpy(error->message, message, sizeof(error->message));
	return false;
}

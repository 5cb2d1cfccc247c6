/*-------------------------------------------------------------------------
 *
 * json_writer.h
 *    Appends values to a record as JSON text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CDC_JSON_WRITER_H
#define EDDY_CDC_JSON_WRITER_H

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/datetime.h"

typedef enum EddyCdcKind
{
	EDDY_CDC_BOOL,
	EDDY_CDC_INT2,
	EDDY_CDC_INT4,
	EDDY_CDC_INT8,
	EDDY_CDC_FLOAT4,
	EDDY_CDC_FLOAT8,
	EDDY_CDC_NUMERIC,
	EDDY_CDC_TEXT,				/* text, varchar, char(n): the bytes themselves */
	EDDY_CDC_DATETIME,			/* date, timestamp, timestamptz */
	EDDY_CDC_JSON,
	EDDY_CDC_JSONB,
	EDDY_CDC_ARRAY,
	EDDY_CDC_OTHER				/* a string: the result of the output function */
} EddyCdcKind;

typedef struct EddyCdcType
{
	EddyCdcKind kind;
	Oid			oid;			/* of a domain its base type */
	bool		needs_settings; /* the text depends on settings */
	bool		quoted;			/* EDDY_CDC_INT8 and EDDY_CDC_NUMERIC: as a string */
	bool		can_fail;		/* valid values may have no text, or one that is too long */
	FmgrInfo	output;			/* EDDY_CDC_OTHER */
	struct EddyCdcType *element;	/* EDDY_CDC_ARRAY */
	int16		len;
	bool		byval;
	char		align;

	/* EDDY_CDC_DATETIME: the last value, as windows repeat their bounds */
	int			memo_len;		/* 0: none yet */
	Datum		memo_value;
	char		memo_text[MAXDATELEN + 3];
} EddyCdcType;

extern void eddy_cdc_describe_type(EddyCdcType *type, Oid oid);

/* Makes the values strings whose digits exceed the precision of double. */
extern void eddy_cdc_quote_numbers(EddyCdcType *type);

extern void eddy_cdc_append_value(StringInfo out, EddyCdcType *type, Datum value);
extern void eddy_cdc_append_string(StringInfo out, const char *data, int len);
extern void eddy_cdc_append_int64(StringInfo out, int64 value);

/* encoding.c */
extern void eddy_cdc_append_escape(StringInfo out, unsigned int unit);
extern void eddy_cdc_append_non_ascii(StringInfo out, const char *data, int len);

/* Makes room for more bytes; raises an error if the message would be too large. */
extern void eddy_cdc_enlarge(StringInfo out, int len);

/* Appends bytes. The buffer is not kept zero-terminated. */
static inline void
eddy_cdc_append_bytes(StringInfo out, const char *data, int len)
{
	if (unlikely(len >= out->maxlen - out->len))
		eddy_cdc_enlarge(out, len);
	memcpy(out->data + out->len, data, len);
	out->len += len;
}

#define eddy_cdc_append_literal(out, literal) \
	eddy_cdc_append_bytes(out, "" literal, sizeof(literal) - 1)

#endif							/* EDDY_CDC_JSON_WRITER_H */

/*-------------------------------------------------------------------------
 *
 * value.h
 *    From the text of one value to the Datum of one column.
 *
 * Shared by all formats: what the type of a column means for its values, and functions that turn
 * texts and numbers into Datums. They return what is wrong with the input as a value. Private to
 * src/decode.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_DECODE_VALUE_H
#define EDDY_DECODE_VALUE_H

#include "fmgr.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "decode/decode.h"
#include "decode/lexical.h"

/* How the values of a column are made. */
typedef enum EddyValueKind
{
	EDDY_VALUE_BOOL,
	EDDY_VALUE_INT2,
	EDDY_VALUE_INT4,
	EDDY_VALUE_INT8,
	EDDY_VALUE_FLOAT4,
	EDDY_VALUE_FLOAT8,
	EDDY_VALUE_NUMERIC,
	EDDY_VALUE_TEXT,			/* text, and varchar without length */
	EDDY_VALUE_VARCHAR,			/* with a length */
	EDDY_VALUE_BPCHAR,			/* with a length */
	EDDY_VALUE_DATE,
	EDDY_VALUE_TIMESTAMP,
	EDDY_VALUE_TIMESTAMPTZ,
	EDDY_VALUE_UUID,
	EDDY_VALUE_BYTEA,
	EDDY_VALUE_JSON,			/* its text, as is */

	/* the kinds that follow leave a text for eddy_decode_convert */
	EDDY_VALUE_INPUT,			/* any other type: by its input function */
	EDDY_VALUE_INPUT_JSON,		/* the same, from JSON text (jsonb) */
	EDDY_VALUE_INPUT_ARRAY		/* the same, from an array literal */
} EddyValueKind;

/* The result of making a value. */
typedef enum EddyValueResult
{
	EDDY_VALUE_OK,
	EDDY_VALUE_INVALID,			/* not in a form of the type */
	EDDY_VALUE_RANGE,			/* in the right form, but out of range */
	EDDY_VALUE_TOO_LONG,		/* longer than char(n) or varchar(n) */
	EDDY_VALUE_NO_UNIT			/* a number for a time, without the option that gives its unit */
} EddyValueResult;

typedef struct EddyValueColumn
{
	int			attnum;
	char	   *name;
	char	   *type_name;		/* with type modifier, for messages */
	EddyValueKind kind;
	int32		typmod;
	int			limit;			/* varchar(n), char(n): n characters; times: n digits of a
								 * second; else -1 */
	int			precision;		/* numeric(p, s): p and s; precision 0: unlimited */
	int			scale;
	bool		check_null;		/* a domain: NULL goes through the input function as well */
	bool		json_elements;	/* an array of json or jsonb: elements are JSON texts */
	char		delimiter;		/* of an array: between elements in its text */
	Oid			ioparam;
	FmgrInfo	input;			/* valid for the kinds that convert */
} EddyValueColumn;

/* 10^0 to 10^18: all that an int64 holds. */
extern const int64 eddy_value_powers_of_ten[];

/*
 * The functions that take s and len read s[0 .. len - 1] and need no terminator, but s[len] must be
 * readable and be neither a digit nor a letter.
 */

/* ---- value.c ---- */

extern void eddy_value_init_column(EddyValueColumn *column, Form_pg_attribute att,
								   MemoryContext mcxt);
extern EddyValueResult eddy_value_from_string(const EddyValueColumn *column,
											  EddyTimeFormat time_format, const char *s,
											  uint32 len, Datum *value);
extern void eddy_value_report(EddyDecodeError *error, const EddyValueColumn *column,
							  EddyValueResult result);
extern void eddy_value_convert(EddyValueColumn *column, Datum *value, bool *isnull);

/* ---- value_number.c ---- */

extern EddyValueResult eddy_value_from_number(const EddyValueColumn *column,
											  EddyTimeFormat time_format, const char *s,
											  uint32 len, const EddyNumber *number,
											  Datum *value);
extern EddyValueResult eddy_value_parse_number(const EddyValueColumn *column, const char *s,
											   uint32 len, Datum *value);

/* ---- value_time.c ---- */

extern EddyValueResult eddy_value_parse_time(const EddyValueColumn *column, const char *s,
											 uint32 len, Datum *value);
extern EddyValueResult eddy_value_time_from_number(const EddyValueColumn *column,
												   EddyTimeFormat time_format,
												   const EddyNumber *number, Datum *value);

/* eddy_value_trim removes white space at both ends, as the input functions of numbers do. */
static inline void
eddy_value_trim(const char **s, uint32 *len)
{
	while (*len > 0 && isspace((unsigned char) **s))
	{
		(*s)++;
		(*len)--;
	}
	while (*len > 0 && isspace((unsigned char) (*s)[*len - 1]))
		(*len)--;
}

static inline bool
eddy_value_needs_convert(const EddyValueColumn *column)
{
	return column->kind >= EDDY_VALUE_INPUT;
}

#endif							/* EDDY_DECODE_VALUE_H */

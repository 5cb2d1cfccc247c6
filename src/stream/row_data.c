/*-------------------------------------------------------------------------
 *
 * row_data.c
 *    Forming the data of common rows.
 *
 * heap_compute_data_size and heap_fill_tuple take more than a tenth of the time of a worker that
 * stores rows, because they handle everything that a tuple can contain. Rows from Kafka mostly
 * consist of values of fixed length and short texts, without NULLs but for columns that are NULL in
 * each row. Such rows are formed here, with the same result. Values that are stored elsewhere, or
 * in an expanded form, are not expected here.
 *
 * No locks. Memory: the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "stream/row_data.h"

typedef struct Column
{
	int			from;			/* index in the values of a row */
	bool		byval;
	bool		packable;		/* values of type varlena are stored with a short header if they fit */
	int16		len;			/* -1: varlena */
	uint8		align;			/* in bytes */
} Column;

struct EddyRowForm
{
	int			natts;			/* of the tuple */
	Size		header_len;
	uint16		infomask;
	bits8	   *present;		/* the bitmap of NULLs; NULL if no column is NULL */
	int			ncolumns;		/* that are not NULL */
	Column		columns[FLEXIBLE_ARRAY_MEMBER];
};

static uint8
alignment(char align)
{
	switch (align)
	{
		case TYPALIGN_DOUBLE:
			return ALIGNOF_DOUBLE;
		case TYPALIGN_INT:
			return ALIGNOF_INT;
		case TYPALIGN_SHORT:
			return ALIGNOF_SHORT;
		default:
			return 1;
	}
}

/* Describes one attribute of the tuple; false if such rows are not formed here. */
static bool
add_column(EddyRowForm *form, Form_pg_attribute att, int from)
{
	Column	   *column = &form->columns[form->ncolumns++];

	/* cstring has no length of its own */
	if (att->attlen < -1 || att->attlen == 0)
		return false;
	column->from = from;
	column->byval = att->attbyval;
	column->packable = att->attlen == -1 && att->attstorage != TYPSTORAGE_PLAIN;
	column->len = att->attlen;
	column->align = alignment(att->attalign);
	if (att->attlen == -1)
		form->infomask |= HEAP_HASVARWIDTH;
	return true;
}

EddyRowForm *
eddy_row_form_make(TupleDesc tupdesc, const AttrNumber *map)
{
	int			natts = tupdesc->natts;
	EddyRowForm *form = palloc0(offsetof(EddyRowForm, columns) + sizeof(Column) * natts);
	bits8	   *present = palloc0(BITMAPLEN(natts) + 1);

	form->natts = natts;
	form->header_len = offsetof(HeapTupleHeaderData, t_bits);
	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);
		int			from = map ? map[i] - 1 : i;

		if (att->attisdropped || from < 0)
			continue;
		if (!add_column(form, att, from))
		{
			pfree(form);
			pfree(present);
			return NULL;
		}
		present[i >> 3] |= 1 << (i & 7);
	}
	if (form->ncolumns < natts)
	{
		form->present = present;
		form->infomask |= HEAP_HASNULL;
		form->header_len += BITMAPLEN(natts);
	}
	form->header_len = MAXALIGN(form->header_len);
	return form;
}

/* True if a value is given a short header when it is stored. */
static inline bool
becomes_short(const Column *column, const char *value)
{
	return column->packable && VARATT_CAN_MAKE_SHORT(value);
}

Size
eddy_row_size(const EddyRowForm *form, const Datum *values, const bool *nulls)
{
	Size		size = 0;

	for (int i = 0; i < form->ncolumns; i++)
	{
		const Column *column = &form->columns[i];
		const char *value = DatumGetPointer(values[column->from]);

		if (nulls[column->from])
			return 0;
		if (column->len > 0)
			size = TYPEALIGN(column->align, size) + column->len;
		else if (VARATT_IS_EXTERNAL(value))
			return 0;
		else if (VARATT_IS_SHORT(value))
			size += VARSIZE_SHORT(value);
		else if (becomes_short(column, value))
			size += VARATT_CONVERTED_SHORT_SIZE(value);
		else
			size = TYPEALIGN(column->align, size) + VARSIZE(value);
	}
	return form->header_len + size;
}

/* Stores a value of variable length; returns its end. */
static inline char *
fill_varlena(const Column *column, const char *value, char *start, char *data)
{
	Size		len;

	if (VARATT_IS_SHORT(value))
	{
		len = VARSIZE_SHORT(value);
		memcpy(data, value, len);
	}
	else if (becomes_short(column, value))
	{
		len = VARATT_CONVERTED_SHORT_SIZE(value);
		SET_VARSIZE_SHORT(data, len);
		memcpy(data + VARHDRSZ_SHORT, VARDATA(value), len - VARHDRSZ_SHORT);
	}
	else
	{
		data = start + TYPEALIGN(column->align, data - start);
		len = VARSIZE(value);
		memcpy(data, value, len);
	}
	return data + len;
}

static void
fill_data(const EddyRowForm *form, const Datum *values, char *data)
{
	char	   *start = data;

	for (int i = 0; i < form->ncolumns; i++)
	{
		const Column *column = &form->columns[i];

		if (column->len == -1)
		{
			data = fill_varlena(column, DatumGetPointer(values[column->from]), start, data);
			continue;
		}
		data = start + TYPEALIGN(column->align, data - start);
		if (column->byval)
			store_att_byval(data, values[column->from], column->len);
		else
			memcpy(data, DatumGetPointer(values[column->from]), column->len);
		data += column->len;
	}
}

void
eddy_row_fill(const EddyRowForm *form, const Datum *values, HeapTupleHeader header)
{
	HeapTupleHeaderSetNatts(header, form->natts);
	header->t_hoff = form->header_len;
	header->t_infomask |= form->infomask;
	if (form->present)
		memcpy(header->t_bits, form->present, BITMAPLEN(form->natts));
	fill_data(form, values, (char *) header + form->header_len);
}
